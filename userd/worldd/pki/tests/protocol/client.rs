//! A client, and a server to talk to.

use std::{net::IpAddr, sync::Arc};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    },
};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request},
};
use netengine_pki::{
    acme::{Kind, Policy, Probe, Problem, Verdict},
    ca::{Config, Publication},
    http::{Peer, router},
    jose::encode,
    name::Scope,
    service::Service,
    store::MemoryStore,
    validate::Connect,
};
use netengine_spec::{model::KeyStorageMode, text::DnsName};
use serde_json::{Value, json};
use tower::ServiceExt;

pub const BASE: &str = "https://ca.test/acme/acme";

/// Meets every challenge but those for names that begin with `bad.`.
pub struct Told;

impl Connect for Told {
    async fn check(&self, probe: &Probe) -> Verdict {
        match probe.identifier.to_string().starts_with("bad.") {
            true => Err(Problem::new(Kind::IncorrectResponse, "told so")),
            false => Ok(()),
        }
    }
}

pub fn config() -> Config {
    Config {
        common_name: "Root".to_owned(),
        organization: "NetEngine".to_owned(),
        country: "XX".to_owned(),
        root_lifetime_secs: 3650 * 86_400,
        intermediate: true,
        storage: KeyStorageMode::Ephemeral,
        scope: Scope {
            zones: Vec::new(),
            tlds: vec![DnsName::parse("test").expect("a name")],
            networks: vec!["10.0.0.0/8".parse().expect("a network")],
        },
        publication: Publication { base: "http://ca.test".to_owned(), crl: true, ocsp: true },
    }
}

pub struct Server {
    pub service: Arc<Service<Arc<MemoryStore>>>,
    router: Router,
    background: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.background.abort();
    }
}

impl Server {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Policy)) -> Self {
        Self::on(Arc::default(), Told, change).await
    }

    /// On what another server has kept, or will keep.
    pub async fn on(store: Arc<MemoryStore>, connect: impl Connect, change: impl FnOnce(&mut Policy)) -> Self {
        let mut policy = Policy::new(config().scope, "ca.test");
        change(&mut policy);
        let opened = Service::open(config(), policy, "https://ca.test", store, connect).await;
        let (service, background) = opened.expect("an authority");
        Self { router: router(service.clone()), service, background: tokio::spawn(background.run()) }
    }

    /// A client with a new key and no account.
    pub fn client(&self) -> Client {
        Client { router: self.router.clone(), key: Key::p256(), kid: None, source: [10, 0, 0, 1].into() }
    }

    /// A client with an account.
    pub async fn registered(&self) -> Client {
        let mut client = self.client();
        client.register().await;
        client
    }
}

/// A signing key of any type the server knows.
pub enum Key {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Key {
    pub fn p256() -> Self {
        Self::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"))
    }

    pub fn p384() -> Self {
        Self::P384(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("a key"))
    }

    pub fn ed25519() -> Self {
        Self::Ed25519(Ed25519KeyPair::generate().expect("a key"))
    }

    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::P256(_) => "ES256",
            Self::P384(_) => "ES384",
            Self::Ed25519(_) => "EdDSA",
        }
    }

    pub fn jwk(&self) -> Value {
        let curve = |name: &str, point: &[u8]| {
            let (x, y) = point[1..].split_at(point.len() / 2);
            json!({"kty": "EC", "crv": name, "x": encode(x), "y": encode(y)})
        };
        match self {
            Self::P256(pair) => curve("P-256", pair.public_key().as_ref()),
            Self::P384(pair) => curve("P-384", pair.public_key().as_ref()),
            Self::Ed25519(pair) => json!({"kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key().as_ref())}),
        }
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::P256(pair) | Self::P384(pair) => {
                pair.sign(&SystemRandom::new(), message).expect("a signature").as_ref().to_vec()
            }
            Self::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }
}

/// A JWS in the flattened form.
pub fn jws(key: &Key, protected: &Value, payload: &str) -> Value {
    let (protected, payload) = (encode(protected.to_string()), encode(payload));
    let signature = key.sign(format!("{protected}.{payload}").as_bytes());
    json!({"protected": protected, "payload": payload, "signature": encode(signature)})
}

/// What the server said.
#[derive(Debug)]
pub struct Said {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Said {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}")).to_str().expect("text")
    }

    /// The last part of the problem's URN; checks that the answer is a proper problem document.
    pub fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text);
        let json = self.json();
        assert_eq!(json["status"], self.status, "{json}");
        let kind =
            json["type"].as_str().expect("a type").strip_prefix("urn:ietf:params:acme:error:").expect("an ACME type");
        kind.to_owned()
    }

    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    #[track_caller]
    pub fn refused(self, kind: &str, status: u16) -> Self {
        assert_eq!((self.problem().as_str(), self.status), (kind, status), "{}", self.text);
        self
    }
}

impl Client {
    /// Talks to this server from now on.
    pub fn moves_to(&mut self, server: &Server) {
        self.router = server.router.clone();
    }
}

pub struct Client {
    router: Router,
    pub key: Key,
    pub kid: Option<String>,
    pub source: IpAddr,
}

impl Client {
    pub async fn request(&self, request: Request<Body>) -> Said {
        let mut request = request;
        request.extensions_mut().insert(Peer(self.source));
        let response = self.router.clone().oneshot(request).await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
        Said { status, headers, text: String::from_utf8(body.to_vec()).expect("text") }
    }

    pub async fn get(&self, path: &str) -> Said {
        self.request(Request::get(format!("/acme/acme{path}")).body(Body::empty()).expect("a request")).await
    }

    pub async fn nonce(&self) -> String {
        self.get("/new-nonce").await.is(204).header("replay-nonce").to_owned()
    }

    /// Posts any body to a URL.
    pub async fn send(&self, url: &str, body: impl Into<Body>) -> Said {
        let path = url.strip_prefix("https://ca.test").expect("a URL of the server");
        let request = Request::post(path).header("content-type", "application/jose+json");
        self.request(request.body(body.into()).expect("a request")).await
    }

    /// The protected header for a request of this client.
    pub async fn protected(&self, url: &str) -> Value {
        let mut header = json!({"alg": self.key.algorithm(), "url": url, "nonce": self.nonce().await});
        match &self.kid {
            Some(kid) => header["kid"] = json!(kid),
            None => header["jwk"] = self.key.jwk(),
        }
        header
    }

    /// Posts, properly signed. POST-as-GET without a payload. Every answer must bring a nonce.
    pub async fn post(&self, url: &str, payload: Option<Value>) -> Said {
        let payload = payload.map(|payload| payload.to_string()).unwrap_or_default();
        let body = jws(&self.key, &self.protected(url).await, &payload);
        let said = self.send(url, body.to_string()).await;
        assert!(!said.header("replay-nonce").is_empty());
        assert!(said.headers.get_all("link").iter().any(|link| link.to_str().expect("text").contains("rel=\"index\"")));
        said
    }

    pub async fn register(&mut self) -> Said {
        let said = self.post(&format!("{BASE}/new-account"), Some(json!({"termsOfServiceAgreed": true}))).await.is(201);
        self.kid = Some(said.header("location").to_owned());
        said
    }

    /// Orders these names.
    pub async fn order(&self, names: &[&str]) -> Said {
        self.order_with(names, json!({})).await
    }

    pub async fn order_with(&self, names: &[&str], more: Value) -> Said {
        let kind = |name: &str| if name.parse::<IpAddr>().is_ok() { "ip" } else { "dns" };
        let identifiers: Vec<_> = names.iter().map(|name| json!({"type": kind(name), "value": name})).collect();
        let mut payload = more;
        payload["identifiers"] = json!(identifiers);
        self.post(&format!("{BASE}/new-order"), Some(payload)).await
    }

    /// Meets one challenge of each authorization and waits until the order is no longer pending.
    pub async fn authorize(&self, order: &Said) -> Value {
        let url = order.header("location").to_owned();
        for authorization in order.json()["authorizations"].as_array().expect("a list") {
            let authorization = self.post(authorization.as_str().expect("a URL"), None).await.is(200).json();
            let challenge = authorization["challenges"][0]["url"].as_str().expect("a URL").to_owned();
            let said = self.post(&challenge, Some(json!({}))).await.is(200);
            assert!(["processing", "valid", "invalid"].contains(&said.json()["status"].as_str().expect("a status")));
        }
        loop {
            let order = self.post(&url, None).await.is(200).json();
            if order["status"] != "pending" {
                return order;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Finalizes with a request for these names.
    pub async fn finalize(&self, order: &Value, names: &[&str], key: &rcgen::KeyPair) -> Said {
        let url = order["finalize"].as_str().expect("a URL");
        self.post(url, Some(json!({"csr": encode(csr(names, key))}))).await
    }

    /// A certificate for these names: its key and its chain, PEM.
    pub async fn certificate(&self, names: &[&str]) -> (rcgen::KeyPair, Said) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let order = self.order(names).await.is(201);
        let ready = self.authorize(&order).await;
        assert_eq!(ready["status"], "ready", "{ready}");
        let done = self.finalize(&ready, names, &key).await.is(200).json();
        assert_eq!(done["status"], "valid", "{done}");
        let chain = self.post(done["certificate"].as_str().expect("a URL"), None).await.is(200);
        (key, chain)
    }
}

pub fn csr(names: &[&str], key: &rcgen::KeyPair) -> Vec<u8> {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(names).expect("names");
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.serialize_request(key).expect("a request").der().to_vec()
}

/// The first certificate of a chain, DER.
pub fn leaf(chain: &str) -> Vec<u8> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(chain.as_bytes()).expect("PEM");
    pem.contents
}
