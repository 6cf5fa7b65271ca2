//! dehydrated (shell, curl, openssl).

use super::world::{Difference, World};

fn configured(world: &World) -> String {
    std::fs::write(
        world.path("dehydrated.conf"),
        "CA=$SERVER\nBASEDIR=$DIR/dehydrated\nWELLKNOWN=$DIR/www/.well-known/acme-challenge\nHOOK=$DIR/hook\nKEY_ALGO=secp384r1\n",
    )
    .expect("a file");
    world.script(
        "hook",
        "#!/bin/sh -eu\ncase $1 in\ndeploy_challenge) echo \"$4\" >> $DIR/txt/_acme-challenge.$2 ;;\nclean_challenge) rm -f $DIR/txt/_acme-challenge.$2 ;;\nesac\n",
    );
    std::fs::create_dir_all(world.path("dehydrated")).expect("a directory");
    world.client("dehydrated -f dehydrated.conf --register --accept-terms");
    "dehydrated -f dehydrated.conf".to_owned()
}

fn get_renew_revoke(world: &World, dehydrated: &str, how: &str, name: &str) {
    let dir = name.trim_start_matches("*.");
    let alias = if dir == name { String::new() } else { format!("--alias {dir}") };
    world.client(&format!("{dehydrated} -c {how} -d '{name}' {alias}"));
    let file = format!("dehydrated/certs/{dir}/fullchain.pem");
    let verified = world.verify(&file, &name.replace('*', "any"));
    assert!(verified.contains(&format!("DNS:{name}")), "{verified}");
    let first = world.serial(&file);
    world.client(&format!("{dehydrated} -c -x {how} -d '{name}' {alias}"));
    let second = world.serial(&file);
    assert_ne!(first, second);
    world.client(&format!("{dehydrated} --revoke dehydrated/certs/{dir}/cert.pem"));
    assert!(world.is_revoked(&second));
}

#[test]
fn dehydrated_gets_renews_and_revokes_by_http_01() {
    let world = World::start(Difference::default());
    let dehydrated = configured(&world);
    let _web = world.web_server();
    get_renew_revoke(&world, &dehydrated, "-t http-01", "shop.acme.test");
}

#[test]
fn dehydrated_gets_renews_and_revokes_by_dns_01_and_deactivates_its_account() {
    let world = World::start(Difference::default());
    let dehydrated = configured(&world);
    get_renew_revoke(&world, &dehydrated, "-t dns-01", "*.acme.test");
    world.client(&format!("{dehydrated} --account"));
}
