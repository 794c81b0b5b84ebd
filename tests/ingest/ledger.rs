//! What was sent, what of it was acknowledged, and whether what is there fits: nothing acknowledged lost, nothing twice, nothing that
//! was never sent.
//!
//! Every sample follows from its series and its time, so a ledger of requests is enough to check all of them, bit for bit.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use serde_json::Value;

use crate::golden::wire;
use crate::requests::{REMOTE_WRITE, REMOTE_WRITE_2, compress};
use crate::server::Server;

/// The series that one request brings a sample of each.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    pub tenant: &'static str,
    pub floats: u64,
    pub histograms: u64,
    /// Whether it is sent as version 2.0.
    pub is_v2: bool,
    /// Whether every other request is older than the one before it.
    pub is_late: bool,
}

/// One request.
#[derive(Debug, Clone, Copy)]
struct Sent {
    group: usize,
    t: i64,
    acknowledged: bool,
}

/// Requests in the order in which they were sent.
#[derive(Debug)]
pub struct Ledger {
    groups: Vec<Group>,
    start_ms: i64,
    sent: Vec<Sent>,
}

/// A request that is to be sent.
pub struct Request {
    /// What [`Ledger::acknowledge`] wants.
    pub number: usize,
    pub headers: String,
    pub body: Vec<u8>,
}

/// What a check of everything came across.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    pub acknowledged: u64,
    /// Samples of requests that nobody was told of.
    pub others: u64,
}

/// From one request of a group to the next.
const STEP_MS: i64 = 2_000;
/// How much older a late request is; no multiple of the step, so that no two samples of a series have the same time.
const LATE_MS: i64 = 25_001;

impl Ledger {
    /// Nothing sent yet; samples begin at `start`, in seconds.
    pub fn new(groups: &[Group], start: i64) -> Self {
        Self { groups: groups.to_vec(), start_ms: start * 1_000, sent: Vec::new() }
    }

    /// The next request of a group.
    pub fn next(&mut self, group: usize) -> Request {
        let of = self.groups[group];
        let before = self.sent.iter().filter(|sent| sent.group == group).count() as i64;
        let late = if of.is_late && before % 2 == 1 { LATE_MS } else { 0 };
        let t = self.start_ms + before * STEP_MS - late;
        self.sent.push(Sent { group, t, acknowledged: false });
        let protocol = if of.is_v2 { REMOTE_WRITE_2 } else { REMOTE_WRITE };
        let headers = format!("{protocol}THANOS-TENANT: {}\r\n", of.tenant);
        Request { number: self.sent.len() - 1, headers, body: body(group, of, t) }
    }

    /// Notes that a request was answered with success.
    pub fn acknowledge(&mut self, number: usize) {
        self.sent[number].acknowledged = true;
    }

    /// Sends a request of a group; says with which status it was answered.
    pub fn write(&mut self, server: &Server, group: usize) -> u16 {
        let request = self.next(group);
        let answer = server.post("/api/v1/write", &request.headers, &request.body);
        let status = status(&answer).unwrap_or_else(|| panic!("{answer:?} is no answer"));
        if status == 204 {
            self.acknowledge(request.number);
        }
        status
    }

    /// Counts the samples of the requests that were acknowledged last.
    pub fn check_newest(&self, server: &Server, requests: usize) {
        for sent in self.sent.iter().rev().filter(|sent| sent.acknowledged).take(requests) {
            let group = self.groups[sent.group];
            let time = format!("{}.{:03}", sent.t / 1_000, sent.t % 1_000);
            for (name, expected) in [("written", group.floats), ("measured", group.histograms)] {
                // only what is at this very time
                let query = format!("sum(count_over_time({name}{{group=\"{}\"}}[1ms]))", sent.group);
                let data = server.data("/api/v1/query", &[("query", &query), ("time", &time)]);
                let count = data["result"][0]["value"][1].as_str().unwrap_or("0");
                assert_eq!(count, expected.to_string(), "{name} of {sent:?}");
            }
        }
    }

    /// Reads everything and compares each sample.
    pub fn check_all(&self, server: &Server) -> Found {
        let mut found = Found::default();
        for (number, group) in self.groups.iter().enumerate() {
            let mut times: BTreeMap<i64, bool> = BTreeMap::new();
            for sent in self.sent.iter().filter(|sent| sent.group == number) {
                assert_eq!(times.insert(sent.t, sent.acknowledged), None, "the ledger has a time twice");
            }
            let (Some((first, _)), Some((last, _))) = (times.first_key_value(), times.last_key_value()) else {
                continue;
            };
            for (name, count) in [("written", group.floats), ("measured", group.histograms)] {
                let query = format!("{name}{{group=\"{number}\"}}[{}ms]", last - first + 1);
                let time = format!("{}.{:03}", last / 1_000, last % 1_000);
                let data = server.data("/api/v1/query", &[("query", &query), ("time", &time)]);
                let mut seen = BTreeSet::new();
                for row in data["result"].as_array().unwrap() {
                    let n: u64 = row["metric"]["n"].as_str().unwrap().parse().unwrap();
                    assert_eq!(row["metric"]["tenant_id"], group.tenant);
                    assert!(n < count && seen.insert(n), "{row}");
                    check_series(row, number, n, &times, &mut found);
                }
                let acknowledged = times.values().any(|acknowledged| *acknowledged);
                assert!(!acknowledged || seen.len() as u64 == count, "{name} of {number}: {} series", seen.len());
            }
        }
        found
    }

    /// How many samples were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        let acknowledged = self.sent.iter().filter(|sent| sent.acknowledged).map(|sent| self.groups[sent.group]);
        acknowledged.map(|group| group.floats + group.histograms).sum()
    }
}

/// Compares the samples of a series, each of which was sent, with the times at which they were and whether that is acknowledged.
fn check_series(row: &Value, group: usize, n: u64, times: &BTreeMap<i64, bool>, found: &mut Found) {
    let mut present = BTreeSet::new();
    let mut before = i64::MIN;
    let points = ["values", "histograms"].into_iter().filter_map(|kind| row[kind].as_array());
    for point in points.flatten() {
        let t = (point[0].as_f64().unwrap() * 1_000.0).round() as i64;
        assert!(t > before, "{before}, then {t}: {row}");
        before = t;
        let acknowledged = times.get(&t).unwrap_or_else(|| panic!("nothing was sent for {t}: {row}"));
        *(if *acknowledged { &mut found.acknowledged } else { &mut found.others }) += 1;
        match point[1].as_str() {
            Some(text) => {
                assert_eq!(text.parse::<f64>().unwrap().to_bits(), value(group, n, t).to_bits(), "at {t}: {row}")
            }
            None => check_histogram(&point[1], group, n, t),
        }
        present.insert(t);
    }
    let lost: Vec<i64> = times.iter().filter(|(t, acked)| **acked && !present.contains(t)).map(|(t, _)| *t).collect();
    assert!(lost.is_empty(), "lost of {}: {lost:?}", row["metric"]);
}

fn check_histogram(shown: &Value, group: usize, n: u64, t: i64) {
    let counts = buckets(group, n, t);
    let text = |value: &Value| value.as_str().unwrap().parse::<f64>().unwrap();
    assert_eq!(text(&shown["count"]), counts.iter().sum::<u64>() as f64, "at {t}: {shown}");
    assert_eq!(text(&shown["sum"]).to_bits(), value(group, n, t).to_bits(), "at {t}: {shown}");
    let found: Vec<f64> = shown["buckets"].as_array().unwrap().iter().map(|bucket| text(&bucket[3])).collect();
    assert_eq!(found, counts.map(|count| count as f64), "at {t}: {shown}");
}

/// Noise: no two samples are alike, and none can be compressed.
fn noise(group: usize, n: u64, t: i64) -> u64 {
    let mut x = (group as u64) << 56 ^ n << 40 ^ t.cast_unsigned();
    for factor in [0x9E37_79B9_7F4A_7C15, 0xBF58_476D_1CE4_E5B9] {
        x = (x ^ x >> 29).wrapping_mul(factor);
    }
    x ^ x >> 32
}

fn value(group: usize, n: u64, t: i64) -> f64 {
    (noise(group, n, t) >> 11) as f64 / 1024.0
}

/// The counts of a histogram: three buckets that are not empty.
fn buckets(group: usize, n: u64, t: i64) -> [u64; 3] {
    let noise = noise(group, n, t);
    [noise % 1_000 + 1, noise / 1_000 % 1_000 + 1, noise / 1_000_000 % 1_000 + 1]
}

fn histogram(group: usize, n: u64, t: i64) -> wire::Histogram {
    let counts = buckets(group, n, t).map(u64::cast_signed);
    wire::Histogram {
        count_int: Some(counts.iter().sum::<i64>().cast_unsigned()),
        sum: value(group, n, t),
        schema: 2,
        zero_threshold: 1e-128,
        zero_count_int: Some(0),
        positive_spans: vec![wire::BucketSpan { offset: 1, length: 2 }, wire::BucketSpan { offset: 3, length: 1 }],
        positive_deltas: vec![counts[0], counts[1] - counts[0], counts[2] - counts[1]],
        timestamp: t,
        ..wire::Histogram::default()
    }
}

fn body(number: usize, group: Group, t: i64) -> Vec<u8> {
    let floats = (0..group.floats)
        .map(|n| ("written", n, vec![wire::Sample { value: value(number, n, t), timestamp: t }], vec![]));
    let histograms = (0..group.histograms).map(|n| ("measured", n, vec![], vec![histogram(number, n, t)]));
    let series = floats.chain(histograms);
    let raw = if group.is_v2 {
        let mut symbols = ["", "__name__", "written", "measured", "group", "n"].map(str::to_owned).to_vec();
        symbols.push(number.to_string());
        let numbers = symbols.len() as u32;
        symbols.extend((0..group.floats.max(group.histograms)).map(|n| n.to_string()));
        let timeseries = series.map(|(name, n, samples, histograms)| wire::TimeSeries2 {
            labels_refs: vec![1, if name == "written" { 2 } else { 3 }, 4, 6, 5, numbers + n as u32],
            samples,
            histograms,
            ..wire::TimeSeries2::default()
        });
        wire::Request { timeseries: timeseries.collect(), symbols }.encode_to_vec()
    } else {
        let label = |name: &str, value: String| wire::Label { name: name.to_owned(), value };
        let timeseries = series.map(|(name, n, samples, histograms)| wire::TimeSeries {
            labels: vec![
                label("__name__", name.to_owned()),
                label("group", number.to_string()),
                label("n", n.to_string()),
            ],
            samples,
            histograms,
            exemplars: Vec::new(),
        });
        wire::WriteRequest { timeseries: timeseries.collect(), metadata: Vec::new() }.encode_to_vec()
    };
    compress(&raw)
}

/// The status of an answer; nothing where there is none.
pub fn status(answer: &str) -> Option<u16> {
    answer.strip_prefix("HTTP/1.0 ")?.split(' ').next()?.parse().ok()
}
