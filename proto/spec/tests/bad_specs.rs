//! What is wrong with a spec is told at its place, in its words, and all at once.

use netengine_spec::{Diagnostic, Source, Sources, load};

const SECTIONS: [(&str, &str); 13] = [
    ("metadata", "{name: w}"),
    ("substrate", "{gateway: {platform_ip: 172.28.0.1, core_ip: 10.0.0.1}}"),
    ("dns", "{}"),
    ("pki", "{}"),
    ("identity_platform", "{}"),
    ("world_registry", "{}"),
    ("domain_registry", "{}"),
    ("identity_inworld", "{}"),
    ("ands", "{}"),
    ("world_services", "{}"),
    ("org_apps", "{}"),
    ("gateway_portal", "{}"),
    ("operator", "{}"),
];

/// A whole spec that begins with `head`; the sections that `head` does not hold take their defaults.
fn with(head: &str) -> String {
    let mut text = head.to_owned();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    for (section, body) in SECTIONS {
        if !head.lines().any(|line| line.starts_with(&format!("{section}:"))) {
            text.push_str(&format!("{section}: {body}\n"));
        }
    }
    text
}

fn found_in(text: &str) -> Vec<Diagnostic> {
    let base = Source { name: "w.yaml".to_owned(), text: text.to_owned() };
    match load(&Sources { base, overlay: None, sets: Vec::new() }, &|_| None) {
        Ok(loaded) => loaded.warnings,
        Err(found) => found,
    }
}

fn told(found: &[Diagnostic]) -> Vec<String> {
    found
        .iter()
        .map(|found| {
            let help = found.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
            format!("{}:{}: {}{help}", found.line, found.column, found.message)
        })
        .collect()
}

/// Each head with everything that is told about it.
fn assert_told(rows: &[(&str, &[&str])]) {
    for (head, wanted) in rows {
        assert_eq!(told(&found_in(&with(head))), *wanted, "{head}");
    }
}

#[test]
fn the_sound_spec_of_these_tests_has_nothing_to_tell() {
    assert_told(&[("", &[])]);
}

#[test]
fn keys_are_checked() {
    assert_told(&[
        ("dns: {rooot: {}}", &["1:7: unknown key \"rooot\" in `dns` (did you mean `root`?)"]),
        (
            "dns:\n  root:\n    listen-ip: 10.0.0.2",
            &["3:5: unknown key \"listen-ip\" in `root` (did you mean `listen_ip`?)"],
        ),
        ("operator: {zzzzzzzz: 1}", &["1:12: unknown key \"zzzzzzzz\" in `operator` (known keys: api, auth)"]),
        ("\"dns\\n\": {}", &["1:1: unknown key \"dns\\n\" in the spec (did you mean `dns`?)"]),
        ("dns: {}\ndns: {}", &["2:1: the key \"dns\" appears twice in one map (keep one of the two)"]),
        (
            "dns:\n  root: {enabled: true}\n  root: {enabled: false}",
            &["3:3: the key \"root\" appears twice in one map (keep one of the two)"],
        ),
        (
            "dns: {1: x}",
            &[
                "1:7: the key \"1\" is not a text (write it in quotes: \"1\")",
                "1:7: unknown key \"1\" in `dns` (known keys: root, platform_zone, tlds)",
            ],
        ),
        ("dns: {? [a] : x}", &["1:9: a key must be a text"]),
    ]);
}

#[test]
fn types_are_checked() {
    assert_told(&[
        (
            "metadata: {name: w, version: 1.0}",
            &["1:30: `version` must be a text, not the number 1.0 (write it in quotes: \"1.0\")"],
        ),
        ("metadata: {name: 12}", &["1:18: `name` must be a text, not the number 12 (write it in quotes: \"12\")"]),
        (
            "metadata: {name: true}",
            &["1:18: `name` must be a text, not the truth value true (write it in quotes: \"true\")"],
        ),
        (
            "metadata: {name: w, schema_version: netengine.spec.v2}",
            &[
                "1:37: `schema_version`: \"netengine.spec.v2\" is not one of netengine.spec.v1 (did you mean `netengine.spec.v1`?)",
            ],
        ),
        ("dns: []", &["1:6: `dns` must be a map, not a list"]),
        ("dns:", &["1:1: `dns` is empty; it must be a map (write `{}` to take the defaults)"]),
        ("dns: {tlds: corp}", &["1:13: `tlds` must be a list, not the text \"corp\""]),
        ("dns: {tlds: }", &["1:7: `tlds` is empty; it must be a list (write `[]` for none)"]),
        ("dns: {root: {listen_ip: [10.0.0.2]}}", &["1:25: `listen_ip` must be an IPv4 address, not a list"]),
        ("dns: {root: {enabled: 1}}", &["1:23: `enabled` must be true or false, not the number 1"]),
        (
            "pki: {dnssec_ksk_lifetime_days: 1.5}",
            &["1:33: `dnssec_ksk_lifetime_days` must be a whole number, not the number 1.5"],
        ),
        ("pki: {dnssec_ksk_lifetime_days: 0}", &["1:33: `dnssec_ksk_lifetime_days` must be between 1 and 3650, not 0"]),
        ("operator: {api: {port: 65536}}", &["1:24: `port` must be between 1 and 65535, not 65536"]),
        (
            "operator: {api: {port: 99999999999999999999}}",
            &["1:24: `port` must be between 1 and 65535, not 99999999999999999999"],
        ),
        (
            "identity_platform: {oidc_provider: okta}",
            &["1:36: `oidc_provider`: \"okta\" is not one of keycloak, embedded"],
        ),
        (
            "metadata: {name: w, lifecycle: ephemerl}",
            &["1:32: `lifecycle`: \"ephemerl\" is not one of ephemeral, persistent (did you mean `ephemeral`?)"],
        ),
        ("metadata: {name: !!int w}", &["1:24: the tag \"!!int\" is not supported"]),
        ("metadata: {}", &["1:1: `metadata` lacks `name`"]),
        ("substrate: {}", &["1:1: `substrate` lacks `gateway`"]),
        ("dns: {tlds: [{name: corp}]}", &["1:14: entry 0 of `tlds` lacks `listen_ip`"]),
    ]);
}

#[test]
fn missing_sections_are_named_together() {
    let found = found_in("metadata: {name: w}\ndns: {}\n");
    let all = "the spec lacks the sections `substrate`, `pki`, `identity_platform`, `world_registry`, `domain_registry`, \
               `identity_inworld`, `ands`, `world_services`, `org_apps`, `gateway_portal`, `operator` (write `pki: {}` to \
               take the defaults)";
    assert_eq!(told(&found), [format!("1:1: {all}")]);
    assert_eq!(found_in("").len(), 1, "an empty file lacks everything");
    assert_eq!(told(&found_in("42")), ["1:1: the spec must be a map, not the number 42"]);
}

#[test]
fn names_are_checked() {
    let long = "a".repeat(64);
    for (name, why) in [
        ("\"../x\"", "\"../x\" holds '.'; only a-z, 0-9 and '-' are allowed"),
        ("\"a;b\"", "\"a;b\" holds ';'; only a-z, 0-9 and '-' are allowed"),
        ("\"a\\nb\"", "\"a\\nb\" holds '\\n'; only a-z, 0-9 and '-' are allowed"),
        ("\"%d\"", "\"%d\" holds '%'; only a-z, 0-9 and '-' are allowed"),
        ("\"a\\0\"", "\"a\\0\" holds '\\0'; only a-z, 0-9 and '-' are allowed"),
        ("-x", "\"-x\" must begin with a lower-case letter or a digit"),
        ("\"\"", "\"\" is empty"),
        ("W", "\"W\" holds 'W'; only a-z, 0-9 and '-' are allowed"),
        (long.as_str(), &format!("{long:?} is longer than 63 bytes")),
    ] {
        let found = found_in(&with(&format!("metadata: {{name: {name}}}")));
        assert_eq!(told(&found), [format!("1:18: `name`: {why}")]);
    }
    assert_told(&[
        (
            "substrate:\n  gateway: {platform_ip: 172.28.0.1, core_ip: 10.0.0.1}\n  networks:\n    platform: {subnet: 172.28.0.0/16}\n    core: {subnet: 10.0.0.0/24}\n    \"a;b\": {subnet: 10.1.0.0/24}",
            &["6:5: the name \"a;b\" in `networks` holds ';'; only a-z, 0-9 and '-' are allowed"],
        ),
        (
            "world_services: {storage: {buckets: [{name: A_b}]}}",
            &["1:45: `name`: \"A_b\" holds 'A'; only a-z, 0-9, '-' and '.' are allowed"],
        ),
        (
            "metadata: {name: w, organization: \"a\\e[31m\"}",
            &["1:35: `organization`: \"a\\u{1b}[31m\" holds the character U+001B; control characters are not allowed"],
        ),
        (
            "metadata: {name: w, organization: \"\\u202e\"}",
            &["1:35: `organization`: \"\\u{202e}\" holds the character U+202E; control characters are not allowed"],
        ),
        (
            "identity_platform: {admin_user: {email: nobody}}",
            &["1:41: `email`: \"nobody\" is not an e-mail address (name@domain)"],
        ),
    ]);
}

#[test]
fn networks_and_addresses_are_checked() {
    let substrate = |networks: &str| {
        format!(
            "substrate:\n  gateway: {{platform_ip: 172.28.0.1, core_ip: 10.0.0.1}}\n  networks:\n    platform: {{subnet: 172.28.0.0/16}}\n{networks}"
        )
    };
    let rows = [
        (
            "    core: {subnet: 10.0.0.0/33}",
            vec!["5:20: `subnet`: \"10.0.0.0/33\" is not an IPv4 network like 10.0.0.0/24"],
        ),
        (
            "    core: {subnet: 10.0.0.0}",
            vec!["5:20: `subnet`: \"10.0.0.0\" has no prefix length; write it like 10.0.0.0/24"],
        ),
        (
            "    core: {subnet: 10.0.0.7/24}",
            vec!["5:20: `subnet`: \"10.0.0.7/24\" has bits set behind its prefix; the network is 10.0.0.0/24"],
        ),
        (
            "    core: {subnet: \"fd00::/64\"}",
            vec!["5:20: `subnet`: \"fd00::/64\" is an IPv6 network; it belongs into `subnet6`"],
        ),
        (
            "    core: {subnet: 10.0.0.0/24, subnet6: \"fd00::/100\"}",
            vec![
                "5:42: `subnet6`: \"fd00::/100\" has a prefix longer than /96; the low 32 bits hold each host's IPv4 address",
            ],
        ),
        (
            "    core: {subnet: 10.0.0.0/24, subnet6: \"fe80::/64\"}",
            vec![
                "5:42: fe80::/64 cannot be used: fe80::a00:1 is loopback, link-local, multicast, broadcast or unspecified",
            ],
        ),
        (
            "    core: {subnet: 10.0.0.0/24}\n    lab: {subnet: 10.0.0.128/25}",
            vec!["6:19: 10.0.0.128/25 overlaps 10.0.0.0/24 of `substrate.networks.core.subnet`"],
        ),
        (
            "    core: {subnet: 10.0.0.0/24}\n    lab: {subnet: 127.0.0.0/24}",
            vec!["6:19: 127.0.0.0/24: 127.0.0.1 is loopback, link-local, multicast, broadcast or unspecified"],
        ),
        (
            "    core: {subnet: 10.0.0.0/24}\n    lab: {subnet: 10.1.0.0/30}",
            vec!["6:19: 10.1.0.0/30 is too small; a network has a prefix of /8 to /29"],
        ),
        (
            "    core: {subnet: 10.0.0.0/24}\n    lab: {subnet: 10.1.0.0/29, vantage_hosts: 6}",
            vec!["6:19: 10.1.0.0/29 has room for 6 hosts; the router, 0 services and 6 vantage hosts need 7"],
        ),
        (
            "    core: {subnet: 10.0.0.0/24, vantage_hosts: 3}\n    core-3: {subnet: 10.1.0.0/24}",
            vec![
                "5:48: the vantage host `core-3` would have the name of a network or an AND (choose another name, or fewer vantage hosts)",
            ],
        ),
        ("    other: {subnet: 10.0.0.0/24}", vec!["3:3: the network `core` must exist (add `core: {subnet: ...}`)"]),
    ];
    for (networks, wanted) in rows {
        assert_eq!(told(&found_in(&with(&substrate(networks)))), wanted, "{networks}");
    }
    let long = "a".repeat(62);
    let found = found_in(&with(&substrate(&format!(
        "    core: {{subnet: 10.0.0.0/24}}\n    {long}: {{subnet: 10.1.0.0/24, vantage_hosts: 2}}"
    ))));
    assert_eq!(found[0].message, format!("the vantage host `{long}-2` would have a name longer than 63 bytes"));
    let networks = "(the networks are core 10.0.0.0/24, platform 172.28.0.0/16)";
    assert_told(&[
        ("dns: {root: {listen_ip: 10.0.0.300}}", &["1:25: `listen_ip`: \"10.0.0.300\" is not an IPv4 address"]),
        (
            "dns: {root: {listen_ip: \"fd00::1\"}}",
            &["1:25: `listen_ip`: \"fd00::1\" is an IPv6 address; an IPv4 address is needed here"],
        ),
        (
            "dns: {root: {listen_ip: 10.0.9.2}}",
            &[&format!("1:25: 10.0.9.2 lies in no network of the world {networks}")],
        ),
        (
            "dns: {root: {listen_ip: 10.0.0.255}}",
            &["1:25: 10.0.0.255 is the broadcast address of the network `core` (10.0.0.0/24)"],
        ),
        (
            "dns: {root: {listen_ip: 10.0.0.0}}",
            &["1:25: 10.0.0.0 is the network address of the network `core` (10.0.0.0/24)"],
        ),
        (
            "dns: {root: {listen_ip: 10.0.0.1}}",
            &["1:25: 10.0.0.1 is used twice; `substrate.gateway.core_ip` has it too"],
        ),
        (
            "dns: {root: {listen_ip: 10.0.0.6}}",
            &["1:25: 10.0.0.6 is used twice; `pki.acme.listen_ip` has it too (its default)"],
        ),
        (
            "pki: {acme: {listen_ip: 10.0.0.50}}\ndns: {root: {listen_ip: 10.0.0.50}}",
            &["1:25: 10.0.0.50 is used twice; `dns.root.listen_ip` has it too"],
        ),
        (
            "substrate: {gateway: {platform_ip: 10.0.0.9, core_ip: 10.0.0.1}}",
            &[
                "1:36: 10.0.0.9 does not lie in the network `platform` (172.28.0.0/16) (for example 172.28.0.1)",
                "1:36: 10.0.0.9 is used twice; `world_registry.whois.listen_ip` has it too (its default)",
            ],
        ),
        (
            "substrate: {gateway: {platform_ip: 172.28.255.255, core_ip: 10.0.0.1}}",
            &["1:36: 172.28.255.255 is the broadcast address of the network `platform` (172.28.0.0/16)"],
        ),
        (
            "operator: {api: {canonical_name: ca.platform.internal}}",
            &["1:34: the service name `ca.platform.internal` is declared twice; first as `pki.acme.canonical_name`"],
        ),
        ("world_services: {mail: {enabled: off, listen_ip: 10.0.0.2}}", &[]),
        (
            "domain_registry: {address_space: [{cidr: 10.20.0.0/16}, {cidr: 10.20.4.0/24}]}",
            &["1:64: 10.20.4.0/24 overlaps 10.20.0.0/16 of `domain_registry.address_space[0].cidr`"],
        ),
        (
            "domain_registry: {address_space: [{cidr: 10.0.0.0/16}]}",
            &["1:42: 10.0.0.0/16 overlaps 10.0.0.0/24 of `substrate.networks.core.subnet`"],
        ),
    ]);
}

#[test]
fn a_default_address_outside_the_users_network_is_told_at_the_section() {
    let head = "substrate:\n  gateway: {platform_ip: 172.28.0.1, core_ip: 10.9.0.1}\n  networks: {platform: {subnet: 172.28.0.0/16}, core: {subnet: 10.9.0.0/24}}\npki: {acme: {enabled: yes}}";
    let told = told(&found_in(&with(head)));
    let wanted = "4:7: 10.0.0.6, the default of `pki.acme.listen_ip`, lies in no network of the world (the networks are core \
                  10.9.0.0/24, platform 172.28.0.0/16)";
    assert!(told.contains(&wanted.to_owned()), "{told:#?}");
}

#[test]
fn references_are_checked() {
    let orgs = "world_registry: {organizations: [{name: acme, capabilities: [host_services, register_domains]}]}\n";
    let pools = "dns: {tlds: [{name: corp, listen_ip: 10.0.0.5}]}\n";
    let rows: [(&str, &[&str]); 12] = [
        (
            "identity_inworld: {org_users: [{org: acne, users: []}]}",
            &["3:38: the organisation `acne` is not declared (did you mean `acme`?)"],
        ),
        (
            "identity_inworld: {org_users: [{org: zzz}]}",
            &[
                "3:38: the organisation `zzz` is not declared (declare it under `world_registry.organizations`, or use one of acme)",
            ],
        ),
        (
            "identity_inworld: {org_users: [{org: acme, users: [{username: a}, {username: a}]}]}",
            &["3:78: the user `a` is declared twice; first as `identity_inworld.org_users[0].users[0].username`"],
        ),
        (
            "ands: {instances: [{name: hq, org: acme, profile: bussiness}]}",
            &["3:51: the profile `bussiness` is not declared (did you mean `business`?)"],
        ),
        (
            "ands: {instances: [{name: hq, org: acme, profile: business}]}",
            &[
                "3:51: no network is left for this AND in the pools of the profile `business` (append a pool with `label: business-pool` to `domain_registry.address_space`)",
            ],
        ),
        (
            "ands: {bgp_fabric: {enabled: true}}",
            &["3:30: true is not supported: ANDs are joined by the world's router, not by BGP (the default is false)"],
        ),
        (
            "domain_registry: {tld_delegations: [{tld: com, governed_by: acme}]}",
            &["3:43: the top-level domain `com` is not declared (declare it under `dns.tlds`, or use one of corp)"],
        ),
        (
            "domain_registry: {initial_domains: [{domain: a.com, org: acme}]}",
            &["3:46: the top-level domain `com` is not declared (declare it under `dns.tlds`, or use one of corp)"],
        ),
        (
            "domain_registry: {initial_domains: [{domain: com, org: acme}]}",
            &["3:46: `com` has no top-level domain (write `com.TLD`)"],
        ),
        (
            "org_apps: {deployments: [{org: acme, app: gitae, domain: a.corp}]}",
            &[
                "3:32: the organisation `acme` has no AND to deploy on (add one to `ands.instances`)",
                "3:43: the application `gitae` is not declared (did you mean `gitea`?)",
                "3:58: `a.corp` is not registered; the deployment waits until it is (add it to `domain_registry.initial_domains`)",
            ],
        ),
        (
            "gateway_portal: {real_internet: {service_mirrors: [{real_hostname: example.com, in_world_service: 192.0.2.1}]}}",
            &[
                "3:51: service mirrors need the mode `mirrored` (write `mode: mirrored`, or remove the mirrors)",
                "3:99: 192.0.2.1 lies in no network and no address pool of the world",
            ],
        ),
        (
            "gateway_portal: {cross_world: {peers: [{name: b, endpoint: \"world:b\"}]}}",
            &["3:39: peers need a mode (write `mode: peered` or `mode: federated`)"],
        ),
    ];
    for (tail, wanted) in rows {
        assert_eq!(told(&found_in(&with(&format!("{orgs}{pools}{tail}")))), wanted, "{tail}");
    }
    assert_told(&[
        (
            "gateway_portal: {real_internet: {mode: mirrored}}",
            &["1:40: the mode `mirrored` needs service mirrors (add entries to `service_mirrors`)"],
        ),
        (
            "gateway_portal: {real_internet: {mode: shadowed, upstream_resolver_enabled: true}}",
            &["1:77: an upstream resolver needs its address (set `upstream_resolver_ip`)"],
        ),
        (
            "substrate: {runtime: docker, gateway: {platform_ip: 172.28.0.1, core_ip: 10.0.0.1}}",
            &[
                "1:22: \"docker\" is not supported: world services are run by the built-in servers only (the default is \"embedded\")",
            ],
        ),
    ]);
}

#[test]
fn records_are_checked() {
    let domain = |records: &str| {
        let orgs = "world_registry: {organizations: [{name: acme, capabilities: [register_domains]}]}";
        let tlds = "dns: {tlds: [{name: corp, listen_ip: 10.0.0.5}]}";
        with(&format!(
            "{orgs}\n{tlds}\ndomain_registry: {{initial_domains: [{{domain: a.corp, org: acme, records: [\n{records}\n]}}]}}"
        ))
    };
    for sound in [
        "{type: A, value: 10.0.0.5}",
        "{type: AAAA, value: \"fd00::1\"}",
        "{name: www, type: CNAME, value: a.corp.}",
        "{type: MX, value: 10 mail.a.corp}",
        "{name: _imap._tcp, type: SRV, value: 0 1 143 mail.a.corp}",
        "{type: CAA, value: 0 issue \"ca.platform.internal\"}",
        "{type: TXT, value: v=spf1 -all}",
    ] {
        assert_eq!(told(&found_in(&domain(sound))), Vec::<String>::new(), "{sound}");
    }
    for (wrong, wanted) in [
        ("{type: A, value: a.corp}", "4:18: `value`: \"a.corp\" is not an IPv4 address"),
        ("{type: MX, value: mail.a.corp}", "4:19: `value`: \"mail.a.corp\" is not `<preference> <name>`"),
        (
            "{type: SRV, value: 0 1 mail.a.corp}",
            "4:20: `value`: \"0 1 mail.a.corp\" is not `<priority> <weight> <port> <name>`",
        ),
        ("{type: CNAME, value: b.corp}", "4:8: `@` has other records; an alias (CNAME) must be alone"),
        (
            "{name: x, type: CNAME, value: b.corp}, {name: x, type: A, value: 10.0.0.1}",
            "4:17: `x` has other records; an alias (CNAME) must be alone",
        ),
        (
            "{name: \"a b\", type: A, value: 10.0.0.1}",
            "4:8: `name`: \"a b\" holds ' '; only a-z, 0-9, '-', '_' and '.' are allowed",
        ),
        ("{type: LOC, value: x}", "4:8: `type`: \"LOC\" is not one of A, AAAA, CNAME, MX, TXT, NS, SRV, CAA, PTR"),
    ] {
        assert_eq!(told(&found_in(&domain(wrong))), [wanted], "{wrong}");
    }
}

#[test]
fn every_error_of_a_file_is_told_at_once_in_the_order_of_their_places() {
    let head = "metadata: {name: \"a;b\", version: 1.0}
substrate:
  gateway: {platform_ip: 172.28.0.1, core_ip: 10.0.0.1, core_ip: 10.0.0.2}
  networks:
    platform: {subnet: 172.28.0.0/16}
    core: {subnet: 10.0.0.0/24}
    lab: {subnet: 10.0.0.128/25}
    odd: {subnet: 10.1.0.0/99}
dns: {root: {listen_ip: 10.0.9.2}, tldss: []}
pki: {acme: {listen_ip: 10.0.0.7}}
identity_inworld: {org_users: [{org: ghost}]}";
    let places: Vec<String> =
        found_in(&with(head)).iter().map(|found| format!("{}:{} {}", found.line, found.column, found.path)).collect();
    assert_eq!(
        places,
        [
            "1:18 metadata.name",
            "1:34 metadata.version",
            "3:57 substrate.gateway.core_ip",
            "7:19 substrate.networks.lab.subnet",
            "8:19 substrate.networks.odd.subnet",
            "9:36 dns.tldss",
            "10:25 pki.acme.listen_ip",
            "11:38 identity_inworld.org_users[0].org",
        ]
    );
}

#[test]
fn a_finding_is_shown_with_its_line_carets_and_help_and_nothing_a_terminal_obeys() {
    let found = found_in(&with("metadata: {name: w}\ndns:\n  root: {enbled: true}"));
    let wanted = "w.yaml:3:10: error: unknown key \"enbled\" in `root`\n  |\n3 |   root: {enbled: true}\n  |          ^^^^^^\n  help: did you mean `enabled`?";
    assert_eq!(found[0].to_string(), wanted);
    let shown = found_in(&with("dns: {\"\u{202e}x\": 1}"))[0].to_string();
    assert!(!shown.contains('\u{202e}') && shown.contains("\\u{202e}"), "{shown}");
}

#[test]
fn places_are_right_in_files_of_other_systems() {
    let found = found_in(&with("metadata: {name: W}\r\ndns:\r\n  rooot: {}\r"));
    assert_eq!(told(&found)[1], "3:3: unknown key \"rooot\" in `dns` (did you mean `root`?)");
    assert_eq!(found[1].source_line.as_deref(), Some("  rooot: {}"));
    let found = found_in(&with("metadata: {name: W}").replace("metadata", "\u{feff}metadata"));
    assert_eq!((found[0].line, found[0].source_line.as_deref()), (1, Some("metadata: {name: W}")));
    let shown = found[0].to_string();
    let (line, carets) = (shown.lines().nth(2).expect("a line"), shown.lines().nth(3).expect("carets"));
    assert_eq!(line.find("W}"), carets.find('^'), "{shown}");
}

#[test]
fn carets_stand_below_what_is_meant_in_long_and_wide_lines() {
    for (padding, is_shown) in [(10, true), (100, true), (1000, true), (5000, false)] {
        let head = format!(
            "metadata: {{organization: \"{}\", name: \"W!\"}}",
            "é".repeat(padding.min(500)) + &" ".repeat(padding.max(500) - 500)
        );
        let found = found_in(&with(&head));
        let found = found.iter().find(|found| found.path == "metadata.name").expect("the name is wrong");
        let shown = found.to_string();
        assert_eq!(shown.lines().count() > 1, is_shown, "{shown}");
        if is_shown {
            let lines: Vec<Vec<char>> = shown.lines().map(|line| line.chars().collect()).collect();
            let at = lines[3].iter().position(|c| *c == '^').expect("carets");
            assert_eq!(lines[2][at..at + 4], ['"', 'W', '!', '"'], "{shown}");
            assert_eq!(lines[3].iter().filter(|c| **c == '^').count(), 4);
            assert!(lines[2].len() < 200, "{shown}");
        }
    }
}

#[test]
fn ands_are_checked() {
    let head = "world_registry: {organizations: [{name: acme}]}\n\
                domain_registry: {address_space: [{cidr: 10.20.0.0/16, label: business}]}\n";
    let ands = |rest: &str| format!("{head}ands: {{instances: [{{name: hq, org: acme, profile: business}}], {rest}}}");
    let rows: [(String, &[&str]); 9] = [
        (ands("allow: [{from: core, to: hq, proto: tcp, ports: [22, 8000-8010]}, {from: hq, to: platform}]"), &[]),
        (
            ands("allow: [{from: hp, to: core}]"),
            &["3:78: the AND or network `hp` is not declared (did you mean `hq`?)"],
        ),
        (
            ands("allow: [{from: hq, to: hq}]"),
            &["3:86: hosts of `hq` reach each other without the router (leave the rule out)"],
        ),
        (
            ands("allow: [{from: hq, to: core, ports: [1]}]"),
            &["3:99: only tcp and udp have ports (write `proto: tcp` or `proto: udp`, or leave the ports out)"],
        ),
        (
            ands("allow: [{from: hq, to: core, proto: tpc}]"),
            &["3:99: `proto`: \"tpc\" is not one of any, tcp, udp, icmp (did you mean `tcp`?)"],
        ),
        (
            ands("allow: [{from: hq, to: core, proto: udp, ports: [0, 9-8]}]"),
            &[
                "3:112: entry 0 of `ports`: \"0\" is not a port from 1 to 65535, or two like 8000-8010",
                "3:115: entry 1 of `ports`: \"9-8\" has its lower port behind the higher one",
            ],
        ),
        (
            format!("{head}ands: {{instances: [{{name: ca, org: acme, profile: business}}]}}"),
            &["3:27: `ca.platform.internal`, the name of its host, is the name of a service"],
        ),
        (
            format!("{head}ands: {{instances: [{{name: h_q, org: acme, profile: business, dns_suffix: \"a b\"}}]}}"),
            &[
                "3:27: `name`: \"h_q\" holds '_'; only a-z, 0-9 and '-' are allowed",
                "3:74: `dns_suffix`: \"a b\" holds ' '; only a-z, 0-9, '-' and '.' are allowed",
            ],
        ),
        (
            format!("{head}ands: {{instances: [{{name: gateway, org: acme, profile: business, dns_suffix: hq.lan}}]}}"),
            &["3:27: `gateway.hq.lan` is the name of its router"],
        ),
    ];
    for (head, wanted) in &rows {
        assert_told(&[(head, wanted)]);
    }
    let elsewhere = "dns: {tlds: [{name: corp, listen_ip: 10.0.0.5}]}\n\
                     world_registry: {organizations: [{name: acme, capabilities: [register_domains]}]}\n\
                     domain_registry: {address_space: [{cidr: 10.20.0.0/16, label: business}], initial_domains: [\
                     {domain: a.corp, org: acme, records: [{type: NS, value: ns.a.corp}]}]}\n\
                     ands: {instances: [{name: hq, org: acme, profile: business, dns_suffix: hq.a.corp}]}";
    let told = told(&found_in(&with(elsewhere)));
    assert!(
        told.iter()
            .any(|line| line
                .starts_with("4:73: the zone `hq.a.corp` lies in `a.corp`, which has name servers of its own")),
        "{told:#?}"
    );
}

#[test]
fn peers_are_other_worlds_of_this_host() {
    let peered = |peer: &str| format!("gateway_portal: {{cross_world: {{mode: peered, peers: [{peer}]}}}}");
    let told_of = |peer: &str| told(&found_in(&with(&peered(peer))));
    for good in [
        "{name: b, endpoint: \"world:b\"}",
        "{name: b, endpoint: \"world:bob/b\", mode: federated}",
        "{name: w, endpoint: \"world:1001/w\"}",
    ] {
        assert_eq!(told_of(good), [""; 0], "{good}");
    }
    for bad in [
        "b",
        "b.example:8443",
        "https://b.example/",
        "world:",
        "world:b/",
        "world:/b",
        "world:a/b/c",
        "world:B",
        "world:bob /b",
        "world:b\\nx",
        "world:{b}",
        "world:../b",
        "world:$b/b",
        "world:%d",
        "world:-x/b",
    ] {
        let found = told_of(&format!("{{name: b, endpoint: \"{bad}\"}}"));
        let is_told = found.iter().any(|one| one.contains("names no world of this host; write `world:NAME`"));
        assert!(is_told && found.len() == 1, "{bad}: {found:?}");
    }
    for (bad, wanted) in [
        ("{name: \"b\\nc\", endpoint: \"world:b\"}", "holds '\\n'"),
        ("{name: \"b{c}\", endpoint: \"world:b\"}", "holds '{'"),
        ("{name: c, endpoint: \"world:b\"}", "the endpoint leads to the world `b`, not to `c`"),
        ("{name: w, endpoint: \"world:w\"}", "cannot be its own peer"),
        ("{name: b, endpoint: \"world:b\", mode: friends}", "\"friends\""),
        ("{name: b, endpoint: \"world:b\"}, {name: b, endpoint: \"world:b\"}", "the peer `b` is declared twice"),
        ("{name: b, endpoint: \"world:b\", trust_anchor_cert: garbage}", "is not a certificate in PEM form"),
        (
            "{name: b, endpoint: \"world:b\", trust_anchor_cert: \"-----BEGIN CERTIFICATE-----\\nZ{}\\n-----END CERTIFICATE-----\"}",
            "is not a certificate in PEM form",
        ),
        (
            "{name: b, endpoint: \"world:b\", trust_anchor_cert: \"-----BEGIN CERTIFICATE-----\\nAAAA\\n-----END CERTIFICATE-----\"}",
            "is not a certificate in PEM form",
        ),
    ] {
        let found = told_of(bad);
        assert!(found.iter().any(|one| one.contains(wanted)), "{bad}: {found:?}");
    }
    let many = (0..17).map(|n| format!("{{name: b{n}, endpoint: \"world:b{n}\"}}")).collect::<Vec<_>>().join(", ");
    assert!(told_of(&many).iter().any(|one| one.contains("at most 16 peers")));
}
