//! Other people's contracts: the Prometheus HTTP API with Thanos's parameters, the objstore YAML of Thanos, and the web configuration
//! file of exporter-toolkit.
//!
//! Only this crate knows foreign wire types; what it hands on are the types of engine and storage.

mod deletion;
mod duration;
pub mod http;
mod instant;
pub mod objstore;
pub mod relabel;
pub mod remote;
pub mod tenant;
pub mod web;
mod yaml;

pub use deletion::{DeletionRequest, yaml_to_json};
pub use duration::{DurationError, parse_duration_flag};
pub use instant::{format_rfc3339, parse_time};
