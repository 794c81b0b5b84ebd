//! How far compaction is, for who waits for it: a bar on a terminal, lines of the log elsewhere, metrics in any case.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use engine::compactor::{Event, Observer, RunProgress, Share, Snapshot};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often the bar is drawn.
const BAR_INTERVAL: Duration = Duration::from_millis(500);

/// Tells how far `run` is, every `interval` where that is not nothing. Never ends.
pub async fn watch(run: &RunProgress, interval: Duration, metrics: &dyn Observer) {
    let bar = std::io::stderr().is_terminal().then(Bar::new);
    let mut told = Instant::now();
    let tick = if bar.is_some() { BAR_INTERVAL } else { interval };
    loop {
        tokio::time::sleep(if tick.is_zero() { Duration::MAX } else { tick }).await;
        let snapshot = run.snapshot();
        if let Some(bar) = &bar {
            bar.draw(&snapshot);
        }
        if !interval.is_zero() && told.elapsed() >= interval {
            told = Instant::now();
            metrics.observe(Event::Todo(run.todo()));
            if bar.is_none() {
                log(&snapshot);
            }
        }
    }
}

/// A line for each group that is not done, and one for all.
fn log(snapshot: &Snapshot) {
    for (group, share) in snapshot.groups.iter().filter(|(_, share)| share.done != share.all) {
        let Share { done, all } = share;
        tracing::info!(
            group,
            compactions = format!("{}/{}", done.compactions, all.compactions),
            bytes = format!("{}/{}", done.bytes, all.bytes),
            samples = format!("{}/{}", done.samples, all.samples),
            "compaction progress of a group"
        );
    }
    let Share { done, all } = snapshot.overall;
    tracing::info!(
        groups = snapshot.groups.len(),
        compactions = format!("{}/{}", done.compactions, all.compactions),
        bytes = format!("{}/{}", done.bytes, all.bytes),
        samples = format!("{}/{}", done.samples, all.samples),
        samples_per_second = format!("{:.0}", snapshot.samples_per_second()),
        time_left = snapshot.time_left().map_or("unknown".to_owned(), |left| format!("{}s", left.as_secs())),
        "compaction progress"
    );
}

/// A line that is drawn over and over, and gone at the end.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        let template = "{bar:30} {bytes} of {total_bytes}, {msg}";
        // a template that is wrong would be ours; the plain bar is shown then
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self(bar)
    }

    fn draw(&self, snapshot: &Snapshot) {
        let Share { done, all } = snapshot.overall;
        self.0.set_length(all.bytes);
        self.0.set_position(done.bytes);
        let left =
            snapshot.time_left().map_or("time left unknown".to_owned(), |left| format!("{} s left", left.as_secs()));
        let rate = snapshot.samples_per_second() / 1e6;
        let (compactions, groups) =
            (format!("{} of {} compactions", done.compactions, all.compactions), snapshot.groups.len());
        self.0.set_message(format!("{compactions} in {groups} groups, {rate:.1} M samples/s, {left}"));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
