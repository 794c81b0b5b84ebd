//! XOR chunks (encoding 1): floats, compressed as in Facebook's Gorilla paper with Prometheus's widths.
//!
//! The layout is drawn in storage/docs/format/chunks.md. In short: a big-endian u16 sample count, then bits. The first
//! sample is whole; of the second the time difference is; from the third on a sample is the change of the time
//! difference (one bit where there is none), then the XOR of the value with the value before (one bit where
//! they are equal), of which only the significant bits are stored.
//!
//! Decoding is what queries spend their time on, so the loop in [`Samples::decode_rest`] does only this a sample:
//! 1. look at the bits from here on, 57 of them, with one load;
//! 2. while they begin with two zeros, every two are a sample equal to the one before in step and value: take all of
//!    them at once;
//! 3. else cut the time change and the value's control bits out of the same bits; only the significant bits need a
//!    second look, which the next sample does not wait for. Widths come from branches, not from a table: a predicted
//!    branch lets the processor find the next sample before it has the bits of this one, a looked-up width does not;
//! 4. write into columns that were sized once, and advance only if the sample is in the interval.
//!
//! Promises: any bytes give samples or an error; time never falls (equal times pass, which Thanos's counter aggregates
//! need); memory is bounded by what the bytes can hold.

use super::ChunkError;
use super::bits::{BitReader, BitWriter, SHORT_WINDOW_BITS, short_window, sign, window};
use crate::model::{SampleBuffer, TimeInterval, Timestamp};

/// The sample count before the bits.
const HEADER_BYTES: usize = 2;

/// The widths of a time change after two, three and four control bits.
const CHANGE_WIDTHS: [u32; 3] = [14, 17, 20];

/// Where the significant bits of a XOR lay when last said: `width` bits, then `trailing` zeros.
#[derive(Debug, Clone, Copy)]
pub(super) struct XorWindow {
    width: u32,
    trailing: u32,
}

impl Default for XorWindow {
    /// No window said yet; a reader that meets a repeat nevertheless takes all 64 bits, as Prometheus does.
    fn default() -> Self {
        Self { width: 64, trailing: 0 }
    }
}

impl XorWindow {
    /// The window in the low 11 bits: five of leading zeros, six of width, in which 64 is written as zero. None where
    /// the two exceed 64.
    #[inline(always)]
    pub(super) fn from_bits(bits: u64) -> Option<Self> {
        let leading = (bits >> 6) as u32 & 31;
        let width = match bits as u32 & 63 {
            0 => 64,
            width => width,
        };
        Some(Self { width, trailing: 64_u32.checked_sub(leading + width)? })
    }

    /// Number of significant bits.
    #[inline(always)]
    pub(super) fn width(self) -> u32 {
        self.width
    }

    /// The XOR of which `next` begins with the significant bits.
    #[inline(always)]
    pub(super) fn place(self, next: u64) -> u64 {
        (next >> (64 - self.width)) << self.trailing
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
    pub(super) fn write(&mut self, writer: &mut BitWriter, previous: f64, value: f64) {
        let xor = previous.to_bits() ^ value.to_bits();
        if xor == 0 {
            return writer.write_bit(false);
        }
        // Five bits hold at most 31.
        let (leading, trailing) = (xor.leading_zeros().min(31), xor.trailing_zeros());
        if let Some(window) = self.window
            && leading >= 64 - window.width - window.trailing
            && trailing >= window.trailing
        {
            writer.write_bits(0b10, 2);
            return writer.write_bits(xor >> window.trailing, window.width);
        }
        let window = XorWindow { width: 64 - leading - trailing, trailing };
        writer.write_bits(0b11, 2);
        writer.write_bits(u64::from(leading), 5);
        writer.write_bits(u64::from(window.width), 6);
        writer.write_bits(xor >> trailing, window.width);
        self.window = Some(window);
    }
}

/// Splits the sample count from the bits, and refuses a count that the bits cannot hold.
fn split_header(data: &[u8]) -> Result<(usize, &[u8]), ChunkError> {
    let (header, bits) = data.split_first_chunk::<HEADER_BYTES>().ok_or_else(ChunkError::truncated)?;
    let samples = usize::from(u16::from_be_bytes(*header));
    // The smallest sample takes two bits.
    if samples > bits.len().saturating_mul(4) {
        return Err(ChunkError::too_many_samples(samples, data.len()));
    }
    Ok((samples, bits))
}

/// Appends the samples of an XOR chunk that lie in `interval`.
pub(super) fn decode(data: &[u8], interval: TimeInterval, out: &mut SampleBuffer) -> Result<(), ChunkError> {
    let (count, bits) = split_header(data)?;
    let before = out.len();
    out.timestamps.resize(before + count, 0);
    out.floats.resize(before + count, 0.0);
    let mut samples = Samples {
        timestamps: &mut out.timestamps[before..],
        floats: &mut out.floats[before..],
        kept: 0,
        interval,
        t: Timestamp::MIN,
    };
    let result = samples.decode(bits, count);
    let after = before + samples.kept;
    out.timestamps.truncate(after);
    out.floats.truncate(after);
    result
}

/// The columns being filled: as many slots as the chunk has samples.
struct Samples<'a> {
    timestamps: &'a mut [Timestamp],
    floats: &'a mut [f64],
    /// Slots filled.
    kept: usize,
    interval: TimeInterval,
    /// Time of the last sample.
    t: Timestamp,
}

impl Samples<'_> {
    /// Takes the next sample. False where it is past the interval, so that no later one is wanted.
    #[inline(always)]
    fn take(&mut self, t: Timestamp, value: u64) -> Result<bool, ChunkError> {
        if t < self.t {
            return Err(ChunkError::unsorted());
        }
        self.t = t;
        if t > self.interval.maxt {
            return Ok(false);
        }
        if let (Some(to_t), Some(to_v)) = (self.timestamps.get_mut(self.kept), self.floats.get_mut(self.kept)) {
            *to_t = t;
            *to_v = f64::from_bits(value);
        }
        // The slot of a sample before the interval is simply used again.
        self.kept += usize::from(t >= self.interval.mint);
        Ok(true)
    }

    /// The first two samples, which differ from the others, and then the rest.
    #[inline(always)]
    fn decode(&mut self, bits: &[u8], count: usize) -> Result<(), ChunkError> {
        let mut reader = BitReader::new(bits);
        if count == 0 {
            return Ok(());
        }
        let t = reader.read_varint()?;
        let mut value = reader.read_f64()?;
        if !self.take(t, value.to_bits())? || count == 1 {
            return Ok(());
        }
        let step = reader.read_uvarint()?;
        let mut window = XorWindow::default();
        window.read(&mut reader, &mut value)?;
        if !self.take(t.wrapping_add_unsigned(step), value.to_bits())? {
            return Ok(());
        }
        self.decode_rest(bits, reader.position(), count - 2, State { step, value: value.to_bits(), xor: window })
    }

    /// `left` samples from bit `position` on. Inlined like all of [`Samples`], so that its fields are registers.
    #[inline(always)]
    fn decode_rest(&mut self, bits: &[u8], position: usize, left: usize, state: State) -> Result<(), ChunkError> {
        let (mut position, mut left) = (position, left);
        let State { mut step, mut value, mut xor } = state;
        let end = bits.len() * 8;
        while left > 0 {
            let next = short_window(bits, position);
            if next >> 62 == 0 {
                let repeats = (next.leading_zeros().min(SHORT_WINDOW_BITS) as usize / 2).min(left);
                position += 2 * repeats;
                if position > end {
                    return Err(ChunkError::truncated());
                }
                for _ in 0..repeats {
                    if !self.take(self.t.wrapping_add_unsigned(step), value)? {
                        return Ok(());
                    }
                }
                left -= repeats;
                continue;
            }
            // A branch for every width: predicted, it lets the next sample start before this one's bits are there.
            let mut next_value = next << 1;
            if next >> 63 == 0 {
                position += 1;
            } else if next >> 62 == 0b10 {
                (step, next_value) = changed_step(step, next, 2, CHANGE_WIDTHS[0]);
                position += 16;
            } else if next >> 61 == 0b110 {
                (step, next_value) = changed_step(step, next, 3, CHANGE_WIDTHS[1]);
                position += 20;
            } else if next >> 60 == 0b1110 {
                (step, next_value) = changed_step(step, next, 4, CHANGE_WIDTHS[2]);
                position += 24;
            } else {
                step = step.wrapping_add(window(bits, position + 4));
                position += 4 + 64;
                next_value = window(bits, position);
            }
            if next_value >> 63 == 0 {
                position += 1;
            } else {
                if next_value >> 62 == 0b11 {
                    xor = XorWindow::from_bits(next_value >> 51).ok_or_else(ChunkError::impossible_window)?;
                    position += 13;
                } else {
                    position += 2;
                }
                value ^= xor.place(window(bits, position));
                position += xor.width as usize;
            }
            if position > end {
                return Err(ChunkError::truncated());
            }
            if !self.take(self.t.wrapping_add_unsigned(step), value)? {
                return Ok(());
            }
            left -= 1;
        }
        Ok(())
    }
}

/// The step after a change of `width` bits behind `prefix` bits of `next`, and what follows the change.
#[inline(always)]
fn changed_step(step: u64, next: u64, prefix: u32, width: u32) -> (u64, u64) {
    let change = sign((next << prefix) >> (64 - width), width);
    (step.wrapping_add_signed(change), next << (prefix + width))
}

/// What one sample hands to the next, besides its time.
#[derive(Clone, Copy)]
struct State {
    /// Milliseconds from the sample before to this one, modulo 2⁶⁴.
    step: u64,
    value: u64,
    xor: XorWindow,
}

/// Packs floats into one chunk, bit for bit as Prometheus does.
#[derive(Debug, Clone)]
pub struct XorEncoder {
    writer: BitWriter,
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

    /// Appends a sample that is not older than the one before; [`decode`](super::decode) refuses time that falls.
    ///
    /// # Panics
    /// At the 65 536th sample: a chunk counts in 16 bits. Writers cut far earlier.
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
                self.write_change(step.wrapping_sub(self.step).cast_signed());
                self.xor.write(&mut self.writer, self.value, value);
            }
        }
        // The first sample has no step.
        self.step = if self.samples == 0 { 0 } else { step };
        (self.t, self.value) = (t, value);
        self.samples = self.samples.checked_add(1).expect("invariant: chunks are cut before 65 536 samples");
    }

    /// The change of the time difference.
    fn write_change(&mut self, change: i64) {
        if change == 0 {
            return self.writer.write_bit(false);
        }
        let bits = change.cast_unsigned();
        match (0..3_u32).find(|i| BitWriter::fits(change, CHANGE_WIDTHS[*i as usize])) {
            Some(i) => {
                self.writer.write_bits((1 << (i + 2)) - 2, i + 2);
                self.writer.write_bits(bits, CHANGE_WIDTHS[i as usize]);
            }
            None => {
                self.writer.write_bits(0b1111, 4);
                self.writer.write_bits(bits, 64);
            }
        }
    }

    /// The chunk's payload.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.writer.patch(0, &self.samples.to_be_bytes());
        self.writer.into_bytes()
    }
}

#[cfg(test)]
mod tests;
