//! `quiver tools bucket cleanup` and `retention`: parts of what a compactor does, done once.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use object_store::path::Path;
use storage::block::marker::DeletionMark;
use storage::bucket::{BlockFilters, MetaSync};
use storage::compact::{Bucket, BucketView, Deleted, Marked, Retention, ViewSettings, aborted, deletions, expiry};
use storage::model::BlockId;
use storage::{Clock, SystemClock};

use super::table::Table;
use super::{open, to_change};
use crate::flags::{CleanupFlags, RetentionFlags, SweepFlags};
use crate::settings;

/// The bucket as it is now, and what is done with it.
struct Sweep {
    bucket: Bucket,
    view: BucketView,
    dry_run: bool,
    rows: Vec<Vec<String>>,
    failed: usize,
}

/// Deletes what is marked for it long enough, and uploads that were given up.
///
/// # Errors
/// Where a flag is wrong, the bucket cannot be read, or something could not be deleted; all else is, all the same.
pub async fn clean_up(flags: &CleanupFlags) -> anyhow::Result<()> {
    let mut sweep = Sweep::open(&flags.sweep).await?;
    let found = deletions(&sweep.view, &Retention::default());
    for id in found.held_back {
        sweep.row(id, "kept", "it was replaced, but not all that it holds is in blocks that stay");
    }
    for deletion in found.due {
        let done = if sweep.dry_run { Ok(Deleted::Deleted) } else { sweep.bucket.delete_marked(&deletion).await };
        sweep.deleted(deletion.id, done, "marked for deletion");
    }
    for id in aborted(&sweep.view) {
        let done = if sweep.dry_run { Ok(Deleted::Deleted) } else { sweep.bucket.reap(id, sweep.view.now()).await };
        sweep.deleted(id, done, "an upload that was given up");
    }
    sweep.end(&flags.sweep)
}

/// Marks what is past its retention for deletion.
///
/// # Errors
/// As [`clean_up`].
pub async fn retain(flags: &RetentionFlags) -> anyhow::Result<()> {
    let retention = Retention {
        raw_ms: ms(flags.raw),
        five_minutes_ms: ms(flags.five_minutes),
        one_hour_ms: ms(flags.one_hour),
        only_with: None,
    };
    let mut sweep = Sweep::open(&flags.sweep).await?;
    tracing::warn!("GLOBAL COMPACTOR SHOULD __NOT__ BE RUNNING ON THE SAME BUCKET");
    for expired in expiry(&sweep.view, &retention, false, &HashSet::new()).due {
        let mark = DeletionMark::new(expired.id, sweep.view.now().div_euclid(1_000), &expired.details);
        if sweep.dry_run {
            sweep.row(expired.id, "would be marked", &expired.details);
            continue;
        }
        match sweep.bucket.mark(&mark).await {
            Ok(Marked::Written) => sweep.row(expired.id, "marked", &expired.details),
            Ok(Marked::AlreadyThere) => sweep.row(expired.id, "had a mark", &expired.details),
            Err(error) => sweep.fail(expired.id, &error),
        }
    }
    sweep.end(&flags.sweep)
}

impl Sweep {
    async fn open(flags: &SweepFlags) -> anyhow::Result<Self> {
        let opened = open(&flags.objstore)?;
        let concurrency = usize::try_from(flags.sync_concurrency).unwrap_or(1);
        let sync = MetaSync::new(Arc::clone(&opened.store), Path::default(), concurrency).for_compactor();
        let found = sync.fetch().await.with_context(|| format!("cannot read the bucket {}", opened.name))?;
        for (id, unreadable) in &found.unreadable {
            tracing::warn!(%id, file = unreadable.file, reason = unreadable.reason, "a block is left alone");
        }
        let filters = BlockFilters {
            consistency_delay_ms: ms(flags.consistency_delay),
            keep: settings::keep_blocks(&flags.select)?,
            ..BlockFilters::default()
        };
        let view = ViewSettings { filters, delete_delay_ms: ms(flags.delete_delay) };
        Ok(Self {
            bucket: to_change(&opened),
            view: BucketView::new(found, view, SystemClock.now()),
            dry_run: flags.dry_run && !flags.no_dry_run,
            rows: Vec::new(),
            failed: 0,
        })
    }

    fn row(&mut self, id: BlockId, action: &str, reason: &str) {
        self.rows.push(vec![id.to_string(), action.to_owned(), reason.to_owned()]);
    }

    fn fail(&mut self, id: BlockId, error: &storage::Error) {
        self.failed += 1;
        self.row(id, "failed", &error.to_string());
    }

    fn deleted(&mut self, id: BlockId, done: storage::Result<Deleted>, reason: &str) {
        match done {
            Ok(Deleted::Deleted) if self.dry_run => self.row(id, "would be deleted", reason),
            Ok(Deleted::Deleted) => self.row(id, "deleted", reason),
            Ok(Deleted::NotDue) => self.row(id, "kept", "it changed since the bucket was looked at"),
            Err(error) => self.fail(id, &error),
        }
    }

    fn end(self, flags: &SweepFlags) -> anyhow::Result<()> {
        let table = Table { header: vec!["ULID", "ACTION", "REASON"], rows: self.rows };
        table.write(&mut std::io::stdout().lock(), flags.output)?;
        match self.failed {
            0 => Ok(()),
            failed => bail!("{failed} blocks failed"),
        }
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
