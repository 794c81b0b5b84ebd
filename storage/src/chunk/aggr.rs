//! Thanos's aggregate chunks (encoding 0xff): what downsampling leaves of a series.
//!
//! Five slots, one for each [`Aggregate`] in the order count, sum, min, max, counter. A slot is a varint length, and
//! where that is not zero the encoding byte of another chunk and so many bytes of its payload. Slots hold XOR chunks
//! or, for histograms, float histogram chunks; never aggregates again.

use super::{ChunkError, Encoding};
use crate::model::{FloatHistogram, SampleBuffer, TimeInterval};
use crate::store::Aggregate;

/// Slots in the order in which they are stored.
const SLOTS: [Aggregate; 5] = [Aggregate::Count, Aggregate::Sum, Aggregate::Min, Aggregate::Max, Aggregate::Counter];

/// A parsed aggregate chunk: borrowed payloads of its slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AggrChunk<'a> {
    slots: [Option<(u8, &'a [u8])>; 5],
}

impl<'a> AggrChunk<'a> {
    /// Finds the slots.
    ///
    /// # Errors
    /// [`ChunkError`] where a slot exceeds the data, bytes are left over, or a slot holds aggregates.
    pub fn try_parse(data: &'a [u8]) -> Result<Self, ChunkError> {
        let mut slots = [None; 5];
        let mut rest = data;
        for slot in &mut slots {
            let (length, after) = split_uvarint(rest)?;
            rest = after;
            if length == 0 {
                continue;
            }
            let (encoding, payload) = after.split_first().ok_or_else(ChunkError::truncated)?;
            let length = usize::try_from(length).map_err(|_| ChunkError::truncated())?;
            let (payload, after) = payload.split_at_checked(length).ok_or_else(ChunkError::truncated)?;
            if *encoding == Encoding::Aggr as u8 {
                return Err(ChunkError::new("aggregate chunk holds an aggregate chunk"));
            }
            *slot = Some((*encoding, payload));
            rest = after;
        }
        if !rest.is_empty() {
            return Err(ChunkError::new("aggregate chunk has bytes after its five slots"));
        }
        Ok(Self { slots })
    }

    /// Encoding and payload of one aggregate, if it is there.
    #[must_use]
    pub fn get(&self, aggregate: Aggregate) -> Option<(u8, &'a [u8])> {
        SLOTS.iter().zip(self.slots).find(|(slot, _)| **slot == aggregate)?.1
    }
}

/// A varint on whole bytes, and what follows it.
fn split_uvarint(data: &[u8]) -> Result<(u64, &[u8]), ChunkError> {
    let mut reader = super::bits::BitReader::new(data);
    let value = reader.read_uvarint()?;
    Ok((value, data.get(reader.position() / 8..).unwrap_or_default()))
}

/// Packs up to five chunks, each an encoding byte and a payload that is not empty, in the order count, sum, min, max,
/// counter.
#[must_use]
pub fn encode_aggr(slots: [Option<(u8, &[u8])>; 5]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for slot in slots {
        let payload = slot.map_or(&[][..], |(_, payload)| payload);
        let mut length = super::bits::BitWriter::default();
        length.write_uvarint(payload.len() as u64);
        bytes.extend_from_slice(length.bytes());
        if let Some((encoding, payload)) = slot.filter(|(_, payload)| !payload.is_empty()) {
            bytes.push(encoding);
            bytes.extend_from_slice(payload);
        }
    }
    bytes
}

/// Appends the samples in `interval` of one aggregate; none where the chunk lacks it.
///
/// The counter begins with the first raw sample and ends with a second sample of its last timestamp, which holds
/// the last raw value: whoever joins counters of two chunks needs it to see a reset between them.
///
/// # Errors
/// As [`decode`](super::decode).
pub fn decode_aggregate(
    data: &[u8],
    aggregate: Aggregate,
    interval: TimeInterval,
    out: &mut SampleBuffer,
) -> Result<(), ChunkError> {
    match AggrChunk::try_parse(data)?.get(aggregate) {
        Some((encoding, payload)) => super::decode(encoding, payload, interval, out),
        None => Ok(()),
    }
}

/// The sample count of the count, which every window has.
pub(super) fn sample_count(data: &[u8]) -> Result<usize, ChunkError> {
    AggrChunk::try_parse(data)?
        .get(Aggregate::Count)
        .map_or(Ok(0), |(encoding, data)| super::sample_count(encoding, data))
}

/// Appends sum / count of every window in `interval`.
pub(super) fn decode_average(data: &[u8], interval: TimeInterval, out: &mut SampleBuffer) -> Result<(), ChunkError> {
    let chunk = AggrChunk::try_parse(data)?;
    let (Some(counts), Some(sums)) = (chunk.get(Aggregate::Count), chunk.get(Aggregate::Sum)) else {
        return Err(ChunkError::new("aggregate chunk lacks its count or its sum"));
    };
    let mut count = SampleBuffer::new();
    super::decode(counts.0, counts.1, interval, &mut count)?;
    let before = out.len();
    super::decode(sums.0, sums.1, interval, out)?;
    if out.timestamps.get(before..) != Some(&count.timestamps[..]) {
        out.truncate(before);
        return Err(ChunkError::new("aggregate chunk's count and sum are not aligned"));
    }
    for (sum, count) in out.floats.iter_mut().skip(before).zip(&count.floats) {
        *sum /= count;
    }
    for (index, histogram) in out.histograms.iter_mut().rev() {
        let Some(i) = (*index as usize).checked_sub(before) else { break };
        divide(std::sync::Arc::make_mut(histogram), count.floats[i]);
    }
    Ok(())
}

/// Every population and the sum, each over `by`.
fn divide(histogram: &mut FloatHistogram, by: f64) {
    for total in [&mut histogram.count, &mut histogram.zero_count, &mut histogram.sum] {
        *total /= by;
    }
    for bucket in histogram.positive_buckets.iter_mut().chain(&mut histogram.negative_buckets) {
        *bucket /= by;
    }
}
