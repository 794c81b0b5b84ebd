//! Random queries, answered by the engine over blocks and by a naive evaluator over samples: the answers must be the same.
//!
//! `QUIVER_FUZZ_SEED` draws other data and other queries, `QUIVER_FUZZ_QUERIES` says how many, and `QUIVER_FUZZ_FIRST` with which
//! to begin: each query depends on the seed and its number alone. What differs is shrunk and printed with all that it
//! takes to ask it again. Where rounding or an order that PromQL leaves open decides, answers may differ: the naive
//! evaluator is then asked again with errors in its last digits, and if its own answer changes, the query does not count.

mod compare;
mod coverage;
mod data;
mod grammar;
mod naive;
mod random;
mod shrink;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine::{Deduplication, Engine, EngineFeatures, EngineSettings, ProcessPool, QueryRequest, QueryTime};
use promql::tree::Grid;
use promql::{Expr, Function, ParseOptions};
use storage::side_index::{SideIndexCache, SideIndexSettings};
use storage::store::LocalDirStore;
use tokio::runtime::{Builder, Runtime};

use coverage::Coverage;
use data::Dataset;
use grammar::Grammar;
use naive::{DEFAULT_SUBQUERY_STEP_MS, Naive, Outcome, When};
use random::Random;

/// How many queries there are without `QUIVER_FUZZ_QUERIES`: a few seconds.
const QUERIES: usize = 5_000;
/// How many queries ask the same data.
const QUERIES_PER_DATASET: usize = 1_000;
/// After so many differences the rest is not asked.
const DIFFERENCES_MAX: usize = 25;
/// How often a query whose answers differ is asked with errors in the last digits.
const BLURRED: u64 = 4;
/// How often a query is tried smaller.
const SHRINK_ATTEMPTS: usize = 300;

/// The engines: how many partitions, and whether they mind start timestamps and remove names at the end.
const ENGINES: [(usize, bool, bool); 5] =
    [(1, false, false), (3, false, false), (3, false, false), (2, true, false), (2, false, true)];

/// The engine that minds start timestamps.
const WITH_STARTS: usize = 3;

/// One query with its times.
struct Asked {
    query: String,
    when: When,
    lookback_ms: i64,
    /// Which of the engines is asked.
    engine: usize,
}

/// The same data behind engines with other numbers of partitions, and as samples.
struct Bench {
    data: Dataset,
    engines: Vec<Engine>,
    runtime: Runtime,
    _folder: tempfile::TempDir,
}

/// How a query went.
enum Verdict {
    Same,
    /// The same, and without a single sample.
    SameEmpty,
    /// Both fail, for this reason.
    BothFail(String),
    /// Rounding, or an order that PromQL leaves open, decides.
    Undecided,
    Refused(String),
    Different(String),
}

/// Counts of a run.
#[derive(Default)]
struct Tally {
    coverage: Coverage,
    same: usize,
    empty: usize,
    /// Failures by reason.
    both_fail: BTreeMap<String, usize>,
    undecided: usize,
    differences: Vec<String>,
}

#[test]
fn random_queries_are_answered_as_naively() {
    let seed = variable("QUIVER_FUZZ_SEED", 1);
    let (first, queries) = (variable("QUIVER_FUZZ_FIRST", 0), variable("QUIVER_FUZZ_QUERIES", QUERIES));
    let tally = Mutex::new(Tally::default());
    let mut next = first;
    while next < first + queries && tally.lock().unwrap().differences.len() < DIFFERENCES_MAX {
        let dataset = next / QUERIES_PER_DATASET;
        let end = ((dataset + 1) * QUERIES_PER_DATASET).min(first + queries);
        let bench = Bench::new(mixed(seed, dataset + 1_000_000));
        let number = AtomicUsize::new(next);
        let work = || {
            loop {
                let number = number.fetch_add(1, Ordering::Relaxed);
                if number >= end || tally.lock().unwrap().differences.len() >= DIFFERENCES_MAX {
                    return;
                }
                ask(&bench, seed, number, &tally);
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..std::thread::available_parallelism().map_or(2, std::num::NonZero::get) {
                scope.spawn(work);
            }
        });
        next = end;
    }
    let tally = tally.into_inner().unwrap();
    eprintln!("{}", tally.coverage.table());
    let Tally { same, empty, both_fail, undecided, differences, .. } = &tally;
    eprintln!(
        "failures: {both_fail:?}\nseed {seed}: {same} answers the same, {empty} the same and empty, {} queries fail in both, \
         {undecided} hang on rounding or order",
        both_fail.values().sum::<usize>()
    );
    assert!(differences.is_empty(), "{} differ\n{}", differences.len(), differences.join("\n"));
    if queries >= QUERIES {
        let missing = tally.coverage.missing(&grammar::features());
        assert!(missing.is_empty(), "never asked or never answered: {missing:?}");
        assert!(undecided * 20 < queries, "{undecided} of {queries} queries say nothing");
    }
}

fn variable(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|e| panic!("{name}={text}: {e}")))
}

/// A seed that depends on two numbers.
fn mixed(seed: usize, number: usize) -> u64 {
    let part = |n: usize| u64::try_from(n).unwrap();
    Random::new(part(seed).wrapping_mul(0x2545_f491_4f6c_dd1d)).bits() ^ Random::new(part(number)).bits()
}

/// Draws and asks the query of a number.
fn ask(bench: &Bench, seed: usize, number: usize, tally: &Mutex<Tally>) {
    let features = grammar::features();
    let mut random = Random::new(mixed(seed, number));
    let mut when = when(&mut random, &bench.data);
    let query = Grammar::new(&mut random, when).query(features[number % features.len()]);
    let parsed = promql::parse(&query, &ParseOptions::experimental());
    // a text or a range vector has no steps
    let of_instant = parsed.as_ref().is_ok_and(|expr| promql::require_range_type(expr).is_err());
    if of_instant && random.percent(90) {
        when = When { end: when.start, step_ms: 0, ..when };
    }
    let lookback_ms = *random.pick(&[300_000, 300_000, 300_000, 120_000, 35_001]);
    let starts = query.contains("start_timestamp") && random.percent(60);
    let engine = if starts { WITH_STARTS } else { random.below(bench.engines.len()) };
    let asked = Asked { query, when, lookback_ms, engine };
    let verdict = bench.verdict(&asked);
    let mut coverage = Coverage::default();
    if let Ok(expr) = parsed {
        coverage.add(&expr, matches!(verdict, Verdict::Same));
    }
    let report = match &verdict {
        Verdict::Different(why) | Verdict::Refused(why) => Some(bench.report(seed, number, &asked, why)),
        _ => None,
    };
    let mut tally = tally.lock().unwrap();
    tally.coverage.merge(coverage);
    match verdict {
        Verdict::Same => tally.same += 1,
        Verdict::SameEmpty => tally.empty += 1,
        Verdict::BothFail(reason) => *tally.both_fail.entry(reason).or_default() += 1,
        Verdict::Undecided => tally.undecided += 1,
        Verdict::Different(_) | Verdict::Refused(_) => {}
    }
    tally.differences.extend(report);
}

/// Draws when to ask: once, or at some steps, in the data or a little outside.
fn when(random: &mut Random, data: &Dataset) -> When {
    let outside = if random.percent(10) { 300_000 } else { -120_000 };
    let mut start = random.between(data.start - outside, data.end + outside);
    if random.percent(50) {
        start = start / 15_000 * 15_000;
    }
    if random.percent(40) {
        return When { start, end: start, step_ms: 0 };
    }
    let step_ms = *random.pick(&[15_000, 30_000, 60_000, 60_000, 17_345, 300_000, 1_000]);
    // the end need not be a step
    let end = start + step_ms * random.between(0, 20) + random.between(0, step_ms - 1);
    When { start, end, step_ms }
}

impl Bench {
    fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = Dataset::new(seed);
        data.write(folder.path());
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let side_indexes = SideIndexCache::new(SideIndexSettings::default());
        let store = Arc::new(runtime.block_on(LocalDirStore::open(folder.path(), side_indexes)).unwrap());
        let engine = |(partitions, start_timestamps, delayed_name_removal)| {
            let settings = EngineSettings {
                lookback_ms: 300_000,
                timeout: Duration::from_secs(100),
                max_samples: 0,
                memory: ProcessPool::new(1 << 30),
                partitions,
                replica_labels: Vec::new(),
                deduplication: Deduplication::Chain,
                default_subquery_step_ms: DEFAULT_SUBQUERY_STEP_MS,
                parse: ParseOptions::experimental(),
                features: EngineFeatures { start_timestamps, delayed_name_removal, ..EngineFeatures::default() },
                compute: None,
            };
            Engine::new(Arc::clone(&store) as Arc<dyn storage::Store>, settings)
        };
        let engines = ENGINES.map(engine).into();
        Self { data, engines, runtime, _folder: folder }
    }

    fn verdict(&self, asked: &Asked) -> Verdict {
        let expr = match promql::parse(&asked.query, &ParseOptions::experimental()) {
            Ok(expr) => expr,
            Err(error) => return Verdict::Refused(error.to_string()),
        };
        let range = asked.when.step_ms > 0;
        if range && promql::require_range_type(&expr).is_err() {
            return Verdict::BothFail("no range query".to_owned());
        }
        let naive = |noise| {
            let features = self.engines[asked.engine].settings().features;
            let evaluator = Naive::new(&self.data, asked.when, asked.lookback_ms, features, noise);
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| evaluator.answer(&expr)))
        };
        let Ok(wanted) = naive(None) else { return Verdict::Different("the naive evaluator panics".to_owned()) };
        let When { start, end, step_ms } = asked.when;
        let time = if range { QueryTime::Range(Grid { start, end, step_ms }) } else { QueryTime::Instant(start) };
        let mut request = QueryRequest::new(asked.query.as_str(), time);
        request.lookback_ms = Some(asked.lookback_ms);
        let got = self.runtime.block_on(self.engines[asked.engine].query(request));
        match compare::difference(&wanted, got, !range && is_sort(&expr)) {
            None => match wanted.0 {
                Err(failure) => Verdict::BothFail(failure.0.into_iter().next().unwrap_or_default()),
                Ok(Outcome::Series(series)) if series.is_empty() => Verdict::SameEmpty,
                Ok(_) => Verdict::Same,
            },
            // when histograms were read together, so that resets between them were seen, only their reader knows
            Some(_) if wanted.1.contains(naive::notes::RESETS) => Verdict::Undecided,
            Some(difference) => {
                let stands = |noise| {
                    let blurred = naive(Some(noise));
                    blurred.is_ok_and(|blurred| compare::same_outcome(&wanted.0, &blurred.0) && wanted.1 == blurred.1)
                };
                if (0..BLURRED).all(stands) { Verdict::Different(difference) } else { Verdict::Undecided }
            }
        }
    }

    /// All that it takes to look at a difference.
    fn report(&self, seed: usize, number: usize, asked: &Asked, why: &str) -> String {
        let again = |query: &str| Asked { query: query.to_owned(), ..*asked };
        let goes_wrong = |query: &str| matches!(self.verdict(&again(query)), Verdict::Different(_));
        let query = shrink::shrunk(&asked.query, SHRINK_ATTEMPTS, goes_wrong);
        let shrunk = match self.verdict(&again(&query)) {
            Verdict::Different(why) => why,
            _ => why.to_owned(),
        };
        let When { start, end, step_ms } = asked.when;
        format!(
            "QUIVER_FUZZ_SEED={seed} QUIVER_FUZZ_FIRST={number} QUIVER_FUZZ_QUERIES=1\n  {}\n  shrunk: {query}\n  \
             start {start} end {end} step {step_ms} lookback {} engine {}\n  {shrunk}\n",
            asked.query, asked.lookback_ms, asked.engine,
        )
    }
}

/// Whether the result's order is part of the answer.
fn is_sort(expr: &Expr) -> bool {
    use Function::{Sort, SortByLabel, SortByLabelDesc, SortDesc};
    let sorts = [Sort, SortDesc, SortByLabel, SortByLabelDesc];
    matches!(expr.unparenthesized(), Expr::Call(call) if sorts.contains(&call.function))
}
