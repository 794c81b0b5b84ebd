//! The HTTP server: accepts connections, serves each as a task of its own, and stops without cutting answers short.
//!
//! A connection whose handshake or headers do not arrive in time is closed, and there are at most [`CONNECTIONS_MAX`] at once, those
//! in their handshake included. After a signal no further connection is taken; those that are open finish the request under way, or are
//! closed at the end of the grace period. Every port has its [`PortGuard`], which requests pass first.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use compat::web::{Accepted, ClientCertificate, PortGuard};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::settings::ListenAddress;

/// Most connections at once; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 4096;
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the headers of a request may take.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait after the system had no room for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// An address that is listened on, and what stands before it.
pub struct Port {
    listener: TcpListener,
    guard: Arc<PortGuard>,
}

impl Port {
    /// Whether client certificates are verified.
    ///
    /// # Errors
    /// Where the guard's files cannot be used any more.
    pub fn verifies_clients(&self) -> anyhow::Result<bool> {
        Ok(self.guard.verifies_clients()?)
    }
}

/// Takes the address.
///
/// # Errors
/// Where another process has it, or it is not this machine's; or where the guard's files cannot be used any more.
pub async fn listen(address: &ListenAddress, guard: PortGuard) -> anyhow::Result<Port> {
    let (listener, local) = bind(address).await?;
    let tls = guard.speaks_tls()?;
    if guard.asks_for_users()? && !tls {
        tracing::warn!(address = address.text, "passwords come in the clear: there is no tls_server_config");
    }
    tracing::info!(tls, address = %local, "listening for HTTP");
    Ok(Port { listener, guard: Arc::new(guard) })
}

/// As [`listen`], for the gRPC server.
///
/// # Errors
/// As [`listen`].
pub async fn listen_grpc(address: &ListenAddress) -> anyhow::Result<TcpListener> {
    let (listener, local) = bind(address).await?;
    tracing::info!(address = %local, "listening for gRPC");
    Ok(listener)
}

async fn bind(address: &ListenAddress) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address.address).await;
    let listener = listener.with_context(|| format!("cannot listen on {}", address.text))?;
    let local = listener.local_addr().unwrap_or(address.address);
    Ok((listener, local))
}

/// Serves `router` until `stop` turns true, then for as long as requests are under way, at most for the grace period.
pub async fn serve(port: Port, router: Router, stop: watch::Receiver<bool>, grace_period: Duration) {
    let Port { listener, guard } = port;
    let router = guard.protect(router);
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
        let (guard, router, stop) = (Arc::clone(&guard), router.clone(), stop.clone());
        connections.spawn(async move {
            serve_connection(stream, &guard, router, stop).await;
            drop(permit);
        });
    }
    drop(listener);
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
    let listener = rustix::io::dup(&port.listener).context("cannot share the address")?;
    let listener = TcpListener::from_std(listener.into()).context("cannot share the address")?;
    let shared = Port { listener, guard: Arc::clone(&port.guard) };
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

/// Does the handshake, and then answers requests.
async fn serve_connection(stream: TcpStream, guard: &PortGuard, router: Router, mut stop: watch::Receiver<bool>) {
    // only makes small answers later where it fails
    let _ = stream.set_nodelay(true);
    let accepted = tokio::select! {
        accepted = tokio::time::timeout(HANDSHAKE_TIMEOUT, guard.accept(stream)) => accepted,
        _ = stop.wait_for(|stop| *stop) => return,
    };
    match accepted {
        Ok(Ok(Accepted::Plain(stream))) => serve_http(stream, None, router, stop).await,
        Ok(Ok(Accepted::Tls(stream, client))) => serve_http(stream, client, router, stop).await,
        Ok(Err(error)) => tracing::debug!(%error, "a connection was refused"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
}

/// Answers requests, each of which carries who the client is.
async fn serve_http<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    client: Option<ClientCertificate>,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let service = tower::util::MapRequest::new(router, move |mut request: http::Request<hyper::body::Incoming>| {
        if let Some(client) = &client {
            request.extensions_mut().insert(client.clone());
        }
        request
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
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
