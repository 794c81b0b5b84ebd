//! The program as a process that is written to: what it acknowledged is there, whenever it was killed.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use storage::{Clock, SystemClock};

/// A running server, which is killed with the value.
struct Server {
    process: Child,
    log: BufReader<ChildStderr>,
    address: String,
}

impl Server {
    /// Starts `quiver all` over the folder on a free port and waits until it is ready.
    fn start(data_dir: &Path, flags: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_quiver"))
            .args(["all", &format!("--data-dir={}", data_dir.display()), "--http-address=127.0.0.1:0"])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
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

    /// Sends a request with a body, and does not wait for the answer.
    fn send(&self, path: &str, headers: &str, body: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        stream
    }

    fn post(&self, path: &str, headers: &str, body: &[u8]) -> String {
        answer(self.send(path, headers, body))
    }

    /// The value of an instant query over one series; none where there is no sample.
    fn value(&self, query: &str, time: i64) -> Option<String> {
        let form = format!("time={time}&query={}", query.replace('[', "%5B").replace(']', "%5D").replace('"', "%22"));
        let answer = self.post("/api/v1/query", "Content-Type: application/x-www-form-urlencoded\r\n", form.as_bytes());
        assert!(answer.contains(r#""status":"success""#), "{answer}");
        let value = answer.split(r#""value":["#).nth(1)?;
        Some(value.split('"').nth(1).unwrap().to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // gone already where the test killed it
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What came until the connection ended; nothing where it broke.
fn answer(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // a killed server resets the connection
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

const REMOTE_WRITE: &str = "Content-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n";

/// A remote-write request with one sample for each of `series` series, compressed.
fn request(series: usize, t: i64, value: f64) -> Vec<u8> {
    let mut body = Vec::new();
    for n in 0..series {
        let mut timeseries = Vec::new();
        for (name, value) in [("__name__", "written"), ("n", n.to_string().as_str())] {
            let mut label = Vec::new();
            field(&mut label, 1, name.as_bytes());
            field(&mut label, 2, value.as_bytes());
            field(&mut timeseries, 1, &label);
        }
        let mut sample = vec![1 << 3 | 1];
        sample.extend(value.to_le_bytes());
        sample.push(2 << 3);
        varint(&mut sample, t as u64);
        field(&mut timeseries, 2, &sample);
        field(&mut body, 1, &timeseries);
    }
    // snappy without any compression: the length, and literals of 256 bytes at most
    let mut compressed = Vec::new();
    varint(&mut compressed, body.len() as u64);
    for literal in body.chunks(256) {
        compressed.extend([60 << 2, (literal.len() - 1) as u8]);
        compressed.extend(literal);
    }
    compressed
}

fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Ten minutes ago, in seconds: the server writes its own metrics of now, and takes nothing much older after that.
fn recently() -> i64 {
    SystemClock.now() / 1_000 - 600
}

#[test]
fn what_is_written_is_answered_at_once() {
    let (folder, start) = (tempfile::tempdir().unwrap(), recently());
    let server = Server::start(folder.path(), &["--label=cluster=\"c\""]);
    for (i, path) in ["/api/v1/write", "/api/v1/receive"].into_iter().enumerate() {
        let t = (start + i as i64) * 1_000;
        let answer = server.post(path, REMOTE_WRITE, &request(3, t, 1.5));
        assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
        assert!(answer.to_ascii_lowercase().contains("x-prometheus-remote-write-samples-written: 3"), "{answer}");
    }
    assert_eq!(server.value("sum(written{cluster=\"c\",tenant_id=\"default-tenant\"})", start).as_deref(), Some("4.5"));
    assert_eq!(server.value("sum(count_over_time(written[1m]))", start + 1).as_deref(), Some("6"));
    // another tenant has series of its own
    let headers = format!("{REMOTE_WRITE}THANOS-TENANT: team-b\r\n");
    assert!(server.post("/api/v1/receive", &headers, &request(1, start * 1_000, 7.0)).starts_with("HTTP/1.1 200"));
    assert_eq!(server.value("sum(written{tenant_id=\"team-b\"})", start).as_deref(), Some("7"));
    // a wrong name, a wrong body, a wrong type
    let headers = format!("{REMOTE_WRITE}THANOS-TENANT: ../b\r\n");
    assert!(server.post("/api/v1/receive", &headers, &request(1, start * 1_000, 7.0)).starts_with("HTTP/1.1 400"));
    assert!(server.post("/api/v1/write", REMOTE_WRITE, b"\xff\xff\xff\xff\x0f").starts_with("HTTP/1.1 4"));
    assert!(server.post("/api/v1/write", "Content-Type: text/plain\r\n", b"up 1").starts_with("HTTP/1.1 415"));
}

#[test]
fn the_first_command_shows_something() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let mut answer = String::new();
    for _ in 0..100_000 {
        answer = server.post(
            "/api/v1/query",
            "Content-Type: application/x-www-form-urlencoded\r\n",
            b"query=count({job=\"quiver\"}) > 5",
        );
        if answer.contains(r#""value":["#) {
            return;
        }
    }
    panic!("{answer}");
}

/// Kills the server between receipt and acknowledgement, 25 times, or as often as QUIVER_CRASH_ROUNDS says.
#[test]
fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    const SERIES: usize = 50;
    let rounds: i64 = std::env::var("QUIVER_CRASH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(25);
    let (folder, start) = (tempfile::tempdir().unwrap(), recently());
    let (mut t, mut unanswered) = (0, 0);
    let mut acknowledged = Vec::new();
    for round in 0..rounds {
        let mut server = Server::start(folder.path(), &[]);
        for (written, _) in acknowledged.iter().rev().take(20) {
            assert_eq!(server.value("count(written)", start + written).as_deref(), Some("50"), "round {round}");
        }
        for _ in 0..round % 4 {
            t += 1;
            let answer = server.post("/api/v1/write", REMOTE_WRITE, &request(SERIES, (start + t) * 1_000, t as f64));
            assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
            acknowledged.push((t, t as f64));
        }
        t += 1;
        let sent = server.send("/api/v1/write", REMOTE_WRITE, &request(SERIES, (start + t) * 1_000, t as f64));
        // some get further than others before the end
        (0..round * 997 % 20_000).for_each(|_| std::hint::spin_loop());
        server.process.kill().unwrap();
        server.process.wait().unwrap();
        match answer(sent).starts_with("HTTP/1.1 204") {
            true => acknowledged.push((t, t as f64)),
            false => unanswered += 1,
        }
    }
    assert!(unanswered * 5 >= rounds * 4, "only {unanswered} of {rounds} were killed before the answer");
    let server = Server::start(folder.path(), &[]);
    let value = |query: &str| server.value(query, start + t).map(|value| value.parse::<f64>().unwrap());
    // no hole and no duplicate: every acknowledged sample, each with its value, and of the others some
    let range = format!("[{}s]", t + 1);
    for (written, expected) in &acknowledged {
        assert_eq!(server.value("max(written)", start + written), Some(expected.to_string()));
        assert_eq!(server.value("min(written)", start + written), Some(expected.to_string()));
        assert_eq!(server.value("count(written)", start + written).as_deref(), Some("50"));
    }
    let found = value(&format!("max(count_over_time(written{range}))")).unwrap();
    assert!(found >= acknowledged.len() as f64 && found <= t as f64, "{found} samples a series, {t} were sent");
}
