//! A bucket of which everything can go wrong, from a seed: requests that fail before or after they took effect, reads that are cut
//! short, listings from a moment ago, and a process that dies between two requests.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

/// Changes that a stale listing does not show.
const STALE_CHANGES: usize = 3;

/// What goes wrong, and how often.
#[derive(Debug, Clone, Copy)]
pub struct Faults {
    /// Decides which requests.
    pub seed: u64,
    /// Of a hundred requests, so many fail.
    pub percent: u64,
    /// Of a hundred listings, so many are from a moment ago.
    pub stale_percent: u64,
    /// After so many requests the process is dead: no request is ever answered.
    pub dies_after: Option<u64>,
}

/// What befell requests, of all buckets that share it.
#[derive(Debug, Default)]
pub struct Tally {
    /// Requests that failed before they took effect: as many timed out as were answered with 503.
    pub before: AtomicU64,
    /// Requests that failed after they took effect.
    pub after: AtomicU64,
    /// Reads that ended early without an error.
    pub short_reads: AtomicU64,
    /// Lists that were cut off with an error.
    pub cut_lists: AtomicU64,
    /// Lists that lacked an object, or showed one that was gone.
    pub stale_lists: AtomicU64,
    /// Processes that died.
    pub died: AtomicU64,
    /// Those of them that had begun an upload in parts, and not ended it.
    pub died_in_upload: AtomicU64,
}

impl Tally {
    fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Objects in memory, behind faults. What one process leaves the next finds: [`restarted`](Self::restarted).
#[derive(Debug, Clone)]
pub struct FaultyBucket {
    /// The objects as they are.
    pub objects: Arc<InMemory>,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    faults: Faults,
    tally: Arc<Tally>,
    requests: AtomicU64,
    /// Uploads in parts that are under way.
    uploads: AtomicU64,
    died: tokio::sync::Notify,
    created: Mutex<VecDeque<Path>>,
    deleted: Mutex<VecDeque<ObjectMeta>>,
}

/// What befalls one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    Before,
    After,
    Short,
    Dead,
}

impl FaultyBucket {
    /// The objects, with faults from now on, which are counted in `tally`.
    pub fn new(objects: Arc<InMemory>, faults: Faults, tally: Arc<Tally>) -> Self {
        let (created, deleted) = (Mutex::default(), Mutex::default());
        Self {
            objects,
            state: Arc::new(State {
                faults,
                tally,
                requests: AtomicU64::new(0),
                uploads: AtomicU64::new(0),
                died: tokio::sync::Notify::new(),
                created,
                deleted,
            }),
        }
    }

    /// The objects as another process finds them that nothing happens to.
    pub fn restarted(&self) -> Arc<dyn ObjectStore> {
        Arc::<InMemory>::clone(&self.objects)
    }

    /// Ends when the process is dead and everything else waits for what never comes.
    pub async fn dead(&self) {
        self.state.died.notified().await;
        // requests that were under way before may still take effect
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
}

impl State {
    /// SplitMix64 (Steele, Lea and Flood, 2014) of the request's number.
    fn draw(&self, number: u64) -> u64 {
        let z = self.faults.seed.wrapping_mul(0x1000_0001).wrapping_add(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn next(&self) -> Fault {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        if let Some(last) = self.faults.dies_after.filter(|&last| number >= last) {
            if number == last {
                Tally::count(&self.tally.died);
                if self.uploads.load(Ordering::Relaxed) > 0 {
                    Tally::count(&self.tally.died_in_upload);
                }
            }
            self.died.notify_one();
            return Fault::Dead;
        }
        let drawn = self.draw(number);
        if drawn % 100 >= self.faults.percent {
            return Fault::None;
        }
        [Fault::Before, Fault::After, Fault::Short][usize::try_from(drawn >> 40).unwrap_or(0) % 3]
    }

    fn is_stale(&self) -> bool {
        self.draw(self.requests.load(Ordering::Relaxed) | 1 << 60) % 100 < self.faults.stale_percent
    }

    /// Runs a request with its fault.
    async fn run<T>(&self, request: impl Future<Output = Result<T>>) -> Result<T> {
        let fault = self.next();
        tokio::task::yield_now().await;
        match fault {
            Fault::Dead => std::future::pending().await,
            Fault::Before | Fault::Short => Err(self.failed(&self.tally.before)),
            Fault::After => {
                request.await?;
                Err(self.failed(&self.tally.after))
            }
            Fault::None => request.await,
        }
    }

    /// A request that failed, by turns because nobody answered in time and because the server is overloaded.
    fn failed(&self, counter: &AtomicU64) -> Error {
        let number = counter.fetch_add(1, Ordering::Relaxed);
        let source = if number.is_multiple_of(2) { "operation timed out" } else { "503 service unavailable" };
        Error::Generic { store: "faulty", source: source.into() }
    }

    fn note<T>(list: &Mutex<VecDeque<T>>, change: T) {
        let mut list = list.lock().unwrap();
        list.push_back(change);
        if list.len() > STALE_CHANGES {
            list.pop_front();
        }
    }
}

impl fmt::Display for FaultyBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty bucket")
    }
}

#[async_trait]
impl ObjectStore for FaultyBucket {
    async fn put_opts(&self, to: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let put = async {
            let put = self.objects.put_opts(to, payload, options).await;
            if put.is_ok() {
                State::note(&self.state.created, to.clone());
            }
            put
        };
        self.state.run(put).await
    }

    async fn put_multipart_opts(&self, to: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let inner = self.state.run(self.objects.put_multipart_opts(to, options)).await?;
        self.state.uploads.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(FaultyUpload { inner, state: Arc::clone(&self.state) }))
    }

    /// A short read ends early without an error, as a connection that was closed.
    async fn get_opts(&self, from: &Path, options: GetOptions) -> Result<GetResult> {
        let fault = self.state.next();
        tokio::task::yield_now().await;
        match fault {
            Fault::Dead => std::future::pending().await,
            Fault::Before | Fault::After => Err(self.state.failed(&self.state.tally.before)),
            Fault::None => self.objects.get_opts(from, options).await,
            Fault::Short => {
                let found = self.objects.get_opts(from, options).await?;
                let (meta, range, attributes) = (found.meta.clone(), found.range.clone(), found.attributes.clone());
                let whole = found.bytes().await?;
                let cut = whole.slice(..whole.len() / 2);
                Tally::count(&self.state.tally.short_reads);
                let payload = GetResultPayload::Stream(stream::iter([Ok(cut)]).boxed());
                Ok(GetResult { payload, meta, range, attributes })
            }
        }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        let delete = move |location: Result<Path>| {
            let this = this.clone();
            async move {
                let location = location?;
                let delete = async {
                    let meta = this.objects.head(&location).await;
                    this.objects.delete(&location).await?;
                    if let Ok(meta) = meta {
                        State::note(&this.state.deleted, meta);
                    }
                    Ok(())
                };
                this.state.run(delete).await?;
                Ok(location)
            }
        };
        locations.then(delete).boxed()
    }

    /// A fault cuts the list off with an error; a stale list lacks what came last, and has what went last.
    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let objects = self.objects.list(prefix);
        let (fault, stale) = (self.state.next(), self.state.is_stale());
        let objects = match stale {
            false => objects,
            true => {
                let created: Vec<Path> = self.state.created.lock().unwrap().iter().cloned().collect();
                let below = |meta: &ObjectMeta| prefix.is_none_or(|prefix| meta.location.prefix_matches(prefix));
                let deleted: Vec<_> =
                    self.state.deleted.lock().unwrap().iter().filter(|meta| below(meta)).cloned().collect();
                if !deleted.is_empty() || !created.is_empty() {
                    Tally::count(&self.state.tally.stale_lists);
                }
                let listed = objects.filter(move |object| {
                    let shown = object.as_ref().map_or(true, |object| !created.contains(&object.location));
                    futures::future::ready(shown)
                });
                listed.chain(stream::iter(deleted.into_iter().map(Ok))).boxed()
            }
        };
        match fault {
            Fault::None => objects,
            Fault::Dead => std::future::pending().into_stream().boxed(),
            _ => objects.take(1).chain(stream::iter([Err(self.state.failed(&self.state.tally.cut_lists))])).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.state.run(self.objects.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.state.run(self.objects.copy_opts(from, to, options)).await
    }
}

#[derive(Debug)]
struct FaultyUpload {
    inner: Box<dyn MultipartUpload>,
    state: Arc<State>,
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        let (state, put) = (Arc::clone(&self.state), self.inner.put_part(part));
        async move { state.run(put).await }.boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let state = Arc::clone(&self.state);
        let ended = state.run(self.inner.complete()).await;
        if ended.is_ok() {
            state.uploads.fetch_sub(1, Ordering::Relaxed);
        }
        ended
    }

    async fn abort(&mut self) -> Result<()> {
        let state = Arc::clone(&self.state);
        state.run(self.inner.abort()).await?;
        state.uploads.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }
}
