//! Azure Blob Storage.

use std::sync::Arc;

use object_store::azure::MicrosoftAzureBuilder;
use serde::Deserialize;

use super::http_config::{HttpConfig, client_options, given, note_unused, retries};
use super::{Bucket, ConfigError};
use crate::yaml::Document;

const ENDPOINT_DEFAULT: &str = "blob.core.windows.net";

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    az_tenant_id: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    storage_account: Option<String>,
    storage_account_key: Option<String>,
    storage_connection_string: Option<String>,
    storage_create_container: Option<bool>,
    container: Option<String>,
    endpoint: Option<String>,
    user_assigned_id: Option<String>,
    msi_resource: Option<String>,
    max_retries: Option<usize>,
    pipeline_config: Option<PipelineConfig>,
    reader_config: Option<ReaderConfig>,
    http_config: Option<HttpConfig>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PipelineConfig {
    max_tries: Option<usize>,
    try_timeout: Option<String>,
    retry_delay: Option<String>,
    max_retry_delay: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ReaderConfig {
    max_retry_requests: Option<usize>,
}

pub fn open(document: &Document<'_>) -> Result<Bucket, ConfigError> {
    let config: Config = super::config(document)?;
    let container = given(&config.container).ok_or_else(|| document.wrong("config", "container is missing"))?;
    let mut notes = Vec::new();
    let nothing = PipelineConfig::default();
    let pipeline = config.pipeline_config.as_ref().unwrap_or(&nothing);
    let unused = [
        ("storage_create_container", config.storage_create_container == Some(true)),
        ("msi_resource", given(&config.msi_resource).is_some()),
        ("try_timeout", given(&pipeline.try_timeout).is_some()),
        ("retry_delay", given(&pipeline.retry_delay).is_some()),
        ("max_retry_delay", given(&pipeline.max_retry_delay).is_some()),
    ];
    note_unused(&unused, &mut notes);
    let reader_retries = config.reader_config.as_ref().and_then(|reader| reader.max_retry_requests);
    let options = client_options(config.http_config.as_ref(), document, &mut notes)?;
    let (builder, account) = authorized(&config, options, document)?;
    let store = builder
        .with_container_name(container)
        .with_retry(retries(config.max_retries.or(pipeline.max_tries).or(reader_retries)))
        .build()
        .map_err(|error| document.unusable(error))?;
    Ok(Bucket { store: Arc::new(store), local_root: None, name: format!("azure://{account}/{container}"), notes })
}

/// The account with its key, a client secret, or the machine's identity.
fn authorized(
    config: &Config,
    options: object_store::ClientOptions,
    document: &Document<'_>,
) -> Result<(MicrosoftAzureBuilder, String), ConfigError> {
    let connection = given(&config.storage_connection_string);
    let part = |name: &str| {
        let value = connection?.split(';').find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))?;
        Some(value.to_owned())
    };
    let account = part("AccountName").or_else(|| given(&config.storage_account).map(str::to_owned));
    let account = account.ok_or_else(|| document.wrong("config", "storage_account is missing"))?;
    let suffix = part("EndpointSuffix").map(|suffix| format!("blob.{suffix}"));
    let endpoint = suffix.or_else(|| given(&config.endpoint).map(str::to_owned));
    let endpoint = endpoint.unwrap_or_else(|| ENDPOINT_DEFAULT.to_owned());
    let key = part("AccountKey").or_else(|| given(&config.storage_account_key).map(str::to_owned));
    let secret = (given(&config.az_tenant_id), given(&config.client_id), given(&config.client_secret));
    let mut builder = match (&key, secret) {
        (Some(key), _) => MicrosoftAzureBuilder::new().with_access_key(key),
        (None, (Some(tenant), Some(id), Some(secret))) => {
            MicrosoftAzureBuilder::new().with_client_secret_authorization(id, secret, tenant)
        }
        (None, (_, _, Some(_))) => {
            return Err(document.wrong("client_secret", "az_tenant_id and client_id are needed with it"));
        }
        (None, _) => MicrosoftAzureBuilder::from_env(),
    };
    if let Some(id) = given(&config.user_assigned_id) {
        if key.is_some() {
            return Err(document.wrong("user_assigned_id", "it excludes storage_account_key"));
        }
        builder = builder.with_client_id(id);
    }
    let usual = format!("https://{account}.{ENDPOINT_DEFAULT}");
    let url = part("BlobEndpoint").unwrap_or_else(|| format!("https://{account}.{endpoint}"));
    // the client's options replace what was set before them
    builder = builder.with_client_options(options.with_allow_http(url.starts_with("http://")));
    if url != usual {
        builder = builder.with_endpoint(url);
    }
    Ok((builder.with_account(&account), account))
}
