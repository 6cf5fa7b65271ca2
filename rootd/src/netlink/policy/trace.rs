//! Tables of their own that have packets of a proof traced, one of each family that the policy has: there for as long as a
//! proof runs, and no part of the policy.

use netengine_proto::ids::WorldId;
use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE};
use netlink_packet_netfilter::{
    nftables::{
        Bitwise, ChainAttribute, ChainMessage, Cmp, DataAttribute, Expressions, Immediate, Meta, NfTablesMessage,
        Operator, Payload, Register, RuleAttribute, RuleMessage, TableAttribute, TableMessage,
    },
    none::ControlMessage,
};

use super::{
    encode::{Expression, base_attributes, marker, message},
    model::{Base, Family, Hook, Kind},
    table_name,
};
use crate::{
    netlink::socket::{Netlink, NetlinkError},
    sys::packet::{DSCP, TAG, TAG_OFFSET},
};

/// Before every chain of a policy, so that all of them are traced.
const PRIORITY: i32 = -400;
const CHAIN: &str = "prerouting";
/// `NFT_META_PROTOCOL` and `NFT_META_NFTRACE` (linux/netfilter/nf_tables.h).
const META_PROTOCOL: u32 = 1;
const META_NFTRACE: u32 = 12;
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];

/// The name of the table that has a world's proofs traced.
pub fn name(world: WorldId) -> String {
    format!("{}t", table_name(world))
}

/// Has packets with the proof's code point or tag traced, or no longer. Both are done when they already are.
///
/// # Errors
/// [`NetlinkError`].
pub fn switch(socket: &mut Netlink, world: WorldId, on: bool) -> Result<(), NetlinkError> {
    let name = name(world);
    let table = || TableMessage { attributes: vec![TableAttribute::Name(name.clone())] };
    let mut batch = vec![marker(ControlMessage::BatchBegin)];
    for family in [Family::Bridge, Family::Inet] {
        batch.push(message(family, NfTablesMessage::NewTable(table()), NLM_F_CREATE));
        batch.push(message(family, NfTablesMessage::DeleteTable(table()), 0));
        if !on {
            continue;
        }
        batch.push(message(family, NfTablesMessage::NewTable(table()), NLM_F_CREATE));
        let base = Base { kind: Kind::Filter, hook: Hook::Prerouting, priority: PRIORITY, drops: false };
        let mut attributes = vec![ChainAttribute::Table(name.clone()), ChainAttribute::Name(CHAIN.into())];
        attributes.extend(base_attributes(&base));
        batch.push(message(family, NfTablesMessage::NewChain(ChainMessage { attributes }), NLM_F_CREATE));
        for expressions in rules(family) {
            let attributes = vec![
                RuleAttribute::Table(name.clone()),
                RuleAttribute::Chain(CHAIN.into()),
                RuleAttribute::Expressions(expressions),
            ];
            let new = NfTablesMessage::NewRule(RuleMessage { attributes });
            batch.push(message(family, new, NLM_F_CREATE | NLM_F_APPEND));
        }
    }
    batch.push(marker(ControlMessage::BatchEnd));
    socket.transaction(batch)
}

/// `ip dscp 42 meta nftrace set 1`, the same of IPv6, whose code point begins in the fifth bit (RFC 8200, section 3), and
/// of frames with the tag, which nothing but a bridge sees.
fn rules(family: Family) -> Vec<Vec<Expression>> {
    let v4 = (Some(IPV4), 1, vec![0xfc], vec![DSCP << 2]);
    let v6 = (Some(IPV6), 0, vec![0x0f, 0xc0], (u16::from(DSCP) << 6).to_be_bytes().to_vec());
    let tag = (None, TAG_OFFSET as u32, vec![0xff; TAG.len()], TAG.to_vec());
    let mut all = vec![v4, v6];
    all.extend((family == Family::Bridge).then_some(tag));
    let traced = |(protocol, offset, mask, wanted): (Option<[u8; 2]>, u32, Vec<u8>, Vec<u8>)| {
        let length = mask.len() as u32;
        let mut rule: Vec<Expression> = Vec::new();
        if let Some(protocol) = protocol {
            let of = Meta::Key(META_PROTOCOL.into());
            rule.push(Expressions::Meta(vec![of, Meta::DestinationRegister(Register::Reg1)]).into());
            rule.push(equal(protocol.to_vec()));
        }
        rule.extend([
            Expressions::Payload(vec![
                Payload::DestinationRegister(Register::Reg1),
                Payload::Base(1),
                Payload::Offset(offset),
                Payload::Len(length),
            ])
            .into(),
            Expressions::Bitwise(vec![
                Bitwise::SourceRegister(Register::Reg1),
                Bitwise::DestinationRegister(Register::Reg1),
                Bitwise::Length(length),
                Bitwise::Op(0),
                Bitwise::Xor(DataAttribute::Value(vec![0; mask.len()])),
                Bitwise::Mask(DataAttribute::Value(mask)),
            ])
            .into(),
            equal(wanted),
            Expressions::Immediate(vec![
                Immediate::DestinationRegister(Register::Reg1),
                Immediate::Data(DataAttribute::Value(vec![1])),
            ])
            .into(),
            Expressions::Meta(vec![Meta::Key(META_NFTRACE.into()), Meta::SourceRegister(Register::Reg1)]).into(),
        ]);
        rule
    };
    all.into_iter().map(traced).collect()
}

fn equal(value: Vec<u8>) -> Expression {
    Expressions::Cmp(vec![
        Cmp::SourceRegister(Register::Reg1),
        Cmp::Op(Operator::Equal),
        Cmp::Data(DataAttribute::Value(value)),
    ])
    .into()
}
