//! Query tree to plan.
//!
//! 1. Every selector is asked of the store, all at once: which series of which parts it selects. Nothing is fetched yet.
//! 2. The tree is turned into operators from the root down, each node evaluated on a [`Grid`]: the query's own, one step
//!    for what is the same at every step, or a subquery's.
//!
//! Selectors are cut into ranges of label keys, one a core where there are enough series:
//!
//! ```text
//! SeriesScanExec ─> SortPreservingMergeExec ─> MergeSeriesExec ─┐
//! SeriesScanExec ─> SortPreservingMergeExec ─> MergeSeriesExec ─┴─> UnionExec ─> WindowExec
//! ```

mod calls;
mod functions;
mod info;
mod names;
mod operators;
mod readings;
mod selectors;

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;
use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use promql::tree::{Grid, Node, VectorSelector};
use storage::store::{ChunkPlace, SeriesPart, SeriesRequest, Store};

use crate::concat::ConcatExec;
use crate::context::QueryContext;
use crate::error::{Error, Result};
use crate::query::EngineFeatures;
use crate::removed_name::{NameRemoval, RemoveNamesExec};
use crate::scalar::ScalarInput;
use crate::series_decoder::Reading;
use crate::unique_labels::{EqualLabels, UniqueLabelsExec};

pub(crate) use info::resolve_info;
use selectors::SelectorAddress;
pub(crate) use selectors::{SelectedSeries, matrix_windows, selector_text, subquery_grid};

/// What planning depends on besides the tree.
#[derive(Debug)]
pub(crate) struct PlannerSettings {
    /// What every selector's request has in common: tenant, deadline, budget, replica labels.
    pub(crate) request: SeriesRequest,
    /// How many partitions a selector is cut into at the most.
    pub(crate) partitions: usize,
    /// Which experiments are on.
    pub(crate) features: EngineFeatures,
    /// Shared by all operators.
    pub(crate) context: QueryContext,
}

/// Plans one query.
#[derive(Debug)]
pub(crate) struct Planner {
    settings: PlannerSettings,
    /// The series of each selector of the tree.
    selected: HashMap<SelectorAddress, SelectedSeries>,
}

type Plan = Arc<dyn ExecutionPlan>;

impl Planner {
    /// Asks `store` for the series of every selector of `root`.
    ///
    /// # Errors
    /// Where the store cannot answer.
    pub(crate) async fn try_new(
        store: &Arc<dyn Store>,
        root: &Node,
        grid: Grid,
        settings: PlannerSettings,
    ) -> Result<Self> {
        let selected = selectors::select_all(store, root, grid, &settings).await?;
        Ok(Self { settings, selected })
    }

    /// What the store could not answer.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = &String> {
        self.selected.values().flat_map(|selected| &selected.warnings)
    }

    /// An error that names block, file and offset, where `error` is that a chunk does not decode. Series batches do not
    /// carry places along: the parts that the query selected are asked.
    pub(crate) fn name_place(&self, error: Error) -> Error {
        name_place(error, self.selected.values())
    }

    /// The plan of `root` over `grid`, of one partition.
    ///
    /// # Errors
    /// [`Error::BadQuery`] for what PromQL has and this engine does not, [`Error::Execution`] for arguments that no
    /// data can make right.
    pub(crate) fn plan(&self, root: &Node, grid: Grid) -> Result<Plan> {
        let plan = ConcatExec::wrap(self.node(root, grid)?);
        Ok(match self.settings.context.name_removal {
            NameRemoval::AtOnce => plan,
            NameRemoval::AtEnd => {
                let removed = Arc::new(RemoveNamesExec::new(plan));
                Arc::new(UniqueLabelsExec::new(removed, EqualLabels::Join, grid.steps()))
            }
        })
    }

    /// The series of a selector that is the root of an instant query.
    pub(crate) fn series(&self, selector: &VectorSelector) -> Result<Plan> {
        Ok(ConcatExec::wrap(self.scan(selector)?))
    }

    /// What a selector reads of downsampled chunks; none where all that it selected are raw.
    pub(crate) fn reading(&self, selector: &VectorSelector) -> Option<Reading> {
        self.selected.get(&SelectorAddress::of(selector)).and_then(SelectedSeries::downsampled)
    }

    /// The plan of one node: vector batches over `grid` in any number of partitions.
    fn node(&self, node: &Node, grid: Grid) -> Result<Plan> {
        match node {
            Node::Number(value) => Ok(operators::constant(*value, grid)),
            Node::String(_) => Err(Error::Internal("a text has no plan".to_owned())),
            Node::Vector(selector) => self.instant_selector(selector, grid),
            Node::Matrix(_) | Node::Subquery(_) => {
                Err(Error::Internal("a range vector outside a function has no plan".to_owned()))
            }
            Node::Call(call) => self.call(call, grid),
            Node::Aggregate(aggregate) => self.aggregate(aggregate, grid),
            Node::Binary(binary) => self.binary(binary, grid),
            Node::Negate(inner) => self.negate(inner, grid),
            Node::Plus(inner) => self.node(inner, grid),
            Node::StepInvariant(inner) => self.step_invariant(inner, grid),
        }
    }

    /// As [`node`](Self::node), joined into one partition.
    fn single(&self, node: &Node, grid: Grid) -> Result<Plan> {
        Ok(ConcatExec::wrap(self.node(node, grid)?))
    }

    /// A scalar argument: a constant, or a plan.
    fn scalar(&self, node: &Node, grid: Grid) -> Result<ScalarInput> {
        match node {
            Node::Number(value) => Ok(ScalarInput::Constant(*value)),
            Node::StepInvariant(inner) if matches!(**inner, Node::Number(_)) => self.scalar(inner, grid),
            node => Ok(ScalarInput::plan(self.single(node, grid)?)),
        }
    }

    /// What the plan's operators share.
    pub(crate) fn context(&self) -> QueryContext {
        self.settings.context.clone()
    }
}

/// The parts of a selection that hold a series, shared by the scans of all its ranges.
pub(crate) type Parts = Arc<[Arc<dyn SeriesPart>]>;

/// As [`Planner::name_place`], of `selections`.
pub(crate) fn name_place<'a>(error: Error, selections: impl IntoIterator<Item = &'a SelectedSeries>) -> Error {
    let Error::Chunk { labels, interval, reason } = &error else { return error };
    let parts = selections.into_iter().flat_map(|selected| selected.parts.iter());
    let places: BTreeSet<ChunkPlace> = parts.flat_map(|part| part.places(labels.as_key(), *interval)).collect();
    let mut places = places.into_iter();
    let Some(ChunkPlace { block, file, offset }) = places.next() else { return error };
    let mut reason = format!("chunk from {} to {} of series {labels}: {reason}", interval.mint, interval.maxt);
    // blocks with the same samples, which replicas and overlaps may have
    for ChunkPlace { block, file, offset } in places {
        let _ = write!(reason, "; or it is the one in {file} of {block} at offset {offset}");
    }
    Error::Storage(storage::Error::Corrupt { place: block, file, offset, reason })
}
