use engine::vector::VectorBuilder;
use promql::tree::Grid;
use serde_json::{Value as Json, json};
use storage::model::{FloatHistogram, Labels, SampleBuffer, Span};

use super::*;

fn answer(value: Value) -> Answer {
    Answer { value, warnings: Vec::new(), infos: Vec::new(), stats: QueryStats::default() }
}

fn written(answer: Answer) -> (Json, usize) {
    let pieces: Vec<Bytes> = AnswerJson::try_new(answer, true, true).unwrap().collect();
    (serde_json::from_slice(&pieces.concat()).unwrap(), pieces.len())
}

fn histogram() -> FloatHistogram {
    FloatHistogram {
        schema: 0,
        zero_threshold: 0.25,
        zero_count: 3.0,
        count: 5.5,
        sum: 34.5,
        positive_spans: vec![Span { offset: 1, length: 2 }],
        positive_buckets: vec![2.5, 0.0],
        ..FloatHistogram::default()
    }
}

#[test]
fn scalars_and_strings_are_one_point() {
    let (json, _) = written(answer(Value::Scalar { t: 1500, value: 0.5 }));
    assert_eq!((&json["status"], &json["data"]["resultType"]), (&json!("success"), &json!("scalar")));
    assert_eq!(json["data"]["result"], json!([1.5, "0.5"]));
    assert_eq!(json["data"]["stats"]["samples"]["totalQueryableSamples"], 0);
    assert_eq!(json["data"]["analysis"]["executionTime"], "0ns");
    let (json, _) = written(answer(Value::String { t: 2000, value: "a\"b".to_owned() }));
    assert_eq!(json["data"]["result"], json!([2, "a\"b"]));
}

#[test]
fn rows_hold_floats_and_histograms_apart() {
    let grid = Grid { start: 0, end: 3000, step_ms: 1000 };
    let mut builder = VectorBuilder::new(grid.steps());
    let mut row = builder.start_row();
    row.set_sample(0, engine::vector::Sample::Float(1.0));
    row.set_sample(2, engine::vector::Sample::Histogram(&histogram()));
    row.set_sample(3, engine::vector::Sample::Float(f64::NAN));
    builder.finish_row(Labels::from_pairs([("__name__", "m"), ("a", "\u{1}\u{0}")]).as_key());
    let batches = vec![builder.finish().unwrap()];
    let (json, _) = written(answer(Value::Matrix { grid, order: vec![(0, 0)], batches }));
    let bucketed = json!({"count": "5.5", "sum": "34.5", "buckets": [[3, "-0.25", "0.25", "3"], [0, "1", "2", "2.5"]]});
    assert_eq!(
        json["data"]["result"],
        json!([{
            "metric": {"__name__": "m", "a": "\u{1}\u{0}"},
            "values": [[0, "1"], [3, "NaN"]],
            "histograms": [[2, bucketed]],
        }])
    );
}

#[test]
fn an_instant_vector_has_one_value_a_row_and_may_be_empty() {
    let mut builder = VectorBuilder::new(1);
    builder.start_row().set_sample(0, engine::vector::Sample::Float(-0.0));
    builder.finish_row(Labels::from_pairs([("b", "1")]).as_key());
    let batches = vec![VectorBuilder::new(1).finish().unwrap(), builder.finish().unwrap()];
    let (json, _) = written(answer(Value::Vector { t: 7, batches }));
    assert_eq!(json["data"]["result"], json!([{"metric": {"b": "1"}, "value": [0.007, "-0"]}]));
    let (json, _) = written(answer(Value::Vector { t: 7, batches: Vec::new() }));
    assert_eq!(json["data"]["result"], json!([]));
}

#[test]
fn samples_keep_their_own_times() {
    let mut samples = SampleBuffer::new();
    samples.push_float(10, 2.0);
    samples.push_histogram(20, histogram());
    let (json, _) = written(answer(Value::Samples(vec![(Labels::default(), samples)])));
    assert_eq!(json["data"]["result"][0]["values"], json!([[0.01, "2"]]));
    assert_eq!(json["data"]["result"][0]["histograms"][0][0], json!(0.02));
}

#[test]
fn a_large_answer_comes_in_pieces() {
    let grid = Grid { start: 0, end: 999_000, step_ms: 1000 };
    let mut builder = VectorBuilder::new(grid.steps());
    for series in 0..50 {
        let mut row = builder.start_row();
        for step in 0..grid.steps() {
            row.set_sample(step, engine::vector::Sample::Float(step as f64 + 0.5));
        }
        builder.finish_row(Labels::from_pairs([("s", format!("{series:02}"))]).as_key());
    }
    let batches = vec![builder.finish().unwrap()];
    let order = (0..50).map(|row| (0, row)).collect();
    let (json, pieces) = written(answer(Value::Matrix { grid, batches, order }));
    assert_eq!(json["data"]["result"].as_array().unwrap().len(), 50);
    assert!(pieces > 3, "{pieces}");
}

#[test]
fn annotations_past_ten_are_counted() {
    let mut out = Vec::new();
    let texts: Vec<String> = (0..12).map(|i| format!("w{i}")).collect();
    push_annotations(&mut out, &texts, &[]);
    let json: Json = serde_json::from_slice(&[b"{\"x\":1".as_slice(), &out, b"}"].concat()).unwrap();
    assert_eq!(json["warnings"][10], "2 more warning annotations omitted");
    assert!(json.get("infos").is_none());
}
