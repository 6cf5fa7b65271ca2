//! HTTPS on one connection that is kept, with the trust that every command in a world has.

use std::sync::{Arc, LazyLock};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, Uri,
    client::conn::http1::{SendRequest, handshake},
    header::{HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The world's authorities, as `netengine exec` lays them out.
const TRUST: &str = "/etc/ssl/certs/ca-certificates.crt";

static TLS: LazyLock<Result<TlsConnector, String>> =
    LazyLock::new(|| connector().map_err(|error| format!("{error:#}")));

fn connector() -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(TRUST)? {
        roots.add(certificate?)?;
    }
    ensure!(!roots.is_empty(), "this host trusts nobody");
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// A connection to a server.
pub struct Web {
    host: HeaderValue,
    sender: SendRequest<Full<Bytes>>,
}

impl Web {
    /// Connects to the server of a URL.
    ///
    /// # Errors
    /// It is not there, or not who it should be.
    pub async fn connect(url: &str) -> Result<Self> {
        let uri: Uri = url.parse()?;
        let host = uri.host().context("a URL with a host")?;
        let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(443))).await?;
        stream.set_nodelay(true)?;
        let connector = TLS.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?;
        let stream = connector.connect(ServerName::try_from(host.to_owned())?, stream).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { host: HeaderValue::from_str(host)?, sender })
    }

    /// Sends a request and reads the answer whole.
    ///
    /// # Errors
    /// The connection ends.
    pub async fn send(&mut self, mut request: Request<Full<Bytes>>) -> Result<Response<Bytes>> {
        if let Some(path) = request.uri().path_and_query() {
            *request.uri_mut() = Uri::from(path.clone());
        }
        request.headers_mut().insert(HOST, self.host.clone());
        self.sender.ready().await?;
        let (head, body) = self.sender.send_request(request).await?.into_parts();
        Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
    }

    /// Posts a form; the answer must have this status.
    ///
    /// # Errors
    /// As [`Web::send`], or another status.
    pub async fn post(&mut self, path: &str, cookies: &str, form: &str, status: u16) -> Result<Response<Bytes>> {
        let request = Request::post(path).header("content-type", "application/x-www-form-urlencoded");
        let answer = self.send(request.header("cookie", cookies).body(Full::from(form.to_owned()))?).await?;
        expect(answer, status)
    }
}

/// Gives the answer back when it has this status.
///
/// # Errors
/// Another status.
pub fn expect(answer: Response<Bytes>, status: u16) -> Result<Response<Bytes>> {
    let text = || String::from_utf8_lossy(answer.body()).into_owned();
    ensure!(answer.status().as_u16() == status, "{} instead of {status}: {}", answer.status(), text());
    Ok(answer)
}
