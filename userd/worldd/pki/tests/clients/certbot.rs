//! certbot (Python).

use super::world::{Difference, World};

const CERTBOT: &str = "$CERTBOT --config-dir $DIR/certbot --work-dir $DIR/certbot-work --logs-dir $DIR/certbot-logs \
                       --server $SERVER --non-interactive";
const NEW: &str = "certonly --agree-tos -m a@acme.test";

#[test]
fn certbot_gets_renews_and_revokes_by_http_01() {
    let world = World::start(Difference::default());
    world.client(&format!("{CERTBOT} {NEW} --standalone -d www.acme.test -d mail.acme.test"));
    let file = "certbot/live/www.acme.test/fullchain.pem";
    let verified = world.verify(file, "mail.acme.test");
    assert!(verified.contains("DNS:mail.acme.test, DNS:www.acme.test"), "{verified}");
    let first = world.serial(file);
    world.client(&format!("{CERTBOT} renew --no-random-sleep-on-renew --force-renewal"));
    let second = world.serial(file);
    assert_ne!(first, second);
    world
        .client(&format!("{CERTBOT} revoke --cert-name www.acme.test --reason keycompromise --no-delete-after-revoke"));
    assert!(world.is_revoked(&second) && !world.is_revoked(&first));
    world.client(&format!("{CERTBOT} update_account -m b@acme.test"));
    world.client(&format!("{CERTBOT} unregister"));
}

#[test]
fn certbot_gets_a_wildcard_by_dns_01_and_revokes_by_its_key() {
    let world = World::start(Difference { intermediate: true, ..Difference::default() });
    let put =
        world.script("put", "#!/bin/sh -eu\necho $CERTBOT_VALIDATION >> $DIR/txt/_acme-challenge.$CERTBOT_DOMAIN\n");
    let remove = world.script("remove", "#!/bin/sh -eu\nrm -f $DIR/txt/_acme-challenge.$CERTBOT_DOMAIN\n");
    let hooks = format!("--manual-auth-hook {} --manual-cleanup-hook {}", put.display(), remove.display());
    world.client(&format!(
        "{CERTBOT} {NEW} --manual --preferred-challenges dns {hooks} -d acme.test -d '*.acme.test' --key-type rsa"
    ));
    let file = "certbot/live/acme.test/fullchain.pem";
    let verified = world.verify(file, "any.acme.test");
    assert!(verified.contains("Key Encipherment"), "{verified}");
    let serial = world.serial(file);
    world.client(&format!(
        "{CERTBOT} revoke --cert-path {file} --key-path certbot/live/acme.test/privkey.pem --no-delete-after-revoke"
    ));
    assert!(world.is_revoked(&serial));
}
