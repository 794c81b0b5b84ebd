//! What nobody should send: each request gets its very status, the program lives on, and its memory stays within four times the limit
//! on a request, also where 64 such requests come at once.

mod bodies;

use std::sync::atomic::{AtomicU32, Ordering};

use bodies::{Hostile, large, large_and_quick, malicious};

use crate::memory::Memory;
use crate::recently;
use crate::requests::{REMOTE_WRITE, REMOTE_WRITE_2, request};
use crate::server::{Answer, Server, send};

/// The limit on a request, unpacked.
const BODY_MAX: u64 = 32 << 20;
/// What memory may grow by.
const GROWTH_MAX: u64 = 4 * BODY_MAX;

/// Names a tenant that nobody had: what one request leaves behind must not decide about the next.
fn tenant() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("tenant-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

fn post(address: &str, path: &str, hostile: &Hostile) -> Answer {
    let headers = if hostile.is_v2 { REMOTE_WRITE_2 } else { REMOTE_WRITE };
    let headers = format!("{headers}THANOS-TENANT: {}\r\n", tenant());
    Answer::of(send(address, &format!("POST {path}"), &headers, &hostile.body))
}

const PATHS: [&str; 2] = ["/api/v1/write", "/api/v1/receive"];

/// Posts and checks status, count and memory.
fn check(server: &Server, memory: &Memory, hostile: &Hostile, paths: &[&str]) {
    for path in paths {
        let (status, expected) = match *path {
            "/api/v1/write" => (hostile.status, hostile.written),
            _ => (hostile.status_of_receive, hostile.written_by_receive),
        };
        memory.forget_peak();
        let answer = post(&server.write_address, path, hostile);
        let (name, text) = (hostile.name, String::from_utf8_lossy(&answer.body).into_owned());
        assert_eq!(answer.status, status, "{name}, {path}: {text}");
        assert!(text.len() < 20_000, "{name}: {} bytes are answered", text.len());
        let written = answer.header("x-prometheus-remote-write-samples-written").map(|count| count.parse());
        assert_eq!(written, Some(Ok(expected)), "{name}, {path}");
        let growth = memory.growth();
        assert!(growth <= GROWTH_MAX, "{name}, {path}: {} MiB", growth >> 20);
    }
}

/// It takes writes and answers queries.
fn check_alive(server: &Server) {
    let t = recently();
    let headers = format!("{REMOTE_WRITE}THANOS-TENANT: {}\r\n", tenant());
    assert!(server.post("/api/v1/write", &headers, &request(1, t * 1_000, 7.0)).starts_with("HTTP/1.0 204"));
    assert_eq!(server.value("written", t).as_deref(), Some("7"));
    assert!(server.log_so_far().iter().all(|line| !line.contains("panicked")));
}

#[test]
fn hostile_requests_get_their_status() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--tsdb.too-far-in-future.time-window=10m"]);
    let memory = Memory::of(&server.process);
    for hostile in malicious() {
        check(&server, &memory, &hostile, &PATHS);
    }
    check_alive(&server);
    let mut highest = 0;
    for hostile in large() {
        // decoding them takes a while, and both paths do it alike
        check(&server, &memory, &hostile, &PATHS[usize::from(!hostile.is_v2)..][..1]);
        highest = highest.max(memory.growth());
    }
    eprintln!("memory grew by {} MiB at most", highest >> 20);
    check_alive(&server);
}

#[test]
fn many_hostile_requests_at_once_take_no_more_memory_than_one() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &[]);
    let bodies = large_and_quick();
    let memory = Memory::of(&server.process);
    let exact = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for hostile in bodies.iter().cycle().take(64) {
            let (address, exact) = (server.write_address.as_str(), &exact);
            scope.spawn(move || {
                let answer = post(address, "/api/v1/write", hostile);
                let status = answer.status;
                // what waited too long for its turn is asked to come again
                let text = String::from_utf8_lossy(&answer.body);
                assert!(status == hostile.status || status == 503, "{}: {status} {text}", hostile.name);
                exact.fetch_add(u32::from(status == hostile.status), Ordering::Relaxed);
            });
        }
    });
    let growth = memory.growth();
    eprintln!("{} MiB, {exact:?} of 64 were dealt with", growth >> 20);
    // the allocator holds some of it for each thread that ran
    assert!(growth <= GROWTH_MAX + BODY_MAX, "{} MiB", growth >> 20);
    assert!(exact.into_inner() >= 32);
    check_alive(&server);
}
