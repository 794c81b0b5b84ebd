//! What the server is given: limits, who may come in, and what is asked before a statement runs.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{Extensions, HeaderMap};
use storage::Clock;
use storage::model::TenantScope;

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

/// Why a call is no tenant's, in a text for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoTenant {
    /// It names one that cannot be, or none: `INVALID_ARGUMENT`.
    Invalid(String),
    /// It does not prove whose it is: `UNAUTHENTICATED`.
    Unproven(String),
}

/// Decides whose series a call may see.
pub trait Tenants: Send + Sync + Debug {
    /// The scope of a call with this metadata, whose `extensions` hold who the client of its connection is.
    ///
    /// # Errors
    /// Where it is no tenant's and has to be one's.
    fn scope(&self, metadata: &HeaderMap, extensions: &Extensions) -> Result<TenantScope, NoTenant>;
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
    /// Whose series a call may see; none lets everybody see everything.
    pub tenants: Option<Arc<dyn Tenants>>,
    /// What every statement passes; none lets all run.
    pub admission: Option<Arc<dyn Admission>>,
}
