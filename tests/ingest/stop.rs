//! What a stop does with what is in the head.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::recently;
use crate::requests::{REMOTE_WRITE, request};
use crate::server::Server;

/// A bucket of this folder as a flag.
fn bucket_flag(folder: &Path) -> String {
    format!("--objstore.config={{type: FILESYSTEM, config: {{directory: {}}}}}", folder.display())
}

fn terminate(server: &Server) {
    let sent = Command::new("kill").args(["-TERM", &server.process.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Waits for the end; it must have gone well.
fn ended(server: &mut Server) {
    assert!(server.process.wait().unwrap().success());
}

/// The blocks in a folder: what has a `meta.json`.
fn blocks(folder: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let whole = entries.filter(|entry| entry.path().join("meta.json").exists());
    whole.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

/// The files that a block's `meta.json` lists.
fn files(block: &Path) -> Vec<serde_json::Value> {
    let meta = std::fs::read(block.join("meta.json")).unwrap();
    let meta: serde_json::Value = serde_json::from_slice(&meta).unwrap();
    meta["thanos"]["files"].as_array().unwrap().clone()
}

fn write(server: &Server, t: i64) {
    let answer = server.post("/api/v1/receive", REMOTE_WRITE, &request(3, t * 1_000, t as f64));
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
}

#[test]
fn receive_cuts_and_uploads_what_it_has_and_goes_on_behind_it() {
    let (folder, bucket, start) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), recently());
    let flag = bucket_flag(bucket.path());
    let mut server = Server::receive(folder.path(), &[&flag, "--hash-func=SHA256"]);
    (0..3).for_each(|i| write(&server, start + i));
    terminate(&server);
    server.wait_for("all samples are in blocks");
    ended(&mut server);
    let local = blocks(&folder.path().join("default-tenant"));
    assert!(!local.is_empty());
    assert_eq!(blocks(bucket.path()), local, "all are uploaded");
    for file in local.iter().flat_map(|block| files(&bucket.path().join(block))) {
        let hashed = file["hash"]["hashFunc"] == "SHA256" && file["hash"]["value"].as_str().unwrap().len() == 64;
        assert_eq!(hashed, file["rel_path"] != "meta.json", "{file}");
    }

    // what comes next is taken at once, and stays in the log where that is wanted
    let mut server = Server::receive(folder.path(), &[&flag, "--no-tsdb.flush-on-stop"]);
    write(&server, start + 3);
    assert_eq!(server.value("sum(count_over_time(written[1m]))", start + 3).as_deref(), Some("12"));
    terminate(&server);
    ended(&mut server);
    assert_eq!(blocks(&folder.path().join("default-tenant")), local);
    let mut server = Server::receive(folder.path(), &[&flag]);
    assert_eq!(server.value("sum(count_over_time(written[1m]))", start + 3).as_deref(), Some("12"));
    terminate(&server);
    ended(&mut server);
    // no two blocks overlap
    let mut ranges: Vec<(i64, i64)> = blocks(bucket.path())
        .iter()
        .map(|block| {
            let meta = std::fs::read(bucket.path().join(block).join("meta.json")).unwrap();
            let meta: serde_json::Value = serde_json::from_slice(&meta).unwrap();
            (meta["minTime"].as_i64().unwrap(), meta["maxTime"].as_i64().unwrap())
        })
        .collect();
    ranges.sort_unstable();
    assert!(ranges.len() > local.len() && ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{ranges:?}");
}

#[test]
fn all_keeps_what_it_has_in_its_log_unless_told_otherwise() {
    let (folder, start) = (tempfile::tempdir().unwrap(), recently());
    let tenant = folder.path().join("tsdb/default-tenant");
    let mut server = Server::start(folder.path(), &[]);
    write(&server, start);
    terminate(&server);
    ended(&mut server);
    assert!(!tenant.exists());
    let mut server = Server::start(folder.path(), &["--tsdb.flush-on-stop"]);
    assert_eq!(server.value("count(written)", start).as_deref(), Some("3"));
    terminate(&server);
    ended(&mut server);
    assert_eq!(blocks(&tenant).len(), 1);
}

#[test]
fn a_kill_while_it_stops_loses_nothing() {
    const ROUNDS: i64 = 8;
    let (folder, bucket, start) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), recently());
    let flag = bucket_flag(bucket.path());
    for round in 0..ROUNDS {
        let mut server = Server::receive(folder.path(), &[&flag]);
        let count = server.value("sum(count_over_time(written[5m]))", start + round);
        assert_eq!(count.unwrap_or("0".to_owned()), (3 * round).to_string(), "round {round}");
        write(&server, start + round);
        terminate(&server);
        server.wait_for("cutting and uploading");
        // some get further than others before the end
        (0..round * 40_000).for_each(|_| std::hint::spin_loop());
        server.process.kill().unwrap();
        server.process.wait().unwrap();
    }
    let server = Server::receive(folder.path(), &[&flag]);
    for t in start..start + ROUNDS {
        assert_eq!(server.value("max(written)", t), Some(t.to_string()));
        assert_eq!(server.value("min(written)", t), Some(t.to_string()));
        assert_eq!(server.value("count(written)", t).as_deref(), Some("3"));
    }
}
