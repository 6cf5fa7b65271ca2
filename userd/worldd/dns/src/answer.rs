//! Answers from zones: pure. A request and a snapshot in, a response out.

use std::net::IpAddr;

use crate::{
    name::{LookupKey, Name},
    record::{RrSet, Rtype},
    wire::{
        Rcode, flag,
        write::{Full, Section, Writer},
    },
    zone::{Catalog, Found, Node, View, Zone},
};

/// Longest chain of aliases that one answer follows.
const ALIASES: usize = 16;

/// A question that was understood.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The name, exactly as asked.
    pub name: &'a Name,
    /// The type.
    pub rtype: Rtype,
    /// The asker wants DNSSEC records.
    pub dnssec_ok: bool,
}

/// Writes the answer into `writer`, after the question. Returns the outcome; the caller puts it into the header.
///
/// A set that does not fit sets TC and ends the answer; addresses in the additional section are left out silently
/// unless they are glue that the reader cannot do without (RFC 9471).
pub fn answer(catalog: &Catalog, view: &View, asked: &Asked<'_>, writer: &mut Writer) -> Rcode {
    let mut state = Answering { catalog, view, asked, writer, extra: Vec::new() };
    let length = state.writer.len();
    match state.run() {
        Ok(rcode) => {
            state.addresses();
            rcode
        }
        Err(Full) => {
            state.writer.truncate_to(length);
            Rcode::NOERROR
        }
    }
}

struct Answering<'a, 'w> {
    catalog: &'a Catalog,
    view: &'a View,
    asked: &'a Asked<'a>,
    writer: &'w mut Writer,
    /// Names whose addresses help the reader.
    extra: Vec<Name>,
}

/// What one name of a chain gave.
enum Step {
    Done(Rcode),
    Alias(Name),
}

impl<'a> Answering<'a, '_> {
    fn run(&mut self) -> Result<Rcode, Full> {
        let mut name = self.asked.name.clone();
        for hop in 0..ALIASES {
            let key = LookupKey::of(name.as_wire());
            let Some(zone) = self.catalog.find_zone(self.view, &key, self.asked.rtype == Rtype::DS) else {
                // A chain that leads out of our zones ends here; the reader goes on from the last alias.
                return Ok(if hop == 0 { Rcode::REFUSED } else { Rcode::NOERROR });
            };
            match self.one(zone, &name, &key, hop)? {
                Step::Done(rcode) => return Ok(rcode),
                Step::Alias(target) => name = target,
            }
        }
        Ok(Rcode::NOERROR)
    }

    fn one(&mut self, zone: &'a Zone, name: &Name, key: &LookupKey, hop: usize) -> Result<Step, Full> {
        let found = zone.find(key);
        match found {
            Found::Cut(node) if !(self.asked.rtype == Rtype::DS && node.name == *name) => {
                if hop == 0 {
                    self.delegate(zone, node)?;
                }
                return Ok(Step::Done(Rcode::NOERROR));
            }
            _ => {}
        }
        if hop == 0 {
            self.writer.set(flag::AA);
        }
        match found {
            Found::Node(node) | Found::Cut(node) | Found::Wildcard(node) => self.from_node(zone, name, node),
            Found::Between => self.deny(zone, Rcode::NOERROR),
            Found::Absent => self.deny(zone, Rcode::NXDOMAIN),
        }
    }

    fn from_node(&mut self, zone: &'a Zone, name: &Name, node: &'a Node) -> Result<Step, Full> {
        let rtype = self.asked.rtype;
        // One set is enough for ANY (RFC 8482, section 4.1): no use to amplifiers.
        let set = if rtype == Rtype::ANY { node.sets.first() } else { node.get(rtype) };
        if let Some(set) = set {
            self.put(Section::Answer, name, set, set.ttl)?;
            return Ok(Step::Done(Rcode::NOERROR));
        }
        let Some(alias) = node.get(Rtype::CNAME) else { return self.deny(zone, Rcode::NOERROR) };
        self.put(Section::Answer, name, alias, alias.ttl)?;
        Ok(alias.data.first().and_then(|data| data.name_at(0)).map_or(Step::Done(Rcode::NOERROR), Step::Alias))
    }

    fn put(&mut self, section: Section, owner: &Name, set: &RrSet, ttl: u32) -> Result<(), Full> {
        self.writer.set_of(section, owner, set, ttl)?;
        if matches!(set.rtype, Rtype::MX | Rtype::SRV | Rtype::NS | Rtype::SVCB | Rtype::HTTPS) {
            self.extra.extend(set.data.iter().filter_map(|data| data.target(set.rtype)));
        }
        Ok(())
    }

    /// NXDOMAIN, or NOERROR without data: with the SOA record, which says how long to believe it (RFC 2308, section 3).
    fn deny(&mut self, zone: &'a Zone, rcode: Rcode) -> Result<Step, Full> {
        if let Some(soa) = zone.apex_node().and_then(|node| node.get(Rtype::SOA)) {
            self.put(Section::Authority, zone.apex(), soa, soa.ttl.min(zone.soa().minimum))?;
        }
        Ok(Step::Done(rcode))
    }

    /// The name servers of a zone below, with their addresses.
    fn delegate(&mut self, zone: &'a Zone, cut: &'a Node) -> Result<(), Full> {
        let Some(servers) = cut.get(Rtype::NS) else { return Ok(()) };
        self.writer.set_of(Section::Authority, &cut.name, servers, servers.ttl)?;
        for server in servers.data.iter().filter_map(|data| data.name_at(0)) {
            // Glue inside the delegated zone cannot be found otherwise: it must be there or TC be set (RFC 9471).
            let vital = server.is_under(&cut.name);
            let Some(node) = zone.node(&server) else {
                self.extra.push(server);
                continue;
            };
            for set in node.sets.iter().filter(|set| matches!(set.rtype, Rtype::A | Rtype::AAAA)) {
                let written = self.writer.set_of(Section::Additional, &server, set, set.ttl);
                if vital {
                    written?;
                }
            }
        }
        Ok(())
    }

    /// Addresses of names in the answer, from our zones, as far as they fit.
    fn addresses(&mut self) {
        let extra = std::mem::take(&mut self.extra);
        for name in extra.iter().filter(|name| *name != self.asked.name) {
            let key = LookupKey::of(name.as_wire());
            let Some(zone) = self.catalog.find_zone(self.view, &key, false) else { continue };
            let node = match zone.find(&key) {
                Found::Node(node) => Some(node),
                Found::Cut(_) => zone.node(name),
                _ => None,
            };
            for set in node.iter().flat_map(|node| node.sets.iter()) {
                if matches!(set.rtype, Rtype::A | Rtype::AAAA)
                    && self.writer.set_of(Section::Additional, name, set, set.ttl).is_err()
                {
                    return;
                }
            }
        }
    }
}

/// The view of the server at an address, or none when no zone is served there.
pub fn view_at(catalog: &Catalog, address: IpAddr) -> Option<&View> {
    catalog.view(address.to_canonical())
}
