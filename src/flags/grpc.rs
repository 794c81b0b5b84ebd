//! Flags of the gRPC server, where a role has one: those of Thanos.

use std::time::Duration;

use clap::Args;

use super::duration;
use super::ingest::TlsVersion;

/// How the gRPC server listens.
#[derive(Debug, Clone, Args)]
pub struct GrpcFlags {
    /// Address to listen on for Arrow Flight SQL over gRPC
    #[arg(long = "grpc-address", value_name = "HOST:PORT", default_value = "0.0.0.0:10901")]
    pub grpc_address: String,
    /// How long gRPC calls under way may take after a signal to stop
    #[arg(long = "grpc-grace-period", value_name = "DURATION", default_value = "2m", value_parser = duration)]
    pub grpc_grace_period: Duration,
    /// How long a gRPC connection may stand; then its client connects anew, with another handshake, and calls under way end first. 0 is no
    /// limit
    #[arg(long = "grpc-server-max-connection-age", value_name = "DURATION", default_value = "60m", value_parser = duration)]
    pub max_connection_age: Duration,
    #[command(flatten)]
    pub grpc_tls: GrpcTlsFlags,
}

/// TLS of the gRPC port.
#[derive(Debug, Clone, Args)]
pub struct GrpcTlsFlags {
    /// File with the TLS certificate of the gRPC port, in place of that of --http.config; leave blank for none
    #[arg(long = "grpc-server-tls-cert", value_name = "FILE")]
    pub grpc_cert: Option<String>,
    /// File with its key
    #[arg(long = "grpc-server-tls-key", value_name = "FILE")]
    pub grpc_key: Option<String>,
    /// File with the CA that has signed the certificates which clients then have to show; leave blank for none
    #[arg(long = "grpc-server-tls-client-ca", value_name = "FILE")]
    pub grpc_client_ca: Option<String>,
    /// Least version of TLS on the gRPC port; 1.0 and 1.1 are refused
    #[arg(long = "grpc-server-tls-min-version", value_name = "VERSION", default_value = "1.3")]
    pub grpc_min_version: TlsVersion,
    /// A cipher suite of TLS 1.2 for the gRPC port, by its name in Go; may be repeated
    #[arg(long = "grpc-server-tls-ciphers", value_name = "SUITE")]
    pub grpc_ciphers: Vec<String>,
    /// A curve for the gRPC port: CurveP256, CurveP384 or X25519; may be repeated
    #[arg(long = "grpc-server-tls-curves", value_name = "CURVE")]
    pub grpc_curves: Vec<String>,
}
