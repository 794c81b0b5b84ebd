//! A chunk being filled, of any encoding, and the packing of samples into chunks with it.
//!
//! A series keeps its open chunk of plain floats itself, packed smaller ([`XorState`](crate::chunk::XorState)); what is here is
//! for all the others, and for samples that are packed anew: those out of order, and those of chunks that a block cuts through.

use super::sample::{SampleRef, Value, ValueRef};
use crate::chunk::{
    ChunkError, EncodedChunk, Encoding, FloatHistogramEncoder, HistogramEncoder, PushOutcome, SAMPLES_PER_CHUNK,
    Xor2Encoder, XorEncoder,
};
use crate::model::{Timestamp, is_stale_nan};

/// The encoder of an open chunk.
#[derive(Debug)]
pub(super) enum OpenChunk {
    Floats(XorEncoder),
    StartedFloats(Xor2Encoder),
    Histograms { encoder: HistogramEncoder, started: bool },
    FloatHistograms { encoder: FloatHistogramEncoder, started: bool },
}

impl OpenChunk {
    /// The chunk that begins with `sample` and follows `before`.
    pub fn begin(sample: SampleRef<'_>, before: Option<&Self>) -> Result<Self, ChunkError> {
        let started = sample.start != 0;
        let mut chunk = match sample.value {
            ValueRef::Float(_) if started => Self::StartedFloats(Xor2Encoder::new()),
            ValueRef::Float(_) => Self::Floats(XorEncoder::new()),
            ValueRef::Integer(histogram) => {
                let next = match before {
                    Some(Self::Histograms { encoder, .. }) => encoder.successor(histogram),
                    _ => HistogramEncoder::new(),
                };
                // A successor of a chunk with start timestamps has them too.
                let started = started || matches!(before, Some(Self::Histograms { started: true, .. }));
                let encoder = if started { next.with_start_times() } else { next };
                Self::Histograms { encoder, started }
            }
            ValueRef::FloatHistogram(histogram) => {
                let next = match before {
                    Some(Self::FloatHistograms { encoder, .. }) => encoder.successor(histogram),
                    _ => FloatHistogramEncoder::new(),
                };
                let started = started || matches!(before, Some(Self::FloatHistograms { started: true, .. }));
                let encoder = if started { next.with_start_times() } else { next };
                Self::FloatHistograms { encoder, started }
            }
        };
        if chunk.push(sample)? { Ok(chunk) } else { Err(ChunkError("an empty chunk refuses a sample".to_owned())) }
    }

    /// Appends a sample where it fits; otherwise the chunk stays as it is, and another one begins with it.
    pub fn push(&mut self, sample: SampleRef<'_>) -> Result<bool, ChunkError> {
        let SampleRef { t, start, value } = sample;
        let outcome = match (self, value) {
            (Self::Floats(encoder), ValueRef::Float(value)) if start == 0 => {
                encoder.push(t, value);
                PushOutcome::Appended
            }
            (Self::StartedFloats(encoder), ValueRef::Float(value)) => {
                encoder.push(t, value, start);
                PushOutcome::Appended
            }
            (Self::Histograms { encoder, started }, ValueRef::Integer(histogram)) if *started || start == 0 => {
                encoder.push_started(t, histogram, start)?
            }
            (Self::FloatHistograms { encoder, started }, ValueRef::FloatHistogram(h)) if *started || start == 0 => {
                encoder.push_started(t, h, start)?
            }
            _ => PushOutcome::NewChunk,
        };
        Ok(outcome == PushOutcome::Appended)
    }

    pub fn len(&self) -> usize {
        match self {
            Self::Floats(encoder) => encoder.len(),
            Self::StartedFloats(encoder) => encoder.len(),
            Self::Histograms { encoder, .. } => encoder.len(),
            Self::FloatHistograms { encoder, .. } => encoder.len(),
        }
    }

    pub fn encoding(&self) -> Encoding {
        match self {
            Self::Floats(_) => Encoding::Xor,
            Self::StartedFloats(_) => Encoding::Xor2,
            Self::Histograms { started: false, .. } => Encoding::Histogram,
            Self::Histograms { started: true, .. } => Encoding::HistogramSt,
            Self::FloatHistograms { started: false, .. } => Encoding::FloatHistogram,
            Self::FloatHistograms { started: true, .. } => Encoding::FloatHistogramSt,
        }
    }

    /// The payload so far.
    pub fn payload(&self) -> Vec<u8> {
        match self {
            Self::Floats(encoder) => encoder.clone().finish(),
            Self::StartedFloats(encoder) => encoder.clone().finish(),
            Self::Histograms { encoder, .. } => encoder.payload(),
            Self::FloatHistograms { encoder, .. } => encoder.payload(),
        }
    }
}

/// Packs samples in time order into chunks.
#[derive(Debug, Default)]
pub(super) struct ChunkPacker {
    done: Vec<EncodedChunk>,
    open: Option<(Timestamp, Timestamp, OpenChunk)>,
    /// The last value, where it is no staleness marker.
    last: Option<Value>,
}

impl ChunkPacker {
    /// Appends a sample that is younger than those before. A staleness marker becomes one of the kind before it.
    pub fn push(&mut self, sample: SampleRef<'_>) -> Result<(), ChunkError> {
        if let ValueRef::Float(value) = sample.value
            && is_stale_nan(value)
        {
            let marker = self.last.as_ref().map_or(Value::Float(value), |last| last.borrow().stale_marker(value));
            return self.push_value(SampleRef { value: marker.borrow(), ..sample });
        }
        self.push_value(sample)?;
        self.last = match sample.value {
            ValueRef::Float(_) => None,
            histogram => Some(histogram.to_value()),
        };
        Ok(())
    }

    fn push_value(&mut self, sample: SampleRef<'_>) -> Result<(), ChunkError> {
        if let Some((_, maxt, open)) = &mut self.open
            && open.len() < SAMPLES_PER_CHUNK
            && open.push(sample)?
        {
            *maxt = sample.t;
            return Ok(());
        }
        let next = OpenChunk::begin(sample, self.open.as_ref().map(|(_, _, open)| open))?;
        self.cut();
        self.open = Some((sample.t, sample.t, next));
        Ok(())
    }

    fn cut(&mut self) {
        if let Some((mint, maxt, open)) = self.open.take() {
            let (encoding, data, samples) = (open.encoding(), open.payload(), open.len());
            self.done.push(EncodedChunk { mint, maxt, encoding, data, samples });
        }
    }

    /// The chunks.
    pub fn finish(mut self) -> Vec<EncodedChunk> {
        self.cut();
        self.done
    }
}
