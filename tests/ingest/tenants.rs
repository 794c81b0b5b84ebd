//! Reads of a tenant: with `--query.enforce-tenancy` every door shows its own series, over the head and over blocks, and no others.
//!
//! All that a tenant has carries its name, as a value, a metric, a label, a text: an answer is searched for it, and for that of the other.

use std::path::Path;
use std::process::Command;

use arrow::record_batch::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use arrow_flight::sql::CommandGetTables;
use futures::TryStreamExt;
use rcgen::DnType;

use crate::flight::{block_on, client, rows, tls_client};
use crate::recently;
use crate::requests::{REMOTE_WRITE, compress, field, sample, varint};
use crate::server::{Answer, Server, send};
use crate::tls::{Pair, ask};
use crate::web::{Setup, TLS, VERIFIED};

/// Named by the header.
const RED: &str = "of_red";
/// The default tenant.
const BLUE: &str = "of_blue";

/// Writes what a tenant has: two metrics with an exemplar, and what one of them is.
fn write(server: &Server, tenant: &str, t: i64) {
    let label = |name: &str, value: &str| {
        let mut label = Vec::new();
        field(&mut label, 1, name.as_bytes());
        field(&mut label, 2, value.as_bytes());
        label
    };
    let mut body = Vec::new();
    for name in ["written", &format!("metric_{tenant}")] {
        let mut series = Vec::new();
        field(&mut series, 1, &label("__name__", name));
        field(&mut series, 1, &label(&format!("label_{tenant}"), tenant));
        field(&mut series, 2, &sample(t, 1.0));
        let mut exemplar = Vec::new();
        field(&mut exemplar, 1, &label("trace_id", tenant));
        exemplar.push(2 << 3 | 1);
        exemplar.extend(1.0_f64.to_le_bytes());
        exemplar.push(3 << 3);
        varint(&mut exemplar, t as u64);
        field(&mut series, 3, &exemplar);
        field(&mut body, 1, &series);
    }
    let mut metadata = vec![1 << 3, 1];
    field(&mut metadata, 2, b"written");
    field(&mut metadata, 4, tenant.as_bytes());
    field(&mut body, 3, &metadata);
    let answer = server.post("/api/v1/receive", &format!("{REMOTE_WRITE}{}", named(tenant)), &compress(&body));
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
}

/// The header of a tenant; the default one's requests name nobody.
fn named(tenant: &str) -> String {
    if tenant == BLUE { String::new() } else { format!("THANOS-TENANT: {tenant}\r\n") }
}

/// A request for everything at a time, by remote read.
fn read_request(t: i64, streamed: bool) -> Vec<u8> {
    let mut matcher = vec![1 << 3, 2];
    field(&mut matcher, 2, b"__name__");
    field(&mut matcher, 3, b".+");
    let mut query = vec![1 << 3];
    varint(&mut query, t as u64 - 1);
    query.push(2 << 3);
    varint(&mut query, t as u64 + 1);
    field(&mut query, 3, &matcher);
    let mut request = Vec::new();
    field(&mut request, 1, &query);
    field(&mut request, 2, &[u8::from(streamed)]);
    compress(&request)
}

/// A door over HTTP: its line, headers of its own, and a body.
type Door = (String, &'static str, Vec<u8>);

fn get(path: &str, fields: &[(&str, &str)]) -> Door {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    (format!("GET {path}?{query}"), "", Vec::new())
}

fn sql(statement: &str) -> Door {
    ("POST /api/v1/sql".to_owned(), "Accept: text/csv\r\n", statement.as_bytes().to_vec())
}

/// Statements that show a tenant's name, over what is in the head and over blocks.
fn statements(start: i64) -> Vec<String> {
    let promql = |query: &str| format!("SELECT * FROM promql('{query}', {start})");
    [
        "SELECT * FROM written",
        "SELECT labels['tenant_id'] FROM system.series",
        "SELECT * FROM system.labels",
        "SELECT table_name FROM information_schema.tables",
        "SHOW COLUMNS FROM written",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([promql("{__name__=~\".+\"}"), promql("count by (tenant_id) ({__name__!=\"\"} offset 0s)")])
    .collect()
}

/// Every door that reads series, wherever they are; `start` is when they were written, in seconds.
fn doors(start: i64) -> Vec<Door> {
    let time = &start.to_string();
    let everything = "{__name__=~\".+\"}";
    let range = [("start", time.as_str()), ("end", time), ("step", "15")];
    let of_range = |query| [&[("query", query)][..], &range].concat();
    let mut doors = vec![
        get("/api/v1/query", &[("query", everything), ("time", time)]),
        get("/api/v1/query", &[("query", "written or {tenant_id!=\"\"}"), ("time", time)]),
        get("/api/v1/query", &[("query", "{tenant_id=~\".+\"}[1m]"), ("time", time)]),
        get("/api/v1/query", &[("query", "count by (tenant_id) (max_over_time(written[2m:1s]))"), ("time", time)]),
        get("/api/v1/query_range", &of_range(everything)),
        get("/api/v1/series", &[("match[]", everything)]),
        get("/api/v1/series", &[("match[]", "{tenant_id=~\".+\"}"), ("replicaLabels[]", "tenant_id")]),
        get("/api/v1/labels", &[]),
        get("/api/v1/labels", &[("match[]", "written")]),
        get("/api/v1/label/__name__/values", &[]),
        get("/api/v1/label/tenant_id/values", &[]),
        get("/api/v1/label/tenant_id/values", &[("match[]", everything)]),
        get("/api/v1/status/tsdb", &[("limit", "1000"), ("match[]", everything)]),
        get("/federate", &[("match[]", everything)]),
        get("/api/v1/stores", &[]),
    ];
    doors.extend(statements(start).iter().map(|statement| sql(statement)));
    let read = |streamed| ("POST /api/v1/read".to_owned(), REMOTE_WRITE, read_request(start * 1_000, streamed));
    doors.extend([read(false), read(true)]);
    doors
}

/// Doors of what a head has and blocks do not.
fn doors_of_head() -> Vec<Door> {
    vec![
        get("/api/v1/query_exemplars", &[("query", "written")]),
        get("/api/v1/metadata", &[]),
        get("/api/v1/metadata", &[("metric", "written")]),
        get("/api/v1/status/tsdb", &[("limit", "1000")]),
    ]
}

fn through(server: &Server, (line, headers, body): &Door, tenant: &str) -> Answer {
    Answer::of(send(&server.address, line, &format!("{headers}{tenant}"), body))
}

/// Whether a text is in an answer, however it is packed.
fn has(answer: &Answer, text: &str) -> bool {
    let unpacked = snap::raw::Decoder::new().decompress_vec(&answer.body).unwrap_or_default();
    [&answer.body, &unpacked].iter().any(|body| body.windows(text.len()).any(|window| window == text.as_bytes()))
}

/// Each door shows the names of these tenants, and of the others none.
fn check_doors(server: &Server, doors: &[Door], header: &str, expected: &[&str]) {
    for door in doors {
        let answer = through(server, door, header);
        let shown = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(answer.status, 200, "{}: {shown}", door.0);
        for tenant in [RED, BLUE] {
            assert_eq!(has(&answer, tenant), expected.contains(&tenant), "{tenant} at {}: {shown}", door.0);
        }
        // its own metrics are another tenant's
        assert!(expected.len() > 1 || !has(&answer, "\"quiver\""), "{}: {shown}", door.0);
    }
}

/// As [`check_doors`], over Flight SQL; prepared statements and the list of tables too.
fn check_flight(server: &Server, statements: &[String], tenant: &str) {
    let other = if tenant == RED { BLUE } else { RED };
    let check = |what: &str, shown: &str| {
        assert!(shown.contains(tenant) && !shown.contains(other), "{tenant}: {what}: {shown}");
    };
    block_on(async {
        let mut client = client(&server.grpc_address);
        if tenant != BLUE {
            client.set_header("thanos-tenant", tenant);
        }
        for statement in statements {
            check(statement, &rows(&mut client, statement).await.unwrap());
        }
        let mut prepared = client.prepare("SELECT * FROM written".to_owned(), None).await.unwrap();
        let info = prepared.execute().await.unwrap();
        let ticket = info.endpoint.into_iter().next().unwrap().ticket.unwrap();
        let batches: Vec<RecordBatch> = client.do_get(ticket).await.unwrap().try_collect().await.unwrap();
        check("prepared", &pretty_format_batches(&batches).unwrap().to_string());
        let info = client.get_tables(CommandGetTables::default()).await.unwrap();
        let ticket = info.endpoint.into_iter().next().unwrap().ticket.unwrap();
        let tables: Vec<RecordBatch> = client.do_get(ticket).await.unwrap().try_collect().await.unwrap();
        check("tables", &pretty_format_batches(&tables).unwrap().to_string());
        client.set_header("thanos-tenant", "a/b");
        let refused = client.execute("SELECT 1".to_owned(), None).await.unwrap_err().to_string();
        assert!(refused.contains("tenant name not valid"), "{refused}");
    });
}

/// What is of all tenants, or asks for another's.
fn check_refusals(server: &Server, start: i64) {
    for door in doors(start).iter().chain(&doors_of_head()) {
        let refused = through(server, door, "THANOS-TENANT: a/b\r\n");
        assert_eq!(refused.status, 400, "{}", door.0);
        assert!(has(&refused, "tenant name not valid"), "{}", door.0);
    }
    let everybody = [
        get("/api/v1/status/tsdb", &[("all_tenants", "true")]),
        get("/api/v1/blocks", &[]),
        ("POST /api/v1/blocks/mark".to_owned(), "", Vec::new()),
        get("/api/v1/query", &[("query", "written"), ("storeMatch[]", "{tenant_id=\"of_blue\"}")]),
    ];
    for door in everybody {
        let refused = through(server, &door, &named(RED));
        assert_eq!((refused.status, has(&refused, BLUE)), (400, false), "{}", door.0);
    }
    let time = start.to_string();
    for query in ["written{tenant_id=\"of_blue\"}", "written{tenant_id!=\"of_red\"}", "metric_of_blue"] {
        let door = get("/api/v1/query", &[("query", query), ("time", &time)]);
        assert!(has(&through(server, &door, &named(RED)), "\"result\":[]"), "{query}");
    }
    let table = through(server, &sql("SELECT * FROM metric_of_blue"), &named(RED));
    assert_eq!(table.status, 400, "a metric that it does not have is no table");
}

fn start(folder: &Path, flags: &[&str]) -> Server {
    let common = ["--receive.default-tenant-id=of_blue", "--query.lookback-delta=1h", "--tsdb.max-exemplars=100"];
    Server::start(folder, &[&common[..], &["--tsdb.flush-on-stop", "--tsdb.retention=0d"], flags].concat())
}

fn stop(mut server: Server) {
    assert!(Command::new("kill").args(["-TERM", &server.process.id().to_string()]).status().unwrap().success());
    assert!(server.process.wait().unwrap().success());
}

#[test]
fn every_door_shows_a_tenant_its_own() {
    let (folder, time) = (tempfile::tempdir().unwrap(), recently());
    let enforced = ["--query.enforce-tenancy"];
    let server = start(folder.path(), &enforced);
    [RED, BLUE].into_iter().for_each(|tenant| write(&server, tenant, time * 1_000));
    for tenant in [RED, BLUE] {
        check_doors(&server, &[doors(time), doors_of_head()].concat(), &named(tenant), &[tenant]);
        check_flight(&server, &statements(time), tenant);
    }
    check_refusals(&server, time);
    stop(server);

    // the same, in blocks
    let blocks = "SELECT external_labels['tenant_id'] FROM system.blocks";
    let server = start(folder.path(), &enforced);
    for tenant in [RED, BLUE] {
        check_doors(&server, &[doors(time), vec![sql(blocks)]].concat(), &named(tenant), &[tenant]);
        check_flight(&server, &[statements(time), vec![blocks.to_owned()]].concat(), tenant);
    }
    check_refusals(&server, time);
    stop(server);

    // what is checked above is there to be seen
    let server = start(folder.path(), &[]);
    let doors = [doors(time), vec![sql(blocks)]].concat();
    check_doors(&server, &doors, "", &[RED, BLUE]);
}

#[test]
fn a_certificate_names_who_reads() {
    let setup = Setup::new(&format!("{TLS}{VERIFIED}"));
    let flags = [&setup.config(), "--receive.tenant-certificate-field=commonName", "--query.enforce-tenancy"];
    let server = Server::start(&setup.path("data"), &flags);
    let team = |name: &str| setup.ca.issue(&[(DnType::CommonName, name)]);
    let body = crate::requests::request(1, recently() * 1_000, 1.0);
    for name in ["team-a", "team-b"] {
        let line = "POST /api/v1/receive";
        assert_eq!(ask(&server.address, &setup.ca, Some(&team(name)), line, REMOTE_WRITE, &body).unwrap().status, 200);
    }
    let tenants = |shown: &Pair| {
        let line = "GET /api/v1/label/tenant_id/values?match[]=written";
        ask(&server.address, &setup.ca, Some(shown), line, "THANOS-TENANT: team-b\r\n", b"").unwrap()
    };
    assert_eq!(Server::data_of(&tenants(&team("team-a"))), serde_json::json!(["team-a"]));
    let refused = tenants(&setup.ca.issue(&[(DnType::OrganizationName, "team-a")]));
    assert_eq!((refused.status, has(&refused, "could not get commonName field")), (400, true));
    block_on(async {
        let client = |shown: &Pair| {
            let mut client = tls_client(&server.grpc_address, &setup.ca, Some(shown));
            client.set_header("thanos-tenant", "team-b");
            client
        };
        let statement = "SELECT tenant_id FROM written";
        for (name, other) in [("team-a", "team-b"), ("team-b", "team-a")] {
            let shown = rows(&mut client(&team(name)), statement).await.unwrap();
            assert!(shown.contains(name) && !shown.contains(other), "{shown}");
        }
        let stranger = rows(&mut client(&team("team-c")), statement).await.unwrap_err().to_string();
        assert!(stranger.contains("written"), "it has no such table: {stranger}");
        let refused = rows(&mut client(&setup.ca.issue(&[(DnType::OrganizationName, "team-a")])), "SELECT 1").await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("could not get commonName field"), "{refused}");
    });
}
