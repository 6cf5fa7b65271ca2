//! A transaction of nf_tables in pieces, each a transaction of its own, that leave the same ruleset when all of them are loaded into a network
//! namespace that nothing else looks at meanwhile.
//!
//! What a transaction calls by number (`NFTA_SET_ID`, `NFTA_CHAIN_ID`) has that number in it alone, and the kernel refuses to keep a set without
//! a name that no rule uses (net/netfilter/nf_tables_api.c, `nf_tables_commit`). So sets without names go right before the rule that uses
//! them, and chains without names, which stand before the rule that jumps to them, stay with it.

use std::collections::BTreeMap;

use crate::messages::{
    ACK, BEGIN, DELRULE, END, HEADER, NEWCHAIN, NEWRULE, NEWSET, NEWSETELEM, attribute, attributes, kind, messages,
    number,
};

/// A transaction in pieces. Their bytes are put together one by one: a transaction may have a hundred million.
#[derive(Debug)]
pub struct Pieces<'a> {
    begin: Vec<u8>,
    end: Vec<u8>,
    ordered: Ordered<'a>,
    /// Where each piece ends among the messages.
    ends: Vec<usize>,
}

/// Pieces of at most `first` bytes, then twice as many each time, up to `most`, unless what must stay together is longer: the kernel goes through
/// all that is there at the end of each. `parts` are what was to be sent, each of whole messages. None
/// when they are no transaction, or one that only works as a whole: rules placed by the number of another rule of the same transaction.
pub fn pieces<'a>(parts: &[&'a [u8]], first: usize, most: usize) -> Option<Pieces<'a>> {
    let messages = messages(parts)?;
    let (begin, rest) = messages.split_first()?;
    let (end, body) = rest.split_last()?;
    if kind(begin) != BEGIN || kind(end) != END {
        return None;
    }
    // Without attributes: the generation that a transaction may be bound to is another one after the first piece. Nobody waits for
    // acknowledgements of ends that it did not write.
    let (mut begin, mut end) = (begin[..HEADER].to_vec(), end.to_vec());
    begin[..4].copy_from_slice(&(HEADER as u32).to_ne_bytes());
    begin[6] &= !ACK;
    end[6] &= !ACK;
    let ordered = ordered(body)?;
    let (mut ends, mut from, mut length) = (Vec::new(), 0, begin.len() + end.len());
    let mut bound = first;
    for to in &ordered.units {
        let unit: usize = ordered.messages[from..*to].iter().map(|message| message.len()).sum();
        if length > begin.len() + end.len() && length + unit > bound.min(most) {
            ends.push(from);
            length = begin.len() + end.len();
            bound = bound.saturating_mul(2);
        }
        length += unit;
        from = *to;
    }
    ends.push(from);
    Some(Pieces { begin, end, ordered, ends })
}

impl Pieces<'_> {
    /// Each piece, in the order in which they are to be sent.
    pub fn each(&self) -> impl Iterator<Item = Vec<u8>> {
        let mut from = 0;
        self.ends.iter().map(move |to| {
            let messages = &self.ordered.messages[from..*to];
            from = *to;
            let mut bytes = self.begin.clone();
            messages.iter().for_each(|message| bytes.extend(*message));
            bytes.extend(&self.end);
            bytes
        })
    }
}

/// The messages of a transaction in the order in which they may be sent one after the other.
#[derive(Debug, Default)]
struct Ordered<'a> {
    messages: Vec<&'a [u8]>,
    /// Where each group that must stay together ends.
    units: Vec<usize>,
}

fn ordered<'a>(body: &[&'a [u8]]) -> Option<Ordered<'a>> {
    let mut ordered = Ordered::default();
    let mut nameless: BTreeMap<u32, Vec<&[u8]>> = BTreeMap::new();
    let mut in_nameless_chain = false;
    for message in body {
        let number = |which: u16| attribute(message.get(HEADER..)?, which).and_then(number);
        match kind(message) {
            // NFTA_SET_FLAGS with NFT_SET_ANONYMOUS; NFTA_SET_ID.
            NEWSET if number(3).unwrap_or(0) & 1 != 0 => {
                nameless.entry(number(10)?).or_default().push(message);
                continue;
            }
            // NFTA_SET_ELEM_LIST_SET_ID.
            NEWSETELEM => {
                if let Some(set) = number(4).and_then(|id| nameless.get_mut(&id)) {
                    set.push(message);
                    continue;
                }
            }
            // NFTA_CHAIN_FLAGS with NFT_CHAIN_BINDING.
            NEWCHAIN if number(10).unwrap_or(0) & 4 != 0 => in_nameless_chain = true,
            // NFTA_RULE_ID, NFTA_RULE_POSITION_ID: of a rule that is in this transaction.
            DELRULE if number(9).is_some() => return None,
            NEWRULE if number(10).is_some() => return None,
            NEWRULE => {
                let used = sets_of_rule(message).into_iter().filter_map(|id| nameless.remove(&id));
                ordered.messages.extend(used.flatten());
                // NFTA_RULE_CHAIN_ID: a rule of a chain without a name; one of a chain with a name jumps there.
                in_nameless_chain &= number(11).is_some();
            }
            _ => {}
        }
        ordered.messages.push(message);
        if !in_nameless_chain {
            ordered.units.push(ordered.messages.len());
        }
    }
    (!in_nameless_chain && nameless.is_empty()).then_some(ordered)
}

/// The numbers of the sets that a rule uses.
fn sets_of_rule(message: &[u8]) -> Vec<u32> {
    // NFTA_RULE_EXPRESSIONS, of which each is NFTA_LIST_ELEM with NFTA_EXPR_NAME and NFTA_EXPR_DATA.
    let expressions = attribute(&message[HEADER..], 4).unwrap_or_default();
    let of = |(_, expression): (u16, &[u8])| {
        let which = match attribute(expression, 1)? {
            b"lookup\0" => 4, // NFTA_LOOKUP_SET_ID
            b"dynset\0" => 2, // NFTA_DYNSET_SET_ID
            b"objref\0" => 5, // NFTA_OBJREF_SET_ID
            _ => return None,
        };
        number(attribute(attribute(expression, 2)?, which)?)
    };
    attributes(expressions).filter_map(of).collect()
}

#[cfg(test)]
#[path = "pieces_tests.rs"]
mod tests;
