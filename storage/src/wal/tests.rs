use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::executor::block_on;

use super::faults::{FaultDisk, PowerCutDisk};
use super::*;

pub(super) fn wal_dir() -> PathBuf {
    PathBuf::from("/tsdb/wal")
}

/// Everything a replay of `disk` hands out, and its report.
pub(super) fn replayed(disk: &dyn Disk) -> (Vec<Vec<u8>>, Replay) {
    replayed_at(&wal_dir(), disk)
}

pub(super) fn replayed_at(dir: &Path, disk: &dyn Disk) -> (Vec<Vec<u8>>, Replay) {
    let mut records = Vec::new();
    let report = replay(dir, None, disk, &mut |_, record| {
        records.push(record.to_vec());
        Ok(())
    });
    (records, report.unwrap())
}

fn open(disk: &Arc<dyn Disk>, settings: WalSettings, next: SegmentNumber) -> Wal {
    Wal::open_retrying(&wal_dir(), Arc::clone(disk), settings, next, Duration::from_millis(1)).unwrap()
}

fn small_segments() -> WalSettings {
    WalSettings { segment_bytes: 128 << 10, ..WalSettings::default() }
}

/// Records of all the sizes at which layouts change.
fn records_of_odd_sizes() -> Vec<Vec<u8>> {
    let page = frame::PAGE;
    let mut sizes = vec![0, 1, 2, 100];
    sizes.extend(page - 16..page + 9);
    sizes.extend([0, 100 << 10, 3, 2 * (page - 7), 300 << 10, 7]);
    sizes.iter().enumerate().map(|(i, size)| (0..*size).map(|at| (at * 7 + i) as u8).collect()).collect()
}

#[test]
fn what_is_written_is_read() {
    for compression in [Compression::None, Compression::Snappy, Compression::Zstd] {
        let disk: Arc<dyn Disk> = Arc::new(PowerCutDisk::new());
        let wal = open(&disk, WalSettings { compression, ..small_segments() }, 0);
        let records = records_of_odd_sizes();
        let mut last = Lsn::default();
        for group in records.chunks(3) {
            let group: Vec<&[u8]> = group.iter().map(Vec::as_slice).collect();
            last = wal.append(&group).unwrap();
        }
        block_on(wal.durable(last)).unwrap();
        assert_eq!(wal.end(), last);
        assert_eq!(wal.totals().unsynced_bytes, 0);
        wal.close().unwrap();
        assert_eq!(wal.append(&[b"late"]), Err(WalError::Closed));
        block_on(wal.durable(last)).unwrap();
        let (read, report) = replayed(&*disk);
        assert!(read == records, "{compression:?}");
        assert_eq!((report.damage, report.torn_tail), (vec![], None));
        assert_eq!(report.records, records.len() as u64);
    }
}

/// A log on a real disk, over several lives.
#[test]
fn a_log_goes_on_where_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let records = records_of_odd_sizes();
    for life in 1..4 {
        let (read, report) = replayed_at(folder.path(), &*disk);
        assert_eq!(read.len(), (life - 1) * records.len());
        let wal = Wal::open(folder.path(), Arc::clone(&disk), small_segments(), report.next_segment).unwrap();
        let all: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        block_on(wal.durable(wal.append(&all).unwrap())).unwrap();
        wal.close().unwrap();
    }
    assert_eq!(replayed_at(folder.path(), &*disk).0.len(), 3 * records.len());
}

#[test]
fn what_is_damaged_when_it_is_read_for_a_checkpoint_is_told_and_kept_aside() {
    let folder = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let wal = Wal::open(folder.path(), Arc::clone(&disk), WalSettings::default(), 0).unwrap();
    wal.append(&[b"one", b"two", b"three"]).unwrap();
    assert_eq!(wal.cut(), Ok(1));
    let segment = folder.path().join("00000000");
    let written = std::fs::read(&segment).unwrap();
    let mut damaged = written.clone();
    let at = damaged.windows(3).position(|bytes| bytes == b"two").unwrap();
    damaged[at] ^= 1;
    std::fs::write(&segment, &damaged).unwrap();
    let mut records = Vec::new();
    let read = finished_records(folder.path(), &RealDisk, 0, &mut |record| {
        records.push(record.to_vec());
        Ok(())
    });
    read.unwrap();
    assert_eq!(records, [b"one".to_vec(), b"three".to_vec()]);
    let aside: Vec<_> = std::fs::read_dir(folder.path().join("quarantine")).unwrap().collect();
    assert_eq!(aside.len(), 1);
    assert_eq!(std::fs::read(aside[0].as_ref().unwrap().path()).unwrap(), damaged);
    wal.close().unwrap();
}

#[test]
fn checkpoints_replace_segments() {
    let disk = PowerCutDisk::new();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let wal = open(&shared, WalSettings::default(), 0);
    assert_eq!(wal.cut(), Ok(0), "an empty segment is not finished");
    wal.append(&[b"one", b"two"]).unwrap();
    assert_eq!(wal.cut(), Ok(1));
    wal.append(&[b"three"]).unwrap();
    assert_eq!(wal.cut(), Ok(2));
    block_on(wal.durable(wal.append(&[b"four"]).unwrap())).unwrap();
    let checkpoint = |through, records: &[&[u8]]| {
        let records: Vec<Vec<u8>> = records.iter().map(|r| r.to_vec()).collect();
        write_checkpoint(&wal_dir(), &disk, through, records.into_iter()).unwrap();
    };
    checkpoint(0, &[b"two"]);
    assert_eq!(replayed(&disk).0, [&b"two"[..], b"three", b"four"]);
    checkpoint(1, &[b"2", b"3"]);
    wal.truncate_below(2).unwrap();
    assert_eq!(disk.list(&wal_dir()).unwrap(), ["00000002", "checkpoint.00000001"]);
    let (read, report) = replayed(&disk.after_power_cut());
    assert_eq!(read, [&b"2"[..], b"3", b"four"]);
    assert_eq!((report.checkpoint, report.next_segment), (Some(1), 3));
    // nothing but a checkpoint, and the beginning of another
    wal.close().unwrap();
    disk.remove(&wal_dir().join("00000002")).unwrap();
    disk.create_dir_all(&wal_dir().join("checkpoint.00000009.tmp")).unwrap();
    disk.create(&wal_dir().join("checkpoint.00000009.tmp/00000000")).unwrap();
    assert_eq!(replayed(&disk).1.next_segment, 2);
    assert_eq!(disk.list(&wal_dir()).unwrap(), ["checkpoint.00000001"]);
}

#[test]
fn a_damaged_checkpoint_falls_back_to_the_older_one() {
    let disk = PowerCutDisk::new();
    disk.create_dir_all(&wal_dir()).unwrap();
    write_checkpoint(&wal_dir(), &disk, 3, [b"old".to_vec()].into_iter()).unwrap();
    let old = disk.get(&wal_dir().join("checkpoint.00000003/00000000")).unwrap();
    write_checkpoint(&wal_dir(), &disk, 5, [b"lost".to_vec(), b"new".to_vec()].into_iter()).unwrap();
    disk.create_dir_all(&wal_dir().join("checkpoint.00000003")).unwrap();
    disk.put(&wal_dir().join("checkpoint.00000003/00000000"), old);
    let mut new = disk.get(&wal_dir().join("checkpoint.00000005/00000000")).unwrap();
    assert_eq!(replayed(&disk).0, [&b"lost"[..], b"new"]);
    new[8] ^= 1;
    disk.put(&wal_dir().join("checkpoint.00000005/00000000"), new);
    let (read, report) = replayed(&disk);
    assert_eq!(read, [&b"old"[..], b"new"]);
    assert_eq!((report.next_segment, report.damage.len()), (6, 1));
    assert_eq!(disk.list(&wal_dir().join("quarantine")).unwrap(), ["checkpoint.00000005-00000000"]);
}

#[test]
fn a_failing_sync_never_acknowledges() {
    let inner = PowerCutDisk::new();
    let faults = FaultDisk::new(Arc::new(inner.clone()));
    let disk: Arc<dyn Disk> = Arc::new(faults.clone());
    let wal = open(&disk, WalSettings::default(), 0);
    block_on(wal.durable(wal.append(&[b"before"]).unwrap())).unwrap();
    faults.fail_syncs();
    let during = wal.append(&[b"during"]).unwrap();
    assert!(matches!(block_on(wal.durable(during)), Err(WalError::Unwritable(_))));
    // again and again, each time to another file
    faults.await_failed(3);
    assert!(matches!(block_on(wal.durable(during)), Err(WalError::Unwritable(_))));
    assert!(matches!(block_on(wal.durable(wal.end())), Err(WalError::Unwritable(_))));
    assert!(matches!(wal.append(&[b"refused"]), Err(WalError::Unwritable(_))));
    assert!(matches!(wal.cut(), Err(WalError::Unwritable(_))));
    assert!(wal.writable().is_err());
    assert_eq!(replayed(&inner.after_power_cut()).0, [b"before"]);
    faults.heal();
    while block_on(wal.durable(during)).is_err() {
        std::thread::yield_now();
    }
    block_on(wal.durable(wal.append(&[b"after"]).unwrap())).unwrap();
    let (read, report) = replayed(&inner.after_power_cut());
    assert_eq!(read, [&b"before"[..], b"during", b"after"]);
    assert_eq!(report.damage, []);
    assert_eq!(inner.list(&wal_dir()).unwrap(), ["00000000", "00000001"], "files that came to nothing are gone");
}

#[test]
fn a_hanging_sync_makes_waiters_wait() {
    let inner = PowerCutDisk::new();
    let faults = FaultDisk::new(Arc::new(inner.clone()));
    let disk: Arc<dyn Disk> = Arc::new(faults.clone());
    let wal = open(&disk, WalSettings { max_unsynced_bytes: 100, ..WalSettings::default() }, 0);
    faults.hang_syncs();
    let first = wal.append(&[&[1; 50]]).unwrap();
    let mut durable = Box::pin(wal.durable(first));
    faults.await_syncs_begun(1);
    assert_eq!(durable.as_mut().now_or_never(), None);
    // the next buffer fills meanwhile
    let second = wal.append(&[&[2; 40]]).unwrap();
    assert!(matches!(wal.append(&[&[3; 40]]), Err(WalError::Unwritable(_))));
    assert_eq!(durable.as_mut().now_or_never(), None);
    assert!(replayed(&inner.after_power_cut()).0.is_empty());
    faults.heal();
    block_on(durable).unwrap();
    block_on(wal.durable(second)).unwrap();
    assert_eq!(replayed(&inner.after_power_cut()).0, [vec![1; 50], vec![2; 40]]);
    // larger than the buffer, but alone
    block_on(wal.durable(wal.append(&[&[3; 400]]).unwrap())).unwrap();
}

#[test]
fn what_comes_while_a_sync_runs_is_one_group() {
    let faults = FaultDisk::new(Arc::new(PowerCutDisk::new()));
    let disk: Arc<dyn Disk> = Arc::new(faults.clone());
    let wal = open(&disk, WalSettings::default(), 0);
    faults.hang_syncs();
    wal.append(&[b"first"]).unwrap();
    faults.await_syncs_begun(1);
    let waiters: Vec<_> = (0..100_u8).map(|i| wal.durable(wal.append(&[&[i; 30]]).unwrap())).collect();
    faults.heal();
    block_on(futures::future::try_join_all(waiters)).unwrap();
    assert_eq!(faults.syncs_begun(), 2);
}

/// Fills the disk at many places: in a header, in a page, in a later segment.
#[test]
fn a_full_disk_is_waited_for() {
    for free in (0..200_000).step_by(6_007).chain([3, 7, 8, 32_768]) {
        let inner = PowerCutDisk::new();
        let faults = FaultDisk::new(Arc::new(inner.clone()));
        let disk: Arc<dyn Disk> = Arc::new(faults.clone());
        let wal = open(&disk, WalSettings { segment_bytes: 64 << 10, ..WalSettings::default() }, 0);
        faults.limit_free_bytes(free);
        let mut accepted = Vec::new();
        let mut acknowledged = 0;
        for i in 0..40_u8 {
            let record = vec![i; 7_000];
            let Ok(lsn) = wal.append(&[&record]) else { break };
            accepted.push(record);
            match block_on(wal.durable(lsn)) {
                Ok(()) => acknowledged += 1,
                Err(_) => break,
            }
        }
        assert!(acknowledged < 40);
        let (read, _) = replayed(&inner.after_power_cut_keeping(1_000_000));
        assert!(read.starts_with(&accepted[..acknowledged]), "{free}");
        faults.await_failed(2);
        faults.heal();
        while block_on(wal.durable(wal.end())).is_err() {
            std::thread::yield_now();
        }
        wal.append(&[b"after"]).unwrap();
        wal.close().unwrap();
        let (mut read, report) = replayed(&inner.after_power_cut());
        assert_eq!(report.damage, [], "{free}");
        // replay of what is there twice is harmless: here it is taken out
        read.dedup();
        accepted.push(b"after".to_vec());
        assert!(read == accepted, "{free}");
    }
}

/// At every moment, the power may go: what was acknowledged is there.
#[test]
fn a_power_cut_keeps_what_was_acknowledged() {
    let inner = PowerCutDisk::new();
    let disk: Arc<dyn Disk> = Arc::new(inner.clone());
    let wal = open(&disk, WalSettings { segment_bytes: 64 << 10, ..WalSettings::default() }, 0);
    let mut acknowledged = Vec::new();
    for i in 0..60_u32 {
        let record: Vec<u8> = (0..(i * 977) % 9_000).map(|at| (at + i) as u8).collect();
        let lsn = wal.append(&[&record]).unwrap();
        for disk in [inner.after_power_cut(), inner.after_power_cut_keeping(i as usize * 131)] {
            let (read, report) = replayed(&disk);
            assert!(read.starts_with(&acknowledged), "{i}");
            assert_eq!(report.damage, []);
            let again = replayed(&disk);
            assert!(again.0 == read && again.1.torn_tail.is_none(), "{i}");
        }
        block_on(wal.durable(lsn)).unwrap();
        acknowledged.push(record);
        assert!(replayed(&inner.after_power_cut()).0 == acknowledged, "{i}");
    }
}

#[test]
fn other_policies_acknowledge_what_is_written() {
    for sync in [SyncPolicy::Never, SyncPolicy::Interval(Duration::from_secs(3600))] {
        let inner = PowerCutDisk::new();
        let disk: Arc<dyn Disk> = Arc::new(inner.clone());
        let wal = open(&disk, WalSettings { sync, ..WalSettings::default() }, 0);
        for record in [b"one", b"two"] {
            block_on(wal.durable(wal.append(&[record]).unwrap())).unwrap();
        }
        assert_eq!(replayed(&inner.after_power_cut_keeping(1000)).0, [b"one", b"two"]);
        assert!(replayed(&inner.after_power_cut()).0.is_empty());
        // the process ends in order
        wal.close().unwrap();
        assert_eq!(replayed(&inner.after_power_cut()).0, [b"one", b"two"]);
    }
}

#[test]
fn an_interval_syncs_by_itself() {
    let inner = PowerCutDisk::new();
    let faults = FaultDisk::new(Arc::new(inner.clone()));
    let disk: Arc<dyn Disk> = Arc::new(faults.clone());
    let wal =
        open(&disk, WalSettings { sync: SyncPolicy::Interval(Duration::from_millis(1)), ..WalSettings::default() }, 0);
    block_on(wal.durable(wal.append(&[b"one"]).unwrap())).unwrap();
    faults.await_syncs_begun(1);
    // a failing sync brings back everything that is not known to be on disk
    faults.fail_syncs();
    let second = wal.append(&[b"two"]).unwrap();
    faults.await_failed(1);
    faults.heal();
    while block_on(wal.durable(second)).is_err() || wal.totals().unsynced_bytes > 0 {
        std::thread::yield_now();
    }
    let mut read = replayed(&inner.after_power_cut()).0;
    read.dedup();
    assert_eq!(read, [b"one", b"two"]);
}
