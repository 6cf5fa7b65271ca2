//! Everything that is served over HTTPS: an endpoint each, with a certificate of the world's own authority.
//!
//! Certificates and routers are swapped under the connections: neither a renewal nor a changed spec ends one.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock},
};

use axum::{
    Router,
    extract::Request,
    http::{StatusCode, header, uri::Authority},
    response::{IntoResponse, Response},
};
use netengine_pki::{
    ca::{Profile, Profiles},
    http::{Limit, SwappedCertificate, serve, serve_tls, server_config},
    name::Identifier,
    service::{Renewal, keep_fresh},
};
use netengine_proto::control::ServiceHealth;
use tokio::{net::TcpListener, task::JoinHandle};
use tower::ServiceExt;
use tracing::info;

use super::{
    listeners::{Listeners, Place, Serving},
    pki::Issuer,
};

/// Connections of one address: far more than a world has hosts.
const LIMIT: usize = 2048;

/// One service over HTTPS.
pub struct Endpoint {
    /// The service, as health names it; it is known by this.
    pub name: &'static str,
    /// The phase it belongs to.
    pub phase: u8,
    /// Where it listens.
    pub addresses: Vec<IpAddr>,
    /// Its port.
    pub port: u16,
    /// What its certificate names; without any it is plain HTTP.
    pub names: BTreeSet<Identifier>,
    /// What it answers, or why it cannot.
    pub router: Result<Router, String>,
}

/// All endpoints.
#[derive(Default)]
pub struct Https {
    served: BTreeMap<&'static str, Served>,
    listeners: Listeners,
}

/// A router that may be replaced while connections go on, and the hosts that it answers for; without any, for all.
#[derive(Clone)]
struct Swapped(Arc<RwLock<(Router, Arc<Hosts>)>>);

impl Swapped {
    fn new(router: Router, hosts: Hosts) -> Self {
        Self(Arc::new(RwLock::new((router, Arc::new(hosts)))))
    }

    fn router(&self) -> Router {
        let swapped = self.clone();
        Router::new().fallback(async move |request: Request| -> Response {
            let (router, hosts) = swapped.0.read().unwrap_or_else(PoisonError::into_inner).clone();
            if !hosts.is_one_of(&request) {
                return (StatusCode::MISDIRECTED_REQUEST, "there is no such host here\n").into_response();
            }
            let Ok(response) = router.oneshot(request).await.map_err(|never: Infallible| never);
            response
        })
    }

    fn set(&self, router: Router, hosts: Hosts) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = (router, Arc::new(hosts));
    }
}

/// The names and addresses of a certificate, in lower case.
#[derive(Debug)]
struct Hosts(BTreeSet<String>);

impl Hosts {
    fn of(names: &BTreeSet<Identifier>) -> Self {
        Self(names.iter().map(|name| name.to_string().to_ascii_lowercase()).collect())
    }

    /// Whether a request is for one of them, and for no other at the same time (RFC 9110, sections 7.2 and 7.4).
    fn is_one_of(&self, request: &Request) -> bool {
        let mut said = request.headers().get_all(header::HOST).iter();
        let (host, next) = (said.next(), said.next());
        let host = host.map(|value| value.to_str().ok().and_then(|text| text.parse::<Authority>().ok()));
        let ours = |authority: &Authority| {
            let host = authority.host().trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
            // The library takes a port that is none for a part of neither.
            let is_whole = authority.port_u16().is_some() || authority.as_str() == authority.host();
            is_whole && self.0.contains(&host.to_ascii_lowercase())
        };
        self.0.is_empty()
            || next.is_none()
                && matches!(host, Some(Some(authority)) if ours(&authority))
                && request.uri().authority().is_none_or(ours)
    }
}

struct Served {
    router: Swapped,
    secured: Option<Secured>,
}

struct Secured {
    certificate: Arc<SwappedCertificate>,
    names: BTreeSet<Identifier>,
    generation: u64,
    renewal: Option<Renewal>,
    renewing: Option<JoinHandle<()>>,
}

impl Drop for Secured {
    fn drop(&mut self) {
        self.renewing.iter().for_each(JoinHandle::abort);
    }
}

/// Certificates that are renewed live six days; those that are not must last.
pub fn profile(renewal: Option<Renewal>) -> Profile {
    let profiles = Profiles::default();
    let name = if renewal.is_some() { "shortlived" } else { "classic" };
    profiles.get(name).cloned().unwrap_or(Profile {
        description: String::new(),
        lifetime_secs: 90 * 24 * 3600,
        client_auth: false,
    })
}

impl Https {
    /// Makes the endpoints equal to the wanted ones.
    pub async fn apply(&mut self, endpoints: Vec<Endpoint>, issuer: Result<Issuer, String>, renewal: Option<Renewal>) {
        let mut refused: Vec<(Place, String)> = Vec::new();
        let mut places = BTreeSet::new();
        let wanted: BTreeSet<_> = endpoints.iter().map(|endpoint| endpoint.name).collect();
        let mut old = std::mem::take(&mut self.served);
        old.retain(|name, _| wanted.contains(name));
        // All certificates at once: they are kept in one transaction.
        let made = endpoints.into_iter().map(|endpoint| {
            let (old, issuer) = (old.remove(endpoint.name), &issuer);
            async move {
                let here: Vec<_> = endpoint.places().collect();
                (endpoint.name, here, endpoint.serve(old, issuer.as_ref().map_err(Clone::clone), renewal).await)
            }
        });
        for (name, here, served) in futures::future::join_all(made).await {
            match served {
                Ok(served) => {
                    places.extend(here);
                    self.served.insert(name, served);
                }
                Err(why) => refused.extend(here.into_iter().map(|place| (place, why.clone()))),
            }
        }
        let served = &self.served;
        self.listeners.arrange(&places, async |place| listen(place, &served[place.name]).await).await;
        refused.into_iter().for_each(|(place, why)| self.listeners.fail(place, why));
    }

    /// Closes all of them.
    pub async fn close(&mut self) {
        self.listeners.close_all().await;
        self.served.clear();
    }

    /// How each is.
    pub fn health(&self) -> Vec<ServiceHealth> {
        self.listeners.health(|place| match self.served.get(place.name).is_some_and(|one| one.secured.is_some()) {
            true => "HTTPS".to_owned(),
            false => "HTTP".to_owned(),
        })
    }
}

impl Endpoint {
    fn places(&self) -> impl Iterator<Item = Place> {
        let Self { phase, name, port, .. } = *self;
        self.addresses.iter().map(move |&address| Place { phase, name, address, port })
    }

    async fn serve(
        self,
        old: Option<Served>,
        issuer: Result<&Issuer, String>,
        renewal: Option<Renewal>,
    ) -> Result<Served, String> {
        let router = self.router?;
        let hosts = Hosts::of(&self.names);
        let secured = match (self.names.is_empty(), old.as_ref().and_then(|old| old.secured.as_ref())) {
            (true, _) => None,
            (false, Some(old)) if old.is_as(&self.names, issuer.as_ref().ok(), renewal) => None,
            (false, _) => Some(Secured::new(self.names, issuer?, renewal, old.as_ref()).await?),
        };
        Ok(match old {
            None => Served { router: Swapped::new(router, hosts), secured },
            Some(mut old) => {
                old.router.set(router, hosts);
                old.secured = secured.or(old.secured);
                old
            }
        })
    }
}

impl Secured {
    fn is_as(&self, names: &BTreeSet<Identifier>, issuer: Option<&&Issuer>, renewal: Option<Renewal>) -> bool {
        let is_renewed = self.renewing.as_ref().is_none_or(|task| !task.is_finished());
        self.names == *names
            && issuer.is_some_and(|issuer| issuer.generation == self.generation)
            && self.renewal == renewal
            && is_renewed
    }

    /// A certificate of the authority, renewed from now on. What is served already is swapped, so listeners go on.
    async fn new(
        names: BTreeSet<Identifier>,
        issuer: &Issuer,
        renewal: Option<Renewal>,
        old: Option<&Served>,
    ) -> Result<Self, String> {
        let failed = |error: &dyn std::error::Error| super::chain("there is no certificate for it", error);
        let profile = profile(renewal);
        let own = issuer.service.own(names.clone(), &profile).await.map_err(|error| failed(&error))?;
        let certificate = match old.and_then(|old| old.secured.as_ref()) {
            Some(old) => {
                old.certificate.swap(&own).map_err(|error| failed(&error))?;
                old.certificate.clone()
            }
            None => SwappedCertificate::new(&own).map_err(|error| failed(&error))?,
        };
        let renewing = renewal.map(|renewal| {
            let (service, certificate, names) = (issuer.service.clone(), certificate.clone(), names.clone());
            tokio::spawn(async move {
                let _: Infallible = keep_fresh(&service, names, profile, renewal, &certificate, own).await;
            })
        });
        info!(
            service = "pki",
            "a certificate for {}",
            names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        );
        Ok(Self { certificate, names, generation: issuer.generation, renewal, renewing })
    }
}

async fn listen(place: &Place, served: &Served) -> std::io::Result<Serving> {
    let listener = TcpListener::bind((place.address, place.port)).await?;
    let limit = Limit { connections: LIMIT, ..Limit::default() };
    let router = served.router.router();
    Ok(match &served.secured {
        None => Box::pin(async move { serve(listener, router, limit).await.map(|never| match never {}) }),
        Some(secured) => {
            let config = server_config(secured.certificate.clone()).map_err(std::io::Error::other)?;
            Box::pin(async move { serve_tls(listener, config, router, limit).await.map(|never| match never {}) })
        }
    })
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn a_request_is_for_one_host_of_the_certificate() {
        let hosts = Hosts::of(
            &["ca.test", "2001:db8::1"]
                .map(|name| match name.parse() {
                    Ok(address) => Identifier::Ip(address),
                    Err(_) => Identifier::dns(name).expect("a name"),
                })
                .into(),
        );
        let is_ours = |uri: &str, said: &[&str]| {
            let mut request = Request::builder().uri(uri);
            for host in said {
                request = request.header(header::HOST, *host);
            }
            hosts.is_one_of(&request.body(Body::empty()).expect("a request"))
        };
        for good in ["ca.test", "CA.test", "ca.test:443", "ca.test.", "[2001:db8::1]", "[2001:db8::1]:443"] {
            assert!(is_ours("/", &[good]), "{good}");
        }
        for bad in [
            "",
            "evil.test",
            "ca.test.evil",
            "ca.test@evil",
            "evil@ca.test",
            "ca.test:443.evil",
            "ca.test:",
            "ca.test evil",
            "2001:db8::1/x",
        ] {
            assert!(!is_ours("/", &[bad]), "{bad}");
        }
        assert!(!is_ours("/", &[]) && !is_ours("/", &["ca.test", "ca.test"]));
        assert!(is_ours("https://ca.test/", &["ca.test"]) && !is_ours("https://evil.test/", &["ca.test"]));
    }
}
