//! TLS of single ports by Thanos's flags, which goes before that of the web configuration file.

use compat::web::{TlsFlagNames, TlsFlags, TlsPort};

use crate::flags::{GrpcTlsFlags, WriteTlsFlags};

/// Checks the flags for the TLS of the remote write port, and reads its files.
///
/// # Errors
/// Where one is wrong; the text names it.
pub fn write_tls(flags: &WriteTlsFlags) -> anyhow::Result<Option<TlsPort>> {
    let names = TlsFlagNames {
        cert: "--remote-write.server-tls-cert",
        key: "--remote-write.server-tls-key",
        client_ca: "--remote-write.server-tls-client-ca",
        min_version: "--remote-write.server-tls-min-version",
        ciphers: "--remote-write.server-tls-ciphers",
        curves: "--remote-write.server-tls-curves",
    };
    let flags = TlsFlags {
        cert: flags.cert.clone().unwrap_or_default(),
        key: flags.key.clone().unwrap_or_default(),
        client_ca: flags.client_ca.clone().unwrap_or_default(),
        min_version: flags.min_version.as_str().to_owned(),
        ciphers: flags.ciphers.clone(),
        curves: flags.curves.clone(),
    };
    Ok(TlsPort::open(&flags, names)?)
}

/// As [`write_tls`], of the gRPC port.
///
/// # Errors
/// As [`write_tls`].
pub fn grpc_tls(flags: &GrpcTlsFlags) -> anyhow::Result<Option<TlsPort>> {
    let names = TlsFlagNames {
        cert: "--grpc-server-tls-cert",
        key: "--grpc-server-tls-key",
        client_ca: "--grpc-server-tls-client-ca",
        min_version: "--grpc-server-tls-min-version",
        ciphers: "--grpc-server-tls-ciphers",
        curves: "--grpc-server-tls-curves",
    };
    let flags = TlsFlags {
        cert: flags.grpc_cert.clone().unwrap_or_default(),
        key: flags.grpc_key.clone().unwrap_or_default(),
        client_ca: flags.grpc_client_ca.clone().unwrap_or_default(),
        min_version: flags.grpc_min_version.as_str().to_owned(),
        ciphers: flags.grpc_ciphers.clone(),
        curves: flags.grpc_curves.clone(),
    };
    Ok(TlsPort::open(&flags, names)?)
}

#[cfg(test)]
mod tests {
    use crate::flags::{Role, parse};

    /// What a command line of `query` makes of the TLS of gRPC: whether it has any, or what is wrong.
    fn grpc_tls(args: &[&str]) -> Result<bool, String> {
        let (cli, _) = parse(["quiver", "query"].iter().chain(args).map(std::ffi::OsString::from)).unwrap();
        let Some(Role::Query(flags)) = cli.role else { panic!("another role") };
        super::grpc_tls(&flags.grpc.grpc_tls).map(|tls| tls.is_some()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_cannot_be_is_told_by_flag() {
        assert_eq!(grpc_tls(&[]), Ok(false));
        assert_eq!(grpc_tls(&["--grpc-server-tls-cert=", "--grpc-server-tls-min-version=1.2"]), Ok(false));
        let [cert, key] = ["--grpc-server-tls-cert=/no/such", "--grpc-server-tls-key=/no/such"];
        for (args, flag) in [
            (vec![cert], "--grpc-server-tls-cert: --grpc-server-tls-key must"),
            (vec![key], "--grpc-server-tls-key: --grpc-server-tls-cert must"),
            (vec!["--grpc-server-tls-client-ca=/no/such"], "--grpc-server-tls-client-ca: when a client CA"),
            (vec![cert, key], "--grpc-server-tls-cert: /no/such: "),
            (vec![cert, key, "--grpc-server-tls-min-version=1.1"], "--grpc-server-tls-min-version: TLS11 is not"),
            (vec![cert, key, "--grpc-server-tls-ciphers=x"], "--grpc-server-tls-ciphers: x is unknown"),
            (vec![cert, key, "--grpc-server-tls-curves=CurveP521"], "--grpc-server-tls-curves: CurveP521 is not"),
        ] {
            let error = grpc_tls(&args).unwrap_err();
            assert!(error.starts_with(flag), "{error}");
        }
    }
}
