use std::path::PathBuf;

use storage::head::{HistogramValue, MetricKind};
use storage::model::{Labels, STALE_NAN_BITS, Span};

use super::*;
use crate::remote::snappy;
use crate::remote::target::RefusalKind;
use crate::remote::testing::{Kept, Message, Pushed, v1_request, v1_series, v2_request};

const LIMIT: usize = 32 << 20;

fn admission() -> Admission {
    Admission { tenant: "t".to_owned(), split_label: None, latest: 1_000_000, name_required: true, relabel: None }
}

fn decode(body: &[u8], version: WriteVersion) -> (Kept, Tally, Option<Malformed>) {
    let admission = admission();
    let mut kept = Kept::default();
    match DecodedLater::try_new(body.to_vec().into(), version, LIMIT / 8, &admission) {
        Ok(mut request) => {
            let _ = request.visit(&mut kept);
            (kept, request.tally, request.malformed)
        }
        Err(BodyError::Malformed(malformed)) => (kept, Tally::default(), Some(malformed)),
        Err(error) => panic!("{error}"),
    }
}

fn check_v1(series: Message, expected: &str) {
    let (kept, tally, malformed) = decode(&v1_request([series]), WriteVersion::V1);
    assert_eq!(malformed, None);
    let text = kept.pushed.first().map_or_else(|| tally.reasons(), |pushed| pushed.labels.to_string());
    assert_eq!(text, expected);
}

#[test]
fn labels_of_version_1() {
    check_v1(v1_series(&[("__name__", "up"), ("job", "a")], 1, 2.0), r#"{__name__="up", job="a"}"#);
    check_v1(v1_series(&[("job", "a"), ("__name__", "up")], 1, 2.0), r#"{__name__="up", job="a"}"#);
    check_v1(v1_series(&[("__name__", "up"), ("job", "")], 1, 2.0), r#"{__name__="up"}"#);
    check_v1(
        v1_series(&[("__name__", "up"), ("job", "a"), ("job", "b")], 1, 2.0),
        "invalid labels: a name occurs twice for series {__name__=\"up\", job=\"b\"}",
    );
    check_v1(
        v1_series(&[("", "a"), ("__name__", "up")], 1, 2.0),
        "invalid labels: a name is empty for series {\"\"=\"a\", __name__=\"up\"}",
    );
    check_v1(v1_series(&[("job", "a")], 1, 2.0), "invalid labels: there is no metric name for series {job=\"a\"}");
    check_v1(
        v1_series(&[("__name__", ""), ("job", "a")], 1, 2.0),
        "invalid labels: there is no metric name for series {job=\"a\"}",
    );
    check_v1(v1_series(&[], 1, 2.0), "invalid labels: there are none for series {}");
    let not_utf8 =
        v1_series(&[("__name__", "up")], 1, 2.0).message(1, Message::default().bytes(1, b"job").bytes(2, &[0xff]));
    check_v1(not_utf8, "invalid labels: a name or value is not UTF-8 for series {__name__=\"up\"}");
    let split_character =
        v1_series(&[("__name__", "up")], 1, 2.0).message(1, Message::default().bytes(1, b"job\xc3").bytes(2, b"a"));
    check_v1(split_character, "invalid labels: a name or value is not UTF-8 for series {__name__=\"up\"}");
    let (short, long) = ("é".repeat(63), "é".repeat(64));
    let labels = [("__name__", "up"), ("a", short.as_str()), ("b", long.as_str()), ("c", "d")];
    check_v1(v1_series(&labels, 1, 2.0), &format!(r#"{{__name__="up", a="{short}", b="{long}", c="d"}}"#));
    let many = (0..5_000).map(|i| (format!("l{i:05}"), "v".to_owned())).collect::<Vec<_>>();
    let many: Vec<_> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let (_, tally, _) = decode(&v1_request([v1_series(&many, 1, 1.0)]), WriteVersion::V1);
    assert!(tally.reasons().starts_with("invalid labels: more labels than are accepted for series {l00000="));
}

#[test]
fn samples_keep_their_bits_and_order() {
    let stale = f64::from_bits(STALE_NAN_BITS);
    let labels_last = Message::default()
        .message(2, Message::default().double(1, stale).varint(2, 5))
        .message(2, Message::default().varint(2, (-3_i64).cast_unsigned()))
        .message(2, Message::default())
        .message(2, Message::default().varint(2, i64::MAX.cast_unsigned()))
        .message(2, Message::default().varint(2, i64::MIN.cast_unsigned()))
        .message(1, Message::default().bytes(1, b"__name__").bytes(2, b"up"));
    let (kept, tally, _) = decode(&v1_request([labels_last]), WriteVersion::V1);
    let floats: Vec<_> = kept.pushed[0].floats.iter().map(|s| (s.t, s.value.to_bits())).collect();
    assert_eq!(floats, [(5, STALE_NAN_BITS), (-3, 0), (0, 0), (i64::MIN, 0)]);
    assert_eq!((tally.floats, tally.refused(RefusalKind::Conflict)), (4, 1));
    assert_eq!(tally.reasons(), "out of bounds: timestamp is too far in the future for series {__name__=\"up\"}");
}

#[test]
fn valid_series_of_a_request_are_written_beside_invalid_ones() {
    let up = |job| v1_series(&[("__name__", "up"), ("job", job)], 1, 2.0);
    let (kept, tally, _) = decode(&v1_request([up("a"), v1_series(&[], 1, 1.0), up("b")]), WriteVersion::V1);
    assert_eq!((kept.pushed.len(), tally.floats, tally.refused_total()), (2, 2, 1));
}

#[test]
fn metadata_of_version_1() {
    let metadata = Message::default().varint(1, 1).bytes(2, b"requests").bytes(4, b"help").bytes(5, b"s");
    let (kept, _, malformed) = decode(&Message::default().message(3, metadata).0, WriteVersion::V1);
    assert_eq!(malformed, None);
    assert_eq!(kept.described, [("requests".to_owned(), MetricKind::Counter, "s".to_owned(), "help".to_owned())]);
}

#[test]
fn exemplars_of_version_1() {
    let label = |name: &[u8], value: &[u8]| Message::default().bytes(1, name).bytes(2, value);
    let exemplar = |labels: &[(&str, &str)]| {
        labels
            .iter()
            .fold(Message::default(), |m, (name, value)| m.message(1, label(name.as_bytes(), value.as_bytes())))
            .double(2, 0.5)
            .varint(3, 7)
    };
    let long = "x".repeat(125);
    let series = v1_series(&[("__name__", "up")], 1, 2.0)
        .message(3, exemplar(&[("trace_id", "1"), ("span", "2")]))
        .message(3, exemplar(&[("a", &long), ("bc", "")]))
        .message(3, exemplar(&[("a", &long), ("bc", "de")]))
        .message(3, exemplar(&[("a", "1"), ("a", "2")]))
        .message(3, exemplar(&[]));
    let (kept, tally, _) = decode(&v1_request([series]), WriteVersion::V1);
    let labels: Vec<_> = kept.pushed[0].exemplars.iter().map(|(labels, ..)| labels.clone()).collect();
    assert_eq!(labels[0], Labels::from_pairs([("span", "2"), ("trace_id", "1")]));
    assert_eq!((labels.len(), tally.exemplars, tally.refused(RefusalKind::Exemplar)), (3, 3, 2));
}

#[test]
fn version_2() {
    let symbols = ["", "__name__", "requests_total", "job", "a", "trace_id", "s", "how many"];
    let series = Message::default()
        .packed(1, &[1, 2, 3, 4])
        .message(2, Message::default().double(1, 1.5).varint(2, 10).varint(3, 4))
        .message(2, Message::default().double(1, 2.5).varint(2, 11))
        .message(4, Message::default().packed(1, &[5, 4]).double(2, 3.0).varint(3, 11))
        .message(5, Message::default().varint(1, 1).varint(3, 7).varint(4, 6))
        .varint(6, 3);
    let (kept, tally, _) = decode(&v2_request(&symbols, [series]), WriteVersion::V2);
    let expected = Pushed {
        tenant: "t".to_owned(),
        labels: Labels::from_pairs([("__name__", "requests_total"), ("job", "a")]),
        floats: vec![
            storage::head::FloatSample { t: 10, start: 4, value: 1.5 },
            storage::head::FloatSample { t: 11, start: 3, value: 2.5 },
        ],
        histograms: vec![],
        exemplars: vec![(Labels::from_pairs([("trace_id", "a")]), 11, 3.0)],
        metadata: Some((MetricKind::Counter, "s".to_owned(), "how many".to_owned())),
    };
    assert_eq!(kept.pushed, [expected]);
    assert_eq!((tally.floats, tally.exemplars, tally.refused_total()), (2, 1, 0));
}

#[test]
fn histograms_of_version_2() {
    let histogram = Message::default()
        .varint(1, 3)
        .double(3, 4.5)
        .varint(4, 105)
        .message(11, Message::default().varint(2, 2))
        .packed(12, &[2, 2])
        .varint(15, 9)
        .bytes(16, &2.0_f64.to_le_bytes())
        .varint(17, 8);
    let float = Message::default().double(2, 1.0).double(7, 1.0).varint(14, 3).varint(15, 10);
    let series = Message::default().packed(1, &[1, 2]).message(3, histogram).message(3, float).varint(6, 2);
    let (kept, tally, _) = decode(&v2_request(&["", "__name__", "h"], [series]), WriteVersion::V2);
    assert_eq!(tally.reasons(), "");
    let [first, second] = &kept.pushed[0].histograms[..] else { panic!("two histograms") };
    let HistogramValue::Integer(custom) = &first.histogram else { panic!("integer counts") };
    assert_eq!((custom.schema, custom.count, custom.custom_values.as_slice()), (-53, 3, [2.0].as_slice()));
    assert_eq!(custom.positive_spans, [Span { offset: 0, length: 2 }]);
    assert_eq!((first.t, first.start, second.t, second.start), (9, 8, 10, 2));
    assert!(matches!(second.histogram, HistogramValue::Float(_)));
}

#[test]
fn bad_references_cost_their_series_only() {
    let sample = || Message::default().double(1, 1.0).varint(2, 1);
    let series = |refs: &[u64]| Message::default().packed(1, refs).message(2, sample());
    let body = v2_request(
        &["", "__name__", "up"],
        [
            series(&[1, 2]),
            series(&[1, 3]),
            series(&[1, 2, 1]),
            series(&[u64::MAX, 2]),
            Message::default().packed(1, &[1, 2]),
            series(&[1, 2]).message(5, Message::default().varint(3, 9)),
        ],
    );
    let (kept, tally, malformed) = decode(&body, WriteVersion::V2);
    assert_eq!((kept.pushed.len(), malformed), (1, None));
    let reasons = tally.reasons();
    let expected = [
        "symbol reference 3 is not in the symbols table for series {}",
        "invalid labels: the number of label references is odd for series {__name__=\"up\"}",
        "symbol reference 4294967295 is not in the symbols table for series {}",
        "TimeSeries must contain at least one sample or histogram for series {__name__=\"up\"}",
        "symbol reference 9 is not in the symbols table for series {__name__=\"up\"}",
    ];
    assert_eq!(reasons.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn the_label_of_the_tenant_is_taken_off() {
    let admission = Admission { split_label: Some("team".to_owned()), ..admission() };
    let body = v1_request([
        v1_series(&[("__name__", "up"), ("team", "red")], 1, 1.0),
        v1_series(&[("__name__", "up")], 1, 1.0),
        v1_series(&[("__name__", "up"), ("team", "../red")], 1, 1.0),
    ]);
    let mut request = DecodedLater::try_new(body.into(), WriteVersion::V1, 0, &admission).unwrap();
    let mut kept = Kept::default();
    request.visit(&mut kept).unwrap();
    let got: Vec<_> = kept.pushed.iter().map(|p| (p.tenant.as_str(), p.labels.to_string())).collect();
    assert_eq!(got, [("red", r#"{__name__="up"}"#.to_owned()), ("t", r#"{__name__="up"}"#.to_owned())]);
    assert_eq!(request.tally.reasons(), "invalid tenant name for series {__name__=\"up\"}");
}

#[test]
fn very_many_empty_messages_take_no_memory() {
    let empty_series = [0x0a, 0].repeat(1 << 20);
    let (kept, tally, malformed) = decode(&empty_series, WriteVersion::V1);
    assert_eq!((kept.pushed.len(), tally.refused_total(), malformed), (0, 1 << 20, None));
    assert!(tally.reasons().len() < 1_000);

    let mut series = v1_series(&[("__name__", "up")], 1, 2.0);
    series.0.extend([0x12, 0].repeat(100_000));
    let (kept, tally, _) = decode(&v1_request([series]), WriteVersion::V1);
    assert_eq!(tally.floats, 100_001);
    assert!(kept.pushed.iter().all(|pushed| pushed.floats.len() <= 4_096));

    let symbols = [0x22, 0].repeat(1_000);
    let error = DecodedLater::try_new(symbols.into(), WriteVersion::V2, 999, &admission()).unwrap_err();
    assert_eq!(error, BodyError::TooManySymbols(999));
}

#[test]
fn no_damage_panics() {
    let v1 =
        v1_request(
            [v1_series(&[("__name__", "up"), ("job", "a")], 1, 2.0).message(4, Message::default().varint(1, 1))],
        );
    let series = Message::default().packed(1, &[1, 2]).message(2, Message::default().double(1, 1.0).varint(2, 1));
    let v2 = v2_request(&["", "__name__", "up"], [series]);
    for (body, version) in [(v1, WriteVersion::V1), (v2, WriteVersion::V2)] {
        for len in 0..body.len() {
            decode(&body[..len], version);
        }
        for at in 0..body.len() {
            for byte in 0..=u8::MAX {
                let mut damaged = body.clone();
                damaged[at] = byte;
                decode(&damaged, version);
            }
        }
    }
    let wrong_type = Message::default().varint(1, 5).0;
    assert_eq!(decode(&wrong_type, WriteVersion::V1).2, Some(Malformed::WireType("timeseries")));
}

/// The golden bodies of a version, decompressed.
fn golden(version: &str) -> Vec<Vec<u8>> {
    let Ok(shared) = std::env::var("QUIVER_SHARED") else {
        eprintln!("skipped: QUIVER_SHARED is not set");
        return Vec::new();
    };
    let folder = PathBuf::from(shared).join("golden/remote-write").join(version);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "body"));
    files.sort();
    files.iter().map(|path| snappy::decompress(&std::fs::read(path).unwrap(), LIMIT).unwrap()).collect()
}

#[test]
fn what_prometheus_sent_is_read_whole() {
    let latest = Admission { latest: i64::MAX, ..admission() };
    let mut per_version = Vec::new();
    for (folder, version) in [("v1", WriteVersion::V1), ("v2", WriteVersion::V2)] {
        let (mut kept, mut totals) = (Kept::default(), [0; 3]);
        for body in golden(folder) {
            let mut request = DecodedLater::try_new(body.into(), version, LIMIT / 8, &latest).unwrap();
            request.visit(&mut kept).unwrap();
            let tally = &request.tally;
            assert_eq!(tally.reasons(), "");
            totals = [totals[0] + tally.floats, totals[1] + tally.histograms, totals[2] + tally.exemplars];
        }
        let mut samples = Vec::new();
        for pushed in &kept.pushed {
            let floats = pushed.floats.iter().map(|s| (s.t, format!("{:x}", s.value.to_bits())));
            let histograms = pushed.histograms.iter().map(|h| (h.t, format!("{:?}", h.histogram)));
            samples.extend(floats.chain(histograms).map(|(t, value)| (pushed.labels.clone(), t, value)));
        }
        samples.sort();
        per_version.push((samples, totals));
    }
    // The sender had both endpoints, so both versions hold the same samples.
    assert_eq!(per_version[0], per_version[1]);
    let expected = if std::env::var_os("QUIVER_SHARED").is_some() { [2_267, 66, 0] } else { [0; 3] };
    assert_eq!(per_version[0].1, expected);
}
