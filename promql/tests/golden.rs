//! The queries of the recorded answers and of Prometheus's own test scripts: they parse, or are refused in Prometheus's words.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use promql::{Expr, LowerOptions, ParseOptions, lower, parse};
use serde_json::Value;

fn golden() -> Option<PathBuf> {
    let shared = std::env::var_os("QUIVER_SHARED");
    if shared.is_none() {
        eprintln!("skipped: QUIVER_SHARED is not set");
    }
    Some(Path::new(&shared?).join("golden"))
}

fn times() -> LowerOptions {
    LowerOptions { start: 1_000_000, end: 4_600_000, step_ms: 60_000, default_subquery_step_ms: 60_000 }
}

/// The printed form parses to what prints the same.
fn check_round_trip(expr: &Expr, query: &str) {
    let printed = expr.to_string();
    let again = parse(&printed, &ParseOptions::experimental()).unwrap_or_else(|e| panic!("{query}\n{printed}\n{e}"));
    assert_eq!(again.to_string(), printed, "{query}");
}

#[test]
fn recorded_answers() {
    const PREFIX: &str = "invalid parameter \"query\": ";
    let Some(golden) = golden() else { return };
    let file = File::open(golden.join("expected/prometheus.jsonl.gz")).unwrap();
    let (mut accepted, mut refused, mut wrong) = (0, 0, Vec::new());
    for line in BufReader::new(GzDecoder::new(file)).lines() {
        let record: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let query = record["query"].as_str().unwrap();
        let error = (record["errorType"] == "bad_data").then(|| record["error"].as_str().unwrap());
        let range = record["kind"] == "range";
        let answer = parse(query, &ParseOptions::experimental()).map_err(|e| e.to_string()).and_then(|expr| {
            if range {
                promql::require_range_type(&expr).map_err(|e| e.to_string())?;
            }
            lower(&expr, &times()).map(|_| expr).map_err(|e| e.to_string())
        });
        match (answer, error) {
            (Ok(expr), None) => {
                accepted += 1;
                check_round_trip(&expr, query);
            }
            (Err(found), Some(expected)) if Some(found.as_str()) == expected.strip_prefix(PREFIX) => refused += 1,
            (found, expected) => wrong.push(format!("{query}\n  expected {expected:?}\n  found {:?}", found.err())),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!((accepted, refused), (1403 - 33, 33));
}

/// The queries of a test script: what follows `eval instant at T` or `eval range from A to B step C`.
fn script_queries(script: &str) -> Vec<String> {
    let mut queries = Vec::new();
    for line in script.lines().map(str::trim) {
        let Some(rest) = line.strip_prefix("eval") else { continue };
        let mut rest = rest.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_').trim_start();
        let header = if rest.starts_with("instant") { 3 } else { 7 };
        for _ in 0..header {
            rest = rest.split_once(char::is_whitespace).map_or("", |(_, rest)| rest.trim_start());
        }
        queries.push(rest.to_string());
    }
    queries
}

#[test]
fn test_scripts() {
    let Some(golden) = golden() else { return };
    let (mut total, mut wrong) = (0, Vec::new());
    let mut scripts: Vec<PathBuf> =
        std::fs::read_dir(golden.join("promqltest")).unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.sort();
    for script in scripts {
        for query in script_queries(&std::fs::read_to_string(&script).unwrap()) {
            total += 1;
            match parse(&query, &ParseOptions::experimental()) {
                Ok(expr) => {
                    // The two queries with text that is not UTF-8 are expected to fail.
                    let refused = lower(&expr, &times()).map_err(|e| e.to_string()).err();
                    if refused.is_some() != (query.contains(r"\xc5") || query.contains(r"\xff")) {
                        wrong.push(format!("{}: {query}\n  lowering: {refused:?}", script.display()));
                    }
                    check_round_trip(&expr, &query);
                }
                Err(e) => wrong.push(format!("{}: {query}\n  {e}", script.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {total}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(total > 2000, "{total}");
}

/// Differential: where the promql-parser library takes a query too, what it prints means the same to us.
#[test]
fn agrees_with_the_library() {
    /// The library drops unary plus and does not remember durations as such.
    const KNOWN: [&str; 4] = ["+up", "5m", "1h30m", "vector(1) + 5m"];
    let Some(golden) = golden() else { return };
    let file = File::open(golden.join("expected/prometheus.jsonl.gz")).unwrap();
    let (mut both, mut wrong) = (0, Vec::new());
    for line in BufReader::new(GzDecoder::new(file)).lines() {
        let record: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let query = record["query"].as_str().unwrap();
        let (Ok(ours), Ok(theirs)) = (parse(query, &ParseOptions::experimental()), promql_parser::parser::parse(query))
        else {
            continue;
        };
        both += 1;
        let theirs = theirs.to_string();
        let reread =
            parse(&theirs, &ParseOptions::experimental()).map_or_else(|e| e.to_string(), |expr| expr.to_string());
        if reread != ours.to_string() && !KNOWN.contains(&query) {
            wrong.push(format!("{query}\n  ours   {ours}\n  theirs {theirs}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {both}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(both > 1300, "{both}");
}
