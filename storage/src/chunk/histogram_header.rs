//! The three header bytes of histogram chunks.
//!
//! Encodings 2 and 3 have a u16 sample count and a byte whose two high bits say what is known of a counter reset
//! before the chunk. Encodings 5 and 6 put those two bits on top of a 14-bit count, and use the third byte for start
//! timestamps. Encoding 4 has the plain count and the same third byte.

use super::start_time::StartTimeReader;
use super::{ChunkError, Encoding};
use crate::model::CounterResetHint;

/// Bytes before the bits of a histogram chunk.
pub(super) const HEADER_BYTES: usize = 3;

/// The most samples where the counter-reset header shares the count's bytes; also the bits of that count.
pub(super) const ST_COUNT_MAX: u16 = 0x3fff;

/// A histogram chunk's header.
#[derive(Debug, Clone, Copy)]
pub(super) struct HistogramHeader {
    /// Claimed number of samples.
    pub samples: usize,
    /// What is known of a reset before the chunk.
    pub reset: CounterResetHint,
    /// Always none in encodings 2 and 3.
    pub start_times: StartTimeReader,
}

impl HistogramHeader {
    /// Splits the header from the bits, and refuses a count that the bits cannot hold.
    pub fn split(encoding: Encoding, data: &[u8]) -> Result<(Self, &[u8]), ChunkError> {
        let (&[high, low, third], bits) = data.split_first_chunk::<HEADER_BYTES>().ok_or_else(ChunkError::truncated)?;
        let count = usize::from(u16::from_be_bytes([high, low]));
        let header = match encoding {
            Encoding::HistogramSt | Encoding::FloatHistogramSt => Self {
                samples: count & usize::from(ST_COUNT_MAX),
                reset: hint_of_bits(high),
                start_times: StartTimeReader::from_byte(third),
            },
            _ => Self { samples: count, reset: hint_of_bits(third), start_times: StartTimeReader::default() },
        };
        // The smallest sample takes four bits: time, count, zero count and sum unchanged.
        if header.samples > bits.len().saturating_mul(2) {
            return Err(ChunkError::too_many_samples(header.samples, data.len()));
        }
        Ok((header, bits))
    }

    /// The hint of sample `index`, as Prometheus's iterators give it. The header of a counter chunk says nothing about its
    /// first sample to a reader, who cannot know whether the chunk that it was compared with is still there.
    pub fn hint(&self, index: usize) -> CounterResetHint {
        match self.reset {
            CounterResetHint::Gauge => CounterResetHint::Gauge,
            _ if index > 0 => CounterResetHint::NotCounterReset,
            _ => CounterResetHint::Unknown,
        }
    }
}

/// The two high bits of the byte that holds the counter-reset header.
pub(super) fn bits_of_hint(hint: CounterResetHint) -> u8 {
    match hint {
        CounterResetHint::Unknown => 0,
        CounterResetHint::NotCounterReset => 0b0100_0000,
        CounterResetHint::CounterReset => 0b1000_0000,
        CounterResetHint::Gauge => 0b1100_0000,
    }
}

/// The inverse of [`bits_of_hint`]; the low bits do not matter.
fn hint_of_bits(byte: u8) -> CounterResetHint {
    match byte >> 6 {
        0 => CounterResetHint::Unknown,
        1 => CounterResetHint::NotCounterReset,
        2 => CounterResetHint::CounterReset,
        _ => CounterResetHint::Gauge,
    }
}

/// What the header of a histogram chunk says of a counter reset between the chunk before and its first sample.
///
/// # Errors
/// [`ChunkError`] where there is no header, or the encoding is not one of histograms.
pub fn counter_reset_header(encoding: u8, data: &[u8]) -> Result<CounterResetHint, ChunkError> {
    match Encoding::try_from(encoding)? {
        kind
        @ (Encoding::Histogram | Encoding::FloatHistogram | Encoding::HistogramSt | Encoding::FloatHistogramSt) => {
            Ok(HistogramHeader::split(kind, data)?.0.reset)
        }
        other => Err(ChunkError::new(format!("chunk encoding {other:?} has no counter-reset header"))),
    }
}
