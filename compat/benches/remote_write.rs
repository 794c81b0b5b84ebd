//! Decoding remote write 1.0: 2,000 series of 15 labels with one sample each, as Prometheus sends them.
//!
//! `cargo bench -p quiver-compat --bench remote_write`.
//! What is measured is a whole request to the handler: snappy, protobuf, the checks of labels, and one call a series of a target
//! that keeps nothing.

use std::hint::black_box;
use std::sync::Arc;

use async_trait::async_trait;
use axum::body::{Body, Bytes};
use compat::remote::{
    Dialect, SeriesSink, Tally, WriteError, WriteRequest, WriteSettings, WriteTarget, Writer, write_router,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use storage::ManualClock;
use storage::head::SeriesWrite;
use tower::ServiceExt;

const SERIES: u32 = 2_000;

/// Looks at everything and keeps nothing.
struct Nowhere;

#[async_trait]
impl WriteTarget for Nowhere {
    async fn write(&self, request: &mut dyn WriteRequest) -> Result<(), WriteError> {
        struct Sink;
        impl SeriesSink for Sink {
            fn push(&mut self, _tenant: &str, series: &SeriesWrite<'_>, tally: &mut Tally) {
                black_box(series.labels);
                tally.floats += series.floats.len() as u64;
            }
        }
        Ok(request.visit(&mut Sink)?)
    }
}

fn push_bytes(out: &mut Vec<u8>, key: u8, bytes: &[u8]) {
    out.push(key);
    let mut len = bytes.len();
    while len >= 0x80 {
        out.push((len & 0x7f) as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
    out.extend_from_slice(bytes);
}

fn series(number: u32) -> Vec<u8> {
    let mut labels = vec![("__name__".to_owned(), format!("http_requests_{}_total", number % 50))];
    labels.extend((0..13).map(|i| (format!("label_{i:02}"), format!("value-{i}-{}", number % (i + 7)))));
    labels.push(("pod".to_owned(), format!("api-{number:06}")));
    let mut series = Vec::new();
    for (name, value) in labels {
        let mut label = Vec::new();
        push_bytes(&mut label, 0x0a, name.as_bytes());
        push_bytes(&mut label, 0x12, value.as_bytes());
        push_bytes(&mut series, 0x0a, &label);
    }
    let mut sample = vec![0x09];
    sample.extend_from_slice(&f64::from(number).to_le_bytes());
    sample.extend_from_slice(&[0x10, 0x80, 0xd0, 0x95, 0xff, 0xbc, 0x31]);
    push_bytes(&mut series, 0x12, &sample);
    series
}

fn remote_write(c: &mut Criterion) {
    let mut request = Vec::new();
    (0..SERIES).for_each(|number| push_bytes(&mut request, 0x0a, &series(number)));
    let body = Bytes::from(snap::raw::Encoder::new().compress_vec(&request).expect("a request is not too large"));
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    let writer = Writer::new(Arc::new(Nowhere), clock, WriteSettings::default());
    let router = write_router(Arc::new(writer), &[Dialect::Prometheus]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime starts");
    let mut group = c.benchmark_group("remote_write");
    group.throughput(Throughput::Elements(u64::from(SERIES)));
    group.bench_function("v1, 15 labels", |b| {
        b.iter(|| {
            let request = http::Request::post("/api/v1/write").body(Body::from(body.clone())).expect("a request");
            let response = runtime.block_on(router.clone().oneshot(request)).expect("an answer");
            assert_eq!(response.status(), 204);
        });
    });
    group.finish();
}

criterion_group!(benches, remote_write);
criterion_main!(benches);
