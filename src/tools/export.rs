//! `quiver tools export`: the answer of a query, from the blocks of a bucket into a file or another bucket.
//!
//! A file has another name until it is whole, and an object exists only then. The answer is never held in memory as a whole.

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use compat::objstore::Bucket;
use engine::sql::{OutputFormat, OutputWriter, SqlAnswer, SqlEngine, SqlRequest};
use engine::{Deduplication, Engine, EngineFeatures, EngineSettings, ProcessPool};
use futures::TryStreamExt;
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};
use object_store::{ObjectStoreExt, WriteMultipart};
use promql::ParseOptions;
use storage::side_index::{SideIndexCache, SideIndexSettings};
use storage::store::{BucketSettings, BucketStore};
use storage::{Clock, Store, SystemClock};
use tokio::runtime::Builder;

use crate::flags::{DeduplicationFunc, ExportFlags, ExportFormat, ObjstoreFlags, QueryLanguage};
use crate::memory::available_bytes;
use crate::settings;

/// Parts of an upload that are under way at once.
const UPLOADS_MAX: usize = 4;

/// Stack of each thread, as queries have it.
const STACK_BYTES: usize = 8 << 20;

/// Writes the answer.
///
/// # Errors
/// Where a flag is wrong, the query fails, or the answer cannot be written.
pub fn run(flags: &ExportFlags) -> anyhow::Result<()> {
    let Some(from) = settings::bucket(&flags.objstore)? else {
        bail!("--objstore.config-file or --objstore.config is needed, see docs/objstore.md");
    };
    let to = ObjstoreFlags { config_file: flags.to_config_file.clone(), config: flags.to_config.clone() };
    let to = settings::bucket(&to)?;
    let text = statement(flags)?;
    let runtime = Builder::new_multi_thread().thread_stack_size(STACK_BYTES).enable_all().build();
    runtime.context("cannot start threads")?.block_on(export(flags, &from, to, text))
}

/// The statement in SQL.
fn statement(flags: &ExportFlags) -> anyhow::Result<String> {
    if flags.language == QueryLanguage::Sql {
        if flags.start.is_some() || flags.end.is_some() {
            bail!("--start and --end are for queries in PromQL; in SQL say WHERE timestamp >= …");
        }
        return Ok(flags.query.clone());
    }
    let query = flags.query.replace('\'', "''");
    let seconds = |t: i64| format!("{}.{:03}", t.div_euclid(1_000), t.rem_euclid(1_000));
    Ok(match (flags.start, flags.end) {
        (None, None) => format!("SELECT * FROM promql('{query}')"),
        (None, Some(end)) => format!("SELECT * FROM promql('{query}', {})", seconds(end)),
        (Some(start), Some(end)) => {
            let step = flags.step.as_secs_f64();
            format!("SELECT * FROM promql('{query}', {}, {}, {step})", seconds(start), seconds(end))
        }
        (Some(_), None) => bail!("--start needs --end"),
    })
}

async fn export(flags: &ExportFlags, from: &Bucket, to: Option<Bucket>, text: String) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let bucket = BucketSettings { local_root: from.local_root.clone(), ..BucketSettings::default() };
    let side_indexes = SideIndexCache::new(SideIndexSettings::default());
    let store = BucketStore::new(Arc::clone(&from.store), bucket, side_indexes, Arc::clone(&clock));
    store.sync().await.with_context(|| format!("cannot read the bucket {}", from.name))?;
    let store: Arc<dyn Store> = Arc::new(store);
    let sql = SqlEngine::new(Arc::new(Engine::new(store, engine_settings(flags))));
    let answer = sql.run(SqlRequest::new(text, clock.now())).await.context("--query")?;
    answer.warnings.iter().for_each(|warning| tracing::warn!(warning, "the answer may not be complete"));
    let mut target = Target::open(flags, to).await?;
    let progress = Progress::new()?;
    let written = copy(flags.output_format, answer, &mut target, &progress).await;
    progress.finish();
    match written {
        Ok((rows, bytes)) => {
            target.complete().await?;
            tracing::info!(rows, bytes, out = flags.out, "exported");
            Ok(())
        }
        Err(error) => {
            target.give_up().await;
            Err(error)
        }
    }
}

fn engine_settings(flags: &ExportFlags) -> EngineSettings {
    EngineSettings {
        lookback_ms: 300_000,
        timeout: flags.timeout,
        max_samples: 0,
        memory: ProcessPool::new(flags.max_memory.map_or_else(|| available_bytes() / 2, |size| size.0)),
        partitions: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        replica_labels: flags.replica_labels.clone(),
        deduplication: match flags.deduplication {
            DeduplicationFunc::Penalty => Deduplication::Penalty,
            DeduplicationFunc::Chain => Deduplication::Chain,
        },
        default_subquery_step_ms: 60_000,
        parse: ParseOptions { experimental_functions: true, ..ParseOptions::default() },
        features: EngineFeatures::default(),
        compute: None,
    }
}

/// Writes all of `answer`; rows and bytes.
async fn copy(
    format: ExportFormat,
    mut answer: SqlAnswer,
    target: &mut Target,
    progress: &Progress,
) -> anyhow::Result<(usize, usize)> {
    let format = match format {
        ExportFormat::Parquet => OutputFormat::Parquet,
        ExportFormat::Csv => OutputFormat::Csv,
        ExportFormat::Arrow => OutputFormat::Arrow,
    };
    let mut writer = OutputWriter::try_new(format, &answer.batches.schema(), Vec::new())?;
    let (mut rows, mut bytes) = (0, 0);
    while let Some(batch) = answer.batches.try_next().await? {
        let piece = writer.write(&batch)?;
        rows += batch.num_rows();
        bytes += piece.len();
        target.write(piece).await?;
        progress.show(rows, bytes);
    }
    let last = writer.finish()?;
    bytes += last.len();
    target.write(last).await?;
    Ok((rows, bytes))
}

/// Where the answer goes.
enum Target {
    Stdout,
    File { out: BufWriter<File>, part: PathBuf, path: PathBuf },
    Object(Option<WriteMultipart>),
}

impl Target {
    async fn open(flags: &ExportFlags, to: Option<Bucket>) -> anyhow::Result<Self> {
        if let Some(bucket) = to {
            let name = object_store::path::Path::parse(&flags.out).context("--out: not an object's name")?;
            let upload = bucket.store.put_multipart(&name).await;
            let upload =
                upload.with_context(|| format!("--out={}: cannot be written to {}", flags.out, bucket.name))?;
            return Ok(Self::Object(Some(WriteMultipart::new(upload))));
        }
        if flags.out == "-" {
            return Ok(Self::Stdout);
        }
        let path = PathBuf::from(&flags.out);
        let mut part = path.clone().into_os_string();
        part.push(".part");
        let part = PathBuf::from(part);
        let out = File::create(&part).with_context(|| format!("--out={}: cannot be written", flags.out))?;
        Ok(Self::File { out: BufWriter::new(out), part, path })
    }

    async fn write(&mut self, bytes: Vec<u8>) -> anyhow::Result<()> {
        match self {
            Self::Stdout => std::io::stdout().write_all(&bytes)?,
            Self::File { out, part, .. } => {
                out.write_all(&bytes).with_context(|| format!("cannot write {}", part.display()))?;
            }
            Self::Object(upload) => {
                if let Some(upload) = upload {
                    upload.wait_for_capacity(UPLOADS_MAX).await.context("cannot upload")?;
                    upload.write(&bytes);
                }
            }
        }
        Ok(())
    }

    /// Makes what was written be there under its name.
    async fn complete(self) -> anyhow::Result<()> {
        match self {
            Self::Stdout => std::io::stdout().flush()?,
            Self::File { out, part, path } => {
                let failed = || format!("cannot write {}", path.display());
                let file = out.into_inner().map_err(std::io::IntoInnerError::into_error).with_context(failed)?;
                file.sync_all().with_context(failed)?;
                std::fs::rename(&part, &path).with_context(failed)?;
            }
            Self::Object(Some(upload)) => drop(upload.finish().await.context("cannot upload")?),
            Self::Object(None) => {}
        }
        Ok(())
    }

    /// Leaves nothing behind.
    async fn give_up(self) {
        let removed = match self {
            Self::Stdout | Self::Object(None) => Ok(()),
            Self::File { part, .. } => remove(&part),
            Self::Object(Some(upload)) => upload.abort().await.map_err(anyhow::Error::from),
        };
        if let Err(error) = removed {
            tracing::warn!(%error, "a part of the export is left behind");
        }
    }
}

fn remove(path: &Path) -> anyhow::Result<()> {
    Ok(std::fs::remove_file(path)?)
}

/// How far it is, where somebody looks. How much there will be, nobody knows.
struct Progress(Option<ProgressBar>);

impl Progress {
    fn new() -> anyhow::Result<Self> {
        if !std::io::stderr().is_terminal() {
            return Ok(Self(None));
        }
        let style = ProgressStyle::with_template("{spinner} {elapsed_precise} {msg}, {per_sec}")?;
        Ok(Self(Some(ProgressBar::new_spinner().with_style(style))))
    }

    fn show(&self, rows: usize, bytes: usize) {
        if let Some(bar) = &self.0 {
            bar.set_position(rows as u64);
            bar.set_message(format!("{} rows, {}", HumanCount(rows as u64), HumanBytes(bytes as u64)));
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
