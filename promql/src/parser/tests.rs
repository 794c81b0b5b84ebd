use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::tree::ValueType;
use crate::{LowerOptions, lower, pretty};

/// The canonical form, or the error, with all experimental syntax on.
fn answer(query: &str, options: &ParseOptions) -> String {
    parse(query, options).map_or_else(|e| e.to_string(), |expr| expr.to_string())
}

#[track_caller]
fn check(query: &str, expected: &str) {
    assert_eq!(answer(query, &ParseOptions::experimental()), expected, "{query}");
}

#[track_caller]
fn check_all(cases: &[(&str, &str)]) {
    for (query, expected) in cases {
        check(query, expected);
    }
}

/// The query with every operation in parentheses.
fn grouped(query: &str) -> String {
    fn group(expr: &Expr) -> String {
        match expr {
            Expr::Binary(e) => format!("({} {} {})", group(&e.lhs), e.op.as_str(), group(&e.rhs)),
            Expr::Unary(e) => format!("({}{})", if e.negative { '-' } else { '+' }, group(&e.expr)),
            Expr::Paren(e) => group(&e.expr),
            other => other.to_string(),
        }
    }
    group(&parse(query, &ParseOptions::experimental()).unwrap())
}

#[test]
fn precedence() {
    for (query, expected) in [
        ("a + b * c ^ d ^ e", "(a + (b * (c ^ (d ^ e))))"),
        ("a - b - c", "((a - b) - c)"),
        ("a or b and c unless d", "(a or ((b and c) unless d))"),
        ("a > b + c == d", "((a > (b + c)) == d)"),
        ("-a ^ b * c", "((-(a ^ b)) * c)"),
        ("a ^ -b ^ c + d", "((a ^ (-(b ^ c))) + d)"),
        ("a atan2 b % c", "((a atan2 b) % c)"),
        ("-1 ^ 2", "(-(1 ^ 2))"),
        ("--1", "1"),
        ("a </ b >/ c", "((a </ b) >/ c)"),
        ("a offset 5m + b", "(a offset 5m + b)"),
        ("a offset -2 ^ 2", "(a offset -2s ^ 2)"),
    ] {
        assert_eq!(grouped(query), expected, "{query}");
    }
}

#[test]
fn canonical_forms() {
    check_all(&[
        ("0x1f + 1_000 + iNF + 5m + 1h30m", "31 + 1000 + +Inf + 5m + 1h30m"),
        ("foo {b=\"c\" , a!~'d',} ", "foo{a!~\"d\",b=\"c\"}"),
        ("{\"my.metric\", \"label.name\"=\"x\"}", "{\"label.name\"=\"x\",__name__=\"my.metric\"}"),
        ("SUM(a)BY(\"a.b\",c)", "sum by (\"a.b\", c) (a)"),
        ("sum by () (a)", "sum(a)"),
        ("sum without () (a)", "sum without () (a)"),
        ("a==bool on(b)group_left(c)d", "a == bool on (b) group_left (c) d"),
        ("a * ignoring () group_right d", "a * ignoring () group_right () d"),
        ("a + fill(0) b", "a + fill (0) b"),
        ("a + fill_right(-1) fill_left(1e30) b", "a + fill_left (1e+30) fill_right (-1) b"),
        ("fill + fill_left", "fill + fill_left"),
        ("a @ 5 offset 90m", "a @ 5.000 offset 1h30m"),
        ("a offset -1w @ start()", "a @ start() offset -1w"),
        ("a[5m] anchored @ end()", "a[5m] anchored @ end()"),
        ("a smoothed", "a smoothed"),
        ("a[1m:] @ 1.5 offset 1m", "a[1m:] @ 1.500 offset 1m"),
        ("rate(a[300])[1h:15]", "rate(a[5m])[1h:15s]"),
        ("a[step()+1m]", "a[step() + 1m]"),
        ("a offset ((1m + 2m))", "a offset (1m + 2m)"),
        ("a offset -min_of(step(), 1m)", "a offset -min_of(step(), 1m)"),
        ("a[(5m)]", "a[(5m)]"),
        ("\"a\\tb\" # comment", "\"a\\tb\""),
        ("sum + by + offset + start + limitk", "sum + by + offset + start + limitk"),
        ("limit_ratio(0.5, a)", "limit_ratio(0.5, a)"),
        ("info(a, {})", "info(a, )"),
        ("start() + end()", "start() + end()"),
        ("a:b:c", "a:b:c"),
    ]);
}

#[test]
fn syntax_errors() {
    check_all(&[
        ("", "unknown position: parse error: no expression found in input"),
        (" ", "1:1: parse error: no expression found in input"),
        ("\n\n foo bar", "3:6: parse error: unexpected identifier \"bar\""),
        ("up > bool", "1:10: parse error: unexpected end of input"),
        ("sum(foo bar)", "1:9: parse error: unexpected identifier \"bar\" in aggregation"),
        (
            "sum by (a b) (c)",
            "1:11: parse error: unexpected identifier \"b\" in grouping opts, expected \",\" or \")\"",
        ),
        ("sum by (1) (c)", "1:9: parse error: unexpected number \"1\" in grouping opts, expected label"),
        ("sum by (\"\") (c)", "1:9: parse error: invalid label name for grouping: \"\""),
        ("sum by (a) b", "1:12: parse error: unexpected identifier \"b\" in aggregation"),
        ("sum()", "1:1: parse error: no arguments for aggregate expression provided"),
        ("rate(a[5m],)", "1:11: parse error: trailing commas not allowed in function call args"),
        ("a{b}", "1:4: parse error: unexpected \"}\" in label matching, expected label matching operator"),
        ("a{b=c}", "1:5: parse error: unexpected identifier \"c\" in label matching, expected string"),
        ("a{,}", "1:3: parse error: unexpected \",\" in label matching, expected identifier or \"}\""),
        (
            "a{b=\"c\" d=\"e\"}",
            "1:9: parse error: unexpected identifier \"d\" in label matching, expected \",\" or \"}\"",
        ),
        ("a[5m", "1:5: parse error: unclosed left bracket"),
        ("a[5m 3]", "1:6: parse error: unexpected number \"3\" in subquery or range, expected \":\" or \"]\""),
        ("a[5m:1m 3]", "1:9: parse error: unexpected number \"3\" in subquery selector, expected \"]\""),
        (
            "a[]",
            "1:3: parse error: unexpected \"]\" in subquery or range selector, expected number, duration, step(), or range()",
        ),
        ("a offset 5m offset 5m", "1:1: parse error: offset may not be set multiple times"),
        ("a @ 5 @ 5", "1:1: parse error: @ <timestamp> may not be set multiple times"),
        ("a @ Inf", "1:1: parse error: timestamp out of bounds for @ modifier: +Inf"),
        ("a @ start", "1:10: parse error: unexpected end of input in @, expected timestamp"),
        (
            "1 offset 5m",
            "1:1: parse error: offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
        ),
        ("a offset 5m [5m]", "1:13: parse error: no offset modifiers allowed before range"),
        ("a @ 5 [5m]", "1:7: parse error: no @ modifiers allowed before range"),
        ("(a)[5m]", "1:4: parse error: ranges only allowed for vector selectors"),
        ("a[0]", "1:3: parse error: duration must be greater than 0"),
        ("a[-5m]", "1:3: parse error: duration must be greater than 0"),
        ("a[5m/0]", "1:5: parse error: division by zero"),
        ("a[5m1h]", "1:3: parse error: not a valid duration string: \"5m1h\""),
        ("a[1m:] smoothed", "1:1: parse error: smoothed modifier is not supported for subqueries"),
        ("a smoothed anchored", "1:1: parse error: anchored and smoothed modifiers cannot be used together"),
        ("bool", "1:1: parse error: unexpected <bool>"),
        ("on(a)", "1:1: parse error: unexpected <on>"),
        ("* a", "1:1: parse error: unexpected <op:*>"),
        ("a sum", "1:3: parse error: unexpected <aggr:sum>"),
        ("a \"0123456789\"", "1:3: parse error: unexpected string \"\\\"012345678\"..."),
        ("a)", "1:3: parse error: unexpected right parenthesis ')'"),
        ("a:b(c)", "1:4: parse error: unexpected \"(\""),
        ("Rate(a[5m])", "1:1: parse error: unknown function with name \"Rate\""),
        ("a{b=~\"(\"}", "1:3: parse error: error parsing regexp: missing closing ): `(`"),
    ]);
}

#[test]
fn type_errors() {
    check_all(&[
        ("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ("{a=~\".*\"}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ("a{__name__=\"b\"}", "1:1: parse error: metric name must not be set twice: \"a\" or \"b\""),
        ("1 == 1", "1:3: parse error: comparisons between scalars must use BOOL modifier"),
        ("a + bool b", "1:3: parse error: bool modifier can only be used on comparison operators"),
        ("a and on(b) group_left c", "1:1: parse error: no grouping allowed for \"and\" operation"),
        ("a + on(b) group_left(b) c", "1:3: parse error: label \"b\" must not occur in ON and GROUP clause at once"),
        ("a + on(b) 1", "1:1: parse error: vector matching only allowed between instant vectors"),
        ("a + fill(1) 1", "1:1: parse error: filling in missing series only allowed between instant vectors"),
        ("a or fill(1) b", "1:1: parse error: filling in missing series not allowed for set operators"),
        ("1 </ 2", "1:3: parse error: operator \"</\" not allowed for Scalar operations"),
        (
            "-\"a\"",
            "1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got \"string\"",
        ),
        (
            "-a[5m]",
            "1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got \"range vector\"",
        ),
        ("1[5m:]", "1:1: parse error: subquery is only allowed on instant vector, got scalar instead"),
        ("topk(a, b)", "1:6: parse error: expected type scalar in aggregation parameter, got instant vector"),
        ("count_values(1, a)", "1:14: parse error: expected type string in aggregation parameter, got scalar"),
        ("label_join(a, \"b\")", "1:1: parse error: expected at least 3 argument(s) in call to \"label_join\", got 2"),
        ("round(a, 1, 2)", "1:1: parse error: expected at most 2 argument(s) in call to \"round\", got 3"),
        (
            "label_join(a, \"b\", \"c\", 1)",
            "1:25: parse error: expected type string in call to function \"label_join\", got scalar",
        ),
        ("info(a, b)", "1:9: parse error: expected label selectors only, got vector selector instead"),
        ("info(a, (b))", "1:9: parse error: expected label selectors only"),
    ]);
}

#[test]
fn experimental_syntax_is_off_by_default() {
    for (query, expected) in [
        ("start()", "1:1: parse error: function \"start\" is not enabled"),
        ("1 + mad_over_time(a[5m])", "1:5: parse error: function \"mad_over_time\" is not enabled"),
        (
            "limitk(1, a)",
            "1:1: parse error: limitk() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
        ),
        ("a[5m + 1m]", "1:3: parse error: experimental duration expression is not enabled"),
        ("a offset step()", "1:10: parse error: experimental duration expression is not enabled"),
        ("a[5m] anchored", "1:1: parse error: anchored modifier is experimental and not enabled"),
        ("a + fill(0) b", "1:1: parse error: binop fill modifiers are experimental and not enabled"),
    ] {
        assert_eq!(answer(query, &ParseOptions::default()), expected, "{query}");
    }
}

#[test]
fn selectors_alone() {
    let parse = |text: &str| {
        parse_selector(text, &ParseOptions::default())
            .map(|matchers| matchers.iter().map(ToString::to_string).collect::<Vec<_>>())
            .map_err(|e| e.to_string())
    };
    assert_eq!(parse("a{b=\"c\"}"), Ok(vec!["b=\"c\"".to_string(), "__name__=\"a\"".to_string()]));
    assert_eq!(parse("{}"), Ok(vec![]));
    assert_eq!(parse("a[5m]"), Err("1:2: parse error: unexpected \"[\"".to_string()));
    assert_eq!(parse("1"), Err("1:1: parse error: unexpected number \"1\"".to_string()));
}

#[test]
fn text_need_not_be_utf8() {
    let Ok(Expr::String(text)) = parse(r#""a\xff""#, &ParseOptions::default()) else { panic!("a string") };
    assert_eq!(text.value, "a\u{fffd}");
    assert_eq!(text.invalid_utf8.as_deref(), Some(b"a\xff".as_slice()));
    check(r#"{a="\xff"}"#, r#"1:4: parse error: error unquoting string "\"\\xff\"": invalid UTF-8"#);
}

#[test]
fn walks_and_spans() {
    let query = "sum(rate(a[5m])) / (b offset 1m)";
    let expr = parse(query, &ParseOptions::default()).unwrap();
    assert_eq!(expr.value_type(), ValueType::Vector);
    let mut texts = Vec::new();
    expr.walk(|e| texts.push(&query[e.span().start..e.span().end]));
    assert_eq!(texts, [query, "sum(rate(a[5m]))", "rate(a[5m])", "a[5m]", "(b offset 1m)", "b offset 1m"]);
}

/// Everything done with a query, on the stack of a tokio worker.
fn on_small_stack(query: String, options: ParseOptions) -> Result<(), String> {
    std::thread::Builder::new()
        .stack_size(2 << 20)
        .spawn(move || {
            let expr = parse(&query, &options).map_err(|e| e.message)?;
            let times = LowerOptions { start: 0, end: 10, step_ms: 1, default_subquery_step_ms: 1 };
            let node = lower(&expr, &times).map_err(|e| e.message)?;
            assert_eq!(node, node.clone());
            assert_eq!(expr, expr.clone());
            assert!(!pretty(&expr).is_empty());
            assert!(format!("{expr:?}{node:?}").len() > 2);
            Ok(())
        })
        .unwrap()
        .join()
        .unwrap()
}

/// Queries whose trees, or texts, are `n` deep in one way each.
fn deep_queries(n: usize) -> Vec<String> {
    let nested = |open: &str, inner: &str, close: &str| format!("{}{inner}{}", open.repeat(n), close.repeat(n));
    vec![
        nested("(", "a", ")"),
        nested("-", "a", ""),
        nested("abs(", "a", ")"),
        nested("sum(", "a", ")"),
        nested("sum(-(a+", "a", "))"),
        nested("max_over_time(", "a", "[1m:1m])"),
        nested("1+", "1", ""),
        nested("a+", "a", ""),
        nested("a*on(b)", "a", ""),
        nested("a^", "a", ""),
        nested("a or a and ", "a", ""),
        format!("a[{}]", nested("(", "5m", ")")),
        format!("a[{}]", nested("-", "5m", "")),
        format!("a[{}]", nested("1+", "5m", "")),
        format!("a[{}]", nested("2^", "1", "")),
        format!("a[{}]", nested("min_of(1,", "5m", ")")),
        format!("a{}", "[1m:]".repeat(n)),
        format!("a{}", " offset 0s".repeat(n)),
    ]
}

#[test]
fn hostile_queries_are_refused_at_once() {
    let unlimited = ParseOptions { max_length: usize::MAX, ..ParseOptions::experimental() };
    for query in deep_queries(100_000) {
        let head = query[..20].to_string();
        let start = Instant::now();
        assert!(parse(&query, &ParseOptions::experimental()).unwrap_err().message.starts_with("query is too long"));
        let answer = on_small_stack(query, unlimited);
        let elapsed = start.elapsed();
        if !head.contains("offset") {
            assert!(answer.is_err(), "{head}");
            assert!(elapsed.as_millis() < 500, "{head}: {elapsed:?}");
        }
    }
    let many = format!("label_join(a{})", ",\"b\"".repeat(20_000));
    let message = on_small_stack(many, unlimited).unwrap_err();
    assert_eq!(message, "query is too large, the limit is 16384 expressions");
}

#[test]
fn deep_queries_within_the_limit_fit_the_stack() {
    for query in deep_queries(500) {
        let head = query[..20].to_string();
        match on_small_stack(query, ParseOptions::experimental()) {
            Ok(()) => {}
            Err(message) => {
                let expected =
                    ["nested too deeply", "in a row", "subquery is only", "NaN or infinite", "greater than 0"];
                assert!(expected.iter().any(|part| message.contains(part)), "{head}: {message}");
            }
        }
    }
    assert_eq!(on_small_stack(format!("a{}", "+a".repeat(510)), ParseOptions::default()), Ok(()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in "\\PC{0,40}") {
        let _ = parse(&text, &ParseOptions::experimental());
    }

    #[test]
    fn no_sequence_of_tokens_panics(words in prop::collection::vec(prop::sample::select(WORDS), 0..20)) {
        let text = words.join(" ");
        if let Ok(expr) = parse(&text, &ParseOptions::experimental()) {
            let times = LowerOptions { start: 0, end: 10, step_ms: 1, default_subquery_step_ms: 1 };
            let _ = lower(&expr, &times);
            let printed = expr.to_string();
            let again = parse(&printed, &ParseOptions::experimental()).map(|again| again.to_string());
            // Prometheus prints infinity with its sign, and reads that before a power as an operator, which it prints too
            if printed.contains("+Inf ^") {
                prop_assert!(again.is_ok(), "{}", printed);
            } else {
                prop_assert_eq!(again, Ok(printed));
            }
        }
    }
}

const WORDS: &[&str] = &[
    "a",
    "b",
    "1",
    "5m",
    "0",
    "0x",
    "Inf",
    "\"s\"",
    "'\\xff'",
    "`r`",
    "(",
    ")",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "=",
    "!=",
    "=~",
    "!~",
    "==",
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "atan2",
    "and",
    "or",
    "unless",
    "bool",
    "on",
    "ignoring",
    "group_left",
    "fill",
    "fill_left",
    "sum",
    "topk",
    "by",
    "without",
    "offset",
    "@",
    "start",
    "end",
    "step",
    "range",
    "min_of",
    "anchored",
    "smoothed",
    "rate",
    "time",
    "abs",
    "vector",
    "</",
    ">/",
    "#",
    "\n",
    "é",
    "a[5m]",
    "sum(a)",
    "rate(a[5m])",
    "(1)",
    "1m:",
];
