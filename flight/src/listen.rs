//! The gRPC server.

use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::service::FlightSql;

/// Largest message that is read: statements and parameters are small.
const REQUEST_BYTES_MAX: usize = 4 << 20;
/// Largest message that is sent. Batches are cut to 2 MiB, unless a single row is larger.
const RESPONSE_BYTES_MAX: usize = 64 << 20;
/// Most calls of one connection at a time.
const STREAMS_MAX: u32 = 200;
/// How often a quiet connection is asked whether somebody is there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// How often planned statements that wait too long are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// The service, with the sizes of messages limited.
#[must_use]
pub fn flight_service(service: FlightSql) -> FlightServiceServer<FlightSql> {
    FlightServiceServer::new(service)
        .max_decoding_message_size(REQUEST_BYTES_MAX)
        .max_encoding_message_size(RESPONSE_BYTES_MAX)
}

/// Serves until `stop` turns true, then for as long as calls are under way, at most for the grace period.
pub async fn serve(listener: TcpListener, service: FlightSql, stop: watch::Receiver<bool>, grace_period: Duration) {
    let told = |mut stop: watch::Receiver<bool>| async move {
        // whoever would say so is gone where it fails
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let held = service.held();
    let server = Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .tcp_nodelay(true)
        .add_service(flight_service(service))
        .serve_with_incoming_shutdown(TcpIncoming::from(listener), told(stop.clone()));
    let over = async {
        told(stop).await;
        tokio::time::sleep(grace_period).await;
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
