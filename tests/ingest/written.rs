//! What is written is answered at once.

use crate::recently;
use crate::requests::{REMOTE_WRITE, request};
use crate::server::Server;

#[test]
fn what_is_written_is_answered_at_once() {
    let (folder, start) = (tempfile::tempdir().unwrap(), recently());
    let server = Server::start(folder.path(), &["--label=cluster=\"c\""]);
    for (i, path) in ["/api/v1/write", "/api/v1/receive"].into_iter().enumerate() {
        let t = (start + i as i64) * 1_000;
        let answer = server.post(path, REMOTE_WRITE, &request(3, t, 1.5));
        assert!(answer.starts_with("HTTP/1.0 20"), "{answer}");
        assert!(answer.to_ascii_lowercase().contains("x-prometheus-remote-write-samples-written: 3"), "{answer}");
    }
    assert_eq!(server.value("sum(written{cluster=\"c\",tenant_id=\"default-tenant\"})", start).as_deref(), Some("4.5"));
    assert_eq!(server.value("sum(count_over_time(written[1m]))", start + 1).as_deref(), Some("6"));
    // another tenant has series of its own
    let headers = format!("{REMOTE_WRITE}THANOS-TENANT: team-b\r\n");
    assert!(server.post("/api/v1/receive", &headers, &request(1, start * 1_000, 7.0)).starts_with("HTTP/1.0 200"));
    assert_eq!(server.value("sum(written{tenant_id=\"team-b\"})", start).as_deref(), Some("7"));
    // a wrong name, a wrong body, a wrong type
    let headers = format!("{REMOTE_WRITE}THANOS-TENANT: ../b\r\n");
    assert!(server.post("/api/v1/receive", &headers, &request(1, start * 1_000, 7.0)).starts_with("HTTP/1.0 400"));
    assert!(server.post("/api/v1/write", REMOTE_WRITE, b"\xff\xff\xff\xff\x0f").starts_with("HTTP/1.0 4"));
    assert!(server.post("/api/v1/write", "Content-Type: text/plain\r\n", b"up 1").starts_with("HTTP/1.0 415"));
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
