//! Cutting a block out of the head.
//!
//! ```text
//! each shard: who has samples in the range ──> sorted by ranks of pairs, outside the lock ──┐
//! series in label order <── merged ─────────────────────────────────────────────────────────┘
//!   └─> chunks copied under the lock ──> those that lie in the range alone: as they are
//!                                    └─> those that overlap, or lie in it in part: merged and packed anew ──> BlockWriter
//! ```
//!
//! 1. Nothing in order is taken any more before the end of the range once this began, so what is copied of a series in order is
//!    all of it that there will ever be.
//! 2. Late samples are taken all the time. A late chunk that went into a block is marked only when the block is finished, and
//!    [`truncate`](super::Head::truncate) drops only what is marked: what came meanwhile stays for a next block of the same range.
//! 3. Where samples in order and late ones have the same time, the one in order stays, and of late ones the first.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::path::Path;

use super::Head;
use super::chunk_log::ChunkAt;
use super::open_chunk::ChunkPacker;
use super::pairs::Pairs;
use super::sample::{Sample, decode_samples};
use super::series::{ChunkCopies, CopiedChunk};
use super::shard::SeriesPlace;
use super::tenants::Tenant;
use crate::block::meta::ThanosMeta;
use crate::block::{BlockMeta, BlockWriter, BlockWriterSettings, ChunkPayload};
use crate::chunk::{ChunkError, EncodedChunk, decode};
use crate::error::{Error, Result};
use crate::model::{BlockId, Labels, SampleBuffer, TimeInterval, TimeRange, Timestamp};

/// What `meta.json` names as the source of a block that a head was cut into.
const SOURCE: &str = "receive";

/// The series of one shard, in label order.
struct SortedShard {
    shard: usize,
    pairs: Pairs,
    labels: Vec<u8>,
    /// Where each series is and where its labels are.
    series: std::vec::IntoIter<(SeriesPlace, u32)>,
}

impl SortedShard {
    /// The next series and its label key.
    fn next(&mut self) -> Option<(String, SeriesPlace)> {
        let (place, labels) = self.series.next()?;
        let mut key = String::new();
        self.pairs.push_key(self.labels.get(labels as usize..).unwrap_or_default(), &mut key);
        Some((key, place))
    }
}

/// Late chunks that went into the block.
type Written = Vec<(usize, SeriesPlace, Vec<ChunkAt>)>;

impl Head {
    /// Writes the samples of a tenant in `range` as the block `id` in `folder`. From now on no sample before the end of the range
    /// is taken in order. None where there is no sample. Blocks.
    ///
    /// The samples stay here until [`truncate`](Self::truncate).
    ///
    /// # Errors
    /// What [`BlockWriter`] returns; then nothing is left behind.
    pub fn cut_block(&self, tenant: &str, range: TimeRange, folder: &Path, id: BlockId) -> Result<Option<BlockMeta>> {
        let Some(tenant) = self.tenants.find(tenant) else { return Ok(None) };
        tenant.raise_min_valid(range.maxt);
        let interval = TimeInterval::new(range.mint, range.maxt.saturating_sub(1));
        let mut shards: Vec<SortedShard> =
            (0..self.shards.len()).map(|shard| self.sorted_shard(shard, &tenant, interval)).collect();
        if shards.iter().all(|shard| shard.series.len() == 0) {
            return Ok(None);
        }
        let mut meta = BlockMeta::new(id, range);
        let labels = tenant.external.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        meta.thanos = Some(ThanosMeta { version: 1, labels, source: SOURCE.to_owned(), ..ThanosMeta::default() });
        let mut writer = BlockWriter::create(folder, meta, BlockWriterSettings::default())?;
        let mut written = Written::new();
        let mut heads: BinaryHeap<Reverse<(String, usize, Place)>> = BinaryHeap::new();
        for (i, shard) in shards.iter_mut().enumerate() {
            heads.extend(shard.next().map(|(key, place)| Reverse((key, i, Place(place)))));
        }
        let mut copies = ChunkCopies::default();
        while let Some(Reverse((key, i, Place(place)))) = heads.pop() {
            let shard = &mut shards[i];
            heads.extend(shard.next().map(|(key, place)| Reverse((key, i, Place(place)))));
            let shard = shard.shard;
            copies.clear();
            self.copy_for_cut(shard, &place, interval, &mut copies)?;
            copies.check()?;
            let chunks = assemble(&mut copies, interval).map_err(|error| Error::Internal(format!("head: {error}")))?;
            if chunks.is_empty() {
                continue;
            }
            let late: Vec<ChunkAt> = copies.chunks.iter().filter_map(|chunk| chunk.late).map(|(at, _)| at).collect();
            writer.push(&Labels::from_key(key), chunks.iter().map(|chunk| chunk.payload(&copies)))?;
            if !late.is_empty() {
                written.push((shard, place, late));
            }
        }
        if writer.stats().num_series == 0 {
            return Ok(None);
        }
        let meta = writer.finish()?;
        self.mark_written(&written, range);
        Ok(Some(meta))
    }

    /// The series of the tenant that have a chunk in the interval.
    fn sorted_shard(&self, number: usize, tenant: &Tenant, interval: TimeInterval) -> SortedShard {
        let shard = self.shards[number].read();
        let numbers = shard.tenants.get(&tenant.number).into_iter().flat_map(|postings| postings.iter());
        let wanted = numbers.filter_map(|i| Some((i, shard.series.get(i as usize)?)));
        let wanted = wanted.filter(|(_, series)| series.overlaps(interval));
        let place = |(i, series): (u32, &super::series::Series)| {
            (SeriesPlace { number: i, reference: series.reference, key: series.key }, series.labels)
        };
        let mut series: Vec<(SeriesPlace, u32)> = wanted.map(place).collect();
        let (pairs, labels) = match series.is_empty() {
            true => (Pairs::default(), Vec::new()),
            false => (shard.pairs.snapshot(), shard.labels_snapshot()),
        };
        drop(shard);
        let ranks = pairs.ranks();
        // A pair that sorts first makes a label set that sorts first, as does one that ends sooner.
        let ranks_of = |at: u32| {
            let numbers = Pairs::numbers(labels.get(at as usize..).unwrap_or_default());
            numbers.map(|pair| ranks.get(pair as usize).copied())
        };
        series.sort_by(|a, b| ranks_of(a.1).cmp(ranks_of(b.1)));
        SortedShard { shard: number, pairs, labels, series: series.into_iter() }
    }

    /// Copies the chunks of a series; late samples become chunks first, which can be marked.
    fn copy_for_cut(
        &self,
        shard: usize,
        place: &SeriesPlace,
        interval: TimeInterval,
        copies: &mut ChunkCopies,
    ) -> Result<()> {
        let failed = |error: ChunkError| Error::Internal(format!("head: {error}"));
        {
            let shard = self.shards[shard].read();
            let Some(series) = shard.at(place) else { return Ok(()) };
            if series.late().and_then(super::out_of_order::OutOfOrder::buffered).is_none() {
                return series.copy_chunks(&shard.log, interval, 0, copies).map_err(failed);
            }
        }
        let mut shard = self.shards[shard].write();
        let Some(number) = shard.number_at(place) else { return Ok(()) };
        let super::shard::Shard { series, log, .. } = &mut *shard;
        let series = &mut series[number as usize];
        if let Some(late) = series.late_mut() {
            late.close(log).map_err(failed)?;
        }
        series.copy_chunks(log, interval, 0, copies).map_err(failed)
    }

    fn mark_written(&self, written: &Written, range: TimeRange) {
        for (shard, place, chunks) in written {
            let mut shard = self.shards[*shard].write();
            let Some(number) = shard.number_at(place) else { continue };
            let super::shard::Shard { series, log, .. } = &mut *shard;
            let Some(late) = series[number as usize].late_mut() else { continue };
            for late in late.chunks.iter_mut().filter(|late| chunks.contains(&late.chunk.at)) {
                // Samples before the range that are in no block keep the mark where it is.
                let between = TimeInterval::new(late.cut_to, range.mint.saturating_sub(1));
                let mut left = SampleBuffer::new();
                let read = decode(late.chunk.encoding as u8, log.get(late.chunk.at), between, &mut left);
                if read.is_ok() && left.is_empty() {
                    late.cut_to = late.cut_to.max(range.maxt);
                }
            }
        }
    }

    /// The ranges of blocks in which a tenant has samples that are in no block yet, ascending. One of them is complete, so that
    /// it can be cut and truncated, when the newest sample lies half a block after its end.
    #[must_use]
    pub fn ranges(&self, tenant: &str) -> Vec<TimeRange> {
        let Some(tenant) = self.tenants.find(tenant) else { return Vec::new() };
        let block_ms = self.settings.block_duration_ms;
        let mut starts = BTreeSet::new();
        for shard in self.shards.iter() {
            let shard = shard.read();
            let numbers = shard.tenants.get(&tenant.number).into_iter().flat_map(|postings| postings.iter());
            for series in numbers.filter_map(|i| shard.series.get(i as usize)) {
                series.visit_times(&shard.log, tenant.truncated(), |t| {
                    starts.insert(t.div_euclid(block_ms));
                });
            }
        }
        let range =
            |n: i64| TimeRange { mint: n.saturating_mul(block_ms), maxt: n.saturating_add(1).saturating_mul(block_ms) };
        starts.into_iter().map(range).collect()
    }
}

/// A place in an ordered heap, in which keys differ.
struct Place(SeriesPlace);

impl PartialEq for Place {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Place {}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Place {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

/// A chunk of the block.
enum BlockChunk {
    AsItIs(CopiedChunk),
    Packed(EncodedChunk),
}

impl BlockChunk {
    fn payload<'a>(&'a self, copies: &'a ChunkCopies) -> ChunkPayload<'a> {
        match self {
            Self::AsItIs(chunk) => ChunkPayload {
                mint: chunk.interval.mint,
                maxt: chunk.interval.maxt,
                encoding: chunk.encoding as u8,
                data: copies.data(chunk),
            },
            Self::Packed(chunk) => ChunkPayload::from(chunk),
        }
    }
}

/// The samples of the interval in chunks that do not overlap, in order of time.
fn assemble(copies: &mut ChunkCopies, interval: TimeInterval) -> Result<Vec<BlockChunk>, ChunkError> {
    // what is in order comes first, so that it wins below
    copies.chunks.sort_by_key(|chunk| (chunk.interval.mint, chunk.late.is_some()));
    let mut out = Vec::new();
    let mut rest = &copies.chunks[..];
    while let Some(first) = rest.first() {
        let mut end = first.interval.maxt;
        let mut len = 1;
        while let Some(next) = rest.get(len).filter(|next| next.interval.mint <= end) {
            end = end.max(next.interval.maxt);
            len += 1;
        }
        let (group, after) = rest.split_at(len);
        rest = after;
        let is_inside = interval.mint <= first.interval.mint && first.interval.maxt <= interval.maxt;
        let is_new = first.late.is_none_or(|(_, cut_to)| cut_to <= first.interval.mint);
        if len == 1 && is_inside && is_new {
            out.push(BlockChunk::AsItIs(first.clone()));
        } else {
            out.extend(pack(group, copies, interval)?.into_iter().map(BlockChunk::Packed));
        }
    }
    Ok(out)
}

/// Merges chunks that overlap, and packs the samples of the interval anew.
fn pack(group: &[CopiedChunk], copies: &ChunkCopies, interval: TimeInterval) -> Result<Vec<EncodedChunk>, ChunkError> {
    let mut all: Vec<(bool, Sample)> = Vec::new();
    for chunk in group {
        let mut samples = Vec::new();
        decode_samples(chunk.encoding as u8, copies.data(chunk), &mut samples)?;
        let from = chunk.late.map_or(Timestamp::MIN, |(_, cut_to)| cut_to).max(interval.mint);
        let wanted = samples.into_iter().filter(|sample| from <= sample.t && sample.t <= interval.maxt);
        all.extend(wanted.map(|sample| (chunk.late.is_some(), sample)));
    }
    all.sort_by_key(|(is_late, sample)| (sample.t, *is_late));
    all.dedup_by_key(|(_, sample)| sample.t);
    let mut packer = ChunkPacker::default();
    all.iter().try_for_each(|(_, sample)| packer.push(sample.borrow()))?;
    Ok(packer.finish())
}
