//! `quiver all` compacts the bucket that it writes to, its own folder as well, and answers as before.

use std::path::Path;

use storage::generate::{Generator, Workload};
use storage::model::TimeRange;

use crate::server::{Answer, Server, send};

const HOUR_MS: i64 = 3_600_000;
/// 2026-01-01, when the blocks begin.
const START_MS: i64 = 1_767_225_600_000;

/// Six blocks of two hours, as a tenant's are labelled.
fn blocks(folder: &Path) {
    let workload = Workload {
        counters: 6,
        pods: Some(2),
        external_labels: vec![("tenant_id".to_owned(), "default-tenant".to_owned())],
        scrape_interval_ms: 60_000,
        range: TimeRange { mint: START_MS, maxt: START_MS + 12 * HOUR_MS },
        ..Workload::default()
    };
    Generator::try_new(workload).unwrap().write_all(folder, 1, &|_| ()).unwrap();
}

/// The blocks of a folder that have a `meta.json`.
fn count(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().filter(|entry| entry.as_ref().unwrap().path().join("meta.json").exists()).count()
}

fn samples(server: &Server) -> Option<String> {
    server.value("sum(count_over_time({__name__=~\".+\",job!=\"quiver\"}[12h]))", (START_MS + 12 * HOUR_MS) / 1_000)
}

#[test]
fn local_blocks_go_into_the_bucket_and_become_larger_ones() {
    let data = tempfile::tempdir().unwrap();
    let (local, bucket) = (data.path().join("tsdb/default-tenant"), data.path().join("bucket"));
    std::fs::create_dir_all(&local).unwrap();
    blocks(&local);
    let before = {
        let server = Server::start(data.path(), &["--no-compact"]);
        samples(&server)
    };
    assert!(before.is_some());
    assert_eq!((count(&local), count(&bucket)), (6, 0), "without compaction nothing is copied");

    let mut server = Server::start(data.path(), &["--consistency-delay=0s", "--sync-block-duration=20ms"]);
    let line = server.wait_for("msg=\"compacted blocks\"");
    assert!(line.contains("samples="), "{line}");
    server.wait_for("msg=\"compaction iterations done\"");
    // six copies and what four of them became; none of them goes before its time
    assert_eq!((count(&local), count(&bucket)), (6, 7));
    assert_eq!(samples(&server), before);
    let metrics = String::from_utf8(Answer::of(send(&server.address, "GET /metrics", "", b"")).body).unwrap();
    assert!(metrics.contains("\nthanos_compact_group_compactions_total{resolution=\"0\"} 1\n"), "{metrics}");
    let listed = server.get("/api/v1/blocks?view=global");
    assert_eq!(listed["blocks"].as_array().unwrap().len(), 7, "{listed}");
    let marked = server.form("/api/v1/blocks/mark", &[("id", "01K00000000000000000000000"), ("action", "DELETION")]);
    assert_eq!(marked.status, 400, "nobody is asked who they are, so nobody marks");
}

#[test]
fn what_was_put_into_the_bucket_is_merged_and_answers_the_same() {
    let data = tempfile::tempdir().unwrap();
    let bucket = data.path().join("bucket");
    std::fs::create_dir_all(&bucket).unwrap();
    blocks(&bucket);
    let before = {
        let server = Server::start(data.path(), &["--no-compact"]);
        samples(&server)
    };
    assert!(before.is_some());
    let mut server = Server::start(
        data.path(),
        &["--tsdb.retention=0d", "--delete-delay=0s", "--wait-interval=50ms", "--sync-block-duration=20ms"],
    );
    server.wait_for("msg=\"compacted blocks\"");
    server.wait_for("msg=\"deleted a block\"");
    assert_eq!(samples(&server), before);
}
