//! One case, from request to answer.

use std::{
    io,
    net::IpAddr,
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use netengine_lab_proto::{
    CaseAnswer, CaseRequest, CaseResult, Content, Family, Fragmentation, Hook, InjectedPacket, LoadError, Node,
    PacketOutcome, RuleInfo, RuleRef, Transport, limits::LOAD_ERRORS,
};
use netengine_packet::{
    build::{Ether, frames, ip_packets},
    nonce::Nonce,
    read,
};
use netengine_proto::bounded::Bounded;

use crate::{
    build::{Built, ready},
    discard::Discard,
    nft::{Answer, Mode, Nft, messages},
    reuse::{Sandbox, leaves_nothing, tracks},
    text::{Listing, prepare, prepare::SourceRule},
    verdict::{Facts, NodeFacts, Sent, Window, judge},
    watch::{Barrier, Watch, way_out},
};

/// The table that switches tracing on.
pub const TRACER: &str = "netengine_trace";

/// Sandboxes kept for later cases.
const KEPT: usize = 4;

/// What a worker has for all its cases.
#[derive(Debug)]
pub struct Engine {
    /// Reads rulesets.
    pub nft: Nft,
    /// Tells when the kernel is done.
    pub barrier: Barrier,
    /// `/proc/sys/net` of whatever namespace is current.
    pub settings: PathBuf,
    /// Closes what cases leave behind.
    pub discard: Discard,
    /// Sandboxes as good as new, the last used last.
    pub kept: Vec<Box<Sandbox>>,
}

/// Why a case ended early.
enum Stop {
    Answer(CaseResult),
    Broken(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

impl Engine {
    /// Runs a case.
    ///
    /// # Errors
    /// When the worker cannot go on: the process that reads rulesets is gone, or the kernel refuses what it allowed before.
    pub fn run(&mut self, request: &CaseRequest) -> io::Result<CaseResult> {
        if let Err(error) = request.check() {
            return Ok(CaseResult::Failed { message: error.to_string() });
        }
        match self.case(request) {
            Ok(answer) => Ok(CaseResult::Judged(Box::new(answer))),
            Err(Stop::Answer(result)) => Ok(result),
            Err(Stop::Broken(error)) => Err(error),
        }
    }

    fn case(&mut self, request: &CaseRequest) -> Result<CaseAnswer, Stop> {
        let begun = Instant::now();
        let quiet = is_quiet(request);
        let mut sandbox = match self.ready(request, quiet) {
            Some(ready) => ready,
            None => {
                let built = Sandbox::build(&request.topology, &self.settings, quiet);
                Box::new(built.map_err(|error| Stop::Answer(CaseResult::Failed { message: error.to_string() }))?)
            }
        };
        let answer = self.judged(request, &mut sandbox, begun);
        let as_new = answer.as_ref().is_ok_and(|answer| leaves_nothing(request, quiet, answer))
            && sandbox.clean(&mut self.barrier).unwrap_or(false);
        match (as_new, tracks(request)) {
            (false, _) => self.discard.give(sandbox),
            (true, true) => self.discard.rest(sandbox),
            (true, false) => self.kept.push(sandbox),
        }
        answer
    }

    /// A sandbox that is as good as new and has this case's network.
    fn ready(&mut self, request: &CaseRequest, quiet: bool) -> Option<Box<Sandbox>> {
        self.kept.extend(self.discard.rested());
        let fitting = self.kept.iter().rposition(|kept| kept.fits(request, quiet)).map(|at| self.kept.remove(at));
        let more = self.kept.len().saturating_sub(KEPT);
        for old in self.kept.drain(..more) {
            self.discard.give(old);
        }
        fitting
    }

    fn judged(&mut self, request: &CaseRequest, sandbox: &mut Sandbox, begun: Instant) -> Result<CaseAnswer, Stop> {
        let topology = &request.topology;
        let mut nodes = Vec::with_capacity(sandbox.built.len());
        for (node, here) in topology.nodes.iter().zip(&sandbox.built) {
            nodes.push(self.load(request, node, here)?);
        }
        let tested = topology.nodes.iter().position(|node| node.name == topology.tested).unwrap_or(0);
        let traced: Vec<bool> = nodes.iter().map(|node| node.traced).collect();
        let facts = Facts::new(nodes, tested, TRACER);
        let patience = Instant::now() + Duration::from_millis(u64::from(request.limits.timeout_ms));
        if has_ipv6(request)
            && !ready(topology, &sandbox.built, patience)
                .map_err(|error| Stop::Answer(CaseResult::Failed { message: error.to_string() }))?
        {
            return Err(Stop::Answer(CaseResult::Failed { message: "IPv6 addresses were not ready in time".into() }));
        }
        let (watch, built) = sandbox.watch(&traced)?;
        watch.begin(request, built)?;
        let setup_micros = begun.elapsed().as_micros() as u64;
        let begun = Instant::now();
        let deadline = begun + Duration::from_millis(u64::from(request.limits.timeout_ms));
        let mut run = Run { request, watch, barrier: &mut self.barrier, nonce: Nonce::FIRST, deadline };
        let (packets, lost_messages) = run.all(&facts)?;
        let run_micros = begun.elapsed().as_micros() as u64;
        let rules = rules(&facts, &packets, request.limits.all_rules);
        let failed = |_| Stop::Answer(CaseResult::Failed { message: "the answer is too long".into() });
        Ok(CaseAnswer {
            packets: Bounded::new(packets).map_err(failed)?,
            rules: Bounded::new(rules).map_err(failed)?,
            lost_messages,
            setup_micros,
            reused: sandbox.is_used(),
            run_micros,
        })
    }

    /// Loads a node's own rules, then the case's, then the table that switches tracing on.
    fn load(&mut self, request: &CaseRequest, node: &Node, here: &Built) -> Result<NodeFacts, Stop> {
        let tested = node.name == request.topology.tested;
        let mut facts = NodeFacts { name: node.name.clone(), listing: Listing::default(), traced: false };
        let texts = node.rules.as_ref().into_iter().chain(tested.then_some(&request.ruleset));
        let texts: Vec<_> = texts.collect();
        let mut sources: Vec<SourceRule> = Vec::new();
        for (number, text) in texts.iter().enumerate() {
            let last = number + 1 == texts.len();
            let prepared = prepare(text.as_str(), TRACER)
                .map_err(|refused| load_failed(node, vec![(refused.message, Some((refused.line, refused.column)))]))?;
            // The tracer comes last of all, so that at equal priority its chains come first.
            let whole = if last { format!("{}\n\n{INET_TRACER}", prepared.text) } else { prepared.text.clone() };
            let mode = if last { Mode::LoadAndList } else { Mode::Load };
            match self.nft.run(mode, here.namespace.as_fd(), &whole)? {
                Answer::Done(listing) if last => {
                    sources.extend(prepared.rules);
                    facts.listing = Listing::read(&listing, TRACER);
                    facts.listing.locate(&sources);
                    facts.traced = true;
                }
                Answer::Done(_) => {}
                Answer::Refused(text) => {
                    // Beside the tracer nft names its chains where it guesses what was meant: the text alone gets nft's own words.
                    let text = match self.nft.run(Mode::Load, here.namespace.as_fd(), &prepared.text)? {
                        Answer::Refused(alone) if last => alone,
                        _ => text,
                    };
                    let placed = messages(&text).into_iter().map(|(message, place)| {
                        (
                            message,
                            place.filter(|(line, _)| *line > 0).map(|(line, column)| prepared.original(line, column)),
                        )
                    });
                    return Err(load_failed(node, placed.collect()));
                }
                Answer::Crashed => {
                    return Err(load_failed(node, vec![("this text crashes nft's parser".to_owned(), None)]));
                }
            }
        }
        if let Some(more) = further_tracer(&facts.listing) {
            match self.nft.run(Mode::Load, here.namespace.as_fd(), &more)? {
                Answer::Done(_) => {}
                other => {
                    let message = format!("the kernel cannot trace a hook that the ruleset uses: {other:?}");
                    return Err(Stop::Answer(CaseResult::Unsupported { message }));
                }
            }
        }
        Ok(facts)
    }
}

fn load_failed(node: &Node, messages: Vec<(String, Option<(u32, u32)>)>) -> Stop {
    let errors = messages.into_iter().take(LOAD_ERRORS).map(|(message, place)| LoadError {
        node: node.name.clone(),
        message,
        line: place.map(|place| place.0),
        column: place.map(|place| place.1),
    });
    Stop::Answer(CaseResult::LoadFailed(Bounded::new(errors.collect()).unwrap_or_default()))
}

/// Tracing for IPv4 and IPv6: always there, so that each hook a packet reached is known, even where the ruleset has no chain.
pub const INET_TRACER: &str = "table inet netengine_trace {
 chain prerouting { type filter hook prerouting priority -2147483648; meta nftrace set 1; }
 chain input { type filter hook input priority -2147483648; meta nftrace set 1; }
 chain forward { type filter hook forward priority -2147483648; meta nftrace set 1; }
 chain output { type filter hook output priority -2147483648; meta nftrace set 1; }
 chain postrouting { type filter hook postrouting priority -2147483648; meta nftrace set 1; }
}
";

/// Tracing for the other families' hooks, those in use.
fn further_tracer(listing: &Listing) -> Option<String> {
    use std::collections::BTreeSet;
    let mut chains: BTreeSet<(Family, &'static str, Option<&str>)> = BTreeSet::new();
    for ((family, ..), base) in &listing.bases {
        let hook = base.hook.as_str();
        match (family, base.hook) {
            (_, Hook::Ingress | Hook::Egress) => {
                chains.extend(base.devices.iter().map(|device| (Family::Netdev, hook, Some(device.as_str()))));
            }
            (Family::Bridge | Family::Arp, _) => {
                chains.insert((*family, hook, None));
            }
            _ => {}
        }
    }
    let mut text = String::new();
    for (number, (family, hook, device)) in chains.iter().enumerate() {
        let family = match family {
            Family::Bridge => "bridge",
            Family::Arp => "arp",
            _ => "netdev",
        };
        let device = device.map(|name| format!(" device \"{name}\"")).unwrap_or_default();
        text += &format!(
            "table {family} {TRACER} {{\n chain {hook}_{number} {{ type filter hook {hook}{device} priority -2147483648; \
             meta nftrace set 1; }}\n}}\n"
        );
    }
    (!text.is_empty()).then_some(text)
}

/// No packet of the case asks for a neighbour or tells of one, or goes to a group that nodes are in.
fn is_quiet(request: &CaseRequest) -> bool {
    request.packets.iter().all(|packet| match &packet.content {
        Content::Frame(frame) => read::frame_packet(frame).is_some_and(|packet| !packet.dst.is_multicast()),
        Content::Typed(spec) => match spec.transport {
            Transport::Arp { .. } => false,
            Transport::Icmp { kind: 133..=137, .. } => spec.src.is_ipv4(),
            _ => !spec.dst.is_multicast(),
        },
    })
}

/// Some packet is, or may be, of IPv6.
fn has_ipv6(request: &CaseRequest) -> bool {
    request.packets.iter().any(|packet| match &packet.content {
        Content::Frame(_) => true,
        Content::Typed(spec) => spec.src.is_ipv6(),
    })
}

/// The rules that outcomes name, or all of them.
fn rules(facts: &Facts, packets: &[PacketOutcome], all: bool) -> Vec<RuleInfo> {
    use std::collections::HashSet;
    let mut named: HashSet<RuleRef> = HashSet::new();
    if !all {
        let hops = packets.iter().flat_map(|packet| packet.path.iter()).filter(|hop| hop.rule.is_some());
        named.extend(hops.map(|hop| RuleRef {
            node: hop.node.clone(),
            family: hop.family,
            table: hop.table.clone(),
            chain: hop.chain.clone(),
            handle: hop.rule,
        }));
    }
    let mut infos = Vec::new();
    for node in &facts.nodes {
        for ((family, table, chain), rules) in &node.listing.rules {
            for rule in rules {
                let key = RuleRef {
                    node: node.name.clone(),
                    family: *family,
                    table: table.clone(),
                    chain: chain.clone(),
                    handle: Some(rule.handle),
                };
                if all || named.contains(&key) {
                    infos.push(RuleInfo {
                        rule: key,
                        text: rule.text.clone(),
                        line: rule.place.map(|place| place.0),
                        column: rule.place.map(|place| place.1),
                    });
                }
            }
        }
    }
    infos.truncate(netengine_lab_proto::limits::ANSWER_RULES);
    infos
}

/// Sending and observing.
struct Run<'a> {
    request: &'a CaseRequest,
    watch: &'a mut Watch,
    barrier: &'a mut Barrier,
    nonce: Nonce,
    deadline: Instant,
}

impl Run<'_> {
    fn all(&mut self, facts: &Facts) -> Result<(Vec<PacketOutcome>, u64), Stop> {
        let packets = &self.request.packets;
        let most = self.watch.window()?;
        let mut outcomes: Vec<PacketOutcome> = Vec::with_capacity(packets.len());
        let mut lost = 0;
        let mut previous = Instant::now();
        // What the kernel did while it was set up is no packet's.
        self.settle(&mut Window::default())?;
        while outcomes.len() < packets.len() {
            let begun = Instant::now();
            let mut window = Window::default();
            for packet in &packets[outcomes.len()..] {
                let waits = packet.after_ms > 0;
                if !window.sent.is_empty() && (waits || alone(packet)) {
                    break;
                }
                if waits {
                    self.wait_until(previous + Duration::from_millis(u64::from(packet.after_ms)), &mut window)?;
                }
                let sent = self.send(packet).map_err(|message| Stop::Answer(CaseResult::Failed { message }))?;
                previous = Instant::now();
                window.sent.push(sent);
                if window.sent.len() == most || alone(packet) {
                    break;
                }
            }
            window.settled = self.settle(&mut window)?;
            lost += window.lost;
            let millis = begun.elapsed().as_millis() as u32;
            outcomes.extend(judge(&window, facts).into_iter().map(|outcome| PacketOutcome { millis, ..outcome }));
        }
        Ok((outcomes, lost))
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

    fn send(&mut self, packet: &InjectedPacket) -> Result<Sent, String> {
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
            let Content::Typed(spec) = &packet.content else { return Err("a local packet has fields".into()) };
            for bytes in ip_packets(spec, nonce).map_err(|error| error.to_string())? {
                if sent.network.is_empty() {
                    note(&mut sent, &bytes);
                }
                if let Err(error) = self.watch.send_local(&bytes, spec.dst, spec.mark) {
                    sent.errno = error.raw_os_error();
                }
            }
            return Ok(sent);
        }
        let way = way_out(topology, node, packet.interface.as_ref());
        let (interface, src, dst) = way.ok_or_else(|| "a packet's node has no way out".to_owned())?;
        let frames = match &packet.content {
            Content::Frame(frame) => vec![frame.to_vec()],
            Content::Typed(spec) => {
                let dst = neighbour_of(&topology.nodes[node], spec.dst).unwrap_or(dst);
                frames(spec, Ether { src, dst }, nonce).map_err(|error| error.to_string())?
            }
        };
        for frame in frames {
            if sent.network.is_empty()
                && let Some(read) = read::frame(&frame)
            {
                note(&mut sent, read.body);
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

/// Nothing else may be in flight beside a packet whose nonce is not of our choice.
fn alone(packet: &InjectedPacket) -> bool {
    match &packet.content {
        Content::Frame(_) => true,
        Content::Typed(spec) => {
            matches!(spec.transport, Transport::Arp { .. })
                || matches!(spec.fragmentation, Some(Fragmentation::One { identification: Some(_), .. }))
        }
    }
}

/// Where the settings lie in a sandbox.
pub fn settings_directory() -> &'static Path {
    Path::new("/net")
}
