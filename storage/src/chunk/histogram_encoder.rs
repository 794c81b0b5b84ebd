//! Packing native histograms into chunks: what does not depend on whether counts are integers or floats.
//!
//! Which histogram may join an open chunk, and what the header of the next one says, is decided in [`fit`](super::fit).
//! How one sample becomes bits is a [`SampleWriter`]'s.

use std::fmt::Debug;

use super::ChunkError;
use super::bits::BitWriter;
use super::fit::{Fit, Populations, PushOutcome};
use super::histogram_header::{HEADER_BYTES, ST_COUNT_MAX, bits_of_hint};
use super::start_time::StartTimeWriter;
use crate::model::{CounterResetHint, Timestamp};

/// The samples of one chunk on their way into bits.
pub trait SampleWriter: Sized {
    /// What is packed.
    type Histogram;
    /// Counts observations.
    type Count: PartialOrd + Debug;
    /// Counts those of a bucket.
    type Population: Copy + Default + PartialOrd + Debug;

    /// What decides whether `histogram` fits. A staleness marker has nothing but its sum.
    fn populations(histogram: &Self::Histogram) -> Populations<Self::Count, Self::Population>;

    /// Writes the first sample, after its layout.
    fn first(writer: &mut BitWriter, t: Timestamp, first: &Populations<Self::Count, Self::Population>) -> Self;

    /// Writes a later sample: `next` after `last`, its buckets those of the chunk's layout. A staleness marker has no
    /// buckets, and only staleness markers follow it.
    fn write(
        &mut self,
        writer: &mut BitWriter,
        t: Timestamp,
        last: &Populations<Self::Count, Self::Population>,
        next: &Populations<Self::Count, Self::Population>,
    );
}

/// Packs histograms into one chunk.
#[derive(Debug)]
pub struct Encoder<S: SampleWriter> {
    writer: BitWriter,
    samples: u16,
    /// What the first sample's header will say unless the sample itself knows better.
    header: CounterResetHint,
    /// Set where the chunk has start timestamps.
    starts: Option<StartTimeWriter>,
    /// Time of the last sample.
    t: Timestamp,
    last: Option<Last<S>>,
}

/// The last sample, in the layout and with the header of the chunk.
#[derive(Debug)]
struct Last<S: SampleWriter> {
    populations: Populations<S::Count, S::Population>,
    samples: S,
}

impl<S: SampleWriter> Default for Encoder<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: SampleWriter> Encoder<S> {
    /// An empty chunk of whose predecessor nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self::with_header(CounterResetHint::default())
    }

    /// An empty chunk whose header says `header` of a reset before it.
    #[must_use]
    pub fn with_header(header: CounterResetHint) -> Self {
        Self { writer: BitWriter::after(&[0; HEADER_BYTES]), samples: 0, header, starts: None, t: 0, last: None }
    }

    /// The same empty chunk, in the encoding that has start timestamps.
    #[must_use]
    pub fn with_start_times(self) -> Self {
        Self { starts: Some(StartTimeWriter::default()), ..self }
    }

    /// An empty chunk that will begin with `next` and follow this one: its header says whether there was a reset.
    #[must_use]
    pub fn successor(&self, next: &S::Histogram) -> Self {
        let header = self.last.as_ref().map_or(self.header, |last| last.populations.fit(&S::populations(next)).1);
        let next = Self::with_header(header);
        if self.starts.is_some() { next.with_start_times() } else { next }
    }

    /// Samples so far.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.samples)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.samples == 0
    }

    /// Whether the chunk is one of gauges.
    #[must_use]
    pub fn is_gauge(&self) -> bool {
        self.header == CounterResetHint::Gauge
    }

    /// Appends a sample that is not older than the one before, unless it needs a [successor](Self::successor): after a
    /// counter reset, another schema, zero threshold or custom bounds, with a bucket that the chunk lacks, after a
    /// staleness marker, between gauges and counters, and after 65 535 samples (16 383 with start timestamps).
    ///
    /// # Errors
    /// [`ChunkError`] where the histogram's spans and buckets contradict each other.
    pub fn push(&mut self, t: Timestamp, histogram: &S::Histogram) -> Result<PushOutcome, ChunkError> {
        self.push_started(t, histogram, 0)
    }

    /// As [`push`](Self::push), with a start timestamp, which is dropped where the encoding has none.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_started(
        &mut self,
        t: Timestamp,
        histogram: &S::Histogram,
        start: Timestamp,
    ) -> Result<PushOutcome, ChunkError> {
        let mut next = S::populations(histogram);
        next.layout.check_buckets(next.positive.len(), next.negative.len())?;
        if let Some(last) = &mut self.last {
            let Fit::Join { positive, negative } = last.populations.fit(&next).0 else {
                return Ok(PushOutcome::NewChunk);
            };
            if self.samples == if self.starts.is_some() { ST_COUNT_MAX } else { u16::MAX } {
                return Ok(PushOutcome::NewChunk);
            }
            (next.positive, next.negative) = (positive, negative);
            last.samples.write(&mut self.writer, t, &last.populations, &next);
            (next.hint, next.layout) = (last.populations.hint, std::mem::take(&mut last.populations.layout));
            last.populations = next;
        } else {
            if matches!(next.hint, CounterResetHint::Gauge | CounterResetHint::CounterReset) {
                self.header = next.hint;
            }
            next.hint = self.header;
            next.layout.write(&mut self.writer);
            let samples = S::first(&mut self.writer, t, &next);
            self.last = Some(Last { populations: next, samples });
        }
        if let Some(starts) = &mut self.starts {
            starts.write(&mut self.writer, self.samples, t, self.t, start);
        }
        self.t = t;
        self.samples += 1;
        Ok(PushOutcome::Appended)
    }

    /// The chunk's payload.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        let header = self.header_bytes();
        self.writer.patch(0, &header);
        self.writer.into_bytes()
    }

    /// The payload so far, while the chunk stays open.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        let mut payload = self.writer.bytes().to_vec();
        payload[..HEADER_BYTES].copy_from_slice(&self.header_bytes());
        payload
    }

    /// What stands before the bits.
    fn header_bytes(&self) -> [u8; HEADER_BYTES] {
        let [high, low] = self.samples.to_be_bytes();
        let hint = bits_of_hint(self.header);
        match &self.starts {
            Some(starts) => [high | hint, low, starts.header()],
            None => [high, low, hint],
        }
    }
}
