//! `/-/healthy` and `/-/ready`: what a supervisor asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::routing::get;
use http::StatusCode;

/// Whether requests are welcome. Shared with whoever starts and stops the server.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Not ready yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says whether requests are welcome from now on.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    /// Whether requests are welcome.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What answers while a log is replayed, which can take a while: the process lives, and nothing else can be had yet.
pub fn starting_router() -> Router {
    let starting = || async { (StatusCode::SERVICE_UNAVAILABLE, "starting: the write-ahead log is being replayed\n") };
    Router::new().route("/-/healthy", get(healthy)).fallback(starting)
}

/// The process lives.
pub async fn healthy() -> &'static str {
    "OK"
}
