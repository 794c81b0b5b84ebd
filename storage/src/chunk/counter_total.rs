//! Counters across chunks: one total that never falls out of what raw and downsampled chunks say.
//!
//! The counter of a downsampled chunk begins with the first raw sample, goes on with the total at the end of each window, counted
//! from that sample and through every reset, and ends with a second sample of its last time, which holds the last raw value:
//!
//! ```text
//! raw      10  14   3   8 │  9   2  11          a reset within each chunk
//! chunk    10  14  17  22 │  9  11  20          totals of the windows
//!                       8 │          11         the last raw value once more
//! total    10  14  17  22   23  25  34          23 = 22 + (9 - 8): no reset between the two
//! ```
//!
//! The algorithm is that of Thanos's `ApplyCounterResetsSeriesIterator`, with which it queries counters and downsamples them further.

use crate::model::Timestamp;

/// Adds up a counter, sample by sample.
#[derive(Debug, Clone, Copy, Default)]
pub struct CounterTotal {
    /// Time and value of the last sample.
    last: Option<(Timestamp, f64)>,
    total: f64,
}

impl CounterTotal {
    /// Takes the next sample. Returns the total at its time, or nothing where it is no new sample: one of the same time as the last
    /// tells what the counter really was then, an earlier one is passed over, and so is a NaN.
    pub fn push(&mut self, t: Timestamp, value: f64) -> Option<f64> {
        if value.is_nan() {
            return None;
        }
        self.total = match self.last {
            None => value,
            Some((last_t, _)) if t < last_t => return None,
            Some((last_t, _)) if t == last_t => {
                self.last = Some((t, value));
                return None;
            }
            Some((_, last)) if value >= last => self.total + (value - last),
            Some(_) => self.total + value,
        };
        self.last = Some((t, value));
        Some(self.total)
    }

    /// The last value that was taken: after a whole downsampled chunk its last raw one.
    #[must_use]
    pub fn last_value(&self) -> Option<f64> {
        self.last.map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_never_fall() {
        let check = |samples: &[(i64, f64)], expected: &[(i64, f64)], last: Option<f64>| {
            let mut total = CounterTotal::default();
            let totals: Vec<_> = samples.iter().filter_map(|&(t, v)| Some((t, total.push(t, v)?))).collect();
            assert_eq!((totals, total.last_value()), (expected.to_vec(), last), "{samples:?}");
        };
        check(&[], &[], None);
        check(&[(1, 5.0), (2, 7.0), (3, 1.0)], &[(1, 5.0), (2, 7.0), (3, 8.0)], Some(1.0));
        check(&[(1, 5.0), (2, f64::NAN), (0, 9.0), (3, 6.0)], &[(1, 5.0), (3, 6.0)], Some(6.0));
        // the chunks of the drawing, whose windows end at 12, 13, 14 and 22, 23
        let chunks = [(10, 10.0), (12, 14.0), (13, 17.0), (14, 22.0), (14, 8.0)];
        let more = [(21, 9.0), (22, 11.0), (23, 20.0), (23, 11.0)];
        let totals = [(10, 10.0), (12, 14.0), (13, 17.0), (14, 22.0), (21, 23.0), (22, 25.0), (23, 34.0)];
        check(&[&chunks[..], &more].concat(), &totals, Some(11.0));
        // raw samples go on where a chunk ends: 12 is 4 more than 8, and 1 is a reset
        check(&[&chunks[..], &[(21, 12.0), (22, 1.0)]].concat()[3..], &[(14, 22.0), (21, 26.0), (22, 27.0)], Some(1.0));
    }
}
