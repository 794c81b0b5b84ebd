//! Aggregations, binary operations and the functions that are operators of their own.

use std::sync::Arc;

use datafusion::physical_plan::empty::EmptyExec;
use promql::Function;
use promql::tree::{Aggregate, AggregateOp, Binary, Call, Cardinality, Grid, Node, ValueType, VectorMatching};
use storage::model::Matcher;

use super::calls::arg_span;
use super::names::may_differ_in_name;
use super::selectors::first_step;
use super::{Plan, Planner};
use crate::aggregate::aggregate_plan;
use crate::concat::ConcatExec;
use crate::context::QueryContext;
use crate::error::{Error, Result};
use crate::vector::vector_schema;
use crate::{
    AbsentExec, BinaryExec, BinarySpec, ConstantExec, CountValuesExec, HistogramExec, InfoExec, LabelJoinExec,
    LabelReplaceExec, LimitExec, MapExec, QuantileExec, ScalarExec, SetExec, SortVectorExec, StepInvariantExec, TopkExec,
    UniqueLabelsExec, VectorScalarExec,
};
