//! Queries that were written to hurt: refused quickly, with 400, on a thread with a small stack.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::served::Served;

/// What a thread gets from Rust and from tokio unless it asks for more.
const STACK_BYTES: usize = 2 << 20;

/// How long a refusal may take: 50 ms; a debug build on a busy machine gets ten times as long.
const REFUSED_WITHIN: Duration = Duration::from_millis(if cfg!(debug_assertions) { 500 } else { 50 });

/// How often something is repeated: far past the limit on a query's length, and just short of it.
const OFTEN: [usize; 2] = [100_000, 12_000];

/// Asks on a thread with a small stack and expects a refusal, in time at least once of three.
fn check_refused(name: &str, query: &str) {
    let pairs = [("query", query), ("time", "1767250800")];
    let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    let form_bytes = form.len();
    let ask = move || {
        let served = Served::shared();
        let mut fastest = Duration::MAX;
        for _ in 0..3 {
            let form = form.clone();
            let started = Instant::now();
            let (status, body) = served.post_encoded("query", form);
            fastest = fastest.min(started.elapsed());
            let reply: Value = serde_json::from_slice(&body).unwrap();
            let (status_text, kind) = (&reply["status"], &reply["errorType"]);
            assert_eq!(
                (status, status_text.as_str(), kind.as_str()),
                (400, Some("error"), Some("bad_data")),
                "{body:?}"
            );
            // a message may quote what was asked, once
            assert!(body.len() < form_bytes + 1000, "an error of {} bytes", body.len());
        }
        fastest
    };
    let thread = std::thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES);
    let fastest = thread.spawn(ask).unwrap().join().unwrap();
    eprintln!("{name}: refused after {fastest:?}");
    assert!(fastest < REFUSED_WITHIN, "{name}: refused after {fastest:?}");
}

#[test]
fn malformed_queries() {
    for query in ["", "sum(", "up{", "up[5m", "1 +", "{}", "up{a=~\"(\"}", "\u{0}", "up offset", "sum by (job", "\"\\"]
    {
        check_refused(&format!("malformed {query:?}"), query);
    }
}

#[test]
fn deep_parentheses() {
    for n in OFTEN {
        check_refused("parentheses", &format!("{}1{}", "(".repeat(n), ")".repeat(n)));
        check_refused("open parentheses", &"(".repeat(n));
    }
}

#[test]
fn many_terms() {
    for n in OFTEN {
        check_refused("sum of ones", &vec!["1"; n].join("+"));
        check_refused("powers", &vec!["1"; n].join("^"));
        check_refused("sets", &vec!["a"; n].join(" or "));
    }
}

#[test]
fn many_signs() {
    for n in OFTEN {
        check_refused("minus", &format!("{}1", "-".repeat(n)));
        check_refused("minus and plus", &format!("{}1", "-+".repeat(n)));
    }
}

#[test]
fn nested_calls() {
    for n in OFTEN {
        check_refused("abs", &format!("{}up{}", "abs(".repeat(n), ")".repeat(n)));
        check_refused("sum", &format!("{}up{}", "sum(".repeat(n), ")".repeat(n)));
        check_refused("subqueries", &format!("up{}", "[1m:1s]".repeat(n / 2)));
    }
}

#[test]
fn hostile_matchers() {
    for n in OFTEN {
        check_refused("open braces", &"{".repeat(n));
        check_refused("nested groups", &format!("up{{a=~\"{}{}\"}}", "(".repeat(n), ")".repeat(n)));
    }
    check_refused("huge repetition", "up{a=~\"((a{1000}){1000}){1000}\"}");
}

#[test]
fn more_than_11_000_points() {
    let served = Served::shared();
    let ask = |end: &str| {
        let form = [("query", "vector(1)"), ("start", "0"), ("end", end), ("step", "1")];
        let (status, body) = served.post("query_range", &form);
        (status, serde_json::from_slice::<Value>(&body).unwrap())
    };
    let (status, reply) = ask("11001");
    assert_eq!((status, reply["errorType"].as_str()), (400, Some("bad_data")), "{reply}");
    assert!(reply["error"].as_str().unwrap().contains("11,000 points"), "{reply}");
    let (status, reply) = ask("11000");
    assert_eq!(status, 200, "{reply}");
    assert_eq!(reply["data"]["result"][0]["values"].as_array().unwrap().len(), 11_001);
}
