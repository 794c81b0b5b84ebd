//! Reads the chunks of selected series and makes batches of them.
//!
//! ```text
//! series range ──> batches of bounded size ──> ranges by segment, neighbours joined ──> reads, some at once
//!     ──> every chunk's checksum ──> tombstones ──> views into the fetched buffers
//! ```
//!
//! A batch holds one buffer a joined range, so that what it is charged for is what was fetched. Every read is reserved
//! before it begins, also the second one of a chunk that turns out longer than was thought.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{
    ArrayRef, BinaryViewBuilder, Int64Builder, ListArray, RecordBatch, StringViewBuilder, StructArray, UInt8Builder,
    UInt32Builder,
};
use arrow::buffer::{Buffer, OffsetBuffer};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};

use crate::block::segments::{ReadChunk, SegmentName, StoredChunk};
use crate::block::tombstones::Deleted;
use crate::chunk::{EncodedChunk, Encoding};
use crate::error::{Error, Result};
use crate::index::ChunkRef;
use crate::model::{Budget, Reservation, TimeInterval};
use crate::schema::{chunk_fields, chunk_item_field, series_schema};
use crate::side_index::ChunkSpan;

use super::block::or_gone;
use super::deletions::{self, Deletions};
use super::files::{BlockFiles, JoinedReads, join};
use super::selection::Selection;
use super::{KeyRange, SeriesStream};

/// Most series in a batch.
pub const BATCH_SERIES_MAX: usize = 1_024;
/// A batch is closed once its chunks take up so many bytes.
pub const BATCH_BYTES: u64 = 4 << 20;
/// Batches of a remote block that are fetched while the consumer works on one.
const BATCHES_AHEAD: usize = 2;
/// Bytes read for a chunk whose length is not known; a longer one is read again.
const CHUNK_BYTES_ESTIMATE: u64 = 16_000;
/// Chunks with at most so many unwanted bytes between them are read as one, from an object store.
const REMOTE_GAP: u64 = 32 << 10;
/// The same for local files, where a read costs little.
const LOCAL_GAP: u64 = 2 << 10;
/// Bytes of a chunk's checksum.
const CRC_LEN: usize = 4;

/// What a stream of one block's chunks needs; shared by its batches.
#[derive(Debug, Clone)]
pub struct ChunkFetch {
    /// The block.
    pub files: BlockFiles,
    /// What was selected of it.
    pub selection: Arc<Selection>,
    /// What of it does not count.
    pub deletions: Deletions,
    /// Chunks that overlap this are read.
    pub interval: TimeInterval,
    /// Whether chunks are wanted at all.
    pub skip_chunks: bool,
    /// When to give up.
    pub deadline: Option<Instant>,
    /// What bytes under way are reserved from.
    pub budget: Arc<dyn Budget>,
}

/// One chunk of a batch.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    span: ChunkSpan,
    replica: u32,
    series_ref: u64,
}

/// Series that make one batch, and where the chunks of each end.
#[derive(Debug, Default)]
struct BatchPlan {
    series: Range<usize>,
    chunks: Vec<Wanted>,
    chunk_ends: Vec<usize>,
    bytes: u64,
}

/// The selected series in `range`.
pub fn stream(fetch: Arc<ChunkFetch>, range: &KeyRange) -> SeriesStream {
    let mut rest = fetch.selection.find(range);
    let ahead = if fetch.files.remote_path().is_some() { BATCHES_AHEAD } else { 1 };
    let planner = Arc::clone(&fetch);
    let plans = std::iter::from_fn(move || {
        let plan = (!rest.is_empty()).then(|| planner.plan(&rest));
        match &plan {
            Some(Ok(plan)) => rest.start = plan.series.end,
            _ => rest = 0..0,
        }
        plan
    });
    futures::stream::iter(plans)
        .map(move |plan| {
            let fetch = Arc::clone(&fetch);
            async move {
                match fetch.batch(plan?).await {
                    Err(error) => Err(or_gone(&fetch.files, error).await),
                    batch => batch,
                }
            }
        })
        .buffered(ahead)
        .try_filter(|batch| futures::future::ready(batch.num_rows() > 0))
        .boxed()
}

impl ChunkFetch {
    fn check_deadline(&self) -> Result<()> {
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(Error::DeadlineExceeded("reading chunks")),
            _ => Ok(()),
        }
    }

    fn plan(&self, rest: &Range<usize>) -> Result<BatchPlan> {
        let mut plan = BatchPlan { series: rest.start..rest.start, ..BatchPlan::default() };
        for i in rest.clone() {
            if !self.skip_chunks {
                let first = plan.chunks.len();
                for row in self.selection.rows(i) {
                    for span in self.selection.chunks(row) {
                        let span = span?;
                        let (extent, _) = self.deletions.of_chunk(row.series_ref, span.interval());
                        if span.interval().overlaps(self.interval) && extent != Deleted::Whole {
                            plan.bytes += read_length(&span);
                            plan.chunks.push(Wanted { span, replica: row.replica, series_ref: row.series_ref });
                        }
                    }
                }
                let chunks = &mut plan.chunks[first..];
                if !chunks.is_sorted_by_key(|chunk| chunk.span.mint) {
                    chunks.sort_by_key(|chunk| chunk.span.mint);
                }
            }
            plan.chunk_ends.push(plan.chunks.len());
            plan.series.end = i + 1;
            if plan.series.len() >= BATCH_SERIES_MAX || plan.bytes >= BATCH_BYTES {
                break;
            }
        }
        Ok(plan)
    }

    async fn batch(&self, plan: BatchPlan) -> Result<RecordBatch> {
        self.check_deadline()?;
        let mut reservation = Reservation::new(Arc::clone(&self.budget));
        let mut segments: BTreeMap<u32, SegmentReads> = BTreeMap::new();
        for chunk in &plan.chunks {
            let at = ChunkRef(chunk.span.chunk_ref);
            let offset = u64::from(at.offset());
            let reads = segments.entry(at.segment()).or_default();
            reads.ranges.push(offset..offset + read_length(&chunk.span));
        }
        for (&segment, reads) in &mut segments {
            self.check_deadline()?;
            reads.fetch(&self.files, segment, &mut reservation).await?;
        }
        let mut builder = BatchBuilder::new(&segments);
        for (n, i) in plan.series.clone().enumerate() {
            let first = if n == 0 { 0 } else { plan.chunk_ends[n - 1] };
            let chunks = &plan.chunks[first..plan.chunk_ends[n]];
            for chunk in chunks {
                let at = ChunkRef(chunk.span.chunk_ref);
                let reads = segments.get(&at.segment());
                let reads = reads.ok_or_else(|| Error::Internal("chunk of a segment that was not read".to_owned()))?;
                let found = reads.find(&self.files, at, &mut reservation).await?;
                let (extent, deleted) = self.deletions.of_chunk(chunk.series_ref, chunk.span.interval());
                match extent {
                    Deleted::None => {
                        builder.push_stored(&[chunk.span.interval()], chunk.replica, at.segment(), found)?
                    }
                    _ if found.stored.encoding == Encoding::Aggr as u8 => {
                        let left = deletions::left_of(chunk.span.interval(), &deleted);
                        builder.push_stored(&left, chunk.replica, at.segment(), found)?;
                    }
                    _ => {
                        let kept = deletions::keep(found.stored.encoding, &found.stored.data, &deleted);
                        let kept = kept.map_err(|error| {
                            let name = SegmentName::new(self.files.place(), at.segment());
                            self.files.corrupt(&name.rel_path(), u64::from(at.offset()), error.to_string())
                        })?;
                        kept.iter().for_each(|kept| builder.push_encoded(kept, chunk.replica));
                    }
                }
            }
            builder.push_series(self.selection.key(i), !self.skip_chunks);
        }
        builder.finish()
    }
}

/// What is read of one segment.
#[derive(Debug, Default)]
struct SegmentReads {
    ranges: Vec<Range<u64>>,
    joined: JoinedReads,
}

/// A checked chunk.
struct Found {
    stored: StoredChunk,
    buffer: FoundIn,
    /// Where in the buffer the payload lies.
    at: usize,
}

/// The buffer that a chunk lies in.
enum FoundIn {
    /// One of the segment's, by number.
    Joined(usize),
    /// One of its own.
    Own(Bytes),
}

impl SegmentReads {
    async fn fetch(&mut self, files: &BlockFiles, segment: u32, reservation: &mut Reservation) -> Result<()> {
        self.ranges.sort_unstable_by_key(|range| range.start);
        let gap = if files.remote_path().is_some() { REMOTE_GAP } else { LOCAL_GAP };
        self.ranges = join(&self.ranges, gap);
        let bytes = self.ranges.iter().map(|range| range.end - range.start).sum();
        reservation.try_grow(in_memory(bytes))?;
        let name = SegmentName::new(files.place(), segment);
        self.joined = files.read_joined(&name.rel_path(), &self.ranges, 0).await?;
        Ok(())
    }

    /// Takes a chunk out of what was fetched, or fetches it on its own where it turns out longer than thought.
    async fn find(&self, files: &BlockFiles, chunk: ChunkRef, reservation: &mut Reservation) -> Result<Found> {
        let name = SegmentName::new(files.place(), chunk.segment());
        let offset = u64::from(chunk.offset());
        let located = self.joined.locate(offset);
        let (buffer, at) =
            located.ok_or_else(|| files.corrupt(&name.rel_path(), offset, "chunk starts past the end"))?;
        match name.read_chunk(&self.joined.buffers[buffer], self.joined.starts[buffer], chunk.offset())? {
            ReadChunk::Whole(stored) => Ok(Found::new(stored, FoundIn::Joined(buffer), at)),
            ReadChunk::Short { end } => {
                // where not even the length was at hand, `end` is enough for the length only
                let end = end.max(offset + CHUNK_BYTES_ESTIMATE);
                let bytes = read_own(files, &name, offset..end, reservation).await?;
                match name.read_chunk(&bytes, offset, chunk.offset())? {
                    ReadChunk::Whole(stored) => Ok(Found::new(stored, FoundIn::Own(bytes), 0)),
                    ReadChunk::Short { end } => {
                        let bytes = read_own(files, &name, offset..end, reservation).await?;
                        Ok(Found::new(name.whole_chunk(&bytes, offset, chunk.offset())?, FoundIn::Own(bytes), 0))
                    }
                }
            }
        }
    }
}

impl Found {
    /// A chunk that begins at `chunk_at` of its buffer.
    fn new(stored: StoredChunk, buffer: FoundIn, chunk_at: usize) -> Self {
        let at = chunk_at + stored.stored_len - CRC_LEN - stored.data.len();
        Self { stored, buffer, at }
    }
}

/// Reads a range of a segment on its own, after reserving it.
async fn read_own(
    files: &BlockFiles,
    name: &SegmentName,
    range: Range<u64>,
    reservation: &mut Reservation,
) -> Result<Bytes> {
    reservation.try_grow(in_memory(range.end - range.start))?;
    let read = files.read_ranges(&name.rel_path(), std::slice::from_ref(&range), 0).await?;
    Ok(read.into_iter().next().unwrap_or_default())
}

fn in_memory(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn read_length(span: &ChunkSpan) -> u64 {
    // a span that is absurdly long comes from a gap between chunks: the chunk itself need not be
    match u64::from(span.span) {
        0 => CHUNK_BYTES_ESTIMATE,
        known => known.min(BATCH_BYTES),
    }
}

/// The columns of one batch.
pub struct BatchBuilder {
    first_buffers: BTreeMap<u32, u32>,
    labels: StringViewBuilder,
    offsets: Vec<i32>,
    mint: Int64Builder,
    maxt: Int64Builder,
    encoding: UInt8Builder,
    replica: UInt32Builder,
    data: BinaryViewBuilder,
    chunks: usize,
}

impl BatchBuilder {
    /// For chunks that are all copied.
    #[must_use]
    pub fn copying() -> Self {
        Self::new(&BTreeMap::new())
    }

    fn new(segments: &BTreeMap<u32, SegmentReads>) -> Self {
        let mut data = BinaryViewBuilder::new();
        let mut first_buffers = BTreeMap::new();
        for (&segment, reads) in segments {
            for (i, bytes) in reads.joined.buffers.iter().enumerate() {
                let block = data.append_block(Buffer::from(bytes.clone()));
                if i == 0 {
                    first_buffers.insert(segment, block);
                }
            }
        }
        Self {
            first_buffers,
            labels: StringViewBuilder::new(),
            offsets: vec![0],
            mint: Int64Builder::new(),
            maxt: Int64Builder::new(),
            encoding: UInt8Builder::new(),
            replica: UInt32Builder::new(),
            data,
            chunks: 0,
        }
    }

    /// Appends a chunk once for each of `intervals`: the times that are left of it.
    fn push_stored(&mut self, intervals: &[TimeInterval], replica: u32, segment: u32, found: Found) -> Result<()> {
        let number = |v: usize| u32::try_from(v).map_err(|_| Error::Internal("chunk past 4 GiB".to_owned()));
        let block = match found.buffer {
            FoundIn::Joined(buffer) => self.first_buffers.get(&segment).copied().unwrap_or_default() + number(buffer)?,
            FoundIn::Own(bytes) => self.data.append_block(Buffer::from(bytes)),
        };
        for interval in intervals {
            self.push_fields(*interval, found.stored.encoding, replica);
            self.data.try_append_view(block, number(found.at)?, number(found.stored.data.len())?)?;
        }
        Ok(())
    }

    fn push_encoded(&mut self, chunk: &EncodedChunk, replica: u32) {
        self.push_copied(TimeInterval::new(chunk.mint, chunk.maxt), chunk.encoding as u8, replica, &chunk.data);
    }

    /// Appends a chunk to the series that [`push_series`](Self::push_series) ends next.
    pub fn push_copied(&mut self, interval: TimeInterval, encoding: u8, replica: u32, data: &[u8]) {
        self.push_fields(interval, encoding, replica);
        self.data.append_value(data);
    }

    fn push_fields(&mut self, interval: TimeInterval, encoding: u8, replica: u32) {
        self.mint.append_value(interval.mint);
        self.maxt.append_value(interval.maxt);
        self.encoding.append_value(encoding);
        self.replica.append_value(replica);
        self.chunks += 1;
    }

    /// Ends a series; one that had chunks, which were all deleted, is left out.
    pub fn push_series(&mut self, key: &str, had_chunks: bool) {
        let end = i32::try_from(self.chunks).unwrap_or(i32::MAX);
        if had_chunks && self.offsets.last() == Some(&end) {
            return;
        }
        self.labels.append_value(key);
        self.offsets.push(end);
    }

    /// The batch.
    ///
    /// # Errors
    /// [`Error::Arrow`], which would be our bug.
    pub fn finish(mut self) -> Result<RecordBatch> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.mint.finish()),
            Arc::new(self.maxt.finish()),
            Arc::new(self.encoding.finish()),
            Arc::new(self.replica.finish()),
            Arc::new(self.data.finish()),
        ];
        let items = StructArray::try_new_with_length(chunk_fields(), columns, None, self.chunks)?;
        let offsets = OffsetBuffer::new(self.offsets.into());
        let chunks = ListArray::try_new(chunk_item_field(), offsets, Arc::new(items), None)?;
        Ok(RecordBatch::try_new(series_schema(), vec![Arc::new(self.labels.finish()), Arc::new(chunks)])?)
    }
}
