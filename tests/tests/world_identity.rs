//! Relying parties that others wrote, in a vantage host of a world, against both of its OpenID providers.

mod judge;
mod world;

use judge::{Ran, keys, run};
use netengine_tests::{ALICE, BOB, DANA};
use serde_json::{Value, json};
use world::{CLIENTS, PYTHON, World};

/// The platform's provider and that of an organisation: what a client is told of each.
#[track_caller]
fn providers(world: &World) -> [Value; 2] {
    let app = "http://core.platform.internal:8000";
    let told = |issuer: &str, admin_issuer: &str, username: &str, role: &str, organization: Option<&str>| {
        let mut told = json!({
            "issuer": issuer,
            "adminIssuer": admin_issuer,
            "apiSecret": world.secret("client_secret", "netengine-api", admin_issuer),
            "username": username,
            "password": world.secret("password", username, issuer),
            "role": role,
            "app": app,
        });
        // Absent, as undefined and None are: null would be another claim.
        organization.into_iter().for_each(|name| told["organization"] = name.into());
        told
    };
    let platform = "https://auth.platform.internal/realms/platform";
    let acme = "https://auth.internal/realms/acme-corp";
    [
        told(platform, platform, "admin", "admin", None),
        told(acme, "https://auth.internal/realms/inworld", "alice", "user", Some("acme-corp")),
    ]
}

#[track_caller]
fn all_done(ran: &Ran) {
    assert!(ran.code == 0 && ran.out.ends_with("all done\n"), "{ran:#?}");
}

#[test]
fn openid_client_completes_every_flow_with_both_providers() {
    let world = World::up("single-org", &[]).with_clients();
    // Logout notices go to https addresses, so the application gets a certificate as any host of the world would.
    let name = "core.platform.internal";
    let directory = "https://ca.platform.internal/acme/acme/directory";
    world.says(&format!(
        "lego --accept-tos --server {directory} --email a@acme.corp --path lego --domains {name} --http run"
    ));
    for mut told in providers(&world) {
        told["backchannel"] = format!("https://{name}:8443/backchannel").into();
        told["certificate"] = format!("lego/certificates/{name}.crt").into();
        told["key"] = format!("lego/certificates/{name}.key").into();
        all_done(&world.attempt(&format!("node {CLIENTS}/openid_world.mjs '{told}'")));
    }
}

#[test]
fn authlib_completes_every_flow_with_both_providers() {
    let world = World::up("single-org", &[]).with_clients();
    for told in providers(&world) {
        all_done(&world.attempt(&format!("{PYTHON} {CLIENTS}/authlib_world.py '{told}'")));
    }
}

#[test]
fn chromium_trusts_the_world_by_its_root_and_logs_in() {
    let world = World::up("single-org", &[]).with_clients();
    // A browser has a trust store of its own, one for each user.
    let root = run(&world.host, ALICE, &["pki", "root", &world.name]).ok().out;
    let file = world.host.file("root.pem", &root);
    let store = "$HOME/.pki/nssdb";
    world.host.shell(
        ALICE,
        &format!("mkdir -p {store}; certutil -d sql:{store} -N --empty-password; certutil -d sql:{store} -A -t C,, -n world -i {file}"),
    );
    for told in providers(&world) {
        all_done(&world.attempt(&format!("node {CLIENTS}/chromium_world.mjs '{told}'")));
    }
}

#[test]
fn secrets_are_shown_to_the_owner_only() {
    let world = World::up("single-org", &[]);
    let args = ["credentials", "single-org", "--json"];
    let shown = run(&world.host, ALICE, &args).ok().json();
    assert_eq!(keys(&shown[0]), ["issuer", "kind", "name", "secret"]);
    let secrets: Vec<&str> =
        shown.as_array().expect("an array").iter().filter_map(|one| one["secret"].as_str()).collect();
    assert!(secrets.len() >= 6 && secrets.iter().all(|secret| secret.len() >= 12), "{}", secrets.len());
    let other = run(&world.host, BOB, &args).exits(1);
    assert!(!secrets.iter().any(|secret| other.err.contains(secret)), "{other:?}");
    // Nor does an administrator, who may do everything else to a world.
    let asked = ["credentials", "single-org", "--json", "--admin", "--owner", "alice"];
    let administrator = run(&world.host, DANA, &asked).exits(1);
    assert!(!secrets.iter().any(|secret| administrator.err.contains(secret)), "{administrator:?}");
    // They are in no event, no log and no status.
    for args in
        [&["events", "single-org"][..], &["logs", "single-org", "-n", "10000"], &["status", "single-org", "--json"]]
    {
        let said = run(&world.host, ALICE, args).ok().out;
        assert!(!secrets.iter().any(|secret| said.contains(secret)), "{args:?}");
    }
    // `up` again makes no new ones: what was handed out stays good.
    let spec = format!("{}/single-org.yaml", netengine_tests::EXAMPLES);
    run(&world.host, ALICE, &["up", &spec]).ok();
    assert_eq!(run(&world.host, ALICE, &args).ok().json(), shown);
}

/// What the organisations' provider says of an account, asked with its administrators' client.
#[track_caller]
fn is_enabled(world: &World, username: &str) -> Value {
    let secret = world.secret("client_secret", "netengine-api", "https://auth.internal/realms/inworld");
    let said = world.says(&format!(
        "token=$(curl -sS -u netengine-api:{secret} -d grant_type=client_credentials \
           https://auth.internal/realms/inworld/protocol/openid-connect/token | python3 -c 'import json,sys; print(json.load(sys.stdin)[\"access_token\"])'); \
         curl -sS -H \"authorization: Bearer $token\" 'https://auth.internal/admin/realms/acme-corp/users?exact=true&username={username}'"
    ));
    serde_json::from_str::<Value>(&said).unwrap_or_else(|_| panic!("{said}"))[0]["enabled"].clone()
}

#[test]
fn an_owner_registers_clients_and_who_leaves_the_spec_loses_access() {
    let world = World::up("single-org", &[]);
    let issuer = "https://auth.internal/realms/acme-corp";
    let token = world.secret("registration_token", "registration", "/realms/acme-corp");
    let register = |token: &str| {
        world.says(&format!(
            "curl -sS -o registered.json -w '%{{http_code}}' -H 'authorization: Bearer {token}' -H 'content-type: application/json' \
             -d '{{\"grant_types\": [\"client_credentials\"]}}' {issuer}/clients-registrations/openid-connect"
        ))
    };
    assert_eq!((register(&token).as_str(), register("another").as_str()), ("201", "401"));
    register(&token);
    let client: Value = serde_json::from_str(&world.says("cat registered.json")).expect("JSON");
    let of = |name: &str| client[name].as_str().expect("text").to_owned();
    let grant = || {
        world.says(&format!(
            "curl -sS -o /dev/null -w '%{{http_code}}' -u {}:{} -d grant_type=client_credentials {issuer}/protocol/openid-connect/token",
            of("client_id"),
            of("client_secret")
        ))
    };
    assert_eq!((grant().as_str(), is_enabled(&world, "alice")), ("200", true.into()));

    let spec = format!("{}/single-org.yaml", netengine_tests::EXAMPLES);
    let up = |sets: &[&str]| {
        let mut args = vec!["up", &spec];
        sets.iter().for_each(|set| args.extend(["--set", set]));
        run(&world.host, ALICE, &args).ok();
    };
    let people = "identity_inworld.org_users=[{org: acme-corp, users: [{username: bob}]}]";
    up(&[people]);
    assert_eq!((is_enabled(&world, "alice"), is_enabled(&world, "bob")), (false.into(), true.into()));
    // The whole organisation, and what hangs on it.
    up(&[
        "identity_inworld.org_users=[]",
        "world_registry.organizations=[]",
        "domain_registry.initial_domains=[]",
        "ands.instances=[]",
    ]);
    assert_eq!(grant(), "404");
    up(&[]);
    assert_eq!((grant().as_str(), is_enabled(&world, "alice")), ("200", true.into()));
}
