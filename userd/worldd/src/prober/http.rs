//! HTTPS as a client of the world speaks it: names from the world's resolvers, trust from the world's root.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, Response, Uri,
    client::conn::http1::{self, SendRequest},
    header::{CONTENT_TYPE, HOST, HeaderValue, USER_AGENT},
    http::uri::Authority,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet, time::timeout};

use super::{
    finding::{Finding, Progress},
    names::Names,
    tls::{self, Tls},
};

/// Largest answer that is read, bytes.
const BODY_BYTES: usize = 1 << 20;
/// How long one address may take to answer while there is another one.
const ONE_ADDRESS: Duration = Duration::from_secs(2);
/// How we name ourselves.
const AGENT: &str = concat!("netengine-prober/", env!("CARGO_PKG_VERSION"));

/// An answer, read whole.
pub type Answer = Response<Bytes>;

/// What the checks of one request share.
#[derive(Clone)]
pub struct Shared {
    /// Names, each looked up once.
    pub names: Arc<Names>,
    /// Trust, read once.
    pub tls: Tls,
}

/// The connections of one check, each used again for the next request to the same server; all end with it.
pub struct Http {
    shared: Shared,
    progress: Progress,
    open: Mutex<HashMap<Authority, SendRequest<Full<Bytes>>>>,
    tasks: Mutex<JoinSet<()>>,
}

impl Http {
    /// No connection yet.
    pub fn new(shared: Shared, progress: Progress) -> Self {
        Self { shared, progress, open: Mutex::default(), tasks: Mutex::default() }
    }

    /// GETs an `https` address; redirects are not followed.
    ///
    /// # Errors
    /// As [`Http::send`].
    pub async fn get(&self, url: &str, accept: &'static str) -> Result<Answer, Finding> {
        let request = Request::get(url).header(hyper::header::ACCEPT, accept).body(Bytes::new());
        self.send(request.map_err(|error| Finding::ours(format!("cannot ask {url}: {error}")))?).await
    }

    /// Sends a request to an absolute `https` address and reads the answer.
    ///
    /// # Errors
    /// What is wrong on the way: the name, the connection, the certificate, the answer. Any status is an answer.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Answer, Finding> {
        let (mut head, body) = request.into_parts();
        let url = head.uri.clone();
        let authority = match (url.scheme_str(), url.authority()) {
            (Some("https"), Some(authority)) => authority.clone(),
            _ => return Err(Finding::wrong(format!("{url} is not an https address"))),
        };
        let host = HeaderValue::from_str(authority.as_str())
            .map_err(|_| Finding::wrong(format!("{url} has no host that can be asked")))?;
        head.headers.insert(HOST, host);
        head.headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        head.uri = url.path_and_query().map_or_else(|| Uri::from_static("/"), |path| Uri::from(path.clone()));

        let mut sender = self.sender(&authority).await?;
        self.progress.enter(format!("waiting for the answer to {} {url}", head.method));
        let broken = |error: &dyn std::error::Error| Finding::wrong(format!("{url}: no whole HTTP answer: {error}"));
        let answer =
            sender.send_request(Request::from_parts(head, Full::new(body))).await.map_err(|error| broken(&error))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, BODY_BYTES).collect().await.map_err(|error| broken(&*error))?.to_bytes();
        self.open().insert(authority, sender);
        Ok(Response::from_parts(head, body))
    }

    fn open(&self) -> std::sync::MutexGuard<'_, HashMap<Authority, SendRequest<Full<Bytes>>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection that is open, or a new one.
    async fn sender(&self, authority: &Authority) -> Result<SendRequest<Full<Bytes>>, Finding> {
        let kept = self.open().remove(authority);
        if let Some(mut sender) = kept
            && sender.ready().await.is_ok()
        {
            return Ok(sender);
        }
        self.connect(authority).await
    }

    async fn connect(&self, authority: &Authority) -> Result<SendRequest<Full<Bytes>>, Finding> {
        let host = authority.host();
        let name = tls::server_name(host)?;
        let port = authority.port_u16().unwrap_or(443);
        let addresses = self.shared.names.addresses(host, &self.progress).await?;
        let stream = self.reach(&addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect::<Vec<_>>()).await?;
        // Without it small requests are only slower.
        let _ = stream.set_nodelay(true);
        self.progress.enter(format!("shaking hands by TLS with {authority}"));
        let connector = self.shared.tls.connector();
        let stream = connector.connect(name, stream).await.map_err(|error| tls::handshake(host, &error))?;
        let failed = |error| Finding::wrong(format!("{authority} does not speak HTTP: {error}"));
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(async {
            // Its errors are those of the requests on it.
            let _ = connection.await;
        });
        Ok(sender)
    }

    /// The first address that accepts a connection.
    async fn reach(&self, addresses: &[SocketAddr]) -> Result<TcpStream, Finding> {
        let mut last = Finding::ours("no address to connect to");
        for (index, address) in addresses.iter().enumerate() {
            self.progress.enter(format!("connecting to {address}"));
            let connected = TcpStream::connect(address);
            let connected = if index + 1 == addresses.len() {
                connected.await
            } else {
                timeout(ONE_ADDRESS, connected).await.unwrap_or_else(|over| Err(over.into()))
            };
            match connected {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Finding::io(&format!("connect to {address}"), &error),
            }
        }
        Err(last)
    }
}

/// The media type of an answer, in lower case without parameters.
pub fn media_type(answer: &Answer) -> String {
    let value = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// What an answer says that is not the one wanted: its status, and an error document's own words.
pub fn refusal(url: &str, answer: &Answer) -> Finding {
    let status = answer.status();
    let document: serde_json::Value = serde_json::from_slice(answer.body()).unwrap_or_default();
    let words = ["type", "error", "title", "detail", "error_description"];
    let said: Vec<&str> = words.iter().filter_map(|word| document.get(word)?.as_str()).collect();
    let said = if said.is_empty() { String::new() } else { format!(": {}", said.join(": ")) };
    let detail = format!("{url} answered {status}{said}");
    if status.is_client_error() || status.is_server_error() { Finding::refused(detail) } else { Finding::wrong(detail) }
}
