//! `quiver tools bucket inspect`: the blocks of a bucket as a table.

use std::cmp::Ordering;
use std::sync::Arc;

use clap::ValueEnum;
use storage::block::BlockMeta;

use super::table::{Table, duration_text, time_text};
use super::{look, open};
use crate::flags::{Column, InspectFlags};
use crate::settings;

/// An hour, in milliseconds.
const HOUR_MS: i64 = 3_600_000;

/// Prints the table.
///
/// # Errors
/// Where a flag is wrong, the bucket cannot be read, or nobody reads what is printed.
pub async fn run(flags: &InspectFlags) -> anyhow::Result<()> {
    let selector = settings::external_labels("--selector", &flags.selector)?;
    let found = look(&open(&flags.objstore)?, flags.timeout).await?;
    let mut blocks: Vec<Arc<BlockMeta>> = found.metas.into_values().collect();
    blocks.retain(|meta| {
        let labels = meta.external_labels();
        selector.iter().all(|(name, value)| labels.get(name) == Some(value))
    });
    blocks.sort_by(|a, b| flags.sort_by.iter().map(|&by| compare(by, a, b)).fold(Ordering::Equal, Ordering::then));
    let columns = Column::value_variants();
    let table = Table {
        header: columns.iter().map(|&column| name(column)).collect(),
        rows: blocks.iter().map(|meta| columns.iter().map(|&column| cell(column, meta)).collect()).collect(),
    };
    table.write(&mut std::io::stdout().lock(), flags.output)?;
    Ok(())
}

/// The heading of a column.
fn name(column: Column) -> &'static str {
    match column {
        Column::Ulid => "ULID",
        Column::From => "FROM",
        Column::Until => "UNTIL",
        Column::Range => "RANGE",
        Column::UntilDown => "UNTIL-DOWN",
        Column::Series => "#SERIES",
        Column::Samples => "#SAMPLES",
        Column::Chunks => "#CHUNKS",
        Column::Level => "COMP-LEVEL",
        Column::Failed => "COMP-FAILED",
        Column::Labels => "LABELS",
        Column::Resolution => "RESOLUTION",
        Column::Source => "SOURCE",
    }
}

fn span_ms(meta: &BlockMeta) -> i64 {
    meta.max_time.saturating_sub(meta.min_time)
}

/// How much longer a block has to be before it is downsampled; none where nothing is made of it.
fn until_downsampling_ms(meta: &BlockMeta) -> Option<i64> {
    let needed = match meta.resolution_ms() {
        0 => 40 * HOUR_MS,
        300_000 => 240 * HOUR_MS,
        _ => return None,
    };
    Some(needed - span_ms(meta))
}

fn labels(meta: &BlockMeta) -> String {
    let pairs: Vec<String> = meta.external_labels().iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(",")
}

fn source(meta: &BlockMeta) -> &str {
    meta.thanos.as_ref().map_or("", |thanos| &thanos.source)
}

fn cell(column: Column, meta: &BlockMeta) -> String {
    match column {
        Column::Ulid => meta.ulid.to_string(),
        Column::From => time_text(meta.min_time),
        Column::Until => time_text(meta.max_time),
        Column::Range => duration_text(span_ms(meta)),
        Column::UntilDown => until_downsampling_ms(meta).map_or("-".to_owned(), duration_text),
        Column::Series => grouped(meta.stats.num_series),
        Column::Samples => grouped(meta.stats.num_samples),
        Column::Chunks => grouped(meta.stats.num_chunks),
        Column::Level => meta.compaction.level.to_string(),
        Column::Failed => meta.compaction.failed.to_string(),
        Column::Labels => labels(meta),
        Column::Resolution => duration_text(meta.resolution_ms()),
        Column::Source => source(meta).to_owned(),
    }
}

fn compare(by: Column, a: &BlockMeta, b: &BlockMeta) -> Ordering {
    match by {
        Column::Ulid => a.ulid.cmp(&b.ulid),
        Column::From => a.min_time.cmp(&b.min_time),
        Column::Until => a.max_time.cmp(&b.max_time),
        Column::Range => span_ms(a).cmp(&span_ms(b)),
        Column::UntilDown => until_downsampling_ms(a).cmp(&until_downsampling_ms(b)),
        Column::Series => a.stats.num_series.cmp(&b.stats.num_series),
        Column::Samples => a.stats.num_samples.cmp(&b.stats.num_samples),
        Column::Chunks => a.stats.num_chunks.cmp(&b.stats.num_chunks),
        Column::Level => a.compaction.level.cmp(&b.compaction.level),
        Column::Failed => a.compaction.failed.cmp(&b.compaction.failed),
        Column::Labels => labels(a).cmp(&labels(b)),
        Column::Resolution => a.resolution_ms().cmp(&b.resolution_ms()),
        Column::Source => source(a).cmp(source(b)),
    }
}

/// With commas between thousands, as Thanos prints counts.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let mut text = digits[..first].to_owned();
    for (index, digit) in digits[first..].chars().enumerate() {
        if index % 3 == 0 && !text.is_empty() {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_have_commas() {
        for (number, text) in [(0, "0"), (12, "12"), (123, "123"), (1_234, "1,234"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
