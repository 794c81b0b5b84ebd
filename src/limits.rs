//! Limits on writing, from `--receive.limits-config` or its file, which is read again when it changes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use compat::http::LimitMetrics;
use compat::remote::{WriteLimits, Writer};
use storage::head::Head;

use crate::flags::LimitFlags;
use crate::settings;

/// The limits of now, and where they come from.
#[derive(Debug, Clone)]
pub struct LimitsSettings {
    limits: WriteLimits,
    text: String,
    /// Read again this often; none where the flag has the text itself.
    file: Option<PathBuf>,
    interval: Duration,
}

impl LimitsSettings {
    /// Reads them.
    ///
    /// # Errors
    /// Where the file cannot be read, or is wrong.
    pub fn try_new(flags: &LimitFlags) -> anyhow::Result<Self> {
        let given = (flags.file.as_deref(), flags.text.as_deref());
        let (text, source) = settings::path_or_content("--receive.limits-config", given)?.unwrap_or_default();
        let limits = WriteLimits::from_yaml(&text, &source)?;
        // shorter than this, a file on a busy disk would be all that is read
        let interval = flags.reload_timer.max(Duration::from_millis(100));
        Ok(Self { limits, text, file: flags.file.clone(), interval })
    }
}

/// Keeps writer and head to the limits.
#[derive(Debug)]
pub struct Limits {
    settings: LimitsSettings,
    writer: Arc<Writer>,
    head: Arc<Head>,
    metrics: LimitMetrics,
}

impl Limits {
    /// Sets the limits.
    pub fn new(settings: LimitsSettings, writer: Arc<Writer>, head: Arc<Head>, metrics: LimitMetrics) -> Self {
        let limits = Self { settings, writer, head, metrics };
        limits.set(&limits.settings.limits);
        limits
    }

    fn set(&self, limits: &WriteLimits) {
        self.head.set_series_limits(limits.series.clone());
        self.writer.set_limits(limits.clone());
        self.metrics.set(limits);
    }

    /// Looks again and again whether the file has changed. What is wrong with it is told, and the limits stay as they are.
    pub async fn watch(&self) {
        let Some(file) = &self.settings.file else { return };
        let mut text = self.settings.text.clone();
        loop {
            tokio::time::sleep(self.settings.interval).await;
            let read = tokio::fs::read_to_string(file).await;
            if read.as_ref().is_ok_and(|read| *read == text) {
                continue;
            }
            let source = file.display().to_string();
            let limits = read.with_context(|| format!("cannot read {source}")).and_then(|read| {
                text = read;
                Ok(WriteLimits::from_yaml(&text, &source)?)
            });
            match limits {
                Ok(limits) => {
                    self.set(&limits);
                    self.metrics.reloads.inc();
                    tracing::info!(file = source, "limits on writing are read again");
                }
                Err(error) => {
                    self.metrics.failures.inc();
                    tracing::error!(
                        file = source,
                        error = format!("{error:#}"),
                        "cannot read the limits on writing; those before hold"
                    );
                }
            }
        }
    }
}
