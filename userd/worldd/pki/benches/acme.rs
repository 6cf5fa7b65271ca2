//! Certificates per second: eight clients, each on one TLS connection, http-01, P-256, one server thread, SQLite on
//! disk. Prints one line; `NETENGINE_BENCH_SECONDS` (10) says how long.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use axum::{Router, body::Body, extract::Path, http::HeaderMap, routing::get};
use domain::{
    base::{Message, MessageBuilder, Rtype, Ttl, iana::Rcode},
    rdata::A,
};
use http_body_util::BodyExt;
use hyper::{Request, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use netengine_pki::{
    acme::Policy,
    ca::{Config, Level, Profiles, Publication},
    http::{Limit, SwappedCertificate, router, serve, serve_tls, server_config},
    jose::{Jwk, encode},
    name::{Identifier, Scope},
    service::Service,
    store::SqliteStore,
    validate::{Network, Ports},
};
use netengine_spec::{model::KeyStorageMode, text::DnsName};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio_rustls::TlsConnector;

const CLIENTS: usize = 8;

fn main() {
    let seconds = std::env::var("NETENGINE_BENCH_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let keys: Vec<Arc<Key>> = (0..CLIENTS).map(|_| Arc::new(Key::new())).collect();
    let thumbprints: Vec<String> = keys.iter().map(|key| key.thumbprint()).collect();
    let (ready, is_ready) = std::sync::mpsc::channel();
    let (web, is_web) = std::sync::mpsc::channel();
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("pki.db");
    std::thread::spawn(move || {
        let (resolver, http): (SocketAddr, u16) = is_web.recv().expect("the clients' side");
        runtime().block_on(server(&file, resolver, http, ready));
    });
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let (resolver, http) = runtime.block_on(answerers(thumbprints));
    web.send((resolver, http)).expect("the server's side");
    let (port, root) = is_ready.recv().expect("the server");
    let until = Instant::now() + Duration::from_secs(seconds);
    let begun = Instant::now();
    let tasks: Vec<_> =
        keys.into_iter().enumerate().map(|(n, key)| runtime.spawn(client(n, key, port, root.clone(), until))).collect();
    let count: u32 = tasks.into_iter().map(|task| runtime.block_on(task).expect("a client")).sum();
    let rate = f64::from(count) / begun.elapsed().as_secs_f64();
    println!("acme: {count} certificates, {rate:.0} per second, {CLIENTS} clients, http-01, P-256");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

async fn server(
    file: &std::path::Path,
    resolver: SocketAddr,
    http: u16,
    ready: std::sync::mpsc::Sender<(u16, Vec<u8>)>,
) {
    let scope = Scope {
        tlds: vec![DnsName::parse("test").expect("a name")],
        networks: vec!["127.0.0.0/8".parse().expect("a network")],
        ..Scope::default()
    };
    let config = Config {
        common_name: "Root".to_owned(),
        organization: "Bench".to_owned(),
        country: "XX".to_owned(),
        root_lifetime_secs: 86_400 * 365,
        intermediate: true,
        storage: KeyStorageMode::Ephemeral,
        scope: scope.clone(),
        publication: Publication { base: "http://ca.test".to_owned(), crl: true, ocsp: true },
    };
    let store = SqliteStore::open(file).await.expect("a database");
    let network = Network::new(resolver, scope.clone(), Ports { http, tls: 1 }, "ca.test").expect("TLS");
    let policy = Policy::new(scope, "ca.test");
    let opened = Service::open(config, policy, "https://ca.test", store, network).await;
    let (service, background) = opened.expect("an authority");
    let serving = async {
        let profiles = Profiles::default();
        let profile = profiles.get("shortlived").expect("a profile");
        let names = [Identifier::dns("ca.test").expect("a name")].into();
        let own = service.issue_own(names, profile).await.expect("a certificate");
        let tls = server_config(SwappedCertificate::new(&own).expect("a key")).expect("TLS");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let root = service.authority().signer(Level::Root).certificate().to_vec();
        ready.send((listener.local_addr().expect("an address").port(), root)).expect("the clients' side");
        drop(serve_tls(listener, tls, router(service.clone()), Limit::default()).await);
    };
    tokio::join!(background.run(), serving);
}

/// What a world has besides: a name server and the clients' web servers.
async fn answerers(thumbprints: Vec<String>) -> (SocketAddr, u16) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let resolver = socket.local_addr().expect("an address");
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        loop {
            let (length, peer) = socket.recv_from(&mut buffer).await.expect("a query");
            let Ok(query) = Message::from_octets(&buffer[..length]) else { continue };
            let Ok(question) = query.sole_question() else { continue };
            let mut answer = MessageBuilder::new_vec().start_answer(&query, Rcode::NOERROR).expect("room");
            if question.qtype() == Rtype::A {
                answer.push((question.qname(), Ttl::ZERO, A::from_octets(127, 0, 0, 1))).expect("room");
            }
            let _ = socket.send_to(answer.into_message().as_slice(), peer).await;
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let file = async move |Path(token): Path<String>, headers: HeaderMap| {
        // n7.c3.test: the third client.
        let host = headers["host"].to_str().unwrap_or_default().to_owned();
        let client = host.split('.').nth(1).and_then(|part| part[1..].parse::<usize>().ok()).unwrap_or(0);
        format!("{token}.{}", thumbprints[client])
    };
    let web = Router::new().route("/.well-known/acme-challenge/{token}", get(file));
    tokio::spawn(serve(listener, web, Limit::default()));
    (resolver, port)
}

struct Key(EcdsaKeyPair);

impl Key {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"))
    }

    fn jwk(&self) -> Value {
        let (x, y) = self.0.public_key().as_ref()[1..].split_at(32);
        json!({"kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y)})
    }

    fn thumbprint(&self) -> String {
        serde_json::from_value::<Jwk>(self.jwk()).expect("a key").thumbprint()
    }
}

struct Client {
    key: Arc<Key>,
    sender: SendRequest<Body>,
    kid: Option<String>,
    nonce: String,
}

impl Client {
    async fn post(&mut self, url: &str, payload: Option<Value>) -> (Option<String>, Vec<u8>) {
        let mut header = json!({"alg": "ES256", "url": url, "nonce": self.nonce});
        match &self.kid {
            Some(kid) => header["kid"] = json!(kid),
            None => header["jwk"] = self.key.jwk(),
        }
        let protected = encode(header.to_string());
        let payload = encode(payload.map(|payload| payload.to_string()).unwrap_or_default());
        let signature = self.key.0.sign(&SystemRandom::new(), format!("{protected}.{payload}").as_bytes());
        let signature = encode(signature.expect("a signature"));
        let body = json!({"protected": protected, "payload": payload, "signature": signature}).to_string();
        let path = url.strip_prefix("https://ca.test").expect("a URL of the server");
        let request = Request::post(path).header("host", "ca.test").header("content-type", "application/jose+json");
        self.sender.ready().await.expect("a connection");
        let answer =
            self.sender.send_request(request.body(Body::from(body)).expect("a request")).await.expect("an answer");
        let text = |name: &str| answer.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
        let (status, location) = (answer.status(), text("location"));
        self.nonce = text("replay-nonce").expect("a nonce");
        let body = answer.into_body().collect().await.expect("a body").to_bytes().to_vec();
        assert!(status.is_success(), "{url}: {}", String::from_utf8_lossy(&body));
        (location, body)
    }

    async fn object(&mut self, url: &str, payload: Option<Value>) -> Value {
        serde_json::from_slice(&self.post(url, payload).await.1).expect("JSON")
    }
}

async fn client(number: usize, key: Arc<Key>, port: u16, root: Vec<u8>, until: Instant) -> u32 {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(root)).expect("a root");
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
    stream.set_nodelay(true).expect("set");
    let name = ServerName::try_from("ca.test").expect("a name");
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("TLS");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Body>(TokioIo::new(stream)).await.expect("HTTP");
    tokio::spawn(connection);
    let request = Request::head("/acme/acme/new-nonce").header("host", "ca.test").body(Body::empty());
    let answer = sender.send_request(request.expect("a request")).await.expect("an answer");
    let nonce = answer.headers()["replay-nonce"].to_str().expect("text").to_owned();
    let mut client = Client { key, sender, kid: None, nonce };
    let base = "https://ca.test/acme/acme";
    client.kid = client.post(&format!("{base}/new-account"), Some(json!({}))).await.0;
    let mut count = 0;
    while Instant::now() < until {
        let name = format!("n{count}.c{number}.test");
        certificate(&mut client, base, &name).await;
        count += 1;
    }
    count
}

/// The whole way: order, authorization, challenge, waiting, request, certificate.
async fn certificate(client: &mut Client, base: &str, name: &str) {
    let payload = json!({"identifiers": [{"type": "dns", "value": name}]});
    let order = client.object(&format!("{base}/new-order"), Some(payload)).await;
    let url = order["authorizations"][0].as_str().expect("a URL").to_owned();
    let authorization = client.object(&url, None).await;
    let challenge = authorization["challenges"][0]["url"].as_str().expect("a URL").to_owned();
    client.post(&challenge, Some(json!({}))).await;
    loop {
        let authorization = client.object(&url, None).await;
        match authorization["status"].as_str() {
            Some("pending") => tokio::time::sleep(Duration::from_millis(3)).await,
            Some("valid") => break,
            _ => panic!("{authorization}"),
        }
    }
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("a name");
    params.distinguished_name = rcgen::DistinguishedName::new();
    let csr = encode(params.serialize_request(&key).expect("a request").der());
    let done = client.object(order["finalize"].as_str().expect("a URL"), Some(json!({"csr": csr}))).await;
    let (_, chain) = client.post(done["certificate"].as_str().expect("a URL"), None).await;
    assert!(chain.starts_with(b"-----BEGIN CERTIFICATE-----"));
}
