//! The gRPC server of a role, and what ties it to the HTTP API: the gate that both pass.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use compat::http::QueryGate;
use compat::web::WebAuth;
use engine::sql::SqlEngine;
use flight::{Admission, AdmissionPass, Authenticator, FlightSettings, FlightSql};
use storage::Clock;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// A server that is about to serve.
pub struct GrpcServer {
    /// Where it listens.
    pub listener: TcpListener,
    /// What it serves.
    pub service: FlightSql,
    /// How long calls under way may take after a signal to stop.
    pub grace_period: Duration,
}

impl GrpcServer {
    /// Serves until it is told to stop.
    pub async fn serve(self, stop: watch::Receiver<bool>) {
        flight::serve(self.listener, self.service, stop, self.grace_period).await;
    }
}

/// Flight SQL over `sql`, whose statements pass `gate` and whose callers are `users`; without any, everybody may call.
///
/// # Errors
/// Where it cannot be put together.
pub fn flight(
    sql: SqlEngine,
    version: String,
    clock: &Arc<dyn Clock>,
    gate: Arc<QueryGate>,
    users: Option<Arc<WebAuth>>,
) -> anyhow::Result<FlightSql> {
    let settings = FlightSettings {
        version,
        clock: Arc::clone(clock),
        authenticator: users.map(|users| Arc::new(WebUsers(users)) as Arc<dyn Authenticator>),
        tenants: None,
        admission: Some(Arc::new(SharedGate(gate))),
    };
    FlightSql::try_new(sql, settings).context("cannot put Flight SQL together")
}

/// The users of the web configuration file.
#[derive(Debug)]
struct WebUsers(Arc<WebAuth>);

#[async_trait::async_trait]
impl Authenticator for WebUsers {
    async fn check(&self, credentials: Option<(&str, &str)>) -> bool {
        self.0.check(credentials.map(|(user, password)| (user, password.as_bytes()))).await.is_ok()
    }
}

/// The gate of the HTTP API.
#[derive(Debug)]
struct SharedGate(Arc<QueryGate>);

#[async_trait::async_trait]
impl Admission for SharedGate {
    async fn admit(&self, patience: Duration) -> Result<AdmissionPass, String> {
        match Arc::clone(&self.0).enter_owned(patience).await {
            Ok(pass) => Ok(Box::new(pass)),
            Err(error) => Err(error.to_string()),
        }
    }
}
