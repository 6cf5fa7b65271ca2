//! Some rules of many: the rules of a transaction get numbers, and a listing has only those that were asked for.
//!
//! Listing ten thousand rules takes nft as long as loading them, and a trace names a handful. A rule's number is kept where nft keeps its comment
//! (`NFTA_RULE_USERDATA`), as a kind of its own, which libnftables passes over; the kernel returns it with the rule's handle.

use std::collections::HashMap;

use crate::messages::{GETRULE, HEADER, NEWRULE, attribute, kind, message, messages, with};

/// `NFTA_RULE_TABLE`, `_CHAIN`, `_HANDLE`, `_USERDATA`, `_CHAIN_ID`.
const TABLE: u16 = 1;
const CHAIN: u16 = 2;
const HANDLE: u16 = 3;
const USERDATA: u16 = 7;
const CHAIN_ID: u16 = 11;
/// `NLM_F_REPLACE`; `NLM_F_REQUEST`; `NLM_F_ROOT | NLM_F_MATCH`, a dump.
const REPLACE: u16 = 0x100;
const REQUEST: u16 = 1;
const DUMP: u16 = 0x300;
/// The kind of user data, which nobody else uses: of the comment it is 0 (libnftnl, `enum nftnl_udata_rule_types`).
const NUMBER: u8 = 0xee;
/// A name that no table has: nothing but the end of the dump answers it.
const NOBODY: &[u8] = b"\x01\0";

/// The same transaction, in which each rule of a chain with a name carries its number among those that the transaction adds to its chain,
/// from 0, and how many these are. None when the bytes are no transaction.
pub fn numbered(parts: &[&[u8]]) -> Option<Vec<u8>> {
    let messages = messages(parts)?;
    let mut totals: HashMap<_, u32> = HashMap::new();
    for chain in messages.iter().filter_map(|message| chain_of(message)) {
        *totals.entry(chain).or_default() += 1;
    }
    let mut counted: HashMap<_, u32> = HashMap::new();
    let rules: u32 = totals.values().sum();
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len()).sum::<usize>() + 24 * rules as usize);
    for message in messages {
        let start = bytes.len();
        bytes.extend(message);
        if let Some(chain) = chain_of(message) {
            let total = totals.get(&chain).copied().unwrap_or_default();
            let count = counted.entry(chain).or_default();
            let mut data = attribute(&message[HEADER..], USERDATA).unwrap_or_default().to_vec();
            data.extend([NUMBER, 8]);
            data.extend(count.to_be_bytes());
            data.extend(total.to_be_bytes());
            *count += 1;
            // Of two attributes of one number the kernel takes the last (lib/nlattr.c, `__nla_validate_parse`).
            bytes.extend(with(USERDATA, &data));
            let length = (bytes.len() - start) as u32;
            bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        }
    }
    Some(bytes)
}

/// Family, table and chain of a rule that is added to a chain with a name.
fn chain_of(message: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let is_added = kind(message) == NEWRULE && flags(message) & REPLACE == 0;
    let attributes = message.get(HEADER..).filter(|_| is_added)?;
    if attribute(attributes, CHAIN_ID).is_some() {
        return None;
    }
    Some((message[16], attribute(attributes, TABLE)?, attribute(attributes, CHAIN)?))
}

fn flags(message: &[u8]) -> u16 {
    u16::from_ne_bytes([message[6], message[7]])
}

/// A rule that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// `NFPROTO_*`.
    family: u8,
    /// Names that end with NUL.
    table: Vec<u8>,
    chain: Vec<u8>,
    handle: u64,
}

/// Reads lines of family, table, chain and handle; the family and the handle are numbers. None when one is anything else.
pub fn wanted(text: &[u8]) -> Option<Vec<Wanted>> {
    let line = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let [family, table, chain, handle] = words.as_slice() else { return None };
        let name = |name: &str| [name.as_bytes(), &[0]].concat();
        Some(Wanted {
            family: family.parse().ok()?,
            table: name(table),
            chain: name(chain),
            handle: handle.parse().ok()?,
        })
    };
    std::str::from_utf8(text).ok()?.lines().map(line).collect()
}

/// What asks for these rules one by one, in place of a dump of all rules; the kernel answers it as if it were a dump of them. None when
/// the request is anything else.
pub fn request(dump: &[u8], wanted: &[Wanted]) -> Option<Vec<u8>> {
    let messages = messages(&[dump])?;
    let &[asked] = messages.as_slice() else { return None };
    if kind(asked) != GETRULE || flags(asked) & DUMP != DUMP {
        return None;
    }
    let sequence = u32::from_ne_bytes([asked[8], asked[9], asked[10], asked[11]]);
    let (family, table) = (asked[16], attribute(&asked[HEADER..], TABLE));
    let is_asked =
        |rule: &&Wanted| (family == 0 || family == rule.family) && table.is_none_or(|table| table == rule.table);
    let one = |rule: &Wanted| {
        let names = [with(TABLE, &rule.table), with(CHAIN, &rule.chain), with(HANDLE, &rule.handle.to_be_bytes())];
        message(GETRULE, REQUEST, sequence, rule.family, &names)
    };
    let mut bytes: Vec<u8> = wanted.iter().filter(is_asked).flat_map(one).collect();
    bytes.extend(message(GETRULE, REQUEST | DUMP, sequence, family, &[with(TABLE, NOBODY)]));
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::attributes;

    fn rule(flags: u16, family: u8, chain: &[u8], more: &[Vec<u8>]) -> Vec<u8> {
        message(NEWRULE, flags, 7, family, &[&[with(TABLE, b"t\0"), with(CHAIN, chain)], more].concat())
    }

    #[test]
    fn rules_are_counted_in_their_chains_and_keep_their_comments() {
        let comment = [0, 2, b'x', 0];
        let all = [
            rule(5, 2, b"a\0", &[]),
            rule(5, 2, b"b\0", &[with(USERDATA, &comment)]),
            rule(5, 10, b"a\0", &[]),
            rule(5 | REPLACE, 2, b"a\0", &[]),
            rule(5, 2, b"a\0", &[with(CHAIN_ID, &[0; 4])]),
            rule(5, 2, b"a\0", &[]),
            message(GETRULE, 1, 8, 2, &[with(TABLE, b"t\0")]),
        ];
        let numbered = numbered(&[&all[..2].concat(), &all[2..].concat()]).expect("a transaction");
        let numbered = messages(&[&numbered]).expect("messages");
        let data = |message: &&[u8]| {
            let last = attributes(&message[HEADER..]).filter(|(which, _)| *which == USERDATA).last();
            last.map(|(_, data)| data.to_vec())
        };
        let number = |count: u8, total: u8| vec![NUMBER, 8, 0, 0, 0, count, 0, 0, 0, total];
        let commented = [comment.to_vec(), number(0, 1)].concat();
        assert_eq!(
            numbered.iter().map(data).collect::<Vec<_>>(),
            [Some(number(0, 2)), Some(commented), Some(number(0, 1)), None, None, Some(number(1, 2)), None]
        );
        assert!(numbered.iter().zip(&all).all(|(message, was)| message[4..].starts_with(&was[4..])));
    }

    #[test]
    fn a_dump_of_rules_becomes_requests_for_those_of_its_table() {
        let wanted = wanted(b"2 t c 5\n2 other c 6\n10 t c 7").expect("rules");
        let dump = |family, table: &[u8]| message(GETRULE, REQUEST | DUMP, 9, family, &[with(TABLE, table)]);
        let asked = request(&dump(2, b"t\0"), &wanted).expect("a dump");
        let asked = messages(&[&asked]).expect("messages");
        assert_eq!(asked.len(), 2);
        assert_eq!(attribute(&asked[0][HEADER..], HANDLE), Some(&5_u64.to_be_bytes()[..]));
        assert_eq!((flags(asked[0]), flags(asked[1]), asked[0][8]), (REQUEST, REQUEST | DUMP, 9));
        assert!(request(&message(GETRULE, REQUEST, 9, 2, &[]), &wanted).is_none());
        assert!(request(&message(NEWRULE, REQUEST | DUMP, 9, 2, &[]), &wanted).is_none());
        assert!(super::wanted(b"2 t c").is_none() && super::wanted(b"2 t c x").is_none());
    }
}
