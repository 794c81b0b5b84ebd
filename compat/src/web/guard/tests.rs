use std::fs;
use std::path::Path;

use axum::body::Body;
use axum::routing::get;
use http_body_util::BodyExt;
use rustls::version::{TLS12, TLS13};
use tokio::io::AsyncReadExt;
use tower::ServiceExt;

use super::*;
use crate::web::testing::{Ca, Pair, client, connect};
use crate::web::{TlsFlagNames, TlsFlags, WebFile};

const TLS: &str = "tls_server_config:\n  cert_file: a.crt\n  key_file: a.key\n  client_ca_file: ca.crt\n";

/// A folder with the certificate `a` and the CA that signed it.
fn folder(ca: &Ca) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    ca.issue("a").write(folder.path(), "a");
    fs::write(folder.path().join("ca.crt"), &ca.pem).unwrap();
    folder
}

fn guard_of(folder: &Path, text: &str) -> Arc<PortGuard> {
    let path = folder.join("web.yml");
    fs::write(&path, text).unwrap();
    let auth = WebAuth::try_new(Arc::new(WebFile::open(&path).unwrap())).unwrap();
    Arc::new(PortGuard::new(Some(Arc::new(auth)), None, Protocol::Http))
}

fn users(of: &[(&str, &str)]) -> String {
    let lines = of.iter().map(|(name, password)| format!("  {name}: {}\n", bcrypt::hash(password, 4).unwrap()));
    format!("basic_auth_users:\n{}", lines.collect::<String>())
}

fn router(guard: &Arc<PortGuard>) -> Router {
    let page = || async { ([(header::CONTENT_SECURITY_POLICY, "own")], "page") };
    guard.protect(Router::new().route("/page", get(page)))
}

/// Status, headers and text of a request, with credentials as `name:password` where there are any.
async fn ask(router: &Router, path: &str, credentials: Option<&str>) -> (u16, HeaderMap, String) {
    let mut request = Request::get(path);
    if let Some(credentials) = credentials {
        request = request.header(header::AUTHORIZATION, format!("Basic {}", STANDARD.encode(credentials)));
    }
    let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    (parts.status.as_u16(), parts.headers, text)
}

#[tokio::test]
async fn users_come_in_by_their_passwords_alone() {
    let folder = tempfile::tempdir().unwrap();
    let guard = guard_of(folder.path(), &users(&[("alice", "p:ö"), ("bob", "")]));
    let router = router(&guard);
    for (credentials, status) in [
        (Some("alice:p:ö"), 200),
        (Some("bob:"), 200),
        (Some("alice:p:o"), 401),
        (Some("alice:"), 401),
        (Some("bob:p:ö"), 401),
        (Some("carol:p:ö"), 401),
        (Some(":"), 401),
        (Some("alice"), 401),
        (None, 401),
    ] {
        let (got, headers, text) = ask(&router, "/page", credentials).await;
        assert_eq!(got, status, "{credentials:?}");
        if status == 401 {
            assert_eq!(
                (headers[header::WWW_AUTHENTICATE].to_str().unwrap(), text.as_str()),
                ("Basic", "Unauthorized\n")
            );
        }
    }
    // a path that does not exist tells strangers nothing
    assert_eq!(ask(&router, "/none", None).await.0, 401);
    assert_eq!(ask(&router, "/none", Some("bob:")).await.0, 404);
    let auth = guard.auth.as_ref().unwrap();
    assert_eq!(auth.verify("alice", "p:ö").await, Ok(()));
    assert_eq!(auth.verify("alice", "other").await, Err(AuthError::Refused));
    assert_eq!(auth.check(None).await, Err(AuthError::Refused));
}

#[tokio::test]
async fn other_headers_of_authorization_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let router = router(&guard_of(folder.path(), &users(&[("a", "b")])));
    let encoded = STANDARD.encode("a:b");
    for (value, status) in [
        (format!("Basic {encoded}"), 200),
        (format!("bAsIc {encoded}"), 200),
        (format!("Basic  {encoded}"), 401),
        (format!("Bearer {encoded}"), 401),
        (encoded, 401),
        ("Basic".to_owned(), 401),
        ("Basic !!!".to_owned(), 401),
        (format!("Basic {}", STANDARD.encode(b"\xff:b")), 401),
    ] {
        let request = Request::get("/page").header(header::AUTHORIZATION, &value).body(Body::empty()).unwrap();
        assert_eq!(router.clone().oneshot(request).await.unwrap().status(), status, "{value}");
    }
}

#[tokio::test]
async fn every_answer_carries_the_headers() {
    let folder = tempfile::tempdir().unwrap();
    let headers = "http_server_config:\n  headers:\n    X-Frame-Options: deny\n    Content-Security-Policy: theirs\n";
    let router = router(&guard_of(folder.path(), &format!("{headers}{}", users(&[("a", "b")]))));
    for (path, credentials, status, policy) in
        [("/page", Some("a:b"), 200, "own"), ("/none", Some("a:b"), 404, "theirs"), ("/page", None, 401, "theirs")]
    {
        let (got, headers, _) = ask(&router, path, credentials).await;
        assert_eq!((got, headers[header::X_FRAME_OPTIONS].to_str().unwrap()), (status, "deny"));
        assert_eq!(headers[header::CONTENT_SECURITY_POLICY], policy);
    }
}

#[tokio::test]
async fn a_broken_file_answers_500_until_it_is_mended() {
    let folder = tempfile::tempdir().unwrap();
    let text = users(&[("a", "b")]);
    let router = router(&guard_of(folder.path(), &text));
    assert_eq!(ask(&router, "/page", Some("a:b")).await.0, 200);
    fs::write(folder.path().join("web.yml"), "basic_auth_users: 1").unwrap();
    let (status, _, text_of_500) = ask(&router, "/page", Some("a:b")).await;
    assert_eq!((status, text_of_500.as_str()), (500, "Internal Server Error\n"));
    fs::write(folder.path().join("web.yml"), users(&[("a", "c")])).unwrap();
    assert_eq!(ask(&router, "/page", Some("a:b")).await.0, 401);
    assert_eq!(ask(&router, "/page", Some("a:c")).await.0, 200);
}

#[tokio::test]
async fn more_than_the_rate_limit_is_429() {
    let folder = tempfile::tempdir().unwrap();
    let guard = guard_of(folder.path(), "rate_limit:\n  interval: 1h\n  burst: 2\n");
    let router = router(&guard);
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(ask(&router, "/page", None).await.0);
    }
    assert_eq!(statuses, [200, 200, 429, 429]);
    assert_eq!(ask(&router, "/page", None).await.2, "Too Many Requests\n");
    fs::write(folder.path().join("web.yml"), "rate_limit:\n  interval: 1h\n  burst: 1\n").unwrap();
    assert_eq!(ask(&router, "/page", None).await.0, 200);
    assert_eq!(ask(&router, "/page", None).await.0, 429);
}

/// Whether the guard accepts, and which common name it takes for the client's.
async fn accepted(guard: &PortGuard, trusted: &Ca, shown: Option<&Pair>) -> Option<Option<String>> {
    match connect(guard, client(trusted, shown)).await.0 {
        Ok(Accepted::Tls(_, client)) => Some(client.map(|client| client.common_name().unwrap().to_owned())),
        Ok(Accepted::Plain(_)) => panic!("TLS was not spoken"),
        Err(_) => None,
    }
}

#[tokio::test]
async fn clients_are_asked_for_certificates_as_the_file_says() {
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    let folder = folder(&ca);
    let (good, foreign) = (ca.issue("good"), other.issue("foreign"));
    let without_ca = TLS.replace("  client_ca_file: ca.crt\n", "");
    let verified = Some("good".to_owned());
    // without a certificate, with a good one, with one of another CA
    for (kind, text, expected) in [
        ("NoClientCert", &*without_ca, [Some(None), Some(None), Some(None)]),
        ("RequestClientCert", &without_ca, [Some(None), Some(None), Some(None)]),
        ("RequireAnyClientCert", &without_ca, [None, Some(None), Some(None)]),
        ("VerifyClientCertIfGiven", TLS, [Some(None), Some(verified.clone()), None]),
        ("RequireAndVerifyClientCert", TLS, [None, Some(verified.clone()), None]),
    ] {
        let guard = guard_of(folder.path(), &format!("{text}  client_auth_type: {kind}\n"));
        let mut got = Vec::new();
        for shown in [None, Some(&good), Some(&foreign)] {
            got.push(accepted(&guard, &ca, shown).await);
        }
        assert_eq!(got, expected, "{kind}");
        assert_eq!(guard.verifies_clients().unwrap(), text == TLS);
    }
}

#[tokio::test]
async fn only_certificates_with_an_allowed_name() {
    let ca = Ca::new("ca");
    let folder = folder(&ca);
    let text = format!("{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_allowed_sans: [one, 10.0.0.1]\n");
    let guard = guard_of(folder.path(), &text);
    assert_eq!(accepted(&guard, &ca, Some(&ca.issue("one"))).await, Some(Some("one".to_owned())));
    assert_eq!(accepted(&guard, &ca, Some(&ca.issue("two"))).await, None);
    fs::write(folder.path().join("web.yml"), text.replace("10.0.0.1", "127.0.0.1")).unwrap();
    assert_eq!(accepted(&guard, &ca, Some(&ca.issue("two"))).await, Some(Some("two".to_owned())));
}

#[tokio::test]
async fn a_certificate_of_a_ca_that_is_gone_is_not_resumed() {
    let (ca, next) = (Ca::new("ca"), Ca::new("next"));
    let folder = folder(&ca);
    let guard = guard_of(folder.path(), &format!("{TLS}  client_auth_type: RequireAndVerifyClientCert\n"));
    // a client that keeps what it could resume
    let config = client(&ca, Some(&ca.issue("good")));
    for _ in 0..2 {
        let (accepted, connected) = connect(&guard, config.clone()).await;
        assert!(accepted.is_ok() && connected.is_ok());
    }
    fs::write(folder.path().join("ca.crt"), &next.pem).unwrap();
    assert!(connect(&guard, config).await.0.is_err());
    assert!(accepted(&guard, &ca, Some(&next.issue("good"))).await.is_some());
}

#[tokio::test]
async fn versions_suites_and_curves_are_those_of_the_file() {
    let ca = Ca::new("ca");
    let folder = folder(&ca);
    let plain = TLS.replace("  client_ca_file: ca.crt\n", "");
    let suite = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384";
    for (lines, tls12, tls13) in [
        ("".to_owned(), true, true),
        ("  min_version: TLS13\n".to_owned(), false, true),
        ("  max_version: TLS12\n".to_owned(), true, false),
        (format!("  cipher_suites: [{suite}]\n"), true, true),
        // the certificate is none of RSA
        ("  cipher_suites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]\n".to_owned(), false, true),
        ("  cipher_suites: [TLS_AES_128_GCM_SHA256]\n".to_owned(), false, true),
        ("  curve_preferences: [CurveP384]\n".to_owned(), true, true),
    ] {
        let guard = guard_of(folder.path(), &format!("{plain}{lines}"));
        for (version, expected) in [(&TLS12, tls12), (&TLS13, tls13)] {
            let mut roots = rustls::RootCertStore::empty();
            roots.add_parsable_certificates([
                rustls::pki_types::pem::PemObject::from_pem_slice(ca.pem.as_bytes()).unwrap()
            ]);
            let config =
                rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                    .with_protocol_versions(&[version])
                    .unwrap()
                    .with_root_certificates(roots)
                    .with_no_client_auth();
            let (accepted, connected) = connect(&guard, config).await;
            assert_eq!(accepted.is_ok(), expected, "{lines} {version:?}");
            if let (Ok(stream), true) = (connected, lines.contains("cipher_suites") && version.version == TLS12.version)
            {
                assert_eq!(format!("{:?}", stream.get_ref().1.negotiated_cipher_suite().unwrap().suite()), suite);
            }
        }
    }
}

#[tokio::test]
async fn who_does_not_speak_tls_is_told() {
    let ca = Ca::new("ca");
    let folder = folder(&ca);
    let guard = guard_of(folder.path(), &TLS.replace("  client_ca_file: ca.crt\n", ""));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    // more than the guard looks at before it answers
    stream.write_all(&vec![b'x'; 60 << 10]).await.unwrap();
    let accepting = async { guard.accept(listener.accept().await.unwrap().0).await };
    let asking = async move {
        let mut answer = Vec::new();
        // it is not reset
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    };
    let (refused, answer) = tokio::join!(accepting, asking);
    assert!(matches!(refused, Err(AcceptError::NotTls)));
    assert_eq!(answer, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n");
}

#[tokio::test]
async fn a_port_speaks_its_own_protocol() {
    let ca = Ca::new("ca");
    let folder = folder(&ca);
    let file = guard_of(folder.path(), &TLS.replace("  client_ca_file: ca.crt\n", ""));
    for (protocol, own, other) in [(Protocol::Http, "http/1.1", "h2"), (Protocol::Grpc, "h2", "http/1.1")] {
        let guard = PortGuard::new(file.auth.clone(), None, protocol);
        let mut agreed = Vec::new();
        for offered in [vec![other, own], vec![], vec![other]] {
            let mut config = client(&ca, None);
            config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
            let (accepted, connected) = connect(&guard, config).await;
            assert_eq!(accepted.is_ok(), connected.is_ok());
            agreed.push(connected.ok().map(|stream| stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec)));
        }
        assert_eq!(agreed, [Some(Some(own.as_bytes().to_vec())), Some(None), None], "{protocol}");
    }
}

const NAMES: TlsFlagNames = TlsFlagNames {
    cert: "--cert",
    key: "--key",
    client_ca: "--ca",
    min_version: "--min",
    ciphers: "--ciphers",
    curves: "--curves",
};

#[tokio::test]
async fn flags_of_a_port_go_before_the_file() {
    let ca = Ca::new("ca");
    let folder = folder(&ca);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let good = TlsFlags {
        cert: path("a.crt"),
        key: path("a.key"),
        client_ca: path("ca.crt"),
        min_version: "1.3".to_owned(),
        ..TlsFlags::default()
    };
    let file = guard_of(folder.path(), &users(&[("a", "b")]));
    assert!(!file.speaks_tls().unwrap() && file.asks_for_users().unwrap());
    let port = TlsPort::open(&good, NAMES).unwrap().unwrap();
    assert!(port.verifies_clients());
    let guard = Arc::new(PortGuard::new(file.auth.clone(), Some(port), Protocol::Http));
    assert_eq!(accepted(&guard, &ca, Some(&ca.issue("c"))).await, Some(Some("c".to_owned())));
    assert_eq!(accepted(&guard, &ca, None).await, None);
    // users are asked for on every port
    assert_eq!(ask(&router(&guard), "/page", None).await.0, 401);

    let refused = |flags: TlsFlags| TlsPort::open(&flags, NAMES).unwrap_err().to_string();
    let nothing = TlsFlags { min_version: "1.3".to_owned(), ..TlsFlags::default() };
    assert!(TlsPort::open(&nothing, NAMES).unwrap().is_none());
    assert!(refused(TlsFlags { client_ca: path("ca.crt"), ..nothing.clone() }).starts_with("--ca: "));
    assert!(refused(TlsFlags { cert: path("a.crt"), ..nothing.clone() }).starts_with("--cert: --key must"));
    assert!(refused(TlsFlags { key: path("a.key"), ..nothing }).starts_with("--key: --cert must"));
    assert!(refused(TlsFlags { key: path("none"), ..good.clone() }).starts_with("--key: "));
    assert!(refused(TlsFlags { client_ca: path("none"), ..good.clone() }).starts_with("--ca: "));
    assert!(
        refused(TlsFlags { min_version: "1.1".to_owned(), ..good.clone() })
            .starts_with("--min: TLS11 is not supported")
    );
    assert!(refused(TlsFlags { ciphers: vec!["x".to_owned()], ..good.clone() }).starts_with("--ciphers: x is unknown"));
    assert!(
        refused(TlsFlags { curves: vec!["CurveP521".to_owned()], ..good }).starts_with("--curves: CurveP521 is not")
    );
}
