//! What a client's message is answered with (RFC 2131, section 4.3).
//!
//! The one server of its link. Answers are broadcast, except to a client that has its address already: a client without one
//! does not answer ARP, and giving it its address in frames of our own would take a raw socket. Every client takes a broadcast,
//! whether it asked for one or not (RFC 2131, section 4.1).

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::{
    Mac,
    leases::Leases,
    limit::Limit,
    message::{Kind, Request, Writer, code, domain},
};

/// Most servers of a kind that are told.
const SERVERS: usize = 8;

/// What hosts of a link are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The subnet.
    pub subnet: Ipv4Net,
    /// The router's address: default route and server identifier.
    pub router: Ipv4Addr,
    /// How long a lease lasts, seconds.
    pub lease_s: u32,
    /// Name servers.
    pub name_servers: Vec<Ipv4Addr>,
    /// Time servers.
    pub ntp_servers: Vec<Ipv4Addr>,
    /// The domain of its hosts, without the final dot.
    pub domain: Option<String>,
    /// Hosts whose address is planned.
    pub hosts: Vec<Host>,
}

/// A host of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its name, one label.
    pub name: String,
    /// Its Ethernet address.
    pub mac: Mac,
    /// Its address.
    pub address: Ipv4Addr,
}

/// A message to send from port 67 to port 68.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The message.
    pub bytes: Vec<u8>,
    /// To whom; 255.255.255.255 for all of the link.
    pub to: Ipv4Addr,
}

/// What to do about a message.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
#[must_use]
pub struct Decision {
    /// Whether [`Server::bound`] has changed: to be kept safe before the answer leaves.
    pub has_changed: bool,
    /// What to send.
    pub answer: Option<Answer>,
}

/// The server of one link.
#[derive(Debug)]
pub struct Server {
    link: Link,
    leases: Leases,
    limit: Limit,
}

fn planned(link: &Link) -> Vec<(Mac, Ipv4Addr)> {
    link.hosts.iter().map(|host| (host.mac, host.address)).collect()
}

impl Server {
    /// A server without bindings.
    pub fn new(link: Link) -> Self {
        let leases = Leases::new(link.subnet, link.router, &planned(&link));
        Self { link, leases, limit: Limit::default() }
    }

    /// Follows a changed link; bindings stay where they can.
    pub fn set_link(&mut self, link: Link) {
        if link.subnet == self.link.subnet {
            self.leases.plan(link.router, &planned(&link));
            self.link = link;
        } else {
            *self = Self::new(link);
        }
    }

    /// What is told.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Bindings outside the plan.
    pub fn bound(&self) -> impl Iterator<Item = (Mac, Ipv4Addr)> {
        self.leases.bound()
    }

    /// Takes over a predecessor's bindings, each as if given now.
    pub fn restore(&mut self, bound: impl IntoIterator<Item = (Mac, Ipv4Addr)>, now_ms: u64) {
        self.leases.restore(bound, self.lease_ms(), now_ms);
    }

    fn lease_ms(&self) -> u64 {
        u64::from(self.link.lease_s) * 1000
    }

    /// Decides about a datagram from `source`; `now_ms` never goes back.
    pub fn decide(&mut self, bytes: &[u8], source: Ipv4Addr, now_ms: u64) -> Decision {
        let Ok(request) = Request::read(bytes) else { return Decision::default() };
        if !self.limit.allows(request.mac, self.leases.is_planned(&request.mac), now_ms) {
            return Decision::default();
        }
        let is_for_us = request.server.is_none_or(|server| server == self.link.router);
        match request.kind {
            Kind::Discover => {
                let offered = self.leases.offer(request.mac, request.requested, now_ms);
                answer(offered.map(|address| self.grant(&request, Kind::Offer, address)))
            }
            Kind::Request if is_for_us => self.request(&request, now_ms),
            Kind::Request => {
                self.leases.withdraw(&request.mac);
                Decision::default()
            }
            Kind::Decline if is_for_us => {
                let address = request.requested.unwrap_or(Ipv4Addr::UNSPECIFIED);
                Decision { has_changed: self.leases.decline(&request.mac, address, now_ms), answer: None }
            }
            Kind::Release if is_for_us => {
                Decision { has_changed: self.leases.release(&request.mac, request.ciaddr), answer: None }
            }
            Kind::Inform if request.ciaddr == source && self.link.subnet.contains(&source) => {
                answer(Some(self.inform(&request)))
            }
            _ => Decision::default(),
        }
    }

    /// DHCPREQUEST in each of its four meanings (RFC 2131, table 4).
    fn request(&mut self, request: &Request, now_ms: u64) -> Decision {
        let has_address = !request.ciaddr.is_unspecified();
        let Some(asked) = (if has_address { Some(request.ciaddr) } else { request.requested }) else {
            return Decision::default();
        };
        let mut has = self.leases.of(&request.mac);
        if has.is_none() && (request.server.is_some() || has_address) {
            // Selecting, after we forgot our offer: a server that starts anew remembers bindings, not offers. Or a client that
            // goes on with what it had: nobody else has it, or it is refused below.
            let offered = self.leases.offer(request.mac, Some(asked), now_ms);
            has = offered.filter(|offered| *offered == asked);
            if has.is_none() {
                self.leases.withdraw(&request.mac);
                return answer(Some(self.refuse(request)));
            }
        }
        match has {
            Some(address) if address == asked => {
                let has_changed = self.leases.bind(&request.mac, self.lease_ms(), now_ms);
                Decision { has_changed, answer: Some(self.grant(request, Kind::Ack, address)) }
            }
            // Nobody knows this client: silence, as another server might, unless it is in the wrong network.
            None if self.link.subnet.contains(&asked) => Decision::default(),
            _ => answer(Some(self.refuse(request))),
        }
    }

    fn grant(&self, request: &Request, kind: Kind, address: Ipv4Addr) -> Answer {
        let mut writer = Writer::answer(request, kind, self.link.router, address);
        let lease_s = self.link.lease_s;
        writer.option(code::LEASE_TIME, &lease_s.to_be_bytes());
        writer.option(code::RENEWAL, &(lease_s / 2).to_be_bytes());
        writer.option(code::REBINDING, &(lease_s - lease_s / 8).to_be_bytes());
        self.tell(&mut writer, request);
        let is_renewal = kind == Kind::Ack && !request.ciaddr.is_unspecified();
        let to = if is_renewal { request.ciaddr } else { Ipv4Addr::BROADCAST };
        Answer { bytes: writer.finish(), to }
    }

    /// The client has its address from elsewhere and asks for the rest (RFC 2131, section 4.3.5).
    fn inform(&self, request: &Request) -> Answer {
        let mut writer = Writer::answer(request, Kind::Ack, self.link.router, Ipv4Addr::UNSPECIFIED);
        self.tell(&mut writer, request);
        Answer { bytes: writer.finish(), to: request.ciaddr }
    }

    fn refuse(&self, request: &Request) -> Answer {
        let mut writer = Writer::answer(request, Kind::Nak, self.link.router, Ipv4Addr::UNSPECIFIED);
        writer.option(code::MESSAGE, b"not your address here");
        Answer { bytes: writer.finish(), to: Ipv4Addr::BROADCAST }
    }

    /// What is told to each client, the most needed first: what does not fit its room is left out.
    fn tell(&self, writer: &mut Writer, request: &Request) {
        let link = &self.link;
        let servers =
            |all: &[Ipv4Addr]| all.iter().take(SERVERS).flat_map(|server| server.octets()).collect::<Vec<_>>();
        writer.option(code::SUBNET_MASK, &link.subnet.netmask().octets());
        writer.option(code::ROUTER, &link.router.octets());
        writer.option(code::NAME_SERVERS, &servers(&link.name_servers));
        writer.option(code::BROADCAST, &link.subnet.broadcast().octets());
        writer.option(code::NTP_SERVERS, &servers(&link.ntp_servers));
        let host = link.hosts.iter().find(|host| host.mac == request.mac);
        if let Some(host) = host.filter(|_| request.wanted.contains(&code::HOST_NAME)) {
            writer.option(code::HOST_NAME, host.name.as_bytes());
        }
        if let Some(name) = &link.domain {
            writer.option(code::DOMAIN_NAME, name.as_bytes());
            writer.option(code::DOMAIN_SEARCH, &domain(name).unwrap_or_default());
        }
    }
}

fn answer(answer: Option<Answer>) -> Decision {
    Decision { has_changed: false, answer }
}
