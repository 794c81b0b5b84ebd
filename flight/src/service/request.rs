//! What a call's metadata says of its statement.

use std::time::Duration;

use engine::sql::SqlRequest;
use storage::model::TenantScope;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

use super::{Dictionaries, FlightSql};
use crate::settings::{AdmissionPass, NoTenant};

/// Whether replicas are joined: `true` unless set to `false`.
const DEDUP: &str = "quiver-dedup";
/// Labels that tell replicas apart, with commas.
const REPLICA_LABELS: &str = "quiver-replica-labels";

/// Whether labels are sent as dictionaries.
const DICTIONARIES: &str = "quiver-dictionaries";

impl FlightSql {
    /// Lets a call in and makes a request of it.
    ///
    /// # Errors
    /// `UNAUTHENTICATED`, `INVALID_ARGUMENT` for metadata that means nothing, and as [`Tenants::scope`](crate::Tenants::scope).
    pub(super) async fn request<T: Sync>(&self, call: &Request<T>, text: String) -> Result<SqlRequest, Status> {
        let metadata = call.metadata();
        self.door.let_in(metadata).await?;
        let header = |name: &str| match metadata.get(name) {
            Some(value) => match value.to_str() {
                Ok(value) => Ok(Some(value)),
                Err(_) => Err(Status::invalid_argument(format!("the metadata {name} is not ASCII"))),
            },
            None => Ok(None),
        };
        let tenant = match &self.settings.tenants {
            Some(tenants) => tenants.scope(metadata.as_ref(), call.extensions()).map_err(no_tenant)?,
            None => TenantScope::All,
        };
        let dedup = match header(DEDUP)? {
            None | Some("true") => true,
            Some("false") => false,
            Some(_) => return Err(Status::invalid_argument(format!("{DEDUP} is true or false"))),
        };
        let labels = |list: &str| list.split(',').map(|label| label.trim().to_owned()).collect::<Vec<_>>();
        Ok(SqlRequest {
            tenant,
            dedup,
            replica_labels: header(REPLICA_LABELS)?.map(labels),
            timeout: header("grpc-timeout")?.and_then(grpc_timeout),
            ..SqlRequest::new(text, self.settings.clock.now())
        })
    }

    /// Waits for a pass.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED`
    pub(super) async fn admit(&self, timeout: Option<Duration>) -> Result<Option<AdmissionPass>, Status> {
        let Some(admission) = &self.settings.admission else { return Ok(None) };
        let patience = self.sql.engine().time_allowed(timeout);
        admission.admit(patience).await.map(Some).map_err(Status::resource_exhausted)
    }
}

fn no_tenant(reason: NoTenant) -> Status {
    match reason {
        NoTenant::Invalid(text) => Status::invalid_argument(text),
        NoTenant::Unproven(text) => Status::unauthenticated(text),
    }
}

/// Whether a call's client is sent dictionaries: all are, unless they say otherwise, but for those in Java. The JDBC driver takes the keys
/// of a dictionary for its values.
///
/// # Errors
/// `INVALID_ARGUMENT`
pub(super) fn dictionaries(metadata: &MetadataMap) -> Result<Dictionaries, Status> {
    match metadata.get(DICTIONARIES).map(tonic::metadata::MetadataValue::as_bytes) {
        Some(b"true") => Ok(Dictionaries::Kept),
        Some(b"false") => Ok(Dictionaries::Flat),
        Some(_) => Err(Status::invalid_argument(format!("{DICTIONARIES} is true or false"))),
        None => {
            let agent = metadata.get("user-agent").and_then(|agent| agent.to_str().ok()).unwrap_or("");
            Ok(if agent.contains("java") { Dictionaries::Flat } else { Dictionaries::Kept })
        }
    }
}

/// A timeout as gRPC writes it: up to eight digits and a unit.
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3_600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dictionaries_are_for_who_can_read_them() {
        let check = |name: &'static str, value: &'static str, expected: Option<Dictionaries>| {
            let mut metadata = MetadataMap::new();
            metadata.insert(name, value.parse().unwrap());
            assert_eq!(dictionaries(&metadata).ok(), expected, "{name}: {value}");
        };
        check("user-agent", "grpc-go/1.79.3", Some(Dictionaries::Kept));
        check("user-agent", "grpc-java-netty/1.71.0", Some(Dictionaries::Flat));
        check("quiver-dictionaries", "false", Some(Dictionaries::Flat));
        check("quiver-dictionaries", "maybe", None);
    }

    #[test]
    fn timeouts_are_read() {
        assert_eq!(grpc_timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(grpc_timeout("2M"), Some(Duration::from_secs(120)));
        for wrong in ["", "m", "1", "123456789S", "-1S", "1é"] {
            assert_eq!(grpc_timeout(wrong), None, "{wrong}");
        }
    }
}
