//! An XOR chunk under way, packed small: for a head that keeps one open chunk for each of a million series.
//!
//! [`XorState`] is what an encoder knows beside the bytes, in 32 bytes; the bytes are the caller's, who decides how they grow.
//! A push wakes an [`XorEncoder`] from the two and puts it to sleep again, which the compiler does in registers.

use super::{BitSink, BitWriter, HEADER_BYTES, XorEncoder, XorWindow, XorWriter};
use crate::model::Timestamp;

/// The state of an [`XorEncoder`] without its bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct XorState {
    t: Timestamp,
    step: u64,
    value: f64,
    samples: u16,
    /// Unused bits of the last byte.
    free: u8,
    /// The window of significant bits; a width of 0 says that there is none yet.
    leading: u8,
    width: u8,
}

impl XorState {
    /// Most bytes by which one [`push`](Self::push) makes the payload longer.
    pub const PUSH_BYTES_MAX: usize = 20;

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

    /// The last sample's time; 0 where there is none.
    #[must_use]
    pub fn last_time(&self) -> Timestamp {
        self.t
    }

    /// The last sample's value; 0 where there is none.
    #[must_use]
    pub fn last_value(&self) -> f64 {
        self.value
    }

    /// Appends a sample to the chunk whose bytes so far are in `bytes`, as [`XorEncoder::push`] does. The first sample clears
    /// what is there. Of the bytes the last one is enough: those before are not looked at.
    ///
    /// # Panics
    /// At the 65 536th sample, as there.
    #[inline]
    pub fn push<S: BitSink>(&mut self, bytes: &mut S, t: Timestamp, value: f64) {
        let window = match self.width {
            0 => None,
            width => XorWindow::new(u32::from(self.leading), u32::from(width)),
        };
        let mut encoder = XorEncoder {
            writer: BitWriter::resume(bytes, u32::from(self.free)),
            samples: self.samples,
            t: self.t,
            step: self.step,
            value: self.value,
            xor: XorWriter { window },
        };
        if self.samples == 0 {
            encoder.writer.restart(&[0; HEADER_BYTES]);
        }
        encoder.push(t, value);
        let XorEncoder { writer, samples, t, step, value, xor } = encoder;
        let free = writer.free();
        let (leading, width) = xor.window.map_or((0, 0), |window| (window.leading as u8, window.width as u8));
        *self = Self { t, step, value, samples, free: free as u8, leading, width };
    }

    /// Makes the chunk's bytes its payload: says in front how many samples there are.
    pub fn patch(&self, bytes: &mut [u8]) {
        if let Some(header) = bytes.first_chunk_mut() {
            *header = self.samples.to_be_bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_writes_what_the_encoder_writes(samples in prop::collection::vec((0_i64..100_000, any::<u64>()), 1..200)) {
            let (mut encoder, mut state, mut bytes, mut t) = (XorEncoder::new(), XorState::default(), vec![7], 0);
            for (step, bits) in samples {
                t += step;
                encoder.push(t, f64::from_bits(bits));
                let before = bytes.len();
                state.push(&mut bytes, t, f64::from_bits(bits));
                prop_assert!(bytes.len() <= before + XorState::PUSH_BYTES_MAX);
                prop_assert_eq!((state.last_time(), state.last_value().to_bits()), (t, bits));
            }
            prop_assert_eq!(state.len(), encoder.len());
            state.patch(&mut bytes);
            prop_assert_eq!(bytes, encoder.finish());
        }
    }

    #[test]
    fn it_is_small() {
        assert_eq!(size_of::<XorState>(), 32);
    }
}
