//! Blocks for the tests of planning, and a bucket that fails.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parking_lot::Mutex;

use super::bucket::Bucket;
use crate::block::BlockMeta;
use crate::block::meta::{BlockFile, ThanosMeta};
use crate::clock::Clock;
use crate::model::{BlockId, TimeRange, Timestamp};
use crate::shipper::Retry;

pub fn id(n: u64) -> BlockId {
    BlockId::new(ulid::Ulid::from_parts(n, 0))
}

/// A raw block that is its own source.
pub fn block(n: u64, range: (Timestamp, Timestamp)) -> BlockMeta {
    let mut meta = BlockMeta::new(id(n), TimeRange { mint: range.0, maxt: range.1 });
    meta.thanos = Some(ThanosMeta { source: "sidecar".to_owned(), ..ThanosMeta::default() });
    meta
}

pub fn labeled(n: u64, range: (Timestamp, Timestamp), labels: &[(&str, &str)]) -> BlockMeta {
    let mut meta = block(n, range);
    meta.thanos.as_mut().unwrap().labels = labels.iter().map(|&(n, v)| (n.to_owned(), v.to_owned())).collect();
    meta
}

pub fn sourced(n: u64, range: (Timestamp, Timestamp), resolution_ms: i64, sources: &[u64]) -> BlockMeta {
    let mut meta = labeled(n, range, &[("c", "x")]);
    meta.thanos.as_mut().unwrap().downsample.resolution = resolution_ms;
    meta.compaction.sources = sources.iter().map(|&n| id(n)).collect();
    meta
}

/// With an index of so many bytes.
pub fn with_index(mut meta: BlockMeta, size_bytes: u64) -> BlockMeta {
    let file = BlockFile { rel_path: "index".to_owned(), size_bytes, hash: None };
    meta.thanos.as_mut().unwrap().files = vec![file];
    meta
}

/// The root of a store, with tries that do not wait.
pub fn in_bucket(store: Arc<dyn ObjectStore>) -> Bucket {
    Bucket::new(store, Path::default(), 3, at_once())
}

pub fn at_once() -> Retry {
    Retry { attempts: 3, delay: Duration::ZERO, delay_max: Duration::ZERO }
}

/// What a [`Faulty`] store does at each step of each request, given a random number.
type Hook = Box<dyn Fn(u64) + Send + Sync>;

/// An [`InMemory`] that fails before or after a request took effect, whose lists may lag, and that yields at each step.
pub struct Faulty {
    pub inner: InMemory,
    state: AtomicU64,
    percent: u64,
    create: bool,
    hook: Hook,
    deleted: Arc<Mutex<Vec<String>>>,
    /// Lists as they were, newest last.
    history: Mutex<Vec<Vec<ObjectMeta>>>,
    /// How many changes a list may lag behind.
    lag: u64,
    /// By which objects are dated, instead of the machine's.
    clock: Option<Arc<dyn Clock>>,
    dates: Mutex<HashMap<Path, Timestamp>>,
    /// Whether it says to put if absent, but does not.
    overwrites: bool,
}

/// Of a hundred requests, `percent` fail.
pub fn faulty(seed: u64, percent: u64) -> Faulty {
    Faulty {
        inner: InMemory::new(),
        state: AtomicU64::new(seed << 20),
        percent,
        create: true,
        hook: Box::new(|_| ()),
        deleted: Arc::default(),
        history: Mutex::default(),
        lag: 0,
        clock: None,
        dates: Mutex::default(),
        overwrites: false,
    }
}

impl Faulty {
    /// Whether it can put if absent.
    pub fn with_create(self, create: bool) -> Self {
        Self { create, ..self }
    }

    /// The same objects, without faults.
    pub fn recovered(&self) -> Self {
        Self { inner: self.inner.clone(), ..faulty(0, 0) }
    }

    pub fn with_lag(self, lag: u64) -> Self {
        Self { lag, ..self }
    }

    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock: Some(clock), ..self }
    }

    pub fn overwriting(self) -> Self {
        Self { overwrites: true, ..self }
    }

    fn dated(&self, mut object: ObjectMeta) -> ObjectMeta {
        let date = self.dates.lock().get(&object.location).copied();
        if let Some(date) = date {
            let then = object.last_modified.timestamp_millis();
            object.last_modified -= Duration::from_millis(u64::try_from(then - date).unwrap());
        }
        object
    }

    pub fn with_hook(self, hook: impl Fn(u64) + Send + Sync + 'static) -> Self {
        Self { hook: Box::new(hook), ..self }
    }

    /// Objects in the order in which they were deleted.
    pub fn deleted(&self) -> Vec<String> {
        self.deleted.lock().clone()
    }

    /// Random numbers by SplitMix64 (Steele, Lea and Flood, 2014).
    fn random(&self) -> u64 {
        let state = self.state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    async fn pause(&self) {
        for _ in 0..self.random() % 3 {
            tokio::task::yield_now().await;
            (self.hook)(self.random());
        }
    }

    async fn run<T>(&self, request: impl Future<Output = Result<T>>) -> Result<T> {
        let z = self.random();
        let fault = (z % 100 < self.percent).then_some(z & (1 << 40) != 0);
        self.pause().await;
        if fault == Some(false) {
            return Err(cut());
        }
        let done = request.await?;
        self.pause().await;
        if fault == Some(true) { Err(cut()) } else { Ok(done) }
    }

    async fn remember(&self) {
        if self.lag > 0 {
            let now = self.inner.list(None).try_collect().await.unwrap();
            self.history.lock().push(now);
        }
    }
}

fn cut() -> Error {
    Error::Generic { store: "faulty", source: "connection cut".into() }
}

impl std::fmt::Debug for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Faulty")
    }
}

impl std::fmt::Display for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, to: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if !self.create && matches!(options.mode, PutMode::Create) {
            return Err(Error::NotImplemented {
                operation: "put if absent".to_owned(),
                implementer: "faulty".to_owned(),
            });
        }
        let mode = if self.overwrites { PutMode::Overwrite } else { options.mode.clone() };
        let options = PutOptions { mode, ..options };
        let put = async {
            if let Some(clock) = &self.clock {
                self.dates.lock().entry(to.clone()).or_insert(clock.now());
            }
            let done = self.inner.put_opts(to, payload, options).await;
            self.remember().await;
            done
        };
        self.run(put).await
    }

    async fn put_multipart_opts(&self, to: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(to, options).await
    }

    async fn get_opts(&self, from: &Path, options: GetOptions) -> Result<GetResult> {
        self.run(self.inner.get_opts(from, options)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        // streams do not borrow the store: faults are drawn for the first hundred
        let faults: Vec<u64> = (0..100).map(|_| self.random()).collect();
        let (percent, inner, order) = (self.percent, self.inner.clone(), Arc::clone(&self.deleted));
        let deleted = stream::iter(faults).zip(locations).then(move |(z, path)| {
            let (inner, order) = (inner.clone(), Arc::clone(&order));
            async move {
                let path = path?;
                if z % 100 < percent && z & (1 << 40) == 0 {
                    return Err(cut());
                }
                object_store::ObjectStoreExt::delete(&inner, &path).await?;
                order.lock().push(path.to_string());
                if z % 100 < percent { Err(cut()) } else { Ok(path) }
            }
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let z = self.random();
        if z % 100 < self.percent {
            return self
                .inner
                .list(prefix)
                .take(usize::from(z & (1 << 40) != 0))
                .chain(stream::iter([Err(cut())]))
                .boxed();
        }
        let history = self.history.lock();
        let behind = if self.lag > 0 { usize::try_from((z >> 41) % (self.lag + 1)).unwrap() } else { 0 };
        match history.iter().rev().nth(behind) {
            Some(then) if behind > 0 => {
                let prefix = prefix.cloned().unwrap_or_default();
                let then = then.iter().filter(|object| object.location.prefix_matches(&prefix));
                let then: Vec<_> = then.map(|object| Ok(self.dated(object.clone()))).collect();
                stream::iter(then).boxed()
            }
            _ => {
                let now = futures::executor::block_on(self.inner.list(prefix).try_collect::<Vec<_>>()).unwrap();
                let now: Vec<_> = now.into_iter().map(|object| Ok(self.dated(object))).collect();
                stream::iter(now).boxed()
            }
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.run(self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
