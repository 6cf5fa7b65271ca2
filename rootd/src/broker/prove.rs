//! Proving flows: real packets from vantage hosts, and what the kernel did with them.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    time::{SystemTime, UNIX_EPOCH},
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
/// finds nobody (net.ipv4.ip_local_port_range begins at 32768). The one before the first is the sentinels'.
const PORTS: (u16, u64) = (20_000, 12_000);
/// Each batch begins a further port after this, milliseconds. All ports are through after 192 s; the kernel keeps what a probe began
/// for 120 s at most (net.netfilter.nf_conntrack_tcp_timeout_syn_sent, and of UDP's `timeout_stream`).
const PORT_MS: u64 = 16;

/// Source ports and echo identifiers, one for each batch, and further ones where it has a flow more than once: of a flow that was tried before, the kernel may still hold the connection, and
/// would let its next packet pass as a part of it, whatever the policy says of new ones by now.
#[derive(Debug, Default)]
pub struct Runs {
    last: u64,
}

impl Runs {
    /// The number of the first of `count` ports at `now_ms`, milliseconds since 1970: so a new broker does not take what the one
    /// before it took. A batch waits for the closing of its sockets, which takes most of [`PORT_MS`].
    fn take(&mut self, now_ms: u64, count: u64) -> u64 {
        let first = (now_ms / PORT_MS).max(self.last + 1);
        self.last = first + count.saturating_sub(1);
        first
    }
}

/// The port with this number.
fn port(number: u64) -> u16 {
    PORTS.0 + (number % PORTS.1) as u16
}

/// For each flow, how many equal ones are before it: they must not be one connection either.
fn repeated(flows: &[FlowProbe]) -> Vec<u64> {
    let mut known = HashMap::new();
    let before = flows.iter().map(|flow| {
        // Whoever sends it, the kernel tells connections apart by what is on the wire.
        let count = known.entry((flow.source, flow.to, flow.kind)).or_insert(0);
        *count += 1;
        *count - 1
    });
    before.collect()
}

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
        let router = held.nodes.get(&Node::Gateway).ok_or(RootError::NotFound)?;
        let gateway = plan.nodes.iter().find(|node| node.node == Node::Gateway).ok_or(RootError::NotFound)?;
        let mut runs = self.workers.proving.lock().await;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ports = repeated(flows).into_iter().max().map_or(1, |most| most + 1);
        let first_port = runs.take(u64::try_from(now.as_millis()).unwrap_or(0), ports);
        let batch = batch(plan, flows, u16::from_ne_bytes(random()), first_port)?;
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
fn batch(plan: &NetworkPlan, flows: &[FlowProbe], first_nonce: u16, first_port: u64) -> Result<Batch, RootError> {
    let mut batch = Batch { links: Vec::new(), ears: Vec::new(), shots: Vec::new(), places: Vec::new() };
    let mut known = BTreeMap::new();
    let mut nonce = Nonce::new(first_nonce).unwrap_or(Nonce::FIRST);
    let mut routes = BTreeMap::new();
    // Where frames that leave the world arrive.
    let uplink = plan.cables.iter().flat_map(|cable| [&cable.a, &cable.b]).find(|end| end.node == Node::Uplink);
    let uplink = uplink.map(|end| path::Place { node: &end.node, link: &end.name, mac: end.mac });
    for (probe, repeated) in flows.iter().zip(repeated(flows)) {
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
        let frame = match probe.kind {
            ProbeKind::Claim(said) => {
                let stranger = path::stranger(plan, probe.source).unwrap_or(probe.to);
                let setting = Setting { ether, own: probe.source, router: probe.to, stranger };
                claim(said, setting, nonce).ok_or(RootError::Refused)?
            }
            kind => {
                flow(probe.source, probe.to, kind, port(first_port + repeated), ether, nonce).ok_or_else(too_long)?
            }
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
        let frame = flow(source, to, ProbeKind::Icmp, PORTS.0 - 1, ether, nonce).ok_or_else(too_long)?;
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

#[cfg(test)]
mod tests {
    use netengine_packet::read;
    use netengine_proto::net::Port;

    use super::*;

    /// How long the kernel may keep a connection that a probe began (`PORT_MS`), milliseconds.
    const KEPT_MS: u64 = 120_000;

    #[test]
    fn no_batch_takes_a_port_whose_connections_may_be_held_still() {
        // Batches as fast as they can be, as a mutation test makes them; then a new broker, which knows nothing of the one before.
        for (pace, restart) in [(13, None), (250, None), (40, Some(500)), (5_000, Some(7))] {
            let (mut runs, mut now, mut taken) = (Runs::default(), 123_456, HashMap::new());
            for number in 0..15_000 {
                if Some(number) == restart {
                    runs = Runs::default();
                }
                let port = port(runs.take(now, 1));
                assert!((PORTS.0..32_000).contains(&port), "{port}");
                let before: Option<u64> = taken.insert(port, now);
                assert!(before.is_none_or(|before| now - before > KEPT_MS), "{port} at {before:?} and {now}");
                now += pace;
            }
        }
    }

    #[test]
    fn a_batch_has_its_port_and_the_same_flow_again_the_next_and_sentinels_have_theirs() {
        let plan = crate::plan::tests::plan(2);
        let (source, to) = ([10, 0, 0, 2].into(), [10, 0, 0, 3].into());
        let from = path::owner(&plan, source).expect("a host").node.clone();
        let probe = |kind| FlowProbe { from: from.clone(), source, to, kind };
        let kinds = [ProbeKind::Icmp, ProbeKind::Udp(Port::new(9).expect("a port")), ProbeKind::Icmp];
        let batch = batch(&plan, &kinds.map(probe), 1, PORTS.1 - 1).expect("a batch");
        let port = |shot: &Shot| {
            let packet = read::frame_packet(&shot.frame).expect("a packet");
            // An echo's identifier follows type, code and checksum behind a header of 20 bytes (RFC 792).
            let echo = || u16::from_be_bytes(shot.frame[14 + 20 + 4..][..2].try_into().expect("two bytes"));
            (shot.sentinel, packet.transport.ports().map_or_else(echo, |(source, _)| source))
        };
        let ports: Vec<_> = batch.shots.iter().map(port).collect();
        let last = PORTS.0 + PORTS.1 as u16 - 1;
        assert_eq!(ports, [(false, last), (false, last), (false, PORTS.0), (true, PORTS.0 - 1)]);
    }
}
