//! Trying again: exponential backoff, half of each pause at random, so that many shippers do not come back together.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use crate::error::{Error, Result};

/// How often, and with what pauses, a request to the bucket is tried within one sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// Tries, the first included.
    pub attempts: u32,
    /// Longest pause after the first failure; doubled after each one more.
    pub delay: Duration,
    /// Longest pause of all.
    pub delay_max: Duration,
}

impl Default for Retry {
    /// Five tries within about ten seconds.
    fn default() -> Self {
        Self { attempts: 5, delay: Duration::from_millis(500), delay_max: Duration::from_secs(10) }
    }
}

impl Retry {
    /// What `request` returns, tried again where that may help.
    pub(crate) async fn run<T, F: Future<Output = Result<T>>>(self, mut request: impl FnMut() -> F) -> Result<T> {
        let mut failures = 0;
        loop {
            let error = match request().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            failures += 1;
            if failures >= self.attempts || !may_pass(&error) {
                return Err(error);
            }
            let pause = self.pause(failures, random());
            tracing::debug!(%error, failures, ?pause, "a request to the bucket is tried again");
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// The pause after so many failures, between half and all of the longest, as `random` says.
    fn pause(self, failures: u32, random: u64) -> Duration {
        let doubled = 2_u32.checked_pow(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let half = self.delay.saturating_mul(doubled).min(self.delay_max) / 2;
        let nanos = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX);
        half + Duration::from_nanos(random.checked_rem(nanos).unwrap_or(0))
    }
}

/// Whether the bucket may answer otherwise next time. What it refuses now it will refuse again.
fn may_pass(error: &Error) -> bool {
    use object_store::Error as Refused;
    match error {
        Error::ObjectStore { source, .. } | Error::Upload { source, .. } => !matches!(
            **source,
            Refused::InvalidPath { .. }
                | Refused::NotSupported { .. }
                | Refused::NotImplemented { .. }
                | Refused::PermissionDenied { .. }
                | Refused::Unauthenticated { .. }
                | Refused::UnknownConfigurationKey { .. }
        ),
        _ => false,
    }
}

/// A number that nobody needs to foresee: every hasher has keys of its own.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let retry = Retry::default();
        let bounds = |failures| (retry.pause(failures, 0).as_millis(), retry.pause(failures, u64::MAX).as_millis());
        assert_eq!(bounds(1).0, 250);
        assert_eq!(bounds(3).0, 1_000);
        assert_eq!((bounds(6).0, bounds(u32::MAX).0), (5_000, 5_000));
        assert!((1..50).all(|n| bounds(n).1 < 2 * bounds(n).0 + 1));
        assert_eq!(Retry { delay: Duration::ZERO, ..retry }.pause(3, 7), Duration::ZERO);
    }

    #[tokio::test]
    async fn what_is_refused_is_not_tried_again() {
        let retry = Retry { delay: Duration::ZERO, ..Retry::default() };
        let denied = |path: &str| object_store::Error::PermissionDenied { path: path.into(), source: "no".into() };
        let cut = |_: &str| object_store::Error::Generic { store: "test", source: "cut".into() };
        for (error, expected) in [(&denied as &dyn Fn(&str) -> object_store::Error, 1), (&cut, 5)] {
            let mut tries = 0;
            let failed = retry
                .run(|| {
                    tries += 1;
                    std::future::ready(Err::<(), _>(Error::upload("x", "index", error("x"))))
                })
                .await;
            assert!(failed.is_err());
            assert_eq!(tries, expected);
        }
    }
}
