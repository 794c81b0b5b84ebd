//! The table function `promql('expr', start, end, step)`: the answer of a PromQL query as rows of samples.
//!
//! ```text
//! planning ─> a call without an answer is noted, and planning fails
//!          ─> the query runs ─> planning again, with the answer as a table
//! ```
//!
//! Which labels the answer has, and so the columns of the table, is known only when the query has run. Arguments are whatever
//! DataFusion folds into constants. Without a step it is an instant query, at `start` or now.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{ScalarValue, plan_err};
use datafusion::datasource::MemTable;
use datafusion::logical_expr::Expr;
use parking_lot::Mutex;
use promql::tree::Grid;
use storage::model::{Labels, SampleBuffer, Timestamp};

use super::sample_rows::{RowBuilder, row_schema};
use crate::answer::{Answer, QueryTime, Value};
use crate::error::{Error, Result};
use crate::vector::VectorColumns;
use crate::window::to_samples;

/// Most steps of a range query, as the HTTP API has it.
const STEPS_MAX: usize = 11_001;

/// Rows a batch of an answer.
const BATCH_ROWS: usize = 8_192;

/// One call's arguments.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PromqlCall {
    pub(crate) text: String,
    pub(crate) time: QueryTime,
}

/// The function as one statement has it.
#[derive(Debug)]
pub(crate) struct PromqlFunction {
    now: Timestamp,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    answers: HashMap<String, Arc<MemTable>>,
    wanted: Vec<PromqlCall>,
}

impl PromqlCall {
    fn key(&self) -> String {
        format!("{self:?}")
    }
}

impl PromqlFunction {
    /// Without an answer yet; `now` is when the statement began.
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { now, state: Mutex::default() }
    }

    /// The calls that planning met and that have no answer, which are forgotten.
    pub(crate) fn take_wanted(&self) -> Vec<PromqlCall> {
        std::mem::take(&mut self.state.lock().wanted)
    }

    /// Answers a call with `batches`.
    ///
    /// # Errors
    /// Where they are not all of one schema.
    pub(crate) fn answer(&self, call: &PromqlCall, batches: Vec<RecordBatch>) -> Result<()> {
        let Some(first) = batches.first() else { return Err(Error::Internal("an answer without a batch".to_owned())) };
        let table = MemTable::try_new(first.schema(), vec![batches]).map_err(super::error::sql_error)?;
        self.state.lock().answers.insert(call.key(), Arc::new(table));
        Ok(())
    }

    fn parse(&self, args: &[Expr]) -> datafusion::error::Result<PromqlCall> {
        let Some(text) = args.first().and_then(text_of) else {
            return plan_err!("promql() needs the text of a query: promql('expr'[, start[, end, step]])");
        };
        let time = match args {
            [_] => QueryTime::Instant(self.now),
            [_, at] => QueryTime::Instant(time_of(at)?),
            [_, start, end, step] => QueryTime::Range(grid(time_of(start)?, time_of(end)?, step_of(step)?)?),
            _ => return plan_err!("promql() takes 1, 2 or 4 arguments: promql('expr'[, start[, end, step]])"),
        };
        Ok(PromqlCall { text: text.to_owned(), time })
    }
}

impl TableFunctionImpl for PromqlFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> datafusion::error::Result<Arc<dyn TableProvider>> {
        let call = self.parse(args.exprs())?;
        let mut state = self.state.lock();
        if let Some(answer) = state.answers.get(&call.key()) {
            return Ok(Arc::clone(answer) as Arc<dyn TableProvider>);
        }
        state.wanted.push(call);
        plan_err!("a call of promql() is not answered yet")
    }
}

fn grid(start: Timestamp, end: Timestamp, step_ms: i64) -> datafusion::error::Result<Grid> {
    if end < start {
        return plan_err!("promql(): end timestamp must not be before start time");
    }
    if step_ms <= 0 {
        return plan_err!(
            "promql(): zero or negative query resolution step widths are not accepted. Try a positive integer"
        );
    }
    let grid = Grid { start, end, step_ms };
    if grid.steps() > STEPS_MAX {
        return plan_err!(
            "promql(): exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)"
        );
    }
    Ok(grid)
}

fn text_of(expr: &Expr) -> Option<&str> {
    let Expr::Literal(value, _) = expr else { return None };
    value.try_as_str().flatten()
}

/// A time in milliseconds: a timestamp, seconds, or a text of either.
fn time_of(expr: &Expr) -> datafusion::error::Result<Timestamp> {
    let wrong =
        || plan_err!("promql(): {expr} is no time; write TIMESTAMP '2006-01-02T15:04:05Z', or seconds since 1970");
    if let Some(text) = text_of(expr) {
        return match (text.parse::<f64>(), string_to_timestamp_nanos(text)) {
            (Ok(seconds), _) => milliseconds(seconds).map_or_else(wrong, Ok),
            (_, Ok(nanoseconds)) => Ok(nanoseconds.div_euclid(1_000_000)),
            _ => wrong(),
        };
    }
    let Expr::Literal(value, _) = expr else { return wrong() };
    match value {
        ScalarValue::TimestampSecond(Some(t), _) => t.checked_mul(1_000).map_or_else(wrong, Ok),
        ScalarValue::TimestampMillisecond(Some(t), _) => Ok(*t),
        ScalarValue::TimestampMicrosecond(Some(t), _) => Ok(t.div_euclid(1_000)),
        ScalarValue::TimestampNanosecond(Some(t), _) => Ok(t.div_euclid(1_000_000)),
        ScalarValue::Date32(Some(days)) => Ok(i64::from(*days) * 86_400_000),
        other => number_of(other).and_then(milliseconds).map_or_else(wrong, Ok),
    }
}

/// A step in milliseconds: an interval, seconds, or a text of seconds or of a duration as PromQL has it.
fn step_of(expr: &Expr) -> datafusion::error::Result<i64> {
    let wrong = || plan_err!("promql(): {expr} is no step; write '1m', INTERVAL '1 minute', or seconds");
    if let Some(text) = text_of(expr) {
        let seconds = text.parse::<f64>().ok().and_then(milliseconds);
        return seconds
            .or_else(|| promql::parse_duration(text).ok().filter(|_| !text.is_empty()).and_then(milliseconds))
            .map_or_else(wrong, Ok);
    }
    let Expr::Literal(value, _) = expr else { return wrong() };
    match value {
        ScalarValue::IntervalMonthDayNano(Some(step)) if step.months == 0 => {
            Ok(i64::from(step.days) * 86_400_000 + step.nanoseconds / 1_000_000)
        }
        ScalarValue::IntervalDayTime(Some(step)) => {
            Ok(i64::from(step.days) * 86_400_000 + i64::from(step.milliseconds))
        }
        ScalarValue::DurationSecond(Some(step)) => step.checked_mul(1_000).map_or_else(wrong, Ok),
        ScalarValue::DurationMillisecond(Some(step)) => Ok(*step),
        ScalarValue::DurationMicrosecond(Some(step)) => Ok(step / 1_000),
        ScalarValue::DurationNanosecond(Some(step)) => Ok(step / 1_000_000),
        other => number_of(other).and_then(milliseconds).map_or_else(wrong, Ok),
    }
}

fn number_of(value: &ScalarValue) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "seconds of any year are exact")]
    match value {
        ScalarValue::Int64(Some(seconds)) => Some(*seconds as f64),
        ScalarValue::UInt64(Some(seconds)) => Some(*seconds as f64),
        ScalarValue::Int32(Some(seconds)) => Some(f64::from(*seconds)),
        ScalarValue::Float64(Some(seconds)) => Some(*seconds),
        _ => None,
    }
}

fn milliseconds(seconds: f64) -> Option<i64> {
    let ms = (seconds * 1000.0).round();
    #[expect(clippy::cast_possible_truncation, reason = "checked")]
    (ms.abs() < 9.0e15).then_some(ms as i64)
}

/// The rows of an answer: its series by their labels, each in time order.
///
/// # Errors
/// [`Error::BadQuery`] where the answer is a text.
pub(crate) fn answer_rows(answer: &Answer) -> Result<Vec<RecordBatch>> {
    let series = answer_series(&answer.value)?;
    let mut names: Vec<String> = Vec::new();
    for (labels, _) in &series {
        for (name, _) in labels.iter() {
            if let Err(place) = names.binary_search_by(|known| (**known).cmp(&name)) {
                names.insert(place, name.into_owned());
            }
        }
    }
    let (schema, columns) = row_schema(&names);
    let mut builder = RowBuilder::new(schema, columns.into());
    let mut batches = Vec::new();
    for (labels, samples) in &series {
        builder.push(labels.as_key(), samples, 0..samples.len());
        if builder.rows() >= BATCH_ROWS {
            batches.push(builder.finish()?);
        }
    }
    if builder.rows() > 0 || batches.is_empty() {
        batches.push(builder.finish()?);
    }
    Ok(batches)
}

fn answer_series(value: &Value) -> Result<Vec<(Labels, SampleBuffer)>> {
    let rows = |grid: &Grid, batches: &[RecordBatch], order: &mut dyn Iterator<Item = (usize, usize)>| {
        let columns = batches.iter().map(VectorColumns::try_new).collect::<Result<Vec<_>>>()?;
        let series = order.map(|(batch, row)| {
            let mut samples = SampleBuffer::new();
            to_samples(&columns[batch].row(row), grid, &mut samples);
            (Labels::from_key(columns[batch].labels(row)), samples)
        });
        Ok(series.collect())
    };
    match value {
        Value::String { .. } => Err(Error::BadQuery("promql(): a query for a text has no samples".to_owned())),
        Value::Scalar { t, value } => {
            let mut samples = SampleBuffer::new();
            samples.push_float(*t, *value);
            Ok(vec![(Labels::default(), samples)])
        }
        Value::Vector { t, batches } => {
            let mut all = (0..).zip(batches).flat_map(|(at, batch)| (0..batch.num_rows()).map(move |row| (at, row)));
            rows(&Grid::instant(*t), batches, &mut all)
        }
        Value::Matrix { grid, batches, order } => {
            rows(grid, batches, &mut order.iter().map(|&(batch, row)| (batch as usize, row as usize)))
        }
        Value::Samples(series) => Ok(series.clone()),
    }
}
