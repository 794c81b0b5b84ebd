//! `CountValuesExec`: how often each value occurs in a group, one series a value.
//!
//! ```text
//! rows ─> each sample: the series' labels, the value as one more, grouped ─> counted step by step ─> one row a group
//! ```

use std::fmt;
use std::sync::Arc;

use datafusion::common::HashMap;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use futures::TryStreamExt;
use promql::tree::Grouping;

use crate::collected::{computed_batches, row_batches};
use crate::error::{Error, Result};
use crate::go_float::go_decimal;
use crate::label_ops::{LabelSubset, set_label};
use crate::operator::{Reservation, only_input, operator_plumbing, plan_properties, reservation};
use crate::removed_name::unmarked;
use crate::vector::{RowView, Sample, VectorColumns, vector_schema};

/// Counts equal values. One partition in, one out.
#[derive(Debug)]
pub struct CountValuesExec {
    input: Arc<dyn ExecutionPlan>,
    label: String,
    grouping: Grouping,
    steps: usize,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl CountValuesExec {
    /// Counts the values of `input`, which has `steps` steps, and puts them into the label `label`.
    ///
    /// # Errors
    /// [`Error::Execution`] where that is no label name.
    pub fn try_new(input: Arc<dyn ExecutionPlan>, label: String, grouping: Grouping, steps: usize) -> Result<Self> {
        if label.is_empty() {
            return Err(Error::Execution(format!("invalid label name {label}")));
        }
        // the label of the value is always one to group by
        let grouping = match grouping {
            Grouping::By(mut names) => {
                if !names.contains(&label) {
                    names.push(label.clone());
                    names.sort();
                }
                Grouping::By(names)
            }
            without @ Grouping::Without(_) => without,
        };
        let properties = plan_properties(vector_schema(steps), 1);
        Ok(Self { input, label, grouping, steps, properties, metrics: ExecutionPlanMetricsSet::new() })
    }

    fn with_inputs(&self, inputs: Vec<Arc<dyn ExecutionPlan>>) -> datafusion::error::Result<Self> {
        Ok(Self::try_new(only_input(inputs)?, self.label.clone(), self.grouping.clone(), self.steps)?)
    }
}

impl DisplayAs for CountValuesExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CountValuesExec: {} {:?}", self.label, self.grouping)
    }
}

impl ExecutionPlan for CountValuesExec {
    operator_plumbing!("CountValuesExec");

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        let mut counts = Counts {
            memory: reservation("CountValuesExec", &context),
            label: self.label.clone(),
            grouping: LabelSubset::from(&self.grouping),
            steps: self.steps,
            numbers: HashMap::new(),
            groups: Vec::new(),
        };
        let mut input = self.input.execute(partition, context)?;
        let steps = self.steps;
        let rows = async move {
            while let Some(batch) = input.try_next().await.map_err(Error::from)? {
                let columns = VectorColumns::try_new(&batch)?;
                for row in 0..columns.len() {
                    counts.add(columns.labels(row), &columns.row(row))?;
                }
            }
            drop(input);
            Ok(row_batches(steps, counts.groups.len(), move |group, builder| {
                let (labels, samples) = &counts.groups[group];
                let mut out = builder.start_row();
                for (step, count) in samples.iter().enumerate().filter(|(_, count)| **count > 0) {
                    out.set(step, f64::from(*count));
                }
                builder.finish_row(labels);
                Ok(())
            }))
        };
        Ok(computed_batches(self.schema(), BaselineMetrics::new(&self.metrics, partition), rows))
    }
}

/// The counts of each group and step.
struct Counts {
    memory: Reservation,
    label: String,
    grouping: LabelSubset,
    steps: usize,
    numbers: HashMap<String, usize>,
    groups: Vec<(String, Vec<u32>)>,
}

impl Counts {
    fn add(&mut self, labels: &str, row: &RowView<'_>) -> Result<()> {
        let (mut key, mut group) = (String::new(), String::new());
        // values often stay the same from step to step
        let mut last: Option<(u64, usize)> = None;
        for step in row.present_steps() {
            let bits = row.float(step).map(f64::to_bits);
            let number = match (last, bits) {
                (Some((value, number)), Some(bits)) if value == bits => number,
                _ => {
                    let value = match row.sample(step) {
                        Some(Sample::Float(value)) => go_decimal(value),
                        Some(Sample::Histogram(histogram)) => histogram.to_string(),
                        None => continue,
                    };
                    set_label(unmarked(labels), &self.label, &value, &mut key);
                    self.grouping.write(&key, &mut group);
                    self.number(&group)?
                }
            };
            last = bits.map(|bits| (bits, number));
            self.groups[number].1[step] += 1;
        }
        Ok(())
    }

    fn number(&mut self, group: &str) -> Result<usize> {
        if let Some(number) = self.numbers.get(group) {
            return Ok(*number);
        }
        self.memory.try_grow(2 * group.len() + 4 * self.steps + 128)?;
        self.numbers.insert(group.to_owned(), self.groups.len());
        self.groups.push((group.to_owned(), vec![0; self.steps]));
        Ok(self.groups.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, check_faults, source};

    const ROWS: &str = "a{g=\"1\", x=\"1\"} 1 5\na{g=\"1\", x=\"2\"} 1 1\na{g=\"2\"} NaN _";

    fn over(input: Arc<dyn ExecutionPlan>, grouping: Grouping) -> Arc<dyn ExecutionPlan> {
        Arc::new(CountValuesExec::try_new(input, "v".to_owned(), grouping, 2).unwrap())
    }

    #[test]
    fn counts_a_value() {
        let expected = "{v=\"1\"} 2 1\n{v=\"5\"} _ 1\n{v=\"NaN\"} 1 _";
        check(over(source(2, ROWS), Grouping::By(vec![])), expected);
        let expected = "{g=\"1\", v=\"1\"} 2 1\n{g=\"1\", v=\"5\"} _ 1\n{g=\"2\", v=\"NaN\"} 1 _";
        check(over(source(2, ROWS), Grouping::Without(vec!["x".to_owned()])), expected);
    }

    #[test]
    fn faults_of_inputs() {
        check_faults(2, ROWS, |input| over(input, Grouping::By(vec![])));
    }
}
