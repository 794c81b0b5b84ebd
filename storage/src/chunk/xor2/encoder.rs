//! Packing floats with start timestamps.

use super::super::bits::BitWriter;
use super::super::start_time::StartTimeWriter;
use super::super::xor::XorWriter;
use super::HEADER_BYTES;
use crate::model::{Timestamp, is_stale_nan};

/// The widths of a time change after three and four control bits.
const CHANGE_WIDTHS: [u32; 2] = [13, 20];

/// Packs floats into one chunk, bit for bit as Prometheus does.
#[derive(Debug, Clone)]
pub struct Xor2Encoder {
    writer: BitWriter,
    samples: u16,
    t: Timestamp,
    step: u64,
    /// The last value that was no staleness marker.
    baseline: f64,
    xor: XorWriter,
    starts: StartTimeWriter,
}

impl Default for Xor2Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Xor2Encoder {
    /// An empty chunk.
    #[must_use]
    pub fn new() -> Self {
        Self {
            writer: BitWriter::after(&[0; HEADER_BYTES]),
            samples: 0,
            t: 0,
            step: 0,
            baseline: 0.0,
            xor: XorWriter::default(),
            starts: StartTimeWriter::default(),
        }
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

    /// Appends a sample that is not older than the one before; `start` is its start timestamp, 0 for none.
    ///
    /// # Panics
    /// At the 65 536th sample: a chunk counts in 16 bits. Writers cut far earlier.
    pub fn push(&mut self, t: Timestamp, value: f64, start: Timestamp) {
        let step = t.wrapping_sub(self.t).cast_unsigned();
        match self.samples {
            0 => {
                self.writer.write_varint(t);
                self.writer.write_f64(value);
            }
            1 => {
                self.writer.write_uvarint(step);
                self.write_value(value);
            }
            _ => self.write_joint(step.wrapping_sub(self.step).cast_signed(), value),
        }
        self.starts.write(&mut self.writer, self.samples, t, self.t, start);
        // The first sample has no step.
        self.step = if self.samples == 0 { 0 } else { step };
        self.t = t;
        if !is_stale_nan(value) {
            self.baseline = value;
        }
        self.samples = self.samples.checked_add(1).expect("invariant: chunks are cut before 65 536 samples");
    }

    /// Time change and value together.
    fn write_joint(&mut self, change: i64, value: f64) {
        let xor = value.to_bits() ^ self.baseline.to_bits();
        match change {
            0 if is_stale_nan(value) => self.writer.write_bits(0b11111, 5),
            0 if xor == 0 => self.writer.write_bit(false),
            0 => {
                self.writer.write_bits(0b10, 2);
                self.xor.write_changed(&mut self.writer, xor, [(0, 1), (1, 1)]);
            }
            change => {
                self.write_change(change);
                self.write_value(value);
            }
        }
    }

    fn write_change(&mut self, change: i64) {
        let fits = |width: u32| (-(1_i64 << (width - 1))..1 << (width - 1)).contains(&change);
        let bits = change.cast_unsigned();
        let [short, long] = CHANGE_WIDTHS;
        if fits(short) {
            self.writer.write_bits(0b110, 3);
            self.writer.write_bits(bits, short);
        } else if fits(long) {
            self.writer.write_bits(0b1110, 4);
            self.writer.write_bits(bits, long);
        } else {
            self.writer.write_bits(0b11110, 5);
            self.writer.write_bits(bits, 64);
        }
    }

    /// A value behind a time change.
    fn write_value(&mut self, value: f64) {
        let xor = value.to_bits() ^ self.baseline.to_bits();
        if is_stale_nan(value) {
            self.writer.write_bits(0b111, 3);
        } else if xor == 0 {
            self.writer.write_bit(false);
        } else {
            self.xor.write_changed(&mut self.writer, xor, [(0b10, 2), (0b110, 3)]);
        }
    }

    /// The chunk's payload.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        let [high, low] = self.samples.to_be_bytes();
        self.writer.patch(0, &[high, low, self.starts.header()]);
        self.writer.into_bytes()
    }
}
