use std::sync::Arc;

use super::*;
use crate::clock::ManualClock;
use crate::model::{ExternalLabels, TimeInterval};
use crate::store::acceptance::{Dataset, check_store};
use crate::store::{SeriesRequest, Store};

mod faults;
pub(crate) mod golden;
mod model;
pub(crate) mod read;
mod snapshot;

/// A head without tenants' labels, which blocks of the acceptance suite do not have either.
fn bare(external: &[(String, String)]) -> Head {
    let settings = HeadSettings {
        tenant_label: String::new(),
        external_labels: ExternalLabels::from_pairs(external.iter().cloned()),
        shards: 3,
        ..HeadSettings::default()
    };
    Head::new(settings, Arc::new(ManualClock::new(0)))
}

/// Appends floats of one series.
fn append(head: &Head, tenant: &str, labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Outcome {
    let floats: Vec<_> = samples.iter().map(|&(t, value)| FloatSample { t, start: 0, value }).collect();
    let mut appender = head.appender(tenant);
    appender.push(&SeriesWrite { labels, floats: &floats, histograms: &[], exemplars: &[], metadata: None });
    appender.commit().unwrap().outcome
}

fn filled(data: &Dataset) -> Head {
    let head = bare(&data.external);
    for series in &data.series {
        let labels: Vec<_> = series.labels.iter().collect();
        let labels: Vec<_> = labels.iter().map(|(n, v)| (n.as_ref(), v.as_ref())).collect();
        let outcome = append(&head, "", &labels, &series.samples);
        assert_eq!((outcome.floats, outcome.rejected_count()), (series.samples.len() as u64, 0));
    }
    head
}

#[tokio::test]
async fn the_acceptance_suite() {
    check_store(|data| async move { Arc::new(filled(&data)) as Arc<dyn Store> }).await;
}

#[tokio::test]
async fn tenants_do_not_meet() {
    let head = Head::new(HeadSettings::default(), Arc::new(ManualClock::new(0)));
    for (tenant, value) in [("a", 1.0), ("b", 2.0)] {
        let outcome = append(&head, tenant, &[("__name__", "up"), ("tenant_id", "own")], &[(1, value)]);
        assert_eq!((outcome.floats, outcome.new_series), (1, 1));
    }
    let found = crate::store::acceptance::read(&head, SeriesRequest::new(vec![], TimeInterval::ALL)).await.unwrap();
    let found: Vec<_> = found.iter().map(|(labels, replicas)| (labels.to_string(), replicas[0].1.clone())).collect();
    let expected = [("a", 1.0), ("b", 2.0)];
    assert_eq!(found, expected.map(|(t, v)| (format!(r#"{{__name__="up", tenant_id="{t}"}}"#), vec![(1, v)])));
    assert_eq!(head.info().external_labels.len(), 2);
}

#[test]
fn rejections_are_those_of_prometheus() {
    let labels = [("a", "1")];
    let reasons = |outcome: &Outcome| outcome.rejections.iter().map(|r| (r.t, r.reason)).collect::<Vec<_>>();
    let hour = 3_600_000;
    let head = bare(&[]);
    assert_eq!(append(&head, "", &labels, &[(10 * hour, 1.0)]).floats, 1);
    let outcome = append(
        &head,
        "",
        &labels,
        &[(10 * hour, 1.0), (10 * hour, 2.0), (10 * hour - 1, 1.0), (9 * hour - 1, 1.0), (10 * hour + 1, 2.0)],
    );
    assert_eq!((outcome.floats, outcome.rejected_count()), (2, 3));
    use Rejection::{Duplicate, OutOfBounds, OutOfOrder, TooFarInFuture, TooOld};
    let expected = [(10 * hour, Duplicate), (10 * hour - 1, OutOfOrder), (9 * hour - 1, OutOfBounds)];
    assert_eq!(reasons(&outcome), expected);
    assert_eq!(reasons(&append(&head, "", &[("a", "2")], &[(8 * hour, 1.0)])), [(8 * hour, OutOfBounds)]);

    let settings = HeadSettings { out_of_order_window_ms: 2 * hour, max_future_ms: hour, ..HeadSettings::default() };
    let head = Head::new(settings, Arc::new(ManualClock::new(10 * hour)));
    assert_eq!(append(&head, "x", &labels, &[(10 * hour, 1.0)]).floats, 1);
    let outcome = append(&head, "x", &labels, &[(9 * hour, 5.0), (8 * hour - 1, 1.0), (11 * hour + 1, 1.0)]);
    assert_eq!(reasons(&outcome), [(8 * hour - 1, TooOld), (11 * hour + 1, TooFarInFuture)]);
    assert_eq!((outcome.floats, outcome.out_of_order, outcome.rejected.len()), (1, 1, 2));
    let reserved = append(&head, "x", &[("__quiver_tenant__", "y")], &[(10 * hour, 1.0)]);
    assert_eq!(reserved.rejections[0].reason, Rejection::ReservedLabel);
    assert!(reserved.rejections[0].reason.to_string().contains("__quiver_tenant__"));
}

#[test]
fn a_series_may_come_twice_in_a_request() {
    let head = bare(&[]);
    let mut appender = head.appender("");
    let labels = [("a", "1")];
    for t in [1, 2, 2, 1] {
        let floats = [FloatSample { t, start: 0, value: 1.0 }];
        appender.push(&SeriesWrite {
            labels: &labels,
            floats: &floats,
            histograms: &[],
            exemplars: &[],
            metadata: None,
        });
    }
    let outcome = appender.commit().unwrap().outcome;
    assert_eq!((outcome.floats, outcome.new_series, outcome.rejected_count()), (3, 1, 1));
}

#[test]
fn a_tenant_has_no_more_series_than_it_may_and_those_go_on() {
    let head = bare(&[]);
    head.set_series_limits(SeriesLimits { default: 2, tenants: [("free".to_owned(), 0)].into() });
    let names: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    for (tenant, taken) in [("a", 2), ("free", 40)] {
        let mut appender = head.appender(tenant);
        for name in &names {
            let floats = [FloatSample { t: 1, start: 0, value: 1.0 }];
            let labels = [("n", name.as_str())];
            appender.push(&SeriesWrite {
                labels: &labels,
                floats: &floats,
                histograms: &[],
                exemplars: &[],
                metadata: None,
            });
        }
        let outcome = appender.commit().unwrap().outcome;
        assert_eq!((outcome.new_series, outcome.floats, outcome.rejected_count()), (taken, taken, 40 - taken));
        assert!(outcome.rejections.iter().all(|rejected| rejected.reason == Rejection::SeriesLimit));
    }
    // what is there goes on, also where the limit is lowered; when it is raised, there is room
    let there = |head: &Head| -> u64 {
        let takes = |name: &String| append(head, "a", &[("n", name)], &[(2, 1.0)]).floats;
        names.iter().map(takes).sum()
    };
    head.set_series_limits(SeriesLimits { default: 1, ..SeriesLimits::default() });
    assert_eq!(there(&head), 2);
    head.set_series_limits(SeriesLimits::default());
    assert_eq!(there(&head), 40);
}
