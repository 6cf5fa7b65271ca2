//! `prove`: what the spec says of every flow, held against what the kernel did with a packet of it.

use std::{collections::BTreeSet, time::Instant};

use netengine_proto::{
    api::{Problem, ProblemKind, Proof, ProvenFlow},
    bounded::Bounded,
    limits,
    net::Port,
    plan::{NetworkPlan, Node},
    root::{FlowProbe, FlowSeen, ProbeKind},
};

use super::{Orchestrator, attempt};
use crate::{
    decide::{Verdict, WorldRef, act},
    plan::{
        Target,
        diff::describe,
        phases,
        reach::{self, Expectation, Vantage},
    },
    problem::{about, problem},
};

/// The port that TCP and UDP are tried with: discard (RFC 863), where nothing of a world answers.
const PORT: u16 = 9;

impl Orchestrator {
    /// Sends a packet of every kind from every network to every other. Nothing is changed.
    ///
    /// # Errors
    /// A [`Problem`] when the world was never up, when it is looked at already, or when the engine cannot prove.
    pub async fn prove(&self, verdict: Verdict<act::Prove, WorldRef>) -> Result<Proof, Problem> {
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
            let target = self.held_target(world, spec, stored.up_to).await?;
            let expected = expected(&target);
            let mut flows = Vec::with_capacity(expected.len());
            for part in expected.chunks(limits::FLOW_PROBES) {
                let probes = part.iter().map(|(from, _, flow)| FlowProbe {
                    from: from.clone(),
                    source: flow.source,
                    to: flow.target,
                    kind: flow.kind,
                });
                let probes = Bounded::new(probes.collect()).unwrap_or_default();
                let seen = self.root().prove_flows(world.id, world.owner, &probes).await;
                let mut seen = seen.map_err(|error| error.problem(""))?.into_iter();
                // A flow without an answer is one that was not observed.
                flows.extend(part.iter().map(|(_, to, flow)| proven(flow, to, &seen.next().unwrap_or_default())));
            }
            // Looked at afterwards: a table that was tampered with during the proof is seen.
            let drift = attempt::observe(self, world, Some(&target)).await?.drift;
            Ok((flows, drift.iter().map(|change| describe(phases::ANDS, change)).collect::<Vec<_>>()))
        };
        let (flows, drift) = proving.await.map_err(|inner| about(inner, what))?;
        let passed = !flows.is_empty() && flows.iter().all(|flow| flow.outcome == PASSED) && drift.is_empty();
        let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Proof { world: world.name.to_string(), passed, flows, drift, millis })
    }
}

/// Every flow with the host that sends it and the node where it must be seen.
fn expected(target: &Target) -> Vec<(netengine_proto::names::HostName, Node, Expectation)> {
    let vantages = vantages(&target.network);
    let Some(port) = Port::new(PORT) else { return Vec::new() };
    let matrix = reach::matrix(&target.spec, &target.desired.ands, &vantages, port);
    let host = |network: &str| vantages.iter().find(|vantage| vantage.network == network).map(|v| v.host.clone());
    matrix.into_iter().filter_map(|flow| Some((host(&flow.from)?, Node::Host(host(&flow.to)?), flow))).collect()
}

/// The first vantage host of each network. It is named like the network.
fn vantages(plan: &NetworkPlan) -> Vec<Vantage> {
    let mut seen = BTreeSet::new();
    let addresses = |held: &[netengine_proto::net::IfAddr]| held.iter().map(|address| address.addr()).collect();
    let of_cable = |cable: &netengine_proto::plan::CablePlan| {
        let (Node::Host(host), Some(link)) = (&cable.b.node, &cable.a.bridge) else { return None };
        let bridge = plan.bridges.iter().find(|bridge| bridge.name == *link)?;
        seen.insert(link.clone()).then(|| Vantage {
            network: host.to_string(),
            host: host.clone(),
            addresses: addresses(&cable.b.addresses),
            router: addresses(&bridge.addresses),
        })
    };
    plan.cables.iter().filter_map(of_cable).collect()
}

const PASSED: &str = "passed";
const FAILED: &str = "failed";
const INCONCLUSIVE: &str = "inconclusive";

/// Two observations, the router's verdict and the arrival, against what the spec says. Where one is missing or they contradict each
/// other, nothing is concluded.
fn judge(flow: &Expectation, to: &Node, seen: &FlowSeen) -> (&'static str, String) {
    let Some(verdict) = seen.verdict.as_ref().filter(|_| seen.doubt.is_empty()) else {
        let cause = if seen.doubt.is_empty() { "the router was not seen to handle it" } else { seen.doubt.as_str() };
        return (INCONCLUSIVE, cause.to_owned());
    };
    match (flow.arrives_from, verdict.accepted, &seen.delivered) {
        (Some(from), true, Some((node, source))) if node == to && *source == from => (PASSED, String::new()),
        (Some(from), true, Some((node, source))) => {
            (FAILED, format!("it arrived at {node} from {source}, and should at {to} from {from}"))
        }
        (Some(_), false, None) => (FAILED, "the router dropped it, and the spec lets it through".to_owned()),
        (None, false, None) => (PASSED, String::new()),
        (None, true, Some((node, _))) => (FAILED, format!("it arrived at {node}, and the spec blocks it")),
        (_, true, None) => (INCONCLUSIVE, "the router accepted it, and it was not seen to arrive".to_owned()),
        (_, false, Some((node, _))) => {
            (INCONCLUSIVE, format!("the router was seen to drop it, and it was seen to arrive at {node}"))
        }
    }
}

fn proven(flow: &Expectation, to: &Node, seen: &FlowSeen) -> ProvenFlow {
    let (outcome, cause) = judge(flow, to, seen);
    let (protocol, port) = match flow.kind {
        ProbeKind::Tcp(port) => ("tcp", Some(port.get())),
        ProbeKind::Udp(port) => ("udp", Some(port.get())),
        ProbeKind::Icmp => ("icmp", None),
    };
    let verdict = seen.verdict.as_ref();
    ProvenFlow {
        from: flow.from.clone(),
        to: flow.to.clone(),
        protocol: protocol.to_owned(),
        port,
        source: flow.source.to_string(),
        target: flow.target.to_string(),
        reaches: flow.arrives_from.is_some(),
        arrives_from: flow.arrives_from.map(|address| address.to_string()),
        outcome: outcome.to_owned(),
        verdict: verdict.map(|verdict| if verdict.accepted { "accept" } else { "drop" }.to_owned()),
        chain: verdict.map(|verdict| verdict.chain.clone()),
        rule: verdict.map(|verdict| verdict.rule.clone()),
        delivered_to: seen.delivered.as_ref().map(|(node, _)| node.to_string()),
        delivered_from: seen.delivered.as_ref().map(|(_, source)| source.to_string()),
        cause,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use netengine_proto::{names::HostName, root::FlowVerdict};

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn flow(arrives_from: Option<&str>) -> Expectation {
        Expectation {
            from: "a".into(),
            to: "b".into(),
            source: address("10.1.0.2"),
            target: address("10.2.0.2"),
            kind: ProbeKind::Icmp,
            arrives_from: arrives_from.map(address),
        }
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
        for (expected, observed, outcome) in [
            (own, seen(true, own), PASSED),
            (None, seen(false, None), PASSED),
            (Some("10.2.0.1"), seen(true, own), FAILED),
            (own, seen(false, None), FAILED),
            (None, seen(true, own), FAILED),
            (own, seen(true, None), INCONCLUSIVE),
            (None, seen(true, None), INCONCLUSIVE),
            (None, seen(false, own), INCONCLUSIVE),
            (own, FlowSeen::default(), INCONCLUSIVE),
            (None, FlowSeen::default(), INCONCLUSIVE),
            (None, FlowSeen { doubt: "lost".into(), ..seen(false, None) }, INCONCLUSIVE),
        ] {
            let (found, cause) = judge(&flow(expected), &host(), &observed);
            assert_eq!(found, outcome, "{expected:?} {observed:?}");
            assert_eq!(cause.is_empty(), outcome == PASSED, "{cause}");
        }
    }
}
