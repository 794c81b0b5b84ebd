//! Bytes at rest: labels and matchers, chunk codecs, the TSDB index, blocks, the side-index and the bucket.
//!
//! Everything that holds series implements [`Store`]; what it hands out are Arrow record batches of the
//! [`schema::series_schema`]. This crate knows no PromQL, no plan, no HTTP and no protobuf, and builds
//! without DataFusion.

pub mod block;
pub mod bucket;
pub mod chunk;
mod clock;
pub mod compact;
mod cursor;
mod error;
pub mod generate;
pub mod head;
pub mod index;
mod mmap;
pub mod model;
mod pieces;
pub mod replicate;
pub mod schema;
pub mod shipper;
pub mod side_index;
pub mod store;
pub mod tsdb;
pub mod wal;
mod whole_read;

pub use clock::{Clock, ManualClock, SystemClock};
pub use error::{Error, Result};
pub use store::Store;
