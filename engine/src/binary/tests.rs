use super::*;
use crate::testing::{check, check_error, check_faults, context, source};

fn matching(on: bool, labels: &[&str]) -> VectorMatching {
    VectorMatching {
        cardinality: Cardinality::OneToOne,
        on,
        labels: labels.iter().map(|l| (*l).to_owned()).collect(),
        include: vec![],
        fill_left: None,
        fill_right: None,
    }
}

fn plan(
    op: BinaryOp,
    return_bool: bool,
    matching: VectorMatching,
    steps: usize,
    sides: &str,
) -> Arc<dyn ExecutionPlan> {
    let (lhs, rhs) = sides.split_once("===").unwrap();
    let spec = BinarySpec { op, return_bool, matching, span: Span { start: 5, end: 10 } };
    Arc::new(BinaryExec::try_new(source(steps, lhs), source(steps, rhs), spec, steps, context()).unwrap())
}

#[test]
fn arithmetic_drops_the_name() {
    let sides = r#"
        a{x="1"} 1 2 _ 4
        a{x="2"} 1 1 1 1
        a{x="9"} 1 1 1 1
        ===
        b{x="2"} 5 _ NaN 0
        b{x="1"} 10 20 30 _
    "#;
    let expected = r#"
        {x="1"} 11 22 _ _
        {x="2"} 6 _ NaN 1
    "#;
    check(plan(BinaryOp::Add, false, matching(false, &[]), 4, sides), expected);
}

#[test]
fn comparisons_filter_and_keep_the_left() {
    let sides = r#"
        a{x="1", y="l"} 1 2 3
        ===
        b{x="1", y="r"} 2 2 2
    "#;
    check(plan(BinaryOp::Gte, false, matching(false, &["y"]), 3, sides), r#"a{x="1"} _ 2 3"#);
    check(plan(BinaryOp::Gte, false, matching(true, &["x"]), 3, sides), r#"{x="1"} _ 2 3"#);
    check(plan(BinaryOp::Gte, true, matching(false, &["y"]), 3, sides), r#"{x="1"} 0 1 1"#);
}

#[test]
fn series_that_come_and_go_share_a_row() {
    let sides = r#"
        a{x="1", pod="p"} 1 _ _
        a{x="1", pod="q"} _ 2 _
        ===
        b{x="1", pod="r"} 10 _ _
        b{x="1", pod="s"} _ 20 30
    "#;
    check(plan(BinaryOp::Mul, false, matching(true, &["x"]), 3, sides), r#"{x="1"} 10 40 _"#);
}

#[test]
fn duplicates_on_the_one_side() {
    let sides = r#"
        a{x="1"} 1 1
        ===
        b{x="1", y="2"} _ 1
        b{x="1", y="1"} 1 1
    "#;
    let text = r#"found duplicate series for the match group {x="1"} on the right hand-side of the operation: [{__name__="b", x="1", y="1"}, {__name__="b", x="1", y="2"}];many-to-many matching not allowed: matching labels must be unique on one side"#;
    check_error(plan(BinaryOp::Add, false, matching(true, &["x"]), 2, sides), text);

    let (lhs, rhs) = sides.split_once("===").unwrap();
    let swapped = format!("{rhs}\n==={lhs}");
    let right = VectorMatching { cardinality: Cardinality::OneToMany, ..matching(true, &["x"]) };
    check_error(plan(BinaryOp::Add, false, right, 2, &swapped), &text.replace("the right hand", "the left hand"));
}

#[test]
fn duplicates_where_nothing_can_match_are_no_error() {
    let sides = r#"
        a{x="1"} 1 _
        ===
        b{x="1", y="2"} _ 1
        b{x="1", y="1"} 1 1
    "#;
    check(plan(BinaryOp::Add, false, matching(true, &["x"]), 2, sides), r#"{x="1"} 2 _"#);
}

#[test]
fn duplicates_on_the_many_side() {
    let sides = r#"
        a{x="1", y="1"} 1 1
        a{x="1", y="2"} _ 1
        ===
        b{x="1"} 1 1
    "#;
    let explicit = "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)";
    check_error(plan(BinaryOp::Add, false, matching(true, &["x"]), 2, sides), explicit);
    let left = VectorMatching { cardinality: Cardinality::ManyToOne, ..matching(true, &["x"]) };
    let expected = r#"
        {x="1", y="1"} 2 2
        {x="1", y="2"} _ 2
    "#;
    check(plan(BinaryOp::Add, false, left.clone(), 2, sides), expected);

    let unique = "multiple matches for labels: grouping labels must ensure unique matches";
    let names = VectorMatching { include: vec!["y".to_owned()], ..left };
    check_error(plan(BinaryOp::Add, false, names, 2, sides), unique);
}

#[test]
fn included_labels_come_from_the_one_side() {
    let sides = r#"
        a{x="1", y="1", z="old"} 1
        a{x="1", y="2"} 2
        ===
        info{x="1", version="v", w="w"} 10
    "#;
    let left = VectorMatching {
        cardinality: Cardinality::ManyToOne,
        include: vec!["version".to_owned(), "z".to_owned(), "__name__".to_owned()],
        ..matching(true, &["x"])
    };
    let expected = r#"
        info{version="v", x="1", y="1"} 10
        info{version="v", x="1", y="2"} 20
    "#;
    check(plan(BinaryOp::Mul, false, left, 1, sides), expected);
}

#[test]
fn one_to_many_keeps_the_order_of_the_operands() {
    let sides = r#"
        a{x="1"} 10 20
        ===
        b{x="1", y="1"} 4 _
        b{x="1", y="2"} 5 25
    "#;
    let right = VectorMatching { cardinality: Cardinality::OneToMany, ..matching(true, &["x"]) };
    let expected = r#"
        {x="1", y="1"} 6 _
        {x="1", y="2"} 5 -5
    "#;
    check(plan(BinaryOp::Sub, false, right.clone(), 2, sides), expected);
    let expected = r#"
        b{x="1", y="1"} 10 _
        b{x="1", y="2"} 10 _
    "#;
    check(plan(BinaryOp::Gtr, false, right, 2, sides), expected);
}

#[test]
fn fills() {
    let sides = r#"
        a{x="1"} 1 2 _
        a{x="2"} 1 1 _
        ===
        b{x="1"} 10 _ 30
        b{x="3"} 5 5 5
    "#;
    let both = VectorMatching { fill_left: Some(0.0), fill_right: Some(100.0), ..matching(false, &[]) };
    let expected = r#"
        {x="1"} 11 102 30
        {x="2"} 101 101 _
        {x="3"} 5 5 5
    "#;
    check(plan(BinaryOp::Add, false, both.clone(), 3, sides), expected);
    let expected = r#"
        a{x="1"} 1 2 _
        a{x="2"} 1 1 _
        {x="1"} _ _ 0
        {x="3"} 0 0 0
    "#;
    check(plan(BinaryOp::Lss, false, both, 3, sides), expected);
}

#[test]
fn names_that_only_matched_make_equal_results() {
    let sides = r#"
        a{x="1"} 1 _
        b{x="1"} _ 2
        ===
        a{x="1"} 10 _
        b{x="1"} _ 20
    "#;
    let by_name = matching(true, &["__name__", "x"]);
    check(plan(BinaryOp::Add, false, by_name.clone(), 2, sides), r#"{x="1"} 11 22"#);
    let same = "vector cannot contain metrics with the same labelset";
    check_error(plan(BinaryOp::Add, false, by_name, 2, &sides.replace('_', "3").replace("33name33", "")), same);
}

#[test]
fn faults_of_inputs() {
    let rows = r#"a{x="1"} 1 2"#;
    check_faults(2, rows, |input| {
        let spec =
            BinarySpec { op: BinaryOp::Add, return_bool: false, matching: matching(false, &[]), span: Span::default() };
        Arc::new(BinaryExec::try_new(source(2, rows), input, spec, 2, context()).unwrap())
    });
}
