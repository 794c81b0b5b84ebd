use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use async_trait::async_trait;
use axum::Router;
use axum::extract::{Form, State};
use axum::routing::post;
use compat::remote::{
    Dialect, SeriesSink, Tally, WriteError, WriteRequest, WriteSettings, WriteTarget, Writer, write_router,
};
use serde_json::{Value, json};
use storage::head::SeriesWrite;

use super::verify::Outcome;
use super::workload::tests::small;
use super::*;

type Metric = BTreeMap<String, String>;

/// A sample with all that it belongs to.
#[derive(Debug, Clone, PartialEq)]
struct Sample {
    tenant: String,
    metric: Metric,
    t: i64,
    value: f64,
}

/// A server that keeps what is written to it and answers the queries of the verification.
struct Fake {
    samples: Mutex<Vec<Sample>>,
    /// What the next writes are answered with.
    errors: Mutex<Vec<WriteError>>,
    /// Told to stop when the server has that many requests.
    stop: Option<(usize, watch::Sender<bool>)>,
    requests: AtomicU64,
}

impl Fake {
    fn new(errors: Vec<WriteError>, stop: Option<(usize, watch::Sender<bool>)>) -> Arc<Self> {
        Arc::new(Self { samples: Mutex::default(), errors: Mutex::new(errors), stop, requests: AtomicU64::new(0) })
    }

    fn router(self: &Arc<Self>) -> Router {
        let settings = WriteSettings { ahead_max: None, retry_after: Duration::ZERO, ..WriteSettings::default() };
        let target = Arc::new(Target(Arc::clone(self)));
        let writer = Arc::new(Writer::new(target, Arc::new(SystemClock), settings));
        let queries = Router::new().route("/api/v1/query", post(query)).route("/api/v1/query_range", post(query_range));
        write_router(writer, &[Dialect::Prometheus]).merge(queries.with_state(Arc::clone(self)))
    }

    /// Serves until the set is dropped.
    async fn serve(self: &Arc<Self>) -> (String, JoinSet<()>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let mut server = JoinSet::new();
        let router = self.router();
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        (url, server)
    }
}

struct Target(Arc<Fake>);

#[async_trait]
impl WriteTarget for Target {
    async fn write(&self, request: &mut dyn WriteRequest) -> Result<(), WriteError> {
        if let Some(error) = self.0.errors.lock().pop() {
            return Err(error);
        }
        request.visit(&mut Sink(&mut self.0.samples.lock()))?;
        let requests = self.0.requests.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some((at, stop)) = &self.0.stop
            && requests >= *at as u64
        {
            stop.send_replace(true);
        }
        Ok(())
    }
}

struct Sink<'a>(&'a mut Vec<Sample>);

impl SeriesSink for Sink<'_> {
    fn push(&mut self, tenant: &str, series: &SeriesWrite<'_>, tally: &mut Tally) {
        let metric: Metric = series.labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        for float in series.floats {
            tally.floats += 1;
            self.0.push(Sample { tenant: tenant.into(), metric: metric.clone(), t: float.t, value: float.value });
        }
    }
}

fn ms(seconds: &str) -> i64 {
    (seconds.parse::<f64>().unwrap() * 1000.0).round() as i64
}

/// The samples of the query's pods, and the milliseconds of its range.
fn selected(fake: &Fake, query: &str) -> (Vec<Sample>, i64) {
    let pods: Vec<&str> = query.split('"').nth(1).unwrap().split('|').collect();
    let range = query.split_once('[').unwrap().1.split_once("ms]").unwrap().0.parse().unwrap();
    let samples = fake.samples.lock();
    (samples.iter().filter(|s| pods.contains(&s.metric["pod"].as_str())).cloned().collect(), range)
}

async fn query(State(fake): State<Arc<Fake>>, Form(form): Form<HashMap<String, String>>) -> String {
    let (samples, range) = selected(&fake, &form["query"]);
    let end = ms(&form["time"]);
    let mut series: HashMap<String, (Metric, Vec<Value>)> = HashMap::new();
    for sample in samples.into_iter().filter(|s| s.t > end - range && s.t <= end) {
        let entry = series.entry(format!("{:?}", sample.metric)).or_insert_with(|| (sample.metric.clone(), Vec::new()));
        entry.1.push(json!([sample.t as f64 / 1e3, sample.value.to_string()]));
    }
    let result: Vec<Value> =
        series.into_values().map(|(metric, values)| json!({"metric": metric, "values": values})).collect();
    json!({"status": "success", "data": {"resultType": "matrix", "result": result}}).to_string()
}

async fn query_range(State(fake): State<Arc<Fake>>, Form(form): Form<HashMap<String, String>>) -> String {
    assert!(form["query"].starts_with("sum(count_over_time("), "{form:?}");
    let (samples, range) = selected(&fake, &form["query"]);
    let (mut at, end, step) = (ms(&form["start"]), ms(&form["end"]), ms(&form["step"]));
    let mut values = Vec::new();
    while at <= end {
        let count = samples.iter().filter(|s| s.t > at - range && s.t <= at).count();
        if count > 0 {
            values.push(json!([at as f64 / 1e3, count.to_string()]));
        }
        at += step;
    }
    json!({"status": "success", "data": {"resultType": "matrix", "result": [{"metric": {}, "values": values}]}})
        .to_string()
}

/// The sample of a slot as it should be.
fn expected(load: &Workload, slot: u64, t: i64) -> (Metric, f64) {
    let generation = load.generation(slot / workload::SLOTS_PER_TARGET, t);
    let (mut labels, pod) = load.labels(slot);
    labels[pod].1.push_str(&format!("{generation:04x}"));
    (labels.into_iter().collect(), load.value(slot, generation, t))
}

fn write_headers(protocol: Protocol) -> HeaderMap {
    let (content_type, version) = protocol.headers();
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
    headers.insert("x-prometheus-remote-write-version", HeaderValue::from_static(version));
    headers
}

#[tokio::test]
async fn what_is_decoded_is_what_was_meant() {
    let load = small();
    for protocol in [Protocol::V1, Protocol::V2] {
        let fake = Fake::new(Vec::new(), None);
        let (url, _server) = fake.serve().await;
        let endpoint = Endpoint::parse(&url).unwrap().below("/api/v1/write");
        let mut client = Client::new(endpoint, write_headers(protocol), Duration::from_secs(60), ANSWER_MAX).unwrap();
        for batch in 0..load.batches() {
            let mut body = Body::new(&load, batch, protocol);
            // pods are replaced in between, and a body goes back in time too
            for round in [0, 1, 2_000, 3] {
                let t = load.time(round).unwrap();
                let answer = client.post(body.at(&load, t).to_vec().into(), None).await.unwrap();
                assert_eq!(answer.status, 204, "{answer:?}");
                let got = std::mem::take(&mut *fake.samples.lock());
                assert_eq!(got.len() as u64, body.samples());
                for (slot, sample) in load.slots(batch).zip(got) {
                    assert_eq!((sample.metric, sample.value), expected(&load, slot, t));
                    assert_eq!(sample.t, t);
                }
            }
        }
    }
}

/// Sends a small load until the server has `requests` requests; the server fails first.
async fn sent(ledger: &Path, protocol: Protocol, requests: usize) -> (Arc<Fake>, Counts) {
    let load = small();
    let (stop, stopped) = watch::channel(false);
    let errors = vec![WriteError::Unavailable("starting".into()), WriteError::Limit("too much".into())];
    let fake = Fake::new(errors, Some((requests, stop.clone())));
    let (url, _server) = fake.serve().await;
    let endpoint = Endpoint::parse(&url).unwrap().below("/api/v1/write");
    let parts: Vec<_> = prepare(&load, protocol, 2)
        .unwrap()
        .into_iter()
        .map(|bodies| {
            let headers = write_headers(protocol);
            (Client::new(endpoint.clone(), headers, Duration::from_secs(60), ANSWER_MAX).unwrap(), bodies)
        })
        .collect();
    let began = Instant::now();
    let tenant_header = HeaderName::from_static("thanos-tenant");
    let sending = Sending {
        ledger: Some(Ledger::create(ledger, &load, tenant_header.as_str()).unwrap()),
        workload: load,
        rate: 1_000_000,
        began,
        deadline: began + Duration::from_hours(1),
        stop: stopped,
        tenant_header,
        counts: Mutex::default(),
        last_ms: AtomicI64::new(0),
        told: AtomicU64::new(0),
    };
    let sending = drive(sending, parts, &stop, Duration::from_hours(1)).await.unwrap();
    sending.ledger.unwrap().finish().unwrap();
    (fake, sending.counts.into_inner())
}

async fn verified(fake: &Arc<Fake>, ledger: &Path) -> Outcome {
    let (url, _server) = fake.serve().await;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    let client = |path| {
        let endpoint = Endpoint::parse(&url).unwrap().below(path);
        Client::new(endpoint, headers.clone(), Duration::from_secs(60), QUERY_ANSWER_MAX).unwrap()
    };
    let (instant, range) = (client("/api/v1/query"), client("/api/v1/query_range"));
    let entries = ledger::read(ledger).unwrap();
    Verifier { entries, instant, range }.run(|_| ()).await.unwrap()
}

#[tokio::test]
async fn what_was_acknowledged_is_found() {
    for protocol in [Protocol::V1, Protocol::V2] {
        let folder = tempfile::tempdir().unwrap();
        let ledger = folder.path().join("ledger");
        let (fake, counts) = sent(&ledger, protocol, 25).await;
        assert_eq!((counts.retries, counts.unavailable, counts.refused, counts.broken), (2, 2, 0, 0));
        assert_eq!(counts.samples, fake.samples.lock().len() as u64);
        assert!(fake.samples.lock().iter().all(|s| s.tenant.starts_with("load-")));
        let outcome = verified(&fake, &ledger).await;
        assert_eq!((outcome.acknowledged, outcome.present), (counts.samples, counts.samples));
        assert!(outcome.is_sound(), "{outcome:?}");
    }
}

#[tokio::test]
async fn faults_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger");
    let (fake, counts) = sent(&ledger, Protocol::V1, 25).await;
    let check = async |faults: &dyn Fn(&mut Vec<Sample>)| {
        let whole = fake.samples.lock().clone();
        faults(&mut fake.samples.lock());
        let outcome = verified(&fake, &ledger).await;
        *fake.samples.lock() = whole;
        (outcome.lost, outcome.holes, outcome.doubled, outcome.unacknowledged_present, outcome.wrong)
    };
    let load = small();
    let second = load.time(1).unwrap();
    assert!(counts.samples > 1_000, "some rounds");
    let at = move |samples: &[Sample]| samples.iter().position(|s| s.t == second).unwrap();
    assert_eq!(check(&|samples| drop(samples.remove(at(samples)))).await, (1, 1, 0, 0, 0));
    assert_eq!(check(&|samples| samples.push(samples[at(samples)].clone())).await, (0, 0, 1, 0, 0));
    assert_eq!(check(&|samples| samples[0].value += 1.0).await, (1, 0, 0, 0, 1));
    assert_eq!(check(&|samples| samples[0].t += 1).await, (1, 0, 0, 0, 1));
    let last = fake.samples.lock().iter().map(|s| s.t).max().unwrap();
    let late = |samples: &mut Vec<Sample>| {
        let t = last + load.interval_ms;
        let (metric, value) = expected(&load, 3, t);
        samples.push(Sample { tenant: "load-0".into(), metric, t, value });
    };
    assert_eq!(check(&late).await, (0, 0, 0, 1, 0));
    let text = Outcome { lost: 3, intervals: (0..30).map(|t| (t, (1, 0))).collect(), ..Outcome::default() }.text();
    assert!(text.contains("  at 0: 1 lost") && text.ends_with("and 10 intervals more\n"), "{text}");
}
