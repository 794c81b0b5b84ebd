use datafusion::prelude::{col, lit};

use super::*;

/// A table whose labels are `job` and `"exported_value"`, which is the label `value`.
struct Labels;

impl LabelOfColumn for Labels {
    fn label(&self, name: &str) -> Option<&str> {
        match name {
            "job" => Some("job"),
            "exported_value" => Some("value"),
            _ => None,
        }
    }
}

fn at(ms: i64) -> Expr {
    lit(ScalarValue::TimestampMillisecond(Some(ms), Some("UTC".into())))
}

fn at_ns(ns: i64) -> Expr {
    lit(ScalarValue::TimestampNanosecond(Some(ns), Some("UTC".into())))
}

fn ns(expr: Expr) -> Expr {
    let data_type = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    Expr::Cast(Cast::new(Box::new(expr), data_type))
}

#[test]
fn comparisons_of_times() {
    let time = || col("timestamp");
    let check = |expr: Expr, mint: i64, maxt: i64| {
        assert_eq!(classify(&expr, &Labels), Pushed::Time(TimeInterval::new(mint, maxt)), "{expr}");
    };
    check(time().gt_eq(at(5)), 5, i64::MAX);
    check(time().gt(at(5)), 6, i64::MAX);
    check(time().lt(at(5)), i64::MIN, 4);
    check(time().lt_eq(at(5)), i64::MIN, 5);
    check(time().eq(at(5)), 5, 5);
    check(at(5).lt(time()), 6, i64::MAX);
    check(time().between(at(5), at(9)), 5, 9);
    // between two milliseconds, before and after the epoch
    check(ns(time()).gt_eq(at_ns(5_000_001)), 6, i64::MAX);
    check(ns(time()).gt(at_ns(5_000_001)), 6, i64::MAX);
    check(ns(time()).lt(at_ns(5_000_001)), i64::MIN, 5);
    check(ns(time()).lt_eq(at_ns(-5_000_001)), i64::MIN, -6);
    check(ns(time()).gt_eq(at_ns(-5_000_001)), -5, i64::MAX);
    let Pushed::Time(none) = classify(&ns(time()).eq(at_ns(5_000_001)), &Labels) else { panic!("not pushed") };
    assert!(none.maxt < none.mint);
}

#[test]
fn what_stays_above() {
    let second = DataType::Timestamp(TimeUnit::Second, None);
    for expr in [
        col("timestamp").not_eq(at(5)),
        Expr::Cast(Cast::new(Box::new(col("timestamp")), second)).gt(at(5)),
        col("timestamp").gt(lit(ScalarValue::TimestampMillisecond(None, None))),
        col("timestamp").gt(col("timestamp")),
        Expr::Between(Between::new(Box::new(col("timestamp")), true, Box::new(at(1)), Box::new(at(2)))),
        col("value").gt(lit(1.0)),
        col("job").eq(lit("a")).or(col("value").gt(lit(1.0))),
        lit(true),
    ] {
        assert_eq!(classify(&expr, &Labels), Pushed::No, "{expr}");
    }
}

#[test]
fn labels_become_matchers() {
    let check = |expr: Expr, expected: &str| {
        assert_eq!(classify(&expr, &Labels), Pushed::Labels, "{expr}");
        let matchers: Vec<String> = matchers(&expr, &Labels).iter().map(ToString::to_string).collect();
        assert_eq!(matchers.join(", "), expected, "{expr}");
    };
    let job = || col("job");
    let like = |negated: bool, pattern: &str| {
        Expr::Like(Like::new(negated, Box::new(job()), Box::new(lit(pattern)), None, false))
    };
    let regex =
        |op: Operator, pattern: &str| Expr::BinaryExpr(BinaryExpr::new(Box::new(job()), op, Box::new(lit(pattern))));
    check(job().eq(lit("a")), "job=\"a\"");
    check(lit("a").eq(job()), "job=\"a\"");
    check(col("exported_value").eq(lit("a")), "value=\"a\"");
    check(job().not_eq(lit("a")), "job!=\"a\", job!=\"\"");
    check(job().in_list(vec![lit("a"), lit("b.c")], false), "job=~\"a|b\\\\.c\", job!=\"\"");
    check(job().in_list(vec![lit("a")], true), "job!~\"a\", job!=\"\"");
    check(job().is_null(), "job=\"\"");
    check(job().is_not_null(), "job!=\"\"");
    check(like(false, "a%_.b"), "job=~\"a(?s:.*)(?s:.)\\\\.b\", job!=\"\"");
    check(like(true, "a%"), "job!=\"\"");
    check(like(false, "a\\%"), "");
    check(regex(Operator::RegexMatch, "^a.*|b$"), "job=~\".*(?:^a.*|b$).*\", job!=\"\"");
    check(regex(Operator::RegexNotMatch, "a"), "job!=\"\"");
    // where the two syntaxes differ, the condition decides alone
    check(regex(Operator::RegexMatch, "\\d+"), "");
    check(regex(Operator::RegexMatch, "(?i)a"), "");
    check(job().eq(lit("a")).or(job().eq(lit("b"))), "job=~\"a|b\", job!=\"\"");
    check(job().eq(lit("a")).or(job().is_null()), "");
    check(job().eq(lit("a")).or(col("exported_value").eq(lit("b"))), "");
    check(job().eq(col("exported_value")), "");
}
