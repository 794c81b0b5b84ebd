//! The head as a store: one part, whose batches hold copies of chunks.
//!
//! Each series is copied under its shard's lock, so a sample that is seen is whole; what comes later than that is for the next
//! answer. The copies are reserved before they are made.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use futures::StreamExt;
use parking_lot::RwLock;

use super::Head;
use super::readers::Reader;
use super::select::HeadSelection;
use super::series::ChunkCopies;
use super::shard::Shard;
use crate::error::{Error, Result};
use crate::model::{BlockId, Budget, Reservation, TimeInterval};
use crate::store::{
    BATCH_BYTES, BATCH_SERIES_MAX, BatchBuilder, KeyRange, LabelRequest, LabelSet, SeriesPart, SeriesRequest,
    SeriesSet, SeriesStream, Store, StoreInfo, check_deadline, label_set,
};

/// The selected series of a head.
#[derive(Debug)]
struct HeadPart {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shards: Arc<[RwLock<Shard>]>,
    selection: HeadSelection,
    reader: Reader,
    interval: TimeInterval,
    skip_chunks: bool,
    deadline: Option<Instant>,
    budget: Arc<dyn Budget>,
}

impl SeriesPart for HeadPart {
    fn name(&self) -> String {
        "head".to_owned()
    }

    fn series_count(&self) -> usize {
        self.inner.selection.len()
    }

    fn split_points(&self, n: usize) -> Vec<String> {
        self.inner.selection.split_points(n)
    }

    fn stream(&self, range: KeyRange) -> SeriesStream {
        let inner = Arc::clone(&self.inner);
        let mut rest = inner.selection.find(&range);
        let batches = std::iter::from_fn(move || {
            while !rest.is_empty() {
                match inner.batch(rest.clone()) {
                    Ok((batch, next)) => {
                        rest.start = next;
                        if batch.num_rows() > 0 {
                            return Some(Ok(batch));
                        }
                    }
                    Err(error) => {
                        rest = 0..0;
                        return Some(Err(error));
                    }
                }
            }
            None
        });
        futures::stream::iter(batches).boxed()
    }
}

impl Inner {
    /// A batch of the first of these series, and where the next one begins.
    fn batch(&self, rest: std::ops::Range<usize>) -> Result<(arrow::array::RecordBatch, usize)> {
        check_deadline(self.deadline)?;
        let mut reservation = Reservation::new(Arc::clone(&self.budget));
        let (mut builder, mut copies) = (BatchBuilder::copying(), ChunkCopies::default());
        let (mut bytes, mut next) = (0, rest.start);
        for i in rest {
            copies.clear();
            if !self.skip_chunks {
                bytes += self.copy(i, &mut copies, &mut reservation)?;
                copies.check()?;
                copies.chunks.sort_by_key(|chunk| chunk.interval.mint);
                for chunk in &copies.chunks {
                    builder.push_copied(chunk.interval, chunk.encoding as u8, chunk.replica, copies.data(chunk));
                }
            }
            builder.push_series(self.selection.key(i), !self.skip_chunks);
            next = i + 1;
            if next % BATCH_SERIES_MAX == 0 || bytes as u64 >= BATCH_BYTES {
                break;
            }
        }
        if self.reader.lost() {
            return Err(Error::BlockGone(BlockId::new(ulid::Ulid::nil())));
        }
        Ok((builder.finish()?, next))
    }

    /// Copies the chunks of series `i`. Returns how many bytes.
    fn copy(&self, i: usize, copies: &mut ChunkCopies, reservation: &mut Reservation) -> Result<usize> {
        for row in self.selection.rows(i) {
            let Some(shard) = self.shards.get(row.shard as usize) else { continue };
            let shard = shard.read();
            let Some(series) = shard.at(&row.place) else { continue };
            reservation.try_grow(series.copy_size(self.interval))?;
            series
                .copy_chunks(&shard.log, self.interval, row.replica, copies)
                .map_err(|error| Error::Internal(format!("head: {error}")))?;
        }
        Ok(copies.chunks.iter().map(|chunk| copies.data(chunk).len()).sum())
    }
}

#[async_trait]
impl Store for Head {
    fn info(&self) -> StoreInfo {
        let tenants = self.tenants.all();
        let intervals = tenants.iter().map(|tenant| tenant.interval());
        let empty = super::appender::EMPTY;
        let interval = intervals.fold(empty, |a, b| TimeInterval::new(a.mint.min(b.mint), a.maxt.max(b.maxt)));
        StoreInfo { external_labels: tenants.iter().map(|tenant| tenant.external.clone()).collect(), interval }
    }

    async fn series(&self, request: SeriesRequest) -> Result<SeriesSet> {
        let reader = self.readers.enter(request.interval.mint);
        let selection = self.select(&request)?;
        if selection.len() == 0 {
            return Ok(SeriesSet::default());
        }
        let inner = Inner {
            shards: Arc::clone(&self.shards),
            selection,
            reader,
            interval: request.interval,
            skip_chunks: request.skip_chunks,
            deadline: request.deadline,
            budget: request.budget,
        };
        let part: Arc<dyn SeriesPart> = Arc::new(HeadPart { inner: Arc::new(inner) });
        Ok(SeriesSet { parts: vec![part], warnings: Vec::new() })
    }

    async fn label_names(&self, request: LabelRequest) -> Result<LabelSet> {
        let mut names = Values::new(&request);
        for group in self.label_groups(&request)? {
            for shard in self.shards.iter() {
                check_deadline(request.deadline)?;
                let shard = shard.read();
                let selected = group.select(&shard);
                let mut is_seen = vec![false; shard.pairs.len()];
                let mut tenants_seen = BTreeSet::new();
                for series in selected.iter().filter_map(|i| shard.series.get(i as usize)) {
                    for pair in super::pairs::Pairs::numbers(shard.label_bytes(series)) {
                        if let Some(seen) = is_seen.get_mut(pair as usize) {
                            *seen = true;
                        }
                    }
                    tenants_seen.insert(series.tenant);
                }
                let pairs = is_seen.iter().enumerate().filter(|(_, seen)| **seen).map(|(pair, _)| pair as u32);
                pairs.map(|pair| shard.pairs.pair(pair).0).try_for_each(|name| names.insert(name))?;
                let tenants = tenants_seen.iter().filter_map(|tenant| group.tenants.get(tenant));
                tenants.flat_map(|tenant| tenant.external.iter()).try_for_each(|(name, _)| names.insert(name))?;
            }
        }
        names.found.retain(|name| !request.drop_labels.contains(name));
        Ok(label_set(names.found, request.limit))
    }

    async fn label_values(&self, name: &str, request: LabelRequest) -> Result<LabelSet> {
        let mut values = Values::new(&request);
        if request.drop_labels.iter().any(|drop| drop == name) {
            return Ok(label_set(values.found, None));
        }
        for group in self.label_groups(&request)? {
            for shard in self.shards.iter() {
                check_deadline(request.deadline)?;
                let shard = shard.read();
                let selected = group.select(&shard);
                // Where a tenant has the label as an external one, its series' own does not show.
                let own = |i: &u32| {
                    let series = shard.series.get(*i as usize);
                    let tenant = series.and_then(|series| group.tenants.get(&series.tenant));
                    tenant.is_some_and(|tenant| tenant.external.get(name).is_none())
                };
                for (value, postings) in shard.pairs.values(name) {
                    if postings.iter().any(|i| selected.contains(i) && own(&i)) {
                        values.insert(value)?;
                    }
                }
                let external = group.tenants.values().filter_map(|tenant| {
                    let value = tenant.external.get(name)?;
                    let any = shard.tenants.get(&tenant.number)?.iter().any(|i| selected.contains(i));
                    any.then_some(value)
                });
                external.into_iter().try_for_each(|value| values.insert(value))?;
            }
        }
        Ok(label_set(values.found, request.limit))
    }
}

impl Head {
    fn label_groups(&self, request: &LabelRequest) -> Result<Vec<super::select::Group>> {
        check_deadline(request.deadline)?;
        self.groups(&request.tenant, &request.matchers, |tenant| tenant.interval().overlaps(request.interval))
    }
}

/// Distinct strings, reserved for.
struct Values {
    found: BTreeSet<String>,
    reservation: Reservation,
}

impl Values {
    fn new(request: &LabelRequest) -> Self {
        Self { found: BTreeSet::new(), reservation: Reservation::new(Arc::clone(&request.budget)) }
    }

    fn insert(&mut self, value: &str) -> Result<()> {
        if !self.found.contains(value) {
            self.reservation.try_grow(value.len() + size_of::<String>() * 2)?;
            self.found.insert(value.to_owned());
        }
        Ok(())
    }
}
