//! Nothing may be acknowledged that a power cut would take: a head over disks that fail, hang and lose what was not synced.

use std::path::Path;
use std::time::Duration;

use futures::FutureExt;

use super::read::read_all;
use super::*;
use crate::wal::faults::{FaultDisk, PowerCutDisk};
use crate::wal::{Disk, SegmentNumber, Wal, WalError, WalSettings};

const WAL: &str = "/tsdb/wal";

/// A head with what the log on `disk` has, and the segment with which it goes on.
fn replayed(disk: &dyn Disk) -> (Head, SegmentNumber) {
    let head = bare(&[]);
    let wal = Path::new(WAL);
    let sources = ReplaySources {
        snapshot: None,
        wal,
        chunks_head: None,
        wbl: None,
        tenant: "",
        blocks_end: &|_| None,
        adopted: &[],
    };
    let replay = head.replay(sources, disk).unwrap();
    assert_eq!(replay.wal.damage, []);
    (head, replay.wal.next_segment)
}

/// A head that goes on with the log on `disk`.
fn head_on(disk: Arc<dyn Disk>) -> Head {
    let (head, next) = replayed(&*disk);
    let wal = Wal::open_retrying(Path::new(WAL), disk, WalSettings::default(), next, Duration::from_millis(1)).unwrap();
    assert!(head.attach(Arc::new(wal)));
    head
}

/// Writes one sample with the time as value, and returns when it may be acknowledged.
async fn write(head: &Head, t: i64) -> Result<(), WalError> {
    let commit = {
        let mut appender = head.appender("");
        let floats = [FloatSample { t, start: 0, value: t as f64 }];
        let labels = [("__name__", "up")];
        appender.push(&SeriesWrite {
            labels: &labels,
            floats: &floats,
            histograms: &[],
            exemplars: &[],
            metadata: None,
        });
        appender.commit()?
    };
    assert_eq!(commit.outcome.rejected_count(), 0, "{t}");
    head.durable(&commit).await
}

/// The times that are found after a power cut, each with its value.
async fn found(disk: &PowerCutDisk) -> Vec<i64> {
    let (head, _) = replayed(&disk.after_power_cut());
    let samples: Vec<(i64, String)> = read_all(&head).await.into_values().flatten().collect();
    assert!(samples.iter().all(|(t, value)| *value == format!("{:016x}", (*t as f64).to_bits())), "{samples:?}");
    samples.into_iter().map(|(t, _)| t).collect()
}

#[tokio::test]
async fn a_failing_sync_acknowledges_nothing() {
    let disk = PowerCutDisk::new();
    let faults = FaultDisk::new(Arc::new(disk.clone()));
    let head = head_on(Arc::new(faults.clone()));
    write(&head, 1).await.unwrap();
    assert_eq!(found(&disk).await, [1]);
    faults.fail_syncs();
    write(&head, 2).await.unwrap_err();
    // the same once more: it is in memory now, hence known, and on no disk
    write(&head, 2).await.unwrap_err();
    faults.await_failed(3);
    write(&head, 2).await.unwrap_err();
    write(&head, 3).await.unwrap_err();
    assert_eq!(found(&disk).await, [1]);
    faults.heal();
    while write(&head, 4).await.is_err() {
        tokio::task::yield_now().await;
    }
    // what waited in memory came along
    assert_eq!(found(&disk).await, [1, 2, 4]);
}

#[tokio::test]
async fn a_hanging_sync_acknowledges_nothing() {
    let disk = PowerCutDisk::new();
    let faults = FaultDisk::new(Arc::new(disk.clone()));
    let head = head_on(Arc::new(faults.clone()));
    write(&head, 1).await.unwrap();
    let before = faults.syncs_begun();
    faults.hang_syncs();
    let mut first = Box::pin(write(&head, 2));
    assert_eq!(first.as_mut().now_or_never(), None);
    faults.await_syncs_begun(before + 1);
    // the same again, and another: they wait too
    let (mut again, mut other) = (Box::pin(write(&head, 2)), Box::pin(write(&head, 3)));
    assert_eq!((again.as_mut().now_or_never(), other.as_mut().now_or_never()), (None, None));
    assert_eq!(first.as_mut().now_or_never(), None);
    assert_eq!(found(&disk).await, [1]);
    faults.heal();
    for waiting in [first, again, other] {
        waiting.await.unwrap();
    }
    assert_eq!(found(&disk).await, [1, 2, 3]);
}

#[tokio::test]
async fn a_power_cut_at_any_time_keeps_what_was_acknowledged() {
    let mut disk = PowerCutDisk::new();
    let mut faults = FaultDisk::new(Arc::new(disk.clone()));
    let mut head = head_on(Arc::new(faults.clone()));
    let (mut acknowledged, mut cuts) = (Vec::new(), 0);
    for t in 1..=60_i64 {
        if t % 3 == 0 {
            // or it may be done at once, and there is nothing to cut
            faults.hang_syncs();
        }
        let mut writing = Box::pin(write(&head, t));
        // under way, and perhaps written, but nobody was told
        let begun = writing.as_mut().now_or_never();
        if t % 3 == 0 && begun.is_none() {
            drop(writing);
            disk = disk.after_power_cut_keeping(t as usize * 7 % 50);
            faults.heal();
            faults = FaultDisk::new(Arc::new(disk.clone()));
            head = head_on(Arc::new(faults.clone()));
            cuts += 1;
        } else {
            let done = if let Some(done) = begun { done } else { writing.await };
            done.unwrap();
            acknowledged.push(t);
        }
        let found = found(&disk).await;
        assert!(acknowledged.iter().all(|t| found.contains(t)), "{t}: {found:?}");
    }
    assert!(cuts >= 10 && acknowledged.len() >= 40, "{cuts} cuts");
}
