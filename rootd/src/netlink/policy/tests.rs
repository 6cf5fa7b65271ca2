//! Promises of the model, and what the kernel makes of it.

use std::process::Command;

use netengine_proto::{
    bounded::Bounded,
    ids::WorldId,
    net::{IfName, Mac},
    plan::{AllowRule, DomainPolicy, FlowKind, ForwardPair, InputPort, Policy, PortRange},
};

use super::{NodePolicy, Port, TableState, compare_with, delete, replace, table_name};
use crate::{
    netlink::socket::{Netlink, NetlinkError},
    sys::netns,
};

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
        let file = std::env::temp_dir().join(format!("netengine-policy-{}.nft", std::process::id()));
        std::fs::write(&file, &saved).expect("written");
        nft(&["flush", "ruleset"]);
        assert_eq!(compare_with(socket, WORLD, Some(&policy)).expect("reads"), TableState::Absent);
        nft(&["--file", file.to_str().expect("a path")]);
        std::fs::remove_file(&file).expect("removed");
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
            // A set made anew, because one of a fixed size takes no more.
            put(socket, &policy);
            let change = change.replace(" T ", &format!(" {name} ")).replace(" T", &format!(" {name}"));
            let output = Command::new("nft").arg(&change).output().expect("nft starts");
            if !output.status.success() {
                assert!(change.contains("domains"), "{change}: {}", String::from_utf8_lossy(&output.stderr));
                continue;
            }
            assert_eq!(compare_with(socket, WORLD, Some(&policy)).expect("reads"), TableState::Differs, "{change}");
        }
    });
}
