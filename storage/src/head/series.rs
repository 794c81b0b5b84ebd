//! One series: its newest samples, in an open chunk, and where its closed ones are.
//!
//! ```text
//! append in order ──> open chunk ──120 samples, or the end of a block's time──> closed chunk in the shard's log
//! append late     ──> out of order, apart
//! ```
//!
//! What nearly every series is, plain floats, is packed in place, see [`open_bytes`](super::open_bytes). Everything that few series
//! have is behind one pointer.

mod stored;

use std::ops::Range;

use super::chunk_log::{ChunkAt, ChunkLog, FiledChunk};
use super::open_bytes::OpenBytes;
use super::open_chunk::{ChunkPacker, OpenChunk};
use super::out_of_order::{LateChunk, OutOfOrder};
use super::sample::{SampleRef, Value, ValueRef, decode_samples};
use crate::chunk::{ChunkError, EncodedChunk, Encoding, SAMPLES_PER_CHUNK, XorState};
use crate::model::{TimeInterval, Timestamp, is_stale_nan};

pub(super) use stored::Restoring;

/// A chunk that is full.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClosedChunk {
    pub mint: Timestamp,
    pub maxt: Timestamp,
    pub at: ChunkAt,
    pub encoding: Encoding,
}

impl ClosedChunk {
    /// Puts a packed chunk into the log, among the late ones or those in order.
    pub fn store(chunk: &EncodedChunk, is_late: bool, log: &mut ChunkLog) -> Self {
        let at = match is_late {
            true => log.push_late(&chunk.data),
            false => log.push(chunk.data.len(), |out| out.extend_from_slice(&chunk.data)),
        };
        Self { mint: chunk.mint, maxt: chunk.maxt, at, encoding: chunk.encoding }
    }

    pub fn interval(&self) -> TimeInterval {
        TimeInterval::new(self.mint, self.maxt)
    }
}

/// A series.
///
/// A head goes from series to series, and waits for memory each time: what an append of a float touches stands first, in two cache
/// lines.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Series {
    /// The newest sample in order; the least of all times where there is none.
    newest_t: Timestamp,
    /// The first time that the open chunk does not take.
    open_end: Timestamp,
    floats: XorState,
    pub tenant: u32,
    bytes: OpenBytes,
    /// Its number in the log of writes, unique in the process.
    pub reference: u64,
    /// The hash of its tenant and labels.
    pub key: [u64; 2],
    /// Where its labels are in the shard.
    pub labels: u32,
    /// What its metric is, by number; 0 where nothing was said.
    pub metadata: u32,
    /// The oldest sample of the open chunk.
    open_mint: Timestamp,
    closed: Vec<ClosedChunk>,
    rare: Option<Box<Rare>>,
}

/// What few series have.
#[derive(Debug, Default)]
struct Rare {
    /// The open chunk where it is not one of plain floats.
    open: Option<OpenChunk>,
    /// The newest value while there is such a chunk.
    newest: Option<Value>,
    late: OutOfOrder,
}

/// The newest sample of a series, of those in order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Newest<'a> {
    pub t: Timestamp,
    /// None where there is no sample.
    pub value: Option<ValueRef<'a>>,
}

impl Newest<'_> {
    /// That of a series without samples.
    pub const NONE: Self = Newest { t: Timestamp::MIN, value: None };
}

/// Chunks copied out of a head.
#[derive(Debug, Default)]
pub(super) struct ChunkCopies {
    pub chunks: Vec<CopiedChunk>,
    pub bytes: Vec<u8>,
}

/// One of [`ChunkCopies`].
#[derive(Debug, Clone)]
pub(super) struct CopiedChunk {
    pub interval: TimeInterval,
    pub encoding: Encoding,
    /// Which of the selected series it is of, or which replica.
    pub replica: u32,
    pub payload: Payload,
    /// Its place in the log of chunks, and up to when it is in a block, where it is one of samples out of order.
    pub late: Option<(ChunkAt, Timestamp)>,
}

/// Where the payload of a copied chunk is.
#[derive(Debug, Clone)]
pub(super) enum Payload {
    /// In the bytes that were copied.
    Copied(Range<usize>),
    /// In a file: it is not read under the shard's lock.
    Filed(FiledChunk),
}

impl ChunkCopies {
    /// Checks those that lie in files, to be done before any is used and without a lock.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) where one is not as it was written.
    pub fn check(&self) -> crate::error::Result<()> {
        self.chunks.iter().try_for_each(|chunk| match &chunk.payload {
            Payload::Copied(_) => Ok(()),
            Payload::Filed(filed) => filed.check(),
        })
    }

    pub fn clear(&mut self) {
        self.chunks.clear();
        self.bytes.clear();
    }

    /// The payload.
    pub fn data<'a>(&'a self, chunk: &'a CopiedChunk) -> &'a [u8] {
        match &chunk.payload {
            Payload::Copied(range) => self.bytes.get(range.clone()).unwrap_or_default(),
            Payload::Filed(filed) => filed.bytes(),
        }
    }
}

impl Series {
    pub fn new(reference: u64, key: [u64; 2], tenant: u32, labels: u32) -> Self {
        Self {
            reference,
            key,
            labels,
            tenant,
            metadata: 0,
            newest_t: Timestamp::MIN,
            open_mint: Timestamp::MIN,
            open_end: Timestamp::MIN,
            floats: XorState::default(),
            bytes: OpenBytes::EMPTY,
            closed: Vec::new(),
            rare: None,
        }
    }

    /// The newest sample in order.
    pub fn newest(&self) -> Newest<'_> {
        let t = self.newest_t;
        if !self.floats.is_empty() {
            return Newest { t, value: Some(ValueRef::Float(self.floats.last_value())) };
        }
        match self.rare.as_deref() {
            Some(Rare { open: Some(_), newest: Some(value), .. }) => Newest { t, value: Some(value.borrow()) },
            _ => Newest { t, value: None },
        }
    }

    /// The newest time in order; the least of all where there is none.
    pub fn newest_time(&self) -> Timestamp {
        self.newest_t
    }

    /// Reads what an append of a float reads, so that it is in a cache when that comes. What it returns means nothing.
    #[inline]
    pub fn touch(&self) -> u8 {
        // one of each line
        self.newest_t as u8 ^ self.bytes.len() as u8
    }

    /// Appends a float that is younger than the newest sample.
    pub fn append_float(
        &mut self,
        log: &mut ChunkLog,
        sample: (Timestamp, f64),
        block_ms: i64,
    ) -> Result<(), ChunkError> {
        let (t, value) = sample;
        if self.floats.is_empty() || self.floats.len() >= SAMPLES_PER_CHUNK || t >= self.open_end {
            return self.append(log, SampleRef { t, start: 0, value: ValueRef::Float(value) }, block_ms);
        }
        self.push_float(log, t, value);
        Ok(())
    }

    /// Appends a sample that is younger than the newest one.
    pub fn append(&mut self, log: &mut ChunkLog, sample: SampleRef<'_>, block_ms: i64) -> Result<(), ChunkError> {
        let marker;
        let mut sample = sample;
        if let ValueRef::Float(value) = sample.value
            && is_stale_nan(value)
            && let Some(last @ (ValueRef::Integer(_) | ValueRef::FloatHistogram(_))) = self.newest().value
        {
            marker = last.stale_marker(value);
            sample.value = marker.borrow();
        }
        let ends = self.open_len() >= SAMPLES_PER_CHUNK || sample.t >= self.open_end;
        match sample.value {
            ValueRef::Float(value) if sample.start == 0 && !self.has_started_floats(ends) => {
                if ends || self.floats.is_empty() {
                    self.close(log);
                    self.begin(sample.t, block_ms);
                }
                self.push_float(log, sample.t, value);
            }
            _ => self.append_rare(log, sample, ends, block_ms)?,
        }
        Ok(())
    }

    /// Whether a float without start timestamp is to join an open chunk that has them.
    fn has_started_floats(&self, ends: bool) -> bool {
        let open = self.rare.as_deref().and_then(|rare| rare.open.as_ref());
        !ends && matches!(open, Some(OpenChunk::StartedFloats(_)))
    }

    fn push_float(&mut self, log: &mut ChunkLog, t: Timestamp, value: f64) {
        self.bytes.push(&mut log.pieces, &mut self.floats, t, value);
        self.newest_t = t;
    }

    fn append_rare(
        &mut self,
        log: &mut ChunkLog,
        sample: SampleRef<'_>,
        ends: bool,
        block_ms: i64,
    ) -> Result<(), ChunkError> {
        let rare = self.rare.get_or_insert_default();
        let fits = match &mut rare.open {
            Some(open) if !ends => open.push(sample)?,
            _ => false,
        };
        if !fits {
            let next = OpenChunk::begin(sample, rare.open.as_ref())?;
            self.close(log);
            self.begin(sample.t, block_ms);
            self.rare.get_or_insert_default().open = Some(next);
        }
        self.newest_t = sample.t;
        if let Some(rare) = &mut self.rare {
            rare.newest = Some(sample.value.to_value());
        }
        Ok(())
    }

    fn begin(&mut self, t: Timestamp, block_ms: i64) {
        self.open_mint = t;
        self.open_end = t.saturating_sub(t.rem_euclid(block_ms.max(1))).saturating_add(block_ms);
    }

    fn open_len(&self) -> usize {
        let rare = self.rare.as_deref().and_then(|rare| rare.open.as_ref());
        rare.map_or(self.floats.len(), OpenChunk::len)
    }

    /// Moves the open chunk to the closed ones.
    fn close(&mut self, log: &mut ChunkLog) {
        let (mint, maxt) = (self.open_mint, self.newest_t);
        let closed = if !self.floats.is_empty() {
            let at = log.close(&mut self.bytes, &self.floats);
            self.floats = XorState::default();
            ClosedChunk { mint, maxt, at, encoding: Encoding::Xor }
        } else {
            let Some(open) = self.rare.as_deref_mut().and_then(|rare| rare.open.take()) else { return };
            let payload = open.payload();
            let at = log.push(payload.len(), |out| out.extend_from_slice(&payload));
            ClosedChunk { mint, maxt, at, encoding: open.encoding() }
        };
        self.push_closed(closed);
    }

    fn push_closed(&mut self, closed: ClosedChunk) {
        if self.closed.len() == self.closed.capacity() {
            self.closed.reserve_exact((self.closed.len() / 2).max(1));
        }
        self.closed.push(closed);
    }

    /// Takes in a sample that is older than the newest one, or older than what may be appended in order.
    pub fn insert_late(&mut self, log: &mut ChunkLog, sample: SampleRef<'_>) -> Result<(), ChunkError> {
        self.rare.get_or_insert_default().late.insert(sample, log)
    }

    /// Takes in a whole chunk of samples in order, younger than those here, or of samples out of order.
    pub fn adopt(&mut self, log: &mut ChunkLog, chunk: &EncodedChunk, is_late: bool) {
        if !is_late && chunk.mint > self.newest_t {
            self.close(log);
            let closed = ClosedChunk::store(chunk, false, log);
            self.push_closed(closed);
            self.newest_t = chunk.maxt;
            self.open_end = Timestamp::MIN;
        } else {
            let chunk = ClosedChunk::store(chunk, true, log);
            self.rare.get_or_insert_default().late.chunks.push(LateChunk { chunk, cut_to: Timestamp::MIN });
        }
    }

    /// The samples out of order.
    pub fn late(&self) -> Option<&OutOfOrder> {
        self.rare.as_deref().map(|rare| &rare.late)
    }

    /// The samples out of order, to be changed.
    pub fn late_mut(&mut self) -> Option<&mut OutOfOrder> {
        self.rare.as_deref_mut().map(|rare| &mut rare.late)
    }

    /// The open chunk's first and last time.
    fn open_interval(&self) -> Option<TimeInterval> {
        (self.open_len() > 0).then(|| TimeInterval::new(self.open_mint, self.newest_t))
    }

    /// The times of everything: closed chunks, the open one, those out of order and their buffer.
    fn intervals(&self) -> impl Iterator<Item = TimeInterval> {
        let late = self.late();
        let buffered = late.and_then(OutOfOrder::buffered).map(|(mint, maxt)| TimeInterval::new(mint, maxt));
        let late = late.map_or(&[][..], |late| &late.chunks).iter().map(|late| late.chunk.interval());
        self.closed.iter().map(ClosedChunk::interval).chain(self.open_interval()).chain(late).chain(buffered)
    }

    /// Whether a chunk overlaps `interval`.
    pub fn overlaps(&self, interval: TimeInterval) -> bool {
        self.intervals().any(|chunk| chunk.overlaps(interval))
    }

    /// From the oldest to the newest sample; none where there are no samples.
    pub fn interval(&self) -> Option<TimeInterval> {
        self.intervals().reduce(|a, b| TimeInterval::new(a.mint.min(b.mint), a.maxt.max(b.maxt)))
    }

    /// Visits the first and last times of chunks in order, of samples from `from` on, and the time of every late sample that is
    /// in no block.
    pub fn visit_times(&self, log: &ChunkLog, from: Timestamp, mut visit: impl FnMut(Timestamp)) {
        for chunk in self.closed.iter().map(ClosedChunk::interval).chain(self.open_interval()) {
            visit(chunk.mint.max(from));
            visit(chunk.maxt.max(from));
        }
        let Some(late) = self.late() else { return };
        late.buffer().iter().for_each(|sample| visit(sample.t));
        for late in late.chunks.iter().filter(|late| late.cut_to <= late.chunk.maxt) {
            let mut samples = crate::model::SampleBuffer::new();
            let wanted = TimeInterval::new(late.cut_to, Timestamp::MAX);
            // what was packed here decodes
            let decoded = crate::chunk::decode(late.chunk.encoding as u8, log.get(late.chunk.at), wanted, &mut samples);
            debug_assert!(decoded.is_ok(), "{decoded:?}");
            samples.timestamps.iter().for_each(|t| visit(*t));
        }
    }

    /// About how many bytes [`copy_chunks`](Self::copy_chunks) appends, not less than it does.
    pub fn copy_size(&self, interval: TimeInterval) -> usize {
        /// More than a sample out of order takes up, where it is a float.
        const LATE_SAMPLE_BYTES: usize = 24;
        let wanted = |chunk: &&ClosedChunk| chunk.interval().overlaps(interval);
        let mut size: usize = self.closed.iter().filter(wanted).map(|chunk| chunk.at.len()).sum();
        size += self.bytes.len();
        if let Some(rare) = &self.rare {
            let late = rare.late.chunks.iter().map(|late| &late.chunk).filter(wanted).map(|chunk| chunk.at.len());
            size += late.sum::<usize>() + rare.late.buffer().len() * LATE_SAMPLE_BYTES;
            size += rare.open.as_ref().map_or(0, |open| open.payload().len());
        }
        size
    }

    /// Appends the chunks that overlap `interval` to `out`, in no particular order.
    pub fn copy_chunks(
        &self,
        log: &ChunkLog,
        interval: TimeInterval,
        replica: u32,
        out: &mut ChunkCopies,
    ) -> Result<(), ChunkError> {
        let ChunkCopies { chunks, bytes } = out;
        for chunk in self.closed.iter().filter(|chunk| chunk.interval().overlaps(interval)) {
            let payload = match log.in_file(chunk.at) {
                Some(filed) => Payload::Filed(filed),
                None => {
                    let start = bytes.len();
                    bytes.extend_from_slice(log.get(chunk.at));
                    Payload::Copied(start..bytes.len())
                }
            };
            let (interval, encoding) = (chunk.interval(), chunk.encoding);
            chunks.push(CopiedChunk { interval, encoding, replica, payload, late: None });
        }
        let mut add = |interval, encoding, late, write: &dyn Fn(&mut Vec<u8>)| {
            let start = bytes.len();
            write(bytes);
            let payload = Payload::Copied(start..bytes.len());
            chunks.push(CopiedChunk { interval, encoding, replica, payload, late });
        };
        if let Some(open) = self.open_interval().filter(|open| open.overlaps(interval)) {
            add(open, self.open_encoding(), None, &|out| self.write_open(log, out));
        }
        let Some(late) = self.late().filter(|late| !late.is_empty()) else { return Ok(()) };
        for late in late.chunks.iter().filter(|late| late.chunk.interval().overlaps(interval)) {
            let chunk = &late.chunk;
            add(chunk.interval(), chunk.encoding, Some((chunk.at, late.cut_to)), &|out| {
                out.extend_from_slice(log.get(chunk.at));
            });
        }
        for chunk in late.open_chunks()? {
            let times = TimeInterval::new(chunk.mint, chunk.maxt);
            if times.overlaps(interval) {
                add(times, chunk.encoding, None, &|out| out.extend_from_slice(&chunk.data));
            }
        }
        Ok(())
    }

    fn open_encoding(&self) -> Encoding {
        self.rare.as_deref().and_then(|rare| rare.open.as_ref()).map_or(Encoding::Xor, OpenChunk::encoding)
    }

    /// Appends the payload of the open chunk.
    fn write_open(&self, log: &ChunkLog, out: &mut Vec<u8>) {
        match self.rare.as_deref().and_then(|rare| rare.open.as_ref()) {
            Some(chunk) => out.extend(chunk.payload()),
            None => {
                let start = out.len();
                self.bytes.write(&log.pieces, out);
                self.floats.patch(&mut out[start..]);
            }
        }
    }

    /// Drops chunks that lie wholly before `before`; of samples out of order, those that are in a block.
    pub fn truncate(&mut self, log: &mut ChunkLog, before: Timestamp) {
        let dropped = self.closed.iter().take_while(|chunk| chunk.maxt < before).count();
        if dropped > 0 {
            self.closed.drain(..dropped).for_each(|chunk| log.drop_chunk(chunk.at));
            self.closed.shrink_to_fit();
        }
        if self.open_interval().is_some_and(|open| open.maxt < before) {
            self.floats = XorState::default();
            self.bytes.clear(&mut log.pieces);
            if let Some(rare) = &mut self.rare {
                (rare.open, rare.newest) = (None, None);
            }
            self.open_end = Timestamp::MIN;
            self.newest_t = self.closed.last().map_or(Timestamp::MIN, |chunk| chunk.maxt);
        }
        if let Some(rare) = &mut self.rare {
            rare.late.truncate(before, log);
            if rare.open.is_none() && rare.late.is_empty() {
                self.rare = None;
            }
        }
    }

    /// Takes away all samples.
    pub fn clear(&mut self, log: &mut ChunkLog) {
        self.truncate(log, Timestamp::MAX);
        let late = self.rare.take().into_iter().flat_map(|rare| rare.late.chunks);
        late.for_each(|late| log.drop_chunk(late.chunk.at));
        // a sample at the greatest of all times
        self.closed.drain(..).for_each(|chunk| log.drop_chunk(chunk.at));
        self.bytes.clear(&mut log.pieces);
        self.floats = XorState::default();
        (self.open_end, self.newest_t) = (Timestamp::MIN, Timestamp::MIN);
    }

    /// Takes away the samples in `intervals`, for good.
    pub fn delete(&mut self, log: &mut ChunkLog, intervals: &[TimeInterval]) -> Result<(), ChunkError> {
        let is_hit = |times: TimeInterval| intervals.iter().any(|deleted| deleted.overlaps(times));
        if self.open_interval().is_some_and(is_hit) {
            self.close(log);
            self.open_end = Timestamp::MIN;
        }
        let mut kept = Vec::new();
        for chunk in std::mem::take(&mut self.closed) {
            kept.extend(without(&chunk, log, intervals)?);
        }
        self.closed = kept;
        if let Some(rare) = &mut self.rare {
            rare.late.close(log)?;
            let mut kept = Vec::new();
            for late in std::mem::take(&mut rare.late.chunks) {
                let chunks = without(&late.chunk, log, intervals)?;
                kept.extend(chunks.into_iter().map(|chunk| LateChunk { chunk, cut_to: late.cut_to }));
            }
            rare.late.chunks = kept;
        }
        Ok(())
    }

    /// Whether nothing is left of it.
    pub fn is_empty(&self) -> bool {
        self.closed.is_empty() && self.open_len() == 0 && self.late().is_none_or(OutOfOrder::is_empty)
    }

    /// How many chunks there are.
    pub fn chunk_count(&self) -> usize {
        let late = self.late().map_or(0, |late| late.chunks.len() + usize::from(late.buffered().is_some()));
        self.closed.len() + usize::from(self.open_len() > 0) + late
    }

    /// Bytes on the heap, but for those of closed chunks.
    pub fn heap_bytes(&self) -> usize {
        let rare = self.rare.as_ref().map_or(0, |rare| size_of::<Rare>() + rare.late.heap_bytes());
        self.closed.capacity() * size_of::<ClosedChunk>() + rare
    }
}

/// A chunk without its samples in `intervals`.
fn without(
    chunk: &ClosedChunk,
    log: &mut ChunkLog,
    intervals: &[TimeInterval],
) -> Result<Vec<ClosedChunk>, ChunkError> {
    if !intervals.iter().any(|deleted| deleted.overlaps(chunk.interval())) {
        return Ok(vec![*chunk]);
    }
    let mut samples = Vec::new();
    decode_samples(chunk.encoding as u8, log.get(chunk.at), &mut samples)?;
    let mut packer = ChunkPacker::default();
    let kept = samples.iter().filter(|sample| !intervals.iter().any(|deleted| deleted.contains(sample.t)));
    kept.into_iter().try_for_each(|sample| packer.push(sample.borrow()))?;
    let kept = packer.finish().iter().map(|kept| ClosedChunk::store(kept, chunk.at.is_late(), log)).collect();
    log.drop_chunk(chunk.at);
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_three_cache_lines() {
        assert_eq!(size_of::<Series>(), 192);
    }
}
