//! DHCPv4 on the links of ANDs that ask for it: one socket and one task per link (role `gateway`).
//!
//! Who is told what is decided by [`netengine_dhcp`]. Bindings of hosts outside the plan are written to the run directory
//! before they are acknowledged, so a gateway that starts anew gives nobody an address that another still uses; each then
//! counts as given at that moment, which is never too short. They go with the world's run, as its hosts do.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt::Write,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use netengine_dhcp::{
    Mac,
    server::{Decision, Host, Link, Server},
};
use netengine_proto::{
    control::{AndNetwork, ServiceHealth},
    net::IfName,
};
use tokio::{
    net::UdpSocket,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior},
};
use tracing::{info, warn};

use super::{PHASE_OF_ANDS, link};

/// The ports of servers and of clients (RFC 2131, section 4.1).
const PORTS: (u16, u16) = (67, 68);
/// Longest message looked at; an Ethernet frame holds no longer one.
const DATAGRAM_BYTES: usize = 1500;
/// Shortest lease, seconds, whatever is asked: shorter ones are a flood of renewals.
const LEASE_S: u32 = 60;
/// How often it is seen whether the link is still the same.
const LOOK: Duration = Duration::from_secs(1);

/// The DHCP servers, one per link.
#[derive(Default)]
pub struct Dhcp(BTreeMap<IfName, Running>);

struct Running {
    shared: Rc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    name: IfName,
    server: RefCell<Server>,
    started: Instant,
    /// Why nothing is served.
    fault: RefCell<Option<String>>,
    answered: Cell<u64>,
    dropped: Cell<u64>,
}

/// The link as a DHCP server sees it; `None` when its hosts are told nothing.
fn wanted(and: &AndNetwork) -> Option<Link> {
    let dhcp = and.dhcp.as_ref()?;
    let hosts = and.hosts.iter().flat_map(|host| {
        let v4 = host.addresses.iter().find_map(|address| match address {
            IpAddr::V4(v4) => Some(*v4),
            IpAddr::V6(_) => None,
        });
        v4.map(|address| Host { name: host.name.clone(), mac: host.mac.octets(), address })
    });
    Some(Link {
        subnet: and.subnet,
        router: and.router,
        lease_s: dhcp.lease_s.max(LEASE_S),
        name_servers: dhcp.name_servers.clone(),
        ntp_servers: dhcp.ntp_servers.clone(),
        domain: and.suffix.clone(),
        hosts: hosts.collect(),
    })
}

impl Dhcp {
    /// Serves these links and no others; a link that is served already keeps its socket and its bindings.
    pub async fn apply(&mut self, ands: &[AndNetwork]) {
        let wanted: BTreeMap<_, _> = ands.iter().filter_map(|and| Some((and.link.clone(), wanted(and)?))).collect();
        let gone = self.0.extract_if(.., |name, running| {
            !wanted.contains_key(name) || running.task.is_finished() || running.shared.fault.borrow().is_some()
        });
        for (name, running) in gone.collect::<Vec<_>>() {
            running.end().await;
            if !wanted.contains_key(&name) {
                info!(service = "dhcp", "no longer served on {name}");
                // One that is not there is as good as removed.
                let _ = std::fs::remove_file(file(&name));
            }
        }
        for (name, link) in wanted {
            match self.0.get(&name) {
                Some(running) => {
                    let mut server = running.shared.server.borrow_mut();
                    if *server.link() != link {
                        server.set_link(link);
                    }
                }
                None => drop(self.0.insert(name.clone(), Running::start(name, link))),
            }
        }
    }

    /// Stops serving; bindings stay for a successor.
    pub async fn close(&mut self) {
        for (_, running) in std::mem::take(&mut self.0) {
            running.end().await;
        }
    }

    /// Per link, at the router's address.
    pub fn health(&self) -> Vec<ServiceHealth> {
        self.0.values().map(|running| running.shared.health(running.task.is_finished())).collect()
    }
}

impl Running {
    fn start(name: IfName, link: Link) -> Self {
        let mut server = Server::new(link);
        restore(&name, &mut server);
        let shared = Rc::new(Shared {
            name,
            server: RefCell::new(server),
            started: Instant::now(),
            fault: RefCell::default(),
            answered: Cell::default(),
            dropped: Cell::default(),
        });
        // The first try is now, so that the answer to `Apply` says how it went.
        let opened = shared.open();
        let task = tokio::task::spawn_local(shared.clone().serve(opened));
        Self { shared, task }
    }

    /// Its socket is closed when this returns.
    async fn end(self) {
        self.task.abort();
        if self.task.await.is_err_and(|error| error.is_panic()) {
            warn!(service = "dhcp", "stopped on {}: a fault", self.shared.name);
        }
    }
}

impl Shared {
    fn open(&self) -> Option<(UdpSocket, u32)> {
        let opened = link::udp(&self.name, PORTS.0).and_then(|socket| Ok((socket, link::index(&self.name)?)));
        let fault = opened.as_ref().err().map(|error| format!("cannot listen on {}: {error}", self.name));
        match &fault {
            None => info!(service = "dhcp", "listening on {}", self.name),
            Some(fault) if self.fault.borrow().is_none() => warn!(service = "dhcp", "{fault}"),
            Some(_) => {}
        }
        self.fault.replace(fault);
        opened.ok()
    }

    /// Serves the link whenever it is there, without end.
    async fn serve(self: Rc<Self>, mut opened: Option<(UdpSocket, u32)>) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut buffer = [0; DATAGRAM_BYTES];
        loop {
            let Some((socket, index)) = &opened else {
                look.tick().await;
                opened = self.open();
                continue;
            };
            tokio::select! {
                received = socket.recv_from(&mut buffer) => match received {
                    Ok((length, SocketAddr::V4(peer))) => self.one(socket, &buffer[..length], *peer.ip()),
                    // The link has gone down, or an error of an answer that was sent; the next look tells.
                    Ok(_) | Err(_) => drop(look.tick().await),
                },
                _ = look.tick() => {
                    if link::index(&self.name).ok() != Some(*index) {
                        info!(service = "dhcp", "{} has gone or was made anew", self.name);
                        opened = self.open();
                    }
                }
            }
        }
    }

    fn one(&self, socket: &UdpSocket, datagram: &[u8], source: Ipv4Addr) {
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut server = self.server.borrow_mut();
        let Decision { has_changed, answer } = server.decide(datagram, source, now_ms);
        if has_changed && let Err(error) = keep(&self.name, &server) {
            // Nobody gets an address that a successor would not know of.
            warn!(service = "dhcp", "cannot keep the bindings of {}: {error}", self.name);
            return count(&self.dropped);
        }
        let Some(answer) = answer else { return count(&self.dropped) };
        let sent = socket.try_send_to(&answer.bytes, (answer.to, PORTS.1).into());
        count(if sent.is_ok() { &self.answered } else { &self.dropped });
    }

    fn health(&self, has_ended: bool) -> ServiceHealth {
        let fault = self.fault.borrow().clone().or(has_ended.then(|| "it has failed; the log tells why".to_owned()));
        let server = self.server.borrow();
        let figures = || {
            let (answered, dropped) = (self.answered.get(), self.dropped.get());
            let (planned, others) = (server.link().hosts.len(), server.bound().count());
            format!("{}: {answered} answered, {dropped} dropped, {planned} hosts planned, {others} others", self.name)
        };
        ServiceHealth {
            name: "dhcp".to_owned(),
            phase: PHASE_OF_ANDS,
            address: server.link().router.into(),
            port: PORTS.0,
            serving: fault.is_none(),
            detail: fault.unwrap_or_else(figures),
        }
    }
}

fn count(counter: &Cell<u64>) {
    counter.set(counter.get().wrapping_add(1));
}

fn file(name: &IfName) -> String {
    format!("dhcp-{name}.leases")
}

/// Version 1: a line with the subnet, then one per binding.
fn keep(name: &IfName, server: &Server) -> io::Result<()> {
    let mut text = format!("1 {}\n", server.link().subnet);
    for ([a, b, c, d, e, f], address) in server.bound() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x} {address}");
    }
    // No fsync: the run directory lives no longer than the kernel that holds the hosts.
    let (file, new) = (file(name), format!("dhcp-{name}.new"));
    std::fs::write(&new, text)?;
    std::fs::rename(new, file)
}

fn restore(name: &IfName, server: &mut Server) {
    let Ok(text) = std::fs::read_to_string(file(name)) else { return };
    let mut lines = text.lines();
    if lines.next() == Some(&format!("1 {}", server.link().subnet)) {
        server.restore(lines.filter_map(binding), 0);
    }
}

fn binding(line: &str) -> Option<(Mac, Ipv4Addr)> {
    let (mac, address) = line.split_once(' ')?;
    let mut octets = Mac::default();
    let mut parts = mac.split(':');
    for octet in &mut octets {
        *octet = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    Some((octets, address.parse().ok()?))
}
