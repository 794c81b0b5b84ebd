//! The flags about tenants, of writes and of reads, as the rules that compat takes.

use anyhow::{Context, bail};
use compat::tenant::{
    CertificateField, DEFAULT_TENANT, DEFAULT_TENANT_HEADER, ReadTenants, TenantRule, is_valid_tenant,
};
use compat::web::Protocol;
use http::HeaderName;
use storage::head::TENANT_LABEL;

use crate::flags::{CertificateTenant, IngestFlags, TenancyFlags};

/// How writes name their tenant.
///
/// # Errors
/// Where a flag is wrong; the text names it.
pub fn write_rule(flags: &IngestFlags) -> anyhow::Result<TenantRule> {
    if !is_valid_tenant(&flags.default_tenant) {
        bail!("--receive.default-tenant-id={}: not a tenant's name", flags.default_tenant);
    }
    Ok(TenantRule {
        header: header("--receive.tenant-header", &flags.tenant_header)?,
        certificate: flags.tenant_certificate_field.map(field),
        default_tenant: flags.default_tenant.clone(),
    })
}

/// Whose series those who read may see. What the flags do not say is as for what is written here.
///
/// # Errors
/// Where a flag is wrong; the text names it.
pub fn read_tenants(flags: &TenancyFlags, written: Option<&IngestFlags>) -> anyhow::Result<ReadTenants> {
    let or_written = |given: &Option<String>, of: fn(&IngestFlags) -> &String, default: &str| {
        given.clone().or_else(|| written.map(|written| of(written).clone())).unwrap_or_else(|| default.to_owned())
    };
    let name = or_written(&flags.read_header, |written| &written.tenant_header, DEFAULT_TENANT_HEADER);
    let label = or_written(&flags.read_label, |written| &written.tenant_label, TENANT_LABEL);
    let certificate = flags.read_certificate_field.or_else(|| written?.tenant_certificate_field);
    let rule = TenantRule {
        header: header("--query.tenant-header", &name)?,
        certificate: certificate.map(field),
        default_tenant: or_written(&flags.read_default, |written| &written.default_tenant, DEFAULT_TENANT),
    };
    if rule.default_tenant.contains('/') {
        bail!("--query.default-tenant-id={}: a tenant's name has no '/'", rule.default_tenant);
    }
    if !flags.enforce_tenancy {
        if flags.read_certificate_field.is_some() {
            tracing::warn!(
                "--query.tenant-certificate-field means nothing without --query.enforce-tenancy: all see all tenants"
            );
        }
        return Ok(ReadTenants::All);
    }
    if label.is_empty() {
        bail!("--query.enforce-tenancy needs a label that holds the tenant: --query.tenant-label-name");
    }
    if let Some(written) = written.filter(|written| written.tenant_label != label) {
        tracing::warn!(
            read = label,
            written = written.tenant_label,
            "--query.tenant-label-name is not --receive.tenant-label-name: of what is written here only series that have that label are shown"
        );
    }
    Ok(ReadTenants::Own { rule, label: label.into() })
}

/// Checks that who reads shows a certificate, where it has to name the tenant; `verified` is whether the port for reads by `protocol`
/// verifies any.
///
/// # Errors
/// Where it does not.
pub fn check_read_certificates(tenants: &ReadTenants, protocol: Protocol, verified: bool) -> anyhow::Result<()> {
    let ReadTenants::Own { rule: TenantRule { certificate: Some(_), .. }, .. } = tenants else { return Ok(()) };
    let (address, remedy) = match protocol {
        _ if verified => return Ok(()),
        Protocol::Http => {
            ("--http-address", "client_auth_type RequireAndVerifyClientCert in the file of --http.config")
        }
        Protocol::Grpc => ("--grpc-address", "--grpc-server-tls-client-ca"),
    };
    bail!(
        "tenants of reads by --query.tenant-certificate-field, or by --receive.tenant-certificate-field where that is all that is set, \
         need client certificates that are verified at {address}: {remedy}"
    )
}

fn header(flag: &str, name: &str) -> anyhow::Result<HeaderName> {
    HeaderName::try_from(name.to_ascii_lowercase()).with_context(|| format!("{flag}={name}: not a header's name"))
}

const fn field(field: CertificateTenant) -> CertificateField {
    match field {
        CertificateTenant::Organization => CertificateField::Organization,
        CertificateTenant::OrganizationalUnit => CertificateField::OrganizationalUnit,
        CertificateTenant::CommonName => CertificateField::CommonName,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::{Role, parse};

    /// What a command line makes of reads.
    fn tenants(args: &[&str]) -> anyhow::Result<ReadTenants> {
        let (cli, _) = parse(["quiver"].iter().chain(args).map(std::ffi::OsString::from)).unwrap();
        match cli.role {
            Some(Role::All(flags)) => read_tenants(&flags.query.tenancy, Some(&flags.ingest)),
            Some(Role::Query(flags)) => read_tenants(&flags.query.tenancy, None),
            other => panic!("{other:?}"),
        }
    }

    fn own(header: &'static str, certificate: Option<CertificateField>, default: &str, label: &str) -> ReadTenants {
        let header = HeaderName::from_static(header);
        ReadTenants::Own {
            rule: TenantRule { header, certificate, default_tenant: default.to_owned() },
            label: label.into(),
        }
    }

    #[test]
    fn without_the_flag_all_see_all() {
        assert_eq!(tenants(&["query"]).unwrap(), ReadTenants::All);
        assert_eq!(tenants(&["query", "--query.tenant-header=x"]).unwrap(), ReadTenants::All);
    }

    #[test]
    fn defaults_are_those_of_thanos_or_of_what_is_written() {
        let enforced = own("thanos-tenant", None, "default-tenant", "tenant_id");
        assert_eq!(tenants(&["query", "--query.enforce-tenancy"]).unwrap(), enforced);
        assert_eq!(tenants(&["all", "--query.enforce-tenancy"]).unwrap(), enforced);
        let written = [
            "all",
            "--query.enforce-tenancy",
            "--receive.tenant-header=X-Team",
            "--receive.default-tenant-id=nobody",
            "--receive.tenant-label-name=team",
            "--receive.tenant-certificate-field=commonName",
        ];
        let expected = own("x-team", Some(CertificateField::CommonName), "nobody", "team");
        assert_eq!(tenants(&written).unwrap(), expected);
        let given = [
            "--query.tenant-header=X-Reader",
            "--query.default-tenant-id=",
            "--query.tenant-label-name=cluster",
            "--query.tenant-certificate-field=organization",
        ];
        let expected = own("x-reader", Some(CertificateField::Organization), "", "cluster");
        assert_eq!(tenants(&[&written[..], &given].concat()).unwrap(), expected);
    }

    #[test]
    fn what_cannot_be_is_told_by_flag() {
        for wrong in ["--query.tenant-header=a b", "--query.default-tenant-id=a/b", "--query.tenant-label-name="] {
            let error = tenants(&["query", "--query.enforce-tenancy", wrong]).unwrap_err().to_string();
            let flag = wrong.split('=').next().unwrap();
            assert!(error.contains(flag), "{error}");
        }
        let by_certificate = own("x", Some(CertificateField::CommonName), "", "tenant_id");
        for (protocol, flag) in [(Protocol::Http, "--http.config"), (Protocol::Grpc, "--grpc-server-tls-client-ca")] {
            let error = check_read_certificates(&by_certificate, protocol, false).unwrap_err().to_string();
            assert!(error.ends_with(flag), "{error}");
            assert!(check_read_certificates(&by_certificate, protocol, true).is_ok());
            assert!(check_read_certificates(&own("x", None, "", "tenant_id"), protocol, false).is_ok());
        }
    }
}
