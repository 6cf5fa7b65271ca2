//! Tokens of our own provider, as it is and behind servers that spoil what it says.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use netengine_oidc::{
    client::{Client, GrantType},
    provider::{Provider, Settings},
    realm::RealmConfig,
    secret::digest,
    serve::{Clock, answer},
    state::Object,
    store::MemoryStore,
};
use netengine_proto::{
    control::{Fault, Probe},
    trust::{Secret, Trust},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};

use super::stage::{Ca, RESOLVER, Stage, authority, names_by_udp};

const SECRET: &str = "0123456789abcdef/+0123456789abcd";
/// Names of providers, each with its fault.
const HOSTS: [(&str, [u8; 4]); 6] = [
    ("right", [127, 0, 3, 1]),
    ("rotated", [127, 0, 3, 2]),
    ("forged", [127, 0, 3, 3]),
    ("otherissuer", [127, 0, 3, 4]),
    ("nobodys", [127, 0, 3, 5]),
    ("full", [127, 0, 3, 6]),
];

fn token(host: &str, client: &str, secret: &str) -> Probe {
    Probe::Token {
        issuer: format!("https://{host}.test/realms/acme"),
        client_id: client.to_owned(),
        secret: Secret::new(secret.to_owned()),
    }
}

async fn provider(host: &str) -> Arc<Provider> {
    let settings = Settings { base: format!("https://{host}.test"), admin_realm: None };
    let (outbox, _) = mpsc::channel(1);
    let provider = Provider::open(settings, Arc::new(MemoryStore), outbox).await.expect("a provider");
    let now = Clock::default().now().unix_s;
    provider.create_realm(RealmConfig::new("acme"), now).await.expect("a realm");
    let mut web = Client::new("web app", now);
    web.secret_digest = Some(digest(SECRET));
    web.grant_types = BTreeSet::from([GrantType::ClientCredentials]);
    provider.change("acme", |tx| tx.put(Object::Client(web))).await.expect("stored");
    provider
}

/// What becomes of an answer of the provider `host`.
fn spoil(host: &str, path: &str, document: &mut Value) {
    match (host, path.rsplit('/').next()) {
        ("rotated", Some("certs")) => document["keys"] = json!([]),
        ("forged", Some("certs")) => {
            // The keys of nobody under the same ids: the base point of P-256 (FIPS 186-4, D.1.2.3).
            for key in document["keys"].as_array_mut().expect("keys") {
                if key["kty"] == "EC" {
                    key["x"] = json!("axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY");
                    key["y"] = json!("T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU");
                }
            }
        }
        ("otherissuer", Some("openid-configuration")) => document["issuer"] = json!("https://evil.test"),
        ("nobodys", Some("token")) => document["token_type"] = json!("mac"),
        ("full", Some("token")) => *document = json!({"error": "server_error", "error_description": "disk full"}),
        _ => {}
    }
}

async fn serve() -> (Trust, JoinSet<()>) {
    use http_body_util::{BodyExt, Full};
    use hyper::{Request, Response, StatusCode, body::Bytes, body::Incoming, service::service_fn};
    let mut tasks = JoinSet::new();
    names_by_udp(&mut tasks, RESOLVER, authority(RESOLVER, 1, &HOSTS)).await;
    let ca = Ca::new("ours");
    for (host, at) in HOSTS {
        let (provider, tls) = (provider(host).await, ca.acceptor(&format!("{host}.test"), false));
        let listener = TcpListener::bind((IpAddr::from(at), 443)).await.expect("port 443");
        tasks.spawn(async move {
            let mut running = JoinSet::new();
            loop {
                let (stream, peer) = listener.accept().await.expect("accepts");
                let (provider, tls) = (provider.clone(), tls.clone());
                running.spawn(async move {
                    let stream = tls.accept(stream).await.expect("a handshake");
                    let service = service_fn(|request: Request<Incoming>| {
                        let provider = provider.clone();
                        async move {
                            let path = request.uri().path().to_owned();
                            let reply = answer(&provider, Clock::default(), peer.ip(), request).await;
                            let (mut head, body) = reply.into_parts();
                            let body = body.collect().await.expect("a body").to_bytes();
                            let mut document: Value = serde_json::from_slice(&body).expect("JSON");
                            spoil(host, &path, &mut document);
                            if document["error"] == "server_error" {
                                head.status = StatusCode::INTERNAL_SERVER_ERROR;
                            }
                            head.headers.remove("content-length");
                            let body = Full::new(Bytes::from(document.to_string()));
                            Ok::<_, std::convert::Infallible>(Response::from_parts(head, body))
                        }
                    });
                    let io = hyper_util::rt::TokioIo::new(stream);
                    // The client closes without saying so in TLS.
                    let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
                });
            }
        });
    }
    (ca.trust(), tasks)
}

#[test]
fn a_token_is_verified_with_the_keys_served_or_the_fault_is_named() {
    let (mut stage, trust) = Stage::new(serve);
    let wrong = |fault| Err(Some(fault));
    stage.expect(
        trust,
        vec![
            (token("right", "web app", SECRET), Ok(()), "a token of https://right.test/realms/acme for web app, ES256"),
            (token("right", "web app", "wrong"), wrong(Fault::Refused), "invalid_client"),
            (token("right", "nobody", SECRET), wrong(Fault::Refused), "invalid_client"),
            (token("rotated", "web app", SECRET), wrong(Fault::KeyNotServed), "is not among the 0 it serves"),
            (token("forged", "web app", SECRET), wrong(Fault::KeyNotServed), "but another one has signed"),
            (token("otherissuer", "web app", SECRET), wrong(Fault::WrongAnswer), "names the issuer https://evil.test"),
            (token("nobodys", "web app", SECRET), wrong(Fault::WrongAnswer), "a token of type mac"),
            (token("full", "web app", SECRET), wrong(Fault::DiskFull), "disk full"),
            (token("absent", "web app", SECRET), wrong(Fault::WrongRecord), "absent.test has no address"),
        ],
    );
}
