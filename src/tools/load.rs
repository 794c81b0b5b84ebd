//! `quiver tools load`: a load of remote write, and whether what was acknowledged of it is there.
//!
//! It runs beside what it measures, so it is made to cost little: requests are compressed once and then only samples are written into
//! them ([`body`], [`snappy`]), one thread sends them all ([`sender`]). Samples follow from seed, series and time ([`workload`]), so
//! a [`ledger`] of acknowledged requests is enough to check every sample afterwards ([`verify`]).

mod body;
mod client;
mod ledger;
mod report;
mod sender;
mod snappy;
mod verify;
mod workload;

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use storage::{Clock, SystemClock};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::body::Body;
pub use self::body::Protocol;
use self::client::{Client, Endpoint};
use self::ledger::Ledger;
use self::report::{Counts, Stopwatch, Summary};
use self::sender::Sending;
use self::verify::Verifier;
use self::workload::Workload;
use crate::flags::{LoadFlags, Start};
use crate::signals;

/// From one line of the log to the next.
const LOGGED: Duration = Duration::from_secs(10);
/// From one look at a progress bar to the next.
const SHOWN: Duration = Duration::from_millis(200);
/// Bytes of an answer to a write that are read.
const ANSWER_MAX: usize = 1 << 20;
/// Bytes of an answer to a query that are read.
const QUERY_ANSWER_MAX: usize = 1 << 30;

/// Sends, or verifies.
///
/// # Errors
/// Where flags contradict each other, the ledger cannot be written or read, or something acknowledged is lost or doubled.
pub fn run(flags: &LoadFlags) -> anyhow::Result<()> {
    // one thread: it does little and leaves the others to what is measured
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let sound = if flags.verify { runtime.block_on(verify(flags))? } else { send(flags, &runtime)? };
    if sound { Ok(()) } else { bail!("what is there is not what was acknowledged") }
}

fn workload(flags: &LoadFlags) -> anyhow::Result<Workload> {
    let ms = |flag: &str, duration: Duration| {
        i64::try_from(duration.as_millis()).with_context(|| format!("{flag}: too long"))
    };
    let start_ms = match flags.start {
        Start::At(t) => t,
        Start::Ago(ago) => SystemClock.now().saturating_sub(ms("--start", ago)?),
    };
    let (series, batch, tenants) = (flags.series, flags.batch, flags.tenants);
    let (seed, labels, churn) = (flags.seed, flags.labels, flags.churn);
    let interval_ms = ms("--interval", flags.interval)?;
    Workload { seed, series, labels, churn, batch, tenants, start_ms, interval_ms }.try_new()
}

fn send(flags: &LoadFlags, runtime: &tokio::runtime::Runtime) -> anyhow::Result<bool> {
    let workload = workload(flags)?;
    let endpoint = Endpoint::parse(flags.url.as_deref().unwrap_or_default()).context("--url")?;
    let tenant_header: HeaderName = flags.tenant_header.parse().context("--tenant-header")?;
    let ledger = flags.ledger.as_deref();
    let ledger = ledger.map(|path| Ledger::create(path, &workload, tenant_header.as_str())).transpose()?;
    let (content_type, version) = flags.protocol.headers();
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
    headers.insert(HeaderName::from_static("x-prometheus-remote-write-version"), HeaderValue::from_static(version));

    let preparing = Stopwatch::start();
    let workers = u64::from(flags.concurrency).min(workload.batches());
    let bodies = prepare(&workload, flags.protocol, workers)?;
    let prepared = preparing.seconds();
    let clients = (0..workers)
        .map(|_| Client::new(endpoint.clone(), headers.clone(), flags.timeout, ANSWER_MAX))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let watch = Stopwatch::start();
    let parts = clients.into_iter().zip(bodies).collect();
    let start_ms = workload.start_ms;
    let (stop, stopped) = watch::channel(false);
    let began = Instant::now();
    let sending = Sending {
        workload,
        rate: flags.rate,
        began,
        deadline: began.checked_add(flags.duration).context("--duration: too long")?,
        stop: stopped,
        tenant_header,
        ledger,
        counts: Mutex::default(),
        last_ms: AtomicI64::new(start_ms),
        told: AtomicU64::new(0),
    };
    let sending = runtime.block_on(drive(sending, parts, &stop, flags.duration))?;
    let took = watch.seconds();
    if let Some(ledger) = sending.ledger {
        ledger.finish()?;
    }
    let summary =
        Summary::new(&sending.counts.into_inner(), took, prepared, (start_ms, sending.last_ms.load(Ordering::Relaxed)));
    print(&if flags.json { serde_json::to_string(&summary)? + "\n" } else { summary.text() })?;
    Ok(true)
}

/// Puts all requests together, by worker.
fn prepare(workload: &Workload, protocol: Protocol, workers: u64) -> anyhow::Result<Vec<Vec<(u64, Body)>>> {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let part = |thread: usize| {
        let batches = (thread as u64..workload.batches()).step_by(threads);
        batches.map(|batch| (batch, Body::new(workload, batch, protocol))).collect::<Vec<_>>()
    };
    let parts = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || part(thread))).collect();
        running.into_iter().map(std::thread::ScopedJoinHandle::join).collect::<Result<Vec<_>, _>>()
    });
    let Ok(parts) = parts else { bail!("a thread that prepares requests broke off") };
    let mut by_worker: Vec<Vec<(u64, Body)>> = (0..workers).map(|_| Vec::new()).collect();
    for (batch, body) in parts.into_iter().flatten() {
        by_worker[usize::try_from(batch % workers)?].push((batch, body));
    }
    by_worker.iter_mut().for_each(|bodies| bodies.sort_by_key(|(batch, _)| *batch));
    Ok(by_worker)
}

/// Runs the workers to their end, tells how far they are, and stops them at a signal.
async fn drive(
    sending: Sending,
    parts: Vec<(Client, Vec<(u64, Body)>)>,
    stop: &watch::Sender<bool>,
    duration: Duration,
) -> anyhow::Result<Sending> {
    let began = sending.began;
    let sending = Arc::new(sending);
    let mut workers = JoinSet::new();
    for (client, bodies) in parts {
        let sending = Arc::clone(&sending);
        workers.spawn(async move { sending.work(client, bodies).await });
    }
    let progress = Progress::new(u64::try_from(duration.as_millis())?)?;
    let mut ticks = tokio::time::interval(progress.every());
    ticks.tick().await;
    let mut signal = Box::pin(signals::stop_signal());
    let mut stopping = false;
    loop {
        tokio::select! {
            ended = workers.join_next() => match ended {
                Some(result) => result.context("a worker broke off")??,
                None => break,
            },
            _ = ticks.tick() => progress.show(began.elapsed(), &sending.counts.lock()),
            signal = &mut signal, if !stopping => {
                tracing::info!(signal = signal?, "stopping");
                stopping = true;
                stop.send_replace(true);
            }
        }
    }
    progress.finish();
    Arc::into_inner(sending).context("a worker is still there")
}

async fn verify(flags: &LoadFlags) -> anyhow::Result<bool> {
    let path = flags.ledger.as_deref().context("--verify: which --ledger?")?;
    let endpoint = Endpoint::parse(flags.query_url.as_deref().unwrap_or_default()).context("--query-url")?;
    let entries = ledger::read(path)?;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    let client = |path| Client::new(endpoint.below(path), headers.clone(), flags.timeout, QUERY_ANSWER_MAX);
    let (instant, range) = (client("/api/v1/query")?, client("/api/v1/query_range")?);
    let progress = Progress::new(entries.workload.batches())?;
    let outcome = Verifier { entries, instant, range }.run(|batches| progress.at(batches)).await?;
    progress.finish();
    print(&if flags.json { serde_json::to_string(&outcome)? + "\n" } else { outcome.text() })?;
    Ok(outcome.is_sound())
}

fn print(text: &str) -> anyhow::Result<()> {
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

/// How far it is: a bar where somebody looks, lines of the log elsewhere.
enum Progress {
    Bar(ProgressBar),
    Log,
}

impl Progress {
    fn new(length: u64) -> anyhow::Result<Self> {
        if !std::io::stderr().is_terminal() {
            return Ok(Self::Log);
        }
        let style = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {msg}")?;
        Ok(Self::Bar(ProgressBar::new(length).with_style(style)))
    }

    const fn every(&self) -> Duration {
        match self {
            Self::Bar(_) => SHOWN,
            Self::Log => LOGGED,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a rate to look at")]
    fn show(&self, elapsed: Duration, counts: &Counts) {
        let rate = counts.samples as f64 / elapsed.as_secs_f64().max(1e-3);
        match self {
            Self::Bar(bar) => {
                bar.set_position(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
                bar.set_message(format!("{} samples, {rate:.0}/s, {} retries", counts.samples, counts.retries));
            }
            Self::Log => {
                tracing::info!(samples = counts.samples, rate = rate.round(), retries = counts.retries, "sending");
            }
        }
    }

    fn at(&self, position: u64) {
        if let Self::Bar(bar) = self {
            bar.set_position(position);
        }
    }

    fn finish(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests;
