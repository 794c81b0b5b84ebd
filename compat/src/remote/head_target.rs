//! A head as what writes go to.

use std::sync::Arc;

use async_trait::async_trait;
use storage::head::{Appender, Commit, Head, Metadata, Outcome, Rejection, SeriesWrite};
use storage::wal::WalError;

use super::target::{Refusal, SeriesSink, Tally, WriteError, WriteRequest, WriteTarget};

/// Writes to a head, and is done when its log is durable.
#[derive(Debug)]
pub struct HeadTarget(pub Arc<Head>);

#[async_trait]
impl WriteTarget for HeadTarget {
    async fn write(&self, request: &mut dyn WriteRequest) -> Result<(), WriteError> {
        for commit in self.append(request)? {
            self.0.durable(&commit).await.map_err(unavailable)?;
        }
        Ok(())
    }
}

impl HeadTarget {
    /// Puts everything into memory and into the log's buffer. What came before damage in the body is given up, as far as it was not
    /// applied yet.
    fn append(&self, request: &mut dyn WriteRequest) -> Result<Vec<Commit>, WriteError> {
        let mut sink = HeadSink { head: &self.0, appenders: Vec::new() };
        request.visit(&mut sink)?;
        let mut commits = Vec::with_capacity(sink.appenders.len());
        for (_, appender) in sink.appenders {
            let commit = appender.commit().map_err(unavailable)?;
            enter(&commit.outcome, request.tally());
            commits.push(commit);
        }
        Ok(commits)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "map_err hands it over")]
fn unavailable(error: WalError) -> WriteError {
    WriteError::Unavailable(error.to_string())
}

/// An appender for each tenant of a request; mostly there is one.
struct HeadSink<'h> {
    head: &'h Head,
    appenders: Vec<(String, Appender<'h>)>,
}

impl SeriesSink for HeadSink<'_> {
    fn push(&mut self, tenant: &str, series: &SeriesWrite<'_>, _tally: &mut Tally) {
        let at = match self.appenders.iter().rposition(|(name, _)| name == tenant) {
            Some(at) => at,
            None => {
                self.appenders.push((tenant.to_owned(), self.head.appender(tenant)));
                self.appenders.len() - 1
            }
        };
        self.appenders[at].1.push(series);
    }

    fn describe(&mut self, tenant: &str, family: &str, metadata: Metadata<'_>) {
        self.head.describe(tenant, family, metadata);
    }
}

/// Enters in the tally what became of a commit.
fn enter(outcome: &Outcome, tally: &mut Tally) {
    tally.floats += outcome.floats;
    tally.histograms += outcome.histograms;
    tally.exemplars += outcome.exemplars;
    for (reason, count) in &outcome.rejected {
        let refusal = refusal(*reason);
        let mut untold = *count;
        for rejected in outcome.rejections.iter().filter(|rejected| rejected.reason == *reason) {
            let pairs: Vec<(String, String)> =
                rejected.labels.iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
            let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            tally.refuse(&refusal, &pairs, 1);
            untold = untold.saturating_sub(1);
        }
        if untold > 0 {
            tally.refuse_untold(&refusal, untold);
        }
    }
}

fn refusal(rejection: Rejection) -> Refusal {
    match rejection {
        Rejection::OutOfOrder => Refusal::OutOfOrder,
        Rejection::TooOld => Refusal::TooOld,
        Rejection::Duplicate => Refusal::Duplicate,
        Rejection::TooFarInFuture => Refusal::TooFarAhead,
        Rejection::ReservedLabel => Refusal::Labels("a label's name is reserved"),
        Rejection::InvalidHistogram => Refusal::HistogramLayout,
        Rejection::TooManyLabels => Refusal::HeadFull,
        Rejection::SeriesLimit => Refusal::SeriesLimit,
        Rejection::ExemplarOutOfOrder => Refusal::ExemplarOutOfOrder,
        Rejection::ExemplarLabelsTooLong => Refusal::ExemplarLabels,
        Rejection::ExemplarOfUnknownSeries => Refusal::ExemplarOfUnknownSeries,
        // and what a later head may come up with
        _ => Refusal::OutOfBounds,
    }
}

#[cfg(test)]
mod tests;
