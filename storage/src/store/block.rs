//! One block as a store.
//!
//! ```text
//! request ──> external labels resolved ──> side-index scanned ──> final keys sorted, joined ──> BlockPart
//!                                                                                                │ stream
//!                                                                                  chunks ──> series batches
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int32Type;
use async_trait::async_trait;

use crate::block::BlockMeta;
use crate::block::meta::META_FILE;
use crate::block::segments::SegmentName;
use crate::block::tombstones::{Deleted, TOMBSTONES_FILE, Tombstones};
use crate::error::{Error, Result};
use crate::index::ChunkRef;
use crate::model::{BlockId, ExternalLabels, Matcher, Reservation, TenantScope, TimeInterval, TimeRange, label_key};
use crate::side_index::cache::is_damage;
use crate::side_index::schema::{LABEL_PREFIX, LABELS};
use crate::side_index::{ChunkSpan, SideIndex, SideIndexCache, column, wrong};

use super::coverage::Cut;
use super::deletions::Deletions;
use super::fetch::{self, ChunkFetch};
use super::files::BlockFiles;
use super::label_join::LabelJoin;
use super::rewrite::{ChangeLog, Rewrite};
use super::selection::{SELECTION_COLUMNS, Selection, SelectionBuilder};
use super::whole_part::WholePart;
use super::{
    ChunkPlace, KeyRange, LabelRequest, LabelSet, SeriesPart, SeriesRequest, SeriesSet, SeriesStream, Store, StoreInfo,
};

/// Largest `meta.json` that is read, in bytes.
pub const META_SIZE_MAX: u64 = 64 << 20;
/// Largest tombstones file that is read, in bytes.
const TOMBSTONES_SIZE_MAX: u64 = 1 << 30;

/// A block under any object store prefix or in a local folder. Cheap to clone.
#[derive(Debug, Clone)]
pub struct BlockStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    files: BlockFiles,
    meta: Arc<BlockMeta>,
    external_labels: ExternalLabels,
    side_indexes: Arc<SideIndexCache>,
    tombstones: tokio::sync::OnceCell<Arc<Tombstones>>,
}

impl BlockStore {
    /// A block whose `meta.json` is known already. Nothing is read before the first request.
    #[must_use]
    pub fn new(files: BlockFiles, meta: Arc<BlockMeta>, side_indexes: Arc<SideIndexCache>) -> Self {
        let external_labels = meta.external_labels();
        Self::labelled(files, meta, external_labels, side_indexes)
    }

    fn labelled(
        files: BlockFiles,
        meta: Arc<BlockMeta>,
        external_labels: ExternalLabels,
        side_indexes: Arc<SideIndexCache>,
    ) -> Self {
        let tombstones = tokio::sync::OnceCell::new();
        Self { inner: Arc::new(Inner { files, meta, external_labels, side_indexes, tombstones }) }
    }

    /// A block, after reading its `meta.json`.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Corrupt`]; what the file system or object store returns.
    pub async fn open(files: BlockFiles, side_indexes: Arc<SideIndexCache>) -> Result<Self> {
        let json = files.read(META_FILE, META_SIZE_MAX).await?.ok_or_else(|| files.missing(META_FILE))?;
        let meta = BlockMeta::try_parse(&json, files.place())?;
        Ok(Self::new(files, Arc::new(meta), side_indexes))
    }

    /// The block with these external labels, where its `meta.json` has no `thanos` section. To be called before it is used.
    #[must_use]
    pub fn or_labelled(self, labels: &ExternalLabels) -> Self {
        if self.inner.meta.thanos.is_some() {
            return self;
        }
        let Inner { files, meta, side_indexes, .. } = &*self.inner;
        Self::labelled(files.clone(), Arc::clone(meta), labels.clone(), Arc::clone(side_indexes))
    }

    /// The block's name.
    #[must_use]
    pub fn id(&self) -> BlockId {
        self.inner.files.id()
    }

    /// What its `meta.json` says.
    #[must_use]
    pub fn meta(&self) -> &Arc<BlockMeta> {
        &self.inner.meta
    }

    /// The time that it covers.
    #[must_use]
    pub fn range(&self) -> TimeRange {
        self.inner.meta.range()
    }

    /// The labels of its producer.
    #[must_use]
    pub fn external_labels(&self) -> &ExternalLabels {
        &self.inner.external_labels
    }

    /// The series that a request asks for, or nothing where there are none.
    ///
    /// # Errors
    /// As [`Store::series`].
    pub async fn select(&self, request: &SeriesRequest) -> Result<Option<Arc<dyn SeriesPart>>> {
        self.select_cut(request, None).await
    }

    /// As [`select`](Self::select), without what lies outside of the times that `cut` leaves to this block.
    ///
    /// # Errors
    /// As [`Store::series`].
    pub async fn select_cut(&self, request: &SeriesRequest, cut: Cut) -> Result<Option<Arc<dyn SeriesPart>>> {
        match self.select_here(request, cut).await {
            Err(error) => Err(or_gone(&self.inner.files, error).await),
            part => part,
        }
    }

    /// All series, with their own labels only, selected while they are read: a large block takes no more memory than a small one.
    /// Nothing where there are none.
    ///
    /// # Errors
    /// As [`Store::series`].
    pub async fn select_whole(&self, request: &SeriesRequest) -> Result<Option<Arc<dyn SeriesPart>>> {
        let inner = &self.inner;
        let deletions = Deletions::new(inner.tombstones().await?);
        let mut attempt = Attempt::default();
        loop {
            let side_index = inner.side_indexes.open(&inner.files).await?;
            if side_index.rows() == 0 {
                return Ok(None);
            }
            match WholePart::try_new(Arc::clone(inner), side_index, request, deletions.clone()).await {
                Ok(part) => return Ok(Some(Arc::new(part))),
                Err(error) => attempt.failed(inner, error)?,
            }
        }
    }

    async fn select_here(&self, request: &SeriesRequest, cut: Cut) -> Result<Option<Arc<dyn SeriesPart>>> {
        check_deadline(request.deadline)?;
        if !self.range().overlaps(request.interval) {
            return Ok(None);
        }
        let Some(matchers) = self.own_matchers(&request.tenant, &request.matchers)? else { return Ok(None) };
        let inner = &self.inner;
        let mut deletions = Deletions::new(inner.tombstones().await?);
        if let Some(cut) = cut {
            deletions = deletions.within(cut.as_slice());
        }
        let mut attempt = Attempt::default();
        let selection = loop {
            let side_index = inner.side_indexes.open(&inner.files).await?;
            match inner.select_in(&side_index, &matchers, request, &deletions).await {
                Ok(selection) => break selection,
                Err(error) => attempt.failed(inner, error)?,
            }
        };
        if selection.len() == 0 {
            return Ok(None);
        }
        Ok(Some(Arc::new(BlockPart::new(inner, request, selection, deletions))))
    }

    /// All series as they are after `rewrite`, with chunks in the request's interval, and without external labels; nothing where
    /// none are left. `log` is told of every series that does not stay as it is.
    ///
    /// # Errors
    /// As [`Store::series`].
    pub async fn select_rewritten(
        &self,
        rewrite: &Rewrite,
        request: &SeriesRequest,
        log: &mut dyn ChangeLog,
    ) -> Result<Option<Arc<dyn SeriesPart>>> {
        let inner = &self.inner;
        let tombstones = inner.tombstones().await?;
        let mut attempt = Attempt::default();
        loop {
            let side_index = inner.side_indexes.open(&inner.files).await?;
            match rewrite.select(&side_index, request, Tombstones::clone(&tombstones), log).await {
                Ok((selection, _)) if selection.len() == 0 => return Ok(None),
                Ok((selection, deleted)) => {
                    return Ok(Some(Arc::new(BlockPart::new(
                        inner,
                        request,
                        selection,
                        Deletions::new(Arc::new(deleted)),
                    ))));
                }
                Err(error) => attempt.failed(inner, error)?,
            }
        }
    }

    /// The label names of the series that a request asks for.
    ///
    /// # Errors
    /// As [`Store::label_names`].
    pub async fn names(&self, request: &LabelRequest) -> Result<BTreeSet<String>> {
        match self.names_here(request).await {
            Err(error) => Err(or_gone(&self.inner.files, error).await),
            names => names,
        }
    }

    async fn names_here(&self, request: &LabelRequest) -> Result<BTreeSet<String>> {
        let Some(matchers) = self.asked(request)? else { return Ok(BTreeSet::new()) };
        let inner = &self.inner;
        let mut attempt = Attempt::default();
        let mut names = loop {
            let side_index = inner.side_indexes.open(&inner.files).await?;
            match all_names(&side_index, &matchers, request).await {
                Ok(names) => break names,
                Err(error) => attempt.failed(inner, error)?,
            }
        };
        if !names.is_empty() {
            names.extend(inner.external_labels.iter().map(|(name, _)| name.to_owned()));
        }
        names.retain(|name| !request.drop_labels.contains(name));
        Ok(names)
    }

    /// The values of label `name` in the series that a request asks for.
    ///
    /// # Errors
    /// As [`Store::label_values`].
    pub async fn values(&self, name: &str, request: &LabelRequest) -> Result<BTreeSet<String>> {
        match self.values_here(name, request).await {
            Err(error) => Err(or_gone(&self.inner.files, error).await),
            values => values,
        }
    }

    async fn values_here(&self, name: &str, request: &LabelRequest) -> Result<BTreeSet<String>> {
        let Some(matchers) = self.asked(request)? else { return Ok(BTreeSet::new()) };
        if request.drop_labels.iter().any(|drop| drop == name) {
            return Ok(BTreeSet::new());
        }
        let inner = &self.inner;
        let external = inner.external_labels.get(name);
        let mut attempt = Attempt::default();
        loop {
            let side_index = inner.side_indexes.open(&inner.files).await?;
            let found = match external {
                Some(value) => any_series(&side_index, &matchers)
                    .await
                    .map(|found| found.then(|| value.to_owned()).into_iter().collect()),
                None => scan_values(&side_index, name, &matchers, request).await,
            };
            match found {
                Ok(values) => return Ok(values),
                Err(error) => attempt.failed(inner, error)?,
            }
        }
    }

    /// The matchers that are left for the series of this block, or nothing where it cannot hold any that is asked for.
    fn asked(&self, request: &LabelRequest) -> Result<Option<Vec<Matcher>>> {
        check_deadline(request.deadline)?;
        if !self.range().overlaps(request.interval) {
            return Ok(None);
        }
        self.own_matchers(&request.tenant, &request.matchers)
    }

    /// `matchers` and the tenant's condition, those on external labels decided.
    pub(super) fn own_matchers(&self, tenant: &TenantScope, matchers: &[Matcher]) -> Result<Option<Vec<Matcher>>> {
        let mut all = matchers.to_vec();
        match tenant {
            TenantScope::All => {}
            TenantScope::Only { label, tenant } if label.is_empty() || tenant.is_empty() => {
                return Err(Error::InvalidRequest("a tenant's label and name must not be empty".to_owned()));
            }
            TenantScope::Only { label, tenant } => all.push(Matcher::equal(label.as_ref(), tenant.as_ref())),
        }
        Ok(self.inner.external_labels.resolve(&all))
    }
}

impl Inner {
    pub(super) fn id(&self) -> BlockId {
        self.files.id()
    }

    pub(super) fn resolution_ms(&self) -> i64 {
        self.meta.resolution_ms()
    }

    /// Has the side-index built again when it is opened next.
    pub(super) fn discard_side_index(&self) {
        self.side_indexes.discard(self.files.id());
    }

    /// The times that its samples lie within.
    pub(super) fn covers(&self) -> TimeInterval {
        let range = self.meta.range();
        TimeInterval::new(range.mint, range.maxt.saturating_sub(1))
    }

    async fn select_in(
        &self,
        side_index: &SideIndex,
        matchers: &[Matcher],
        request: &SeriesRequest,
        deletions: &Deletions,
    ) -> Result<Selection> {
        let join =
            LabelJoin::new(&self.external_labels, Arc::clone(&request.drop_labels), request.with_external_labels);
        let budget = Arc::clone(&request.budget);
        // whether a chunk lies inside is looked at below: this only saves reading the chunks of short-lived series
        let range = self.meta.range();
        let whole = request.interval.mint <= range.mint && range.maxt <= request.interval.maxt;
        let interval = (!whole).then_some(request.interval);
        let mut builder = SelectionBuilder::new(join, request.interval, !request.skip_chunks, budget);
        side_index
            .scan(matchers, interval, &SELECTION_COLUMNS, |batch| {
                check_deadline(request.deadline)?;
                builder.push(batch, |series, chunk| deletions.of_chunk(series, chunk).0 == Deleted::Whole)
            })
            .await?;
        builder.finish(request.limit)
    }

    async fn tombstones(&self) -> Result<Arc<Tombstones>> {
        let read = async || {
            // a local block may have got some since its files were listed, and looking costs nothing
            let listed = self.files.remote_path().is_some()
                && self.meta.thanos.as_ref().is_some_and(|thanos| !thanos.files.is_empty());
            if listed && self.meta.file_size(TOMBSTONES_FILE).is_none() {
                return Ok(Arc::default());
            }
            match self.files.read(TOMBSTONES_FILE, TOMBSTONES_SIZE_MAX).await? {
                Some(bytes) => Ok::<_, Error>(Arc::new(Tombstones::try_parse(&bytes, self.files.place())?)),
                None => Ok(Arc::default()),
            }
        };
        Ok(Arc::clone(self.tombstones.get_or_try_init(read).await?))
    }
}

/// A side-index that turns out damaged is built again from `index`, once.
#[derive(Debug, Default)]
struct Attempt {
    failed: bool,
}

impl Attempt {
    /// Whether to try again: otherwise `error` is returned.
    fn failed(&mut self, block: &Inner, error: Error) -> Result<()> {
        if self.failed || !is_damage(&error) {
            return Err(error);
        }
        tracing::warn!(%error, "side-index is not usable and is built again");
        block.side_indexes.discard(block.files.id());
        self.failed = true;
        Ok(())
    }
}

#[async_trait]
impl Store for BlockStore {
    fn info(&self) -> StoreInfo {
        StoreInfo { external_labels: vec![self.inner.external_labels.clone()], interval: self.inner.covers() }
    }

    fn held_blocks(&self) -> Vec<BlockStore> {
        vec![self.clone()]
    }

    async fn series(&self, request: SeriesRequest) -> Result<SeriesSet> {
        let parts = self.select(&request).await?.into_iter().collect();
        Ok(SeriesSet { parts, warnings: Vec::new() })
    }

    async fn label_names(&self, request: LabelRequest) -> Result<LabelSet> {
        Ok(label_set(self.names(&request).await?, request.limit))
    }

    async fn label_values(&self, name: &str, request: LabelRequest) -> Result<LabelSet> {
        Ok(label_set(self.values(name, &request).await?, request.limit))
    }
}

/// [`Error::BlockGone`] where `error` is that a file is missing of a block that has no `meta.json` either.
pub(super) async fn or_gone(files: &BlockFiles, error: Error) -> Error {
    match error {
        Error::NotFound { .. } if matches!(files.size(META_FILE).await, Ok(None)) => Error::BlockGone(files.id()),
        error => error,
    }
}

/// The first `limit` of `values`.
pub(crate) fn label_set(values: BTreeSet<String>, limit: Option<usize>) -> LabelSet {
    LabelSet { values: values.into_iter().take(limit.unwrap_or(usize::MAX)).collect(), warnings: Vec::new() }
}

/// [`Error::DeadlineExceeded`] once the deadline has passed.
pub(crate) fn check_deadline(deadline: Option<Instant>) -> Result<()> {
    match deadline {
        Some(deadline) if Instant::now() >= deadline => Err(Error::DeadlineExceeded("selecting series")),
        _ => Ok(()),
    }
}

async fn all_names(side_index: &SideIndex, matchers: &[Matcher], request: &LabelRequest) -> Result<BTreeSet<String>> {
    if let (Some(names), true) = (side_index.listed_names(), matchers.is_empty()) {
        return Ok(names.iter().cloned().collect());
    }
    let mut names = BTreeSet::new();
    let mut reservation = Reservation::new(Arc::clone(&request.budget));
    side_index
        .scan(matchers, None, &[LABELS], |batch| {
            check_deadline(request.deadline)?;
            let keys = column(batch, LABELS)?.as_string_opt::<i32>().ok_or_else(|| wrong(LABELS))?;
            for key in keys.iter().flatten() {
                for pair in label_key::pairs(key) {
                    insert(&mut names, &pair.name.text(), &mut reservation)?;
                }
            }
            Ok(())
        })
        .await?;
    Ok(names)
}

async fn scan_values(
    side_index: &SideIndex,
    name: &str,
    matchers: &[Matcher],
    request: &LabelRequest,
) -> Result<BTreeSet<String>> {
    let mut values = BTreeSet::new();
    let mut reservation = Reservation::new(Arc::clone(&request.budget));
    let has_column = side_index.has_column(name);
    let wanted = if has_column { format!("{LABEL_PREFIX}{name}") } else { LABELS.to_owned() };
    side_index
        .scan(matchers, None, &[&wanted], |batch| {
            check_deadline(request.deadline)?;
            if has_column {
                let found = column(batch, &wanted)?.as_dictionary_opt::<Int32Type>().ok_or_else(|| wrong(&wanted))?;
                let dictionary = found.values().as_string_opt::<i32>().ok_or_else(|| wrong(&wanted))?;
                let mut seen = vec![false; dictionary.len()];
                for code in found.keys().iter().flatten().filter_map(|code| usize::try_from(code).ok()) {
                    if !std::mem::replace(&mut seen[code], true) {
                        insert(&mut values, dictionary.value(code), &mut reservation)?;
                    }
                }
            } else {
                let keys = column(batch, LABELS)?.as_string_opt::<i32>().ok_or_else(|| wrong(LABELS))?;
                for value in keys.iter().flatten().filter_map(|key| label_key::get(key, name)) {
                    insert(&mut values, &value.text(), &mut reservation)?;
                }
            }
            Ok(())
        })
        .await?;
    Ok(values)
}

async fn any_series(side_index: &SideIndex, matchers: &[Matcher]) -> Result<bool> {
    if matchers.is_empty() {
        return Ok(side_index.rows() > 0);
    }
    let mut found = false;
    side_index
        .scan(matchers, None, &[LABELS], |batch| {
            found |= batch.num_rows() > 0;
            Ok(())
        })
        .await?;
    Ok(found)
}

fn insert(set: &mut BTreeSet<String>, value: &str, reservation: &mut Reservation) -> Result<()> {
    if !set.contains(value) {
        reservation.try_grow(value.len() + size_of::<String>() * 2)?;
        set.insert(value.to_owned());
    }
    Ok(())
}

/// The selected series of one block.
#[derive(Debug)]
pub(super) struct BlockPart {
    fetch: Arc<ChunkFetch>,
    covers: TimeInterval,
    resolution_ms: i64,
    external_labels: ExternalLabels,
}

impl BlockPart {
    pub(super) fn new(inner: &Inner, request: &SeriesRequest, selection: Selection, deletions: Deletions) -> Self {
        let fetch = ChunkFetch {
            files: inner.files.clone(),
            selection: Arc::new(selection),
            deletions,
            interval: request.interval,
            skip_chunks: request.skip_chunks,
            deadline: request.deadline,
            budget: Arc::clone(&request.budget),
        };
        let (resolution_ms, external_labels) = (inner.meta.resolution_ms(), inner.external_labels.clone());
        Self { fetch: Arc::new(fetch), covers: inner.covers(), resolution_ms, external_labels }
    }
}

impl SeriesPart for BlockPart {
    fn name(&self) -> String {
        self.fetch.files.id().to_string()
    }

    fn interval(&self) -> TimeInterval {
        self.covers
    }

    fn resolution_ms(&self) -> i64 {
        self.resolution_ms
    }

    fn external_labels(&self) -> Option<&ExternalLabels> {
        Some(&self.external_labels)
    }

    fn within(&self, intervals: &[TimeInterval]) -> Option<Arc<dyn SeriesPart>> {
        let fetch = ChunkFetch { deletions: self.fetch.deletions.within(intervals), ..ChunkFetch::clone(&self.fetch) };
        let external_labels = self.external_labels.clone();
        Some(Arc::new(Self { fetch: Arc::new(fetch), external_labels, ..*self }))
    }

    fn series_count(&self) -> usize {
        self.fetch.selection.len()
    }

    fn split_points(&self, n: usize) -> Vec<String> {
        self.fetch.selection.split_points(n)
    }

    fn stream(&self, range: KeyRange) -> SeriesStream {
        fetch::stream(Arc::clone(&self.fetch), &range)
    }

    fn places(&self, key: &str, interval: TimeInterval) -> Vec<ChunkPlace> {
        let (selection, block) = (&self.fetch.selection, self.fetch.files.place());
        let from_key = selection.find(&KeyRange { start: Some(key.to_owned()), end: None });
        let series = from_key.into_iter().next().filter(|&i| selection.key(i) == key);
        let rows = series.map_or(&[][..], |i| selection.rows(i));
        let spans = rows.iter().flat_map(|row| selection.chunks(row)).flatten();
        let place = |span: ChunkSpan| {
            let at = ChunkRef(span.chunk_ref);
            let file = SegmentName::new(Arc::clone(&block), at.segment()).rel_path();
            ChunkPlace { block: block.to_string(), file, offset: u64::from(at.offset()) }
        };
        spans.filter(|span| span.interval() == interval).map(place).collect()
    }
}
