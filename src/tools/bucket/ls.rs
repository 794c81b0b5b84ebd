//! `quiver tools bucket ls`: the blocks of a bucket, one after the other.

use std::io::Write;

use storage::block::BlockMeta;
use storage::{Clock, SystemClock};

use super::table::{duration_text, time_text};
use super::template::Template;
use super::{look, open, select};
use crate::flags::LsFlags;
use crate::settings;

/// What is printed of a block.
enum Output {
    Name,
    Wide,
    Json,
    Template(Template),
}

/// Prints the blocks.
///
/// # Errors
/// Where a flag is wrong, the bucket cannot be read, or nobody reads what is printed.
pub async fn run(flags: &LsFlags) -> anyhow::Result<()> {
    let output = match flags.output.as_str() {
        "" => Output::Name,
        "wide" => Output::Wide,
        "json" => Output::Json,
        template => Output::Template(Template::try_new(template)?),
    };
    let filters = settings::block_filters(&flags.select)?;
    let found = look(&open(&flags.objstore)?, flags.timeout).await?;
    let marked = if flags.exclude_delete { found.deletion_marks.clone() } else { Default::default() };
    let mut out = std::io::stdout().lock();
    let mut printed = 0_u64;
    for meta in select(found, &filters, SystemClock.now()).values() {
        if !marked.contains_key(&meta.id()) {
            writeln!(out, "{}", output.text(meta)?)?;
            printed += 1;
        }
    }
    tracing::info!(objects = printed, "ls done");
    Ok(())
}

impl Output {
    fn text(&self, meta: &BlockMeta) -> anyhow::Result<String> {
        Ok(match self {
            Self::Name => meta.ulid.to_string(),
            Self::Wide => {
                let (resolution, source) =
                    meta.thanos.as_ref().map_or((0, ""), |thanos| (thanos.downsample.resolution, &thanos.source));
                format!(
                    "{} -- {} - {} Diff: {}, Compaction: {}, Downsample: {resolution}, Source: {source}",
                    meta.ulid,
                    time_text(meta.min_time),
                    time_text(meta.max_time),
                    duration_text(meta.max_time.saturating_sub(meta.min_time)),
                    meta.compaction.level,
                )
            }
            Self::Json => String::from_utf8(meta.to_json()?)?.trim_end().to_owned(),
            Self::Template(template) => template.expand(&serde_json::to_value(meta)?)?,
        })
    }
}
