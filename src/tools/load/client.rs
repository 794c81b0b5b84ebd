//! HTTP/1.1 over one connection that is kept, and opened again where it broke.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Where requests go.
#[derive(Debug, Clone)]
pub struct Endpoint {
    authority: String,
    address: String,
    path: String,
}

impl Endpoint {
    /// Reads `http://host:port/path`.
    ///
    /// # Errors
    /// Where it is something else; TLS is not spoken here.
    pub fn parse(url: &str) -> anyhow::Result<Self> {
        let uri: Uri = url.parse().with_context(|| format!("{url:?} is not a URL"))?;
        ensure!(uri.scheme_str() == Some("http"), "{url:?} does not begin with http://; TLS is not spoken here");
        let Some(authority) = uri.authority() else { bail!("{url:?} names no host") };
        let address = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80));
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self { authority: authority.to_string(), address, path: path.to_owned() })
    }

    /// The same server and what is below the path.
    pub fn below(&self, path: &str) -> Self {
        Self { path: format!("{}{path}", self.path.trim_end_matches('/')), ..self.clone() }
    }
}

/// A whole response.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// One connection.
pub struct Client {
    endpoint: Endpoint,
    headers: HeaderMap,
    timeout: Duration,
    answer_max: usize,
    connection: Option<Connection>,
}

/// A connection, and the task that drives it, which ends with it.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    _driver: JoinSet<()>,
}

impl Client {
    /// A client that connects at its first request. Bodies of answers may have `answer_max` bytes.
    pub fn new(
        endpoint: Endpoint,
        mut headers: HeaderMap,
        timeout: Duration,
        answer_max: usize,
    ) -> anyhow::Result<Self> {
        headers.insert(HOST, HeaderValue::from_str(&endpoint.authority)?);
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("quiver-load/", env!("CARGO_PKG_VERSION"))));
        Ok(Self { endpoint, headers, timeout, answer_max, connection: None })
    }

    /// Posts a body, with one header more where there is one.
    ///
    /// # Errors
    /// Where no whole answer came in time; the next request has a new connection then.
    pub async fn post(&mut self, body: Bytes, header: Option<(&HeaderName, &HeaderValue)>) -> anyhow::Result<Answer> {
        // taken out, so that a request that breaks off leaves no connection behind
        let mut connection = self.connection.take();
        let exchange = async {
            let mut open = match connection.take().filter(|open| !open.sender.is_closed()) {
                Some(open) => open,
                None => connect(&self.endpoint.address).await?,
            };
            let answer = exchange(&mut open, self.request(body, header)?, self.answer_max).await?;
            anyhow::Ok((open, answer))
        };
        let in_time = tokio::time::timeout(self.timeout, exchange).await;
        let (open, answer) = in_time.with_context(|| format!("no answer within {:?}", self.timeout))??;
        self.connection = Some(open);
        Ok(answer)
    }

    fn request(
        &self,
        body: Bytes,
        header: Option<(&HeaderName, &HeaderValue)>,
    ) -> anyhow::Result<Request<Full<Bytes>>> {
        let length = body.len();
        let mut request = Request::builder().method(Method::POST).uri(&self.endpoint.path).body(Full::new(body))?;
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        headers.insert(CONTENT_LENGTH, length.into());
        if let Some((name, value)) = header {
            headers.insert(name, value.clone());
        }
        Ok(request)
    }
}

async fn connect(address: &str) -> anyhow::Result<Connection> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // what goes wrong is told to the one who sends
        let _ = connection.await;
    });
    Ok(Connection { sender, _driver: driver })
}

async fn exchange(open: &mut Connection, request: Request<Full<Bytes>>, answer_max: usize) -> anyhow::Result<Answer> {
    open.sender.ready().await.context("the connection broke off")?;
    let response: Response<Incoming> = open.sender.send_request(request).await.context("the connection broke off")?;
    let (parts, body) = response.into_parts();
    let collected = Limited::new(body, answer_max).collect().await;
    let body = collected.map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?.to_bytes();
    Ok(Answer { status: parts.status, headers: parts.headers, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let endpoint = Endpoint::parse("http://localhost:9090/prometheus/?x=1").unwrap();
        assert_eq!((endpoint.address.as_str(), endpoint.path.as_str()), ("localhost:9090", "/prometheus/?x=1"));
        assert_eq!(Endpoint::parse("http://[::1]").unwrap().address, "[::1]:80");
        assert_eq!(Endpoint::parse("http://a/b/").unwrap().below("/api").path, "/b/api");
        for wrong in ["https://a/", "a", "/x", "http://", ""] {
            assert!(Endpoint::parse(wrong).is_err(), "{wrong}");
        }
    }
}
