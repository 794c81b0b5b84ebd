//! Decoding XOR chunks, which is what queries over floats spend their time on.
//!
//! The loop in [`Columns::decode_rest`] holds its place as one bit offset, and does only this a sample:
//! 1. look at the bits from here on, 57 of them, with one load;
//! 2. while they begin with two zeros, every two are a sample equal to the one before in step and value: take all of
//!    them at once;
//! 3. where the step stays and the value changes, leave it to the loop of [`Steady`] until something else comes;
//! 4. else cut the time change, the value's control bits and, where they fit, its significant bits out of the same
//!    bits. Widths come from branches, not from a table: a predicted branch lets the processor find the next sample
//!    before it has the bits of this one, a looked-up width does not;
//! 5. write into columns that were sized once.
//!
//! Where the series before had samples at the same times, [`Known`] has taken most samples before this loop begins.
//!
//! What need not be asked of every sample is asked outside: the loop runs over the bytes behind which a whole sample
//! follows, and once more over a copy of the last bytes with zeros behind them, so whether the data has ended is asked
//! once at the end; samples before the interval are dropped at the end too, since time is sorted. What is rare, or long
//! anyway, is a function of its own, which leaves the loop its registers.

use super::super::ChunkError;
use super::super::bits::{BitReader, SHORT_WINDOW_BITS, short_window, sign, window};
use super::shared::{Known, SharedTimes, Values};
use super::steady::Steady;
use super::{CHANGE_WIDTHS, HEADER_BYTES, XorWindow};
use crate::model::{SampleBuffer, TimeInterval, Timestamp};

/// Bytes that decoding a sample looks at, at most: up to seven bits of the sample before, 4 + 64 of time, 13 of control
/// and then nine bytes.
const LONGEST_SAMPLE_BYTES: usize = 24;

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

/// Appends the samples of an XOR chunk that lie in `interval`; none where there is an error.
pub(in super::super) fn decode(data: &[u8], interval: TimeInterval, out: &mut SampleBuffer) -> Result<(), ChunkError> {
    decode_into(data, interval, None, out)
}

/// As [`decode`], quicker where the chunk has the times that `shared` remembers.
pub(in super::super) fn decode_sharing(
    data: &[u8],
    interval: TimeInterval,
    shared: &mut SharedTimes,
    out: &mut SampleBuffer,
) -> Result<(), ChunkError> {
    decode_into(data, interval, Some(shared), out)
}

#[inline]
fn decode_into(
    data: &[u8],
    interval: TimeInterval,
    shared: Option<&mut SharedTimes>,
    out: &mut SampleBuffer,
) -> Result<(), ChunkError> {
    let (count, bits) = split_header(data)?;
    let before = out.len();
    out.timestamps.resize(before + count, 0);
    out.floats.resize(before + count, 0.0);
    let columns =
        Columns { timestamps: &mut out.timestamps[before..], floats: &mut out.floats[before..], maxt: interval.maxt };
    let decoded = columns.decode(bits, before, shared);
    let after = before + *decoded.as_ref().unwrap_or(&0);
    out.timestamps.truncate(after);
    out.floats.truncate(after);
    let early = out.timestamps[before..].partition_point(|t| *t < interval.mint);
    out.timestamps.drain(before..before + early);
    out.floats.drain(before..before + early);
    decoded.map(|_| ())
}

/// The columns being filled: as many slots as the chunk has samples.
struct Columns<'a> {
    timestamps: &'a mut [Timestamp],
    floats: &'a mut [f64],
    /// No sample after this time is wanted.
    maxt: Timestamp,
}

/// What one sample hands to the next.
struct State {
    /// The next bit.
    position: usize,
    /// Slots filled.
    filled: usize,
    /// Time of the last sample.
    t: Timestamp,
    /// Milliseconds from the sample before to this one, modulo 2⁶⁴.
    step: u64,
    /// The last value's bits.
    value: u64,
    xor: XorWindow,
    /// Whether a sample after the last wanted time was met.
    past: bool,
}

impl Columns<'_> {
    /// Fills the slots, and returns how many of them have samples: all, or those up to `maxt`. `before` is the number of samples of
    /// the series in chunks before.
    fn decode(mut self, bits: &[u8], before: usize, shared: Option<&mut SharedTimes>) -> Result<usize, ChunkError> {
        let Some(mut state) = self.decode_first_two(bits)? else { return Ok(0) };
        if let Some(shared) = shared
            && let [first, second, _, ..] = *self.timestamps
            && !state.past
            && let Some(known) = shared.after(before, first, second)
        {
            self.decode_known(bits, known, &mut state);
        }
        let split = bits.len().saturating_sub(LONGEST_SAMPLE_BYTES);
        if !state.past {
            self.decode_rest(bits, split, &mut state)?;
        }
        if !state.past && state.filled < self.timestamps.len() {
            // The loop has come past `split`, if that is not zero.
            let mut tail = [0; 2 * LONGEST_SAMPLE_BYTES];
            for (to, from) in tail.iter_mut().zip(&bits[split..]) {
                *to = *from;
            }
            state.position -= split * 8;
            self.decode_rest(&tail, LONGEST_SAMPLE_BYTES, &mut state)?;
            state.position += split * 8;
        }
        let finished = state.past || state.filled == self.timestamps.len();
        if !finished || state.position > bits.len() * 8 {
            return Err(ChunkError::truncated());
        }
        Ok(state.filled)
    }

    /// The first two samples, which differ from the others. None where there is none up to `maxt`.
    fn decode_first_two(&mut self, bits: &[u8]) -> Result<Option<State>, ChunkError> {
        let mut reader = BitReader::new(bits);
        if self.timestamps.is_empty() {
            return Ok(None);
        }
        let t = reader.read_varint()?;
        let mut value = reader.read_f64()?;
        let mut state = State {
            position: 0,
            filled: 0,
            t,
            step: 0,
            value: value.to_bits(),
            xor: XorWindow::default(),
            past: false,
        };
        if !self.take(&mut state, t)? {
            return Ok(None);
        }
        if self.timestamps.len() > 1 {
            state.step = reader.read_uvarint()?;
            state.xor.read(&mut reader, &mut value)?;
            state.value = value.to_bits();
            let second_t = t.wrapping_add_unsigned(state.step);
            state.past = !self.take(&mut state, second_t)?;
        }
        state.position = reader.position();
        Ok(Some(state))
    }

    /// Puts a sample of time `t` and the state's value in the next slot. False where it is after `maxt`.
    fn take(&mut self, state: &mut State, t: Timestamp) -> Result<bool, ChunkError> {
        if t < state.t {
            return Err(ChunkError::unsorted());
        }
        if t > self.maxt {
            return Ok(false);
        }
        state.t = t;
        self.timestamps[state.filled] = t;
        self.floats[state.filled] = f64::from_bits(state.value);
        state.filled += 1;
        Ok(true)
    }

    /// The samples at known times. As in [`decode`](Self::decode) the last of them are read from a copy.
    fn decode_known(&mut self, bits: &[u8], mut known: Known<'_>, state: &mut State) {
        let slots = &mut self.floats[state.filled..];
        known.truncate(slots.len(), self.maxt);
        let mut values = Values { position: state.position, value: state.value, xor: state.xor };
        let mut taken = known.decode(bits, 0, slots, &mut values);
        let split = bits.len().saturating_sub(8);
        if taken < known.times.len() && values.position > split * 8 {
            let mut tail = [0; 16];
            for (to, from) in tail.iter_mut().zip(&bits[split..]) {
                *to = *from;
            }
            values.position -= split * 8;
            taken = known.decode(&tail, taken, slots, &mut values);
            values.position += split * 8;
        }
        let from = state.filled;
        state.filled += taken;
        self.timestamps[from..state.filled].copy_from_slice(&known.times[..taken]);
        if let [.., before, last] = self.timestamps[..state.filled] {
            (state.t, state.step) = (last, last.wrapping_sub(before).cast_unsigned());
        }
        Values { position: state.position, value: state.value, xor: state.xor } = values;
    }

    /// The samples that begin no later than byte `split`, behind which LONGEST_SAMPLE_BYTES follow. The state is in local
    /// variables here, for which there are registers.
    #[inline(never)]
    fn decode_rest(&mut self, bits: &[u8], split: usize, state: &mut State) -> Result<(), ChunkError> {
        let timestamps = &mut *self.timestamps;
        let slots = timestamps.len();
        // Cut to the same length, so that one comparison checks both.
        let (floats, maxt) = (self.floats.get_mut(..slots).unwrap_or_default(), self.maxt);
        let head = bits.get(..split + 8).unwrap_or_default();
        let State { mut position, mut filled, mut t, mut step, mut value, mut xor, mut past } = *state;
        while filled < floats.len() {
            let byte = position >> 3;
            let Some(eight) = head.get(byte..byte + 8).and_then(<[u8]>::first_chunk::<8>) else { break };
            let next = u64::from_be_bytes(*eight) << (position & 7);
            if next >> 63 == 0 {
                if next >> 62 == 0 {
                    let repeats = (next.leading_zeros().min(SHORT_WINDOW_BITS) as usize / 2).min(slots - filled);
                    let end = filled + repeats;
                    position += 2 * repeats;
                    floats[filled..end].fill(f64::from_bits(value));
                    let taken = fill_steps(&mut timestamps[filled..end], t, step, maxt)?;
                    t = t.wrapping_add_unsigned(step.wrapping_mul(taken as u64));
                    filled += taken;
                    if taken < repeats {
                        past = true;
                        break;
                    }
                    continue;
                }
                if Steady::begins(next, xor) {
                    let end = filled + Steady::room(t, step, maxt).min(slots - filled);
                    let mut run = Steady { position, t, step, value, xor };
                    let taken = run.decode(head, &mut timestamps[filled..end], &mut floats[filled..end]);
                    if taken > 0 {
                        Steady { position, t, value, xor, .. } = run;
                        filled += taken;
                        continue;
                    }
                }
                position = decode_value::<1>(bits, position, next, &mut value, &mut xor)?;
            } else if next >> 62 == 0b10 {
                step = step.wrapping_add_signed(short_change(next << 2));
                position = decode_value::<16>(bits, position, next, &mut value, &mut xor)?;
            } else {
                let (change, used) = wide_change(bits, position, next);
                step = step.wrapping_add_signed(change);
                position += used;
                position = decode_value::<0>(bits, position, short_window(bits, position), &mut value, &mut xor)?;
            }
            let next_t = t.wrapping_add_unsigned(step);
            if next_t < t {
                return Err(ChunkError::unsorted());
            }
            t = next_t;
            if t > maxt {
                past = true;
                break;
            }
            timestamps[filled] = t;
            floats[filled] = f64::from_bits(value);
            filled += 1;
        }
        *state = State { position, filled, t, step, value, xor, past };
        Ok(())
    }
}

/// Fills `slots` with the times behind `t`, each `step` further, and returns how many of them are not after `maxt`.
#[inline(never)]
fn fill_steps(slots: &mut [Timestamp], t: Timestamp, step: u64, maxt: Timestamp) -> Result<usize, ChunkError> {
    // Not negative: `t` is a sample that was taken.
    let room = maxt.wrapping_sub(t).cast_unsigned();
    let all = slots.len() as u64;
    let fitting = match step.checked_mul(all) {
        Some(length) if length <= room => all,
        _ => room / step.max(1),
    };
    let (fitting, others) = slots.split_at_mut(fitting.min(all) as usize);
    let mut last = t;
    for slot in fitting.iter_mut() {
        last = last.wrapping_add_unsigned(step);
        *slot = last;
    }
    if !others.is_empty() && last.wrapping_add_unsigned(step) < last {
        return Err(ChunkError::unsorted());
    }
    Ok(fitting.len())
}

/// The time change in the first 14 bits of `next`; as [`sign`], with a step less.
#[inline(always)]
fn short_change(next: u64) -> i64 {
    let unused = 64 - CHANGE_WIDTHS[0];
    (next.wrapping_sub(1 << unused).cast_signed() >> unused) + 1
}

/// A time change of more than 14 bits, and the bits that it takes with its prefix. `next` are those from `position` on.
#[cold]
#[inline(never)]
fn wide_change(bits: &[u8], position: usize, next: u64) -> (i64, usize) {
    let [_, middle, wide] = CHANGE_WIDTHS;
    match next.leading_ones() {
        2 => (sign((next << 3) >> (64 - middle), middle), 3 + middle as usize),
        3 => (sign((next << 4) >> (64 - wide), wide), 4 + wide as usize),
        _ => (window(bits, position + 4).cast_signed(), 4 + 64),
    }
}

/// Changes `value` to the one whose code begins `USED` bits after `position`, and returns the position behind it. `next`
/// are the bits from `position` on, as [`short_window`] gives them.
#[inline(always)]
fn decode_value<const USED: u32>(
    bits: &[u8],
    position: usize,
    next: u64,
    value: &mut u64,
    xor: &mut XorWindow,
) -> Result<usize, ChunkError> {
    let control = next << USED;
    if control >> 63 == 0 {
        return Ok(position + USED as usize + 1);
    }
    // Two branches with a constant each instead of one with a variable: see the module's fourth step.
    if control >> 62 == 0b10 {
        let after = position + USED as usize + 2;
        *value ^= if xor.width <= SHORT_WINDOW_BITS - (USED + 2) {
            xor.place_after(next, USED + 2)
        } else if USED == 1 && xor.width <= SHORT_WINDOW_BITS {
            // Gauges of many digits come here with every sample.
            xor.place(short_window(bits, after))
        } else {
            xor.place(far_window(bits, after))
        };
        return Ok(after + xor.width as usize);
    }
    *xor = XorWindow::from_bits(control >> 51).ok_or_else(ChunkError::impossible_window)?;
    let after = position + USED as usize + 13;
    *value ^= if xor.width <= SHORT_WINDOW_BITS - (USED + 13) {
        xor.place_after(next, USED + 13)
    } else {
        xor.place(far_window(bits, after))
    };
    Ok(after + xor.width as usize)
}

/// [`window`] where it is rare.
#[inline(never)]
fn far_window(bits: &[u8], position: usize) -> u64 {
    window(bits, position)
}
