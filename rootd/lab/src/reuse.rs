//! A sandbox for several cases: what it takes to be as good as new.
//!
//! Making namespaces and having the kernel take them down costs four times what judging a small ruleset does. A case whose packets cannot leave
//! anything behind but tables and conntrack entries has these removed, and the kernel asked whether any is left; the next case with the same
//! topology runs there. Everything else gets namespaces of its own.

use std::{io, path::Path};

use netengine_lab_proto::{
    CaseAnswer, CaseRequest, Content, InjectedPacket, RulesetText, Topology, Transport, Verdict,
};

use crate::{
    build::{BuildError, Built, build},
    netlink::{Batch, DUMP, Netlink},
    watch::{Barrier, Watch},
};

/// Words of rulesets that have conntrack see every packet, until the kernel has let go of their rules.
const TRACKING: [&str; 8] = ["ct", "dnat", "masquerade", "nat", "notrack", "redirect", "snat", "socket"];

/// Cases that one sandbox is used for at most.
const CASES: u32 = 256;

/// What rulesets say whose state lies outside of tables and conntrack entries, or is not gone with them: a case with one of these words,
/// wherever it stands, is the last in its sandbox.
const LASTING: [&str; 11] =
    ["dup", "expectation", "flowtable", "fwd", "helper", "owner", "persist", "queue", "secmark", "synproxy", "tproxy"];

/// Namespaces with their links, and what is open in them.
#[derive(Debug)]
pub struct Sandbox {
    topology: Topology,
    quiet: bool,
    /// The nodes, in the topology's order.
    pub built: Vec<Built>,
    watch: Option<Watch>,
    /// For removing tables and entries, one for each node.
    cleaners: Vec<Netlink>,
    cases: u32,
}

impl Sandbox {
    /// Builds a topology; `quiet` as in [`build`].
    ///
    /// # Errors
    /// [`BuildError`] with the first thing refused.
    pub fn build(topology: &Topology, settings: &Path, quiet: bool) -> Result<Self, BuildError> {
        let built = build(topology, settings, quiet)?;
        Ok(Self { topology: topology.clone(), quiet, built, watch: None, cleaners: Vec::new(), cases: 0 })
    }

    /// Whether a case may run here: it wants the same network, and does not want one of its own.
    pub fn fits(&self, request: &CaseRequest, quiet: bool) -> bool {
        !request.limits.fresh && self.cases < CASES && self.quiet == quiet && self.topology == request.topology
    }

    /// Whether another case was here before.
    pub fn is_used(&self) -> bool {
        self.cases > 0
    }

    /// The sockets that inject and observe, opened at the first call, and the nodes.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn watch(&mut self, traced: &[bool]) -> io::Result<(&mut Watch, &[Built])> {
        let watch = match self.watch.take() {
            Some(watch) => watch,
            None => Watch::open(&self.topology, &self.built, traced)?,
        };
        Ok((self.watch.insert(watch), &self.built))
    }

    /// Removes what a case left: sockets, tables, conntrack entries; says whether the kernel knows of none any more.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn clean(&mut self, barrier: &mut Barrier) -> io::Result<bool> {
        self.cases += 1;
        if let Some(watch) = &mut self.watch {
            watch.end();
        }
        // A listener that closes resets what half-open connections it has: that is over before the next case begins.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(1);
        if !barrier.pass(deadline)? {
            return Ok(false);
        }
        if self.cleaners.is_empty() {
            for here in &self.built {
                here.enter()?;
                self.cleaners.push(Netlink::requests()?);
            }
        }
        Ok(self.is_empty()? && barrier.pass(deadline)?)
    }

    /// Waits until the kernel has let go of what was removed, conntrack's hooks among it; says whether nothing came meanwhile. The calling thread's namespace
    /// changes.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn rest(&mut self) -> io::Result<bool> {
        for here in &self.built {
            here.enter()?;
            // A netfilter socket that closes waits for what was deleted in its namespace (net/netfilter/nf_tables_api.c, `nft_rcv_nl_event`).
            drop(Netlink::requests()?);
        }
        self.is_empty()
    }

    fn is_empty(&self) -> io::Result<bool> {
        for cleaner in &self.cleaners {
            if !empty(cleaner)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// nfnetlink(7): subsystems, and the messages of theirs used here (linux/netfilter/nfnetlink.h, nf_tables.h, nfnetlink_conntrack.h).
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NF_TABLES: u16 = 10;
const GETTABLE: u16 = NF_TABLES << 8 | 1;
const DELTABLE: u16 = NF_TABLES << 8 | 2;
const CONNTRACK: u16 = 1;
const CT_DELETE: u16 = CONNTRACK << 8 | 2;
const CT_STATS: u16 = CONNTRACK << 8 | 5;
/// `CTA_STATS_GLOBAL_ENTRIES`.
const ENTRIES: u16 = 1;

/// Removes a namespace's tables and conntrack entries; whether none is left.
fn empty(socket: &Netlink) -> io::Result<bool> {
    let any_family = [0; 4];
    let mut tables = Batch::default();
    tables.unanswered(BATCH_BEGIN, &[0, 0, 0, NF_TABLES as u8]);
    // Without a family and a name: every table.
    tables.request(DELTABLE, 0, &any_family);
    tables.unanswered(BATCH_END, &[0, 0, 0, NF_TABLES as u8]);
    socket.transact(&tables).map_err(|(_, error)| error)?;
    if entries(socket)? != 0 {
        let mut all = Batch::default();
        all.request(CT_DELETE, 0, &any_family);
        socket.transact(&all).map_err(|(_, error)| error)?;
        if entries(socket)? != 0 {
            return Ok(false);
        }
    }
    let mut list = Batch::default();
    list.request(GETTABLE, DUMP, &any_family);
    Ok(socket.ask(&list)?.is_none())
}

/// Conntrack entries of a namespace.
fn entries(socket: &Netlink) -> io::Result<u32> {
    let mut stats = Batch::default();
    stats.request(CT_STATS, 0, &[0; 4]);
    let unknown = || io::Error::other("cannot read how many conntrack entries there are");
    let body = socket.ask(&stats)?.ok_or_else(unknown)?;
    let attributes = body.get(4..).ok_or_else(unknown)?;
    netengine_packet::attributes::attributes(attributes)
        .flatten()
        .find(|(kind, _)| *kind == ENTRIES)
        .and_then(|(_, body)| body.try_into().ok())
        .map(u32::from_be_bytes)
        .ok_or_else(unknown)
}

/// Whether nothing of a judged case can be left but what [`Sandbox::clean`] removes: packets between hosts that make no connection, no fragment waiting,
/// no neighbour and no route exception, between nodes that learn nothing, and a ruleset that keeps nothing elsewhere.
pub fn leaves_nothing(request: &CaseRequest, quiet: bool, answer: &CaseAnswer) -> bool {
    let topology = &request.topology;
    let mut texts = texts(request);
    let forwards = topology.nodes.iter().any(|node| node.forward);
    quiet
        && answer.lost_messages == 0
        && answer.packets.iter().all(|p| matches!(p.verdict, Verdict::Accept | Verdict::Drop | Verdict::Reject))
        && topology.nodes.iter().all(|node| node.bridges.is_empty() && node.interfaces.iter().all(|i| i.mtu.is_none()))
        && request.packets.iter().all(|packet| is_plain(packet, topology))
        && !completes(request)
        && !texts.any(|text| keeps(text.as_str(), forwards))
}

/// Whether a ruleset has connections tracked.
pub fn tracks(request: &CaseRequest) -> bool {
    texts(request).any(|text| words(text.as_str()).any(|word| TRACKING.contains(&word)))
}

/// All rulesets of a case.
fn texts(request: &CaseRequest) -> impl Iterator<Item = &RulesetText> {
    let own = request.topology.nodes.iter().filter_map(|node| node.rules.as_ref());
    own.chain([&request.ruleset]).chain(request.beside.iter())
}

/// The words of a ruleset, as far as letters and digits go.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty())
}

/// A packet of fields that hosts send every day, to an address that another node has: then no router tells its sender of a better way, which it does
/// only so often.
fn is_plain(packet: &InjectedPacket, topology: &Topology) -> bool {
    let Content::Typed(spec) = &packet.content else { return false };
    let ordinary = match spec.transport {
        Transport::Tcp { .. } | Transport::Udp { .. } => true,
        Transport::Icmp { kind, .. } => kind == if spec.src.is_ipv4() { 8 } else { 128 },
        Transport::Other { .. } | Transport::Arp { .. } => false,
    };
    let owner = topology.nodes.iter().find(|node| {
        node.interfaces.iter().any(|interface| interface.addresses.iter().any(|net| net.addr() == spec.dst))
    });
    ordinary
        // The silence of a flow's ends stays.
        && packet.flow.is_none()
        && packet.from != topology.tested
        && owner.is_some_and(|node| node.name != packet.from)
        && spec.fragmentation.is_none()
        && spec.vlan.is_none()
        && spec.ip_options.is_empty()
        && spec.extension_headers.is_empty()
        && spec.src_mac.is_none()
        && spec.dst_mac.is_none()
        && spec.payload.len() <= 1_200
}

/// Whether packets may complete a TCP handshake: then a connection may outlive its listener.
fn completes(request: &CaseRequest) -> bool {
    const SYN: u8 = 2;
    const ACK: u8 = 16;
    let flags = || {
        request.packets.iter().filter_map(|packet| match &packet.content {
            Content::Typed(spec) => match spec.transport {
                Transport::Tcp { flags, .. } => Some(flags),
                _ => None,
            },
            Content::Frame(_) => None,
        })
    };
    flags().any(|flags| flags & SYN != 0) && flags().any(|flags| flags & ACK != 0)
}

/// Whether a ruleset may keep state elsewhere, or on a router send packets back to where they came from.
fn keeps(text: &str, forwards: bool) -> bool {
    let returns = || {
        let rewrites = words(text).zip(words(text).skip(1)).any(|pair| pair == ("daddr", "set"));
        rewrites || words(text).any(|word| matches!(word, "dnat" | "redirect"))
    };
    words(text).any(|word| LASTING.contains(&word)) || forwards && returns()
}

#[cfg(test)]
mod tests {
    use super::keeps;

    #[test]
    fn words_that_last_are_found_wherever_they_stand() {
        for text in [
            "dup to 10.0.0.1",
            "ct helper set \"ftp\"",
            "table t { flags owner; }",
            "queue to 3",
            "tcp dport 1 synproxy",
        ] {
            assert!(keeps(text, false), "{text}");
        }
        for text in [
            "tcp dport 22 accept",
            "set s { flags interval; timeout 5s; }",
            "# a duplicate",
            "dnat to 10.0.0.2",
            "ip daddr @set",
        ] {
            assert!(!keeps(text, false), "{text}");
        }
    }

    #[test]
    fn a_router_may_send_packets_back() {
        for text in ["dnat to 10.0.1.1", "redirect to :80", "ip daddr set 10.0.1.1"] {
            assert!(keeps(text, true), "{text}");
        }
        assert!(!keeps("ip daddr 10.0.1.1 masquerade", true));
    }
}
