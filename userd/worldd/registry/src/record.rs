//! Which records a domain may have.

use std::{collections::HashMap, net::IpAddr};

use netengine_dns::record::{Record, Rtype};
use netengine_spec::text::{RecordName, Text};

use crate::{
    model::{DEFAULT_TTL, DomainRecord, NameServer, RecordType},
    name,
};

/// Most records of one domain.
pub const MAX_RECORDS: usize = 1000;
/// Most name servers of one domain (RFC 5731 sets none; thirteen fit an answer without truncation).
pub const MAX_NAME_SERVERS: usize = 13;
/// Most addresses of one name server.
pub const MAX_ADDRESSES: usize = 8;
/// Longest time to live, seconds: a week, as in the spec.
pub const MAX_TTL: u32 = 604_800;

/// Why records are not accepted; `at` points into the list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RecordError {
    /// Where: a JSON pointer (RFC 6901) below the list's own.
    pub at: String,
    /// What is wrong.
    pub message: String,
}

fn wrong<T>(at: impl Into<String>, message: impl Into<String>) -> Result<T, RecordError> {
    Err(RecordError { at: at.into(), message: message.into() })
}

fn rtype(kind: RecordType) -> Option<Rtype> {
    Some(match kind {
        RecordType::A => Rtype::A,
        RecordType::Aaaa => Rtype::AAAA,
        RecordType::Cname => Rtype::CNAME,
        RecordType::Mx => Rtype::MX,
        RecordType::Txt => Rtype::TXT,
        RecordType::Ns => Rtype::NS,
        RecordType::Srv => Rtype::SRV,
        RecordType::Caa => Rtype::CAA,
        RecordType::Ptr => return None,
    })
}

/// The mnemonic of a type.
pub fn mnemonic(kind: RecordType) -> &'static str {
    match kind {
        RecordType::A => "A",
        RecordType::Aaaa => "AAAA",
        RecordType::Cname => "CNAME",
        RecordType::Mx => "MX",
        RecordType::Txt => "TXT",
        RecordType::Ns => "NS",
        RecordType::Srv => "SRV",
        RecordType::Caa => "CAA",
        RecordType::Ptr => "PTR",
    }
}

/// Checks the records of `domain` one by one and together.
///
/// # Errors
/// [`RecordError`] with the first that is wrong.
pub fn check(domain: &str, records: &[DomainRecord]) -> Result<(), RecordError> {
    if records.len() > MAX_RECORDS {
        return wrong("", format!("{} records are too many; at most {MAX_RECORDS}", records.len()));
    }
    let mut owners: HashMap<&str, (usize, bool)> = HashMap::new();
    for (index, record) in records.iter().enumerate() {
        let name = record.name.as_str();
        if !(1..=MAX_TTL).contains(&record.ttl) {
            return wrong(format!("/{index}/ttl"), format!("{} is not from 1 to {MAX_TTL} seconds", record.ttl));
        }
        let Some(rtype) = rtype(record.kind) else {
            return wrong(format!("/{index}/type"), "a domain has no PTR records; reverse zones are the world's own");
        };
        let owner = if name == "@" { domain.to_owned() } else { format!("{name}.{domain}") };
        if let Err(error) = Record::parse(&owner, record.ttl, rtype, record.value.as_str()) {
            let at = if matches!(error, netengine_dns::record::RecordError::Name { .. }) { "name" } else { "value" };
            return wrong(format!("/{index}/{at}"), error.to_string());
        }
        if record.kind == RecordType::Ns && name.contains('*') {
            return wrong(format!("/{index}/name"), "a wildcard cannot be delegated (RFC 4592, section 4.2)");
        }
        let (count, has_alias) = owners.entry(name).or_default();
        *count += 1;
        *has_alias |= record.kind == RecordType::Cname;
        if *has_alias && (*count > 1 || name == "@") {
            // RFC 1034, section 3.6.2; the domain itself always has SOA and NS records.
            return wrong(format!("/{index}"), format!("`{name}` has other records; an alias (CNAME) must be alone"));
        }
    }
    Ok(())
}

/// Replaces the name servers in `records` by `servers`, glue included. None at all: the top-level domain's server hosts
/// the domain.
///
/// # Errors
/// [`RecordError`] for a server's name or addresses.
pub fn set_name_servers(
    domain: &str,
    records: &mut Vec<DomainRecord>,
    servers: &[NameServer],
) -> Result<(), RecordError> {
    if servers.len() > MAX_NAME_SERVERS {
        return wrong("", format!("{} name servers are too many; at most {MAX_NAME_SERVERS}", servers.len()));
    }
    let mut added: Vec<DomainRecord> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for (index, server) in servers.iter().enumerate() {
        let at = |field: &str| format!("/{index}/{field}");
        let host = match name::parse(&server.name) {
            Ok(host) if host.as_str().contains('.') => host,
            Ok(_) => return wrong(at("name"), format!("{:?} is not a host's whole name", server.name)),
            Err(error) => return wrong(at("name"), format!("{:?} {error}", server.name)),
        };
        if !seen.insert(host.clone()) {
            return wrong(at("name"), format!("`{host}` is listed twice"));
        }
        if server.addresses.len() > MAX_ADDRESSES {
            return wrong(at("addresses"), format!("too many addresses; at most {MAX_ADDRESSES}"));
        }
        added.extend(record("@", RecordType::Ns, host.as_str()));
        match host.as_str().strip_suffix(domain) {
            Some("") => return wrong(at("name"), "the domain's own name cannot be its name server here"),
            Some(inside) if inside.ends_with('.') => {
                if server.addresses.is_empty() {
                    return wrong(at("addresses"), format!("`{host}` lies in the domain, so its addresses are needed"));
                }
                for address in &server.addresses {
                    if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
                        return wrong(at("addresses"), format!("{address} is no host's address"));
                    }
                    let kind = if matches!(address, IpAddr::V4(_)) { RecordType::A } else { RecordType::Aaaa };
                    added.extend(record(inside.trim_end_matches('.'), kind, &address.to_string()));
                }
            }
            _ if !server.addresses.is_empty() => {
                return wrong(
                    at("addresses"),
                    format!("`{host}` does not lie in the domain; its own zone has its addresses"),
                );
            }
            _ => {}
        }
    }
    let is_address = |kind| matches!(kind, RecordType::A | RecordType::Aaaa);
    let targets = |records: &[DomainRecord]| -> std::collections::HashSet<String> {
        let named = records.iter().filter(|record| record.kind == RecordType::Ns && record.name.as_str() == "@");
        named.map(|record| record.value.as_str().trim_end_matches('.').to_ascii_lowercase()).collect()
    };
    let hosts: std::collections::HashSet<String> = targets(records).union(&targets(&added)).cloned().collect();
    records.retain(|record| {
        let is_server = record.kind == RecordType::Ns && record.name.as_str() == "@";
        let is_glue = is_address(record.kind) && hosts.contains(&format!("{}.{domain}", record.name));
        !(is_server || is_glue)
    });
    records.extend(added);
    Ok(())
}

/// A record of texts that fit: names and addresses that were parsed.
fn record(name: &str, kind: RecordType, value: &str) -> Option<DomainRecord> {
    Some(DomainRecord { name: RecordName::parse(name).ok()?, kind, value: Text::parse(value).ok()?, ttl: DEFAULT_TTL })
}
