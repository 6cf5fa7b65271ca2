//! The model as messages of nf_tables (linux/netfilter/nf_tables.h). What is written here is what is read back: every
//! attribute that the kernel tells of an expression is set, so that [`super::compare`] needs no exceptions but counters.

use netlink_packet_core::{DefaultNla, NLM_F_APPEND, NLM_F_CREATE, NetlinkMessage};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
    nftables::{
        Bitwise, ChainAttribute, ChainMessage, Cmp, DataAttribute, ExpressionAttribute, Expressions, Hook, Immediate,
        InetHookNumber, ListAttribute, Lookup, Meta, MetaKey, NfTablesMessage, Operator, Payload, Register,
        RuleAttribute, RuleMessage, SetAttribute, SetDescription, SetElementAttribute, SetElementList,
        SetElementMessage, SetFlags, SetMessage, TableAttribute, TableMessage, Verdict as Code, VerdictAttribute,
    },
    none::ControlMessage,
};

use super::{
    delta::Delta,
    model::{Base, Chain, Elements, Expr, Family, Kind, Load, Place, Set, Table, Verdict},
};

const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;
/// The data type of a verdict map (`NFT_DATA_VERDICT`).
const DATA_VERDICT: u32 = 0xffff_ff00;
/// Elements in one message: the list is one attribute of at most 64 KiB, and an element takes at most 120 bytes.
const ELEMENTS: usize = 400;

pub(super) type Expression = ListAttribute<ExpressionAttribute>;
pub(super) type Message = NetlinkMessage<NetfilterMessage>;

pub(super) fn message(family: Family, inner: impl Into<NetfilterMessageInner>, flags: u16) -> Message {
    let family = match family {
        Family::Inet => NetfilterProtoFamily::Inet,
        Family::Bridge => NetfilterProtoFamily::Bridge,
    };
    let mut message = NetlinkMessage::from(NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), inner));
    message.header.flags = flags;
    message
}

pub(super) fn marker(end: ControlMessage) -> Message {
    const NFNL_SUBSYS_NFTABLES: u16 = 10;
    let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, NFNL_SUBSYS_NFTABLES);
    NetlinkMessage::from(NetfilterMessage::new(header, end))
}

/// One transaction in which all tables of this name vanish and `tables` appear.
pub(super) fn transaction(name: &str, tables: &[Table]) -> Vec<Message> {
    let mut batch = vec![marker(ControlMessage::BatchBegin)];
    for family in [Family::Inet, Family::Bridge] {
        let table = || TableMessage { attributes: vec![TableAttribute::Name(name.to_owned())] };
        // Adding what may exist makes the deletion safe on every kernel (there is no "destroy" before 6.3).
        batch.push(message(family, NfTablesMessage::NewTable(table()), NLM_F_CREATE));
        batch.push(message(family, NfTablesMessage::DeleteTable(table()), 0));
    }
    for table in tables {
        let attributes = vec![TableAttribute::Name(name.to_owned())];
        batch.push(message(table.family, NfTablesMessage::NewTable(TableMessage { attributes }), NLM_F_CREATE));
        batch.extend(table.chains.iter().map(|chain| new_chain(name, table.family, chain)));
        for (number, set) in (1..).zip(&table.sets) {
            let attributes = set_attributes(name, set, number);
            let new = NfTablesMessage::NewSet(SetMessage { attributes });
            batch.push(message(table.family, new, NLM_F_CREATE));
            batch.extend(new_elements(name, table.family, set));
        }
        batch.extend(table.chains.iter().flat_map(|chain| new_rules(name, table.family, chain)));
    }
    batch.push(marker(ControlMessage::BatchEnd));
    batch
}

/// One transaction of what differs, which is refused (ERESTART) unless the ruleset's generation is still this one.
pub(super) fn change(name: &str, generation: u32, deltas: &[Delta<'_>]) -> Vec<Message> {
    // linux/netfilter/nfnetlink.h.
    const NFNL_MSG_BATCH_BEGIN: u8 = 0x10;
    const NFNL_BATCH_GENID: u16 = 1;
    let attributes = vec![DefaultNla::new(NFNL_BATCH_GENID, generation.to_be_bytes().to_vec())];
    let mut batch = vec![marker(ControlMessage::Other { message_type: NFNL_MSG_BATCH_BEGIN, attributes })];
    for delta in deltas {
        let family = delta.family;
        batch.extend(delta.new_chains.iter().map(|chain| new_chain(name, family, chain)));
        batch.extend(delta.gone_elements.iter().flat_map(|set| delete_elements(name, family, set)));
        batch.extend(delta.new_elements.iter().flat_map(|set| new_elements(name, family, set)));
        let emptied = delta.refilled.iter().map(|chain| chain.name.as_str()).chain(delta.gone_chains.iter().copied());
        batch.extend(emptied.map(|chain| {
            let attributes = vec![RuleAttribute::Table(name.to_owned()), RuleAttribute::Chain(chain.to_owned())];
            message(family, NfTablesMessage::DeleteRule(RuleMessage { attributes }), 0)
        }));
        let filled = delta.new_chains.iter().chain(&delta.refilled);
        batch.extend(filled.flat_map(|chain| new_rules(name, family, chain)));
        batch.extend(delta.gone_chains.iter().map(|chain| {
            let attributes = vec![ChainAttribute::Table(name.to_owned()), ChainAttribute::Name((*chain).to_owned())];
            message(family, NfTablesMessage::DeleteChain(ChainMessage { attributes }), 0)
        }));
    }
    batch.push(marker(ControlMessage::BatchEnd));
    batch
}

fn new_rules(table: &str, family: Family, chain: &Chain) -> impl Iterator<Item = Message> {
    chain.rules.iter().map(move |rule| {
        let attributes = vec![
            RuleAttribute::Table(table.to_owned()),
            RuleAttribute::Chain(chain.name.clone()),
            RuleAttribute::Expressions(expressions(rule)),
        ];
        let new = NfTablesMessage::NewRule(RuleMessage { attributes });
        message(family, new, NLM_F_CREATE | NLM_F_APPEND)
    })
}

fn new_chain(table: &str, family: Family, chain: &Chain) -> Message {
    let mut attributes = vec![ChainAttribute::Table(table.to_owned()), ChainAttribute::Name(chain.name.clone())];
    if let Some(base) = &chain.base {
        attributes.extend(base_attributes(base));
    }
    message(family, NfTablesMessage::NewChain(ChainMessage { attributes }), NLM_F_CREATE)
}

/// What makes a chain a base chain.
pub(super) fn base_attributes(base: &Base) -> [ChainAttribute; 3] {
    let kind = match base.kind {
        Kind::Filter => "filter",
        Kind::Nat => "nat",
    };
    let number = InetHookNumber::from(base.hook as u32);
    [
        ChainAttribute::Hook(vec![Hook::Number(number.into()), Hook::Priority(base.priority.cast_unsigned())]),
        ChainAttribute::Policy(if base.drops { NF_DROP } else { NF_ACCEPT }),
        ChainAttribute::Type(kind.into()),
    ]
}

fn set_attributes(table: &str, set: &Set, number: u32) -> Vec<SetAttribute> {
    let mut attributes = vec![
        SetAttribute::Table(table.to_owned()),
        SetAttribute::Name(set.name.into()),
        SetAttribute::Id(number),
        SetAttribute::UserData(user_data(set)),
        SetAttribute::Description(vec![SetDescription::Size(capacity(set.elements.len()))]),
    ];
    attributes.extend(set_facts(set));
    attributes
}

/// Elements that a set has room for. A set whose size is known is a plain hash table (net/netfilter/nft_set_hash.c) of a size
/// that never changes, so there is room for as many again as changes may add before it has to be made anew.
fn capacity(elements: usize) -> u32 {
    u32::try_from((elements + elements / 2).max(16).next_power_of_two()).unwrap_or(u32::MAX)
}

/// What a set is, as the kernel tells it.
pub(super) fn set_facts(set: &Set) -> Vec<SetAttribute> {
    // Several types are one number of six bits each (nftables' datatype.h, `TYPE_BITS`).
    let kind = set.key.iter().fold(0, |kind, load| kind << 6 | load.key_type());
    let bytes = set.key.iter().map(|load| load.place().1);
    let bytes = if set.key.len() == 1 { bytes.sum() } else { bytes.map(|part| part.next_multiple_of(4)).sum() };
    let mut facts = vec![SetAttribute::KeyType(kind), SetAttribute::KeyLen(bytes)];
    facts.extend(match set.elements {
        Elements::Keys(_) => vec![SetAttribute::Flags(SetFlags::empty())],
        Elements::Verdicts(_) => vec![SetAttribute::Flags(SetFlags::Map), SetAttribute::DataType(DATA_VERDICT)],
    });
    facts
}

/// For nft(8): in which order the bytes of a key are, and for a set of raw bytes where they are read; without, it shows no
/// names and loads no such listing. Types, lengths and values (libnftnl's udata.h), the numbers being nft's own.
fn user_data(set: &Set) -> Vec<u8> {
    const SET_KEY_BYTE_ORDER: u8 = 0;
    const SET_KEY_TYPEOF: u8 = 3;
    const EXPR_PAYLOAD: u32 = 7;
    const EXPR_META: u32 = 9;
    const EXPR_CONCAT: u32 = 13;
    const TRANSPORT_BASE: u32 = 3;
    let entry = |kind: u8, value: &[u8]| {
        let length = u8::try_from(value.len()).unwrap_or(u8::MAX);
        [&[kind, length], value].concat()
    };
    let number = |kind: u8, value: u32| entry(kind, &value.to_ne_bytes());
    let expression = |kind: u32, data: Vec<u8>| [number(0, kind), entry(1, &data)].concat();
    let order = match set.key {
        [Load::Iifname | Load::Oifname] => 1,
        [_] => 2,
        _ => 0,
    };
    let order = number(SET_KEY_BYTE_ORDER, order);
    if set.key.iter().all(|load| load.key_type() != Load::RAW) {
        return order;
    }
    let parts = (0..).zip(set.key).flat_map(|(place, load)| {
        let data = match load.place() {
            (Place::Meta(key), _) => expression(EXPR_META, number(0, key)),
            (Place::Payload(_, offset), length) => expression(
                EXPR_PAYLOAD,
                [number(0, 0), number(1, 0), number(2, TRANSPORT_BASE), number(3, offset * 8), number(4, length * 8)]
                    .concat(),
            ),
        };
        entry(place, &data)
    });
    [order, entry(SET_KEY_TYPEOF, &expression(EXPR_CONCAT, parts.collect()))].concat()
}

fn new_elements(table: &str, family: Family, set: &Set) -> Vec<Message> {
    let elements = match &set.elements {
        Elements::Keys(keys) => keys.iter().map(|key| element(key, None)).collect(),
        Elements::Verdicts(map) => map.iter().map(|(key, verdict)| element(key, Some(verdict))).collect(),
    };
    let new = NfTablesMessage::NewSetElement;
    element_lists(table, set, elements).map(|list| message(family, new(list), NLM_F_CREATE)).collect()
}

/// By their keys alone.
fn delete_elements(table: &str, family: Family, set: &Set) -> Vec<Message> {
    let elements = match &set.elements {
        Elements::Keys(keys) => keys.iter().map(|key| element(key, None)).collect(),
        Elements::Verdicts(map) => map.keys().map(|key| element(key, None)).collect(),
    };
    let delete = NfTablesMessage::DeleteSetElement;
    element_lists(table, set, elements).map(|list| message(family, delete(list), 0)).collect()
}

fn element_lists(
    table: &str,
    set: &Set,
    elements: Vec<ListAttribute<SetElementAttribute>>,
) -> impl Iterator<Item = SetElementMessage> {
    let list = |part: &[ListAttribute<SetElementAttribute>]| SetElementMessage {
        attributes: vec![
            SetElementList::Table(table.to_owned()),
            SetElementList::Set(set.name.into()),
            SetElementList::Elements(part.to_vec()),
        ],
    };
    elements.chunks(ELEMENTS).map(list).collect::<Vec<_>>().into_iter()
}

fn element(key: &[u8], data: Option<&Verdict>) -> ListAttribute<SetElementAttribute> {
    let key = SetElementAttribute::Key(DataAttribute::Value(key.to_vec()));
    ListAttribute::Element([key].into_iter().chain(data.map(|v| SetElementAttribute::Data(verdict(v)))).collect())
}

/// A verdict as data.
pub(super) fn verdict(verdict: &Verdict) -> DataAttribute {
    DataAttribute::Verdict(match verdict {
        Verdict::Accept => vec![VerdictAttribute::Code(Code::Other(NF_ACCEPT))],
        Verdict::Drop => vec![VerdictAttribute::Code(Code::Other(NF_DROP))],
        Verdict::Jump(chain) => vec![VerdictAttribute::Code(Code::Jump), VerdictAttribute::Chain(chain.clone())],
    })
}

/// The expressions of a rule.
pub(super) fn expressions(rule: &[Expr]) -> Vec<Expression> {
    let mut list = Vec::new();
    for expr in rule {
        statement(expr, &mut list);
    }
    list
}

fn other(kind: &str, attributes: &[(u16, u32)]) -> Expression {
    let attributes =
        attributes.iter().map(|(kind, value)| DefaultNla::new(*kind, value.to_be_bytes().to_vec())).collect();
    Expressions::Other { expression_type: kind.into(), attributes }.into()
}

fn statement(expr: &Expr, list: &mut Vec<Expression>) {
    // linux/netfilter/nf_tables.h: NFTA_CT_DREG and KEY, NFTA_FIB_DREG, RESULT and FLAGS, NFTA_CONNLIMIT_COUNT and FLAGS,
    // NFTA_NAT_TYPE, FAMILY, REG_ADDR_MIN, REG_ADDR_MAX and FLAGS.
    match expr {
        Expr::CtState(state) => {
            const NFT_CT_STATE: u32 = 0;
            list.push(other("ct", &[(1, 1), (2, NFT_CT_STATE)]));
            let host = |value: u32| DataAttribute::Value(value.to_ne_bytes().to_vec());
            list.push(
                Expressions::Bitwise(vec![
                    Bitwise::SourceRegister(Register::Reg1),
                    Bitwise::DestinationRegister(Register::Reg1),
                    Bitwise::Length(4),
                    Bitwise::Op(0),
                    Bitwise::Mask(host(*state as u32)),
                    Bitwise::Xor(host(0)),
                ])
                .into(),
            );
            list.push(compare(Operator::NotEqual, &[0; 4]));
        }
        Expr::Is(load, value) => {
            list.push(read(*load, 0));
            list.push(compare(Operator::Equal, value));
        }
        Expr::Between(load, first, last) => {
            list.push(read(*load, 0));
            list.push(compare(Operator::GreatherThanEqual, first));
            list.push(compare(Operator::LessThanEqual, last));
        }
        Expr::In(key, set) => lookup(key, set, 0, false, list),
        Expr::NotIn(key, set) => {
            const NFT_LOOKUP_F_INV: u32 = 1;
            lookup(key, set, NFT_LOOKUP_F_INV, false, list);
        }
        Expr::Vmap(key, set) => lookup(key, set, 0, true, list),
        Expr::SourceElsewhere => {
            const RESULT_OIF: u32 = 1;
            const SADDR_IIF_PRESENT: u32 = 1 | 1 << 3 | 1 << 5;
            list.push(other("fib", &[(1, 1), (2, RESULT_OIF), (3, SADDR_IIF_PRESENT)]));
            list.push(compare(Operator::Equal, &[0; 4]));
        }
        Expr::SetMark(mark) => {
            list.push(
                Expressions::Immediate(vec![
                    Immediate::DestinationRegister(Register::Reg1),
                    Immediate::Data(DataAttribute::Value(mark.to_ne_bytes().to_vec())),
                ])
                .into(),
            );
            list.push(Expressions::Meta(vec![Meta::Key(MetaKey::Mark), Meta::SourceRegister(Register::Reg1)]).into());
        }
        Expr::FlowsOver(count) => {
            const NFT_CONNLIMIT_F_INV: u32 = 1;
            list.push(other("connlimit", &[(1, *count), (2, NFT_CONNLIMIT_F_INV)]));
        }
        Expr::Counter => list.push(other("counter", &[])),
        Expr::Masquerade => list.push(other("masq", &[])),
        Expr::DestinationNat(to) => {
            const NFT_NAT_DNAT: u32 = 1;
            const NFPROTO_IPV4: u32 = 2;
            const NF_NAT_RANGE_MAP_IPS: u32 = 1;
            let address = DataAttribute::Value(to.octets().to_vec());
            let load = vec![Immediate::DestinationRegister(Register::Reg1), Immediate::Data(address)];
            list.push(Expressions::Immediate(load).into());
            list.push(other("nat", &[(1, NFT_NAT_DNAT), (2, NFPROTO_IPV4), (3, 1), (4, 1), (7, NF_NAT_RANGE_MAP_IPS)]));
        }
        Expr::Verdict(to) => list.push(
            Expressions::Immediate(vec![
                Immediate::DestinationRegister(Register::Verdict),
                Immediate::Data(verdict(to)),
            ])
            .into(),
        ),
    }
}

/// The register of a word of the 16 words that rules compute with; the kernel names every fourth by its old number.
fn register(word: u32) -> Register {
    Register::from(if word.is_multiple_of(4) { 1 + word / 4 } else { 8 + word })
}

fn read(load: Load, word: u32) -> Expression {
    let to = register(word);
    match load.place() {
        (Place::Meta(key), _) => Expressions::Meta(vec![Meta::Key(key.into()), Meta::DestinationRegister(to)]),
        (Place::Payload(base, offset), length) => Expressions::Payload(vec![
            Payload::DestinationRegister(to),
            Payload::Base(base),
            Payload::Offset(offset),
            Payload::Len(length),
        ]),
    }
    .into()
}

fn compare(operator: Operator, value: &[u8]) -> Expression {
    Expressions::Cmp(vec![
        Cmp::SourceRegister(Register::Reg1),
        Cmp::Op(operator),
        Cmp::Data(DataAttribute::Value(value.to_vec())),
    ])
    .into()
}

fn lookup(key: &[Load], set: &str, flags: u32, verdict: bool, list: &mut Vec<Expression>) {
    let mut word = 0;
    for load in key {
        list.push(read(*load, word));
        word += load.place().1.div_ceil(4);
    }
    let mut attributes = vec![Lookup::Set(set.into()), Lookup::SourceRegister(Register::Reg1), Lookup::Flags(flags)];
    if verdict {
        attributes.push(Lookup::DestinationRegister(Register::Verdict));
    }
    list.push(Expressions::Lookup(attributes).into());
}
