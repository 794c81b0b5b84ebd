//! Small results of recent scans: dashboards ask the same again and again, and a page is decompressed whole for a single row.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::Arc;

use arrow::array::RecordBatch;
use parking_lot::Mutex;

use crate::model::{Matcher, TimeInterval};

/// Most bytes of results that are kept of one side-index.
pub const RECENT_BYTES_MAX: usize = 512 << 10;
/// A result of more bytes is not kept.
const RESULT_BYTES_MAX: usize = 256 << 10;

/// What a scan found.
type Found = Arc<[RecordBatch]>;

/// Results by what was asked for, the one used last at the end. A side-index never changes, so neither do they.
#[derive(Debug, Default)]
pub struct RecentScans(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    results: VecDeque<(String, Found, usize)>,
    bytes: usize,
}

/// What a scan is asked for, as text.
pub fn key(matchers: &[Matcher], interval: Option<TimeInterval>, wanted: &[&str]) -> String {
    let mut key = format!("{wanted:?} {interval:?}");
    for matcher in matchers {
        // writing to a string cannot fail
        let _ = write!(key, " {:?} {:?} {:?}", matcher.name(), matcher.op(), matcher.value());
    }
    key
}

impl RecentScans {
    /// What was found before.
    pub fn get(&self, key: &str) -> Option<Found> {
        let mut kept = self.0.lock();
        let at = kept.results.iter().position(|(known, ..)| known == key)?;
        let result = kept.results.remove(at)?;
        let found = Arc::clone(&result.1);
        kept.results.push_back(result);
        Some(found)
    }

    /// Keeps a result if it is small, in the place of those not used for longest.
    pub fn keep(&self, key: String, found: Vec<RecordBatch>) {
        let bytes = key.len() + size(&found);
        if bytes > RESULT_BYTES_MAX {
            return;
        }
        let mut kept = self.0.lock();
        if kept.results.iter().any(|(known, ..)| *known == key) {
            return;
        }
        kept.results.push_back((key, found.into(), bytes));
        kept.bytes += bytes;
        while kept.bytes > RECENT_BYTES_MAX
            && let Some((.., bytes)) = kept.results.pop_front()
        {
            kept.bytes -= bytes;
        }
    }
}

/// Whether a result of these batches may still be kept.
pub fn is_small(found: &[RecordBatch]) -> bool {
    size(found) <= RESULT_BYTES_MAX
}

fn size(found: &[RecordBatch]) -> usize {
    found.iter().map(RecordBatch::get_array_memory_size).sum()
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, UInt64Array};

    use super::*;

    fn batch(rows: usize) -> RecordBatch {
        let column: ArrayRef = Arc::new(UInt64Array::from(vec![1; rows]));
        RecordBatch::try_from_iter([("n", column)]).unwrap()
    }

    #[test]
    fn small_results_stay_until_others_take_their_place() {
        let recent = RecentScans::default();
        for n in 0..8 {
            recent.keep(n.to_string(), vec![batch(10_000)]);
        }
        assert!(recent.get("0").is_none() && recent.get("1").is_none());
        assert!(recent.get("2").is_some());
        recent.keep("8".to_owned(), vec![batch(10_000)]);
        assert!(recent.get("2").is_some() && recent.get("3").is_none(), "what was used stays longer");
        recent.keep("large".to_owned(), vec![batch(40_000)]);
        assert!(recent.get("large").is_none());
        recent.keep("empty".to_owned(), Vec::new());
        assert_eq!(recent.get("empty").unwrap().len(), 0);
        assert!(recent.0.lock().bytes <= RECENT_BYTES_MAX);
    }

    #[test]
    fn all_that_is_asked_for_makes_a_difference() {
        let a = [Matcher::equal("a", "1")];
        let b = [Matcher::equal("a", "1\" b")];
        let interval = TimeInterval::new(0, 1);
        let keys = [
            key(&a, None, &["x"]),
            key(&b, None, &["x"]),
            key(&a, Some(interval), &["x"]),
            key(&a, None, &["x", "y"]),
            key(&[], None, &["x"]),
        ];
        for (i, one) in keys.iter().enumerate() {
            assert!(keys[i + 1..].iter().all(|other| one != other));
        }
    }
}
