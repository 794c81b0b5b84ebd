//! One side of a histogram, its spans and populations, as a sequence of (index, population) in ascending order, and
//! back.
//!
//! All that changes a layout — adding, lowering the resolution, compacting — is a pass over such sequences, so no
//! other code has to know how spans are told. Spans and populations that disagree end a sequence early.

use super::Span;
use super::kahan::Population;

/// The (index, population) pairs of one side, from either end. Indices are wide enough that no spans overflow them.
#[derive(Debug, Clone)]
pub(super) struct Side<'a, P> {
    spans: &'a [Span],
    populations: &'a [P],
    /// The span to read next, how much of it was read, and the index of its next bucket.
    front: Cursor,
    /// The span to read next from the end, how much of it is left, and one past the index of its last bucket.
    back: Cursor,
}

#[derive(Debug, Clone, Copy, Default)]
struct Cursor {
    span: usize,
    within: usize,
    index: i64,
}

impl<'a, P: Population> Side<'a, P> {
    pub(super) fn new(spans: &'a [Span], populations: &'a [P]) -> Self {
        let mut back = Cursor::default();
        let mut left = populations.len();
        for (i, span) in spans.iter().enumerate() {
            if left == 0 {
                break;
            }
            let length = left.min(span.length as usize);
            let index = back.index.saturating_add(i64::from(span.offset));
            back = Cursor { span: i, within: length, index: index.saturating_add_unsigned(length as u64) };
            left -= length;
        }
        let front = Cursor { index: spans.first().map_or(0, |span| i64::from(span.offset)), ..Cursor::default() };
        Self { spans, populations: &populations[..populations.len() - left], front, back }
    }
}

impl<P: Population> Iterator for Side<'_, P> {
    type Item = (i64, P);

    fn next(&mut self) -> Option<Self::Item> {
        let (&population, rest) = self.populations.split_first()?;
        while self.front.within >= self.spans.get(self.front.span)?.length as usize {
            self.front.span += 1;
            self.front.within = 0;
            self.front.index = self.front.index.saturating_add(i64::from(self.spans.get(self.front.span)?.offset));
        }
        let index = self.front.index;
        self.populations = rest;
        self.front.within += 1;
        self.front.index = index.saturating_add(1);
        Some((index, population))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.populations.len(), Some(self.populations.len()))
    }
}

impl<P: Population> DoubleEndedIterator for Side<'_, P> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let (&population, rest) = self.populations.split_last()?;
        while self.back.within == 0 {
            self.back.index = self.back.index.saturating_sub(i64::from(self.spans.get(self.back.span)?.offset));
            self.back.span = self.back.span.checked_sub(1)?;
            self.back.within = self.spans.get(self.back.span)?.length as usize;
        }
        self.populations = rest;
        self.back.within -= 1;
        self.back.index = self.back.index.saturating_sub(1);
        Some((self.back.index, population))
    }
}

/// The index that bucket `index` of schema `from` has in the lower schema `to`.
pub(super) fn index_in_schema(index: i64, from: i32, to: i32) -> i64 {
    let shift = from.saturating_sub(to).clamp(0, 63);
    (index.saturating_sub(1) >> shift) + 1
}

/// The buckets of `side`, which are in schema `from`, as they are in the lower schema `to`.
pub(super) fn in_schema<P: Population>(
    side: impl Iterator<Item = (i64, P)>,
    from: i32,
    to: i32,
) -> impl Iterator<Item = (i64, P)> {
    let mut side = side.map(move |(index, population)| (index_in_schema(index, from, to), population)).peekable();
    std::iter::from_fn(move || {
        let (index, mut population) = side.next()?;
        while let Some((_, more)) = side.next_if(|(next, _)| *next == index) {
            population.merge(more);
        }
        Some((index, population))
    })
}

/// The union of two sides in one schema; where both have a bucket, the second is merged into the first.
pub(super) fn union<P: Population>(
    first: impl Iterator<Item = (i64, P)>,
    second: impl Iterator<Item = (i64, P)>,
) -> impl Iterator<Item = (i64, P)> {
    let (mut first, mut second) = (first.peekable(), second.peekable());
    std::iter::from_fn(move || match (first.peek().copied(), second.peek().copied()) {
        (Some((a, mut population)), Some((b, more))) if a == b => {
            first.next();
            second.next();
            population.merge(more);
            Some((a, population))
        }
        (Some((a, _)), Some((b, _))) if a < b => first.next(),
        (Some(_), None) => first.next(),
        _ => second.next(),
    })
}

/// Spans and populations under construction. Neighbouring buckets share a span.
#[derive(Debug, Default)]
pub(super) struct SideBuilder<P> {
    pub(super) spans: Vec<Span>,
    pub(super) populations: Vec<P>,
    next_index: i64,
}

impl<P: Population> SideBuilder<P> {
    pub(super) fn with_capacity(buckets: usize) -> Self {
        Self { spans: Vec::new(), populations: Vec::with_capacity(buckets), next_index: 0 }
    }

    /// Appends a bucket; indices ascend.
    pub(super) fn push(&mut self, index: i64, population: P) {
        match self.spans.last_mut() {
            Some(span) if index == self.next_index && span.length < u32::MAX => span.length += 1,
            _ => {
                let offset = index.saturating_sub(self.next_index);
                // Only spans that overflowed to begin with do not fit.
                let offset = i32::try_from(offset).unwrap_or(if offset < 0 { i32::MIN } else { i32::MAX });
                self.spans.push(Span { offset, length: 1 });
            }
        }
        self.populations.push(population);
        self.next_index = index.saturating_add(1);
    }
}

impl<P: Population> Extend<(i64, P)> for SideBuilder<P> {
    fn extend<I: IntoIterator<Item = (i64, P)>>(&mut self, buckets: I) {
        for (index, population) in buckets {
            self.push(index, population);
        }
    }
}

/// Whether two layouts are the same, spans of length zero aside.
pub(super) fn same_layout(a: &[Span], b: &[Span]) -> bool {
    if a == b {
        return true;
    }
    without_empty(a).eq(without_empty(b))
}

/// The spans with the offsets of empty ones added to the span after them.
fn without_empty(spans: &[Span]) -> impl Iterator<Item = (i64, u32)> + '_ {
    let mut gap = 0_i64;
    spans.iter().filter_map(move |span| {
        gap += i64::from(span.offset);
        (span.length > 0).then(|| (std::mem::take(&mut gap), span.length))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(offset: i32, length: u32) -> Span {
        Span { offset, length }
    }

    #[test]
    fn reads_from_both_ends() {
        let spans = [span(-2, 1), span(0, 0), span(3, 2), span(0, 1)];
        let populations = [1.0, 2.0, 3.0, 4.0];
        let side = Side::new(&spans, &populations);
        let forward = vec![(-2, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)];
        assert_eq!(side.clone().collect::<Vec<_>>(), forward);
        assert_eq!(side.rev().collect::<Vec<_>>(), forward.into_iter().rev().collect::<Vec<_>>());
    }

    #[test]
    fn spans_and_populations_that_disagree_end_early() {
        let check = |spans: &[Span], populations: &[f64], expected: &[(i64, f64)]| {
            let side = Side::new(spans, populations);
            assert_eq!(side.clone().collect::<Vec<_>>(), expected);
            assert_eq!(side.rev().collect::<Vec<_>>(), expected.iter().rev().copied().collect::<Vec<_>>());
        };
        check(&[], &[1.0], &[]);
        check(&[span(1, 3)], &[], &[]);
        check(&[span(1, 3)], &[1.0], &[(1, 1.0)]);
        check(&[span(1, 1)], &[1.0, 2.0], &[(1, 1.0)]);
        check(&[span(i32::MAX, u32::MAX), span(i32::MAX, u32::MAX)], &[1.0], &[(i64::from(i32::MAX), 1.0)]);
    }

    #[test]
    fn lower_schema_merges_neighbours() {
        let merged: Vec<_> = in_schema((-3..5).map(|i| (i, 1.0)), 1, 0).collect();
        assert_eq!(merged, [(-1, 2.0), (0, 2.0), (1, 2.0), (2, 2.0)]);
    }

    #[test]
    fn empty_spans_do_not_matter_to_the_layout() {
        assert!(same_layout(&[span(1, 1), span(2, 0), span(3, 1)], &[span(1, 1), span(5, 1), span(7, 0)]));
        assert!(same_layout(&[], &[span(7, 0)]));
        assert!(!same_layout(&[span(1, 1)], &[span(1, 2)]));
        assert!(!same_layout(&[span(1, 2)], &[span(1, 1), span(0, 1)]));
    }
}
