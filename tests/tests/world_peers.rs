//! Two worlds of two users joined by what both specs say, as clients in their vantage hosts see it: by routes while both name
//! each other, by nothing before and after. Rows 95 and 96.

mod judge;

use std::process::Stdio;

use judge::{in_namespace_of, inside, run, until};
use netengine_tests::{ALICE, BOB, Host, Person};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// The spec of a world with names below a top-level domain of its own and addresses in 10.N.0.0/24 and 172.(16 + N).0.0/16; in
/// the host, for whoever brings it up.
fn spec(host: &Host, name: &str, net: u8, portal: &str) -> String {
    spec_with(host, name, net, portal, false)
}

/// As [`spec`], its zones signed or not.
fn spec_with(host: &Host, name: &str, net: u8, portal: &str, signed: bool) -> String {
    let platform = 16 + net;
    let text = format!(
        "metadata: {{name: {name}}}
substrate:
  networks:
    platform: {{subnet: 172.{platform}.0.0/16}}
    core: {{subnet: 10.{net}.0.0/24, subnet6: 'fd00:{net}::/64'}}
  gateway: {{platform_ip: 172.{platform}.0.1, core_ip: 10.{net}.0.1}}
dns:
  root: {{listen_ip: 10.{net}.0.2, soa_primary_ns: root.{name}, soa_email: admin.{name}}}
  platform_zone: {{name: platform.{name}, listen_ip: 10.{net}.0.3}}
  tlds: [{{name: {name}, listen_ip: 10.{net}.0.4}}]
pki: {{dnssec_enabled: {signed}, acme: {{listen_ip: 10.{net}.0.6, canonical_name: ca.platform.{name}}}}}
identity_platform: {{listen_ip: 10.{net}.0.7, canonical_name: auth.platform.{name}}}
world_registry:
  listen_ip: 10.{net}.0.8
  canonical_name: registry.platform.{name}
  whois: {{enabled: false, listen_ip: 10.{net}.0.9}}
domain_registry:
  listen_ip: 10.{net}.0.10
  canonical_name: domainreg.platform.{name}
  registrar: {{listen_ip: 10.{net}.0.11, canonical_name: registrar.platform.{name}}}
identity_inworld: {{listen_ip: 10.{net}.0.12, canonical_name: auth.{name}}}
ands: {{}}
world_services: {{mail: {{enabled: false}}, storage: {{enabled: false}}}}
org_apps: {{}}
gateway_portal: {{{portal}}}
operator: {{api: {{listen_ip: 172.{platform}.0.11, canonical_name: api.platform.{name}}}}}
"
    );
    host.file(&format!("{name}.yaml"), &text)
}

/// A gateway portal that names one other world.
fn peered(endpoint: &str) -> String {
    let name = endpoint.rsplit([':', '/']).next().expect("a name");
    format!("cross_world: {{mode: peered, peers: [{{name: {name}, endpoint: '{endpoint}'}}]}}")
}

/// Brings a world up to its names; what is asked here needs no more.
#[track_caller]
fn up(host: &Host, person: Person, spec: &str) {
    run(host, person, &["up", spec, "--up-to", "2"]).ok();
}

/// What a world's owner is told of its one peer.
#[track_caller]
fn peer(host: &Host, person: Person, world: &str) -> Value {
    run(host, person, &["status", world, "--json"]).ok().json()["peers"][0].clone()
}

#[track_caller]
fn becomes(host: &Host, person: Person, world: &str, state: &str) -> Value {
    let what = format!("{world}'s peer is {state}");
    until(&what, || peer(host, person, world), |peer| peer["state"] == state)
}

/// Which of these of the network 10.N.0.0/24 answers a world's vantage host: an echo (asked for as root in its namespace: users
/// have no ICMP sockets), a name server over IPv4 and over IPv6.
#[track_caller]
fn answers(host: &Host, person: Person, world: &str, net: u8) -> [bool; 3] {
    let dig = "dig +tries=1 +time=1 +short . NS";
    let script = format!(
        "{dig} @10.{net}.0.2 | grep -q '^[^;]' && echo four
         {dig} @fd00:{net}::a{net:02x}:2 +tcp | grep -q '^[^;]' && echo six
         true"
    );
    let said = inside(host, person, world, &script).ok().out;
    let status = run(host, person, &["status", world, "--json"]).ok().json();
    let networks = status["networks"].as_array().expect("networks");
    let core = networks.iter().find(|network| network["name"] == "core").expect("core");
    let own = core["hosts"][0]["addresses"][0].as_str().expect("an address");
    let pinged = in_namespace_of(host, own, &format!("nping --icmp -c 1 10.{net}.0.2"));
    assert!(pinged.contains("Raw packets sent: 1 "), "{pinged}");
    [pinged.contains("Rcvd: 1 "), said.contains("four"), said.contains("six")]
}

/// Whether all of [`answers`]; half of it is neither joined nor apart.
#[track_caller]
fn reaches(host: &Host, person: Person, world: &str, net: u8) -> bool {
    match answers(host, person, world, net) {
        [true, true, true] => true,
        [false, false, false] => false,
        half => panic!("{world} reaches half of 10.{net}.0.0/24: {half:?}"),
    }
}

/// Links, addresses, routes, rules and the whole policy of a world's router, as ip(8) and nft(8) tell them.
#[track_caller]
fn router(host: &Host, net: u8) -> String {
    let script = "ip link; ip address; ip route show table all; ip -6 route show table all; \
                  ip rule; ip -6 rule; nft list ruleset | sed 's/packets [0-9]* bytes [0-9]*//'";
    // Addresses of links settle by themselves (duplicate address detection).
    let seen = in_namespace_of(host, &format!("10.{net}.0.1"), script).replace(" tentative", "");
    // What counts down while one looks.
    let steady = seen.lines().filter(|line| !line.contains("valid_lft") && !line.contains("ff00::/8"));
    steady.map(|line| line.split(" expires ").next().unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

/// Asks again and again until the router is as it was.
#[track_caller]
fn is_as_before(host: &Host, net: u8, before: &str) {
    until("the router is as it was", || router(host, net), |now| now == before);
}

#[test]
fn worlds_are_joined_while_both_owners_say_so_and_nothing_of_it_is_left() {
    let host = Host::new();
    let alpha = spec(&host, "alpha", 1, &peered("world:bob/beta"));
    spec(&host, "beta", 2, "");
    let bare = host.snapshot();
    up(&host, ALICE, &alpha);
    let nobody = peer(&host, ALICE, "alpha");
    assert_eq!(nobody["state"], "pending");
    let alone = router(&host, 1);

    // A world that does not consent, or to somebody else, or belongs to nobody, looks like none.
    for portal in [String::new(), peered("world:alice/other"), peered("world:alpha")] {
        up(&host, BOB, &spec(&host, "beta", 2, &portal));
        assert_eq!(peer(&host, ALICE, "alpha"), nobody, "{portal}");
        assert!(!reaches(&host, ALICE, "alpha", 2), "{portal}");
    }
    is_as_before(&host, 1, &alone);
    let strangers = run(&host, BOB, &["status", "alpha", "--json"]).exits(1);
    assert!(!strangers.err.contains("alice"), "{strangers:?}");
    let events = run(&host, ALICE, &["events", "alpha", "--json"]).ok().out;
    assert!(events.contains("peer.pending") && !events.contains("peer.joined"), "{events}");
    assert!(!events.contains("peers.changed"), "what concerns it not is nothing to it: {events}");

    // Both say so.
    let alone_2 = router(&host, 2);
    up(&host, BOB, &spec(&host, "beta", 2, &peered("world:alice/alpha")));
    for (person, world) in [(ALICE, "alpha"), (BOB, "beta")] {
        let joined = becomes(&host, person, world, "joined");
        assert_eq!(joined["mode"], "peered");
    }
    let reach = || [answers(&host, ALICE, "alpha", 2), answers(&host, BOB, "beta", 1)];
    until("both reach each other", reach, |all| *all == [[true; 3]; 2]);
    assert_ne!(router(&host, 1), alone);
    let status = run(&host, ALICE, &["status", "alpha"]).ok().out;
    assert!(status.contains("world:bob/beta  peered  joined"), "{status}");
    // The proof knows the other world, and its words are kept.
    let proof = run(&host, ALICE, &["prove", "alpha", "--json"]).ok().json();
    let flows = proof["flows"].as_array().expect("flows");
    let to_peer: Vec<_> = flows.iter().filter(|flow| flow["receiver"] == "peer").collect();
    assert!(!to_peer.is_empty() && to_peer.iter().all(|flow| flow["reaches"] == json!(true)), "{to_peer:?}");
    // A joined world is no right over the other.
    run(&host, ALICE, &["exec", "beta", "--", "true"]).exits(1);
    run(&host, BOB, &["down", "alpha", "--yes"]).exits(1);

    // Bob takes it back: the link, the routes, the rules are gone on both sides, whoever said so.
    up(&host, BOB, &spec(&host, "beta", 2, ""));
    until("alpha is told nothing", || peer(&host, ALICE, "alpha"), |peer| *peer == nobody);
    is_as_before(&host, 1, &alone);
    is_as_before(&host, 2, &alone_2);
    assert!(!reaches(&host, ALICE, "alpha", 2) && !reaches(&host, BOB, "beta", 1));

    // And again; then his world goes.
    up(&host, BOB, &spec(&host, "beta", 2, &peered("world:alice/alpha")));
    becomes(&host, ALICE, "alpha", "joined");
    run(&host, BOB, &["down", "beta", "--yes"]).ok();
    until("alpha is told nothing", || peer(&host, ALICE, "alpha"), |peer| *peer == nobody);
    is_as_before(&host, 1, &alone);
    run(&host, ALICE, &["down", "alpha", "--yes"]).ok();
    bare.assert_unchanged(&host.snapshot());
}

/// What dig(1) says of a name of the other world, by the world's own resolver: flags and data.
#[track_caller]
fn asks(host: &Host, person: Person, world: &str, query: &str) -> (String, Vec<String>) {
    let script = format!("dig +tries=1 +time=4 +dnssec {query}; true");
    let said = inside(host, person, world, &script).ok().out;
    let word = |line: &str, from: &str| {
        line.split(from).nth(1).and_then(|rest| rest.split([',', ';']).next()).map(str::to_owned)
    };
    let status = said.lines().find_map(|line| word(line, "status: ")).unwrap_or_default();
    let flags = said.lines().find_map(|line| word(line, "flags: ")).unwrap_or_default();
    let data = said.lines().filter(|line| !line.starts_with(';') && !line.contains("RRSIG") && !line.is_empty());
    let data = data.filter_map(|line| line.split_whitespace().last()).map(str::to_owned).collect();
    let is_valid = if flags.split(' ').any(|flag| flag == "ad") { " ad" } else { "" };
    (status + is_valid, data)
}

#[test]
fn names_of_a_joined_world_are_found_both_ways_and_validated_where_both_are_signed() {
    let host = Host::new();
    let known = |status: &str, data: &str| (status.to_owned(), vec![data.to_owned()]);
    let unknown = |said: &(String, Vec<String>)| said.0.starts_with("NXDOMAIN");
    let (forward, reverse) = ("ca.platform.beta", "-x 10.2.0.6");
    run(&host, ALICE, &["up", &spec_with(&host, "alpha", 1, &peered("world:bob/beta"), true), "--up-to", "3"]).ok();
    let ask = |query: &str| asks(&host, ALICE, "alpha", query);
    assert!(unknown(&ask(forward)) && unknown(&ask(reverse)));
    for (signed, status) in [(true, "NOERROR ad"), (false, "NOERROR")] {
        let beta = spec_with(&host, "beta", 2, &peered("world:alice/alpha"), signed);
        run(&host, BOB, &["up", &beta, "--up-to", "3"]).ok();
        becomes(&host, ALICE, "alpha", "joined");
        until("beta's names", || ask(forward), |said| *said == known(status, "10.2.0.6"));
        until("beta's addresses", || ask(reverse), |said| *said == known(status, "ca.platform.beta."));
        // What beta has not is denied by beta, with proof where it signs; what it has, it has for alpha alone.
        assert_eq!(ask("nothing.beta A").0, status.replace("NOERROR", "NXDOMAIN"));
        let back = || asks(&host, BOB, "beta", "ca.platform.alpha");
        until("alpha's names", back, |said| *said == known(status, "10.1.0.6"));
        // A client that validates for itself, from alpha's root.
        let delv = "delv -a /etc/ssl/certs/dns-root.key +root ca.platform.beta 2>&1";
        let said = inside(&host, ALICE, "alpha", delv).ok().out;
        let word = if signed { "; fully validated" } else { "; unsigned answer" };
        assert!(said.contains(word), "{said}");
    }
    // A resolver is for its own world.
    let stranger = inside(&host, ALICE, "alpha", "dig +tries=1 +time=1 @10.2.0.1 ca.platform.beta >/dev/null");
    assert_eq!(stranger.code, 9, "{stranger:?}");

    up(&host, BOB, &spec(&host, "beta", 2, ""));
    until("beta's names are gone", || ask(forward), unknown);
    until("beta's addresses are gone", || ask(reverse), unknown);
    let root = inside(&host, ALICE, "alpha", "dig @10.1.0.2 +norecurse beta NS").ok().out;
    assert!(root.contains("NXDOMAIN"), "{root}");
}

/// As [`peered`], federated.
fn federated(endpoint: &str) -> String {
    peered(endpoint).replace("mode: peered", "mode: federated")
}

#[test]
fn federated_worlds_trust_each_others_authority_and_peered_ones_do_not() {
    let host = Host::new();
    let up = |person: Person, spec: &str| drop(run(&host, person, &["up", spec, "--up-to", "4"]).ok());
    up(ALICE, &spec(&host, "alpha", 1, &federated("world:bob/beta")));
    let discovery = "https://auth.platform.beta/realms/platform/.well-known/openid-configuration";
    let ask = || inside(&host, ALICE, "alpha", &format!("curl -sS --max-time 5 {discovery}"));
    let authorities = || inside(&host, ALICE, "alpha", "grep -c BEGIN /etc/ssl/certs/ca-certificates.crt").ok().out;
    assert_eq!(ask().code, 6, "there is no such name");
    let own = authorities();

    // One of the two wants routes and names alone: that is what both have.
    up(BOB, &spec(&host, "beta", 2, &peered("world:alice/alpha")));
    assert_eq!(becomes(&host, ALICE, "alpha", "joined")["mode"], "peered");
    until("beta's certificate is nobody's to alpha", ask, |said| said.code == 60);
    assert_eq!(authorities(), own);

    // Both: discovery, keys and a token, over TLS that each checks by the other's authority.
    up(BOB, &spec(&host, "beta", 2, &federated("world:alice/alpha")));
    until("they are federated", || becomes(&host, ALICE, "alpha", "joined"), |peer| peer["mode"] == "federated");
    let said = until("alpha reads beta's discovery", ask, |said| said.code == 0).json();
    assert_eq!(said["issuer"], "https://auth.platform.beta/realms/platform");
    let keys = said["jwks_uri"].as_str().expect("a URI");
    let keys = inside(&host, ALICE, "alpha", &format!("curl -sS --max-time 5 {keys}")).ok().json();
    assert!(keys["keys"].as_array().is_some_and(|keys| !keys.is_empty()), "{keys}");
    let back = "curl -sS --max-time 5 https://auth.platform.alpha/realms/platform/.well-known/openid-configuration";
    let said = until("beta reads alpha's", || inside(&host, BOB, "beta", back), |said| said.code == 0).json();
    assert_eq!(said["issuer"], "https://auth.platform.alpha/realms/platform");

    // A token of beta's issuer opens alpha's API when alpha's spec says so, and not before; alpha's own opens it then no more.
    let secret = |person: Person, world: &str| {
        let args = ["credentials", world, "--kind", "client_secret", "--name", "netengine-api", "--json"];
        run(&host, person, &args).ok().json()[0]["secret"].as_str().expect("a secret").to_owned()
    };
    let token = |person: Person, world: &str| {
        let uri = format!("https://auth.platform.{world}/realms/platform/protocol/openid-connect/token");
        let ask = format!(
            "curl -sSf -u netengine-api:{} -d 'grant_type=client_credentials&scope=netengines:read' {uri}",
            secret(person, world)
        );
        let said = inside(&host, person, world, &ask).ok().json();
        said["access_token"].as_str().expect("a token").to_owned()
    };
    let (hers, his) = (token(ALICE, "alpha"), token(BOB, "beta"));
    let opens = |token: &str| {
        let ask = format!(
            "curl -sS -o /dev/null -w '%{{http_code}}' -H 'Authorization: Bearer {token}' https://api.platform.alpha:8080/v1/world"
        );
        inside(&host, BOB, "beta", &ask).ok().out
    };
    assert_eq!((opens(&hers).as_str(), opens(&his).as_str()), ("200", "401"));
    let alpha = spec(&host, "alpha", 1, &federated("world:bob/beta"));
    let issuer = "operator.auth.issuer=https://auth.platform.beta/realms/platform";
    run(&host, ALICE, &["up", &alpha, "--up-to", "4", "--set", issuer]).ok();
    assert_eq!((opens(&hers).as_str(), opens(&his).as_str()), ("401", "200"));
    // Once bob wants no more than routes, his issuer is nobody's.
    up(BOB, &spec(&host, "beta", 2, &peered("world:alice/alpha")));
    let refused = || {
        let script = "curl -sSk -o /dev/null -w '%{http_code}' -H \"Authorization: Bearer $TOKEN\" https://api.platform.alpha:8080/v1/world";
        inside(&host, BOB, "beta", &script.replace("$TOKEN", &his)).out
    };
    until("his token is refused", refused, |said| said == "401");
    up(BOB, &spec(&host, "beta", 2, &federated("world:alice/alpha")));

    // An authority that is not the one given is nobody's.
    let pem = run(&host, ALICE, &["pki", "root", "alpha"]).ok().out;
    let other = pem.lines().map(|line| format!("{line}\\n")).collect::<String>();
    let pinned = |mode: &str| mode.replace("endpoint:", &format!("trust_anchor_cert: \"{other}\", endpoint:"));
    up(ALICE, &spec(&host, "alpha", 1, &pinned(&federated("world:bob/beta"))));
    let pending = becomes(&host, ALICE, "alpha", "pending");
    assert!(pending["detail"].as_str().is_some_and(|detail| detail.contains("trust_anchor_cert")), "{pending}");
    assert_eq!(authorities(), own);
    assert_eq!(ask().code, 6);
}

#[test]
fn networks_that_overlap_are_refused_by_name_and_only_among_those_who_consent() {
    let host = Host::new();
    up(&host, ALICE, &spec(&host, "alpha", 1, &peered("world:bob/beta")));
    let before = router(&host, 1);
    // To who is not named, the same networks are nothing.
    up(&host, BOB, &spec(&host, "gamma", 1, &peered("world:alice/alpha")));
    run(&host, BOB, &["down", "gamma", "--yes"]).ok();
    let beta = spec(&host, "beta", 1, &peered("world:alice/alpha"));
    for command in ["plan", "up"] {
        let [what, cause, help] = run(&host, BOB, &[command, &beta]).exits(3).three_lines();
        assert!(what.contains("beta") && help.contains("subnets"), "{what} {help}");
        let named =
            |net: &str| cause == format!("the network {net} of world:alice/alpha overlaps {net}, which is here");
        assert!(named("10.1.0.0/24") || named("172.17.0.0/16"), "{cause}");
    }
    assert_eq!(run(&host, BOB, &["list", "--json"]).ok().json(), json!([]), "nothing was made");
    is_as_before(&host, 1, &before);
}

#[test]
fn a_userd_that_ends_while_worlds_are_joined_or_part_leaves_neither_half() {
    let host = Host::new();
    up(&host, ALICE, &spec(&host, "alpha", 1, &peered("world:beta")));
    let alone = router(&host, 1);
    for (portal, is_over) in [(peered("world:alpha"), true), (String::new(), true), (peered("world:alpha"), false)] {
        let spec = spec(&host, "beta", 2, &portal);
        let args = ["up", spec.as_str(), "--up-to", "2"];
        if is_over {
            // Only the other world's part is left to do.
            run(&host, ALICE, &args).ok();
            host.restart("netengine-userd", Signal::SIGKILL);
        } else {
            let mut command = host.command(ALICE, &judge::netengine());
            let mut began = command.args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
            let state = |began: &mut std::process::Child| {
                let is_over = began.try_wait().expect("asked").is_some();
                is_over || run(&host, ALICE, &["status", "beta", "--json"]).ok().json()["state"] == "booting"
            };
            until("it is at work", || state(&mut began), |is| *is);
            host.restart("netengine-userd", Signal::SIGKILL);
            began.wait().expect("ends");
        }
        let state = if portal.is_empty() { "pending" } else { "joined" };
        becomes(&host, ALICE, "alpha", state);
        let joined = state == "joined";
        let reach = || [answers(&host, ALICE, "alpha", 2), answers(&host, ALICE, "beta", 1)];
        until("what is said is so", reach, |all| *all == [[joined; 3]; 2]);
        if !joined {
            is_as_before(&host, 1, &alone);
        }
    }
    // A look at all worlds finds nothing more to do.
    let proof = run(&host, ALICE, &["prove", "alpha", "--json"]).ok().json();
    assert_eq!(proof["passed"], json!(true));
}
