//! `quiver compact` as a process over a bucket in which something is wrong: what it says and counts, that other groups go on, and that
//! the command in its log repairs it.

#![cfg(test)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

use serde_json::Value;

const FIRST: &str = "01M84VG4H2WFVW1NK5TSWRT46C";

/// The sample bucket, as the group of replica a, and beside it the same of replica b.
struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { folder: tempfile::tempdir().unwrap() };
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/bucket");
        for block in std::fs::read_dir(from).unwrap() {
            let block = block.unwrap();
            let id = block.file_name().to_string_lossy().into_owned();
            scene.copy(&block.path(), &id, "a", None);
            scene.copy(&block.path(), &other(&id, 'X'), "b", None);
        }
        let config = format!("type: FILESYSTEM\nconfig:\n  directory: {}\n", scene.bucket().display());
        std::fs::write(scene.config(), config).unwrap();
        scene
    }

    /// There is another one of replica b's first block, of other sources.
    fn with_overlap(self) -> Self {
        let source = other(FIRST, 'Y');
        self.copy(&self.bucket().join(FIRST), &source, "b", Some(&source));
        self
    }

    /// A bit in the chunks of replica a's first block is another one.
    fn with_damage(self) -> Self {
        let segment = self.bucket().join(FIRST).join("chunks/000001");
        let mut bytes = std::fs::read(&segment).unwrap();
        bytes[100] ^= 1;
        std::fs::write(segment, bytes).unwrap();
        self
    }

    fn bucket(&self) -> PathBuf {
        self.folder.path().join("bucket")
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("bucket.yml")
    }

    fn copy(&self, block: &Path, id: &str, replica: &str, source: Option<&str>) {
        let to = self.bucket().join(id);
        std::fs::create_dir_all(to.join("chunks")).unwrap();
        for file in ["index", "chunks/000001"] {
            std::fs::copy(block.join(file), to.join(file)).unwrap();
        }
        let mut meta: Value = serde_json::from_slice(&std::fs::read(block.join("meta.json")).unwrap()).unwrap();
        meta["ulid"] = id.into();
        meta["thanos"]["labels"]["replica"] = replica.into();
        if let Some(source) = source {
            meta["compaction"]["sources"] = serde_json::json!([source]);
        }
        std::fs::write(to.join("meta.json"), meta.to_string()).unwrap();
    }

    fn compact(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_quiver"));
        command
            .arg("compact")
            .arg(format!("--objstore.config-file={}", self.config().display()))
            .arg(format!("--data-dir={}", self.folder.path().join("data").display()))
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    /// Does in a shell what the log says, with the bucket's configuration for FILE.
    fn follow(&self, command: &str) {
        let command = command.replace("FILE", &self.config().display().to_string());
        let program = Path::new(env!("CARGO_BIN_EXE_quiver")).parent().unwrap();
        assert!(command.starts_with("quiver "), "{command}");
        let done = Command::new("/bin/sh").args(["-c", &command]).env("PATH", program).output().unwrap();
        assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

fn other(id: &str, last: char) -> String {
    format!("{}{last}", &id[..id.len() - 1])
}

/// A compactor that waits for more to do, killed with the value.
struct Compactor {
    process: Child,
    log: BufReader<ChildStderr>,
}

impl Compactor {
    fn start(scene: &Scene, flags: &[&str]) -> Self {
        let flags = [&["--wait", "--http-address=127.0.0.1:0"], flags].concat();
        let mut process = scene.compact(&flags).spawn().unwrap();
        let log = BufReader::new(process.stderr.take().unwrap());
        Self { process, log }
    }

    /// Where it serves its metrics.
    fn address(&mut self) -> String {
        self.wait_for("listening for HTTP").split("address=").nth(1).unwrap().trim().to_owned()
    }

    /// The first line of the log from here on that holds `text`.
    fn wait_for(&mut self, text: &str) -> String {
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            assert!(self.log.read_line(&mut line).unwrap() > 0, "no {text:?} in\n{seen}");
            if line.contains(text) {
                return line;
            }
            seen.push_str(&line);
        }
    }
}

impl Drop for Compactor {
    fn drop(&mut self) {
        // gone already where the test went wrong
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn metrics(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /metrics HTTP/1.0\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

fn assert_metrics(metrics: &str, lines: &[&str]) {
    for line in lines {
        assert!(metrics.lines().any(|found| found == *line), "{line} in\n{metrics}");
    }
}

/// What promtool has against the names and texts of metrics.
fn promtool_complains(metrics: &str) -> Option<String> {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = match command.spawn() {
        Ok(promtool) => promtool,
        Err(error) => {
            eprintln!("skipped: promtool does not run: {error}");
            return None;
        }
    };
    promtool.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    // a text that does not parse ends with 1, what is only to be bettered with 3
    (output.status.code() == Some(1)).then_some(said)
}

#[test]
fn an_overlap_stops_its_group_and_the_log_says_how_to_go_on() {
    let scene = Scene::new().with_overlap();
    let mut compactor = Compactor::start(&scene, &[]);
    let address = compactor.address();
    let line = compactor.wait_for("a group of blocks is left alone");
    assert!(line.contains("level=error"), "{line}");
    let (one, two) = (other(FIRST, 'X'), other(FIRST, 'Y'));
    for part in [one.as_str(), &two, "2026-01-01T00:00:00", "2026-01-01T02:00:00", "eu-1", "sources"] {
        assert!(line.contains(part), "{part} in {line}");
    }
    let done = compactor.wait_for("compaction iterations done");
    assert!(done.contains("halted=1"), "{done}");
    let metrics = metrics(&address);
    let expected = [
        "thanos_compact_halted 1",
        "thanos_compact_iterations_total 1",
        // of the other group, in the same run
        "thanos_compact_group_compactions_total{resolution=\"0\"} 1",
        "thanos_compact_blocks_marked_total{marker=\"no-compact-mark.json\",reason=\"overlapping-blocks\"} 2",
    ];
    assert_metrics(&metrics, &expected);
    assert_eq!(promtool_complains(&metrics), None);
    drop(compactor);

    // the command, as it stands there
    scene.follow(line.split("once their marks are removed: ").nth(1).unwrap().split("; or").next().unwrap());
    let merged = scene.compact(&["--compact.enable-vertical-compaction"]).output().unwrap();
    assert!(merged.status.success(), "{}", String::from_utf8_lossy(&merged.stderr));
    // the blocks came without side-indexes: they were made there, and went with the blocks that were replaced
    let side_indexes = scene.folder.path().join("data/compact/side-index");
    assert_eq!(std::fs::read_dir(side_indexes).unwrap().count(), 0);
}

#[test]
fn a_damaged_block_stops_its_group_and_the_log_says_how_to_go_on() {
    let scene = Scene::new().with_damage();
    let mut compactor = Compactor::start(&scene, &[]);
    let address = compactor.address();
    let line = compactor.wait_for("a group of blocks is left alone");
    for part in ["level=error", FIRST, "chunks/000001", "eu-1"] {
        assert!(line.contains(part), "{part} in {line}");
    }
    let done = compactor.wait_for("compaction iterations done");
    assert!(done.contains("halted=1"), "{done}");
    let metrics = metrics(&address);
    let expected = [
        "thanos_compact_halted 1",
        "thanos_compact_group_compactions_failures_total{resolution=\"0\"} 1",
        "thanos_compact_group_compactions_total{resolution=\"0\"} 1",
        "thanos_compact_blocks_marked_total{marker=\"no-compact-mark.json\",reason=\"corrupt-block\"} 1",
    ];
    assert_metrics(&metrics, &expected);
    drop(compactor);
    // it stays so until something is done
    assert!(!scene.compact(&[]).output().unwrap().status.success());

    scene.follow(line.split("or mark it for deletion: ").nth(1).unwrap().split('"').next().unwrap());
    let without = scene.compact(&[]).output().unwrap();
    assert!(without.status.success(), "{}", String::from_utf8_lossy(&without.stderr));
}

#[test]
fn all_work_stops_where_that_is_asked_for() {
    let scene = Scene::new().with_overlap();
    let mut compactor = Compactor::start(&scene, &["--debug.halt-on-error", "--wait-interval=1ms"]);
    compactor.wait_for("critical error detected; halting");
    // without --wait the command ends, and says why
    drop(compactor);
    let failed = scene.compact(&[]).output().unwrap();
    let log = String::from_utf8(failed.stderr).unwrap();
    assert!(!failed.status.success() && log.contains("quiver: 0@"), "{log}");
}
