//! Flight SQL as clients see it, with TLS and without.

use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use futures::TryStreamExt;
use hyper_util::rt::TokioIo;
use rcgen::DnType;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use crate::server::{Answer, Server, send};
use crate::tls::{Ca, Pair, client_config};
use crate::web::{Setup, TLS, VERIFIED};

pub type Client = FlightSqlServiceClient<Channel>;

pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A client without TLS.
pub fn client(address: &str) -> Client {
    FlightSqlServiceClient::new(Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy())
}

/// A client with TLS. It connects with the first call, which fails where the handshake does.
pub fn tls_client(address: &str, trusted: &Ca, shown: Option<&Pair>) -> Client {
    let mut config = client_config(trusted, shown);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let (connector, to) = (TlsConnector::from(Arc::new(config)), address.to_owned());
    let connect = tower::service_fn(move |_| {
        let (connector, to) = (connector.clone(), to.clone());
        async move {
            let stream = tokio::net::TcpStream::connect(&to).await?;
            let stream = connector.connect("127.0.0.1".try_into().unwrap(), stream).await?;
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    FlightSqlServiceClient::new(endpoint.connect_with_connector_lazy(connect))
}

/// The rows of a statement as text.
pub async fn rows(client: &mut Client, statement: &str) -> Result<String, FlightError> {
    let info = client.execute(statement.to_owned(), None).await?;
    let mut batches: Vec<RecordBatch> = Vec::new();
    for endpoint in info.endpoint {
        let stream = client.do_get(endpoint.ticket.unwrap()).await?;
        batches.extend(stream.try_collect::<Vec<_>>().await?);
    }
    Ok(pretty_format_batches(&batches)?.to_string())
}

/// Flags for the TLS of the gRPC port.
fn flags(setup: &Setup, names: &[(&str, &str)]) -> Vec<String> {
    names.iter().map(|(name, file)| format!("--grpc-server-tls-{name}={}", setup.path(file).display())).collect()
}

const CERTIFICATE: [(&str, &str); 2] = [("cert", "server.crt"), ("key", "server.key")];

#[test]
fn the_port_has_tls_by_flags() {
    let setup = Setup::new("");
    let flags = flags(&setup, &[&CERTIFICATE[..], &[("client-ca", "ca.crt")]].concat());
    let server = Server::start(&setup.path("data"), &flags.iter().map(String::as_str).collect::<Vec<_>>());
    let address = server.grpc_address.as_str();
    let (other, statement) = (Ca::new("other"), "SELECT 1 AS one");
    let good = setup.ca.issue(&[(DnType::CommonName, "client")]);
    let foreign = other.issue(&[(DnType::CommonName, "client")]);
    // connections whose handshake does not come keep nobody else waiting
    let _silent: Vec<TcpStream> = (0..50).map(|_| TcpStream::connect(address).unwrap()).collect();
    block_on(async {
        let mut standing = tls_client(address, &setup.ca, Some(&good));
        assert!(rows(&mut standing, statement).await.unwrap().contains("one"));
        for (what, mut refused) in [
            ("another CA is trusted", tls_client(address, &other, Some(&good))),
            ("no certificate", tls_client(address, &setup.ca, None)),
            ("a certificate of another CA", tls_client(address, &setup.ca, Some(&foreign))),
            ("no TLS", client(address)),
        ] {
            let answered = rows(&mut refused, statement).await;
            assert!(answered.is_err(), "{what}: {answered:?}");
        }
        // the files are read again for each handshake
        other.issue(&[(DnType::CommonName, "server")]).write(&setup.path(""), "server");
        assert!(rows(&mut tls_client(address, &setup.ca, Some(&good)), statement).await.is_err());
        assert!(rows(&mut tls_client(address, &other, Some(&good)), statement).await.is_ok());
        std::fs::write(setup.path("ca.crt"), &other.pem).unwrap();
        assert!(rows(&mut tls_client(address, &other, Some(&good)), statement).await.is_err());
        assert!(rows(&mut tls_client(address, &other, Some(&foreign)), statement).await.is_ok());
        assert!(rows(&mut standing, statement).await.is_ok(), "a connection that stands stays");
    });
    let plain = Answer::of(send(address, "GET /", "", b""));
    assert_eq!((plain.status, plain.body), (400, b"Client sent an HTTP request to an HTTPS server.\n".to_vec()));
    // the flags are of this port alone
    assert_eq!(Answer::of(send(&server.address, "GET /-/ready", "", b"")).status, 200);
}

#[test]
fn the_port_has_tls_by_the_file_unless_by_flags() {
    let setup = Setup::new(&format!("{TLS}{VERIFIED}"));
    let good = setup.ca.issue(&[(DnType::CommonName, "client")]);
    let check = |flags: &[String], expected: [bool; 3]| {
        let config = setup.config();
        let flags: Vec<&str> = flags.iter().map(String::as_str).chain([config.as_str()]).collect();
        let server = Server::start(&setup.path("data"), &flags);
        let address = server.grpc_address.as_str();
        block_on(async {
            let clients =
                [tls_client(address, &setup.ca, Some(&good)), tls_client(address, &setup.ca, None), client(address)];
            for (mut client, expected) in clients.into_iter().zip(expected) {
                let answered = rows(&mut client, "SELECT 1").await;
                assert_eq!(answered.is_ok(), expected, "{answered:?}");
            }
        });
    };
    check(&[], [true, false, false]);
    check(&flags(&setup, &CERTIFICATE), [true, true, false]);
}

#[test]
fn tenants_by_certificate_need_a_port_that_verifies_them() {
    let setup = Setup::new(&format!("{TLS}{VERIFIED}"));
    let output = Command::new(env!("CARGO_BIN_EXE_quiver"))
        .args(["all", "--http-address=127.0.0.1:0", "--grpc-address=127.0.0.1:0", "--query.enforce-tenancy"])
        .args(["--query.tenant-certificate-field=commonName", &setup.config()])
        .arg(format!("--data-dir={}", setup.path("data").display()))
        .args(flags(&setup, &CERTIFICATE))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.trim_end().ends_with("verified at --grpc-address: --grpc-server-tls-client-ca"), "{said}");
}
