//! What depends on a series' times alone, kept for the series behind it: those of one target are scraped together, have
//! the same times, and mostly follow each other.

use std::cell::RefCell;

use storage::model::Timestamp;

/// Items made of the times of one series, used again for series with the same times.
#[derive(Debug)]
pub(crate) struct PerTimes<T>(RefCell<Kept<T>>);

#[derive(Debug)]
struct Kept<T> {
    times: Vec<Timestamp>,
    /// None until a second series had these times: making items for one series alone would be work for nothing.
    items: Option<Vec<T>>,
}

impl<T> Default for PerTimes<T> {
    fn default() -> Self {
        Self(RefCell::new(Kept { times: Vec::new(), items: None }))
    }
}

impl<T> PerTimes<T> {
    /// Calls `with` with what `make` made of `times`, which it must make the same way every time; with none where the
    /// series before had other times.
    pub fn with<R>(
        &self,
        times: &[Timestamp],
        make: impl FnOnce(&mut Vec<T>),
        with: impl FnOnce(Option<&[T]>) -> R,
    ) -> R {
        let mut kept = self.0.borrow_mut();
        let Kept { times: before, items } = &mut *kept;
        if *before != times {
            before.clear();
            before.extend_from_slice(times);
            *items = None;
            return with(None);
        }
        let items = items.get_or_insert_with(|| {
            let mut items = Vec::new();
            make(&mut items);
            items
        });
        with(Some(items))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_made_for_the_second_series_and_kept() {
        let kept = PerTimes::default();
        let mut made = 0;
        let mut ask = |times: &[Timestamp]| {
            let make = |items: &mut Vec<i64>| {
                made += 1;
                items.push(times.iter().sum());
            };
            let found = kept.with(times, make, |items| items.map(<[i64]>::to_vec));
            (found, made)
        };
        assert_eq!(ask(&[1, 2]), (None, 0));
        assert_eq!(ask(&[1, 2]), (Some(vec![3]), 1));
        assert_eq!(ask(&[1, 2]), (Some(vec![3]), 1));
        assert_eq!(ask(&[1]), (None, 1));
        assert_eq!(ask(&[1, 2]), (None, 1));
        assert_eq!(ask(&[1, 2]), (Some(vec![3]), 2));
    }
}
