//! What every store of blocks of several resolutions has to answer alike: each instant once, as coarse as allowed.

use std::sync::Arc;

use super::{Dataset, DatasetSeries, labels, pairs, read};
use crate::model::TimeInterval;
use crate::store::{SeriesRequest, Store};

/// A block: its resolution in milliseconds, and what is in it.
pub(crate) type Block = (i64, Dataset);

/// A block with a sample every `step` from `first` to `last`, whose value is `value`.
fn block(resolution_ms: i64, external: &str, (first, last, step): (i64, i64, usize), value: f64) -> Block {
    let samples = (first..=last).step_by(step).map(|t| (t, value)).collect();
    let series = vec![DatasetSeries { labels: labels("n=1"), samples }];
    let external = pairs(external).into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    (resolution_ms, Dataset { external, series })
}

/// The blocks that [`check_resolutions`] asks: of `c=x` three raw ones, one of 5 minutes over the second and parts of the others, and
/// one of an hour within that; of `c=y` a raw one.
fn blocks() -> Vec<Block> {
    vec![
        block(0, "c=x", (0, 90, 10), 1.0),
        block(0, "c=x", (100, 190, 10), 1.0),
        block(0, "c=x", (200, 290, 10), 1.0),
        block(300_000, "c=x", (50, 150, 25), 5.0),
        block(3_600_000, "c=x", (100, 140, 40), 60.0),
        block(0, "c=y", (0, 20, 10), 1.0),
    ]
}

/// Runs every case over the store that `make` makes of some blocks.
pub(crate) async fn check_resolutions<F: Future<Output = Arc<dyn Store>>>(make: impl Fn(Vec<Block>) -> F) {
    let store = make(blocks()).await;
    let other = "0=1 10=1 20=1";
    let check = async |max_resolution_ms: i64, (mint, maxt): (i64, i64), expected: [&str; 2]| {
        let request = SeriesRequest { max_resolution_ms, ..SeriesRequest::new(vec![], TimeInterval::new(mint, maxt)) };
        let case = format!("{mint}..{maxt} at {max_resolution_ms}");
        let found = read(store.as_ref(), request).await.unwrap_or_else(|error| panic!("{case}: {error}"));
        let of = |cluster: &str| {
            let series = found.iter().filter(|(labels, _)| labels.get("c").as_deref() == Some(cluster));
            let mut samples: Vec<_> =
                series.flat_map(|(_, replicas)| replicas).flat_map(|(_, samples)| samples).copied().collect();
            samples.sort_by_key(|(t, _)| *t);
            samples.iter().map(|(t, v)| format!("{t}={v}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!([of("x"), of("y")], expected, "{case}");
    };
    let all = (i64::MIN, i64::MAX);
    let raw = (0..300).step_by(10).map(|t| format!("{t}=1")).collect::<Vec<_>>().join(" ");
    check(0, all, [&raw, other]).await;
    check(299_999, all, [&raw, other]).await;
    let early = "0=1 10=1 20=1 30=1 40=1";
    let late = "160=1 170=1 180=1 190=1 200=1 210=1 220=1 230=1 240=1 250=1 260=1 270=1 280=1 290=1";
    check(300_000, all, [&format!("{early} 50=5 75=5 100=5 125=5 150=5 {late}"), other]).await;
    check(i64::MAX, all, [&format!("{early} 50=5 75=5 100=60 140=60 150=5 {late}"), other]).await;
    check(i64::MAX, (100, 140), ["100=60 140=60", ""]).await;
    check(300_000, (60, 130), ["50=5 75=5 100=5 125=5 150=5", ""]).await;
    // nothing coarse lies in it, so chunks come whole
    check(300_000, (0, 49), [&format!("{early} 50=1 60=1 70=1 80=1 90=1"), other]).await;
    check(300_000, (151, 155), ["100=1 110=1 120=1 130=1 140=1 150=1 160=1 170=1 180=1 190=1", ""]).await;
}
