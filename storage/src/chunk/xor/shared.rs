//! Times that series share: one scrape gives all series of a target the same times, to the millisecond, with the same jitter.
//!
//! Jitter makes decoding slow: whether the step changed is a branch that no processor guesses. But where a series
//! has the times of the one before it, what its chunks say of time is known beforehand, bit for bit ([`TimeCode`]). Then a sample
//! is one comparison with what is expected, which is always right, and its value begins at a known bit.
//!
//! Nothing is taken on trust: a sample whose bits are not the expected ones, and all behind it, are decoded as ever.

use super::super::bits::{SHORT_WINDOW_BITS, short_window};
use super::{CHANGE_WIDTHS, XorWindow};
use crate::model::Timestamp;

/// The times of the series decoded last, and how XOR chunks write them.
#[derive(Debug, Clone, Default)]
pub struct SharedTimes {
    times: Vec<Timestamp>,
    /// One a sample, once a second series was seen to begin like the first; those of the first two stand for nothing.
    codes: Vec<TimeCode>,
    /// Whether so many steps change that it pays to know them; else runs of equal steps are taken at once.
    uneven: bool,
}

/// The bits with which a chunk says when a sample was taken, left-aligned, and their number in the low six bits. Zero where
/// they would be more than 57.
type TimeCode = u64;

/// The bits of `change`, a change of the step.
fn time_code(change: i64) -> TimeCode {
    if change == 0 {
        return 1;
    }
    let fitting = CHANGE_WIDTHS.iter().position(|width| change > -(1 << (width - 1)) && change <= 1 << (width - 1));
    let Some(class) = fitting else { return 0 };
    let (width, control) = (CHANGE_WIDTHS[class], class as u32 + 2);
    let prefix = (1_u64 << control) - 2;
    let bits = (prefix << width) | (change.cast_unsigned() & ((1 << width) - 1));
    let length = control + width;
    (bits << (64 - length)) | u64::from(length)
}

impl SharedTimes {
    /// Of an eighth of the samples the step must have changed for codes to be made.
    const UNEVEN_SHARE: usize = 8;

    /// Takes the times of a series that was decoded, for the next one.
    pub fn remember(&mut self, times: &[Timestamp]) {
        if self.times != times {
            self.times.clear();
            self.times.extend_from_slice(times);
            self.codes.clear();
        }
    }

    /// Where the series decoded last had samples at `first` and `second`, one after the other: the times behind these, and their codes.
    /// `expected` is where to look first.
    pub(super) fn after(&mut self, expected: usize, first: Timestamp, second: Timestamp) -> Option<Known<'_>> {
        let at = match self.times.get(expected) {
            Some(&t) if t == first => expected,
            _ => self.times.binary_search(&first).ok()?,
        };
        if self.times.get(at + 1) != Some(&second) {
            return None;
        }
        if self.codes.is_empty() {
            self.make_codes();
        }
        let known = Known { times: self.times.get(at + 2..)?, codes: self.codes.get(at + 2..)? };
        self.uneven.then_some(known)
    }

    fn make_codes(&mut self) {
        let step = |pair: &[Timestamp]| pair[1].wrapping_sub(pair[0]);
        let changes = self.times.windows(3).map(|three| step(&three[1..]).wrapping_sub(step(&three[..2])));
        self.codes.extend([0, 0]);
        self.codes.extend(changes.map(time_code));
        self.uneven = self.codes.iter().filter(|&&code| code != 1).count() * Self::UNEVEN_SHARE >= self.codes.len();
    }
}

/// Times that may follow, and how they would be written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    pub times: &'a [Timestamp],
    codes: &'a [TimeCode],
}

/// Where decoding values stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Values {
    /// The next bit.
    pub position: usize,
    /// The last value's bits.
    pub value: u64,
    /// Where the significant bits lay last.
    pub xor: XorWindow,
}

impl Known<'_> {
    /// Drops the times after `maxt` and those behind the first `samples`.
    pub fn truncate(&mut self, samples: usize, maxt: Timestamp) {
        let mut wanted = self.times.len().min(samples);
        if self.times[..wanted].last().is_some_and(|t| *t > maxt) {
            wanted = self.times[..wanted].partition_point(|t| *t <= maxt);
        }
        (self.times, self.codes) = (&self.times[..wanted], &self.codes[..wanted]);
    }

    /// Fills the slots of `floats` behind the first `filled`, while the samples are taken at the known times and lie in `bits` with
    /// eight bytes to spare. Returns how many are filled then; their times are the first of `times`.
    #[inline(never)]
    pub fn decode(&self, bits: &[u8], mut filled: usize, floats: &mut [f64], at: &mut Values) -> usize {
        let Values { mut position, mut value, mut xor } = *at;
        for (&code, float) in self.codes[filled..].iter().zip(&mut floats[filled..]) {
            let byte = position >> 3;
            let Some(eight) = bits.get(byte..byte + 8).and_then(<[u8]>::first_chunk::<8>) else { break };
            let next = u64::from_be_bytes(*eight) << (position & 7);
            let time_bits = code as u32 & 63;
            // an unknown code has no bits: shifted by 63 it differs or is a repeat, and those are written with one
            if time_bits == 0 || (next ^ code) >> (64 - time_bits) != 0 {
                break;
            }
            let control = next << time_bits;
            if control >> 63 == 0 {
                position += time_bits as usize + 1;
            } else if control >> 62 == 0b10 {
                let Some(change) = significant(bits, position, next, time_bits + 2, xor) else { break };
                value ^= change;
                position += (time_bits + 2 + xor.width) as usize;
            } else {
                let Some(window) = XorWindow::from_bits(control >> 51) else { break };
                let Some(change) = significant(bits, position, next, time_bits + 13, window) else { break };
                xor = window;
                value ^= change;
                position += (time_bits + 13 + xor.width) as usize;
            }
            *float = f64::from_bits(value);
            filled += 1;
        }
        *at = Values { position, value, xor };
        filled
    }
}

/// The XOR whose significant bits begin `used` bits after `position`, where `next` are the bits from there on. None where they are
/// more than one load holds, or might lie behind the end.
#[inline(always)]
fn significant(bits: &[u8], position: usize, next: u64, used: u32, xor: XorWindow) -> Option<u64> {
    if used + xor.width <= SHORT_WINDOW_BITS {
        return Some(xor.place_after(next, used));
    }
    far(bits, position + used as usize, xor)
}

/// [`significant`] where it takes a load of its own.
#[inline(never)]
fn far(bits: &[u8], position: usize, xor: XorWindow) -> Option<u64> {
    let inside = position + 64 <= bits.len() * 8;
    (inside && xor.width <= SHORT_WINDOW_BITS).then(|| xor.place(short_window(bits, position)))
}

#[cfg(test)]
mod tests {
    use super::super::{XorEncoder, decode, decode_sharing};
    use super::*;
    use crate::model::{SampleBuffer, TimeInterval};

    fn chunk(samples: &[(Timestamp, f64)]) -> Vec<u8> {
        let mut encoder = XorEncoder::new();
        samples.iter().for_each(|(t, value)| encoder.push(*t, *value));
        encoder.finish()
    }

    /// Steps of 15 s with all widths of jitter, and one that takes 64 bits.
    fn times() -> Vec<Timestamp> {
        let jitter = [0, 3, -7, 8_191, -8_191, 0, 0, 65_535, -65_535, 500_000, -500_000, 1, 0, 2_000_000];
        let mut t = 1_700_000_000_000;
        let step = |i: usize| 15_000 + jitter[i % jitter.len()] + if i % jitter.len() == 11 { 500_000 } else { 0 };
        (0..500)
            .map(|i| {
                t += step(i).max(0);
                t
            })
            .collect()
    }

    /// Values of all widths, repeats and windows.
    fn values(seed: u64) -> impl Iterator<Item = f64> {
        (0_u64..).map(move |i| match (i / 40 + seed) % 4 {
            0 => (i * i % 97 * seed) as f64,
            1 => 42.0,
            2 => f64::from_bits((i ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            _ => i as f64 * 0.1,
        })
    }

    fn samples(seed: u64, times: &[Timestamp]) -> Vec<(Timestamp, f64)> {
        times.iter().copied().zip(values(seed)).collect()
    }

    /// Bit for bit what is decoded without sharing, or the same error.
    fn check(shared: &mut SharedTimes, chunks: &[Vec<u8>], interval: TimeInterval) {
        let (mut plain, mut sharing) = (SampleBuffer::new(), SampleBuffer::new());
        for data in chunks {
            let expected = decode(data, interval, &mut plain);
            assert_eq!(decode_sharing(data, interval, shared, &mut sharing), expected);
        }
        assert_eq!(sharing.timestamps, plain.timestamps);
        let bits = |samples: &SampleBuffer| samples.floats.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&sharing), bits(&plain));
        shared.remember(&sharing.timestamps);
    }

    #[test]
    fn series_that_share_times_decode_as_if_alone() {
        let times = times();
        let mut shared = SharedTimes::default();
        let all = TimeInterval::ALL;
        let part = TimeInterval::new(times[77], times[420]);
        for interval in [all, part, part, all, all] {
            for seed in 1..6 {
                let chunks: Vec<_> = samples(seed, &times).chunks(120).map(chunk).collect();
                check(&mut shared, &chunks, interval);
            }
        }
        assert!(shared.uneven && shared.codes.len() == times.len());
        // begins like it, begins later, ends earlier, has a gap, has a sample at another time
        let mut moved = times.clone();
        moved[60] += 1;
        let holed: Vec<_> = times.iter().copied().filter(|t| t % 10 != 3).collect();
        for other in [&times[..60], &times[33..], &moved, &holed, &times] {
            let chunks: Vec<_> = samples(9, other).chunks(120).map(chunk).collect();
            check(&mut shared, &chunks, all);
            let chunks: Vec<_> = samples(3, &times).chunks(100).map(chunk).collect();
            check(&mut shared, &chunks, all);
        }
    }

    #[test]
    fn known_times_are_taken_for_the_samples_at_them() {
        let times: Vec<_> = (0..120).map(|i| 1_000_000 + i * 15_000 + i * i % 7).collect();
        let mut shared = SharedTimes::default();
        shared.remember(&times);
        let data = chunk(&samples(4, &times));
        let known = shared.after(0, times[0], times[1]).unwrap();
        let mut reader = super::super::BitReader::new(&data[2..]);
        reader.read_varint().unwrap();
        let mut value = reader.read_f64().unwrap();
        reader.read_uvarint().unwrap();
        let mut xor = XorWindow::default();
        xor.read(&mut reader, &mut value).unwrap();
        let mut at = Values { position: reader.position(), value: value.to_bits(), xor };
        let mut floats = [0.0; 118];
        let filled = known.decode(&data[2..], 0, &mut floats, &mut at);
        assert!(filled >= 78, "only {filled} before values of all 64 bits");
        assert!(floats.iter().zip(values(4).skip(2)).take(filled).all(|(a, b)| a.to_bits() == b.to_bits()));
    }

    #[test]
    fn even_times_are_left_to_the_general_loop() {
        let times: Vec<_> = (0..100).map(|i| 1_000 + i * 15_000).collect();
        let mut shared = SharedTimes::default();
        shared.remember(&times);
        assert!(shared.after(0, times[0], times[1]).is_none());
        assert!(shared.after(7, times[1], times[2]).is_none() && shared.after(0, 5, 6).is_none());
    }

    #[test]
    fn damage_gives_the_error_that_it_gives_alone() {
        let times: Vec<_> = (0..60).map(|i| 1_000_000 + i * 15_000 + i % 7 * 3).collect();
        let data = chunk(&samples(2, &times));
        let mut shared = SharedTimes::default();
        shared.remember(&times);
        for cut in 0..data.len() {
            check(&mut shared, &[data[..cut].to_vec()], TimeInterval::ALL);
            shared.remember(&times);
        }
        for bit in 0..data.len() * 8 {
            let mut damaged = data.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            check(&mut shared, &[damaged], TimeInterval::ALL);
            shared.remember(&times);
        }
    }
}
