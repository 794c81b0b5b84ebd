//! The process is killed before every request that it makes to the bucket, one after the other, until a run comes to its end; and before
//! every change that it makes to its scratch folder, where blocks are put together.
//!
//! The test starts itself anew as the process that is killed: there, the store sends SIGKILL to its own process instead of
//! the n-th request, or [`disk_steps`] does instead of the n-th change. So nothing is tidied up, and no code of the program knows of it.
//! What is left is then compacted by the program.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use object_store::local::LocalFileSystem;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use rustix::process::{Signal, getpid, kill_process};
use storage::ManualClock;
use storage::generate::Generator;

use crate::buckets::{HOUR_MS, NOW_MS, compactor_with, small_workload};
use crate::disk_steps;
use crate::own_reader::BucketSamples;

/// Kind of step, number and folder, for the process that is killed.
const CHILD: &str = "QUIVER_TEST_KILLED_AT";

/// What the process is killed before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// A request to the bucket, with blocks that are streamed into it.
    Request,
    /// A change to the scratch folder, with blocks that are put together there.
    Scratch,
}

/// Kills the process instead of a request.
#[derive(Debug, Clone)]
struct KillingStore {
    inner: Arc<LocalFileSystem>,
    left: Arc<AtomicU64>,
}

impl KillingStore {
    fn step(&self) {
        if self.left.fetch_sub(1, Ordering::SeqCst) == 0 {
            kill_process(getpid(), Signal::KILL).unwrap();
        }
    }
}

impl std::fmt::Display for KillingStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for KillingStore {
    async fn put_opts(
        &self,
        to: &object_store::path::Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.step();
        self.inner.put_opts(to, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        to: &object_store::path::Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.step();
        let inner = self.inner.put_multipart_opts(to, options).await?;
        Ok(Box::new(KillingUpload { inner, store: self.clone() }))
    }

    async fn get_opts(&self, from: &object_store::path::Path, options: GetOptions) -> Result<GetResult> {
        self.step();
        self.inner.get_opts(from, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<object_store::path::Path>>,
    ) -> BoxStream<'static, Result<object_store::path::Path>> {
        let this = self.clone();
        self.inner.delete_stream(locations.inspect(move |_| this.step()).boxed())
    }

    fn list(&self, prefix: Option<&object_store::path::Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.step();
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&object_store::path::Path>) -> Result<ListResult> {
        self.step();
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &object_store::path::Path,
        to: &object_store::path::Path,
        options: CopyOptions,
    ) -> Result<()> {
        self.step();
        self.inner.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct KillingUpload {
    inner: Box<dyn MultipartUpload>,
    store: KillingStore,
}

#[async_trait]
impl MultipartUpload for KillingUpload {
    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        let (store, put) = (self.store.clone(), self.inner.put_part(part));
        async move {
            store.step();
            put.await
        }
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.store.step();
        self.inner.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.store.step();
        self.inner.abort().await
    }
}

/// Where the program has its scratch folder, in the folder that also has the bucket.
fn scratch_of(folder: &Path) -> PathBuf {
    folder.join("data/compact")
}

/// The process that is killed: one run over the bucket, and one days after the blocks there were marked where any are.
#[test]
fn the_process_that_is_killed() {
    let Ok(child) = std::env::var(CHILD) else { return };
    let (step, rest) = child.split_once(' ').unwrap();
    let (number, folder) = rest.split_once(' ').unwrap();
    let (number, folder): (u64, _) = (number.parse().unwrap(), Path::new(folder));
    let (on_disk, scratch) = (step == format!("{:?}", Step::Scratch), scratch_of(folder));
    std::fs::create_dir_all(&scratch).unwrap();
    if on_disk {
        disk_steps::kill_before(number, &scratch);
    }
    let left = Arc::new(AtomicU64::new(if on_disk { u64::MAX } else { number }));
    let inner = Arc::new(LocalFileSystem::new_with_prefix(folder.join("bucket")).unwrap());
    let store = KillingStore { inner, left };
    let run = async {
        for pass in 0..2 {
            let clock = Arc::new(ManualClock::new(NOW_MS + pass * 49 * HOUR_MS));
            let compactor = compactor_with(Arc::new(store.clone()), clock, &scratch, None, |settings| {
                settings.job.upload.whole_in_scratch = on_disk;
            });
            let outcome = compactor.run().await.unwrap();
            assert!(outcome.failed.is_empty(), "{outcome:?}");
        }
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(Box::pin(run));
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// Kills the process before step `number`; returns whether it came to its end before that.
fn killed_at(step: Step, number: u64, original: &Path, expected: &BucketSamples) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let bucket = folder.path().join("bucket");
    copy_folder(original, &bucket);
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::the_process_that_is_killed"])
        .env(CHILD, format!("{step:?} {number} {}", folder.path().display()))
        .stdout(Stdio::null())
        .status()
        .unwrap();
    let ended = status.success();
    assert!(ended || std::os::unix::process::ExitStatusExt::signal(&status) == Some(9), "{number}: {status}");
    let found = BucketSamples::of_folder(&bucket);
    assert!(found.distinct() == expected.unmarked, "{number}: a sample is in no block that stays");
    // what it left is taken up by the program, which deletes what is marked at once
    let scratch = if step == Step::Scratch { "disk" } else { "stream" };
    for _ in 0..2 {
        let compacted = Command::new(env!("CARGO_BIN_EXE_quiver"))
            .args(["compact", "--delete-delay=0s"])
            .arg(format!("--compact.scratch={scratch}"))
            .arg(format!("--data-dir={}", folder.path().join("data").display()))
            .arg(format!(
                "--objstore.config={{type: FILESYSTEM, config: {{directory: {:?}}}}}",
                bucket.display().to_string()
            ))
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(compacted.success(), "{number}: {compacted}");
    }
    let found = BucketSamples::of_folder(&bucket);
    assert!(found.all == expected.unmarked, "{number}: a sample is missing, or there more than once");
    assert_eq!(found.blocks, 3, "{number}: one block of 8 h, two of 2 h");
    let left = std::fs::read_dir(scratch_of(folder.path())).unwrap().count();
    assert_eq!(left, 0, "{number}: something stays in the scratch folder");
    ended
}

/// Kills a process before every step, one process a step; returns how many there are.
fn killed_at_every(step: Step) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    Generator::try_new(small_workload()).unwrap().write_all(folder.path(), 1, &|_| ()).unwrap();
    let expected = BucketSamples::of_folder(folder.path());
    assert!(expected.unmarked.len() > 500 && expected.blocks == 6);
    let (next, ended) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
    std::thread::scope(|threads| {
        for _ in 0..std::thread::available_parallelism().map_or(2, std::num::NonZero::get) {
            threads.spawn(|| {
                while ended.load(Ordering::SeqCst) == u64::MAX {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if killed_at(step, number, folder.path(), &expected) {
                        ended.fetch_min(number, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    let steps = ended.load(Ordering::SeqCst);
    println!("killed before each of {steps} steps: {step:?}");
    steps
}

#[test]
fn a_process_that_is_killed_at_any_request_loses_nothing() {
    let requests = killed_at_every(Step::Request);
    assert!(requests > 40, "a run of two passes makes only {requests} requests");
}

#[test]
fn a_process_that_is_killed_at_any_change_to_its_scratch_folder_loses_nothing() {
    let changes = killed_at_every(Step::Scratch);
    assert!(changes > 20, "a run of two passes makes only {changes} changes");
}
