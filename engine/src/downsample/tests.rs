use proptest::prelude::*;
use storage::chunk::{Aggregate, decode_aggregate, encode_series};
use storage::model::{CUSTOM_BUCKETS_SCHEMA, CounterResetHint, FloatHistogram, Span, TimeInterval, stale_nan};

use super::*;

const FIVE: i64 = FIVE_MINUTES_MS;
const HOUR: i64 = ONE_HOUR_MS;
const SLOTS: [Aggregate; 5] = [Aggregate::Count, Aggregate::Sum, Aggregate::Min, Aggregate::Max, Aggregate::Counter];

type Floats = Vec<(i64, f64)>;

fn buffer(samples: &[(i64, f64)]) -> SampleBuffer {
    let mut buffer = SampleBuffer::new();
    samples.iter().for_each(|&(t, value)| buffer.push_float(t, value));
    buffer
}

fn histograms(samples: &[(i64, FloatHistogram)]) -> SampleBuffer {
    let mut buffer = SampleBuffer::new();
    samples.iter().for_each(|(t, histogram)| buffer.push_histogram(*t, histogram.clone()));
    buffer
}

/// The chunks of a raw series in both resolutions.
fn levels(samples: &SampleBuffer) -> [Vec<EncodedChunk>; 2] {
    let chunks = encode_series(samples, 120).unwrap();
    let stored: Vec<StoredChunk<'_>> = chunks.iter().map(StoredChunk::of).collect();
    let levels = Downsampler::new().levels(&stored, RAW, HOUR).unwrap();
    assert_eq!(levels.iter().map(|(ms, _)| *ms).collect::<Vec<_>>(), [FIVE, HOUR]);
    let mut levels = levels.into_iter().map(|(_, made)| made);
    [levels.next().unwrap(), levels.next().unwrap()]
}

fn slot(chunk: &EncodedChunk, aggregate: Aggregate) -> SampleBuffer {
    let mut samples = SampleBuffer::new();
    decode_aggregate(&chunk.data, aggregate, TimeInterval::ALL, &mut samples).unwrap();
    samples
}

fn floats(chunk: &EncodedChunk) -> [Floats; 5] {
    SLOTS.map(|aggregate| {
        let samples = slot(chunk, aggregate);
        assert!(samples.histograms.is_empty());
        samples.timestamps.into_iter().zip(samples.floats).collect()
    })
}

/// What Thanos does, written down as plainly as can be.
mod oracle {
    use super::Floats;

    fn windows(samples: &Floats, resolution_ms: i64) -> Vec<(i64, Vec<f64>)> {
        let last = samples.last().map_or(0, |(t, _)| *t);
        let mut windows: Vec<(i64, Vec<f64>)> = Vec::new();
        for &(t, value) in samples {
            let end = ((t.div_euclid(resolution_ms) + 1) * resolution_ms - 1).min(last);
            match windows.last_mut().filter(|(open, _)| *open == end) {
                Some((_, values)) => values.push(value),
                None => windows.push((end, vec![value])),
            }
        }
        windows
    }

    fn chunk_count(from: i64, to: i64, input_ms: i64, output_ms: i64, samples: usize) -> usize {
        let most = ((to - from) / output_ms) as f64;
        let full = samples as f64 / ((to - from) as f64 / input_ms as f64);
        let expected = (most * if full > 1.0 { 1.0 } else { full }) as usize + 1;
        (1..).find(|count| expected / count <= 140).unwrap()
    }

    fn min(values: &[f64]) -> f64 {
        values.iter().fold(f64::INFINITY, |min, &value| if value < min { value } else { min })
    }

    fn max(values: &[f64]) -> f64 {
        values.iter().fold(f64::NEG_INFINITY, |max, &value| if value > max { value } else { max })
    }

    fn sum(values: &[f64]) -> f64 {
        values.iter().fold(0.0, |sum, value| sum + value)
    }

    /// First sample, the total at the end of each window, and the last value again.
    fn framed(samples: &Floats, resolution_ms: i64, last: f64) -> Floats {
        let mut framed = vec![samples[0]];
        let (mut total, mut before) = (0.0, None);
        for (end, values) in windows(samples, resolution_ms) {
            for value in values {
                total = match before {
                    None => value,
                    Some(before) if value < before => total + value,
                    Some(before) => total + (value - before),
                };
                before = Some(value);
            }
            framed.push((end, total));
        }
        framed.push((framed.last().unwrap().0, last));
        framed
    }

    pub fn raw(samples: &Floats, resolution_ms: i64) -> Vec<[Floats; 5]> {
        let samples: Floats = samples.iter().filter(|(_, v)| v.to_bits() != 0x7ff0_0000_0000_0002).copied().collect();
        let mut chunks = Vec::new();
        let Some(&(from, _)) = samples.first() else { return chunks };
        let count = chunk_count(from, samples.last().unwrap().0, 60_000, resolution_ms, samples.len());
        let (size, mut rest) = (samples.len() / count + 1, samples.as_slice());
        while !rest.is_empty() {
            let mut length = size.min(rest.len());
            let window = rest[length - 1].0.div_euclid(resolution_ms);
            while rest.get(length).is_some_and(|(t, _)| t.div_euclid(resolution_ms) == window) {
                length += 1;
            }
            let batch: Floats = rest[..length].iter().filter(|(_, value)| !value.is_nan()).copied().collect();
            rest = &rest[length..];
            if let Some(&(_, last)) = batch.last() {
                let windows = windows(&batch, resolution_ms);
                let by = |f: fn(&[f64]) -> f64| windows.iter().map(|(end, values)| (*end, f(values))).collect();
                let counter = framed(&batch, resolution_ms, last);
                chunks.push([by(|values| values.len() as f64), by(sum), by(min), by(max), counter]);
            }
        }
        chunks
    }

    pub fn aggregates(chunks: &[[Floats; 5]], input_ms: i64, resolution_ms: i64) -> Vec<[Floats; 5]> {
        let Some((first, last)) = chunks.first().zip(chunks.last()) else { return Vec::new() };
        let samples = chunks.iter().map(|chunk| chunk[0].len()).sum();
        let count = chunk_count(first[0][0].0, last[0].last().unwrap().0, input_ms, resolution_ms, samples);
        let batches = chunks.chunks((chunks.len() / count).max(1));
        let batches = batches.map(|batch| {
            let by = |slot: usize, f: fn(&[f64]) -> f64| {
                let samples = batch.iter().flat_map(|chunk| chunk[slot].clone()).collect();
                windows(&samples, resolution_ms).iter().map(|(end, values)| (*end, f(values))).collect()
            };
            let mut corrected: Floats = Vec::new();
            let mut before = 0.0;
            for (t, value) in batch.iter().flat_map(|chunk| chunk[4].clone()).filter(|(_, value)| !value.is_nan()) {
                match corrected.last() {
                    None => corrected.push((t, value)),
                    Some(&(last, total)) if t > last => {
                        corrected.push((t, total + if value >= before { value - before } else { value }));
                    }
                    Some(&(last, _)) if t == last => {}
                    Some(_) => continue,
                }
                before = value;
            }
            let counter = if corrected.is_empty() { Vec::new() } else { framed(&corrected, resolution_ms, before) };
            [by(0, sum), by(1, sum), by(2, min), by(3, max), counter]
        });
        batches.collect()
    }
}

/// The same times, and the same values to the bit but for the sign of NaNs.
#[track_caller]
fn check_chunks(found: &[EncodedChunk], expected: &[[Floats; 5]]) {
    let bits = |slots: &[Floats; 5]| -> [Vec<(i64, u64)>; 5] {
        let bits = |value: f64| if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() };
        slots.each_ref().map(|slot| slot.iter().map(|&(t, value)| (t, bits(value))).collect())
    };
    let found: Vec<[Floats; 5]> = found
        .iter()
        .map(|chunk| {
            let slots = floats(chunk);
            let times: Vec<i64> = slots[0].iter().map(|(t, _)| *t).collect();
            assert_eq!((Some(&chunk.mint), Some(&chunk.maxt)), (times.first(), times.last()));
            assert_eq!(chunk.samples, times.len());
            slots
        })
        .collect();
    assert_eq!(found.iter().map(bits).collect::<Vec<_>>(), expected.iter().map(bits).collect::<Vec<_>>());
}

#[track_caller]
fn check_floats(samples: &Floats) {
    let [five, hour] = levels(&buffer(samples));
    let expected = oracle::raw(samples, FIVE);
    check_chunks(&five, &expected);
    check_chunks(&hour, &oracle::aggregates(&expected, FIVE, HOUR));
}

#[test]
fn a_few_windows_in_full() {
    let samples = [(0, 5.0), (60_000, 7.0), (120_000, 1.0), (400_000, 2.0), (400_001, f64::NAN), (900_000, 9.0)];
    let [five, hour] = levels(&buffer(&samples));
    let ends = [299_999, 599_999, 900_000];
    let slot = |values: [f64; 3]| ends.into_iter().zip(values).collect::<Floats>();
    let mut expected =
        [slot([3.0, 1.0, 1.0]), slot([13.0, 2.0, 9.0]), slot([1.0, 2.0, 9.0]), slot([7.0, 2.0, 9.0]), Vec::new()];
    // 5 at first, 2 more, a reset to 1, 1 more, 7 more
    expected[4] = vec![(0, 5.0), (299_999, 8.0), (599_999, 9.0), (900_000, 16.0), (900_000, 9.0)];
    check_chunks(&five, &[expected]);
    let hour_slots = [5.0, 24.0, 1.0, 9.0].map(|value| vec![(900_000, value)]);
    let [count, sum, min, max] = hour_slots;
    check_chunks(&hour, &[[count, sum, min, max, vec![(0, 5.0), (900_000, 16.0), (900_000, 9.0)]]]);
}

#[test]
fn series_without_numbers_leave_nothing() {
    for samples in [vec![], vec![(0, stale_nan())], vec![(0, f64::NAN), (60_000, stale_nan())]] {
        assert_eq!(levels(&buffer(&samples)), [vec![], vec![]]);
    }
}

#[test]
fn long_series_are_cut_as_thanos_cuts_them() {
    // 14 days: every 15 s, every 7 minutes, with a gap of four days, and one that was reset 40 times
    for step in [15_000, 60_000, 420_000] {
        check_floats(&(0..14 * 86_400_000 / step).map(|i| (i * step, (i % 977) as f64)).collect());
    }
    check_floats(&(0..20_160).filter(|i| !(3_000..9_000).contains(i)).map(|i| (i * 60_000, i as f64)).collect());
    let [five, hour] = levels(&buffer(&(0..80_640).map(|i| (i * 15_000, i as f64)).collect::<Floats>()));
    // 29 chunks in batches of 29 / 3
    assert_eq!((five.len(), hour.len()), (29, 4));
}

#[test]
fn more_windows_than_a_chunk_counts_become_several() {
    let step = FIVE;
    let mut samples: Floats = (0..700_000).map(|i| (i, 1.0)).collect();
    samples.extend((0..80_000).map(|i| (1_000_000 + i * step, i as f64)));
    let [five, _] = levels(&buffer(&samples));
    let windows: usize = five.iter().map(|chunk| slot(chunk, Aggregate::Count).len()).sum();
    assert_eq!(windows, 80_000 + 3);
    assert!(five.iter().all(|chunk| chunk.samples <= 65_000));
}

#[test]
fn chunks_that_overlap_are_refused() {
    let one = encode_series(&buffer(&[(0, 1.0), (50, 2.0)]), 120).unwrap();
    let two = encode_series(&buffer(&[(40, 1.0), (60, 2.0)]), 120).unwrap();
    let stored = [StoredChunk::of(&one[0]), StoredChunk::of(&two[0])];
    assert!(Downsampler::new().downsample(&stored, RAW, FIVE).is_err());
    let five = levels(&buffer(&[(0, 1.0)]))[0].clone();
    let error = Downsampler::new().downsample(&[StoredChunk::of(&five[0])], RAW, FIVE).unwrap_err();
    assert_eq!(error.to_string(), "a chunk of aggregates among raw samples");
}

#[test]
fn raw_chunks_among_aggregates_are_mended() {
    let samples: Floats = (0..300).map(|i| (i * 60_000, i as f64)).collect();
    let ([first, _], rest) = (levels(&buffer(&samples[..200])), encode_series(&buffer(&samples[200..]), 120).unwrap());
    let stored = [StoredChunk::of(&first[0]), StoredChunk::of(&rest[0])];
    let made = Downsampler::new().downsample(&stored, FIVE, HOUR).unwrap();
    let parts = [oracle::raw(&samples[..200].to_vec(), FIVE), oracle::raw(&samples[200..].to_vec(), FIVE)].concat();
    check_chunks(&made, &oracle::aggregates(&parts, FIVE, HOUR));
}

proptest! {
    #[test]
    fn floats_agree_with_the_oracle(
        start in prop::sample::select(vec![0_i64, 1_767_225_600_123, -86_400_000]),
        parts in prop::collection::vec(
            (
                prop::sample::select(vec![0_i64, 1, 999, 15_000, 60_000, 299_999, 300_000, 420_000, 7_000_000]),
                1_usize..300,
                prop::collection::vec(
                    prop_oneof![
                        8 => -3.0..1e6_f64,
                        1 => prop::sample::select(vec![f64::NAN, stale_nan(), -0.0, 0.1, f64::INFINITY, f64::NEG_INFINITY]),
                    ],
                    1..20,
                ),
            ),
            1..8,
        ),
    ) {
        let (mut t, mut samples) = (start, Vec::new());
        for (step, length, values) in parts {
            for i in 0..length {
                samples.push((t, values[i % values.len()]));
                t += step;
            }
        }
        check_floats(&samples);
    }

    #[test]
    fn histograms_keep_count_sum_and_increase(
        steps in prop::collection::vec(
            (prop::sample::select(vec![15_000_i64, 60_000, 400_000]), 0_u32..9, 0_usize..6, prop::bool::weighted(0.05)),
            1..400,
        ),
        schema in -1_i32..3,
    ) {
        let (mut t, mut samples) = (0, Vec::new());
        let (mut now, mut increase) = (FloatHistogram { schema, ..histogram(&[]) }, 0.0);
        let mut before: Option<FloatHistogram> = None;
        for (step, observed, bucket, reset) in steps {
            t += step;
            if reset {
                now = FloatHistogram { schema, ..histogram(&[]) };
            }
            let mut populations = now.positive_buckets.clone();
            populations.resize(populations.len().max(bucket + 1), 0.0);
            populations[bucket] += f64::from(observed);
            now = FloatHistogram { schema, ..histogram(&populations) };
            // a reset after which no bucket fell cannot be told
            increase += match &before {
                Some(before) if !now.detect_reset(before) => now.count - before.count,
                _ => now.count,
            };
            before = Some(now.clone());
            samples.push((t, now.clone()));
        }
        let expected_sum: f64 = samples.iter().map(|(_, h)| h.sum).sum();
        for made in levels(&histograms(&samples)) {
            let counted: f64 = made.iter().flat_map(|chunk| slot(chunk, Aggregate::Count).floats).sum();
            prop_assert_eq!(counted, samples.len() as f64);
            let summed: f64 = made.iter().flat_map(|chunk| slot(chunk, Aggregate::Sum).floats).sum();
            prop_assert_eq!(summed, expected_sum);
            if let [only] = &made[..] {
                let counters = slot(only, Aggregate::Counter);
                prop_assert_eq!(counters.histograms.last().unwrap().1.count, increase);
            }
        }
    }
}

/// A histogram whose sum is its count.
fn histogram(populations: &[f64]) -> FloatHistogram {
    let count = populations.iter().sum();
    FloatHistogram {
        count,
        sum: count,
        positive_spans: vec![Span { offset: 0, length: u32::try_from(populations.len()).unwrap() }],
        positive_buckets: populations.to_vec(),
        ..FloatHistogram::default()
    }
}

/// Time, schema, zero threshold, custom bounds and populations of each window of a slot.
fn windows_of(chunk: &EncodedChunk, aggregate: Aggregate) -> Vec<(i64, FloatHistogram)> {
    let samples = slot(chunk, aggregate);
    assert_eq!(samples.histograms.len(), samples.len());
    let windows = samples.histograms.iter().map(|(index, h)| {
        let mut h = FloatHistogram::clone(h);
        h.compact(0);
        (samples.timestamps[*index as usize], FloatHistogram { counter_reset_hint: CounterResetHint::Unknown, ..h })
    });
    windows.collect()
}

#[test]
fn histograms_have_a_count_a_sum_and_a_counter() {
    let samples = [(0, [1.0, 2.0]), (60_000, [2.0, 2.0]), (300_000, [1.0, 0.0]), (360_000, [1.0, 4.0])];
    let [five, hour] = levels(&histograms(&samples.map(|(t, h)| (t, histogram(&h)))));
    let made = &five[0];
    assert_eq!((five.len(), made.mint, made.maxt, made.samples), (1, 299_999, 360_000, 2));
    assert_eq!(slot(made, Aggregate::Count).floats, [2.0, 2.0]);
    assert_eq!(slot(made, Aggregate::Min).len() + slot(made, Aggregate::Max).len(), 0);
    let sums = windows_of(made, Aggregate::Sum);
    assert_eq!(sums, [(299_999, histogram(&[3.0, 4.0])), (360_000, histogram(&[2.0, 4.0]))]);
    let counters = windows_of(made, Aggregate::Counter);
    assert_eq!(counters, [(299_999, histogram(&[2.0, 2.0])), (360_000, histogram(&[3.0, 6.0]))]);
    assert!(slot(made, Aggregate::Sum).histograms.iter().all(|(_, h)| h.counter_reset_hint == CounterResetHint::Gauge));
    assert_eq!(windows_of(&hour[0], Aggregate::Sum), [(360_000, histogram(&[5.0, 8.0]))]);
    assert_eq!(windows_of(&hour[0], Aggregate::Counter), [(360_000, histogram(&[3.0, 6.0]))]);
}

#[test]
fn gauges_stay_gauges() {
    let gauge =
        |populations: &[f64]| FloatHistogram { counter_reset_hint: CounterResetHint::Gauge, ..histogram(populations) };
    let [five, hour] =
        levels(&histograms(&[(0, gauge(&[5.0])), (60_000, gauge(&[2.0])), (300_000, gauge(&[1.0, 1.0]))]));
    assert_eq!((five.len(), hour.len()), (1, 1));
    assert_eq!(windows_of(&five[0], Aggregate::Sum), [(299_999, histogram(&[7.0])), (300_000, histogram(&[1.0, 1.0]))]);
    let counters = slot(&five[0], Aggregate::Counter);
    assert!(counters.histograms.iter().all(|(_, h)| h.counter_reset_hint == CounterResetHint::Gauge));
    assert_eq!(windows_of(&hour[0], Aggregate::Counter), [(300_000, histogram(&[1.0, 1.0]))]);
}

#[test]
fn a_batch_meets_in_its_lowest_schema_and_widest_zero_bucket() {
    let fine = |populations: &[f64]| FloatHistogram { schema: 1, ..histogram(populations) };
    let samples = [(0, fine(&[1.0, 1.0, 1.0])), (60_000, fine(&[1.0, 1.0, 3.0])), (300_000, histogram(&[4.0, 5.0]))];
    let [five, _] = levels(&histograms(&samples));
    let counters = windows_of(&five[0], Aggregate::Counter);
    // in the lower schema buckets 0, 1 and 2 of the finer one are 0, 1 and 1
    assert_eq!(counters, [(299_999, histogram(&[1.0, 4.0])), (300_000, histogram(&[4.0, 5.0]))]);

    let wide = |zero_threshold, zero_count| FloatHistogram {
        zero_threshold,
        zero_count,
        count: 2.0 + zero_count,
        ..histogram(&[0.0, 2.0])
    };
    let [five, hour] =
        levels(&histograms(&[(0, wide(0.001, 1.0)), (300_000, wide(0.01, 2.0)), (600_000, wide(0.001, 4.0))]));
    assert_eq!((five.len(), hour.len()), (1, 1));
    let thresholds: Vec<f64> = windows_of(&five[0], Aggregate::Sum).iter().map(|(_, h)| h.zero_threshold).collect();
    assert_eq!(thresholds, [0.01; 3]);
}

#[test]
fn resets_of_a_finer_schema_are_told_by_the_samples_themselves() {
    // chunks of 120 samples: the first of each has no hint, and a schema above the batch's
    let mut samples: Vec<(i64, FloatHistogram)> = (0..500)
        .map(|i| (i * 15_000, FloatHistogram { schema: 2, ..histogram(&[f64::from(i32::try_from(i).unwrap()) + 1.0]) }))
        .collect();
    samples.push((500 * 15_000, histogram(&[501.0])));
    let [five, _] = levels(&histograms(&samples));
    let counters = windows_of(&five[0], Aggregate::Counter);
    assert_eq!((five.len(), counters.last().unwrap().1.count), (1, 501.0));
}

#[test]
fn custom_buckets_are_downsampled_and_cut_where_their_bounds_change() {
    let custom = |bounds: &[f64], populations: &[f64]| FloatHistogram {
        schema: CUSTOM_BUCKETS_SCHEMA,
        custom_values: bounds.to_vec(),
        ..histogram(populations)
    };
    let (old, new) = ([1.0, 2.0], [1.0, 5.0]);
    let [five, hour] = levels(&histograms(&[
        (0, custom(&old, &[1.0, 1.0])),
        (60_000, custom(&old, &[2.0, 1.0])),
        (120_000, custom(&new, &[3.0, 1.0])),
        (700_000, custom(&new, &[3.0, 3.0])),
        (760_000, histogram(&[1.0])),
    ]));
    let spans: Vec<(i64, i64)> = five.iter().map(|chunk| (chunk.mint, chunk.maxt)).collect();
    assert_eq!(spans, [(60_000, 60_000), (299_999, 700_000), (760_000, 760_000)]);
    assert_eq!(windows_of(&five[0], Aggregate::Sum), [(60_000, custom(&old, &[3.0, 2.0]))]);
    assert_eq!(windows_of(&five[1], Aggregate::Counter)[1], (700_000, custom(&new, &[3.0, 3.0])));
    assert_eq!(
        hour.iter().map(|chunk| (chunk.mint, chunk.maxt)).collect::<Vec<_>>(),
        [(60_000, 60_000), (700_000, 700_000), (760_000, 760_000)]
    );
    assert_eq!(windows_of(&hour[1], Aggregate::Sum), [(700_000, custom(&new, &[6.0, 4.0]))]);
}

#[test]
fn floats_and_histograms_of_a_series_do_not_share_a_chunk() {
    let mut samples = buffer(&[(0, 1.0), (60_000, 2.0)]);
    samples.push_histogram(120_000, histogram(&[1.0]));
    samples.push_float(180_000, 3.0);
    let [five, hour] = levels(&samples);
    for made in [five, hour] {
        let spans: Vec<(i64, i64)> = made.iter().map(|chunk| (chunk.mint, chunk.maxt)).collect();
        assert_eq!(spans, [(60_000, 60_000), (120_000, 120_000), (180_000, 180_000)]);
    }
}

#[test]
fn hints_that_are_wrong_do_not_lose_windows() {
    let falls = FloatHistogram { counter_reset_hint: CounterResetHint::NotCounterReset, ..histogram(&[1.0]) };
    let first = histogram(&[9.0]);
    let batch = [(0, &first), (300_000, &falls), (600_000, &falls)];
    let mut made = Vec::new();
    histogram::HistogramWindows::sweep(&batch, FIVE).unwrap().encode(&mut made).unwrap();
    assert_eq!(made.iter().map(|chunk| chunk.samples).collect::<Vec<_>>(), [1, 2]);
}
