//! Selectors below `histogram_count` and its like, which read histograms without buckets: a rule of its own, since it decides
//! what later counts as a counter reset.

use promql::tree::{BinaryOp, Span};
use promql::{Expr, Function};
use storage::model::{CounterResetHint, FloatHistogram};

use super::{Naive, Samples, Value};

/// Where the selectors stand that read no buckets: below a function of counts or sums, unless anything above needs buckets.
pub fn without_buckets(expr: &Expr) -> Vec<Span> {
    let mut found = Vec::new();
    visit(expr, false, false, &mut found);
    found
}

fn visit(expr: &Expr, mut wanted: bool, mut needed: bool, found: &mut Vec<Span>) {
    match expr {
        Expr::Call(call) => match call.function {
            Function::HistogramCount | Function::HistogramSum | Function::HistogramAvg => wanted = true,
            Function::HistogramQuantile | Function::HistogramQuantiles | Function::HistogramFraction => needed = true,
            _ => {}
        },
        Expr::Subquery(_) => needed = true,
        Expr::Binary(binary) => needed |= matches!(binary.op, BinaryOp::TrimUpper | BinaryOp::TrimLower),
        Expr::Vector(selector) if wanted && !needed => found.push(selector.span),
        Expr::Matrix(matrix) if wanted && !needed => found.push(matrix.selector.span),
        _ => {}
    }
    for child in expr.children() {
        visit(child, wanted, needed, found);
    }
}

impl Naive<'_> {
    /// The samples of a series as the selector at `span` reads them.
    pub(super) fn read(&self, span: Span, samples: &Samples) -> Samples {
        if !self.without_buckets.contains(&span) {
            return samples.clone();
        }
        let mut before: Option<&FloatHistogram> = None;
        let mut read = Samples::new();
        for (t, value) in samples {
            let Value::Histogram(histogram) = value else {
                read.push((*t, value.clone()));
                continue;
            };
            let counter_reset_hint = match (histogram.counter_reset_hint, before) {
                (CounterResetHint::Unknown, Some(before)) if histogram.detect_reset(before) => {
                    CounterResetHint::CounterReset
                }
                (CounterResetHint::Unknown, Some(_)) => CounterResetHint::NotCounterReset,
                (hint, _) => hint,
            };
            before = Some(histogram);
            let (schema, count, sum) = (histogram.schema, histogram.count, histogram.sum);
            let stats = FloatHistogram { counter_reset_hint, schema, count, sum, ..FloatHistogram::default() };
            read.push((*t, Value::Histogram(stats.into())));
        }
        read
    }
}
