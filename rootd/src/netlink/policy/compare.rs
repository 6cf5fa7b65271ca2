//! What the kernel holds, compared with the model: chain by chain, set by set, element by element, rule by rule.

use std::collections::{BTreeMap, BTreeSet};

use netlink_packet_core::Emitable;
use netlink_packet_netfilter::{
    NetfilterMessageInner,
    nftables::{
        ChainAttribute, ChainMessage, DataAttribute, ExpressionAttribute, Expressions, ListAttribute, NfTablesMessage,
        RuleAttribute, RuleMessage, SetAttribute, SetElementList, SetElementMessage, SetMessage, TableAttribute,
        TableMessage,
    },
};

use super::{
    delta::Delta,
    encode::{Expression, base_attributes, expressions, message, set_facts, verdict},
    model::{Chain, Elements, Family, Rule, Set, Table, Verdict},
    raw::{Raw, plain},
};
use crate::netlink::socket::{Netlink, NetlinkError};

/// Whether there is a table of this name in a family.
pub(super) fn present(socket: &mut Netlink, family: Family, name: &str) -> Result<bool, NetlinkError> {
    let mut present = false;
    let question = NfTablesMessage::GetTable(TableMessage { attributes: vec![] });
    socket.dump(message(family, question, 0), |answer| {
        if let NetfilterMessageInner::NfTables(NfTablesMessage::NewTable(table)) = answer.inner {
            present |= table.attributes.contains(&TableAttribute::Name(name.to_owned()));
        }
    })?;
    Ok(present)
}

/// Whether the table of this name says exactly what `table` says.
pub(super) fn equal(socket: &mut Netlink, name: &str, table: &Table) -> Result<bool, NetlinkError> {
    Ok(chains_equal(socket, name, table)? && sets_equal(socket, name, table)? && rules_equal(socket, name, table)?)
}

fn chains_equal(socket: &mut Netlink, name: &str, table: &Table) -> Result<bool, NetlinkError> {
    let mut seen = BTreeMap::new();
    let question = NfTablesMessage::GetChain(ChainMessage { attributes: vec![] });
    socket.dump(message(table.family, question, 0), |answer| {
        if let NetfilterMessageInner::NfTables(NfTablesMessage::NewChain(chain)) = answer.inner
            && chain.attributes.contains(&ChainAttribute::Table(name.to_owned()))
            && let Some(ChainAttribute::Name(own)) =
                chain.attributes.iter().find(|attribute| matches!(attribute, ChainAttribute::Name(_)))
        {
            seen.insert(own.clone(), chain.attributes);
        }
    })?;
    let equal = |chain: &Chain| {
        seen.get(&chain.name).is_some_and(|attributes| match &chain.base {
            Some(base) => base_attributes(base).iter().all(|wanted| attributes.contains(wanted)),
            None => !attributes.iter().any(|attribute| matches!(attribute, ChainAttribute::Hook(_))),
        })
    };
    Ok(seen.len() == table.chains.len() && table.chains.iter().all(equal))
}

fn sets_equal(socket: &mut Netlink, name: &str, table: &Table) -> Result<bool, NetlinkError> {
    let mut seen = BTreeMap::new();
    let question = NfTablesMessage::GetSet(SetMessage { attributes: vec![SetAttribute::Table(name.to_owned())] });
    socket.dump(message(table.family, question, 0), |answer| {
        if let NetfilterMessageInner::NfTables(NfTablesMessage::NewSet(set)) = answer.inner
            && let Some(SetAttribute::Name(own)) =
                set.attributes.iter().find(|attribute| matches!(attribute, SetAttribute::Name(_)))
        {
            seen.insert(own.clone(), set.attributes);
        }
    })?;
    if seen.len() != table.sets.len() {
        return Ok(false);
    }
    for set in &table.sets {
        let Some(attributes) = seen.get(set.name) else { return Ok(false) };
        let told = |wanted: &SetAttribute| match wanted {
            // No flags are not told.
            SetAttribute::Flags(flags) if flags.is_empty() => {
                !attributes.iter().any(|a| matches!(a, SetAttribute::Flags(flags) if !flags.is_empty()))
            }
            wanted => attributes.contains(wanted),
        };
        if !set_facts(set).iter().all(told) || !elements_equal(socket, name, table.family, set)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn elements_equal(socket: &mut Netlink, name: &str, family: Family, set: &Set) -> Result<bool, NetlinkError> {
    let mut seen = BTreeMap::new();
    let mut odd = false;
    let attributes = vec![SetElementList::Table(name.to_owned()), SetElementList::Set(set.name.into())];
    let question = NfTablesMessage::GetSetElement(SetElementMessage { attributes });
    socket.dump(Raw::of(message(family, question, 0)), |answer: Raw| {
        for element in answer.elements() {
            match element {
                Some(element) => odd |= seen.insert(element.key, element.data).is_some(),
                None => odd = true,
            }
        }
    })?;
    let bytes = |data: DataAttribute| {
        let mut bytes = vec![0; data.buffer_len()];
        data.emit(&mut bytes);
        plain(&bytes)
    };
    let value = |key: &[u8]| bytes(DataAttribute::Value(key.to_vec()));
    let same = match &set.elements {
        Elements::Keys(keys) => seen.len() == keys.len() && keys.iter().all(|key| seen.get(&value(key)) == Some(&None)),
        Elements::Verdicts(map) => {
            let same = |(key, to): (&Vec<u8>, &Verdict)| seen.get(&value(key)) == Some(&Some(bytes(verdict(to))));
            seen.len() == map.len() && map.iter().all(same)
        }
    };
    Ok(same && !odd)
}

/// A rule as the kernel holds it.
pub(super) struct Seen {
    pub chain: String,
    pub handle: u64,
    pub expressions: Vec<Expression>,
}

/// The rules of a table, chain by chain in their order.
pub(super) fn rules(socket: &mut Netlink, name: &str, family: Family) -> Result<Vec<Seen>, NetlinkError> {
    rules_of(socket, name, family, None)
}

/// Those of one chain, or of all.
fn rules_of(socket: &mut Netlink, name: &str, family: Family, chain: Option<&str>) -> Result<Vec<Seen>, NetlinkError> {
    let mut rules = Vec::new();
    let chain = chain.map(|chain| RuleAttribute::Chain(chain.to_owned()));
    let attributes = [RuleAttribute::Table(name.to_owned())].into_iter().chain(chain).collect();
    let filter = RuleMessage { attributes };
    socket.dump(message(family, NfTablesMessage::GetRule(filter), 0), |answer| {
        let NetfilterMessageInner::NfTables(NfTablesMessage::NewRule(rule)) = answer.inner else { return };
        if !rule.attributes.contains(&RuleAttribute::Table(name.to_owned())) {
            return;
        }
        let mut seen = Seen { chain: String::new(), handle: 0, expressions: Vec::new() };
        for attribute in rule.attributes {
            match attribute {
                RuleAttribute::Chain(name) => seen.chain = name,
                RuleAttribute::Handle(handle) => seen.handle = handle,
                RuleAttribute::Expressions(list) => seen.expressions = list,
                _ => {}
            }
        }
        rules.push(seen);
    })?;
    Ok(rules)
}

fn rules_equal(socket: &mut Netlink, name: &str, table: &Table) -> Result<bool, NetlinkError> {
    let mut seen: BTreeMap<String, Vec<Vec<Expression>>> = BTreeMap::new();
    for rule in rules(socket, name, table.family)? {
        seen.entry(rule.chain).or_default().push(rule.expressions);
    }
    let none = Vec::new();
    let known: BTreeSet<_> = table.chains.iter().map(|chain| chain.name.as_str()).collect();
    Ok(seen.keys().all(|chain| known.contains(chain.as_str()))
        && table.chains.iter().all(|chain| {
            let present = seen.get(&chain.name).unwrap_or(&none);
            present.len() == chain.rules.len()
                && chain.rules.iter().zip(present).all(|(wanted, present)| rule_equal(wanted, present))
        }))
}

/// Whether what a change touched is now as `table` says: the sets as a whole, and each chain.
pub(super) fn touched_equal(
    socket: &mut Netlink,
    name: &str,
    table: &Table,
    delta: &Delta<'_>,
) -> Result<bool, NetlinkError> {
    for set in table.sets.iter().filter(|set| delta.touches(set)) {
        if !elements_equal(socket, name, table.family, set)? {
            return Ok(false);
        }
    }
    for chain in delta.new_chains.iter().chain(&delta.refilled) {
        let present = rules_of(socket, name, table.family, Some(&chain.name))?;
        let equal = |(wanted, seen): (&Rule, &Seen)| rule_equal(wanted, &seen.expressions) && seen.chain == chain.name;
        if present.len() != chain.rules.len() || !chain.rules.iter().zip(&present).all(equal) {
            return Ok(false);
        }
    }
    for chain in &delta.gone_chains {
        if !rules_of(socket, name, table.family, Some(chain))?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a rule is the one that the kernel holds. What a counter counted is no difference.
pub(super) fn rule_equal(wanted: &Rule, present: &[Expression]) -> bool {
    let wanted = expressions(wanted);
    wanted.len() == present.len() && wanted.iter().zip(present).all(|(wanted, seen)| same(wanted, seen))
}

fn same(wanted: &Expression, seen: &Expression) -> bool {
    let data = |expression: &Expression| match expression {
        ListAttribute::Element(parts) => parts.iter().find_map(|part| match part {
            ExpressionAttribute::Data(data) => Some(data.clone()),
            _ => None,
        }),
        _ => None,
    };
    let name = |expression: &Expression| match expression {
        ListAttribute::Element(parts) => parts.iter().find_map(|part| match part {
            ExpressionAttribute::Name(name) => Some(name.clone()),
            _ => None,
        }),
        _ => None,
    };
    if name(wanted) != name(seen) {
        return false;
    }
    match (data(wanted), data(seen)) {
        (Some(Expressions::Bitwise(a)), Some(Expressions::Bitwise(b))) => permutation(&a, &b),
        (Some(Expressions::Cmp(a)), Some(Expressions::Cmp(b))) => permutation(&a, &b),
        (Some(Expressions::Immediate(a)), Some(Expressions::Immediate(b))) => permutation(&a, &b),
        (Some(Expressions::Lookup(a)), Some(Expressions::Lookup(b))) => permutation(&a, &b),
        (Some(Expressions::Meta(a)), Some(Expressions::Meta(b))) => permutation(&a, &b),
        (Some(Expressions::Payload(a)), Some(Expressions::Payload(b))) => permutation(&a, &b),
        (
            Some(Expressions::Other { expression_type, attributes: a }),
            Some(Expressions::Other { attributes: b, .. }),
        ) => expression_type == "counter" || permutation(&a, &b),
        // An expression without any attribute may be told without the list.
        (Some(Expressions::Other { attributes, .. }), None) => attributes.is_empty(),
        _ => false,
    }
}

fn permutation<T: PartialEq>(a: &[T], b: &[T]) -> bool {
    a.len() == b.len() && a.iter().all(|attribute| b.contains(attribute))
}
