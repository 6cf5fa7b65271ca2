//! Objects of RFC 9083 from what is registered. Pure.

use std::net::IpAddr;

use icann_rdap_common::{
    contact::{Contact, Email},
    response::{Autnum, Domain, Entity, Event, Link, Nameserver, Network, RdapResponseError, Remark},
};
use ipnet::IpNet;

use crate::{
    model::{self, Lease, Moment, Organisation},
    name,
    state::{Holder, State},
};

/// Where the server is, and who tells the same by WHOIS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Without a slash at the end: `https://registry.platform.internal/rdap`.
    pub url: String,
    /// The name of the WHOIS server.
    pub whois: Option<String>,
}

impl Base {
    /// Links of an object to itself.
    fn itself(&self, path: &str) -> Vec<Link> {
        let href = format!("{}/{path}", self.url);
        vec![Link::builder().value(href.clone()).href(href).rel("self").media_type("application/rdap+json").build()]
    }
}

fn event(action: &str, at: Moment) -> Event {
    Event::builder().event_action(action).event_date(at.to_string()).build()
}

/// A domain (section 5.3).
///
/// # Errors
/// When an address of a name server is none.
pub fn domain(base: &Base, state: &State, it: &model::Domain) -> Result<Domain, RdapResponseError> {
    let mut events = vec![event("registration", it.created), event("expiration", it.expires)];
    events.push(event("last changed", it.updated));
    events.extend(it.transferred.map(|at| event("transfer", at)));
    let holder = match state.organisation(&it.organisation) {
        Some(organisation) => entity(base, organisation, &["registrant"]),
        None => Entity::builder().handle(it.organisation.clone()).role("registrant").build(),
    };
    let contacts = it.contacts.iter().map(|contact| {
        let card = Contact::builder()
            .full_name(contact.name.clone())
            .email(Email::builder().email(contact.email.clone()).build())
            .build();
        Entity::builder::<String>().role(contact.role.word()).contact(card).build()
    });
    let own = it.name_servers();
    let servers = state.servers_of(it).into_iter().map(|host| {
        let glue = own.iter().filter(|server| server.name == host).flat_map(|server| server.addresses.clone());
        let addresses = if own.is_empty() { tld_addresses(state, &host) } else { glue.collect() };
        name_server(base, &host, &addresses)
    });
    Ok(Domain::response_obj()
        .ldh_name(it.name.clone())
        .and_unicode_name(name::unicode(&it.name))
        .handle(it.name.clone())
        .statuses(it.status_words().into_iter().map(status).collect())
        .events(events)
        .entities(std::iter::once(holder).chain(contacts).collect())
        .nameservers(servers.collect::<Result<Vec<_>, _>>()?)
        .links(base.itself(&format!("domain/{}", it.name)))
        .and_port_43(base.whois.clone())
        .build())
}

/// The word of RDAP for one of EPP (RFC 8056, section 2): `ok` is `active`, and words are apart.
fn status(word: &str) -> String {
    if word == "ok" {
        return "active".to_owned();
    }
    let mut out = String::new();
    for c in word.chars() {
        if c.is_ascii_uppercase() {
            out.push(' ');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// The addresses of a top-level domain's server.
fn tld_addresses(state: &State, host: &str) -> Vec<IpAddr> {
    state.tlds().filter(|tld| tld.server == host).flat_map(|tld| tld.addresses.clone()).collect()
}

/// The addresses that are known of a host, when anybody uses it as a name server.
pub fn addresses(state: &State, host: &str) -> Option<Vec<IpAddr>> {
    let is_tlds = state.tlds().any(|tld| tld.server == host);
    let is_used =
        is_tlds || state.domains().any(|domain| domain.name_servers().iter().any(|server| server.name == host));
    is_used.then(|| {
        let mut all = tld_addresses(state, host);
        let glue = state.domain_above(host).map(|domain| domain.name_servers()).unwrap_or_default();
        all.extend(glue.into_iter().filter(|server| server.name == host).flat_map(|server| server.addresses));
        all
    })
}

/// A name server (section 5.2).
///
/// # Errors
/// When an address is none.
pub fn name_server(base: &Base, host: &str, addresses: &[IpAddr]) -> Result<Nameserver, RdapResponseError> {
    Nameserver::response_obj()
        .ldh_name(host.to_owned())
        .handle(host.to_owned())
        .addresses(addresses.iter().map(ToString::to_string).collect())
        .status("active")
        .links(base.itself(&format!("nameserver/{host}")))
        .and_port_43(base.whois.clone())
        .build()
}

/// An organisation (section 5.1).
pub fn entity(base: &Base, it: &Organisation, roles: &[&str]) -> Entity {
    let card = Contact::builder().kind("org").full_name(it.name.clone()).organization_name(it.name.clone()).build();
    let remark =
        it.description.clone().map(|text| Remark::builder().title("description").description_entry(text).build());
    Entity::response_obj()
        .handle(it.name.clone())
        .roles(roles.iter().map(|&role| role.to_owned()).collect())
        .contact(card)
        .status(if it.active { "active" } else { "removed" })
        .remarks(remark.into_iter().collect())
        .events(vec![event("registration", it.created), event("last changed", it.updated)])
        .links(base.itself(&format!("entity/{}", it.name)))
        .and_port_43(base.whois.clone())
        .build()
}

/// The organisation that holds a lease.
fn registrant(base: &Base, state: &State, lease: &Lease) -> Vec<Entity> {
    let organisation = lease.organisation.as_deref().and_then(|name| state.organisation(name));
    organisation.map(|it| entity(base, it, &["registrant"])).into_iter().collect()
}

/// A network (section 5.4).
///
/// # Errors
/// None that could come from what is registered.
pub fn network(base: &Base, state: &State, it: Holder<'_>) -> Result<Network, RdapResponseError> {
    let (network, name, kind, parent) = match it {
        Holder::Lease(lease, network) => {
            let parent = (network == IpNet::V4(lease.network)).then(|| lease.pool.to_string());
            (network, Some(lease.and.clone()), "AND", parent)
        }
        Holder::Pool(pool) => (IpNet::V4(pool.cidr), pool.label.clone(), "POOL", None),
        Holder::Network(network, subnet) => (subnet, Some(network.name.clone()), "SUBSTRATE", None),
    };
    let (events, entities, status) = match it {
        Holder::Lease(lease, _) => {
            let released = lease.released.map(|at| event("deletion", at));
            let status = if lease.released.is_some() { "inactive" } else { "active" };
            let events = std::iter::once(event("registration", lease.created)).chain(released).collect();
            (events, registrant(base, state, lease), status)
        }
        _ => (Vec::new(), Vec::new(), "active"),
    };
    Network::response_obj()
        .cidr(network.to_string())
        .handle(network.to_string())
        .and_name(name)
        .network_type(kind)
        .and_parent_handle(parent)
        .status(status)
        .events(events)
        .entities(entities)
        .links(base.itself(&format!("ip/{network}")))
        .and_port_43(base.whois.clone())
        .build()
}

/// An autonomous system (section 5.5).
pub fn autnum(base: &Base, state: &State, lease: &Lease) -> Autnum {
    Autnum::response_obj()
        .autnum_range(lease.asn..lease.asn)
        .handle(format!("AS{}", lease.asn))
        .name(lease.and.clone())
        .autnum_type("AND")
        .status(if lease.released.is_some() { "inactive" } else { "active" })
        .events(vec![event("registration", lease.created)])
        .entities(registrant(base, state, lease))
        .links(base.itself(&format!("autnum/{}", lease.asn)))
        .and_port_43(base.whois.clone())
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_words_are_those_of_rfc_8056() {
        for (epp, rdap) in [
            ("ok", "active"),
            ("clientHold", "client hold"),
            ("serverTransferProhibited", "server transfer prohibited"),
            ("redemptionPeriod", "redemption period"),
        ] {
            assert_eq!(status(epp), rdap);
        }
    }
}
