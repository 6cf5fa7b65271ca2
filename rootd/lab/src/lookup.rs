//! Rules of a long ruleset, when a trace names them.

use std::{io, os::fd::AsFd};

use netengine_packet::{attributes::attributes, trace::family_number};

use crate::{
    build::Built,
    inject::failed,
    netlink::{Batch, Netlink},
    nft::{Answer, Mode, Nft},
    run::Stop,
    text::{Listing, Outline, listing::ChainKey},
    tracer::TRACER,
    verdict::{Facts, Window},
};

/// Rules that are asked for at once: their answers wait in one socket's buffer.
const AT_ONCE: usize = 16;

/// `NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETRULE`.
const GETRULE: u16 = 10 << 8 | 7;
/// `NFTA_RULE_TABLE`, `_CHAIN`, `_HANDLE`, `_USERDATA`.
const TABLE: u16 = 1;
const CHAIN: u16 = 2;
const HANDLE: u16 = 3;
const USERDATA: u16 = 7;
/// The kind of user data in which netengine-nft keeps a rule's number.
const NUMBER: u8 = 0xee;

/// Has the facts know the rules that the trace messages of a window name.
///
/// # Errors
/// When the rules cannot be listed, or the kernel refuses what it allowed before.
pub fn look_up(window: &Window, facts: &mut Facts, nft: &mut Nft, tested: &Built) -> Result<(), Stop> {
    let unlisted: Vec<(ChainKey, u64)> = facts.unlisted(window).into_iter().collect();
    let outline = facts.nodes.iter().find_map(|node| node.outline.clone());
    let Some(outline) = outline.filter(|_| !unlisted.is_empty()) else { return Ok(()) };
    tested.enter()?;
    let socket = Netlink::requests()?;
    for some in unlisted.chunks(AT_ONCE) {
        let line = |((family, table, chain), rule): &(ChainKey, u64)| {
            format!("{} {table} {chain} {rule}\n", family_number(*family))
        };
        let text: String = some.iter().map(line).collect();
        let Answer::Done(listing) = nft.run(Mode::ListRules, tested.namespace.as_fd(), &text)? else {
            return Err(failed("the rules that the trace names cannot be listed"));
        };
        for (chain, rules) in Listing::read(&listing, TRACER).rules {
            for mut rule in rules {
                rule.place = place(&socket, &outline, &chain, rule.handle)?;
                facts.learn([(chain.clone(), rule)]);
            }
        }
    }
    if !facts.unlisted(window).is_empty() {
        return Err(failed("a rule that the trace names is not there any more"));
    }
    Ok(())
}

/// Where a rule stands, by the number that it was loaded with.
fn place(socket: &Netlink, outline: &Outline, chain: &ChainKey, handle: u64) -> io::Result<Option<(u32, u32)>> {
    let name = |name: &str| [name.as_bytes(), &[0]].concat();
    let (family, table, chain_name) = chain;
    let mut batch = Batch::default();
    batch.request(GETRULE, 0, &[family_number(*family), 0, 0, 0]);
    batch.attribute(TABLE, &name(table));
    batch.attribute(CHAIN, &name(chain_name));
    batch.attribute(HANDLE, &handle.to_be_bytes());
    // An answer longer than what is read of it has no attributes.
    let body = socket.ask(&batch)?.unwrap_or_default();
    let data = body.get(4..).and_then(|rest| attributes(rest).flatten().find(|(kind, _)| *kind == USERDATA));
    Ok(data.and_then(|(_, data)| number(data)).and_then(|(number, total)| outline.place(chain, number, total)))
}

/// A rule's number and how many its chain got with it, among its user data: kind, length and content, again and again.
fn number(mut data: &[u8]) -> Option<(u32, u32)> {
    loop {
        let (&[kind, length], rest) = data.split_first_chunk::<2>()?;
        let (content, rest) = rest.split_at_checked(usize::from(length))?;
        if kind == NUMBER {
            let (number, total) = content.split_first_chunk::<4>()?;
            return Some((u32::from_be_bytes(*number), u32::from_be_bytes(total.try_into().ok()?)));
        }
        data = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_beside_a_comment() {
        assert_eq!(number(&[0, 2, b'x', 0, NUMBER, 8, 0, 0, 1, 0, 0, 0, 2, 0]), Some((256, 512)));
        for none in [&[][..], &[0, 2, b'x', 0], &[NUMBER, 8, 0], &[NUMBER, 4, 0, 0, 0, 1], &[0, 200, 1]] {
            assert_eq!(number(none), None, "{none:?}");
        }
    }
}
