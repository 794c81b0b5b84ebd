//! XOR chunks (encoding 1): floats, compressed as in Facebook's Gorilla paper with Prometheus's widths.
//!
//! The layout is drawn in storage/docs/format/chunks.md. In short: a big-endian u16 sample count, then bits. The first
//! sample is whole; of the second the time difference is; from the third on a sample is the change of the time
//! difference (one bit where there is none), then the XOR of the value with the value before (one bit where
//! they are equal), of which only the significant bits are stored.
//!
//! Decoding is what queries spend their time on; it has a module of its own, `decode`.
//!
//! Promises: any bytes give samples or an error; time never falls (equal times pass, which Thanos's counter aggregates
//! need); memory is bounded by what the bytes can hold.

use super::ChunkError;
use super::bits::{BitReader, BitSink, BitWriter};
use crate::model::Timestamp;

mod decode;
mod shared;
mod state;
mod steady;

pub(super) use decode::{decode, decode_sharing};
pub use shared::SharedTimes;
pub use state::XorState;

/// The sample count before the bits.
const HEADER_BYTES: usize = 2;

/// The widths of a time change after two, three and four control bits.
const CHANGE_WIDTHS: [u32; 3] = [14, 17, 20];

/// Where the significant bits of a XOR lay when last said: behind `leading` zeros, `width` bits, which are the ones of
/// `mask`.
#[derive(Debug, Clone, Copy)]
pub(super) struct XorWindow {
    leading: u32,
    width: u32,
    mask: u64,
}

impl Default for XorWindow {
    /// No window said yet; a reader that meets a repeat nevertheless takes all 64 bits, as Prometheus does.
    fn default() -> Self {
        Self { leading: 0, width: 64, mask: !0 }
    }
}

impl XorWindow {
    /// `width` bits, 1 to 64, behind `leading` zeros. None where the two exceed 64.
    #[inline(always)]
    fn new(leading: u32, width: u32) -> Option<Self> {
        (leading + width <= 64).then(|| Self { leading, width, mask: (!0 << (64 - width)) >> leading })
    }

    /// The window in the low 11 bits: five of leading zeros, six of width, in which 64 is written as zero. None where
    /// the two exceed 64.
    #[inline(always)]
    pub(super) fn from_bits(bits: u64) -> Option<Self> {
        let width = (bits as u32).wrapping_sub(1) & 63;
        Self::new((bits >> 6) as u32 & 31, width + 1)
    }

    /// Number of significant bits.
    #[inline(always)]
    pub(super) fn width(self) -> u32 {
        self.width
    }

    /// The XOR of which `next` begins with the significant bits.
    #[inline(always)]
    pub(super) fn place(self, next: u64) -> u64 {
        (next >> self.leading) & self.mask
    }

    /// As [`place`](Self::place), where `used` bits of `next` come first, and these and the significant bits are not more
    /// than 64.
    #[inline(always)]
    fn place_after(self, next: u64, used: u32) -> u64 {
        // One rotation does for both shifts: the mask drops what comes round.
        next.rotate_left(used.wrapping_sub(self.leading) & 63) & self.mask
    }

    /// Zeros behind the significant bits.
    fn trailing(self) -> u32 {
        64 - self.leading - self.width
    }

    /// Reads one XOR-coded value whose predecessor's bits are in `value`.
    pub(super) fn read(&mut self, reader: &mut BitReader<'_>, value: &mut f64) -> Result<(), ChunkError> {
        let next = reader.peek();
        if next >> 63 == 0 {
            return reader.skip(1);
        }
        if next >> 62 == 0b11 {
            *self = Self::from_bits(next >> 51).ok_or_else(ChunkError::impossible_window)?;
            reader.skip(13)?;
        } else {
            reader.skip(2)?;
        }
        let xor = self.place(reader.peek());
        reader.skip(self.width)?;
        *value = f64::from_bits(value.to_bits() ^ xor);
        Ok(())
    }
}

/// The writing side of [`XorWindow`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct XorWriter {
    window: Option<XorWindow>,
}

impl XorWriter {
    /// Writes `value` as its XOR with `previous`.
    pub(super) fn write<S: BitSink>(&mut self, writer: &mut BitWriter<S>, previous: f64, value: f64) {
        self.write_after((0, 0), writer, previous, value);
    }

    /// As [`write`](Self::write), behind at most 32 `(bits, number of bits)`: written together, since each write costs.
    #[inline(always)]
    fn write_after<S: BitSink>(&mut self, before: (u64, u32), writer: &mut BitWriter<S>, previous: f64, value: f64) {
        let xor = previous.to_bits() ^ value.to_bits();
        if xor == 0 {
            return writer.write_bits(before.0 << 1, before.1 + 1);
        }
        let [(prefix, prefix_width), (significant, width)] = self.code(xor, [(0b10, 2), (0b11, 2)]);
        let (head, head_width) = (before.0 << prefix_width | prefix, before.1 + prefix_width);
        if head_width + width <= 64 {
            // not by 64 bits: before a whole word of significant bits stands at least a prefix
            return writer.write_bits(head << width | significant, head_width + width);
        }
        writer.write_bits(head, head_width);
        writer.write_bits(significant, width);
    }

    /// Writes the significant bits of `xor`, which is not zero, behind one of two prefixes (bits and their number): of those
    /// that fit the window last said, and of those that come with a new one.
    pub(super) fn write_changed<S: BitSink>(&mut self, writer: &mut BitWriter<S>, xor: u64, prefixes: [(u64, u32); 2]) {
        for (bits, width) in self.code(xor, prefixes) {
            writer.write_bits(bits, width);
        }
    }

    /// What [`write_changed`](Self::write_changed) writes: the prefix, with the window where that is new, and the significant bits.
    #[inline(always)]
    fn code(&mut self, xor: u64, [old, new]: [(u64, u32); 2]) -> [(u64, u32); 2] {
        // Five bits hold at most 31.
        let (leading, trailing) = (xor.leading_zeros().min(31), xor.trailing_zeros());
        if let Some(window) = self.window
            && leading >= window.leading
            && trailing >= window.trailing()
        {
            return [old, (xor >> window.trailing(), window.width)];
        }
        let width = 64 - leading - trailing;
        self.window = XorWindow::new(leading, width);
        // six bits say 64 as zero
        let prefix = new.0 << 11 | u64::from(leading) << 6 | u64::from(width & 63);
        [(prefix, new.1 + 11), (xor >> trailing, width)]
    }
}

/// Packs floats into one chunk, bit for bit as Prometheus does.
#[derive(Debug, Clone)]
pub struct XorEncoder<S = Vec<u8>> {
    writer: BitWriter<S>,
    samples: u16,
    t: Timestamp,
    step: u64,
    value: f64,
    xor: XorWriter,
}

impl Default for XorEncoder {
    fn default() -> Self {
        Self::new()
    }
}

impl XorEncoder {
    /// An empty chunk.
    #[must_use]
    pub fn new() -> Self {
        Self {
            writer: BitWriter::after(&[0; HEADER_BYTES]),
            samples: 0,
            t: 0,
            step: 0,
            value: 0.0,
            xor: XorWriter::default(),
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

    /// The chunk's payload.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.writer.patch(0, &self.samples.to_be_bytes());
        self.writer.into_bytes()
    }
}

impl<S: BitSink> XorEncoder<S> {
    /// Appends a sample that is not older than the one before; [`decode`](super::decode) refuses time that falls.
    ///
    /// # Panics
    /// At the 65 536th sample: a chunk counts in 16 bits. Writers cut far earlier.
    #[inline]
    pub fn push(&mut self, t: Timestamp, value: f64) {
        let step = t.wrapping_sub(self.t).cast_unsigned();
        match self.samples {
            0 => {
                self.writer.write_varint(t);
                self.writer.write_f64(value);
            }
            1 => {
                self.writer.write_uvarint(step);
                self.xor.write(&mut self.writer, self.value, value);
            }
            _ => {
                let change = step.wrapping_sub(self.step).cast_signed();
                let before = match change_code(change) {
                    Some(code) => code,
                    None => {
                        self.writer.write_bits(0b1111, 4);
                        self.writer.write_bits(change.cast_unsigned(), 64);
                        (0, 0)
                    }
                };
                self.xor.write_after(before, &mut self.writer, self.value, value);
            }
        }
        // The first sample has no step.
        self.step = if self.samples == 0 { 0 } else { step };
        (self.t, self.value) = (t, value);
        self.samples = self.samples.checked_add(1).expect("invariant: chunks are cut before 65 536 samples");
    }
}

/// The bits for a change of the time difference, and how many; none where they are more than 24.
#[inline(always)]
fn change_code(change: i64) -> Option<(u64, u32)> {
    if change == 0 {
        return Some((0, 1));
    }
    let i = (0..3_u32).find(|i| BitWriter::fits(change, CHANGE_WIDTHS[*i as usize]))?;
    let (prefix, width) = ((1 << (i + 2)) - 2, CHANGE_WIDTHS[i as usize]);
    Some((prefix << width | change.cast_unsigned() & ((1 << width) - 1), i + 2 + width))
}

#[cfg(test)]
mod tests;
