//! TLS, client certificates and users in front of every port, and tenants by certificate.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::DnType;

use crate::recently;
use crate::requests::{REMOTE_WRITE, request};
use crate::server::{Answer, Server, answer, send};
use crate::tls::{Ca, Pair, ask};

/// `alice` with the password `wonder` and `bob` with `builder`, hashed by the C library.
const ALICE: &str = "  alice: $2y$04$abcdefghijklmnopqrstuuetGRvO6QNMBbbIoo5tpQkbPXg26U9Qu\n";
const BOB: &str = "  bob: $2b$04$abcdefghijklmnopqrstuu/GACL4BASs5qZJ2H5JEo0yW9XEj5.iq\n";
const AS_ALICE: &str = "Authorization: Basic YWxpY2U6d29uZGVy\r\n";
const AS_BOB: &str = "Authorization: Basic Ym9iOmJ1aWxkZXI=\r\n";

/// A folder with a server's certificate, the CA and a web configuration file.
pub struct Setup {
    folder: tempfile::TempDir,
    /// Who signs.
    pub ca: Ca,
}

impl Setup {
    /// With this text in the file.
    pub fn new(text: &str) -> Self {
        let (folder, ca) = (tempfile::tempdir().unwrap(), Ca::new("ca"));
        ca.issue(&[(DnType::CommonName, "server")]).write(folder.path(), "server");
        fs::write(folder.path().join("ca.crt"), &ca.pem).unwrap();
        let setup = Self { folder, ca };
        fs::write(setup.path("web.yml"), text).unwrap();
        setup
    }

    /// A file of the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The flag that names the file.
    pub fn config(&self) -> String {
        format!("--http.config={}", self.path("web.yml").display())
    }

    fn get(&self, address: &str, shown: Option<&Pair>, headers: &str) -> std::io::Result<Answer> {
        ask(address, &self.ca, shown, "GET /api/v1/status/buildinfo", headers, b"")
    }

    /// The tenants who have the series that these tests write.
    fn tenants(&self, address: &str, shown: Option<&Pair>) -> serde_json::Value {
        let line = "GET /api/v1/label/tenant_id/values?match[]=written";
        Server::data_of(&ask(address, &self.ca, shown, line, AS_ALICE, b"").unwrap())
    }
}

/// The server's certificate.
pub const TLS: &str = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n";
/// Clients have to show one.
pub const VERIFIED: &str = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n";
const HEADERS: &str = "http_server_config:\n  headers:\n    X-Frame-Options: deny\n";

#[test]
fn all_is_closed_but_to_who_has_certificate_and_password() {
    let setup = Setup::new(&format!("{TLS}{VERIFIED}{HEADERS}basic_auth_users:\n{ALICE}"));
    let field = "--receive.tenant-certificate-field=commonName";
    let server = Server::start(&setup.path("data"), &[&setup.config(), field]);
    let address = &server.address;
    let client = |name: &str| setup.ca.issue(&[(DnType::CommonName, name)]);
    let team = client("team-a");

    let plain = answer(send(address, "GET /api/v1/status/buildinfo", AS_ALICE, b""));
    assert!(plain.starts_with("HTTP/1.0 400 "), "{plain}");
    assert!(setup.get(address, None, AS_ALICE).is_err(), "no certificate");
    let foreign = Ca::new("other").issue(&[(DnType::CommonName, "team-a")]);
    assert!(setup.get(address, Some(&foreign), AS_ALICE).is_err(), "a certificate of another CA");
    for (headers, status) in [("", 401), (AS_BOB, 401), (AS_ALICE, 200)] {
        let got = setup.get(address, Some(&team), headers).unwrap();
        assert_eq!((got.status, got.header("x-frame-options")), (status, Some("deny")));
        assert_eq!(got.header("www-authenticate"), (status == 401).then_some("basic"));
    }

    let body = request(1, recently() * 1_000, 1.0);
    let write = |shown: &Pair, path: &str, headers: &str| {
        let line = format!("POST {path}");
        ask(address, &setup.ca, Some(shown), &line, &format!("{REMOTE_WRITE}{AS_ALICE}{headers}"), &body).unwrap()
    };
    assert_eq!(write(&team, "/api/v1/receive", "THANOS-TENANT: team-b\r\n").status, 200);
    assert_eq!(write(&client("team-c"), "/api/v1/write", "").status, 204);
    for (name, reason) in [
        ("../team-d", "tenant name not valid"),
        ("a/b", "tenant name not valid"),
        ("..", "tenant name not valid"),
        ("", "could not get commonName field"),
    ] {
        let refused = write(&client(name), "/api/v1/receive", "THANOS-TENANT: team-d\r\n");
        assert_eq!(refused.status, 400);
        assert!(String::from_utf8_lossy(&refused.body).contains(reason), "{name}");
    }
    let otlp = format!("Content-Type: application/json\r\n{AS_ALICE}");
    let line = "POST /api/v1/otlp/v1/metrics";
    assert_eq!(ask(address, &setup.ca, Some(&client("..")), line, &otlp, b"{}").unwrap().status, 400);
    assert_eq!(ask(address, &setup.ca, Some(&team), line, &otlp, b"{}").unwrap().status, 200);
    assert_eq!(setup.tenants(address, Some(&team)), serde_json::json!(["team-a", "team-c"]));
}

#[test]
fn changes_take_effect_without_a_restart() {
    let setup = Setup::new(&format!("{TLS}basic_auth_users:\n{ALICE}"));
    let mut server = Server::start(&setup.path("data"), &[&setup.config()]);
    let status = |address: &str, headers: &str| setup.get(address, None, headers).map(|answer| answer.status).ok();
    let address = server.address.clone();
    assert_eq!([status(&address, AS_ALICE), status(&address, AS_BOB)], [Some(200), Some(401)]);
    fs::write(setup.path("web.yml"), format!("{TLS}basic_auth_users:\n{BOB}")).unwrap();
    assert_eq!([status(&address, AS_ALICE), status(&address, AS_BOB)], [Some(401), Some(200)]);
    fs::write(setup.path("web.yml"), TLS).unwrap();
    assert_eq!(status(&address, AS_BOB), None, "a file that is broken spoils handshakes too");
    let line = server.wait_for("requests are refused until it is mended");
    assert!(line.contains("basic_auth_users went away") && !line.contains("$2"), "{line}");
    fs::write(setup.path("web.yml"), format!("{TLS}basic_auth_users:\n{ALICE}")).unwrap();
    assert_eq!(status(&address, AS_ALICE), Some(200));

    let next = Ca::new("next");
    next.issue(&[(DnType::CommonName, "server")]).write(setup.folder.path(), "server");
    assert_eq!(status(&address, AS_ALICE), None, "the certificate is of another CA now");
    let line = "GET /api/v1/status/buildinfo";
    assert_eq!(ask(&address, &next, None, line, AS_ALICE, b"").unwrap().status, 200);
}

#[test]
fn the_port_of_remote_write_has_tls_of_its_own() {
    let setup = Setup::new("rate_limit: {}\n");
    let flag = |name: &str, file: &str| format!("--remote-write.server-tls-{name}={}", setup.path(file).display());
    let [cert, key, ca] = [flag("cert", "server.crt"), flag("key", "server.key"), flag("client-ca", "ca.crt")];
    let field = "--receive.tenant-certificate-field=organizationalUnit";
    let server = Server::receive(&setup.path("data"), &[&cert, &key, &ca, field]);
    let unit = |unit: &str| setup.ca.issue(&[(DnType::OrganizationalUnitName, unit), (DnType::CommonName, "cn")]);
    let body = request(1, recently() * 1_000, 1.0);
    let write = |shown: Option<&Pair>| {
        ask(&server.write_address, &setup.ca, shown, "POST /api/v1/receive", REMOTE_WRITE, &body).map(|a| a.status).ok()
    };
    assert_eq!(write(Some(&unit("unit-1"))), Some(200));
    assert_eq!(write(Some(&setup.ca.issue(&[(DnType::CommonName, "cn")]))), Some(400));
    assert_eq!(write(None), None);
    // who asks of its head is told by the same rule as who writes
    let status = |shown: Pair, query: &str| {
        let line = format!("GET /api/v1/status/tsdb{query}");
        ask(&server.write_address, &setup.ca, Some(&shown), &line, "THANOS-TENANT: unit-1\r\n", b"").unwrap()
    };
    assert_eq!(Server::data_of(&status(unit("unit-1"), ""))[0]["tenant"], "unit-1");
    assert_eq!(Server::data_of(&status(unit("unit-2"), "")), serde_json::json!([]), "the header is not looked at");
    assert_eq!(status(unit("unit-2"), "?all_tenants=true").status, 400);
    assert_eq!(status(setup.ca.issue(&[(DnType::CommonName, "cn")]), "").status, 400);
    // the other port is as open as before
    assert_eq!(server.get("/api/v1/label/tenant_id/values"), serde_json::json!(["unit-1"]));
}

#[test]
fn the_file_guards_both_ports_of_receive() {
    let setup = Setup::new(&format!("{TLS}basic_auth_users:\n{ALICE}"));
    let server = Server::receive(&setup.path("data"), &[&setup.config()]);
    let body = request(1, recently() * 1_000, 1.0);
    let line = "POST /api/v1/receive";
    for (credentials, status) in [("", 401), (AS_BOB, 401), (AS_ALICE, 200)] {
        let headers = format!("{REMOTE_WRITE}{credentials}");
        assert_eq!(ask(&server.write_address, &setup.ca, None, line, &headers, &body).unwrap().status, status);
        assert_eq!(setup.get(&server.address, None, credentials).unwrap().status, status);
    }
    assert_eq!(setup.tenants(&server.address, None), serde_json::json!(["default-tenant"]));
}

/// The last line of what `receive` says when it does not start.
fn refused(folder: &Path, flags: &[&str]) -> String {
    let own = ["receive", "--http-address=127.0.0.1:0", "--remote-write.address=127.0.0.1:0", "--label=a=\"b\""];
    let folder = format!("--tsdb.path={}", folder.display());
    let output = Command::new(env!("CARGO_BIN_EXE_quiver")).args(own).arg(folder).args(flags).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap().lines().last().unwrap().to_owned()
}

#[test]
fn what_cannot_be_kept_is_refused_at_the_start() {
    let setup = Setup::new(TLS);
    let data = setup.path("data");
    let field = "--receive.tenant-certificate-field=organization";
    for flags in [vec![field.to_owned()], vec![field.to_owned(), setup.config()]] {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let line = refused(&data, &flags);
        assert!(line.starts_with("quiver: --receive.tenant-certificate-field needs client certificates"), "{line}");
    }
    let line = refused(&data, &["--query.enforce-tenancy", "--query.tenant-certificate-field=commonName"]);
    assert!(line.starts_with("quiver: tenants of reads by --query.tenant-certificate-field"), "{line}");
    let line = refused(&data, &["--remote-write.server-tls-cert=/no/such", "--remote-write.server-tls-key=/no/such"]);
    assert!(line.starts_with("quiver: --remote-write.server-tls-cert: /no/such: No such file"), "{line}");
    let line = refused(
        &data,
        &[
            &format!("--remote-write.server-tls-cert={}", setup.path("server.crt").display()),
            &format!("--remote-write.server-tls-key={}", setup.path("server.key").display()),
            "--remote-write.server-tls-min-version=1.0",
        ],
    );
    assert!(line.starts_with("quiver: --remote-write.server-tls-min-version: TLS10 is not supported"), "{line}");
    fs::write(setup.path("web.yml"), "tls_server_config:\n  cert: x\n  min_verson: TLS13\n").unwrap();
    let line = refused(&data, &[&setup.config()]);
    assert!(line.starts_with(&format!("quiver: {}:3:3: ", setup.path("web.yml").display())), "{line}");
}
