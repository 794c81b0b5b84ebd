use proptest::prelude::*;
use storage::chunk::{XorEncoder, encode_aggr, encode_series};
use storage::model::Labels;

use super::*;
use crate::dedup::Deduplication;
use crate::series_decoder::SeriesDecoder;
use crate::testing::series::{TestChunk, chunks, samples, series_batch};

/// The float chunk of samples in the notation of [`samples`], of which several may have one time.
fn slot(text: &str) -> Vec<u8> {
    let samples = samples(text);
    let mut encoder = XorEncoder::new();
    samples.timestamps.iter().zip(&samples.floats).for_each(|(t, v)| encoder.push(*t, *v));
    encoder.finish()
}

/// A downsampled chunk: count, sum, min, max and counter of its windows.
fn aggregates(slots: [&str; 5], replica: u32) -> TestChunk {
    let times = samples(slots[0]).timestamps;
    let slots = slots.map(slot);
    let data = encode_aggr(std::array::from_fn(|i| Some((Encoding::Xor as u8, &slots[i][..]))));
    TestChunk { mint: times[0], maxt: times[times.len() - 1], encoding: Encoding::Aggr as u8, replica, data }
}

/// Windows of 10 s: 1, 3 in the first, 8 and 2 after a reset in the second.
fn chunk(replica: u32) -> TestChunk {
    aggregates(["9:2 19:2", "9:4 19:10", "9:1 19:2", "9:3 19:8", "1:1 9:3 19:10 19:2"], replica)
}

fn decode_all(chunks: Vec<TestChunk>, reading: Reading, merge: ReplicaMerge) -> SampleBuffer {
    decode_in(chunks, reading, merge, TimeInterval::ALL)
}

fn decode_in(
    mut chunks: Vec<TestChunk>,
    reading: Reading,
    merge: ReplicaMerge,
    interval: TimeInterval,
) -> SampleBuffer {
    chunks.sort_by_key(|chunk| chunk.mint);
    let batch = series_batch(&[(Labels::from_pairs([("__name__", "m")]).into_key(), chunks)]);
    let columns = SeriesColumns::try_new(&batch).unwrap();
    SeriesDecoder::new(interval, merge, Some(reading)).decode(&columns, 0).unwrap().clone()
}

#[track_caller]
fn check(chunks: Vec<TestChunk>, reading: Reading, expected: &str) {
    // as text, since a staleness marker is NaN
    let decoded = decode_all(chunks, reading, ReplicaMerge::default());
    assert_eq!(format!("{decoded:?}"), format!("{:?}", samples(expected)), "{reading}");
}

#[test]
fn every_reading_of_a_chunk_and_of_raw_samples_beside_it() {
    let mixed = || [vec![chunk(0)], chunks(&samples("21:4 22:stale 23:6"), 9, 0)].concat();
    check(mixed(), Reading::Average, "9:2 19:5 21:4 22:stale 23:6");
    check(mixed(), Reading::Count, "9:2 19:2 21:1 22:stale 23:1");
    check(mixed(), Reading::Sum, "9:4 19:10 21:4 22:stale 23:6");
    check(mixed(), Reading::Min, "9:1 19:2 21:4 22:stale 23:6");
    check(mixed(), Reading::Max, "9:3 19:8 21:4 22:stale 23:6");
    check(mixed(), Reading::Counter, "1:1 9:3 19:10 21:12 23:14");
}

#[test]
fn series_without_downsampled_chunks_are_raw() {
    let raw = || chunks(&samples("1:5 2:3 3:stale 4:h:2:3"), 9, 0);
    for reading in [Reading::Average, Reading::Sum, Reading::Min, Reading::Max, Reading::Counter] {
        check(raw(), reading, "1:5 2:3 3:stale 4:h:2:3");
    }
    check(raw(), Reading::Count, "1:1 2:1 3:stale 4:1");
}

#[test]
fn counters_go_on_across_chunks_and_kinds() {
    let next = || aggregates(["29:2 39:1", "29:9 39:1", "29:4 39:1", "29:5 39:1", "21:4 29:5 39:6 39:1"], 0);
    // 4 after 2 is no reset, nor is 5 after 1
    check(vec![chunk(0), next()], Reading::Counter, "1:1 9:3 19:10 21:12 29:13 39:14");
    let raw = || chunks(&samples("41:5 42:0.5"), 9, 0);
    check([vec![chunk(0), next()], raw()].concat(), Reading::Counter, "1:1 9:3 19:10 21:12 29:13 39:14 41:18 42:18.5");
    let before = chunks(&samples("-2:7 -1:9 0:0.5"), 9, 0);
    check([before, vec![chunk(0)]].concat(), Reading::Counter, "-2:7 -1:9 0:9.5 1:10 9:12 19:19");
    // the total does not depend on where in the first chunk the interval begins
    let interval = TimeInterval::new(19_000, 29_000);
    let merge = ReplicaMerge::default();
    assert_eq!(decode_in(vec![chunk(0), next()], Reading::Counter, merge, interval), samples("19:10 21:12 29:13"));
    assert_eq!(decode_in(vec![chunk(0), next()], Reading::Sum, merge, interval), samples("19:10 29:9"));
}

#[test]
fn a_chunk_that_was_cut_speaks_for_its_time_only() {
    let cut = |mint, maxt| TestChunk { mint, maxt, ..chunk(0) };
    let raw = || chunks(&samples("10:4 11:8 12:2"), 9, 0);
    check([vec![cut(9_000, 9_999)], raw()].concat(), Reading::Sum, "9:4 10:4 11:8 12:2");
    check([vec![cut(9_000, 9_999)], raw()].concat(), Reading::Counter, "1:1 9:3 10:4 11:8 12:10");
    check(vec![cut(10_000, 19_000)], Reading::Average, "19:5");
    check(vec![cut(9_000, 9_000), cut(19_000, 19_000)], Reading::Average, "9:2 19:5");
}

#[test]
fn raw_samples_that_a_window_is_made_of_do_not_count_again() {
    // as a head has them that is not yet emptied
    let raw = || chunks(&samples("1:1 2:3 11:8 12:2 21:4"), 9, 0);
    check([vec![chunk(0)], raw()].concat(), Reading::Sum, "9:4 19:10 21:4");
    check([vec![chunk(0)], raw()].concat(), Reading::Count, "9:2 19:2 21:1");
    check([vec![chunk(0)], raw()].concat(), Reading::Counter, "1:1 9:3 19:10 21:12");
}

#[test]
fn replicas_are_merged_as_averages() {
    let other = aggregates(
        [
            "9.5:1 19.5:2 29.5:4",
            "9.5:7 19.5:6 29.5:12",
            "9.5:7 19.5:3 29.5:3",
            "9.5:7 19.5:3 29.5:3",
            "1:7 9.5:7 19.5:13 29.5:13 29.5:3",
        ],
        1,
    );
    let chain = ReplicaMerge { deduplication: Deduplication::Chain, counter: false };
    let merged = decode_all(vec![chunk(0), other.clone()], Reading::Average, chain);
    assert_eq!(merged, samples("9:2 9.5:7 19:5 19.5:3 29.5:3"));
    let penalty = decode_all(vec![chunk(0), other], Reading::Average, ReplicaMerge::default());
    assert_eq!(penalty, samples("9:2 19:5"), "the other replica waits for two windows");
}

#[test]
fn histograms_have_averages_where_floats_have_extremes() {
    let sums = encode_series(&samples("9:h:4:10 19:h:6:12"), 120).unwrap();
    let counts = slot("9:2 19:3");
    let slots =
        [Some((Encoding::Xor as u8, &counts[..])), Some((sums[0].encoding as u8, &sums[0].data[..])), None, None, None];
    let chunk = || TestChunk {
        mint: 9_000,
        maxt: 19_000,
        encoding: Encoding::Aggr as u8,
        replica: 0,
        data: encode_aggr(slots),
    };
    for reading in [Reading::Average, Reading::Min, Reading::Max] {
        let average = decode_all(vec![chunk()], reading, ReplicaMerge::default());
        assert_eq!((&average.floats[..], average.histograms.len()), (&[5.0, 4.0][..], 2), "{reading}");
    }
    check(vec![chunk()], Reading::Count, "9:2 19:3");
    check(vec![chunk()], Reading::Counter, "");
}

#[test]
fn damage_names_the_series() {
    let damaged = TestChunk { data: vec![1, 2, 3], ..chunk(0) };
    let batch = series_batch(&[(Labels::from_pairs([("__name__", "m")]).into_key(), vec![damaged])]);
    let columns = SeriesColumns::try_new(&batch).unwrap();
    for reading in [Reading::Average, Reading::Min, Reading::Counter] {
        let mut decoder = SeriesDecoder::new(TimeInterval::ALL, ReplicaMerge::default(), Some(reading));
        let error = decoder.decode(&columns, 0);
        assert!(matches!(error.unwrap_err(), crate::Error::Chunk { .. }), "{reading}");
    }
}

/// Length of the windows of [`downsampled`].
const WINDOW_MS: i64 = 1_000;

/// A chunk of these raw samples: one batch, as a compactor makes it.
fn downsampled(raw: &[(i64, f64)]) -> TestChunk {
    let (first, last) = (raw[0], raw[raw.len() - 1]);
    let mut slots: [XorEncoder; 5] = std::array::from_fn(|_| XorEncoder::new());
    let (mut total, mut before) = (0.0, first.1);
    slots[4].push(first.0, first.1);
    let window = |t: i64| t.div_euclid(WINDOW_MS);
    let (mut mint, mut maxt) = (None, 0);
    for samples in raw.chunk_by(|a, b| window(a.0) == window(b.0)) {
        let end = ((window(samples[0].0) + 1) * WINDOW_MS - 1).min(last.0);
        let values = samples.iter().map(|(_, v)| *v);
        for value in values.clone() {
            total += if value >= before { value - before } else { value };
            before = value;
        }
        slots[0].push(end, samples.len() as f64);
        slots[1].push(end, values.clone().sum());
        slots[2].push(end, values.clone().fold(f64::INFINITY, f64::min));
        slots[3].push(end, values.fold(f64::NEG_INFINITY, f64::max));
        slots[4].push(end, first.1 + total);
        (mint, maxt) = (mint.or(Some(end)), end);
    }
    slots[4].push(maxt, last.1);
    let slots = slots.map(XorEncoder::finish);
    let data = encode_aggr(std::array::from_fn(|i| Some((Encoding::Xor as u8, &slots[i][..]))));
    TestChunk { mint: mint.unwrap(), maxt, encoding: Encoding::Aggr as u8, replica: 0, data }
}

fn buffer(samples: &[(i64, f64)]) -> SampleBuffer {
    let mut buffer = SampleBuffer::new();
    samples.iter().for_each(|&(t, v)| buffer.push_float(t, v));
    buffer
}

/// Steps and values of a counter's samples.
type Steps = Vec<(i64, u16)>;
/// Pieces of it by their number of windows, each downsampled or not.
type Pieces = Vec<(i64, bool)>;

fn counters() -> impl Strategy<Value = (Steps, Pieces)> {
    (prop::collection::vec((1..700_i64, 0..100_u16), 1..80), prop::collection::vec((1..6_i64, any::<bool>()), 1..12))
}

proptest! {
    /// Whatever is raw and whatever downsampled, a counter grows as its raw samples do, through every reset, and nothing is lost or
    /// counted twice.
    #[test]
    fn kinds_of_chunks_do_not_show((steps, pieces) in counters()) {
        let mut raw: Vec<(i64, f64)> = Vec::new();
        for (step, value) in steps {
            raw.push((raw.last().map_or(0, |(t, _)| *t) + step, f64::from(value)));
        }
        // how much the counter has grown up to each raw sample
        let mut growth = vec![0.0];
        for pair in raw.windows(2) {
            let (from, to) = (pair[0].1, pair[1].1);
            growth.push(growth[growth.len() - 1] + if to >= from { to - from } else { to });
        }
        let mut parts: Vec<TestChunk> = Vec::new();
        let (mut rest, mut windows) = (&raw[..], 0);
        let (mut any_windows, mut pieces) = (false, pieces.into_iter().cycle());
        while let (false, Some((length, coarse))) = (rest.is_empty(), pieces.next()) {
            windows += length;
            let (piece, after) = rest.split_at(rest.partition_point(|(t, _)| *t < windows * WINDOW_MS));
            rest = after;
            if piece.is_empty() {
                continue;
            }
            any_windows |= coarse;
            if coarse { parts.push(downsampled(piece)) } else { parts.extend(chunks(&buffer(piece), 7, 0)) }
        }
        let decoded = |reading| decode_all(parts.clone(), reading, ReplicaMerge::default());
        let counter = decoded(Reading::Counter);
        for (&t, &total) in counter.timestamps.iter().zip(&counter.floats) {
            let grown = growth[raw.partition_point(|(raw_t, _)| *raw_t <= t) - 1];
            if any_windows {
                prop_assert_eq!(total - counter.floats[0], grown, "at {}", t);
            }
        }
        let total = |samples: SampleBuffer| samples.floats.iter().sum::<f64>();
        prop_assert_eq!(total(decoded(Reading::Count)), raw.len() as f64);
        prop_assert_eq!(total(decoded(Reading::Sum)), raw.iter().map(|(_, v)| v).sum::<f64>());
        let least = |samples: &[f64]| samples.iter().copied().fold(f64::INFINITY, f64::min);
        let values: Vec<f64> = raw.iter().map(|(_, v)| *v).collect();
        prop_assert_eq!(least(&decoded(Reading::Min).floats), least(&values));
    }
}
