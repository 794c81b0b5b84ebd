//! XOR2 chunks (encoding 4): floats in Prometheus 3.14's newer code, with optional start timestamps.
//!
//! The first two samples are those of [XOR](super::xor) chunks. From the third on one prefix speaks of time and value
//! together, and staleness markers have codes of their own, which leave the value to XOR with as it was:
//!
//! | prefix | time change | value |
//! |---|---|---|
//! | 0 | none | as before |
//! | 10 | none | changed: 0 and old window, or 1 and new window |
//! | 110 | 13 bits | 0 as before, 10 old window, 110 new window, 111 stale |
//! | 1110 | 20 bits | likewise |
//! | 11110 | 64 bits | likewise |
//! | 11111 | none | stale |
//!
//! Time changes are two's complement here. We write this code only where a sample has a start timestamp, which the others cannot hold.

mod encoder;

pub use encoder::Xor2Encoder;

use super::ChunkError;
use super::bits::BitReader;
use super::start_time::StartTimeReader;
use super::xor::XorWindow;
use crate::model::{SampleBuffer, TimeInterval, Timestamp, is_stale_nan, stale_nan};

/// Sample count and start timestamp byte.
const HEADER_BYTES: usize = 3;

/// Appends the samples in `interval`.
pub(super) fn decode(data: &[u8], interval: TimeInterval, out: &mut SampleBuffer) -> Result<(), ChunkError> {
    let (&[high, low, third], bits) = data.split_first_chunk::<HEADER_BYTES>().ok_or_else(ChunkError::truncated)?;
    let count = usize::from(u16::from_be_bytes([high, low]));
    // The smallest sample takes one bit.
    if count > bits.len().saturating_mul(8) {
        return Err(ChunkError::too_many_samples(count, data.len()));
    }
    let mut starts = StartTimeReader::from_byte(third);
    let mut samples =
        Samples { reader: BitReader::new(bits), t: 0, step: 0, baseline: 0.0, window: XorWindow::default() };
    for index in 0..count {
        let before = samples.t;
        let value = samples.next(index)?;
        let t = samples.t;
        let start = starts.read(&mut samples.reader, index, t, before)?;
        if index > 0 && t < before {
            return Err(ChunkError::unsorted());
        }
        if t > interval.maxt {
            break;
        }
        if t >= interval.mint {
            out.push_float(t, value);
            out.set_start_time(start);
        }
    }
    Ok(())
}

/// Reads samples one by one.
struct Samples<'a> {
    reader: BitReader<'a>,
    t: Timestamp,
    /// Milliseconds from the sample before, modulo 2⁶⁴.
    step: u64,
    /// The last value that was no staleness marker: what the next one is XORed with.
    baseline: f64,
    window: XorWindow,
}

impl Samples<'_> {
    /// Moves to sample `index`, and returns its value.
    fn next(&mut self, index: usize) -> Result<f64, ChunkError> {
        match index {
            0 => {
                self.t = self.reader.read_varint()?;
                let value = self.reader.read_f64()?;
                if !is_stale_nan(value) {
                    self.baseline = value;
                }
                return Ok(value);
            }
            1 => self.step = self.reader.read_uvarint()?,
            _ => {
                let ones = self.reader.peek().leading_ones().min(5);
                self.reader.skip((ones + 1).min(5))?;
                if let Some(width) = [None, None, Some(13), Some(20), Some(64), None][ones as usize] {
                    let unused = 64 - width;
                    let change = (self.reader.read_bits(width)? << unused).cast_signed() >> unused;
                    self.step = self.step.wrapping_add_signed(change);
                } else {
                    self.t = self.t.wrapping_add_unsigned(self.step);
                    return match ones {
                        0 => Ok(self.baseline),
                        1 => {
                            let new_window = self.reader.read_bit()?;
                            self.changed(new_window)
                        }
                        _ => Ok(stale_nan()),
                    };
                }
            }
        }
        self.t = self.t.wrapping_add_unsigned(self.step);
        self.value()
    }

    /// A value behind a time change.
    fn value(&mut self) -> Result<f64, ChunkError> {
        let ones = self.reader.peek().leading_ones().min(3);
        self.reader.skip((ones + 1).min(3))?;
        match ones {
            0 => Ok(self.baseline),
            1 => self.changed(false),
            2 => self.changed(true),
            _ => Ok(stale_nan()),
        }
    }

    /// A value of which the XOR's significant bits follow.
    fn changed(&mut self, new_window: bool) -> Result<f64, ChunkError> {
        if new_window {
            self.window = XorWindow::from_bits(self.reader.read_bits(11)?).ok_or_else(ChunkError::impossible_window)?;
        }
        let xor = self.window.place(self.reader.peek());
        self.reader.skip(self.window.width())?;
        self.baseline = f64::from_bits(self.baseline.to_bits() ^ xor);
        Ok(self.baseline)
    }
}

#[cfg(test)]
mod tests;
