use proptest::prelude::*;

use super::*;
use crate::model::{CUSTOM_BUCKETS_SCHEMA, CounterResetHint, FloatHistogram, Histogram, Span, TimeInterval};

/// All entries of a record, formatted: NaNs are equal where their text is.
fn entries(record: &[u8]) -> String {
    match decode(record).unwrap() {
        Record::Series(entries) => {
            let owned = entries.map(|e| e.map(|e| (e.series, e.labels.collect::<Vec<_>>())));
            format!("{:?}", owned.collect::<Result<Vec<_>, _>>().unwrap())
        }
        Record::Samples(entries) => format!("{:?}", entries.collect::<Result<Vec<_>, _>>().unwrap()),
        Record::Tombstones(entries) => format!("{:?}", entries.collect::<Result<Vec<_>, _>>().unwrap()),
        Record::Exemplars(entries) => {
            let owned = entries.map(|e| e.map(|e| (e.series, e.t, e.value, e.labels.collect::<Vec<_>>())));
            format!("{:?}", owned.collect::<Result<Vec<_>, _>>().unwrap())
        }
        Record::MmapMarkers(entries) => format!("{:?}", entries.collect::<Result<Vec<_>, _>>().unwrap()),
        Record::Metadata(entries) => format!("{:?}", entries.collect::<Result<Vec<_>, _>>().unwrap()),
        Record::Histograms(entries) => format!("{:?}", entries.collect::<Result<Vec<_>, _>>().unwrap()),
        Record::FloatHistograms(entries) => format!("{:?}", entries.collect::<Result<Vec<_>, _>>().unwrap()),
    }
}

/// The record that our encoders make of what `record` holds.
pub(in super::super) fn encode_again(record: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let with_start = matches!(record[0], kind::SAMPLES_V2 | kind::HISTOGRAMS_V2 | kind::FLOAT_HISTOGRAMS_V2);
    let custom = matches!(record[0], kind::CUSTOM_HISTOGRAMS | kind::CUSTOM_FLOAT_HISTOGRAMS);
    match decode(record).unwrap() {
        Record::Series(entries) => {
            let mut encoder = SeriesEncoder::new(&mut out);
            entries.map(Result::unwrap).for_each(|e| encoder.push(e.series, e.labels));
        }
        Record::Samples(entries) => {
            let mut encoder = match with_start {
                true => SamplesEncoder::with_start_times(&mut out),
                false => SamplesEncoder::new(&mut out),
            };
            entries.map(Result::unwrap).for_each(|e| encoder.push(e));
        }
        Record::Tombstones(entries) => {
            let mut encoder = TombstonesEncoder::new(&mut out);
            entries.map(Result::unwrap).for_each(|e| encoder.push(e));
        }
        Record::Exemplars(entries) => {
            let mut encoder = ExemplarsEncoder::new(&mut out);
            entries.map(Result::unwrap).for_each(|e| encoder.push(e.series, e.t, e.value, e.labels));
        }
        Record::MmapMarkers(_) => out.extend_from_slice(record),
        Record::Metadata(entries) => {
            let mut encoder = MetadataEncoder::new(&mut out);
            entries.map(Result::unwrap).for_each(|e| encoder.push(e));
        }
        Record::Histograms(entries) => {
            let mut encoder = match (with_start, custom) {
                (true, _) => HistogramsEncoder::with_start_times(&mut out),
                (_, true) => HistogramsEncoder::custom_buckets(&mut out),
                _ => HistogramsEncoder::exponential(&mut out),
            };
            entries.map(Result::unwrap).for_each(|e| encoder.push(e.series, e.t, e.start, &e.histogram));
        }
        Record::FloatHistograms(entries) => {
            let mut encoder = match (with_start, custom) {
                (true, _) => FloatHistogramsEncoder::with_start_times(&mut out),
                (_, true) => FloatHistogramsEncoder::custom_buckets(&mut out),
                _ => FloatHistogramsEncoder::exponential(&mut out),
            };
            entries.map(Result::unwrap).for_each(|e| encoder.push(e.series, e.t, e.start, &e.histogram));
        }
    }
    out
}

fn histogram(schema: i32) -> Histogram {
    Histogram {
        counter_reset_hint: CounterResetHint::NotCounterReset,
        schema,
        zero_threshold: 0.001,
        zero_count: 2,
        count: 300,
        sum: -18.4,
        positive_spans: vec![Span { offset: -3, length: 2 }, Span { offset: 1, length: 1 }],
        negative_spans: vec![Span { offset: 0, length: 1 }],
        positive_deltas: vec![200, -150, i64::MAX],
        negative_deltas: vec![7],
        custom_values: if schema == CUSTOM_BUCKETS_SCHEMA { vec![-1.0, 0.5, 1e300] } else { Vec::new() },
    }
}

/// One record of every type and encoding, by our encoders.
pub(in super::super) fn one_of_each() -> Vec<Vec<u8>> {
    let mut records = vec![Vec::new(); 13];
    let [series, samples, newer, stones, exemplars, markers, metadata, h1, h2, h3, f1, f2, f3] = &mut records[..]
    else {
        unreachable!("there are 13")
    };
    let mut encoder = SeriesEncoder::new(series);
    encoder.push(7, [("__name__", "up"), ("job", "a\u{10ffff}")]);
    encoder.push(u64::MAX, []);
    let points =
        [(7, 1000, 0, 1.5), (3, -5, 900, f64::NAN), (u64::MAX, i64::MAX, 900, -0.0), (9, i64::MIN, 40, 1e-320)];
    let points = points.map(|(series, t, start, value)| SampleEntry { series, t, start, value });
    let mut encoder = SamplesEncoder::new(samples);
    points.iter().for_each(|p| encoder.push(*p));
    let mut encoder = SamplesEncoder::with_start_times(newer);
    points.iter().for_each(|p| encoder.push(*p));
    let mut encoder = TombstonesEncoder::new(stones);
    encoder.push(TombstoneEntry { series: 7, interval: TimeInterval { mint: i64::MIN, maxt: 12 } });
    let mut encoder = ExemplarsEncoder::new(exemplars);
    encoder.push(7, 1000, 0.25, [("trace_id", "abc")]);
    encoder.push(6, 999, 0.5, []);
    markers.extend([kind::MMAP_MARKERS, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 1, 0, 0, 0, 8]);
    let mut encoder = MetadataEncoder::new(metadata);
    encoder.push(MetadataEntry { series: 300, kind: 1, unit: "seconds", help: "" });
    let (plain, custom) = (histogram(3), histogram(CUSTOM_BUCKETS_SCHEMA));
    HistogramsEncoder::exponential(h1).push(7, 1000, 0, &plain);
    HistogramsEncoder::custom_buckets(h2).push(7, 1000, 0, &custom);
    let mut encoder = HistogramsEncoder::with_start_times(h3);
    for (series, t, start) in [(7, 1, 5), (8, 2, 0), (5, 3, 5), (5, 4, 6), (6, 5, 6)] {
        encoder.push(series, t, start, &custom);
    }
    let (plain, custom) = (plain.to_float(), custom.to_float());
    let mut encoder = FloatHistogramsEncoder::exponential(f1);
    for (series, t) in [(7, 9), (4, 3)] {
        encoder.push(series, t, 0, &plain);
    }
    FloatHistogramsEncoder::custom_buckets(f2).push(7, 1000, 0, &custom);
    let mut encoder = FloatHistogramsEncoder::with_start_times(f3);
    for (series, t, start) in [(7, 1, 5), (8, 2, 0), (5, 3, 5)] {
        encoder.push(series, t, start, &plain);
    }
    records
}

#[test]
fn every_type_reads_back() {
    for record in one_of_each() {
        assert!(is_whole(&record), "{record:?}");
        assert_eq!(encode_again(&record), record, "{}", entries(&record));
    }
}

#[test]
fn what_was_written_is_what_is_read() {
    let records = one_of_each();
    assert_eq!(
        entries(&records[0]),
        r#"[(7, [("__name__", "up"), ("job", "a\u{10ffff}")]), (18446744073709551615, [])]"#
    );
    assert!(entries(&records[1]).contains("SampleEntry { series: 3, t: -5, start: 0, value: NaN }"));
    assert!(entries(&records[2]).contains("SampleEntry { series: 3, t: -5, start: 900, value: NaN }"));
    assert!(entries(&records[2]).contains(&format!("series: 9, t: {}, start: 40", i64::MIN)));
    assert!(entries(&records[5]).contains("chunk: 4294967304"));
    assert!(entries(&records[9]).contains("series: 5, t: 4, start: 6"));
}

/// The older samples encoding by hand: base series and time, then differences in zigzag.
#[test]
fn samples_are_laid_out_as_documented() {
    let mut out = Vec::new();
    let mut encoder = SamplesEncoder::new(&mut out);
    encoder.push(SampleEntry { series: 258, t: 1, start: 5, value: 1.0 });
    encoder.push(SampleEntry { series: 257, t: 65, start: 5, value: 0.0 });
    let mut expected = vec![2, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 1];
    expected.extend([0, 0, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0]);
    expected.extend([1, 0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(out, expected);
}

#[test]
fn an_encoder_without_entries_writes_nothing() {
    let mut out = Vec::new();
    let _ = (SeriesEncoder::new(&mut out), ());
    let _ = (HistogramsEncoder::<Histogram>::exponential(&mut out), ());
    let _ = (HistogramsEncoder::<FloatHistogram>::with_start_times(&mut out), ());
    assert!(out.is_empty());
}

#[test]
fn what_is_cut_or_unknown_is_refused() {
    assert_eq!(decode(&[]).unwrap_err(), RecordError::Empty);
    assert_eq!(decode(&[14, 0]).unwrap_err(), RecordError::UnknownType(14));
    for record in one_of_each() {
        // a record cut at the end of an entry is whole; its entries are at least two bytes
        let whole = (1..record.len()).filter(|&len| is_whole(&record[..len])).count();
        assert!(whole < 8, "{record:?}");
        let mut iterated = record.clone();
        iterated.push(0x80);
        assert!(!is_whole(&iterated));
    }
    // 2^60 buckets in a record of 40 bytes
    let mut hostile = vec![kind::HISTOGRAMS];
    hostile.extend([0; 16 + 2 + 1 + 1 + 8 + 1 + 1 + 8]);
    hostile.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
    assert!(!is_whole(&hostile));
}

proptest! {
    #[test]
    fn samples_read_back(
        points in prop::collection::vec((any::<u64>(), any::<i64>(), any::<i64>(), any::<u64>()), 1..20),
        newer in any::<bool>(),
    ) {
        let mut out = Vec::new();
        let samples: Vec<SampleEntry> = points
            .into_iter()
            .map(|(series, t, start, value)| SampleEntry {
                series, t, start: if newer { start } else { 0 }, value: f64::from_bits(value),
            })
            .collect();
        {
            let mut encoder =
                if newer { SamplesEncoder::with_start_times(&mut out) } else { SamplesEncoder::new(&mut out) };
            samples.iter().for_each(|s| encoder.push(*s));
        }
        let Ok(Record::Samples(read)) = decode(&out) else { panic!("not samples") };
        prop_assert!(read.max_len() >= samples.len());
        let read: Vec<SampleEntry> = read.map(Result::unwrap).collect();
        prop_assert_eq!(format!("{samples:?}"), format!("{read:?}"));
        let bits = |s: &[SampleEntry]| s.iter().map(|s| s.value.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&samples), bits(&read));
    }

    #[test]
    fn any_bytes_end_without_a_panic(mut bytes in prop::collection::vec(any::<u8>(), 1..200), first in 0u8..15) {
        bytes[0] = first;
        let _ = is_whole(&bytes);
    }
}
