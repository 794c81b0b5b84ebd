use arrow::array::RecordBatch;
use proptest::prelude::*;
use storage::model::FloatHistogram;

use super::*;
use crate::testing::histogram;

/// A sample as tests write it.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    /// By its bits, so that NaN is NaN.
    Float(u64),
    Histogram(FloatHistogram),
}

/// Labels, samples, and whether the row is forgotten after it was written.
type TestRow = (String, Vec<Option<Value>>, bool);

fn rows(steps: usize) -> impl Strategy<Value = Vec<TestRow>> {
    let sample = prop_oneof![
        3 => Just(None),
        5 => any::<u64>().prop_map(|bits| Some(Value::Float(bits))),
        1 => (1_u8..9).prop_map(|n| Some(Value::Histogram(histogram(f64::from(n), -1.0)))),
    ];
    let row = prop_oneof![
        8 => prop::collection::vec(sample, steps),
        1 => Just(vec![None; steps]),
        1 => Just(vec![Some(Value::Float(0)); steps]),
    ];
    prop::collection::vec(("[a-c]{0,20}", row, prop::bool::weighted(0.2)), 0..12)
}

/// Writes a row; `forget` leaves it open.
fn write(builder: &mut VectorBuilder, (labels, samples, forget): &TestRow) {
    let mut row = builder.start_row();
    for (step, sample) in samples.iter().enumerate() {
        match sample {
            None => assert_eq!(row.get(step), None),
            Some(Value::Float(bits)) => {
                row.set(step, f64::from_bits(*bits));
                assert_eq!(row.get(step).map(f64::to_bits), Some(*bits));
            }
            Some(Value::Histogram(histogram)) => row.set_histogram(step, histogram.clone()),
        }
    }
    if !forget {
        let count = builder.finish_row(labels);
        assert_eq!(count, samples.iter().flatten().count());
    }
}

/// The rows that are to be found in a batch.
fn kept(rows: &[TestRow]) -> Vec<(String, Vec<Option<Value>>)> {
    let kept = rows.iter().filter(|(_, samples, forget)| !forget && samples.iter().any(Option::is_some));
    kept.map(|(labels, samples, _)| (labels.clone(), samples.clone())).collect()
}

fn read(batch: &RecordBatch) -> Vec<(String, Vec<Option<Value>>)> {
    let columns = VectorColumns::try_new(batch).unwrap();
    assert_eq!(columns.len(), batch.num_rows());
    (0..columns.len())
        .map(|index| {
            let row = columns.row(index);
            let samples: Vec<Option<Value>> = (0..columns.steps())
                .map(|step| {
                    assert_eq!(row.is_present(step), row.sample(step).is_some());
                    assert_eq!(row.float(step).is_some(), row.float_bits().is_none_or(|bits| bits.value(step)));
                    row.sample(step).map(|sample| match sample {
                        Sample::Float(value) => Value::Float(value.to_bits()),
                        Sample::Histogram(histogram) => Value::Histogram(histogram.clone()),
                    })
                })
                .collect();
            let present: Vec<usize> = (0..columns.steps()).filter(|&step| samples[step].is_some()).collect();
            assert_eq!(row.present_steps().collect::<Vec<_>>(), present);
            (columns.labels(index).to_owned(), samples)
        })
        .collect()
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        (steps, rows) in (1_usize..20).prop_flat_map(|steps| (Just(steps), rows(steps))),
        cut in 0_usize..12,
        (offset, length) in (0_usize..12, 0_usize..12),
    ) {
        let mut builder = VectorBuilder::new(steps);
        let cut = cut.min(rows.len());
        for rows in [&rows[..cut], &rows[cut..]] {
            rows.iter().for_each(|row| write(&mut builder, row));
            let expected = kept(rows);
            prop_assert_eq!(builder.len(), expected.len());
            prop_assert_eq!(builder.is_empty(), expected.is_empty());
            let batch = builder.finish().unwrap();
            prop_assert_eq!(batch.schema(), vector_schema(steps));
            prop_assert_eq!(read(&batch), expected.clone());

            let offset = offset.min(expected.len());
            let length = length.min(expected.len() - offset);
            let slice = batch.slice(offset, length);
            prop_assert_eq!(read(&slice), expected[offset..offset + length].to_vec());

            let mut copy = VectorBuilder::new(steps);
            let columns = VectorColumns::try_new(&slice).unwrap();
            for row in 0..columns.len() {
                copy.push_copy(columns.labels(row), &columns.row(row));
            }
            prop_assert_eq!(read(&copy.finish().unwrap()), expected[offset..offset + length].to_vec());
        }
    }

    #[test]
    fn whole_rows_and_masks(
        (steps, masks) in (1_usize..40).prop_flat_map(|steps| {
            (Just(steps), prop::collection::vec(prop::option::of(prop::collection::vec(any::<bool>(), steps)), 1..8))
        }),
    ) {
        let mut builder = VectorBuilder::new(steps);
        let floats: Vec<f64> = (0..steps).map(|step| step as f64).collect();
        for mask in &masks {
            let bits = mask.as_ref().map(|mask| arrow::buffer::BooleanBuffer::from(mask.clone()));
            // half a row that is forgotten leaves nothing behind
            builder.start_row().set(0, 1.0);
            builder.start_row().put_floats(bits.as_ref(), |row| row.copy_from_slice(&floats));
            builder.finish_row("");
        }
        let present = masks.iter().filter(|mask| mask.as_ref().is_none_or(|mask| mask.contains(&true)));
        let expected: Vec<Vec<Option<f64>>> = present
            .map(|mask| (0..steps).map(|s| mask.as_ref().is_none_or(|mask| mask[s]).then_some(floats[s])).collect())
            .collect();
        let columns = VectorColumns::try_new(&builder.finish().unwrap()).unwrap();
        let actual: Vec<Vec<Option<f64>>> =
            (0..columns.len()).map(|row| (0..steps).map(|step| columns.row(row).float(step)).collect()).collect();
        prop_assert_eq!(actual, expected);
    }
}

#[test]
fn batches_are_about_a_megabyte() {
    assert_eq!(rows_per_batch(0), 4096);
    assert_eq!(rows_per_batch(1), 4096);
    assert_eq!(rows_per_batch(1024), 128);
    assert_eq!(rows_per_batch(usize::MAX / 8), 1);
}

#[test]
fn another_batch_is_refused() {
    let batch = RecordBatch::new_empty(storage::schema::series_schema());
    assert!(matches!(VectorColumns::try_new(&batch), Err(crate::Error::Internal(_))));
}
