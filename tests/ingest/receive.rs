//! `receive` in the place of a Thanos receive: its folder, its limits, what it tells of its tenants.

use std::path::Path;
use std::process::Command;

use crate::recently;
use crate::requests::{REMOTE_WRITE, request};
use crate::server::{Answer, Server, send};

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_all(&entry.path(), &target),
            false => std::fs::write(target, std::fs::read(entry.path()).unwrap()).unwrap(),
        }
    }
}

/// Replaces a file at once, so that no half of it is read.
fn put(file: &Path, text: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, file).unwrap();
}

#[test]
fn the_folder_of_a_thanos_receive_is_taken_over_and_given_back() {
    let Some(shared) = std::env::var_os("QUIVER_SHARED") else {
        eprintln!("skipped: QUIVER_SHARED is not set");
        return;
    };
    let golden = Path::new(&shared).join("golden");
    let folder = tempfile::tempdir().unwrap();
    copy_all(&golden.join("data-dir"), &folder.path().join("a"));
    copy_all(&golden.join("wal"), &folder.path().join("b/wal"));
    // the data directory is of eleven months before the log
    let dump = std::fs::read_to_string(golden.join("wal.dump.txt")).unwrap();
    let newest: i64 = dump.lines().filter_map(|line| line.rsplit_once(' ')?.1.parse().ok()).max().unwrap();
    let series = |server: &Server, tenant: &str| {
        let query = format!("count(last_over_time({{__name__!=\"\",tenant_id=\"{tenant}\"}}[400d]))");
        server.value(&query, newest / 1_000 + 24 * 3_600)
    };
    let mut found = Vec::new();
    for start in 0..3 {
        // the data are older than what is kept otherwise
        let mut server = Server::receive(folder.path(), &["--tsdb.retention=0d"]);
        found.push(["a", "b"].map(|tenant| series(&server, tenant).expect("series of the tenant")));
        if start == 0 {
            server.process.kill().unwrap();
            server.process.wait().unwrap();
            assert!(folder.path().join("a/wal").exists() && folder.path().join("b/wal").exists());
            continue;
        }
        assert!(Command::new("kill").args(["-TERM", &server.process.id().to_string()]).status().unwrap().success());
        assert!(server.process.wait().unwrap().success());
        let left = ["a/wal", "a/wbl", "a/chunks_head", "b/wal"].map(|name| folder.path().join(name).exists());
        assert_eq!(left, [false; 4], "all of it is in blocks");
    }
    assert!(found.windows(2).all(|pair| pair[0] == pair[1]), "{found:?}");
}

#[test]
fn a_running_thanos_receive_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("a")).unwrap();
    let lock = std::fs::File::create(folder.path().join("a/lock")).unwrap();
    lock.lock().unwrap();
    let path = format!("--tsdb.path={}", folder.path().display());
    let ended = Command::new(env!("CARGO_BIN_EXE_quiver"))
        .args(["receive", &path, "--label=r=\"0\"", "--remote-write.address=127.0.0.1:0", "--http-address=127.0.0.1:0"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!ended.status.success() && told.contains("stop the Thanos receive first"), "{told}");
}

#[test]
fn limits_are_read_again_and_a_flag_of_thanos_is_no_error() {
    let (folder, start) = (tempfile::tempdir().unwrap(), recently());
    let file = folder.path().join("limits.yaml");
    put(&file, "write: {default: {request: {series_limit: 3}}}");
    let limits = format!("--receive.limits-config-file={}", file.display());
    let rules = "--receive.relabel-config=- {source_labels: [n], regex: '9', action: drop}";
    let idle = [
        "--tsdb.out-of-order.cap-max=32",
        "--hash-func=SHA256",
        "--shipper.upload-concurrency=4",
        "--tsdb.no-lockfile",
    ];
    let flags = [&[limits.as_str(), rules, "--receive.limits-config-reload-timer=100ms"][..], &idle].concat();
    let mut server = Server::receive(&folder.path().join("tsdb"), &flags);
    let post = |server: &Server, series: usize, t: i64| {
        server.post("/api/v1/receive", REMOTE_WRITE, &request(series, (start + t) * 1_000, 1.0))
    };
    assert!(post(&server, 3, 0).starts_with("HTTP/1.0 200"));
    let answer = post(&server, 4, 1);
    assert!(answer.starts_with("HTTP/1.0 413") && answer.ends_with("too many timeseries\n"), "{answer}");

    put(&file, "write: {default: {head_series_limit: 3}}");
    server.wait_for("limits on writing are read again");
    let answer = post(&server, 4, 2);
    assert!(answer.starts_with("HTTP/1.0 429") && answer.contains("tenant is above active series limit"), "{answer}");
    assert_eq!(server.value("count(written)", start + 2).as_deref(), Some("3"), "those that were there are written on");

    put(&file, "write: {nonsense: 1}");
    server.wait_for("cannot read the limits on writing");
    assert!(post(&server, 4, 3).starts_with("HTTP/1.0 429"), "those before hold");
    put(&file, "");
    server.wait_for("limits on writing are read again");
    // the tenth is dropped by the rules
    assert!(post(&server, 10, 4).starts_with("HTTP/1.0 200"));
    assert_eq!(server.value("count(written)", start + 4).as_deref(), Some("9"));
    let metrics = Answer::of(send(&server.address, "GET /metrics", "", b""));
    let metrics = String::from_utf8(metrics.body).unwrap();
    for line in ["thanos_receive_limits_config_reload_total 2", "thanos_receive_limits_config_reload_err_total 1"] {
        assert!(metrics.contains(line), "{line}");
    }
    // of the head, at both addresses
    let status = server.get("/api/v1/status/tsdb?limit=1");
    assert_eq!(status["headStats"]["numSeries"], 9);
    let answer = Answer::of(send(&server.write_address, "GET /api/v1/status/tsdb?limit=1", "", b""));
    let status: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(
        (&status["data"][0]["tenant"], &status["data"][0]["headStats"]["numSeries"]),
        (&"default-tenant".into(), &9.into())
    );
    assert_eq!(status["data"][0]["seriesCountByMetricName"], serde_json::json!([{"name": "written", "value": 9}]));
}
