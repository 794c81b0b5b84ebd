//! Thanos's aggregate chunks (encoding 0xff): what downsampling leaves of a series.
//!
//! Five slots, one for each [`Aggregate`] in the order count, sum, min, max, counter. A slot is a varint length, and
//! where that is not zero the encoding byte of another chunk and so many bytes of its payload. Slots hold XOR chunks
//! or, for histograms, float histogram chunks; never aggregates again.

use super::{ChunkError, Encoding};
use crate::model::{FloatHistogram, SampleBuffer, TimeInterval};

/// The aggregates of a downsampled chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Aggregate {
    /// Number of samples.
    Count,
    /// Sum of samples.
    Sum,
    /// Smallest sample.
    Min,
    /// Largest sample.
    Max,
    /// Reset-corrected running total.
    Counter,
}

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

/// Appends the counter of those windows that end in `left`, for a [`CounterTotal`](super::CounterTotal): with the first raw sample, and
/// the last raw value under the last time again. None where the chunk lacks it; histograms as they are, which have no such frame.
///
/// Where the chunk is cut, raw values beside the cut are not stored. They are the total, until it exceeds what resets within the chunk
/// have hidden, which is the last total less the last raw value, and from there on less by that: exact where there was one reset or none.
///
/// # Errors
/// As [`decode`](super::decode).
pub fn decode_counter(data: &[u8], left: TimeInterval, out: &mut SampleBuffer) -> Result<(), ChunkError> {
    let Some((encoding, payload)) = AggrChunk::try_parse(data)?.get(Aggregate::Counter) else { return Ok(()) };
    if Encoding::try_from(encoding)? != Encoding::Xor {
        return super::decode(encoding, payload, left, out);
    }
    let mut all = SampleBuffer::new();
    super::decode(encoding, payload, TimeInterval::ALL, &mut all)?;
    let (times, values) = (&all.timestamps, &all.floats);
    // the first raw sample belongs to the first window, the last raw value to the last
    let (Some(first_window), Some(frame)) = (times.get(1), times.len().checked_sub(1)) else {
        (0..all.len()).filter(|&i| left.contains(times[i])).for_each(|i| out.push_from(&all, i));
        return Ok(());
    };
    if left.mint <= *first_window && times[frame] <= left.maxt {
        (0..all.len()).for_each(|i| out.push_from(&all, i));
        return Ok(());
    }
    let kept_from = if left.mint <= *first_window { 0 } else { times.partition_point(|&t| t < left.mint) };
    let kept_to = times[..frame].partition_point(|&t| t <= left.maxt);
    if kept_from >= kept_to {
        return Ok(());
    }
    let hidden = values[frame - 1] - values[frame];
    let raw = |i: usize| if values[i] > hidden { values[i] - hidden } else { values[i] };
    let shift = if kept_from == 0 { 0.0 } else { values[kept_from] - raw(kept_from) };
    (kept_from..kept_to).for_each(|i| out.push_float(times[i], values[i] - shift));
    let last = if kept_to == frame { values[frame] } else { raw(kept_to - 1) };
    out.push_float(times[kept_to - 1], last);
    Ok(())
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{check_damage, decoded};
    use super::super::{XorEncoder, encode_series};
    use super::*;
    use crate::model::{CounterResetHint, Span};

    const AGGR: u8 = 0xff;

    fn xor(samples: &[(i64, f64)]) -> Vec<u8> {
        let mut encoder = XorEncoder::new();
        samples.iter().for_each(|(t, v)| encoder.push(*t, *v));
        encoder.finish()
    }

    #[test]
    fn slots_come_back_and_absent_ones_do_not() {
        let (count, max) = (xor(&[(1, 2.0), (2, 4.0)]), xor(&[(1, 9.0)]));
        let data = encode_aggr([Some((1, &count)), None, None, Some((1, &max)), None]);
        assert_eq!(data[..2], [u8::try_from(count.len()).unwrap(), 1]);
        let chunk = AggrChunk::try_parse(&data).unwrap();
        assert_eq!(chunk.get(Aggregate::Count), Some((1, &count[..])));
        assert_eq!(chunk.get(Aggregate::Max), Some((1, &max[..])));
        assert_eq!([Aggregate::Sum, Aggregate::Min, Aggregate::Counter].map(|a| chunk.get(a)), [None; 3]);
        assert_eq!(super::super::sample_count(AGGR, &data), Ok(2));
        let mut out = SampleBuffer::new();
        decode_aggregate(&data, Aggregate::Min, TimeInterval::ALL, &mut out).unwrap();
        assert!(out.is_empty());
        decode_aggregate(&data, Aggregate::Count, TimeInterval::new(2, 9), &mut out).unwrap();
        assert_eq!((&out.timestamps[..], &out.floats[..]), (&[2][..], &[4.0][..]));
        assert!(decoded(AGGR, &data).is_err());
    }

    #[test]
    fn a_chunk_of_aggregates_reads_as_their_average() {
        let (count, sum) = (xor(&[(1, 2.0), (2, 4.0)]), xor(&[(1, 3.0), (2, 5.0)]));
        let data = encode_aggr([Some((1, &count)), Some((1, &sum)), None, None, None]);
        let mut out = SampleBuffer::new();
        out.push_float(0, 8.0);
        super::super::decode(AGGR, &data, TimeInterval::ALL, &mut out).unwrap();
        assert_eq!((&out.timestamps[..], &out.floats[..]), (&[0, 1, 2][..], &[8.0, 1.5, 1.25][..]));
        check_damage(AGGR, &data);

        let late = xor(&[(1, 3.0), (3, 5.0)]);
        let error = decoded(AGGR, &encode_aggr([Some((1, &count)), Some((1, &late)), None, None, None])).unwrap_err();
        assert_eq!(error.to_string(), "aggregate chunk's count and sum are not aligned");
    }

    #[test]
    fn histograms_average_too() {
        let mut sums = SampleBuffer::new();
        let sum = FloatHistogram {
            counter_reset_hint: CounterResetHint::Gauge,
            count: 8.0,
            sum: 20.0,
            zero_count: 2.0,
            positive_spans: vec![Span { offset: 1, length: 1 }],
            positive_buckets: vec![6.0],
            ..FloatHistogram::default()
        };
        sums.push_histogram(5, sum.clone());
        let sums = encode_series(&sums, 120).unwrap();
        let count = xor(&[(5, 4.0)]);
        let data = encode_aggr([Some((1, &count)), Some((3, &sums[0].data)), None, None, None]);
        let samples = decoded(AGGR, &data).unwrap();
        let average = FloatHistogram { count: 2.0, sum: 5.0, zero_count: 0.5, positive_buckets: vec![1.5], ..sum };
        assert_eq!((*samples.histograms[0].1).clone(), average);
        assert_eq!(samples.floats, [5.0]);
    }

    proptest! {
        #[test]
        fn what_was_packed_comes_back(
            slots in prop::array::uniform5(prop::option::of((1_u8..7, prop::collection::vec(any::<u8>(), 1..300)))),
        ) {
            let slots = slots.each_ref().map(|slot| slot.as_ref().map(|(encoding, payload)| (*encoding, &payload[..])));
            let packed = encode_aggr(slots);
            let chunk = AggrChunk::try_parse(&packed).unwrap();
            prop_assert_eq!(SLOTS.map(|slot| chunk.get(slot)), slots);
            let mut longer = packed;
            longer.push(0);
            prop_assert!(AggrChunk::try_parse(&longer).is_err());
        }
    }

    #[test]
    fn a_cut_counter_keeps_its_frame() {
        let totals = [(1, 10.0), (9, 14.0), (19, 17.0), (29, 22.0), (39, 30.0), (39, 16.0)];
        let data = encode_aggr([None, None, None, None, Some((1, &xor(&totals)))]);
        let check = |mint, maxt, expected: &[(i64, f64)]| {
            let mut out = SampleBuffer::new();
            decode_counter(&data, TimeInterval::new(mint, maxt), &mut out).unwrap();
            let got: Vec<_> = out.timestamps.iter().copied().zip(out.floats.iter().copied()).collect();
            assert_eq!(got, expected, "{mint}..{maxt}");
        };
        check(i64::MIN, i64::MAX, &totals);
        check(9, 39, &totals);
        // the reset hid 14, after the first window
        check(9, 30, &[(1, 10.0), (9, 14.0), (19, 17.0), (29, 22.0), (29, 8.0)]);
        check(0, 9, &[(1, 10.0), (9, 14.0), (9, 14.0)]);
        check(10, 39, &[(19, 3.0), (29, 8.0), (39, 16.0), (39, 16.0)]);
        check(20, 30, &[(29, 8.0), (29, 8.0)]);
        check(40, 50, &[]);
        check(10, 12, &[]);
        let nothing = encode_aggr([None; 5]);
        let mut out = SampleBuffer::new();
        decode_counter(&nothing, TimeInterval::ALL, &mut out).unwrap();
        assert!(out.is_empty());
        for len in 0..data.len() {
            // an error or a part of the samples, never a panic
            let _ = decode_counter(&data[..len], TimeInterval::new(9, 30), &mut out);
        }
    }

    #[test]
    fn nested_and_overlong_slots_are_refused() {
        let inner = encode_aggr([None; 5]);
        assert!(AggrChunk::try_parse(&inner).is_ok());
        assert!(AggrChunk::try_parse(&encode_aggr([Some((AGGR, &inner)), None, None, None, None])).is_err());
        assert!(AggrChunk::try_parse(&[5, 1, 0, 0]).is_err());
        assert!(AggrChunk::try_parse(&[0xff; 12]).is_err());
        assert!(AggrChunk::try_parse(&[0; 6]).is_err());
        assert!(AggrChunk::try_parse(&[]).is_err());
    }
}
