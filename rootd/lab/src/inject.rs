//! Sending and observing: windows of packets, flows packet by packet.

use std::{
    net::IpAddr,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use netengine_lab_proto::{
    CaseRequest, CaseResult, Content, Flow, Fragmentation, InjectedPacket, Node, PacketOutcome, PacketSpec, Reply,
    Transport, Verdict,
};
use netengine_packet::{
    build::{Ether, frames, ip_packets},
    nonce::Nonce,
    read,
};

use crate::{
    build::Built,
    capture::Capture,
    flow::Flows,
    lookup::look_up,
    nft::{Answer, Mode, Nft},
    run::Stop,
    text::counters,
    verdict::{Facts, Known, Seen, Sent, Window, judge},
    watch::{Barrier, Watch, way_out},
};

const SYN: u8 = 2;
const ACK: u8 = 16;

/// Sends the packets of a case and has them judged.
pub struct Run<'a> {
    /// The case.
    pub request: &'a CaseRequest,
    /// What injects and observes.
    pub watch: &'a mut Watch,
    /// Tells when the kernel is done.
    pub barrier: &'a mut Barrier,
    /// Reads counters.
    pub nft: &'a mut Nft,
    /// The tested node.
    pub tested: &'a Built,
    /// What is not observed by then is inconclusive.
    pub deadline: Instant,
    /// The frames, where the case asks for them.
    pub capture: Option<Capture>,
    nonce: Nonce,
    flows: Flows,
    connections: Known,
    lost: u64,
}

impl<'a> Run<'a> {
    /// Nothing was sent yet.
    pub fn new(
        request: &'a CaseRequest,
        (watch, tested): (&'a mut Watch, &'a Built),
        barrier: &'a mut Barrier,
        nft: &'a mut Nft,
        deadline: Instant,
    ) -> Self {
        let capture = request.limits.capture.then(Capture::default);
        watch.keep_frames(capture.is_some());
        let (nonce, flows) = (Nonce::FIRST, Flows::default());
        let connections = Known::default();
        Self { request, watch, barrier, nft, tested, deadline, capture, nonce, flows, connections, lost: 0 }
    }

    /// Every packet's outcome, in order, and how many messages were lost.
    ///
    /// # Errors
    /// When a packet cannot be sent at all, or the kernel refuses what it allowed before.
    pub fn all(&mut self, facts: &mut Facts) -> Result<(Vec<PacketOutcome>, u64), Stop> {
        let packets = &self.request.packets;
        let most = self.watch.window()?;
        let mut outcomes: Vec<PacketOutcome> = Vec::with_capacity(packets.len());
        let mut previous = Instant::now();
        // What the kernel did while it was set up is no packet's.
        self.settle(&mut Window::default())?;
        while outcomes.len() < packets.len() {
            let begun = Instant::now();
            let mut window = Window::default();
            let first = outcomes.len();
            if let Some(InjectedPacket { flow: Some(flow), after_ms, .. }) = packets.get(first) {
                self.wait_until(previous + Duration::from_millis(u64::from(*after_ms)), &mut window)?;
                outcomes.push(self.of_flow(first, *flow, facts)?);
                previous = Instant::now();
                continue;
            }
            for packet in &packets[first..] {
                let waits = packet.after_ms > 0;
                if !window.sent.is_empty() && (waits || alone(packet)) {
                    break;
                }
                if waits {
                    self.wait_until(previous + Duration::from_millis(u64::from(packet.after_ms)), &mut window)?;
                }
                let sent = self.send(first + window.sent.len(), packet)?;
                previous = Instant::now();
                window.sent.push(sent);
                // What hosts answer passes the rules before the next packet does: what limits and connections come to depends on the order.
                if !self.answered()? {
                    break;
                }
                if window.sent.len() == most || alone(packet) {
                    break;
                }
            }
            outcomes.extend(self.judged(first, &mut window, begun, facts)?);
            if packets[outcomes.len() - 1].counters
                && let Some(last) = outcomes.last_mut()
            {
                self.count(last, facts)?;
            }
        }
        Ok((outcomes, self.lost))
    }

    /// Waits until the kernel is done with a window whose first packet has this number, and judges it.
    fn judged(
        &mut self,
        first: usize,
        window: &mut Window,
        begun: Instant,
        facts: &mut Facts,
    ) -> Result<Vec<PacketOutcome>, Stop> {
        window.settled = self.settle(window)?;
        self.lost += window.lost;
        let millis = begun.elapsed().as_millis() as u32;
        look_up(window, facts, self.nft, self.tested)?;
        let kept = self.watch.take_frames();
        if let Some(capture) = &mut self.capture {
            capture.add(first, window, kept, facts);
        }
        let mut outcomes = judge(window, facts);
        self.connections.complete(window, &mut outcomes);
        Ok(outcomes.into_iter().map(|outcome| PacketOutcome { millis, ..outcome }).collect())
    }

    /// A packet of a flow, alone, after the handshake where its flow has one.
    fn of_flow(&mut self, index: usize, flow: Flow, facts: &mut Facts) -> Result<PacketOutcome, Stop> {
        let packet = &self.request.packets[index];
        let Content::Typed(spec) = &packet.content else { return Err(failed("a packet of a flow has fields")) };
        let mut outcome = if let (true, false, Transport::Tcp { flags, .. }) =
            (flow.handshake, self.flows.is_open(flow.number), &spec.transport)
        {
            let (last, is_done) = self.handshake(index, flow.number, spec, facts)?;
            if is_done && flags & SYN == 0 { self.shot(index, flow.number, packet, spec, facts)?.0 } else { last }
        } else {
            self.shot(index, flow.number, packet, spec, facts)?.0
        };
        if packet.counters {
            self.count(&mut outcome, facts)?;
        }
        Ok(outcome)
    }

    /// SYN, the answer and its acknowledgement. The outcome of the first of them that did not get through, or of the last, and whether the
    /// connection is there. The other end's answer is its own stack's; where that sends nothing in this case, the engine sends it in its place.
    fn handshake(
        &mut self,
        index: usize,
        flow: u32,
        spec: &PacketSpec,
        facts: &mut Facts,
    ) -> Result<(PacketOutcome, bool), Stop> {
        let packet = &self.request.packets[index];
        let syn = segment(spec, SYN);
        let (outcome, window) = self.shot(index, flow, packet, &syn, facts)?;
        if !passed(&outcome) {
            return Ok((named("the SYN of the handshake", outcome), false));
        }
        if !self.flows.is_answered(flow) {
            let far = self.flows.far_node(flow).and_then(|name| self.request.topology.node(name));
            let Some(far) = far.filter(|node| node.silent || self.lists(flow, node)) else {
                return Ok((self.unanswered(flow, &outcome, &window, facts), false));
            };
            let answer = InjectedPacket::new(far.name.clone(), packet.content.clone());
            let (outcome, _) = self.shot(index, flow, &answer, &segment(spec, SYN | ACK), facts)?;
            if !passed(&outcome) {
                return Ok((named("the answer to the SYN of the handshake", outcome), false));
            }
        }
        let (outcome, _) = self.shot(index, flow, packet, &segment(spec, ACK), facts)?;
        if !passed(&outcome) {
            return Ok((named("the last packet of the handshake", outcome), false));
        }
        Ok((PacketOutcome { reply: Some(Reply::SynAck), ..outcome }, true))
    }

    /// Whether a node's packets of the flow are listed.
    fn lists(&self, flow: u32, node: &Node) -> bool {
        let of_flow = |packet: &&InjectedPacket| packet.flow.is_some_and(|of| of.number == flow);
        self.request.packets.iter().filter(of_flow).any(|packet| packet.from == node.name)
    }

    /// What became of the answer to a SYN that was delivered.
    fn unanswered(&self, flow: u32, syn: &PacketOutcome, window: &Window, facts: &Facts) -> PacketOutcome {
        if syn.reply == Some(Reply::Reset) {
            let why = "the SYN arrived, and the other end refused it with a reset".to_owned();
            return PacketOutcome { verdict: Verdict::Lost, reason: Some(why), ..syn.clone() };
        }
        let answer = window.seen.iter().find_map(|seen| match seen {
            Seen::Trace(node, trace) => {
                let headers = trace.headers()?;
                let read::Transport::Tcp { rest: Some((ack, flags)), .. } = headers.transport else { return None };
                let is_ours = flags & (SYN | ACK) == SYN | ACK && Some(ack) == self.flows.sent_up_to(flow);
                is_ours.then(|| (*node, headers, trace.network_header.clone()))
            }
            _ => None,
        });
        let lost = || PacketOutcome {
            verdict: Verdict::Lost,
            reason: Some("the SYN arrived, and no answer came back".to_owned()),
            deciding: None,
            ..syn.clone()
        };
        let Some((node, packet, network)) = answer else { return lost() };
        let sent = Sent { node, local: true, packet: Some(packet), network, fragment: false, errno: None };
        let judged = judge(&Window { sent: vec![sent], ..window.clone() }, facts).pop();
        match judged {
            Some(outcome) if matches!(outcome.verdict, Verdict::Drop | Verdict::Reject | Verdict::Inconclusive) => {
                named("the answer to the SYN of the handshake", outcome)
            }
            _ => lost(),
        }
    }

    /// Sends one packet of a flow, filled in, and judges it.
    fn shot(
        &mut self,
        index: usize,
        flow: u32,
        packet: &InjectedPacket,
        spec: &PacketSpec,
        facts: &mut Facts,
    ) -> Result<(PacketOutcome, Window), Stop> {
        let begun = Instant::now();
        let node = self.request.topology.nodes.iter().position(|node| node.name == packet.from).unwrap_or(0);
        let filled = self.flows.fill(flow, node, spec);
        let packet = InjectedPacket { content: Content::Typed(Box::new(filled)), ..packet.clone() };
        let mut window = Window { sent: vec![self.send(index, &packet)?], ..Window::default() };
        let outcome = self.judged(index, &mut window, begun, facts)?.pop();
        let outcome = outcome.ok_or_else(|| failed("a packet was not judged"))?;
        self.flows.learn(flow, node, &outcome, &window);
        Ok((outcome, window))
    }

    /// Reads the counters of the tested node.
    fn count(&mut self, outcome: &mut PacketOutcome, facts: &Facts) -> Result<(), Stop> {
        match self.nft.run(Mode::List, self.tested.namespace.as_fd(), "")? {
            Answer::Done(listing) => outcome.counters = counters::of(&listing, outcome, facts),
            _ => return Err(failed("the ruleset cannot be listed")),
        }
        Ok(())
    }

    /// Has all that is under way arrive, and what programs on the nodes answer to it; false at the deadline.
    fn answered(&mut self) -> Result<bool, Stop> {
        while self.barrier.pass(self.deadline)? {
            if !self.watch.echo() {
                return Ok(true);
            }
            if Instant::now() >= self.deadline {
                break;
            }
        }
        Ok(false)
    }

    /// Reads until a whole round of the barrier brought nothing new; false at the deadline.
    fn settle(&mut self, window: &mut Window) -> Result<bool, Stop> {
        loop {
            if !self.barrier.pass(self.deadline)? {
                self.watch.read(window)?;
                return Ok(false);
            }
            if !self.watch.read(window)? {
                return Ok(true);
            }
            if Instant::now() >= self.deadline {
                return Ok(false);
            }
        }
    }

    /// Waits for the packet's time, reading what comes meanwhile.
    fn wait_until(&mut self, time: Instant, window: &mut Window) -> Result<(), Stop> {
        while let Some(left) =
            time.min(self.deadline).checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
        {
            std::thread::sleep(left.min(Duration::from_millis(5)));
            self.watch.read(window)?;
        }
        Ok(())
    }

    fn send(&mut self, index: usize, packet: &InjectedPacket) -> Result<Sent, Stop> {
        let topology = &self.request.topology;
        let node = topology.nodes.iter().position(|node| node.name == packet.from).unwrap_or(0);
        let local = packet.from == topology.tested;
        let nonce = self.nonce;
        self.nonce = nonce.next();
        let mut sent = Sent { node, local, packet: None, network: Vec::new(), fragment: false, errno: None };
        let note = |sent: &mut Sent, network: &[u8]| {
            sent.packet = read::packet(network);
            sent.network = network[..network.len().min(64)].to_vec();
            sent.fragment = sent.packet.as_ref().is_some_and(|packet| packet.fragment.is_some());
        };
        if local {
            let Content::Typed(spec) = &packet.content else { return Err(failed("a local packet has fields")) };
            for bytes in ip_packets(spec, nonce).map_err(|error| failed(&error.to_string()))? {
                if sent.network.is_empty() {
                    note(&mut sent, &bytes);
                }
                if let Some(capture) = &mut self.capture {
                    capture.sent(index, packet, None, &bytes);
                }
                if let Err(error) = self.watch.send_local(&bytes, spec.dst, spec.mark) {
                    sent.errno = error.raw_os_error();
                }
            }
            return Ok(sent);
        }
        let way = way_out(topology, node, packet.interface.as_ref());
        let (interface, src, dst) = way.ok_or_else(|| failed("a packet's node has no way out"))?;
        let frames = match &packet.content {
            Content::Frame(frame) => vec![frame.to_vec()],
            Content::Typed(spec) => {
                let dst = neighbour_of(&topology.nodes[node], spec.dst).unwrap_or(dst);
                frames(spec, Ether { src, dst }, nonce).map_err(|error| failed(&error.to_string()))?
            }
        };
        for frame in frames {
            if sent.network.is_empty()
                && let Some(read) = read::frame(&frame)
            {
                note(&mut sent, read.body);
            }
            if let Some(capture) = &mut self.capture {
                capture.sent(index, packet, Some(&interface), &frame);
            }
            if let Err(error) = self.watch.inject(node, &interface, &frame) {
                sent.errno = error.raw_os_error();
            }
        }
        Ok(sent)
    }
}

/// The Ethernet address that a node's own stack would send to, from its permanent neighbours and its routes.
fn neighbour_of(node: &Node, dst: IpAddr) -> Option<[u8; 6]> {
    let known = |address| node.neighbours.iter().find(|n| n.address == address).map(|n| n.mac);
    let via = || {
        let fitting = node.routes.iter().filter(|route| route.to.contains(&dst));
        fitting.max_by_key(|route| route.to.prefix_len()).and_then(|route| known(route.via?))
    };
    known(dst).or_else(via)
}

/// Nothing else may be in flight beside a packet whose nonce is not of our choice, or after which something is to be known.
fn alone(packet: &InjectedPacket) -> bool {
    if packet.flow.is_some() || packet.counters {
        return true;
    }
    match &packet.content {
        Content::Frame(_) => true,
        Content::Typed(spec) => {
            matches!(spec.transport, Transport::Arp { .. })
                || spec.fragmentation.is_some() && spec.src.is_ipv6()
                || matches!(spec.fragmentation, Some(Fragmentation::One { identification: Some(_), .. }))
        }
    }
}

/// A segment of the handshake that a packet asks for: its headers, without payload.
fn segment(spec: &PacketSpec, flags: u8) -> PacketSpec {
    let mut spec = PacketSpec { payload: Default::default(), ..spec.clone() };
    if let Transport::Tcp { flags: of, seq, ack, options, .. } = &mut spec.transport {
        (*of, *ack) = (flags, None);
        if flags != SYN {
            (*seq, *options) = (None, Default::default());
        }
    }
    spec
}

/// The flow goes on: it arrived, or a proxy took it, which will answer.
fn passed(outcome: &PacketOutcome) -> bool {
    matches!(outcome.verdict, Verdict::Accept | Verdict::Stolen)
}

fn named(what: &str, outcome: PacketOutcome) -> PacketOutcome {
    let reason = Some(format!("{what}: {}", outcome.reason.as_deref().unwrap_or("it was not delivered")));
    PacketOutcome { reason, ..outcome }
}

/// The case ends without an answer.
pub fn failed(message: &str) -> Stop {
    Stop::Answer(CaseResult::Failed { message: message.to_owned() })
}
