//! Answers from zones: pure. A request and a snapshot in, a response out.

use std::net::IpAddr;

use crate::{
    dnssec::Signatures,
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
    /// The asker wants DNSSEC records: what makes them.
    pub signatures: Option<&'a Signatures>,
}

/// Writes the answer into `writer`, after the question. Returns the outcome; the caller puts it into the header.
///
/// A set that does not fit sets TC and ends the answer; addresses in the additional section are left out silently
/// unless they are glue that the reader cannot do without (RFC 9471).
pub fn answer(catalog: &Catalog, view: &View, asked: &Asked<'_>, writer: &mut Writer) -> Rcode {
    let mut state = Answering { catalog, view, asked, writer, extra: Vec::new(), wild: Vec::new(), proven: Vec::new() };
    let length = state.writer.len();
    match state.run().and_then(|rcode| state.prove_wild().map(|()| rcode)) {
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
    /// What proves aliases that came from wildcards: written when the answer section is whole.
    wild: Vec<(&'a Zone, &'a Node)>,
    /// Whose NSEC records are written: zone and name.
    proven: Vec<(&'a Name, &'a Name)>,
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
        if let Found::Cut(node) = found
            && !(self.asked.rtype == Rtype::DS && node.name == *name)
        {
            if hop == 0 {
                self.delegate(zone, node)?;
            }
            return Ok(Step::Done(Rcode::NOERROR));
        }
        if hop == 0 {
            self.writer.set(flag::AA);
        }
        match found {
            Found::Node(node) | Found::Cut(node) => self.tell(zone, name, key, node, false),
            Found::Wildcard(node) => self.tell(zone, name, key, node, true),
            Found::Between => {
                self.deny(zone)?;
                self.prove(zone, &[zone.covering(key)])?;
                Ok(Step::Done(Rcode::NOERROR))
            }
            Found::Absent => {
                self.deny(zone)?;
                // Neither the name nor a wildcard for it exists (RFC 4035, section 3.1.3.2).
                let mut wildcard = key.ancestor(zone.closest_encloser(key)).to_vec();
                wildcard.extend_from_slice(b"*\0");
                self.prove(zone, &[zone.covering(key), zone.covering_key(&wildcard)])?;
                Ok(Step::Done(Rcode::NXDOMAIN))
            }
        }
    }

    /// What a node says of a name; with `wild` the node is a wildcard that stands for it.
    fn tell(&mut self, zone: &'a Zone, name: &Name, key: &LookupKey, node: &'a Node, wild: bool) -> Result<Step, Full> {
        let rtype = self.asked.rtype;
        // With a wildcard it must be shown that there is nothing nearer (RFC 4035, section 3.1.3.3).
        let nearer = if wild { zone.covering(key) } else { None };
        // One set is enough for ANY (RFC 8482, section 4.1): no use to amplifiers.
        let set = if rtype == Rtype::ANY { node.sets.first() } else { node.get(rtype) };
        if let Some(set) = set {
            self.put(zone, Section::Answer, name, &node.name, set)?;
            self.prove(zone, &[nearer])?;
            return Ok(Step::Done(Rcode::NOERROR));
        }
        if rtype == Rtype::NSEC && zone.keys().is_some() {
            let nsec = zone.nsec(node);
            self.put(zone, Section::Answer, name, &node.name, &nsec)?;
            return Ok(Step::Done(Rcode::NOERROR));
        }
        let Some(alias) = node.get(Rtype::CNAME) else {
            self.deny(zone)?;
            self.prove(zone, &[Some(node), nearer])?;
            return Ok(Step::Done(Rcode::NOERROR));
        };
        self.put(zone, Section::Answer, name, &node.name, alias)?;
        self.wild.extend(nearer.map(|nearer| (zone, nearer)));
        Ok(alias.data.first().and_then(|data| data.name_at(0)).map_or(Step::Done(Rcode::NOERROR), Step::Alias))
    }

    /// Writes a set under `owner`, with its signature when wanted; `node` is whose set it is, the wildcard if one answered.
    fn put(&mut self, zone: &Zone, section: Section, owner: &Name, node: &Name, set: &RrSet) -> Result<(), Full> {
        self.writer.set_of(section, owner, set, set.ttl)?;
        if let Some(signature) = self.asked.signatures.and_then(|signatures| signatures.of(zone, node, set)) {
            self.writer.set_of(section, owner, &signature, signature.ttl)?;
        }
        if matches!(set.rtype, Rtype::MX | Rtype::SRV | Rtype::NS | Rtype::SVCB | Rtype::HTTPS) {
            self.extra.extend(set.data.iter().filter_map(|data| data.target(set.rtype)));
        }
        Ok(())
    }

    /// The SOA record of a denial, which says how long to believe it (RFC 2308, section 3).
    fn deny(&mut self, zone: &'a Zone) -> Result<(), Full> {
        let Some(soa) = zone.apex_node().and_then(|node| node.get(Rtype::SOA)) else { return Ok(()) };
        let soa = RrSet { ttl: zone.denial_ttl(), ..soa.clone() };
        // The signature tells the TTL that the set has in the zone; a smaller one is right as well (RFC 4035, section 5.3.1).
        self.writer.set_of(Section::Authority, zone.apex(), &soa, soa.ttl)?;
        let whole = zone.apex_node().and_then(|node| node.get(Rtype::SOA));
        let signature =
            self.asked.signatures.zip(whole).and_then(|(signatures, set)| signatures.of(zone, zone.apex(), set));
        signature.map_or(Ok(()), |signature| self.writer.set_of(Section::Authority, zone.apex(), &signature, soa.ttl))
    }

    /// The NSEC records of these nodes, each once, when DNSSEC records are wanted and the zone is signed.
    fn prove(&mut self, zone: &'a Zone, nodes: &[Option<&'a Node>]) -> Result<(), Full> {
        if self.asked.signatures.is_none() || zone.keys().is_none() {
            return Ok(());
        }
        for node in nodes.iter().flatten() {
            let of = (zone.apex(), &node.name);
            if self.proven.contains(&of) {
                continue;
            }
            self.proven.push(of);
            let nsec = zone.nsec(node);
            self.put(zone, Section::Authority, &node.name, &node.name, &nsec)?;
        }
        Ok(())
    }

    fn prove_wild(&mut self) -> Result<(), Full> {
        std::mem::take(&mut self.wild).into_iter().try_for_each(|(zone, nearer)| self.prove(zone, &[Some(nearer)]))
    }

    /// The name servers of a zone below, with their addresses.
    fn delegate(&mut self, zone: &'a Zone, cut: &'a Node) -> Result<(), Full> {
        let Some(servers) = cut.get(Rtype::NS) else { return Ok(()) };
        self.writer.set_of(Section::Authority, &cut.name, servers, servers.ttl)?;
        match cut.get(Rtype::DS) {
            Some(ds) if self.asked.signatures.is_some() => {
                self.put(zone, Section::Authority, &cut.name, &cut.name, ds)?;
            }
            // Without a DS record it must be shown that there is none (RFC 4035, section 3.1.4).
            None => self.prove(zone, &[Some(cut)])?,
            Some(_) => {}
        }
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
        for (index, name) in extra.iter().enumerate() {
            if *name == *self.asked.name || extra[..index].contains(name) {
                continue;
            }
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
