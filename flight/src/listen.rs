//! The gRPC server.

use std::convert::Infallible;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use futures::{Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tonic::transport::Server;

use crate::connection::Connection;
use crate::service::FlightSql;

/// Largest message that is read: statements and parameters are small.
const REQUEST_BYTES_MAX: usize = 4 << 20;
/// Largest message that is sent. Batches are cut to 2 MiB, unless a single row is larger.
const RESPONSE_BYTES_MAX: usize = 64 << 20;
/// Most calls of one connection at a time.
const STREAMS_MAX: u32 = 200;
/// How often a quiet connection is asked whether somebody is there.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// How long it may take until a client has begun.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often planned statements that wait too long are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// The service, with the sizes of messages limited.
#[must_use]
pub fn flight_service(service: FlightSql) -> FlightServiceServer<FlightSql> {
    FlightServiceServer::new(service)
        .max_decoding_message_size(REQUEST_BYTES_MAX)
        .max_encoding_message_size(RESPONSE_BYTES_MAX)
}

/// How long connections are kept.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// After that a client has to connect anew; calls under way end first. Without it a connection may stand for ever.
    pub age_max: Option<Duration>,
    /// How long calls under way may take after the server was told to stop.
    pub grace_period: Duration,
}

/// Serves until `stop` turns true, then for as long as calls are under way, at most for the grace period.
///
/// A connection comes with who its client is, which every call has as an extension. Who hands connections over limits how many there are.
pub async fn serve<S, C>(
    connections: impl Stream<Item = (S, C)>,
    service: FlightSql,
    stop: watch::Receiver<bool>,
    limits: ConnectionLimits,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    C: Clone + Unpin + Send + Sync + 'static,
{
    let told = |mut stop: watch::Receiver<bool>| async move {
        // whoever would say so is gone where it fails
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let held = service.held();
    let connections =
        connections.map(|(stream, client)| Ok::<_, Infallible>(Connection::new(stream, client, PREFACE_TIMEOUT)));
    let mut server = Server::builder();
    if let Some(age_max) = limits.age_max {
        server = server.max_connection_age(age_max);
    }
    let server = server
        .max_concurrent_streams(STREAMS_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .add_service(flight_service(service))
        .serve_with_incoming_shutdown(connections, told(stop.clone()));
    let over = async {
        told(stop).await;
        tokio::time::sleep(limits.grace_period).await;
    };
    // what nobody fetches gives its memory back
    let sweep = async {
        loop {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            held.drop_old();
        }
    };
    tokio::select! {
        () = sweep => {}
        ended = server => {
            if let Err(error) = ended {
                tracing::error!(%error, "the gRPC server ended");
            }
        }
        () = over => tracing::warn!("the grace period is over; gRPC connections are closed"),
    }
}
