//! What a line asks for. Pure.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::name;

/// Longest line that is read, bytes, its end included.
pub const MAX_LINE_BYTES: usize = 1024;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// How to ask.
    Help,
    /// A domain.
    Domain(String),
    /// An organisation.
    Organisation(String),
    /// One word: a top-level domain, or an organisation.
    Word(String),
    /// A network, or one address.
    Network(IpNet),
    /// An autonomous system.
    Autnum(u32),
    /// A name server.
    NameServer(String),
    /// Nothing that could be registered.
    Nothing,
}

impl Query {
    /// Reads a line without its end. Everything is a query; what makes no sense matches nothing.
    pub fn parse(line: &[u8]) -> Self {
        let Ok(text) = std::str::from_utf8(line) else { return Self::Nothing };
        let words: Vec<&str> = text.split_ascii_whitespace().take(4).collect();
        match words[..] {
            ["?"] => Self::Help,
            [word] if word.eq_ignore_ascii_case("help") => Self::Help,
            [word] => Self::one(word),
            [kind, word] => match kind.to_ascii_lowercase().as_str() {
                "domain" => name::parse(word).map_or(Self::Nothing, |name| Self::Domain(name.to_string())),
                "organisation" | "organization" | "org" | "entity" => Self::Organisation(word.to_ascii_lowercase()),
                "nameserver" => name::parse(word).map_or(Self::Nothing, |name| Self::NameServer(name.to_string())),
                "network" | "ip" => network(word).map_or(Self::Nothing, Self::Network),
                "autnum" | "as" => autnum(word).map_or(Self::Nothing, Self::Autnum),
                _ => Self::Nothing,
            },
            _ => Self::Nothing,
        }
    }

    fn one(word: &str) -> Self {
        if let Some(network) = network(word) {
            return Self::Network(network);
        }
        let has_prefix = word.get(..2).is_some_and(|prefix| prefix.eq_ignore_ascii_case("as"));
        if let Some(number) = autnum(word).filter(|_| has_prefix) {
            return Self::Autnum(number);
        }
        match name::parse(word) {
            Ok(name) if name.as_str().contains('.') => Self::Domain(name.to_string()),
            Ok(name) => Self::Word(name.to_string()),
            Err(_) => Self::Nothing,
        }
    }
}

fn network(word: &str) -> Option<IpNet> {
    let address = word.parse::<IpAddr>().map(IpNet::from);
    address.ok().or_else(|| word.parse::<IpNet>().ok().map(|network| network.trunc()))
}

fn autnum(word: &str) -> Option<u32> {
    let digits = match word.get(..2) {
        Some(prefix) if prefix.eq_ignore_ascii_case("as") => &word[2..],
        _ => word,
    };
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}
