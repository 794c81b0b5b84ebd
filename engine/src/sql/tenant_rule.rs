//! How a request names its tenant, for HTTP and Flight alike.

use std::sync::Arc;

use storage::model::TenantScope;

use crate::error::{Error, Result};

/// Longest name of a tenant, in bytes.
const NAME_BYTES_MAX: usize = 150;

/// Tells the tenant of a request from one of its headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantRule {
    /// The header, in lower case.
    pub header: String,
    /// The label that holds the tenant.
    pub label: Arc<str>,
    /// Whose a request is that names nobody; none refuses it.
    pub default_tenant: Option<Arc<str>>,
}

impl TenantRule {
    /// The scope of a request whose header has this value.
    ///
    /// # Errors
    /// [`Error::BadQuery`] where no tenant is called so, or none is named and there is no default.
    pub fn scope(&self, header: Option<&str>) -> Result<TenantScope> {
        let tenant: Arc<str> = match (header.filter(|name| !name.is_empty()), &self.default_tenant) {
            (Some(name), _) => name.into(),
            (None, Some(default)) => Arc::clone(default),
            (None, None) => return Err(Error::BadQuery(format!("the header {} names no tenant", self.header))),
        };
        // those that a write may name
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if tenant.len() > NAME_BYTES_MAX || !tenant.chars().all(allowed) || matches!(&*tenant, "." | "..") {
            return Err(Error::BadQuery(format!("the header {} holds what is no tenant's name", self.header)));
        }
        Ok(TenantScope::Only { label: Arc::clone(&self.label), tenant })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_tenants_make_a_scope() {
        let mut rule = TenantRule { header: "thanos-tenant".into(), label: "tenant_id".into(), default_tenant: None };
        let scope = |tenant: &str| TenantScope::Only { label: "tenant_id".into(), tenant: tenant.into() };
        assert_eq!(rule.scope(Some("team-a")).unwrap(), scope("team-a"));
        for wrong in ["..", "a|b", "a/b", "a\0", "é", &"x".repeat(151)] {
            assert!(rule.scope(Some(wrong)).is_err(), "{wrong:?}");
        }
        assert!(rule.scope(None).is_err());
        rule.default_tenant = Some("anybody".into());
        assert_eq!((rule.scope(None).unwrap(), rule.scope(Some("")).unwrap()), (scope("anybody"), scope("anybody")));
    }
}
