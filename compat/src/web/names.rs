//! Names of Go's crypto/tls and what they are in rustls. What rustls lacks is refused: a file that asks for it would otherwise
//! mean something else here.

use rustls::SupportedCipherSuite;
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::ring::{cipher_suite, kx_group};

/// A version of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

/// How clients are asked for certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not.
    None,
    /// They may show any.
    Request,
    /// They have to show one, any.
    RequireAny,
    /// They may show one, which has to be good.
    VerifyIfGiven,
    /// They have to show a good one.
    RequireAndVerify,
}

impl ClientAuth {
    /// Whether whoever shows a certificate is who it says.
    pub fn verifies(self) -> bool {
        matches!(self, Self::VerifyIfGiven | Self::RequireAndVerify)
    }

    /// Whether a client without a certificate is sent away.
    pub fn requires(self) -> bool {
        matches!(self, Self::RequireAny | Self::RequireAndVerify)
    }

    /// The kind of that name; `RequireClientCert` is an old one.
    pub fn of_name(name: &str) -> Result<Self, String> {
        match name {
            "NoClientCert" => Ok(Self::None),
            "RequestClientCert" => Ok(Self::Request),
            "RequireAnyClientCert" | "RequireClientCert" => Ok(Self::RequireAny),
            "VerifyClientCertIfGiven" => Ok(Self::VerifyIfGiven),
            "RequireAndVerifyClientCert" => Ok(Self::RequireAndVerify),
            _ => Err(format!(
                "unknown kind {name:?}; it is one of NoClientCert, RequestClientCert, RequireAnyClientCert, \
                 VerifyClientCertIfGiven and RequireAndVerifyClientCert"
            )),
        }
    }
}

/// `TLS12` and `TLS13`.
pub fn version(name: &str) -> Result<TlsVersion, String> {
    match name {
        "TLS12" => Ok(TlsVersion::Tls12),
        "TLS13" => Ok(TlsVersion::Tls13),
        "TLS10" | "TLS11" => Err(format!("{name} is not supported; this build speaks TLS12 and TLS13")),
        _ => Err(format!("unknown version {name:?}; it is one of TLS12 and TLS13")),
    }
}

/// The cipher suites of TLS 1.2 that both have.
const SUITES: [(&str, SupportedCipherSuite); 6] = [
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", cipher_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", cipher_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
];

/// Those of TLS 1.3. Go always offers all of them, whichever are listed.
const SUITES_OF_13: [&str; 3] = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

/// The suites of TLS 1.2 among those that are listed, in their order.
pub fn cipher_suites(names: &[String]) -> Result<Vec<SupportedCipherSuite>, String> {
    let mut suites = Vec::new();
    for name in names {
        if let Some((_, suite)) = SUITES.iter().find(|(known, _)| known == name) {
            suites.push(*suite);
        } else if !SUITES_OF_13.contains(&name.as_str()) {
            let known: Vec<&str> = SUITES.iter().map(|(known, _)| *known).chain(SUITES_OF_13).collect();
            let known = known.join(", ");
            let what = if is_cbc(name) { "is not supported: its block mode is open to attacks" } else { "is unknown" };
            return Err(format!("{name} {what}; there are {known}"));
        }
    }
    Ok(suites)
}

fn is_cbc(name: &str) -> bool {
    name.starts_with("TLS_") && name.contains("_CBC_SHA")
}

/// The curves that are listed, in their order.
pub fn curves(names: &[String]) -> Result<Vec<&'static dyn SupportedKxGroup>, String> {
    let curve = |name: &String| match name.as_str() {
        "CurveP256" => Ok(kx_group::SECP256R1),
        "CurveP384" => Ok(kx_group::SECP384R1),
        "X25519" => Ok(kx_group::X25519),
        "CurveP521" => Err(format!("{name} is not supported; there are CurveP256, CurveP384 and X25519")),
        _ => Err(format!("{name} is unknown; there are CurveP256, CurveP384 and X25519")),
    };
    names.iter().map(curve).collect()
}
