//! A block's series under other labels, and without what is to be deleted of them.
//!
//! ```text
//! side-index scanned ─> relabelled ─> deletions matched ─┬─> ChangeLog
//!                                                        └─> final keys sorted, joined ─> part, deleted intervals as tombstones
//! ```
//!
//! Deletions match the labels that relabelling leaves, as in Thanos. A series that it leaves no labels goes. Series that become equal
//! are joined; where their chunks overlap, whoever merges series merges them.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::UInt64Type;

use crate::block::tombstones::{Deleted, Intervals, Tombstones};
use crate::error::{Error, Result};
use crate::index::SeriesRef;
use crate::model::{Labels, Matcher, TimeInterval};
use crate::side_index::schema::{CHUNKS, LABELS, SERIES_REF};
use crate::side_index::{SideIndex, chunk_list, column, wrong};

use super::label_join::LabelJoin;
use super::selection::{SELECTION_COLUMNS, Selection, SelectionBuilder};
use super::{SeriesRequest, check_deadline};

/// Other labels for a series; none where it goes.
pub type RelabelSeries = Arc<dyn Fn(&Labels) -> Option<Labels> + Send + Sync>;

/// How the series of a block are changed.
#[derive(Clone, Default)]
pub struct Rewrite {
    /// Their labels.
    pub relabel: Option<RelabelSeries>,
    /// What goes of them.
    pub deletions: Vec<SeriesDeletion>,
    /// Samples outside of it go, of all series.
    pub keep: Option<TimeInterval>,
}

/// What goes of some series.
#[derive(Debug, Clone)]
pub struct SeriesDeletion {
    /// All of them must match, and the labels that they name be there.
    pub matchers: Vec<Matcher>,
    /// What goes; all where there are none.
    pub intervals: Vec<TimeInterval>,
}

/// What becomes of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// These intervals of it go.
    Deleted(Labels, Vec<TimeInterval>),
    /// It gets other labels.
    Relabelled(Labels, Labels),
}

/// Is told what becomes of every series that does not stay as it is, in the order of their labels before.
pub trait ChangeLog: Send {
    /// From here on: what was told before does not count.
    fn begin(&mut self);

    /// One change.
    ///
    /// # Errors
    /// Where it cannot be written down.
    fn note(&mut self, change: Change) -> Result<()>;
}

impl fmt::Debug for Rewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let relabels = self.relabel.is_some();
        f.debug_struct("Rewrite")
            .field("relabels", &relabels)
            .field("deletions", &self.deletions)
            .finish_non_exhaustive()
    }
}

impl SeriesDeletion {
    fn matches(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|matcher| {
            let value = labels.get(matcher.name());
            value.is_some_and(|value| matcher.matches(&value))
        })
    }
}

impl Rewrite {
    /// The series of a side-index as they are after it, and what is deleted of them, `tombstones` included.
    pub(super) async fn select(
        &self,
        side_index: &SideIndex,
        request: &SeriesRequest,
        mut tombstones: Tombstones,
        log: &mut dyn ChangeLog,
    ) -> Result<(Selection, Tombstones)> {
        let join = LabelJoin::new(&Default::default(), Arc::default(), false);
        let mut builder = SelectionBuilder::new(join, request.interval, true, Arc::clone(&request.budget));
        log.begin();
        side_index
            .scan(&[], None, &SELECTION_COLUMNS, |batch| {
                check_deadline(request.deadline)?;
                let keys = self.rewrite(batch, &mut tombstones, log)?;
                let deleted = |series: u64, chunk| {
                    let of_series = u32::try_from(series).ok().and_then(|series| tombstones.get(SeriesRef(series)));
                    of_series.is_some_and(|intervals| intervals.deleted(chunk) == Deleted::Whole)
                };
                builder.push_as(batch, deleted, |row, out| {
                    out.push_str(&keys[row]);
                    0
                })
            })
            .await?;
        Ok((builder.finish(None)?, tombstones))
    }

    /// The new keys of a batch's rows; what is to go is added to `tombstones`.
    fn rewrite(
        &self,
        batch: &RecordBatch,
        tombstones: &mut Tombstones,
        log: &mut dyn ChangeLog,
    ) -> Result<Vec<String>> {
        let labels = column(batch, LABELS)?.as_string_opt::<i32>().ok_or_else(|| wrong(LABELS))?;
        let refs = column(batch, SERIES_REF)?.as_primitive_opt::<UInt64Type>().ok_or_else(|| wrong(SERIES_REF))?;
        let lists = column(batch, CHUNKS)?.as_binary_opt::<i32>().ok_or_else(|| wrong(CHUNKS))?;
        let mut keys = Vec::with_capacity(labels.len());
        for row in 0..labels.len() {
            let mut chunks = Vec::new();
            for span in chunk_list::decode(lists.value(row)) {
                chunks.push(span?.interval());
            }
            let reference = u32::try_from(refs.value(row));
            let reference = SeriesRef(reference.map_err(|_| Error::Internal("a reference of 32 bits".to_owned()))?);
            let labels = Labels::from_key(labels.value(row));
            let (labels, deleted) = self.of_series(labels, &chunks, log)?;
            deleted.as_slice().iter().for_each(|&interval| tombstones.add(reference, interval));
            keys.push(labels.into_key());
        }
        Ok(keys)
    }

    /// The labels of a series, and what of its chunks goes.
    fn of_series(
        &self,
        labels: Labels,
        chunks: &[TimeInterval],
        log: &mut dyn ChangeLog,
    ) -> Result<(Labels, Intervals)> {
        let mut all = Intervals::default();
        let span = chunks.iter().copied().reduce(|a, b| TimeInterval::new(a.mint.min(b.mint), a.maxt.max(b.maxt)));
        span.into_iter().for_each(|span| all.add(span));
        let renamed = match &self.relabel {
            Some(relabel) => relabel(&labels).filter(|renamed| !renamed.is_empty()),
            None => Some(labels.clone()),
        };
        let Some(renamed) = renamed else {
            log.note(Change::Deleted(labels.clone(), all.as_slice().to_vec()))?;
            return Ok((labels, all));
        };
        if renamed != labels {
            log.note(Change::Relabelled(labels, renamed.clone()))?;
        }
        let asked = self.deleted_of(&renamed, span);
        let mut deleted = Intervals::default();
        for chunk in chunks {
            for interval in asked.as_slice().iter().filter(|interval| interval.overlaps(*chunk)) {
                deleted.add(TimeInterval::new(chunk.mint.max(interval.mint), chunk.maxt.min(interval.maxt)));
            }
        }
        if !deleted.as_slice().is_empty() {
            log.note(Change::Deleted(renamed.clone(), deleted.as_slice().to_vec()))?;
        }
        Ok((renamed, asked))
    }

    /// What is to go of a series whose chunks lie within `span`.
    fn deleted_of(&self, labels: &Labels, span: Option<TimeInterval>) -> Intervals {
        let mut asked = Intervals::default();
        for deletion in self.deletions.iter().filter(|deletion| deletion.matches(labels)) {
            match deletion.intervals.as_slice() {
                [] => span.into_iter().for_each(|span| asked.add(span)),
                some => some.iter().for_each(|&interval| asked.add(interval)),
            }
        }
        if let Some(keep) = self.keep {
            let before = keep.mint.checked_sub(1).map(|end| TimeInterval::new(i64::MIN, end));
            let after = keep.maxt.checked_add(1).map(|start| TimeInterval::new(start, i64::MAX));
            before.into_iter().chain(after).for_each(|interval| asked.add(interval));
        }
        asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Noted(Vec<Change>);

    impl ChangeLog for Noted {
        fn begin(&mut self) {
            self.0.clear();
        }

        fn note(&mut self, change: Change) -> Result<()> {
            self.0.push(change);
            Ok(())
        }
    }

    fn interval((mint, maxt): (i64, i64)) -> TimeInterval {
        TimeInterval::new(mint, maxt)
    }

    /// Labels after `rewrite` of a series with chunks 0 to 9 and 10 to 19, what is deleted of it, and the changes told.
    fn check(rewrite: &Rewrite, labels: &[(&str, &str)]) -> (Labels, Vec<TimeInterval>, Vec<Change>) {
        let mut noted = Noted(Vec::new());
        let chunks = [interval((0, 9)), interval((10, 19))];
        let (labels, deleted) =
            rewrite.of_series(Labels::from_pairs(labels.iter().copied()), &chunks, &mut noted).unwrap();
        (labels, deleted.as_slice().to_vec(), noted.0)
    }

    fn deletion(matchers: &[(&str, &str)], intervals: &[(i64, i64)]) -> Rewrite {
        let matchers = matchers.iter().map(|&(name, value)| Matcher::equal(name, value)).collect();
        let intervals = intervals.iter().map(|&pair| interval(pair)).collect();
        Rewrite { deletions: vec![SeriesDeletion { matchers, intervals }], ..Rewrite::default() }
    }

    #[test]
    fn what_matches_goes_whole_or_in_part() {
        let series = [("a", "1"), ("b", "2")];
        let labels = Labels::from_pairs(series);
        let deleted = |intervals: &[(i64, i64)]| {
            vec![Change::Deleted(labels.clone(), intervals.iter().map(|&pair| interval(pair)).collect())]
        };
        let (_, gone, changes) = check(&deletion(&[("a", "1")], &[]), &series);
        assert_eq!((gone, changes), (vec![interval((0, 19))], deleted(&[(0, 19)])));
        let (_, gone, changes) = check(&deletion(&[("a", "1"), ("b", "2")], &[(5, 12)]), &series);
        assert_eq!((gone, changes), (vec![interval((5, 12))], deleted(&[(5, 12)])));
        // what is not there is not told
        let (_, _, changes) = check(&deletion(&[("a", "1")], &[(30, 40)]), &series);
        assert!(changes.is_empty());
        // one that does not match, and one whose label is missing, even where an empty value matches
        for matchers in [&[("a", "2")][..], &[("a", "1"), ("c", "")]] {
            let (_, gone, changes) = check(&deletion(matchers, &[]), &series);
            assert!(gone.is_empty() && changes.is_empty(), "{matchers:?}");
        }
    }

    #[test]
    fn deletions_see_the_new_labels() {
        let relabel: RelabelSeries = Arc::new(|labels| match labels.get("drop") {
            Some(_) => None,
            None => Some(labels.with("a", "9")),
        });
        let rewrite = Rewrite { relabel: Some(relabel), ..deletion(&[("a", "9")], &[(0, 3)]) };
        let (labels, gone, changes) = check(&rewrite, &[("a", "1")]);
        let new = Labels::from_pairs([("a", "9")]);
        assert_eq!((&labels, gone), (&new, vec![interval((0, 3))]));
        let old = Labels::from_pairs([("a", "1")]);
        assert_eq!(changes, [Change::Relabelled(old, new.clone()), Change::Deleted(new, vec![interval((0, 3))])]);
        let (_, gone, changes) = check(&rewrite, &[("drop", "1")]);
        assert_eq!((gone, changes.len()), (vec![interval((0, 19))], 1));
    }

    #[test]
    fn what_lies_outside_goes() {
        let rewrite = Rewrite { keep: Some(interval((2, 14))), ..Rewrite::default() };
        let (labels, _, changes) = check(&rewrite, &[("a", "1")]);
        assert_eq!(changes, [Change::Deleted(labels, vec![interval((0, 1)), interval((15, 19))])]);
    }
}
