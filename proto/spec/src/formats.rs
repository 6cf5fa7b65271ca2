//! The string formats of the JSON Schema: what each accepts, and what stands in for a refused value.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use netengine_proto::names::WorldName;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::grammar;

/// One format of the schema.
pub(crate) struct Format {
    /// Its name, as in the schema's `format`.
    pub name: &'static str,
    /// What a text of it is, for "expected ...".
    pub noun: &'static str,
    /// Accepts a text or says what is wrong with it ("is not ...").
    pub check: fn(&str) -> Result<(), String>,
    /// A text of this format. It stands in for a refused required value, so that the rest of a file is still checked;
    /// a spec that holds one is never handed out.
    pub stand_in: &'static str,
}

macro_rules! own {
    ($check:ident) => {
        |value| grammar::$check(value).map_err(|why| why.to_string())
    };
}

/// Every format of the schema.
pub(crate) const FORMATS: &[Format] = &[
    Format { name: "name", noun: "a name", check: check_name, stand_in: "unknown" },
    Format { name: "ipv4", noun: "an IPv4 address", check: check_ipv4, stand_in: "10.255.255.254" },
    Format { name: "cidr4", noun: "an IPv4 network", check: check_cidr4, stand_in: "10.255.255.0/24" },
    Format { name: "cidr6", noun: "an IPv6 network", check: check_cidr6, stand_in: "fd00::/64" },
    Format { name: "text", noun: "a text", check: own!(text), stand_in: "unknown" },
    Format { name: "dns-name", noun: "a domain name", check: own!(dns_name), stand_in: "unknown" },
    Format { name: "dns-label", noun: "a DNS label", check: own!(label), stand_in: "unknown" },
    Format { name: "record-name", noun: "a record name", check: own!(record_name), stand_in: "@" },
    Format { name: "username", noun: "an account name", check: own!(username), stand_in: "unknown" },
    Format { name: "email", noun: "an e-mail address", check: own!(email), stand_in: "unknown@unknown" },
    Format { name: "soa-mailbox", noun: "a mailbox", check: own!(soa_mailbox), stand_in: "unknown" },
    Format { name: "country", noun: "a country code", check: own!(country), stand_in: "XX" },
    Format { name: "key", noun: "a name", check: own!(key), stand_in: "unknown" },
    Format { name: "bucket", noun: "a bucket name", check: own!(bucket), stand_in: "unknown" },
    Format { name: "image", noun: "an image reference", check: own!(image), stand_in: "unknown" },
    Format { name: "scope", noun: "a scope", check: own!(scope), stand_in: "unknown" },
    Format { name: "url", noun: "a URL", check: own!(https_url), stand_in: "https://unknown/" },
    Format { name: "endpoint", noun: "an endpoint", check: own!(endpoint), stand_in: "world:unknown" },
    Format { name: "host", noun: "a host", check: own!(host), stand_in: "unknown" },
    Format {
        name: "pem",
        noun: "a PEM certificate",
        check: own!(pem),
        stand_in: concat!(
            "-----BEGIN CERTIFICATE-----\n",
            "MIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "\n-----END CERTIFICATE-----"
        ),
    },
    Format { name: "access-key", noun: "an access key id", check: own!(access_key), stand_in: "unknown" },
    Format { name: PORTS, noun: "a port or a range of ports", check: check_ports, stand_in: "1" },
];

/// The only text format that also takes a plain number.
pub(crate) const PORTS: &str = "ports";

/// The format of this name.
pub(crate) fn find(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name)
}

fn check_name(text: &str) -> Result<(), String> {
    // The label newtypes of the shared vocabulary have one grammar; WorldName stands for all of them.
    WorldName::parse(text).map(drop).map_err(|why| why.to_string())
}

fn check_ports(text: &str) -> Result<(), String> {
    grammar::ports(text).map(drop).map_err(|why| why.to_string())
}

fn check_ipv4(text: &str) -> Result<(), String> {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => Ok(()),
        Ok(IpAddr::V6(_)) => Err("is an IPv6 address; an IPv4 address is needed here".to_owned()),
        Err(_) => Err("is not an IPv4 address".to_owned()),
    }
}

fn check_cidr4(text: &str) -> Result<(), String> {
    if text.parse::<Ipv4Addr>().is_ok() {
        return Err(format!("has no prefix length; write it like {text}/24"));
    }
    let Ok(net) = text.parse::<Ipv4Net>() else {
        let is_v6 = text.parse::<Ipv6Net>().is_ok();
        let why = if is_v6 {
            "is an IPv6 network; it belongs into `subnet6`"
        } else {
            "is not an IPv4 network like 10.0.0.0/24"
        };
        return Err(why.to_owned());
    };
    if net.addr() != net.network() {
        return Err(format!("has bits set behind its prefix; the network is {}", net.trunc()));
    }
    Ok(())
}

fn check_cidr6(text: &str) -> Result<(), String> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(format!("has no prefix length; write it like {text}/64"));
    }
    let net: Ipv6Net = text.parse().map_err(|_| "is not an IPv6 network like fd00:1::/64".to_owned())?;
    if net.addr() != net.network() {
        return Err(format!("has bits set behind its prefix; the network is {}", net.trunc()));
    }
    if net.prefix_len() > 96 {
        return Err("has a prefix longer than /96; the low 32 bits hold each host's IPv4 address".to_owned());
    }
    Ok(())
}

/// Schema of a name of the shared vocabulary.
pub(crate) fn name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "name", "pattern": "^[a-z0-9][a-z0-9-]{0,62}$" })
}

/// Schema of an IPv4 network.
pub(crate) fn cidr4(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "cidr4" })
}

/// Schema of an optional IPv4 network.
pub(crate) fn optional_cidr4(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "null"], "format": "cidr4" })
}

/// Schema of an optional IPv6 network.
pub(crate) fn optional_cidr6(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "null"], "format": "cidr6" })
}

/// Schema of a map whose keys are names of the shared vocabulary.
pub(crate) fn name_map<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    keyed_map::<T>(generator, "name")
}

/// Schema of a map whose keys have the format `key`.
pub(crate) fn key_map<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    keyed_map::<T>(generator, "key")
}

fn keyed_map<T: JsonSchema>(generator: &mut SchemaGenerator, keys: &str) -> Schema {
    let values = generator.subschema_for::<T>();
    json_schema!({ "type": "object", "propertyNames": { "format": keys }, "additionalProperties": values })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stand_in_is_of_its_own_format() {
        for format in FORMATS {
            assert_eq!((format.check)(format.stand_in), Ok(()), "{}", format.name);
        }
    }
}
