use promql::tree::Grid;
use proptest::prelude::*;
use storage::model::Labels;

use super::*;
use crate::kernel::Margin;
use crate::testing::series::{TestChunk, chunks, samples, series_batch};

/// Decodes one series of these chunks, which are sorted first as a merged series' are.
fn decode(mut decoder: SeriesDecoder, mut chunks: Vec<TestChunk>) -> Result<SampleBuffer> {
    chunks.sort_by_key(|chunk| chunk.mint);
    let key = Labels::from_pairs([("__name__", "m")]).into_key();
    // a row before it, so that chunk numbers do not begin at 0
    let columns = SeriesColumns::try_new(&series_batch(&[("a".to_owned(), chunks.clone()), (key, chunks)])).unwrap();
    decoder.decode(&columns, 1).cloned()
}

fn all() -> SeriesDecoder {
    SeriesDecoder::new(TimeInterval::ALL, ReplicaMerge::default(), None)
}

#[track_caller]
fn check(chunks: Vec<TestChunk>, expected: &str) {
    assert_eq!(decode(all(), chunks).unwrap(), samples(expected));
}

#[test]
fn chunks_in_order_are_joined() {
    check(vec![], "");
    check(chunks(&samples("1:1 2:2 3:3 4:4 5:-0"), 2, 7), "1:1 2:2 3:3 4:4 5:-0");
    check([chunks(&samples("1:1 2:2"), 9, 0), chunks(&samples("4:h:2:3"), 9, 0)].concat(), "1:1 2:2 4:h:2:3");
}

#[test]
fn overlaps_of_one_replica_merge_sample_by_sample() {
    check(
        [chunks(&samples("1:1 3:3 5:5"), 9, 0), chunks(&samples("2:2 4:4 6:6"), 9, 0)].concat(),
        "1:1 2:2 3:3 4:4 5:5 6:6",
    );
    // of two samples at one instant that of the chunk which begins first counts
    check([chunks(&samples("2:12 3:13 4:14"), 9, 0), chunks(&samples("1:1 3:3"), 9, 0)].concat(), "1:1 2:12 3:3 4:14");
    check(
        [chunks(&samples("1:1 3:h:1:1 5:5"), 1, 0), chunks(&samples("3:3 4:h:2:2"), 9, 0)].concat(),
        "1:1 3:h:1:1 4:h:2:2 5:5",
    );
    check(
        [chunks(&samples("1:1 9:9"), 9, 0), chunks(&samples("2:2 3:3"), 9, 0), chunks(&samples("2:0 4:4"), 9, 0)]
            .concat(),
        "1:1 2:2 3:3 4:4 9:9",
    );
}

#[test]
fn replicas_are_deduplicated() {
    let [a, b] = [
        chunks(&samples("10:1 20:2 70:7"), 2, 41),
        chunks(&samples("10.1:11 20.1:12 30.1:13 40.1:14 50.1:15 60.1:16"), 2, 7),
    ];
    check([a, b].concat(), "10:1 20:2 40.1:14 50.1:15 60.1:16");
}

#[test]
fn replicas_are_deduplicated_over_gaps_too() {
    let a = chunks(&samples("0:1 10:2 20:3 30:4 40:5 50:6 60:7 70:8 80:9 90:10 100:11 110:12 120:13"), 1, 0);
    let b = chunks(&samples("45:105 55:106 65:107 75:108 85:109 95:110 105:111 115:112"), 4, 1);
    let grid = Grid { start: 0, end: 120_000, step_ms: 60_000 };
    let windows = Windows { grid, offset_ms: 0, at: None, range_ms: 10_000, margin: Margin::default() };
    let decoded =
        decode(SeriesDecoder::for_windows(&windows, ReplicaMerge::default(), None), [a.clone(), b].concat()).unwrap();
    assert_eq!(decoded, samples("0:1 10:2 20:3 30:4 40:5 50:6 60:7 70:8 80:9 90:10 100:11 110:12 120:13"));
    // without another replica, what lies between windows is not even decoded
    assert_eq!(
        decode(SeriesDecoder::for_windows(&windows, ReplicaMerge::default(), None), a).unwrap(),
        samples("0:1 60:7 120:13")
    );
}

#[test]
fn a_damaged_chunk_names_its_series() {
    let mut damaged = chunks(&samples("1:1 2:2 3:3"), 9, 0);
    damaged[0].data.truncate(4);
    let error = decode(all(), damaged.clone()).unwrap_err();
    let Error::Chunk { labels, interval, .. } = error else { panic!("{error:?}") };
    assert_eq!((labels.to_string().as_str(), interval), ("{__name__=\"m\"}", TimeInterval::new(1_000, 3_000)));
    damaged[0].encoding = 99;
    assert!(decode(all(), damaged).is_err());
}

#[test]
fn hostile_times_do_not_panic() {
    let windows = Windows {
        grid: Grid { start: 0, end: 100_000, step_ms: 10_000 },
        offset_ms: 0,
        at: None,
        range_ms: 10,
        margin: Margin::default(),
    };
    for (mint, maxt) in [(i64::MIN, i64::MAX), (i64::MAX, i64::MIN), (i64::MIN, 0), (0, i64::MAX), (i64::MIN, i64::MIN)]
    {
        let mut chunk = chunks(&samples("20:1"), 9, 0).remove(0);
        (chunk.mint, chunk.maxt) = (mint, maxt);
        decode(SeriesDecoder::for_windows(&windows, ReplicaMerge::default(), None), vec![chunk]).unwrap();
    }
}

/// Samples at random distances, floats with some histograms and staleness markers among them; a value tells its time.
fn random_samples() -> impl Strategy<Value = SampleBuffer> {
    prop::collection::vec((1_i64..400, 0_u8..12), 0..60).prop_map(|steps| {
        let mut buffer = SampleBuffer::new();
        let mut t = -5_000;
        for (step, kind) in steps {
            t += step * if kind == 0 { 10 } else { 1 };
            match kind {
                1 => buffer.push_histogram(t, crate::testing::histogram(1.0, t as f64)),
                2 => buffer.push_float(t, storage::model::stale_nan()),
                _ => buffer.push_float(t, t as f64),
            }
        }
        buffer
    })
}

/// The samples that lie in any window, as text.
fn in_windows(samples: &SampleBuffer, windows: &Windows) -> Vec<String> {
    let inside = |t: i64| (0..windows.steps()).any(|step| windows.start(step) < t && t <= windows.end(step));
    (0..samples.len())
        .filter(|&i| inside(samples.timestamps[i]))
        .map(|i| {
            format!(
                "{} {:?} {:?}",
                samples.timestamps[i],
                samples.floats[i].to_bits(),
                samples.histogram(i).map(|h| h.count)
            )
        })
        .collect()
}

proptest! {
    #[test]
    fn skipping_chunks_in_gaps_changes_nothing(
        series in prop::collection::vec((random_samples(), 1_usize..6, 0_u32..2), 1..3),
        (start, steps, step_ms) in (-6_000_i64..8_000, 1_i64..8, 1_i64..3_000),
        (range_ms, offset_ms) in (1_i64..1_500, -2_000_i64..2_000),
        fixed in prop::option::weighted(0.1, -6_000_i64..8_000),
    ) {
        let grid = Grid { start, end: start + (steps - 1) * step_ms, step_ms };
        let windows = Windows { grid, offset_ms, at: fixed, range_ms, margin: Margin::default() };
        let chunks: Vec<TestChunk> =
            series.iter().flat_map(|(samples, per_chunk, replica)| chunks(samples, *per_chunk, *replica)).collect();
        let last = windows.steps() - 1;
        let interval = TimeInterval::new(windows.start(0) + 1, windows.end(last));
        let everything = decode(SeriesDecoder::new(interval, ReplicaMerge::default(), None), chunks.clone()).unwrap();
        let skipping = decode(SeriesDecoder::for_windows(&windows, ReplicaMerge::default(), None), chunks).unwrap();
        prop_assert_eq!(in_windows(&skipping, &windows), in_windows(&everything, &windows));
    }

    #[test]
    fn one_replica_keeps_every_sample(series in prop::collection::vec((random_samples(), 1_usize..6), 1..4)) {
        let chunks: Vec<TestChunk> = series.iter().flat_map(|(samples, n)| chunks(samples, *n, 5)).collect();
        let decoded = decode(all(), chunks).unwrap();
        let mut times: Vec<i64> = series.iter().flat_map(|(samples, _)| samples.timestamps.clone()).collect();
        times.sort_unstable();
        times.dedup();
        prop_assert_eq!(decoded.timestamps, times);
    }
}
