//! Flight SQL over a socket, asked by the client of arrow-flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow::array::{Array, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{CommandGetDbSchemas, CommandGetTables, SqlInfo};
use arrow_flight::{Action, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightInfo};
use async_trait::async_trait;
use compat::tenant::{ReadTenants, TenantRule};
use flight::{Authenticator, ConnectionLimits, FlightSettings, FlightSql, NoTenant, Tenants};
use futures::{TryStreamExt, stream};
use http::{Extensions, HeaderMap};
use prost::Message;
use storage::ManualClock;
use storage::model::TenantScope;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

use crate::served::{NOW_MS, Served};

type Client = FlightSqlServiceClient<Channel>;

#[derive(Debug)]
struct Alice;

#[async_trait]
impl Authenticator for Alice {
    async fn check(&self, credentials: Option<(&str, &str)>) -> bool {
        credentials == Some(("alice", "secret"))
    }
}

#[derive(Debug)]
struct Own(ReadTenants);

impl Tenants for Own {
    fn scope(&self, metadata: &HeaderMap, _: &Extensions) -> Result<TenantScope, NoTenant> {
        self.0.scope(metadata, None).map_err(|error| NoTenant::Invalid(error.to_string()))
    }
}

fn settings() -> FlightSettings {
    FlightSettings {
        version: "0.0.0".to_owned(),
        clock: Arc::new(ManualClock::new(NOW_MS)),
        authenticator: None,
        tenants: None,
        admission: None,
    }
}

/// Serves the golden blocks while `test` runs.
fn with_server<F: Future<Output = ()>>(settings: FlightSettings, test: impl FnOnce(Client) -> F) {
    with_connections_kept(None, settings, |client, _| test(client));
}

/// As [`with_server`], with connections that are kept for some time; the test is also given how many there were.
fn with_connections_kept<F: Future<Output = ()>>(
    age_max: Option<Duration>,
    settings: FlightSettings,
    test: impl FnOnce(Client, Arc<AtomicUsize>) -> F,
) {
    let served = Served::shared();
    let service = FlightSql::try_new(served.sql_engine(), settings).unwrap();
    served.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = watch::channel(false);
        let counted = Arc::new(AtomicUsize::new(0));
        let connections = stream::unfold((listener, Arc::clone(&counted)), |(listener, counted)| async {
            let (stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            Some(((stream, ()), (listener, counted)))
        });
        let limits = ConnectionLimits { age_max, grace_period: Duration::from_secs(5) };
        let serving = flight::serve(connections, service, stopped, limits);
        let testing = async move {
            let channel = Endpoint::from_shared(address).unwrap().connect().await.unwrap();
            test(FlightSqlServiceClient::new(channel), counted).await;
            stop.send(true).unwrap();
        };
        tokio::join!(serving, testing);
    });
}

/// All batches of all parts.
async fn fetch(client: &mut Client, info: FlightInfo) -> Vec<RecordBatch> {
    let mut batches = Vec::new();
    for endpoint in info.endpoint {
        let stream = client.do_get(endpoint.ticket.unwrap()).await.unwrap();
        batches.extend(stream.try_collect::<Vec<_>>().await.unwrap());
    }
    batches
}

async fn rows(client: &mut Client, sql: &str) -> usize {
    let info = client.execute(sql.to_owned(), None).await.unwrap();
    fetch(client, info).await.iter().map(RecordBatch::num_rows).sum()
}

fn texts(batches: &[RecordBatch], column: &str) -> Vec<String> {
    let values = |batch: &RecordBatch| {
        let column = batch.column_by_name(column).unwrap().as_string::<i32>().clone();
        (0..column.len()).map(move |row| column.value(row).to_owned()).collect::<Vec<_>>()
    };
    batches.iter().flat_map(values).collect()
}

#[test]
fn statements_and_their_parts() {
    with_server(settings(), |mut client| async move {
        assert_eq!(rows(&mut client, "SELECT 1").await, 1);
        assert_eq!(rows(&mut client, "SELECT timestamp, value, job FROM up").await, 25_740);
        assert_eq!(rows(&mut client, "SELECT * FROM promql('up')").await, 9);
        // enough series for two parts, which hold every row once
        let info = client
            .execute("SELECT value FROM http_request_duration_seconds_bucket WHERE value >= 0".to_owned(), None)
            .await
            .unwrap();
        assert!(info.ordered && info.endpoint.len() == 2, "{info:?}");
        let parts: usize = fetch(&mut client, info.clone()).await.iter().map(RecordBatch::num_rows).sum();
        let info_of_count = client
            .execute("SELECT count(value) FROM http_request_duration_seconds_bucket".to_owned(), None)
            .await
            .unwrap();
        let counted = fetch(&mut client, info_of_count).await;
        assert_eq!(counted[0].column(0).as_primitive::<Int64Type>().value(0), i64::try_from(parts).unwrap());
        // a part can be had once
        let again = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.err().unwrap();
        assert!(again.to_string().contains("ask for it again"), "{again}");
        let error = client.execute("DROP TABLE up".to_owned(), None).await.err().unwrap();
        assert!(error.to_string().contains("DDL not supported"), "{error}");
    });
}

#[test]
fn metadata() {
    with_server(settings(), |mut client| async move {
        let info = client.get_catalogs().await.unwrap();
        assert_eq!(texts(&fetch(&mut client, info).await, "catalog_name"), ["quiver"]);
        let all = CommandGetDbSchemas { catalog: None, db_schema_filter_pattern: None };
        let info = client.get_db_schemas(all).await.unwrap();
        assert_eq!(texts(&fetch(&mut client, info).await, "db_schema_name"), ["metrics", "system"]);
        let tables = |pattern: &str, types: &[&str], include_schema| CommandGetTables {
            catalog: None,
            db_schema_filter_pattern: None,
            table_name_filter_pattern: Some(pattern.to_owned()),
            table_types: types.iter().map(|name| (*name).to_owned()).collect(),
            include_schema,
        };
        let info = client.get_tables(tables("%", &[], false)).await.unwrap();
        assert_eq!(fetch(&mut client, info).await.iter().map(RecordBatch::num_rows).sum::<usize>(), 26);
        let info = client.get_tables(tables("%", &["VIEW"], false)).await.unwrap();
        assert_eq!(texts(&fetch(&mut client, info).await, "table_name"), ["blocks", "labels", "series"]);
        let info = client.get_tables(tables("up", &[], true)).await.unwrap();
        let described = fetch(&mut client, info).await;
        assert_eq!(texts(&described, "table_name"), ["up"]);
        let schema = described[0].column_by_name("table_schema").unwrap().as_binary::<i32>().value(0).to_vec();
        let schema = Schema::try_from(arrow_flight::IpcMessage(schema.into())).unwrap();
        assert_eq!(schema.field(0).name(), "timestamp");
        let info = client.get_table_types().await.unwrap();
        assert_eq!(texts(&fetch(&mut client, info).await, "table_type"), ["TABLE", "VIEW"]);
        let info =
            client.get_sql_info(vec![SqlInfo::FlightSqlServerName, SqlInfo::FlightSqlServerReadOnly]).await.unwrap();
        assert_eq!(fetch(&mut client, info).await[0].num_rows(), 2);
        let info =
            client.get_xdbc_type_info(arrow_flight::sql::CommandGetXdbcTypeInfo { data_type: None }).await.unwrap();
        assert_eq!(fetch(&mut client, info).await[0].num_rows(), 5);
        let keys = arrow_flight::sql::CommandGetPrimaryKeys { catalog: None, db_schema: None, table: "up".to_owned() };
        let info = client.get_primary_keys(keys).await.unwrap();
        assert!(fetch(&mut client, info).await.iter().all(|batch| batch.num_rows() == 0));
    });
}

#[test]
fn prepared_statements() {
    with_server(settings(), |mut client| async move {
        let sql = "SELECT count(*) AS n FROM up WHERE job = ? AND value >= ?";
        let mut prepared = client.prepare(sql.to_owned(), None).await.unwrap();
        assert_eq!(prepared.dataset_schema().unwrap().field(0).name(), "n");
        assert_eq!(prepared.parameter_schema().unwrap().fields().len(), 2);
        let schema = Schema::new(vec![Field::new("1", DataType::Utf8, false), Field::new("2", DataType::Int64, false)]);
        for (job, expected) in [("api", 11_340), ("node", 14_400), ("nobody", 0)] {
            let columns: Vec<Arc<dyn Array>> =
                vec![Arc::new(StringArray::from(vec![job])), Arc::new(Int64Array::from(vec![0]))];
            prepared.set_parameters(RecordBatch::try_new(Arc::new(schema.clone()), columns).unwrap()).unwrap();
            let info = prepared.execute().await.unwrap();
            let counted = fetch(&mut client, info).await;
            assert_eq!(counted[0].column(0).as_primitive::<Int64Type>().value(0), expected, "{job}");
        }
        prepared.close().await.unwrap();
    });
}

#[test]
fn dictionaries_are_sent_to_who_wants_them() {
    with_server(settings(), |mut client| async move {
        let label = async |client: &mut Client| {
            let info = client.execute("SELECT job FROM up LIMIT 1".to_owned(), None).await.unwrap();
            let told = info.clone().try_decode_schema().unwrap().field(0).data_type().clone();
            let sent = fetch(client, info).await[0].column(0).data_type().clone();
            assert_eq!(told, sent);
            sent
        };
        let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
        assert_eq!(label(&mut client).await, dictionary);
        client.set_header("quiver-dictionaries", "false");
        assert_eq!(label(&mut client).await, DataType::Utf8);
    });
}

#[test]
fn a_statement_is_cancelled() {
    with_server(settings(), |mut client| async move {
        let info = client.execute("SELECT * FROM up a CROSS JOIN up b".to_owned(), None).await.unwrap();
        let mut batches = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
        batches.try_next().await.unwrap().unwrap();
        let body = CancelFlightInfoRequest { info: Some(info.clone()) }.encode_to_vec();
        let action = || Action { r#type: "CancelFlightInfo".to_owned(), body: body.clone().into() };
        let cancel = |mut client: Client| async move {
            let mut results = client.inner_mut().do_action(action()).await.unwrap().into_inner();
            let result = results.try_next().await.unwrap().unwrap();
            CancelFlightInfoResult::decode(result.body).unwrap().status
        };
        assert_eq!(cancel(client.clone()).await, CancelStatus::Cancelled as i32);
        // what was on its way still comes, and then not an end but an error
        let ended = async {
            while batches.try_next().await?.is_some() {}
            Ok::<_, arrow_flight::error::FlightError>(())
        };
        let error = ended.await.unwrap_err();
        assert!(error.to_string().contains("cancelled"), "{error}");
        assert_eq!(cancel(client.clone()).await, CancelStatus::NotCancellable as i32);
    });
}

#[test]
fn who_may_come_in() {
    let settings = FlightSettings { authenticator: Some(Arc::new(Alice)), ..settings() };
    with_server(settings, |mut client| async move {
        let error = client.execute("SELECT 1".to_owned(), None).await.err().unwrap();
        assert!(error.to_string().contains("authentication is needed"), "{error}");
        assert!(client.get_catalogs().await.is_err());
        assert!(client.handshake("alice", "wrong").await.is_err());
        client.handshake("alice", "secret").await.unwrap();
        assert_eq!(rows(&mut client, "SELECT 1").await, 1);
        client.set_token("forged".to_owned());
        assert!(client.execute("SELECT 1".to_owned(), None).await.is_err());
    });
}

#[test]
fn a_tenant_sees_its_own() {
    let rule = TenantRule { default_tenant: String::new(), ..TenantRule::default() };
    let tenants = Arc::new(Own(ReadTenants::Own { rule, label: "cluster".into() }));
    with_server(FlightSettings { tenants: Some(tenants), ..settings() }, |mut client| async move {
        let error = client.execute("SELECT 1".to_owned(), None).await.err().unwrap();
        assert!(error.to_string().contains("names no tenant"), "{error}");
        client.set_header("thanos-tenant", "eu-1");
        assert_eq!(rows(&mut client, "SELECT * FROM up").await, 25_740);
        client.set_header("thanos-tenant", "us-1");
        assert_eq!(rows(&mut client, "SELECT * FROM system.series").await, 0);
        assert!(client.execute("SELECT * FROM up".to_owned(), None).await.is_err());
        let all = CommandGetTables { table_types: vec!["TABLE".to_owned()], ..CommandGetTables::default() };
        let info = client.get_tables(all).await.unwrap();
        assert!(fetch(&mut client, info).await.iter().all(|batch| batch.num_rows() == 0));
    });
}

#[test]
fn a_connection_is_made_anew_when_it_is_old() {
    let statement = || "SELECT 1".to_owned();
    with_connections_kept(None, settings(), |mut client, connections| async move {
        for _ in 0..20 {
            client.execute(statement(), None).await.unwrap();
        }
        assert_eq!(connections.load(Ordering::SeqCst), 1);
    });
    let short = Some(Duration::from_millis(20));
    with_connections_kept(short, settings(), |mut client, connections| async move {
        let asking = async {
            // a call can meet a connection that is just ending
            let mut slow = loop {
                let Ok(info) = client.execute("SELECT * FROM up".to_owned(), None).await else { continue };
                if let Ok(stream) = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await {
                    break stream;
                }
            };
            let before = connections.load(Ordering::SeqCst);
            while connections.load(Ordering::SeqCst) < before + 2 {
                let _ = client.execute(statement(), None).await;
            }
            // more than fits between server and client, so most of it comes only now
            let mut rows = 0;
            while let Some(batch) = slow.try_next().await.unwrap() {
                rows += batch.num_rows();
            }
            assert_eq!(rows, 25_740, "what is under way ends first");
        };
        tokio::time::timeout(Duration::from_secs(60), asking).await.expect("connections end");
    });
}
