use super::*;
use crate::web::names::ClientAuth;

const HASH: &str = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";

fn read(text: &str) -> Result<WebConfig, String> {
    WebConfig::from_yaml(text, "web.yml", Path::new("/etc/quiver")).map_err(|error| error.to_string())
}

/// A section of TLS with certificate and key, and these lines.
fn tls(lines: &str) -> String {
    format!("tls_server_config:\n  cert_file: a.crt\n  key_file: a.key\n{lines}")
}

#[test]
fn files_without_anything_are_good() {
    for text in
        ["", "\n", "# nothing yet\n", "---\n", "tls_server_config:\n", "tls_server_config: {}\nrate_limit: {}\n"]
    {
        let config = read(text).unwrap();
        assert!(config.tls.is_none() && config.users.is_empty() && config.rate_limit.is_none(), "{text:?}");
    }
}

#[test]
fn everything_is_read() {
    let text = tls(&format!(
        "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  client_allowed_sans: [one, two]\n  \
         min_version: TLS12\n  max_version: TLS13\n  prefer_server_cipher_suites: false\n  cipher_suites:\n  - \
         TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\n  - TLS_AES_128_GCM_SHA256\n  curve_preferences: [X25519, CurveP256]\n\
         http_server_config:\n  http2: true\n  headers:\n    X-Frame-Options: deny\n    X-XSS-Protection: 1\n    \
         Strict-Transport-Security: max-age=31536000; includeSubDomains\n    Content-Security-Policy: ''\n\
         basic_auth_users:\n  alice: {HASH}\n  123: {HASH}\nrate_limit:\n  interval: 1s\n  burst: 20\n"
    ));
    let config = read(&text).unwrap();
    assert_eq!(config.tls.unwrap().client_auth, ClientAuth::RequireAndVerify);
    let headers: Vec<_> = config.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    let transport = ("strict-transport-security", "max-age=31536000; includeSubDomains");
    assert_eq!(headers, [transport, ("x-frame-options", "deny"), ("x-xss-protection", "1")]);
    assert!(config.users.hash_of("123").unwrap().1 && !config.users.hash_of("bob").unwrap().1);
    assert_eq!(config.rate_limit, Some(RateLimit { interval: std::time::Duration::from_secs(1), burst: 20 }));
}

#[test]
fn all_kinds_of_client_authentication() {
    for (kind, ca, expected) in [
        ("NoClientCert", "", ClientAuth::None),
        ("RequestClientCert", "", ClientAuth::Request),
        ("RequireAnyClientCert", "", ClientAuth::RequireAny),
        ("RequireClientCert", "", ClientAuth::RequireAny),
        ("VerifyClientCertIfGiven", "  client_ca_file: ca.crt\n", ClientAuth::VerifyIfGiven),
        ("RequireAndVerifyClientCert", "  client_ca: PEM\n", ClientAuth::RequireAndVerify),
    ] {
        let config = read(&tls(&format!("  client_auth_type: {kind}\n{ca}"))).unwrap();
        assert_eq!(config.tls.unwrap().client_auth, expected);
    }
}

fn check_refused(cases: &[(String, &str)]) {
    for (text, expected) in cases {
        let message = read(text).unwrap_err();
        assert!(message.starts_with(expected), "{message:?} does not begin with {expected:?}");
        assert!(!message.contains('\n'), "{message:?}");
    }
}

#[test]
fn bad_sections_of_tls_are_refused_with_their_place() {
    let no_certificate = "web.yml:1: tls_server_config: one of cert and cert_file is missing";
    let ca = "  client_ca_file: ca.crt\n";
    check_refused(&[
        ("hWkNKCp3\nTuEjdwNS\n".to_owned(), "web.yml:1:1: "),
        (tls("  cert_filse: b.crt\n"), "web.yml:4:3: "),
        ("tls_server_config:\n  cert_file: ''\n  key_file: a.key\n".to_owned(), no_certificate),
        ("tls_server_config:\n  cert: ''\n  key_file: a.key\n".to_owned(), no_certificate),
        ("tls_server_config:\n  min_version: TLS13\n".to_owned(), no_certificate),
        ("tls_server_config:\n  client_auth_type: x\n".to_owned(), no_certificate),
        (
            "tls_server_config:\n  cert_file: a.crt\n  key: ''\n".to_owned(),
            "web.yml:1: tls_server_config: one of key and key_file is missing",
        ),
        (tls("  cert: x\n"), "web.yml:4: cert: cert_file is set too"),
        (
            tls("  client_auth_type: Some\n"),
            "web.yml:4: client_auth_type: unknown kind \"Some\"; it is one of NoClientCert, ",
        ),
        (tls("  client_auth_type: RequireAndVerifyClientCert\n"), "web.yml:4: client_auth_type: one of client_ca and "),
        (tls("  client_auth_type: VerifyClientCertIfGiven\n"), "web.yml:4: client_auth_type: one of client_ca and "),
        (tls(ca), "web.yml:4: client_ca_file: is not looked at"),
        (tls("  client_ca: x\n  client_auth_type: RequireAnyClientCert\n"), "web.yml:4: client_ca: is not looked at"),
        (tls("  client_allowed_sans: [a]\n"), "web.yml:4: client_allowed_sans: is not looked at"),
        (
            tls("  min_version: TLS111\n"),
            "web.yml:4: min_version: unknown version \"TLS111\"; it is one of TLS12 and TLS13",
        ),
        (
            tls("  min_version: TLS10\n"),
            "web.yml:4: min_version: TLS10 is not supported; this build speaks TLS12 and TLS13",
        ),
        (tls("  max_version: TLS11\n"), "web.yml:4: max_version: TLS11 is not supported"),
        (tls("  min_version: TLS13\n  max_version: TLS12\n"), "web.yml:4: min_version: is above max_version"),
        (
            tls("  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA]\n"),
            "web.yml:4: cipher_suites: TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA is not supported",
        ),
        (
            tls("  cipher_suites: [TLS_X_2048]\n"),
            "web.yml:4: cipher_suites: TLS_X_2048 is unknown; there are TLS_ECDHE_",
        ),
        (
            tls("  curve_preferences: [CurveP521]\n"),
            "web.yml:4: curve_preferences: CurveP521 is not supported; there are ",
        ),
        (tls("  curve_preferences: [CurveP257]\n"), "web.yml:4: curve_preferences: CurveP257 is unknown; there are "),
    ]);
}

#[test]
fn bad_headers_users_and_limits_are_refused_with_their_place() {
    check_refused(&[
        (
            "http_server_config:\n  headers:\n    Content-Type: foo\n".to_owned(),
            "web.yml:3: Content-Type: cannot be set; headers are Content-Security-Policy, ",
        ),
        (
            "http_server_config:\n  headers:\n    x-frame-options: deny\n".to_owned(),
            "web.yml:3: x-frame-options: cannot be set; ",
        ),
        (
            "http_server_config:\n  headers:\n    X-Frame-Options: foo\n".to_owned(),
            "web.yml:3: X-Frame-Options: \"foo\" is not allowed; it is deny or sameorigin",
        ),
        (
            "http_server_config:\n  headers:\n    X-Content-Type-Options: sniff\n".to_owned(),
            "web.yml:3: X-Content-Type-Options: \"sniff\" is not allowed; it is nosniff",
        ),
        (
            "http_server_config:\n  headers:\n    Content-Security-Policy: \"a\\nb\"\n".to_owned(),
            "web.yml:3: Content-Security-Policy: not the value of a header",
        ),
        (
            "basic_auth_users:\n  john: doe\n".to_owned(),
            "web.yml:1: basic_auth_users: the password of \"john\" is not a bcrypt",
        ),
        (format!("basic_auth_users:\n  a: {HASH}\n  a: {HASH}\n"), "web.yml:3:3: "),
        (
            format!("basic_auth_users:\n  a: {}\n", HASH.replace("$10$", "$32$")),
            "web.yml:1: basic_auth_users: the password of \"a\" is not a bcrypt",
        ),
        ("rate_limit:\n  interval: 1s\n".to_owned(), "web.yml"),
        ("rate_limit:\n  interval: 1s\n  burst: 0\n".to_owned(), "web.yml:3: burst: at least 1 is needed"),
        ("rate_limit:\n  interval: soon\n  burst: 1\n".to_owned(), "web.yml:2: interval: \"soon\" is not a duration"),
        ("rate_limit:\n  interval: 1s\n  burst: -1\n".to_owned(), "web.yml:3:"),
    ]);
    assert!(read("rate_limit:\n  interval: 0\n  burst: 0\n").unwrap().rate_limit.is_none());
}

#[test]
fn secrets_show_neither_in_debug_nor_in_errors() {
    let text = tls("").replace("key_file: a.key", "key: hunter2") + "basic_auth_users: {alice: '$HASH'}\n";
    let config = read(&text.replace("$HASH", HASH)).unwrap();
    let shown = format!("{config:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("$2y$"), "{shown}");
    for text in [
        "basic_auth_users: hunter2",
        "basic_auth_users: [hunter2]",
        "basic_auth_users: {alice: [hunter2]}",
        "basic_auth_users: {alice: {hunter2: 1}}",
        "basic_auth_users:\n  alice: hunter2\n",
        "basic_auth_users:\n  alice: \"hunter2\n",
        "tls_server_config: {cert_file: a, key: [hunter2]}",
        "tls_server_config: {cert_file: a, key: {hunter2: 1}}",
    ] {
        let message = read(text).unwrap_err();
        assert!(!message.contains("hunter2"), "{message}");
    }
}
