use super::*;
use crate::tree::{Border, Projection};
use crate::{ParseOptions, parse};

const RANGE: LowerOptions =
    LowerOptions { start: 1_000, end: 61_000, step_ms: 15_000, default_subquery_step_ms: 60_000 };

fn lowered(query: &str) -> Node {
    lower(&parse(query, &ParseOptions::experimental()).unwrap(), &RANGE).unwrap()
}

/// The tree in short: `!` marks what is step-invariant, selectors tell their times.
fn sketch(node: &Node) -> String {
    let list = |nodes: &[&Node]| nodes.iter().map(|node| sketch(node)).collect::<Vec<_>>().join(", ");
    let times = |at: Option<i64>, offset: i64| {
        let at = at.map_or_else(String::new, |at| format!("@{at}"));
        if offset == 0 { at } else { format!("{at}-{offset}") }
    };
    match node {
        Node::Number(value) => value.to_string(),
        Node::String(text) => format!("{text:?}"),
        Node::Vector(selector) => format!("v{}", times(selector.at, selector.offset_ms)),
        Node::Matrix(matrix) => {
            format!("m[{}]{}", matrix.range_ms, times(matrix.selector.at, matrix.selector.offset_ms))
        }
        Node::Subquery(subquery) => format!(
            "{}[{}:{}]{}",
            sketch(&subquery.expr),
            subquery.range_ms,
            subquery.step_ms,
            times(subquery.at, subquery.offset_ms)
        ),
        Node::Call(call) => format!("{}({})", call.function.name(), list(&node.children())),
        Node::Aggregate(aggregate) => format!("{}({})", aggregate.op.as_str(), list(&node.children())),
        Node::Binary(binary) => format!("({} {} {})", sketch(&binary.lhs), binary.op.as_str(), sketch(&binary.rhs)),
        Node::Negate(inner) => format!("-{}", sketch(inner)),
        Node::Plus(inner) => format!("+{}", sketch(inner)),
        Node::StepInvariant(inner) => format!("!{}", sketch(inner)),
    }
}

#[track_caller]
fn check(query: &str, expected: &str) {
    assert_eq!(sketch(&lowered(query)), expected, "{query}");
}

#[test]
fn constants_are_folded() {
    check("-(2 + 3) * +4 ^ 2", "-80");
    check("-7 % 3", "-1");
    check("1 / 0", "inf");
    check("1 > bool 2", "0");
    check("pi() * 0", "0");
    check("x + (1 + 1)", "(v + 2)");
    check("start() + end() + range() + step()", "137");
    check("time() + 1", "(time() + 1)");
}

#[test]
fn query_functions_of_an_instant_query() {
    let instant = LowerOptions { start: 5_000, end: 5_000, step_ms: 0, ..RANGE };
    let expr = parse("step() + range() + start()", &ParseOptions::experimental()).unwrap();
    assert_eq!(lower(&expr, &instant), Ok(Node::Number(5.0)));
}

#[test]
fn times_are_resolved() {
    check("x @ end() offset 1m", "!v@61000-60000");
    check("x @ 1.2345", "!v@1235");
    check("rate(x[5m] @ start())", "!rate(m[300000]@1000)");
    check("max_over_time(x[5m:] offset -1m)", "max_over_time(v[300000:60000]--60000)");
    check("max_over_time(x[5m:0.0001])", "max_over_time(v[300000:60000])");
    check("rate(x[step() * 2 + 500ms] offset (range() / 2))", "rate(m[30500]-30000)");
    check("x offset -min_of(step(), 1m)", "v--15000");
}

#[test]
fn durations_that_come_to_nothing() {
    for (query, expected) in [
        ("rate(x[step() - 15s])", "7:19: duration must be greater than 0"),
        ("x offset (1 / (step() - 15))", "10:26: division by zero"),
        ("x offset (1e9 ^ 9)", "10:17: duration is out of range"),
        ("x offset (1e300 ^ 9)", "duration out of range"),
    ] {
        let error = parse(query, &ParseOptions::experimental())
            .map_err(|e| e.message)
            .and_then(|expr| lower(&expr, &RANGE).map_err(|e| e.to_string()));
        assert_eq!(error, Err(expected.to_string()), "{query}");
    }
}

#[test]
fn default_arguments_are_written() {
    check("hour()", "hour(vector(time()))");
    check("hour(x)", "hour(v)");
    check("round(x)", "round(v, 1)");
    let Node::Call(call) = lowered("hour()") else { panic!("a call") };
    assert_eq!(call.args.len(), call.arg_spans.len());
}

#[test]
fn largest_invariant_subtrees_are_wrapped() {
    check("x @ 1 + x @ 2", "!(v@1000 + v@2000)");
    check("x @ 1 + x", "(!v@1000 + v)");
    check("1 + x", "(1 + v)");
    check("abs(x @ 1) + x", "(!abs(v@1000) + v)");
    check("sum(-x @ 1)", "!sum(-v@1000)");
    check("vector(1)", "!vector(1)");
    check("time()", "time()");
    check("hour(x @ 1)", "hour(!v@1000)");
    check("timestamp(x @ 1)", "!timestamp(v@1000)");
    check("timestamp(abs(x @ 1))", "timestamp(!abs(v@1000))");
    check("predict_linear(x[5m] @ 1, 60)", "predict_linear(m[300000]@1000, 60)");
    check("max_over_time(x[5m:1m] @ 1)", "!max_over_time(v[300000:60000]@1000)");
    check("max_over_time((x @ 1)[5m:1m])", "max_over_time(!v@1000[300000:60000])");
    check("topk(scalar(x), x @ 1)", "topk(!v@1000, scalar(v))");
    check("topk(2, x @ 1)", "!topk(v@1000, 2)");
    check("x[5m] @ 1", "m[300000]@1000");
}

#[track_caller]
fn check_projections(query: &str, expected: &[&str]) {
    let node = lowered(query);
    let found: Vec<String> = node
        .selectors()
        .map(|selector| match &selector.projection {
            Projection::All => "all".to_string(),
            Projection::Only(labels) => labels.join(" "),
            Projection::Without(labels) => format!("-{}", labels.join(" ")),
        })
        .collect();
    assert_eq!(found, expected, "{query}");
}

#[test]
fn selectors_are_asked_for_what_is_needed() {
    check_projections("x", &["all"]);
    check_projections("sum by (b, a) (rate(x[5m]))", &["__name__ a b"]);
    check_projections("sum(x) / sum by (a) (-y * 2)", &["__name__", "__name__ a"]);
    check_projections("max without (a) (x)", &["-a"]);
    check_projections("max without () (x)", &["all"]);
    check_projections("sum(rate({job=\"a\"}[5m]))", &["all"]);
    check_projections("sum({job=\"a\"})", &["__name__"]);
    check_projections("sum(topk(2, x))", &["all"]);
    check_projections("topk by (a) (scalar(y), x)", &["all", "__name__"]);
    check_projections("sum(x * on(a) y)", &["all", "all"]);
    check_projections("sum(label_replace(x, \"a\", \"b\", \"c\", \"d\"))", &["all"]);
    check_projections("histogram_quantile(0.9, sum by (le) (rate(x[5m])))", &["__name__ le"]);
    check_projections("sum(histogram_quantile(0.9, x))", &["all"]);
    check_projections("absent(x)", &["__name__"]);
    check_projections("sum by (a) (max_over_time(rate(x[5m])[1h:]))", &["__name__ a"]);
}

#[test]
fn shapes() {
    let Node::Aggregate(aggregate) = lowered("sum by (b, a, b) (x)") else { panic!("an aggregation") };
    assert_eq!(aggregate.grouping, Grouping::By(vec!["a".to_string(), "b".to_string()]));
    let Node::Binary(binary) = lowered("x and on(b, a) y") else { panic!("a binary operation") };
    let matching = binary.matching.unwrap();
    assert_eq!(matching.cardinality, crate::tree::Cardinality::ManyToMany);
    assert_eq!(matching.labels, ["a", "b"]);
    let Node::Matrix(matrix) = lowered("x[5m] smoothed") else { panic!("a range selector") };
    assert_eq!(matrix.border, Border::Smoothed);
    let Node::String(text) = lowered(r#""\xff""#) else { panic!("a text") };
    assert_eq!(&*text, "\u{fffd}");
}

#[test]
fn range_queries_return_no_texts() {
    let refused =
        |query: &str| require_range_type(&parse(query, &ParseOptions::default()).unwrap()).map_err(|e| e.to_string());
    let rule = "for range query, must be Scalar or instant Vector";
    assert_eq!(refused("\"a\""), Err(format!("invalid expression type \"string\" {rule}")));
    assert_eq!(refused("a[5m]"), Err(format!("invalid expression type \"range vector\" {rule}")));
    assert_eq!(refused("(a)"), Ok(()));
}

#[test]
fn counts_and_sums_want_no_buckets() {
    let stats = |query: &str| lowered(query).selectors().map(|selector| selector.histogram_stats).collect::<Vec<_>>();
    assert_eq!(stats("histogram_count(sum(x)) + y"), [true, false]);
    assert_eq!(stats("histogram_sum(rate(x[5m] @ 1) * scalar(y))"), [true, true]);
    assert_eq!(stats("sum_over_time(histogram_avg(x)[5m:])"), [false]);
    assert_eq!(stats("histogram_avg(increase(x[5m:1m]))"), [false]);
    assert_eq!(stats("histogram_count(x </ 1)"), [false]);
    assert_eq!(stats("histogram_fraction(0, 1, histogram_count(x)) or histogram_quantile(0.5, x)"), [false, false]);
    assert_eq!(stats("histogram_stddev(x)"), [false]);
}
