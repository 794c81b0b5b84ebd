//! The bodies: small ones that contradict the protocol, and large ones that are made to become larger.

use prost::Message;

use crate::golden::wire;
use crate::recently;
use crate::requests::{compress, field, varint};

/// A body, and what it is answered with.
pub struct Hostile {
    pub name: &'static str,
    pub is_v2: bool,
    pub body: Vec<u8>,
    /// By `/api/v1/write`.
    pub status: u16,
    /// By `/api/v1/receive`.
    pub status_of_receive: u16,
    /// How many samples are written all the same.
    pub written: u64,
    /// Likewise, by `/api/v1/receive`.
    pub written_by_receive: u64,
}

impl Hostile {
    fn v1(name: &'static str, body: Vec<u8>, (status, status_of_receive): (u16, u16), written: u64) -> Self {
        Self { name, is_v2: false, body, status, status_of_receive, written, written_by_receive: written }
    }

    fn v2(name: &'static str, body: Vec<u8>, status: u16, written: u64) -> Self {
        let status_of_receive = if status == 204 { 200 } else { status };
        Self { name, is_v2: true, body, status, status_of_receive, written, written_by_receive: written }
    }
}

/// What a body may have, unpacked.
const BODY_MAX: usize = 32 << 20;
/// The statuses of the two paths.
const OK: (u16, u16) = (204, 200);
const MALFORMED: (u16, u16) = (400, 400);
const CONFLICT: (u16, u16) = (400, 409);
const TOO_LARGE: (u16, u16) = (413, 413);

/// Everything that is small.
pub fn malicious() -> Vec<Hostile> {
    [packing(), labels_of_v1(), symbols_of_v2(), times(), histograms()].into_iter().flatten().collect()
}

/// Damage to what a body is packed in.
fn packing() -> Vec<Hostile> {
    let declares = |len: u64| {
        let mut body = Vec::new();
        varint(&mut body, len);
        body.extend([0; 100]);
        body
    };
    let cases: [(&str, Vec<u8>, (u16, u16)); 11] = [
        ("4 GiB are declared", declares((1 << 32) - 1), TOO_LARGE),
        ("16 EiB are declared", declares(u64::MAX), MALFORMED),
        ("a byte too many is declared", declares(BODY_MAX as u64 + 1), TOO_LARGE),
        ("32 MiB are declared and not there", declares(BODY_MAX as u64), MALFORMED),
        ("the length does not end", vec![0xff; 20], MALFORMED),
        ("a copy from before the beginning", vec![4, 0xff, 1, 2], MALFORMED),
        ("nothing is packed", b"\x0a\x02\x0a\x00".to_vec(), MALFORMED),
        ("a field breaks off", compress(&[0x0a, 0x05, 1]), MALFORMED),
        (
            "a length of 16 EiB",
            compress(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
            MALFORMED,
        ),
        ("a group", compress(&[0x0b, 0x0c]), MALFORMED),
        ("the field number 0", compress(&[0x02, 0x00]), MALFORMED),
    ];
    let both = |(name, body, statuses): (&'static str, Vec<u8>, (u16, u16))| {
        [Hostile::v1(name, body.clone(), statuses, 0), Hostile::v2(name, body, statuses.0, 0)]
    };
    cases.into_iter().flat_map(both).collect()
}

/// A series of version 1.0 with one sample.
fn series(labels: &[(&[u8], &[u8])], t: i64) -> Vec<u8> {
    let mut message = Vec::new();
    for (name, value) in labels {
        let mut label = Vec::new();
        field(&mut label, 1, name);
        field(&mut label, 2, value);
        field(&mut message, 1, &label);
    }
    field(&mut message, 2, &wire::Sample { value: 1.0, timestamp: t }.encode_to_vec());
    message
}

/// Series between two good ones.
fn between_good_ones(messages: &[Vec<u8>]) -> Vec<u8> {
    let good = |name: &[u8]| series(&[(b"__name__", name)], recently() * 1_000);
    let mut body = Vec::new();
    field(&mut body, 1, &good(b"before"));
    messages.iter().for_each(|message| field(&mut body, 1, message));
    field(&mut body, 1, &good(b"after"));
    compress(&body)
}

fn labels_of_v1() -> Vec<Hostile> {
    let t = recently() * 1_000;
    let long = vec![b'x'; 1 << 20];
    let many: Vec<(Vec<u8>, Vec<u8>)> =
        (0..10_000).map(|n| (format!("label_{n:05}").into_bytes(), b"x".to_vec())).collect();
    let many: Vec<(&[u8], &[u8])> = many.iter().map(|(name, value)| (name.as_slice(), value.as_slice())).collect();
    type Pairs<'a> = &'a [(&'a [u8], &'a [u8])];
    let cases: [(&str, Pairs<'_>, (u16, u16)); 12] = [
        ("a name twice", &[(b"__name__", b"x"), (b"a", b"1"), (b"a", b"2")], CONFLICT),
        ("a name twice, not side by side", &[(b"a", b"1"), (b"__name__", b"x"), (b"a", b"1")], CONFLICT),
        ("an empty name", &[(b"", b"1"), (b"__name__", b"x")], CONFLICT),
        ("no labels", &[], CONFLICT),
        ("no label with a value", &[(b"__name__", b""), (b"a", b"")], CONFLICT),
        ("a value that is not UTF-8", &[(b"__name__", b"x"), (b"a", b"\xff\xfe")], CONFLICT),
        ("a name that is not UTF-8", &[(b"__name__", b"x"), (b"\xc3", b"\xa4")], CONFLICT),
        ("a surrogate", &[(b"__name__", b"\xed\xa0\x80")], CONFLICT),
        ("the reserved name", &[(b"__name__", b"x"), (b"__quiver_tenant__", b"other")], CONFLICT),
        ("10,000 labels", &many, CONFLICT),
        ("no order", &[(b"b", b"1"), (b"__name__", b"x"), (b"a", b"2"), (b"c", b"")], OK),
        ("a value of 1 MiB", &[(b"__name__", b"x"), (b"a", &long)], OK),
    ];
    let hostile = |(name, labels, statuses): (&'static str, Pairs<'_>, (u16, u16))| {
        let written = 2 + u64::from(statuses == OK);
        Hostile::v1(name, between_good_ones(&[series(labels, t)]), statuses, written)
    };
    let mut all: Vec<Hostile> = cases.into_iter().map(hostile).collect();
    all.push(Hostile {
        written: 2,
        ..Hostile::v1(
            "10 MiB of labels",
            between_good_ones(&[series(&[(b"__name__", b"x"), (b"\xff", &vec![b'y'; 10 << 20])], t)]),
            CONFLICT,
            2,
        )
    });
    all
}

/// A request of version 2.0 with a good series before and after one with these references.
fn referring(references: Vec<u32>, symbols: &[&str]) -> Vec<u8> {
    let sample = |timestamp| vec![wire::Sample { value: 1.0, timestamp }];
    let t = recently() * 1_000;
    let of = |labels_refs| wire::TimeSeries2 { labels_refs, samples: sample(t), ..wire::TimeSeries2::default() };
    let mut all = vec!["", "__name__", "before", "after"];
    all.extend(symbols);
    let timeseries = vec![of(vec![1, 2]), of(references), of(vec![1, 3])];
    compress(&wire::Request { symbols: all.iter().map(ToString::to_string).collect(), timeseries }.encode_to_vec())
}

fn symbols_of_v2() -> Vec<Hostile> {
    // symbols from 4 on
    let symbols = ["x", "a", "b", "1"];
    let cases = [
        ("a reference past the table", vec![1, 8], 400),
        ("the largest reference", vec![1, u32::MAX], 400),
        ("a name past the table", vec![8, 4], 400),
        ("an odd number of references", vec![1, 4, 5], 400),
        ("no references", vec![], 400),
        ("a name twice", vec![1, 4, 5, 7, 5, 4], 400),
        ("an empty name", vec![0, 7, 1, 4], 400),
        ("no name of a metric", vec![5, 7], 400),
        ("no label with a value", vec![1, 0], 400),
        ("no order", vec![6, 7, 1, 4, 5, 0], 204),
    ];
    let hostile = |(name, references, status): (&'static str, Vec<u32>, u16)| {
        Hostile::v2(name, referring(references, &symbols), status, 2 + u64::from(status == 204))
    };
    let mut all: Vec<Hostile> = cases.into_iter().map(hostile).collect();
    // Thanos writes series without a name
    all.iter_mut().filter(|hostile| hostile.name == "no name of a metric").for_each(|hostile| {
        (hostile.status_of_receive, hostile.written_by_receive) = (200, 3);
    });
    // the table is not there at all, or its first entry is not empty
    let series = |labels_refs| wire::TimeSeries2 {
        labels_refs,
        samples: vec![wire::Sample { value: 1.0, timestamp: recently() * 1_000 }],
        ..wire::TimeSeries2::default()
    };
    let no_table = wire::Request { symbols: vec![], timeseries: vec![series(vec![0, 1])] };
    all.push(Hostile::v2("no table", compress(&no_table.encode_to_vec()), 400, 0));
    let mut not_utf8 = wire::Request { symbols: vec![], timeseries: vec![series(vec![0, 1])] }.encode_to_vec();
    field(&mut not_utf8, 4, b"__name__");
    field(&mut not_utf8, 4, b"\xff\xff");
    all.push(Hostile::v2("a symbol that is not UTF-8", compress(&not_utf8), 400, 0));
    all.push(Hostile::v2("a series without samples", compress(&[0x22, 0, 0x2a, 0]), 400, 0));
    all
}

/// Times at the ends, each in a series of its own. The server takes ten minutes ahead.
fn times() -> Vec<Hostile> {
    let now = recently() * 1_000 + 600_000;
    let ahead = 3_600_000;
    let cases = [
        ("the last time of all", i64::MAX),
        ("an hour ahead", now + ahead),
        ("a hundred years ahead", now + 100 * 366 * 24 * ahead),
    ];
    let one = |(name, t): (&'static str, i64)| {
        let v1 = between_good_ones(&[series(&[(b"__name__", b"x")], t)]);
        let v2 = wire::Request {
            symbols: ["", "__name__", "x"].map(str::to_owned).to_vec(),
            timeseries: vec![wire::TimeSeries2 {
                labels_refs: vec![1, 2],
                samples: vec![wire::Sample { value: 1.0, timestamp: t }],
                ..wire::TimeSeries2::default()
            }],
        };
        [Hostile::v1(name, v1, CONFLICT, 2), Hostile::v2(name, compress(&v2.encode_to_vec()), 400, 0)]
    };
    let mut all: Vec<Hostile> = cases.into_iter().flat_map(one).collect();
    // far older than what stands beside it
    let first = between_good_ones(&[series(&[(b"__name__", b"x")], i64::MIN)]);
    all.push(Hostile::v1("the first time of all", first, CONFLICT, 2));
    all
}

fn histograms() -> Vec<Hostile> {
    let span = |offset, length| wire::BucketSpan { offset, length };
    let good = wire::Histogram {
        count_int: Some(3),
        sum: 3.0,
        schema: 1,
        positive_spans: vec![span(1, 2)],
        positive_deltas: vec![1, 1],
        zero_count_int: Some(0),
        timestamp: recently() * 1_000,
        ..wire::Histogram::default()
    };
    let cases = [
        (
            "spans with more buckets than there are",
            wire::Histogram { positive_spans: vec![span(0, 3)], ..good.clone() },
        ),
        ("spans with 4 G buckets", wire::Histogram { positive_spans: vec![span(0, u32::MAX); 3], ..good.clone() }),
        ("spans that go back", wire::Histogram { positive_spans: vec![span(0, 1), span(-5, 1)], ..good.clone() }),
        (
            "spans past the last index",
            wire::Histogram { positive_spans: vec![span(i32::MAX, 1), span(i32::MAX, 1)], ..good.clone() },
        ),
        ("no spans", wire::Histogram { positive_spans: vec![], ..good.clone() }),
        ("less than nothing in a bucket", wire::Histogram { positive_deltas: vec![1, -5], ..good.clone() }),
        ("buckets past 64 bits", wire::Histogram { positive_deltas: vec![i64::MAX, i64::MAX], ..good.clone() }),
        ("another count than buckets", wire::Histogram { count_int: Some(99), ..good.clone() }),
        ("a schema that there is not", wire::Histogram { schema: 99, ..good.clone() }),
        ("the least schema", wire::Histogram { schema: i32::MIN, ..good.clone() }),
        ("custom buckets without bounds", wire::Histogram { schema: -53, ..good.clone() }),
        (
            "custom bounds that fall",
            wire::Histogram {
                schema: -53,
                custom_values: vec![3.0, 1.0],
                positive_spans: vec![span(0, 2)],
                ..good.clone()
            },
        ),
    ];
    let both = |(name, histogram): (&'static str, wire::Histogram)| {
        let label = |name: &str, value: &str| wire::Label { name: name.to_owned(), value: value.to_owned() };
        let of = |metric| wire::TimeSeries {
            labels: vec![label("__name__", metric)],
            samples: vec![wire::Sample { value: 1.0, timestamp: recently() * 1_000 }],
            ..wire::TimeSeries::default()
        };
        let bad = wire::TimeSeries { samples: vec![], histograms: vec![histogram.clone()], ..of("bad") };
        let v1 = wire::WriteRequest { timeseries: vec![of("good"), bad], metadata: vec![] };
        let v2 = wire::Request {
            symbols: ["", "__name__", "bad"].map(str::to_owned).to_vec(),
            timeseries: vec![wire::TimeSeries2 {
                labels_refs: vec![1, 2],
                histograms: vec![histogram],
                ..wire::TimeSeries2::default()
            }],
        };
        [
            Hostile::v1(name, compress(&v1.encode_to_vec()), MALFORMED, 1),
            Hostile::v2(name, compress(&v2.encode_to_vec()), 400, 0),
        ]
    };
    cases.into_iter().flat_map(both).collect()
}

/// Bodies which become larger where somebody collects what is in them, and such that are as large as they may be.
pub fn large() -> Vec<Hostile> {
    let empty = |message: [u8; 2]| compress(&message.repeat(BODY_MAX / 2));
    let mut all = vec![
        Hostile::v1("16 M empty series", empty([0x0a, 0]), CONFLICT, 0),
        Hostile::v2("16 M empty series", empty([0x2a, 0]), 400, 0),
        Hostile::v2("16 M empty symbols", empty([0x22, 0]), 413, 0),
        many_references(),
    ];
    all.extend(of_one_series(2 << 20));
    all.extend(large_and_quick());
    // last, since some of it stays
    all.push(many_families());
    all
}

/// Those of which the server is rid soon, so that many can be sent at once.
pub fn large_and_quick() -> Vec<Hostile> {
    // one unknown field
    let mut padding = Vec::new();
    field(&mut padding, 15, &vec![0; BODY_MAX - 5]);
    let mut noise = vec![0_u8; BODY_MAX];
    let mut state = 1_u64;
    for bytes in noise.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.copy_from_slice(&state.to_le_bytes());
    }
    noise[0] = 0x0b;
    let mut all = vec![
        Hostile::v1("one unknown field", compress(&padding), OK, 0),
        Hostile::v2("one unknown field", compress(&padding), 204, 0),
        Hostile::v1("noise", compress(&noise), MALFORMED, 0),
        many_buckets(),
    ];
    all.extend(of_one_series(1 << 18));
    all
}

/// One series with a sample of now, and with `count` empty messages in one of its fields, which take ten to a hundred times as much
/// where they are collected.
fn of_one_series(count: usize) -> Vec<Hostile> {
    let message = |series: Vec<u8>, number: u8| [series, [number << 3 | 2, 0].repeat(count)].concat();
    let samples = vec![wire::Sample { value: 1.0, timestamp: recently() * 1_000 }];
    let v1 = |number| {
        let samples = samples.clone();
        let label = wire::Label { name: "__name__".to_owned(), value: "x".to_owned() };
        let series = wire::TimeSeries { labels: vec![label], samples, ..wire::TimeSeries::default() };
        let mut body = Vec::new();
        field(&mut body, 1, &message(series.encode_to_vec(), number));
        compress(&body)
    };
    let v2 = |number| {
        let samples = samples.clone();
        let series = wire::TimeSeries2 { labels_refs: vec![1, 2], samples, ..wire::TimeSeries2::default() };
        let symbols = ["", "__name__", "x"].map(str::to_owned).to_vec();
        let mut body = wire::Request { symbols, timeseries: vec![] }.encode_to_vec();
        field(&mut body, 5, &message(series.encode_to_vec(), number));
        compress(&body)
    };
    // those of 1970 are older than the one of now; no exemplars are kept
    vec![
        Hostile::v1("empty samples", v1(2), CONFLICT, 1),
        Hostile::v2("empty samples", v2(2), 400, 1),
        Hostile::v1("empty exemplars", v1(3), OK, 1),
        Hostile::v2("empty exemplars", v2(4), 204, 1),
        Hostile::v1("empty histograms", v1(4), CONFLICT, 1),
        Hostile::v2("empty histograms", v2(3), 400, 1),
    ]
}

/// Histograms with as many buckets as are taken: a byte each here, eight in memory.
fn many_buckets() -> Hostile {
    let count = 1 << 16;
    let mut series = wire::TimeSeries {
        labels: vec![wire::Label { name: "__name__".to_owned(), value: "x".to_owned() }],
        ..wire::TimeSeries::default()
    };
    series.histograms.extend((0..64).map(|n| wire::Histogram {
        count_int: Some(count),
        zero_count_int: Some(0),
        positive_spans: vec![wire::BucketSpan { offset: 0, length: 1 }; count as usize],
        positive_deltas: std::iter::once(1).chain(std::iter::repeat_n(0, count as usize - 1)).collect(),
        timestamp: recently() * 1_000 + n,
        // no such sum
        schema: 99,
        ..wire::Histogram::default()
    }));
    let body = wire::WriteRequest { timeseries: vec![series], metadata: vec![] }.encode_to_vec();
    Hostile::v1("64 histograms of 65,536 buckets", compress(&body), MALFORMED, 0)
}

/// Families of metrics that there are not.
fn many_families() -> Hostile {
    let mut body = Vec::new();
    for n in 0.. {
        let mut metadata = Vec::new();
        field(&mut metadata, 2, format!("f{}", n % 2_000_000).as_bytes());
        field(&mut metadata, 4, format!("{n}").as_bytes());
        if body.len() + metadata.len() + 2 > BODY_MAX {
            break;
        }
        field(&mut body, 3, &metadata);
    }
    Hostile::v1("families without end", compress(&body), OK, 0)
}

/// One series with millions of labels.
fn many_references() -> Hostile {
    let mut body = vec![0x22, 0];
    let mut series = vec![0x0a];
    varint(&mut series, 24 << 20);
    series.resize(series.len() + (24 << 20), 0);
    field(&mut body, 5, &series);
    Hostile::v2("24 M references", compress(&body), 400, 0)
}
