//! `prove`: what the spec says of every flow, held against what the kernel did with a packet of it.

use std::{fmt::Write, net::IpAddr, time::Instant};

use netengine_proto::{
    api::{Problem, ProblemKind, Proof, ProvenFlow},
    bounded::Bounded,
    limits,
    names::HostName,
    net::{IfAddr, IfName, Port},
    plan::{CableEnd, Node},
    root::{FlowProbe, FlowSeen, ProbeKind},
};
use tokio::sync::watch;

use super::{Orchestrator, attempt, diagnose::Progress};
use crate::{
    decide::{Verdict, WorldRef, act},
    plan::{
        Target,
        diff::describe,
        peers, phases,
        reach::{self, Answers, Expectation, Fate, PeerWorld, Role, Vantage},
    },
    problem::{about, problem},
};

/// The port that TCP and UDP are tried with: discard (RFC 863), where nothing of a world answers.
const PORT: u16 = 9;

/// A flow with the node that sends it and the one where it must be seen.
struct Asked {
    from: Node,
    to: Option<Node>,
    flow: Expectation,
}

impl Orchestrator {
    /// Sends a packet of every kind from every network to every other, to the services, the router and the outside, and
    /// what no host may say. Nothing is changed. `progress` is told how far it is; `frames` are told when asked for.
    ///
    /// # Errors
    /// A [`Problem`] when the world was never up, when it is looked at already, or when the engine cannot prove.
    pub async fn prove(
        &self,
        verdict: Verdict<act::Prove, WorldRef>,
        frames: bool,
        progress: &watch::Sender<Progress>,
    ) -> Result<Proof, Problem> {
        let began = Instant::now();
        let world = verdict.object();
        let what = format!("cannot prove world \"{}\"", world.name);
        let stored = self.store().world(&verdict).await.map_err(|error| error.problem(&what))?;
        let Some(spec) = stored.spec else {
            return Err(problem(ProblemKind::Failed, what, "it was never up", "bring it up with `netengine up`"));
        };
        let turn = self.probing(world.id);
        let Ok(_turn) = turn.try_lock() else {
            let cause = "live checks are at work on this world";
            return Err(problem(ProblemKind::Conflict, what, cause, "wait for them, then try again"));
        };
        let proving = async {
            let target = self.held_target(world, spec, stored.up_to, stored.peers).await?;
            let asked = asked(&target);
            let all = asked.len();
            progress.send_replace(Progress { done: 0, all });
            let mut seen = Vec::with_capacity(all);
            for part in asked.chunks(limits::FLOW_PROBES) {
                seen.extend(self.sent(world, part.iter()).await?);
                progress.send_replace(Progress { done: seen.len(), all });
            }
            // What could not be concluded is tried once more: a machine may have been too busy to deliver in time.
            let open: Vec<usize> =
                (0..all).filter(|place| judge(&asked[*place], &seen[*place]).0 == INCONCLUSIVE).collect();
            if open.len() <= limits::FLOW_PROBES && !open.is_empty() {
                let again = self.sent(world, open.iter().map(|place| &asked[*place])).await?;
                for (place, again) in open.iter().zip(again) {
                    seen[*place] = again;
                }
            }
            let flows: Vec<_> = asked.iter().zip(&seen).map(|(asked, seen)| proven(asked, seen, frames)).collect();
            // Looked at afterwards: a table that was tampered with during the proof is seen.
            let drift = attempt::observe(self, world, Some(&target)).await?.drift;
            Ok((flows, drift.iter().map(|change| describe(phases::ANDS, change)).collect::<Vec<_>>()))
        };
        let (flows, drift) = proving.await.map_err(|inner| about(inner, what))?;
        let passed = !flows.is_empty() && flows.iter().all(|flow| flow.outcome == PASSED) && drift.is_empty();
        let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Proof { world: world.name.to_string(), passed, flows, drift, millis })
    }

    /// What became of these, one answer each: a flow without one is a flow that was not observed.
    async fn sent(&self, world: &WorldRef, asked: impl Iterator<Item = &Asked>) -> Result<Vec<FlowSeen>, Problem> {
        let probes: Vec<_> = asked
            .map(|asked| FlowProbe {
                from: asked.from.clone(),
                source: asked.flow.source,
                to: asked.flow.target,
                kind: asked.flow.kind,
            })
            .collect();
        let count = probes.len();
        let probes = Bounded::new(probes).unwrap_or_default();
        let seen = self.root().prove_flows(world.id, world.owner, &probes).await;
        let mut seen = seen.map_err(|error| error.problem(""))?;
        seen.resize_with(count, FlowSeen::default);
        Ok(seen)
    }
}

/// Every flow that is to be proven.
fn asked(target: &Target) -> Vec<Asked> {
    let vantages = vantages(target);
    let Some(port) = Port::new(PORT) else { return Vec::new() };
    let answers = Answers { names: phases::names_resolve(target.up_to) };
    let peers: Vec<PeerWorld> = target
        .peers
        .iter()
        .filter_map(|peer| {
            let addresses = peers::first_addresses(peer.standing.joined()?);
            Some(PeerWorld { name: peer.endpoint.clone(), addresses })
        })
        .collect();
    let matrix = reach::matrix(&target.spec, &target.desired.ands, &vantages, &peers, port, answers);
    let host = |network: &str| {
        let vantage = vantages.iter().find(|vantage| vantage.network == network)?;
        vantage.host.as_ref().map(|(host, _)| Node::Host(host.clone()))
    };
    let node = |role: Role, network: &str| match role {
        Role::Host => host(network),
        Role::Services => Some(Node::Services),
        Role::Router => Some(Node::Gateway),
        Role::Outside | Role::Peer => None,
    };
    let of = |flow: Expectation| {
        Some(Asked { from: node(flow.sender, &flow.from)?, to: node(flow.receiver, &flow.to), flow })
    };
    matrix.into_iter().filter_map(of).collect()
}

/// Who speaks for each network, in the spec's order, then for each AND.
fn vantages(target: &Target) -> Vec<Vantage> {
    let networks = target.spec.networks();
    let networks = (0u16..).zip(&networks).map(|(index, view)| (view.name.to_string(), IfName::numbered("br", index)));
    let ands = target.desired.ands.iter().map(|and| (and.name.to_string(), and.link.clone()));
    networks.chain(ands).filter_map(|(name, link)| vantage(target, name, &link)).collect()
}

fn vantage(target: &Target, network: String, link: &IfName) -> Option<Vantage> {
    let plan = &target.network;
    let addresses = |held: &[IfAddr]| -> Vec<IpAddr> { held.iter().map(|address| address.addr()).collect() };
    let bridge = plan.bridges.iter().find(|bridge| bridge.name == *link)?;
    let ends = || plan.cables.iter().filter(|cable| cable.a.bridge.as_ref() == Some(link)).map(|cable| &cable.b);
    let host_of = |end: &CableEnd| -> Option<(HostName, Vec<IpAddr>)> {
        let Node::Host(host) = &end.node else { return None };
        Some((host.clone(), addresses(&end.addresses)))
    };
    let services = ends().filter(|end| end.node == Node::Services).flat_map(|end| addresses(&end.addresses));
    Some(Vantage {
        network,
        host: ends().find_map(host_of),
        services: services.collect(),
        router: addresses(&bridge.addresses),
    })
}

const PASSED: &str = "passed";
const FAILED: &str = "failed";
const INCONCLUSIVE: &str = "inconclusive";

/// Two observations, the router's verdict and the arrival, against what the spec says. Where one is missing or they contradict each
/// other, nothing is concluded, but for what is blocked and arrived past the router: the arrival alone says that.
fn judge(asked: &Asked, seen: &FlowSeen) -> (&'static str, String) {
    let arrived = seen.delivered.as_ref();
    let at = || arrived.map(|(node, from)| format!("{node} from {from}")).unwrap_or_default();
    let Some(verdict) = seen.verdict.as_ref().filter(|_| seen.doubt.is_empty()) else {
        return match (seen.doubt.as_str(), asked.flow.fate, arrived) {
            ("", Fate::Blocked, Some(_)) => {
                (FAILED, format!("it arrived at {} past the router's rules, and the spec blocks it", at()))
            }
            ("", ..) => (INCONCLUSIVE, "the router was not seen to handle it".to_owned()),
            (doubt, ..) => (INCONCLUSIVE, doubt.to_owned()),
        };
    };
    match (asked.flow.fate, verdict.accepted, arrived) {
        (Fate::Arrives(from), true, Some((node, source))) if Some(node) == asked.to.as_ref() && *source == from => {
            (PASSED, String::new())
        }
        (Fate::Arrives(from), true, Some(_)) => {
            let to = asked.to.as_ref().map(Node::to_string).unwrap_or_default();
            (FAILED, format!("it arrived at {}, and should at {to} from {from}", at()))
        }
        // Of what the router takes nothing arrives anywhere; what leaves the world is seen on its uplink.
        (Fate::Taken, true, None | Some((Node::Uplink, _))) => (PASSED, String::new()),
        (Fate::Taken, true, Some(_)) => (FAILED, format!("it arrived at {}", at())),
        (Fate::Arrives(_) | Fate::Taken, false, None) => {
            (FAILED, "the router dropped it, and the spec lets it through".to_owned())
        }
        (Fate::Blocked, false, None) => (PASSED, String::new()),
        (Fate::Blocked, true, Some(_)) => (FAILED, format!("it arrived at {}, and the spec blocks it", at())),
        // Its own router heard it, and no further arrival is to be seen.
        (Fate::Blocked, true, None) if asked.flow.receiver == Role::Router && !is_claim(&asked.flow) => {
            (FAILED, "the router took it, and the spec blocks it".to_owned())
        }
        (_, true, None) => (INCONCLUSIVE, "the router accepted it, and it was not seen to arrive".to_owned()),
        (_, false, Some(_)) => {
            (INCONCLUSIVE, format!("the router was seen to drop it, and it was seen to arrive at {}", at()))
        }
    }
}

fn is_claim(flow: &Expectation) -> bool {
    matches!(flow.kind, ProbeKind::Claim(_))
}

fn proven(asked: &Asked, seen: &FlowSeen, frames: bool) -> ProvenFlow {
    let flow = &asked.flow;
    let (outcome, cause) = judge(asked, seen);
    let (protocol, port) = match flow.kind {
        ProbeKind::Tcp(port) => ("tcp", Some(port.get())),
        ProbeKind::Udp(port) => ("udp", Some(port.get())),
        ProbeKind::Icmp => ("icmp", None),
        ProbeKind::Claim(claim) => (claim.word(), None),
    };
    let verdict = seen.verdict.as_ref();
    let arrives_from = match flow.fate {
        Fate::Arrives(from) => Some(from.to_string()),
        Fate::Blocked | Fate::Taken => None,
    };
    let digits = |bytes: &Vec<u8>| (frames && !bytes.is_empty()).then(|| digits(bytes));
    ProvenFlow {
        from: flow.from.clone(),
        sender: flow.sender.word().to_owned(),
        to: flow.to.clone(),
        receiver: flow.receiver.word().to_owned(),
        protocol: protocol.to_owned(),
        port,
        source: flow.source.to_string(),
        target: flow.target.to_string(),
        reaches: flow.fate != Fate::Blocked,
        arrives_from,
        outcome: outcome.to_owned(),
        verdict: verdict.map(|verdict| if verdict.accepted { "accept" } else { "drop" }.to_owned()),
        chain: verdict.map(|verdict| verdict.chain.clone()),
        rule: verdict.map(|verdict| verdict.rule.clone()),
        delivered_to: seen.delivered.as_ref().map(|(node, _)| node.to_string()),
        delivered_from: seen.delivered.as_ref().map(|(_, source)| source.to_string()),
        cause,
        sent: digits(&seen.sent),
        arrived: digits(&seen.arrived),
    }
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use netengine_proto::root::FlowVerdict;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn flow(fate: Fate, receiver: Role) -> Asked {
        let flow = Expectation {
            from: "a".into(),
            sender: Role::Host,
            to: "b".into(),
            receiver,
            source: address("10.1.0.2"),
            target: address("10.2.0.2"),
            kind: ProbeKind::Icmp,
            fate,
        };
        Asked { from: host(), to: (receiver == Role::Host).then(host), flow }
    }

    fn seen(accepted: bool, delivered: Option<&str>) -> FlowSeen {
        let verdict = FlowVerdict { accepted, chain: "forward".into(), rule: "policy drop".into() };
        FlowSeen {
            verdict: Some(verdict),
            delivered: delivered.map(|from| (host(), address(from))),
            ..FlowSeen::default()
        }
    }

    fn host() -> Node {
        Node::Host(HostName::parse("b").expect("a name"))
    }

    #[test]
    fn only_what_both_observations_say_is_a_pass() {
        let own = Some("10.1.0.2");
        let arrives = |from: &str| flow(Fate::Arrives(address(from)), Role::Host);
        let blocked = |receiver| flow(Fate::Blocked, receiver);
        let taken = |receiver| flow(Fate::Taken, receiver);
        for (expected, observed, outcome) in [
            (arrives("10.1.0.2"), seen(true, own), PASSED),
            (blocked(Role::Host), seen(false, None), PASSED),
            (arrives("10.2.0.1"), seen(true, own), FAILED),
            (arrives("10.1.0.2"), seen(false, None), FAILED),
            (blocked(Role::Host), seen(true, own), FAILED),
            (arrives("10.1.0.2"), seen(true, None), INCONCLUSIVE),
            (blocked(Role::Host), seen(true, None), INCONCLUSIVE),
            (blocked(Role::Host), seen(false, own), INCONCLUSIVE),
            (arrives("10.1.0.2"), FlowSeen::default(), INCONCLUSIVE),
            (blocked(Role::Host), FlowSeen::default(), INCONCLUSIVE),
            (blocked(Role::Host), FlowSeen { doubt: "lost".into(), ..seen(false, None) }, INCONCLUSIVE),
            (blocked(Role::Host), FlowSeen { verdict: None, ..seen(true, own) }, FAILED),
            (blocked(Role::Host), FlowSeen { doubt: "two".into(), verdict: None, ..seen(true, own) }, INCONCLUSIVE),
            (arrives("10.1.0.2"), FlowSeen { verdict: None, ..seen(true, own) }, INCONCLUSIVE),
            (taken(Role::Router), seen(true, None), PASSED),
            (taken(Role::Router), seen(false, None), FAILED),
            (taken(Role::Router), seen(true, own), FAILED),
            (blocked(Role::Router), seen(false, None), PASSED),
            (blocked(Role::Router), seen(true, None), FAILED),
            (blocked(Role::Outside), seen(false, None), PASSED),
            (blocked(Role::Outside), seen(true, None), INCONCLUSIVE),
            (blocked(Role::Outside), FlowSeen::default(), INCONCLUSIVE),
        ] {
            let (found, cause) = judge(&expected, &observed);
            assert_eq!(found, outcome, "{:?} {observed:?}", expected.flow);
            assert_eq!(cause.is_empty(), outcome == PASSED, "{cause}");
        }
    }

    #[test]
    fn frames_are_told_in_digits_and_only_when_asked_for() {
        let observed = FlowSeen { sent: vec![0, 0xab, 9], ..seen(false, None) };
        let asked = flow(Fate::Blocked, Role::Host);
        assert_eq!(proven(&asked, &observed, true).sent.as_deref(), Some("00ab09"));
        assert_eq!(proven(&asked, &observed, true).arrived, None);
        assert_eq!(proven(&asked, &observed, false).sent, None);
    }
}
