//! The server, spoken to with messages that other people's code writes and reads.

use std::net::Ipv4Addr;

use dhcproto::{
    Decodable, Decoder, Encodable,
    v4::{DhcpOption, Message, MessageType, OptionCode},
};
use netengine_dhcp::{
    Mac, fuzz,
    server::{Decision, Host, Link, Server},
};
use proptest::prelude::*;

const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 1);
const PLANNED: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 10);
const WEB: Mac = [2, 0, 0, 0, 0, 1];
const NONE: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const LEASE_MS: u64 = 600_000;

fn link(subnet: &str) -> Link {
    Link {
        subnet: subnet.parse().expect("a network"),
        router: ROUTER,
        lease_s: 600,
        name_servers: vec![Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 3)],
        ntp_servers: vec![Ipv4Addr::new(10, 0, 0, 4)],
        domain: Some("shop.internal".to_owned()),
        hosts: vec![Host { name: "web1".to_owned(), mac: WEB, address: PLANNED }],
    }
}

fn server() -> Server {
    Server::new(link("10.7.0.0/24"))
}

fn host(n: u16) -> Mac {
    let [high, low] = n.to_be_bytes();
    [2, 9, 0, 0, high, low]
}

fn message(kind: MessageType, mac: Mac, ciaddr: Ipv4Addr, options: Vec<DhcpOption>) -> Vec<u8> {
    let mut message = Message::new_with_id(0x0102_0304, ciaddr, NONE, NONE, NONE, &mac);
    message.opts_mut().insert(DhcpOption::MessageType(kind));
    for option in options {
        message.opts_mut().insert(option);
    }
    message.to_vec().expect("encodes")
}

fn say(
    server: &mut Server,
    now_ms: u64,
    kind: MessageType,
    mac: Mac,
    ciaddr: Ipv4Addr,
    options: Vec<DhcpOption>,
) -> Decision {
    server.decide(&message(kind, mac, ciaddr, options), ciaddr, now_ms)
}

fn read(decision: &Decision) -> Option<Message> {
    let bytes = &decision.answer.as_ref()?.bytes;
    Some(Message::decode(&mut Decoder::new(bytes)).expect("a message"))
}

fn discover(server: &mut Server, now_ms: u64, mac: Mac) -> Option<Ipv4Addr> {
    let offer = read(&say(server, now_ms, MessageType::Discover, mac, NONE, vec![]))?;
    assert_eq!(offer.opts().msg_type(), Some(MessageType::Offer));
    Some(offer.yiaddr())
}

fn select(server: &mut Server, now_ms: u64, mac: Mac, address: Ipv4Addr) -> Decision {
    let options = vec![DhcpOption::RequestedIpAddress(address), DhcpOption::ServerIdentifier(ROUTER)];
    say(server, now_ms, MessageType::Request, mac, NONE, options)
}

/// Asks and takes; the address acknowledged.
fn lease(server: &mut Server, now_ms: u64, mac: Mac) -> Option<Ipv4Addr> {
    let offered = discover(server, now_ms, mac)?;
    let ack = read(&select(server, now_ms, mac, offered)).expect("an answer");
    assert_eq!((ack.opts().msg_type(), ack.yiaddr()), (Some(MessageType::Ack), offered));
    Some(offered)
}

fn kind(decision: &Decision) -> Option<MessageType> {
    read(decision).and_then(|message| message.opts().msg_type())
}

#[test]
fn a_planned_host_gets_its_address_with_every_option() {
    let mut server = server();
    let wanted = vec![
        DhcpOption::ParameterRequestList(vec![OptionCode::Hostname]),
        DhcpOption::ClientIdentifier(vec![255, 1, 2, 3]),
    ];
    let decision = say(&mut server, 0, MessageType::Discover, WEB, NONE, wanted);
    let answer = decision.answer.clone().expect("an offer");
    assert_eq!(answer.to, Ipv4Addr::BROADCAST);
    assert!(answer.bytes.len() >= 300);
    let offer = read(&decision).expect("an offer");
    assert_eq!((offer.xid(), offer.yiaddr(), offer.chaddr()), (0x0102_0304, PLANNED, &WEB[..]));
    let name = "shop.internal.".parse().expect("a name");
    for option in [
        DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 0)),
        DhcpOption::Router(vec![ROUTER]),
        DhcpOption::DomainNameServer(vec![Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 3)]),
        DhcpOption::Hostname("web1".to_owned()),
        DhcpOption::DomainName("shop.internal".to_owned()),
        DhcpOption::BroadcastAddr(Ipv4Addr::new(10, 7, 0, 255)),
        DhcpOption::NtpServers(vec![Ipv4Addr::new(10, 0, 0, 4)]),
        DhcpOption::AddressLeaseTime(600),
        DhcpOption::Renewal(300),
        DhcpOption::Rebinding(525),
        DhcpOption::ServerIdentifier(ROUTER),
        DhcpOption::ClientIdentifier(vec![255, 1, 2, 3]),
        DhcpOption::DomainSearch(vec![name]),
    ] {
        assert_eq!(offer.opts().get((&option).into()), Some(&option));
    }
    // A planned address is nothing that a successor must be told.
    assert!(!select(&mut server, 0, WEB, PLANNED).has_changed);
}

#[test]
fn a_client_renews_by_unicast_and_one_with_anothers_address_is_refused() {
    let mut server = server();
    let address = lease(&mut server, 0, host(1)).expect("a lease");
    let renewed = say(&mut server, 1000, MessageType::Request, host(1), address, vec![]);
    assert_eq!((kind(&renewed), renewed.answer.expect("an ack").to), (Some(MessageType::Ack), address));
    assert!(!renewed.has_changed);
    let stolen = say(&mut server, 1000, MessageType::Request, host(2), address, vec![]);
    assert_eq!((kind(&stolen), stolen.answer.expect("a nak").to), (Some(MessageType::Nak), Ipv4Addr::BROADCAST));
    let planned = say(&mut server, 1000, MessageType::Request, host(3), PLANNED, vec![]);
    assert_eq!(kind(&planned), Some(MessageType::Nak));
    let router = say(&mut server, 1000, MessageType::Request, host(4), ROUTER, vec![]);
    assert_eq!(kind(&router), Some(MessageType::Nak));
}

#[test]
fn a_rebooted_client_is_told_whether_its_address_still_is_one() {
    let mut server = server();
    let remembered = |address| vec![DhcpOption::RequestedIpAddress(address)];
    let address = lease(&mut server, 0, host(1)).expect("a lease");
    let same = say(&mut server, 0, MessageType::Request, host(1), NONE, remembered(address));
    assert_eq!(kind(&same), Some(MessageType::Ack));
    let elsewhere = say(&mut server, 0, MessageType::Request, host(2), NONE, remembered(Ipv4Addr::new(192, 0, 2, 7)));
    assert_eq!(kind(&elsewhere), Some(MessageType::Nak));
    let wrong = say(&mut server, 0, MessageType::Request, WEB, NONE, remembered(Ipv4Addr::new(10, 7, 0, 99)));
    assert_eq!(kind(&wrong), Some(MessageType::Nak));
    // RFC 2131, section 4.3.2: of a client without a record the server says nothing.
    let unknown = say(&mut server, 0, MessageType::Request, host(3), NONE, remembered(Ipv4Addr::new(10, 7, 0, 77)));
    assert_eq!(unknown, Decision::default());
}

#[test]
fn inform_is_told_the_rest_at_its_own_address_only() {
    let mut server = server();
    let address = Ipv4Addr::new(10, 7, 0, 50);
    let told = say(&mut server, 0, MessageType::Inform, host(1), address, vec![]);
    let ack = read(&told).expect("an ack");
    assert_eq!((ack.opts().msg_type(), ack.yiaddr()), (Some(MessageType::Ack), NONE));
    assert!(ack.opts().contains(OptionCode::Router) && !ack.opts().contains(OptionCode::AddressLeaseTime));
    assert_eq!(told.answer.expect("an ack").to, address);
    let of_another = message(MessageType::Inform, host(1), address, vec![]);
    assert_eq!(server.decide(&of_another, Ipv4Addr::new(10, 7, 0, 51), 0), Decision::default());
    let outside = Ipv4Addr::new(192, 0, 2, 1);
    assert_eq!(say(&mut server, 0, MessageType::Inform, host(1), outside, vec![]), Decision::default());
}

#[test]
fn released_addresses_are_free_declined_ones_are_not() {
    let mut server = Server::new(link("10.7.0.0/29"));
    let address = lease(&mut server, 0, host(1)).expect("a lease");
    let of_another = say(&mut server, 0, MessageType::Release, host(2), address, vec![]);
    assert!(!of_another.has_changed, "nobody releases another's address");
    assert_eq!(server.bound().collect::<Vec<_>>(), [(host(1), address)]);
    assert!(say(&mut server, 0, MessageType::Release, host(1), address, vec![]).has_changed);
    assert_eq!(server.bound().count(), 0);

    let address = lease(&mut server, 0, host(3)).expect("a lease");
    let options = vec![DhcpOption::RequestedIpAddress(address), DhcpOption::ServerIdentifier(ROUTER)];
    assert!(say(&mut server, 0, MessageType::Decline, host(3), NONE, options).has_changed);
    let others: Vec<_> = (4..20).filter_map(|n| lease(&mut server, 0, host(n))).collect();
    assert_eq!(
        others.len(),
        4,
        "five are free of /29 without network, broadcast and router, one is declined: {others:?}"
    );
    assert!(!others.contains(&address));
    // Ten minutes later it is tried again.
    assert_eq!(discover(&mut server, LEASE_MS - 1, host(30)), None);
    assert!(discover(&mut server, LEASE_MS + 1, host(31)).is_some());
}

#[test]
fn a_host_that_chose_another_server_or_another_address_gets_nothing_here() {
    let mut server = server();
    let offered = discover(&mut server, 0, host(1)).expect("an offer");
    let elsewhere =
        vec![DhcpOption::RequestedIpAddress(offered), DhcpOption::ServerIdentifier(Ipv4Addr::new(10, 7, 0, 66))];
    assert_eq!(say(&mut server, 0, MessageType::Request, host(1), NONE, elsewhere), Decision::default());
    assert_eq!(kind(&select(&mut server, 0, host(2), offered)), Some(MessageType::Ack), "the offer was withdrawn");
}

#[test]
fn starvation_takes_no_planned_address_and_ends_with_the_leases() {
    let mut server = Server::new(link("10.7.0.0/20"));
    let got: std::collections::BTreeSet<_> = (0..3000).filter_map(|n| lease(&mut server, 0, host(n))).collect();
    assert_eq!(got.len(), 1024, "as many as a link has for hosts outside the plan, each once");
    assert!(!got.contains(&PLANNED) && !got.contains(&ROUTER));
    assert_eq!(lease(&mut server, 0, WEB), Some(PLANNED));
    assert_eq!(discover(&mut server, LEASE_MS - 1, host(5000)), None);
    // The limit forgets hosts that were silent; the oldest lease that has ended goes to the newcomer.
    assert!(discover(&mut server, LEASE_MS + 1, host(5001)).is_some());
    assert_eq!(server.bound().count(), 1023);
}

#[test]
fn many_client_identifiers_of_one_host_get_one_address() {
    let mut server = server();
    let addresses: std::collections::BTreeSet<_> = (0..200_u64)
        .filter_map(|n| {
            let id = vec![DhcpOption::ClientIdentifier(n.to_be_bytes().to_vec())];
            read(&say(&mut server, n * 1000, MessageType::Discover, host(1), NONE, id)).map(|offer| offer.yiaddr())
        })
        .collect();
    assert_eq!(addresses.len(), 1);
}

#[test]
fn one_host_is_answered_twice_a_second_at_most() {
    let mut server = server();
    let answered = (0..1000).filter(|_| discover(&mut server, 0, host(1)).is_some()).count();
    assert_eq!(answered, 12);
    assert_eq!(discover(&mut server, 0, WEB), Some(PLANNED));
}

#[test]
fn a_successor_gives_no_address_in_use_to_another() {
    let mut server = server();
    let before: Vec<_> = (0..50).filter_map(|n| Some((host(n), lease(&mut server, 0, host(n))?))).collect();
    let mut bound: Vec<_> = server.bound().collect();
    bound.sort_unstable();
    assert_eq!(bound, before);
    let mut next = self::server();
    next.restore(server.bound(), 0);
    for n in 100..150 {
        let address = lease(&mut next, 1000, host(n)).expect("a lease");
        assert!(before.iter().all(|(_, held)| *held != address));
    }
    let (mac, address) = before[7];
    assert_eq!(kind(&say(&mut next, 1000, MessageType::Request, mac, address, vec![])), Some(MessageType::Ack));
    // What contradicts the plan is left out.
    let mut next = self::server();
    next.restore(
        [(host(1), PLANNED), (host(2), ROUTER), (host(3), Ipv4Addr::new(192, 0, 2, 1)), (WEB, before[0].1)],
        0,
    );
    assert_eq!(next.bound().count(), 0);
}

#[test]
fn a_changed_plan_takes_addresses_from_hosts_outside_it_alone() {
    let mut server = server();
    let (one, two) = (lease(&mut server, 0, host(1)).expect("one"), lease(&mut server, 0, host(2)).expect("two"));
    let mut changed = link("10.7.0.0/24");
    changed.hosts.push(Host { name: "web2".to_owned(), mac: host(9), address: one });
    server.set_link(changed);
    assert_eq!(server.bound().collect::<Vec<_>>(), [(host(2), two)]);
    assert_eq!(discover(&mut server, 0, host(9)), Some(one));
    assert_eq!(kind(&say(&mut server, 0, MessageType::Request, host(1), one, vec![])), Some(MessageType::Nak));
    server.set_link(link("10.8.0.0/24"));
    assert_eq!(server.bound().count(), 0);
}

#[test]
fn what_is_no_request_of_this_link_gets_no_answer() {
    let good = message(MessageType::Discover, host(1), NONE, vec![]);
    let changed = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    for (what, bytes) in [
        ("an answer", changed(0, 2)),
        ("not Ethernet", changed(1, 6)),
        ("a long address", changed(2, 17)),
        ("a relay", changed(24, 10)),
        ("a group address", changed(28, 3)),
        ("no cookie", changed(236, 0)),
        ("an offer", changed(242, 2)),
        ("no such type", changed(242, 99)),
        ("a long option", changed(241, 200)),
        ("cut off", good[..239].to_vec()),
        ("no options", good[..240].to_vec()),
        ("twice", [&good[..243], &good[240..]].concat()),
        ("nothing", vec![]),
    ] {
        assert_eq!(server().decide(&bytes, NONE, 0), Decision::default(), "{what}");
    }
    assert!(server().decide(&good, NONE, 0).answer.is_some());
    // Options may lie in the fields of names (option 52).
    let mut overloaded = good[..240].to_vec();
    overloaded.extend([52, 1, 1, 255]);
    overloaded[108..112].copy_from_slice(&[53, 1, 1, 255]);
    assert!(server().decide(&overloaded, NONE, 0).answer.is_some());
}

#[test]
fn what_does_not_fit_a_clients_room_is_left_out() {
    let long = ["a".repeat(60), "b".repeat(60), "c".repeat(60), "d".repeat(60)].join(".");
    let mut server = Server::new(Link { domain: Some(long.clone()), ..link("10.7.0.0/24") });
    let id = vec![DhcpOption::ClientIdentifier(vec![7; 100])];
    let offer = say(&mut server, 0, MessageType::Discover, WEB, NONE, id.clone());
    let read = read(&offer).expect("an offer");
    assert!(offer.answer.expect("an offer").bytes.len() <= 548);
    assert!(read.opts().contains(OptionCode::Router) && !read.opts().contains(OptionCode::DomainName));
    let roomy = [id, vec![DhcpOption::MaxMessageSize(1500)]].concat();
    let offer = self::read(&say(&mut server, 0, MessageType::Discover, WEB, NONE, roomy)).expect("an offer");
    assert_eq!(offer.opts().get(OptionCode::DomainName), Some(&DhcpOption::DomainName(long)));
    assert!(offer.opts().contains(OptionCode::DomainSearch));
}

proptest! {
    #[test]
    fn hostile_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..900)) {
        fuzz(&bytes);
    }

    #[test]
    fn altered_messages_are_survived(
        kind in 1_u8..9,
        changes in proptest::collection::vec((0_usize..280, any::<u8>()), 0..6),
        options in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..6),
    ) {
        let mut bytes = message(MessageType::from(kind), WEB, NONE, vec![]);
        bytes.pop();
        for (code, value) in options {
            bytes.extend([code, value.len() as u8]);
            bytes.extend(value);
        }
        bytes.resize(bytes.len().next_multiple_of(2).min(510), 255);
        for (at, value) in changes {
            if let Some(byte) = bytes.get_mut(at) { *byte = value; }
        }
        let mut input = Vec::new();
        for _ in 0..3 {
            input.push((bytes.len() / 2) as u8);
            input.extend(&bytes);
        }
        fuzz(&input);
    }
}
