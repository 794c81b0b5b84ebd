//! `quiver tools generate`: blocks made up from a seed.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use storage::generate::{Generator, Workload};
use storage::model::TimeRange;
use storage::{Clock, SystemClock};

use crate::flags::GenerateFlags;

/// A line of the log is written each time this part of all is done: a tenth.
const LOGGED_PARTS: u64 = 10;

/// Writes the blocks.
///
/// # Errors
/// Where the flags contradict each other or the folder cannot be written.
pub fn run(flags: &GenerateFlags) -> anyhow::Result<()> {
    let generator = Generator::try_new(workload(flags)?)?;
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let progress = Progress::new(generator.workload().samples_estimate())?;
    let started = SystemClock.now();
    let metas = generator.write_all(&flags.out, threads, &|samples| progress.add(samples))?;
    progress.finish();
    let samples: u64 = metas.iter().map(|meta| meta.stats.num_samples).sum();
    let series = metas.iter().map(|meta| meta.stats.num_series).max().unwrap_or(0);
    let took_ms = SystemClock.now() - started;
    tracing::info!(blocks = metas.len(), samples, most_series = series, took_ms, out = %flags.out.display(), "generated");
    Ok(())
}

fn workload(flags: &GenerateFlags) -> anyhow::Result<Workload> {
    let maxt = flags.end;
    let mint = maxt.saturating_sub(ms("--duration", flags.duration)?);
    Ok(Workload {
        seed: flags.seed,
        counters: flags.series,
        pods: flags.pods,
        containers: flags.containers,
        gauges: flags.gauges,
        classic_histograms: flags.classic_histograms,
        native_histograms: flags.native_histograms,
        pod_info: flags.pod_info,
        churn: flags.churn,
        replicas: flags.replicas,
        replica_label: flags.replica_label.clone(),
        external_labels: flags.external_labels.clone(),
        scrape_interval_ms: ms("--scrape-interval", flags.scrape_interval)?,
        jitter_ms: ms("--jitter", flags.jitter)?,
        block_duration_ms: ms("--block-duration", flags.block_duration)?,
        range: TimeRange { mint, maxt },
        side_index: !flags.no_side_index,
    })
}

fn ms(flag: &str, duration: Duration) -> anyhow::Result<i64> {
    i64::try_from(duration.as_millis()).with_context(|| format!("{flag}: too long"))
}

/// How far it is: a bar where somebody looks, lines of the log elsewhere.
enum Progress {
    Bar(ProgressBar),
    Log { done: AtomicU64, total: u64 },
}

impl Progress {
    /// Of about `total` samples.
    fn new(total: u64) -> anyhow::Result<Self> {
        if !std::io::stderr().is_terminal() {
            return Ok(Self::Log { done: AtomicU64::new(0), total });
        }
        let style = "{elapsed_precise} {wide_bar} {human_pos} of about {human_len} samples, {per_sec}, {eta} left";
        Ok(Self::Bar(ProgressBar::new(total).with_style(ProgressStyle::with_template(style)?)))
    }

    fn add(&self, samples: u64) {
        match self {
            Self::Bar(bar) => bar.inc(samples),
            Self::Log { done, total } => {
                let before = done.fetch_add(samples, Ordering::Relaxed);
                let part = |done: u64| done.saturating_mul(LOGGED_PARTS) / (*total).max(1);
                if part(before) < part(before + samples) && part(before + samples) < LOGGED_PARTS {
                    let percent = 100 / LOGGED_PARTS * part(before + samples);
                    tracing::info!(samples = before + samples, percent, "generating");
                }
            }
        }
    }

    fn finish(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
