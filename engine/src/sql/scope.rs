//! What all tables of one statement share: which store they read, whose series, how replicas join, and what it may cost.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use storage::Store;
use storage::model::{Budget, Matcher, Reservation, TenantScope, TimeInterval};
use storage::store::{BlockStore, LabelRequest, SeriesRequest};

use crate::annotations::AnnotationSink;
use crate::dedup::ReplicaMerge;
use crate::error::{Error, Result};
use crate::planner::{SelectedSeries, name_place, selector_text};
use crate::series_decoder::Reading;

/// The surroundings of one statement's tables. Held by each of them.
#[derive(Debug)]
pub(crate) struct SqlScope {
    pub(crate) store: Arc<dyn Store>,
    /// Whose series are seen, by every table.
    pub(crate) tenant: TenantScope,
    /// Labels that tell replicas apart; none where replicas are not joined.
    pub(crate) replica_labels: Arc<[String]>,
    pub(crate) merge: ReplicaMerge,
    pub(crate) deadline: Instant,
    pub(crate) budget: Arc<dyn Budget>,
    /// How many ranges a scan is cut into at the most.
    pub(crate) partitions: usize,
    /// Where warnings of the store go.
    pub(crate) annotations: Arc<AnnotationSink>,
    /// What was selected, to name the place of a chunk that does not decode.
    pub(crate) selections: Mutex<Vec<Arc<SelectedSeries>>>,
    /// Bytes of answers of PromQL that the statement reads.
    pub(crate) answers: Mutex<Reservation>,
}

impl SqlScope {
    /// Selects series, whose scan is cut into ranges.
    ///
    /// # Errors
    /// As the store's.
    pub(crate) async fn select(
        &self,
        matchers: Vec<Matcher>,
        interval: TimeInterval,
        skip_chunks: bool,
    ) -> Result<Arc<SelectedSeries>> {
        let text = selector_text(&matchers);
        let request = SeriesRequest {
            tenant: self.tenant.clone(),
            drop_labels: Arc::clone(&self.replica_labels),
            deadline: Some(self.deadline),
            budget: Arc::clone(&self.budget),
            skip_chunks,
            ..SeriesRequest::new(matchers, interval)
        };
        let mut set = self.store.series(request).await?;
        self.warn(std::mem::take(&mut set.warnings));
        let selected = Arc::new(SelectedSeries::new(set, self.partitions, Reading::default(), text));
        self.selections.lock().push(Arc::clone(&selected));
        Ok(selected)
    }

    /// Names of labels of the series that pass `matchers`, without replica labels.
    ///
    /// # Errors
    /// As the store's.
    pub(crate) async fn label_names(&self, matchers: Vec<Matcher>) -> Result<Vec<String>> {
        let found = self.store.label_names(self.label_request(matchers)).await?;
        self.warn(found.warnings);
        Ok(found.values)
    }

    /// Values of the label `name`.
    ///
    /// # Errors
    /// As the store's.
    pub(crate) async fn label_values(&self, name: &str) -> Result<Vec<String>> {
        let found = self.store.label_values(name, self.label_request(Vec::new())).await?;
        self.warn(found.warnings);
        Ok(found.values)
    }

    /// The blocks that the tenant may know of: where the scope names one, those whose external labels name it too.
    pub(crate) fn visible_blocks(&self) -> Vec<BlockStore> {
        let mut blocks = self.store.held_blocks();
        blocks.retain(|block| match &self.tenant {
            TenantScope::All => true,
            TenantScope::Only { label, tenant } => block.external_labels().get(label) == Some(&**tenant),
            // a scope that is not known here sees nothing
            _ => false,
        });
        blocks.sort_by_key(|block| (block.range().mint, block.id()));
        blocks.dedup_by_key(|block| block.id());
        blocks
    }

    /// An error that names block, file and offset where it can.
    pub(crate) fn name_place(&self, error: Error) -> Error {
        let selections = self.selections.lock();
        name_place(error, selections.iter().map(Arc::as_ref))
    }

    /// Holds `bytes` more, until the statement is done.
    ///
    /// # Errors
    /// [`Error::Limit`]
    pub(crate) fn hold(&self, bytes: usize) -> Result<()> {
        self.answers.lock().try_grow(bytes).map_err(|error| Error::Limit(error.to_string()))
    }

    fn warn(&self, warnings: Vec<String>) {
        warnings.into_iter().for_each(|warning| self.annotations.warn(warning));
    }

    fn label_request(&self, matchers: Vec<Matcher>) -> LabelRequest {
        LabelRequest {
            tenant: self.tenant.clone(),
            drop_labels: Arc::clone(&self.replica_labels),
            deadline: Some(self.deadline),
            budget: Arc::clone(&self.budget),
            ..LabelRequest::all(matchers, TimeInterval::ALL)
        }
    }
}
