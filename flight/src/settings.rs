//! What the server is given: limits, who may come in, and what is asked before a statement runs.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use engine::sql::TenantRule;
use storage::Clock;

use crate::auth::Authenticator;

/// What is held while a statement runs, and given back on drop.
pub type AdmissionPass = Box<dyn Any + Send>;

/// Decides how many statements run at once: the gate that they share with queries over HTTP.
#[async_trait]
pub trait Admission: Send + Sync + Debug {
    /// Waits for a pass, at most for `patience`.
    ///
    /// # Errors
    /// A text for the client where too many wait, or it took too long.
    async fn admit(&self, patience: Duration) -> Result<AdmissionPass, String>;
}

/// How the server is run.
#[derive(Debug, Clone)]
pub struct FlightSettings {
    /// Of the program, which clients are told.
    pub version: String,
    /// What `now()` is.
    pub clock: Arc<dyn Clock>,
    /// Who checks users and passwords; none lets everybody in.
    pub authenticator: Option<Arc<dyn Authenticator>>,
    /// How a call names its tenant; none lets everybody see everything.
    pub tenants: Option<TenantRule>,
    /// What every statement passes; none lets all run.
    pub admission: Option<Arc<dyn Admission>>,
}
