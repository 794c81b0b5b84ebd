//! Google Cloud Storage.

use std::sync::Arc;

use object_store::gcp::GoogleCloudStorageBuilder;
use serde::Deserialize;

use super::http_config::{HttpConfig, client_options, given, note_unused, retries};
use super::{Bucket, ConfigError};
use crate::yaml::Document;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    bucket: Option<String>,
    service_account: Option<String>,
    use_grpc: Option<bool>,
    grpc_conn_pool_size: Option<u32>,
    http_config: Option<HttpConfig>,
    chunk_size_bytes: Option<u64>,
    max_retries: Option<usize>,
}

pub fn open(document: &Document<'_>) -> Result<Bucket, ConfigError> {
    let config: Config = super::config(document)?;
    let bucket = given(&config.bucket).ok_or_else(|| document.wrong("config", "bucket is missing"))?;
    let mut notes = Vec::new();
    let unused = [
        ("use_grpc", config.use_grpc == Some(true)),
        ("grpc_conn_pool_size", config.grpc_conn_pool_size.is_some_and(|size| size > 0)),
        ("chunk_size_bytes", config.chunk_size_bytes.is_some_and(|size| size > 0)),
    ];
    note_unused(&unused, &mut notes);
    // without an account in the file, the environment or the machine tells who we are
    let builder = match given(&config.service_account) {
        Some(account) => GoogleCloudStorageBuilder::new().with_service_account_key(account),
        None => GoogleCloudStorageBuilder::from_env(),
    };
    let store = builder
        .with_bucket_name(bucket)
        .with_client_options(client_options(config.http_config.as_ref(), document, &mut notes)?)
        .with_retry(retries(config.max_retries))
        .build()
        .map_err(|error| document.unusable(error))?;
    Ok(Bucket { store: Arc::new(store), local_root: None, name: format!("gs://{bucket}"), notes })
}
