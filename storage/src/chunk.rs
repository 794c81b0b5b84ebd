//! Chunk codecs: how samples of one series are packed.
//!
//! A chunk here is its encoding byte and its payload; length and checksum around them belong to the segment file.
//! [`decode`] reads every encoding of Prometheus 3.14 and Thanos into a [`SampleBuffer`]; the encoders write the
//! three that both understand, and those with start timestamps where a sample has one. Layouts are drawn in storage/docs/format/chunks.md.
//!
//! All decoders promise: any bytes give samples or an error, never a panic; time and memory are bounded by the
//! payload's size.

mod aggr;
mod bits;
mod counter_total;
mod fit;
mod float_histogram;
mod histogram;
mod histogram_encoder;
mod histogram_header;
mod layout;
mod series;
mod start_time;
mod xor;
mod xor2;

pub use aggr::{AggrChunk, Aggregate, decode_aggregate, decode_counter, encode_aggr};
pub(crate) use bits::BitSink;
pub use counter_total::CounterTotal;
pub use fit::PushOutcome;
pub use float_histogram::FloatHistogramEncoder;
pub use histogram::{HistogramEncoder, decode_integer};
pub use histogram_header::counter_reset_header;
pub use series::{EncodedChunk, SAMPLES_PER_CHUNK, encode_integer_series, encode_series};
pub use xor::{SharedTimes, XorEncoder, XorState};
pub use xor2::Xor2Encoder;

use crate::model::{SampleBuffer, TimeInterval};

/// The encoding byte of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Encoding {
    /// Gorilla-compressed floats.
    Xor = 1,
    /// Native histograms with integer counts.
    Histogram = 2,
    /// Native histograms with float counts.
    FloatHistogram = 3,
    /// Floats in Prometheus 3.14's newer encoding, with optional start timestamps.
    Xor2 = 4,
    /// Integer histograms with start timestamps.
    HistogramSt = 5,
    /// Float histograms with start timestamps.
    FloatHistogramSt = 6,
    /// Thanos's downsampled aggregates: five slots of the other encodings.
    Aggr = 0xff,
}

impl TryFrom<u8> for Encoding {
    type Error = ChunkError;

    fn try_from(byte: u8) -> Result<Self, ChunkError> {
        Ok(match byte {
            1 => Self::Xor,
            2 => Self::Histogram,
            3 => Self::FloatHistogram,
            4 => Self::Xor2,
            5 => Self::HistogramSt,
            6 => Self::FloatHistogramSt,
            0xff => Self::Aggr,
            other => return Err(ChunkError::new(format!("chunk encoding {other} is unknown"))),
        })
    }
}

/// Why a chunk's payload does not decode. The caller knows block, file and offset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ChunkError(pub String);

impl ChunkError {
    /// An error with this text.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    #[cold]
    fn truncated() -> Self {
        Self::new("chunk ends within a sample")
    }

    #[cold]
    fn unsorted() -> Self {
        Self::new("chunk's time falls from one sample to the next")
    }

    #[cold]
    fn impossible_window() -> Self {
        Self::new("chunk has a value of more than 64 bits")
    }

    #[cold]
    fn too_many_samples(samples: usize, bytes: usize) -> Self {
        Self::new(format!("chunk of {bytes} bytes cannot hold the {samples} samples that it claims"))
    }
}

/// Appends to `out` the samples of `data` that lie in `interval`, in time order.
///
/// Decoding stops at the first sample past the interval, so damage behind it goes unnoticed. Integer histograms become
/// float histograms. Of aggregates the average comes out, as Thanos's querier has it by default;
/// [`decode_aggregate`] reads one of them. Counter-reset hints are those of Prometheus's iterators: a histogram
/// is a gauge, or follows another in its chunk without reset, or nothing is known of it, since the chunk before
/// may be missing.
///
/// # Errors
/// [`ChunkError`] where the payload is cut short, unsorted, of an unknown encoding, or has impossible fields.
/// `out` may then hold samples of the part before the damage.
pub fn decode(encoding: u8, data: &[u8], interval: TimeInterval, out: &mut SampleBuffer) -> Result<(), ChunkError> {
    match Encoding::try_from(encoding)? {
        Encoding::Xor => xor::decode(data, interval, out),
        Encoding::Xor2 => xor2::decode(data, interval, out),
        kind @ (Encoding::Histogram | Encoding::HistogramSt) => histogram::decode(kind, data, interval, out),
        kind @ (Encoding::FloatHistogram | Encoding::FloatHistogramSt) => {
            float_histogram::decode(kind, data, interval, out)
        }
        Encoding::Aggr => aggr::decode_average(data, interval, out),
    }
}

/// As [`decode`], for chunks of series after series: those that have the times which `shared` [remembers](SharedTimes::remember), to
/// the millisecond, decode quicker.
///
/// # Errors
/// As [`decode`].
pub fn decode_sharing(
    encoding: u8,
    data: &[u8],
    interval: TimeInterval,
    shared: &mut SharedTimes,
    out: &mut SampleBuffer,
) -> Result<(), ChunkError> {
    match Encoding::try_from(encoding)? {
        Encoding::Xor => xor::decode_sharing(data, interval, shared, out),
        _ => decode(encoding, data, interval, out),
    }
}

/// The number of samples that a chunk's header claims; of aggregates, that of the count.
///
/// # Errors
/// [`ChunkError`] where the encoding is unknown or there is no header.
pub fn sample_count(encoding: u8, data: &[u8]) -> Result<usize, ChunkError> {
    let encoding = Encoding::try_from(encoding)?;
    if encoding == Encoding::Aggr {
        return aggr::sample_count(data);
    }
    let [high, low] = *data.first_chunk::<2>().ok_or_else(ChunkError::truncated)?;
    let count = usize::from(u16::from_be_bytes([high, low]));
    Ok(match encoding {
        Encoding::HistogramSt | Encoding::FloatHistogramSt => count & usize::from(histogram_header::ST_COUNT_MAX),
        _ => count,
    })
}

#[cfg(test)]
mod tests;
