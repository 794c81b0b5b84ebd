//! `quiver query`: answers queries over the blocks of a bucket. What [`crate::all`] does too, once it has its folder.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use compat::http::{Api, BlockMetrics, Readiness, register_process};
use compat::objstore::Bucket;
use engine::Engine;
use prometheus_client::registry::Registry;
use storage::bucket::{BlockState, SyncReport};
use storage::side_index::{SideIndexCache, SideIndexSettings};
use storage::store::{BucketSettings, BucketStore};
use storage::{Clock, Store};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use crate::flags::{QueryFlags, QueryRoleFlags, ServerFlags};
use crate::server;
use crate::settings::{self, ServerSettings};
use crate::signals::stop_signal;

/// Stack of each thread: the deepest query that the parser lets through is walked recursively.
const STACK_BYTES: usize = 8 << 20;

/// Runs until a signal comes.
///
/// # Errors
/// Where the flags are wrong, or the server cannot start.
pub fn run(flags: &QueryRoleFlags, flag_values: BTreeMap<String, String>) -> anyhow::Result<()> {
    let Some(bucket) = settings::bucket(&flags.objstore)? else {
        bail!("--objstore.config-file or --objstore.config is needed, see docs/objstore.md");
    };
    let cache_dir = flags.cache_dir.clone();
    if let Some(folder) = &cache_dir {
        std::fs::create_dir_all(folder).with_context(|| format!("--cache-dir={}: cannot be made", folder.display()))?;
    }
    let role = QueryRole { bucket, cache_dir, sync_interval: flags.sync_block_duration };
    role.run(&flags.query, &flags.server, flag_values)
}

/// A bucket to be queried.
#[derive(Debug)]
pub struct QueryRole {
    /// The bucket.
    pub bucket: Bucket,
    /// Where side-indexes that had to be built are kept; none keeps them in memory.
    pub cache_dir: Option<PathBuf>,
    /// How often the bucket is looked at for new blocks.
    pub sync_interval: Duration,
}

impl QueryRole {
    /// Makes the two runtimes and serves until a signal comes.
    ///
    /// # Errors
    /// As [`run`].
    pub fn run(
        self,
        query: &QueryFlags,
        server: &ServerFlags,
        flag_values: BTreeMap<String, String>,
    ) -> anyhow::Result<()> {
        if self.sync_interval.is_zero() {
            bail!("--sync-block-duration=0s: looking without a pause is too often");
        }
        let compute = runtime("compute")?;
        let serving = runtime("serving")?;
        let clock = settings::clock();
        let server_settings = settings::server_settings(server)?;
        let engine_settings = settings::engine_settings(query, compute.handle().clone())?;
        let api_settings = settings::api_settings(query, server, flag_values, clock.now())?;

        let mut registry = Registry::default();
        register_process(&mut registry, &api_settings.build.version, &api_settings.build.revision, clock.now());
        let block_metrics = BlockMetrics::new(&mut registry);
        let store = Arc::new(self.open(Arc::clone(&clock)));
        let queried: Arc<dyn Store> = Arc::clone(&store) as Arc<dyn Store>;
        let engine = Arc::new(Engine::new(Arc::clone(&queried), engine_settings));
        let readiness = Readiness::new();
        let api = Api::new(engine, queried, clock, api_settings, readiness.clone(), registry);
        let sync = Sync { store, metrics: block_metrics, interval: self.sync_interval, bucket: self.bucket.name };
        let ended = serving.block_on(serve(&server_settings, api, readiness, sync));
        // tasks that still run are not waited for: the grace period is over
        compute.shutdown_background();
        serving.shutdown_background();
        ended
    }

    fn open(&self, clock: Arc<dyn Clock>) -> BucketStore {
        let side_indexes =
            SideIndexCache::new(SideIndexSettings { folder: self.cache_dir.clone(), ..SideIndexSettings::default() });
        let settings = BucketSettings { local_root: self.bucket.local_root.clone(), ..BucketSettings::default() };
        BucketStore::new(Arc::clone(&self.bucket.store), settings, side_indexes, clock)
    }
}

fn runtime(name: &str) -> anyhow::Result<Runtime> {
    Builder::new_multi_thread()
        .thread_name(format!("quiver-{name}"))
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()
        .context("cannot start threads")
}

/// Listens at once, is ready after the first look at the bucket, and stops on a signal.
async fn serve(settings: &ServerSettings, api: Api, readiness: Readiness, sync: Sync) -> anyhow::Result<()> {
    let listener = server::listen(settings).await?;
    let (stop, stopped) = watch::channel(false);
    let serving = server::serve(listener, api.router(), stopped, settings.grace_period);
    let until_signal = async {
        let syncing = async {
            sync.once().await.with_context(|| format!("cannot read the bucket {}", sync.bucket))?;
            readiness.set(true);
            tracing::info!("ready");
            sync.forever().await;
            Ok(())
        };
        let ended: anyhow::Result<()> = tokio::select! {
            signal = stop_signal() => signal.map(|signal| tracing::info!(signal, "stopping")),
            ended = syncing => ended,
        };
        readiness.set(false);
        // only fails where nobody serves any more
        let _ = stop.send(true);
        ended
    };
    let ((), ended) = tokio::join!(serving, until_signal);
    tracing::info!("stopped");
    ended
}

/// Looks for new blocks.
struct Sync {
    store: Arc<BucketStore>,
    metrics: BlockMetrics,
    interval: Duration,
    bucket: String,
}

impl Sync {
    async fn once(&self) -> storage::Result<()> {
        let report = self.store.sync().await;
        self.metrics.count_sync(report.is_err());
        self.tell(&report?);
        Ok(())
    }

    fn tell(&self, report: &SyncReport) {
        for state in BlockState::ALL {
            self.metrics.set(state.as_str(), report.count(state));
        }
        let loaded = report.count(BlockState::Loaded);
        tracing::info!(bucket = self.bucket, loaded, left_out = report.left_out.len(), "looked for blocks");
        for (block, (state, reason)) in &report.left_out {
            tracing::debug!(%block, state = state.as_str(), reason, "a block is not served");
        }
    }

    async fn forever(&self) {
        loop {
            tokio::time::sleep(self.interval).await;
            if let Err(error) = self.once().await {
                tracing::warn!(bucket = self.bucket, %error, "cannot look for blocks; those known are served on");
            }
        }
    }
}
