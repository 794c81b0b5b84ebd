//! Bit streams, most significant bit first, and the integer codes that lie in them.
//!
//! The reader holds its place as one bit offset and looks at the stream through [`window`]: the 64 bits from any
//! offset on, zero where the data has ended. A field is cut out of a window with shifts, and whether it lay inside the
//! data at all is asked once, when the offset moves past it. So no field needs a loop over bits, and truncated
//! data is an error, never a panic.
//!
//! Integers come in three codes, as in Prometheus's tsdb/chunkenc:
//! - fixed width, two's complement shifted by one, so that n bits hold −2ⁿ⁻¹+1 to 2ⁿ⁻¹ ([`sign`]);
//! - *varbit*: up to eight one bits choose the width that follows;
//! - *varint*: seven bits a byte, as protobuf has it, but at any bit offset.

use super::ChunkError;

/// Widths that a varbit's count of leading one bits chooses.
const VARBIT_WIDTHS: [u32; 9] = [0, 3, 6, 9, 12, 18, 25, 56, 64];

/// The 64 bits from bit `position` on; bits after the end of `data` are zero.
#[inline(always)]
pub(super) fn window(data: &[u8], position: usize) -> u64 {
    let (byte, shift) = (position >> 3, position & 7);
    let nine = match data.get(byte..byte + 9).and_then(<[u8]>::first_chunk::<9>) {
        Some(nine) => *nine,
        None => tail(data, byte),
    };
    let [a, b, c, d, e, f, g, h, ninth] = nine;
    (u64::from_be_bytes([a, b, c, d, e, f, g, h]) << shift) | (u64::from(ninth) >> (8 - shift))
}

/// Valid bits of a [`short_window`].
pub(super) const SHORT_WINDOW_BITS: u32 = 57;

/// As [`window`], but only the first [`SHORT_WINDOW_BITS`] are those of the data; the others are zero. One load less.
#[inline(always)]
pub(super) fn short_window(data: &[u8], position: usize) -> u64 {
    let (byte, shift) = (position >> 3, position & 7);
    match data.get(byte..byte + 8).and_then(<[u8]>::first_chunk::<8>) {
        Some(eight) => u64::from_be_bytes(*eight) << shift,
        None => window(data, position),
    }
}

/// The last bytes of `data` from `byte` on, padded with zeros.
#[cold]
#[inline(never)]
fn tail(data: &[u8], byte: usize) -> [u8; 9] {
    let mut padded = [0; 9];
    for (to, from) in padded.iter_mut().zip(data.get(byte..).unwrap_or_default()) {
        *to = *from;
    }
    padded
}

/// The signed number in the low `width` bits, 1 to 64: −2ʷ⁻¹+1 to 2ʷ⁻¹.
#[inline(always)]
pub(super) fn sign(bits: u64, width: u32) -> i64 {
    let unused = 64 - width;
    ((bits.wrapping_sub(1) << unused).cast_signed() >> unused).wrapping_add(1)
}

/// Whether `width` bits hold `value` as [`sign`] reads them.
fn fits_signed(value: i64, width: u32) -> bool {
    width >= 64 || (value > -(1 << (width - 1)) && value <= 1 << (width - 1))
}

/// Reads fields one after another.
#[derive(Debug, Clone)]
pub(super) struct BitReader<'a> {
    data: &'a [u8],
    position: usize,
    end: usize,
}

impl<'a> BitReader<'a> {
    /// A reader at the first bit of `data`.
    pub fn new(data: &'a [u8]) -> Self {
        Self { data, position: 0, end: data.len().saturating_mul(8) }
    }

    /// Bits read so far.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Bits not yet read.
    pub fn remaining(&self) -> usize {
        self.end - self.position
    }

    /// The next 64 bits without moving; zero where there are none.
    #[inline(always)]
    pub fn peek(&self) -> u64 {
        window(self.data, self.position)
    }

    /// Moves on by `bits`.
    #[inline(always)]
    pub fn skip(&mut self, bits: u32) -> Result<(), ChunkError> {
        let position = self.position + bits as usize;
        if position > self.end {
            return Err(ChunkError::truncated());
        }
        self.position = position;
        Ok(())
    }

    /// The next `width` bits, at most 64.
    #[inline(always)]
    pub fn read_bits(&mut self, width: u32) -> Result<u64, ChunkError> {
        let field = if width == 0 { 0 } else { self.peek() >> (64 - width) };
        self.skip(width)?;
        Ok(field)
    }

    /// The next bit.
    pub fn read_bit(&mut self) -> Result<bool, ChunkError> {
        Ok(self.read_bits(1)? != 0)
    }

    /// The next eight bits.
    pub fn read_byte(&mut self) -> Result<u8, ChunkError> {
        Ok((self.read_bits(8)? & 0xff) as u8)
    }

    /// The next 64 bits as a float.
    pub fn read_f64(&mut self) -> Result<f64, ChunkError> {
        Ok(f64::from_bits(self.read_bits(64)?))
    }

    /// An unsigned varint of at most ten bytes.
    pub fn read_uvarint(&mut self) -> Result<u64, ChunkError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.read_byte()?;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(ChunkError::new("varint exceeds 64 bits"))
    }

    /// A signed varint: zigzag over [`read_uvarint`](Self::read_uvarint).
    pub fn read_varint(&mut self) -> Result<i64, ChunkError> {
        let zigzag = self.read_uvarint()?;
        Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }

    /// The width that the next varbit's prefix gives, having moved past the prefix.
    fn read_varbit(&mut self) -> Result<(u64, u32), ChunkError> {
        let next = self.peek();
        let ones = next.leading_ones().min(8);
        let width = VARBIT_WIDTHS[ones as usize];
        let prefix = (ones + 1).min(8);
        if width == 64 {
            self.skip(prefix)?;
            return Ok((self.read_bits(64)?, 64));
        }
        self.skip(prefix + width)?;
        Ok(if width == 0 { (0, 0) } else { ((next << prefix) >> (64 - width), width) })
    }

    /// An unsigned varbit.
    pub fn read_varbit_uint(&mut self) -> Result<u64, ChunkError> {
        Ok(self.read_varbit()?.0)
    }

    /// A signed varbit.
    pub fn read_varbit_int(&mut self) -> Result<i64, ChunkError> {
        let (bits, width) = self.read_varbit()?;
        Ok(match width {
            0 => 0,
            // The widest code is plain two's complement.
            64 => bits.cast_signed(),
            _ => sign(bits, width),
        })
    }
}

/// Where a [`BitWriter`] puts bytes. It asks for the last one only.
pub trait BitSink {
    /// The last byte.
    fn last_mut(&mut self) -> Option<&mut u8>;

    /// Appends the first `count` bytes of `word`, one to eight. A sink may write all eight, which is one store.
    fn put(&mut self, word: [u8; 8], count: usize);

    /// Begins anew with `header`.
    fn restart(&mut self, header: &[u8]);
}

impl BitSink for Vec<u8> {
    fn last_mut(&mut self) -> Option<&mut u8> {
        self.as_mut_slice().last_mut()
    }

    #[inline]
    fn put(&mut self, word: [u8; 8], count: usize) {
        let len = self.len() + count;
        self.extend_from_slice(&word);
        self.truncate(len);
    }

    fn restart(&mut self, header: &[u8]) {
        self.clear();
        self.extend_from_slice(header);
    }
}

impl<S: BitSink> BitSink for &mut S {
    #[inline]
    fn last_mut(&mut self) -> Option<&mut u8> {
        S::last_mut(self)
    }

    #[inline]
    fn put(&mut self, word: [u8; 8], count: usize) {
        S::put(self, word, count);
    }

    fn restart(&mut self, header: &[u8]) {
        S::restart(self, header);
    }
}

/// Writes fields one after another.
#[derive(Debug, Clone, Default)]
pub struct BitWriter<S = Vec<u8>> {
    bytes: S,
    /// Unused low bits of the last byte.
    free: u32,
}

impl BitWriter {
    /// A writer that goes on after the whole bytes of `header`.
    pub fn after(header: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(header);
        Self { bytes, free: 0 }
    }

    /// The bytes so far; the last is padded with zero bits.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes; the last is padded with zero bits.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Overwrites whole bytes of the header.
    pub fn patch(&mut self, at: usize, bytes: &[u8]) {
        for (to, from) in self.bytes.iter_mut().skip(at).zip(bytes) {
            *to = *from;
        }
    }

    /// The two's complement of `value` in `width` bits if [`sign`] would read it back.
    pub fn fits(value: i64, width: u32) -> bool {
        fits_signed(value, width)
    }
}

impl<S: BitSink> BitWriter<S> {
    /// A writer that goes on after `bytes`, of whose last `free` bits are unused.
    pub fn resume(bytes: S, free: u32) -> Self {
        Self { bytes, free }
    }

    /// Unused bits of the last byte, for [`resume`](Self::resume).
    pub fn free(&self) -> u32 {
        self.free
    }

    /// Forgets all bytes, and goes on after the whole bytes of `header`.
    pub fn restart(&mut self, header: &[u8]) {
        self.bytes.restart(header);
        self.free = 0;
    }

    /// The low `width` bits of `field`, at most 64.
    #[inline]
    pub fn write_bits(&mut self, field: u64, width: u32) {
        if width == 0 {
            return;
        }
        let mut left = field << (64 - width);
        let mut width = width;
        if self.free > 0
            && let Some(last) = self.bytes.last_mut()
        {
            let taken = self.free.min(width);
            *last |= (left >> (64 - self.free)) as u8;
            left <<= taken;
            self.free -= taken;
            width -= taken;
        }
        if width > 0 {
            let whole = width.div_ceil(8) as usize;
            self.bytes.put(left.to_be_bytes(), whole);
            self.free = whole as u32 * 8 - width;
        }
    }

    /// One bit.
    pub fn write_bit(&mut self, bit: bool) {
        self.write_bits(u64::from(bit), 1);
    }

    /// A float's 64 bits.
    pub fn write_f64(&mut self, value: f64) {
        self.write_bits(value.to_bits(), 64);
    }

    /// As [`BitReader::read_uvarint`] reads it.
    pub fn write_uvarint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.write_bits(value & 0x7f | 0x80, 8);
            value >>= 7;
        }
        self.write_bits(value, 8);
    }

    /// As [`BitReader::read_varint`] reads it.
    pub fn write_varint(&mut self, value: i64) {
        self.write_uvarint(((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    /// In the narrowest varbit code for which `fits` holds of its index and width.
    fn write_varbit(&mut self, bits: u64, fits: impl Fn(u32) -> bool) {
        let ones = (1..8).find(|ones| fits(VARBIT_WIDTHS[*ones])).unwrap_or(8) as u32;
        let prefix = (ones + 1).min(8);
        // All ones, the last of them zero where the prefix is not the longest.
        self.write_bits(if ones < 8 { (1 << prefix) - 2 } else { 0xff }, prefix);
        self.write_bits(bits, VARBIT_WIDTHS[ones as usize]);
    }

    /// As [`BitReader::read_varbit_uint`] reads it.
    pub fn write_varbit_uint(&mut self, value: u64) {
        match value {
            0 => self.write_bit(false),
            _ => self.write_varbit(value, |width| value.leading_zeros() >= 64 - width),
        }
    }

    /// As [`BitReader::read_varbit_int`] reads it.
    pub fn write_varbit_int(&mut self, value: i64) {
        match value {
            0 => self.write_bit(false),
            _ => self.write_varbit(value.cast_unsigned(), |width| fits_signed(value, width)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn varbit_bytes_are_prometheus_s() {
        let bytes = |values: &[i64]| {
            let mut writer = BitWriter::default();
            values.iter().for_each(|v| writer.write_varbit_int(*v));
            writer.into_bytes()
        };
        assert_eq!(bytes(&[0]), [0]);
        assert_eq!(bytes(&[4]), [0b1010_0000]);
        assert_eq!(bytes(&[-3]), [0b1010_1000]);
        assert_eq!(bytes(&[5]), [0b1100_0010, 0b1000_0000]);
        assert_eq!(bytes(&[131_072]), [0b1111_1010, 0, 0]);
        assert_eq!(bytes(&[i64::MIN]), [0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn windows_are_zero_after_the_end() {
        assert_eq!(window(&[0xff], 4), 0xf << 60);
        assert_eq!(window(&[0xff], 800), 0);
        assert_eq!(window(&[0xff; 9], 1), u64::MAX);
    }

    #[test]
    fn overlong_varints_are_refused() {
        let mut reader = BitReader::new(&[0xff; 11]);
        assert!(reader.read_uvarint().is_err());
        assert!(BitReader::new(&[0x80]).read_uvarint().is_err());
    }

    /// Mostly small numbers, and the edges of every width.
    fn integers() -> impl Strategy<Value = i64> {
        prop_oneof![
            any::<i64>(),
            -70_i64..70,
            (0_u32..63, -2_i64..3).prop_map(|(power, off)| (1_i64 << power).wrapping_add(off)),
            (0_u32..63, -2_i64..3).prop_map(|(power, off)| (-1_i64 << power).wrapping_add(off)),
        ]
    }

    proptest! {
        #[test]
        fn integers_round_trip(lead in 0_u32..9, values in prop::collection::vec(integers(), 1..20)) {
            let mut writer = BitWriter::default();
            writer.write_bits(0, lead);
            for v in &values {
                writer.write_varbit_int(*v);
                writer.write_varbit_uint(v.cast_unsigned());
                writer.write_varint(*v);
                writer.write_uvarint(v.cast_unsigned());
                writer.write_bits(v.cast_unsigned(), 64);
            }
            let bytes = writer.into_bytes();
            let mut reader = BitReader::new(&bytes);
            reader.skip(lead).unwrap();
            for v in &values {
                prop_assert_eq!(reader.read_varbit_int().unwrap(), *v);
                prop_assert_eq!(reader.read_varbit_uint().unwrap(), v.cast_unsigned());
                prop_assert_eq!(reader.read_varint().unwrap(), *v);
                prop_assert_eq!(reader.read_uvarint().unwrap(), v.cast_unsigned());
                prop_assert_eq!(reader.read_bits(64).unwrap(), v.cast_unsigned());
            }
            prop_assert!(reader.remaining() < 8);
        }
    }
}
