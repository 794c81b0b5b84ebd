//! Aggregations, binary operators, and what a query may have beside expressions.

use promql::tree::AggregateOp;

use super::choices::{AGGREGATES, BINARIES};
use super::{Grammar, Taste};

const GROUPINGS: [&str; 10] =
    ["job", "job, instance", "instance", "code", "job, code", "", "missing", "__name__", "le, job", "\"région\", job"];

/// Vectors whose series have labels in common.
const PAIRS: [(&str, &str); 9] = [
    ("many", "many offset 1m"),
    ("temperature", "load"),
    ("requests_total", "errors_total"),
    ("requests_total", "temperature"),
    ("load", "constant"),
    ("requests_total", "target_info"),
    ("temperature", "native"),
    ("wild", "temperature"),
    ("requests_total", "requests_total offset 1m"),
];

const FILLS: [&str; 6] = [
    " fill (0)",
    " fill (-1)",
    " fill_left (2)",
    " fill_right (0)",
    " fill_left (1) fill_right (3)",
    " fill_right (NaN)",
];

impl Grammar<'_> {
    /// An aggregation by `op`.
    pub(super) fn aggregate(&mut self, op: AggregateOp, depth: usize) -> String {
        let taste = match (op, self.random.below(10)) {
            (AggregateOp::Sum | AggregateOp::Avg, 0..4) => Taste::Natives,
            (_, 0..3) => Taste::Any,
            _ => Taste::Floats,
        };
        let inner = self.vector(depth, taste);
        self.aggregate_with(op, &inner)
    }

    /// Some aggregation of a vector.
    pub(super) fn aggregate_of(&mut self, inner: &str) -> String {
        let op = *self.random.pick(&AGGREGATES);
        self.aggregate_with(op, inner)
    }

    fn aggregate_with(&mut self, op: AggregateOp, inner: &str) -> String {
        let grouping = self.grouping();
        let ks = ["1", "2", "3", "3", "5", "0", "1.9", "-1", "100", "NaN", "1e20"];
        let ratios = ["0.5", "-0.5", "0.1", "-0.9", "0", "1", "-1", "1.5", "-2", "NaN"];
        let moves = self.random.percent(25);
        let param = match op {
            AggregateOp::Quantile => self.quantile(),
            AggregateOp::CountValues => format!("\"{}\"", self.random.pick(&["value", "job", "__name__"])),
            AggregateOp::LimitRatio if moves => self.moving(1),
            AggregateOp::LimitRatio => (*self.random.pick(&ratios)).to_owned(),
            AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk if moves => self.moving(5),
            AggregateOp::Topk | AggregateOp::Bottomk | AggregateOp::Limitk => (*self.random.pick(&ks)).to_owned(),
            _ => String::new(),
        };
        let comma = if param.is_empty() { "" } else { ", " };
        if self.random.percent(50) {
            format!("{}{grouping} ({param}{comma}{inner})", op.as_str())
        } else {
            format!("{}({param}{comma}{inner}){grouping}", op.as_str())
        }
    }

    fn grouping(&mut self) -> String {
        if self.random.percent(30) {
            return String::new();
        }
        format!(" {} ({})", self.random.pick(&["by", "by", "without"]), self.random.pick(&GROUPINGS))
    }

    /// Two vectors whose series have labels in common.
    pub(super) fn pair(&mut self, depth: usize, taste: Taste) -> (String, String) {
        if taste != Taste::Natives && self.random.percent(50) {
            let (left, right) = *self.random.pick(&PAIRS);
            let (left, right) = (left.to_owned(), right.to_owned());
            return if self.random.percent(70) { (left, right) } else { (right, left) };
        }
        (self.vector(depth, taste), self.vector(depth, taste))
    }

    /// A binary operation by `op`.
    pub(super) fn binary(&mut self, op: &str, depth: usize) -> String {
        let set = matches!(op, "and" | "or" | "unless");
        let trims = matches!(op, "</" | ">/");
        let taste = match self.random.below(10) {
            0..7 if trims => Taste::Natives,
            0 | 1 => Taste::Natives,
            2 | 3 => Taste::Any,
            _ => Taste::Floats,
        };
        if !set && self.random.percent(if trims { 80 } else { 35 }) {
            let (vector, scalar) = (self.vector(depth, taste), self.scalar(1));
            let bool = if is_comparison(op) && self.random.percent(40) { " bool" } else { "" };
            return if trims || self.random.percent(60) {
                format!("({vector}) {op}{bool} {scalar}")
            } else {
                format!("{scalar} {op}{bool} ({vector})")
            };
        }
        let (left, right) = self.pair(depth, taste);
        self.operation(op, &left, &right)
    }

    /// A vector with one series of each job and instance, mostly.
    fn one(&mut self) -> String {
        match self.random.below(5) {
            0 => "temperature".to_owned(),
            1 => "load offset 30s".to_owned(),
            2 => "target_info".to_owned(),
            _ => format!("avg by (job, instance) ({})", self.vector(1, Taste::Floats)),
        }
    }

    /// Some operation on two vectors.
    pub(super) fn operation_of(&mut self, left: &str, right: &str) -> String {
        let op = *self.random.pick(&BINARIES);
        self.operation(op, left, right)
    }

    fn operation(&mut self, op: &str, left: &str, right: &str) -> String {
        let bool = if is_comparison(op) && self.random.percent(30) { " bool" } else { "" };
        let set = matches!(op, "and" | "or" | "unless");
        let matching = self.matching(set);
        // sides that are grouped by the labels they match on have one series each
        let labels = matching.strip_prefix(" on (").and_then(|rest| rest.split_once(')')).map(|(labels, _)| labels);
        if let Some(labels) = labels.filter(|_| !set && self.random.percent(50)) {
            let grouped = |side: &str, many: &str| match matching.contains(many) {
                true => side.to_owned(),
                false => format!("sum by ({labels}) ({side})"),
            };
            let (left, right) = (grouped(left, "group_left"), grouped(right, "group_right"));
            return format!("({left}) {op}{bool}{matching} ({right})");
        }
        if matching.contains("group_") && self.random.percent(50) {
            let (many, one) = (self.random.pick(&["requests_total", "many"]).to_string(), self.one());
            let (left, right) = if matching.contains("group_left") { (many, one) } else { (one, many) };
            return format!("({left}) {op}{bool}{matching} ({right})");
        }
        format!("({left}) {op}{bool}{matching} ({right})")
    }

    fn matching(&mut self, set: bool) -> String {
        let fill = if !set && self.random.percent(12) { *self.random.pick(&FILLS) } else { "" };
        if self.random.percent(25) {
            return fill.to_owned();
        }
        let lists = ["job, instance", "job, instance", "job", "instance", "code", "code, le", "", "__name__"];
        let list = *self.random.pick(&lists);
        let mut matching = format!(" {} ({list})", self.random.pick(&["on", "on", "ignoring"]));
        if !set && self.random.percent(45) {
            let names = ["job", "instance", "code", "le", "missing", "version"];
            let names: Vec<&str> = names.into_iter().filter(|name| !list.contains(name)).collect();
            let include = if self.random.percent(40) { *self.random.pick(&names) } else { "" };
            matching += &format!(" {} ({include})", self.random.pick(&["group_left", "group_left", "group_right"]));
        }
        matching + fill
    }

    /// A query with something beside expressions.
    pub(super) fn modifier(&mut self, modifier: &str) -> String {
        let vector = self.vector(1, Taste::Any);
        let selector = self.bare_selector(Taste::Any);
        let (left, right) = self.pair(1, Taste::Floats);
        let function = self.range_function().name();
        let op = *self.random.pick(&["+", "-", "*", "/", ">", "=="]);
        let offset = *self.random.pick(&["1m", "33s", "5m1ms"]);
        let labels = *self.random.pick(&GROUPINGS);
        let include = *self.random.pick(&["", "", "version", "version, code", "missing"]);
        match modifier {
            "anchored" | "smoothed" => self.bordered(modifier, &selector),
            "offset" => format!("{selector} offset {offset}"),
            "negative offset" => format!("{selector} offset -{offset}"),
            "@ time" => format!("{selector} @ {}", self.when.start / 1000),
            "@ start()" | "@ end()" => format!("{selector} {modifier}"),
            "subquery" => format!("{function}({})", self.subquery_of(&vector)),
            "subquery default step" => format!("{function}(({vector})[5m:])"),
            "subquery offset" => format!("{function}(({vector})[5m:20s]{})", self.offset()),
            "subquery @" => format!("{function}(({vector})[5m:20s]{})", self.at()),
            "nested subquery" => {
                let inner = format!("{}({})", self.range_function().name(), self.subquery_of(&vector));
                format!("{function}({})", self.subquery_of(&inner))
            }
            "duration expression" => {
                let lengths = [
                    "step() * 2 + 1m",
                    "1m + 30",
                    "max_of(2m, range() / 4 + 1)",
                    "min_of(range(), 3m) + 1m",
                    "2 ^ 6",
                    "-(-90s)",
                    "7m % 4m",
                    "+10m / 4",
                ];
                let (length, by) = (*self.random.pick(&lengths), *self.random.pick(&["30s", "step()", "2m"]));
                format!("{function}({selector}[{length}] offset ({by} - 1m))")
            }
            "by" | "without" => format!("sum {modifier} ({labels}) ({vector})"),
            "moving parameter" => {
                let op = *self.random.pick(&["topk", "bottomk", "limitk", "quantile", "limit_ratio"]);
                let most = if op == "quantile" || op == "limit_ratio" { 1 } else { 4 };
                format!("{op} by (job) ({}, {vector})", self.moving(most))
            }
            "bool" => format!("({left}) >= bool ({right})"),
            "on" | "ignoring" => format!("({left}) {op} {modifier} ({labels}) ({right})"),
            "group_left" => format!("(requests_total) {op} on (job, instance) {modifier} ({include}) ({})", self.one()),
            "group_right" => {
                format!("({}) {op} on (job, instance) {modifier} ({include}) (requests_total)", self.one())
            }
            "fill" | "fill_left" | "fill_right" => {
                format!("({left}) {op} on (job, instance) {modifier} (1.5) ({right})")
            }
            "unary minus" => format!("-({vector})"),
            "unary plus" => format!("+({vector})"),
            "range vector result" => self.range(1, Taste::Any),
            _ => "\"text\"".to_owned(),
        }
    }

    /// A selector that is `anchored` or `smoothed`, mostly in a function that allows it.
    fn bordered(&mut self, border: &str, selector: &str) -> String {
        let length = *self.random.pick(&["1m", "2m", "5m", "45s", "10m"]);
        let offset = if self.random.percent(25) { self.offset() } else { String::new() };
        let window = format!("{selector}[{length}] {border}{offset}");
        match self.random.below(12) {
            0 | 1 => format!("({selector} {border}{offset})"),
            2 => format!("{}({window})", self.range_function().name()),
            3 => window,
            4 if border == "smoothed" => format!("sum by (job) ({selector} {border})"),
            4 | 5 if border == "anchored" => format!("{}({window})", self.random.pick(&["changes", "resets"])),
            _ => format!("{}({window})", self.random.pick(&["rate", "increase", "delta"])),
        }
    }
}

fn is_comparison(op: &str) -> bool {
    matches!(op, "==" | "!=" | ">" | "<" | ">=" | "<=")
}
