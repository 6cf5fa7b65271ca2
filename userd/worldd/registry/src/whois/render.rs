//! The text of an answer. Pure.

use std::fmt::Write;

use ipnet::IpNet;

use super::query::Query;
use crate::{
    decide::shown,
    model::{Domain, Lease, Moment, Organisation, Tld},
    name,
    state::{Holder, State},
};

/// Most domains that one answer lists.
const MAX_LISTED: usize = 50;

const HELP: &str = "% Ask for one of:\r\n\
%   NAME.TLD                 a domain\r\n\
%   ORGANISATION             an organisation (or: organisation NAME)\r\n\
%   TLD                      a top-level domain\r\n\
%   ADDRESS or ADDRESS/BITS  the network that holds it, IPv4 or IPv6\r\n\
%   ASNUMBER                 an autonomous system\r\n\
%   nameserver NAME          the domains that a name server serves\r\n";

/// The answer to a line, its lines ended by CRLF. `now` is told as the moment of the answer.
pub fn answer(state: &State, line: &[u8], now: Moment) -> String {
    let mut out = Out(String::with_capacity(1024));
    let found = match Query::parse(line) {
        Query::Help => {
            out.0.push_str(HELP);
            return out.0;
        }
        Query::Domain(name) => state.domain(&name).map(|it| domain(&mut out, state, it)),
        Query::Organisation(name) => state.organisation(&name).map(|it| organisation(&mut out, state, it)),
        Query::Word(word) => {
            let top = state.tld(&word).map(|it| tld(&mut out, it));
            let held = state.organisation(&word).map(|it| {
                if top.is_some() {
                    out.0.push_str("\r\n");
                }
                organisation(&mut out, state, it);
            });
            top.or(held)
        }
        Query::Network(asked) => state.holder_of(asked).map(|it| network(&mut out, it)),
        Query::Autnum(number) => state.leases().find(|it| it.asn == number).map(|it| autnum(&mut out, it)),
        Query::NameServer(host) => name_server(&mut out, state, &host),
        Query::Nothing => None,
    };
    if found.is_none() {
        let _ = write!(out.0, "No match for \"{}\".\r\n", shown(String::from_utf8_lossy(line).trim()));
    }
    let _ = write!(out.0, ">>> Last update of WHOIS database: {now} <<<\r\n");
    out.0
}

/// Lines of `Key: value`. Writing to a String does not fail.
struct Out(String);

impl Out {
    fn line(&mut self, key: &str, value: impl std::fmt::Display) {
        let start = self.0.len();
        let _ = write!(self.0, "{key}: {value}");
        // Texts of people were refused control characters when they came in; a line ends here and nowhere else all the same.
        if self.0[start..].contains(|c: char| c.is_control()) {
            let plain: String = self.0[start..].chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            self.0.replace_range(start.., &plain);
        }
        self.0.push_str("\r\n");
    }

    fn maybe(&mut self, key: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.line(key, value);
        }
    }
}

fn domain(out: &mut Out, state: &State, it: &Domain) {
    out.line("Domain Name", &it.name);
    out.maybe("Internationalized Domain Name", name::unicode(&it.name));
    out.line("Creation Date", it.created);
    out.line("Updated Date", it.updated);
    out.maybe("Transfer Date", it.transferred);
    out.line("Registry Expiry Date", it.expires);
    for word in it.status_words() {
        out.line("Domain Status", format_args!("{word} https://icann.org/epp#{word}"));
    }
    out.line("Registrant Organization", &it.organisation);
    out.maybe("Registrant Description", state.organisation(&it.organisation).and_then(|it| it.description.as_ref()));
    for contact in &it.contacts {
        let role = contact.role.word();
        let role = format!("{}{}", role[..1].to_uppercase(), &role[1..]);
        out.line(&format!("{role} Name"), &contact.name);
        out.line(&format!("{role} Email"), &contact.email);
    }
    for server in state.servers_of(it) {
        out.line("Name Server", server);
    }
}

fn organisation(out: &mut Out, state: &State, it: &Organisation) {
    out.line("Organization", &it.name);
    out.maybe("Description", it.description.as_ref());
    out.line("Profile", &it.and_profile);
    for capability in &it.capabilities {
        let word = serde_json::to_value(capability).ok();
        out.maybe("Capability", word.as_ref().and_then(|word| word.as_str()));
    }
    out.line("Status", if it.active { "active" } else { "removed" });
    out.line("Created", it.created);
    out.line("Updated", it.updated);
    listed(out, state.domains().filter(|domain| domain.organisation == it.name).map(|domain| domain.name.as_str()));
    for lease in state.leases().filter(|lease| lease.organisation.as_deref() == Some(&it.name)) {
        out.line("Network", lease.network);
    }
}

fn listed<'s>(out: &mut Out, domains: impl Iterator<Item = &'s str>) {
    for (index, name) in domains.enumerate() {
        if index == MAX_LISTED {
            out.0.push_str("% further domains are not listed\r\n");
            break;
        }
        out.line("Domain", name);
    }
}

fn tld(out: &mut Out, it: &Tld) {
    out.line("Top-Level Domain", &it.tld);
    out.maybe("Governed By", it.governed_by.as_ref());
    out.line("Name Server", &it.server);
    for address in &it.addresses {
        out.line("Address", address);
    }
}

fn network(out: &mut Out, it: Holder<'_>) {
    match it {
        Holder::Lease(lease, network) => {
            range(out, network);
            out.line("NetName", &lease.and);
            out.line("NetType", "AND");
            if network == IpNet::V4(lease.network) {
                out.line("Parent", lease.pool);
            }
            out.line("OriginAS", format_args!("AS{}", lease.asn));
            out.maybe("Organization", lease.organisation.as_ref());
            out.line("Profile", &lease.profile);
            out.line("RegDate", lease.created);
            out.maybe("Released", lease.released);
        }
        Holder::Pool(pool) => {
            range(out, IpNet::V4(pool.cidr));
            out.maybe("NetName", pool.label.as_ref());
            out.line("NetType", "pool");
            out.maybe("AllocatedTo", pool.allocated_to.as_ref());
        }
        Holder::Network(network, subnet) => {
            range(out, subnet);
            out.line("NetName", &network.name);
            out.line("NetType", "substrate");
            out.maybe("Comment", network.description.as_ref());
        }
    }
}

fn range(out: &mut Out, network: IpNet) {
    out.line("NetRange", format_args!("{} - {}", network.network(), network.broadcast()));
    out.line("CIDR", network);
}

fn autnum(out: &mut Out, it: &Lease) {
    out.line("ASNumber", it.asn);
    out.line("ASName", &it.and);
    out.maybe("Organization", it.organisation.as_ref());
    out.line("Network", it.network);
    out.line("RegDate", it.created);
    out.maybe("Released", it.released);
}

fn name_server(out: &mut Out, state: &State, host: &str) -> Option<()> {
    let mut served = state.domains().filter(|it| state.servers_of(it).iter().any(|server| server == host)).peekable();
    let top = state.tlds().find(|it| it.server == host);
    if served.peek().is_none() && top.is_none() {
        return None;
    }
    out.line("Name Server", host);
    let mut addresses: Vec<_> = top.map_or_else(Vec::new, |it| it.addresses.clone());
    let glue = state.domain_above(host).map(|it| it.name_servers()).into_iter().flatten();
    addresses.extend(glue.filter(|server| server.name == host).flat_map(|server| server.addresses));
    for address in addresses {
        out.line("Address", address);
    }
    listed(out, served.map(|it| it.name.as_str()));
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_make_lines_of_its_own() {
        let mut out = Out(String::new());
        out.line("Description", "good\r\nDomain Status: evil\u{1b}[2J\u{85}");
        assert_eq!(out.0, "Description: good  Domain Status: evil [2J \r\n");
    }
}
