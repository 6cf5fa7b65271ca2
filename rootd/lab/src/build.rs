//! A topology by rtnetlink: one network namespace per node.

use std::{
    fs, io,
    net::IpAddr,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
    time::{Duration, Instant},
};

use nix::sched::{CloneFlags, setns, unshare};

use netengine_lab_proto::{Interface, LinkName, Node, Topology};

use crate::{
    netlink::{Batch, CREATE, Netlink, REPLACE},
    sys,
};

/// Why a topology cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A namespace, or a socket in it.
    #[error("cannot make a network namespace: {0}")]
    Namespace(#[source] io::Error),
    /// A link, an address, a route or a neighbour.
    #[error("cannot build node {node}, {what}: {source}")]
    Request {
        /// The node.
        node: String,
        /// What was asked.
        what: String,
        /// The kernel's refusal.
        source: io::Error,
    },
    /// A setting.
    #[error("cannot set {name} of node {node}: {source}")]
    Setting {
        /// The node.
        node: String,
        /// The setting.
        name: String,
        /// The kernel's refusal.
        source: io::Error,
    },
}

/// A node that exists.
#[derive(Debug)]
pub struct Built {
    /// Its namespace.
    pub namespace: OwnedFd,
    route: Netlink,
}

impl Built {
    /// A socket of its routing tables and links.
    pub fn route(&self) -> &Netlink {
        &self.route
    }

    /// Makes its namespace the current one.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn enter(&self) -> io::Result<()> {
        Ok(setns(&self.namespace, CloneFlags::CLONE_NEWNET)?)
    }
}

/// The index of a node's interface or bridge: the same in every sandbox. `lo` is 1.
pub fn index_of(node: &Node, name: &LinkName) -> Option<u32> {
    let mut names = node.interfaces.iter().map(|i| &i.name).chain(node.bridges.iter().map(|b| &b.name));
    names.position(|other| other == name).map(|at| at as u32 + 2)
}

const NEWLINK: u16 = 16;
const GETLINK: u16 = 18;
const NEWADDR: u16 = 20;
const NEWROUTE: u16 = 24;
const GETROUTE: u16 = 26;
const NEWNEIGH: u16 = 28;
const UP: u32 = 0x1;
const NOARP: u32 = 0x80;
const MULTICAST: u32 = 0x1000;

/// Builds all nodes. `quiet`: no packet of the case asks for neighbours, so links whose node knows its neighbours need not either, and
/// no multicast membership is announced: nothing but the listed packets and their answers passes the rules.
///
/// # Errors
/// [`BuildError`] with the first thing refused; what was built ends with the descriptors.
pub fn build(topology: &Topology, settings: &Path, quiet: bool) -> Result<Vec<Built>, BuildError> {
    let mut built = Vec::with_capacity(topology.nodes.len());
    for node in topology.nodes.iter() {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| BuildError::Namespace(errno.into()))?;
        let route = Netlink::route().map_err(BuildError::Namespace)?;
        let namespace = sys::namespace_of(route.fd()).map_err(BuildError::Namespace)?;
        basics(node, settings)?;
        built.push(Built { namespace, route });
    }
    for (node, here) in topology.nodes.iter().zip(&built) {
        let mut batch = Plan::new(node);
        for link in topology.links.iter().filter(|link| link.a.node == node.name) {
            let far = topology.nodes.iter().position(|other| other.name == link.b.node);
            let Some((there, other)) = far.and_then(|at| Some((built.get(at)?, topology.nodes.get(at)?))) else {
                continue;
            };
            let (Some(near), Some(peer)) = (node.interface(&link.a.interface), other.interface(&link.b.interface))
            else {
                continue;
            };
            batch.cable((node, near), (other, peer), &there.namespace, quiet);
        }
        batch.send(&here.route)?;
    }
    for (node, here) in topology.nodes.iter().zip(&built) {
        let mut batch = Plan::new(node);
        batch.node(node);
        batch.send(&here.route)?;
        if !node.settings.is_empty() {
            here.enter().map_err(BuildError::Namespace)?;
            for setting in node.settings.iter() {
                set(node, settings, &setting.name.file(), &setting.value.to_string())?;
            }
        }
    }
    // A link that was brought up before its peer is told of it by a kernel thread; asking for the link has that done at once.
    for (node, here) in topology.nodes.iter().zip(&built) {
        let mut batch = Plan::new(node);
        for interface in node.interfaces.iter() {
            let index = index_of(node, &interface.name).unwrap_or(0);
            batch.request(format!("state of {}", interface.name), GETLINK, 0, &link_header(index, 0, 0));
        }
        batch.send(&here.route)?;
    }
    Ok(built)
}

/// Waits until every IPv6 address is the node's own: a kernel thread makes its local route after the request is answered. False at the deadline.
///
/// # Errors
/// [`BuildError`] when a route cannot be asked for.
pub fn ready(topology: &Topology, built: &[Built], deadline: Instant) -> Result<bool, BuildError> {
    for (node, here) in topology.nodes.iter().zip(built).filter(|(node, _)| !node.silent) {
        let lists = node.interfaces.iter().map(|i| &i.addresses).chain(node.bridges.iter().map(|b| &b.addresses));
        for address in lists.flat_map(|list| list.iter()).map(|net| net.addr()).filter(IpAddr::is_ipv6) {
            let mut batch = Batch::default();
            batch.request(GETROUTE, 0, &[10, 128, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            batch.attribute(1, &octets(address));
            loop {
                let refused =
                    |source| BuildError::Request { node: node.name.to_string(), what: "its routes".into(), source };
                let answer = match here.route.ask(&batch) {
                    Err(error) if error.raw_os_error() == Some(nix::libc::ENETUNREACH) => None,
                    answer => answer.map_err(refused)?,
                };
                // rtmsg.rtm_type: RTN_LOCAL.
                if answer.is_some_and(|body| body.get(7) == Some(&2)) {
                    break;
                }
                if Instant::now() >= deadline {
                    return Ok(false);
                }
                // The kernel thread may need this very processor.
                std::thread::sleep(Duration::from_micros(20));
            }
        }
    }
    Ok(true)
}

/// What every node has: no reverse path filter, no limit on the ICMP errors it sends, no addresses of IPv6's own making.
fn basics(node: &Node, settings: &Path) -> Result<(), BuildError> {
    let forward = if node.forward { "1" } else { "0" };
    let plain = [
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
        ("ipv4/icmp_ratelimit", "0"),
        ("ipv6/icmp/ratelimit", "0"),
        ("ipv6/conf/default/addr_gen_mode", "1"),
        ("ipv6/conf/default/accept_ra", "0"),
        ("ipv4/ip_forward", forward),
    ];
    for (file, value) in plain {
        set(node, settings, file, value)?;
    }
    if node.forward {
        set(node, settings, "ipv6/conf/all/forwarding", "1")?;
    }
    Ok(())
}

fn set(node: &Node, settings: &Path, file: &str, value: &str) -> Result<(), BuildError> {
    fs::write(settings.join(file), value).map_err(|source| BuildError::Setting {
        node: node.name.to_string(),
        name: file.replace('/', "."),
        source,
    })
}

/// A batch that remembers what each request was for.
struct Plan {
    node: String,
    batch: Batch,
    what: Vec<String>,
}

impl Plan {
    fn new(node: &Node) -> Self {
        Self { node: node.name.to_string(), batch: Batch::default(), what: Vec::new() }
    }

    fn request(&mut self, what: String, kind: u16, flags: u16, header: &[u8]) {
        self.what.push(what);
        self.batch.request(kind, flags, header);
    }

    fn send(self, socket: &Netlink) -> Result<(), BuildError> {
        socket.transact(&self.batch).map_err(|(number, source)| BuildError::Request {
            node: self.node,
            what: self.what.get((number as usize).saturating_sub(1)).cloned().unwrap_or_default(),
            source,
        })
    }

    fn cable(&mut self, near: (&Node, &Interface), far: (&Node, &Interface), there: &OwnedFd, quiet: bool) {
        let index = |(node, interface): (&Node, &Interface)| index_of(node, &interface.name).unwrap_or(0);
        let flags = |(node, interface): (&Node, &Interface)| {
            let known = node.neighbours.iter().any(|n| n.interface == interface.name) || interface.bridge.is_some();
            if quiet && known { NOARP } else { MULTICAST }
        };
        let header = |end| link_header(index(end), flags(end), NOARP | MULTICAST);
        self.request(format!("link {}", near.1.name), NEWLINK, CREATE, &header(near));
        let describe = |batch: &mut Batch, interface: &Interface| {
            batch.attribute(3, &text(interface.name.as_str()));
            batch.attribute(1, &interface.mac);
            batch.attribute(4, &u32::from(interface.mtu.unwrap_or(1500)).to_ne_bytes());
        };
        describe(&mut self.batch, near.1);
        self.batch.nested(18, |info| {
            info.attribute(1, b"veth\0");
            info.nested(2, |data| {
                data.nested(1, |peer| {
                    peer.raw(&header(far));
                    describe(peer, far.1);
                    peer.attribute(28, &(there.as_fd().as_raw_fd() as u32).to_ne_bytes());
                });
            });
        });
    }

    fn node(&mut self, node: &Node) {
        self.request("link lo".into(), NEWLINK, 0, &link_header(1, UP, UP));
        for bridge in node.bridges.iter() {
            let index = index_of(node, &bridge.name).unwrap_or(0);
            self.request(format!("bridge {}", bridge.name), NEWLINK, CREATE, &link_header(index, UP, UP | MULTICAST));
            self.batch.attribute(3, &text(bridge.name.as_str()));
            self.batch.attribute(1, &bridge.mac);
            self.batch.nested(18, |info| {
                info.attribute(1, b"bridge\0");
                // IFLA_BR_FORWARD_DELAY 0, IFLA_BR_MCAST_SNOOPING 0: a port forwards at once.
                info.nested(2, |data| {
                    data.attribute(1, &0_u32.to_ne_bytes());
                    data.attribute(23, &[0]);
                });
            });
        }
        for interface in node.interfaces.iter() {
            let index = index_of(node, &interface.name).unwrap_or(0);
            self.request(format!("link {} up", interface.name), NEWLINK, 0, &link_header(index, UP, UP));
            if let Some(bridge) = interface.bridge.as_ref().and_then(|bridge| index_of(node, bridge)) {
                self.batch.attribute(10, &bridge.to_ne_bytes());
            }
        }
        if node.silent {
            return;
        }
        let interfaces = node.interfaces.iter().map(|i| (&i.name, &i.addresses));
        for (name, addresses) in interfaces.chain(node.bridges.iter().map(|b| (&b.name, &b.addresses))) {
            for address in addresses.iter() {
                let index = index_of(node, name).unwrap_or(0);
                let header = [&[family(address.addr()), address.prefix_len(), 0, 0][..], &index.to_ne_bytes()].concat();
                self.request(format!("address {address}"), NEWADDR, CREATE, &header);
                self.batch.attribute(2, &octets(address.addr()));
                self.batch.attribute(1, &octets(address.addr()));
                // IFA_F_NODAD: an address is usable at once.
                self.batch.attribute(8, &2_u32.to_ne_bytes());
            }
        }
        for neighbour in node.neighbours.iter() {
            let index = index_of(node, &neighbour.interface).unwrap_or(0);
            let mut header = vec![family(neighbour.address), 0, 0, 0];
            header.extend(index.to_ne_bytes());
            header.extend(0x80_u16.to_ne_bytes()); // NUD_PERMANENT
            header.extend([0, 0]);
            self.request(format!("neighbour {}", neighbour.address), NEWNEIGH, REPLACE, &header);
            self.batch.attribute(1, &octets(neighbour.address));
            self.batch.attribute(2, &neighbour.mac);
        }
        for route in node.routes.iter() {
            let index = index_of(node, &route.interface).unwrap_or(0);
            // Table main, protocol static, scope of the next hop, unicast.
            let scope = if route.via.is_some() { 0 } else { 253 };
            let header = [family(route.to.addr()), route.to.prefix_len(), 0, 0, 254, 4, scope, 1, 0, 0, 0, 0];
            self.request(format!("route to {}", route.to), NEWROUTE, CREATE, &header);
            self.batch.attribute(1, &octets(route.to.network()));
            if let Some(via) = route.via {
                self.batch.attribute(5, &octets(via));
            }
            self.batch.attribute(4, &index.to_ne_bytes());
        }
    }
}

fn link_header(index: u32, flags: u32, change: u32) -> Vec<u8> {
    [&[0; 4][..], &index.to_ne_bytes(), &flags.to_ne_bytes(), &change.to_ne_bytes()].concat()
}

fn text(name: &str) -> Vec<u8> {
    [name.as_bytes(), b"\0"].concat()
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { 2 } else { 10 }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// The barrier: a pair of links in the current namespace, both up. Frames sent into the first arrive at the second after everything that this
/// processor had to do before: both go through the same queue. The namespace is returned.
///
/// # Errors
/// [`BuildError`] with what was refused.
pub fn barrier(settings: &Path) -> Result<OwnedFd, BuildError> {
    let refused = |(_, source)| BuildError::Request { node: "barrier".into(), what: "link".into(), source };
    fs::write(settings.join("ipv6/conf/default/disable_ipv6"), "1").map_err(BuildError::Namespace)?;
    let route = Netlink::route().map_err(BuildError::Namespace)?;
    let mut batch = Batch::default();
    batch.request(NEWLINK, CREATE, &link_header(2, NOARP, NOARP | MULTICAST));
    batch.attribute(3, b"bar0\0");
    batch.nested(18, |info| {
        info.attribute(1, b"veth\0");
        info.nested(2, |data| {
            data.nested(1, |peer| {
                peer.raw(&link_header(3, NOARP, NOARP | MULTICAST));
                peer.attribute(3, b"bar1\0");
            });
        });
    });
    batch.request(NEWLINK, 0, &link_header(2, UP, UP));
    batch.request(NEWLINK, 0, &link_header(3, UP, UP));
    batch.request(GETLINK, 0, &link_header(2, 0, 0));
    route.transact(&batch).map_err(refused)?;
    sys::namespace_of(route.fd()).map_err(BuildError::Namespace)
}
