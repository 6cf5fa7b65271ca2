//! Bootstrap files (RFC 9224): which server knows what. A world has one, which knows everything of the world. Pure.

use std::collections::BTreeSet;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::object::Base;
use crate::{model::Moment, state::State};

/// One of the four files; `None` for another name.
pub fn file(base: &Base, state: &State, name: &str, now: Moment) -> Option<Value> {
    let networks = || {
        let pools = state.pools().map(|pool| IpNet::V4(pool.cidr));
        pools.chain(state.networks().flat_map(|network| network.subnets.iter().copied())).collect::<BTreeSet<_>>()
    };
    let texts = |is_v4: bool| -> Vec<String> {
        let all = networks().into_iter().filter(|network| matches!(network, IpNet::V4(_)) == is_v4);
        all.map(|network| network.to_string()).collect()
    };
    let (description, entries): (&str, Vec<String>) = match name {
        "dns.json" => ("top-level domains of this world", state.tlds().map(|tld| tld.tld.clone()).collect()),
        "ipv4.json" => ("IPv4 networks of this world", texts(true)),
        "ipv6.json" => ("IPv6 networks of this world", texts(false)),
        "asn.json" => {
            let numbers: BTreeSet<u32> = state.leases().map(|lease| lease.asn).collect();
            let range = numbers.first().zip(numbers.last()).map(|(first, last)| format!("{first}-{last}"));
            ("autonomous systems of this world", range.into_iter().collect())
        }
        _ => return None,
    };
    let services = if entries.is_empty() { json!([]) } else { json!([[entries, [format!("{}/", base.url)]]]) };
    Some(json!({
        "version": "1.0",
        "publication": now.to_string(),
        "description": description,
        "services": services,
    }))
}
