//! Port 80 of this host while certificates are being asked for: answers to http-01 (RFC 8555, section 8.3).

use std::{
    collections::HashMap,
    convert::Infallible,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header::CONTENT_TYPE, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpListener,
    sync::Mutex as AsyncMutex,
    task::{AbortHandle, JoinHandle, JoinSet},
};

use super::finding::Finding;

/// Where the certificate authority comes.
const PORT: u16 = 80;
/// The path under which tokens are looked for.
const PREFIX: &str = "/.well-known/acme-challenge/";
/// Connections at the same time: the authority makes few.
const CONNECTIONS: usize = 32;
/// How long a peer may take for the head of a request.
const HEAD_TIME: Duration = Duration::from_secs(5);

/// The one that runs in this process, for the port can be had once; and the task of the last one.
static RUNNING: AsyncMutex<(Weak<Responder>, Option<JoinHandle<()>>)> = AsyncMutex::const_new((Weak::new(), None));

/// Key authorisations by their tokens.
type Tokens = Arc<Mutex<HashMap<String, String>>>;

/// The listener; it closes with the last check that uses it.
#[derive(Debug)]
pub struct Responder {
    tokens: Tokens,
    task: AbortHandle,
}

impl Responder {
    /// The running one, or a new one on every address of this host.
    ///
    /// # Errors
    /// Somebody else has the port.
    pub async fn get() -> Result<Arc<Self>, Finding> {
        let mut running = RUNNING.lock().await;
        if let Some(responder) = running.0.upgrade() {
            return Ok(responder);
        }
        if let Some(last) = running.1.as_mut() {
            // It was told to end when its responder was dropped; the port is free when it has.
            let _ = last.await;
            running.1 = None;
        }
        let listener = listen().await?;
        let tokens = Tokens::default();
        let task = tokio::spawn(serve(listener, tokens.clone()));
        let responder = Arc::new(Self { tokens, task: task.abort_handle() });
        *running = (Arc::downgrade(&responder), Some(task));
        Ok(responder)
    }

    /// Answers for `token` from now on.
    pub fn put(&self, token: &str, authorisation: &str) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.insert(token.to_owned(), authorisation.to_owned());
    }

    /// Answers no more for `token`.
    pub fn delete(&self, token: &str) {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).remove(token);
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Both families on one socket, or IPv4 alone where there is no IPv6.
async fn listen() -> Result<TcpListener, Finding> {
    let any = [SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT)), SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT))];
    TcpListener::bind(&any[..])
        .await
        .map_err(|error| Finding::ours(format!("cannot answer challenges on port {PORT} of this host: {error}")))
}

async fn serve(listener: TcpListener, tokens: Tokens) {
    let mut running = JoinSet::new();
    // Whatever ends the listener, the certificate authority will tell.
    while let Ok((stream, _)) = listener.accept().await {
        while running.try_join_next().is_some() {}
        if running.len() >= CONNECTIONS {
            continue;
        }
        let tokens = tokens.clone();
        let service = service_fn(move |request| {
            let answer = answer(&tokens, &request);
            async { Ok::<_, Infallible>(answer) }
        });
        running.spawn(async move {
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).keep_alive(false);
            // How it ends concerns nobody but the peer.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn answer(tokens: &Tokens, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let token = request.uri().path().strip_prefix(PREFIX).filter(|_| request.method() == Method::GET);
    let tokens = tokens.lock().unwrap_or_else(PoisonError::into_inner);
    match token.and_then(|token| tokens.get(token)) {
        Some(authorisation) => {
            let mut response = Response::new(Full::new(Bytes::from(authorisation.clone())));
            response
                .headers_mut()
                .insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/octet-stream"));
            response
        }
        None => {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    }
}
