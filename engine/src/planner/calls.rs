//! Function calls: which operator computes which function.

use std::sync::Arc;

use promql::Function;
use promql::tree::{Border, Call, Grid, Node, Projection, ValueType};
use storage::model::Matcher;

use super::names::may_differ_in_name;
use super::selectors::{matrix_windows, subquery_grid, subquery_windows};
use super::{Plan, Planner, operators};
use crate::concat::ConcatExec;
use crate::dedup::reads_counter;
use crate::error::{Error, Result};
use crate::kernel::{functions_over, range_kernel};
use crate::map::{ElementFunction, MapExec};
use crate::removed_name::NameRemoval;
use crate::scalar::ScalarInput;
use crate::series_decoder::Reading;
use crate::unique_labels::EqualLabels;
use crate::window::{LabelOutput, SubqueryExec, WindowExec, WindowFunction, WindowSpec};

impl Planner {
    /// The plan of a function call.
    pub(super) fn call(&self, call: &Call, grid: Grid) -> Result<Plan> {
        let arg = |index: usize| {
            call.args
                .get(index)
                .ok_or_else(|| Error::Internal(format!("{} without argument {index}", call.function.name())))
        };
        match call.function {
            Function::Time => Ok(operators::time(grid)),
            Function::Pi => Ok(operators::constant(std::f64::consts::PI, grid)),
            Function::Scalar => Ok(operators::scalar(self.single(arg(0)?, grid)?, grid)),
            // a scalar is a vector of one row without labels already
            Function::Vector => self.node(arg(0)?, grid),
            Function::MinOf | Function::MaxOf => self.smaller_or_larger(call, grid),
            Function::Timestamp => self.timestamp(arg(0)?, WindowFunction::Timestamp, grid),
            Function::StartTimestamp => self.timestamp(arg(0)?, WindowFunction::StartTime, grid),
            Function::Absent => {
                Ok(operators::absent(self.single(arg(0)?, grid)?, &absent_matchers(arg(0)?), false, grid))
            }
            Function::AbsentOverTime => {
                let present = self.range_function(call, grid)?;
                // Prometheus counts it among the functions after which names go at the end, and with them type and unit
                let removed = self.name_removal() == NameRemoval::AtEnd;
                Ok(operators::absent(ConcatExec::wrap(present), &absent_matchers(arg(0)?), removed, grid))
            }
            Function::Sort | Function::SortDesc | Function::SortByLabel | Function::SortByLabelDesc => {
                self.sort(call, grid)
            }
            Function::LabelReplace | Function::LabelJoin => self.relabel(call, grid),
            Function::HistogramQuantile | Function::HistogramQuantiles | Function::HistogramFraction => {
                self.histogram(call, grid)
            }
            Function::Info => self.info(call, grid),
            _ if call.args.iter().any(|arg| value_type(arg) == ValueType::Matrix) => self.range_function(call, grid),
            _ => self.instant_function(call, grid),
        }
    }

    /// A function over a range selector or a subquery.
    fn range_function(&self, call: &Call, grid: Grid) -> Result<Plan> {
        let mut range = None;
        let mut args: Vec<ScalarInput> = Vec::new();
        for (arg, span) in call.args.iter().zip(&call.arg_spans) {
            if value_type(arg) == ValueType::Matrix {
                range = Some((unwrapped(arg), *span));
            } else {
                args.push(self.scalar(arg, grid)?);
            }
        }
        let (range, range_span) =
            range.ok_or_else(|| Error::Internal(format!("{} without a range vector", call.function.name())))?;
        let border = if let Node::Matrix(matrix) = range { matrix.border } else { Border::Plain };
        let downsampled = if let Node::Matrix(matrix) = range { self.reading(&matrix.selector) } else { None };
        // a downsampled window counts as many samples as it was made of
        let counts = downsampled == Some(Reading::Count) && call.function == Function::CountOverTime;
        let computed = if counts { Function::SumOverTime } else { call.function };
        let kernel = range_kernel(computed, border).ok_or_else(|| refused(call.function, border))?;
        let keeps_name = matches!(call.function, Function::LastOverTime | Function::FirstOverTime);
        let spec = |windows, projection: &Projection, histogram_stats| WindowSpec {
            windows,
            function: WindowFunction::Range(Arc::from(kernel)),
            name: call.function.name(),
            counter: reads_counter(call.function),
            downsampled,
            start_times: self.settings.features.start_timestamps && reads_counter(call.function),
            histogram_stats,
            args,
            labels: LabelOutput { drop_name: !keeps_name, projection: projection.clone() },
            // annotations name the first argument, which is φ for quantile_over_time
            span: call.arg_spans.first().copied().unwrap_or(range_span),
        };
        let plan: Plan = match range {
            Node::Matrix(matrix) => {
                let windows = matrix_windows(matrix, grid, self.settings.context.lookback_ms);
                let spec = spec(windows, &matrix.selector.projection, matrix.selector.histogram_stats);
                Arc::new(WindowExec::new(self.scan(&matrix.selector)?, spec, self.context()))
            }
            Node::Subquery(subquery) => {
                let inner = subquery_grid(subquery, grid);
                let spec = spec(subquery_windows(subquery, grid), &Projection::All, false);
                if inner.steps() == 0 {
                    return Ok(operators::empty(grid));
                }
                Arc::new(SubqueryExec::new(self.node(&subquery.expr, inner)?, inner, spec, self.context()))
            }
            _ => return Err(Error::Internal("a range vector that is neither selector nor subquery".to_owned())),
        };
        // absent_over_time asks only whether there is any series, whatever its name
        let drops_name = !keeps_name && call.function != Function::AbsentOverTime;
        Ok(self.unique_labels(plan, drops_name && may_differ_in_name(range), EqualLabels::Refuse, grid))
    }

    /// `timestamp()`: of a selector the times of its samples, of anything else the times of the steps. `start_timestamp()`: of a
    /// selector the start timestamps, where they are on, and nothing else.
    fn timestamp(&self, arg: &Node, wanted: WindowFunction, grid: Grid) -> Result<Plan> {
        let starts = matches!(wanted, WindowFunction::StartTime);
        match arg {
            Node::Vector(selector) if !starts || self.settings.features.start_timestamps => {
                let name = if starts { "start_timestamp" } else { "timestamp" };
                let plan = self.select(selector, wanted, name, true, grid)?;
                Ok(self.unique_labels(plan, may_differ_in_name(arg), EqualLabels::Join, grid))
            }
            Node::StepInvariant(inner) if matches!(**inner, Node::Vector(_)) => {
                if grid.steps() == 1 {
                    return self.timestamp(inner, wanted, grid);
                }
                let first = super::selectors::first_step(grid);
                operators::repeat(self.timestamp(inner, wanted, first)?, grid)
            }
            arg => {
                let function = if starts { ElementFunction::Nothing } else { ElementFunction::StepTime(grid) };
                let plan: Plan =
                    Arc::new(MapExec::new(self.node(arg, grid)?, function, Vec::new(), self.name_removal()));
                Ok(self.unique_labels(plan, may_differ_in_name(arg), EqualLabels::Join, grid))
            }
        }
    }
}

/// A range function that does not take a selector with this border.
fn refused(function: Function, border: Border) -> Error {
    let modifier = match border {
        Border::Plain => return Error::BadQuery(format!("function {} is not supported yet", function.name())),
        Border::Anchored => "anchored",
        Border::Smoothed => "smoothed",
    };
    let others: Vec<&str> = functions_over(border).into_iter().map(Function::name).collect();
    let (others, name) = (others.join(", "), function.name());
    Error::Execution(format!("{modifier} modifier can only be used with: {others} - not with {name}"))
}

/// The type of an argument, looking through what wraps it.
fn value_type(node: &Node) -> ValueType {
    unwrapped(node).value_type()
}

/// A range vector has no plan of its own, so what wraps it as step-invariant says nothing more than its `@`.
pub(super) fn unwrapped(node: &Node) -> &Node {
    match node {
        Node::StepInvariant(inner) if inner.value_type() == ValueType::Matrix => inner,
        node => node,
    }
}

/// The matchers from which `absent()` makes its labels: those of a plain selector.
fn absent_matchers(node: &Node) -> Vec<Matcher> {
    match node {
        Node::Vector(selector) => selector.matchers.clone(),
        Node::Matrix(matrix) => matrix.selector.matchers.clone(),
        Node::StepInvariant(inner) => absent_matchers(inner),
        _ => Vec::new(),
    }
}
