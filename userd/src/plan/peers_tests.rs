//! Who is joined with whom, by what the specs of both say.

use netengine_proto::net::IfAddr;
use serde_json::{Value, json};

use super::*;
use crate::plan::{Target, leases::choose};

const ALICE: Uid = Uid(1000);
const BOB: Uid = Uid(1001);
/// What looks like a certificate (X.690, 8.1.3.5).
const AUTHORITY: [u8; 99] = {
    let mut der = [7; 99];
    (der[0], der[1]) = (0x30, 0x82);
    der
};

/// A world of somebody.
struct World {
    id: WorldId,
    owner: Uid,
    name: WorldName,
    target: Target,
}

impl World {
    /// `net` is the second byte of its network core.
    fn new(number: u8, owner: Uid, name: &str, net: u8, portal: Value, more: impl FnOnce(&mut Value)) -> Self {
        let mut value = crate::orchestrator::tests::spec_json(name);
        value["substrate"] = json!({
            "networks": { "platform": { "subnet": format!("172.{net}.0.0/24") }, "core": { "subnet": format!("10.{net}.0.0/24") } },
            "gateway": { "platform_ip": format!("172.{net}.0.1"), "core_ip": format!("10.{net}.0.1") },
        });
        value["gateway_portal"] = json!({ "cross_world": portal });
        more(&mut value);
        let spec: Spec = serde_json::from_value(value).expect("a spec");
        let id = WorldId::from_bytes([number; 8]);
        let leases = choose(&spec, None, &[]).expect("leases").leases;
        let target = Target::new(spec, 9, id, owner, Vec::new(), &leases).expect("a target");
        Self { id, owner, name: WorldName::parse(name).expect("a name"), target }
    }

    fn side(&self) -> Side<'_> {
        let Target { spec, network, .. } = &self.target;
        Side {
            world: self.id,
            owner: self.owner,
            name: &self.name,
            spec,
            network,
            authority: Some(&AUTHORITY),
            zones: &[],
            issuers: &[],
        }
    }
}

fn peered(endpoints: &[&str]) -> Value {
    let name = |endpoint: &str| endpoint.rsplit([':', '/']).next().map(str::to_owned);
    let peers = endpoints.iter().map(|one| json!({ "name": name(one), "endpoint": one }));
    json!({ "mode": "peered", "peers": peers.collect::<Vec<_>>() })
}

fn users() -> Users {
    [("alice".to_owned(), ALICE), ("bob".to_owned(), BOB)].into()
}

fn standing(own: &World, others: &[&World]) -> Vec<Standing> {
    let others: Vec<_> = others.iter().map(|one| one.side()).collect();
    resolve(&own.side(), &users(), &others).into_iter().map(|peer| peer.standing).collect()
}

fn nets(all: &[&str]) -> Vec<IpNet> {
    all.iter().map(|text| text.parse().expect("a prefix")).collect()
}

#[test]
fn worlds_are_joined_when_both_specs_name_each_other_by_owner_and_name() {
    let a = World::new(1, ALICE, "a", 1, peered(&["world:bob/b"]), |_| {});
    let b = World::new(2, BOB, "b", 2, peered(&["world:alice/a"]), |_| {});
    let joined = |peer: &World, net: u8| {
        let networks = nets(&[&format!("172.{net}.0.0/24"), &format!("10.{net}.0.0/24")]);
        let via = Ipv4Addr::new(10, net, 0, 1);
        let mut networks = networks;
        networks.sort();
        (peer.id, peer.owner, PeerMode::Peered, via, networks)
    };
    let said = |standing: &Standing| {
        let JoinedPeer { world, owner, mode, via, mut networks, .. } = standing.joined().expect("joined").clone();
        networks.sort();
        (world, owner, mode, via, networks)
    };
    assert_eq!(said(&standing(&a, &[&b])[0]), joined(&b, 2));
    assert_eq!(said(&standing(&b, &[&a])[0]), joined(&a, 1));
    // Nobody is told why not.
    let silent = World::new(2, BOB, "b", 2, json!({}), |_| {});
    let of_namesake = World::new(2, BOB, "b", 2, peered(&["world:a"]), |_| {});
    let of_another = World::new(2, BOB, "b", 2, peered(&["world:alice/other"]), |_| {});
    let others = World::new(2, ALICE, "b", 2, peered(&["world:a"]), |_| {});
    let itself = World::new(1, ALICE, "a", 1, peered(&["world:alice/a"]), |_| {});
    for absent in [&[][..], &[&silent], &[&of_namesake], &[&of_another], &[&others]] {
        assert_eq!(standing(&a, absent), [Standing::Absent]);
    }
    assert_eq!(standing(&itself, &[&itself]), [Standing::Absent]);
    let unknown = World::new(1, ALICE, "a", 1, peered(&["world:carol/b"]), |_| {});
    assert_eq!(standing(&unknown, &[&b]), [Standing::Absent]);
}

#[test]
fn overlaps_are_named_and_the_first_peer_has_the_network() {
    let a = World::new(1, ALICE, "a", 1, peered(&["world:b"]), |_| {});
    let b = World::new(2, ALICE, "b", 1, peered(&["world:a"]), |value| {
        value["substrate"]["networks"]["platform"]["subnet"] = json!("172.9.0.0/24");
        value["substrate"]["gateway"]["platform_ip"] = json!("172.9.0.1");
    });
    let core = nets(&["10.1.0.0/24"])[0];
    assert_eq!(standing(&a, &[&b]), [Standing::Overlap { own: core, theirs: core }]);
    assert_eq!(standing(&b, &[&a]), [Standing::Overlap { own: core, theirs: core }]);
    // Who does not consent is told no overlap.
    let stranger = World::new(3, ALICE, "b", 1, json!({}), |_| {});
    assert_eq!(standing(&a, &[&stranger]), [Standing::Absent]);
    let hub = World::new(4, ALICE, "hub", 4, peered(&["world:a", "world:b"]), |_| {});
    let (a, b) = (
        World::new(1, ALICE, "a", 1, peered(&["world:hub"]), |_| {}),
        World::new(2, ALICE, "b", 1, peered(&["world:hub"]), |_| {}),
    );
    let stand = standing(&hub, &[&b, &a]);
    assert_eq!(stand[0].joined().map(|peer| peer.world), Some(a.id));
    assert!(matches!(stand[1], Standing::Overlap { .. }), "{stand:?}");
}

#[test]
fn worlds_are_federated_when_both_say_so_and_the_authority_is_the_one_given() {
    let federated = |endpoint: &str, pem: Option<&str>| {
        let mut portal = peered(&[endpoint]);
        portal["mode"] = json!("federated");
        portal["peers"][0]["trust_anchor_cert"] = json!(pem);
        portal
    };
    let mode = |a: Value, b: Value| {
        let (a, b) = (World::new(1, ALICE, "a", 1, a, |_| {}), World::new(2, BOB, "b", 2, b, |_| {}));
        let joined = standing(&a, &[&b]).remove(0).joined().cloned()?;
        let is_trusted = joined.authority.as_deref() == Some(&AUTHORITY[..]);
        assert_eq!(is_trusted, joined.mode == PeerMode::Federated);
        Some(joined.mode)
    };
    let (to_a, to_b) = ("world:alice/a", "world:bob/b");
    assert_eq!(mode(federated(to_b, None), federated(to_a, None)), Some(PeerMode::Federated));
    assert_eq!(mode(federated(to_b, None), peered(&[to_a])), Some(PeerMode::Peered));
    assert_eq!(mode(peered(&[to_b]), federated(to_a, None)), Some(PeerMode::Peered));
    let pem =
        |der: &[u8]| format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der));
    let right = mode(federated(to_b, Some(&pem(&AUTHORITY))), federated(to_a, None));
    assert_eq!(right, Some(PeerMode::Federated));
    let mut another = AUTHORITY;
    another[50] ^= 1;
    assert_eq!(mode(federated(to_b, Some(&pem(&another))), federated(to_a, None)), None);
}

#[test]
fn a_closed_domain_is_not_announced_and_no_world_leads_to_a_third() {
    let b = World::new(2, BOB, "b", 2, peered(&["world:alice/a"]), |value| {
        value["world_registry"]["organizations"] = json!([{ "name": "acme" }]);
        let pool = |net: u8, label: &str| json!({ "cidr": format!("10.{net}.0.0/16"), "label": label });
        value["domain_registry"]["address_space"] = json!([pool(20, "business"), pool(21, "airgapped")]);
        let and = |name: &str, profile: &str| json!({ "name": name, "org": "acme", "profile": profile });
        value["ands"]["instances"] = json!([and("open", "business"), and("shut", "airgapped")]);
    });
    let a = World::new(1, ALICE, "a", 1, peered(&["world:bob/b", "world:bob/c"]), |_| {});
    let c = World::new(3, BOB, "c", 3, peered(&["world:alice/a"]), |_| {});
    let sides = [b.side(), c.side()];
    let held = resolve(&a.side(), &users(), &sides);
    let joined = held[0].standing.joined().expect("joined");
    let has = |net: &str| joined.networks.iter().any(|one| nets(&[net])[0].contains(&one.network()));
    assert!(has("10.20.0.0/16") && !has("10.21.0.0/16"), "{:?}", joined.networks);

    let target = a.target.clone().beside(held).expect("a target");
    let policy = target.network.nodes.iter().find_map(|node| node.policy.as_ref()).expect("a policy");
    let links = [peer_link(b.id), peer_link(c.id)];
    let is_peer = |link: &IfName| links.contains(link);
    let pairs: Vec<_> = policy.forward.iter().filter(|pair| is_peer(&pair.from) || is_peer(&pair.to)).collect();
    // Two networks of its own, two peers, both ways.
    assert_eq!(pairs.len(), 8);
    assert!(pairs.iter().all(|pair| !(is_peer(&pair.from) && is_peer(&pair.to))), "{pairs:?}");
    let vias: Vec<_> = target.network.peers.iter().map(|peer| peer.via).collect();
    assert_eq!(vias, [Ipv4Addr::new(10, 2, 0, 1), Ipv4Addr::new(10, 3, 0, 1)]);
    assert!(target.network.peers.iter().all(|peer| IfAddr::new(IpNet::from(IpAddr::V4(peer.via))).is_ok()));
}

#[test]
fn a_zone_is_taken_only_with_servers_in_the_networks_of_its_world() {
    let zone = |name: &str, server: &str, address: [u8; 4]| Delegation {
        zone: name.to_owned(),
        servers: vec![NamedHost { name: server.to_owned(), address: address.into() }],
        ds: Vec::new(),
    };
    let told = [
        zone("beta", "ns.beta", [10, 2, 0, 4]),
        zone("elsewhere", "ns.beta", [10, 1, 0, 4]),
        zone("outside", "ns.beta", [8, 8, 8, 8]),
        zone("a\nb", "ns.beta", [10, 2, 0, 4]),
        zone("odd", "ns beta", [10, 2, 0, 4]),
        zone("", "ns.beta", [10, 2, 0, 4]),
    ];
    let networks = nets(&["10.2.0.0/24"]);
    assert_eq!(sound(&told, &networks), [told[0].clone()]);
    let many: Vec<_> = (0..2 * ZONES).map(|n| zone(&format!("z{n}"), "ns.beta", [10, 2, 0, 4])).collect();
    assert_eq!(sound(&many, &networks).len(), ZONES);
}
