//! The program as a process: what it says when it cannot start, and how it stops.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use rustix::process::{Pid, Signal};

fn quiver(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quiver"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs to the end, and gives status and the first line of standard error that is not a log line.
fn refused(args: &[&str]) -> (i32, String) {
    let Output { status, stderr, .. } = quiver(args).output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    let line = stderr.lines().find(|line| !line.starts_with("ts=")).unwrap_or("").to_owned();
    (status.code().unwrap_or(-1), line)
}

/// A running server, which is killed with the value.
struct Server {
    process: Child,
    log: BufReader<ChildStderr>,
    address: String,
}

impl Server {
    /// Starts one on a free port and waits until it is ready.
    fn start(data_dir: &Path) -> Self {
        Self::start_with(data_dir, &[])
    }

    /// As [`start`](Self::start), with more flags.
    fn start_with(data_dir: &Path, flags: &[&str]) -> Self {
        let data_dir = format!("--data-dir={}", data_dir.display());
        let mut process = quiver(&["all", &data_dir, "--http-address=127.0.0.1:0", "--grpc-address=127.0.0.1:0"])
            .args(flags)
            .spawn()
            .unwrap();
        let mut server = Self { log: BufReader::new(process.stderr.take().unwrap()), process, address: String::new() };
        let listening = server.wait_for("listening for HTTP");
        server.address = listening.split("address=").nth(1).unwrap().trim().to_owned();
        server.wait_for("msg=ready");
        server
    }

    /// Reads the log up to the line that holds `text`.
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

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Without the program kill, which a machine need not have.
    fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.process), signal).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // gone already where the test went well
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_server_answers_and_stops_on_a_signal() {
    for signal in [Signal::TERM, Signal::INT] {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Server::start(folder.path());
        assert!(server.get("/-/ready").starts_with("HTTP/1.1 200"));
        assert!(server.get("/api/v1/label/nothing/values").ends_with(r#"{"status":"success","data":[]}"#));
        server.signal(signal);
        server.wait_for("msg=stopped");
        assert_eq!(server.process.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn an_open_connection_does_not_keep_a_server_from_stopping() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path());
    let mut idle = TcpStream::connect(&server.address).unwrap();
    write!(idle, "GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    server.signal(Signal::TERM);
    assert_eq!(server.process.wait().unwrap().code(), Some(0));
}

#[test]
fn a_bucket_that_goes_is_told_in_log_and_metrics() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start_with(folder.path(), &["--sync-block-duration=20ms"]);
    assert!(server.get("/metrics").contains("\nthanos_blocks_meta_sync_failures_total 0\n"));
    std::fs::remove_dir_all(folder.path().join("bucket")).unwrap();
    let line = server.wait_for("cannot look for blocks");
    assert!(line.contains("level=warn") && line.contains("No such file or directory"), "{line}");
    // the metric is counted before the line is written
    let metrics = server.get("/metrics");
    let failures = metrics.lines().find_map(|line| line.strip_prefix("thanos_blocks_meta_sync_failures_total "));
    assert!(failures.unwrap().parse::<u64>().unwrap() > 0, "{metrics}");
}

#[test]
fn roles_that_take_no_writes_ask_for_users_too() {
    let folder = tempfile::tempdir().unwrap();
    let (bucket, web) = (sample_bucket(folder.path()), folder.path().join("web.yml"));
    // the password is wonder
    std::fs::write(&web, "basic_auth_users: {alice: $2y$04$abcdefghijklmnopqrstuuetGRvO6QNMBbbIoo5tpQkbPXg26U9Qu}")
        .unwrap();
    let config = format!("--http.config={}", web.display());
    let data_dir = format!("--data-dir={}", folder.path().join("c").display());
    for role in
        [vec!["query", "--grpc-address=127.0.0.1:0"], vec!["compact", &data_dir, "--wait", "--downsampling.disable"]]
    {
        let flags = [&bucket, "--http-address=127.0.0.1:0", &config];
        let mut process = quiver(&[&role[..], &flags].concat()).spawn().unwrap();
        let log = BufReader::new(process.stderr.take().unwrap());
        let mut server = Server { process, log, address: String::new() };
        let listening = server.wait_for("listening for HTTP");
        server.address = listening.split("address=").nth(1).unwrap().trim().to_owned();
        assert!(server.get("/-/healthy").starts_with("HTTP/1.1 401"));
        assert!(
            server
                .get("/-/healthy HTTP/1.1\r\nAuthorization: Basic YWxpY2U6d29uZGVy\r\nX:")
                .starts_with("HTTP/1.1 200")
        );
    }
}

#[test]
fn an_occupied_port_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("--http-address={}", taken.local_addr().unwrap());
    let (status, line) = refused(&["all", &format!("--data-dir={}", folder.path().display()), &address]);
    assert_eq!(status, 1);
    assert!(line.starts_with(&format!("quiver: cannot listen on {address}: ")), "{line}");
}

#[test]
fn a_data_directory_in_use_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let (status, line) = refused(&["all", &format!("--data-dir={}", folder.path().display())]);
    assert_eq!(status, 1);
    assert!(line.contains(&format!("in use by process {}", server.process.id())), "{line}");
}

#[test]
fn wrong_configuration_is_named_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bucket.yaml");
    let path = file.display();
    for (text, expected) in [
        (
            "type: FILESYSTEM\nconfig:\n  directory: /no/such/folder\n",
            format!("quiver: {path}:3: directory: the folder /no/such/folder does not exist"),
        ),
        ("type: FILESYSTEM\nconfig:\n  dir: x\n", format!("quiver: {path}:3:3: ")),
        ("type: SWIFT\nconfig: {}\n", format!("quiver: {path}:1: type: SWIFT is not supported")),
    ] {
        std::fs::write(&file, text).unwrap();
        let (status, line) = refused(&["query", &format!("--objstore.config-file={path}")]);
        assert_eq!(status, 1);
        assert!(line.starts_with(&expected), "{line}");
    }
    let (status, line) = refused(&["query"]);
    assert_eq!((status, line.contains("--objstore.config-file")), (1, true), "{line}");
    let (status, line) = refused(&["query", "--objstore.config-file=/no/such/file"]);
    assert_eq!((status, line.contains("/no/such/file")), (1, true), "{line}");
}

#[test]
fn wrong_flags_are_named() {
    for (arg, part) in [
        ("--query.timeout=soon", "'soon' for '--query.timeout"),
        ("--query.max-concurrent=0", "'0' for '--query.max-concurrent"),
        ("--log.level=loud", "'loud' for '--log.level"),
        ("--no-such-flag", "'--no-such-flag'"),
    ] {
        let (status, line) = refused(&["all", arg]);
        assert_eq!(status, 2, "{line}");
        assert!(line.contains(part), "{line}");
    }
    let (status, line) = refused(&["all", "--http-address=nonsense", "--data-dir=/dev/null/x"]);
    assert_eq!(status, 1);
    assert!(line.starts_with("quiver: "), "{line}");
}

#[test]
fn the_version_has_thanos_form() {
    let output = quiver(&["--version"]).output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("quiver, version ") && text.contains("(branch: ") && text.contains("\n  build user: "));
}

#[test]
fn blocks_are_generated() {
    let folder = tempfile::tempdir().unwrap();
    let out = format!("--out={}", folder.path().join("bucket").display());
    let flags =
        ["tools", "generate", &out, "--series=20", "--duration=1h", "--end=2026-01-01T01:00:00Z", "--no-side-index"];
    let Output { status, stderr, .. } =
        quiver(&[&flags[..], &["--external-label=cluster=eu"]].concat()).output().unwrap();
    let log = String::from_utf8(stderr).unwrap();
    assert!(status.success() && log.contains("msg=generated blocks=1 samples=4800 most_series=20"), "{log}");
    let blocks: Vec<_> = std::fs::read_dir(folder.path().join("bucket")).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(blocks.len(), 1);
    let meta = std::fs::read_to_string(blocks[0].join("meta.json")).unwrap();
    assert!(meta.contains("\"cluster\": \"eu\"") && !meta.contains("series.parquet"), "{meta}");

    assert_eq!(
        refused(&[&flags[..], &["--churn=2"]].concat()),
        (1, "quiver: churn is a fraction from 0 to 1".to_owned())
    );
    let (status, line) = refused(&[&flags[..], &["--external-label=cluster"]].concat());
    assert!(status == 2 && line.contains("\"cluster\" is not a name and a value"), "{line}");
    assert_eq!(refused(&["tools", "generate"]).0, 2);
}

/// A copy of the sample blocks in `folder`, and the object storage configuration for it.
fn sample_bucket(folder: &Path) -> String {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/bucket");
    for block in std::fs::read_dir(from).unwrap() {
        let block = block.unwrap();
        let to = folder.join("bucket").join(block.file_name());
        std::fs::create_dir_all(to.join("chunks")).unwrap();
        for file in ["meta.json", "index", "chunks/000001"] {
            std::fs::copy(block.path().join(file), to.join(file)).unwrap();
        }
    }
    format!("--objstore.config={{type: FILESYSTEM, config: {{directory: {:?}}}}}", folder.join("bucket"))
}

#[test]
fn a_bucket_is_compacted_once() {
    let folder = tempfile::tempdir().unwrap();
    let (bucket, data_dir) =
        (sample_bucket(folder.path()), format!("--data-dir={}", folder.path().join("c").display()));
    // before they could be downsampled
    let (status, line) = refused(&["compact", &bucket, &data_dir, "--retention.resolution-raw=1d"]);
    assert_eq!((status, line.contains("40 hours")), (1, true), "{line}");
    let done = quiver(&["compact", &bucket, &data_dir]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let listed =
        quiver(&["tools", "bucket", "ls", &bucket, "--exclude-delete", "-o", "{{.Compaction.Level}}"]).output();
    let mut levels: Vec<String> =
        String::from_utf8(listed.unwrap().stdout).unwrap().lines().map(str::to_owned).collect();
    levels.sort();
    // four of six blocks make up eight hours; the newest is left alone, and so is what could still get company
    assert_eq!(levels, ["1", "1", "2"]);
}
