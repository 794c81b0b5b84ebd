//! `quiver tools bucket`: what changes blocks, on copies of the sample bucket.

#![cfg(test)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const FIRST: &str = "01M84VG4H2WFVW1NK5TSWRT46C";
const SECOND: &str = "01M84VG4KZF13X9WH0HJJ1C366";
/// A name for copies.
const COPY: &str = "01M84VG4H2WFVW1NK5TSWRT46D";

/// A copy of the sample blocks.
struct Bucket {
    folder: tempfile::TempDir,
}

impl Bucket {
    fn sample() -> Self {
        let bucket = Self { folder: tempfile::tempdir().unwrap() };
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/bucket");
        for block in std::fs::read_dir(from).unwrap() {
            let block = block.unwrap();
            let to = bucket.block(&block.file_name().to_string_lossy());
            std::fs::create_dir_all(to.join("chunks")).unwrap();
            for file in ["meta.json", "index", "chunks/000001"] {
                std::fs::copy(block.path().join(file), to.join(file)).unwrap();
            }
        }
        bucket
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("bucket")
    }

    fn block(&self, id: &str) -> PathBuf {
        self.root().join(id)
    }

    fn config(folder: &Path) -> String {
        format!("{{type: FILESYSTEM, config: {{directory: {:?}}}}}", folder.display().to_string())
    }

    fn run(&self, command: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_quiver"))
            .args(["tools", "bucket"])
            .args(command)
            .arg(format!("--objstore.config={}", Self::config(&self.root())))
            .output()
            .unwrap()
    }

    /// What a command that works prints.
    fn done(&self, command: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.run(command);
        assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).unwrap()
    }

    /// Its rows.
    fn rows(&self, command: &[&str]) -> Vec<Value> {
        serde_json::from_str(&self.done(&[command, &["--output=json"]].concat())).unwrap()
    }

    /// The status of a command that fails, and what it says.
    fn refused(&self, command: &[&str]) -> (i32, String) {
        let Output { status, stderr, .. } = self.run(command);
        let log = String::from_utf8(stderr).unwrap();
        let error = log.split_once("error: ").map(|(_, usage)| usage.to_owned());
        let line = log.lines().find(|line| line.starts_with("quiver: ")).map(str::to_owned);
        (status.code().unwrap(), line.or(error).unwrap_or(log))
    }

    fn meta(&self, id: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.block(id).join("meta.json")).unwrap()).unwrap()
    }

    /// Changes `meta.json` of a block.
    fn change_meta(&self, id: &str, change: impl FnOnce(&mut Value)) {
        let mut meta = self.meta(id);
        change(&mut meta);
        std::fs::write(self.block(id).join("meta.json"), meta.to_string()).unwrap();
    }

    /// The block under another name.
    fn double(&self, id: &str, copy: &str) {
        let to = self.block(copy);
        std::fs::create_dir_all(to.join("chunks")).unwrap();
        for file in ["meta.json", "index", "chunks/000001"] {
            std::fs::copy(self.block(id).join(file), to.join(file)).unwrap();
        }
        self.change_meta(copy, |meta| meta["ulid"] = copy.into());
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.root())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.join("meta.json").exists())
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn marks_are_written_and_removed() {
    let bucket = Bucket::sample();
    let id = format!("--id={FIRST}");
    for (flags, status, part) in [
        (vec!["mark", &id, "--marker=deletion-mark.json"], 1, "required flag --details not provided"),
        (vec!["mark", &id, "--marker=mark.json", "--details=x"], 2, "mark.json"),
        (vec!["mark", "--id=nonsense", "--marker=deletion-mark.json", "--details=x"], 2, "nonsense"),
        (vec!["mark", "--marker=deletion-mark.json", "--details=x"], 2, "--id"),
        (
            vec!["mark", "--id=01K00000000000000000000000", "--marker=deletion-mark.json", "--details=x"],
            1,
            "--id=01K00000000000000000000000: there is no such block",
        ),
    ] {
        let (code, line) = bucket.refused(&flags);
        assert!(code == status && line.contains(part), "{code} {line}");
    }
    for marker in ["deletion-mark.json", "no-compact-mark.json", "no-downsample-mark.json"] {
        let file = bucket.block(FIRST).join(marker);
        let marker = format!("--marker={marker}");
        bucket.done(&["mark", &id, &marker, "--details=because"]);
        let written = std::fs::read_to_string(&file).unwrap();
        assert!(written.contains("because") && written.contains(FIRST), "{written}");
        // the first mark stays
        bucket.done(&["mark", &id, &marker, "--details=something else"]);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), written);
        bucket.done(&["mark", &id, &marker, "--remove"]);
        assert!(!file.exists());
    }
}

#[test]
fn what_is_marked_is_deleted_when_it_is_time() {
    let bucket = Bucket::sample();
    let mark =
        |details: &str| format!(r#"{{"id":"{FIRST}","version":1,"details":"{details}","deletion_time":1767300000}}"#);
    std::fs::write(bucket.block(FIRST).join("deletion-mark.json"), mark("source of compacted block")).unwrap();
    // nothing replaces it
    let rows = bucket.rows(&["cleanup"]);
    assert_eq!((rows.len(), &rows[0]["ACTION"]), (1, &"kept".into()), "{rows:?}");
    std::fs::write(bucket.block(FIRST).join("deletion-mark.json"), mark("by hand")).unwrap();
    let rows = bucket.rows(&["cleanup", "--dry-run"]);
    assert_eq!((&rows[0]["ULID"], &rows[0]["ACTION"]), (&FIRST.into(), &"would be deleted".into()), "{rows:?}");
    assert_eq!(bucket.names().len(), 6);
    let table = bucket.done(&["cleanup"]);
    assert!(table.contains("| deleted |") && !bucket.block(FIRST).join("index").exists(), "{table}");
    assert_eq!(bucket.names().len(), 5);
    assert!(bucket.rows(&["cleanup"]).is_empty());
    let (code, line) = bucket.refused(&["cleanup", "--selector.relabel-config=- action: replace"]);
    assert!(code == 1 && line.contains("--selector.relabel-config"), "{line}");
}

#[test]
fn what_is_past_its_retention_is_marked() {
    let bucket = Bucket::sample();
    assert!(bucket.rows(&["retention"]).is_empty(), "by default samples are kept");
    let command = ["retention", "--retention.resolution-raw=1d"];
    let rows = bucket.rows(&[&command[..], &["--dry-run"]].concat());
    assert!(rows.len() == 6 && rows.iter().all(|row| row["ACTION"] == "would be marked"), "{rows:?}");
    assert!(!bucket.block(FIRST).join("deletion-mark.json").exists());
    let only =
        "--selector.relabel-config=- {action: keep, source_labels: [__block_id], regex: 01M84VG4H2WFVW1NK5TSWRT46C}";
    let rows = bucket.rows(&[&command[..], &[only]].concat());
    assert_eq!((rows.len(), &rows[0]["REASON"]), (1, &"block exceeding retention of 86400s".into()), "{rows:?}");
    assert!(bucket.block(FIRST).join("deletion-mark.json").exists());
    assert!(!bucket.block(SECOND).join("deletion-mark.json").exists());
}

#[test]
fn overlaps_and_doubles_are_found_and_doubles_repaired() {
    let bucket = Bucket::sample();
    assert!(bucket.rows(&["verify"]).is_empty(), "nothing is wrong with the sample");
    bucket.double(FIRST, COPY);
    let (code, line) = bucket.refused(&["verify", "-i", "overlapped_blocks", "-i", "duplicated_compaction"]);
    assert_eq!((code, line.as_str()), (1, "quiver: 2 issues found"));
    let found = bucket.run(&["verify", "-i", "overlapped_blocks", "--output=json"]);
    let rows: Vec<Value> = serde_json::from_slice(&found.stdout).unwrap();
    let details = rows[0]["DETAILS"].as_str().unwrap();
    assert!(details.contains(FIRST) && details.contains(COPY) && details.contains("eu-1"), "{details}");
    // of another block nothing is asked
    let other = format!("--id={SECOND}");
    assert!(bucket.rows(&["verify", "-i", "overlapped_blocks", &other]).is_empty());

    for (flags, part) in [
        (vec!["verify", "--repair"], "backup client is required"),
        (vec!["verify", "--repair", "-i", "overlapped_blocks"], "cannot repair it"),
        (vec!["verify", "--id=01K00000000000000000000000"], "has no such block"),
        (vec!["verify", "-i", "nonsense"], "nonsense"),
    ] {
        let (_, line) = bucket.refused(&flags);
        assert!(line.contains(part), "{line}");
    }
    let backup = bucket.folder.path().join("backup");
    std::fs::create_dir_all(&backup).unwrap();
    let to = format!("--objstore-backup.config={}", Bucket::config(&backup));
    let rows = bucket.rows(&["verify", "--repair", "-i", "duplicated_compaction", &to]);
    assert_eq!((rows.len(), &rows[0]["STATE"]), (1, &"repaired".into()), "{rows:?}");
    assert_eq!(bucket.names().len(), 6);
    let taken = rows[0]["ULID"].as_str().unwrap();
    assert!(backup.join(taken).join("meta.json").exists() && !bucket.block(taken).join("index").exists());
    // a backup is never written over
    bucket.double(if taken == COPY { FIRST } else { COPY }, taken);
    let (_, line) = bucket.refused(&["verify", "--repair", "-i", "duplicated_compaction", &to]);
    assert!(line.contains("dir seems to exist in backup bucket"), "{line}");
}

#[test]
fn damaged_indexes_are_found_and_chunks_outside_of_a_block_left_out() {
    let bucket = Bucket::sample();
    let mut index = std::fs::read(bucket.block(FIRST).join("index")).unwrap();
    let middle = index.len() / 2;
    index[middle] ^= 1;
    std::fs::write(bucket.block(FIRST).join("index"), index).unwrap();
    let found = bucket.run(&["verify", "--output=csv"]);
    let text = String::from_utf8(found.stdout).unwrap();
    assert!(!found.status.success() && text.contains(&format!("index_known_issues,{FIRST},found")), "{text}");

    // a block of four hours that says that it ends after two: what begins then is outside, and only that
    let bucket = Bucket { folder: tempfile::tempdir().unwrap() };
    let made = Command::new(env!("CARGO_BIN_EXE_quiver"))
        .args(["tools", "generate", "--series=20", "--duration=4h", "--end=2026-01-01T04:00:00Z"])
        .args(["--block-duration=4h", "--scrape-interval=1m", "--jitter=0s", "--external-label=cluster=eu"])
        .arg(format!("--out={}", bucket.root().display()))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let id = bucket.names().remove(0);
    let samples = bucket.meta(&id)["stats"]["numSamples"].as_u64().unwrap();
    bucket.change_meta(&id, |meta| meta["maxTime"] = (meta["minTime"].as_i64().unwrap() + 7_200_000).into());
    let (code, _) = bucket.refused(&["verify"]);
    assert_eq!(code, 1);
    let backup = bucket.folder.path().join("backup");
    std::fs::create_dir_all(&backup).unwrap();
    let to = format!("--objstore-backup.config={}", Bucket::config(&backup));
    let rows = bucket.rows(&["verify", "--repair", &to]);
    assert_eq!((rows.len(), &rows[0]["STATE"]), (1, &"repaired".into()), "{rows:?}");
    assert!(rows[0]["DETAILS"].as_str().unwrap().contains("completely outside the block"), "{rows:?}");
    let names = bucket.names();
    assert!(names.len() == 1 && names[0] != id && backup.join(&id).join("meta.json").exists());
    let meta = bucket.meta(&names[0]);
    assert_eq!(
        (&meta["stats"]["numSamples"], &meta["thanos"]["source"]),
        (&(samples / 2).into(), &"bucket.repair".into())
    );
    assert!(bucket.rows(&["verify"]).is_empty());
}

#[test]
fn blocks_are_rewritten() {
    let bucket = Bucket::sample();
    let (id, tmp) = (format!("--id={FIRST}"), format!("--tmp.dir={}", bucket.folder.path().join("tmp").display()));
    let delete = r#"--rewrite.to-delete-config=[{matchers: '{__name__="up"}', request_id: r1}]"#;
    for (flags, part) in [
        (vec!["rewrite", &id, &tmp], "rewrite configuration should be provided"),
        (vec!["rewrite", &id, &tmp, "--rewrite.to-delete-config=[{matcher: up}]"], "--rewrite.to-delete-config:1"),
        (vec!["rewrite", &id, &tmp, "--rewrite.to-delete-config=[{matchers: 'up{'}]"], "is not a selector"),
        (vec!["rewrite", &id, &tmp, "--rewrite.to-relabel-config=[{action: nonsense}]"], "--rewrite.to-relabel-config"),
        (vec!["rewrite", "--id=01K00000000000000000000000", &tmp, delete], "has no such block"),
        (vec!["rewrite", &tmp, delete], "--id"),
    ] {
        let (_, line) = bucket.refused(&flags);
        assert!(line.contains(part), "{line}");
    }
    let printed = bucket.done(&["rewrite", &id, &tmp, delete]);
    let deleted = printed.lines().filter(|line| line.starts_with("Deleted {__name__=\"up\"")).count();
    assert!(deleted > 0 && deleted == printed.lines().count(), "{printed}");
    assert_eq!(bucket.names().len(), 6, "the default changes nothing");

    let relabel = "--rewrite.to-relabel-config=[{action: labeldrop, regex: instance}]";
    bucket.done(&["rewrite", &id, &tmp, delete, relabel, "--no-dry-run", "--delete-blocks"]);
    assert!(bucket.block(FIRST).join("deletion-mark.json").exists());
    let before = bucket.meta(FIRST);
    let names = bucket.names();
    let new = names.iter().find(|name| bucket.meta(name)["thanos"]["source"] == "bucket.rewrite").unwrap();
    let meta = bucket.meta(new);
    assert_eq!(meta["compaction"]["sources"], serde_json::json!([new]));
    let rewrite = &meta["thanos"]["rewrites"][0];
    assert_eq!(rewrite["sources"], before["compaction"]["sources"]);
    assert_eq!(rewrite["deletions_applied"][0]["request_id"], "r1");
    assert_eq!(rewrite["relabels_applied"][0]["action"], "labeldrop");
    let count = |meta: &Value, what: &str| meta["stats"][what].as_u64().unwrap();
    assert!(count(&meta, "numSeries") <= count(&before, "numSeries") - deleted as u64, "{meta}");
    assert!(count(&meta, "numSamples") < count(&before, "numSamples"));
    assert_eq!(meta["thanos"]["labels"], before["thanos"]["labels"]);
    let log = std::fs::read_to_string(bucket.folder.path().join("tmp").join(new).join("change.log")).unwrap();
    assert!(log.contains("Relabelled {") && log.contains("Deleted {__name__=\"up\""), "{log}");
    // what came out can be read, and goes on being compacted
    assert!(bucket.rows(&["verify", "-i", "index_known_issues"]).is_empty());
}

#[test]
fn a_part_of_a_series_goes_and_the_rest_stays() {
    let bucket = Bucket::sample();
    let (id, tmp) = (format!("--id={FIRST}"), format!("--tmp.dir={}", bucket.folder.path().join("tmp").display()));
    // half an hour of everything
    let delete = "--rewrite.to-delete-config=[{matchers: '{__name__=~\".+\"}', intervals: [{mint: 1767225600000, maxt: 1767227400000}]}]";
    bucket.done(&["rewrite", &id, &tmp, delete, "--no-dry-run", "--no-rewrite.add-change-log"]);
    let names = bucket.names();
    let new = names.iter().find(|name| bucket.meta(name)["thanos"]["source"] == "bucket.rewrite").unwrap();
    let (before, after) = (bucket.meta(FIRST), bucket.meta(new));
    let count = |meta: &Value| meta["stats"]["numSamples"].as_u64().unwrap();
    let (low, high) = (count(&before) * 70 / 100, count(&before) * 80 / 100);
    assert!((low..high).contains(&count(&after)), "{} of {}", count(&after), count(&before));
    assert!(!bucket.folder.path().join("tmp").join(new).exists());
}

#[test]
fn long_blocks_are_downsampled() {
    let bucket = Bucket { folder: tempfile::tempdir().unwrap() };
    let made = Command::new(env!("CARGO_BIN_EXE_quiver"))
        .args([
            "tools",
            "generate",
            "--series=3",
            "--duration=144h",
            "--end=2026-01-07T00:00:00Z",
            "--block-duration=48h",
        ])
        .args(["--scrape-interval=5m", "--external-label=cluster=eu", "--no-side-index"])
        .arg(format!("--out={}", bucket.root().display()))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let raw = bucket.names();
    let spans: Vec<i64> = raw
        .iter()
        .map(|id| bucket.meta(id))
        .map(|meta| meta["maxTime"].as_i64().unwrap() - meta["minTime"].as_i64().unwrap())
        .collect();
    let long = spans.iter().filter(|&&span| span >= 40 * 3_600_000).count();
    assert!(long > 0, "{spans:?}");
    let data = format!("--data-dir={}", bucket.folder.path().join("data").display());
    bucket.done(&["downsample", "--single-run", &data]);
    let made: Vec<Value> = bucket.names().iter().filter(|id| !raw.contains(id)).map(|id| bucket.meta(id)).collect();
    assert_eq!(made.len(), long, "blocks of {spans:?} ms");
    assert!(made.iter().all(|meta| meta["thanos"]["downsample"]["resolution"] == 300_000), "{made:?}");
    // there is nothing left to do
    bucket.done(&["downsample", "--single-run", &data]);
    assert_eq!(bucket.names().len(), raw.len() + long);
}
