//! A bucket that fails: before or after a request took effect, or in the middle of an upload in parts.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

use super::*;

/// Random numbers by SplitMix64 (Steele, Lea and Flood, 2014), and how many of a hundred requests fail.
#[derive(Debug)]
struct Faults {
    state: AtomicU64,
    percent: u64,
    hit: AtomicUsize,
}

impl Faults {
    /// Nothing where the request succeeds; otherwise whether it takes effect all the same.
    fn next(&self) -> Option<bool> {
        let state = self.state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let z = z ^ (z >> 31);
        (z % 100 < self.percent).then(|| {
            self.hit.fetch_add(1, Ordering::Relaxed);
            z & (1 << 40) != 0
        })
    }

    /// Runs a request with its fault, and points to be dropped at before and after its effect.
    async fn run<T>(&self, request: impl Future<Output = Result<T>>) -> Result<T> {
        let fault = self.next();
        tokio::task::yield_now().await;
        if fault == Some(false) {
            return Err(cut());
        }
        let done = request.await?;
        tokio::task::yield_now().await;
        if fault == Some(true) { Err(cut()) } else { Ok(done) }
    }
}

fn cut() -> Error {
    Error::Generic { store: "faulty", source: "connection cut".into() }
}

/// An [`InMemory`] with faults. A `meta.json` that comes before what it lists fails the test.
#[derive(Debug)]
pub(crate) struct FaultyStore {
    pub inner: Arc<InMemory>,
    faults: Arc<Faults>,
    /// Objects that were written, also over others.
    pub writes: AtomicUsize,
}

impl FaultyStore {
    pub fn new(seed: u64, percent: u64) -> Self {
        let faults = Faults { state: AtomicU64::new(seed << 20), percent, hit: AtomicUsize::new(0) };
        Self { inner: Arc::default(), faults: Arc::new(faults), writes: AtomicUsize::new(0) }
    }

    /// Requests that failed.
    pub fn hit(&self) -> usize {
        self.faults.hit.load(Ordering::Relaxed)
    }

    async fn check_meta(&self, location: &Path, json: Vec<u8>) {
        let meta = BlockMeta::try_parse(&json, "uploaded").unwrap();
        let there: std::collections::BTreeMap<String, u64> = self
            .inner
            .list(None)
            .map_ok(|object| (object.location.to_string(), object.size))
            .try_collect()
            .await
            .unwrap();
        let folder = location.as_ref().strip_suffix("meta.json").unwrap();
        for file in meta.thanos.unwrap().files.iter().filter(|file| file.rel_path != META_FILE) {
            assert_eq!(there.get(&format!("{folder}{}", file.rel_path)), Some(&file.size_bytes), "{}", file.rel_path);
        }
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, to: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let put = async {
            if to.filename() == Some(META_FILE) {
                let bytes: Vec<u8> = payload.iter().flatten().copied().collect();
                self.check_meta(to, bytes).await;
            }
            self.writes.fetch_add(1, Ordering::Relaxed);
            self.inner.put_opts(to, payload, options).await
        };
        self.faults.run(put).await
    }

    async fn put_multipart_opts(&self, to: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let inner = self.faults.run(self.inner.put_multipart_opts(to, options)).await?;
        self.writes.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(FaultyUpload { inner, faults: Arc::clone(&self.faults) }))
    }

    async fn get_opts(&self, from: &Path, options: GetOptions) -> Result<GetResult> {
        self.faults.run(self.inner.get_opts(from, options)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    /// A fault cuts the list in the middle.
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let objects = self.inner.list(prefix);
        match self.faults.next() {
            None => objects,
            Some(late) => objects.take(usize::from(late)).chain(stream::iter([Err(cut())])).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.faults.run(self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct FaultyUpload {
    inner: Box<dyn MultipartUpload>,
    faults: Arc<Faults>,
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (part, faults) = (self.inner.put_part(data), Arc::clone(&self.faults));
        Box::pin(async move { faults.run(part).await })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let Self { inner, faults } = self;
        faults.run(inner.complete()).await
    }

    async fn abort(&mut self) -> Result<()> {
        let Self { inner, faults } = self;
        faults.run(inner.abort()).await
    }
}
