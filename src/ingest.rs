//! What is written here: the folder of head, log and local blocks, what keeps it small, and the paths that write to it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use compat::http::{HeadCollector, LimitMetrics, ShipperMetrics, tenant_status_router};
use compat::objstore::Bucket;
use compat::relabel::Relabel;
use compat::remote::{Dialect, HeadTarget, OtlpSettings, WriteSettings, Writer, otlp_router, write_router};
use compat::tenant::ReadTenants;
use object_store::ObjectStore;
use prometheus_client::registry::Registry;
use storage::Clock;
use storage::block::BlockMeta;
use storage::head::HeadSettings;
use storage::model::{BlockId, ExternalLabels};
use storage::shipper::{BlockSource, Shipper, ShipperSettings};
use storage::side_index::SideIndexCache;
use storage::store::{BlockStore, BucketStore};
use storage::tsdb::{Cut, Tsdb, TsdbSettings};
use storage::wal::{Compression, RealDisk, SyncPolicy, WalSettings};
use tokio::sync::Mutex;

use crate::flags::{IngestFlags, ShipperFlags, TranslationFlags, WalSync};
use crate::limits::{Limits, LimitsSettings};
use crate::{settings, tenancy};

/// How often blocks are cut, uploaded and deleted, where there are any to.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(30);
/// How often closed chunks are moved out of memory, where there are enough: at a million samples a second some megabytes come in it.
const CHUNKS_INTERVAL: Duration = Duration::from_millis(250);
/// How often it is looked whether the log has grown so much that a snapshot is due.
const SNAPSHOT_INTERVAL: Duration = Duration::from_secs(1);
/// How often the log is synced where it need not be before a write is acknowledged.
const WAL_SYNC_INTERVAL: Duration = Duration::from_secs(5);

/// The blocks of each tenant that are in the bucket.
type Uploaded = HashMap<String, BTreeSet<BlockId>>;

/// The flags, checked.
#[derive(Debug, Clone)]
pub struct IngestSettings {
    tsdb: TsdbSettings,
    write: WriteSettings,
    /// Whether a stop cuts and uploads all that is in the head.
    flush_on_stop: bool,
    otlp: OtlpSettings,
    limits: LimitsSettings,
    shipper: ShipperSettings,
    /// The labels of `--label`.
    pub labels: ExternalLabels,
}

impl IngestSettings {
    /// Checks the flags; `flush_on_stop` is what the role does at a stop unless they say otherwise.
    ///
    /// # Errors
    /// Where one is wrong; the text names it.
    pub fn try_new(flags: &IngestFlags, flush_on_stop: bool) -> anyhow::Result<Self> {
        let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        if flags.min_block_duration != flags.max_block_duration {
            bail!(
                "--tsdb.min-block-duration and --tsdb.max-block-duration must agree: blocks are compacted in the bucket alone"
            );
        }
        if flags.min_block_duration.is_zero() {
            bail!("--tsdb.min-block-duration=0s: a block needs some time");
        }
        let tenants = tenancy::write_rule(flags)?;
        let labels = settings::external_labels("--label", &flags.labels)?;
        let head = HeadSettings {
            out_of_order_window_ms: ms(flags.out_of_order_window),
            max_future_ms: ms(flags.max_future),
            block_duration_ms: ms(flags.min_block_duration),
            tenant_label: flags.tenant_label.clone(),
            external_labels: labels.clone(),
            max_exemplars: flags.max_exemplars,
            ..HeadSettings::default()
        };
        let compressed = flags.wal_compression && !flags.no_wal_compression;
        let wal = WalSettings {
            sync: match flags.wal_sync {
                WalSync::Always => SyncPolicy::Always,
                WalSync::Interval => SyncPolicy::Interval(WAL_SYNC_INTERVAL),
                WalSync::Never => SyncPolicy::Never,
            },
            compression: if compressed { Compression::Snappy } else { Compression::None },
            ..WalSettings::default()
        };
        let default_tenant = flags.default_tenant.clone();
        let max_bytes = flags.max_retention_bytes.0 as u64;
        let snapshot_log_bytes = flags.snapshot_log_size.0 as u64;
        let retention_ms = ms(flags.retention);
        let tsdb = TsdbSettings { head, wal, default_tenant, retention_ms, max_bytes, snapshot_log_bytes };
        if tenants.certificate.is_some() && flags.split_tenant_label.is_some() {
            tracing::warn!(
                "--receive.split-tenant-label-name lets a client write to other tenants than its certificate names"
            );
        }
        let write = WriteSettings {
            tenants,
            split_label: flags.split_tenant_label.clone(),
            relabel: relabel(&flags.translation)?,
            ahead_max: (!flags.max_future.is_zero()).then_some(flags.max_future),
            ..WriteSettings::default()
        };
        let flush_on_stop = flags.flush_on_stop || flush_on_stop && !flags.no_flush_on_stop;
        let limits = LimitsSettings::try_new(&flags.limits)?;
        let (otlp, shipper) = (otlp_settings(&flags.translation), shipper_settings(&flags.shipper));
        Ok(Self { tsdb, write, flush_on_stop, otlp, limits, shipper, labels })
    }

    /// Keeps local blocks that are in the bucket too for no longer than `copies`.
    #[must_use]
    pub fn with_copies_kept(mut self, copies: Duration) -> Self {
        let copies_ms = i64::try_from(copies.as_millis()).unwrap_or(i64::MAX);
        let kept_ms = Some(self.tsdb.retention_ms).filter(|kept_ms| *kept_ms > 0);
        self.tsdb.retention_ms = kept_ms.map_or(copies_ms, |kept_ms| kept_ms.min(copies_ms));
        self
    }

    /// Checks that who writes shows a certificate, where it has to name the tenant; `verified` is whether the port for writes verifies any.
    ///
    /// # Errors
    /// Where it does not.
    pub fn check_certificates(&self, verified: bool) -> anyhow::Result<()> {
        if self.write.tenants.certificate.is_some() && !verified {
            bail!(
                "--receive.tenant-certificate-field needs client certificates that are verified where writes come in: \
                 --remote-write.server-tls-client-ca, or client_auth_type RequireAndVerifyClientCert in the file of --http.config"
            );
        }
        Ok(())
    }
}

fn relabel(flags: &TranslationFlags) -> anyhow::Result<Option<Arc<Relabel>>> {
    let given = (flags.relabel_config_file.as_deref(), flags.relabel_config.as_deref());
    let (text, source) = settings::path_or_content("--receive.relabel-config", given)?.unwrap_or_default();
    let rules = Relabel::from_yaml(&text, &source, None)?;
    Ok((!rules.is_empty()).then(|| Arc::new(rules)))
}

fn otlp_settings(flags: &TranslationFlags) -> OtlpSettings {
    let attributes = flags.otlp_promote_resource_attributes.iter();
    OtlpSettings {
        target_info: flags.otlp_enable_target_info && !flags.no_otlp_enable_target_info,
        promote_resource_attributes: attributes.filter(|name| !name.is_empty()).cloned().collect(),
        ..OtlpSettings::default()
    }
}

fn shipper_settings(flags: &ShipperFlags) -> ShipperSettings {
    let defaults = ShipperSettings::new(BlockSource::Receive);
    let concurrency = if flags.upload_concurrency == 0 { defaults.concurrency } else { flags.upload_concurrency };
    let hash = flags.hash.flatten();
    ShipperSettings { concurrency, allow_out_of_order: flags.allow_out_of_order_uploads, hash, ..defaults }
}

/// The folder in use.
#[derive(Debug)]
pub struct Ingest {
    /// Head, log and local blocks.
    pub tsdb: Arc<Tsdb>,
    clock: Arc<dyn Clock>,
    writer: Arc<Writer>,
    limits: Limits,
    otlp: OtlpSettings,
    shipper: ShipperSettings,
    flush_on_stop: bool,
    /// Where blocks are uploaded to; nowhere where there is no bucket.
    bucket: Option<Arc<dyn ObjectStore>>,
    /// The same bucket as it is queried here: what it has not loaded yet has to stay here.
    queried: Option<Arc<BucketStore>>,
    /// One a tenant, made when it has its first block.
    shippers: Mutex<HashMap<String, Shipper>>,
    shipper_metrics: ShipperMetrics,
}

impl Ingest {
    /// Opens the folder and replays its log.
    ///
    /// # Errors
    /// Where it cannot be read or written.
    pub async fn open(
        folder: &Path,
        settings: IngestSettings,
        bucket: Option<&Bucket>,
        queried: Option<Arc<BucketStore>>,
        clock: Arc<dyn Clock>,
        side_indexes: Arc<SideIndexCache>,
        registry: &mut Registry,
    ) -> anyhow::Result<Self> {
        let opened = Tsdb::open(folder, settings.tsdb, Arc::clone(&clock), Arc::new(RealDisk), side_indexes).await;
        let (tsdb, replay) = opened.with_context(|| format!("cannot open {}", folder.display()))?;
        tracing::info!(
            folder = %folder.display(),
            samples = replay.samples,
            records = replay.wal.records,
            invalid_entries = replay.invalid,
            entries_of_unknown_series = replay.unknown_series,
            snapshot_series = replay.restored.map_or(0, |restored| restored.series),
            damaged_places = replay.wal.damage.len(),
            "replayed the write-ahead log"
        );
        let bucket = bucket.map(|bucket| Arc::clone(&bucket.store));
        let (shippers, shipper_metrics) = (Mutex::default(), ShipperMetrics::new(registry));
        let (head, wal, files) = (Arc::clone(tsdb.head()), Arc::clone(tsdb.wal()), Arc::clone(tsdb.files()));
        registry.register_collector(Box::new(HeadCollector { head, wal, files }));
        let target = Arc::new(HeadTarget(Arc::clone(tsdb.head())));
        let writer = Arc::new(Writer::new(target, Arc::clone(&clock), settings.write));
        let metrics = LimitMetrics::new(registry);
        let limits = Limits::new(settings.limits, Arc::clone(&writer), Arc::clone(tsdb.head()), metrics);
        Ok(Self {
            tsdb: Arc::new(tsdb),
            clock,
            writer,
            limits,
            otlp: settings.otlp,
            shipper: settings.shipper,
            flush_on_stop: settings.flush_on_stop,
            bucket,
            queried,
            shippers,
            shipper_metrics,
        })
    }

    /// The paths that write here.
    pub fn router(&self, dialects: &[Dialect]) -> Router {
        let writer = || Arc::clone(&self.writer);
        write_router(writer(), dialects).merge(otlp_router(writer(), self.otlp.clone(), dialects))
    }

    /// Uploads what is not in the bucket yet.
    pub async fn upload(&self) {
        if let Some(bucket) = &self.bucket {
            self.ship(bucket).await;
        }
    }

    /// What a Thanos receive tells of its tenants' heads; of its own to each, where they do not `read` what others wrote.
    pub fn status_router(&self, read: &ReadTenants) -> Router {
        tenant_status_router(Arc::clone(self.tsdb.head()), self.writer.settings.tenants.clone(), read.enforced())
    }

    /// Keeps memory and restarts small, cuts, uploads and deletes blocks, and looks for new limits, again and again. What fails is told
    /// and tried again.
    pub async fn maintain(&self) {
        let chunks = async {
            loop {
                let pause = if self.tsdb.move_chunks().await { CHUNKS_INTERVAL } else { MAINTENANCE_INTERVAL };
                tokio::time::sleep(pause).await;
            }
        };
        let snapshots = async {
            loop {
                let pause = if self.tsdb.snapshot().await { SNAPSHOT_INTERVAL } else { MAINTENANCE_INTERVAL };
                tokio::time::sleep(pause).await;
            }
        };
        let blocks = async {
            loop {
                tokio::time::sleep(MAINTENANCE_INTERVAL).await;
                self.maintain_once().await;
            }
        };
        tokio::join!(blocks, chunks, snapshots, self.limits.watch());
    }

    /// Cuts blocks, and says whether that worked.
    async fn cut(&self, which: Cut) -> bool {
        match self.tsdb.cut(which).await {
            Ok(cut) => {
                for block in cut {
                    let (id, stats) = (block.meta.ulid, &block.meta.stats);
                    tracing::info!(tenant = block.tenant, %id, series = stats.num_series, samples = stats.num_samples, "cut a block");
                }
                true
            }
            Err(error) => {
                tracing::error!(%error, "cannot cut a block; samples stay in memory and in the log");
                false
            }
        }
    }

    /// Where that is wanted, cuts all that is in the head into blocks and uploads them, as a Thanos receive does when it stops. To be
    /// called when nothing is written any more. What is not done within `limit`, or when `interrupted` comes, is in the log or goes with
    /// the next start.
    pub async fn flush(&self, limit: Duration, interrupted: impl Future) {
        if !self.flush_on_stop {
            return;
        }
        tracing::info!("cutting and uploading what is in the head");
        let flush = async {
            let is_cut = self.cut(Cut::Everything).await;
            self.upload().await;
            is_cut
        };
        tokio::select! {
            flushed = tokio::time::timeout(limit, flush) => match flushed {
                Ok(true) => tracing::info!("all samples are in blocks"),
                Ok(false) => {}
                Err(_) => tracing::warn!("the grace period is over; what is in no block is in the log"),
            },
            _ = interrupted => tracing::warn!("told to stop once more; what is in no block is in the log"),
        }
    }

    async fn maintain_once(&self) {
        self.cut(Cut::Due).await;
        let uploaded = match &self.bucket {
            Some(bucket) => Some(self.ship(bucket).await),
            None => None,
        };
        // what is queried: blocks, and those that they were compacted from
        let queried: Option<HashSet<BlockId>> = self.queried.as_ref().map(|queried| {
            let ids = |block: &BlockStore| [block.id()].into_iter().chain(block.meta().compaction.sources.clone());
            queried.blocks().iter().flat_map(ids).collect()
        });
        let may_go = |tenant: &str, meta: &BlockMeta| match &uploaded {
            Some(uploaded) => {
                uploaded.get(tenant).is_some_and(|blocks| blocks.contains(&meta.id()))
                    && queried.as_ref().is_none_or(|blocks| blocks.contains(&meta.id()))
            }
            // without a bucket, blocks that others cut are nobody's to delete
            None => meta.thanos.is_some(),
        };
        self.delete(may_go).await;
    }

    /// Deletes what is past the retention and may go.
    async fn delete(&self, may_go: impl Fn(&str, &BlockMeta) -> bool) {
        match self.tsdb.delete_expired(&may_go).await {
            Ok(deleted) => {
                deleted.iter().for_each(|id| tracing::info!(%id, "deleted a local block past the retention"))
            }
            Err(error) => tracing::error!(%error, "cannot delete a block past the retention"),
        }
        match self.tsdb.remove_idle(&may_go).await {
            Ok(removed) => {
                let mut shippers = self.shippers.lock().await;
                for tenant in removed {
                    shippers.remove(&tenant);
                    tracing::info!(tenant, "removed a tenant who wrote nothing for the retention");
                }
            }
            Err(error) => tracing::error!(%error, "cannot remove idle tenants"),
        }
    }

    /// Uploads what is not in the bucket yet, and says what is, by tenant.
    async fn ship(&self, bucket: &Arc<dyn ObjectStore>) -> Uploaded {
        let mut shippers = self.shippers.lock().await;
        let mut uploaded = HashMap::new();
        for (tenant, folder, labels) in self.tsdb.tenants() {
            if !shippers.contains_key(&tenant) {
                match Shipper::try_new(&folder, Arc::clone(bucket), labels, self.shipper.clone()) {
                    Ok(shipper) => {
                        shippers.insert(tenant.clone(), shipper);
                    }
                    Err(error) => {
                        tracing::error!(tenant, %error, "blocks are not uploaded");
                        continue;
                    }
                }
            }
            if let Some(shipper) = shippers.get(&tenant) {
                let outcome = shipper.sync(self.clock.now()).await;
                self.shipper_metrics.add(&outcome.counts);
                outcome.uploaded.iter().for_each(|id| tracing::info!(tenant, %id, "uploaded a block"));
                for (id, error) in &outcome.failed {
                    tracing::warn!(tenant, %id, %error, "cannot upload a block; it is tried again");
                }
                if let Some(error) = &outcome.error {
                    tracing::warn!(tenant, %error, "cannot upload blocks; it is tried again");
                }
                uploaded.insert(tenant, shipper.uploaded());
            }
        }
        uploaded
    }

    /// Writes the log out.
    ///
    /// # Errors
    /// The disk's.
    pub async fn close(&self) -> anyhow::Result<()> {
        self.tsdb.close().await.context("cannot close the write-ahead log")
    }
}
