//! What may be named in a certificate of this world.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use netengine_spec::{Spec, text::DnsName};
use serde::{Deserialize, Serialize};

/// Something a certificate is asked for (RFC 8555, section 9.7.7; RFC 8738).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "Wire", try_from = "Wire")]
pub enum Identifier {
    /// A domain name, in lower case.
    Dns(DnsName),
    /// `*.` and this domain name.
    Wildcard(DnsName),
    /// An address.
    Ip(IpAddr),
}

/// As it stands in JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Wire {
    /// `dns` or `ip`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The name or the address.
    pub value: String,
}

/// Why something is no identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentifierError {
    /// A type nobody has defined, or that is of no use here.
    #[error("cannot certify identifiers of the type {0:?}, only dns and ip")]
    Type(String),
    /// Not a domain name.
    #[error("cannot read {0:?} as a domain name")]
    Dns(String),
    /// Not an address.
    #[error("cannot read {0:?} as an address in its canonical form")]
    Ip(String),
}

impl TryFrom<Wire> for Identifier {
    type Error = IdentifierError;

    fn try_from(wire: Wire) -> Result<Self, IdentifierError> {
        match wire.kind.as_str() {
            "dns" => Self::dns(&wire.value),
            "ip" => Self::ip(&wire.value),
            _ => Err(IdentifierError::Type(shortened(&wire.kind))),
        }
    }
}

impl From<Identifier> for Wire {
    fn from(identifier: Identifier) -> Self {
        let kind = if matches!(identifier, Identifier::Ip(_)) { "ip" } else { "dns" };
        Self { kind: kind.to_owned(), value: identifier.to_string() }
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(f, "{name}"),
            Self::Wildcard(name) => write!(f, "*.{name}"),
            Self::Ip(address) => write!(f, "{address}"),
        }
    }
}

impl Identifier {
    /// Parses a domain name or a wildcard. Letters of either case are the same (RFC 4343).
    ///
    /// # Errors
    /// [`IdentifierError::Dns`].
    pub fn dns(text: &str) -> Result<Self, IdentifierError> {
        let wrong = || IdentifierError::Dns(shortened(text));
        if text.len() > 253 || text.parse::<IpAddr>().is_ok() {
            return Err(wrong());
        }
        let lower = text.to_ascii_lowercase();
        match lower.strip_prefix("*.") {
            Some(rest) => DnsName::parse(rest).map(Self::Wildcard),
            None => DnsName::parse(&lower).map(Self::Dns),
        }
        .map_err(|_| wrong())
    }

    /// Parses an address, in the one form RFC 8738 allows (RFC 5952 for IPv6).
    ///
    /// # Errors
    /// [`IdentifierError::Ip`].
    pub fn ip(text: &str) -> Result<Self, IdentifierError> {
        match text.parse::<IpAddr>() {
            Ok(address) if address.to_string() == text => Ok(Self::Ip(address)),
            _ => Err(IdentifierError::Ip(shortened(text))),
        }
    }

    /// Without the `*.`: what an authorization is for (RFC 8555, section 7.1.4).
    pub fn base(&self) -> Self {
        match self {
            Self::Wildcard(name) => Self::Dns(name.clone()),
            other => other.clone(),
        }
    }
}

/// At most 64 characters of what a peer sent, for a message.
fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

/// The names and addresses that belong to a world; nothing else is ever certified or connected to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    /// Zones of which the name itself may be certified too, and `*.` directly below it.
    pub zones: Vec<DnsName>,
    /// Top-level domains: only names below them, and no `*.` directly below.
    pub tlds: Vec<DnsName>,
    /// The networks of the world.
    pub networks: Vec<IpNet>,
}

/// Why an identifier is not certified here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OutsideScope {
    /// In no zone or network of this world.
    #[error("cannot certify what lies outside this world")]
    Outside,
    /// A top-level domain itself, or everything directly below it.
    #[error("cannot certify a top-level domain or all of its names")]
    WholeTld,
}

impl Scope {
    /// The names and networks of the world that this spec describes.
    pub fn of(spec: &Spec) -> Self {
        let networks = spec.networks().into_iter().flat_map(|network| {
            [Some(IpNet::V4(network.subnet)), network.subnet6.map(IpNet::V6)].into_iter().flatten()
        });
        let mut tlds: Vec<_> = spec.dns.tlds.iter().filter_map(|tld| DnsName::parse(tld.name.as_str()).ok()).collect();
        // Services whose top-level domain nobody declared: the world has a zone for it all the same.
        let services = spec.listen_addresses();
        tlds.extend(services.iter().filter_map(|listen| DnsName::parse(listen.name.rsplit_once('.')?.1).ok()));
        tlds.sort();
        tlds.dedup();
        // A mirrored host name is a zone of the world's own.
        let mirrors = spec.gateway_portal.mirrors().iter().map(|mirror| mirror.real_hostname.clone());
        let zones = std::iter::once(spec.dns.platform_zone.name.clone()).chain(mirrors).collect();
        Self { zones, tlds, networks: networks.collect() }
    }

    /// Whether this may be certified.
    ///
    /// # Errors
    /// [`OutsideScope`].
    pub fn check(&self, identifier: &Identifier) -> Result<(), OutsideScope> {
        let name = match identifier {
            Identifier::Ip(address) => {
                return self.holds_address(*address).then_some(()).ok_or(OutsideScope::Outside);
            }
            Identifier::Dns(name) | Identifier::Wildcard(name) => name.as_str(),
        };
        if self.zones.iter().any(|zone| name == zone.as_str() || is_below(name, zone.as_str())) {
            return Ok(());
        }
        if self.tlds.iter().any(|tld| is_below(name, tld.as_str())) {
            return Ok(());
        }
        match self.tlds.iter().any(|tld| name == tld.as_str()) {
            true => Err(OutsideScope::WholeTld),
            false => Err(OutsideScope::Outside),
        }
    }

    /// Whether the address lies in a network of the world.
    pub fn holds_address(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// The zones and top-level domains without those that another one holds: what name constraints permit.
    pub fn permitted_names(&self) -> Vec<&DnsName> {
        let all: Vec<&DnsName> = self.zones.iter().chain(&self.tlds).collect();
        let mut kept: Vec<&DnsName> = all.clone();
        kept.retain(|name| !all.iter().any(|other| is_below(name.as_str(), other.as_str())));
        kept.sort();
        kept.dedup();
        kept
    }
}

fn is_below(name: &str, zone: &str) -> bool {
    name.strip_suffix(zone).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        let name = |text| DnsName::parse(text).expect("a name");
        Scope {
            zones: vec![name("platform.internal")],
            tlds: vec![name("internal"), name("test")],
            networks: vec!["10.0.0.0/24".parse().expect("a network"), "fd00::/64".parse().expect("a network")],
        }
    }

    #[test]
    fn only_what_lies_inside_the_world_is_certified() {
        for (text, wanted) in [
            ("ca.platform.internal", Ok(())),
            ("platform.internal", Ok(())),
            ("*.platform.internal", Ok(())),
            ("acme.test", Ok(())),
            ("*.acme.test", Ok(())),
            ("test", Err(OutsideScope::WholeTld)),
            ("*.test", Err(OutsideScope::WholeTld)),
            ("example.com", Err(OutsideScope::Outside)),
            ("xtest", Err(OutsideScope::Outside)),
            ("test.example.com", Err(OutsideScope::Outside)),
        ] {
            let identifier = Identifier::dns(text).expect("an identifier");
            assert_eq!(scope().check(&identifier), wanted, "{text}");
        }
        for (text, wanted) in [("10.0.0.9", true), ("10.0.1.9", false), ("fd00::1", true), ("127.0.0.1", false)] {
            let identifier = Identifier::ip(text).expect("an identifier");
            assert_eq!(scope().check(&identifier).is_ok(), wanted, "{text}");
        }
    }

    #[test]
    fn names_have_one_form() {
        assert_eq!(Identifier::dns("WWW.Acme.Test").expect("a name").to_string(), "www.acme.test");
        for bad in
            ["", ".", "a..b", "*", "*.", "*.*.test", "a.*.test", "10.0.0.1", "a b.test", "a.test.", "ä.test", "_x.test"]
        {
            assert!(Identifier::dns(bad).is_err(), "{bad:?} was accepted");
        }
        for bad in ["10.0.0.01", "fd00:0::1", "FD00::1", "10.0.0.1/32", "::ffff:10.0.0.256", "x"] {
            assert!(Identifier::ip(bad).is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn constraints_name_each_part_of_the_world_once() {
        let scope = scope();
        let names: Vec<_> = scope.permitted_names().into_iter().map(DnsName::as_str).collect();
        assert_eq!(names, ["internal", "test"]);
    }
}
