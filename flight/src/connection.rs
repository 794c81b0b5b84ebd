//! One connection as tonic takes it: who its client is goes with every call, and a client that does not begin in time is cut off.
//!
//! A server of HTTP/2 asks a quiet client whether it is there, but not before the client has sent its preface.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tonic::transport::server::Connected;

/// What a client of HTTP/2 sends first, in bytes: `PRI * HTTP/2.0` and what follows it.
const PREFACE_BYTES: usize = 24;

/// A connection of a client that is `C`.
pub(crate) struct Connection<S, C> {
    stream: S,
    client: C,
    /// Until the preface has come.
    beginning: Option<Beginning>,
}

struct Beginning {
    missing_bytes: usize,
    deadline: Pin<Box<Sleep>>,
}

impl<S, C> Connection<S, C> {
    pub(crate) fn new(stream: S, client: C, patience: Duration) -> Self {
        let beginning = Beginning { missing_bytes: PREFACE_BYTES, deadline: Box::pin(sleep(patience)) };
        Self { stream, client, beginning: Some(beginning) }
    }
}

impl<S, C: Clone + Send + Sync + 'static> Connected for Connection<S, C> {
    type ConnectInfo = C;

    fn connect_info(&self) -> C {
        self.client.clone()
    }
}

impl<S: AsyncRead + Unpin, C: Unpin> AsyncRead for Connection<S, C> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        let Some(beginning) = &mut self.beginning else { return polled };
        if polled.is_pending() {
            let over = beginning.deadline.as_mut().poll(cx);
            return over.map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "the client did not begin in time")));
        }
        beginning.missing_bytes = beginning.missing_bytes.saturating_sub(buf.filled().len() - before);
        if beginning.missing_bytes == 0 {
            self.beginning = None;
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin, C: Unpin> AsyncWrite for Connection<S, C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const SHORT: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn who_does_not_begin_is_cut_off() {
        for sent in [0, 1, PREFACE_BYTES - 1] {
            let (mut client, server) = duplex(64);
            let mut connection = Connection::new(server, (), SHORT);
            client.write_all(&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..sent]).await.unwrap();
            let error = connection.read_to_end(&mut Vec::new()).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{sent}");
        }
    }

    #[tokio::test]
    async fn who_has_begun_may_be_quiet() {
        let (mut client, server) = duplex(64);
        let mut connection = Connection::new(server, (), SHORT);
        client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        connection.read_exact(&mut [0; PREFACE_BYTES]).await.unwrap();
        let quiet = async {
            sleep(SHORT * 2).await;
            client.write_all(b"x").await.unwrap();
        };
        let (byte, ()) = tokio::join!(connection.read_u8(), quiet);
        assert_eq!(byte.unwrap(), b'x');
    }
}
