//! Flags about whose series those who read may see: those of Thanos query.

use clap::Args;

use super::CertificateTenant;

/// Whose series a request that reads may see. What is not given is in `all` and `receive` as for writes, so that who writes reads what
/// was written.
#[derive(Debug, Clone, Args)]
pub struct TenancyFlags {
    /// Show in every answer only series of the tenant whose the request is, over HTTP and over gRPC
    #[arg(long = "query.enforce-tenancy", overrides_with = "no_enforce_tenancy")]
    pub enforce_tenancy: bool,
    #[arg(long = "no-query.enforce-tenancy", hide = true)]
    pub no_enforce_tenancy: bool,
    /// Header, and metadata of gRPC, that names the tenant of a request that reads; THANOS-TENANT, or what --receive.tenant-header says,
    /// where it is not set
    #[arg(long = "query.tenant-header", value_name = "HEADER")]
    pub read_header: Option<String>,
    /// Tenant of such requests that name none; default-tenant, or what --receive.default-tenant-id says, where it is not set. An empty one
    /// refuses them
    #[arg(long = "query.default-tenant-id", value_name = "TENANT")]
    pub read_default: Option<String>,
    /// Which name in the client's certificate is the tenant of a request that reads, in place of the header; a request without it is
    /// refused. What --receive.tenant-certificate-field says where it is not set
    #[arg(long = "query.tenant-certificate-field", value_name = "FIELD")]
    pub read_certificate_field: Option<CertificateTenant>,
    /// Label that holds the tenant of a series; tenant_id, or what --receive.tenant-label-name says, where it is not set
    #[arg(long = "query.tenant-label-name", value_name = "LABEL")]
    pub read_label: Option<String>,
}
