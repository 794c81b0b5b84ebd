//! Chunk codecs: how samples of one series are packed.

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

/// Why a chunk's payload does not decode. The caller knows block, file and offset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ChunkError(pub String);

/// Appends to `out` the samples of `data` that lie in `interval`, in time order.
///
/// # Errors
/// [`ChunkError`] where the payload is cut short, unsorted, of an unknown encoding, or has impossible fields.
/// `out` may then hold samples of the part before the damage.
pub fn decode(encoding: u8, data: &[u8], interval: TimeInterval, out: &mut SampleBuffer) -> Result<(), ChunkError> {
    let _ = (encoding, data, interval, out);
    Err(ChunkError("replaced by the codec modules".to_owned()))
}
