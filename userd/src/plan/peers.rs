//! Other worlds that a spec names: who is joined with whom, by the specs of both. Pure.
//!
//! It takes two: a world whose spec names another says nothing of it until that one's spec, in force, names it back. What does
//! not exist, is not up and does not consent looks alike.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use ipnet::IpNet;
use netengine_proto::{
    bounded::Bounded,
    control::{Delegation, IssuerKeys, NamedHost},
    ids::{Uid, WorldId},
    limits,
    names::WorldName,
    net::IfName,
    plan::{ForwardPair, NetworkPlan, Node, PeerPlan, peer_link},
};
use netengine_spec::{
    Spec,
    model::{Peer, PeerMode},
    text::DnsName,
};
use serde::{Deserialize, Serialize};

use super::{network::CORE, network::PlanError};

/// Zones taken of one other world: a top-level domain for each of its own, and the reverse zones of its networks.
const ZONES: usize = 256;
/// OpenID issuers taken of one other world.
const ISSUERS: usize = 64;
/// Addresses taken of one zone's server.
const SERVERS: usize = 4;

/// The users of this host that specs name, as the user database knows them.
pub type Users = BTreeMap<String, Uid>;

/// One of two worlds.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// Its id.
    pub world: WorldId,
    /// Its owner.
    pub owner: Uid,
    /// Its name.
    pub name: &'a WorldName,
    /// Its spec: the one that it is brought up with, or for others the one in force.
    pub spec: &'a Spec,
    /// Its network, by that spec.
    pub network: &'a NetworkPlan,
    /// Its certificate authority, DER, once it has one.
    pub authority: Option<&'a [u8]>,
    /// The zones that its name servers told of.
    pub zones: &'a [Delegation],
    /// Its OpenID issuers.
    pub issuers: &'a [IssuerKeys],
}

/// A world that a spec names, and how it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldPeer {
    /// As in the spec: `world:NAME` or `world:USER/NAME`.
    pub endpoint: String,
    /// How this world's spec wants it joined.
    pub mode: PeerMode,
    /// How it stands.
    pub standing: Standing,
}

/// How a world stands that a spec names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Both specs say so.
    Joined(JoinedPeer),
    /// There is none, it is not up, or it does not name this world: nobody is told which.
    Absent,
    /// It consents, and a network of it overlaps one of this world, or of a world that this one is joined with.
    Overlap {
        /// The network that is here already.
        own: IpNet,
        /// The other world's.
        theirs: IpNet,
    },
    /// It consents, and its certificate authority is not the one that the spec gives.
    Authority,
}

/// A world that another is joined with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinedPeer {
    /// Its id.
    pub world: WorldId,
    /// Its owner.
    pub owner: Uid,
    /// How both want it: federated only when both say so.
    pub mode: PeerMode,
    /// Its router's address in its network core.
    pub via: Ipv4Addr,
    /// The networks that it announces: all but those of ANDs that are closed both ways.
    pub networks: Vec<IpNet>,
    /// Its zones, where its networks have servers for them.
    pub zones: Vec<Delegation>,
    /// Its certificate authority, DER, which this world's commands trust: of federated worlds alone.
    #[serde(default)]
    pub authority: Option<Vec<u8>>,
    /// Its OpenID issuers, of federated worlds alone.
    #[serde(default)]
    pub issuers: Vec<IssuerKeys>,
}

impl Standing {
    /// The other world, when it is joined.
    pub fn joined(&self) -> Option<&JoinedPeer> {
        match self {
            Standing::Joined(peer) => Some(peer),
            Standing::Absent | Standing::Overlap { .. } | Standing::Authority => None,
        }
    }

    /// In words for the owner of the world that names it.
    pub fn told(&self) -> String {
        match self {
            Standing::Joined(peer) => {
                let networks: Vec<String> = peer.networks.iter().map(ToString::to_string).collect();
                format!("reaches {}", networks.join(", "))
            }
            Standing::Absent => "no world of that name is up and names this one".to_owned(),
            Standing::Overlap { own, theirs } => format!("its network {theirs} overlaps {own}"),
            Standing::Authority => "its certificate authority is not the trust_anchor_cert of the spec".to_owned(),
        }
    }
}

/// The word of a mode, as in the spec.
pub fn word(mode: PeerMode) -> &'static str {
    match mode {
        PeerMode::Peered => "peered",
        PeerMode::Federated => "federated",
    }
}

/// Whose world a spec names; `None` for a user that the host does not know. A login name counts before a uid.
fn owner_of(peer: &Peer, own: Uid, users: &Users) -> Option<Uid> {
    match peer.endpoint.owner() {
        None => Some(own),
        Some(user) => users.get(user).copied(),
    }
}

/// The names of users that a spec's peers have.
pub fn users_of(spec: &Spec) -> impl Iterator<Item = &str> {
    spec.gateway_portal.cross_world.joins().filter_map(|(peer, _)| peer.endpoint.owner())
}

/// Whose worlds a spec names.
pub fn named<'a>(spec: &'a Spec, own: Uid, users: &'a Users) -> impl Iterator<Item = (Uid, &'a str)> {
    let joins = spec.gateway_portal.cross_world.joins();
    joins.filter_map(move |(peer, _)| Some((owner_of(peer, own, users)?, peer.endpoint.world())))
}

/// How the spec of `side` wants to be joined with the world `name` of `owner`.
fn wants(side: &Side<'_>, owner: Uid, name: &WorldName, users: &Users) -> Option<PeerMode> {
    let mut joins = side.spec.gateway_portal.cross_world.joins();
    let is = |peer: &Peer| peer.endpoint.world() == name.as_str() && owner_of(peer, side.owner, users) == Some(owner);
    joins.find_map(|(peer, mode)| is(peer).then_some(mode))
}

/// How each world stands that the spec of `own` names, in its order; `others` are worlds that are up.
pub fn resolve(own: &Side<'_>, users: &Users, others: &[Side<'_>]) -> Vec<HeldPeer> {
    let mut taken = held(own.network);
    let mut found = Vec::new();
    for (peer, mode) in own.spec.gateway_portal.cross_world.joins() {
        let owner = owner_of(peer, own.owner, users);
        let is = |other: &&Side<'_>| Some(other.owner) == owner && other.name.as_str() == peer.endpoint.world();
        let other = others.iter().find(is).filter(|other| other.world != own.world);
        let standing = other.map_or(Standing::Absent, |other| stands(own, (peer, mode), other, users, &taken));
        if let Some(joined) = standing.joined() {
            taken.extend(&joined.networks);
        }
        found.push(HeldPeer { endpoint: peer.endpoint.to_string(), mode, standing });
    }
    found
}

fn stands(own: &Side<'_>, peer: (&Peer, PeerMode), other: &Side<'_>, users: &Users, taken: &[IpNet]) -> Standing {
    let (peer, mode) = peer;
    let Some(theirs) = wants(other, own.owner, own.name, users) else { return Standing::Absent };
    let (Some(via), networks) = (via(other.spec), announced(other.network)) else { return Standing::Absent };
    // Each side refuses what the other would: neither is joined one-sided.
    let clash = overlap(taken, &networks).or_else(|| overlap(&announced(own.network), &held(other.network)));
    if let Some((own, theirs)) = clash {
        return Standing::Overlap { own, theirs };
    }
    if peer.trust_anchor_cert.as_ref().is_some_and(|pem| !is_authority(pem.as_str(), other.authority)) {
        return Standing::Authority;
    }
    let mode = if theirs == PeerMode::Federated { mode } else { theirs };
    let zones = sound(other.zones, &networks);
    let authority = other.authority.filter(|_| mode == PeerMode::Federated).map(<[u8]>::to_vec);
    let issuers = other.issuers.iter().filter(|_| mode == PeerMode::Federated).take(ISSUERS);
    let issuers = issuers.cloned().collect();
    let (world, owner) = (other.world, other.owner);
    Standing::Joined(JoinedPeer { world, owner, mode, via, networks, zones, authority, issuers })
}

/// The zones that can be delegated: what a worldd says may be anything. Their servers lie in the world's own networks, so
/// nobody's resolver is sent elsewhere. Which of them take something from this world, its name servers judge (netengine-dns).
fn sound(zones: &[Delegation], networks: &[IpNet]) -> Vec<Delegation> {
    let is_name = |name: &str| DnsName::parse(name).is_ok();
    let is_there =
        |server: &NamedHost| is_name(&server.name) && networks.iter().any(|network| network.contains(&server.address));
    let sound = |zone: &Delegation| {
        let servers: Vec<_> = zone.servers.iter().filter(|server| is_there(server)).take(SERVERS).cloned().collect();
        let ds = zone.ds.iter().take(limits::DNS_ANCHORS).cloned().collect();
        let is_sound = is_name(&zone.zone) && !servers.is_empty();
        is_sound.then(|| Delegation { zone: zone.zone.clone(), servers, ds })
    };
    zones.iter().filter_map(sound).take(ZONES).collect()
}

/// The zones of all worlds that one is joined with; of two of a name the first, as the networks.
pub(super) fn delegations(peers: &[HeldPeer]) -> Vec<Delegation> {
    let mut found: Vec<Delegation> = Vec::new();
    for zone in peers.iter().filter_map(|peer| peer.standing.joined()).flat_map(|peer| &peer.zones) {
        if found.iter().all(|known| known.zone != zone.zone) {
            found.push(zone.clone());
        }
    }
    found
}

/// The issuers of all worlds that one is federated with; of two of a name the first.
pub(super) fn issuers(peers: &[HeldPeer]) -> Vec<IssuerKeys> {
    let mut found: Vec<IssuerKeys> = Vec::new();
    for issuer in peers.iter().filter_map(|peer| peer.standing.joined()).flat_map(|peer| &peer.issuers) {
        if found.iter().all(|known| known.issuer != issuer.issuer) {
            found.push(issuer.clone());
        }
    }
    found
}

/// The router's address in network core.
fn via(spec: &Spec) -> Option<Ipv4Addr> {
    spec.networks().iter().find(|view| view.name.as_str() == CORE).map(|view| view.gateway)
}

/// Every network of a router.
fn held(network: &NetworkPlan) -> Vec<IpNet> {
    let bridges = network.bridges.iter().filter(|bridge| bridge.node == Node::Gateway).map(|one| &one.addresses);
    let ends = network.cables.iter().flat_map(|cable| [&cable.a, &cable.b]);
    let ends = ends.filter(|end| end.node == Node::Gateway).map(|end| &end.addresses);
    bridges.chain(ends).flat_map(|addresses| addresses.iter().map(|address| address.net().trunc())).collect()
}

/// The networks that others may have routes to.
fn announced(network: &NetworkPlan) -> Vec<IpNet> {
    let policy = network.nodes.iter().find_map(|node| node.policy.as_ref());
    let is_closed = |link: &IfName| {
        let mut domains = policy.iter().flat_map(|policy| policy.domains.iter());
        domains.any(|domain| domain.link == *link && !domain.opens && !domain.admits)
    };
    let bridges = network.bridges.iter().filter(|bridge| bridge.node == Node::Gateway && !is_closed(&bridge.name));
    bridges.flat_map(|bridge| bridge.addresses.iter().map(|address| address.net().trunc())).collect()
}

fn overlap(own: &[IpNet], theirs: &[IpNet]) -> Option<(IpNet, IpNet)> {
    let meet = |one: &IpNet, other: &IpNet| one.contains(&other.network()) || other.contains(&one.network());
    own.iter().find_map(|one| theirs.iter().find(|other| meet(one, other)).map(|other| (*one, *other)))
}

/// Whether a certificate in PEM form (RFC 7468) is this one.
fn is_authority(pem: &str, der: Option<&[u8]>) -> bool {
    let body = pem.trim().strip_prefix("-----BEGIN CERTIFICATE-----");
    let Some(body) = body.and_then(|body| body.strip_suffix("-----END CERTIFICATE-----")) else { return false };
    let letters: String = body.split_ascii_whitespace().collect();
    STANDARD.decode(letters).is_ok_and(|given| Some(given.as_slice()) == der)
}

/// A network with the links to the worlds that it is joined with. Their links are like those of the world's own networks: what an
/// AND may do there, it may do here; nothing passes from one other world to another.
///
/// # Errors
/// [`PlanError::TooLarge`].
pub(super) fn join(mut network: NetworkPlan, peers: &[HeldPeer]) -> Result<NetworkPlan, PlanError> {
    let joined: Vec<&JoinedPeer> = peers.iter().filter_map(|peer| peer.standing.joined()).collect();
    let plan = |peer: &&JoinedPeer| {
        let networks = Bounded::new(peer.networks.clone())?;
        Ok::<_, PlanError>(PeerPlan { world: peer.world, owner: peer.owner, via: peer.via, networks })
    };
    network.peers = Bounded::new(joined.iter().map(plan).collect::<Result<_, _>>()?)?;
    let mut nodes = network.nodes.into_inner();
    for policy in nodes.iter_mut().filter(|node| node.node == Node::Gateway).filter_map(|node| node.policy.as_mut()) {
        let is_domain = |link: &IfName| policy.domains.iter().any(|domain| domain.link == *link);
        let bridges = network.bridges.iter().filter(|bridge| bridge.node == Node::Gateway);
        let own: Vec<_> = bridges.map(|bridge| bridge.name.clone()).filter(|link| !is_domain(link)).collect();
        let mut forward = policy.forward.clone().into_inner();
        for peer in &joined {
            let link = peer_link(peer.world);
            for own in &own {
                forward.push(ForwardPair { from: own.clone(), to: link.clone() });
                forward.push(ForwardPair { from: link.clone(), to: own.clone() });
            }
        }
        policy.forward = Bounded::new(forward)?;
    }
    network.nodes = Bounded::new(nodes)?;
    Ok(network)
}

/// An address in each network of a world that another is joined with, for a proof.
pub fn first_addresses(peer: &JoinedPeer) -> Vec<IpAddr> {
    let first = |network: &IpNet| match network.network() {
        IpAddr::V4(v4) => Ipv4Addr::from(u32::from(v4).saturating_add(1)).into(),
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6).saturating_add(1)).into(),
    };
    peer.networks.iter().map(first).collect()
}

#[cfg(test)]
#[path = "peers_tests.rs"]
mod tests;
