//! Whether what was acknowledged is there: every sample, with its exact value, once.
//!
//! Steps, for each batch: ask for the raw samples of its pods (an instant query of a range), piece by piece of time; recompute each
//! sample from seed, series and timestamp; count how often each was found. Another query, `count_over_time` at every interval, is
//! compared with the number of samples that came, since it may be evaluated elsewhere than raw ranges are. Windows end halfway
//! between timestamps, so it does not matter which of their ends belongs to them.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;

use anyhow::{Context, bail};
use hyper::body::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use super::body::generation_text;
use super::client::Client;
use super::ledger::Entries;
use super::workload::{SLOTS_PER_TARGET, Workload};

/// Samples that a query should not have much more of.
const QUERY_SAMPLES: u64 = 200_000;
/// Steps of a range query: Prometheus allows 11,000.
const QUERY_ROUNDS: u64 = 10_000;
/// Pods named by one query.
const QUERY_PODS: usize = 50;
/// Intervals with something wrong that are told one by one.
const TOLD_MAX: usize = 20;

/// Counts of samples, as `--json` has them.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Entered in the ledger.
    pub acknowledged: u64,
    /// Of these, there with their value.
    pub present: u64,
    /// Of these, not there.
    pub lost: u64,
    /// Runs of lost samples with samples of the same series before and after.
    pub holes: u64,
    /// There once more than they should be.
    pub doubled: u64,
    /// There and not acknowledged, with their value: that is no fault.
    pub unacknowledged_present: u64,
    /// There with a time, value or labels that were never sent; where they stand for an acknowledged sample, it is lost too.
    pub wrong: u64,
    /// Intervals for which `count_over_time` counts other than what is there.
    pub miscounted: u64,
    /// Intervals with something lost or doubled: timestamp, lost, doubled.
    pub intervals: BTreeMap<i64, (u64, u64)>,
}

impl Outcome {
    /// Whether everything that was acknowledged is there, once, and nothing else is.
    pub const fn is_sound(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.wrong == 0 && self.miscounted == 0
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = format!(
            "acknowledged             {}\npresent                  {}\nlost                     {} in {} holes and at ends\n\
             doubled                  {}\nunacknowledged, present  {}\nnever sent, present      {}\nintervals miscounted     {}\n",
            self.acknowledged,
            self.present,
            self.lost,
            self.holes,
            self.doubled,
            self.unacknowledged_present,
            self.wrong,
            self.miscounted,
        );
        for (t, (lost, doubled)) in self.intervals.iter().take(TOLD_MAX) {
            text.push_str(&format!("  at {t}: {lost} lost, {doubled} doubled\n"));
        }
        if self.intervals.len() > TOLD_MAX {
            text.push_str(&format!("  and {} intervals more\n", self.intervals.len() - TOLD_MAX));
        }
        text
    }
}

/// How often the samples of a batch were found.
struct Found {
    first: u64,
    rounds: usize,
    times: Vec<u8>,
}

impl Found {
    /// The count of a sample; nothing where it is not of this batch.
    fn of(&mut self, slot: u64, round: u64) -> Option<&mut u8> {
        let row = usize::try_from(slot.checked_sub(self.first)?).ok()?;
        let column = usize::try_from(round).ok().filter(|round| *round < self.rounds)?;
        self.times.get_mut(row.checked_mul(self.rounds)?.checked_add(column)?)
    }
}

/// Asks for everything that the ledger says.
pub struct Verifier {
    /// The ledger.
    pub entries: Entries,
    /// `/api/v1/query`.
    pub instant: Client,
    /// `/api/v1/query_range`.
    pub range: Client,
}

impl Verifier {
    /// Checks every batch; `done` is told how many are.
    ///
    /// # Errors
    /// Where a query is not answered.
    pub async fn run(&mut self, done: impl Fn(u64)) -> anyhow::Result<Outcome> {
        let mut outcome = Outcome::default();
        let Some(last) = self.entries.rounds.values().filter_map(|rounds| rounds.last()).max().copied() else {
            return Ok(outcome);
        };
        for batch in 0..self.entries.workload.batches() {
            // one more than the last: a request that broke off there may have been written
            self.batch(batch, last + 2, &mut outcome).await?;
            done(batch + 1);
        }
        Ok(outcome)
    }

    async fn batch(&mut self, batch: u64, rounds: u64, outcome: &mut Outcome) -> anyhow::Result<()> {
        let slots = self.entries.workload.slots(batch);
        let (rows, columns) = (usize::try_from(slots.end - slots.start)?, usize::try_from(rounds)?);
        let cells = rows.checked_mul(columns).context("a batch with too many samples")?;
        let mut found = Found { first: slots.start, rounds: columns, times: vec![0; cells] };
        let per_query = (QUERY_SAMPLES / (slots.end - slots.start)).clamp(1, QUERY_ROUNDS);
        let mut first = 0;
        while first < rounds {
            let piece = first..=(first + per_query).min(rounds) - 1;
            for pods in self.pods(batch, &piece)?.chunks(QUERY_PODS) {
                self.piece(batch, &piece, pods, &mut found, outcome).await?;
            }
            first = piece.end() + 1;
        }
        let acknowledged = self.entries.rounds.get(&batch).map_or(&[][..], |rounds| rounds);
        count(&self.entries.workload, acknowledged, &found, outcome);
        Ok(())
    }

    /// The pods that a batch has series of at some time.
    fn pods(&self, batch: u64, rounds: &RangeInclusive<u64>) -> anyhow::Result<Vec<String>> {
        let load = &self.entries.workload;
        let (from, to) = times(load, rounds)?;
        let slots = load.slots(batch);
        let mut pods = Vec::new();
        for target in slots.start / SLOTS_PER_TARGET..=(slots.end - 1) / SLOTS_PER_TARGET {
            for generation in load.generation(target, from)..=load.generation(target, to) {
                pods.push(load.pod_prefix(target) + &String::from_utf8_lossy(&generation_text(generation)));
            }
        }
        Ok(pods)
    }

    async fn piece(
        &mut self,
        batch: u64,
        rounds: &RangeInclusive<u64>,
        pods: &[String],
        found: &mut Found,
        outcome: &mut Outcome,
    ) -> anyhow::Result<()> {
        let load = &self.entries.workload;
        let (from, to) = times(load, rounds)?;
        let half = load.interval_ms / 2;
        let selector = format!("{{pod=~\"{}\"}}", pods.join("|"));
        let tenant = load.tenant(batch).map(HeaderValue::try_from).transpose()?;
        let header: HeaderName = self.entries.tenant_header.parse()?;
        let header = tenant.as_ref().map(|tenant| (&header, tenant));

        let query = format!("{selector}[{}ms]", to - from + load.interval_ms);
        let parameters = form(&[("query", &query), ("time", &seconds(to + half)), ("nocache", "1")]);
        let answer = self.instant.post(parameters, header).await.context("cannot query")?;
        let mut came: BTreeMap<i64, u64> = BTreeMap::new();
        for series in parse(&answer.body).with_context(|| format!("query {query} at {to}"))? {
            enter(load, batch, &series, found, &mut came, outcome);
        }

        let query = format!("sum(count_over_time({selector}[{}ms]))", load.interval_ms);
        let (start, end, step) = (seconds(from + half), seconds(to + half), seconds(load.interval_ms));
        let range = [("query", query.as_str()), ("start", &start), ("end", &end), ("step", &step), ("nocache", "1")];
        let answer = self.range.post(form(&range), header).await.context("cannot query")?;
        let mut counted: BTreeMap<i64, u64> = BTreeMap::new();
        for series in parse(&answer.body).with_context(|| format!("query {query} from {start} to {end}"))? {
            for (at, value) in &series.values {
                *counted.entry(ms(*at) - half).or_default() += value.parse::<u64>().unwrap_or(u64::MAX);
            }
        }
        for round in rounds.clone() {
            let t = load.time(round).context("a round past the end of time")?;
            outcome.miscounted += u64::from(came.get(&t) != counted.get(&t));
        }
        Ok(())
    }
}

/// The first timestamp of some rounds and the last.
fn times(load: &Workload, rounds: &RangeInclusive<u64>) -> anyhow::Result<(i64, i64)> {
    let of = |round: u64| load.time(round).context("a round past the end of time");
    Ok((of(*rounds.start())?, of(*rounds.end())?))
}

/// Enters the samples of a series; `came` counts all that came by the time of their round.
fn enter(
    load: &Workload,
    batch: u64,
    series: &Series<'_>,
    found: &mut Found,
    came: &mut BTreeMap<i64, u64>,
    outcome: &mut Outcome,
) {
    let identity = identify(load, &series.metric);
    for (at, value) in &series.values {
        let t = ms(*at);
        // the round whose window it lies in
        let (half, interval) = (load.interval_ms / 2, load.interval_ms);
        let window = t - load.start_ms - half - 1;
        *came.entry(load.start_ms + (window.div_euclid(interval) + 1) * interval).or_default() += 1;
        let Some((slot, generation)) = identity else {
            outcome.wrong += 1;
            continue;
        };
        if !load.slots(batch).contains(&slot) {
            // a pod whose series are of two batches: the other one looks at this
            continue;
        }
        let right = load.generation(slot / SLOTS_PER_TARGET, t) == generation
            && value.parse::<f64>().is_ok_and(|v| v.to_bits() == load.value(slot, generation, t).to_bits());
        match load.round(t).filter(|_| right).and_then(|round| found.of(slot, round)) {
            Some(times) => *times = times.saturating_add(1),
            None => outcome.wrong += 1,
        }
    }
}

/// The slot and generation of a series; nothing where it lacks a label of theirs. Other labels, as of its tenant, do not matter.
fn identify(load: &Workload, metric: &HashMap<String, String>) -> Option<(u64, u16)> {
    let (rest, generation) = metric.get("pod")?.rsplit_once('-')?;
    let target: u64 = rest.rsplit_once('-')?.1.parse().ok()?;
    let generation = u16::from_str_radix(generation, 16).ok()?;
    let slot = load.slot(target, metric.get("__name__")?, metric.get("path")?)?;
    let (mut expected, pod) = load.labels(slot);
    expected[pod].1.push_str(&String::from_utf8_lossy(&generation_text(generation)));
    expected.iter().all(|(name, value)| metric.get(name) == Some(value)).then_some((slot, generation))
}

/// Adds up what was found of a batch.
fn count(load: &Workload, acknowledged: &[u64], found: &Found, outcome: &mut Outcome) {
    for row in found.times.chunks(found.rounds) {
        // whether a sample was seen, and whether something is missing since
        let (mut begun, mut missing) = (false, false);
        for (round, &times) in (0_u64..).zip(row) {
            let is_acknowledged = acknowledged.binary_search(&round).is_ok();
            let (lost, doubled) = (is_acknowledged && times == 0, u64::from(times.saturating_sub(1)));
            outcome.acknowledged += u64::from(is_acknowledged);
            outcome.present += u64::from(is_acknowledged && times > 0);
            outcome.unacknowledged_present += u64::from(!is_acknowledged && times > 0);
            outcome.lost += u64::from(lost);
            outcome.doubled += doubled;
            if lost || doubled > 0 {
                let interval = outcome.intervals.entry(load.time(round).unwrap_or(i64::MAX)).or_default();
                interval.0 += u64::from(lost);
                interval.1 += doubled;
            }
            missing |= lost && begun;
            if times > 0 {
                outcome.holes += u64::from(missing);
                (begun, missing) = (true, false);
            }
        }
    }
}

/// A series of an answer.
#[derive(Deserialize)]
struct Series<'a> {
    metric: HashMap<String, String>,
    #[serde(borrow, default)]
    values: Vec<(f64, &'a str)>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    result: Vec<Series<'a>>,
}

#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow)]
    data: Option<Data<'a>>,
    error: Option<String>,
}

fn parse(body: &[u8]) -> anyhow::Result<Vec<Series<'_>>> {
    match serde_json::from_slice(body) {
        Ok(Reply { data: Some(data), error: None }) => Ok(data.result),
        Ok(Reply { error, .. }) => bail!("{}", error.unwrap_or_else(|| "an answer without data".to_owned())),
        Err(error) => {
            let begin = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
            Err(error).with_context(|| format!("this is no answer of PromQL: {begin}"))
        }
    }
}

/// The body of a form. What is not a letter or a digit is escaped.
fn form(parameters: &[(&str, &str)]) -> Bytes {
    let mut text = String::new();
    for (name, value) in parameters {
        let and = if text.is_empty() { "" } else { "&" };
        text.push_str(&format!("{and}{name}="));
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_') {
                text.push(char::from(byte));
            } else {
                text.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    text.into()
}

fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000))
}

#[expect(clippy::cast_possible_truncation, reason = "saturates, and no such time was sent")]
fn ms(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}
