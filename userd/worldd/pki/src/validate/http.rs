//! http-01 (RFC 8555, section 8.3).

use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{
    Request, Response, Uri,
    body::{Bytes, Incoming},
    header::{HOST, LOCATION, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::Network;
use crate::{
    acme::{Kind, Probe, Problem, Verdict},
    name::Identifier,
};

/// How often a redirect is followed.
const REDIRECTS: usize = 5;

/// The longest answer, in bytes; a key authorization has less than 100.
const BODY: usize = 4096;

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(8);

pub(super) async fn check(network: &Network, probe: &Probe) -> Verdict {
    let wrong = |why: String| Problem::new(Kind::IncorrectResponse, why);
    let host = match &probe.identifier {
        Identifier::Ip(std::net::IpAddr::V6(address)) => format!("[{address}]"),
        other => other.to_string(),
    };
    let text = format!("http://{host}/.well-known/acme-challenge/{}", probe.token);
    let mut uri: Uri = text.parse().map_err(|_| Problem::internal())?;
    for _ in 0..=REDIRECTS {
        let response = timeout(REQUEST, get(network, &uri))
            .await
            .map_err(|_| Problem::new(Kind::Connection, format!("{uri} did not answer in time")))??;
        let status = response.status();
        if status.is_redirection() {
            uri = redirected(&uri, &response).ok_or_else(|| wrong(format!("{uri} redirects to no usable place")))?;
            continue;
        }
        if status != 200 {
            return Err(wrong(format!("{uri} answered with the status {}", status.as_u16())));
        }
        let body = timeout(REQUEST, Limited::new(response.into_body(), BODY).collect())
            .await
            .map_err(|_| Problem::new(Kind::Connection, format!("{uri} did not finish in time")))?
            .map_err(|_| wrong(format!("{uri} answered with too much, or broke off")))?
            .to_bytes();
        return match body.trim_ascii_end() == probe.key_authorization.as_bytes() {
            true => Ok(()),
            false => Err(wrong(format!("{uri} does not hold the key authorization"))),
        };
    }
    Err(wrong("too many redirects".to_owned()))
}

/// Where a redirect leads, when it leads to `http` or `https` on its own port.
fn redirected(from: &Uri, response: &Response<Incoming>) -> Option<Uri> {
    let to: Uri = response.headers().get(LOCATION)?.to_str().ok()?.parse().ok()?;
    let to = match to.authority() {
        Some(_) => to,
        // A path of the same server; paths relative to the last one are not followed.
        None => {
            let mut parts = from.clone().into_parts();
            parts.path_and_query = to.path().starts_with('/').then(|| to.path_and_query().cloned()).flatten();
            Uri::from_parts(parts).ok()?
        }
    };
    let is_plain =
        matches!((to.scheme_str(), to.port_u16()), (Some("http"), None | Some(80)) | (Some("https"), None | Some(443)));
    is_plain.then_some(to)
}

async fn get(network: &Network, uri: &Uri) -> Result<Response<Incoming>, Problem> {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let identifier = Identifier::ip(host)
        .or_else(|_| Identifier::dns(host))
        .map_err(|why| Problem::new(Kind::IncorrectResponse, why.to_string()))?;
    if uri.scheme_str() != Some("https") {
        let stream = network.connect(&identifier, network.ports.http).await?;
        return request(stream, uri).await;
    }
    let stream = network.connect(&identifier, network.ports.tls).await?;
    // Who answers here was named by the owner of the name; its certificate may be the very one that is missing.
    let name = ServerName::try_from(host.to_owned()).map_err(|_| Problem::internal())?;
    let stream = TlsConnector::from(network.plain.clone())
        .connect(name, stream)
        .await
        .map_err(|error| Problem::new(Kind::Tls, format!("TLS with {host} failed: {}", error.kind())))?;
    request(stream, uri).await
}

async fn request<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    uri: &Uri,
) -> Result<Response<Incoming>, Problem> {
    let failed = |_| Problem::new(Kind::Connection, format!("{uri} did not answer in HTTP"));
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(16 * 1024)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    // Ends with the sender and the body, which live no longer than the deadline around us.
    tokio::spawn(async move { drop(connection.await) });
    let host = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(HOST, host)
        .header(USER_AGENT, "netengine-acme-validation")
        .body(Empty::<Bytes>::new())
        .map_err(|_| Problem::internal())?;
    sender.send_request(request).await.map_err(failed)
}
