//! Replays what Thanos answered over raw, compacted and downsampled blocks; tests/golden/thanos.txt names the queries whose answers
//! differ, each with its reason. Blocks that our compactor made of the raw ones have to answer as those that Thanos's made.
//!
//! The blocks are larger than what the repository holds: they lie in the folder that `QUIVER_SHARED` names.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use engine::compact::OverlapMerge;
use engine::{QueryRequest, QueryTime};
use flate2::read::GzDecoder;
use promql::tree::Grid;
use serde_json::Value;

use crate::compacted::compacted;
use crate::comparison::Case;
use crate::served::{Served, engine_settings, golden};

const HOUR_MS: i64 = 3_600_000;

/// Queries that Thanos answered over the blocks of a bucket.
struct Replay {
    /// Of the file with the answers, and of the lines of tests/golden/thanos.txt.
    name: &'static str,
    blocks: usize,
    queries: usize,
}

const RAW: Replay = Replay { name: "raw", blocks: 30, queries: 168 };
const PLAIN: Replay = Replay { name: "plain", blocks: 20, queries: 280 };
const PENALTY: Replay = Replay { name: "penalty", blocks: 10, queries: 280 };

#[test]
fn thanos_would_answer_the_same() {
    let Some(golden) = shared_golden() else { return };
    RAW.check(&golden, &golden.join("bucket"));
}

#[test]
fn plain_blocks_answer_the_same_whoever_compacted_them() {
    PLAIN.check_compacted(None);
}

#[test]
fn merged_replicas_answer_the_same_whoever_compacted_them() {
    PENALTY.check_compacted(Some(OverlapMerge::Penalty));
}

/// The folder of golden data; none where it is not named.
fn shared_golden() -> Option<PathBuf> {
    let shared = std::env::var_os("QUIVER_SHARED");
    if shared.is_none() {
        eprintln!("skipped: QUIVER_SHARED is not set");
    }
    Some(PathBuf::from(shared?).join("golden"))
}

#[test]
fn plans_show_what_is_read() {
    let Some(golden) = shared_golden() else { return };
    let served = Served::over(golden.join("compacted/plain"), 1);
    let grid = Grid { start: 1_767_225_600_000, end: 1_768_780_800_000, step_ms: HOUR_MS };
    let check = |query: &str, max_resolution_ms: i64, expected: &[&str]| {
        let request = QueryRequest { max_resolution_ms, ..QueryRequest::new(query, QueryTime::Range(grid)) };
        let plan = served.explain(request);
        expected.iter().for_each(|part| assert!(plan.contains(part), "{query} lacks {part:?}:\n{plan}"));
    };
    let us = "up{cluster=\"us-2\"}";
    check(us, HOUR_MS, &["reads=average", "parts=6 (2 of 1h, 4 of 5m)"]);
    check(&format!("max_over_time({us}[1h])"), 300_000, &["reads=max", "parts=6 (6 of 5m)"]);
    // two samples an hour are windows of half an hour at the most
    check(&format!("rate({us}[1h])"), HOUR_MS, &["reads=counter", "parts=6 (6 of 5m)"]);
    check("sum by (cluster) (up)", HOUR_MS, &["parts=12 (2 of 1h, 4 of 5m, 6 of raw)"]);
    let raw = served.explain(QueryRequest::new(us, QueryTime::Range(grid)));
    assert!(!raw.contains("reads=") && raw.contains("parts=6\n"), "{raw}");
}

impl Replay {
    /// As [`check`](Self::check), over the blocks that Thanos's compactor made and over those that ours makes. Where an answer is not
    /// Thanos's, it is the same one over both.
    fn check_compacted(&self, merge: Option<OverlapMerge>) {
        let Some(golden) = shared_golden() else { return };
        let theirs = self.check(&golden, &golden.join("compacted").join(self.name));
        let ours = self.check(&golden, compacted(&golden.join("bucket"), merge).path());
        assert_eq!(ours, theirs);
    }

    /// The blocks of `bucket` give Thanos's answers, but to the queries that are listed. Returns what differs in these.
    fn check(&self, golden: &Path, bucket: &Path) -> BTreeMap<String, String> {
        let name = self.name;
        let cases = cases(&golden.join(format!("expected/thanos-{name}.jsonl.gz")));
        assert_eq!(cases.len(), self.queries, "{name}");
        let differences = replay(bucket, self.blocks, &cases);
        eprintln!("{}", numbers(name, &cases, &differences));
        let all = listed();
        let listed: BTreeSet<&str> = all.iter().filter_map(|line| line.strip_prefix(name)?.strip_prefix('/')).collect();
        let mut report = String::new();
        for (id, difference) in differences.iter().filter(|(id, _)| !listed.contains(*id)) {
            let _ = writeln!(report, "{name}/{id} {difference}");
        }
        for id in listed.iter().filter(|id| !differences.contains_key(*id)) {
            let _ = writeln!(report, "{name}/{id} agrees: take it off tests/golden/thanos.txt");
        }
        assert!(report.is_empty(), "{}\n{report}", bucket.display());
        differences.into_iter().map(|(id, difference)| (id.to_owned(), difference)).collect()
    }
}

/// What differs, by the query's id.
fn replay<'a>(bucket: &Path, blocks: usize, cases: &'a [Case]) -> BTreeMap<&'a str, String> {
    let settings = engine::EngineSettings { replica_labels: vec!["replica".to_owned()], ..engine_settings(2) };
    let served = Served::over_with(bucket.to_path_buf(), settings);
    assert_eq!(served.blocks(), blocks, "{}", bucket.display());
    let differences: Mutex<BTreeMap<&str, String>> = Mutex::default();
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(difference) = ask(&served, case) {
                differences.lock().unwrap().insert(&case.id, format!("{}\n    {difference}", case.query));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, std::num::NonZero::get) {
            scope.spawn(work);
        }
    });
    differences.into_inner().unwrap()
}

/// Asks one query and compares the answer.
fn ask(served: &Served, case: &Case) -> Result<(), String> {
    let text = |name: &str| match &case.line[name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut form = vec![("query", case.query.clone())];
    form.extend(["start", "end", "step", "dedup", "max_source_resolution"].map(|name| (name, text(name))));
    let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let (status, body) = served.post("query_range", &form);
    let reply: Value = serde_json::from_slice(&body).map_err(|e| format!("HTTP {status}, not JSON: {e}"))?;
    case.compare(status, &reply)
}

fn cases(file: &Path) -> Vec<Case> {
    let file = File::open(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    BufReader::new(GzDecoder::new(file)).lines().map(|line| Case::parse(&line.unwrap())).collect()
}

/// The queries that are known to differ, as `file/id`.
fn listed() -> BTreeSet<String> {
    let text = std::fs::read_to_string(golden("thanos.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(str::to_owned).collect()
}

/// How many queries agree, a line for each range, resolution and deduplication.
fn numbers(name: &str, cases: &[Case], differences: &BTreeMap<&str, String>) -> String {
    let mut groups: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for case in cases {
        let dedup = if case.line["dedup"] == true { "dedup" } else { "no dedup" };
        let group = format!("{} {} {dedup}", case.group(), case.line["max_source_resolution"].as_str().unwrap());
        let (agree, differ) = groups.entry(group).or_default();
        *(if differences.contains_key(case.id.as_str()) { differ } else { agree }) += 1;
    }
    let mut text = String::new();
    for (group, (agree, differ)) in groups {
        let _ = writeln!(text, "{name:8} {group:24} {agree:5} agree {differ:5} differ");
    }
    text
}
