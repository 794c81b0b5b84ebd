//! What other programs write to us and read from us in bulk: remote write, remote read, OTLP and federation.
//!
//! ```text
//! POST /api/v1/receive, /api/v1/write ─> snappy ─> v1 or v2 ─┐
//! POST /api/v1/otlp, /api/v1/otlp/v1/metrics ─> gzip ─> OTLP ┴─> SeriesWrite ─> WriteTarget
//! ```
//!
//! A body is decoded where it lies: labels are slices of it, one series is in hand at a time, and what a request takes beyond its
//! decompressed body does not grow with it.

mod body;
mod decode;
mod federate;
mod head_target;
mod histogram;
mod limits;
pub(crate) mod media_type;
mod otlp;
mod read;
mod relabelled;
mod series;
mod snappy;
mod target;
#[cfg(test)]
mod testing;
mod v1;
mod v2;
mod wire;
mod wire_writer;
mod write;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use promql::ParseOptions;
use storage::Clock;

pub use head_target::HeadTarget;
pub use limits::{RequestLimits, WriteLimits};
pub use otlp::{OtlpSettings, OtlpWriter, TranslationStrategy};
pub use read::{ReadSettings, Reader};
pub use target::{Refusal, RefusalKind, SeriesSink, Tally, WriteError, WriteRequest, WriteTarget};
pub use wire::Malformed;
pub use write::{Dialect, WriteSettings, Writer};

/// The paths of remote write; `dialects` says whose there are. All that share a writer share its limits.
pub fn write_router(writer: Arc<Writer>, dialects: &[Dialect]) -> Router {
    let mut router = Router::new();
    for dialect in dialects {
        router = match dialect {
            Dialect::Prometheus => router.route("/api/v1/write", post(write::prometheus)),
            Dialect::Thanos => router.route("/api/v1/receive", post(write::thanos)),
        };
    }
    router.with_state(writer)
}

/// The paths of OTLP, likewise.
pub fn otlp_router(writer: Arc<Writer>, settings: OtlpSettings, dialects: &[Dialect]) -> Router {
    let mut router = Router::new();
    for dialect in dialects {
        router = match dialect {
            Dialect::Prometheus => router.route("/api/v1/otlp/v1/metrics", post(otlp::prometheus)),
            Dialect::Thanos => router.route("/api/v1/otlp", post(otlp::thanos)),
        };
    }
    router.with_state(Arc::new(OtlpWriter { writer, settings }))
}

/// `POST /api/v1/read`
pub fn read_router(reader: Arc<Reader>) -> Router {
    Router::new().route("/api/v1/read", post(read::read)).with_state(reader)
}

/// `GET /federate`, looking back from the clock's time by `lookback_ms`.
pub fn federate_router(reader: Arc<Reader>, clock: Arc<dyn Clock>, lookback_ms: i64, parse: ParseOptions) -> Router {
    let federation = federate::Federation::new(reader, clock, lookback_ms, parse);
    Router::new().route("/federate", get(federate::federate)).with_state(Arc::new(federation))
}
