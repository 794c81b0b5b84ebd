//! Names of tenants. They become folders and labels, so only harmless ones get in.

use http::{HeaderMap, HeaderName};

use crate::web::ClientCertificate;

/// The header that Thanos's components use among themselves.
pub const DEFAULT_TENANT_HEADER: &str = "THANOS-TENANT";
/// The tenant of a request that names none.
pub const DEFAULT_TENANT: &str = "default-tenant";
/// Longest name, in bytes: a folder's name can have 255.
const NAME_MAX: usize = 150;

/// Whether a tenant may have this name: letters, digits, `_`, `-` and `.`, but neither `.` nor `..`.
#[must_use]
pub fn is_valid_tenant(name: &str) -> bool {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    !name.is_empty() && name.len() <= NAME_MAX && name != "." && name != ".." && name.bytes().all(harmless)
}

/// A request that names a tenant which cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "tenant name not valid: it has to be 1 to {NAME_MAX} of A-Z, a-z, 0-9, '_', '-' and '.', and neither '.' nor '..'"
)]
pub struct InvalidTenant;

/// The tenant that the header names; `default` where there is none. As in Thanos, the header `THANOS-TENANT` is looked at too.
///
/// # Errors
/// Where the name cannot be a tenant's.
pub fn tenant_of(headers: &HeaderMap, header: &HeaderName, default: &str) -> Result<String, InvalidTenant> {
    let named = headers.get(header).filter(|value| !value.is_empty());
    let named = named.or_else(|| headers.get(DEFAULT_TENANT_HEADER).filter(|value| !value.is_empty()));
    let name = match named {
        Some(value) => value.to_str().map_err(|_| InvalidTenant)?,
        None => default,
    };
    if is_valid_tenant(name) { Ok(name.to_owned()) } else { Err(InvalidTenant) }
}

/// Which name in a client's certificate is its tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateField {
    /// The subject's first organization.
    Organization,
    /// The subject's first organizational unit.
    OrganizationalUnit,
    /// The subject's common name.
    CommonName,
}

/// A request whose certificate names no tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoCertificateTenant {
    /// There is no certificate, or none that was verified.
    #[error("could not get required certificate field from client cert")]
    NoCertificate,
    /// It lacks the field.
    #[error("could not get {0} field from client cert")]
    NoField(&'static str),
    /// What it names cannot be a tenant.
    #[error(transparent)]
    Invalid(#[from] InvalidTenant),
}

/// The tenant that the client's certificate names. Without one the request is to be refused, as in Thanos: a header or a default would
/// let anybody in.
///
/// # Errors
/// [`NoCertificateTenant`]
pub fn tenant_of_certificate(
    certificate: Option<&ClientCertificate>,
    field: CertificateField,
) -> Result<String, NoCertificateTenant> {
    let certificate = certificate.ok_or(NoCertificateTenant::NoCertificate)?;
    let (value, name) = match field {
        CertificateField::Organization => (certificate.organization(), "organization"),
        CertificateField::OrganizationalUnit => (certificate.organizational_unit(), "organizationalUnit"),
        CertificateField::CommonName => (certificate.common_name(), "commonName"),
    };
    let tenant = value.filter(|value| !value.is_empty()).ok_or(NoCertificateTenant::NoField(name))?;
    if is_valid_tenant(tenant) { Ok(tenant.to_owned()) } else { Err(InvalidTenant.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_names() {
        for good in ["a", "default-tenant", "team_1.eu", "...", &"x".repeat(150)] {
            assert!(is_valid_tenant(good), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "../a", "a b", "a\0", "é", "a|b", "a\\b", &"x".repeat(151)] {
            assert!(!is_valid_tenant(bad), "{bad}");
        }
    }

    #[test]
    fn the_header_decides() {
        let header = HeaderName::from_static("x-scope");
        let mut headers = HeaderMap::new();
        assert_eq!(tenant_of(&headers, &header, "d"), Ok("d".to_owned()));
        headers.insert("thanos-tenant", "t".parse().unwrap());
        assert_eq!(tenant_of(&headers, &header, "d"), Ok("t".to_owned()));
        headers.insert("x-scope", "../s".parse().unwrap());
        assert_eq!(tenant_of(&headers, &header, "d"), Err(InvalidTenant));
        headers.insert("x-scope", "s".parse().unwrap());
        assert_eq!(tenant_of(&headers, &header, "d"), Ok("s".to_owned()));
    }
}
