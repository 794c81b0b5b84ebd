//! `quiver tools bucket rewrite`: blocks without some of their samples, or with other labels.

use std::io::{Seek, SeekFrom, Write};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use compat::objstore::Bucket;
use compat::relabel::Relabel;
use compat::{DeletionRequest, yaml_to_json};
use engine::compact::{Output, RewriteJob};
use serde_json::{Value, json};
use storage::block::BlockMeta;
use storage::block::marker::DeletionMark;
use storage::model::{BlockId, TimeInterval};
use storage::store::{Change, ChangeLog, RelabelSeries, Rewrite};
use storage::{Clock, Error, SystemClock};

use super::anew::{block, job_settings, renamed};
use super::{look, open, to_change};
use crate::flags::RewriteFlags;
use crate::settings;

/// How long reading what the bucket says of its blocks may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(300);

/// What is asked for.
struct Request {
    rewrite: Rewrite,
    deletions: Vec<DeletionRequest>,
    relabels: Option<Value>,
}

/// Rewrites the blocks, one after the other.
///
/// # Errors
/// Where a flag is wrong, there is no such block, or it cannot be read or written.
pub async fn run(flags: &RewriteFlags) -> anyhow::Result<()> {
    let request = Request::try_new(flags)?;
    let bucket = open(&flags.objstore)?;
    let found = look(&bucket, LOOK_TIMEOUT).await?;
    let mut metas = Vec::new();
    for id in &flags.ids {
        let Some(meta) = found.metas.get(id) else { bail!("--id={id}: {} has no such block", bucket.name) };
        let takes_unlabelled = flags.prom_blocks && !flags.no_prom_blocks;
        if meta.external_labels().is_empty() && !takes_unlabelled {
            bail!("--id={id}: the block has no external labels; --prom-blocks takes it all the same");
        }
        metas.push(Arc::clone(meta));
    }
    std::fs::create_dir_all(&flags.tmp_dir).with_context(|| format!("--tmp.dir={}", flags.tmp_dir.display()))?;
    for meta in &metas {
        one(flags, &request, &bucket, meta).await.with_context(|| format!("block {}", meta.id()))?;
    }
    tracing::info!(blocks = metas.len(), "rewrite done");
    Ok(())
}

impl Request {
    fn try_new(flags: &RewriteFlags) -> anyhow::Result<Self> {
        let given = (flags.to_relabel_file.as_deref(), flags.to_relabel.as_deref());
        let relabels = settings::path_or_content("--rewrite.to-relabel-config", given)?;
        let given = (flags.to_delete_file.as_deref(), flags.to_delete.as_deref());
        let deletions = match settings::path_or_content("--rewrite.to-delete-config", given)? {
            Some((text, source)) => DeletionRequest::list_from_yaml(&text, &source)?,
            None => Vec::new(),
        };
        let mut rewrite = Rewrite {
            deletions: deletions.iter().map(|request| request.deletion.clone()).collect(),
            ..Rewrite::default()
        };
        let mut kept = None;
        if let Some((text, source)) = relabels {
            let rules = Relabel::from_yaml(&text, &source, None)?;
            if !rules.is_empty() {
                rewrite.relabel = Some(Arc::new(move |labels: &_| rules.apply(labels)) as RelabelSeries);
                kept = Some(yaml_to_json(&text, &source)?);
            }
        }
        if deletions.is_empty() && kept.is_none() {
            bail!(
                "rewrite configuration should be provided: --rewrite.to-delete-config-file or --rewrite.to-relabel-config-file"
            );
        }
        Ok(Self { rewrite, deletions, relabels: kept })
    }

    /// What `meta.json` of a new block says of it.
    fn note(&self, meta: &BlockMeta) -> Value {
        let mut note = json!({"sources": meta.compaction.sources});
        if !self.deletions.is_empty() {
            note["deletions_applied"] = self.deletions.iter().map(DeletionRequest::to_json).collect();
        }
        if let Some(relabels) = &self.relabels {
            note["relabels_applied"] = relabels.clone();
        }
        note
    }
}

async fn one(flags: &RewriteFlags, request: &Request, bucket: &Bucket, meta: &Arc<BlockMeta>) -> anyhow::Result<()> {
    let now = SystemClock.now();
    let id = BlockId::made_at(now);
    let dry_run = flags.dry_run && !flags.no_dry_run;
    let keeps_log = flags.change_log && !flags.no_change_log;
    let folder = flags.tmp_dir.join(id.to_string());
    let mut log = ChangeFile::create(&folder)?;
    if keeps_log {
        tracing::info!(file = %log.path.display(), "changelog will be available");
    }
    let mut output = renamed(meta, id, "bucket.rewrite");
    output.compaction.sources = vec![id];
    if let Some(thanos) = &mut output.thanos {
        thanos.rewrites.push(request.note(meta));
    }
    let job =
        RewriteJob { block: block(bucket, meta), rewrite: request.rewrite.clone(), output: Output { meta: output } };
    if dry_run {
        let series = job.preview(&mut log).await?;
        log.copy_to(&mut std::io::stdout().lock())?;
        let (deleted, relabelled) = (log.deleted, log.relabelled);
        tracing::info!(block = %meta.id(), before = meta.stats.num_series, after = series, deleted, relabelled, "dry run finished");
    } else {
        let scratch = flags.tmp_dir.join("scratch");
        let made = Box::pin(job.run(&job_settings(bucket, &scratch), &(), &mut log, now)).await?;
        log.finish()?;
        match &made {
            Some(made) => {
                tracing::info!(source = %meta.id(), new = %made.id(), series = made.stats.num_series, samples = made.stats.num_samples, "uploaded");
            }
            None => tracing::warn!(source = %meta.id(), "no series is left, so there is no new block"),
        }
        if flags.delete_blocks && !flags.no_delete_blocks {
            to_change(bucket).mark(&DeletionMark::new(meta.id(), now.div_euclid(1_000), "block rewritten")).await?;
        }
    }
    if !keeps_log {
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}

/// The changes in a file, one a line, as Thanos writes them.
struct ChangeFile {
    path: PathBuf,
    out: std::io::BufWriter<std::fs::File>,
    deleted: u64,
    relabelled: u64,
}

impl ChangeFile {
    fn create(folder: &FilePath) -> anyhow::Result<Self> {
        let path = folder.join("change.log");
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let file = std::fs::File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path, out: std::io::BufWriter::new(file), deleted: 0, relabelled: 0 })
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        self.out.flush().with_context(|| format!("cannot write {}", self.path.display()))
    }

    fn copy_to(&mut self, out: &mut impl Write) -> anyhow::Result<()> {
        self.finish()?;
        let mut file =
            std::fs::File::open(&self.path).with_context(|| format!("cannot read {}", self.path.display()))?;
        std::io::copy(&mut file, out)?;
        Ok(())
    }

    fn begin_anew(&mut self) -> std::io::Result<()> {
        self.out.seek(SeekFrom::Start(0))?;
        self.out.get_ref().set_len(0)
    }
}

impl ChangeLog for ChangeFile {
    fn begin(&mut self) {
        (self.deleted, self.relabelled) = (0, 0);
        if let Err(error) = self.begin_anew() {
            tracing::warn!(%error, "the change log holds lines of a try that failed");
        }
    }

    fn note(&mut self, change: Change) -> storage::Result<()> {
        let written = match change {
            Change::Deleted(labels, intervals) => {
                self.deleted += 1;
                let pair = |interval: &TimeInterval| format!("{{{} {}}}", interval.mint, interval.maxt);
                let intervals: Vec<String> = intervals.iter().map(pair).collect();
                writeln!(self.out, "Deleted {labels} [{}]", intervals.join(" "))
            }
            Change::Relabelled(from, to) => {
                self.relabelled += 1;
                writeln!(self.out, "Relabelled {from} {to}")
            }
        };
        written.map_err(|error| Error::io(&self.path, error))
    }
}
