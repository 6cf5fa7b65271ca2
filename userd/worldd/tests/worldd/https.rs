//! Everything over HTTPS, asked by curl with the world's root as its only trust; and what outlives a `kill -9`.

use std::{fs, os::unix::fs::PermissionsExt};

use base64::{Engine, engine::general_purpose::STANDARD};
use netengine_proto::control::{ControlReply, ControlRequest, Desired, Health};
use netengine_spec::Spec;
use serde_json::Value;

use crate::{
    harness::World,
    spec::{assert_serving, desired, example, secret},
};

const PLATFORM: &str = "https://auth.platform.internal/realms/platform";

/// A world that serves, with its root certificate in a file.
fn serving(spec: &Spec) -> (World, Desired, Health) {
    let mut world = World::start();
    world.give_addresses(spec);
    let desired = desired(spec);
    let health = world.control().desire(&desired);
    assert_serving(&health);
    keep_root(&world, &health);
    (world, desired, health)
}

fn keep_root(world: &World, health: &Health) {
    let root = health.trust.certificates.first().expect("a root");
    let text = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(&**root));
    fs::write(world.dir.path().join("root.pem"), text).expect("writes");
}

/// curl with the world's names and trust; status and body.
fn curl(world: &World, spec: &Spec, arguments: &[&str]) -> (String, String) {
    let root = world.dir.path().join("root.pem");
    let mut all: Vec<String> =
        ["-sS", "-w", "\n%{http_code}", "--cacert", root.to_str().expect("text")].map(str::to_owned).to_vec();
    for listen in spec.listen_addresses() {
        for port in [80, 443, spec.operator.api.port] {
            all.extend(["--resolve".to_owned(), format!("{}:{port}:{}", listen.name, listen.v4)]);
        }
    }
    all.extend(arguments.iter().map(|text| (*text).to_owned()));
    let output = world.run("curl", &all.iter().map(String::as_str).collect::<Vec<_>>());
    let text = String::from_utf8(output.stdout).expect("text");
    let (body, status) = text.rsplit_once('\n').expect("a status");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (status.to_owned(), body.to_owned())
}

fn token(world: &World, spec: &Spec, desired: &Desired, issuer: &str, scope: &str) -> String {
    let user = format!("netengine-api:{}", secret(desired, issuer, "netengine-api"));
    let url = format!("{issuer}/protocol/openid-connect/token");
    let scope = format!("scope={scope}");
    let (status, body) = curl(world, spec, &["-u", &user, "-d", "grant_type=client_credentials", "-d", &scope, &url]);
    assert_eq!(status, "200", "{body}");
    let body: Value = serde_json::from_str(&body).expect("JSON");
    body["access_token"].as_str().expect("a token").to_owned()
}

#[test]
fn every_service_is_served_with_a_certificate_of_the_world() {
    let spec = example("minimal", &[]);
    let (world, _, health) = serving(&spec);
    for (url, wanted) in [
        ("https://ca.platform.internal/acme/acme/directory", "newNonce"),
        ("http://ca.platform.internal/pki/root.der", ""),
        ("https://auth.platform.internal/realms/platform/.well-known/openid-configuration", PLATFORM),
        (
            "https://auth.internal/realms/inworld/.well-known/openid-configuration",
            "https://auth.internal/realms/inworld",
        ),
        ("https://registry.platform.internal/health", ""),
        ("https://domainreg.platform.internal/rdap/help", "rdapConformance"),
        ("https://registrar.platform.internal/health", ""),
        ("https://api.platform.internal:8080/openapi.json", "/v1/world"),
    ] {
        let output = ["-o", "/dev/null"];
        let binary: &[&str] = if url.ends_with(".der") { &output } else { &[] };
        let (status, body) = curl(&world, &spec, &[binary, &[url]].concat());
        assert!(status == "200" && body.contains(wanted), "{url}: {status} {body}");
    }
    let names: Vec<_> = health.services.iter().map(|one| one.name.as_str()).collect();
    for name in ["acme", "api", "dns", "domainreg", "oidc-inworld", "oidc-platform", "registrar", "registry", "whois"] {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    for file in ["pki.db", "identity-platform.db", "identity-inworld.db", "registry.db", "resolver.pem", "dns.cookies"]
    {
        let mode = fs::metadata(world.dir.path().join(file)).expect(file).permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    println!("worldd with everything: {} KiB resident", world.rss_kib());
    assert!(world.rss_kib() < 64 * 1024);
}

#[test]
fn the_api_wants_a_token_of_the_platform_with_its_scope() {
    let spec = example("minimal", &[]);
    let (world, desired, _) = serving(&spec);
    let ask = |token: &str| {
        let header = format!("authorization: Bearer {token}");
        curl(&world, &spec, &["-H", &header, "https://api.platform.internal:8080/v1/world"])
    };
    let good = token(&world, &spec, &desired, PLATFORM, "netengines:read");
    let (status, body) = ask(&good);
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((status.as_str(), body["name"].as_str()), ("200", Some("minimal")));
    assert!(body["services"].as_array().is_some_and(|all| all.len() > 8), "{body}");

    let without = token(&world, &spec, &desired, PLATFORM, "openid");
    let inworld = token(&world, &spec, &desired, "https://auth.internal/realms/inworld", "openid");
    let mut forged = good.clone();
    // A character in the middle of the signature: the last one holds bits that decode to nothing.
    let at = forged.len() - 10;
    forged.replace_range(at..=at, if &forged[at..=at] == "A" { "B" } else { "A" });
    for bad in [without.as_str(), &inworld, &forged, "junk", ""] {
        let (status, body) = ask(bad);
        assert!(status == "401" || status == "403", "{status} {body}");
    }
    let (status, _) = curl(&world, &spec, &["https://api.platform.internal:8080/v1/world"]);
    assert_eq!(status, "401");
}

fn certificates(world: &mut World) -> Vec<String> {
    match world.control().ask(&ControlRequest::Certificates { before: None }) {
        ControlReply::Certificates(all) => all.into_iter().map(|one| one.serial).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_answered_outlives_a_kill_and_the_same_again_issues_nothing() {
    let spec = example("single-org", &[]);
    let (mut world, desired, health) = serving(&spec);
    let before = certificates(&mut world);
    assert!(before.len() >= 8, "{before:?}");
    assert_serving(&world.control().desire(&desired));
    assert_eq!(certificates(&mut world), before);
    let ControlReply::Certificate(Some(one)) = world.control().ask(&ControlRequest::Certificate(before[0].clone()))
    else {
        panic!("no certificate")
    };
    assert!(one.chain.starts_with("-----BEGIN CERTIFICATE-----") && one.summary.account == "world");

    let issuer = "https://auth.internal/realms/acme-corp";
    let bearer = format!("authorization: Bearer {}", token(&world, &spec, &desired, issuer, "registrar"));
    let register = [
        "-H",
        &bearer,
        "-H",
        "content-type: application/json",
        "-d",
        r#"{"name":"shop.corp","organisation":"acme-corp"}"#,
    ];
    let (status, body) =
        curl(&world, &spec, &[&register[..], &["https://registrar.platform.internal/v1/domains"]].concat());
    assert_eq!(status, "201", "{body}");
    let name_servers = |world: &World| {
        let output = world.run("dig", &["+short", "+norecurse", "@10.0.0.5", "shop.corp", "NS"]);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(name_servers(&world).contains("ns.corp."), "{}", name_servers(&world));

    world.kill_and_restart();
    let again = world.control().desire(&desired);
    assert_serving(&again);
    assert_eq!(again.trust, health.trust, "the authority is another one");
    let after = certificates(&mut world);
    assert!(before.iter().all(|serial| after.contains(serial)));
    assert!(name_servers(&world).contains("ns.corp."), "{}", name_servers(&world));
    let (status, body) = curl(&world, &spec, &["https://domainreg.platform.internal/rdap/domain/shop.corp"]);
    assert_eq!(status, "200", "{body}");
    token(&world, &spec, &desired, PLATFORM, "openid");
}

#[test]
fn a_persistent_world_needs_its_data_directory() {
    let spec = example("minimal", &["metadata.lifecycle=persistent"]);
    let mut world = World::start();
    world.give_addresses(&spec);
    let reply = world.control().ask(&ControlRequest::Apply(Box::new(desired(&spec))));
    assert!(matches!(&reply, ControlReply::Refused(why) if why.contains("data directory")), "{reply:?}");
}
