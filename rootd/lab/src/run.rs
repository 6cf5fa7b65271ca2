//! One case, from request to answer.

use std::{
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use netengine_lab_proto::{
    CaseAnswer, CaseRequest, CaseResult, Content, LoadError, Node, PacketOutcome, RuleInfo, RuleRef, Transport,
    limits::LOAD_ERRORS,
};
use netengine_packet::read;
use netengine_proto::bounded::Bounded;

use crate::{
    build::{Built, ready},
    capture::Capture,
    discard::Discard,
    inject::Run,
    mute,
    nft::{Answer, Mode, Nft, messages},
    reuse::{Sandbox, leaves_nothing, tracks},
    text::{Listing, Outline, lacks, prepare, prepare::SourceRule},
    tracer::{INET_TRACER, TRACER, further_tracer},
    verdict::{Facts, NodeFacts},
    watch::Barrier,
};

/// Packets that name few rules: for more a long ruleset is listed at once.
const FEW: usize = 256;
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
    /// The kernel's trace messages tell the states of connections.
    pub tells_states: bool,
}

/// Why a case ended early.
#[derive(Debug)]
pub enum Stop {
    /// With this answer.
    Answer(CaseResult),
    /// The worker cannot go on.
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
        let mut facts = Facts::new(nodes, tested, TRACER);
        facts.tells_states = self.tells_states;
        let patience = Instant::now() + Duration::from_millis(u64::from(request.limits.timeout_ms));
        if has_ipv6(request)
            && !ready(topology, &sandbox.built, patience)
                .map_err(|error| Stop::Answer(CaseResult::Failed { message: error.to_string() }))?
        {
            return Err(Stop::Answer(CaseResult::Failed { message: "IPv6 addresses were not ready in time".into() }));
        }
        let (watch, built) = sandbox.watch(&traced)?;
        watch.begin(request, built, &facts.nodes[tested].listing)?;
        let mutes = mute::mutes(request);
        mute::apply(&mutes, built)?;
        let setup_micros = begun.elapsed().as_micros() as u64;
        let begun = Instant::now();
        let deadline = begun + Duration::from_millis(u64::from(request.limits.timeout_ms));
        let mut run = Run::new(request, (watch, &built[tested]), &mut self.barrier, &mut self.nft, deadline);
        let done = run.all(&mut facts);
        let capture = run.capture.take();
        mute::undo(&mutes, built)?;
        let (packets, lost_messages) = done?;
        let (frames, frames_missed) = capture.map(Capture::into_frames).unwrap_or_default();
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
            frames: Bounded::new(frames).map_err(failed)?,
            frames_missed,
        })
    }

    /// Loads a node's own rules, then the case's, then the table that switches tracing on.
    fn load(&mut self, request: &CaseRequest, node: &Node, here: &Built) -> Result<NodeFacts, Stop> {
        let tested = node.name == request.topology.tested;
        let mut facts =
            NodeFacts { name: node.name.clone(), listing: Listing::default(), outline: None, traced: false };
        let beside = request.beside.iter().filter(|_| tested);
        let texts: Vec<_> = node.rules.iter().chain(tested.then_some(&request.ruleset)).chain(beside).collect();
        let own = node.rules.iter().count();
        let mut sources: Vec<SourceRule> = Vec::new();
        for (number, text) in texts.iter().enumerate() {
            let last = number + 1 == texts.len();
            // Of texts that are not the case's own a place would be one in the wrong file.
            let is_tested = tested && number == own;
            let whose = if number > own { "the tables beside the ruleset: " } else { "" };
            let prepared = prepare(text.as_str(), TRACER).map_err(|refused| {
                let place = (number <= own).then_some((refused.line, refused.column));
                load_failed(node, vec![(format!("{whose}{}", refused.message), place)])
            })?;
            if is_tested || !tested {
                sources.extend(prepared.rules.iter().cloned());
            }
            // The tracer comes last of all, so that at equal priority its chains come first.
            let whole = if last { format!("{}\n\n{INET_TRACER}", prepared.text) } else { prepared.text.clone() };
            let asks_few = !request.limits.all_rules && request.packets.len() <= FEW;
            if is_tested && texts.len() == 1 && asks_few {
                facts.outline = Outline::of(text.as_str(), &prepared);
            }
            let mode = match facts.outline {
                _ if !last => Mode::Load,
                Some(_) => Mode::LoadAndOutline,
                None => Mode::LoadAndList,
            };
            let answer = self.nft.run(mode, here.namespace.as_fd(), &whole)?;
            match answer {
                Answer::Done(listing) if last => {
                    facts.listing = Listing::read(&listing, TRACER);
                    if facts.outline.is_none() {
                        facts.listing.locate(&sources);
                    }
                    facts.traced = true;
                }
                Answer::Done(_) => {}
                Answer::Refused(ref text) | Answer::Emptied(ref text) => {
                    // Beside the tracer nft names its chains where it guesses what was meant: the text alone gets nft's own words, where
                    // the namespace is what it was.
                    let again = last && (number == 0 || matches!(answer, Answer::Refused(_)));
                    let text = match again
                        .then(|| self.nft.run(Mode::Load, here.namespace.as_fd(), &prepared.text))
                        .transpose()?
                    {
                        Some(Answer::Refused(alone) | Answer::Emptied(alone)) => alone,
                        _ => text.clone(),
                    };
                    let mut placed = messages(&text);
                    placed.truncate(LOAD_ERRORS);
                    for (message, place) in &mut placed {
                        if let Some(lacks) = self.lacking(here, &prepared.text, message, *place)? {
                            *message = format!("{message}: {lacks}");
                        }
                        *place = place.filter(|(line, _)| *line > 0 && number <= own);
                        *message = format!("{whose}{message}");
                        *place = place.map(|(line, column)| prepared.original(line, column));
                    }
                    return Err(load_failed(node, placed));
                }
                Answer::TooLarge => {
                    let message = "nft takes more memory for this text than a sandbox has (2 GiB): load fewer rules";
                    return Err(load_failed(node, vec![(format!("{whose}{message}"), None)]));
                }
                Answer::TooSlow => {
                    let message = "nft takes longer than a minute for this text: load fewer rules";
                    return Err(load_failed(node, vec![(format!("{whose}{message}"), None)]));
                }
                Answer::Crashed => {
                    return Err(load_failed(node, vec![(format!("{whose}this text crashes nft's parser"), None)]));
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

    /// What this kernel lacks of the statement that a message is about, as far as it is that. What is asked of it stays in the sandbox, which
    /// nobody uses again: its ruleset did not load.
    fn lacking(
        &mut self,
        here: &Built,
        text: &str,
        message: &str,
        place: Option<(u32, u32)>,
    ) -> io::Result<Option<String>> {
        let Some((line, _)) = place.filter(|_| lacks::is_lack(message)) else { return Ok(None) };
        for question in lacks::questions(text, line) {
            if let Answer::Refused(answer) = self.nft.run(Mode::Load, here.namespace.as_fd(), &question.text)?
                && messages(&answer).iter().any(|(message, _)| lacks::is_lack(message))
            {
                return Ok(Some(question.answer));
            }
        }
        Ok(None)
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

/// No packet of the case asks for a neighbour or tells of one, or goes to a group that nodes are in.
fn is_quiet(request: &CaseRequest) -> bool {
    request.packets.iter().all(|packet| match &packet.content {
        Content::Frame(frame) => read::frame_packet(frame).is_some_and(|packet| {
            let discovers = matches!(packet.transport, read::Transport::Icmp { kind: 133..=137, .. });
            !(packet.dst.is_multicast() || packet.src.is_ipv6() && discovers)
        }),
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

/// Where the settings lie in a sandbox.
pub fn settings_directory() -> &'static Path {
    Path::new("/net")
}
