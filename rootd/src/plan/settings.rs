//! The closed list of per-namespace kernel settings (Documentation/networking/ip-sysctl.rst).

use serde::{Deserialize, Serialize};

/// What may differ between nodes. Everything else is the same everywhere and set when a namespace is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Forward packets, IPv4 and IPv6.
    pub forward: bool,
    /// Unprivileged processes may bind ports below 1024.
    pub low_ports: bool,
}

/// One setting: its place below /proc/sys/net and its value. The places are constants: no caller can name another.
pub type Setting = (&'static str, &'static str);

impl Settings {
    /// What tells this node from others, in the order it is read back.
    fn varying(self) -> [Setting; 3] {
        let forward = if self.forward { "1" } else { "0" };
        [
            ("ipv4/ip_forward", forward),
            ("ipv6/conf/all/forwarding", forward),
            ("ipv4/ip_unprivileged_port_start", if self.low_ports { "0" } else { "1024" }),
        ]
    }

    /// What every namespace of ours gets.
    pub const FIXED: [Setting; 7] = [
        // Addresses are unique by plan; detection would delay each by a second.
        ("ipv6/conf/default/accept_dad", "0"),
        // A world's hosts get their routes from the plan, not from whoever speaks first.
        ("ipv6/conf/default/accept_ra", "0"),
        // Commands have no capability, yet ping is part of any test (icmp(7)).
        ("ipv4/ping_group_range", "0\t2147483647"),
        // A host answers ARP only for addresses of the link that was asked.
        ("ipv4/conf/default/arp_ignore", "1"),
        // Hosts of one network reach each other; only what is routed meets the policy. Where the kernel has bridge
        // netfilter, bridged frames would meet the forward chain too (net/bridge/br_netfilter_hooks.c).
        ("bridge/bridge-nf-call-iptables", "0"),
        ("bridge/bridge-nf-call-ip6tables", "0"),
        ("bridge/bridge-nf-call-arptables", "0"),
    ];

    /// Every setting of a node.
    pub fn all(self) -> impl Iterator<Item = Setting> {
        Self::FIXED.into_iter().chain(self.varying())
    }
}
