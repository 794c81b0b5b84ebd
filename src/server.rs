//! The HTTP server: accepts connections, serves each as a task of its own, and stops without cutting answers short.
//!
//! A connection whose headers do not arrive in time is closed, and there are at most [`CONNECTIONS_MAX`] at once. After a signal
//! no further connection is taken; those that are open finish the request under way, or are closed at the end of the grace
//! period.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::settings::ListenAddress;

/// Most connections at once; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 4096;
/// How long the headers of a request may take.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait after the system had no room for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Takes the address.
///
/// # Errors
/// Where another process has it, or it is not this machine's.
pub async fn listen(address: &ListenAddress) -> anyhow::Result<TcpListener> {
    let listener =
        TcpListener::bind(address.address).await.with_context(|| format!("cannot listen on {}", address.text))?;
    tracing::info!(address = %listener.local_addr().unwrap_or(address.address), "listening for HTTP");
    Ok(listener)
}

/// Serves `router` until `stop` turns true, then for as long as requests are under way, at most for the grace period.
pub async fn serve(listener: TcpListener, router: axum::Router, stop: watch::Receiver<bool>, grace_period: Duration) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let mut stopping = stop.clone();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &room) => accepted,
            _ = stopping.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        let (stream, permit) = accepted;
        let (router, stop) = (router.clone(), stop.clone());
        connections.spawn(async move {
            serve_connection(stream, router, stop).await;
            drop(permit);
        });
    }
    drop(listener);
    let finished = tokio::time::timeout(grace_period, async { while connections.join_next().await.is_some() {} }).await;
    if finished.is_err() {
        tracing::warn!(connections = connections.len(), "the grace period is over; connections are closed");
    }
}

/// Does `work` while requests to `listener` are answered by `router`; connections that are open then are closed.
///
/// # Errors
/// Where the listener cannot be shared.
pub async fn meanwhile<T>(
    listener: &TcpListener,
    router: axum::Router,
    work: impl Future<Output = T>,
) -> anyhow::Result<T> {
    let shared = rustix::io::dup(listener).context("cannot share the address")?;
    let shared = TcpListener::from_std(shared.into()).context("cannot share the address")?;
    let (_stop, stopped) = watch::channel(false);
    tokio::select! {
        done = work => Ok(done),
        // it ends when it is told to, and here nobody does
        () = serve(shared, router, stopped, Duration::ZERO) => anyhow::bail!("the server ended while it started"),
    }
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> (TcpStream, Option<tokio::sync::OwnedSemaphorePermit>) {
    // the semaphore is never closed
    let permit = Arc::clone(room).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, permit),
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, router: axum::Router, mut stop: watch::Receiver<bool>) {
    // only makes small answers later where it fails
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
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
