//! A world's certificates as other people's ACME clients and TLS clients get and judge them from a vantage host.

mod judge;
mod world;

use judge::{inside, keys, run, until};
use netengine_tests::{
    ALICE, BIN, EXAMPLES, SCRATCH,
    crash::{WORLDD, settled},
};
use world::{CLIENTS, World};

const DIRECTORY: &str = "https://ca.platform.internal/acme/acme/directory";
/// The vantage host that the clients run in, by its name in the world.
const HERE: &str = "core.platform.internal";
/// Every service of single-org that is a name with HTTPS behind it.
const HTTPS: [&str; 7] = [
    "ca.platform.internal",
    "auth.platform.internal",
    "registry.platform.internal",
    "domainreg.platform.internal",
    "registrar.platform.internal",
    "auth.internal",
    "api.platform.internal",
];

/// The window of a certificate by its authority's renewal information (RFC 9773, sections 4.1 and 4.2), seen from now.
const ARI: &str = r#"
import base64, datetime, json, subprocess, sys, urllib.request
said = subprocess.check_output(["openssl", "x509", "-in", sys.argv[1], "-noout", "-serial", "-ext", "authorityKeyIdentifier"], text=True)
text = lambda octets: base64.urlsafe_b64encode(bytes.fromhex(octets)).decode().rstrip("=")
serial = next(line.split("=")[1] for line in said.splitlines() if line.startswith("serial="))
key = next(line.strip() for line in said.splitlines() if line.count(":") > 15 and not line.startswith("X509")).replace(":", "")
directory = json.load(urllib.request.urlopen(sys.argv[2]))
found = json.load(urllib.request.urlopen(directory["renewalInfo"] + "/" + text(key) + "." + text(serial)))
start, end = (datetime.datetime.fromisoformat(found["suggestedWindow"][name].replace("Z", "+00:00")) for name in ("start", "end"))
now = datetime.datetime.now(datetime.timezone.utc)
assert start < end, found
print("past" if end <= now else "open" if start <= now else "coming")
"#;

/// One connection that is kept: two requests, the second after a line on standard input, and the serial number that new
/// connections are shown before and after.
const KEPT: &str = r#"
import http.client, ssl, sys, time, os
name, path = "ca.platform.internal", "/acme/acme/directory"
def serial():
    return ssl.create_default_context().wrap_socket(__import__("socket").create_connection((name, 443)), server_hostname=name).getpeercert()["serialNumber"]
kept = http.client.HTTPSConnection(name, context=ssl.create_default_context(), timeout=60)
def ask():
    kept.request("GET", path)
    answer = kept.getresponse()
    answer.read()
    return answer.status
assert ask() == 200
socket, before = kept.sock, serial()
open("kept.new", "w").close()
os.rename("kept.new", "kept.ready")
while serial() == before:
    time.sleep(0.05)
# What http.client opened anew would be another socket.
assert ask() == 200 and kept.sock is socket
assert kept.sock.getpeercert()["serialNumber"] == before
open("kept.new", "w").close()
os.rename("kept.new", "kept.done")
"#;

/// The serial number in a certificate file, as `pki list` writes it.
#[track_caller]
fn serial(world: &World, file: &str) -> String {
    let said = world.says(&format!("openssl x509 -in {file} -noout -serial"));
    said.trim().trim_start_matches("serial=").to_ascii_lowercase()
}

/// Checks a chain file with the trust that every command in the world has.
#[track_caller]
fn verify(world: &World, chain: &str, name: &str) {
    let verify = "openssl verify -x509_strict -CApath /etc/ssl/certs -purpose sslserver";
    let said = world.says(&format!("{verify} -untrusted '{chain}' -verify_hostname '{name}' '{chain}'"));
    assert!(said.ends_with(": OK\n"), "{said}");
}

/// What the world's owner is told of a certificate: its state and its names.
#[track_caller]
fn listed(world: &World, serial: &str) -> (String, Vec<String>) {
    let all = world.certificates();
    let found = all.iter().find(|one| one["serial"] == serial);
    let found = found.unwrap_or_else(|| panic!("{serial} is not listed among {}", all.len()));
    let names = found["names"].as_array().expect("names").iter();
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    (text(&found["state"]), names.map(text).collect())
}

/// Gets, renews and revokes with these three commands; `chain` is the file that the client writes.
#[track_caller]
fn get_renew_revoke(world: &World, name: &str, chain: &str, [get, renew, revoke]: [&str; 3]) {
    world.says(get);
    verify(world, chain, &name.replace('*', "any"));
    let first = serial(world, chain);
    assert_eq!(listed(world, &first), ("valid".into(), vec![name.to_owned()]), "{get}");
    world.says(renew);
    let second = serial(world, chain);
    assert_ne!(first, second, "{renew}");
    world.says(revoke);
    assert_eq!((listed(world, &first).0, listed(world, &second).0), ("valid".into(), "revoked".into()), "{revoke}");
}

#[test]
fn curl_reaches_every_service_over_https_without_a_flag() {
    let world = World::up("single-org", &[]);
    for name in HTTPS {
        let port = if name.starts_with("api.") { ":8080" } else { "" };
        let said = world.attempt(&format!(
            "curl -sS -o /dev/null -w '%{{ssl_verify_result}} %{{http_code}}' https://{name}{port}/"
        ));
        assert!(said.code == 0 && said.out.starts_with("0 "), "{name}: {said:?}");
    }
    // The same with OpenSSL's directory of authorities, with GnuTLS's and with Python's own idea of the system's trust.
    let connect =
        "-connect ca.platform.internal:443 -servername ca.platform.internal -verify_hostname ca.platform.internal";
    world.says(&format!(
        "openssl s_client {connect} -verify_return_error </dev/null 2>&1 | grep -q 'Verify return code: 0 (ok)'"
    ));
    world.says("python3 -I -c \"import urllib.request; urllib.request.urlopen('https://ca.platform.internal/acme/acme/directory').read()\"");
    world.says(
        "node -e \"fetch('https://ca.platform.internal/acme/acme/directory').then(r => process.exit(r.ok ? 0 : 1))\"",
    );
    // A name that the certificate does not have is refused, so the checks above can fail.
    let wrong =
        world.attempt("curl -sS --connect-to other.internal:443:ca.platform.internal:443 https://other.internal/ 2>&1");
    assert_eq!(wrong.code, 60, "{wrong:?}");
    // What the owner is shown is what the commands trust; this machine itself does not.
    let root = run(&world.host, ALICE, &["pki", "root", &world.name]).ok().out;
    assert_eq!(world.says("cat /etc/ssl/certs/ca-certificates.crt"), root);
    let file = world.host.file("root.pem", &root);
    assert_ne!(world.host.shell(ALICE, "cat /etc/ssl/certs/ca-certificates.crt 2>/dev/null || true"), root);
    let text = world
        .host
        .shell(ALICE, &format!("openssl x509 -in {file} -noout -subject -ext nameConstraints,basicConstraints"));
    assert!(text.contains("Single Org Root CA") && text.contains("CA:TRUE") && text.contains("Permitted:"), "{text}");
    // The world's own certificates are listed, and each is shown with its chain.
    let own = world.certificates();
    assert_eq!(keys(&own[0]), ["account", "names", "not_after", "not_before", "revoked_at", "serial", "state"]);
    for name in HTTPS {
        let found = own.iter().find(|one| one["names"].as_array().is_some_and(|names| names.contains(&name.into())));
        let found = found.unwrap_or_else(|| panic!("no certificate for {name} in {own:#?}"));
        assert_eq!((&found["state"], &found["account"]), (&"valid".into(), &"world".into()));
        let number = found["serial"].as_str().expect("text");
        let shown = run(&world.host, ALICE, &["pki", "show", &world.name, number, "--json"]).ok().json();
        let chain = world.host.file("chain.pem", shown["chain"].as_str().expect("PEM"));
        verify(&world, &chain, name);
        assert_eq!(serial(&world, &chain), number);
    }
}

#[test]
fn certbot_gets_renews_and_revokes_by_http_01_and_dns_01() {
    let world = World::up("single-org", &[]);
    let certbot = format!(
        "certbot --config-dir certbot --work-dir certbot/work --logs-dir certbot/logs --server {DIRECTORY} --non-interactive"
    );
    let new = "certonly --agree-tos -m a@acme.corp";
    let renew = format!("{certbot} renew --no-random-sleep-on-renew --force-renewal --cert-name");
    let revoke = format!("{certbot} revoke --no-delete-after-revoke --cert-name");
    get_renew_revoke(
        &world,
        HERE,
        &format!("certbot/live/{HERE}/fullchain.pem"),
        [&format!("{certbot} {new} --standalone -d {HERE}"), &format!("{renew} {HERE}"), &format!("{revoke} {HERE}")],
    );
    let secret = world.secret("tsig", "update", "");
    world.says(&format!(
        "umask 077; printf '%s\\n' 'dns_rfc2136_server = 10.0.0.5' 'dns_rfc2136_name = update.' \
         'dns_rfc2136_secret = {secret}' 'dns_rfc2136_algorithm = HMAC-SHA256' >rfc2136.ini"
    ));
    let how = "--dns-rfc2136 --dns-rfc2136-credentials rfc2136.ini --dns-rfc2136-propagation-seconds 1";
    get_renew_revoke(
        &world,
        "*.acme.corp",
        "certbot/live/acme.corp/fullchain.pem",
        [
            &format!("{certbot} {new} {how} -d '*.acme.corp'"),
            &format!("{renew} acme.corp"),
            &format!("{revoke} acme.corp"),
        ],
    );
    world.says("rm -f certbot/logs/*");
    let refused = world.attempt(&format!("{certbot} {new} --standalone -d www.example.com"));
    // certbot's log has the server's words; what it says itself is not the same in all its versions.
    let log = world.says("cat certbot/logs/letsencrypt.log");
    assert!(refused.code != 0 && log.contains("rejectedIdentifier"), "{refused:?} {log}");
}

#[test]
fn lego_gets_renews_and_revokes_by_http_01_tls_alpn_01_and_dns_01() {
    // Under an intermediate authority, with revocation lists and OCSP: its chain has two certificates.
    let sets = ["pki.intermediate_ca_enabled=true", "pki.crl_enabled=true", "pki.ocsp_enabled=true"];
    let world = World::up("single-org", &sets);
    let secret = world.secret("tsig", "update", "");
    let ways = [
        ("--http", HERE, String::new()),
        ("--tls", HERE, String::new()),
        (
            "--dns rfc2136",
            "*.acme.corp",
            format!(
                "export RFC2136_NAMESERVER=10.0.0.5:53 RFC2136_TSIG_ALGORITHM=hmac-sha256. RFC2136_TSIG_KEY=update. \
                 RFC2136_TSIG_SECRET={secret} RFC2136_POLLING_INTERVAL=1 RFC2136_PROPAGATION_TIMEOUT=30 RFC2136_TTL=1;"
            ),
        ),
    ];
    for (way, name, environment) in ways {
        let lego = format!(
            "{environment} lego --accept-tos --server {DIRECTORY} --email a@acme.corp --path lego --domains '{name}' {way}"
        );
        let chain = format!("lego/certificates/{}.crt", name.replace('*', "_"));
        let steps = [
            format!("{lego} run"),
            format!("{lego} renew --no-random-sleep --days 9999"),
            format!("{lego} revoke --keep"),
        ];
        get_renew_revoke(&world, name, &chain, [&steps[0], &steps[1], &steps[2]]);
        // Relying parties learn of it, from the addresses in the certificate itself.
        let told = world.says(&format!(
            "csplit -s -z -f part -b %d.pem {chain} '/BEGIN/' '{{*}}'; url=$(openssl x509 -in part0.pem -noout -ocsp_uri); \
             openssl ocsp -issuer part1.pem -cert part0.pem -url $url -CApath /etc/ssl/certs 2>&1"
        ));
        assert!(told.contains("Response verify OK") && told.contains("part0.pem: revoked"), "{told}");
        let refused = world.says(
            "url=$(openssl x509 -in part0.pem -noout -ext crlDistributionPoints | sed -n 's/.*URI://p'); \
             curl -sS $url | openssl crl -inform DER -out part.crl; \
             openssl verify -crl_check -CRLfile part.crl -CApath /etc/ssl/certs -untrusted part1.pem part0.pem 2>&1 || true",
        );
        assert!(refused.contains("certificate revoked"), "{refused}");
        // When to renew (RFC 9773): the window is the last third of its life, and over at once for what is revoked.
        let window = world.says(&format!("python3 -I -c '{ARI}' part0.pem {DIRECTORY}"));
        assert_eq!(window, "past\n");
    }
}

#[test]
fn accounts_are_bound_with_the_key_that_the_owner_is_shown() {
    let world = World::up("minimal", &[]);
    let key = world.secret("acme_eab", "world", "");
    let wrong: String = key.chars().rev().collect();
    let certbot = |key: &str| {
        format!(
            "certbot --config-dir certbot --work-dir certbot/work --logs-dir certbot/logs --server {DIRECTORY} \
             --non-interactive register --agree-tos -m a@platform.internal --eab-kid world --eab-hmac-key={key}"
        )
    };
    let lego = |key: &str| {
        format!(
            "lego --accept-tos --server {DIRECTORY} --email a@platform.internal --path lego --domains {HERE} --http \
             --eab --kid world --hmac={key} run 2>&1"
        )
    };
    let refused = world.attempt(&certbot(&wrong));
    let log = world.says("cat certbot/logs/letsencrypt.log");
    assert!(refused.code != 0 && log.contains("the external account binding is not valid"), "{refused:?} {log}");
    let refused = world.attempt(&lego(&wrong));
    assert!(refused.code != 0 && refused.out.contains("the external account binding is not valid"), "{refused:?}");
    world.says(&certbot(&key));
    world.says("rm -rf lego");
    world.says(&lego(&key));
    let chain = format!("lego/certificates/{HERE}.crt");
    verify(&world, &chain, HERE);
    assert_eq!(listed(&world, &serial(&world, &chain)), ("valid".into(), vec![HERE.to_owned()]));
}

/// certbot 5 renews what the authority's renewal information says (RFC 9773, section 4), and nothing before: it has no other
/// way to learn that a certificate was revoked, for this world has neither OCSP nor revocation lists.
#[test]
fn certbot_renews_when_the_authority_says_so() {
    let world = World::up("minimal", &[]).with_clients();
    let certbot = format!(
        "{CLIENTS}/certbot/bin/certbot --config-dir certbot --work-dir certbot/work --logs-dir certbot/logs --server {DIRECTORY} \
         --non-interactive"
    );
    let names = ["kept", "revoked"];
    let serials = || names.map(|name| serial(&world, &format!("certbot/live/{name}/fullchain.pem")));
    for name in names {
        world.says(&format!(
            "{certbot} certonly --agree-tos -m a@platform.internal --standalone -d {HERE} --cert-name {name}"
        ));
    }
    let before = serials();
    world.says(&format!("{certbot} revoke --no-delete-after-revoke --cert-name revoked"));
    world.says(&format!("rm -f certbot/logs/*; {certbot} renew --no-random-sleep-on-renew"));
    let log = world.says("cat certbot/logs/letsencrypt.log");
    let info = world.says(&format!(
        "curl -sS {DIRECTORY} | python3 -I -c 'import json, sys; print(json.load(sys.stdin)[\"renewalInfo\"])'"
    ));
    assert_eq!(log.matches(&format!("Sending GET request to {}/", info.trim())).count(), 2, "it asked: {log}");
    let after = serials();
    assert_eq!(before[0], after[0], "its window is to come");
    assert_ne!(before[1], after[1], "its window is over");
    assert_eq!(listed(&world, &after[1]), ("valid".into(), vec![HERE.to_owned()]));
    // Those of the library under it and of others say which certificate an order replaces (section 5).
    let told = serde_json::json!({"Renew": {"directory": DIRECTORY, "name": HERE}});
    let said = world.says(&format!("{BIN}/netengine-bench --load '{told}'"));
    let renewed: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    let number = |value: &serde_json::Value| value.as_i64().expect("a number");
    let (start, end) = (number(&renewed["window"][0]), number(&renewed["window"][1]));
    assert!(0 < start && start < end && number(&renewed["again"]) >= 60, "{renewed}");
    assert_eq!(renewed["refused"], "urn:ietf:params:acme:error:alreadyReplaced");
    for one in renewed["serials"].as_array().expect("two") {
        assert_eq!(listed(&world, one.as_str().expect("text")).0, "valid");
    }
}

#[test]
fn dehydrated_gets_renews_and_revokes_by_http_01_and_dns_01() {
    let world = World::up("single-org", &[]);
    let key = world.tsig("update");
    let hook = format!(
        "#!/bin/sh -eu\ncase $1 in\n\
         deploy_challenge) printf 'server 10.0.0.5\\nupdate add _acme-challenge.%s 1 TXT %s\\nsend\\n' \"$2\" \"$4\" | nsupdate -y {key} ;;\n\
         clean_challenge) printf 'server 10.0.0.5\\nupdate delete _acme-challenge.%s TXT\\nsend\\n' \"$2\" | nsupdate -y {key} ;;\n\
         esac\n"
    );
    world.host.file("hook", &hook);
    world.says(&format!(
        "mkdir -p dehydrated www/.well-known/acme-challenge; echo up >www/up; cp {SCRATCH}/hook hook; chmod 700 hook; \
         printf '%s\\n' CA={DIRECTORY} BASEDIR=$HOME/dehydrated WELLKNOWN=$HOME/www/.well-known/acme-challenge KEY_ALGO=secp384r1 \
         >dehydrated.conf"
    ));
    let _web = world.background("exec python3 -m http.server --directory www 80 2>/dev/null");
    until("the web server answers", || world.attempt(&format!("curl -sf http://{HERE}/up")).code, |code| *code == 0);
    let dehydrated = "dehydrated -f dehydrated.conf";
    world.says(&format!("{dehydrated} --register --accept-terms"));
    for (how, name, place) in
        [("-t http-01", HERE, HERE), ("-t dns-01 -k ./hook --alias acme.corp", "*.acme.corp", "acme.corp")]
    {
        get_renew_revoke(
            &world,
            name,
            &format!("dehydrated/certs/{place}/fullchain.pem"),
            [
                &format!("{dehydrated} -c {how} -d '{name}'"),
                &format!("{dehydrated} -c -x {how} -d '{name}'"),
                &format!("{dehydrated} --revoke dehydrated/certs/{place}/cert.pem"),
            ],
        );
    }
}

#[test]
fn uacme_gets_renews_and_revokes_by_http_01() {
    let world = World::up("minimal", &[]);
    let hook = "#!/bin/sh -eu\ncase $1-$2 in\nbegin-http-01) printf %s \"$5\" >$HOME/www/.well-known/acme-challenge/$4 ;;\nbegin-*) exit 1 ;;\nesac\n";
    world.host.file("hook", hook);
    world.says(&format!(
        "mkdir -p www/.well-known/acme-challenge; cp {SCRATCH}/hook hook; chmod +x hook; echo up >www/up"
    ));
    let _web = world.background("exec python3 -m http.server --directory www 80 2>/dev/null");
    until("the web server answers", || world.attempt(&format!("curl -sf http://{HERE}/up")).code, |code| *code == 0);
    let uacme = format!("uacme -a {DIRECTORY} -c uacme -h ./hook -t EC");
    world.says(&format!("{uacme} -y new a@platform.internal"));
    get_renew_revoke(
        &world,
        HERE,
        &format!("uacme/{HERE}/cert.pem"),
        [
            &format!("{uacme} issue {HERE}"),
            &format!("{uacme} -f issue {HERE}"),
            &format!("{uacme} revoke uacme/{HERE}/cert.pem"),
        ],
    );
    // A host proves only what is its own: the challenge is looked for where the name leads.
    let foreign =
        inside(&world.host, ALICE, "minimal", &format!("cd $HOME; {uacme} issue platform.platform.internal 2>&1"));
    assert_ne!(foreign.code, 0, "{foreign:?}");
}

#[test]
fn services_keep_their_certificates_over_a_restart_and_connections_outlive_their_certificates() {
    let world = World::up("minimal", &[]);
    let own = || -> Vec<serde_json::Value> {
        let all = world.certificates();
        all.into_iter().filter(|one| one["account"] == "world").map(|one| one["serial"].clone()).collect()
    };
    let first = own();
    assert!(first.len() >= 5, "{first:?}");
    let arguments = |pid: &nix::unistd::Pid| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let is_worldd = |pid: &nix::unistd::Pid| arguments(pid).split(|byte| *byte == 0).any(|part| part == b"worldd");
    let worldd = || world.host.named(WORLDD).into_iter().find(is_worldd);
    let before = worldd().expect("worldd runs");
    nix::sys::signal::kill(before, nix::sys::signal::Signal::SIGKILL).expect("signalled");
    until("the services are back", || worldd().is_some_and(|now| now != before), |is_back| *is_back);
    until(
        "the world is ready",
        || settled(&world.host, ALICE),
        |settled| settled.as_ref().is_ok_and(|worlds| worlds["minimal"] == "ready"),
    )
    .expect("it is ready");
    assert_eq!(own(), first, "nothing was issued anew");

    let script = world.host.file("kept.py", KEPT);
    let _kept = world.background(&format!("exec python3 -I {script}"));
    let is_there = |file: &str| world.attempt(&format!("test -e {file}")).code;
    until("a connection is kept", || is_there("kept.ready"), |code| *code == 0);
    // Services have other certificates when these are renewed no more: long ones.
    let args = ["up", &format!("{EXAMPLES}/minimal.yaml"), "--set", "pki.rotation_policy.enabled=false"];
    run(&world.host, ALICE, &args).ok();
    until("the connection has outlived its certificate", || is_there("kept.done"), |code| *code == 0);
    // In any order: what was issued within the same second is listed by its serial, which is random.
    let last = own();
    assert!(last.len() > first.len() && first.iter().all(|serial| last.contains(serial)), "{last:?} {first:?}");
}
