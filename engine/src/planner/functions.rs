//! Functions of instant vectors.

use promql::tree::{Aggregate, Call, Grid};

use super::{Plan, Planner};
use crate::error::{Error, Result};

impl Planner {
    pub(super) fn step_times(&self, _arg: &promql::tree::Node, _grid: Grid) -> Result<Plan> {
        Err(Error::BadQuery("timestamp of an expression is not supported yet".to_owned()))
    }
    pub(super) fn instant_function(&self, call: &Call, _grid: Grid) -> Result<Plan> {
        Err(Error::BadQuery(format!("function {} is not supported yet", call.function.name())))
    }
    pub(super) fn sort(&self, call: &Call, grid: Grid) -> Result<Plan> {
        self.instant_function(call, grid)
    }
    pub(super) fn relabel(&self, call: &Call, grid: Grid) -> Result<Plan> {
        self.instant_function(call, grid)
    }
    pub(super) fn histogram(&self, call: &Call, grid: Grid) -> Result<Plan> {
        self.instant_function(call, grid)
    }
    pub(super) fn info(&self, call: &Call, grid: Grid) -> Result<Plan> {
        self.instant_function(call, grid)
    }
    pub(super) fn parameterised_aggregate(&self, aggregate: &Aggregate, _grid: Grid) -> Result<Plan> {
        Err(Error::BadQuery(format!("aggregation {:?} is not supported yet", aggregate.op)))
    }
}
