//! Roles that work by themselves and answer no queries: their work, and the pages that tell of it.

use axum::Router;
use compat::http::{Readiness, StatusApi};
use compat::web::Protocol;
use tokio::sync::watch;

use crate::connections;
use crate::server;
use crate::settings::ServerSettings;
use crate::signals::stop_signal;

/// What is served beside the work.
pub struct Pages {
    /// Status, metrics and probes.
    pub status: StatusApi,
    /// What else there is below `/api/v1`.
    pub v1: Router,
    /// Set while the work goes on.
    pub readiness: Readiness,
}

/// Does `work` until it ends or a signal comes, and serves `pages` meanwhile. After a signal the work is dropped where it is.
///
/// # Errors
/// The work's, or where the address cannot be had.
pub async fn run(
    server: &ServerSettings,
    pages: Pages,
    work: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let port = connections::listen(&server.address, server.guard(None, Protocol::Http)).await?;
    let (stop, stopped) = watch::channel(false);
    let serving = server::serve(port, pages.status.router(pages.v1, Router::new()), stopped, server.grace_period);
    let working = async {
        pages.readiness.set(true);
        let ended = tokio::select! {
            ended = work => ended,
            signal = stop_signal() => signal.map(|signal| tracing::info!(signal, "stopping")),
        };
        pages.readiness.set(false);
        // only fails where nobody serves any more
        let _ = stop.send(true);
        ended
    };
    let ((), ended) = tokio::join!(serving, working);
    ended
}
