//! The bodies that Prometheus 3.14 sent: what they hold is what is read back, by every way of reading.
//!
//! ```text
//! body ──┬─> model::Sent (decoded here, by messages of prost) ──────────────────────────┐
//!        └─> POST ─> quiver ─┬─> matrix selector, query_range                  ─> equal to it
//!                            ├─> remote read, samples and streamed chunks      ─> equal to it
//!                            └─> query_exemplars, metadata                     ─> equal to it
//! ```

mod model;
mod read_back;
pub mod wire;

use std::path::{Path, PathBuf};

use model::Sent;
use prost::Message;
use read_back::ReadBack;

use crate::requests::compress;
use crate::server::{Answer, Server, send};

/// Bodies and the headers that they came with, in their order.
fn bodies(version: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/remote-write").join(version);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "body"));
    paths.sort();
    let body = |path: &PathBuf| {
        let headers = std::fs::read(path.with_extension("headers.json")).unwrap();
        let headers: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&headers).unwrap();
        let own = headers.iter().filter(|(name, _)| !["path", "content-length"].contains(&name.as_str()));
        let lines = own.map(|(name, value)| format!("{name}: {}\r\n", value.as_str().unwrap())).collect();
        (lines, std::fs::read(path).unwrap())
    };
    paths.iter().map(body).collect()
}

/// What the recorded bodies lack: exemplars, and metadata of version 1.0. With the headers of the first of them.
fn made_up(version: &str, headers: &str, t: i64) -> (String, Vec<u8>) {
    let label = |name: &str, value: &str| wire::Label { name: name.to_owned(), value: value.to_owned() };
    let sample = wire::Sample { value: 7.0, timestamp: t };
    // 2^53 + 2, the smallest denormal and a third: each needs all of its digits
    let values = [9_007_199_254_740_994.0, 5e-324, 1.0 / 3.0];
    let times = [t - 2_000, t - 1_000, t];
    let raw = if version == "v1" {
        let exemplar =
            |(value, timestamp)| wire::Exemplar { labels: vec![label("trace_id", "ü\"1")], value, timestamp };
        let exemplars = values.into_iter().zip(times).map(exemplar).collect();
        let labels = vec![label("__name__", "made_up_total"), label("code", "200")];
        let series = wire::TimeSeries { labels, samples: vec![sample], exemplars, histograms: Vec::new() };
        let metadata = [("made_up_total", 1, ""), ("made_up_seconds", 3, "seconds"), ("made_up_seconds", 5, "")];
        let metadata = metadata.map(|(family, kind, unit)| wire::MetricMetadata {
            kind,
            metric_family_name: family.to_owned(),
            help: format!("What {family} is:\n\"this\"."),
            unit: unit.to_owned(),
        });
        wire::WriteRequest { timeseries: vec![series], metadata: metadata.to_vec() }.encode_to_vec()
    } else {
        let exemplar = |(value, timestamp)| wire::Exemplar2 { labels_refs: vec![5, 6], value, timestamp };
        let exemplars = values.into_iter().zip(times).map(exemplar).collect();
        let symbols = ["", "__name__", "made_up_total", "code", "200", "trace_id", "ü\"1", "Help.", "seconds"];
        let metadata = Some(wire::Metadata2 { kind: 1, help_ref: 7, unit_ref: 8 });
        let labels_refs = vec![1, 2, 3, 4];
        let series =
            wire::TimeSeries2 { labels_refs, samples: vec![sample], histograms: Vec::new(), exemplars, metadata };
        wire::Request { symbols: symbols.map(str::to_owned).to_vec(), timeseries: vec![series] }.encode_to_vec()
    };
    (headers.to_owned(), compress(&raw))
}

/// Sends the bodies of a version to `path` and compares all that is read back.
fn check(server: &Server, version: &str, path: &str, status: u16) {
    let mut sent = Sent::default();
    let mut bodies = bodies(version);
    let newest = Sent::of(version, &bodies.last().unwrap().1).interval().1;
    bodies.push(made_up(version, &bodies[0].0, newest));
    for (headers, body) in bodies {
        let counts = sent.add(version, &body);
        let answer = Answer::of(send(&server.write_address, &format!("POST {path}"), &headers, &body));
        assert_eq!(answer.status, status, "{}", String::from_utf8_lossy(&answer.body));
        for (what, count) in ["samples", "histograms", "exemplars"].into_iter().zip(counts) {
            let written = answer.header(&format!("x-prometheus-remote-write-{what}-written"));
            assert_eq!(written, Some(count.to_string().as_str()), "{what}");
        }
    }
    let floats = sent.series.values().flat_map(|series| series.values());
    let histograms = floats.clone().filter(|sample| matches!(sample, model::Sample::Histogram(_))).count();
    // what makes the comparison worth something
    assert!(sent.series.len() > 100 && histograms > 10 && floats.count() > 1_000, "{histograms} histograms");
    let read = ReadBack { server, sent: &sent };
    assert!(sent.exemplars.len() == 3 && !sent.metadata.is_empty());
    read.matrix_selector();
    read.query_range();
    read.remote_read_samples();
    read.remote_read_chunks();
    read.exemplars();
    read.metadata();
}

#[test]
fn what_prometheus_sends_to_all_is_read_back() {
    for version in ["v1", "v2"] {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(folder.path(), &["--tsdb.max-exemplars=100000"]);
        check(&server, version, "/api/v1/write", 204);
    }
}

#[test]
fn what_prometheus_sends_to_receive_is_read_back() {
    for version in ["v1", "v2"] {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::receive(folder.path(), &["--tsdb.max-exemplars=100000"]);
        check(&server, version, "/api/v1/receive", 200);
    }
}
