//! uacme (C, GnuTLS).

use super::world::{Difference, World};

const HOOK: &str = r#"#!/bin/sh -eu
case $1-$2 in
begin-http-01) printf %s "$5" > $DIR/www/.well-known/acme-challenge/$4 ;;
begin-dns-01) echo "$5" >> $DIR/txt/_acme-challenge.$3 ;;
begin-*) exit 1 ;;
*-dns-01) rm -f $DIR/txt/_acme-challenge.$3 ;;
esac
"#;

#[test]
fn uacme_gets_renews_and_revokes_and_changes_its_key() {
    let world = World::start(Difference { intermediate: true, ..Difference::default() });
    let hook = world.script("hook", HOOK);
    let uacme = format!("uacme -v -a $SERVER -c $DIR/uacme -h {}", hook.display());
    let _web = world.web_server();
    world.client(&format!("{uacme} -y -t EC new a@acme.test"));
    world.client(&format!("{uacme} -t EC issue www.acme.test mail.acme.test"));
    let file = "uacme/www.acme.test/cert.pem";
    world.verify(file, "mail.acme.test");
    let first = world.serial(file);
    world.client(&format!("{uacme} -t EC -f issue www.acme.test mail.acme.test"));
    let second = world.serial(file);
    assert_ne!(first, second);
    world.client(&format!("{uacme} -t EC newkey"));
    world.client(&format!("{uacme} -t EC issue '*.acme.test'"));
    world.verify("uacme/acme.test/cert.pem", "any.acme.test");
    world.client(&format!("{uacme} revoke {file}"));
    assert!(world.is_revoked(&second) && !world.is_revoked(&first));
    world.client(&format!("{uacme} deactivate"));
}
