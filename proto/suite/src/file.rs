//! A suite as it is written, key by key. Unknown keys are errors.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use serde_saphyr::Spanned;

/// The whole file: a list of cases, or a map with `tests`.
#[derive(Debug, Default)]
pub struct File {
    /// Rules for cases that have none of their own.
    pub rules: Option<Spanned<String>>,
    /// The same, in a file beside the suite.
    pub rules_file: Option<Spanned<String>>,
    /// What cases say that say nothing of it themselves.
    pub defaults: Defaults,
    /// Topologies by name.
    pub topologies: BTreeMap<String, Topology>,
    /// The cases.
    pub tests: Vec<Spanned<Case>>,
}

impl<'de> Deserialize<'de> for File {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Map {
            #[serde(default)]
            rules: Option<Spanned<String>>,
            #[serde(default)]
            rules_file: Option<Spanned<String>>,
            #[serde(default)]
            defaults: Defaults,
            #[serde(default)]
            topologies: BTreeMap<String, Topology>,
            tests: Vec<Spanned<Case>>,
        }

        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = File;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of cases, or a map with `tests`")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<File, A::Error> {
                let mut tests = Vec::new();
                while let Some(case) = items.next_element()? {
                    tests.push(case);
                }
                Ok(File { tests, ..File::default() })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<File, A::Error> {
                let Map { rules, rules_file, defaults, topologies, tests } =
                    Map::deserialize(MapAccessDeserializer::new(map))?;
                Ok(File { rules, rules_file, defaults, topologies, tests })
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// What cases say that say nothing of it themselves.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Defaults {
    /// See [`Case::topology`].
    pub topology: Option<Spanned<TopologyChoice>>,
    /// See [`Case::listeners`].
    pub listeners: Option<Spanned<Listeners>>,
    /// See [`Case::peers`].
    pub peers: Option<Peers>,
    /// See [`Case::timeout_ms`].
    pub timeout_ms: Option<u32>,
}

/// One case.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Case {
    /// What reports call it; `case N` when it has none.
    pub name: Option<String>,
    /// Where it happens: `simple` (default), `gateway`, `bridge`, a name of the file's topologies, or one written here.
    pub topology: Option<Spanned<TopologyChoice>>,
    /// The ruleset under test.
    pub rules: Option<Spanned<String>>,
    /// The same, in a file beside the suite.
    pub rules_file: Option<Spanned<String>>,
    /// What is sent, in order.
    pub packets: Vec<Spanned<Packet>>,
    /// What is expected of the case as a whole.
    pub expect: Option<Spanned<CaseExpect>>,
    /// What answers: `auto` (default), `none`, or a list such as `[tcp:22, udp:53]`.
    pub listeners: Option<Spanned<Listeners>>,
    /// Whether the other nodes answer as hosts do.
    pub peers: Option<Peers>,
    /// Settings of the tested node.
    pub sysctls: BTreeMap<String, Scalar>,
    /// Words to choose cases by.
    pub tags: Vec<String>,
    /// How long the case may take, milliseconds.
    pub timeout_ms: Option<u32>,
}

/// What is expected of a case as a whole.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseExpect {
    /// Every packet without an expectation of its own gets exactly this.
    #[serde(default)]
    pub verdict: Option<String>,
    /// The ruleset does not load, and the message contains this.
    #[serde(default)]
    pub load_error: Option<String>,
}

/// Whether the other nodes answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Peers {
    /// They are hosts.
    #[default]
    Stack,
    /// They only send what is listed.
    Silent,
}

/// A topology by name, or written down.
#[derive(Debug, Clone)]
pub enum TopologyChoice {
    /// Built in, or of the file's `topologies`.
    Named(String),
    /// Written here.
    Inline(Box<Topology>),
}

/// Nodes and what connects them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Topology {
    /// The nodes by name; the tested one is called `fw`.
    pub nodes: BTreeMap<String, Node>,
    /// Cables, each `[node:interface, node:interface]`.
    pub links: Vec<[String; 2]>,
    /// Bridges inside nodes: `node:bridge` to its ports.
    pub bridges: BTreeMap<String, Vec<String>>,
}

/// One node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Node {
    /// Addresses with prefix, by interface.
    pub addresses: BTreeMap<String, Vec<String>>,
    /// Hardware addresses, by interface.
    pub macs: BTreeMap<String, String>,
    /// Routes: prefix to next hop.
    pub routes: BTreeMap<String, IpAddr>,
    /// Whether it forwards.
    pub forward: bool,
    /// Its own ruleset.
    pub rules: Option<String>,
    /// Its settings.
    pub sysctls: BTreeMap<String, Scalar>,
    /// What answers on it.
    pub listeners: Vec<String>,
    /// Permanent neighbours: address to hardware address.
    pub neighbours: BTreeMap<IpAddr, String>,
}

/// What answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listeners {
    /// The ports that packets aim at.
    Auto,
    /// Nothing.
    None,
    /// These, each `tcp:PORT` or `udp:PORT`.
    These(Vec<String>),
}

/// A number, a truth value or a text, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar(pub String);

/// One packet, or several alike.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "the fields are those of the suite format, in docs/suites.md")]
pub struct Packet {
    pub protocol: Option<String>,
    pub src_ip: Option<IpAddr>,
    pub dst_ip: Option<IpAddr>,
    pub src_port: Option<u16>,
    pub dst_port: Option<u16>,
    pub tcp_flags: Option<Vec<String>>,
    pub expected_verdict: Option<String>,
    pub from: Option<String>,
    pub payload: Option<Bytes>,
    pub ttl: Option<u8>,
    pub dscp: Option<u8>,
    pub mark: Option<u32>,
    pub vlan: Option<u16>,
    pub icmp_type: Option<u8>,
    pub icmp_code: Option<u8>,
    pub fragment: Option<Fragment>,
    pub ip_options: Option<Bytes>,
    pub tcp_options: Option<Bytes>,
    pub extension_headers: Vec<ExtensionHeader>,
    pub frame: Option<String>,
    pub count: Option<u32>,
    pub gap_ms: Option<u32>,
    pub sport_step: Option<u16>,
    pub after_ms: Option<u32>,
    pub flow: Option<String>,
    pub expect: Option<Expect>,
}

/// A fragment's place (RFC 791, RFC 8200).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fragment {
    /// Bytes before it, a multiple of eight.
    pub offset: u16,
    /// Whether more follow.
    pub more: bool,
    /// The datagram it belongs to.
    pub id: Option<u32>,
    /// In place of these: the whole packet, in fragments of this many bytes.
    pub size: Option<u16>,
}

/// An IPv6 extension header (RFC 8200, section 4).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtensionHeader {
    /// Its number: 0 hop-by-hop, 43 routing, 60 destination options, 135 mobility.
    pub protocol: u8,
    /// What follows its first two bytes; zeros fill it up.
    #[serde(default)]
    pub content: Bytes,
}

/// What is expected of one packet, exactly.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "the fields are those of the suite format, in docs/suites.md")]
pub struct Expect {
    pub verdict: Option<String>,
    pub rule: Option<String>,
    pub chain: Option<String>,
    pub delivered_to: Option<String>,
    pub src: Option<IpAddr>,
    pub dst: Option<IpAddr>,
    pub sport: Option<u16>,
    pub dport: Option<u16>,
    pub ct_state: Option<String>,
    pub reply: Option<String>,
    pub log: Option<String>,
    pub counter: Option<Counter>,
}

/// What counters show after a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Counter {
    /// Packets, in the counter of the rule that decided, or else of the last rule with one that it matched.
    OfRule(u64),
    /// Packets, in named counters.
    Named(BTreeMap<String, u64>),
}

/// Bytes: a text, or `{hex: 00ff}`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

/// Reads hexadecimal digits; blanks and colons between them are skipped.
///
/// # Errors
/// Words for people, when something else is there or a digit is left over.
pub fn from_hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace() && *c != ':').collect();
    if !digits.len().is_multiple_of(2) {
        return Err("has an odd number of hexadecimal digits".to_owned());
    }
    let digit = |c: char| c.to_digit(16).ok_or_else(|| format!("{c:?} is no hexadecimal digit"));
    digits.chunks(2).map(|pair| Ok((digit(pair[0])? << 4 | digit(pair[1])?) as u8)).collect()
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Asked for as a text, so that digits alone are no number: they would lose their leading zeros.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Hex {
            hex: String,
        }

        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or `{hex: 00ff}`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Bytes, E> {
                Ok(Bytes(text.as_bytes().to_vec()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Bytes, A::Error> {
                let Hex { hex } = Hex::deserialize(MapAccessDeserializer::new(map))?;
                from_hex(&hex).map(Bytes).map_err(de::Error::custom)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Counter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Names are asked for as texts, so that `n` and `y` are no truth values.
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Counter;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of packets, or `{NAME: PACKETS}`")
            }

            fn visit_u64<E: de::Error>(self, packets: u64) -> Result<Counter, E> {
                Ok(Counter::OfRule(packets))
            }

            fn visit_i64<E: de::Error>(self, packets: i64) -> Result<Counter, E> {
                u64::try_from(packets).map(Counter::OfRule).map_err(|_| E::custom("a counter is 0 or more"))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Counter, A::Error> {
                BTreeMap::deserialize(MapAccessDeserializer::new(map)).map(Counter::Named)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for TopologyChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = TopologyChoice;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a topology's name, or a map with `nodes` and `links`")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<TopologyChoice, E> {
                Ok(TopologyChoice::Named(name.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<TopologyChoice, A::Error> {
                Topology::deserialize(MapAccessDeserializer::new(map)).map(Box::new).map(TopologyChoice::Inline)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Listeners {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Listeners;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`auto`, `none`, or a list such as `[tcp:22, udp:53]`")
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<Listeners, E> {
                match word {
                    "auto" => Ok(Listeners::Auto),
                    "none" => Ok(Listeners::None),
                    other => Err(E::custom(format!("listeners are `auto`, `none` or a list, not {other:?}"))),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Listeners, A::Error> {
                let mut these = Vec::new();
                while let Some(listener) = items.next_element()? {
                    these.push(listener);
                }
                Ok(Listeners::These(these))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "must be a number, a truth value or a text")]
        enum Either {
            Bool(bool),
            Number(i64),
            Text(String),
        }
        Ok(Self(match Either::deserialize(deserializer)? {
            Either::Bool(value) => u8::from(value).to_string(),
            Either::Number(value) => value.to_string(),
            Either::Text(value) => value,
        }))
    }
}
