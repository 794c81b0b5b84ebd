//! Runs of samples whose time step stays and whose value changes: most of what scraped counters and gauges are.
//!
//! Such a sample is `0`, then `10` and the significant bits, or `11`, a new [`XorWindow`] and the significant bits. A loop
//! of its own for them, apart from the general one, needs few enough variables that all have registers, and neither looks
//! for a change of the step nor compares times: how many samples fit is known before it starts.

use super::super::bits::SHORT_WINDOW_BITS;
use super::XorWindow;
use crate::model::Timestamp;

/// Bits of a sample before the significant ones, in the window said before.
const SAME_WINDOW: u32 = 3;
/// The same with a window of its own.
const NEW_WINDOW: u32 = SAME_WINDOW + 11;

/// Where decoding stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steady {
    /// The next bit.
    pub position: usize,
    /// Time of the last sample.
    pub t: Timestamp,
    /// Milliseconds from one sample to the next.
    pub step: u64,
    /// The last value's bits.
    pub value: u64,
    /// Where the significant bits lay last.
    pub xor: XorWindow,
}

impl Steady {
    /// Whether a run for [`decode`](Self::decode) may begin here, where `next` are the bits from here on. Values with
    /// so many digits that a new window would end the run at once are left to the general loop.
    #[inline(always)]
    pub fn begins(next: u64, xor: XorWindow) -> bool {
        next >> 61 == 0b010 && xor.width <= SHORT_WINDOW_BITS - NEW_WINDOW
    }

    /// How many samples follow until `maxt`, in order of time. Too few are no error, since the general loop goes on.
    #[inline(always)]
    pub fn room(t: Timestamp, step: u64, maxt: Timestamp) -> usize {
        /// More than a chunk has.
        const MANY: u64 = 1 << 16;
        // Not negative: `t` is a sample that was taken.
        let left = maxt.wrapping_sub(t).cast_unsigned();
        match step.checked_mul(MANY) {
            Some(length) if length <= left => MANY as usize,
            Some(_) => (left / step) as usize,
            None => 0,
        }
    }

    /// Fills slots, of which there are no more than there is [`room`](Self::room), until they are full, another kind of
    /// sample comes, or the rest of a sample might lie behind `head`. Returns how many were filled.
    #[inline(never)]
    pub fn decode(&mut self, head: &[u8], timestamps: &mut [Timestamp], floats: &mut [f64]) -> usize {
        let Self { mut position, mut t, step, mut value, mut xor } = *self;
        let (mut length, mut rotation) = Self::same_window(xor);
        let mut filled = 0;
        for (slot, float) in timestamps.iter_mut().zip(floats) {
            let byte = position >> 3;
            let Some(eight) = head.get(byte..byte + 8).and_then(<[u8]>::first_chunk::<8>) else { break };
            let next = u64::from_be_bytes(*eight) << (position & 7);
            let changed = if next >> 61 == 0b010 {
                position += length;
                next.rotate_left(rotation)
            } else {
                let window = XorWindow::from_bits(next >> (64 - NEW_WINDOW));
                let Some(window) =
                    window.filter(|window| next >> 61 == 0b011 && window.width <= SHORT_WINDOW_BITS - NEW_WINDOW)
                else {
                    break;
                };
                xor = window;
                (length, rotation) = Self::same_window(xor);
                const MORE: u32 = NEW_WINDOW - SAME_WINDOW;
                position += length + MORE as usize;
                next.rotate_left((rotation + MORE) & 63)
            };
            value ^= changed & xor.mask;
            t = t.wrapping_add_unsigned(step);
            *slot = t;
            *float = f64::from_bits(value);
            filled += 1;
        }
        *self = Self { position, t, step, value, xor };
        filled
    }

    /// A sample's bits in the window `xor`, and the rotation that brings the significant ones of them to their place.
    #[inline(always)]
    fn same_window(xor: XorWindow) -> (usize, u32) {
        ((SAME_WINDOW + xor.width) as usize, SAME_WINDOW.wrapping_sub(xor.leading) & 63)
    }
}
