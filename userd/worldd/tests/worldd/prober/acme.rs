//! Orders at our own authority, and at servers that cannot or will not.

use std::{net::IpAddr, net::SocketAddr, sync::Arc};

use netengine_pki::{
    acme::Policy,
    ca::{Config, Level, Profiles, Publication},
    http::{Limit, SwappedCertificate, router, serve_tls, server_config},
    name::{Identifier, Scope},
    service::Service,
    store::MemoryStore,
    validate::{Network, Ports},
};
use netengine_proto::{
    control::{Fault, Probe},
    trust::Trust,
};
use netengine_spec::{model::KeyStorageMode, text::DnsName};
use tokio::{net::TcpListener, task::JoinSet};

use super::stage::{Ca, RESOLVER, Script, Stage, authority, names_by_tcp, names_by_udp, says, trust, web};

const CA: [u8; 4] = [127, 0, 4, 1];
const FULL: [u8; 4] = [127, 0, 4, 2];
/// Addresses of the prober's host, and one where nobody answers challenges: the name service's host has no port 80 but
/// the prober's own, so a network outside the namespace stands for it.
const HOSTS: [(&str, [u8; 4]); 5] =
    [("ca", CA), ("full", FULL), ("host", [127, 0, 4, 20]), ("second", [127, 0, 4, 21]), ("elsewhere", [192, 0, 2, 1])];
const DIRECTORY: &str = "https://ca.test/acme/acme/directory";

fn order(directory: &str, name: &str) -> Probe {
    Probe::Acme { directory: directory.to_owned(), name: name.to_owned(), account: None }
}

async fn ca(tasks: &mut JoinSet<()>) -> (Trust, Arc<Service<MemoryStore>>) {
    let scope = Scope {
        tlds: vec![DnsName::parse("test").expect("a name")],
        networks: vec!["127.0.0.0/8".parse().expect("a network"), "192.0.2.0/24".parse().expect("a network")],
        ..Scope::default()
    };
    let config = Config {
        common_name: "Root".to_owned(),
        organization: String::new(),
        country: "XX".to_owned(),
        root_lifetime_secs: 86_400 * 365,
        intermediate: true,
        storage: KeyStorageMode::Ephemeral,
        scope: scope.clone(),
        publication: Publication { base: "http://ca.test".to_owned(), crl: false, ocsp: false },
    };
    let resolver = SocketAddr::from((RESOLVER, 53));
    let network = Network::new(resolver, scope.clone(), Ports::default(), "ca.test").expect("TLS");
    let policy = Policy::new(scope, "ca.test");
    let opened = Service::open(config, policy, "https://ca.test", MemoryStore::default(), network).await;
    let (service, background) = opened.expect("an authority");
    tasks.spawn(background.run());
    let profiles = Profiles::default();
    let names = [Identifier::dns("ca.test").expect("a name")].into();
    let own = service.issue_own(names, profiles.get("shortlived").expect("a profile")).await.expect("a certificate");
    let tls = server_config(SwappedCertificate::new(&own).expect("a key")).expect("TLS");
    let listener = TcpListener::bind((IpAddr::from(CA), 443)).await.expect("port 443");
    let routes = router(service.clone());
    tasks.spawn(async move {
        serve_tls(listener, tls, routes, Limit::default()).await.expect("serves");
    });
    (trust(service.authority().signer(Level::Root).certificate().to_vec()), service)
}

/// A directory that gives nonces and then has no room.
fn full() -> Script {
    let at = |path: &str| format!("https://full.test/{path}");
    let directory = serde_json::json!({
        "newNonce": at("nonce"), "newAccount": at("account"), "newOrder": at("order"), "revokeCert": at("revoke"),
        "keyChange": at("key"),
    });
    let problem = r#"{"type":"urn:ietf:params:acme:error:serverInternal","detail":"no space left on device"}"#;
    Script::from([
        ("/directory", says(200, "application/json", &directory.to_string())),
        ("/nonce", (200, "replay-nonce: bm9uY2U\r\n".to_owned(), String::new())),
        ("/account", says(500, "application/problem+json", problem)),
    ])
}

async fn serve() -> ((Trust, Trust, Arc<Service<MemoryStore>>), JoinSet<()>) {
    let mut tasks = JoinSet::new();
    let names = authority(RESOLVER, 1, &HOSTS);
    names_by_udp(&mut tasks, RESOLVER, names.clone()).await;
    names_by_tcp(&mut tasks, RESOLVER, names).await;
    let (ours, service) = ca(&mut tasks).await;
    let foreign = Ca::new("foreign");
    web(&mut tasks, FULL, foreign.acceptor("full.test", false), full()).await;
    ((ours, foreign.trust(), service), tasks)
}

#[test]
fn a_certificate_is_got_verified_and_revoked_or_the_fault_is_named() {
    let (mut stage, (ours, foreign, service)) = Stage::new(serve);
    let wrong = |fault| Err(Some(fault));
    stage.expect(
        ours,
        vec![
            (order(DIRECTORY, "host.test"), Ok(()), "a certificate for host.test by http-01"),
            (order(DIRECTORY, "second.test"), Ok(()), "2 in its chain, revoked"),
            (order(DIRECTORY, "nobody.test"), wrong(Fault::Refused), "urn:ietf:params:acme:error:dns"),
            (order(DIRECTORY, "elsewhere.test"), wrong(Fault::Refused), "urn:ietf:params:acme:error:connection"),
            (order(DIRECTORY, "host.example"), wrong(Fault::Refused), "urn:ietf:params:acme:error:rejectedIdentifier"),
            (order("https://ca.test/nothing", "host.test"), wrong(Fault::Refused), "404"),
            (order("https://full.test/directory", "host.test"), wrong(Fault::CertificateUntrusted), "UnknownIssuer"),
            (order("http://ca.test/", "host.test"), wrong(Fault::WrongAnswer), "not an https address"),
        ],
    );
    stage.expect(
        foreign,
        vec![
            (order(DIRECTORY, "host.test"), wrong(Fault::CertificateUntrusted), "UnknownIssuer"),
            (order("https://full.test/directory", "host.test"), wrong(Fault::DiskFull), "no space left on device"),
        ],
    );
    let issued = service.list(None, 10);
    assert_eq!(issued.iter().filter(|listed| listed.certificate.revoked.is_some()).count(), 2, "{issued:?}");
}
