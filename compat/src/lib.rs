//! Other people's contracts: the Prometheus HTTP API with Thanos's parameters, and the objstore YAML of Thanos.
//!
//! Only this crate knows foreign wire types; what it hands on are the types of engine and storage.

mod duration;
pub mod http;
mod instant;
pub mod objstore;
pub mod relabel;
pub mod remote;
mod yaml;

pub use duration::{DurationError, parse_duration_flag};
pub use instant::{format_rfc3339, parse_time};
