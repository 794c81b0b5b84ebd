//! Snapshots: what comes back from one and the rest of the log is what the whole log says.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use proptest::prelude::*;

use super::golden::copy;
use super::model::{Op, append_one, attach_log, blocks, cut, ops, settings};
use super::read::{Samples, read_all, union};
use super::*;
use crate::model::TenantScope;
use crate::wal::RealDisk;

/// A head with its log and files, as a process has them.
struct Running {
    head: Head,
    files: HeadFiles,
    replay: HeadReplay,
    /// The folder, where nobody else keeps it.
    own: Option<tempfile::TempDir>,
}

impl Running {
    fn open(folder: &Path) -> Self {
        let (files, snapshot) = HeadFiles::open(folder).unwrap();
        let settings = HeadSettings { max_exemplars: 10, ..settings() };
        let head = Head::continuing(settings, Arc::new(ManualClock::new(0)), snapshot.as_ref());
        let sources = ReplaySources {
            wal: folder,
            snapshot: snapshot.as_ref(),
            chunks_head: None,
            wbl: None,
            tenant: "none",
            blocks_end: &|_| None,
            adopted: &[],
        };
        let replay = head.replay(sources, &RealDisk).unwrap();
        files.begin(snapshot.as_ref().filter(|_| replay.restored.is_some()), replay.wal.bytes);
        attach_log(&head, folder, &replay);
        Self { head, files, replay, own: None }
    }

    fn snapshot(&self) {
        let wal = self.head.journal.wal().unwrap();
        let end = wal.end().bytes();
        self.files.write_snapshot(&self.head, wal.cut().unwrap(), end).unwrap();
    }

    /// Ends it and starts it again, and at the same time one that has the log alone.
    fn restart(self, folder: &Path) -> (Self, Self) {
        self.head.journal.wal().unwrap().close().unwrap();
        let bare = tempfile::tempdir().unwrap();
        copy(folder, bare.path());
        let files = bare.path().join(super::super::files::HEAD_DIR);
        if files.exists() {
            std::fs::remove_dir_all(files).unwrap();
        }
        let alone = Self::open(bare.path());
        (Self::open(folder), Self { own: Some(bare), ..alone })
    }

    fn close(self) {
        let _folder = self.own;
        self.head.journal.wal().unwrap().close().unwrap();
    }
}

#[derive(Debug, Clone, Copy)]
enum Filing {
    Move,
    Snapshot,
    Restart,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 12 }))]

    #[test]
    fn a_restart_from_a_snapshot_comes_to_the_same(
        ops in ops(),
        filing in prop::collection::btree_map(
            0..400_usize,
            prop_oneof![2 => Just(Filing::Move), 3 => Just(Filing::Snapshot), 1 => Just(Filing::Restart)],
            0..8,
        ),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (folder, log) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut running = Running::open(log.path());
        let (mut newest, mut written) = (10_000, 0);
        let mut snapshots = 0;
        for (i, op) in ops.into_iter().enumerate() {
            match op {
                Op::Append { series, after } => {
                    if append_one(&running.head, series, newest + after) {
                        newest = newest.max(newest + after);
                    }
                }
                Op::Cut => {
                    cut(&running.head, newest, folder.path(), &mut written);
                    running.head.checkpoint(log.path(), &RealDisk).unwrap();
                    running.snapshot();
                    snapshots += 1;
                }
            }
            match filing.get(&i) {
                None => {}
                Some(Filing::Move) => {
                    running.head.shards.iter().for_each(|shard| shard.write().log.seal());
                    running.files.move_full(&running.head).unwrap();
                }
                Some(Filing::Snapshot) => {
                    running.snapshot();
                    snapshots += 1;
                }
                Some(Filing::Restart) => {
                    let before = runtime.block_on(read_all(&running.head));
                    let (next, bare) = running.restart(log.path());
                    prop_assert_eq!((next.replay.invalid, &next.replay.wal.damage[..]), (0, &[][..]));
                    prop_assert_eq!(next.replay.restored.is_some(), snapshots > 0);
                    let in_blocks = runtime.block_on(blocks(folder.path()));
                    let before = union(before, in_blocks.clone());
                    let after = runtime.block_on(read_all(&next.head));
                    prop_assert_eq!(&union(after, in_blocks.clone()), &before);
                    prop_assert_eq!(&union(runtime.block_on(read_all(&bare.head)), in_blocks), &before);
                    bare.close();
                    running = next;
                }
            }
        }
        running.close();
    }
}

/// Writes floats of some tenants' series, with metadata and exemplars.
fn write(head: &Head, from: i64, to: i64) {
    for t in from..to {
        for series in 0..40 {
            let (name, n) = (format!("m{}", series % 5), series.to_string());
            let labels = [("__name__", name.as_str()), ("n", n.as_str())];
            let floats = [FloatSample { t, start: 0, value: (t * series) as f64 }];
            let exemplars = [Exemplar { labels: &[("trace", "x")], t, value: series as f64 }];
            let metadata = (series < 5).then_some(Metadata { kind: MetricKind::Gauge, unit: "s", help: &name });
            let tenant = if series % 2 == 0 { "even" } else { "odd" };
            let mut appender = head.appender(tenant);
            let exemplars = if series == 7 { &exemplars[..] } else { &[] };
            appender.push(&SeriesWrite { labels: &labels, floats: &floats, histograms: &[], exemplars, metadata });
            assert_eq!(appender.commit().unwrap().outcome.rejected_count(), 0);
        }
    }
}

async fn everything(head: &Head) -> (Samples, Vec<SeriesExemplars>, MetadataByFamily) {
    let exemplars = head.exemplars(&TenantScope::All, &[vec![]], TimeInterval::ALL).unwrap();
    (read_all(head).await, exemplars, head.metadata(&TenantScope::All, None).unwrap())
}

#[tokio::test]
async fn closed_chunks_leave_memory_and_all_kinds_of_data_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::open(folder.path());
    write(&running.head, 0, 500);
    running.snapshot();
    for shard in running.head.shards.iter().map(|shard| shard.read()) {
        assert_eq!((shard.log.full_bytes(), shard.log.filed().count()), (0, 1));
    }
    let totals = running.files.totals();
    assert!(totals.chunk_bytes > 0 && totals.snapshot_bytes > 0 && totals.failures == 0, "{totals:?}");
    let before = everything(&running.head).await;
    assert_eq!((before.0.len(), before.1.len(), before.2.len()), (40, 1, 5));
    let (next, bare) = running.restart(folder.path());
    assert_eq!(everything(&next.head).await, before);
    assert_eq!(next.replay.restored.map(|restored| restored.series), Some(40));
    assert_eq!((next.replay.samples, bare.replay.samples), (0, 500 * 40));
    // numbers of series go on, and so do the series themselves
    write(&next.head, 500, 600);
    assert_eq!(next.head.stats().series, 40);
    let before = everything(&next.head).await;
    let (last, _) = next.restart(folder.path());
    assert_eq!(last.replay.samples, 100 * 40);
    assert_eq!(everything(&last.head).await, before);
    last.close();
    bare.close();
}

#[tokio::test]
async fn where_nothing_can_be_written_all_stays_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::open(folder.path());
    write(&running.head, 0, 300);
    let before = everything(&running.head).await;
    let files = folder.path().join(super::super::files::HEAD_DIR);
    std::fs::write(&files, "no folder").unwrap();
    let segment = running.head.journal.wal().unwrap().cut().unwrap();
    let error = running.files.write_snapshot(&running.head, segment, 0).unwrap_err().to_string();
    assert!(error.contains("chunks-00000000"), "{error}");
    assert_eq!(running.files.totals(), HeadFileTotals::default());
    assert_eq!(everything(&running.head).await, before);
    std::fs::remove_file(&files).unwrap();
    running.snapshot();
    assert_eq!(everything(&running.head).await, before);
    running.close();
}

#[tokio::test]
async fn files_go_with_their_last_chunk() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::open(folder.path());
    let names = || {
        let entries = std::fs::read_dir(folder.path().join(super::super::files::HEAD_DIR)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    write(&running.head, 0, 500);
    running.snapshot();
    write(&running.head, 500, 1_000);
    running.snapshot();
    assert_eq!(names().len(), 3, "two files of chunks and the newer snapshot");
    running.head.truncate(&[("even", 490), ("odd", 490)]);
    running.snapshot();
    assert_eq!(names().len(), 2);
    let before = everything(&running.head).await;
    let (next, _) = running.restart(folder.path());
    assert_eq!(everything(&next.head).await, before);
    next.head.truncate(&[("even", 5_000), ("odd", 5_000)]);
    next.snapshot();
    assert_eq!(names().len(), 1);
    next.close();
}

#[tokio::test]
async fn whatever_is_damaged_the_log_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::open(folder.path());
    write(&running.head, 0, 300);
    running.snapshot();
    write(&running.head, 300, 320);
    let before = everything(&running.head).await;
    running.close();
    let files: Vec<_> = std::fs::read_dir(folder.path().join(super::super::files::HEAD_DIR)).unwrap().collect();
    let mut tried = 0;
    for path in files.into_iter().map(|entry| entry.unwrap().path()) {
        let len = std::fs::metadata(&path).unwrap().len() as usize;
        for at in (0..len).step_by(len / 40 + 1).chain([len - 1]) {
            for cut in [false, true] {
                let copied = tempfile::tempdir().unwrap();
                copy(folder.path(), copied.path());
                let file = copied.path().join(super::super::files::HEAD_DIR).join(path.file_name().unwrap());
                let mut bytes = std::fs::read(&file).unwrap();
                if cut {
                    bytes.truncate(at)
                } else {
                    bytes[at] ^= 0x40
                }
                std::fs::write(&file, bytes).unwrap();
                let damaged = Running::open(copied.path());
                assert_eq!(damaged.replay.restored, None, "{} at {at}", file.display());
                assert_eq!(everything(&damaged.head).await, before, "{} at {at}", file.display());
                damaged.close();
                tried += 1;
            }
        }
    }
    assert!(tried > 100, "{tried}");
}

#[tokio::test]
async fn a_chunk_that_goes_bad_while_it_is_read_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::open(folder.path());
    write(&running.head, 0, 300);
    // late ones stay in memory, whatever their series' other chunks do
    let late =
        |head: &Head| (0..40).for_each(|t| drop(append(head, "even", &[("__name__", "late")], &[(200 - t, 1.0)])));
    late(&running.head);
    running.snapshot();
    let entries = std::fs::read_dir(folder.path().join(super::super::files::HEAD_DIR)).unwrap();
    let chunks = entries.map(|entry| entry.unwrap().path()).find(|path| path.to_string_lossy().contains("chunks-"));
    let chunks = chunks.unwrap();
    let mut bytes = std::fs::read(&chunks).unwrap();
    bytes[3] ^= 1;
    // in place: the file stays the one that is mapped
    use std::os::unix::fs::FileExt;
    std::fs::File::options().write(true).open(&chunks).unwrap().write_all_at(&bytes, 0).unwrap();
    let request = SeriesRequest::new(vec![], TimeInterval::ALL);
    let error = crate::store::acceptance::read(&running.head, request).await.unwrap_err().to_string();
    assert!(error.contains("chunks-00000000 of the head at offset 0"), "{error}");
    let id = crate::model::BlockId::new(ulid::Ulid::from_parts(1, 1));
    let (blocks, range) = (tempfile::tempdir().unwrap(), crate::model::TimeRange { mint: 0, maxt: 1_000 });
    let cut = ["even", "odd"].map(|tenant| running.head.cut_block(tenant, range, blocks.path(), id).is_err());
    assert_eq!(cut.iter().filter(|failed| **failed).count(), 1);
    running.close();
}

#[tokio::test]
async fn what_is_written_meanwhile_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::open(folder.path());
    let done = AtomicBool::new(false);
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut t = 0;
            while t < 2_000 && !done.load(std::sync::atomic::Ordering::SeqCst) {
                write(&running.head, t, t + 10);
                t += 10;
            }
            t
        });
        for _ in 0..20 {
            running.snapshot();
            running.files.move_full(&running.head).unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        writer.join().unwrap()
    });
    let before = everything(&running.head).await;
    assert!(before.0.values().all(|samples| samples.len() as i64 == written));
    let (next, _) = running.restart(folder.path());
    assert!(next.replay.restored.is_some());
    assert_eq!(everything(&next.head).await, before);
    next.close();
}
