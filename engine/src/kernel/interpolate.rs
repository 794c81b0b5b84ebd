//! The value between two samples, on the line through them: what `smoothed` puts where there is no sample.
//!
//! Across a counter reset the line begins at zero, at the time of the earlier sample.

use storage::model::{FloatHistogram, Timestamp};

use super::histogram_rate::combine;
use super::note::{Note, Notes};

/// Two samples around a time, as (time, value).
pub(super) type Between<T> = [(Timestamp, T); 2];

/// How far `t` is on the way from the first time to the second.
#[expect(clippy::cast_precision_loss, reason = "durations stay far below 2^53 ms")]
fn fraction(t: Timestamp, from: Timestamp, to: Timestamp) -> f64 {
    (t - from) as f64 / (to - from) as f64
}

/// The float at `t`. `counter`: a smaller second value is a reset.
#[inline]
#[expect(clippy::cast_precision_loss, reason = "durations stay far below 2^53 ms")]
pub(super) fn float([(t1, y1), (t2, y2)]: Between<f64>, t: Timestamp, counter: bool) -> f64 {
    let from = if counter && y2 < y1 { 0.0 } else { y1 };
    from + (y2 - from) * (t - t1) as f64 / (t2 - t1) as f64
}

/// The histogram at `t`, which is neither of the two times; none where the two cannot be subtracted. `counter`: resets are looked for.
pub(super) fn histogram(
    [(t1, h1), (t2, h2)]: Between<&FloatHistogram>,
    t: Timestamp,
    counter: bool,
    notes: &mut Notes,
) -> Option<FloatHistogram> {
    let fraction = fraction(t, t1, t2);
    let mut between = h2.clone();
    if counter && h2.detect_reset(h1) {
        between.mul(fraction);
        return Some(between);
    }
    combine(&between.sub(h1), Note::ReconciledSubtraction, notes)?;
    between.mul(fraction);
    combine(&between.add(h1), Note::ReconciledAddition, notes)?;
    Some(between)
}
