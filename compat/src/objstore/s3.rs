//! S3, and whatever speaks its protocol.

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use serde::Deserialize;

use super::http_config::{HttpConfig, client_options, given, note_unused, retries};
use super::{Bucket, ConfigError};
use crate::yaml::Document;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    bucket: Option<String>,
    endpoint: Option<String>,
    region: Option<String>,
    disable_dualstack: Option<bool>,
    aws_sdk_auth: Option<bool>,
    access_key: Option<String>,
    secret_key: Option<String>,
    session_token: Option<String>,
    insecure: Option<bool>,
    signature_version2: Option<bool>,
    put_user_metadata: Option<BTreeMap<String, String>>,
    http_config: Option<HttpConfig>,
    trace: Option<Trace>,
    list_objects_version: Option<String>,
    bucket_lookup_type: Option<String>,
    send_content_md5: Option<bool>,
    disable_multipart: Option<bool>,
    part_size: Option<u64>,
    sse_config: Option<SseConfig>,
    sts_endpoint: Option<String>,
    max_retries: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Trace {
    enable: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SseConfig {
    r#type: Option<String>,
    kms_key_id: Option<String>,
    kms_encryption_context: Option<BTreeMap<String, String>>,
    encryption_key: Option<String>,
}

pub fn open(document: &Document<'_>) -> Result<Bucket, ConfigError> {
    let config: Config = super::config(document)?;
    let bucket = given(&config.bucket).ok_or_else(|| document.wrong("config", "bucket is missing"))?;
    let endpoint = given(&config.endpoint).ok_or_else(|| document.wrong("config", "endpoint is missing"))?;
    refuse_unsupported(&config, document)?;
    let mut notes = Vec::new();
    let unused = [
        ("disable_dualstack", config.disable_dualstack == Some(true)),
        ("trace", config.trace.as_ref().is_some_and(|trace| trace.enable == Some(true))),
        ("send_content_md5", config.send_content_md5 == Some(true)),
        ("disable_multipart", config.disable_multipart == Some(true)),
        ("part_size", config.part_size.is_some()),
    ];
    note_unused(&unused, &mut notes);

    let insecure = config.insecure == Some(true);
    let virtual_hosted = match given(&config.bucket_lookup_type) {
        None | Some("auto") => is_amazon(endpoint) && !bucket.contains('.'),
        Some("virtual-hosted") => true,
        Some("path") => false,
        Some(_) => return Err(document.wrong("bucket_lookup_type", "it is one of auto, virtual-hosted and path")),
    };
    let scheme = if insecure { "http" } else { "https" };
    let host = if virtual_hosted { format!("{bucket}.{endpoint}") } else { endpoint.to_owned() };
    let options = client_options(config.http_config.as_ref(), document, &mut notes)?.with_allow_http(insecure);
    // the client's options replace what was set before them
    let mut builder = credentials(&config, document)?
        .with_client_options(options)
        .with_bucket_name(bucket)
        .with_endpoint(format!("{scheme}://{host}"))
        .with_virtual_hosted_style_request(virtual_hosted)
        .with_retry(retries(config.max_retries));
    if let Some(region) = given(&config.region).or_else(|| region_of(endpoint)) {
        builder = builder.with_region(region);
    }
    if let Some(token) = given(&config.session_token) {
        builder = builder.with_token(token);
    }
    if let Some(sse) = &config.sse_config {
        builder = encrypted(builder, sse, document)?;
    }
    let store = builder.build().map_err(|error| document.unusable(error))?;
    Ok(Bucket { store: Arc::new(store), local_root: None, name: format!("s3://{bucket}"), notes })
}

/// Refuses what would change who reads, or what is read, and cannot be done.
fn refuse_unsupported(config: &Config, document: &Document<'_>) -> Result<(), ConfigError> {
    if config.signature_version2 == Some(true) {
        return Err(document.wrong("signature_version2", "only version 4 signatures are supported"));
    }
    if given(&config.list_objects_version).is_some_and(|version| version != "v2") {
        return Err(document.wrong("list_objects_version", "only v2 is supported"));
    }
    if given(&config.sts_endpoint).is_some() {
        return Err(document.wrong("sts_endpoint", "not supported; set AWS_ENDPOINT_URL_STS in the environment"));
    }
    if config.put_user_metadata.as_ref().is_some_and(|metadata| !metadata.is_empty()) {
        return Err(document.wrong("put_user_metadata", "not supported"));
    }
    Ok(())
}

/// Keys from the file, or as the environment, the machine's role or its identity token gives them.
fn credentials(config: &Config, document: &Document<'_>) -> Result<AmazonS3Builder, ConfigError> {
    match (given(&config.access_key), given(&config.secret_key)) {
        (Some(_), _) if config.aws_sdk_auth == Some(true) => {
            Err(document.wrong("aws_sdk_auth", "it excludes access_key and secret_key"))
        }
        (Some(access), Some(secret)) => {
            Ok(AmazonS3Builder::new().with_access_key_id(access).with_secret_access_key(secret))
        }
        (None, None) => Ok(AmazonS3Builder::from_env()),
        (Some(_), None) => Err(document.wrong("access_key", "secret_key is missing")),
        (None, Some(_)) => Err(document.wrong("secret_key", "access_key is missing")),
    }
}

fn encrypted(
    builder: AmazonS3Builder,
    sse: &SseConfig,
    document: &Document<'_>,
) -> Result<AmazonS3Builder, ConfigError> {
    match given(&sse.r#type) {
        None => Ok(builder),
        Some("SSE-S3") => {
            let key: AmazonS3ConfigKey =
                "aws_server_side_encryption".parse().map_err(|error| document.wrong("sse_config", error))?;
            Ok(builder.with_config(key, "AES256"))
        }
        Some("SSE-KMS") => {
            if sse.kms_encryption_context.as_ref().is_some_and(|context| !context.is_empty()) {
                return Err(document.wrong("kms_encryption_context", "not supported"));
            }
            let id = given(&sse.kms_key_id).ok_or_else(|| document.wrong("sse_config", "kms_key_id is missing"))?;
            Ok(builder.with_sse_kms_encryption(id))
        }
        Some("SSE-C") => {
            let path = given(&sse.encryption_key);
            let path = path.ok_or_else(|| document.wrong("sse_config", "encryption_key is missing"))?;
            let key =
                std::fs::read(path).map_err(|error| document.wrong("encryption_key", format!("{path}: {error}")))?;
            Ok(builder.with_ssec_encryption(base64(&key)))
        }
        Some(_) => Err(document.wrong("sse_config", "its type is one of SSE-S3, SSE-KMS and SSE-C")),
    }
}

fn is_amazon(endpoint: &str) -> bool {
    let host = endpoint.split(':').next().unwrap_or(endpoint);
    host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn")
}

/// The region in `s3.eu-west-1.amazonaws.com`, `s3.dualstack.eu-west-1.amazonaws.com` or `s3-eu-west-1.amazonaws.com`.
fn region_of(endpoint: &str) -> Option<&str> {
    let name = endpoint.split(".amazonaws.com").next().filter(|_| is_amazon(endpoint))?;
    let region = name.rsplit('.').next().unwrap_or(name);
    let region = region.strip_prefix("s3-").unwrap_or(region);
    (region != "s3").then_some(region)
}

/// The standard alphabet, padded.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4_usize {
            let index = (bits >> (18 - 6 * digit) & 63) as usize;
            text.push(if digit <= three.len() { char::from(ALPHABET[index]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_come_from_amazon_endpoints() {
        for (endpoint, region) in [
            ("s3.eu-west-1.amazonaws.com", Some("eu-west-1")),
            ("s3.dualstack.eu-west-1.amazonaws.com", Some("eu-west-1")),
            ("s3-us-gov-west-1.amazonaws.com", Some("us-gov-west-1")),
            ("s3.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            ("s3.amazonaws.com", None),
            ("minio.example:9000", None),
        ] {
            assert_eq!(region_of(endpoint), region, "{endpoint}");
        }
    }

    #[test]
    fn base64_is_padded() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob\u{7f}", "Zm9vYn8=")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
