//! Samples of one series that came too late for its open chunk.
//!
//! ```text
//! insert ──> buffer of 32, sorted ──full──> chunks, which may overlap one another and those in order
//! ```
//!
//! As in Prometheus, a second sample at a time in the buffer is dropped, and nothing else is compared: readers merge.

use super::chunk_log::ChunkLog;
use super::open_chunk::ChunkPacker;
use super::sample::{Sample, SampleRef};
use super::series::ClosedChunk;
use crate::chunk::{ChunkError, EncodedChunk};
use crate::model::Timestamp;

/// Samples after which the buffer becomes a chunk, as Prometheus has it.
const BUFFER_SAMPLES: usize = 32;

/// A chunk of samples out of order.
#[derive(Debug)]
pub(super) struct LateChunk {
    pub chunk: ClosedChunk,
    /// Samples before this are in a block.
    pub cut_to: Timestamp,
}

/// The samples of a series that are out of order.
#[derive(Debug, Default)]
pub(super) struct OutOfOrder {
    buffer: Vec<Sample>,
    pub chunks: Vec<LateChunk>,
}

impl OutOfOrder {
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty() && self.chunks.is_empty()
    }

    /// Takes a sample in.
    pub fn insert(&mut self, sample: SampleRef<'_>, log: &mut ChunkLog) -> Result<(), ChunkError> {
        let mut at = self.buffer.partition_point(|other| other.t < sample.t);
        if self.buffer.get(at).is_some_and(|other| other.t == sample.t) {
            return Ok(());
        }
        if self.buffer.len() >= BUFFER_SAMPLES {
            self.close(log)?;
            at = 0;
        }
        if self.buffer.len() == self.buffer.capacity() {
            self.buffer.reserve_exact(if self.buffer.is_empty() { 4 } else { self.buffer.len() });
        }
        self.buffer.insert(at, sample.to_sample());
        Ok(())
    }

    /// Makes chunks of the buffer.
    pub fn close(&mut self, log: &mut ChunkLog) -> Result<(), ChunkError> {
        for chunk in self.open_chunks()? {
            let chunk = ClosedChunk::store(&chunk, true, log);
            self.chunks.push(LateChunk { chunk, cut_to: Timestamp::MIN });
        }
        self.buffer.clear();
        Ok(())
    }

    /// The chunks that the buffer would make.
    pub fn open_chunks(&self) -> Result<Vec<EncodedChunk>, ChunkError> {
        let mut packer = ChunkPacker::default();
        for sample in &self.buffer {
            packer.push(sample.borrow())?;
        }
        Ok(packer.finish())
    }

    /// The times of the oldest and the newest sample in the buffer.
    pub fn buffered(&self) -> Option<(Timestamp, Timestamp)> {
        Some((self.buffer.first()?.t, self.buffer.last()?.t))
    }

    /// Samples that are in no block yet, for the log.
    pub fn buffer(&self) -> &[Sample] {
        &self.buffer
    }

    /// Drops what lies before `before` and is in a block.
    pub fn truncate(&mut self, before: Timestamp, log: &mut ChunkLog) {
        self.chunks.retain(|late| {
            let keep = late.chunk.maxt >= before.min(late.cut_to);
            if !keep {
                log.drop_chunk(late.chunk.at);
            }
            keep
        });
        self.chunks.shrink_to_fit();
    }

    /// Bytes on the heap, but for the chunks' own.
    pub fn heap_bytes(&self) -> usize {
        self.buffer.capacity() * size_of::<Sample>() + self.chunks.capacity() * size_of::<LateChunk>()
    }
}
