//! The HTTP server: serves each connection as a task of its own, and stops without cutting answers short.
//!
//! A connection whose headers do not arrive in time is closed. After a signal no further connection is taken; those that are open
//! finish the request under way, or are closed at the end of the grace period. Requests pass the port's guard first.

use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::connections::{Connection, Port};

/// How long the headers of a request may take.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves `router` until `stop` turns true, then for as long as requests are under way, at most for the grace period.
pub async fn serve(port: Port, router: Router, stop: watch::Receiver<bool>, grace_period: Duration) {
    let router = port.guard().protect(router);
    let mut accepting = port.accept();
    let mut connections = JoinSet::new();
    let mut stopping = stop.clone();
    loop {
        tokio::select! {
            connection = accepting.next() => {
                connections.spawn(serve_connection(connection, router.clone(), stop.clone()));
            }
            _ = stopping.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
    drop(accepting);
    let finished = tokio::time::timeout(grace_period, async { while connections.join_next().await.is_some() {} }).await;
    if finished.is_err() {
        tracing::warn!(connections = connections.len(), "the grace period is over; connections are closed");
    }
}

/// Does `work` while requests to `port` are answered by `router`; connections that are open then are closed.
///
/// # Errors
/// Where the listener cannot be shared.
pub async fn meanwhile<T>(port: &Port, router: Router, work: impl Future<Output = T>) -> anyhow::Result<T> {
    let shared = port.shared()?;
    let (_stop, stopped) = watch::channel(false);
    tokio::select! {
        done = work => Ok(done),
        // it ends when it is told to, and here nobody does
        () = serve(shared, router, stopped, Duration::ZERO) => anyhow::bail!("the server ended while it started"),
    }
}

/// Answers requests, each of which carries who the client is.
async fn serve_connection(connection: Connection, router: Router, mut stop: watch::Receiver<bool>) {
    let client = connection.client().cloned();
    let service = tower::util::MapRequest::new(router, move |mut request: http::Request<hyper::body::Incoming>| {
        if let Some(client) = &client {
            request.extensions_mut().insert(client.clone());
        }
        request
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(connection), TowerToHyperService::new(service));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => {
            log_end(ended);
            return;
        }
        _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    log_end(connection.await);
}

/// Clients go away all the time: worth a word only to who looks for it.
fn log_end(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
