//! `quiver query`: answers queries over the blocks of a bucket. What [`crate::all`] and [`crate::receive`] do too, over what is
//! written to them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use compat::http::{
    Api, ApiSettings, BlockMetrics, Readiness, StatusApi, StatusSettings, register_process, starting_router,
};
use compat::objstore::Bucket;
use compat::remote::{Dialect, ReadSettings, Reader, federate_router, read_router};
use compat::tenant::ReadTenants;
use compat::web::{Protocol, TlsPort};
use engine::sql::SqlEngine;
use engine::{Engine, EngineSettings};
use prometheus_client::registry::Registry;
use storage::bucket::{BlockState, SyncReport};
use storage::side_index::{SideIndexCache, SideIndexSettings};
use storage::store::{BucketSettings, BucketStore, ScopedStore, UnionStore};
use storage::{Clock, Store};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;

use crate::compaction::{Compaction, CompactionSettings};
use crate::connections::{self, Port};
use crate::flags::{QueryFlags, QueryRoleFlags, ServerFlags};
use crate::grpc::{self, GrpcPort, GrpcServer};
use crate::ingest::{Ingest, IngestSettings};
use crate::own_metrics::OwnMetrics;
use crate::server;
use crate::settings::{self, GrpcSettings, ListenAddress, ServerSettings};
use crate::signals::stop_signal;
use crate::tenancy;

/// Stack of each thread: the deepest query that the parser lets through is walked recursively.
const STACK_BYTES: usize = 8 << 20;

/// How far threads of what can wait step back, on the scale of nice(1).
const BACKGROUND_NICENESS: i32 = 10;

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
    let role = QueryRole {
        bucket: Some(bucket),
        cache_dir,
        sync_interval: flags.sync_block_duration,
        ingest: None,
        compaction: None,
        grpc: Some(settings::grpc_settings(&flags.grpc)?),
        tenants: tenancy::read_tenants(&flags.query.tenancy, None)?,
    };
    role.run(&flags.query, &flags.server, flag_values)
}

/// What is queried: a bucket, what is written here, or both.
#[derive(Debug)]
pub struct QueryRole {
    /// The bucket that is read.
    pub bucket: Option<Bucket>,
    /// Where side-indexes that had to be built are kept; none keeps them in memory.
    pub cache_dir: Option<PathBuf>,
    /// How often the bucket is looked at for new blocks.
    pub sync_interval: Duration,
    /// What is written here.
    pub ingest: Option<IngestRole>,
    /// How the bucket is compacted, if it is.
    pub compaction: Option<CompactionSettings>,
    /// Where Flight SQL is served.
    pub grpc: Option<GrpcSettings>,
    /// Whose series a request may see.
    pub tenants: ReadTenants,
}

/// How writes are taken.
#[derive(Debug)]
pub struct IngestRole {
    /// The folder of log and blocks, which this process alone uses.
    pub folder: PathBuf,
    /// The flags.
    pub settings: IngestSettings,
    /// Where blocks are uploaded to.
    pub upload_to: Option<Bucket>,
    /// Whose paths there are.
    pub dialects: Vec<Dialect>,
    /// An address of its own for the paths that write; without it they are on the address of everything else.
    pub listen: Option<WriteAddress>,
    /// Whether the metrics of this process are written, too.
    pub own_metrics: bool,
}

/// An address for the paths that write.
#[derive(Debug)]
pub struct WriteAddress {
    /// The address.
    pub address: ListenAddress,
    /// TLS of its own, by flags.
    pub tls: Option<TlsPort>,
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
        let background = self.compaction.as_ref().map(|_| background_runtime()).transpose()?;
        let clock = settings::clock();
        let server_settings = settings::server_settings(server)?;
        let engine_settings = settings::engine_settings(query, compute.handle().clone())?;
        let api_settings = settings::api_settings(query, self.tenants.clone())?;
        let status = settings::status_settings(server, flag_values, clock.now());
        let threads = background.as_ref().map(|background| background.handle().clone());
        let ended =
            serving.block_on(self.serve(&server_settings, engine_settings, api_settings, status, clock, threads));
        // tasks that still run are not waited for: the grace period is over
        compute.shutdown_background();
        serving.shutdown_background();
        background.into_iter().for_each(Runtime::shutdown_background);
        ended
    }

    async fn serve(
        mut self,
        server: &ServerSettings,
        engine: EngineSettings,
        api: ApiSettings,
        status: StatusSettings,
        clock: Arc<dyn Clock>,
        background: Option<Handle>,
    ) -> anyhow::Result<()> {
        // a port that is taken is told before a long replay
        let (port, write_port, grpc) = self.listen(server).await?;
        let mut registry = Registry::default();
        register_process(&mut registry, &status.build.version, &status.build.revision, clock.now());
        let side_indexes =
            SideIndexCache::new(SideIndexSettings { folder: self.cache_dir.clone(), ..SideIndexSettings::default() });
        let sync = self.bucket.as_ref().map(|bucket| Sync {
            store: Arc::new(open_bucket(bucket, side_indexes, Arc::clone(&clock))),
            metrics: BlockMetrics::new(&mut registry),
            interval: self.sync_interval,
            bucket: bucket.name.clone(),
        });
        let writes = match &self.ingest {
            Some(role) => {
                let settings = role.settings.clone();
                let bucket = role.upload_to.as_ref();
                // of its own: a block can be here and in the bucket, and go here
                let side_indexes = SideIndexCache::new(SideIndexSettings::default());
                let queried = sync.as_ref().filter(|_| bucket.is_some()).map(|sync| Arc::clone(&sync.store));
                let opened = Ingest::open(
                    &role.folder,
                    settings,
                    bucket,
                    queried,
                    Arc::clone(&clock),
                    side_indexes,
                    &mut registry,
                );
                Some(server::meanwhile(&port, starting_router(), opened).await??)
            }
            None => None,
        };
        let written = writes.iter().map(|ingest| Arc::clone(&ingest.tsdb) as Arc<dyn Store>);
        let stores = written.chain(sync.iter().map(|sync| Arc::clone(&sync.store) as Arc<dyn Store>)).collect();
        let queried = scoped(UnionStore::new(stores), &self.tenants);
        let (lookback_ms, parse) = (api.lookback_ms, api.parse);
        let engine = Arc::new(Engine::new(Arc::clone(&queried), engine));
        let read_settings = ReadSettings { tenants: self.tenants.clone(), ..ReadSettings::default() };
        let reader = Arc::new(Reader::new(Arc::clone(&engine), Arc::clone(&queried), read_settings));
        let more =
            read_router(Arc::clone(&reader)).merge(federate_router(reader, Arc::clone(&clock), lookback_ms, parse));
        let compaction = self.compaction(background, &clock, &mut registry);
        let readiness = Readiness::new();
        let sql = SqlEngine::new(Arc::clone(&engine));
        let mut api = Api::new(engine, queried, Arc::clone(&clock), api, &mut registry);
        let (version, users) = (&status.build.version, &server.web);
        let grpc =
            grpc.map(|port| port.serving(sql, version, &clock, (api.gate(), &self.tenants), users)).transpose()?;
        if let Some(ingest) = &writes {
            api = api.with_head(Arc::clone(ingest.tsdb.head()));
        }
        let status = StatusApi::new(status, Arc::clone(&clock), readiness.clone(), registry);
        let own_metrics = self.own_metrics(&status, writes.as_ref(), &server.address, &clock);
        let mut served = Vec::new();
        let more = match (&self.ingest, &writes, write_port) {
            (Some(role), Some(ingest), Some(port)) => {
                served.push((port, ingest.router(&role.dialects).merge(ingest.status_router(&self.tenants))));
                more
            }
            (Some(role), Some(ingest), None) => more.merge(ingest.router(&role.dialects)),
            _ => more,
        };
        let more = match &compaction {
            Some((_, compaction)) => more.nest("/api/v1", Arc::clone(compaction.blocks()).router(&self.tenants)),
            None => more,
        };
        served.push((port, api.router(status, more)));
        let work = Work { sync, writes, own_metrics, compaction };
        serve(server.grace_period, served, grpc, readiness, work).await
    }

    fn compaction(
        &self,
        background: Option<Handle>,
        clock: &Arc<dyn Clock>,
        registry: &mut Registry,
    ) -> Option<(Handle, Arc<Compaction>)> {
        let (settings, bucket) = (self.compaction.clone()?, self.bucket.clone()?);
        Some((background?, Arc::new(Compaction::new(bucket, settings, Arc::clone(clock), registry))))
    }

    /// Takes the address of everything, that of writes where they have one of their own, and that of Flight SQL.
    async fn listen(&mut self, server: &ServerSettings) -> anyhow::Result<(Port, Option<Port>, Option<GrpcPort>)> {
        let port = connections::listen(&server.address, server.guard(None, Protocol::Http)).await?;
        tenancy::check_read_certificates(&self.tenants, Protocol::Http, port.verifies_clients()?)?;
        let mut write_port = None;
        if let Some(role) = &mut self.ingest {
            if let Some(WriteAddress { address, tls }) = role.listen.take() {
                write_port = Some(connections::listen(&address, server.guard(tls, Protocol::Http)).await?);
            }
            role.settings.check_certificates(write_port.as_ref().unwrap_or(&port).verifies_clients()?)?;
        }
        let grpc = grpc::listen(self.grpc.take(), server).await?;
        if let Some(grpc) = &grpc {
            tenancy::check_read_certificates(&self.tenants, Protocol::Grpc, grpc.verifies_clients()?)?;
        }
        Ok((port, write_port, grpc))
    }

    fn own_metrics(
        &self,
        status: &StatusApi,
        ingest: Option<&Ingest>,
        address: &ListenAddress,
        clock: &Arc<dyn Clock>,
    ) -> Option<OwnMetrics> {
        if !self.ingest.as_ref()?.own_metrics {
            return None;
        }
        let head = Arc::clone(ingest?.tsdb.head());
        let instance = format!("localhost:{}", address.address.port());
        Some(OwnMetrics { registry: status.registry(), head, clock: Arc::clone(clock), instance })
    }
}

/// The store that is asked: where tenants are enforced, one that answers nobody without a tenant.
fn scoped(store: UnionStore, tenants: &ReadTenants) -> Arc<dyn Store> {
    if tenants.enforced() { Arc::new(ScopedStore::new(Arc::new(store))) } else { Arc::new(store) }
}

fn open_bucket(bucket: &Bucket, side_indexes: Arc<SideIndexCache>, clock: Arc<dyn Clock>) -> BucketStore {
    let settings = BucketSettings { local_root: bucket.local_root.clone(), ..BucketSettings::default() };
    BucketStore::new(Arc::clone(&bucket.store), settings, side_indexes, clock)
}

fn runtime(name: &str) -> anyhow::Result<Runtime> {
    Builder::new_multi_thread()
        .thread_name(format!("quiver-{name}"))
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()
        .context("cannot start threads")
}

/// Threads of what can wait: half the cores.
pub fn background_threads() -> usize {
    (std::thread::available_parallelism().map_or(1, std::num::NonZero::get) / 2).max(1)
}

/// For what can wait: few threads, which the system lets run when those of queries leave it time.
fn background_runtime() -> anyhow::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(background_threads())
        .thread_name("quiver-background")
        .on_thread_start(|| {
            // of this thread alone; where it is refused, the threads are as good as others
            let _ = rustix::process::nice(BACKGROUND_NICENESS);
        })
        .enable_all()
        .build()
        .context("cannot start threads")
}

/// What goes on beside the requests.
struct Work {
    sync: Option<Sync>,
    writes: Option<Ingest>,
    own_metrics: Option<OwnMetrics>,
    compaction: Option<(Handle, Arc<Compaction>)>,
}

impl Work {
    /// Is ready after the first look at the bucket, and then goes on for ever.
    async fn run(&self, readiness: &Readiness) -> anyhow::Result<()> {
        if let Some(sync) = &self.sync {
            match sync.once().await {
                // what is written is taken, and the bucket is looked at again
                Err(error) if self.writes.is_some() => {
                    tracing::error!(bucket = sync.bucket, %error, "cannot read the bucket; its blocks are not answered until it can");
                }
                looked => looked.with_context(|| format!("cannot read the bucket {}", sync.bucket))?,
            }
        }
        readiness.set(true);
        tracing::info!("ready");
        let sync = async {
            if let Some(sync) = &self.sync {
                sync.forever().await;
            }
        };
        let maintenance = async {
            if let Some(ingest) = &self.writes {
                ingest.maintain().await;
            }
        };
        let own_metrics = async {
            if let Some(own_metrics) = &self.own_metrics {
                own_metrics.forever().await;
            }
        };
        let compaction = async {
            if let Some((threads, compaction)) = &self.compaction {
                if let Some(ingest) = &self.writes {
                    ingest.upload().await;
                }
                compaction.forever_on(threads).await;
            }
        };
        tokio::join!(sync, maintenance, own_metrics, compaction);
        // where there is nothing to do, nothing ends either
        std::future::pending().await
    }
}

/// Serves until a signal comes, or what goes on beside the requests fails.
async fn serve(
    grace_period: Duration,
    served: Vec<(Port, Router)>,
    grpc: Option<GrpcServer>,
    readiness: Readiness,
    work: Work,
) -> anyhow::Result<()> {
    let (stop, stopped) = watch::channel(false);
    let serving = served.into_iter().map(|(port, router)| server::serve(port, router, stopped.clone(), grace_period));
    let serving = futures::future::join_all(serving);
    let flight = async {
        if let Some(grpc) = grpc {
            grpc.serve(stopped.clone()).await;
        }
    };
    let until_signal = async {
        let ended: anyhow::Result<()> = tokio::select! {
            signal = stop_signal() => signal.map(|signal| tracing::info!(signal, "stopping")),
            ended = work.run(&readiness) => ended,
        };
        readiness.set(false);
        // only fails where nobody serves any more
        let _ = stop.send(true);
        ended
    };
    let (_, (), mut ended) = tokio::join!(serving, flight, until_signal);
    if let Some(ingest) = &work.writes {
        ingest.flush(grace_period, stop_signal()).await;
        ended = ended.and(ingest.close().await);
    }
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
