//! A whole series to chunks.

use super::fit::PushOutcome;
use super::histogram_encoder::{Encoder as HistogramChunk, SampleWriter};
use super::{ChunkError, Encoding, FloatHistogramEncoder, HistogramEncoder, Xor2Encoder, XorEncoder};
use crate::model::{CounterResetHint, FloatHistogram, SampleBuffer, Timestamp, is_stale_nan};

/// Samples in a chunk that is cut for its size, as Prometheus does it.
pub const SAMPLES_PER_CHUNK: usize = 120;

/// A finished chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedChunk {
    /// Time of the first sample.
    pub mint: Timestamp,
    /// Time of the last sample.
    pub maxt: Timestamp,
    /// How `data` is packed.
    pub encoding: Encoding,
    /// The payload.
    pub data: Vec<u8>,
    /// Number of samples.
    pub samples: usize,
}

/// Packs all samples, in XOR and float histogram chunks of at most `samples_per_chunk` samples (0 counts as 1); where a sample of
/// the series has a start timestamp, in XOR2 chunks and those of float histograms with start timestamps.
///
/// Chunks are also cut between floats and histograms, and where a histogram does not fit the open chunk
/// (`push` of [`FloatHistogramEncoder`]). A staleness marker goes with the sample before it.
///
/// # Errors
/// [`ChunkError`] where a histogram's spans and buckets contradict each other.
pub fn encode_series(samples: &SampleBuffer, samples_per_chunk: usize) -> Result<Vec<EncodedChunk>, ChunkError> {
    encode(samples, samples_per_chunk, false)
}

/// As [`encode_series`], with histograms in chunks of integer histograms: for samples that were decoded from such. One that has a
/// fraction goes into a chunk of float histograms all the same.
///
/// # Errors
/// As [`encode_series`].
pub fn encode_integer_series(
    samples: &SampleBuffer,
    samples_per_chunk: usize,
) -> Result<Vec<EncodedChunk>, ChunkError> {
    encode(samples, samples_per_chunk, true)
}

fn encode(samples: &SampleBuffer, samples_per_chunk: usize, integers: bool) -> Result<Vec<EncodedChunk>, ChunkError> {
    let limit = samples_per_chunk.clamp(1, usize::from(u16::MAX));
    let started = !samples.start_times.is_empty();
    let mut chunks = Chunks { done: Vec::new(), open: None, limit, started, integers };
    let mut histograms = samples.histograms.iter().peekable();
    for (i, (t, value)) in samples.timestamps.iter().zip(&samples.floats).enumerate() {
        match histograms.next_if(|(index, _)| *index as usize == i) {
            Some((_, histogram)) => chunks.push_histogram(*t, histogram, samples.start_time(i))?,
            None => chunks.push_float(*t, *value, samples.start_time(i))?,
        }
    }
    chunks.cut();
    Ok(chunks.done)
}

/// The chunks so far.
struct Chunks {
    done: Vec<EncodedChunk>,
    open: Option<Open>,
    limit: usize,
    /// Whether the chunks have start timestamps.
    started: bool,
    /// Whether histograms go into chunks of integer histograms where they can.
    integers: bool,
}

/// The chunk being filled, and the times of its first and last sample.
struct Open {
    mint: Timestamp,
    maxt: Timestamp,
    encoder: Encoder,
}

enum Encoder {
    Floats(XorEncoder),
    StartedFloats(Xor2Encoder),
    Histograms(Box<FloatHistogramEncoder>),
    Integers(Box<HistogramEncoder>),
}

impl Encoder {
    fn len(&self) -> usize {
        match self {
            Self::Floats(encoder) => encoder.len(),
            Self::StartedFloats(encoder) => encoder.len(),
            Self::Histograms(encoder) => encoder.len(),
            Self::Integers(encoder) => encoder.len(),
        }
    }

    /// What a staleness marker says of what follows it; none in a chunk of floats.
    fn stale_hint(&self) -> Option<CounterResetHint> {
        let is_gauge = match self {
            Self::Floats(_) | Self::StartedFloats(_) => return None,
            Self::Histograms(encoder) => encoder.is_gauge(),
            Self::Integers(encoder) => encoder.is_gauge(),
        };
        Some(if is_gauge { CounterResetHint::Gauge } else { CounterResetHint::Unknown })
    }
}

impl Chunks {
    fn push_float(&mut self, t: Timestamp, value: f64, start: Timestamp) -> Result<(), ChunkError> {
        let stale_hint = self.open.as_ref().and_then(|open| open.encoder.stale_hint());
        if let Some(counter_reset_hint) = stale_hint.filter(|_| is_stale_nan(value)) {
            let marker = FloatHistogram { counter_reset_hint, sum: value, ..Default::default() };
            return self.push_histogram(t, &marker, start);
        }
        let fits = |open: &mut Open| open.encoder.len() < self.limit && open.encoder.stale_hint().is_none();
        let mut open = match self.open.take_if(fits) {
            Some(open) => open,
            None => {
                self.cut();
                let encoder = match self.started {
                    true => Encoder::StartedFloats(Xor2Encoder::new()),
                    false => Encoder::Floats(XorEncoder::new()),
                };
                Open { mint: t, maxt: t, encoder }
            }
        };
        open.maxt = t;
        match &mut open.encoder {
            Encoder::Floats(encoder) => encoder.push(t, value),
            Encoder::StartedFloats(encoder) => encoder.push(t, value, start),
            Encoder::Histograms(_) | Encoder::Integers(_) => {}
        }
        self.open = Some(open);
        Ok(())
    }

    fn push_histogram(&mut self, t: Timestamp, histogram: &FloatHistogram, start: Timestamp) -> Result<(), ChunkError> {
        if let Some(integer) = self.integers.then(|| histogram.to_integer()).flatten() {
            return self.push_to(
                t,
                &integer,
                start,
                |encoder| match encoder {
                    Encoder::Integers(encoder) => Some(encoder),
                    _ => None,
                },
                Encoder::Integers,
            );
        }
        self.push_to(
            t,
            histogram,
            start,
            |encoder| match encoder {
                Encoder::Histograms(encoder) => Some(encoder),
                _ => None,
            },
            Encoder::Histograms,
        )
    }

    /// Appends to the open chunk where it is one of this kind, as `open_as` finds out, and has room; else to a new one.
    fn push_to<S: SampleWriter>(
        &mut self,
        t: Timestamp,
        histogram: &S::Histogram,
        start: Timestamp,
        open_as: impl FnOnce(&mut Encoder) -> Option<&mut Box<HistogramChunk<S>>>,
        wrap: impl FnOnce(Box<HistogramChunk<S>>) -> Encoder,
    ) -> Result<(), ChunkError> {
        let mut next = HistogramChunk::<S>::new();
        if self.started {
            next = next.with_start_times();
        }
        if let Some(Open { maxt, encoder, .. }) = &mut self.open
            && let Some(encoder) = open_as(encoder)
        {
            if encoder.len() < self.limit && encoder.push_started(t, histogram, start)? == PushOutcome::Appended {
                *maxt = t;
                return Ok(());
            }
            next = encoder.successor(histogram);
        }
        self.cut();
        let outcome = next.push_started(t, histogram, start)?;
        debug_assert_eq!(outcome, PushOutcome::Appended, "an empty chunk takes any histogram");
        self.open = Some(Open { mint: t, maxt: t, encoder: wrap(Box::new(next)) });
        Ok(())
    }

    /// Finishes the open chunk.
    fn cut(&mut self) {
        if let Some(Open { mint, maxt, encoder }) = self.open.take() {
            let samples = encoder.len();
            let (encoding, data) = match encoder {
                Encoder::Floats(encoder) => (Encoding::Xor, encoder.finish()),
                Encoder::StartedFloats(encoder) => (Encoding::Xor2, encoder.finish()),
                Encoder::Histograms(encoder) if self.started => (Encoding::FloatHistogramSt, encoder.finish()),
                Encoder::Histograms(encoder) => (Encoding::FloatHistogram, encoder.finish()),
                Encoder::Integers(encoder) if self.started => (Encoding::HistogramSt, encoder.finish()),
                Encoder::Integers(encoder) => (Encoding::Histogram, encoder.finish()),
            };
            self.done.push(EncodedChunk { mint, maxt, encoding, data, samples });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Span, TimeInterval, stale_nan};

    fn histogram(count: f64) -> FloatHistogram {
        FloatHistogram {
            count,
            sum: count,
            positive_spans: vec![Span { offset: 0, length: 1 }],
            positive_buckets: vec![count],
            ..FloatHistogram::default()
        }
    }

    /// Encoding, first and last time, and number of samples of every chunk; checks that they decode to the series.
    fn chunks(samples: &SampleBuffer, limit: usize) -> Vec<(Encoding, i64, i64, usize)> {
        let chunks = encode_series(samples, limit).unwrap();
        let mut back = SampleBuffer::new();
        for chunk in &chunks {
            assert_eq!(super::super::sample_count(chunk.encoding as u8, &chunk.data), Ok(chunk.samples));
            super::super::decode(chunk.encoding as u8, &chunk.data, TimeInterval::ALL, &mut back).unwrap();
            assert_eq!(back.timestamps.last(), Some(&chunk.maxt));
        }
        let plain = |samples: &SampleBuffer| {
            let mut samples = samples.clone();
            for (_, histogram) in &mut samples.histograms {
                std::sync::Arc::make_mut(histogram).counter_reset_hint = CounterResetHint::Unknown;
            }
            format!("{samples:?}")
        };
        assert_eq!(plain(&back), plain(samples));
        chunks.iter().map(|chunk| (chunk.encoding, chunk.mint, chunk.maxt, chunk.samples)).collect()
    }

    #[test]
    fn floats_are_cut_by_number() {
        let mut samples = SampleBuffer::new();
        (0..250).for_each(|i| samples.push_float(i, 1.0));
        let expected = [(0, 119, 120), (120, 239, 120), (240, 249, 10)];
        assert_eq!(chunks(&samples, 120), expected.map(|(mint, maxt, n)| (Encoding::Xor, mint, maxt, n)));
        assert_eq!(chunks(&samples, 0).len(), 250);
        assert_eq!(chunks(&SampleBuffer::new(), 120), []);
    }

    #[test]
    fn kinds_and_resets_cut() {
        let mut samples = SampleBuffer::new();
        samples.push_float(1, 1.0);
        samples.push_float(2, stale_nan());
        samples.push_histogram(3, histogram(1.0));
        samples.push_histogram(4, histogram(2.0));
        samples.push_float(5, stale_nan());
        samples.push_histogram(6, histogram(3.0));
        samples.push_histogram(7, histogram(1.0));
        samples.push_float(8, 2.0);
        use Encoding::{FloatHistogram, Xor};
        assert_eq!(
            chunks(&samples, 120),
            [
                (Xor, 1, 2, 2),
                (FloatHistogram, 3, 5, 3),
                (FloatHistogram, 6, 6, 1),
                (FloatHistogram, 7, 7, 1),
                (Xor, 8, 8, 1)
            ]
        );
        assert_eq!(chunks(&samples, 2).len(), 6);
    }

    #[test]
    fn integers_stay_integers() {
        let mut samples = SampleBuffer::new();
        samples.push_histogram(1, histogram(1.0));
        samples.push_histogram(2, histogram(2.0));
        samples.push_float(3, stale_nan());
        samples.push_histogram(4, histogram(2.5));
        samples.push_histogram(5, histogram(3.0));
        samples.push_float(6, 1.0);
        let chunks = encode_integer_series(&samples, 120).unwrap();
        let found: Vec<_> = chunks.iter().map(|chunk| (chunk.encoding, chunk.mint, chunk.maxt)).collect();
        use Encoding::{FloatHistogram, Histogram, Xor};
        assert_eq!(found, [(Histogram, 1, 3), (FloatHistogram, 4, 4), (Histogram, 5, 5), (Xor, 6, 6)]);
        let mut back = SampleBuffer::new();
        for chunk in &chunks {
            super::super::decode(chunk.encoding as u8, &chunk.data, TimeInterval::ALL, &mut back).unwrap();
        }
        assert_eq!(back.timestamps, samples.timestamps);
        for (index, histogram) in &samples.histograms {
            let found = back.histogram(*index as usize).unwrap();
            assert_eq!((found.count, &found.positive_buckets), (histogram.count, &histogram.positive_buckets));
        }
        assert!(is_stale_nan(back.floats[2]));
    }

    #[test]
    fn start_timestamps_choose_the_encoding() {
        let mut samples = SampleBuffer::new();
        samples.push_float(1, 1.0);
        samples.push_float(2, 2.0);
        samples.set_start_time(1);
        samples.push_histogram(3, histogram(1.0));
        samples.push_float(4, stale_nan());
        samples.set_start_time(3);
        samples.push_float(5, 1.0);
        samples.set_start_time(4);
        let expected = [(Encoding::Xor2, 1, 2, 2), (Encoding::FloatHistogramSt, 3, 4, 2), (Encoding::Xor2, 5, 5, 1)];
        assert_eq!(chunks(&samples, 120), expected);
    }

    #[test]
    fn gauges_keep_their_hint_through_staleness() {
        let mut samples = SampleBuffer::new();
        let gauge = |count| FloatHistogram { counter_reset_hint: CounterResetHint::Gauge, ..histogram(count) };
        samples.push_histogram(1, gauge(2.0));
        samples.push_histogram(2, gauge(1.0));
        samples.push_float(3, stale_nan());
        let chunks = encode_series(&samples, 120).unwrap();
        assert_eq!(chunks.len(), 1);
        let mut back = SampleBuffer::new();
        super::super::decode(3, &chunks[0].data, TimeInterval::ALL, &mut back).unwrap();
        assert!(back.histograms.iter().all(|(_, h)| h.counter_reset_hint == CounterResetHint::Gauge));
    }
}
