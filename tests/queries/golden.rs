//! Replays what Prometheus answered; tests/golden/listed.txt names the few queries whose answers still differ.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use flate2::read::GzDecoder;
use serde_json::Value;

use crate::comparison::Case;
use crate::served::{Served, golden};

/// How many queries each group holds, so that none goes missing.
const GROUPS: [(&str, usize); 19] = [
    ("absent", 16),
    ("agg", 96),
    ("agg_param", 44),
    ("binop", 84),
    ("classic_hist", 28),
    ("compare", 96),
    ("dash", 30),
    ("error", 27),
    ("label", 20),
    ("match", 22),
    ("math", 156),
    ("native_hist", 248),
    ("offset", 46),
    ("range_fn", 192),
    ("range_fn_special", 144),
    ("selector", 44),
    ("set", 30),
    ("subquery", 48),
    ("time", 32),
];

/// The only groups whose queries may be listed.
const MAY_DIFFER: [&str; 3] = ["agg_param", "native_hist", "range_fn_special"];

/// The only queries of other groups that may be listed: both ask for `1_000`.
const MAY_DIFFER_TOO: [&str; 2] = ["math-398", "math-398r"];

#[test]
fn prometheus_would_answer_the_same() {
    let served = Served::shared();
    let cases = cases();
    let differences: Mutex<BTreeMap<&str, String>> = Mutex::default();
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(difference) = ask(served, case) {
                differences.lock().unwrap().insert(&case.id, format!("{}\n    {difference}", case.query));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, std::num::NonZero::get) {
            scope.spawn(work);
        }
    });
    let differences = differences.into_inner().unwrap();
    eprintln!("{}", numbers(&cases, &differences));
    let listed = listed();
    let mut report = String::new();
    for (id, difference) in differences.iter().filter(|(id, _)| !listed.contains(**id)) {
        let _ = writeln!(report, "{id} {difference}");
    }
    for id in listed.iter().filter(|id| !differences.contains_key(id.as_str())) {
        let _ = writeln!(report, "{id} agrees: take it off tests/golden/listed.txt");
    }
    assert!(report.is_empty(), "\n{report}");
}

/// Asks one query and compares the answer.
fn ask(served: &Served, case: &Case) -> Result<(), String> {
    let number = |name: &str| case.line[name].to_string();
    let mut form = vec![("query", case.query.clone())];
    let (path, times): (&str, &[&str]) =
        if case.instant { ("query", &["time"]) } else { ("query_range", &["start", "end", "step"]) };
    form.extend(times.iter().map(|name| (*name, number(name))));
    form.extend(["cluster", "replica"].map(|label| ("replicaLabels[]", label.to_owned())));
    let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let (status, body) = served.post(path, &form);
    let reply: Value = serde_json::from_slice(&body).map_err(|e| format!("HTTP {status}, not JSON: {e}"))?;
    case.compare(status, &reply)
}

/// Every recorded query.
pub fn cases() -> Vec<Case> {
    let file = File::open(golden("expected/prometheus.jsonl.gz")).unwrap();
    BufReader::new(GzDecoder::new(file)).lines().map(|line| Case::parse(&line.unwrap())).collect()
}

/// The ids of queries whose answers are known to differ.
fn listed() -> BTreeSet<String> {
    let text = std::fs::read_to_string(golden("listed.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let ids: BTreeSet<String> = lines.map(|line| line.split(' ').next().unwrap_or(line).to_owned()).collect();
    for id in &ids {
        let group = id.split('-').next().unwrap_or(id);
        assert!(MAY_DIFFER.contains(&group) || MAY_DIFFER_TOO.contains(&id.as_str()), "{id} may not be listed");
    }
    ids
}

/// How many queries agree, a line a group.
fn numbers(cases: &[Case], differences: &BTreeMap<&str, String>) -> String {
    let mut groups: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for case in cases {
        let (agree, differ) = groups.entry(case.group()).or_default();
        *(if differences.contains_key(case.id.as_str()) { differ } else { agree }) += 1;
    }
    let sizes: Vec<(&str, usize)> = groups.iter().map(|(name, (agree, differ))| (*name, agree + differ)).collect();
    assert_eq!(sizes, GROUPS);
    let mut text = String::new();
    for (group, (agree, differ)) in groups {
        let _ = writeln!(text, "{group:18} {agree:5} agree {differ:5} differ");
    }
    text
}
