//! Functions of native histograms: `histogram_quantile(φ, h)`, `histogram_count(h)`, `histogram_sum(h)`, `histogram_avg(h)` and
//! `histogram_fraction(lower, upper, h)`, which compute what PromQL's functions of these names do. Null of null.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::exec_err;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use storage::model::FloatHistogram;

use super::histogram_column::{HistogramReader, histogram_type};

/// Which function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Quantile,
    Fraction,
    Count,
    Sum,
    Avg,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Quantile, Self::Fraction, Self::Count, Self::Sum, Self::Avg];

    const fn name(self) -> &'static str {
        match self {
            Self::Quantile => "histogram_quantile",
            Self::Fraction => "histogram_fraction",
            Self::Count => "histogram_count",
            Self::Sum => "histogram_sum",
            Self::Avg => "histogram_avg",
        }
    }

    /// How many numbers come before the histogram.
    const fn numbers(self) -> usize {
        match self {
            Self::Quantile => 1,
            Self::Fraction => 2,
            Self::Count | Self::Sum | Self::Avg => 0,
        }
    }

    fn compute(self, numbers: [f64; 2], histogram: &FloatHistogram) -> f64 {
        match self {
            Self::Quantile => histogram.quantile(numbers[0]).0,
            Self::Fraction => histogram.fraction(numbers[0], numbers[1]).0,
            Self::Count => histogram.count,
            Self::Sum => histogram.sum,
            Self::Avg => histogram.sum / histogram.count,
        }
    }
}

/// All of them.
pub(crate) fn histogram_functions() -> impl Iterator<Item = Arc<ScalarUDF>> {
    Kind::ALL.into_iter().map(|kind| Arc::new(ScalarUDF::new_from_impl(HistogramFunction::new(kind))))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct HistogramFunction {
    kind: Kind,
    signature: Signature,
}

impl HistogramFunction {
    fn new(kind: Kind) -> Self {
        let mut types = vec![DataType::Float64; kind.numbers()];
        types.push(histogram_type());
        Self { kind, signature: Signature::new(TypeSignature::Exact(types), Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for HistogramFunction {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> datafusion::error::Result<DataType> {
        Ok(DataType::Float64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> datafusion::error::Result<ColumnarValue> {
        let rows = args.number_rows;
        let arrays = args.args.iter().map(|arg| arg.to_array(rows)).collect::<datafusion::error::Result<Vec<_>>>()?;
        let Some((histograms, numbers)) = arrays.split_last() else {
            return exec_err!("{} needs a histogram", self.name());
        };
        let Some(reader) = HistogramReader::try_new(histograms) else {
            return exec_err!("{} needs a native histogram, not {}", self.name(), histograms.data_type());
        };
        let number = |array: Option<&ArrayRef>, row: usize| match array {
            Some(array) if array.is_null(row) => None,
            Some(array) => Some(array.as_primitive::<Float64Type>().value(row)),
            None => Some(0.0),
        };
        let results: Float64Array = (0..rows)
            .map(|row| {
                let numbers = [number(numbers.first(), row)?, number(numbers.get(1), row)?];
                if !reader.is_valid(row) {
                    return None;
                }
                Some(match self.kind {
                    Kind::Count => reader.float(0, row),
                    Kind::Sum => reader.float(1, row),
                    kind => kind.compute(numbers, &reader.histogram(row)),
                })
            })
            .collect();
        Ok(ColumnarValue::Array(Arc::new(results)))
    }
}
