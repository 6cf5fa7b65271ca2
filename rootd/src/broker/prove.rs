//! Proving flows: real packets from vantage hosts, and what the kernel did with them.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use netengine_packet::{build::Ether, nonce::Nonce, read};
use netengine_proto::{
    limits,
    net::IfName,
    plan::{NetworkPlan, Node},
    root::{FlowProbe, FlowSeen, FlowVerdict, Operation, ProbeKind, RootError},
};

use super::{
    prove_frames::{Setting, claim, flow},
    state::{Broker, HeldWorld, World, random},
};
use crate::{
    netlink::policy::{NodePolicy, table_name, trace},
    plan::path,
    sys::fds::MAX_FDS,
    worker::{
        message::{NetRequest, NsRequest, ProbeBatch, ProbeRequest, RuleName},
        probe_judge::{Ear, Shot, ShotSeen, Tables, Way},
    },
};

/// First source port and echo identifier, and how many there are: what programs do not use by themselves, so that an answer
/// finds nobody (net.ipv4.ip_local_port_range begins at 32768).
const PORTS: (u16, u16) = (20_000, 12_000);

/// A batch before it is sent.
struct Batch {
    links: Vec<(Node, IfName)>,
    ears: Vec<Ear>,
    shots: Vec<Shot>,
    /// For each flow its place among the shots that are no sentinels, or why there is none.
    places: Vec<Result<usize, &'static str>>,
}

impl Broker {
    /// Sends one packet for each flow and reports what was seen. Nothing of the world's is changed but for tables that have
    /// these packets traced, which are removed again; after a crash the next start removes them.
    ///
    /// # Errors
    /// [`RootError::NotFound`] for a node that the world does not have, [`RootError::Refused`] for a source that is not the
    /// node's own or of another family than the destination, no single destination, or a claim to another than the router.
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
        let traces = self.workers.open_in(&router.ns, NsRequest::Traces).await?;
        let tables = Tables { policy: table_name(world.id), trace: trace::name(world.id) };
        let Batch { links, ears, shots, places } = batch;
        let time_ms = u32::try_from(limits::FLOW_PROBE_TIME.as_millis()).unwrap_or(u32::MAX);
        let sent: Vec<_> = shots.iter().filter(|shot| !shot.sentinel).map(|shot| shot.frame.clone()).collect();
        let request = ProbeRequest::Run(ProbeBatch { tables: tables.clone(), ears, shots, time_ms });
        self.workers.net(&NetRequest::Trace { slot: router.slot, world: world.id, on: true }, &[]).await?;
        let seen = self.workers.probe(&request, &[traces]).await;
        self.workers.net(&NetRequest::Trace { slot: router.slot, world: world.id, on: false }, &[]).await?;
        let seen = seen?;
        let names: HashMap<_, _> =
            rules.into_iter().map(|RuleName { bridge, handle, text }| ((bridge, handle), text)).collect();
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
                sockets.push(self.workers.open_in(&node.ns, NsRequest::Frames(link.clone())).await?);
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
    names: &HashMap<(bool, u64), String>,
    links: &[(Node, IfName)],
) -> FlowSeen {
    let verdict = seen.verdict.as_ref().map(|verdict| {
        let word = if verdict.accepted { "accept" } else { "drop" };
        let rule = match verdict.rule {
            None => format!("policy {word}"),
            Some(handle) if verdict.table == tables.policy => {
                let name = names.get(&(verdict.bridge, handle)).cloned();
                name.unwrap_or_else(|| format!("handle {handle}, which is not the policy's"))
            }
            Some(handle) => format!("handle {handle} of table {}, which is not the world's", verdict.table),
        };
        let chain = if verdict.bridge { format!("bridge {}", verdict.chain) } else { verdict.chain.clone() };
        FlowVerdict { accepted: verdict.accepted, chain, rule }
    });
    let unrouted = || FlowVerdict { accepted: false, chain: "routing".into(), rule: "no route".into() };
    let verdict = if seen.is_unrouted { Some(unrouted()) } else { verdict };
    let delivered = seen.arrived.as_ref().and_then(|(link, frame)| {
        let (node, _) = links.get(usize::from(*link))?;
        let source = read::frame_packet(frame).map(|packet| packet.src);
        // ARP (RFC 826): the sender's protocol address.
        let of_arp = || Some(IpAddr::from(<[u8; 4]>::try_from(frame.get(28..32)?).ok()?));
        Some((node.clone(), source.or_else(of_arp)?))
    });
    let arrived = seen.arrived.as_ref().map(|(_, frame)| frame.clone()).unwrap_or_default();
    FlowSeen { verdict, delivered, doubt: seen.doubt.clone(), sent: sent.to_vec(), arrived }
}

impl Batch {
    /// The place of a link among those of the batch.
    fn link(&mut self, known: &mut BTreeMap<(Node, IfName), u16>, place: path::Place<'_>) -> u16 {
        *known.entry((place.node.clone(), place.link.clone())).or_insert_with(|| {
            self.links.push((place.node.clone(), place.link.clone()));
            self.ears.push(Ear { mac: place.mac.octets(), is_router: *place.node == Node::Gateway });
            u16::try_from(self.links.len() - 1).unwrap_or(u16::MAX)
        })
    }
}

/// What is sent for these flows, links first used first.
fn batch(plan: &NetworkPlan, flows: &[FlowProbe], first_nonce: u16, first_port: u16) -> Result<Batch, RootError> {
    let mut batch = Batch { links: Vec::new(), ears: Vec::new(), shots: Vec::new(), places: Vec::new() };
    let mut known = BTreeMap::new();
    let mut nonce = Nonce::new(first_nonce).unwrap_or(Nonce::FIRST);
    let mut routes = BTreeMap::new();
    // Where frames that leave the world arrive.
    let uplink = plan.cables.iter().flat_map(|cable| [&cable.a, &cable.b]).find(|end| end.node == Node::Uplink);
    let uplink = uplink.map(|end| path::Place { node: &end.node, link: &end.name, mac: end.mac });
    for (number, probe) in flows.iter().enumerate() {
        let sender = sender(plan, probe)?;
        let link = batch.link(&mut known, sender);
        let owner = path::owner(plan, probe.to);
        let Some(hop) = path::next_hop(plan, &probe.from, probe.source, probe.to) else {
            batch.places.push(Err("nobody has this address on the sender's own network"));
            continue;
        };
        let way = match (probe.kind, hop.is_direct) {
            (ProbeKind::Claim(_), _) => Way::Claim,
            (_, true) => Way::Bridged,
            (_, false) => Way::Routed,
        };
        let receiver = match way {
            Way::Claim => owner,
            // The router sees every frame of its links, let through or not: its own trace tells what it takes.
            _ => owner.filter(|place| *place.node != Node::Gateway),
        };
        if let Some(receiver) = receiver.or(uplink.filter(|_| owner.is_none())) {
            batch.link(&mut known, receiver);
        }
        let ether = Ether { src: sender.mac.octets(), dst: hop.mac.octets() };
        let port = PORTS.0 + (u32::from(first_port) + number as u32).rem_euclid(PORTS.1.into()) as u16;
        let frame = match probe.kind {
            ProbeKind::Claim(said) => {
                let stranger = path::stranger(plan, probe.source).unwrap_or(probe.to);
                let setting = Setting { ether, own: probe.source, router: probe.to, stranger };
                claim(said, setting, nonce).ok_or(RootError::Refused)?
            }
            kind => flow(probe.source, probe.to, kind, port, ether, nonce).ok_or_else(too_long)?,
        };
        let arrives = receiver.is_some();
        let shot = Shot { link, frame, nonce: nonce.number(), to: probe.to, way, arrives, sentinel: false };
        batch.places.push(Ok(batch.shots.len()));
        batch.shots.push(shot);
        nonce = nonce.next();
        routes.entry((link, probe.source.is_ipv4())).or_insert((probe.from.clone(), probe.source, sender.mac));
    }
    for ((link, _), (node, source, mac)) in routes {
        let Some(to) = path::router(plan, &node, source) else { continue };
        let Some(hop) = path::next_hop(plan, &node, source, to) else { continue };
        let ether = Ether { src: mac.octets(), dst: hop.mac.octets() };
        let frame = flow(source, to, ProbeKind::Icmp, PORTS.0, ether, nonce).ok_or_else(too_long)?;
        let (nonce_of, way) = (nonce.number(), Way::Routed);
        batch.shots.push(Shot { link, frame, nonce: nonce_of, to, way, arrives: false, sentinel: true });
        nonce = nonce.next();
    }
    Ok(batch)
}

fn too_long() -> RootError {
    let (operation, errno) = (Operation::ProveFlows, nix::libc::EMSGSIZE);
    RootError::Kernel { operation, object: "a packet".into(), errno }
}

/// The link that a flow is sent by, once the flow is one that may be.
fn sender<'a>(plan: &'a NetworkPlan, probe: &FlowProbe) -> Result<path::Place<'a>, RootError> {
    if !matches!(probe.from, Node::Host(_) | Node::Services) {
        return Err(RootError::Refused);
    }
    if plan.nodes.iter().all(|node| node.node != probe.from) {
        return Err(RootError::NotFound);
    }
    let single = !probe.to.is_multicast() && !probe.to.is_unspecified() && !probe.to.is_loopback();
    let broadcast = matches!(probe.to, IpAddr::V4(v4) if v4.is_broadcast());
    if probe.source.is_ipv4() != probe.to.is_ipv4() || !single || broadcast {
        return Err(RootError::Refused);
    }
    let is_to_router = path::router(plan, &probe.from, probe.source) == Some(probe.to);
    if matches!(probe.kind, ProbeKind::Claim(_)) && !is_to_router {
        return Err(RootError::Refused);
    }
    path::sender(plan, &probe.from, probe.source).ok_or(RootError::Refused)
}
