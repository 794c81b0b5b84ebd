use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use promql::tree::{Node, Projection, Span, Subquery, VectorSelector};
use storage::model::{MatchOp, Matcher};

use super::{InfoExec, InfoSelector, info_reference};
use crate::testing::{check, check_error, check_faults, source};

const THREE: usize = 3;

fn matchers(list: &[(&str, MatchOp, &str)]) -> Vec<Matcher> {
    list.iter().map(|(name, op, value)| Matcher::try_new(*op, *name, *value).unwrap()).collect()
}

fn selector(list: &[(&str, MatchOp, &str)]) -> Arc<InfoSelector> {
    Arc::new(InfoSelector::try_new(&matchers(list)).unwrap())
}

/// Base and info series over three steps, `===` between them; values of info series are times.
fn plan(list: &[(&str, MatchOp, &str)], sides: &str) -> Arc<dyn ExecutionPlan> {
    let (base, info) = sides.split_once("===").unwrap();
    Arc::new(InfoExec::try_new(source(THREE, base), source(THREE, info), selector(list), THREE).unwrap())
}

const SOME: &str = ".+";
const ANY: &str = ".*";

use MatchOp::{Equal, NotEqual, NotRegex, Regex};

#[test]
fn what_is_selected() {
    let check = |list: &[(&str, MatchOp, &str)], expected: &str| {
        let selector = selector(list);
        assert_eq!(selector.to_string(), expected);
        let texts: Vec<String> = selector.matchers().iter().map(ToString::to_string).collect();
        assert_eq!(format!("{{{}}}", texts.join(",")), expected);
    };
    check(&[], r#"{__name__="target_info"}"#);
    check(&[("data", Regex, SOME)], r#"{__name__="target_info",data=~".+"}"#);
    check(&[("data", NotEqual, "x"), ("__name__", Equal, "build_info")], r#"{__name__="build_info",data!="x"}"#);
    check(&[("__name__", NotRegex, "build.*")], r#"{__name__=~".+_info",__name__!~"build.*"}"#);
    check(&[("__name__", NotEqual, "a"), ("__name__", Regex, "b.*")], r#"{__name__!="a",__name__=~"b.*"}"#);
}

#[test]
fn all_labels_or_those_named() {
    let sides = r#"
        metric{instance="a", job="1", label="value"} 0 1 2
        ===
        target_info{another="other", data="info", instance="a", job="1"} 0 60 120
    "#;
    let all = r#"metric{another="other", data="info", instance="a", job="1", label="value"} 0 1 2"#;
    check(plan(&[], sides), all);
    check(plan(&[("__name__", Equal, "target_info")], sides), all);
    check(plan(&[("data", Regex, SOME)], sides), r#"metric{data="info", instance="a", job="1", label="value"} 0 1 2"#);
    check(plan(&[("absent", Regex, ANY)], sides), r#"metric{instance="a", job="1", label="value"} 0 1 2"#);
}

#[test]
fn without_an_info_series() {
    let sides = r#"
        metric{instance="a", job="2", label="value"} 0 1 h:4:10
        ===
        target_info{data="info", instance="a", job="1"} 0 60 120
    "#;
    let unchanged = r#"metric{instance="a", job="2", label="value"} 0 1 h:4:10"#;
    check(plan(&[], sides), unchanged);
    check(plan(&[("data", Regex, ANY)], sides), unchanged);
    check(plan(&[("data", Regex, SOME)], sides), "");
    check(plan(&[("data", Equal, "info"), ("x", Regex, ANY)], sides), "");
}

#[test]
fn labels_of_the_base_stay() {
    let sides = r#"
        metric{data="base", instance="a", job="1"} 0 1 2
        ===
        target_info{another="other", data="info", instance="a", job="1"} 0 60 120
    "#;
    check(plan(&[], sides), r#"metric{another="other", data="base", instance="a", job="1"} 0 1 2"#);
    let unchanged = r#"metric{data="base", instance="a", job="1"} 0 1 2"#;
    check(plan(&[("data", Equal, "info")], sides), unchanged);
    check(plan(&[("instance", Equal, "a")], sides), unchanged);
}

#[test]
fn several_info_metrics() {
    let sides = r#"
        metric{instance="a", job="1"} 0 1 2
        ===
        build_info{build="b", instance="a", job="1", shared="s"} 0 60 120
        target_info{data="info", instance="a", job="1", shared="s"} 0 _ 120
    "#;
    let expected = r#"
        metric{build="b", data="info", instance="a", job="1", shared="s"} 0 _ 2
        metric{build="b", instance="a", job="1", shared="s"} _ 1 _
    "#;
    check(plan(&[("__name__", Regex, ".+_info")], sides), expected);
}

#[test]
fn info_series_in_the_base_pass_unchanged() {
    let sides = r#"
        build_info{build="b", instance="a", job="1"} 1 1 1
        metric{instance="a", job="1"} 0 1 2
        ===
        target_info{data="info", instance="a", job="1"} 0 60 120
    "#;
    let expected = r#"
        build_info{build="b", instance="a", job="1"} 1 1 1
        metric{data="info", instance="a", job="1"} 0 1 2
    "#;
    check(plan(&[("__name__", Regex, ".+_info"), ("data", Regex, SOME)], sides), expected);
    // all conditions on the name must hold
    let both = [("__name__", Regex, "target_.+"), ("__name__", Regex, ".+_info")];
    let expected = expected.replace("build=\"b\", instance", "build=\"b\", data=\"info\", instance");
    check(plan(&both, sides), &expected);
    check(plan(&[("__name__", NotEqual, "build_info")], sides), &expected);
}

#[test]
fn the_newest_info_sample_counts() {
    let sides = r#"
        metric{instance="a", job="1"} 0 1 2
        ===
        target_info{data="new", instance="a", job="1"} _ _ 120
        target_info{data="old", instance="a", job="1"} 0 60 60
    "#;
    let expected = r#"
        metric{data="old", instance="a", job="1"} 0 1 _
        metric{data="new", instance="a", job="1"} _ _ 2
    "#;
    check(plan(&[], sides), expected);
    // only what is asked for makes rows differ
    check(plan(&[("instance", Regex, ANY)], sides), r#"metric{instance="a", job="1"} 0 1 2"#);
}

#[test]
fn info_series_that_end() {
    let sides = r#"
        metric{instance="a", job="1"} 0 1 2
        ===
        target_info{data="info", instance="a", job="1"} 0 60 _
    "#;
    let present = r#"metric{data="info", instance="a", job="1"} 0 1 _"#;
    check(plan(&[("data", Regex, SOME)], sides), present);
    let both = format!("{present}\n{}", r#"metric{instance="a", job="1"} _ _ 2"#);
    check(plan(&[("data", Regex, ANY)], sides), &both);
    check(plan(&[], sides), &both);
}

#[test]
fn info_series_of_the_same_time() {
    let sides = r#"
        metric{instance="a", job="1"} 0 1 2
        other{instance="b", job="2"} 0 1 2
        ===
        target_info{data="x", instance="a", job="1"} 0 60 60.001
        target_info{data="y", instance="a", job="1"} _ _ 60.001
    "#;
    let text = r#"found duplicate series for info metric: existing {__name__="target_info", data="x", instance="a", job="1"} @ 60001, new {__name__="target_info", data="y", instance="a", job="1"} @ 60001"#;
    check_error(plan(&[], sides), text);
    // they are selected too where no base series has both identifying labels
    let (base, info) = sides.split_once("===").unwrap();
    let crossed = format!("{base}==={}", info.replace("job=\"1\"", "job=\"2\""));
    check_error(plan(&[], &crossed), &text.replace("job=\"1\"", "job=\"2\""));
    // nothing to enrich at that step, or of that instance
    let sides = sides.replace("0 1 2", "0 1 _");
    let expected = r#"
        metric{data="x", instance="a", job="1"} 0 1 _
        other{instance="b", job="2"} 0 1 _
    "#;
    check(plan(&[], &sides), expected);
    let sides = r#"
        metric{instance="b", job="1"} 0 1 2
        ===
        target_info{data="x", instance="a", job="1"} 0 60 120
        target_info{data="y", instance="a", job="1"} 0 60 120
    "#;
    check(plan(&[], sides), r#"metric{instance="b", job="1"} 0 1 2"#);
}

#[test]
fn info_metrics_that_contradict_each_other() {
    let sides = r#"
        metric{instance="a", job="1"} 1 2 3
        ===
        build_info{instance="a", job="1", x="build"} _ 60 120
        target_info{instance="a", job="1", x="target"} 0 60 _
    "#;
    let any = [("__name__", Regex, ".+_info")];
    check_error(plan(&any, sides), "conflicting label: x");
    check(
        plan(&any, &sides.replace("1 2 3", "1 _ 3")),
        r#"
        metric{instance="a", job="1", x="target"} 1 _ _
        metric{instance="a", job="1", x="build"} _ _ 3
        "#,
    );
    let own = sides.replace("metric{instance=\"a\", job=\"1\"}", "metric{instance=\"a\", job=\"1\", x=\"own\"}");
    check(plan(&any, &own), r#"metric{instance="a", job="1", x="own"} 1 2 3"#);
    check(plan(&[any[0], ("job", Equal, "1")], sides), r#"metric{instance="a", job="1"} 1 2 3"#);
}

#[test]
fn histograms_are_no_info() {
    let sides = r#"
        metric{instance="a", job="1"} _ _ 3
        ===
        histogram{instance="a", job="1"} h:1:1 _ _
    "#;
    let named = [("__name__", Equal, "histogram")];
    let text = r#"this should be an info metric, with float samples: {__name__="histogram", instance="a", job="1"}"#;
    check_error(plan(&named, sides), text);
    let sides = sides.replacen("job=\"1\"", "job=\"2\"", 1);
    check(plan(&named, &sides), r#"metric{instance="a", job="2"} _ _ 3"#);
}

#[test]
fn missing_identifying_labels() {
    let sides = r#"
        metric{instance="a"} 1 2 3
        ===
        custom_info{enriched="yes", instance="a"} 0 60 120
        custom_info{enriched="no", instance="a", job="1"} 0 60 120
    "#;
    let named = [("__name__", Equal, "custom_info")];
    check(plan(&named, sides), r#"metric{enriched="yes", instance="a"} 1 2 3"#);
    // an info series without a label that some base series has is not looked at
    let sides = format!("metric{{instance=\"b\", job=\"1\"}} 1 1 1\n{sides}");
    let expected = r#"
        metric{instance="b", job="1"} 1 1 1
        metric{instance="a"} 1 2 3
    "#;
    check(plan(&named, &sides), expected);
    // nor is any where no base series has one
    let sides = "metric 1 2 3\n===\ncustom_info{enriched=\"yes\"} 0 60 120";
    check(plan(&named, sides), "metric 1 2 3");
}

#[test]
fn series_that_become_equal() {
    let sides = r#"
        metric{data="info", instance="a", job="1"} _ _ h:4:10
        metric{instance="a", job="1"} h:1:1 2 _
        ===
        target_info{data="info", instance="a", job="1"} 0 60 120
    "#;
    check(plan(&[], sides), r#"metric{data="info", instance="a", job="1"} h:1:1 2 h:4:10"#);
    let text = "vector cannot contain metrics with the same labelset";
    check_error(plan(&[], &sides.replace("2 _\n", "2 3\n")), text);
}

#[test]
fn base_series_that_come_and_go() {
    let sides = r#"
        data{instance="a", job="w"} 10 20 _
        data{instance="a", job="w", label="new"} _ _ 30
        data{instance="b", job="w"} 11 21 31
        ===
        info{instance="a", job="w", state="running"} 0 60 120
        info{instance="b", job="w", state="running"} _ _ 120
        info{instance="b", job="w", state="stopped"} 0 60 60
    "#;
    let expected = r#"
        data{instance="a", job="w", state="running"} 10 20 _
        data{instance="a", job="w", label="new", state="running"} _ _ 30
        data{instance="b", job="w", state="stopped"} 11 21 _
        data{instance="b", job="w", state="running"} _ _ 31
    "#;
    check(plan(&[("__name__", Equal, "info")], sides), expected);
}

#[test]
fn when_info_series_are_looked_at() {
    let vector = |at, offset_ms| {
        Node::Vector(VectorSelector {
            matchers: vec![],
            offset_ms,
            at,
            border: promql::tree::Border::Plain,
            projection: Projection::All,
            histogram_stats: false,
            span: Span::default(),
        })
    };
    let subquery = |expr, at, offset_ms| {
        let expr = Box::new(Node::StepInvariant(Box::new(expr)));
        Node::Subquery(Subquery { expr, range_ms: 1, step_ms: 1, offset_ms, at, span: Span::default() })
    };
    assert_eq!(info_reference(&Node::Number(1.0)), (None, 0));
    assert_eq!(info_reference(&vector(Some(60), 5)), (Some(60), 5));
    assert_eq!(info_reference(&Node::Negate(Box::new(subquery(vector(None, 5), None, 7)))), (None, 12));
    assert_eq!(info_reference(&subquery(vector(None, 5), Some(180), 7)), (Some(180), 12));
    assert_eq!(info_reference(&subquery(vector(Some(60), 5), Some(180), 7)), (Some(60), 5));
    assert_eq!(info_reference(&subquery(subquery(vector(None, 1), Some(9), 2), Some(180), 7)), (Some(9), 3));
}

#[test]
fn faults_of_inputs() {
    let base = r#"metric{instance="a", job="1"} 0 1 2"#;
    let info = r#"target_info{instance="a", job="1"} 0 1 2"#;
    let plan = |base, info| -> Arc<dyn ExecutionPlan> {
        Arc::new(InfoExec::try_new(base, info, selector(&[]), THREE).unwrap())
    };
    check_faults(THREE, base, |input| plan(input, source(THREE, info)));
    check_faults(THREE, info, |input| plan(source(THREE, base), input));
}
