//! Rulesets that mean something for the packets of `packets.rs`: their ports, addresses, protocols and interfaces. Nothing in them depends on
//! time (no rates, no timeouts), so two judges that look at different moments must say the same.

use std::fmt::Write as _;

use super::{Gateway, seeds::Seed};

const EVERYWHERE: &[&str] = &[
    "tcp dport 80",
    "tcp dport != 80",
    "tcp dport { 22, 80, 443 }",
    "tcp dport 1000-2000",
    "tcp dport @ports",
    "udp dport 53",
    "udp dport @ports",
    "meta l4proto tcp",
    "meta l4proto udp",
    "meta l4proto { icmp, ipv6-icmp }",
    "meta l4proto { tcp, udp } th dport 80-82",
    "meta length > 50",
    "meta mark 0x1",
    "meta mark & 0x2 == 0x2",
    "ct state new",
    "ct state established,related",
    "ct state invalid",
    "ct state != invalid",
    "tcp flags syn / syn,ack",
    "tcp flags & (fin | rst) != 0x0",
    "tcp sport 12345-12346",
    "ct mark 0x1",
    "ct direction reply",
];
const IPV4: &[&str] = &[
    "ip saddr 10.0.0.0/16",
    "ip saddr { 10.0.1.1, 10.0.0.1 }",
    "ip saddr 10.9.0.0-10.9.255.255",
    "ip daddr 10.0.1.2",
    "ip ttl < 10",
    "ip dscp cs1",
    "ip protocol udp",
    "ip protocol . th dport { tcp . 80, udp . 53 }",
    "ip saddr . tcp dport { 10.0.0.1 . 80, 10.0.1.1 . 80-90 }",
    "icmp type echo-request",
    "ip saddr @met",
];
const IPV6: &[&str] = &[
    "ip6 saddr fd00::/64",
    "ip6 saddr fd00:1::1",
    "ip6 daddr { fd00::2, fd00:2::2 }",
    "ip6 hoplimit < 10",
    "ip6 dscp cs1",
    "ip6 nexthdr tcp",
    "icmpv6 type echo-request",
];
/// What can be asked before there are connections.
const EARLY: &[&str] = &[
    "tcp dport 80",
    "udp dport { 53, 80 }",
    "ip saddr 10.9.9.9",
    "ip6 saddr fd00::/16",
    "ether type ip6",
    "meta l4proto icmp",
    "ip ttl < 10",
    "tcp flags syn / syn,ack",
];
const INCOMING: &[&str] = &["iifname \"eth0\"", "iif \"eth0\"", "iifname != \"eth0\"", "meta pkttype host"];
const OUTGOING: &[&str] = &["oifname \"eth0\"", "oifname != \"eth0\""];
const GATEWAY_HOOKS: &[&str] = &["prerouting", "input", "forward", "forward", "forward", "output", "postrouting"];
const SIMPLE_HOOKS: &[&str] = &["prerouting", "input", "input", "input", "output", "postrouting"];

/// A ruleset of one or two tables, and perhaps one that translates.
pub fn ruleset(seed: &mut Seed, gateway: Gateway) -> String {
    let mut text = String::new();
    for number in 0..=seed.below(2) {
        let family = seed.pick(&["inet", "inet", "ip", "ip6"]);
        table(&mut text, seed, family, number, gateway);
    }
    if seed.once_in(4) {
        ingress(&mut text, seed);
    }
    if seed.once_in(3) {
        translation(&mut text, seed, gateway);
    }
    text
}

fn table(text: &mut String, seed: &mut Seed, family: &str, number: usize, gateway: Gateway) {
    let _ = writeln!(text, "table {family} t{number} {{");
    text.push_str("  set ports { type inet_service; flags interval; elements = { 53, 81-443, 1500 }; }\n");
    text.push_str("  set met { type ipv4_addr; size 100; flags dynamic; }\n");
    let plain = seed.below(3);
    for chain in 0..plain {
        let _ = writeln!(text, "  chain c{chain} {{");
        for _ in 0..=seed.below(3) {
            // A chain goes only to those before it, so there is no loop.
            let rule = rule(seed, family, None, chain);
            let _ = writeln!(text, "    {rule}");
        }
        text.push_str("  }\n");
    }
    for base in 0..=seed.below(2) {
        let hook = seed.pick(if gateway.0 { GATEWAY_HOOKS } else { SIMPLE_HOOKS });
        let priority = seed.pick(&[-350, -150, -10, 0, 10, 150]);
        let policy = seed.pick(&["accept", "accept", "drop"]);
        let _ = writeln!(text, "  chain b{base} {{\n    type filter hook {hook} priority {priority}; policy {policy};");
        for _ in 0..seed.below(5) {
            let rule = rule(seed, family, Some((hook, priority)), plain);
            let _ = writeln!(text, "    {rule}");
        }
        text.push_str("  }\n");
    }
    text.push_str("}\n");
}

/// A rule of a base chain at `hook`, or of a plain one; it may go to the first `plain` plain chains.
fn rule(seed: &mut Seed, family: &str, base: Option<(&str, i32)>, plain: usize) -> String {
    let mut text = String::new();
    for _ in 0..seed.below(3) {
        let held = match (seed.below(6), family, base) {
            (0, "inet" | "ip", _) => IPV4,
            (1, "inet" | "ip6", _) => IPV6,
            (2, _, Some(("prerouting" | "input" | "forward", _))) => INCOMING,
            (3, _, Some(("forward" | "output" | "postrouting", _))) => OUTGOING,
            _ => EVERYWHERE,
        };
        let more = seed.pick(held);
        // A second match of the same field or protocol could only be a contradiction, which nft refuses to load.
        if text.is_empty() || more.starts_with("meta mark") || more.starts_with("ct ") {
            let _ = write!(text, "{more} ");
        }
    }
    if seed.once_in(4) {
        text.push_str("counter ");
    }
    text.push_str(&statement(seed, &text, family, base, plain));
    text
}

fn statement(seed: &mut Seed, matches: &str, family: &str, base: Option<(&str, i32)>, plain: usize) -> String {
    let refusable = matches!(base, Some(("prerouting" | "input" | "forward" | "output", _)));
    match seed.below(16) {
        0..=2 => "accept".to_owned(),
        3 | 4 => "drop".to_owned(),
        5 => "return".to_owned(),
        6 => "meta mark set 0x1".to_owned(),
        7 => "meta mark set meta mark | 0x2".to_owned(),
        8 if plain > 0 => format!("goto c{}", seed.below(plain)),
        9 | 10 if plain > 0 => format!("jump c{}", seed.below(plain)),
        11 if refusable && matches.contains("tcp dport") => "reject with tcp reset".to_owned(),
        11 | 12 if refusable && family == "inet" => "reject with icmpx type admin-prohibited".to_owned(),
        11 | 12 if refusable => "reject".to_owned(),
        12 if matches!(base, Some(("prerouting", -350))) => "notrack".to_owned(),
        13 if matches.is_empty() && plain > 0 => {
            format!("tcp dport vmap {{ 22 : accept, 80 : jump c{}, 81-443 : drop, 1500 : return }}", seed.below(plain))
        }
        13 if matches.is_empty() => "meta l4proto vmap { tcp : accept, udp : drop }".to_owned(),
        14 if matches!(family, "inet" | "ip") && !matches.contains('6') => "add @met { ip saddr }".to_owned(),
        15 => "ct mark set 0x1".to_owned(),
        _ => "accept".to_owned(),
    }
}

fn ingress(text: &mut String, seed: &mut Seed) {
    let policy = seed.pick(&["accept", "accept", "accept", "drop"]);
    let _ = writeln!(
        text,
        "table netdev d {{\n  chain i {{\n    type filter hook ingress device \"eth0\" priority 0; policy {policy};"
    );
    for _ in 0..=seed.below(3) {
        let verdict = seed.pick(&["accept", "drop", "meta mark set 0x1", "counter accept"]);
        let _ = writeln!(text, "    {} {verdict}", seed.pick(EARLY));
    }
    text.push_str("  }\n}\n");
}

fn translation(text: &mut String, seed: &mut Seed, gateway: Gateway) {
    let before = if gateway.0 {
        ["tcp dport 81 dnat to 10.0.2.2:80", "udp dport 53 dnat to 10.0.2.2", "tcp dport 80 redirect to :22"]
    } else {
        ["tcp dport 81 redirect to :80", "udp dport 53 redirect to :1053", "tcp dport 80-82 redirect to :443"]
    };
    let after = ["oifname \"eth1\" masquerade", "udp dport 53 snat to 10.0.2.77", "ip saddr 10.9.9.9 snat to 10.0.2.1"];
    let _ = writeln!(
        text,
        "table ip n {{\n  chain pre {{\n    type nat hook prerouting priority dstnat; policy accept;\n    {}\n    {}\n  }}",
        seed.pick(&before),
        seed.pick(&before)
    );
    if gateway.0 {
        let _ = writeln!(
            text,
            "  chain post {{\n    type nat hook postrouting priority srcnat; policy accept;\n    {}\n  }}",
            seed.pick(&after)
        );
    }
    text.push_str("}\n");
}
