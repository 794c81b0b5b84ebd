//! Scalar arguments of operators: constants, or plans that are run once before the operator's first row.

use std::sync::Arc;

use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use tokio::sync::OnceCell;

use crate::error::{Error, Result};
use crate::kernel::ScalarArg;
use crate::operator::{collect, reservation};
use crate::vector::VectorColumns;

/// Where an operator gets a scalar from.
#[derive(Debug, Clone)]
pub enum ScalarInput {
    /// Known when the query is planned.
    Constant(f64),
    /// A plan of one partition that puts out one row: a child of the operator.
    Plan {
        /// The plan.
        plan: Arc<dyn ExecutionPlan>,
        /// What it came to; shared by the partitions of the operator, so that it runs once.
        value: Arc<OnceCell<ScalarArg>>,
    },
}

impl ScalarInput {
    /// A scalar that `plan` computes.
    #[must_use]
    pub fn plan(plan: Arc<dyn ExecutionPlan>) -> Self {
        Self::Plan { plan, value: Arc::new(OnceCell::new()) }
    }

    /// The child that this is, if it is one.
    #[must_use]
    pub fn child(&self) -> Option<&Arc<dyn ExecutionPlan>> {
        match self {
            Self::Constant(_) => None,
            Self::Plan { plan, .. } => Some(plan),
        }
    }

    /// The same with its child replaced by the next of `children`, if it has one.
    ///
    /// # Errors
    /// [`Error::Internal`] where `children` has run out.
    pub fn with_child(&self, children: &mut impl Iterator<Item = Arc<dyn ExecutionPlan>>) -> Result<Self> {
        match self {
            Self::Constant(value) => Ok(Self::Constant(*value)),
            Self::Plan { .. } => children
                .next()
                .map(Self::plan)
                .ok_or_else(|| Error::Internal("an operator was given too few inputs".to_owned())),
        }
    }

    /// The scalar at every step.
    ///
    /// # Errors
    /// What the plan fails with.
    pub async fn resolve(&self, context: &Arc<TaskContext>) -> Result<ScalarArg> {
        match self {
            Self::Constant(value) => Ok(ScalarArg::Constant(*value)),
            Self::Plan { plan, value } => value.get_or_try_init(|| run(plan, Arc::clone(context))).await.cloned(),
        }
    }
}

async fn run(plan: &Arc<dyn ExecutionPlan>, context: Arc<TaskContext>) -> Result<ScalarArg> {
    let memory = reservation("scalar", &context);
    let batches = collect(plan, context, &memory).await?;
    let missing = || Error::Internal(format!("{} put out no scalar", plan.name()));
    let columns = VectorColumns::try_new(batches.first().ok_or_else(missing)?)?;
    if columns.is_empty() {
        return Err(missing());
    }
    Ok(ScalarArg::Steps(columns.row(0).values.into()))
}

/// Takes apart the inputs of an operator whose children are one plan and those of its `scalars`, in that order.
pub(crate) fn with_scalars(
    inputs: Vec<Arc<dyn ExecutionPlan>>,
    scalars: &[ScalarInput],
) -> Result<(Arc<dyn ExecutionPlan>, Vec<ScalarInput>)> {
    let mut inputs = inputs.into_iter();
    let input = inputs.next().ok_or_else(|| Error::Internal("an operator was given too few inputs".to_owned()))?;
    let scalars = scalars.iter().map(|scalar| scalar.with_child(&mut inputs)).collect::<Result<_>>()?;
    Ok((input, scalars))
}

/// The children of an operator that are one plan and those of its `scalars`, as [`with_scalars`] takes them apart.
pub(crate) fn input_and_scalars<'a>(
    input: &'a Arc<dyn ExecutionPlan>,
    scalars: &'a [ScalarInput],
) -> Vec<&'a Arc<dyn ExecutionPlan>> {
    std::iter::once(input).chain(scalars.iter().filter_map(ScalarInput::child)).collect()
}

/// All of `scalars` at every step.
///
/// # Errors
/// What their plans fail with.
pub(crate) async fn resolve_all(scalars: &[ScalarInput], context: &Arc<TaskContext>) -> Result<Vec<ScalarArg>> {
    let mut args = Vec::with_capacity(scalars.len());
    for scalar in scalars {
        args.push(scalar.resolve(context).await?);
    }
    Ok(args)
}
