//! Selectors: what is asked of the store, and the plan below a window.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::union::UnionExec;
use futures::future::try_join_all;
use promql::tree::{Border, Grid, MatrixSelector, Node, Subquery, VectorSelector};
use storage::model::{Matcher, TimeInterval};
use storage::schema::series_schema;
use storage::store::{KeyRange, SeriesRequest, SeriesSet, Store};

use super::readings::Nearest;
use super::{Parts, Plan, Planner, PlannerSettings};
use crate::error::{Error, Result};
use crate::kernel::{Margin, SmoothedSelect, Windows};
use crate::merge_series::MergeSeriesExec;
use crate::series_decoder::Reading;
use crate::series_scan::{SeriesScanExec, by_labels};
use crate::window::{LabelOutput, WindowExec, WindowFunction, WindowSpec};

/// Fewer series than this are not worth a second core.
const SERIES_PER_RANGE_MIN: usize = 64;

/// What the store selected for one selector.
#[derive(Debug)]
pub(crate) struct SelectedSeries {
    pub(super) parts: Parts,
    /// Disjoint ranges of keys in ascending order.
    ranges: Vec<KeyRange>,
    /// What the store could not answer.
    pub(super) warnings: Vec<String>,
    /// What it reads of parts that are downsampled.
    reading: Reading,
    /// In PromQL, for EXPLAIN.
    text: Arc<str>,
}

impl SelectedSeries {
    /// What is read of downsampled chunks; none where all are raw.
    pub(super) fn downsampled(&self) -> Option<Reading> {
        self.parts.iter().any(|part| part.resolution_ms() > 0).then_some(self.reading)
    }
}

/// A selector of the tree, and what it asks the store for.
struct Wanted<'a> {
    selector: &'a VectorSelector,
    interval: TimeInterval,
    /// Length of its window where it is a range selector, otherwise 0.
    range_ms: i64,
    nearest: Nearest,
}

/// Asks the store for the series of every selector below `root`.
pub(super) async fn select_all(
    store: &Arc<dyn Store>,
    root: &Node,
    grid: Grid,
    settings: &PlannerSettings,
) -> Result<HashMap<SelectorAddress, SelectedSeries>> {
    let mut wanted = Vec::new();
    collect(root, grid, (settings.context.lookback_ms, Nearest::Nothing), &mut wanted);
    let selections = wanted.into_iter().map(|Wanted { selector, interval, range_ms, nearest }| {
        let allowed_ms = settings.request.max_resolution_ms;
        let request = SeriesRequest {
            matchers: selector.matchers.clone().into(),
            interval,
            max_resolution_ms: nearest.resolution_ms_max(allowed_ms, range_ms),
            ..settings.request.clone()
        };
        let address = SelectorAddress::of(selector);
        let text = selector_text(&selector.matchers);
        async move {
            let set = store.series(request).await?;
            let selected = SelectedSeries::new(set, settings.partitions, nearest.reading(), text);
            Ok::<_, Error>((address, selected))
        }
    });
    Ok(try_join_all(selections).await?.into_iter().collect())
}

/// Which selector of the tree: its address, only ever compared, while the tree stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SelectorAddress(usize);

impl SelectorAddress {
    pub(super) fn of(selector: &VectorSelector) -> Self {
        Self(std::ptr::from_ref(selector).addr())
    }
}

/// The grid on which a subquery's inner expression is evaluated: absolute multiples of its step, from the first one
/// after the first window's start.
pub(crate) fn subquery_grid(subquery: &Subquery, outer: Grid) -> Grid {
    let windows = subquery_windows(subquery, outer);
    let last = windows.steps().saturating_sub(1);
    let after = windows.start(0);
    let step_ms = subquery.step_ms.max(1);
    let mut start = after - after.rem_euclid(step_ms);
    if start <= after {
        start += step_ms;
    }
    Grid { start, end: windows.end(last), step_ms }
}

/// The windows of a subquery over its inner steps.
pub(super) fn subquery_windows(subquery: &Subquery, outer: Grid) -> Windows {
    Windows {
        grid: outer,
        offset_ms: subquery.offset_ms,
        at: subquery.at,
        range_ms: subquery.range_ms,
        margin: Margin::default(),
    }
}

/// Every selector below `node` with the time that it looks at, and the function that is nearest to it.
fn collect<'a>(node: &'a Node, grid: Grid, (lookback_ms, nearest): (i64, Nearest), out: &mut Vec<Wanted<'a>>) {
    let below = (lookback_ms, nearest);
    match node {
        Node::Number(_) | Node::String(_) => {}
        Node::Vector(selector) => {
            let interval = instant_windows(selector, grid, lookback_ms).read_interval();
            out.push(Wanted { selector, interval, range_ms: 0, nearest });
        }
        Node::Matrix(matrix) => {
            let interval = matrix_windows(matrix, grid, lookback_ms).read_interval();
            out.push(Wanted { selector: &matrix.selector, interval, range_ms: matrix.range_ms, nearest });
        }
        Node::Subquery(subquery) => collect(&subquery.expr, subquery_grid(subquery, grid), below, out),
        Node::Call(call) => {
            let below = (lookback_ms, Nearest::Call(call.function));
            call.args.iter().for_each(|arg| collect(arg, grid, below, out));
        }
        Node::Aggregate(aggregate) => {
            let below = (lookback_ms, Nearest::Aggregation(aggregate.op));
            collect(&aggregate.expr, grid, below, out);
            if let Some(param) = &aggregate.param {
                collect(param, grid, below, out);
            }
        }
        Node::Binary(binary) => {
            let below = (lookback_ms, Nearest::Nothing);
            collect(&binary.lhs, grid, below, out);
            collect(&binary.rhs, grid, below, out);
        }
        Node::Negate(inner) | Node::Plus(inner) => collect(inner, grid, below, out),
        Node::StepInvariant(inner) => collect(inner, first_step(grid), below, out),
    }
}

/// The grid on which what is the same at every step is evaluated.
pub(super) fn first_step(grid: Grid) -> Grid {
    Grid::instant(grid.start)
}

/// The windows of a range selector.
pub(crate) fn matrix_windows(matrix: &MatrixSelector, grid: Grid, lookback_ms: i64) -> Windows {
    let VectorSelector { offset_ms, at, .. } = matrix.selector;
    Windows { grid, offset_ms, at, range_ms: matrix.range_ms, margin: Margin::of_range(matrix.border, lookback_ms) }
}

fn instant_windows(selector: &VectorSelector, grid: Grid, lookback_ms: i64) -> Windows {
    let VectorSelector { offset_ms, at, .. } = *selector;
    Windows { grid, offset_ms, at, range_ms: lookback_ms, margin: Margin::of_instant(selector.border, lookback_ms) }
}

pub(crate) fn selector_text(matchers: &[Matcher]) -> Arc<str> {
    let matchers: Vec<String> = matchers.iter().map(ToString::to_string).collect();
    format!("{{{}}}", matchers.join(",")).into()
}

impl SelectedSeries {
    /// What `set` has, cut into at most `partitions` ranges.
    pub(crate) fn new(set: SeriesSet, partitions: usize, reading: Reading, text: Arc<str>) -> Self {
        let largest = set.parts.iter().max_by_key(|part| part.series_count());
        let points = largest.map_or_else(Vec::new, |part| {
            part.split_points(partitions.min(part.series_count() / SERIES_PER_RANGE_MIN).max(1))
        });
        Self { parts: set.parts.into(), ranges: KeyRange::between(&points), warnings: set.warnings, reading, text }
    }

    /// The parts that hold a series.
    pub(crate) fn parts(&self) -> &Parts {
        &self.parts
    }

    /// The selector in PromQL.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The series, each merged into one row: one partition a range of keys.
    pub(crate) fn merged(&self) -> Result<Plan> {
        if self.parts.is_empty() {
            return Ok(Arc::new(EmptyExec::new(series_schema())));
        }
        let ranges = self.ranges.len();
        let mut inputs: Vec<Plan> = Vec::with_capacity(ranges);
        for (number, range) in self.ranges.iter().enumerate() {
            let scan: Plan = Arc::new(SeriesScanExec::new(
                Arc::clone(&self.parts),
                range.clone(),
                (number, ranges),
                Arc::clone(&self.text),
            ));
            // a part joins its own equal series, so one part has nothing to merge
            inputs.push(if self.parts.len() == 1 {
                scan
            } else {
                Arc::new(MergeSeriesExec::new(Arc::new(SortPreservingMergeExec::new(by_labels(), scan))))
            });
        }
        match (inputs.pop(), inputs.is_empty()) {
            (Some(only), true) => Ok(only),
            (Some(last), false) => {
                inputs.push(last);
                Ok(UnionExec::try_new(inputs)?)
            }
            (None, _) => Err(Error::Internal("a selection without a range".to_owned())),
        }
    }
}

impl Planner {
    /// The merged series of a selector: one partition a range of keys.
    pub(super) fn scan(&self, selector: &VectorSelector) -> Result<Plan> {
        let selected = self.selected.get(&SelectorAddress::of(selector));
        selected.ok_or_else(|| Error::Internal("a selector was not asked of the store".to_owned()))?.merged()
    }

    /// An instant vector selector. `anchored` means nothing to it.
    pub(super) fn instant_selector(&self, selector: &VectorSelector, grid: Grid) -> Result<Plan> {
        if selector.border == Border::Smoothed {
            let kernel = WindowFunction::Range(Arc::new(SmoothedSelect));
            return self.select(selector, kernel, "select smoothed", false, grid);
        }
        self.select(selector, WindowFunction::Select, "select", false, grid)
    }

    /// A selector's last samples, or their times.
    pub(super) fn select(
        &self,
        selector: &VectorSelector,
        function: WindowFunction,
        name: &'static str,
        drop_name: bool,
        grid: Grid,
    ) -> Result<Plan> {
        let spec = WindowSpec {
            windows: instant_windows(selector, grid, self.settings.context.lookback_ms),
            function,
            name,
            counter: false,
            downsampled: self.reading(selector),
            start_times: false,
            histogram_stats: selector.histogram_stats,
            args: Vec::new(),
            labels: LabelOutput { drop_name, projection: selector.projection.clone() },
            span: selector.span,
        };
        Ok(Arc::new(WindowExec::new(self.scan(selector)?, spec, self.context())))
    }
}
