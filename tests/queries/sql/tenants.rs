//! A tenant sees its own rows, in every table. In the golden blocks the label `cluster` plays the tenant.

use super::database::Database;

#[test]
fn a_tenant_sees_its_own_and_no_others() {
    let all = Database::golden();
    let own = Database::golden_of("cluster", "eu-1");
    let other = Database::golden_of("cluster", "us-1");
    for sql in [
        "SELECT count(*) FROM up",
        "SELECT count(*) FROM system.series",
        "SELECT count(*) FROM system.labels",
        "SELECT count(*) FROM system.blocks",
        "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'metrics'",
        "SELECT count(*) FROM promql('count(up)')",
    ] {
        let everything = all.rows(sql).unwrap();
        assert_ne!(everything, [["0"]], "{sql}");
        assert_eq!(own.rows(sql).unwrap(), everything, "{sql}");
        match other.rows(sql) {
            Ok(rows) => assert_eq!(rows, [["0"]], "{sql}"),
            // a metric that it does not have is no table
            Err(error) => {
                assert!(sql.ends_with("FROM up") && error.to_string().contains("not found"), "{sql}: {error}")
            }
        }
    }
}

#[test]
fn no_predicate_leads_out_of_the_scope() {
    let other = Database::golden_of("cluster", "us-1");
    for sql in [
        "SELECT * FROM system.series WHERE metric = 'up' OR true",
        "SELECT * FROM system.series WHERE labels['cluster'] = 'eu-1'",
        "SELECT * FROM promql('up{cluster=\"eu-1\"}')",
        "SELECT * FROM promql('up or {__name__=~\".+\"}')",
    ] {
        assert_eq!(other.rows(sql).unwrap(), Vec::<Vec<String>>::new(), "{sql}");
    }
}
