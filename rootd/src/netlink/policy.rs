//! A router's policy as one nf_tables table (linux/netfilter/nf_tables.h).
//!
//! Names come from ids, never from user text: text kept in the kernel is code once somebody saves and reloads a ruleset.
//! The skeleton is fixed; only ports and pairs of links vary. A replacement is one transaction.

use netengine_proto::{
    ids::WorldId,
    net::{IfName, Transport},
    plan::Policy,
};
use netlink_packet_core::{DefaultNla, NLM_F_APPEND, NLM_F_CREATE, NetlinkMessage};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
    nftables::{
        Bitwise, ChainAttribute, ChainMessage, Cmp, DataAttribute, ExpressionAttribute, Expressions, Hook, Immediate,
        InetHookNumber, ListAttribute, Lookup, Meta, MetaKey, NfTablesMessage, Operator, Payload, Register,
        RuleAttribute, RuleMessage, SetAttribute, SetElementAttribute, SetElementList, SetElementMessage, SetFlags,
        SetMessage, TableAttribute, TableMessage, Verdict, VerdictAttribute,
    },
    none::ControlMessage,
};

use super::socket::{Netlink, NetlinkError};

const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;
/// nft's own number of an interface name as a set key, so that `nft list ruleset` shows it (nftables' datatype.h,
/// `TYPE_IFNAME` is 41; a concatenation shifts the first by `TYPE_BITS` = 6).
const KEY_IFNAME_IFNAME: u32 = 41 << 6 | 41;
/// The data type of a verdict map (`NFT_DATA_VERDICT`).
const DATA_VERDICT: u32 = 0xffff_ff00;
const IF_NAME_KEY: usize = 16;
const PAIRS: &str = "pairs";
/// `NF_CT_STATE_BIT` of invalid, and of established with related (linux/netfilter/nf_conntrack_common.h).
const CT_INVALID: u32 = 1;
const CT_ESTABLISHED_RELATED: u32 = 2 | 4;

type Expression = ListAttribute<ExpressionAttribute>;
type Message = NetlinkMessage<NetfilterMessage>;

/// The name of a world's table.
pub fn table_name(world: WorldId) -> String {
    format!("ne{world}")
}

fn message(inner: impl Into<NetfilterMessageInner>, flags: u16) -> Message {
    let mut message =
        NetlinkMessage::from(NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0), inner));
    message.header.flags = flags;
    message
}

fn marker(end: ControlMessage) -> Message {
    const NFNL_SUBSYS_NFTABLES: u16 = 10;
    let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, NFNL_SUBSYS_NFTABLES);
    NetlinkMessage::from(NetfilterMessage::new(header, end))
}

fn nla(kind: u16, value: u32) -> DefaultNla {
    DefaultNla::new(kind, value.to_be_bytes().to_vec())
}

fn accept() -> Expression {
    verdict(NF_ACCEPT)
}

fn verdict(code: u32) -> Expression {
    let data = DataAttribute::Verdict(vec![VerdictAttribute::Code(Verdict::Other(code))]);
    Expressions::Immediate(vec![Immediate::DestinationRegister(Register::Verdict), Immediate::Data(data)]).into()
}

/// `ct state & bits != 0`.
fn ct_state(bits: u32) -> [Expression; 3] {
    const NFTA_CT_DREG: u16 = 1;
    const NFTA_CT_KEY: u16 = 2;
    const NFT_CT_STATE: u32 = 0;
    let load = Expressions::Other {
        expression_type: "ct".into(),
        attributes: vec![nla(NFTA_CT_KEY, NFT_CT_STATE), nla(NFTA_CT_DREG, 1)],
    };
    let host = |value: u32| DataAttribute::Value(value.to_ne_bytes().to_vec());
    [
        load.into(),
        Expressions::Bitwise(vec![
            Bitwise::SourceRegister(Register::Reg1),
            Bitwise::DestinationRegister(Register::Reg1),
            Bitwise::Length(4),
            Bitwise::Mask(host(bits)),
            Bitwise::Xor(host(0)),
        ])
        .into(),
        compare(Operator::NotEqual, 0u32.to_ne_bytes().to_vec()),
    ]
}

fn compare(operator: Operator, value: Vec<u8>) -> Expression {
    Expressions::Cmp(vec![
        Cmp::SourceRegister(Register::Reg1),
        Cmp::Op(operator),
        Cmp::Data(DataAttribute::Value(value)),
    ])
    .into()
}

fn meta(key: MetaKey, register: Register) -> Expression {
    Expressions::Meta(vec![Meta::Key(key), Meta::DestinationRegister(register)]).into()
}

fn if_name_key(name: &str) -> Vec<u8> {
    let mut key = vec![0u8; IF_NAME_KEY];
    key[..name.len()].copy_from_slice(name.as_bytes());
    key
}

fn layer4(protocol: u8) -> [Expression; 2] {
    [meta(MetaKey::L4Proto, Register::Reg1), compare(Operator::Equal, vec![protocol])]
}

fn destination_port(port: u16) -> [Expression; 2] {
    const NFT_PAYLOAD_TRANSPORT_HEADER: u32 = 2;
    let load = Expressions::Payload(vec![
        Payload::DestinationRegister(Register::Reg1),
        Payload::Base(NFT_PAYLOAD_TRANSPORT_HEADER),
        Payload::Offset(2),
        Payload::Len(2),
    ]);
    [load.into(), compare(Operator::Equal, port.to_be_bytes().to_vec())]
}

/// The chains of a policy with their rules, in order.
fn chains(policy: &Policy) -> [(&'static str, InetHookNumber, Vec<Vec<Expression>>); 2] {
    let head = || {
        vec![
            ct_state(CT_ESTABLISHED_RELATED).into_iter().chain([accept()]).collect::<Vec<_>>(),
            ct_state(CT_INVALID).into_iter().chain([verdict(NF_DROP)]).collect(),
        ]
    };
    let mut input = head();
    input.push(vec![meta(MetaKey::Iifname, Register::Reg1), compare(Operator::Equal, if_name_key("lo")), accept()]);
    for icmp in [1, 58] {
        input.push(layer4(icmp).into_iter().chain([accept()]).collect());
    }
    for port in policy.input.iter() {
        let protocol = match port.transport {
            Transport::Tcp => 6,
            Transport::Udp => 17,
        };
        input.push(layer4(protocol).into_iter().chain(destination_port(port.port.get())).chain([accept()]).collect());
    }
    let mut forward = head();
    forward.push(vec![
        meta(MetaKey::Iifname, Register::Reg1),
        meta(MetaKey::Oifname, Register::Reg2),
        Expressions::Lookup(vec![
            Lookup::Set(PAIRS.into()),
            Lookup::SourceRegister(Register::Reg1),
            Lookup::DestinationRegister(Register::Verdict),
        ])
        .into(),
    ]);
    [("input", InetHookNumber::LocalIn, input), ("forward", InetHookNumber::Forward, forward)]
}

fn pair_key(from: &IfName, to: &IfName) -> Vec<u8> {
    let mut key = if_name_key(from.as_str());
    key.extend(if_name_key(to.as_str()));
    key
}

/// Replaces the table by the one that says `policy`, in one transaction.
///
/// # Errors
/// [`NetlinkError`]; on a refusal the former table is still in force.
pub fn replace(socket: &mut Netlink, world: WorldId, policy: &Policy) -> Result<(), NetlinkError> {
    let name = table_name(world);
    let table = || TableMessage { attributes: vec![TableAttribute::Name(name.clone())] };
    let mut batch = vec![
        marker(ControlMessage::BatchBegin),
        // Adding what may exist makes the deletion safe on every kernel (there is no "destroy" before 6.3).
        message(NfTablesMessage::NewTable(table()), NLM_F_CREATE),
        message(NfTablesMessage::DeleteTable(table()), 0),
        message(NfTablesMessage::NewTable(table()), NLM_F_CREATE),
    ];
    batch.push(message(
        NfTablesMessage::NewSet(SetMessage {
            attributes: vec![
                SetAttribute::Table(name.clone()),
                SetAttribute::Name(PAIRS.into()),
                SetAttribute::Flags(SetFlags::Map),
                SetAttribute::KeyType(KEY_IFNAME_IFNAME),
                SetAttribute::KeyLen(2 * IF_NAME_KEY as u32),
                SetAttribute::DataType(DATA_VERDICT),
                SetAttribute::Id(1),
            ],
        }),
        NLM_F_CREATE,
    ));
    if !policy.forward.is_empty() {
        let accept = || DataAttribute::Verdict(vec![VerdictAttribute::Code(Verdict::Other(NF_ACCEPT))]);
        let elements = policy.forward.iter().map(|pair| {
            ListAttribute::Element(vec![
                SetElementAttribute::Key(DataAttribute::Value(pair_key(&pair.from, &pair.to))),
                SetElementAttribute::Data(accept()),
            ])
        });
        // The list is one attribute of at most 64 KiB: an element takes about 60 bytes.
        let elements: Vec<_> = elements.collect();
        for part in elements.chunks(512) {
            batch.push(message(
                NfTablesMessage::NewSetElement(SetElementMessage {
                    attributes: vec![
                        SetElementList::Table(name.clone()),
                        SetElementList::Set(PAIRS.into()),
                        SetElementList::Elements(part.to_vec()),
                    ],
                }),
                NLM_F_CREATE,
            ));
        }
    }
    for (chain, hook, rules) in chains(policy) {
        batch.push(message(
            NfTablesMessage::NewChain(ChainMessage {
                attributes: vec![
                    ChainAttribute::Table(name.clone()),
                    ChainAttribute::Name(chain.into()),
                    ChainAttribute::Hook(vec![Hook::Number(hook.into()), Hook::Priority(0)]),
                    ChainAttribute::Policy(NF_DROP),
                    ChainAttribute::Type("filter".into()),
                ],
            }),
            NLM_F_CREATE,
        ));
        for rule in rules {
            batch.push(message(
                NfTablesMessage::NewRule(RuleMessage {
                    attributes: vec![
                        RuleAttribute::Table(name.clone()),
                        RuleAttribute::Chain(chain.into()),
                        RuleAttribute::Expressions(rule),
                    ],
                }),
                NLM_F_CREATE | NLM_F_APPEND,
            ));
        }
    }
    batch.push(marker(ControlMessage::BatchEnd));
    socket.transaction(batch)
}

/// Removes the table, if it is there.
///
/// # Errors
/// [`NetlinkError`].
pub fn delete(socket: &mut Netlink, world: WorldId) -> Result<(), NetlinkError> {
    let table = || TableMessage { attributes: vec![TableAttribute::Name(table_name(world))] };
    socket.transaction(vec![
        marker(ControlMessage::BatchBegin),
        message(NfTablesMessage::NewTable(table()), NLM_F_CREATE),
        message(NfTablesMessage::DeleteTable(table()), 0),
        marker(ControlMessage::BatchEnd),
    ])
}

/// What a namespace holds in place of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum TableState {
    /// There is no table of this world.
    Absent,
    /// The table says exactly what the policy says.
    Equal,
    /// The table says something else.
    Differs,
}

/// Reads the table back and compares it with `policy`, chain by chain, rule by rule, pair by pair.
///
/// # Errors
/// [`NetlinkError`].
pub fn compare_with(socket: &mut Netlink, world: WorldId, policy: Option<&Policy>) -> Result<TableState, NetlinkError> {
    let name = table_name(world);
    let mut present = false;
    socket.dump(message(NfTablesMessage::GetTable(TableMessage { attributes: vec![] }), 0), |answer| {
        if let NetfilterMessageInner::NfTables(NfTablesMessage::NewTable(table)) = answer.inner {
            present |= table.attributes.contains(&TableAttribute::Name(name.clone()));
        }
    })?;
    let Some(policy) = policy else { return Ok(if present { TableState::Differs } else { TableState::Absent }) };
    if !present {
        return Ok(TableState::Absent);
    }
    let equal = chains_equal(socket, &name, policy)?
        && rules_equal(socket, &name, policy)?
        && pairs_equal(socket, &name, policy)?;
    Ok(if equal { TableState::Equal } else { TableState::Differs })
}

fn chains_equal(socket: &mut Netlink, table: &str, policy: &Policy) -> Result<bool, NetlinkError> {
    let mut seen = Vec::new();
    socket.dump(message(NfTablesMessage::GetChain(ChainMessage { attributes: vec![] }), 0), |answer| {
        if let NetfilterMessageInner::NfTables(NfTablesMessage::NewChain(chain)) = answer.inner
            && chain.attributes.contains(&ChainAttribute::Table(table.to_owned()))
        {
            seen.push(chain.attributes);
        }
    })?;
    let wanted = chains(policy);
    Ok(seen.len() == wanted.len()
        && wanted.iter().all(|(name, hook, _)| {
            seen.iter().any(|chain| {
                chain.contains(&ChainAttribute::Name((*name).into()))
                    && chain.contains(&ChainAttribute::Policy(NF_DROP))
                    && chain.iter().any(|attribute| match attribute {
                        ChainAttribute::Hook(parts) => {
                            parts.contains(&Hook::Number((*hook).into())) && parts.contains(&Hook::Priority(0))
                        }
                        _ => false,
                    })
            })
        }))
}

fn rules_equal(socket: &mut Netlink, table: &str, policy: &Policy) -> Result<bool, NetlinkError> {
    let mut seen: Vec<(String, Vec<Expression>)> = Vec::new();
    let filter = RuleMessage { attributes: vec![RuleAttribute::Table(table.to_owned())] };
    socket.dump(message(NfTablesMessage::GetRule(filter), 0), |answer| {
        let NetfilterMessageInner::NfTables(NfTablesMessage::NewRule(rule)) = answer.inner else { return };
        if !rule.attributes.contains(&RuleAttribute::Table(table.to_owned())) {
            return;
        }
        let mut chain = String::new();
        let mut expressions = Vec::new();
        for attribute in rule.attributes {
            match attribute {
                RuleAttribute::Chain(name) => chain = name,
                RuleAttribute::Expressions(list) => expressions = list,
                _ => {}
            }
        }
        seen.push((chain, expressions));
    })?;
    Ok(chains(policy).iter().all(|(chain, _, rules)| {
        let present: Vec<_> = seen.iter().filter(|(name, _)| name == chain).map(|(_, rule)| rule).collect();
        present.len() == rules.len() && rules.iter().zip(present).all(|(wanted, present)| rule_equal(wanted, present))
    }))
}

/// The kernel adds attributes of its own when it reads back an expression; ours must all be among them, one to one.
fn rule_equal(wanted: &[Expression], present: &[Expression]) -> bool {
    let parts = |expression: &Expression| match expression {
        ListAttribute::Element(parts) => parts.clone(),
        _ => Vec::new(),
    };
    wanted.len() == present.len()
        && wanted.iter().zip(present).all(|(wanted, present)| {
            let present = parts(present);
            parts(wanted).iter().all(|part| match part {
                ExpressionAttribute::Data(data) => present.iter().any(|p| match p {
                    ExpressionAttribute::Data(seen) => expression_within(data, seen),
                    _ => false,
                }),
                other => present.contains(other),
            })
        })
}

fn expression_within(wanted: &Expressions, seen: &Expressions) -> bool {
    fn within<T: PartialEq>(wanted: &[T], seen: &[T]) -> bool {
        wanted.iter().all(|attribute| seen.contains(attribute))
    }
    match (wanted, seen) {
        (Expressions::Bitwise(a), Expressions::Bitwise(b)) => within(a, b),
        (Expressions::Cmp(a), Expressions::Cmp(b)) => within(a, b),
        (Expressions::Immediate(a), Expressions::Immediate(b)) => within(a, b),
        (Expressions::Lookup(a), Expressions::Lookup(b)) => within(a, b),
        (Expressions::Meta(a), Expressions::Meta(b)) => within(a, b),
        (Expressions::Payload(a), Expressions::Payload(b)) => within(a, b),
        (
            Expressions::Other { expression_type: kind, attributes: a },
            Expressions::Other { expression_type: seen_kind, attributes: b },
        ) => kind == seen_kind && within(a, b),
        _ => false,
    }
}

fn pairs_equal(socket: &mut Netlink, table: &str, policy: &Policy) -> Result<bool, NetlinkError> {
    let mut seen = Vec::new();
    let mut accepted = true;
    let filter = SetElementMessage {
        attributes: vec![SetElementList::Table(table.to_owned()), SetElementList::Set(PAIRS.into())],
    };
    let accept = DataAttribute::Verdict(vec![VerdictAttribute::Code(Verdict::Other(NF_ACCEPT))]);
    socket.dump(message(NfTablesMessage::GetSetElement(filter), 0), |answer| {
        let NetfilterMessageInner::NfTables(NfTablesMessage::NewSetElement(list)) = answer.inner else { return };
        for attribute in list.attributes {
            let SetElementList::Elements(elements) = attribute else { continue };
            for element in elements {
                let ListAttribute::Element(parts) = element else { continue };
                accepted &= parts.contains(&SetElementAttribute::Data(accept.clone()));
                seen.extend(parts.into_iter().filter_map(|part| match part {
                    SetElementAttribute::Key(DataAttribute::Value(key)) => Some(key),
                    _ => None,
                }));
            }
        }
    })?;
    let mut wanted: Vec<_> = policy.forward.iter().map(|pair| pair_key(&pair.from, &pair.to)).collect();
    wanted.sort_unstable();
    wanted.dedup();
    seen.sort_unstable();
    Ok(accepted && seen == wanted)
}
