//! The gRPC server of a role, and what ties it to the HTTP API: the gate that both pass.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use compat::http::QueryGate;
use compat::tenant::{NoTenant, ReadTenants};
use compat::web::{ClientCertificate, Protocol, WebAuth};
use engine::sql::SqlEngine;
use flight::{Admission, AdmissionPass, Authenticator, ConnectionLimits, FlightSettings, FlightSql, Tenants};
use futures::{Stream, stream};
use http::{Extensions, HeaderMap};
use storage::Clock;
use storage::model::TenantScope;
use tokio::sync::watch;

use crate::connections::{self, Connection, Port};
use crate::settings::{GrpcSettings, ServerSettings};

/// Who the client of a connection is, where its certificate was verified.
type Client = Option<ClientCertificate>;

/// An address that is listened on.
#[derive(Debug)]
pub struct GrpcPort {
    port: Port,
    limits: ConnectionLimits,
}

/// Takes the address, where there is one. TLS is that of the flags, else that of the web configuration file.
///
/// # Errors
/// Where another process has it, or it is not this machine's; or where certificates cannot be used any more.
pub async fn listen(settings: Option<GrpcSettings>, server: &ServerSettings) -> anyhow::Result<Option<GrpcPort>> {
    let Some(GrpcSettings { address, tls, limits }) = settings else { return Ok(None) };
    let port = connections::listen(&address, server.guard(tls, Protocol::Grpc)).await?;
    Ok(Some(GrpcPort { port, limits }))
}

impl GrpcPort {
    /// Whether client certificates are verified.
    ///
    /// # Errors
    /// Where they cannot be used any more.
    pub fn verifies_clients(&self) -> anyhow::Result<bool> {
        self.port.verifies_clients()
    }

    /// Flight SQL over `sql`, whose statements pass `gate` and whose callers are `users`; without any, everybody may call. `tenants`
    /// says what they see.
    ///
    /// # Errors
    /// Where it cannot be put together.
    pub fn serving(
        self,
        sql: SqlEngine,
        version: &str,
        clock: &Arc<dyn Clock>,
        (gate, tenants): (Arc<QueryGate>, &ReadTenants),
        users: &Option<Arc<WebAuth>>,
    ) -> anyhow::Result<GrpcServer> {
        let authenticator = users.clone().map(|users| Arc::new(WebUsers(users)) as Arc<dyn Authenticator>);
        let settings = FlightSettings {
            version: version.to_owned(),
            clock: Arc::clone(clock),
            authenticator,
            tenants: tenants.enforced().then(|| Arc::new(ReadBy(tenants.clone())) as Arc<dyn Tenants>),
            admission: Some(Arc::new(SharedGate(gate))),
        };
        let service = FlightSql::try_new(sql, settings).context("cannot put Flight SQL together")?;
        Ok(GrpcServer { port: self, service })
    }
}

/// A server that is about to serve.
pub struct GrpcServer {
    port: GrpcPort,
    service: FlightSql,
}

impl GrpcServer {
    /// Serves until it is told to stop.
    pub async fn serve(self, stop: watch::Receiver<bool>) {
        let GrpcPort { port, limits } = self.port;
        // large as a future
        Box::pin(flight::serve(accepted(port), self.service, stop, limits)).await;
    }
}

/// The connections of a port, each with who its client is.
fn accepted(port: Port) -> impl Stream<Item = (Connection, Client)> {
    stream::unfold(port.accept(), |mut connections| async {
        let connection = connections.next().await;
        let client = connection.client().cloned();
        Some(((connection, client), connections))
    })
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

/// The rule of the HTTP API.
#[derive(Debug)]
struct ReadBy(ReadTenants);

impl Tenants for ReadBy {
    fn scope(&self, metadata: &HeaderMap, extensions: &Extensions) -> Result<TenantScope, flight::NoTenant> {
        let client = extensions.get::<Client>().and_then(Option::as_ref);
        self.0.scope(metadata, client).map_err(|error| match error {
            NoTenant::NoCertificate | NoTenant::NoField(_) => flight::NoTenant::Unproven(error.to_string()),
            _ => flight::NoTenant::Invalid(error.to_string()),
        })
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
