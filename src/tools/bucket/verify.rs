//! `quiver tools bucket verify`: looks for what is known to go wrong with blocks, and repairs what can be.
//!
//! A repair writes the block anew, or finds that another one holds it; the old one is copied into the bucket for backups, and deleted.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use compat::objstore::Bucket;
use engine::compact::{Output, RewriteJob};
use futures::StreamExt;
use object_store::path::Path;
use storage::block::BlockMeta;
use storage::block::marker::DeletionMark;
use storage::compact::{Group, Halt, groups};
use storage::index::{INDEX_FILE, IndexHealth};
use storage::model::{BlockId, TimeInterval};
use storage::replicate::Replicator;
use storage::shipper::Retry;
use storage::store::{Change, ChangeLog, Rewrite};
use storage::{Clock, SystemClock};

use super::anew::{block, files, job_settings, renamed};
use super::table::Table;
use super::{look, open, to_change};
use crate::flags::{Issue, ObjstoreFlags, VerifyFlags};
use crate::settings;

/// How long reading what the bucket says of its blocks may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(300);
/// Larger objects are copied in parts of this size, in bytes.
const PART_SIZE: u64 = 16 << 20;

/// Looks for the issues, one after the other.
///
/// # Errors
/// Where a flag is wrong, the bucket cannot be read, or something was found that is not repaired.
pub async fn run(flags: &VerifyFlags) -> anyhow::Result<()> {
    let repairs = flags.repair && !flags.no_repair;
    let issues = issues(flags, repairs)?;
    let bucket = open(&flags.objstore)?;
    let backup = ObjstoreFlags { config_file: flags.backup_config_file.clone(), config: flags.backup_config.clone() };
    let backup = settings::bucket(&backup)?;
    if repairs && backup.is_none() {
        bail!("repair is specified, so backup client is required: --objstore-backup.config-file");
    }
    let found = look(&bucket, LOOK_TIMEOUT).await?;
    if let Some(id) = flags.ids.iter().find(|id| !found.metas.contains_key(id)) {
        bail!("--id={id}: {} has no such block", bucket.name);
    }
    let marked = found.deletion_marks;
    let metas: Vec<Arc<BlockMeta>> =
        found.metas.into_values().filter(|meta| !marked.contains_key(&meta.id())).collect();
    let scratch = std::env::temp_dir().join(format!("quiver-verify-{}", std::process::id()));
    let mut verifier = Verifier {
        ids: flags.ids.iter().copied().collect(),
        backup: backup.filter(|_| repairs),
        bucket,
        metas,
        scratch,
        delete_delay: flags.delete_delay,
        rows: Vec::new(),
        left: 0,
    };
    if repairs {
        tracing::warn!("GLOBAL COMPACTOR SHOULD __NOT__ BE RUNNING ON THE SAME BUCKET");
    }
    let verified = verifier.verify(&issues).await;
    // only there where something was fetched or repaired
    let _ = std::fs::remove_dir_all(&verifier.scratch);
    verified?;
    let table = Table { header: vec!["ISSUE", "ULID", "STATE", "DETAILS"], rows: verifier.rows };
    table.write(&mut std::io::stdout().lock(), flags.output)?;
    match verifier.left {
        0 => Ok(()),
        left => bail!("{left} issues found"),
    }
}

fn issues(flags: &VerifyFlags, repairs: bool) -> anyhow::Result<Vec<Issue>> {
    if repairs && flags.issues.contains(&Issue::OverlappedBlocks) {
        bail!(
            "--issues=overlapped_blocks: --repair cannot repair it; compaction with --compact.enable-vertical-compaction merges overlaps"
        );
    }
    Ok(match flags.issues.as_slice() {
        [] if repairs => vec![Issue::IndexKnownIssues],
        [] => vec![Issue::IndexKnownIssues, Issue::OverlappedBlocks],
        some => some.to_vec(),
    })
}

struct Verifier {
    bucket: Bucket,
    /// Where blocks go that a repair takes away; none where nothing is repaired.
    backup: Option<Bucket>,
    /// Blocks that are not marked for deletion.
    metas: Vec<Arc<BlockMeta>>,
    ids: BTreeSet<BlockId>,
    scratch: PathBuf,
    delete_delay: Duration,
    rows: Vec<Vec<String>>,
    /// What was found and is still so.
    left: usize,
}

impl Verifier {
    async fn verify(&mut self, issues: &[Issue]) -> anyhow::Result<()> {
        for issue in issues {
            match issue {
                Issue::OverlappedBlocks => self.overlaps(),
                Issue::IndexKnownIssues => self.indexes().await?,
                Issue::DuplicatedCompaction => self.duplicates().await?,
            }
        }
        Ok(())
    }

    fn asked_for(&self, id: BlockId) -> bool {
        self.ids.is_empty() || self.ids.contains(&id)
    }

    fn found(&mut self, issue: &str, ids: &str, state: &str, details: String) {
        self.left += usize::from(state != REPAIRED);
        self.rows.push(vec![issue.to_owned(), ids.to_owned(), state.to_owned(), details]);
    }

    fn overlaps(&mut self) {
        for group in groups(&self.metas) {
            for run in overlapping(&group) {
                if run.iter().any(|block| self.asked_for(block.id())) {
                    let ids: Vec<String> = run.iter().map(|block| block.id().to_string()).collect();
                    self.found("overlapped_blocks", &ids.join(" "), "found", Halt::Overlap(run).to_string());
                }
            }
        }
    }

    /// Blocks that are equal but for their names: the first stays.
    async fn duplicates(&mut self) -> anyhow::Result<()> {
        for group in groups(&self.metas) {
            let mut kept: Vec<&Arc<BlockMeta>> = Vec::new();
            for block in group.blocks() {
                let same = |other: &&&Arc<BlockMeta>| {
                    let (a, b) = (&block.compaction, &other.compaction);
                    block.range() == other.range()
                        && a.level == b.level
                        && a.sources == b.sources
                        && block.stats == other.stats
                };
                match kept.iter().find(same) {
                    Some(other) if self.asked_for(block.id()) => {
                        let details = format!("the same as {}", other.id());
                        let state = if self.backup.is_some() {
                            self.take_away(block.id()).await?;
                            REPAIRED
                        } else {
                            "found"
                        };
                        self.found("duplicated_compaction", &block.id().to_string(), state, details);
                    }
                    Some(_) => {}
                    None => kept.push(block),
                }
            }
        }
        Ok(())
    }

    async fn indexes(&mut self) -> anyhow::Result<()> {
        for meta in self.metas.clone() {
            if !self.asked_for(meta.id()) {
                continue;
            }
            let id = meta.id().to_string();
            let (state, details) = match self.health(&meta).await {
                Ok(health) if health.is_whole() => continue,
                Ok(health) if self.backup.is_some() => match self.repair(&meta, &health).await? {
                    Ok(made) => (REPAIRED, format!("{health}; replaced by {made}")),
                    Err(why_not) => ("not repaired", format!("{health}; {why_not}")),
                },
                Ok(health) => ("found", health.to_string()),
                Err(error @ (storage::Error::Corrupt { .. } | storage::Error::NotFound { .. })) => {
                    ("found", error.to_string())
                }
                Err(error) => return Err(error).with_context(|| format!("cannot read the index of {id}")),
            };
            self.found("index_known_issues", &id, state, details);
        }
        Ok(())
    }

    async fn health(&self, meta: &BlockMeta) -> storage::Result<IndexHealth> {
        let (files, range) = (files(&self.bucket, meta.id()), meta.range());
        let (path, fetched) = match files.local_path() {
            Some(folder) => (folder.join(INDEX_FILE), false),
            None => {
                let folder = &self.scratch;
                std::fs::create_dir_all(folder).map_err(|error| storage::Error::io(folder, error))?;
                let path = folder.join(format!("{}.index", meta.id()));
                files.copy_to(INDEX_FILE, &path).await?;
                (path, true)
            }
        };
        let place = files.place();
        let (health, path) = tokio::task::spawn_blocking(move || (IndexHealth::of_file(&path, place, range), path))
            .await
            .map_err(|error| storage::Error::Internal(error.to_string()))?;
        if fetched {
            // the folder goes at the end in any case
            let _ = std::fs::remove_file(path);
        }
        health
    }

    /// Writes the block anew, without duplicates and what is outside of it; or says why not.
    async fn repair(&self, meta: &Arc<BlockMeta>, health: &IndexHealth) -> anyhow::Result<Result<BlockId, String>> {
        if meta.resolution_ms() > 0 {
            return Ok(Err("cannot repair downsampled blocks".to_owned()));
        }
        if health.partly_outside_chunks() > 0 {
            return Ok(Err("samples outside of the block would be lost".to_owned()));
        }
        let (now, range) = (SystemClock.now(), meta.range());
        let output = Output { meta: renamed(meta, BlockId::made_at(now), "bucket.repair") };
        let keep = Some(TimeInterval::new(range.mint, range.maxt.saturating_sub(1)));
        let rewrite = Rewrite { keep, ..Rewrite::default() };
        let job = RewriteJob { block: block(&self.bucket, meta), rewrite, output };
        let settings = job_settings(&self.bucket, &self.scratch);
        let Some(made) = Box::pin(job.run(&settings, &(), &mut Unnoted, now)).await? else {
            return Ok(Err("nothing would be left of it".to_owned()));
        };
        let again = self.health(&made).await?;
        if !again.is_whole() {
            to_change(&self.bucket).delete_block(made.id()).await?;
            return Ok(Err(format!("what was made of it was no better: {again}")));
        }
        self.take_away(meta.id()).await?;
        Ok(Ok(made.id()))
    }

    /// Copies the block into the bucket for backups, and deletes or marks it.
    async fn take_away(&self, id: BlockId) -> anyhow::Result<()> {
        let Some(backup) = &self.backup else { bail!("no bucket for backups") };
        if let Some(there) = backup.store.list(Some(&Path::from(id.to_string()))).next().await {
            there.with_context(|| format!("cannot look for {id} in the bucket for backups"))?;
            bail!(
                "{id} dir seems to exist in backup bucket. Remove this block manually if you are sure it is safe to do"
            );
        }
        let (from, to) = (Arc::clone(&self.bucket.store), Arc::clone(&backup.store));
        let copied = Replicator { from, to, retry: Retry::default(), part_size: PART_SIZE }.replicate(id).await;
        copied.with_context(|| format!("cannot copy {id} into the bucket for backups"))?;
        let bucket = to_change(&self.bucket);
        if self.delete_delay.is_zero() {
            bucket.delete_block(id).await.with_context(|| format!("cannot delete {id}"))
        } else {
            let mark = DeletionMark::new(id, SystemClock.now().div_euclid(1_000), "manual verify-repair");
            bucket.mark(&mark).await.map(drop).with_context(|| format!("cannot mark {id} for deletion"))
        }
    }
}

/// The state of what is not wrong any more.
const REPAIRED: &str = "repaired";

/// Runs of blocks that share time, in order.
fn overlapping(group: &Group) -> Vec<Vec<Arc<BlockMeta>>> {
    let (mut runs, mut run, mut maxt): (Vec<_>, Vec<Arc<BlockMeta>>, i64) = (Vec::new(), Vec::new(), i64::MIN);
    for block in group.blocks() {
        if block.min_time >= maxt {
            runs.push(std::mem::take(&mut run));
        }
        run.push(Arc::clone(block));
        maxt = maxt.max(block.max_time);
    }
    runs.push(run);
    runs.retain(|run| run.len() > 1);
    runs
}

/// What a repair changes is told as a whole.
struct Unnoted;

impl ChangeLog for Unnoted {
    fn begin(&mut self) {}

    fn note(&mut self, _change: Change) -> storage::Result<()> {
        Ok(())
    }
}
