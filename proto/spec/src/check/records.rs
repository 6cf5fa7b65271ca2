//! Records of initial domains: data of the form their type wants, and no alias beside anything else.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, Ipv6Addr},
};

use super::{Check, DOMAINS};
use crate::{
    grammar,
    model::{DomainRecord, RecordType},
};

pub(super) fn check(check: &mut Check) {
    let spec = check.spec;
    for (index, domain) in spec.domain_registry.initial_domains.iter().enumerate() {
        let path = format!("{DOMAINS}[{index}].records");
        let mut owners: HashMap<&str, (usize, bool)> = HashMap::new();
        for record in &domain.records {
            let (count, has_alias) = owners.entry(record.name.as_str()).or_default();
            *count += 1;
            *has_alias |= record.kind == RecordType::Cname;
        }
        for (index, record) in domain.records.iter().enumerate() {
            let path = format!("{path}[{index}]");
            if let Err(why) = check_data(record)
                && check.trusts(&path)
            {
                check.error(&format!("{path}.value"), why, None);
            }
            let is_shared = owners.get(record.name.as_str()).is_some_and(|(count, _)| *count > 1);
            if record.kind == RecordType::Cname && (is_shared || record.name.as_str() == "@") {
                // RFC 1034, section 3.6.2; the domain itself always has SOA and NS records.
                let message = format!("`{}` has other records; an alias (CNAME) must be alone", record.name);
                check.error(&format!("{path}.type"), message, None);
            }
        }
    }
}

/// Checks the presentation form of a record's data (RFC 1035, section 3.3; RFC 2782; RFC 8659).
fn check_data(record: &DomainRecord) -> Result<(), String> {
    let value = record.value.as_str();
    let fields: Vec<&str> = value.split_ascii_whitespace().collect();
    let is_number = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok();
    let is_sound = match (record.kind, fields.as_slice()) {
        (RecordType::A, [address]) => address.parse::<Ipv4Addr>().is_ok(),
        (RecordType::Aaaa, [address]) => address.parse::<Ipv6Addr>().is_ok(),
        (RecordType::Cname | RecordType::Ns | RecordType::Ptr, [name]) => is_name(name),
        (RecordType::Mx, [preference, name]) => is_number(preference) && is_name(name),
        (RecordType::Srv, [numbers @ .., name]) => numbers.len() == 3 && numbers.iter().all(is_number) && is_name(name),
        (RecordType::Caa, [flags, tag, _, ..]) => {
            flags.parse::<u8>().is_ok() && tag.bytes().all(|byte| byte.is_ascii_alphanumeric())
        }
        (RecordType::Txt, _) => true,
        _ => false,
    };
    let wanted = match record.kind {
        RecordType::A => "an IPv4 address",
        RecordType::Aaaa => "an IPv6 address",
        RecordType::Cname | RecordType::Ns | RecordType::Ptr => "a domain name",
        RecordType::Mx => "`<preference> <name>`",
        RecordType::Srv => "`<priority> <weight> <port> <name>`",
        RecordType::Caa => "`<flags> <tag> <value>`",
        RecordType::Txt => "a text",
    };
    if is_sound { Ok(()) } else { Err(format!("`value`: {value:?} is not {wanted}")) }
}

/// A domain name, whole or with its final dot, whose labels may hold underscores.
fn is_name(text: &str) -> bool {
    grammar::dns_name(&text.strip_suffix('.').unwrap_or(text).replace('_', "a")).is_ok()
}
