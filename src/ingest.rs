//! What is written here: the folder of head, log and local blocks, what keeps it small, and the paths that write to it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use compat::http::{HeadCollector, ShipperMetrics};
use compat::objstore::Bucket;
use compat::remote::{
    CertificateField, Dialect, HeadTarget, OtlpSettings, WriteSettings, Writer, is_valid_tenant, otlp_router,
    write_router,
};
use http::HeaderName;
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

use crate::flags::{CertificateTenant, IngestFlags, WalSync};
use crate::settings;

/// How often blocks are cut, uploaded and deleted, where there are any to.
const MAINTENANCE_INTERVAL: Duration = Duration::from_secs(30);
/// How often the log is synced where it need not be before a write is acknowledged.
const WAL_SYNC_INTERVAL: Duration = Duration::from_secs(5);

/// The blocks of each tenant that are in the bucket.
type Uploaded = HashMap<String, BTreeSet<BlockId>>;

/// The flags, checked.
#[derive(Debug, Clone)]
pub struct IngestSettings {
    tsdb: TsdbSettings,
    write: WriteSettings,
    /// The labels of `--label`.
    pub labels: ExternalLabels,
}

impl IngestSettings {
    /// Checks the flags.
    ///
    /// # Errors
    /// Where one is wrong; the text names it.
    pub fn try_new(flags: &IngestFlags) -> anyhow::Result<Self> {
        let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        if flags.min_block_duration != flags.max_block_duration {
            bail!(
                "--tsdb.min-block-duration and --tsdb.max-block-duration must agree: blocks are compacted in the bucket alone"
            );
        }
        if flags.min_block_duration.is_zero() {
            bail!("--tsdb.min-block-duration=0s: a block needs some time");
        }
        if !is_valid_tenant(&flags.default_tenant) {
            bail!("--receive.default-tenant-id={}: not a tenant's name", flags.default_tenant);
        }
        let header = flags.tenant_header.to_ascii_lowercase();
        let tenant_header = HeaderName::try_from(header)
            .with_context(|| format!("--receive.tenant-header={}: not a header's name", flags.tenant_header))?;
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
        let tsdb = TsdbSettings { head, wal, default_tenant, retention_ms: ms(flags.retention) };
        let tenant_field = flags.tenant_certificate_field.map(|field| match field {
            CertificateTenant::Organization => CertificateField::Organization,
            CertificateTenant::OrganizationalUnit => CertificateField::OrganizationalUnit,
            CertificateTenant::CommonName => CertificateField::CommonName,
        });
        if tenant_field.is_some() && flags.split_tenant_label.is_some() {
            tracing::warn!(
                "--receive.split-tenant-label-name lets a client write to other tenants than its certificate names"
            );
        }
        let write = WriteSettings {
            tenant_header,
            tenant_field,
            default_tenant: flags.default_tenant.clone(),
            split_label: flags.split_tenant_label.clone(),
            ahead_max: (!flags.max_future.is_zero()).then_some(flags.max_future),
            ..WriteSettings::default()
        };
        Ok(Self { tsdb, write, labels })
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
        if self.write.tenant_field.is_some() && !verified {
            bail!(
                "--receive.tenant-certificate-field needs client certificates that are verified where writes come in: \
                 --remote-write.server-tls-client-ca, or client_auth_type RequireAndVerifyClientCert in the file of --http.config"
            );
        }
        Ok(())
    }
}

/// The folder in use.
#[derive(Debug)]
pub struct Ingest {
    /// Head, log and local blocks.
    pub tsdb: Arc<Tsdb>,
    clock: Arc<dyn Clock>,
    write: WriteSettings,
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
            damaged_places = replay.wal.damage.len(),
            "replayed the write-ahead log"
        );
        let bucket = bucket.map(|bucket| Arc::clone(&bucket.store));
        let (shippers, shipper_metrics) = (Mutex::default(), ShipperMetrics::new(registry));
        registry
            .register_collector(Box::new(HeadCollector { head: Arc::clone(tsdb.head()), wal: Arc::clone(tsdb.wal()) }));
        Ok(Self { tsdb: Arc::new(tsdb), clock, write: settings.write, bucket, queried, shippers, shipper_metrics })
    }

    /// The paths that write here.
    pub fn router(&self, dialects: &[Dialect]) -> Router {
        let target = Arc::new(HeadTarget(Arc::clone(self.tsdb.head())));
        let writer = Arc::new(Writer::new(target, Arc::clone(&self.clock), self.write.clone()));
        write_router(Arc::clone(&writer), dialects).merge(otlp_router(writer, OtlpSettings::default(), dialects))
    }

    /// Uploads what is not in the bucket yet.
    pub async fn upload(&self) {
        if let Some(bucket) = &self.bucket {
            self.ship(bucket).await;
        }
    }

    /// Cuts, uploads and deletes blocks, again and again. What fails is told and tried again.
    pub async fn maintain(&self) {
        loop {
            tokio::time::sleep(MAINTENANCE_INTERVAL).await;
            self.maintain_once().await;
        }
    }

    async fn maintain_once(&self) {
        match self.tsdb.cut(Cut::Due).await {
            Ok(cut) => {
                for block in cut {
                    let (id, stats) = (block.meta.ulid, &block.meta.stats);
                    tracing::info!(tenant = block.tenant, %id, series = stats.num_series, samples = stats.num_samples, "cut a block");
                }
            }
            Err(error) => tracing::error!(%error, "cannot cut a block; samples stay in memory and in the log"),
        }
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
                match Shipper::try_new(&folder, Arc::clone(bucket), labels, ShipperSettings::new(BlockSource::Receive))
                {
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
