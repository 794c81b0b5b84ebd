//! The connections of a port, whatever is spoken on it: how many there are, and their handshakes.
//!
//! ```text
//! listener ─> room for one more ─> handshake, as a task ─> Connection, which gives its room back when it is dropped
//! ```
//!
//! There are at most [`CONNECTIONS_MAX`] at once, those in their handshake included, and one whose handshake takes too long is closed. Every
//! port has its [`PortGuard`].

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use anyhow::Context;
use compat::web::{Accepted, ClientCertificate, PortGuard};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use crate::settings::ListenAddress;

/// Most connections of a port at once; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 4096;
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait after the system had no room for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// An address that is listened on, and what stands before it.
#[derive(Debug)]
pub struct Port {
    listener: TcpListener,
    guard: Arc<PortGuard>,
}

/// Takes the address.
///
/// # Errors
/// Where another process has it, or it is not this machine's; or where the guard's files cannot be used any more.
pub async fn listen(address: &ListenAddress, guard: PortGuard) -> anyhow::Result<Port> {
    let listener = TcpListener::bind(address.address).await;
    let listener = listener.with_context(|| format!("cannot listen on {}", address.text))?;
    let local: SocketAddr = listener.local_addr().unwrap_or(address.address);
    let tls = guard.speaks_tls()?;
    if guard.asks_for_users()? && !tls {
        tracing::warn!(address = address.text, "passwords come in the clear: there is no TLS");
    }
    tracing::info!(tls, address = %local, "listening for {}", guard.protocol());
    Ok(Port { listener, guard: Arc::new(guard) })
}

impl Port {
    /// Whether client certificates are verified.
    ///
    /// # Errors
    /// Where the guard's files cannot be used any more.
    pub fn verifies_clients(&self) -> anyhow::Result<bool> {
        Ok(self.guard.verifies_clients()?)
    }

    /// What its requests pass.
    pub const fn guard(&self) -> &Arc<PortGuard> {
        &self.guard
    }

    /// The same address once more.
    ///
    /// # Errors
    /// Where the system has no room for it.
    pub fn shared(&self) -> anyhow::Result<Self> {
        let listener = rustix::io::dup(&self.listener).context("cannot share the address")?;
        let listener = TcpListener::from_std(listener.into()).context("cannot share the address")?;
        Ok(Self { listener, guard: Arc::clone(&self.guard) })
    }

    /// Begins to accept.
    pub fn accept(self) -> Connections {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        Connections { port: self, room, handshakes: JoinSet::new() }
    }
}

/// Accepts connections; no more where it is dropped, and handshakes under way end with it.
#[derive(Debug)]
pub struct Connections {
    port: Port,
    room: Arc<Semaphore>,
    handshakes: JoinSet<Option<Connection>>,
}

impl Connections {
    /// The next connection that is ready. A call that is given up loses none.
    pub async fn next(&mut self) -> Connection {
        loop {
            tokio::select! {
                (stream, room) = accept(&self.port.listener, &self.room) => {
                    self.handshakes.spawn(handshake(stream, room, Arc::clone(&self.port.guard)));
                }
                Some(ended) = self.handshakes.join_next(), if !self.handshakes.is_empty() => {
                    if let Ok(Some(connection)) = ended {
                        return connection;
                    }
                }
            }
        }
    }
}

async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> (TcpStream, Option<OwnedSemaphorePermit>) {
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

async fn handshake(stream: TcpStream, room: Option<OwnedSemaphorePermit>, guard: Arc<PortGuard>) -> Option<Connection> {
    // only makes small answers later where it fails
    let _ = stream.set_nodelay(true);
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, guard.accept(stream)).await {
        Ok(Ok(accepted)) => return Some(Connection { accepted, _room: room }),
        Ok(Err(error)) => tracing::debug!(%error, "a connection was refused"),
        Err(_) => tracing::debug!("a TLS handshake took too long"),
    }
    None
}

/// A connection that is ready for the port's protocol.
#[derive(Debug)]
pub struct Connection {
    accepted: Accepted,
    /// Its place among those of the port.
    _room: Option<OwnedSemaphorePermit>,
}

/// Either kind of stream.
trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

impl Connection {
    /// Who the client is, where its certificate was verified.
    pub const fn client(&self) -> Option<&ClientCertificate> {
        match &self.accepted {
            Accepted::Plain(_) => None,
            Accepted::Tls(_, client) => client.as_ref(),
        }
    }

    fn stream(&mut self) -> Pin<&mut dyn Stream> {
        match &mut self.accepted {
            Accepted::Plain(stream) => Pin::new(stream),
            Accepted::Tls(stream, _) => Pin::new(&mut **stream),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut TaskContext<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream().poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut TaskContext<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().stream().poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream().poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().stream().poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.accepted {
            Accepted::Plain(stream) => stream.is_write_vectored(),
            Accepted::Tls(stream, _) => stream.is_write_vectored(),
        }
    }
}

#[cfg(test)]
mod tests {
    use compat::web::Protocol;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_connection_gives_its_room_back() {
        let address = ListenAddress { text: String::new(), address: ([127, 0, 0, 1], 0).into() };
        let port = listen(&address, PortGuard::new(None, None, Protocol::Grpc)).await.unwrap();
        let address = port.listener.local_addr().unwrap();
        let mut connections = Connections { room: Arc::new(Semaphore::new(2)), ..port.accept() };
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(TcpStream::connect(address).await.unwrap());
        }
        let (one, _two) = (connections.next().await, connections.next().await);
        let full = timeout(Duration::from_millis(100), connections.next()).await;
        assert!(full.is_err(), "there is room for two");
        drop(one);
        timeout(Duration::from_secs(10), connections.next()).await.expect("there is room again");
    }
}
