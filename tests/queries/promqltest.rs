//! Runs scripts in the format of Prometheus's own PromQL tests: our own in tests/promql, which all must pass, and those of
//! Prometheus, of which tests/promql/known.txt names the evaluations that do not pass.
//!
//! Each script runs over a store in memory, over a TSDB block, and over the blocks of two replicas of which each lacks other samples.
//! Prometheus runs its scripts with delayed name removal, and so do we; over the block also without it, where the evaluations in
//! tests/promql/delayed_names.txt must fail.
//!
//! An instant query is also asked as a range query of three steps, and must give the same at the middle one.

pub mod check;
mod loaded;
mod memory;
mod script;
mod series;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use engine::{Engine, QueryRequest, QueryTime};
use promql::tree::Grid;
use tokio::runtime::{Builder, Runtime};

use check::{check, check_annotations, outcome};
use loaded::Loaded;
use script::{Command, Eval, Times};

/// How many scripts Prometheus has.
const UPSTREAM_SCRIPTS: usize = 21;

/// How a script went.
struct Run {
    /// Its file's name.
    script: String,
    /// Number of evaluations.
    evals: usize,
    /// Line and reason of each evaluation that failed.
    failed: BTreeMap<usize, String>,
}

/// Where a script's series are.
#[derive(Debug, Clone, Copy)]
enum Storage {
    /// In memory.
    Memory,
    /// In a TSDB block.
    Blocks,
    /// In the blocks of two replicas, which lack every third sample each, at different places, so that together they have all. The
    /// label that tells them apart overrides one that the series have.
    Replicas,
}

/// When metric names go.
#[derive(Debug, Clone, Copy)]
enum Names {
    AtOnce,
    AtEnd,
}

#[test]
fn our_own_scripts_pass() {
    let names = |script: &str| if script.starts_with("delayed_names") { Names::AtEnd } else { Names::AtOnce };
    for storage in [Storage::Memory, Storage::Blocks, Storage::Replicas] {
        let runs = run_all(&own_folder(), storage, names);
        assert!(!runs.is_empty());
        let report: Vec<String> = runs.iter().flat_map(Run::failures).collect();
        assert!(report.is_empty(), "{storage:?}\n{}", report.join("\n"));
    }
}

#[test]
fn prometheus_scripts_pass_but_for_the_known() {
    let Some(shared) = std::env::var_os("QUIVER_SHARED") else {
        eprintln!("skipped: QUIVER_SHARED is not set");
        return;
    };
    let folder = Path::new(&shared).join("golden/promqltest");
    if !folder.exists() {
        eprintln!("skipped: {} is not there", folder.display());
        return;
    }
    let known = listed("known.txt");
    let with_known = |file| listed(file).into_iter().chain(known.clone()).collect();
    let (replicas, delayed) = (with_known("replicas.txt"), with_known("delayed_names.txt"));
    let mut report = Vec::new();
    for (storage, names, listed, file) in [
        (Storage::Memory, Names::AtEnd, &known, "known.txt"),
        (Storage::Blocks, Names::AtEnd, &known, "known.txt"),
        (Storage::Replicas, Names::AtEnd, &replicas, "replicas.txt"),
        (Storage::Blocks, Names::AtOnce, &delayed, "delayed_names.txt"),
    ] {
        let runs = run_all(&folder, storage, |_| names);
        assert_eq!(runs.len(), UPSTREAM_SCRIPTS);
        eprintln!("{storage:?}, names removed {names:?}\n{}", numbers(&runs));
        let differences = differences(&runs, listed, file);
        report.extend(differences.into_iter().map(|text| format!("{storage:?}, {names:?}: {text}")));
    }
    assert!(report.is_empty(), "\n{}", report.join("\n"));
}

/// What failed and is not listed, and what is listed in `file` and passed.
fn differences(runs: &[Run], listed: &BTreeSet<String>, file: &str) -> Vec<String> {
    let mut report: Vec<String> = runs
        .iter()
        .flat_map(|run| run.failed.iter().map(move |(line, why)| (format!("{}:{line}", run.script), why)))
        .filter(|(place, _)| !listed.contains(place))
        .map(|(place, why)| format!("{place} {why}"))
        .collect();
    let failed = |place: &str| {
        let (script, line) = place.split_once(':').unwrap_or((place, ""));
        runs.iter().any(|run| run.script == script && line.parse().is_ok_and(|line| run.failed.contains_key(&line)))
    };
    let passes = listed.iter().filter(|place| !failed(place));
    report.extend(passes.map(|place| format!("{place} passes: take it off tests/promql/{file}")));
    report
}

fn own_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/promql")
}

/// The places (`file:line`) of upstream evaluations that a file lists, each with a reason behind it perhaps.
fn listed(file: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(own_folder().join(file)).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| line.split(' ').next().unwrap_or(line).to_owned()).collect()
}

/// Runs every script of a folder, several at a time.
fn run_all(folder: &Path, storage: Storage, names: impl Fn(&str) -> Names + Sync) -> Vec<Run> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|e| e == "test")).collect();
    paths.sort();
    let runs = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, std::num::NonZero::get) {
            scope.spawn(|| {
                while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let script = path.file_name().unwrap().to_string_lossy().into_owned();
                    let names = names(&script);
                    runs.lock().unwrap().push(run(path, script, storage, names));
                }
            });
        }
    });
    let mut runs = runs.into_inner().unwrap();
    runs.sort_by(|a, b| a.script.cmp(&b.script));
    runs
}

/// Runs one script.
fn run(path: &Path, name: String, storage: Storage, names: Names) -> Run {
    let commands = script::parse(&std::fs::read_to_string(path).unwrap()).unwrap_or_else(|e| panic!("{name}: {e}"));
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut loaded = Loaded::default();
    let mut asked: Option<(tempfile::TempDir, Engine)> = None;
    let mut run = Run { script: name, evals: 0, failed: BTreeMap::new() };
    for command in commands {
        match command {
            Command::Clear => {
                loaded = Loaded::default();
                asked = None;
            }
            Command::Load(load) => {
                loaded.add(load);
                asked = None;
            }
            Command::Eval(eval) => {
                let (_, engine) = asked.get_or_insert_with(|| {
                    let folder = tempfile::tempdir().unwrap();
                    let engine = runtime.block_on(loaded.engine(folder.path(), storage, names));
                    (folder, engine)
                });
                run.evals += 1;
                if let Err(why) = evaluate(&runtime, engine, &eval) {
                    run.failed.insert(eval.line, format!("{}\n    {why}", eval.query));
                }
            }
        }
    }
    run
}

/// Evaluates a query in every way that its script asks for.
fn evaluate(runtime: &Runtime, engine: &Engine, eval: &Eval) -> Result<(), String> {
    let ask = |time| runtime.block_on(engine.query(QueryRequest::new(eval.query.clone(), time)));
    let time = match eval.times {
        Times::Instant(t) => QueryTime::Instant(t),
        Times::Range(steps) => {
            QueryTime::Range(Grid { start: steps.start, end: steps.end, step_ms: steps.step_ms.max(1) })
        }
    };
    let answer = match (ask(time), &eval.fail) {
        (Ok(_), Some(fail)) => return Err(format!("expected to fail: {}", fail.text())),
        (Err(error), Some(fail)) if fail.matches(&error.to_string()) => return Ok(()),
        (Err(error), Some(fail)) => return Err(format!("expected to fail with {}, not: {error}", fail.text())),
        (Err(error), None) => return Err(error.to_string()),
        (Ok(answer), None) => answer,
    };
    check_annotations(eval, &answer)?;
    check(eval, &outcome(answer.value)?)?;
    let of_the_query = ["start()", "end()", "range()", "step()"].iter().any(|call| eval.query.contains(call));
    let Times::Instant(t) = eval.times else { return Ok(()) };
    if eval.range_vector.is_some() || eval.string.is_some() || eval.ordered || of_the_query {
        return Ok(());
    }
    let range = QueryTime::Range(Grid { start: t - 60_000, end: t + 60_000, step_ms: 60_000 });
    let answer = ask(range).map_err(|e| format!("as a range query: {e}"))?;
    let middle = outcome(answer.value)?.at(t, eval.scalar.is_some());
    check(eval, &middle).map_err(|e| format!("as a range query: {e}"))
}

impl Run {
    fn failures(&self) -> impl Iterator<Item = String> + '_ {
        self.failed.iter().map(|(line, why)| format!("{}:{line} {why}", self.script))
    }
}

/// How many evaluations pass, a line a script.
fn numbers(runs: &[Run]) -> String {
    let mut text = String::new();
    let mut line = |name: &str, evals: usize, failed: usize| {
        let _ = writeln!(text, "{name:28} {:5} pass {failed:5} fail", evals - failed);
    };
    for run in runs {
        line(&run.script, run.evals, run.failed.len());
    }
    line("all", runs.iter().map(|run| run.evals).sum(), runs.iter().map(|run| run.failed.len()).sum());
    text
}
