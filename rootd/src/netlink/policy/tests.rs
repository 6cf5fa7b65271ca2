//! Promises of the model, and what the kernel makes of it.

use std::process::Command;

use netengine_proto::{
    bounded::Bounded,
    ids::WorldId,
    net::{IfName, Mac},
    plan::{
        AllowRule, DomainPolicy, FlowKind, ForwardPair, InputPort, Policy, PortRange, UplinkPolicy, UplinkPort,
        UplinkRule,
    },
};

use netlink_packet_netfilter::nftables::{NfTablesMessage, RuleAttribute, RuleMessage};

use super::{
    Held, NodePolicy, Port, TableState, compare_with, delete, delta::Delta, held::generation, replace, table_name,
};
use crate::{
    netlink::socket::{Netlink, NetlinkError},
    sys::netns,
};

/// errno(3): a transaction's generation is over (net/netfilter/nfnetlink.c, `nfnetlink_rcv_batch`).
const ERESTART: i32 = 85;
const WORLD: WorldId = WorldId::from_bytes([0xab; 8]);

fn bounded<T, const MAX: usize>(entries: Vec<T>) -> Bounded<T, MAX> {
    Bounded::new(entries).unwrap_or_else(|_| panic!("few entries"))
}

fn link(n: u16) -> IfName {
    IfName::numbered("br", n)
}

fn domain(n: u16, opens: bool, admits: bool, masquerades: bool) -> DomainPolicy {
    DomainPolicy { link: link(n), opens, admits, masquerades, flows: 100 }
}

fn port(number: u16) -> netengine_proto::net::Port {
    number.try_into().expect("not zero")
}

/// Every kind of rule that an uplink has.
fn uplink() -> UplinkPolicy {
    let net = |text: &str| text.parse::<ipnet::IpNet>().expect("a network");
    let range = |first, last| bounded(vec![PortRange { first: port(first), last: port(last) }]);
    let tcp = netengine_proto::net::Transport::Tcp;
    let rule = |kind, from: Option<&str>, to: Option<&str>| UplinkRule { kind, from: from.map(net), to: to.map(net) };
    let out = vec![
        rule(FlowKind::Any, Some("10.0.0.0/24"), None),
        rule(FlowKind::Icmp, None, None),
        rule(FlowKind::Icmp, None, Some("192.0.2.0/24")),
        rule(FlowKind::Icmp, Some("fd00::/64"), None),
        rule(FlowKind::Ports(tcp, range(80, 80)), None, Some("192.0.2.7/32")),
        rule(FlowKind::Ports(tcp, range(8000, 8080)), Some("fd00::/64"), Some("2001:db8::/32")),
    ];
    let led = |host, number, from: Option<&str>| UplinkPort {
        host: port(host),
        port: port(number),
        to: [10, 0, 0, 2].into(),
        from: from.map(|text| text.parse().expect("a network")),
    };
    UplinkPolicy {
        link: IfName::numbered("up", 0),
        out: bounded(out),
        ports: bounded(vec![led(20_080, 80, None), led(20_022, 22, Some("198.51.100.0/24"))]),
        resolver: Some([192, 0, 2, 53].into()),
    }
}

/// Two networks of the substrate and `domains` domains of four kinds, a host on each.
fn policy(domains: u16) -> NodePolicy {
    let kinds = [(true, false, true), (true, true, false), (true, true, false), (false, false, false)];
    let domain = |n: u16| {
        let (opens, admits, masquerades) = kinds[usize::from(n) % kinds.len()];
        domain(n + 2, opens, admits, masquerades)
    };
    let ports = |first, last| {
        FlowKind::Ports(
            netengine_proto::net::Transport::Tcp,
            bounded(vec![PortRange { first: port(first), last: port(last) }]),
        )
    };
    let allow = [FlowKind::Any, FlowKind::Icmp, ports(22, 22), ports(8000, 8080)];
    let pair = |from, to| ForwardPair { from: link(from), to: link(to) };
    let udp = netengine_proto::net::Transport::Udp;
    let policy = Policy {
        input: bounded([53, 67, 123].map(|n| InputPort { transport: udp, port: port(n) }).into()),
        forward: bounded(vec![pair(0, 1), pair(1, 0)]),
        domains: bounded((0..domains).map(domain).collect()),
        allow: bounded(allow.map(|kind| AllowRule { from: link(0), to: link(2), kind }).into()),
        uplink: Some(uplink()),
    };
    let ports = (0..domains + 2).map(|n| {
        let [high, low] = n.to_be_bytes();
        Port {
            name: IfName::numbered("p", n),
            mac: Mac::local([2, 0, 0, 0, high, low]),
            addresses: vec![[10, high, low, 2].into(), [0xfd00, n, 0, 0, 0, 0, 0, 2].into()],
        }
    });
    NodePolicy { policy, ports: ports.collect() }
}

/// Runs in a thread with a network namespace of its own.
fn in_namespace<T: Send>(work: impl FnOnce(&mut Netlink) -> T + Send) -> T {
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("root makes a namespace");
            work(&mut Netlink::new(netns::netlink(netns::Netlink::Netfilter).expect("a socket")))
        });
        inside.join().expect("no panic inside")
    })
}

fn nft(arguments: &[&str]) -> String {
    let output = Command::new("nft").args(arguments).output().expect("nft starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Replaces; a refusal names the message.
fn put(socket: &mut Netlink, policy: &NodePolicy) {
    if let Err(error) = replace(socket, WORLD, policy) {
        let NetlinkError::Refused(refused) = error else { panic!("{error}") };
        let batch = super::encode::transaction(&table_name(WORLD), &policy.tables());
        panic!("{refused}: {:?}", batch[refused.index]);
    }
}

#[test]
fn the_kernel_holds_what_the_model_says() {
    in_namespace(|socket| {
        assert_eq!(compare_with(socket, WORLD, None).expect("reads"), TableState::Absent);
        for domains in [0, 1, 8] {
            let policy = policy(domains);
            put(socket, &policy);
            assert_eq!(compare_with(socket, WORLD, Some(&policy)).expect("reads"), TableState::Equal, "{domains}");
        }
        assert_eq!(compare_with(socket, WORLD, None).expect("reads"), TableState::Differs);
        delete(socket, WORLD).expect("deletes");
        assert_eq!(compare_with(socket, WORLD, None).expect("reads"), TableState::Absent);
    });
}

#[test]
fn a_listing_that_is_saved_loads_again_and_says_the_same() {
    in_namespace(|socket| {
        let policy = policy(8);
        put(socket, &policy);
        let saved = nft(&["list", "ruleset"]);
        let file = tempfile::NamedTempFile::new().expect("made");
        std::fs::write(&file, &saved).expect("written");
        nft(&["flush", "ruleset"]);
        assert_eq!(compare_with(socket, WORLD, Some(&policy)).expect("reads"), TableState::Absent);
        nft(&["--file", file.path().to_str().expect("a path")]);
        assert_eq!(nft(&["list", "ruleset"]), saved);
    });
}

#[test]
fn whatever_somebody_changes_in_a_table_is_a_difference() {
    let name = table_name(WORLD);
    let changes = [
        "add rule inet T forward accept",
        "insert rule inet T forward accept",
        "insert rule bridge T from_ip accept",
        "add rule inet T in_nebr2 accept",
        "flush chain inet T in_nebr2",
        "flush chain bridge T from_arp",
        "add chain inet T other",
        "add chain inet T late { type filter hook forward priority 10; }",
        "chain inet T forward { policy accept; }",
        "add set inet T other { type ipv4_addr; }",
        "add element inet T domains { \"nebr1\" }",
        "delete element inet T masquerades { \"nebr2\" }",
        "delete element inet T enter { \"nebr3\" : accept }",
        "delete element bridge T macs { \"nep1\" . 02:00:00:00:00:01 }",
        "delete table bridge T",
        "delete table inet T",
    ];
    in_namespace(|socket| {
        let policy = policy(8);
        for change in changes {
            put(socket, &policy);
            let change = change.replace(" T ", &format!(" {name} ")).replace(" T", &format!(" {name}"));
            nft(&[&change]);
            assert_eq!(compare_with(socket, WORLD, Some(&policy)).expect("reads"), TableState::Differs, "{change}");
        }
    });
}

/// Every expression of nf_tables that any policy can become, by name and attribute types.
fn emitted(policy: &NodePolicy) -> std::collections::BTreeSet<String> {
    use netlink_packet_core::{NetlinkSerializable, NlaBuffer, NlasIterator};
    let mut found = std::collections::BTreeSet::new();
    for table in policy.tables() {
        for rule in table.chains.iter().flat_map(|chain| &chain.rules) {
            for expression in super::encode::expressions(rule) {
                let message = super::encode::message(
                    table.family,
                    NfTablesMessage::NewRule(RuleMessage {
                        attributes: vec![RuleAttribute::Expressions(vec![expression])],
                    }),
                    0,
                );
                let netlink_packet_core::NetlinkPayload::InnerMessage(inner) = message.payload else { unreachable!() };
                let mut bytes = vec![0; inner.buffer_len()];
                inner.serialize(&mut bytes);
                // The header of nfnetlink, the list, its element: then name and data of the expression.
                let inside = |bytes: &[u8]| -> Vec<(u16, Vec<u8>)> {
                    NlasIterator::new(bytes)
                        .map(|nla| nla.expect("well formed"))
                        .map(|nla: NlaBuffer<&[u8]>| (nla.kind() & 0x3fff, nla.value().to_vec()))
                        .collect()
                };
                let list = inside(&bytes[4..]);
                let element = inside(&list[0].1);
                let parts = inside(&element[0].1);
                let name = String::from_utf8_lossy(&parts[0].1).trim_end_matches('\0').to_owned();
                let kinds: Vec<_> = parts.get(1).map(|part| inside(&part.1)).unwrap_or_default();
                let mut kinds: Vec<_> = kinds.into_iter().map(|(kind, _)| kind.to_string()).collect();
                kinds.sort();
                found.insert(format!("{name} {}", kinds.join(",")));
            }
        }
    }
    found
}

// Row 39: the list of all that the kernel's parser of expressions is ever given.
#[test]
fn the_kernel_is_told_a_closed_list_of_expressions() {
    let list = [
        "bitwise 1,2,3,4,5,6",
        "cmp 1,2,3",
        "connlimit 1,2",
        "counter ",
        "ct 1,2",
        "fib 1,2,3",
        "immediate 1,2",
        "lookup 1,2,3,5",
        "lookup 1,2,5",
        "masq ",
        "meta 1,2",
        "meta 2,3",
        "nat 1,2,3,4,7",
        "payload 1,2,3,4",
    ];
    let found = emitted(&policy(8));
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), list);
}

#[test]
fn rules_are_told_with_their_handles_in_words() {
    in_namespace(|socket| {
        let policy = policy(2);
        put(socket, &policy);
        let rules = super::rules(socket, WORLD, &policy).expect("reads");
        assert!(rules.iter().all(|rule| rule.text.is_some()), "{rules:?}");
        let enter = rules.iter().find(|rule| rule.text.as_deref() == Some("oifname vmap @enter")).expect("there");
        let listing = nft(&["--handle", "list", "chain", "inet", &table_name(WORLD), "forward"]);
        assert!(listing.contains(&format!("oifname vmap @enter # handle {}\n", enter.handle)), "{listing}");
        nft(&["insert", "rule", "inet", &table_name(WORLD), "in_nebr2", "accept"]);
        let rules = super::rules(socket, WORLD, &policy).expect("reads");
        let chain: Vec<_> = rules.iter().filter(|rule| rule.chain == "in_nebr2").map(|rule| &rule.text).collect();
        assert_eq!(chain, [&None, &None]);
    });
}

// Row 37: two chains, a few elements and rules for each domain, whatever their number.
#[test]
fn five_hundred_domains_are_replaced_in_one_transaction() {
    let size = |domains: u16| {
        let tables = policy(domains).tables();
        let sets: usize = tables.iter().flat_map(|table| &table.sets).map(|set| set.elements.len()).sum();
        let rules: usize = tables.iter().flat_map(|table| &table.chains).map(|chain| chain.rules.len()).sum();
        sets + rules
    };
    // As many of each kind in both halves.
    assert_eq!(size(496) - size(248), size(248) - size(0));
    in_namespace(|socket| {
        let (fewer, policy) = (policy(499), policy(500));
        put(socket, &policy);
        for wanted in [&fewer, &policy] {
            let begun = std::time::Instant::now();
            put(socket, wanted);
            let replaced = begun.elapsed();
            assert_eq!(compare_with(socket, WORLD, Some(wanted)).expect("reads"), TableState::Equal);
            println!("replaced in {replaced:?}, compared in {:?}", begun.elapsed() - replaced);
        }
    });
}

/// The handles of the rules that every router has.
fn handles(socket: &mut Netlink, policy: &NodePolicy) -> Vec<u64> {
    let rules = super::rules(socket, WORLD, policy).expect("reads").into_iter();
    rules.filter(|rule| rule.chain == "forward").map(|rule| rule.handle).collect()
}

#[test]
fn what_is_known_is_changed_where_it_differs_and_nowhere_else() {
    in_namespace(|socket| {
        let mut held = Held::default();
        let mut differs = policy(8);
        let mut domains = differs.policy.domains.into_inner();
        domains[3].admits = true;
        domains[4].flows = 7;
        differs.policy.domains = bounded(domains);
        held.put(socket, WORLD, &policy(8)).expect("put");
        assert_eq!(held.compare(socket, WORLD, Some(&policy(8))).expect("reads"), TableState::Equal);
        let before = handles(socket, &policy(8));
        for wanted in [policy(9), policy(12), differs, policy(8), policy(6), policy(6)] {
            assert_eq!(held.compare(socket, WORLD, Some(&policy(1))).expect("reads"), TableState::Differs);
            held.put(socket, WORLD, &wanted).expect("put");
            assert_eq!(held.compare(socket, WORLD, Some(&wanted)).expect("reads"), TableState::Equal);
            assert_eq!(compare_with(socket, WORLD, Some(&wanted)).expect("reads"), TableState::Equal, "all of it");
            assert_eq!(handles(socket, &wanted), before, "the rules of all were not touched");
        }
    });
}

#[test]
fn what_somebody_else_changes_is_seen_and_never_changed_upon() {
    let name = table_name(WORLD);
    let foreign = [
        "insert rule inet T forward accept",
        "add element inet T domains { \"nebr1\" }",
        "delete element bridge T macs { \"nep1\" . 02:00:00:00:00:01 }",
        "flush chain inet T in_nebr2",
        "delete table inet T",
    ];
    in_namespace(|socket| {
        let mut held = Held::default();
        for change in foreign {
            for known in [policy(8), policy(9)] {
                held.put(socket, WORLD, &known).expect("put");
                assert_eq!(held.compare(socket, WORLD, Some(&known)).expect("reads"), TableState::Equal);
            }
            nft(&[&change.replace(" T", &format!(" {name}"))]);
            let mut looked = Held::default();
            assert_eq!(looked.compare(socket, WORLD, Some(&policy(9))).expect("reads"), TableState::Differs);
            // Who has not looked since is refused the change and says all of it.
            held.put(socket, WORLD, &policy(10)).expect("put");
            assert_eq!(compare_with(socket, WORLD, Some(&policy(10))).expect("reads"), TableState::Equal, "{change}");
            assert_eq!(held.compare(socket, WORLD, Some(&policy(10))).expect("reads"), TableState::Equal);
            nft(&[&change.replace(" T", &format!(" {name}"))]);
            assert_eq!(held.compare(socket, WORLD, Some(&policy(10))).expect("reads"), TableState::Differs, "{change}");
        }
    });
}

#[test]
fn a_set_that_is_full_is_made_anew() {
    in_namespace(|socket| {
        let mut held = Held::default();
        for domains in [20, 24, 28, 32, 36, 48, 64, 80] {
            held.put(socket, WORLD, &policy(domains)).expect("put");
            assert_eq!(held.compare(socket, WORLD, Some(&policy(domains))).expect("reads"), TableState::Equal);
            assert_eq!(compare_with(socket, WORLD, Some(&policy(domains))).expect("reads"), TableState::Equal);
        }
    });
}

#[test]
fn a_change_of_what_was_read_before_another_changed_it_is_refused_as_a_whole() {
    in_namespace(|socket| {
        let (old, new, name) = (policy(8), policy(9), table_name(WORLD));
        let (before, after) = (old.tables(), new.tables());
        let deltas: Option<Vec<_>> = before.iter().zip(&after).map(|(old, new)| Delta::between(old, new)).collect();
        let deltas = deltas.expect("a small change");
        put(socket, &old);
        let read_at = generation(socket).expect("reads");
        nft(&["add", "table", "inet", "foreign"]);
        let refused = socket.transaction(super::encode::change(&name, read_at, &deltas));
        assert!(matches!(refused, Err(NetlinkError::Refused(refused)) if refused.errno == ERESTART), "{refused:?}");
        assert_eq!(compare_with(socket, WORLD, Some(&old)).expect("reads"), TableState::Equal);
        let now = generation(socket).expect("reads");
        socket.transaction(super::encode::change(&name, now, &deltas)).expect("nobody came between");
        assert_eq!(compare_with(socket, WORLD, Some(&new)).expect("reads"), TableState::Equal);
    });
}
