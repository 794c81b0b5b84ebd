//! The metrics of this process, written into its own head, so that there is something to see from the first minute on.

use std::sync::Arc;
use std::time::Duration;

use compat::http::own_samples;
use prometheus_client::registry::Registry;
use storage::Clock;
use storage::head::{FloatSample, Head, SeriesWrite};

/// How often they are written.
const INTERVAL: Duration = Duration::from_secs(15);
/// Whose job they are.
const JOB: &str = "quiver";
/// Whose they are. Not the default tenant's: samples of now would make those too old that come late, after an outage of a sender.
const TENANT: &str = "quiver";

/// Where they come from and go to.
#[derive(Debug)]
pub struct OwnMetrics {
    /// What `/metrics` serves.
    pub registry: Arc<Registry>,
    /// The head.
    pub head: Arc<Head>,
    /// Tells the time of samples.
    pub clock: Arc<dyn Clock>,
    /// The label `instance`: the address that is listened on.
    pub instance: String,
}

impl OwnMetrics {
    /// Writes them again and again.
    pub async fn forever(&self) {
        loop {
            self.write().await;
            tokio::time::sleep(INTERVAL).await;
        }
    }

    async fn write(&self) {
        let t = self.clock.now();
        let mut samples = own_samples(&self.registry);
        samples.push((vec![("__name__".to_owned(), "up".to_owned())], 1.0));
        let committed = {
            let mut appender = self.head.appender(TENANT);
            for (labels, value) in &samples {
                let own = [("instance", self.instance.as_str()), ("job", JOB)];
                let mut labels: Vec<(&str, &str)> =
                    labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(own).collect();
                labels.sort_unstable();
                let floats = [FloatSample { t, start: 0, value: *value }];
                appender.push(&SeriesWrite {
                    labels: &labels,
                    floats: &floats,
                    histograms: &[],
                    exemplars: &[],
                    metadata: None,
                });
            }
            appender.commit()
        };
        match committed {
            Ok(commit) if commit.outcome.rejected_count() == 0 => {}
            Ok(commit) => tracing::debug!(rejected = commit.outcome.rejected_count(), "not all own metrics were taken"),
            Err(error) => tracing::debug!(%error, "own metrics are not written"),
        }
    }
}
