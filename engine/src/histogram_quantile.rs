//! `HistogramQuantileExec`: `histogram_quantile`, `histogram_quantiles` and `histogram_fraction`, of native histograms and of
//! classic ones, whose buckets are series with the label `le`.
//!
//! ```text
//! rows ─> collected, by labels without le ─> step by step: buckets or histogram ─> one row a histogram and quantile
//! quantiles, or bounds ───────────────────────────────────────┘
//! ```
//!
//! Where a native histogram has the labels of a classic one at the same step, neither has a result. Labels may become
//! equal: see [`UniqueLabelsExec`](crate::UniqueLabelsExec).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use datafusion::common::HashMap;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use promql::tree::{Grid, Span};
use storage::model::{ClassicBucket, METRIC_NAME, bucket_fraction, bucket_quantile, label_key, quote_go};

use crate::collected::{CollectedRows, computed_batches, row_batches};
use crate::context::QueryContext;
use crate::error::Result;
use crate::go_float::{go_float, go_float_2, go_label_float};
use crate::kernel::{ScalarArg, warn_invalid_quantile};
use crate::label_ops::{drop_name, set_label};
use crate::operator::{operator_plumbing, plan_properties};
use crate::removed_name::{NameRemoval, mark, unmarked};
use crate::scalar::{ScalarInput, input_and_scalars, resolve_all, with_scalars};
use crate::scalar_math::{NativeFraction, NativeQuantile};
use crate::vector::{VectorBuilder, vector_schema};

/// What a [`HistogramQuantileExec`] computes of each histogram.
#[derive(Debug, Clone)]
pub enum HistogramFunction {
    /// `histogram_quantile`: one scalar, where it stands in the query text.
    Quantile(Span),
    /// `histogram_quantiles`: the label that tells the quantiles apart, and where each scalar stands.
    Quantiles(String, Vec<Span>),
    /// `histogram_fraction`: the scalars are the lower and the upper bound.
    Fraction,
}

/// Evaluates histograms. One partition in, one out.
#[derive(Debug)]
pub struct HistogramQuantileExec {
    input: Arc<dyn ExecutionPlan>,
    function: HistogramFunction,
    args: Vec<ScalarInput>,
    vector_span: Span,
    grid: Grid,
    context: QueryContext,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl HistogramQuantileExec {
    /// Evaluates the histograms of `input` on `grid`; `args` are the function's scalars, `vector_span` is where the vector
    /// stands in the query text.
    #[must_use]
    pub fn new(
        input: Arc<dyn ExecutionPlan>,
        function: HistogramFunction,
        args: Vec<ScalarInput>,
        vector_span: Span,
        grid: Grid,
        context: QueryContext,
    ) -> Self {
        let properties = plan_properties(vector_schema(grid.steps()), 1);
        let metrics = ExecutionPlanMetricsSet::new();
        Self { input, function, args, vector_span, grid, context, properties, metrics }
    }

    fn with_inputs(&self, inputs: Vec<Arc<dyn ExecutionPlan>>) -> datafusion::error::Result<Self> {
        let (input, args) = with_scalars(inputs, &self.args)?;
        let (function, context) = (self.function.clone(), self.context.clone());
        Ok(Self::new(input, function, args, self.vector_span, self.grid, context))
    }
}

impl DisplayAs for HistogramQuantileExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.function {
            HistogramFunction::Quantile(_) => f.write_str("HistogramQuantileExec: quantile"),
            HistogramFunction::Quantiles(label, _) => write!(f, "HistogramQuantileExec: quantiles as {label}"),
            HistogramFunction::Fraction => f.write_str("HistogramQuantileExec: fraction"),
        }
    }
}

impl ExecutionPlan for HistogramQuantileExec {
    operator_plumbing!("HistogramQuantileExec");

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        input_and_scalars(&self.input, &self.args)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        let (input, function, inputs) = (Arc::clone(&self.input), self.function.clone(), self.args.clone());
        let (grid, query) = (self.grid, self.context.clone());
        let position = query.position(self.vector_span.start);
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let compute = metrics.elapsed_compute().clone();
        let rows = async move {
            let args = resolve_all(&inputs, &context).await?;
            let rows = CollectedRows::collect(&input, context, "HistogramQuantileExec").await?;
            let _timer = compute.timer();
            let (histograms, columns) = (group(&rows, &query, &position)?, columns(&function, &args, grid, &query));
            let evaluation = Evaluation { rows, histograms, args, columns, function, grid, query, position };
            let (mut fixes, items) =
                (BTreeMap::<String, Fixes>::new(), evaluation.histograms.len() * evaluation.columns.len());
            Ok(row_batches(grid.steps(), items, move |item, builder| {
                evaluation.write(item, &mut fixes, builder);
                if item + 1 == items {
                    for (name, fixes) in &fixes {
                        fixes.report(name, &evaluation.query, &evaluation.position);
                    }
                }
                Ok(())
            }))
        };
        Ok(computed_batches(self.schema(), metrics, rows))
    }
}

/// The series that make up one histogram.
#[derive(Debug, Default)]
struct Series {
    labels: String,
    /// Rows of classic buckets and their bounds.
    buckets: Vec<(usize, f64)>,
    native: Option<usize>,
}

/// Lists the series of each histogram, in the order of their first rows.
fn group(rows: &CollectedRows, query: &QueryContext, position: &str) -> Result<Vec<Series>> {
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let mut histograms: Vec<Series> = Vec::new();
    let mut key = String::new();
    let mut find = |key: &str, histograms: &mut Vec<Series>| {
        *numbers.entry_ref(key).or_insert_with(|| {
            histograms.push(Series { labels: key.to_owned(), ..Series::default() });
            histograms.len() - 1
        })
    };
    for row in 0..rows.len() {
        let (labels, samples) = (unmarked(rows.labels(row)), rows.row(row));
        rows.memory.try_grow(2 * labels.len() + size_of::<Series>())?;
        if !samples.histograms.is_empty() {
            let number = find(labels, &mut histograms);
            histograms[number].native = Some(row);
        }
        if samples.present_steps().any(|step| samples.is_float(step)) {
            let bound = label_key::get(labels, "le").map(label_key::Escaped::text).unwrap_or_default();
            let Ok(upper_bound) = bound.parse::<f64>() else {
                let name = of_metric(&metric_name(labels, query));
                query.annotations.warn(format!(
                    "PromQL warning: bucket label \"le\" is missing or has a malformed value of {}{name} ({position})",
                    quote_go(&bound)
                ));
                continue;
            };
            key.clear();
            label_key::filter_into(labels, &mut key, |name| !name.is("le"));
            let number = find(&key, &mut histograms);
            histograms[number].buckets.push((row, upper_bound));
        }
    }
    Ok(histograms)
}

/// The metric name that annotations tell: none where results have lost it already.
fn metric_name(labels: &str, query: &QueryContext) -> String {
    match query.name_removal {
        NameRemoval::AtOnce => String::new(),
        NameRemoval::AtEnd => {
            label_key::get(labels, METRIC_NAME).map_or_else(String::new, |name| name.text().into_owned())
        }
    }
}

/// How annotations tell it.
fn of_metric(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!(" for metric name {}", quote_go(name)) }
}

/// One result row of each histogram: an argument, and where it names the row, the one value that the row is for.
#[derive(Debug)]
struct Column {
    arg: usize,
    only: Option<(u64, String)>,
}

/// The result rows of each histogram. Warns of quantiles out of range.
fn columns(function: &HistogramFunction, args: &[ScalarArg], grid: Grid, query: &QueryContext) -> Vec<Column> {
    let spans = match function {
        HistogramFunction::Quantile(span) => std::slice::from_ref(span),
        HistogramFunction::Quantiles(_, spans) => spans.as_slice(),
        HistogramFunction::Fraction => return vec![Column { arg: 0, only: None }],
    };
    let mut columns: Vec<Column> = Vec::new();
    for (index, (arg, span)) in args.iter().zip(spans).enumerate() {
        let mut values: Vec<f64> = (0..grid.steps()).map(|step| arg.at(step)).collect();
        values.sort_by(f64::total_cmp);
        values.dedup_by_key(|value| value.to_bits());
        for value in &values {
            if !(0.0..=1.0).contains(value) {
                let position = query.position(span.start);
                warn_invalid_quantile(&query.annotations, *value, &position);
            }
        }
        if matches!(function, HistogramFunction::Quantile(_)) {
            columns.push(Column { arg: index, only: None });
        } else {
            let only = |value: f64| Some((value.to_bits(), go_label_float(value)));
            columns.extend(values.into_iter().map(|value| Column { arg: index, only: only(value) }));
        }
    }
    columns
}

/// What had to be done to the classic buckets of a metric.
#[derive(Debug, Default)]
struct Fixes {
    samples: usize,
    bounds: Option<(f64, f64)>,
    diff: f64,
    times: Option<(i64, i64)>,
}

impl Fixes {
    fn report(&self, metric_name: &str, query: &QueryContext, position: &str) {
        let (Some((min, max)), Some((from, to))) = (self.bounds, self.times) else {
            return;
        };
        let time = |ms: i64| {
            arrow::temporal_conversions::timestamp_s_to_datetime(ms / 1000)
                .map_or_else(String::new, |time| time.format("%Y-%m-%dT%H:%M:%SZ").to_string())
        };
        query.annotations.info(format!(
            "PromQL info: input to histogram_quantile needed to be fixed for monotonicity (see \
             https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile), from buckets {} to \
             {}, with a max diff of {}, over {} samples from {} to {}{} ({position})",
            go_float(min),
            go_float(max),
            go_float_2(self.diff),
            self.samples,
            time(from),
            time(to),
            of_metric(metric_name)
        ));
    }
}

struct Evaluation {
    rows: CollectedRows,
    histograms: Vec<Series>,
    args: Vec<ScalarArg>,
    columns: Vec<Column>,
    function: HistogramFunction,
    grid: Grid,
    query: QueryContext,
    position: String,
}

impl Evaluation {
    fn write(&self, item: usize, fixes: &mut BTreeMap<String, Fixes>, builder: &mut VectorBuilder) {
        let column = &self.columns[item % self.columns.len()];
        let series = &self.histograms[item / self.columns.len()];
        let mut buckets: Vec<ClassicBucket> = Vec::with_capacity(series.buckets.len());
        let mut out = builder.start_row();
        for step in 0..self.grid.steps() {
            let arg = self.args[column.arg].at(step);
            if column.only.as_ref().is_some_and(|(bits, _)| *bits != arg.to_bits()) {
                continue;
            }
            buckets.clear();
            buckets.extend(series.buckets.iter().filter_map(|(row, upper_bound)| {
                let count = self.rows.row(*row).float(step)?;
                Some(ClassicBucket { upper_bound: *upper_bound, count })
            }));
            let native = series.native.and_then(|row| self.rows.row(row).histogram(step));
            match native {
                Some(_) if !buckets.is_empty() => self.query.annotations.warn(format!(
                    "PromQL warning: vector contains a mix of classic and native histograms{} ({})",
                    of_metric(&metric_name(&series.labels, &self.query)),
                    self.position
                )),
                Some(histogram) => {
                    let (value, info) = if matches!(self.function, HistogramFunction::Fraction) {
                        let fraction = NativeFraction::of(arg, self.args[1].at(step), histogram);
                        (fraction.value, fraction.info(&metric_name(&series.labels, &self.query), &self.position))
                    } else {
                        let quantile = NativeQuantile::of(arg, histogram);
                        (quantile.value, quantile.info(&metric_name(&series.labels, &self.query), &self.position))
                    };
                    if let Some(info) = info {
                        self.query.annotations.info(info);
                    }
                    out.set(step, value);
                }
                None if buckets.is_empty() => {}
                None if matches!(self.function, HistogramFunction::Fraction) => {
                    out.set(step, bucket_fraction(arg, self.args[1].at(step), &mut buckets));
                }
                None => {
                    let (value, fix) = bucket_quantile(arg, &mut buckets);
                    out.set(step, value);
                    if fix.forced {
                        let fixes = fixes.entry(metric_name(&series.labels, &self.query)).or_default();
                        let time = self.grid.at(step);
                        let (min, max) = fixes.bounds.unwrap_or((fix.min_bound, fix.max_bound));
                        fixes.bounds = Some((min.min(fix.min_bound), max.max(fix.max_bound)));
                        let (from, to) = fixes.times.unwrap_or((time, time));
                        fixes.times = Some((from.min(time), to.max(time)));
                        fixes.diff = fixes.diff.max(fix.max_diff);
                        fixes.samples += 1;
                    }
                }
            }
        }
        let mut labels = String::new();
        match self.query.name_removal {
            NameRemoval::AtOnce => drop_name(&series.labels, &mut labels),
            NameRemoval::AtEnd => labels.push_str(&series.labels),
        }
        if let (HistogramFunction::Quantiles(name, _), Some((_, value))) = (&self.function, &column.only) {
            let mut named = String::new();
            set_label(&labels, name, value, &mut named);
            labels = named;
        }
        if self.query.name_removal == NameRemoval::AtEnd {
            let unmarked = std::mem::take(&mut labels);
            mark(&unmarked, &mut labels);
        }
        builder.finish_row(&labels);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, check_faults, context, grid, source};

    const ROWS: &str =
        "b{le=\"1\", x=\"1\"} 5 _\nb{le=\"2\", x=\"1\"} 10 _\nb{le=\"+Inf\", x=\"1\"} 10 _\nb{x=\"2\"} 1 _";

    fn over(input: Arc<dyn ExecutionPlan>, function: HistogramFunction, args: &[f64]) -> Arc<dyn ExecutionPlan> {
        let args = args.iter().map(|arg| ScalarInput::Constant(*arg)).collect();
        Arc::new(HistogramQuantileExec::new(input, function, args, Span::default(), grid(2), context()))
    }

    #[test]
    fn classic_buckets() {
        let quantile = HistogramFunction::Quantile(Span::default());
        check(over(source(2, ROWS), quantile, &[0.75]), "{x=\"1\"} 1.5 _");
        check(over(source(2, ROWS), HistogramFunction::Fraction, &[0.0, 1.0]), "{x=\"1\"} 0.5 _");
        let quantiles = HistogramFunction::Quantiles("q".to_owned(), vec![Span::default(); 2]);
        let expected = "{q=\"1.0\", x=\"1\"} 2 _\n{q=\"0.5\", x=\"1\"} 1 _";
        check(over(source(2, ROWS), quantiles, &[1.0, 0.5]), expected);
    }

    #[test]
    fn faults_of_inputs() {
        check_faults(2, ROWS, |input| over(input, HistogramFunction::Quantile(Span::default()), &[0.5]));
    }
}
