//! A disk that is full: writes are refused, reads go on, nothing acknowledged is lost, and writing goes on by itself.
//!
//! The disk is a small tmpfs. The test runs itself once more in a mount namespace of its own, where that may be mounted and from
//! which it goes with the last process, whatever becomes of the test.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::ledger::{Group, Ledger};
use crate::recently;
use crate::server::{Answer, Server};

/// Names the small disk to the process that has one.
const DISK: &str = "QUIVER_TEST_SMALL_DISK";
/// Set where a disk can be mounted, so that not to run is a failure.
const REQUIRED: &str = "QUIVER_TEST_MAY_MOUNT";

/// More than the few kilobytes that may be free in a page that is begun.
const GROUP: Group = Group { tenant: "default-tenant", floats: 1_500, histograms: 20, is_v2: false, is_late: false };

#[test]
fn a_full_disk_refuses_writes_and_loses_nothing() {
    match std::env::var_os(DISK) {
        Some(disk) => on_small_disk(&PathBuf::from(disk)),
        None => in_own_namespace("full_disk::a_full_disk_refuses_writes_and_loses_nothing"),
    }
}

fn in_own_namespace(test: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mount = "mount -t tmpfs -o size=24m tmpfs \"$0\" && exec \"$@\"";
    let with_disk = |user: &[&str], command: &[&str]| {
        let mut unshare = Command::new("unshare");
        unshare
            .args(user)
            .args(["--mount", "sh", "-c", mount])
            .arg(folder.path())
            .args(command)
            .env(DISK, folder.path());
        unshare.output()
    };
    let ways: [&[&str]; 2] = [&[], &["--user", "--map-root-user"]];
    let Some(way) = ways.into_iter().find(|way| with_disk(way, &["true"]).is_ok_and(|output| output.status.success()))
    else {
        assert!(std::env::var_os(REQUIRED).is_none(), "a tmpfs cannot be mounted");
        eprintln!("skipped: a tmpfs cannot be mounted");
        return;
    };
    let own = std::env::current_exe().unwrap();
    let output = with_disk(way, &[own.to_str().unwrap(), "--exact", test, "--nocapture"]).unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.contains("1 passed"), "{out}\n{err}");
}

/// A file that takes all that is left of a disk.
struct Filler(File);

impl Filler {
    fn create(disk: &Path) -> Self {
        Self(File::options().append(true).create_new(true).open(disk.join("filler")).unwrap())
    }

    /// Takes what is left, but for so many bytes.
    fn fill(&mut self, left: u64) {
        for size in [1 << 20, 4_096, 1] {
            let mut writes = std::iter::repeat_with(|| self.0.write_all(&vec![7; size]));
            let error = writes.find_map(Result::err).unwrap();
            assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
        }
        let len = self.0.metadata().unwrap().len();
        self.0.set_len(len.checked_sub(left).unwrap()).unwrap();
    }
}

fn on_small_disk(disk: &Path) {
    let data = disk.join("data");
    let mut ledger = Ledger::new(&[GROUP], recently());
    let mut server = Server::start(&data, &[]);
    for _ in 0..3 {
        assert_eq!(ledger.write(&server, 0), 204);
    }
    // the log takes what is left by itself
    let mut filler = Filler::create(disk);
    filler.fill(1 << 20);
    let refused = (0..1_000).map(|_| ledger.write(&server, 0)).find(|status| *status != 204);
    assert_eq!(refused, Some(503));
    // it tries again, and the disk stays full
    let failures = |server: &Server| server.metric("prometheus_tsdb_wal_writes_failed_total");
    let mut tries = 0;
    while failures(&server) < 4.0 {
        filler.fill(0);
        let request = ledger.next(0);
        for path in ["/api/v1/write", "/api/v1/receive"] {
            let answer = Answer::of(server.send(path, &request.headers, &request.body));
            assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")), "{}", answer.head);
        }
        ledger.check_newest(&server, 1);
        tries += 1;
    }
    let found = ledger.check_all(&server);
    assert_eq!(found.acknowledged, ledger.acknowledged());
    // a crash now, and a start on the disk as it is
    server.kill();
    let mut server = Server::start(&data, &[]);
    assert_eq!(ledger.check_all(&server).acknowledged, ledger.acknowledged());
    while failures(&server) < 2.0 {
        filler.fill(0);
        assert_eq!(ledger.write(&server, 0), 503);
    }
    // space again: nobody does anything, and it goes on
    drop(filler);
    std::fs::remove_file(disk.join("filler")).unwrap();
    server.wait_for("the write-ahead log can be written again");
    for _ in 0..3 {
        assert_eq!(ledger.write(&server, 0), 204);
    }
    assert_eq!(ledger.check_all(&server).acknowledged, ledger.acknowledged());
    server.kill();
    let server = Server::start(&data, &[]);
    let found = ledger.check_all(&server);
    assert_eq!(found.acknowledged, ledger.acknowledged());
    eprintln!("{tries} rounds of refused writes; found {found:?}");
}
