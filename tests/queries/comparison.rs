//! When two answers are the same: the rules of tests/golden/README.md.

use std::collections::BTreeMap;

use serde_json::Value;

/// How far two values may be apart, as a part of the larger one.
const TOLERANCE: f64 = 1e-9;

/// One line of an expectation file.
pub struct Case {
    /// Group, number, and `r` for a range query.
    pub id: String,
    /// The PromQL text.
    pub query: String,
    /// Whether it is an instant query.
    pub instant: bool,
    /// The whole line.
    pub line: Value,
}

impl Case {
    /// Reads a line.
    pub fn parse(text: &str) -> Self {
        let line: Value = serde_json::from_str(text).unwrap();
        let field = |name: &str| line[name].as_str().unwrap().to_owned();
        Self { id: field("id"), query: field("query"), instant: line["kind"] == "instant", line }
    }

    /// What it tests.
    pub fn group(&self) -> &str {
        self.id.split_once('-').unwrap().0
    }

    /// What differs between the recorded answer and this one.
    ///
    /// # Errors
    /// The first difference, in words.
    pub fn compare(&self, status: u16, reply: &Value) -> Result<(), String> {
        let wanted = self.line["http"].as_u64().unwrap();
        if u64::from(status) != wanted {
            return Err(format!("HTTP {status} instead of {wanted}: {}", shortened(&reply["error"])));
        }
        if wanted != 200 {
            return same("errorType", &self.line["errorType"], &reply["errorType"]);
        }
        let (want, got) = (&self.line["data"], &reply["data"]);
        same("resultType", &want["resultType"], &got["resultType"])?;
        let (left, right) = (&want["result"], &got["result"]);
        match want["resultType"].as_str() {
            Some("scalar") if same_points(&single(left), &single(right), close) => Ok(()),
            Some("string") if same_points(&single(left), &single(right), |a, b| a == b) => Ok(()),
            Some("scalar" | "string") => Err(format!("{} instead of {}", shortened(right), shortened(left))),
            _ => self.compare_series(list(left), list(right)),
        }
    }

    fn compare_series(&self, want: &[Value], got: &[Value]) -> Result<(), String> {
        let (want_keys, got_keys): (Vec<_>, Vec<_>) = (want.iter().map(key).collect(), got.iter().map(key).collect());
        let theirs: BTreeMap<&String, &Value> = got_keys.iter().zip(got).collect();
        if theirs.len() != got.len() {
            return Err("one label set comes twice".to_owned());
        }
        let missing: Vec<&String> = want_keys.iter().filter(|k| !theirs.contains_key(k)).collect();
        let extra: Vec<&String> = got_keys.iter().filter(|k| !want_keys.contains(k)).collect();
        if let Some(example) = missing.first().or(extra.first()) {
            return Err(format!("{} series missing, {} extra, as {example}", missing.len(), extra.len()));
        }
        if self.instant && self.query.starts_with("sort") && want_keys != got_keys {
            let by_value = !self.query.starts_with("sort_by_label");
            let ties = want.iter().zip(got).all(|(a, b)| close(&a["value"][1], &b["value"][1]));
            if !(by_value && ties) {
                return Err("the series come in another order".to_owned());
            }
        }
        for (key, series) in want_keys.iter().zip(want) {
            if !same_series(series, theirs[key]) {
                return Err(format!("{key}: {} instead of {}", shortened(theirs[key]), shortened(series)));
            }
        }
        Ok(())
    }
}

fn same(what: &str, want: &Value, got: &Value) -> Result<(), String> {
    if want == got { Ok(()) } else { Err(format!("{what} {got} instead of {want}")) }
}

fn shortened(value: &Value) -> String {
    value.to_string().chars().take(240).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A point as a list of one; nothing where there is none.
fn single(value: &Value) -> Vec<Value> {
    if value.is_null() { Vec::new() } else { vec![value.clone()] }
}

fn key(series: &Value) -> String {
    let metric: BTreeMap<String, String> = serde_json::from_value(series["metric"].clone()).unwrap();
    serde_json::to_string(&metric).unwrap()
}

fn same_series(a: &Value, b: &Value) -> bool {
    same_points(list(&a["values"]), list(&b["values"]), close)
        && same_points(list(&a["histograms"]), list(&b["histograms"]), same_histogram)
        && same_points(&single(&a["value"]), &single(&b["value"]), close)
        && same_points(&single(&a["histogram"]), &single(&b["histogram"]), same_histogram)
}

fn same_points(a: &[Value], b: &[Value], equal: impl Fn(&Value, &Value) -> bool) -> bool {
    let number = |v: &Value| v.as_f64().unwrap_or(f64::NAN);
    // NaN, where a timestamp is no number, equals nothing
    a.len() == b.len() && a.iter().zip(b).all(|(p, q)| number(&p[0]) == number(&q[0]) && equal(&p[1], &q[1]))
}

fn same_histogram(a: &Value, b: &Value) -> bool {
    let (left, right) = (list(&a["buckets"]), list(&b["buckets"]));
    let same_bucket = |(p, q): (&Value, &Value)| p[0] == q[0] && (1..4).all(|i| close(&p[i], &q[i]));
    close(&a["count"], &b["count"])
        && close(&a["sum"], &b["sum"])
        && left.len() == right.len()
        && left.iter().zip(right).all(same_bucket)
}

/// Whether two values, written as strings, are the same number.
fn close(a: &Value, b: &Value) -> bool {
    let number = |v: &Value| v.as_str().and_then(|text| text.parse::<f64>().ok());
    let (Some(x), Some(y)) = (number(a), number(b)) else { return false };
    if x.is_nan() || y.is_nan() {
        return x.is_nan() && y.is_nan();
    }
    if x == y {
        return x.is_sign_negative() == y.is_sign_negative();
    }
    x.is_finite() && y.is_finite() && (x - y).abs() <= TOLERANCE * x.abs().max(y.abs())
}

#[test]
fn values_are_close_or_not() {
    for (a, b, expected) in [
        ("1", "1.0000000005", true),
        ("1", "1.000000002", false),
        ("NaN", "NaN", true),
        ("NaN", "0", false),
        ("+Inf", "+Inf", true),
        ("+Inf", "-Inf", false),
        ("+Inf", "1e308", false),
        ("0", "-0", false),
        ("5e-324", "0", false),
    ] {
        assert_eq!(close(&Value::from(a), &Value::from(b)), expected, "{a} {b}");
    }
}

#[test]
fn differences_are_found() {
    let case = |query: &str, result: &str| {
        Case::parse(&format!(
            r#"{{"id":"a-1","query":"{query}","kind":"instant","time":1,"http":200,
                "data":{{"resultType":"vector","result":[{result}]}}}}"#
        ))
    };
    let a = r#"{"metric":{"x":"a","y":"b"},"value":[1,"1"]}"#;
    let a_again = r#"{"metric":{"y":"b","x":"a"},"value":[1.0,"1.0"]}"#;
    let b = r#"{"metric":{"x":"b"},"value":[1,"2"]}"#;
    let histogram = |bucket: &str| {
        format!(r#"{{"metric":{{}},"histogram":[1,{{"count":"1","sum":"2","buckets":[[{bucket},"0.5","1","1"]]}}]}}"#)
    };
    for (query, want, got, expected) in [
        ("x", format!("{a},{b}"), format!("{b},{a_again}"), Ok(())),
        ("sort(x)", format!("{a},{b}"), format!("{b},{a_again}"), Err("order")),
        ("x", a.to_owned(), format!("{a},{a_again}"), Err("twice")),
        ("x", a.to_owned(), String::new(), Err("1 series missing, 0 extra")),
        ("x", a.to_owned(), a.replace("[1,", "[2,"), Err("instead of")),
        ("x", a.to_owned(), a.replace("value", "values"), Err("instead of")),
        ("x", histogram("0"), histogram("0"), Ok(())),
        ("x", histogram("0"), histogram("1"), Err("instead of")),
        ("x", histogram("0"), a.replace(r#""x":"a","y":"b""#, ""), Err("instead of")),
    ] {
        let reply = format!(r#"{{"data":{{"resultType":"vector","result":[{got}]}}}}"#);
        let found = case(query, &want).compare(200, &serde_json::from_str(&reply).unwrap());
        match (&found, expected) {
            (Ok(()), Ok(())) => {}
            (Err(text), Err(part)) if text.contains(part) => {}
            _ => panic!("{query}: {want} and {got}: {found:?}"),
        }
    }
    assert!(case("x", a).compare(422, &Value::Null).unwrap_err().starts_with("HTTP 422 instead of 200"));
}
