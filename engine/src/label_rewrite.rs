//! `LabelRewriteExec`: `label_replace` and `label_join`.
//!
//! ```text
//! rows ─> same samples, one label set anew ─> rows
//! ```

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::HashMap;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use storage::model::{METRIC_NAME, ReplaceRegex, label_key};

use crate::collected::map_batches;
use crate::error::{Error, Result};
use crate::label_ops::set_label;
use crate::operator::{only_input, operator_plumbing, partition_count, plan_properties};
use crate::removed_name::{relabelled, unmarked};

/// What the label is set to.
#[derive(Debug, Clone)]
enum Rewrite {
    Replace { source: String, regex: ReplaceRegex, template: String },
    Join { sources: Vec<String>, separator: String },
}

/// Sets a label of every row from its other labels. Keeps partitions, not the order of labels. Labels may become equal:
/// see [`UniqueLabelsExec`](crate::UniqueLabelsExec).
#[derive(Debug)]
pub struct LabelRewriteExec {
    input: Arc<dyn ExecutionPlan>,
    target: String,
    rewrite: Rewrite,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl LabelRewriteExec {
    /// `label_replace(input, target, template, source, pattern)`.
    ///
    /// # Errors
    /// [`Error::Execution`] where the pattern or the label's name is not valid.
    pub fn try_replace(
        input: Arc<dyn ExecutionPlan>,
        target: &str,
        template: &str,
        source: &str,
        pattern: &str,
    ) -> Result<Self> {
        let regex = ReplaceRegex::try_new(pattern)
            .map_err(|_| Error::Execution(format!("invalid regular expression in label_replace(): {pattern}")))?;
        check_name(target, "destination", "label_replace")?;
        let rewrite = Rewrite::Replace { source: source.to_owned(), regex, template: template.to_owned() };
        Ok(Self::new(input, target.to_owned(), rewrite))
    }

    /// `label_join(input, target, separator, sources…)`.
    ///
    /// # Errors
    /// [`Error::Execution`] where a label's name is not valid.
    pub fn try_join(
        input: Arc<dyn ExecutionPlan>,
        target: &str,
        separator: &str,
        sources: Vec<String>,
    ) -> Result<Self> {
        for source in &sources {
            check_name(source, "source", "label_join")?;
        }
        check_name(target, "destination", "label_join")?;
        let rewrite = Rewrite::Join { sources, separator: separator.to_owned() };
        Ok(Self::new(input, target.to_owned(), rewrite))
    }

    fn new(input: Arc<dyn ExecutionPlan>, target: String, rewrite: Rewrite) -> Self {
        let properties = plan_properties(input.schema(), partition_count(&input));
        Self { input, target, rewrite, properties, metrics: ExecutionPlanMetricsSet::new() }
    }

    fn with_inputs(&self, inputs: Vec<Arc<dyn ExecutionPlan>>) -> datafusion::error::Result<Self> {
        Ok(Self::new(only_input(inputs)?, self.target.clone(), self.rewrite.clone()))
    }
}

/// Any UTF-8 but the empty name will do.
fn check_name(name: &str, role: &str, function: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::Execution(format!("invalid {role} label name in {function}(): {name}")));
    }
    Ok(())
}

impl DisplayAs for LabelRewriteExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rewrite {
            Rewrite::Replace { source, .. } => write!(f, "LabelRewriteExec: {} from {source}", self.target),
            Rewrite::Join { sources, .. } => write!(f, "LabelRewriteExec: {} from {}", self.target, sources.join(", ")),
        }
    }
}

impl ExecutionPlan for LabelRewriteExec {
    operator_plumbing!("LabelRewriteExec");

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let (target, rewrite) = (self.target.clone(), self.rewrite.clone());
        let mut replaced = Replaced::default();
        let map = async move {
            Ok(move |batch: &RecordBatch| relabelled(batch, |key, out| rewrite.write(key, &target, &mut replaced, out)))
        };
        Ok(map_batches(self.schema(), input, BaselineMetrics::new(&self.metrics, partition), map))
    }
}

/// What became of the values seen lately; expressions cost more than looking up.
#[derive(Debug, Default)]
struct Replaced {
    values: HashMap<String, Option<String>>,
}

/// Values remembered at most.
const REPLACED_VALUES_MAX: usize = 10_000;

impl Replaced {
    fn get(&mut self, value: &str, regex: &ReplaceRegex, template: &str) -> Option<&str> {
        if self.values.len() >= REPLACED_VALUES_MAX {
            self.values.clear();
        }
        self.values.entry_ref(value).or_insert_with(|| regex.expand(value, template)).as_deref()
    }
}

impl Rewrite {
    fn write(&self, key: &str, target: &str, replaced: &mut Replaced, out: &mut String) {
        match self {
            Self::Replace { source, regex, template } => {
                let value = label_key::get(unmarked(key), source).map(label_key::Escaped::text).unwrap_or_default();
                match replaced.get(&value, regex, template) {
                    Some(value) => set_label(renamed(key, target), target, value, out),
                    None => {
                        out.clear();
                        out.push_str(key);
                    }
                }
            }
            Self::Join { sources, separator } => {
                let mut value = String::new();
                for (i, source) in sources.iter().enumerate() {
                    if i > 0 {
                        value.push_str(separator);
                    }
                    value.push_str(
                        &label_key::get(unmarked(key), source).map(label_key::Escaped::text).unwrap_or_default(),
                    );
                }
                set_label(renamed(key, target), target, &value, out);
            }
        }
    }
}

/// What `target` is written to: a name that is written is one to keep.
fn renamed<'a>(key: &'a str, target: &str) -> &'a str {
    if target == METRIC_NAME { unmarked(key) } else { key }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{check, source};

    fn input() -> Arc<dyn ExecutionPlan> {
        source(2, "a{src=\"source-value-10\"} 1 2\na{src=\"source-value-20\"} _ h:1:1")
    }

    fn replace(target: &str, template: &str, source: &str, pattern: &str) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(LabelRewriteExec::try_replace(input(), target, template, source, pattern)?))
    }

    #[test]
    fn replacing() {
        let expected = "a{dst=\"v-10\", src=\"source-value-10\"} 1 2\na{dst=\"v-20\", src=\"source-value-20\"} _ h:1:1";
        check(replace("dst", "v-$1", "src", "source-value-(.*)").unwrap(), expected);
        let expected = "a{src=\"source-value-10\"} 1 2\na{src=\"source-value-20\"} _ h:1:1";
        check(replace("dst", "v-$1", "src", "value-(.*)").unwrap(), expected);
        check(replace("src", "", "nothing", "").unwrap(), "a 1 2\na _ h:1:1");
    }

    #[test]
    fn joining() {
        let sources = vec!["__name__".to_owned(), "none".to_owned(), "src".to_owned()];
        let plan = LabelRewriteExec::try_join(input(), "src", "-", sources).unwrap();
        check(Arc::new(plan), "a{src=\"a--source-value-10\"} 1 2\na{src=\"a--source-value-20\"} _ h:1:1");
    }

    #[test]
    fn errors_name_what_is_wrong() {
        let error = |plan: Result<Arc<dyn ExecutionPlan>>| plan.unwrap_err().to_string();
        assert_eq!(error(replace("d", "", "src", "(")), "invalid regular expression in label_replace(): (");
        assert_eq!(error(replace("", "", "src", "")), "invalid destination label name in label_replace(): ");
    }
}
