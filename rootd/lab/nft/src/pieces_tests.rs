//! Transactions as libnftables writes them, and bytes that are none.

use super::*;
use crate::messages::with;

/// A message with these attributes that is to be acknowledged.
fn message(kind: u16, sequence: u32, attributes: &[Vec<u8>]) -> Vec<u8> {
    crate::messages::message(kind, 5, sequence, 0, attributes)
}

fn set(sequence: u32, id: u32, flags: u32) -> Vec<u8> {
    message(NEWSET, sequence, &[with(3, &flags.to_be_bytes()), with(10, &id.to_be_bytes())])
}

fn elements(sequence: u32, id: u32) -> Vec<u8> {
    message(NEWSETELEM, sequence, &[with(4, &id.to_be_bytes())])
}

/// A rule of a chain without a name when `chain` is its number, which looks into a set.
fn rule(sequence: u32, chain: Option<u32>, looks_into: Option<u32>) -> Vec<u8> {
    let lookup = looks_into.map(|id| [with(1, b"lookup\0"), with(2, &with(4, &id.to_be_bytes()))].concat());
    let expressions = lookup.map(|lookup| with(4 | 0x8000, &with(1 | 0x8000, &lookup))).unwrap_or_default();
    let chain = chain.map(|id| with(11, &id.to_be_bytes())).unwrap_or_else(|| with(2, b"chain\0"));
    message(NEWRULE, sequence, &[chain, expressions])
}

fn whole(messages: &[Vec<u8>]) -> Vec<u8> {
    [vec![message(BEGIN, 0, &[with(1, &[0; 4])])], messages.to_vec(), vec![message(END, 99, &[])]].concat().concat()
}

/// The sequence numbers of each piece's messages, its ends left out, at their smallest.
fn split(messages_of: &[Vec<u8>]) -> Option<Vec<Vec<u32>>> {
    let transaction = whole(messages_of);
    let found = pieces(&[&transaction], 1, 1)?;
    let sequences = |piece: Vec<u8>| {
        let messages = messages(&[&piece]).expect("messages");
        let (first, last) = (messages[0], messages[messages.len() - 1]);
        assert_eq!((kind(first), first.len(), kind(last)), (BEGIN, HEADER, END));
        assert_eq!((first[6] & ACK, last[6] & ACK), (0, 0), "nobody reads these");
        let within = &messages[1..messages.len() - 1];
        assert!(within.iter().all(|message| message[6] & ACK != 0), "messages are as they were");
        within.iter().map(|message| u32::from_ne_bytes(message[8..12].try_into().expect("four"))).collect()
    };
    Some(found.each().map(sequences).collect())
}

#[test]
fn a_set_without_a_name_goes_with_its_rule_and_one_with_a_name_stays_where_it_is() {
    let found = split(&[
        message(10 << 8, 1, &[]),
        set(2, 7, 1),
        set(3, 8, 1),
        set(4, 9, 0),
        elements(5, 7),
        elements(6, 9),
        elements(7, 8),
        rule(8, None, Some(9)),
        rule(9, None, Some(8)),
        rule(10, None, None),
        rule(11, None, Some(7)),
    ]);
    let wanted = [vec![1], vec![4], vec![6], vec![8], vec![3, 7, 9], vec![10], vec![2, 5, 11]];
    assert_eq!(found.as_deref(), Some(&wanted[..]));
}

#[test]
fn a_chain_without_a_name_stays_with_the_rule_that_jumps_to_it() {
    let chain = |sequence| message(NEWCHAIN, sequence, &[with(10, &4_u32.to_be_bytes())]);
    let found = split(&[
        set(1, 3, 1),
        rule(2, None, None),
        chain(3),
        rule(4, Some(5), Some(3)),
        chain(5),
        rule(6, Some(6), None),
        rule(7, Some(5), None),
        rule(8, None, None),
        rule(9, None, None),
    ]);
    assert_eq!(found.as_deref(), Some(&[vec![2], vec![3, 1, 4, 5, 6, 7, 8], vec![9]][..]));
}

#[test]
fn pieces_are_as_long_as_they_may_and_hold_all_messages() {
    let rules: Vec<_> = (1..=1_000).map(|number| rule(number, None, None)).collect();
    let transaction = whole(&rules);
    let (first, second) = transaction.split_at(2 * HEADER + 8 + 7 * rules[0].len() - HEADER);
    let pieces: Vec<_> = pieces(&[first, second], 2_000, 4_000).expect("a transaction").each().collect();
    let ends = 2 * HEADER;
    assert!(pieces.iter().all(|piece| piece.len() <= 4_000));
    assert!(pieces[0].len() <= 2_000 && pieces[0].len() + rules[0].len() > 2_000);
    assert!(pieces[1..pieces.len() - 1].iter().all(|piece| piece.len() + rules[0].len() > 4_000));
    let within: usize = pieces.iter().map(|piece| piece.len() - ends).sum();
    assert_eq!(within, rules.concat().len());
    let one: Vec<_> = super::pieces(&[&transaction], usize::MAX, usize::MAX).expect("a transaction").each().collect();
    assert_eq!((one.len(), one[0].len()), (1, within + ends));
}

#[test]
fn what_only_works_as_a_whole_is_left_whole() {
    let placed = message(NEWRULE, 2, &[with(2, b"c\0"), with(10, &1_u32.to_be_bytes())]);
    assert_eq!(split(&[rule(1, None, None), placed]), None);
    assert_eq!(split(&[rule(1, None, None), message(DELRULE, 2, &[with(9, &1_u32.to_be_bytes())])]), None);
    assert_eq!(split(&[set(1, 7, 1)]), None, "a set that no rule uses");
    assert_eq!(split(&[message(NEWCHAIN, 3, &[with(10, &4_u32.to_be_bytes())])]), None);
    let good = whole(&[rule(1, None, None)]);
    assert!(pieces(&[&good], 1, 1).is_some());
    for length in (0..good.len()).filter(|length| length % 3 != 1) {
        assert!(pieces(&[&good[..length]], 1, 1).is_none(), "{length}");
    }
    for bytes in [&[0; 64][..], &[255; 64], b"GET / HTTP/1.1\r\n\r\n"] {
        assert!(pieces(&[bytes], 1, 1).is_none());
    }
}
