//! Sockets that inject packets and observe what becomes of them.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    time::Instant,
};

use netengine_lab_proto::{CaseRequest, Content, LinkName, ListenerProtocol, Listeners, Node, Topology, Transport};
use netengine_packet::{attributes::messages, conntrack, read, trace};
use nix::{
    errno::Errno,
    libc,
    sys::socket::{MsgFlags, recv, send},
};

use crate::{
    build::{Built, index_of},
    echo::Echo,
    mute,
    netlink::Netlink,
    sys::{self, receive_v6},
    text::Listing,
    verdict::{Seen, Window},
};

/// Wished for; where the worker may not force it, the host's bound holds.
const TRACE_BUFFER: i32 = 32 << 20;
const PACKET_BUFFER: i32 = 8 << 20;
const CONNTRACK_BUFFER: i32 = 4 << 20;

/// The interface of a node that is not tested.
#[derive(Debug)]
struct Port {
    node: usize,
    name: LinkName,
    socket: OwnedFd,
}

/// Everything that is open for one case.
#[derive(Debug)]
pub struct Watch {
    tested: usize,
    ports: Vec<Port>,
    traces: Vec<(usize, Netlink)>,
    arrivals: Vec<(bool, u8, OwnedFd)>,
    departures: [Option<OwnedFd>; 2],
    _tcp: Vec<TcpListener>,
    /// What comes back to datagrams of nodes whose stack cannot be muted ([`mute::taken`]).
    _taken: Vec<UdpSocket>,
    udp: Vec<Echo>,
    /// Node, source and destination port of those that spoke UDP first: what comes back to them is an answer, and is not echoed again.
    asked: BTreeSet<(usize, u16, u16)>,
    buffer: Vec<u8>,
    conntrack: Option<Netlink>,
    kept: Option<Vec<Kept>>,
}

/// A frame that was seen, whole.
#[derive(Debug)]
pub struct Kept {
    /// The node.
    pub node: usize,
    /// Its interface; absent for packets that its own stack received.
    pub interface: Option<LinkName>,
    /// When it was read.
    pub at: Instant,
    /// All of it.
    pub bytes: Vec<u8>,
}

impl Watch {
    /// Opens what outlives a case: the ends of links, and the sockets that trace messages come by. Returns with the last node's namespace
    /// current.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn open(topology: &Topology, built: &[Built], traced: &[bool]) -> io::Result<Self> {
        let tested = topology.nodes.iter().position(|node| node.name == topology.tested).unwrap_or(0);
        let mut watch = Self {
            tested,
            ports: Vec::new(),
            traces: Vec::new(),
            arrivals: Vec::new(),
            departures: [None, None],
            _tcp: Vec::new(),
            _taken: Vec::new(),
            udp: Vec::new(),
            asked: BTreeSet::new(),
            buffer: vec![0; 1 << 17],
            conntrack: None,
            kept: None,
        };
        for (number, (node, here)) in topology.nodes.iter().zip(built).enumerate() {
            here.enter()?;
            if traced[number] {
                watch.traces.push((number, Netlink::netfilter(&[trace::TRACE_GROUP], TRACE_BUFFER)?));
            }
            if number == tested {
                // Verdicts do not hang on it, so a kernel without it is none the worse.
                watch.conntrack = Netlink::netfilter(&conntrack::CONNTRACK_GROUPS, CONNTRACK_BUFFER).ok();
            }
            for interface in node.interfaces.iter().filter(|_| number != tested) {
                let socket = sys::frames(index_of(node, &interface.name).unwrap_or(0), PACKET_BUFFER)?;
                watch.ports.push(Port { node: number, name: interface.name.clone(), socket });
            }
        }
        Ok(watch)
    }

    /// Opens what a case needs beside that, `listing` being the tested node's ruleset; returns with the last node's namespace current.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn begin(&mut self, request: &CaseRequest, built: &[Built], listing: &Listing) -> io::Result<()> {
        let aims = aims(request);
        let proxies = listing.proxies();
        self.asked = asked(request);
        for (number, (node, here)) in request.topology.nodes.iter().zip(built).enumerate() {
            here.enter()?;
            if number == self.tested {
                self.open_tested(request)?;
            }
            if node.silent {
                continue;
            }
            let mut listeners = match &node.listeners {
                Listeners::Auto => aims.clone(),
                Listeners::Listed(list) => list.iter().map(|l| (l.protocol, l.port)).collect(),
            };
            let proxied = |port| number == self.tested && proxies.contains(&port);
            if number == self.tested && matches!(node.listeners, Listeners::Auto) {
                let both = [ListenerProtocol::Tcp, ListenerProtocol::Udp];
                listeners.extend(proxies.iter().flat_map(|port| both.map(|protocol| (protocol, *port))));
            }
            let echoes = |port: &u16| listeners.contains(&(ListenerProtocol::Udp, *port));
            for port in mute::taken(request, node).into_iter().filter(|port| !echoes(port)) {
                self._taken.push(UdpSocket::bind(SocketAddr::from(([0_u16; 8], port)))?);
            }
            for (protocol, port) in listeners {
                let any = SocketAddr::from(([0_u16; 8], port));
                match protocol {
                    ListenerProtocol::Tcp => {
                        let socket = TcpListener::bind(any)?;
                        if proxied(port) {
                            sys::set(socket.as_fd(), libc::SOL_IP, libc::IP_TRANSPARENT, 1)?;
                        }
                        self._tcp.push(socket);
                    }
                    ListenerProtocol::Udp => {
                        // An echo leaves with the address that was asked: on a node of several, a socket for each.
                        let own = addresses(node).map(|address| SocketAddr::new(address, port));
                        let several =
                            [true, false].iter().any(|v4| addresses(node).filter(|a| a.is_ipv4() == *v4).count() > 1);
                        for address in own.filter(|_| several).chain((!several).then_some(any)) {
                            self.udp.push(Echo::bind(number, address, proxied(port))?);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Closes what [`Watch::begin`] opened.
    pub fn end(&mut self) {
        self.arrivals.clear();
        self.departures = [None, None];
        self._tcp.clear();
        self._taken.clear();
        self.udp.clear();
    }

    /// How many packets may be sent before their observations are read, so that the smallest receive buffer holds their trace messages.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn window(&self) -> io::Result<usize> {
        let buffers: Result<Vec<usize>, _> = self.traces.iter().map(|(_, socket)| socket.buffer()).collect();
        Ok(window(buffers?.into_iter().min().unwrap_or(usize::MAX)))
    }

    fn open_tested(&mut self, request: &CaseRequest) -> io::Result<()> {
        let mut wanted = BTreeSet::new();
        let mut local = [false, false];
        for packet in request.packets.iter() {
            let from_tested = packet.from == request.topology.tested;
            let (v4, protocol) = match &packet.content {
                Content::Typed(spec) => (spec.src.is_ipv4(), protocol_of(&spec.transport, spec.src)),
                Content::Frame(frame) => match read::frame_packet(frame) {
                    Some(packet) => (packet.src.is_ipv4(), packet.protocol),
                    None => continue,
                },
            };
            // 0 and 255 are no protocols a raw socket can have.
            wanted.extend([(v4, protocol)].into_iter().filter(|(_, protocol)| !matches!(protocol, 0 | 255)));
            if from_tested {
                local[usize::from(!v4)] = true;
                wanted.insert((v4, if v4 { 1 } else { 58 }));
            }
        }
        for (v4, protocol) in wanted {
            self.arrivals.push((v4, protocol, sys::arrivals(v4, protocol, PACKET_BUFFER)?));
        }
        for (at, v4) in [(0, true), (1, false)] {
            if local[at] {
                self.departures[at] = Some(sys::departures(v4)?);
            }
        }
        Ok(())
    }

    /// Sends a frame out of a node's interface.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn inject(&self, node: usize, interface: &LinkName, frame: &[u8]) -> io::Result<()> {
        let port = self.ports.iter().find(|port| port.node == node && port.name == *interface);
        let port = port.ok_or_else(|| io::Error::other("cannot find the interface to send from"))?;
        send(port.socket.as_raw_fd(), frame, MsgFlags::empty())?;
        Ok(())
    }

    /// Sends a packet from the tested node's own stack.
    ///
    /// # Errors
    /// The error that a local program would get.
    pub fn send_local(&self, packet: &[u8], to: IpAddr, mark: Option<u32>) -> io::Result<()> {
        let socket = self.departures[usize::from(to.is_ipv6())].as_ref();
        let socket = socket.ok_or_else(|| io::Error::other("cannot find the socket to send from"))?.as_fd();
        sys::set(socket, libc::SOL_SOCKET, libc::SO_MARK, mark.unwrap_or(0) as i32)?;
        sys::send_packet(socket, packet, to)
    }

    /// From now on frames are kept whole for [`Watch::take_frames`], or not.
    pub fn keep_frames(&mut self, keep: bool) {
        self.kept = keep.then(Vec::new);
    }

    /// The frames that were seen since the last call.
    pub fn take_frames(&mut self) -> Vec<Kept> {
        self.kept.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn keep(kept: &mut Option<Vec<Kept>>, node: usize, interface: Option<&LinkName>, bytes: Vec<u8>) {
        if let Some(kept) = kept {
            kept.push(Kept { node, interface: interface.cloned(), at: Instant::now(), bytes });
        }
    }

    /// Sends datagrams back that came to sockets of nodes; says whether there were any.
    pub fn echo(&mut self) -> bool {
        let mut answered = false;
        for echo in &self.udp {
            answered |= echo.answer(&mut self.buffer, |peer| !self.asked.contains(&(echo.node, echo.port, peer)));
        }
        answered
    }

    /// Reads all there is into `window`; says whether there was anything.
    ///
    /// # Errors
    /// The kernel's refusal; lost messages are no error but counted.
    pub fn read(&mut self, window: &mut Window) -> io::Result<bool> {
        let before = window.seen.len() as u64 + window.lost;
        for (node, socket) in &self.traces {
            loop {
                match socket.receive(&mut self.buffer) {
                    Ok(Some(length)) => read_traces(*node, &self.buffer[..length], window),
                    Ok(None) => break,
                    Err(Errno::ENOBUFS) => window.lost += 1,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        for port in &self.ports {
            while let Some(length) = receive(&port.socket, &mut self.buffer)? {
                let bytes = &self.buffer[..length];
                if self.kept.is_some() {
                    Self::keep(&mut self.kept, port.node, Some(&port.name), bytes.to_vec());
                }
                let Some(frame) = read::frame(bytes) else { continue };
                window.seen.push(Seen::Frame {
                    node: port.node,
                    interface: port.name.clone(),
                    packet: read::frame_packet(bytes),
                    network: frame.body[..frame.body.len().min(64)].to_vec(),
                    ethertype: frame.ethertype,
                });
            }
        }
        for (v4, protocol, socket) in &self.arrivals {
            if *v4 {
                while let Some(length) = receive(socket, &mut self.buffer)? {
                    if self.kept.is_some() {
                        Self::keep(&mut self.kept, self.tested, None, self.buffer[..length].to_vec());
                    }
                    window
                        .seen
                        .extend(read::packet(&self.buffer[..length]).map(|packet| Seen::Local(self.tested, packet)));
                }
            } else {
                while let Some(arrival) = receive_v6(socket.as_fd(), &mut self.buffer)? {
                    let mut header = (0x6000_0000 | arrival.flow_label).to_be_bytes().to_vec();
                    header.extend((arrival.length as u16).to_be_bytes());
                    header.extend([*protocol, 64]);
                    header.extend(arrival.src.octets());
                    header.extend(arrival.dst.octets());
                    if self.kept.is_some() {
                        let whole = [&header[..], &self.buffer[..arrival.length]].concat();
                        Self::keep(&mut self.kept, self.tested, None, whole);
                    }
                    let packet = read::headers(&header, &self.buffer[..arrival.length]);
                    window.seen.extend(packet.map(|packet| Seen::Local(self.tested, packet)));
                }
            }
        }
        if let Some(socket) = &self.conntrack {
            // What does not fit is missing from reports alone.
            while let Ok(Some(length)) = socket.receive(&mut self.buffer) {
                read_connections(self.tested, &self.buffer[..length], window);
            }
        }
        let answered = self.echo();
        Ok(answered || window.seen.len() as u64 + window.lost > before)
    }
}

/// Who speaks UDP first, of each pair of ports.
fn asked(request: &CaseRequest) -> BTreeSet<(usize, u16, u16)> {
    let nodes = &request.topology.nodes;
    let mut asked = BTreeSet::new();
    for packet in request.packets.iter() {
        let Content::Typed(spec) = &packet.content else { continue };
        let Transport::Udp { src_port, dst_port } = spec.transport else { continue };
        let from = nodes.iter().position(|node| node.name == packet.from).unwrap_or(0);
        if !(0..nodes.len()).any(|other| other != from && asked.contains(&(other, dst_port, src_port))) {
            asked.insert((from, src_port, dst_port));
        }
    }
    asked
}

/// A trace message costs up to 2.3 KiB of buffer; a packet and its answer make some twenty.
fn window(buffer: usize) -> usize {
    const PACKET: usize = 48 << 10;
    (buffer / PACKET).clamp(1, 32)
}

fn read_traces(node: usize, datagram: &[u8], window: &mut Window) {
    for message in messages(datagram) {
        match message.and_then(|message| trace::decode(&message)) {
            Ok(trace::Report::Trace(trace)) => window.seen.push(Seen::Trace(node, trace)),
            Ok(trace::Report::Unknown(_)) | Err(_) => window.lost += 1,
        }
    }
}

fn read_connections(node: usize, datagram: &[u8], window: &mut Window) {
    for message in messages(datagram).flatten() {
        if let Ok(conntrack::Report::Event(event)) = conntrack::decode(&message) {
            window.seen.push(Seen::Connection(node, event));
        }
    }
}

/// One datagram; none when nothing is there.
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    match recv(socket.as_raw_fd(), buffer, MsgFlags::empty()) {
        Ok(length) => Ok(Some(length)),
        Err(Errno::EAGAIN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The addresses of a node.
fn addresses(node: &Node) -> impl Iterator<Item = IpAddr> + '_ {
    let lists = node.interfaces.iter().map(|i| &i.addresses).chain(node.bridges.iter().map(|b| &b.addresses));
    lists.flat_map(|list| list.iter()).map(|net| net.addr())
}

/// The ports that packets aim at.
fn aims(request: &CaseRequest) -> BTreeSet<(ListenerProtocol, u16)> {
    let typed = request.packets.iter().filter_map(|packet| match &packet.content {
        Content::Typed(spec) => Some(&spec.transport),
        Content::Frame(_) => None,
    });
    let aimed = typed.filter_map(|transport| match transport {
        Transport::Tcp { dst_port, .. } => Some((ListenerProtocol::Tcp, *dst_port)),
        Transport::Udp { dst_port, .. } => Some((ListenerProtocol::Udp, *dst_port)),
        _ => None,
    });
    aimed.filter(|(_, port)| *port != 0).take(netengine_lab_proto::limits::NODE_LISTENERS).collect()
}

fn protocol_of(transport: &Transport, src: IpAddr) -> u8 {
    match transport {
        Transport::Tcp { .. } => 6,
        Transport::Udp { .. } => 17,
        Transport::Icmp { .. } if src.is_ipv4() => 1,
        Transport::Icmp { .. } => 58,
        Transport::Other { protocol } => *protocol,
        Transport::Arp { .. } => 0,
    }
}

/// Where a packet from a node leaves, and the Ethernet addresses it has unless it says otherwise.
pub fn way_out(topology: &Topology, node: usize, interface: Option<&LinkName>) -> Option<(LinkName, [u8; 6], [u8; 6])> {
    let from = topology.nodes.get(node)?;
    let out = match interface {
        Some(name) => from.interface(name)?,
        None => from.interfaces.first()?,
    };
    let end = netengine_lab_proto::End { node: from.name.clone(), interface: out.name.clone() };
    let peer = topology.peer(&end)?;
    let far = topology.node(&peer.node)?.interface(&peer.interface)?;
    Some((out.name.clone(), out.mac, far.mac))
}

/// Sends frames through the current namespace's barrier and waits for them.
#[derive(Debug)]
pub struct Barrier {
    near: OwnedFd,
    far: OwnedFd,
    count: u64,
}

impl Barrier {
    /// Opens both ends of the links that [`crate::build::barrier`] made.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn open() -> io::Result<Self> {
        Ok(Self { near: sys::frames(2, 1 << 16)?, far: sys::frames(3, 1 << 16)?, count: 0 })
    }

    /// Returns once everything that was queued on this processor before is done; false at the deadline.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn pass(&mut self, deadline: std::time::Instant) -> io::Result<bool> {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        self.count += 1;
        let mut frame = [0_u8; 60];
        frame[..6].fill(0xff);
        frame[6] = 2;
        frame[12..14].copy_from_slice(&[0x88, 0xb5]);
        frame[14..22].copy_from_slice(&self.count.to_be_bytes());
        send(self.near.as_raw_fd(), &frame, MsgFlags::empty())?;
        let mut got = [0; 64];
        loop {
            while let Some(length) = receive(&self.far, &mut got)? {
                if length >= 22 && got[12..22] == frame[12..22] {
                    return Ok(true);
                }
            }
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            poll(&mut [PollFd::new(self.far.as_fd(), PollFlags::POLLIN)], timeout)?;
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn small_buffers_make_small_windows() {
        // What Linux grants by default, 8 MiB, and next to nothing.
        assert_eq!([425_984, 8 << 20, 2_304].map(super::window), [8, 32, 1]);
    }
}
