//! Back-channel logout: notices of the providers, posted to the clients that want them (OpenID Connect Back-Channel Logout
//! 1.0, section 2.5), over TLS with the world's root as the only trust.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use netengine_dns::{name::Name, record::Rtype};
use netengine_oidc::provider::Delivery;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use tokio::{net::TcpStream, sync::mpsc, task::JoinSet};
use tokio_rustls::TlsConnector;
use tracing::{info, warn};
use url::Url;

use super::names::Names;

/// How long one delivery may take in all.
const WHOLE: Duration = Duration::from_secs(10);
/// Deliveries at the same time.
const AT_ONCE: usize = 32;
/// Addresses of one name that are tried.
const ADDRESSES: usize = 4;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Where names are found, and whom TLS trusts.
struct Courier {
    names: Names,
    tls: TlsConnector,
}

/// Delivers what comes, until it is dropped. `root` is the world's root certificate, DER.
pub async fn deliver(mut notices: mpsc::Receiver<Delivery>, names: Names, root: Vec<u8>) {
    let courier = match Courier::new(names, root) {
        Ok(courier) => Arc::new(courier),
        Err(error) => {
            warn!(service = "oidc", "cannot deliver logout notices: {error}");
            return;
        }
    };
    let mut running = JoinSet::new();
    loop {
        let notice = tokio::select! {
            Some(_) = running.join_next() => continue,
            notice = notices.recv(), if running.len() < AT_ONCE => notice,
        };
        let Some(Delivery { uri, logout_token }) = notice else { return };
        let courier = courier.clone();
        running.spawn(async move {
            match tokio::time::timeout(WHOLE, courier.post(&uri, &logout_token)).await {
                Ok(Ok(())) => info!(service = "oidc", "told {uri} of a logout"),
                Ok(Err(error)) => warn!(service = "oidc", "cannot tell {uri} of a logout: {error}"),
                Err(_) => warn!(service = "oidc", "cannot tell {uri} of a logout: it took too long"),
            }
        });
    }
}

impl Courier {
    fn new(names: Names, root: Vec<u8>) -> Result<Self, Failure> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(root))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { names, tls: TlsConnector::from(Arc::new(config)) })
    }

    async fn post(&self, uri: &str, token: &str) -> Result<(), Failure> {
        let url = Url::parse(uri)?;
        let (Some(host), "https") = (url.host_str(), url.scheme()) else {
            return Err("it is not at an https address".into());
        };
        let stream = self.connect(host, url.port().unwrap_or(443)).await?;
        let stream = self.tls.connect(ServerName::try_from(host.to_owned())?, stream).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let target = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let request = Request::post(target)
            .header(header::HOST, &url[url::Position::BeforeHost..url::Position::AfterPort])
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::new(hyper::body::Bytes::from(format!("logout_token={token}"))))?;
        let answer = async {
            let answer = sender.send_request(request).await;
            drop(sender);
            answer
        };
        let (answer, _) = tokio::join!(answer, connection);
        match answer?.status() {
            status if status.is_success() => Ok(()),
            status => Err(format!("it answered with the status {}", status.as_u16()).into()),
        }
    }

    async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, Failure> {
        let name = Name::parse(host)?;
        let mut failure: Failure = "its name has no address".into();
        for rtype in [Rtype::A, Rtype::AAAA] {
            let found = self.names.resolve(&name, rtype).await?;
            let sets = found.answers.iter().filter(|link| link.set.rtype == rtype);
            for data in sets.flat_map(|link| link.set.data.iter()).take(ADDRESSES) {
                let address: SocketAddr = match *data.as_wire() {
                    [a, b, c, d] => ([a, b, c, d], port).into(),
                    ref wire => match <[u8; 16]>::try_from(wire) {
                        Ok(v6) => (v6, port).into(),
                        Err(_) => continue,
                    },
                };
                match TcpStream::connect(address).await {
                    Ok(stream) => return Ok(stream),
                    Err(error) => failure = error.into(),
                }
            }
        }
        Err(failure)
    }
}
