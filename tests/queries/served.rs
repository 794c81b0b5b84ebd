//! The golden blocks behind the HTTP API, in this process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arrow::array::RecordBatch;
use axum::Router;
use axum::body::Body;
use compat::http::{Api, ApiSettings, BuildInfo, Readiness, StatusApi, StatusSettings};
use compat::tenant::ReadTenants;
use engine::sql::{SqlEngine, SqlRequest};
use engine::{Deduplication, Engine, EngineFeatures, EngineSettings, ProcessPool};
use futures::TryStreamExt;
use http::Request;
use http_body_util::BodyExt;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use prometheus_client::registry::Registry;
use promql::ParseOptions;
use storage::bucket::SyncReport;
use storage::side_index::{SideIndexCache, SideIndexSettings};
use storage::store::{BucketSettings, BucketStore};
use storage::{Clock, ManualClock, Store};
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

/// The end of the golden blocks, 2026-01-01T12:00Z: what `now` is.
pub const NOW_MS: i64 = 1_767_268_800_000;
/// Stack of each thread, as the program gives it.
const STACK_BYTES: usize = 8 << 20;
/// Memory of all queries together.
const MEMORY_BYTES: usize = 1 << 30;

/// An API with all that it needs to live.
pub struct Served {
    runtime: Runtime,
    router: Router,
    engine: Arc<Engine>,
    bucket: Arc<BucketStore>,
}

impl Served {
    /// Serves the golden blocks, each selector cut into up to `partitions` ranges.
    pub fn new(partitions: usize) -> Self {
        let served = Self::over(golden("bucket"), partitions);
        assert_eq!(served.bucket.blocks().len(), 6);
        served
    }

    /// As [`new`](Self::new), with the blocks of a folder.
    pub fn over(folder: PathBuf, partitions: usize) -> Self {
        Self::over_with(folder, engine_settings(partitions))
    }

    /// As [`over`](Self::over), with an engine that is set like this.
    pub fn over_with(folder: PathBuf, engine: EngineSettings) -> Self {
        let objects = Arc::new(LocalFileSystem::new_with_prefix(&folder).unwrap());
        let settings = BucketSettings { local_root: Some(folder), ..BucketSettings::default() };
        Self::bucket(objects, settings, engine)
    }

    /// How many blocks are served.
    pub fn blocks(&self) -> usize {
        self.bucket.blocks().len()
    }

    /// Serves the blocks of a bucket.
    pub fn bucket(objects: Arc<dyn ObjectStore>, bucket: BucketSettings, engine: EngineSettings) -> Self {
        let runtime = Builder::new_multi_thread().thread_stack_size(STACK_BYTES).enable_all().build().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(NOW_MS));
        let side_indexes = SideIndexCache::new(SideIndexSettings::default());
        let bucket = Arc::new(BucketStore::new(objects, bucket, side_indexes, Arc::clone(&clock)));
        runtime.block_on(bucket.sync()).unwrap();
        let store: Arc<dyn Store> = Arc::clone(&bucket) as Arc<dyn Store>;
        let engine = Arc::new(Engine::new(Arc::clone(&store), engine));
        let readiness = Readiness::new();
        readiness.set(true);
        let mut registry = Registry::default();
        let api = Api::new(Arc::clone(&engine), store, Arc::clone(&clock), api_settings(), &mut registry);
        let status = StatusApi::new(status_settings(), clock, readiness, registry);
        Self { router: api.router(status, axum::Router::new()), engine, runtime, bucket }
    }

    /// Looks into the bucket again.
    pub fn sync(&self) -> storage::Result<SyncReport> {
        self.runtime.block_on(self.bucket.sync())
    }

    /// One API for all tests that do not care how it is set.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Served> = OnceLock::new();
        SHARED.get_or_init(|| Self::new(2))
    }

    /// Sends a form to `path` of the API and waits for status and body, on this thread.
    pub fn post(&self, path: &str, form: &[(&str, &str)]) -> (u16, Vec<u8>) {
        self.post_encoded(path, form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish())
    }

    /// As [`post`](Self::post), with the form as it is sent.
    pub fn post_encoded(&self, path: &str, body: String) -> (u16, Vec<u8>) {
        let request = Request::post(format!("/api/v1/{path}"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Body::from(body))
            .unwrap();
        self.send(request)
    }

    /// Asks for `path` of the API and waits for status and body.
    pub fn get(&self, path: &str) -> (u16, Vec<u8>) {
        self.send(Request::get(format!("/api/v1/{path}")).body(Body::empty()).unwrap())
    }

    fn send(&self, request: Request<Body>) -> (u16, Vec<u8>) {
        self.runtime.block_on(async {
            let response = self.router.clone().oneshot(request).await.unwrap();
            let status = response.status().as_u16();
            (status, response.into_body().collect().await.unwrap().to_bytes().to_vec())
        })
    }

    /// Posts a statement with these headers and waits for status, content type and body.
    pub fn post_sql(&self, uri: &str, body: &str, headers: &[(&str, &str)]) -> (u16, String, Vec<u8>) {
        let mut request = Request::post(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        self.runtime.block_on(async {
            let response = self.router.clone().oneshot(request).await.unwrap();
            let status = response.status().as_u16();
            let content_type = response.headers().get("content-type").map(|value| value.to_str().unwrap().to_owned());
            let body = response.into_body().collect().await.unwrap().to_bytes().to_vec();
            (status, content_type.unwrap_or_default(), body)
        })
    }

    /// Does `work` where the server runs.
    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// What answers SQL.
    pub fn sql_engine(&self) -> SqlEngine {
        SqlEngine::new(Arc::clone(&self.engine))
    }

    /// The answer of a statement, complete.
    pub fn sql(&self, request: SqlRequest) -> engine::Result<Vec<RecordBatch>> {
        self.runtime.block_on(async { self.sql_engine().plan(request).await?.stream()?.try_collect().await })
    }

    /// The plan of a query, one operator a line.
    pub fn explain(&self, request: engine::QueryRequest) -> String {
        self.runtime.block_on(self.engine.explain(request)).unwrap()
    }
}

/// A file or folder of tests/golden.
pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn parse_options() -> ParseOptions {
    ParseOptions { experimental_functions: true, ..ParseOptions::default() }
}

/// How the engine of [`Served::new`] is set.
pub fn engine_settings(partitions: usize) -> EngineSettings {
    EngineSettings {
        lookback_ms: 300_000,
        timeout: Duration::from_secs(120),
        max_samples: 50_000_000,
        memory: ProcessPool::new(MEMORY_BYTES),
        partitions,
        replica_labels: Vec::new(),
        deduplication: Deduplication::Penalty,
        default_subquery_step_ms: 60_000,
        parse: parse_options(),
        features: EngineFeatures::default(),
        compute: None,
    }
}

fn status_settings() -> StatusSettings {
    StatusSettings {
        build: BuildInfo {
            version: "0.0.0".to_owned(),
            revision: String::new(),
            branch: String::new(),
            build_user: String::new(),
            build_date: String::new(),
            compiler: String::new(),
        },
        flags: BTreeMap::new(),
        started: NOW_MS,
        cors: true,
    }
}

fn api_settings() -> ApiSettings {
    ApiSettings {
        max_concurrent: 20,
        lookback_ms: 300_000,
        dynamic_lookback: true,
        default_step: Duration::from_secs(1),
        metadata_range: Duration::ZERO,
        replica_labels: Vec::new(),
        auto_downsampling: false,
        instant_max_resolution_ms: 0,
        partial_response: true,
        parse: parse_options(),
        tenants: ReadTenants::All,
    }
}
