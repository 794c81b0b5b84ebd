//! Which info series count at which step, and the labels that they give.
//!
//! A source is all info series with the same identifying labels. Its metrics are gone through one by one, and with each
//! the runs of steps are cut where its newest series changes:
//!
//! ```text
//! steps        0 1 2 3 4 5
//! build_info   a a a a a a       node 0: a
//! target_info  x x x y y .       node 1: 0 + x,  node 2: 0 + y
//! runs         1     2   0
//! ```
//!
//! A node is the series of a run as a list that shares its beginning with others. Only the nodes that runs end up with
//! get labels.

use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::ops::Range;

use datafusion::common::{HashMap, HashSet};
use smallvec::SmallVec;
use storage::model::{Labels, METRIC_NAME, label_key};

use super::selector::InfoSelector;
use crate::collected::CollectedRows;
use crate::error::{Error, Result};
use crate::label_ops::LabelSubset;

/// The labels by which a series finds its info series.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

/// All info series, by their identifying labels.
#[derive(Debug)]
pub(super) struct Sources {
    numbers: HashMap<String, usize>,
    sources: Vec<Source>,
    identifying: LabelSubset,
}

/// The info series of one set of identifying labels.
#[derive(Debug)]
pub(super) struct Source {
    /// Cover all steps in their order.
    pub(super) runs: Vec<Run>,
}

/// Steps with the same info series.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) steps: Range<usize>,
    /// What these give; none where there are none.
    pub(super) labels: Option<usize>,
}

/// What one or more info series give together.
#[derive(Debug)]
pub(super) struct InfoLabels {
    /// Label key.
    pub(super) key: String,
    /// Labels for which two of the series have different values.
    pub(super) conflicts: Vec<String>,
}

/// A metric of a source: its rows.
type Metric = SmallVec<[usize; 1]>;

/// A series added to those of the node before.
type Node = (Option<usize>, usize);

impl Sources {
    /// Sorts out the rows of `info`. `plain` are the rows of `base` that are no info series themselves.
    ///
    /// # Errors
    /// Prometheus's texts where an info series has histograms, and where of two equal ones none is the newer.
    pub(super) fn try_new(
        base: &CollectedRows,
        plain: &[usize],
        info: &CollectedRows,
        selector: &InfoSelector,
        steps: usize,
    ) -> Result<(Self, Vec<InfoLabels>)> {
        let mut metrics_of: Vec<Vec<Metric>> = Vec::new();
        let mut numbers: HashMap<String, usize> = HashMap::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        let identifying = LabelSubset::Only(IDENTIFYING.map(str::to_owned).to_vec());
        let mut names = IDENTIFYING.map(str::to_owned).to_vec();
        names.push(METRIC_NAME.to_owned());
        let whole = LabelSubset::Only(names);
        let mut key = String::new();
        for row in relevant_rows(base, plain, info) {
            if !info.row(row).histograms.is_empty() {
                let labels = Labels::from_key(info.labels(row));
                return Err(Error::Execution(format!("this should be an info metric, with float samples: {labels}")));
            }
            identifying.write(info.labels(row), &mut key);
            let source = *numbers.entry_ref(key.as_str()).or_insert(metrics_of.len());
            if source == metrics_of.len() {
                metrics_of.push(Vec::new());
            }
            let metrics = &mut metrics_of[source];
            whole.write(info.labels(row), &mut key);
            let place = *places.entry_ref(key.as_str()).or_insert(metrics.len());
            match metrics.get_mut(place) {
                Some(rows) => rows.push(row),
                None => metrics.push(Metric::from_buf([row])),
            }
            info.memory.try_grow(2 * (key.len() + size_of::<(String, usize)>()) + size_of::<Metric>())?;
        }
        check_duplicates(base, info, &metrics_of, steps)?;
        let mut labels = LabelTable { info, selector, nodes: Vec::new(), numbers: HashMap::new(), labels: Vec::new() };
        let sources =
            metrics_of.iter().map(|metrics| labels.source(metrics, steps)).collect::<Result<Vec<Source>>>()?;
        let labels = labels.labels;
        Ok((Self { numbers, sources, identifying }, labels))
    }

    /// The info series of the base series `labels`. `key` is scratch.
    pub(super) fn find(&self, labels: &str, key: &mut String) -> Option<&Source> {
        self.identifying.write(labels, key);
        self.numbers.get(key.as_str()).map(|number| &self.sources[*number])
    }
}

/// The rows of `info` that have a value of each identifying label which some base series has, for those labels that any
/// base series has at all. None where no base series has any.
fn relevant_rows(base: &CollectedRows, plain: &[usize], info: &CollectedRows) -> Vec<usize> {
    let mut values: [HashSet<&str>; 2] = Default::default();
    for &row in plain {
        for (values, name) in values.iter_mut().zip(IDENTIFYING) {
            values.extend(label_key::get(base.labels(row), name).map(label_key::Escaped::as_str));
        }
    }
    if values.iter().all(HashSet::is_empty) {
        return Vec::new();
    }
    let relevant = |row: &usize| {
        values.iter().zip(IDENTIFYING).all(|(values, name)| {
            values.is_empty()
                || label_key::get(info.labels(*row), name).is_some_and(|value| values.contains(value.as_str()))
        })
    };
    (0..info.len()).filter(relevant).collect()
}

/// The newest sample among `rows` at every step: its row and its time in milliseconds. `tie` is told of a step at
/// which a row's sample is as new as the newest before it, and both rows.
fn newest(
    info: &CollectedRows,
    rows: &[usize],
    steps: usize,
    mut tie: impl FnMut(usize, (usize, i64), usize),
) -> Vec<Option<(usize, i64)>> {
    let mut newest: Vec<Option<(usize, i64)>> = vec![None; steps];
    for &row in rows {
        let samples = info.row(row);
        for (step, newest) in newest.iter_mut().enumerate() {
            let Some(time) = samples.float(step).map(milliseconds) else { continue };
            match *newest {
                Some((_, known)) if known > time => {}
                Some(known) if known.1 == time => tie(step, known, row),
                _ => *newest = Some((row, time)),
            }
        }
    }
    newest
}

#[expect(clippy::cast_possible_truncation, reason = "a timestamp that became seconds")]
fn milliseconds(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}

/// Checks that at no step at which there is anything to enrich two equal info series have samples of the same time.
fn check_duplicates(
    base: &CollectedRows,
    info: &CollectedRows,
    metrics_of: &[Vec<Metric>],
    steps: usize,
) -> Result<()> {
    let occupied = LazyCell::new(|| {
        let mut occupied = vec![false; steps];
        for row in 0..base.len() {
            base.row(row).present_steps().for_each(|step| occupied[step] = true);
        }
        occupied
    });
    let mut first: Option<(usize, (usize, i64), usize)> = None;
    for rows in metrics_of.iter().flatten().filter(|rows| rows.len() > 1) {
        newest(info, rows, steps, |step, existing, new| {
            if first.is_none_or(|(earliest, _, _)| step < earliest) && occupied[step] {
                first = Some((step, existing, new));
            }
        });
    }
    let Some((_, (existing, time), new)) = first else { return Ok(()) };
    let [existing, new] = [existing, new].map(|row| Labels::from_key(info.labels(row)));
    Err(Error::Execution(format!(
        "found duplicate series for info metric: existing {existing} @ {time}, new {new} @ {time}"
    )))
}

/// Makes runs, and numbers the labels that they give.
struct LabelTable<'a> {
    info: &'a CollectedRows,
    selector: &'a InfoSelector,
    nodes: Vec<Node>,
    /// Of nodes; cleared with every source.
    numbers: HashMap<Node, usize>,
    labels: Vec<InfoLabels>,
}

impl LabelTable<'_> {
    fn source(&mut self, metrics: &[Metric], steps: usize) -> Result<Source> {
        self.nodes.clear();
        self.numbers.clear();
        let mut runs = vec![Run { steps: 0..steps, labels: None }];
        for rows in metrics {
            let newest = newest(self.info, rows, steps, |_, _, _| {});
            runs = self.cut(&runs, &newest);
        }
        let mut labels_of: HashMap<usize, usize> = HashMap::new();
        for run in &mut runs {
            if let Some(node) = run.labels {
                let number = labels_of.entry(node).or_insert(self.labels.len());
                if *number == self.labels.len() {
                    let labels = self.labels(node);
                    self.info.memory.try_grow(size_of::<InfoLabels>() + labels.key.len())?;
                    self.labels.push(labels);
                }
                run.labels = Some(*number);
            }
        }
        self.info.memory.try_grow(runs.capacity() * size_of::<Run>())?;
        Ok(Source { runs })
    }

    /// Cuts runs, whose labels are nodes yet, where the newest row of the next metric changes.
    fn cut(&mut self, runs: &[Run], newest: &[Option<(usize, i64)>]) -> Vec<Run> {
        let row = |step: usize| newest[step].map(|(row, _)| row);
        let mut cut = Vec::with_capacity(runs.len());
        for run in runs {
            let mut start = run.steps.start;
            while start < run.steps.end {
                let end = (start..run.steps.end).find(|&step| row(step) != row(start)).unwrap_or(run.steps.end);
                let node = match row(start) {
                    Some(row) => Some(self.node((run.labels, row))),
                    None => run.labels,
                };
                cut.push(Run { steps: start..end, labels: node });
                start = end;
            }
        }
        cut
    }

    fn node(&mut self, node: Node) -> usize {
        let next = self.nodes.len();
        let number = *self.numbers.entry(node).or_insert(next);
        if number == next {
            self.nodes.push(node);
        }
        number
    }

    /// What the series of a node give together; where they contradict each other, the first one's value.
    fn labels(&self, node: usize) -> InfoLabels {
        let mut rows: SmallVec<[usize; 4]> = SmallVec::new();
        let mut next = Some(node);
        while let Some(node) = next {
            let (before, row) = self.nodes[node];
            rows.push(row);
            next = before;
        }
        let mut pairs: BTreeMap<label_key::Escaped<'_>, label_key::Pair<'_>> = BTreeMap::new();
        let mut conflicts = Vec::new();
        for &row in rows.iter().rev() {
            for pair in label_key::pairs(self.info.labels(row)) {
                if pair.name.is(METRIC_NAME) || !self.selector.takes(|name| pair.name.is(name)) {
                    continue;
                }
                if pairs.entry(pair.name).or_insert(pair).value != pair.value {
                    conflicts.push(pair.name.text().into_owned());
                }
            }
        }
        InfoLabels { key: pairs.values().map(|pair| pair.raw).collect(), conflicts }
    }
}
