//! What is registered in a world, as the whois program, an RDAP library and the registrar's users see it.

mod judge;
mod world;

use netengine_tests::{ALICE, EXAMPLES};
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
fn addresses_of_domains_lead_to_the_domain_and_its_organisation() {
    let world = World::up("dev-sandbox", &[]);
    for (address, and, organisation, network) in
        [("10.20.0.254", "acme-hq", "acme-corp", "10.20.0.0/24"), ("10.30.0.7", "bob-lan", "bob-home", "10.30.0.0/24")]
    {
        let said = world.says_at("bob-lan", &format!("{WHOIS} {address}"));
        let line = |key: &str, value: &str| {
            let found = said.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
            assert_eq!(found.map(str::trim), Some(value), "{key}: {said}");
        };
        line("CIDR", network);
        line("NetName", and);
        line("Organization", organisation);
        let rdap = world.says(&format!("curl -sS https://domainreg.platform.internal/rdap/ip/{address}"));
        let rdap: serde_json::Value = serde_json::from_str(&rdap).expect("JSON");
        assert_eq!((&rdap["name"], &rdap["handle"]), (&json!(and), &json!(network)), "{rdap:#}");
        assert_eq!(rdap["entities"][0]["handle"], json!(organisation), "{rdap:#}");
    }
    // An address of the pool that no domain has is the pool's, and one that was given back says so.
    assert!(world.says(&format!("{WHOIS} 10.20.9.9")).contains("10.20.0.0/16"));
    let example = format!("{EXAMPLES}/dev-sandbox.yaml");
    let less = "ands.instances=[{name: bob-lan, org: bob-home, profile: residential, dns_suffix: lan.bob.home}]";
    judge::run(&world.host, ALICE, &["up", &example, "--set", less]).ok();
    let said = world.says(&format!("{WHOIS} 10.20.0.254"));
    assert!(said.contains("acme-hq") && said.contains("Released:"), "{said}");
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
