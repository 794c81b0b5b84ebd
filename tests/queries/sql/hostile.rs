//! Statements that were written to hurt: refused, or stopped at a limit.

use std::time::{Duration, Instant};

use engine::Error;
use engine::sql::SqlRequest;

use super::database::Database;
use crate::served::{NOW_MS, Served, engine_settings, golden};

/// What a thread gets from Rust and from tokio unless it asks for more.
const STACK_BYTES: usize = 2 << 20;

/// Checks that a statement is refused with `text`, quickly, on a thread with a small stack.
fn check_refused(sql: String, text: &str) {
    let expected = text.to_owned();
    let ask = move || {
        let started = Instant::now();
        let error = Database::golden().answer(&sql).expect_err("it was answered");
        let shown: String = sql.chars().take(80).collect();
        assert!(matches!(error, Error::BadQuery(_)), "{shown}: {error:?}");
        assert!(error.to_string().contains(&expected), "{shown}: {error}");
        assert!(started.elapsed() < Duration::from_secs(5), "{shown}: refused after {:?}", started.elapsed());
    };
    std::thread::Builder::new().stack_size(STACK_BYTES).spawn(ask).unwrap().join().unwrap();
}

#[test]
fn what_would_change_something() {
    for (sql, text) in [
        ("CREATE TABLE t (a INT)", "DDL not supported"),
        ("CREATE TABLE t AS SELECT 1", "DDL not supported"),
        ("CREATE VIEW v AS SELECT 1", "DDL not supported"),
        ("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'", "DDL not supported"),
        ("CREATE SCHEMA s", "DDL not supported"),
        ("CREATE DATABASE d", "DDL not supported"),
        ("CREATE FUNCTION f() RETURNS INT RETURN 1", "DDL not supported"),
        ("DROP TABLE up", "DDL not supported"),
        ("DROP SCHEMA metrics", "DDL not supported"),
        ("INSERT INTO up VALUES (now(), 1)", ""),
        ("DELETE FROM up", "DML not supported"),
        ("UPDATE up SET value = 1", "DML not supported"),
        ("TRUNCATE TABLE up", ""),
        ("COPY (SELECT 1) TO '/tmp/quiver-was-here.csv'", ""),
        ("COPY up TO '/tmp/quiver-was-here.parquet' STORED AS PARQUET", ""),
        ("SET datafusion.execution.batch_size = 1", "Statement not supported"),
        ("SET TIME ZONE = '+01:00'", ""),
        ("PREPARE p AS SELECT 1", "Statement not supported"),
        ("EXECUTE p", "Statement not supported"),
        ("BEGIN TRANSACTION", ""),
        ("EXPLAIN INSERT INTO up VALUES (now(), 1)", ""),
        ("SELECT 1; SELECT 2", "only one statement"),
        ("", "there is no statement"),
    ] {
        check_refused(sql.to_owned(), text);
    }
    assert!(!std::path::Path::new("/tmp/quiver-was-here.csv").exists());
}

#[test]
fn files_are_no_tables() {
    for table in
        ["'/etc/passwd'", "\"/etc/passwd\"", "'file:///etc/passwd'", "'https://example.com/x.parquet'", "\"x.csv\""]
    {
        check_refused(format!("SELECT * FROM {table}"), "");
    }
    for function in ["read_csv('/etc/passwd')", "read_parquet('x')", "parquet_metadata('x')"] {
        check_refused(format!("SELECT * FROM {function}"), "not found");
    }
}

#[test]
fn expressions_a_million_deep() {
    for n in [1_000_000, 20_000] {
        check_refused(format!("SELECT {}1{}", "(".repeat(n), ")".repeat(n)), "");
        check_refused(format!("SELECT {}", vec!["1"; n].join("+")), "");
        check_refused(format!("SELECT {}1", "-".repeat(n)), "");
        check_refused(format!("SELECT {}true", "NOT ".repeat(n)), "");
        check_refused(format!("SELECT {}1{}", "abs(".repeat(n), ")".repeat(n)), "");
        check_refused(format!("SELECT 1{}", "::int".repeat(n)), "");
        check_refused(vec!["SELECT 1"; n].join(" UNION ALL "), "");
        check_refused(format!("SELECT 1 FROM {}", vec!["up"; n].join(" JOIN ")), "");
        check_refused(format!("{}SELECT 1{}", "SELECT * FROM (".repeat(n), ")".repeat(n)), "");
        check_refused(format!("SELECT {}1{}", "CASE WHEN true THEN ".repeat(n), " END".repeat(n)), "");
    }
}

/// As long as it may be, a chain of operators must not take the stack or the time of others.
#[test]
fn the_longest_chain_is_answered() {
    let ask = || {
        let started = Instant::now();
        let terms: Vec<String> = (0..240).map(|n| format!("value > {n}")).collect();
        let terms = terms.join(" OR ");
        Database::golden().answer(&format!("SELECT count(*) FROM up WHERE {terms}")).unwrap();
        let sum = format!("SELECT {}", vec!["1"; 500].join(" + "));
        assert_eq!(Database::golden().rows(&sum).unwrap(), [["500"]]);
        assert!(started.elapsed() < Duration::from_secs(30), "it took {:?}", started.elapsed());
    };
    // what the program gives its threads
    std::thread::Builder::new().stack_size(8 << 20).spawn(ask).unwrap().join().unwrap();
}

#[test]
fn memory_and_time_end_what_explodes() {
    let mut settings = engine_settings(2);
    settings.memory = engine::ProcessPool::new(24 << 20);
    settings.timeout = Duration::from_secs(60);
    let served = Served::over_with(golden("bucket"), settings);
    let ask = |sql: &str| served.sql(SqlRequest::new(sql, NOW_MS)).expect_err("it was answered");
    let error = ask("SELECT a.value, b.value FROM up a CROSS JOIN up b ORDER BY a.value + b.value");
    assert!(matches!(&error, Error::Limit(text) if text.contains("--query.max-memory")), "{error:?}");
    let error = ask("SELECT array_agg(value) FROM generate_series(1, 100000000) t(value)");
    assert!(matches!(error, Error::Limit(_)), "{error:?}");
    let timeout = Some(Duration::from_secs(1));
    let endless = SqlRequest::new("SELECT count(*) FROM up a CROSS JOIN up b CROSS JOIN up c", NOW_MS);
    let error = served.sql(SqlRequest { timeout, ..endless }).expect_err("it was answered");
    assert!(matches!(error, Error::Timeout(_)), "{error:?}");
    // and what they held is given back
    served.sql(SqlRequest::new("SELECT count(*) FROM up", NOW_MS)).unwrap();
}
