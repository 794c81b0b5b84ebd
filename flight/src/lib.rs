//! Arrow Flight: SQL over gRPC for Python, JDBC, ODBC and notebooks, on the same engine and within the same limits as HTTP.
//!
//! ```text
//! Handshake ──> token          every call: token or password ─> tenant ─┐
//! GetFlightInfo(statement) ──> gate ──> plan, kept ──> one ticket a part │ SqlEngine
//! DoGet(ticket) ─────────────> gate ──> batches ─────> FlightData ◄──────┘
//! ```

mod auth;
mod connection;
mod held;
mod listen;
mod metadata;
mod parameters;
mod service;
mod settings;
mod status;

pub use auth::Authenticator;
pub use listen::{ConnectionLimits, flight_service, serve};
pub use service::FlightSql;
pub use settings::{Admission, AdmissionPass, FlightSettings, NoTenant, Tenants};
