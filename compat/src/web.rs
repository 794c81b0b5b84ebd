//! The web configuration file of Prometheus's exporter-toolkit, `--http.config`: TLS, client certificates, users, headers and a
//! rate limit, for every HTTP port; of gRPC's, TLS and client certificates.
//!
//! ```text
//! connection ─> PortGuard::accept ─> TLS handshake, client certificate ─┐
//! request ────> rate limit (429) ─> headers ─> user and password (401) ─┴─> router
//!                    └────────── WebFile: what the file says now ──────────┘
//! ```
//!
//! File and certificates are read again for every request and every handshake, and take effect when they changed. While what is
//! there cannot be used, requests get 500 and handshakes fail: nobody is let in by what was taken away. A file that gives up a
//! protection which it had counts as such, since a file that is being written is empty for a moment.

mod auth;
mod certificate;
mod client_auth;
mod config;
mod file;
mod guard;
mod names;
mod passwords;
mod protocol;
mod rate;
mod secret;
mod tls;
mod users;

pub use auth::{AuthError, WebAuth};
pub use certificate::ClientCertificate;
pub use file::WebFile;
pub use guard::{AcceptError, Accepted, PortGuard};
pub use protocol::Protocol;
pub use tls::{ServerTls, TlsFlagNames, TlsFlags, TlsPort};

#[cfg(test)]
mod testing;
