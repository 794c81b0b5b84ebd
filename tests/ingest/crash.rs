//! A process that is killed between receipt and acknowledgement loses nothing that it acknowledged.

use crate::recently;
use crate::requests::{REMOTE_WRITE, request};
use crate::server::{Server, answer};

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
            assert!(answer.starts_with("HTTP/1.0 204"), "{answer}");
            acknowledged.push((t, t as f64));
        }
        t += 1;
        let sent = server.send("/api/v1/write", REMOTE_WRITE, &request(SERIES, (start + t) * 1_000, t as f64));
        // some get further than others before the end
        (0..round * 997 % 20_000).for_each(|_| std::hint::spin_loop());
        server.process.kill().unwrap();
        server.process.wait().unwrap();
        match answer(sent).starts_with("HTTP/1.0 204") {
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
