//! The promise: what a change makes of a table is the other table, whatever the two say.

use netengine_proto::{
    bounded::Bounded,
    net::{IfName, Mac},
    plan::{AllowRule, DomainPolicy, FlowKind, ForwardPair, Policy},
};
use proptest::prelude::*;

use super::*;
use crate::netlink::policy::{NodePolicy, Port, model::Expr};

fn bounded<T, const MAX: usize>(entries: Vec<T>) -> Bounded<T, MAX> {
    Bounded::new(entries).unwrap_or_else(|_| panic!("few entries"))
}

fn link(n: u16) -> IfName {
    IfName::numbered("and", n)
}

/// Some of 24 domains, each open or closed both ways, some with a host, and rules between some.
fn policies() -> impl Strategy<Value = NodePolicy> {
    let domain = proptest::option::weighted(0.8, (any::<bool>(), any::<bool>(), any::<bool>(), 1u32..3, any::<bool>()));
    let allow = proptest::collection::vec((0u16..24, 0u16..24, any::<bool>()), 0..4);
    (proptest::collection::vec(domain, 24), allow).prop_map(|(domains, allow)| {
        let (mut policies, mut ports) = (Vec::new(), Vec::new());
        for (n, domain) in (0u16..).zip(domains) {
            let Some((opens, admits, masquerades, flows, has_host)) = domain else { continue };
            policies.push(DomainPolicy { link: link(n), opens, admits, masquerades, flows });
            let mac = Mac::local([2, 0, 0, 0, 0, u8::try_from(n).expect("few")]);
            let addresses = vec![[10, 0, u8::from(opens), 2].into()];
            ports.extend(has_host.then(|| Port { name: IfName::numbered("ap", n), mac, addresses }));
        }
        let kind = |is_any| if is_any { FlowKind::Any } else { FlowKind::Icmp };
        let rule = |(from, to, is_any)| AllowRule { from: link(from), to: link(to), kind: kind(is_any) };
        let policy = Policy {
            forward: bounded(vec![ForwardPair { from: IfName::numbered("br", 0), to: IfName::numbered("br", 1) }]),
            domains: bounded(policies),
            allow: bounded(allow.into_iter().map(rule).collect()),
            ..Policy::default()
        };
        NodePolicy { policy, ports }
    })
}

/// What the kernel would make of it, in the order of a transaction; what it would refuse is a panic.
fn applied(table: &Table, delta: &Delta<'_>) -> Table {
    let mut made = table.clone();
    for chain in &delta.new_chains {
        assert!(made.chains.iter().all(|known| known.name != chain.name), "{} is there already", chain.name);
        made.chains.push(Chain { rules: Vec::new(), ..(*chain).clone() });
    }
    for (part, comes) in with(&delta.gone_elements, false).chain(with(&delta.new_elements, true)) {
        let set = made.sets.iter_mut().find(|set| set.name == part.name).expect("its set");
        match (&mut set.elements, &part.elements) {
            (Elements::Keys(keys), Elements::Keys(part)) if comes => {
                part.iter().for_each(|key| assert!(keys.insert(key.clone()), "an element twice"));
            }
            (Elements::Keys(keys), Elements::Keys(part)) => {
                part.iter().for_each(|key| assert!(keys.remove(key), "no such element"));
            }
            (Elements::Verdicts(map), Elements::Verdicts(part)) if comes => {
                for (key, verdict) in part {
                    assert_eq!(map.insert(key.clone(), verdict.clone()), None, "an element twice");
                }
                part.values().for_each(|verdict| leads_somewhere(verdict, &made.chains));
            }
            (Elements::Verdicts(map), Elements::Verdicts(part)) => {
                part.keys().for_each(|key| assert!(map.remove(key).is_some(), "no such element"));
            }
            _ => panic!("a set and a map"),
        }
    }
    for chain in delta.new_chains.iter().chain(&delta.refilled) {
        let known = made.chains.iter_mut().find(|known| known.name == chain.name);
        known.expect("it is there").rules.clone_from(&chain.rules);
    }
    made.chains.retain(|chain| !delta.gone_chains.contains(&chain.name.as_str()));
    for set in &made.sets {
        if let Elements::Verdicts(map) = &set.elements {
            map.values().for_each(|verdict| leads_somewhere(verdict, &made.chains));
        }
    }
    for expression in made.chains.iter().flat_map(|chain| chain.rules.iter().flatten()) {
        if let Expr::Verdict(verdict) = expression {
            leads_somewhere(verdict, &made.chains);
        }
    }
    made
}

fn with(parts: &[Set], comes: bool) -> impl Iterator<Item = (&Set, bool)> {
    parts.iter().map(move |part| (part, comes))
}

#[track_caller]
fn leads_somewhere(verdict: &Verdict, chains: &[Chain]) {
    if let Verdict::Jump(to) = verdict {
        assert!(chains.iter().any(|chain| chain.name == *to), "a jump to {to}, which is not there");
    }
}

/// The order of chains means nothing to the kernel.
fn sorted(mut table: Table) -> Table {
    table.chains.sort_by(|a, b| a.name.cmp(&b.name));
    table
}

proptest! {
    #[test]
    fn a_change_makes_of_any_policy_any_other(old in policies(), new in policies()) {
        for (old, new) in old.tables().iter().zip(&new.tables()) {
            if let Some(delta) = Delta::between(old, new) {
                prop_assert_eq!(sorted(applied(old, &delta)), sorted(new.clone()));
                prop_assert_eq!(delta.is_empty(), sorted(old.clone()) == sorted(new.clone()));
            }
        }
    }

    #[test]
    fn one_domain_more_is_a_change_that_says_nothing_of_the_others(old in policies()) {
        let mut new = old.clone();
        let mut domains = new.policy.domains.into_inner();
        let further = DomainPolicy { link: link(99), opens: true, admits: false, masquerades: true, flows: 7 };
        domains.push(further);
        new.policy.domains = bounded(domains);
        let (old, new) = (old.tables(), new.tables());
        // A table of few chains is made anew when half of it changes.
        if let Some(delta) = Delta::between(&old[0], &new[0]) {
            let names: Vec<&str> = delta.new_chains.iter().map(|chain| chain.name.as_str()).collect();
            prop_assert_eq!(names, ["flows_neand99", "in_neand99"]);
            prop_assert!(delta.refilled.is_empty() && delta.gone_chains.is_empty() && delta.gone_elements.is_empty());
            prop_assert!(delta.new_elements.iter().all(|set| set.elements.len() == 1));
        } else {
            prop_assert!(old[0].chains.len() < 4);
        }
    }
}

#[test]
fn a_base_chain_or_a_set_that_is_another_needs_a_new_table() {
    let [table, _] = NodePolicy { policy: Policy::default(), ports: Vec::new() }.tables();
    assert!(Delta::between(&table, &table).is_some_and(|delta| delta.is_empty()));
    let changed = |change: fn(&mut Table)| {
        let mut other = table.clone();
        change(&mut other);
        [Delta::between(&table, &other).is_none(), Delta::between(&other, &table).is_none()]
    };
    assert_eq!(changed(|table| table.chains.retain(|chain| chain.name != "input")), [true; 2]);
    assert_eq!(
        changed(|table| {
            let forward = table.chains.iter_mut().find(|chain| chain.name == "forward").expect("there");
            forward.base = forward.base.map(|base| super::super::model::Base { drops: false, ..base });
        }),
        [true; 2]
    );
    assert_eq!(changed(|table| drop(table.sets.pop())), [true; 2]);
    assert_eq!(changed(|table| table.sets[0].name = "other"), [true; 2]);
    assert_eq!(changed(|table| table.family = Family::Bridge), [true; 2]);
}
