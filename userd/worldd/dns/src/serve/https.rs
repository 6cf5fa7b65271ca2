//! DNS over HTTPS (RFC 8484): GET and POST, HTTP/1.1 and HTTP/2.
//!
//! A connection lives as long as it finishes a request within [`TcpLimits::idle`]: bytes alone, however many, do not keep it.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, task::JoinSet, time::timeout};

use super::{Handler, Peer, Reply, TcpLimits, Tls, Transport, accept::accept};
use crate::{
    record::Rtype,
    wire::{MESSAGE_MAX, Rcode, read::Parsed},
};

/// The path of the service: `https://NAME/dns-query{?dns}`.
pub const DNS_QUERY: &str = "/dns-query";
/// The media type of a message.
const MESSAGE: &str = "application/dns-message";
/// Longest answer in the making.
const ANSWER: Duration = Duration::from_secs(30);
/// Bytes of a body that is too long that are still read.
const UNREAD: usize = 1 << 20;
/// Most bytes of the headers of a request, and of what is buffered of it.
const HEADERS: u16 = 16 * 1024;

/// Accepts on `listener`, which listens on `local`, for ever; 443 is the usual port. Dropping the future closes the listener
/// and all its connections.
///
/// # Errors
/// When the listener fails for good; what a client or a lack of descriptors causes is not such.
pub async fn serve_https<H: Handler>(
    listener: TcpListener,
    local: IpAddr,
    tls: Arc<Tls>,
    handler: Arc<H>,
    limits: TcpLimits,
) -> io::Result<()> {
    accept(listener, limits, |stream, remote| {
        let peer = Peer { local, remote, transport: Transport::Tcp };
        let (handler, tls) = (handler.clone(), tls.clone());
        async move {
            let Ok(stream) = tls.accept_https(stream, limits).await else { return };
            let speaks_two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let requests = Arc::new(Requests::default());
            let counted = requests.clone();
            let service = service_fn(move |request| {
                let (handler, work) = (handler.clone(), counted.begin());
                async move {
                    let response = answer(request, &peer, handler.as_ref(), limits).await;
                    drop(work);
                    Ok::<_, Infallible>(response)
                }
            });
            let stream = TokioIo::new(stream);
            // Whatever the peer does wrong ends its own connection.
            if speaks_two {
                let mut server = http2::Builder::new(Streams::default());
                server
                    .timer(TokioTimer::new())
                    .max_concurrent_streams(u32::try_from(limits.pipeline).unwrap_or(u32::MAX))
                    .max_header_list_size(HEADERS.into());
                requests.keep(server.serve_connection(stream, service), limits.idle).await;
            } else {
                let mut server = http1::Builder::new();
                server.timer(TokioTimer::new()).header_read_timeout(limits.idle).max_buf_size(HEADERS.into());
                requests.keep(server.serve_connection(stream, service), limits.idle).await;
            }
        }
    })
    .await
}

/// The requests of one HTTP/2 connection: they end with it.
#[derive(Clone, Default)]
struct Streams(Arc<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, work: F) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while all.try_join_next().is_some() {}
        all.spawn(work);
    }
}

/// How many requests of a connection were begun and are done.
#[derive(Default)]
struct Requests {
    begun: AtomicU64,
    done: AtomicU64,
}

/// A request being answered.
struct Work(Arc<Requests>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.done.fetch_add(1, Ordering::Relaxed);
    }
}

impl Requests {
    fn begin(self: &Arc<Self>) -> Work {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Work(self.clone())
    }

    /// Serves until the peer ends the connection, or for a while neither got nor awaits an answer.
    async fn keep(&self, connection: impl Future, idle: Duration) {
        let mut connection = std::pin::pin!(connection);
        let mut before = 0;
        while timeout(idle, &mut connection).await.is_err() {
            let done = self.done.load(Ordering::Relaxed);
            if done == before && self.begun.load(Ordering::Relaxed) == done {
                return;
            }
            before = done;
        }
    }
}

type Answer = Response<Full<Bytes>>;

fn plain(status: StatusCode, text: &'static str) -> Answer {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

async fn answer<H: Handler>(request: Request<Incoming>, peer: &Peer, handler: &H, limits: TcpLimits) -> Answer {
    let query = match query(request, limits).await {
        Ok(query) => query,
        Err(response) => return *response,
    };
    let reply = match handler.handle(&query, peer) {
        Reply::Message(message) => Some(message),
        Reply::Later(later) => match timeout(ANSWER, later).await {
            Ok(message) => message,
            Err(_) => return plain(StatusCode::GATEWAY_TIMEOUT, "the answer takes too long\n"),
        },
        Reply::Messages(_) => return plain(StatusCode::NOT_IMPLEMENTED, "transfers are not served here\n"),
        Reply::Silence => None,
    };
    let Some(message) = reply else { return plain(StatusCode::BAD_REQUEST, "this is no query\n") };
    let fresh = format!("max-age={}", freshness(&message));
    let mut response = Response::new(Full::from(message));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(MESSAGE));
    if let Ok(fresh) = HeaderValue::from_str(&fresh) {
        headers.insert(CACHE_CONTROL, fresh);
    }
    response
}

/// The body of a request, as far as a message can be long. What is longer is read all the same, within bounds, and so is the body
/// of a request that is refused anyway: some clients take an answer that comes before they have sent all for an error.
async fn body(mut incoming: Incoming, limits: TcpLimits) -> Result<Vec<u8>, Box<Answer>> {
    let (mut bytes, mut length) = (Vec::new(), 0);
    let read = timeout(limits.message, async {
        while length <= UNREAD {
            let Some(Ok(frame)) = incoming.frame().await else { break };
            let Ok(data) = frame.into_data() else { continue };
            length += data.len();
            if length <= MESSAGE_MAX {
                bytes.extend_from_slice(&data);
            }
        }
    });
    match read.await {
        Err(_) => Err(Box::new(plain(StatusCode::REQUEST_TIMEOUT, "the message took too long\n"))),
        Ok(()) if length > MESSAGE_MAX => {
            Err(Box::new(plain(StatusCode::PAYLOAD_TOO_LARGE, "no message is that long\n")))
        }
        Ok(()) => Ok(bytes),
    }
}

/// The message of a request (RFC 8484, section 4.1).
async fn query(request: Request<Incoming>, limits: TcpLimits) -> Result<Vec<u8>, Box<Answer>> {
    let refuse = |status, text| Err(Box::new(plain(status, text)));
    let (request, incoming) = request.into_parts();
    let sent = body(incoming, limits).await?;
    if request.uri.path() != DNS_QUERY {
        return refuse(StatusCode::NOT_FOUND, "ask at /dns-query\n");
    }
    if request.method == Method::GET {
        let text = request.uri.query().unwrap_or("").split('&').find_map(|pair| pair.strip_prefix("dns="));
        // Some clients pad although they must not.
        let bytes = text.and_then(|text| BASE64_URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok());
        return bytes.map_or_else(|| refuse(StatusCode::BAD_REQUEST, "dns= holds no message\n"), Ok);
    }
    if request.method != Method::POST {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "use GET or POST\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST"));
        return Err(Box::new(response));
    }
    if request.headers.get(CONTENT_TYPE).is_none_or(|kind| kind != MESSAGE) {
        let mut response = plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send application/dns-message\n");
        response.headers_mut().insert(ACCEPT, HeaderValue::from_static(MESSAGE));
        return Err(Box::new(response));
    }
    Ok(sent)
}

/// Seconds that an answer may be kept by caches of HTTP: its smallest TTL, and for a denial what its SOA record says
/// (section 5.1).
fn freshness(message: &[u8]) -> u32 {
    let Ok(parsed) = Parsed::read(message) else { return 0 };
    if !matches!(parsed.header.rcode(), Rcode::NOERROR | Rcode::NXDOMAIN) {
        return 0;
    }
    let section = if parsed.section(1).next().is_some() { 1 } else { 2 };
    let records = parsed.section(section).filter(|record| section == 1 || record.rtype == Rtype::SOA);
    records.map(|record| record.ttl).min().unwrap_or(0)
}
