//! `--receive.relabel-config`: the labels of what is written are changed, or series dropped, before anything else is asked of them.

use storage::head::{Metadata, SeriesWrite};
use storage::model::{Labels, METRIC_NAME};

use super::series::{Admission, Output};
use super::target::{Refusal, SeriesSink, Tally};
use crate::relabel::Relabel;
use crate::tenant::is_valid_tenant;

/// Lets `visit` hand series to `sink`, through the rules where there are any.
pub fn relabelled<T>(
    admission: &Admission,
    sink: &mut dyn SeriesSink,
    tally: &mut Tally,
    visit: impl FnOnce(&mut Output<'_>) -> T,
) -> T {
    let Some(rules) = &admission.relabel else { return visit(&mut Output { admission, sink, tally }) };
    let before = Admission { split_label: None, name_required: false, relabel: None, ..admission.clone() };
    let mut sink = RelabelSink { rules, admission, sink };
    visit(&mut Output { admission: &before, sink: &mut sink, tally })
}

/// Applies the rules on the way to a sink. What is asked of labels is asked after them: they can make the tenant's label, or the
/// name.
struct RelabelSink<'s> {
    rules: &'s Relabel,
    admission: &'s Admission,
    sink: &'s mut dyn SeriesSink,
}

impl RelabelSink<'_> {
    /// The tenant of these labels, of which the one that names it is taken away.
    fn tenant(&self, pairs: &mut Vec<(String, String)>) -> Result<Option<String>, Refusal> {
        let Some(split) = &self.admission.split_label else { return Ok(None) };
        let Some(at) = pairs.iter().position(|(name, _)| name == split) else { return Ok(None) };
        let (_, tenant) = pairs.remove(at);
        if is_valid_tenant(&tenant) { Ok(Some(tenant)) } else { Err(Refusal::Tenant) }
    }
}

impl SeriesSink for RelabelSink<'_> {
    fn push(&mut self, tenant: &str, series: &SeriesWrite<'_>, tally: &mut Tally) {
        let Some(labels) = self.rules.apply(&Labels::from_pairs(series.labels.iter().copied())) else {
            // dropped on purpose, which is no news to the sender
            tally.floats += series.floats.len() as u64;
            tally.histograms += series.histograms.len() as u64;
            tally.exemplars += series.exemplars.len() as u64;
            return;
        };
        let mut pairs: Vec<(String, String)> =
            labels.iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        let own = self.tenant(&mut pairs);
        let refusal = match &own {
            Err(refusal) => Some(refusal.clone()),
            Ok(_) if pairs.is_empty() => Some(Refusal::Labels("there are none")),
            Ok(_) if self.admission.name_required && !pairs.iter().any(|(name, _)| name == METRIC_NAME) => {
                Some(Refusal::Labels("there is no metric name"))
            }
            Ok(_) => None,
        };
        if let Some(refusal) = refusal {
            let samples = series.floats.len() + series.histograms.len();
            return tally.refuse(&refusal, series.labels, samples as u64);
        }
        let labels: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let own = own.ok().flatten();
        self.sink.push(own.as_deref().unwrap_or(tenant), &SeriesWrite { labels: &labels, ..*series }, tally);
    }

    fn describe(&mut self, tenant: &str, family: &str, metadata: Metadata<'_>) {
        self.sink.describe(tenant, family, metadata);
    }
}
