//! `TopkExec`: `topk`, `bottomk`, `limitk` and `limit_ratio`: some series of each group, chosen anew at every step.
//!
//! ```text
//! rows ─> collected, by group ─> step by step: which rows stay ─> those rows, masked
//! k or ratio ─────────────────────────┘
//! ```
//!
//! `topk` and `bottomk` keep a heap of k samples a group, built as Prometheus builds it (Go's container/heap, in the order of
//! rows), so that of equal values the same ones stay. An instant query puts out each group in order of value.

use std::fmt;
use std::hash::Hasher;
use std::sync::Arc;

use datafusion::common::HashMap;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use promql::tree::{AggregateOp, Grouping, Span};
use storage::model::label_key;

use crate::collected::{CollectedRows, computed_batches, row_batches};
use crate::context::QueryContext;
use crate::error::{Error, Result};
use crate::go_float::go_float;
use crate::kernel::ScalarArg;
use crate::label_ops::LabelSubset;
use crate::operator::{operator_plumbing, plan_properties};
use crate::removed_name::unmarked;
use crate::scalar::{ScalarInput, with_scalars};
use crate::vector::{VectorBuilder, vector_schema};

/// The parts of an aggregation with a scalar parameter.
#[derive(Debug, Clone)]
pub struct ParamAggregate {
    /// How.
    pub op: AggregateOp,
    /// By which labels.
    pub grouping: Grouping,
    /// The parameter.
    pub param: ScalarInput,
    /// Where the aggregated expression stands in the query text.
    pub expr_span: Span,
    /// Where the parameter stands.
    pub param_span: Span,
    /// Where the aggregation stands.
    pub span: Span,
}

/// Chooses series of each group. One partition in, one out.
#[derive(Debug)]
pub struct TopkExec {
    input: Arc<dyn ExecutionPlan>,
    aggregate: ParamAggregate,
    steps: usize,
    context: QueryContext,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl TopkExec {
    /// Chooses rows of `input`, which has `steps` steps.
    ///
    /// # Errors
    /// [`Error::Internal`] where the aggregation is none that chooses.
    pub fn try_new(
        input: Arc<dyn ExecutionPlan>,
        aggregate: ParamAggregate,
        steps: usize,
        context: QueryContext,
    ) -> Result<Self> {
        use AggregateOp::{Bottomk, LimitRatio, Limitk, Topk};
        if !matches!(aggregate.op, Topk | Bottomk | Limitk | LimitRatio) {
            return Err(Error::Internal(format!("{:?} chooses no series", aggregate.op)));
        }
        let properties = plan_properties(vector_schema(steps), 1);
        Ok(Self { input, aggregate, steps, context, properties, metrics: ExecutionPlanMetricsSet::new() })
    }

    fn with_inputs(&self, inputs: Vec<Arc<dyn ExecutionPlan>>) -> datafusion::error::Result<Self> {
        let (input, aggregate) = self.aggregate.with_inputs(inputs)?;
        Ok(Self::try_new(input, aggregate, self.steps, self.context.clone())?)
    }
}

impl ParamAggregate {
    /// The same above other inputs: the aggregated plan, then the parameter's, if it is one.
    pub(crate) fn with_inputs(
        &self,
        inputs: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<(Arc<dyn ExecutionPlan>, ParamAggregate)> {
        let (input, mut params) = with_scalars(inputs, std::slice::from_ref(&self.param))?;
        let param = params.pop().unwrap_or(ScalarInput::Constant(f64::NAN));
        Ok((input, ParamAggregate { param, ..self.clone() }))
    }
}

impl DisplayAs for TopkExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TopkExec: {:?} {:?}", self.aggregate.op, self.aggregate.grouping)
    }
}

impl ExecutionPlan for TopkExec {
    operator_plumbing!("TopkExec");

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        std::iter::once(&self.input).chain(self.aggregate.param.child()).collect()
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        let (input, aggregate, steps) = (Arc::clone(&self.input), self.aggregate.clone(), self.steps);
        let query = self.context.clone();
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let compute = metrics.elapsed_compute().clone();
        let rows = async move {
            let param = aggregate.param.resolve(&context).await?;
            let rows = CollectedRows::collect(&input, context, "TopkExec").await?;
            let _timer = compute.timer();
            let chosen = Chosen::try_new(&rows, &aggregate, &param, steps, &query)?;
            Ok(row_batches(steps, chosen.order.len(), move |item, builder| {
                chosen.write(&rows, item, builder);
                Ok(())
            }))
        };
        Ok(computed_batches(self.schema(), metrics, rows))
    }
}

/// The number of each row's group, and how many groups there are. Groups are numbered in the order of their first rows.
pub(crate) fn groups_of(rows: &CollectedRows, grouping: &Grouping) -> Result<(Vec<usize>, Vec<String>)> {
    let subset = LabelSubset::from(grouping);
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let mut labels = Vec::new();
    let mut key = String::new();
    let mut groups = Vec::with_capacity(rows.len());
    for row in 0..rows.len() {
        subset.write(rows.labels(row), &mut key);
        let number = *numbers.entry_ref(key.as_str()).or_insert_with(|| {
            labels.push(key.clone());
            labels.len() - 1
        });
        groups.push(number);
    }
    let bytes: usize = labels.iter().map(|label| 2 * label.len() + 64).sum();
    rows.memory.try_grow(bytes + groups.capacity() * size_of::<usize>())?;
    Ok((groups, labels))
}

/// The least and the greatest value of a parameter over all steps; NaN where one is.
pub(crate) fn extremes(param: &ScalarArg, steps: usize) -> (f64, f64) {
    let mut extremes = (f64::INFINITY, f64::NEG_INFINITY);
    for value in (0..steps).map(|step| param.at(step)) {
        if value.is_nan() {
            return (f64::NAN, f64::NAN);
        }
        extremes = (extremes.0.min(value), extremes.1.max(value));
    }
    extremes
}

/// Which rows stay at which steps.
struct Chosen {
    steps: usize,
    /// One bit a step of each row.
    kept: Vec<bool>,
    /// The rows that have any, in the order in which they are put out.
    order: Vec<usize>,
}

impl Chosen {
    fn try_new(
        rows: &CollectedRows,
        aggregate: &ParamAggregate,
        param: &ScalarArg,
        steps: usize,
        query: &QueryContext,
    ) -> Result<Self> {
        let mut chosen = Self { steps, kept: Vec::new(), order: Vec::new() };
        // a parameter out of range is an error even where there is nothing to choose from
        if !check_param(aggregate, extremes(param, steps), query)? || rows.len() == 0 {
            return Ok(chosen);
        }
        rows.memory.try_grow(rows.len() * (steps + size_of::<usize>()))?;
        chosen.kept = vec![false; rows.len() * steps];
        let (groups, labels) = groups_of(rows, &aggregate.grouping)?;
        let mut members = vec![Vec::new(); labels.len()];
        let mut ignored_histogram = false;
        for step in 0..steps {
            match aggregate.op {
                AggregateOp::LimitRatio => chosen.sample(rows, step, param.at(step)),
                op => {
                    let k = whole(param.at(step)).min(rows.len());
                    if k == 0 {
                        continue;
                    }
                    members.iter_mut().for_each(Vec::clear);
                    for (row, group) in groups.iter().enumerate() {
                        let members: &mut Vec<(f64, usize)> = &mut members[*group];
                        match (rows.row(row).float(step), op) {
                            (Some(value), AggregateOp::Topk) => offer(members, k, (value, row), less),
                            (Some(value), AggregateOp::Bottomk) => offer(members, k, (value, row), greater),
                            (value, AggregateOp::Limitk) => {
                                if members.len() < k && rows.row(row).is_present(step) {
                                    members.push((value.unwrap_or(0.0), row));
                                }
                            }
                            (_, _) => ignored_histogram |= rows.row(row).histogram(step).is_some(),
                        }
                    }
                    chosen.take(step, &mut members, op);
                }
            }
        }
        if ignored_histogram {
            let name = if aggregate.op == AggregateOp::Topk { "topk" } else { "bottomk" };
            let position = query.position(aggregate.span.start);
            query.annotations.info(format!("PromQL info: ignored histogram in {name} aggregation ({position})"));
        }
        if chosen.order.is_empty() {
            let kept = &chosen.kept;
            chosen.order = (0..rows.len()).filter(|row| kept[row * steps..][..steps].contains(&true)).collect();
        }
        Ok(chosen)
    }

    /// Keeps what a step's heaps hold. An instant query is put out in their order.
    fn take(&mut self, step: usize, members: &mut [Vec<(f64, usize)>], op: AggregateOp) {
        for heap in members {
            if self.steps == 1 {
                match op {
                    AggregateOp::Topk => heap.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))),
                    AggregateOp::Bottomk => heap.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))),
                    _ => {}
                }
                heap.sort_by_key(|(value, _)| value.is_nan());
                self.order.extend(heap.iter().map(|(_, row)| *row));
            }
            for (_, row) in heap {
                self.kept[*row * self.steps + step] = true;
            }
        }
    }

    /// Keeps the share of rows whose labels' hash lies below the ratio, or above where it is negative.
    fn sample(&mut self, rows: &CollectedRows, step: usize, ratio: f64) {
        if ratio == 0.0 {
            return;
        }
        let ratio = ratio.clamp(-1.0, 1.0);
        for row in 0..rows.len() {
            if rows.row(row).is_present(step) {
                let offset = hash_offset(unmarked(rows.labels(row)));
                self.kept[row * self.steps + step] = if ratio >= 0.0 { offset < ratio } else { offset >= 1.0 + ratio };
            }
        }
    }

    fn write(&self, rows: &CollectedRows, item: usize, builder: &mut VectorBuilder) {
        let row = self.order[item];
        let kept = &self.kept[row * self.steps..][..self.steps];
        let mut out = builder.start_row();
        for step in (0..self.steps).filter(|step| kept[*step]) {
            if let Some(sample) = rows.row(row).sample(step) {
                out.set_sample(step, sample);
            }
        }
        builder.finish_row(rows.labels(row));
    }
}

/// Whether there is anything to choose.
fn check_param(aggregate: &ParamAggregate, (min, max): (f64, f64), query: &QueryContext) -> Result<bool> {
    if aggregate.op == AggregateOp::LimitRatio {
        if min == 0.0 && max == 0.0 {
            return Ok(false);
        }
        if max.is_nan() {
            return Err(Error::Execution("Ratio value is NaN".to_owned()));
        }
        let position = query.position(aggregate.param_span.start);
        for (outside, ratio, cap) in [(max > 1.0, max, 1), (min < -1.0, min, -1)] {
            if outside {
                query.annotations.warn(format!(
                    "PromQL warning: ratio value should be between -1 and 1, got {}, capping to {cap} ({position})",
                    go_float(ratio)
                ));
            }
        }
        return Ok(true);
    }
    if max < 1.0 {
        return Ok(false);
    }
    if max.is_nan() {
        return Err(Error::Execution("Parameter value is NaN".to_owned()));
    }
    // the borders are Prometheus's: the least i64, and the greatest float below the greatest i64
    if min <= -9_223_372_036_854_775_808.0 {
        return Err(Error::Execution(format!("Scalar value {} underflows int64", go_float(min))));
    }
    if max >= 9_223_372_036_854_774_784.0 {
        return Err(Error::Execution(format!("Scalar value {} overflows int64", go_float(max))));
    }
    Ok(true)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and callers take a minimum")]
fn whole(k: f64) -> usize {
    k as usize
}

type Less = fn(f64, f64) -> bool;

fn less(a: f64, b: f64) -> bool {
    a.is_nan() || a < b
}

fn greater(a: f64, b: f64) -> bool {
    a.is_nan() || a > b
}

/// Offers a sample to a heap of at most `k`, whose first element is the one to go next.
fn offer(heap: &mut Vec<(f64, usize)>, k: usize, sample: (f64, usize), less: Less) {
    if heap.len() < k {
        heap.push(sample);
        let mut child = heap.len() - 1;
        while child > 0 {
            let parent = (child - 1) / 2;
            if !less(heap[child].0, heap[parent].0) {
                break;
            }
            heap.swap(child, parent);
            child = parent;
        }
        return;
    }
    let first = heap[0].0;
    let better = if first.is_nan() { !sample.0.is_nan() } else { !sample.0.is_nan() && less(first, sample.0) };
    if !better {
        return;
    }
    heap[0] = sample;
    let mut parent = 0;
    loop {
        let left = 2 * parent + 1;
        if left >= heap.len() {
            break;
        }
        let right = left + 1;
        let child = if right < heap.len() && less(heap[right].0, heap[left].0) { right } else { left };
        if !less(heap[child].0, heap[parent].0) {
            break;
        }
        heap.swap(parent, child);
        parent = child;
    }
}

/// Where in `[0, 1]` a label set falls: Prometheus hashes each name and value behind its length, one byte or, from 255 on,
/// a 255 and three bytes.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "Prometheus computes it the same way")]
fn hash_offset(key: &str) -> f64 {
    let mut hash = twox_hash::XxHash64::with_seed(0);
    for pair in label_key::pairs(key) {
        for text in [pair.name.text(), pair.value.text()] {
            match u8::try_from(text.len()) {
                Ok(length) if length < 255 => hash.write(&[length]),
                _ => {
                    let length = (text.len() as u32).to_le_bytes();
                    hash.write(&[255, length[0], length[1], length[2]]);
                }
            }
            hash.write(text.as_bytes());
        }
    }
    hash.finish() as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, check_error, check_faults, context, source};

    const ROWS: &str =
        "a{g=\"1\", x=\"1\"} 1 5\na{g=\"1\", x=\"2\"} 3 4\na{g=\"1\", x=\"3\"} NaN 3\na{g=\"2\", x=\"1\"} 9 9";

    fn over(
        input: Arc<dyn ExecutionPlan>,
        op: AggregateOp,
        param: ScalarInput,
        steps: usize,
    ) -> Arc<dyn ExecutionPlan> {
        let grouping = Grouping::By(vec!["g".to_owned()]);
        let span = Span::default();
        let aggregate = ParamAggregate { op, grouping, param, expr_span: span, param_span: span, span };
        Arc::new(TopkExec::try_new(input, aggregate, steps, context()).unwrap())
    }

    fn plan(op: AggregateOp, param: f64) -> Arc<dyn ExecutionPlan> {
        over(source(2, ROWS), op, ScalarInput::Constant(param), 2)
    }

    #[test]
    fn the_largest_and_smallest() {
        let expected = "a{g=\"1\", x=\"1\"} _ 5\na{g=\"1\", x=\"2\"} 3 _\na{g=\"2\", x=\"1\"} 9 9";
        check(plan(AggregateOp::Topk, 1.9), expected);
        let expected = "a{g=\"1\", x=\"1\"} 1 _\na{g=\"1\", x=\"3\"} _ 3\na{g=\"2\", x=\"1\"} 9 9";
        check(plan(AggregateOp::Bottomk, 1.0), expected);
        check(plan(AggregateOp::Limitk, 1.0), "a{g=\"1\", x=\"1\"} 1 5\na{g=\"2\", x=\"1\"} 9 9");
        check(plan(AggregateOp::Topk, 0.5), "");
    }

    #[test]
    fn an_instant_query_is_in_order_of_value() {
        let rows = "a{x=\"1\"} NaN\na{x=\"2\"} 1\na{x=\"3\"} 7\na{x=\"4\"} 3\na{x=\"5\"} h:1:1";
        let expected = "a{x=\"3\"} 7\na{x=\"4\"} 3\na{x=\"2\"} 1\na{x=\"1\"} NaN";
        check(over(source(1, rows), AggregateOp::Topk, ScalarInput::Constant(9.0), 1), expected);
        let expected = "a{x=\"2\"} 1\na{x=\"4\"} 3";
        check(over(source(1, rows), AggregateOp::Bottomk, ScalarInput::Constant(2.0), 1), expected);
    }

    #[test]
    fn parameters_out_of_range() {
        check_error(plan(AggregateOp::Topk, f64::NAN), "Parameter value is NaN");
        check_error(plan(AggregateOp::LimitRatio, f64::NAN), "Ratio value is NaN");
        check_error(plan(AggregateOp::Limitk, 1e19), "Scalar value 1e+19 overflows int64");
        check(plan(AggregateOp::LimitRatio, 0.0), "");
        check(plan(AggregateOp::LimitRatio, -7.0), ROWS);
    }

    #[test]
    fn faults_of_inputs() {
        let one = ScalarInput::Constant(1.0);
        check_faults(2, ROWS, |input| over(input, AggregateOp::Topk, one.clone(), 2));
    }
}
