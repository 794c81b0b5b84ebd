//! Windows of floats: all five aggregates in one sweep over a batch, and the chunk that they make.

use storage::chunk::{EncodedChunk, Encoding, XorEncoder, encode_aggr};
use storage::model::Timestamp;

use super::windows::{WINDOWS_MAX, reach, window_end};

/// The aggregates of a batch's windows, as columns.
#[derive(Debug, Default)]
pub(super) struct FloatWindows {
    pub ends: Vec<Timestamp>,
    pub counts: Vec<f64>,
    pub sums: Vec<f64>,
    pub mins: Vec<f64>,
    pub maxs: Vec<f64>,
    pub counters: Vec<f64>,
}

/// A counter's first and last raw sample.
#[derive(Debug, Clone, Copy)]
pub(super) struct Framing {
    pub first: (Timestamp, f64),
    /// At the time of the last window.
    pub last: f64,
}

impl FloatWindows {
    fn clear(&mut self) {
        self.ends.clear();
        for column in [&mut self.counts, &mut self.sums, &mut self.mins, &mut self.maxs, &mut self.counters] {
            column.clear();
        }
    }

    pub(super) fn capacity_bytes(&self) -> usize {
        6 * 8 * self.ends.capacity()
    }

    /// Computes the windows of samples in order of time, up to [`WINDOWS_MAX`] of them; returns how many samples they took. There is one
    /// sample at least.
    pub(super) fn sweep(&mut self, times: &[Timestamp], values: &[f64], resolution_ms: i64) -> usize {
        self.clear();
        let (Some(&last_t), Some(&first)) = (times.last(), values.first()) else { return 0 };
        let (mut counter, mut before) = (first, first);
        let (mut from, mut length) = (0, 1);
        while from < times.len() && self.ends.len() < WINDOWS_MAX {
            let end = window_end(times[from], resolution_ms).min(last_t);
            let to = reach(times, from, from + length, end);
            let (mut sum, mut min, mut max) = (0.0, f64::INFINITY, f64::NEG_INFINITY);
            let mut window = &values[from..to];
            if from == 0 {
                // the counter begins with the first sample, which has no difference to any other
                (sum, min, max) = gauges((sum, min, max), first);
                window = &window[1..];
            }
            for &value in window {
                (sum, min, max) = gauges((sum, min, max), value);
                counter += if value < before { value } else { value - before };
                before = value;
            }
            length = to - from;
            self.ends.push(end);
            self.counts.push(length as f64);
            self.sums.push(sum);
            self.mins.push(min);
            self.maxs.push(max);
            self.counters.push(counter);
            from = to;
        }
        from
    }

    /// The chunk of these windows.
    pub(super) fn encode(&self, framing: Framing) -> EncodedChunk {
        let counter = self.counter_slot(framing);
        let slots = [&self.counts, &self.sums, &self.mins, &self.maxs].map(|column| xor_slot(&self.ends, column));
        let [count, sum, min, max] = &slots;
        chunk_of(&self.ends, [Some(count), Some(sum), Some(min), Some(max), Some(&counter)])
    }

    /// The counters of these windows, framed.
    pub(super) fn counter_slot(&self, framing: Framing) -> Vec<u8> {
        let mut encoder = XorEncoder::new();
        encoder.push(framing.first.0, framing.first.1);
        for (&end, &counter) in self.ends.iter().zip(&self.counters) {
            encoder.push(end, counter);
        }
        encoder.push(self.ends.last().copied().unwrap_or(framing.first.0), framing.last);
        encoder.finish()
    }
}

#[inline(always)]
fn gauges((sum, min, max): (f64, f64, f64), value: f64) -> (f64, f64, f64) {
    (sum + value, if value < min { value } else { min }, if value > max { value } else { max })
}

/// A slot of floats.
pub(super) fn xor_slot(ends: &[Timestamp], values: &[f64]) -> Vec<u8> {
    let mut encoder = XorEncoder::new();
    for (&end, &value) in ends.iter().zip(values) {
        encoder.push(end, value);
    }
    encoder.finish()
}

/// A chunk of slots of floats; `ends` are those of its windows.
fn chunk_of(ends: &[Timestamp], slots: [Option<&Vec<u8>>; 5]) -> EncodedChunk {
    let slots = slots.map(|slot| slot.map(|payload| (Encoding::Xor as u8, payload.as_slice())));
    EncodedChunk {
        mint: ends.first().copied().unwrap_or_default(),
        maxt: ends.last().copied().unwrap_or_default(),
        encoding: Encoding::Aggr,
        data: encode_aggr(slots),
        samples: ends.len(),
    }
}
