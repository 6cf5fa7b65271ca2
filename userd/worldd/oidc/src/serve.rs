//! Serves a provider on a connection that somebody else accepted (and wrapped in TLS).

use std::{
    convert::Infallible,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use http_body_util::{BodyExt, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::{Body, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    provider::Provider,
    web::{
        reply::{Reply, text},
        request::Moment,
    },
};

/// Largest request body, in bytes.
const MAX_BODY_BYTES: usize = 64 * 1024;
/// Largest head of a request, in bytes.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// How long a peer may take for the head of a request.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a peer may take for the body of a request.
const BODY_TIME: Duration = Duration::from_secs(10);

/// The clocks of this machine; made once.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Default for Clock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock {
    /// Now.
    pub fn now(&self) -> Moment {
        Moment {
            unix_s: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            monotonic_ms: u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// Answers the requests of one HTTP/1.1 connection until it ends.
///
/// The caller bounds how many connections there are; slow heads and bodies end after ten seconds here.
///
/// # Errors
/// What ended the connection early.
pub async fn serve_connection<I>(provider: Arc<Provider>, clock: Clock, source: IpAddr, io: I) -> hyper::Result<()>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let provider = Arc::clone(&provider);
        async move { Ok::<_, Infallible>(answer(&provider, clock, source, request).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(io), service)
        .await
}

/// Reads the body within its bounds and answers.
pub async fn answer(provider: &Provider, clock: Clock, source: IpAddr, request: Request<Incoming>) -> Reply {
    let (head, body) = request.into_parts();
    if body.size_hint().lower() > MAX_BODY_BYTES as u64 {
        return closing(text(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large\n"));
    }
    let body = match tokio::time::timeout(BODY_TIME, Limited::new(body, MAX_BODY_BYTES).collect()).await {
        Err(_) => return closing(text(StatusCode::REQUEST_TIMEOUT, "the body took too long\n")),
        Ok(Err(_)) => return closing(text(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large or broken\n")),
        Ok(Ok(body)) => body.to_bytes(),
    };
    provider.handle(source, clock.now(), Request::from_parts(head, body)).await
}

/// What is left of the request is not read.
fn closing<B>(mut reply: Response<B>) -> Response<B> {
    reply.headers_mut().insert(hyper::header::CONNECTION, hyper::header::HeaderValue::from_static("close"));
    reply
}
