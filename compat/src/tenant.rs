//! Whose a request is: one rule for what is written and for what is read, over HTTP and over gRPC.
//!
//! ```text
//! client's certificate, where the rule names a field of it ─┐
//! header of the rule ─> THANOS-TENANT ─> default tenant ────┴─> name ─┬─> tenant of a write
//!                                                                     └─> TenantScope of a read
//! ```
//!
//! Names of tenants that write become folders, so only harmless ones get in. To who reads a name is no more than the value of a label, and
//! others may have written it: any that Thanos would take will do.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use storage::model::TenantScope;

use crate::web::ClientCertificate;

/// The header that Thanos's components use among themselves.
pub const DEFAULT_TENANT_HEADER: &str = "THANOS-TENANT";
/// The tenant of a request that names none.
pub const DEFAULT_TENANT: &str = "default-tenant";
/// Longest name of a tenant that writes, in bytes: a folder's name can have 255.
const NAME_MAX: usize = 150;

/// Whether a tenant that writes may have this name: letters, digits, `_`, `-` and `.`, but neither `.` nor `..`, and its folder must be
/// known for one at the next start.
#[must_use]
pub fn is_valid_tenant(name: &str) -> bool {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let is_name = !name.is_empty() && name.len() <= NAME_MAX && name != "." && name != "..";
    is_name && name.bytes().all(harmless) && storage::tsdb::can_be_tenant(name)
}

/// Whether Thanos takes a name: it has to be the last element of itself as a path.
fn is_path_basename(name: &str) -> bool {
    !name.is_empty() && (name == "/" || !name.contains('/'))
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

/// A request that is no tenant's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoTenant {
    /// A write by a tenant that cannot be.
    #[error(
        "tenant name not valid: it has to be 1 to {NAME_MAX} of A-Z, a-z, 0-9, '_', '-' and '.', and neither '.' nor '..', nor 'wal' or another name that has a meaning in the folder of data"
    )]
    CannotWrite,
    /// A read by a tenant that cannot be.
    #[error("tenant name not valid: it must be UTF-8 and have no '/'")]
    CannotRead,
    /// Nobody is named, and there is no default.
    #[error("the header {0} names no tenant")]
    Unnamed(HeaderName),
    /// There is no certificate, or none that was verified.
    #[error("could not get required certificate field from client cert")]
    NoCertificate,
    /// It lacks the field.
    #[error("could not get {0} field from client cert")]
    NoField(&'static str),
}

/// How requests name their tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantRule {
    /// The header.
    pub header: HeaderName,
    /// The field of the client's certificate; where it is set, headers are not looked at.
    pub certificate: Option<CertificateField>,
    /// Whose a request is whose headers name nobody; where it is empty, such requests are refused.
    pub default_tenant: String,
}

impl Default for TenantRule {
    /// Thanos's.
    fn default() -> Self {
        Self {
            header: HeaderName::from_static("thanos-tenant"),
            certificate: None,
            default_tenant: DEFAULT_TENANT.to_owned(),
        }
    }
}

impl TenantRule {
    /// The tenant of a write.
    ///
    /// # Errors
    /// Where none is named that may write. Without the field of the certificate that the rule asks for, a write is to be refused, as in
    /// Thanos: a header or a default would let anybody in.
    pub fn writer(&self, headers: &HeaderMap, certificate: Option<&ClientCertificate>) -> Result<String, NoTenant> {
        let name = std::str::from_utf8(self.name(headers, certificate)?).map_err(|_| NoTenant::CannotWrite)?;
        if is_valid_tenant(name) { Ok(name.to_owned()) } else { Err(NoTenant::CannotWrite) }
    }

    /// Whether the request itself says whose it is, so that it is not the default tenant's.
    #[must_use]
    pub fn names_somebody(&self, headers: &HeaderMap) -> bool {
        self.certificate.is_some() || self.named(headers).is_some()
    }

    /// The tenant of a read.
    fn reader(&self, headers: &HeaderMap, certificate: Option<&ClientCertificate>) -> Result<Arc<str>, NoTenant> {
        let name = std::str::from_utf8(self.name(headers, certificate)?).map_err(|_| NoTenant::CannotRead)?;
        if is_path_basename(name) { Ok(name.into()) } else { Err(NoTenant::CannotRead) }
    }

    /// The name as it came.
    fn name<'a>(
        &'a self,
        headers: &'a HeaderMap,
        certificate: Option<&'a ClientCertificate>,
    ) -> Result<&'a [u8], NoTenant> {
        match self.certificate {
            Some(field) => Ok(certified(certificate, field)?.as_bytes()),
            None => match (self.named(headers), self.default_tenant.as_str()) {
                (Some(name), _) => Ok(name),
                (None, "") => Err(NoTenant::Unnamed(self.header.clone())),
                (None, default) => Ok(default.as_bytes()),
            },
        }
    }

    /// What the headers name. As in Thanos, `THANOS-TENANT` is looked at too.
    fn named<'a>(&self, headers: &'a HeaderMap) -> Option<&'a [u8]> {
        let of =
            |value: Option<&'a http::HeaderValue>| value.map(http::HeaderValue::as_bytes).filter(|v| !v.is_empty());
        of(headers.get(&self.header)).or_else(|| of(headers.get(DEFAULT_TENANT_HEADER)))
    }
}

/// The name in the field of a certificate.
fn certified(certificate: Option<&ClientCertificate>, field: CertificateField) -> Result<&str, NoTenant> {
    let certificate = certificate.ok_or(NoTenant::NoCertificate)?;
    let (value, name) = match field {
        CertificateField::Organization => (certificate.organization(), "organization"),
        CertificateField::OrganizationalUnit => (certificate.organizational_unit(), "organizationalUnit"),
        CertificateField::CommonName => (certificate.common_name(), "commonName"),
    };
    value.filter(|value| !value.is_empty()).ok_or(NoTenant::NoField(name))
}

/// Whose series those who read may see.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ReadTenants {
    /// Everybody sees those of all tenants.
    #[default]
    All,
    /// Everybody sees those of one, whom the request names: `--query.enforce-tenancy`.
    Own {
        /// How.
        rule: TenantRule,
        /// The label that holds the tenant.
        label: Arc<str>,
    },
}

impl ReadTenants {
    /// Whether tenants are enforced.
    #[must_use]
    pub const fn enforced(&self) -> bool {
        matches!(self, Self::Own { .. })
    }

    /// What a request may see.
    ///
    /// # Errors
    /// Where it is no tenant's, and then it may see nothing.
    pub fn scope(&self, headers: &HeaderMap, certificate: Option<&ClientCertificate>) -> Result<TenantScope, NoTenant> {
        match self {
            Self::All => Ok(TenantScope::All),
            Self::Own { rule, label } => {
                Ok(TenantScope::Only { label: Arc::clone(label), tenant: rule.reader(headers, certificate)? })
            }
        }
    }
}

/// What a request tells of itself before its body.
pub struct Sender {
    /// Its headers.
    pub headers: HeaderMap,
    /// Who its client is by a verified certificate.
    pub certificate: Option<ClientCertificate>,
}

impl<S: Sync> FromRequestParts<S> for Sender {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        // nobody needs them after this
        let headers = std::mem::take(&mut parts.headers);
        Ok(Self { headers, certificate: parts.extensions.get::<ClientCertificate>().cloned() })
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// A header, and what it holds.
    type Header = (&'static str, &'static [u8]);

    fn headers(all: &[Header]) -> HeaderMap {
        all.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_bytes(value).unwrap())).collect()
    }

    fn rule(default_tenant: &str) -> TenantRule {
        let header = HeaderName::from_static("x-scope");
        TenantRule { header, certificate: None, default_tenant: default_tenant.to_owned() }
    }

    fn own(rule: TenantRule) -> ReadTenants {
        ReadTenants::Own { rule, label: "tenant_id".into() }
    }

    #[test]
    fn only_harmless_names_write() {
        for good in ["a", "default-tenant", "team_1.eu", "...", &"x".repeat(150)] {
            assert!(is_valid_tenant(good), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "../a", "a b", "a\0", "é", "a|b", "a\\b", &"x".repeat(151)] {
            assert!(!is_valid_tenant(bad), "{bad}");
        }
        // their blocks would be taken for something else at the next start
        for bad in ["wal", "wbl", "chunks_head", "quarantine", "lock", "x.tmp", "01M85XPKPEMGHS6V296Z5706NY"] {
            assert!(!is_valid_tenant(bad), "{bad}");
        }
    }

    #[test]
    fn the_header_decides() {
        let check = |all: &[Header], expected: Result<&str, NoTenant>| {
            let headers = headers(all);
            assert_eq!(rule("d").writer(&headers, None), expected.clone().map(str::to_owned), "{all:?}");
            let scope = own(rule("d")).scope(&headers, None);
            let expected = match expected {
                Err(NoTenant::CannotWrite) => Err(NoTenant::CannotRead),
                Err(other) => Err(other),
                Ok(tenant) => Ok(TenantScope::Only { label: "tenant_id".into(), tenant: tenant.into() }),
            };
            assert_eq!(scope, expected, "{all:?}");
        };
        check(&[], Ok("d"));
        check(&[("x-scope", b"")], Ok("d"));
        check(&[("thanos-tenant", b"t")], Ok("t"));
        check(&[("thanos-tenant", b"t"), ("x-scope", b"s")], Ok("s"));
        check(&[("thanos-tenant", b"t"), ("x-scope", b"../s")], Err(NoTenant::CannotWrite));
        check(&[("x-scope", b"\xff")], Err(NoTenant::CannotWrite));
        assert_eq!(rule("").writer(&headers(&[]), None), Err(NoTenant::Unnamed(HeaderName::from_static("x-scope"))));
        assert!(own(rule("")).scope(&headers(&[]), None).is_err());
    }

    /// Names of a `path.Base` that is themselves, and others.
    #[test]
    fn who_reads_may_have_any_name_that_thanos_takes() {
        let tenants = own(rule("d"));
        let check = |name: &'static str, good: bool| {
            let scope = tenants.scope(&headers(&[("x-scope", name.as_bytes())]), None);
            let tenant = match &scope {
                Ok(TenantScope::Only { tenant, .. }) => Some(&**tenant),
                _ => None,
            };
            assert_eq!(tenant, good.then_some(name), "{name}");
        };
        ["a", "team a", "a|b", "é", ".", "..", "/"].into_iter().for_each(|name| check(name, true));
        ["a/b", "/a", "a/", "//", "../a"].into_iter().for_each(|name| check(name, false));
    }

    #[test]
    fn without_enforcement_nobody_is_asked() {
        let scope = ReadTenants::All.scope(&headers(&[("thanos-tenant", b"a/b")]), None);
        assert_eq!(scope, Ok(TenantScope::All));
    }

    #[test]
    fn a_certificate_goes_before_headers_and_is_needed() {
        let rule = TenantRule { certificate: Some(CertificateField::CommonName), ..rule("d") };
        let named = headers(&[("x-scope", b"s")]);
        assert_eq!(rule.writer(&named, None), Err(NoTenant::NoCertificate));
        assert_eq!(own(rule.clone()).scope(&named, None), Err(NoTenant::NoCertificate));
        assert!(rule.names_somebody(&headers(&[])));
    }
}
