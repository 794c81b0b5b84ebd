//! What every [`Store`] has to answer alike: one suite, run over each implementation.
//!
//! An implementation brings a function that makes a store from a [`Dataset`] and calls [`check_store`]. The cases are those
//! that Thanos checks of its stores, and what our own readers rely on: every batch sorted, and streams of disjoint key
//! ranges that make up the whole.

#[cfg(test)]
pub(crate) mod blocks;
#[cfg(test)]
pub(crate) mod resolutions;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;

use futures::TryStreamExt;

use super::{KeyRange, LabelRequest, SeriesRequest, Store};
use crate::chunk::decode;
use crate::model::{Labels, MatchOp, Matcher, SampleBuffer, TenantScope, TimeInterval, Timestamp};
use crate::schema::SeriesColumns;

/// One series of a [`Dataset`].
#[derive(Debug, Clone)]
pub struct DatasetSeries {
    /// Its own labels.
    pub labels: Labels,
    /// Times in milliseconds and values.
    pub samples: Vec<(Timestamp, f64)>,
}

/// What a store is to hold.
#[derive(Debug, Clone, Default)]
pub struct Dataset {
    /// External labels of all series.
    pub external: Vec<(String, String)>,
    /// In any order, without duplicates.
    pub series: Vec<DatasetSeries>,
}

/// Time of the samples of [`dataset`] series that do not matter for time.
const T: Timestamp = 1_000;

/// `a=1,b=2` as pairs.
fn pairs(text: &str) -> Vec<(&str, &str)> {
    text.split(',').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').expect("a=1")).collect()
}

fn labels(text: &str) -> Labels {
    Labels::from_pairs(pairs(text))
}

fn dataset(external: &str, series: &[&str]) -> Dataset {
    let owned = |(n, v): (&str, &str)| (n.to_owned(), v.to_owned());
    let series = series.iter().map(|text| DatasetSeries { labels: labels(text), samples: vec![(T, 1.0)] });
    Dataset { external: pairs(external).into_iter().map(owned).collect(), series: series.collect() }
}

/// `n=1`, `n!=1`, `n=~1`, `n!~1`, separated by spaces.
fn matchers(text: &str) -> Vec<Matcher> {
    let one = |part: &str| {
        let at = part.find(['=', '!']).expect("an operator");
        let (name, rest) = part.split_at(at);
        let ops = [("=~", MatchOp::Regex), ("!~", MatchOp::NotRegex), ("!=", MatchOp::NotEqual), ("=", MatchOp::Equal)];
        let (sign, op) = ops.into_iter().find(|(sign, _)| rest.starts_with(sign)).expect("an operator");
        Matcher::try_new(op, name, &rest[sign.len()..]).expect("a matcher")
    };
    text.split(' ').filter(|part| !part.is_empty()).map(one).collect()
}

fn label_request(text: &str) -> LabelRequest {
    LabelRequest::all(matchers(text), TimeInterval::ALL)
}

/// A series of an answer: final labels, and the samples of each replica.
type Answer = Vec<(Labels, Vec<(u32, Vec<(Timestamp, f64)>)>)>;

/// All parts of an answer, each checked to be sorted, also by streams of key ranges.
///
/// # Panics
/// Where a part is not sorted or its ranges do not make up the whole.
pub async fn read(store: &dyn Store, request: SeriesRequest) -> crate::Result<Answer> {
    let mut all = Answer::new();
    for part in store.series(request.clone()).await?.parts {
        let whole = read_range(part.as_ref(), KeyRange::ALL).await?;
        assert!(whole.is_sorted_by(|a, b| a.0 < b.0), "{} is not sorted: {whole:?}", part.name());
        assert_eq!(whole.len(), part.series_count());
        let mut pieces = Answer::new();
        for range in KeyRange::between(&part.split_points(3)) {
            pieces.extend(read_range(part.as_ref(), range).await?);
        }
        assert_eq!(format!("{whole:?}"), format!("{pieces:?}"), "{}", part.name());
        all.extend(whole);
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(all)
}

async fn read_range(part: &dyn super::SeriesPart, range: KeyRange) -> crate::Result<Answer> {
    let mut answer = Answer::new();
    let mut stream = part.stream(range.clone());
    while let Some(batch) = stream.try_next().await? {
        let columns = SeriesColumns::try_new(&batch)?;
        for row in 0..batch.num_rows() {
            let key = columns.labels.value(row);
            assert!(range.contains(key), "{key:?} is outside of {range:?}");
            let mut replicas: Vec<(u32, Vec<(Timestamp, f64)>)> = Vec::new();
            let chunks = columns.chunk_range(row);
            assert!(columns.mint.values()[chunks.clone()].is_sorted(), "chunks of {key:?} are not sorted");
            for i in chunks {
                let mut samples = SampleBuffer::new();
                // a downsampled chunk that was cut holds more than it speaks for
                let interval = TimeInterval::new(columns.mint.value(i), columns.maxt.value(i));
                decode(columns.encoding.value(i), columns.data.value(i), interval, &mut samples)
                    .map_err(|error| crate::Error::Arrow(error.to_string()))?;
                let replica = columns.replica.value(i);
                let found = samples.timestamps.iter().copied().zip(samples.floats.iter().copied());
                match replicas.iter_mut().find(|(number, _)| *number == replica) {
                    Some((_, all)) => all.extend(found),
                    None => replicas.push((replica, found.collect())),
                }
            }
            answer.push((Labels::from_key(key), replicas));
        }
    }
    Ok(answer)
}

async fn check_series(store: &dyn Store, request: SeriesRequest, case: &str, expected: &[&str]) {
    let found: Vec<Labels> =
        read(store, request).await.unwrap_or_else(|e| panic!("{case}: {e}")).into_iter().map(|(l, _)| l).collect();
    let mut expected: Vec<Labels> = expected.iter().map(|text| labels(text)).collect();
    expected.sort();
    assert_eq!(found, expected, "{case}");
}

/// Runs every case over stores that `make` makes.
///
/// # Panics
/// Where the store answers otherwise.
pub async fn check_store<F: Future<Output = Arc<dyn Store>>>(make: impl Fn(Dataset) -> F) {
    check_matchers(&make).await;
    check_external_labels(&make).await;
    check_dropped_labels(&make).await;
    check_label_requests(&make).await;
    check_tenants(&make).await;
    check_time_and_limits(&make).await;
    let empty = make(dataset("region=eu", &[])).await;
    check_series(empty.as_ref(), SeriesRequest::new(vec![], TimeInterval::ALL), "empty", &[]).await;
    let names = empty.label_names(label_request("")).await.expect("names of nothing");
    assert!(names.values.is_empty(), "labels of a store without series: {names:?}");
}

/// Conditions on labels that series have, lack, or have empty.
async fn check_matchers<F: Future<Output = Arc<dyn Store>>>(make: &impl Fn(Dataset) -> F) {
    let store = make(dataset("", &["n=1", "i=a,n=1", "i=b,n=1", "i=c||d,n=3", "n=2", "n=2.5"])).await;
    let (bare, a, b, odd, two, half) = ("n=1", "i=a,n=1", "i=b,n=1", "i=c||d,n=3", "n=2", "n=2.5");
    let all: &[&str] = &[bare, a, b, odd, two, half];
    let cases: &[(&str, &[&str])] = &[
        ("", all),
        ("n=1", &[bare, a, b]),
        ("n=1 i=a", &[a]),
        ("n=1 i=missing", &[]),
        ("missing=", all),
        ("missing!=", &[]),
        ("missing=~.*", all),
        ("missing=~.+", &[]),
        ("missing!~.*", &[]),
        ("missing!~.+", all),
        ("missing=x", &[]),
        ("missing!=x", all),
        ("n!=1", &[odd, two, half]),
        ("i=~.+", &[a, b, odd]),
        ("i=~.*", all),
        ("i=", &[bare, two, half]),
        ("i!=", &[a, b, odd]),
        ("n=1 i!=a", &[bare, b]),
        ("n=~^1$", &[bare, a, b]),
        ("n=1 i=~^a$", &[a]),
        ("n=1 i=~^a?$", &[bare, a]),
        ("i=~^$", &[bare, two, half]),
        ("i=~", &[bare, two, half]),
        ("i!~", &[a, b, odd]),
        ("n=1 i=~^.*$", &[bare, a, b]),
        ("n!~^1$", &[odd, two, half]),
        ("n!~1|2.5", &[odd, two]),
        ("n!~(1|2.5)", &[odd, two]),
        ("n=1 i!~^a$", &[bare, b]),
        ("n=1 i!~^a?$", &[b]),
        ("n=1 i!~^$", &[a, b]),
        ("n=1 i!~^.*$", &[]),
        ("n=1 i!~^.+$", &[bare]),
        ("n=1 i!= i=a", &[a]),
        ("n=1 i!=b i=~^(b|a).*$", &[a]),
        ("n=~1|2", &[bare, a, b, two]),
        ("n=~2|2\\.5", &[two, half]),
        ("i=~a|b", &[a, b]),
        ("n=1 i=~a||b", &[bare, a, b]),
        ("i=~c||d", &[bare, two, half]),
        ("i!~c||d", &[a, b, odd]),
        ("i=c||d", &[odd]),
        ("i=~(c||d)", &[bare, two, half]),
        ("i=~c\\|\\|d", &[odd]),
        ("n=~2.*", &[two, half]),
        ("n=~[12]", &[bare, a, b, two]),
    ];
    for (case, expected) in cases {
        check_series(store.as_ref(), SeriesRequest::new(matchers(case), TimeInterval::ALL), case, expected).await;
    }
}

/// External labels join, win over own ones, and change the order.
async fn check_external_labels<F: Future<Output = Arc<dyn Store>>>(make: &impl Fn(Dataset) -> F) {
    let store = make(dataset("region=eu,zone=z", &["foo=bar,region=own", "foo=baz", "a=1", "a=1,b=2", "zzz=1"])).await;
    let all = ["a=1,b=2", "a=1", "foo=bar", "foo=baz", "zzz=1"].map(|own| format!("{own},region=eu,zone=z"));
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let cases: &[(&str, &[&str])] = &[
        ("", &all),
        ("region=eu", &all),
        ("region=own", &[]),
        ("region!=own", &all),
        ("region=~e.|x zone!=", &all),
        ("region=", &[]),
        ("region!~.+", &[]),
        ("foo=~.+ region=~.*", &all[2..4]),
    ];
    for (case, expected) in cases {
        check_series(store.as_ref(), SeriesRequest::new(matchers(case), TimeInterval::ALL), case, expected).await;
        let mut request = SeriesRequest::new(matchers(case), TimeInterval::ALL);
        request.skip_chunks = true;
        let found = read(store.as_ref(), request).await.expect("labels only");
        assert_eq!(found.len(), expected.len(), "{case}");
        assert!(found.iter().all(|(_, replicas)| replicas.is_empty()), "chunks that nobody asked for: {found:?}");
    }
    let mut own = SeriesRequest::new(matchers("region=eu"), TimeInterval::ALL);
    own.with_external_labels = false;
    let expected = &["a=1", "a=1,b=2", "foo=bar,region=own", "foo=baz", "zzz=1"];
    check_series(store.as_ref(), own, "without external labels", expected).await;
}

/// Replica labels go, own ones too; what becomes equal is joined and keeps its replicas apart.
async fn check_dropped_labels<F: Future<Output = Arc<dyn Store>>>(make: &impl Fn(Dataset) -> F) {
    let store =
        make(dataset("replica=a", &["n=1", "n=1,prometheus=p0", "n=1,prometheus=p1", "b=1,n=1,replica=own"])).await;
    let mut request = SeriesRequest::new(vec![], TimeInterval::ALL);
    request.drop_labels = Arc::from(["replica".to_owned(), "prometheus".to_owned()]);
    let found = read(store.as_ref(), request.clone()).await.expect("series");
    assert_eq!(found.iter().map(|(l, _)| l.clone()).collect::<Vec<_>>(), [labels("b=1,n=1"), labels("n=1")]);
    assert_eq!((found[0].1.len(), found[1].1.len()), (1, 3), "replicas: {found:?}");
    assert!(found.iter().all(|(_, replicas)| replicas.iter().all(|(number, _)| *number != 0)), "{found:?}");
    request.matchers = matchers("replica=a prometheus=p1").into();
    let one = read(store.as_ref(), request).await.expect("series");
    assert_eq!(one.len(), 1, "matchers see labels that are dropped: {one:?}");
    let number = one[0].1[0].0;
    assert!(found[1].1.iter().any(|(other, _)| *other == number), "a replica's number depends on the request");
}

/// Label names and values, with external labels and conditions on them.
async fn check_label_requests<F: Future<Output = Arc<dyn Store>>>(make: &impl Fn(Dataset) -> F) {
    let store = make(dataset("region=eu", &["bar=barvalue1,foo=foovalue1", "foo=foovalue2", "q=1,region=own"])).await;
    let names: &[(&str, &[&str])] = &[
        ("", &["bar", "foo", "q", "region"]),
        ("foo=foovalue2", &["foo", "region"]),
        ("bar=barvalue1", &["bar", "foo", "region"]),
        ("region=eu q!=", &["q", "region"]),
        ("region=other", &[]),
        ("region!=eu", &[]),
        ("foo=missing", &[]),
    ];
    for (case, expected) in names {
        let found = store.label_names(label_request(case)).await.expect("names");
        assert_eq!(found.values, *expected, "names of {case}");
    }
    let values: &[(&str, &str, &[&str])] = &[
        ("foo", "", &["foovalue1", "foovalue2"]),
        ("foo", "bar=", &["foovalue2"]),
        ("foo", "foo!=foovalue1", &["foovalue2"]),
        ("region", "", &["eu"]),
        ("region", "foo=foovalue1", &["eu"]),
        ("region", "foo=missing", &[]),
        ("region", "region=own", &[]),
        ("region", "region!=eu", &[]),
        ("foo", "region=~e.*", &["foovalue1", "foovalue2"]),
        ("foo", "region!~e.*", &[]),
        ("missing", "", &[]),
    ];
    for (name, case, expected) in values {
        let found = store.label_values(name, label_request(case)).await.expect("values");
        assert_eq!(found.values, *expected, "values of {name} of {case}");
    }
    let limited = LabelRequest { limit: Some(1), ..label_request("") };
    assert_eq!(store.label_names(limited.clone()).await.expect("names").values, ["bar"]);
    assert_eq!(store.label_values("foo", limited).await.expect("values").values, ["foovalue1"]);
    let dropped = LabelRequest { drop_labels: Arc::from(["region".to_owned(), "q".to_owned()]), ..label_request("") };
    assert_eq!(store.label_names(dropped).await.expect("names").values, ["bar", "foo"]);
}

/// A tenant sees its own series, whatever the matchers say.
async fn check_tenants<F: Future<Output = Arc<dyn Store>>>(make: &impl Fn(Dataset) -> F) {
    let only = |tenant: &str| TenantScope::Only { label: "tenant_id".into(), tenant: tenant.into() };
    let store = make(dataset("", &["n=1,tenant_id=t1", "n=2,tenant_id=t2", "n=3"])).await;
    for case in ["", "tenant_id=~.*", "tenant_id!=t2", "n=~1|2|3"] {
        let mut request = SeriesRequest::new(matchers(case), TimeInterval::ALL);
        request.tenant = only("t1");
        check_series(store.as_ref(), request, case, &["n=1,tenant_id=t1"]).await;
        let request = LabelRequest { tenant: only("t1"), ..label_request(case) };
        assert_eq!(store.label_values("n", request).await.expect("values").values, ["1"], "{case}");
    }
    let mut other = SeriesRequest::new(matchers("tenant_id=t2"), TimeInterval::ALL);
    other.tenant = only("t1");
    check_series(store.as_ref(), other, "another tenant's", &[]).await;
    let mut none = SeriesRequest::new(vec![], TimeInterval::ALL);
    none.tenant = only("");
    assert!(read(store.as_ref(), none).await.is_err(), "a tenant without a name");
    let external = make(dataset("tenant_id=t1", &["n=1,tenant_id=t2"])).await;
    for (tenant, expected) in [("t1", vec!["n=1,tenant_id=t1"]), ("t2", vec![])] {
        let mut request = SeriesRequest::new(vec![], TimeInterval::ALL);
        request.tenant = only(tenant);
        check_series(external.as_ref(), request, tenant, &expected).await;
    }
}

/// Only series with a chunk in the interval; whole chunks; limits count series; a passed deadline is an error.
async fn check_time_and_limits<F: Future<Output = Arc<dyn Store>>>(make: &impl Fn(Dataset) -> F) {
    let mut data = dataset("", &["n=1", "n=2", "n=3"]);
    data.series[1].samples = (0..1_000).map(|i| (2_000 + i * 10, i as f64)).collect();
    let store = make(data.clone()).await;
    check_series(store.as_ref(), SeriesRequest::new(vec![], TimeInterval::new(0, T)), "early", &["n=1", "n=3"]).await;
    check_series(store.as_ref(), SeriesRequest::new(vec![], TimeInterval::new(T + 1, 5_000)), "late", &["n=2"]).await;
    check_series(store.as_ref(), SeriesRequest::new(vec![], TimeInterval::new(20_000, 30_000)), "after", &[]).await;
    let request = SeriesRequest::new(matchers("n=2"), TimeInterval::new(3_000, 4_000));
    let found = read(store.as_ref(), request).await.expect("series");
    let samples: Vec<_> = found[0].1.iter().flat_map(|(_, samples)| samples).copied().collect();
    let wanted: Vec<_> = data.series[1].samples.iter().copied().filter(|(t, _)| (3_000..=4_000).contains(t)).collect();
    assert!(samples.windows(wanted.len()).any(|window| window == wanted), "samples of the interval are missing");
    let mut limited = SeriesRequest::new(vec![], TimeInterval::ALL);
    limited.limit = Some(2);
    check_series(store.as_ref(), limited, "limit", &["n=1", "n=2"]).await;
    let mut late = SeriesRequest::new(vec![], TimeInterval::ALL);
    late.deadline = Some(std::time::Instant::now());
    match read(store.as_ref(), late).await {
        Err(crate::Error::DeadlineExceeded(_)) => {}
        other => panic!("a passed deadline: {other:?}"),
    }
}
