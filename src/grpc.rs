//! The gRPC server of a role, and what ties it to the HTTP API: the gate that both pass.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use compat::http::QueryGate;
use compat::tenant::{NoTenant, ReadTenants};
use compat::web::WebAuth;
use engine::sql::SqlEngine;
use flight::{Admission, AdmissionPass, Authenticator, FlightSettings, FlightSql, Tenants};
use http::HeaderMap;
use storage::Clock;
use storage::model::TenantScope;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::server;
use crate::settings::GrpcSettings;

/// An address that is listened on.
#[derive(Debug)]
pub struct GrpcPort {
    listener: TcpListener,
    grace_period: Duration,
}

/// Takes the address, where there is one.
///
/// # Errors
/// Where another process has it, or it is not this machine's.
pub async fn listen(settings: Option<&GrpcSettings>) -> anyhow::Result<Option<GrpcPort>> {
    let Some(settings) = settings else { return Ok(None) };
    let listener = server::listen_grpc(&settings.address).await?;
    Ok(Some(GrpcPort { listener, grace_period: settings.grace_period }))
}

impl GrpcPort {
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
        flight::serve(self.port.listener, self.service, stop, self.port.grace_period).await;
    }
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

/// The rule of the HTTP API. No call shows a certificate, since gRPC speaks no TLS yet.
#[derive(Debug)]
struct ReadBy(ReadTenants);

impl Tenants for ReadBy {
    fn scope(&self, metadata: &HeaderMap) -> Result<TenantScope, flight::NoTenant> {
        self.0.scope(metadata, None).map_err(|error| match error {
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
