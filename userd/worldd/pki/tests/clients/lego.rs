//! lego (Go).

use super::world::{Difference, World};

const LEGO: &str = "lego --accept-tos --server $SERVER --email a@acme.test --path $DIR/lego";

/// Renews only what is needed: `--days 100` makes it needed.
fn get_renew_revoke(world: &World, how: &str, name: &str) {
    world.client(&format!("{LEGO} --domains {name} {how} run"));
    let file = format!("lego/certificates/{}.crt", name.replace('*', "_"));
    let verified = world.verify(&file, &name.replace('*', "any"));
    assert!(verified.contains(&format!("DNS:{name}")), "{verified}");
    let first = world.serial(&file);
    world.client(&format!("{LEGO} --domains {name} {how} renew --no-random-sleep --days 100"));
    let second = world.serial(&file);
    assert_ne!(first, second);
    assert!(!world.is_revoked(&second));
    world.client(&format!("{LEGO} --domains {name} {how} revoke --keep"));
    assert!(world.is_revoked(&second) && !world.is_revoked(&first));
}

#[test]
fn lego_gets_renews_and_revokes_by_http_01() {
    let world = World::start(Difference::default());
    get_renew_revoke(&world, "--http", "www.acme.test");
}

#[test]
fn lego_gets_renews_and_revokes_by_tls_alpn_01_under_an_intermediate() {
    let world = World::start(Difference { intermediate: true, ..Difference::default() });
    get_renew_revoke(&world, "--tls", "www.acme.test");
}

#[test]
fn lego_gets_renews_and_revokes_a_wildcard_by_dns_01() {
    let world = World::start(Difference::default());
    let hook = world.script(
        "hook",
        "#!/bin/sh -eu\nname=${2%.}\ncase $1 in\npresent) echo \"$3\" >> $DIR/txt/$name ;;\ncleanup) rm -f $DIR/txt/$name ;;\nesac\n",
    );
    let how = "--dns exec --dns.disable-cp --dns.resolvers 10.0.0.6:53";
    let prefix = format!("export EXEC_PATH={} EXEC_POLLING_INTERVAL=1 EXEC_PROPAGATION_TIMEOUT=5;", hook.display());
    let world_with_hook = |script: &str| world.client(&format!("{prefix} {script}"));
    world_with_hook(&format!("{LEGO} --domains '*.acme.test' {how} run"));
    let verified = world.verify("lego/certificates/_.acme.test.crt", "any.acme.test");
    assert!(verified.contains("DNS:*.acme.test"), "{verified}");
    world_with_hook(&format!("{LEGO} --domains '*.acme.test' {how} renew --no-random-sleep --days 100"));
    let serial = world.serial("lego/certificates/_.acme.test.crt");
    world_with_hook(&format!("{LEGO} --domains '*.acme.test' {how} revoke --keep"));
    assert!(world.is_revoked(&serial));
}

#[test]
fn lego_is_bound_to_an_external_account() {
    let world = World::start(Difference { external: Some(("blue", vec![7; 32])), ..Difference::default() });
    let refused = world.client_fails(&format!("{LEGO} --domains www.acme.test --http run"));
    assert!(refused.contains("Server requires External Account Binding"), "{refused}");
    let wrong = format!("{LEGO} --eab --kid blue --hmac AAAABwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc");
    let refused = world.client_fails(&format!("{wrong} --domains www.acme.test --http run"));
    assert!(refused.contains("acme:error:unauthorized"), "{refused}");
    // 32 bytes of 7 in base64url.
    let bound = format!("{LEGO} --eab --kid blue --hmac BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc");
    world.client(&format!("{bound} --domains www.acme.test --http run"));
    world.verify("lego/certificates/www.acme.test.crt", "www.acme.test");
}

#[test]
fn lego_is_refused_a_name_outside_the_world() {
    let world = World::start(Difference::default());
    let refused = world.client_fails(&format!("{LEGO} --domains www.example.com --http run"));
    assert!(refused.contains("rejectedIdentifier"), "{refused}");
}
