//! Proving flows: real packets from vantage hosts, and what the kernel did with them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use netengine_lab_proto::{PacketSpec, Transport};
use netengine_packet::{
    build::{Ether, frames},
    nonce::Nonce,
    read,
};
use netengine_proto::{
    bounded::Bounded,
    limits,
    net::IfName,
    plan::{NetworkPlan, Node},
    root::{FlowProbe, FlowSeen, FlowVerdict, Operation, ProbeKind, RootError},
};

use super::state::{Broker, HeldWorld, World, random};
use crate::{
    netlink::policy::{NodePolicy, table_name, trace},
    plan::path,
    sys::{fds::MAX_FDS, packet::DSCP},
    worker::{
        message::{NetRequest, NsRequest, ProbeBatch, ProbeRequest, RuleName},
        probe_judge::{Shot, ShotSeen, Tables},
    },
};

/// First source port and echo identifier, and how many there are: what programs do not use by themselves, so that an answer
/// finds nobody (net.ipv4.ip_local_port_range begins at 32768).
const PORTS: (u16, u16) = (20_000, 12_000);

/// A batch before it is sent.
struct Batch {
    links: Vec<(Node, IfName)>,
    macs: Vec<[u8; 6]>,
    shots: Vec<Shot>,
    /// For each flow its place among the shots that are no sentinels, or why there is none.
    places: Vec<Result<usize, &'static str>>,
}

impl Broker {
    /// Sends one packet for each flow and reports what was seen. Nothing of the world's is changed but for a table that has
    /// these packets traced, which is removed again; after a crash the next start removes it.
    ///
    /// # Errors
    /// [`RootError::NotFound`] for a host that the world does not have, [`RootError::Refused`] for a source that is not the
    /// host's own or of another family than the destination, or no single destination.
    pub async fn prove_flows(
        &self,
        world: &World,
        held: &HeldWorld,
        flows: &[FlowProbe],
    ) -> Result<Vec<FlowSeen>, RootError> {
        let Some((_, plan)) = &held.plan else { return Err(RootError::NotFound) };
        let batch = batch(plan, flows, u16::from_ne_bytes(random()), u16::from_ne_bytes(random()))?;
        let router = held.nodes.get(&Node::Gateway).ok_or(RootError::NotFound)?;
        let gateway = plan.nodes.iter().find(|node| node.node == Node::Gateway).ok_or(RootError::NotFound)?;
        let _one = self.workers.proving.lock().await;
        let rules = match NodePolicy::of(plan, gateway) {
            Some(policy) => {
                let request = NetRequest::Rules { slot: router.slot, world: world.id, policy };
                self.workers.rules(&request).await?
            }
            None => Vec::new(),
        };
        self.send_links(held, &batch.links).await?;
        let traces = self.workers.open_proof(&router.ns, NsRequest::Traces).await?;
        let tables = Tables { policy: table_name(world.id), trace: trace::name(world.id) };
        let Batch { links, macs, shots, places } = batch;
        let time_ms = u32::try_from(limits::FLOW_PROBE_TIME.as_millis()).unwrap_or(u32::MAX);
        let sent: Vec<_> = shots.iter().filter(|shot| !shot.sentinel).map(|shot| shot.frame.clone()).collect();
        let request = ProbeRequest::Run(ProbeBatch { tables: tables.clone(), macs, shots, time_ms });
        self.workers.net(&NetRequest::Trace { slot: router.slot, world: world.id, on: true }, &[]).await?;
        let seen = self.workers.probe(&request, &[traces]).await;
        self.workers.net(&NetRequest::Trace { slot: router.slot, world: world.id, on: false }, &[]).await?;
        let seen = seen?;
        let names: HashMap<_, _> = rules.into_iter().map(|RuleName { handle, text }| (handle, text)).collect();
        let report = |place: Result<usize, &'static str>| match place {
            Err(why) => FlowSeen { doubt: why.into(), ..FlowSeen::default() },
            Ok(place) => match (seen.get(place), sent.get(place)) {
                (Some(seen), Some(sent)) => told(seen, sent, &tables, &names, &links),
                _ => FlowSeen { doubt: "the probe worker did not tell of it".into(), ..FlowSeen::default() },
            },
        };
        Ok(places.into_iter().map(report).collect())
    }

    async fn send_links(&self, held: &HeldWorld, links: &[(Node, IfName)]) -> Result<(), RootError> {
        for part in links.chunks(MAX_FDS) {
            let mut sockets = Vec::new();
            for (node, link) in part {
                let node = held.nodes.get(node).ok_or(RootError::NotFound)?;
                sockets.push(self.workers.open_proof(&node.ns, NsRequest::Frames(link.clone())).await?);
            }
            self.workers.probe(&ProbeRequest::Links, &sockets).await?;
        }
        Ok(())
    }
}

fn told(
    seen: &ShotSeen,
    sent: &[u8],
    tables: &Tables,
    names: &HashMap<u64, String>,
    links: &[(Node, IfName)],
) -> FlowSeen {
    let verdict = seen.verdict.as_ref().map(|verdict| {
        let word = if verdict.accepted { "accept" } else { "drop" };
        let rule = match verdict.rule {
            None => format!("policy {word}"),
            Some(handle) if verdict.table == tables.policy => {
                names.get(&handle).cloned().unwrap_or_else(|| format!("handle {handle}, which is not the policy's"))
            }
            Some(handle) => format!("handle {handle} of table {}, which is not the world's", verdict.table),
        };
        FlowVerdict { accepted: verdict.accepted, chain: verdict.chain.clone(), rule }
    });
    let delivered = seen.arrived.as_ref().and_then(|(link, frame)| {
        let (node, _) = links.get(usize::from(*link))?;
        Some((node.clone(), read::frame_packet(frame)?.src))
    });
    let arrived = seen.arrived.as_ref().map(|(_, frame)| frame.clone()).unwrap_or_default();
    FlowSeen { verdict, delivered, doubt: seen.doubt.clone(), sent: sent.to_vec(), arrived }
}

/// What is sent for these flows, links first used first.
fn batch(plan: &NetworkPlan, flows: &[FlowProbe], first_nonce: u16, first_port: u16) -> Result<Batch, RootError> {
    let mut batch = Batch { links: Vec::new(), macs: Vec::new(), shots: Vec::new(), places: Vec::new() };
    let mut by_link = BTreeMap::new();
    let mut nonce = Nonce::new(first_nonce).unwrap_or(Nonce::FIRST);
    let mut routes = BTreeMap::new();
    for (number, flow) in flows.iter().enumerate() {
        let sender = sender(plan, flow)?;
        let mut place_of = |place: path::Place<'_>| -> u16 {
            let links = &mut batch.links;
            let macs = &mut batch.macs;
            *by_link.entry((place.node.clone(), place.link.clone())).or_insert_with(|| {
                links.push((place.node.clone(), place.link.clone()));
                macs.push(place.mac.octets());
                u16::try_from(links.len() - 1).unwrap_or(u16::MAX)
            })
        };
        let link = place_of(sender);
        let target = path::owner(plan, flow.to);
        // The router sees every frame of its links, let through or not: its own trace tells what it takes.
        let receiver = target.filter(|place| *place.node != Node::Gateway);
        if let Some(receiver) = receiver {
            place_of(receiver);
        }
        let Some(hop) = path::next_hop(plan, &flow.from, flow.source, flow.to) else {
            batch.places.push(Err("nobody has this address on the sender's own network"));
            continue;
        };
        let ether = Ether { src: sender.mac.octets(), dst: hop.octets() };
        let port = PORTS.0 + (u32::from(first_port) + number as u32).rem_euclid(PORTS.1.into()) as u16;
        let frame = frame(flow.source, flow.to, flow.kind, port, ether, nonce)?;
        let arrives = receiver.is_some();
        let shot = Shot { link, frame, nonce: nonce.number(), to: flow.to, arrives, sentinel: false };
        batch.places.push(Ok(batch.shots.len()));
        batch.shots.push(shot);
        nonce = nonce.next();
        routes.entry((link, flow.source.is_ipv4())).or_insert((flow.from.clone(), flow.source, sender.mac));
    }
    for ((link, _), (host, source, mac)) in routes {
        let Some(to) = path::router(plan, &host, source) else { continue };
        let Some(hop) = path::next_hop(plan, &host, source, to) else { continue };
        let ether = Ether { src: mac.octets(), dst: hop.octets() };
        let frame = frame(source, to, ProbeKind::Icmp, PORTS.0, ether, nonce)?;
        batch.shots.push(Shot { link, frame, nonce: nonce.number(), to, arrives: false, sentinel: true });
        nonce = nonce.next();
    }
    Ok(batch)
}

/// The link that a flow is sent by, once the flow is one that may be.
fn sender<'a>(plan: &'a NetworkPlan, flow: &FlowProbe) -> Result<path::Place<'a>, RootError> {
    let hosts: BTreeSet<_> = plan.nodes.iter().map(|node| &node.node).collect();
    if !hosts.contains(&Node::Host(flow.from.clone())) {
        return Err(RootError::NotFound);
    }
    let single = !flow.to.is_multicast() && !flow.to.is_unspecified() && !flow.to.is_loopback();
    let broadcast = matches!(flow.to, IpAddr::V4(v4) if v4.is_broadcast());
    if flow.source.is_ipv4() != flow.to.is_ipv4() || !single || broadcast {
        return Err(RootError::Refused);
    }
    path::sender(plan, &flow.from, flow.source).ok_or(RootError::Refused)
}

fn frame(
    src: IpAddr,
    dst: IpAddr,
    kind: ProbeKind,
    port: u16,
    ether: Ether,
    nonce: Nonce,
) -> Result<Vec<u8>, RootError> {
    const SYN: u8 = 2;
    let transport = match kind {
        ProbeKind::Tcp(to) => Transport::Tcp {
            src_port: port,
            dst_port: to.get(),
            flags: SYN,
            seq: None,
            ack: None,
            window: None,
            options: Default::default(),
        },
        ProbeKind::Udp(to) => Transport::Udp { src_port: port, dst_port: to.get() },
        // Echo requests (RFC 792, RFC 4443).
        ProbeKind::Icmp => {
            let [high, low] = port.to_be_bytes();
            Transport::Icmp { kind: if src.is_ipv4() { 8 } else { 128 }, code: 0, rest: Some([high, low, 0, 1]) }
        }
    };
    let packet = PacketSpec {
        src,
        dst,
        transport,
        payload: Default::default(),
        ttl: None,
        dscp: DSCP,
        ecn: 0,
        dont_fragment: false,
        mark: None,
        vlan: None,
        fragmentation: None,
        ip_options: Default::default(),
        extension_headers: Bounded::default(),
        src_mac: None,
        dst_mac: None,
    };
    let built = frames(&packet, ether, nonce).ok().and_then(|mut frames| frames.pop());
    let refused = || RootError::Kernel {
        operation: Operation::ProveFlows,
        object: "a packet".into(),
        errno: nix::libc::EMSGSIZE,
    };
    built.ok_or_else(refused)
}
