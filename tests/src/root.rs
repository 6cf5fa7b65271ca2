//! Speaking to rootd as userd would, or as an attacker with userd's uid would.

use std::{
    io,
    os::unix::net::UnixStream as StdStream,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use netengine_proto::{
    bounded::Bounded,
    ids::{CallKey, Uid, WorldId},
    names::HostName,
    net::{IfAddr, IfName, Mac},
    plan::{
        BridgePlan, CableEnd, CablePlan, ForwardPair, InputPort, NetworkPlan, Node, NodePlan, Policy, Resolver, Route,
        SourceRoute,
    },
    root::{ROOT_VERSION, RootClient},
    wire,
};
use tokio::net::UnixStream;

use crate::{Host, Person};

/// Where rootd listens.
pub const ROOTD_SOCKET: &str = "/run/netengine/rootd.sock";

/// Connects to a socket inside the host with a person's effective uid and gid (the kernel reports these to the peer).
///
/// # Errors
/// Whatever the kernel says to that person.
pub fn connect_as(host: &Host, person: Person, socket: &str) -> io::Result<StdStream> {
    connect_path_as(&host.path(socket), person)
}

/// As [`connect_as`], by a path that this process can open.
///
/// # Errors
/// Whatever the kernel says to that person.
pub fn connect_path_as(path: &Path, person: Person) -> io::Result<StdStream> {
    // Raw calls change this thread alone; a thread of its own never gives the identity to anything else.
    std::thread::scope(|scope| {
        let connecting = scope.spawn(|| {
            // The path leads through /proc of the host's init, which only root may pass: open the directory first.
            let directory = std::fs::File::open(path.parent().expect("a socket lies in a directory"))?;
            let near = format!(
                "/proc/self/fd/{}/{}",
                std::os::fd::AsRawFd::as_raw_fd(&directory),
                path.file_name().expect("a socket has a name").display()
            );
            crate::identity::become_thread(person)?;
            StdStream::connect(near)
        });
        connecting.join().expect("no panic")
    })
}

/// A client that has said hello, as userd.
///
/// # Panics
/// rootd does not answer.
pub async fn client(host: &Host) -> RootClient {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let client = unsaid_client(connect_as(host, crate::USERD, ROOTD_SOCKET).expect("rootd listens"));
        match client.hello(tarpc::context::current(), ROOT_VERSION).await {
            Ok(hello) => {
                hello.expect("versions are equal");
                return client;
            }
            Err(_) if Instant::now() < deadline => tokio::task::yield_now().await,
            Err(error) => panic!("rootd does not answer: {error}"),
        }
    }
}

/// A client on a connection, before hello.
///
/// # Panics
/// The connection cannot be registered.
pub fn unsaid_client(stream: StdStream) -> RootClient {
    stream.set_nonblocking(true).expect("a socket");
    let stream = UnixStream::from_std(stream).expect("a runtime");
    let new = RootClient::new(tarpc::client::Config::default(), wire::client_transport(stream));
    tokio::spawn(new.dispatch);
    new.client
}

/// A context with time enough for a loaded machine.
pub fn patient() -> tarpc::context::Context {
    let mut context = tarpc::context::current();
    context.deadline = Instant::now() + Duration::from_secs(50);
    context
}

/// A key that was not used before.
pub fn key() -> CallKey {
    CallKey::from_bytes(u128::from(number()).to_be_bytes())
}

/// An id that was not used before.
pub fn world_id() -> WorldId {
    WorldId::from_bytes(number().to_be_bytes())
}

fn number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn bounded<T, const MAX: usize>(entries: Vec<T>) -> Bounded<T, MAX> {
    Bounded::new(entries).unwrap_or_else(|_| panic!("few entries"))
}

fn address(text: &str) -> IfAddr {
    IfAddr::new(text.parse().expect("an address")).expect("fit for a host")
}

/// A vantage host's name.
///
/// # Panics
/// It is not one.
pub fn host_name(name: &str) -> HostName {
    HostName::parse(name).expect("a name")
}

fn end(node: Node, name: IfName, mac: u32, bridge: Option<IfName>, addresses: &[String]) -> CableEnd {
    let [_, a, b, c] = mac.to_be_bytes();
    let addresses = bounded(addresses.iter().map(|text| address(text)).collect());
    CableEnd { node, name, mac: Mac::local([2, 0, 0, a, b, c]), bridge, addresses }
}

/// A world of `networks` networks with `hosts` vantage hosts each, IPv4 and IPv6, and a services node with port 123 open.
///
/// Network n is 10.n.0.0/24 and fd00:n::/64, its gateway .1, services .2, hosts from .10 on, named `n<n>h<h>`; every
/// network may reach every other.
///
/// # Panics
/// More than 250 networks or 200 hosts.
pub fn world_plan(world: WorldId, owner: Uid, networks: u16, hosts: u16) -> NetworkPlan {
    let both = |n: u16, last: u16| [format!("10.{n}.0.{last}/24"), format!("fd00:{n:x}::{last:x}/64")];
    let default = |n: u16| {
        bounded(vec![
            Route { to: "0.0.0.0/0".parse().expect("a prefix"), via: format!("10.{n}.0.1").parse().expect("v4") },
            Route { to: "::/0".parse().expect("a prefix"), via: format!("fd00:{n:x}::1").parse().expect("v6") },
        ])
    };
    let bridge = |n| IfName::numbered("br", n);
    let pairs = (0..networks).flat_map(|a| (0..networks).filter(move |b| a != *b).map(move |b| (a, b)));
    let forward = pairs.map(|(a, b)| ForwardPair { from: bridge(a), to: bridge(b) }).collect();
    let policy = Policy { input: bounded(Vec::<InputPort>::new()), forward: bounded(forward), ..Policy::default() };
    let node = |node, forward, routes, policy| {
        let resolver = matches!(node, Node::Host(_))
            .then(|| Resolver { name_servers: bounded(vec!["10.0.0.1".parse().expect("v4")]) });
        NodePlan { node, forward, low_ports: true, routes, source_routes: Bounded::default(), policy, resolver }
    };
    let mut nodes = vec![
        node(Node::Gateway, true, Bounded::default(), Some(policy)),
        node(Node::Services, false, default(0), None),
    ];
    let sources = (0..networks).flat_map(|n| {
        let nets = [format!("10.{n}.0.0/24"), format!("fd00:{n:x}::/64")];
        nets.into_iter().zip(default(n).into_inner()).map(move |(from, route)| SourceRoute {
            from: from.parse().expect("a prefix"),
            link: IfName::numbered("sv", n),
            via: route.via,
        })
    });
    nodes[1].source_routes = bounded(sources.collect());
    let (mut bridges, mut cables) = (Vec::new(), Vec::new());
    let mut port = 0;
    let mut cable = |cables: &mut Vec<CablePlan>, n: u16, to: Node, name: IfName, last: u16| {
        let mac = u32::from(port) * 2;
        let a = end(Node::Gateway, IfName::numbered("p", port), mac, Some(bridge(n)), &[]);
        cables.push(CablePlan { a, b: end(to, name, mac + 1, None, &both(n, last)) });
        port += 1;
    };
    for n in 0..networks {
        let addresses = bounded(both(n, 1).iter().map(|text| address(text)).collect());
        let [high, low] = n.to_be_bytes();
        let mac = Mac::local([2, 1, 0, 0, high, low]);
        bridges.push(BridgePlan { node: Node::Gateway, name: bridge(n), mac, addresses });
        cable(&mut cables, n, Node::Services, IfName::numbered("sv", n), 2);
        for h in 0..hosts {
            let host = Node::Host(host_name(&format!("n{n}h{h}")));
            nodes.push(node(host.clone(), false, default(n), None));
            cable(&mut cables, n, host, IfName::numbered("th", 0), 10 + h);
        }
    }
    let (nodes, bridges, cables, peers) = (bounded(nodes), bounded(bridges), bounded(cables), Bounded::default());
    NetworkPlan { world, owner, nodes, bridges, cables, peers }
}
