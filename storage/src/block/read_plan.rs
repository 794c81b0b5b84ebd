//! Planning which ranges of the segments to fetch for a set of chunks.
//!
//! The index says where chunks start, not where they end. The start of the chunk behind one is where it ends at
//! the latest; where that is not known, a guess is fetched, and what the guess missed is fetched again.
//!
//! 1. Each wanted chunk gets a span: from its start to the next known start, or the guess.
//! 2. Spans of one segment that touch, or whose gap is cheaper to fetch than another request, become one range.
//! 3. A range that grew to its limit is closed, so that no buffer is larger than a reader can hold many of.
//!
//! No I/O, and no promise about hostile references beyond that every wanted chunk is in just one range, which
//! covers its start: what is not a chunk there fails its checksum.

use std::ops::Range;

use crate::index::ChunkRef;

/// How ranges are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadPlanSettings {
    /// Largest gap between two spans that is fetched rather than skipped, in bytes.
    pub gap_max: u64,
    /// Length assumed of a chunk whose end is not known, in bytes.
    pub guess: u64,
    /// A next start that is farther away than this is not believed to be the chunk's end, in bytes.
    pub known_len_max: u64,
    /// Length at which a range is closed, in bytes; one span may be longer.
    pub range_len_max: u64,
}

impl Default for ReadPlanSettings {
    /// For an object store that answers in some tens of milliseconds: half a megabyte passes in the time of a request.
    fn default() -> Self {
        Self { gap_max: 512 << 10, guess: 16 << 10, known_len_max: 1 << 20, range_len_max: 8 << 20 }
    }
}

/// A chunk that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WantedChunk {
    /// Where it starts.
    pub chunk: ChunkRef,
    /// Where it ends at the latest, in its segment: the start of any later chunk, or the segment's length.
    pub end: Option<u64>,
}

/// A range to fetch of one segment, and the wanted chunks in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedRead {
    /// The segment, counted from 0.
    pub segment: u32,
    /// Bytes of its file. It may reach past the end of the file where an end was guessed.
    pub range: Range<u64>,
    /// The positions of its chunks in the wanted list.
    pub chunks: Range<usize>,
}

impl PlannedRead {
    /// The read for the chunk at position `index` of the wanted list, of which a range ended too early: `end` is
    /// what [`ReadChunk::Short`](super::segments::ReadChunk::Short) told.
    #[must_use]
    pub fn again(chunk: ChunkRef, index: usize, end: u64) -> Self {
        Self { segment: chunk.segment(), range: u64::from(chunk.offset())..end, chunks: index..index + 1 }
    }
}

/// Plans the reads for `wanted`, which is in ascending order. Where it is not, a range is closed and the result is
/// right but costs more.
#[must_use]
pub fn plan_reads(wanted: &[WantedChunk], settings: &ReadPlanSettings) -> Vec<PlannedRead> {
    let mut reads: Vec<PlannedRead> = Vec::new();
    for (index, want) in wanted.iter().enumerate() {
        let next = wanted.get(index + 1).map(|next| next.chunk).filter(|next| next.segment() == want.chunk.segment());
        let span = span(want, next, settings);
        match reads.last_mut() {
            Some(read) if joins(read, want.chunk.segment(), &span, settings) => {
                read.range.end = read.range.end.max(span.end);
                read.chunks.end = index + 1;
            }
            _ => {
                reads.push(PlannedRead { segment: want.chunk.segment(), range: span, chunks: index..index + 1 });
            }
        }
    }
    reads
}

/// From the chunk's start to where it ends at the latest, as far as one knows.
fn span(want: &WantedChunk, next: Option<ChunkRef>, settings: &ReadPlanSettings) -> Range<u64> {
    let start = u64::from(want.chunk.offset());
    let known = [want.end, next.map(|next| u64::from(next.offset()))].into_iter().flatten();
    let nearest = known.filter(|end| *end > start).min();
    match nearest.filter(|end| end - start <= settings.known_len_max) {
        Some(end) => start..end,
        None => start..start + settings.guess.max(1),
    }
}

fn joins(read: &PlannedRead, segment: u32, span: &Range<u64>, settings: &ReadPlanSettings) -> bool {
    read.segment == segment
        && span.start >= read.range.start
        && span.start <= read.range.end.saturating_add(settings.gap_max)
        && span.end.max(read.range.end) - read.range.start <= settings.range_len_max.max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SETTINGS: ReadPlanSettings =
        ReadPlanSettings { gap_max: 100, guess: 50, known_len_max: 1000, range_len_max: 400 };

    /// Wanted chunks as (segment, start, end), end 0 for not known; reads as (segment, range, chunks).
    fn check(wanted: &[(u32, u32, u64)], expected: &[(u32, Range<u64>, Range<usize>)]) {
        let end = |end| (end > 0).then_some(end);
        let wanted: Vec<_> =
            wanted.iter().map(|&(s, o, e)| WantedChunk { chunk: ChunkRef::new(s, o), end: end(e) }).collect();
        let reads = plan_reads(&wanted, &SETTINGS);
        let reads: Vec<_> = reads.into_iter().map(|read| (read.segment, read.range, read.chunks)).collect();
        assert_eq!(reads, expected);
    }

    #[test]
    fn neighbours_are_one_range() {
        check(&[(0, 8, 30), (0, 30, 60), (0, 60, 90)], &[(0, 8..90, 0..3)]);
    }

    #[test]
    fn small_gaps_are_fetched_and_large_ones_skipped() {
        check(&[(0, 8, 30), (0, 130, 150), (0, 251, 270)], &[(0, 8..150, 0..2), (0, 251..270, 2..3)]);
    }

    #[test]
    fn an_unknown_end_is_guessed() {
        check(&[(0, 8, 0)], &[(0, 8..58, 0..1)]);
        // the next wanted chunk is where it ends at the latest
        check(&[(0, 8, 0), (0, 20, 0)], &[(0, 8..70, 0..2)]);
    }

    #[test]
    fn an_end_too_far_away_is_not_believed() {
        check(&[(0, 8, 5000)], &[(0, 8..58, 0..1)]);
        check(&[(0, 8, 8)], &[(0, 8..58, 0..1)]);
    }

    #[test]
    fn segments_and_long_ranges_are_apart() {
        check(&[(0, 8, 30), (1, 30, 60)], &[(0, 8..30, 0..1), (1, 30..60, 1..2)]);
        check(&[(0, 8, 300), (0, 300, 409)], &[(0, 8..300, 0..1), (0, 300..409, 1..2)]);
        check(&[(0, 8, 900)], &[(0, 8..900, 0..1)]);
    }

    #[test]
    fn a_short_guess_is_read_again() {
        let again = PlannedRead::again(ChunkRef::new(2, 100), 7, 900);
        assert_eq!(again, PlannedRead { segment: 2, range: 100..900, chunks: 7..8 });
    }

    proptest! {
        #[test]
        fn every_chunk_is_in_one_range_that_covers_its_start(
            raw in prop::collection::vec((0..3u32, any::<u32>(), prop::option::of(any::<u64>())), 0..50),
            gap_max in any::<u64>(),
            guess in 0..u64::from(u32::MAX),
        ) {
            let wanted: Vec<_> =
                raw.iter().map(|&(s, o, end)| WantedChunk { chunk: ChunkRef::new(s, o), end }).collect();
            let settings = ReadPlanSettings { gap_max, guess, ..SETTINGS };
            let mut next = 0;
            for read in plan_reads(&wanted, &settings) {
                prop_assert_eq!(read.chunks.start, next);
                next = read.chunks.end;
                for want in &wanted[read.chunks] {
                    prop_assert_eq!(want.chunk.segment(), read.segment);
                    prop_assert!(read.range.contains(&u64::from(want.chunk.offset())));
                }
            }
            prop_assert_eq!(next, wanted.len());
        }
    }
}
