//! A process that is killed between receipt and acknowledgement loses nothing that it acknowledged.
//!
//! ```text
//! start ─> what was acknowledged last is there ─> some writes, answered ─> one of each group, but for its last byte
//!       <─ killed, some time before the answer <─ the last byte <─ the process has read all others
//! ```

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::ledger::{Group, Ledger, Request, status};
use crate::recently;
use crate::server::{Server, answer};

/// Rounds over one folder, after which all of it is read. The log grows with each, and each replays it.
const ROUNDS_OF_A_FOLDER: u64 = 25;

/// 2,000 series of floats and 100 of histograms: three tenants, both versions, and one whose samples come late.
const GROUPS: [Group; 4] = [
    Group { tenant: "default-tenant", floats: 500, histograms: 50, is_v2: false, is_late: false },
    Group { tenant: "default-tenant", floats: 500, histograms: 0, is_v2: true, is_late: false },
    Group { tenant: "team-a", floats: 500, histograms: 0, is_v2: false, is_late: false },
    Group { tenant: "late", floats: 500, histograms: 50, is_v2: true, is_late: true },
];

/// Counts of all rounds.
#[derive(Debug, Default)]
struct Rounds {
    rounds: u64,
    /// Those in which a request had been received when the process was killed, and was not answered.
    between: u64,
    /// Requests that were under way then.
    in_flight: u64,
    unanswered: u64,
    /// Samples that were acknowledged, and found.
    acknowledged: u64,
    /// Samples that were not, and found nevertheless.
    others: u64,
}

/// Kills the server 25 times, or as often as QUIVER_CRASH_ROUNDS says.
#[test]
fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let wanted = std::env::var("QUIVER_CRASH_ROUNDS").ok().map_or(25, |rounds| rounds.parse().unwrap());
    let mut rounds = Rounds::default();
    while rounds.rounds < wanted {
        over_one_folder(ROUNDS_OF_A_FOLDER.min(wanted - rounds.rounds), &mut rounds);
    }
    eprintln!("{rounds:?}");
    assert!(rounds.between * 5 >= rounds.rounds * 4, "{rounds:?}: too few were killed before the answer");
}

fn over_one_folder(wanted: u64, rounds: &mut Rounds) {
    let folder = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::new(&GROUPS, recently());
    let flags = ["--tsdb.out-of-order.time-window=1h", "--tsdb.snapshot-log-size=0"];
    let start = || Server::start(folder.path(), &flags[..1]);
    // from receipt to answer, at its quickest
    let mut quickest = Duration::MAX;
    for round in 0..wanted {
        // every other process writes snapshots as soon as it starts, so that it is killed in their midst too
        let mut server = Server::start(folder.path(), &flags[..1 + round as usize % 2]);
        ledger.check_newest(&server, 8);
        for write in 0..1 + round % 3 {
            let request = ledger.next(((round + write) % GROUPS.len() as u64) as usize);
            let mut sent = begin(&server, &request);
            await_receipt(&sent);
            end(&mut sent, &request);
            let received = Instant::now();
            assert_eq!(status(&answer(sent)), Some(204));
            quickest = quickest.min(received.elapsed());
            ledger.acknowledge(request.number);
        }
        let requests: Vec<_> = (0..GROUPS.len()).map(|group| ledger.next(group)).collect();
        let mut sent: Vec<_> = requests.iter().map(|request| begin(&server, request)).collect();
        sent.iter().for_each(await_receipt);
        sent.iter_mut().zip(&requests).for_each(|(sent, request)| end(sent, request));
        // some get further than others before the end
        let (received, pause) = (Instant::now(), quickest * (1 + round * 7 % 15) as u32 / 10);
        while received.elapsed() < pause {
            std::hint::spin_loop();
        }
        server.kill();
        let mut unanswered = 0;
        for (request, sent) in requests.iter().zip(sent) {
            match status(&answer(sent)) {
                None => unanswered += 1,
                Some(204) => ledger.acknowledge(request.number),
                Some(other) => panic!("{other}"),
            }
        }
        rounds.rounds += 1;
        rounds.in_flight += GROUPS.len() as u64;
        rounds.unanswered += unanswered;
        rounds.between += u64::from(unanswered > 0);
    }
    let found = ledger.check_all(&start());
    assert_eq!(found.acknowledged, ledger.acknowledged());
    // and the next start finds the same
    assert_eq!(ledger.check_all(&start()), found);
    rounds.acknowledged += found.acknowledged;
    rounds.others += found.others;
}

/// Sends a request but for its last byte.
fn begin(server: &Server, request: &Request) -> TcpStream {
    let mut stream = TcpStream::connect(&server.write_address).unwrap();
    let (len, headers) = (request.body.len(), &request.headers);
    let head = format!("POST /api/v1/write HTTP/1.0\r\nHost: x\r\nContent-Length: {len}\r\n{headers}\r\n");
    stream.write_all(&[head.as_bytes(), &request.body[..len - 1]].concat()).unwrap();
    stream
}

/// Sends the last byte.
fn end(stream: &mut TcpStream, request: &Request) {
    stream.write_all(&request.body[request.body.len() - 1..]).unwrap();
}

/// Waits until the process has read all that was sent to it.
fn await_receipt(sent: &TcpStream) {
    while !is_received(sent) {
        std::hint::spin_loop();
    }
}

/// Whether the process at the other end has read all that was sent to it: nothing is queued at either end.
fn is_received(sent: &TcpStream) -> bool {
    let (own, other) = (sent.local_addr().unwrap(), sent.peer_addr().unwrap());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    queues(&table, own, other).0 == 0 && queues(&table, other, own).1 == 0
}

/// The bytes in the queues for sending and receiving of one end of a connection, in the table of `/proc/net/tcp`.
fn queues(table: &str, local: SocketAddr, remote: SocketAddr) -> (u64, u64) {
    let end = |address: SocketAddr| match address.ip() {
        std::net::IpAddr::V4(ip) => format!("{:08X}:{:04X}", u32::from_le_bytes(ip.octets()), address.port()),
        std::net::IpAddr::V6(ip) => panic!("{ip}"),
    };
    let ends = format!(" {} {} ", end(local), end(remote));
    let (_, row) = table.lines().find_map(|line| line.split_once(&ends)).expect("a connection");
    let (sending, receiving) = row.split(' ').nth(1).unwrap().split_once(':').unwrap();
    let bytes = |hex| u64::from_str_radix(hex, 16).unwrap();
    (bytes(sending), bytes(receiving))
}
