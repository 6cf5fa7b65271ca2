//! What is registered in a world, as the whois program, an RDAP library and the registrar's users see it.

mod judge;
mod world;

use serde_json::json;
use world::{CLIENTS, PYTHON, World};

const WHOIS: &str = "whois -h whois.platform.internal";

#[test]
fn whois_tells_domains_organisations_and_addresses_and_says_no_match() {
    let world = World::up("single-org", &[]);
    let domain = world.says(&format!("{WHOIS} acme.corp"));
    assert!(domain.to_ascii_lowercase().contains("acme.corp") && domain.contains("acme-corp"), "{domain}");
    let organization = world.says(&format!("{WHOIS} acme-corp"));
    assert!(
        organization.contains("acme-corp") && organization.contains("The only company of this world"),
        "{organization}"
    );
    let address = world.says(&format!("{WHOIS} 10.20.0.1"));
    assert!(address.contains("10.20.0.0/16"), "{address}");
    for unknown in ["nothing.corp", "nobody-at-all", "192.0.2.1"] {
        let said = world.attempt(&format!("{WHOIS} {unknown}")).out;
        assert!(said.contains("No match") && !said.contains("acme"), "{unknown}: {said}");
    }
}

#[test]
fn an_rdap_library_reads_the_registry_by_the_worlds_bootstrap_files() {
    let world = World::up("single-org", &[]).with_clients();
    let told = json!({
        "bootstrap": "https://domainreg.platform.internal/rdap/",
        "domain": "acme.corp", "nameserver": "ns.corp", "organization": "acme-corp",
        "network": "10.20.0.0/16", "address": "10.20.0.1",
    });
    let ran = world.attempt(&format!("{PYTHON} {CLIENTS}/rdap_world.py '{told}'"));
    assert!(ran.code == 0 && ran.out.ends_with("all done\n"), "{ran:#?}");
}
