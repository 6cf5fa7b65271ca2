//! Two worlds of two users joined by their routers, on the real kernel: it takes both plans, each true, and what either takes
//! back leaves nothing. Row 95.

use netengine_proto::{
    bounded::Bounded,
    ids::Uid,
    plan::{ForwardPair, NetworkPlan, Node, PeerPlan, peer_link},
    root::{Observed, RootClient, RootError},
};
use netengine_tests::{
    ALICE, BOB, Host,
    attack::{rootd_only, the},
    root::{self, key, patient, world_plan},
};

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts");

fn bounded<T, const MAX: usize>(entries: Vec<T>) -> Bounded<T, MAX> {
    Bounded::new(entries).unwrap_or_else(|_| panic!("few entries"))
}

/// One network with a host; network `n` of the harness, so that two worlds' lie apart.
fn alone(owner: Uid, n: usize) -> NetworkPlan {
    let mut plan = world_plan(root::world_id(), owner, 2, 1);
    let host = Node::Host(root::host_name(&format!("n{n}h0")));
    let is_of = |node: &Node| *node == Node::Gateway || *node == host;
    let mut nodes: Vec<_> = plan.nodes.iter().filter(|node| is_of(&node.node)).cloned().collect();
    nodes[0].policy.as_mut().expect("a router").forward = Bounded::default();
    plan.nodes = bounded(nodes);
    plan.bridges = bounded(vec![plan.bridges[n].clone()]);
    plan.cables = bounded(plan.cables.iter().filter(|cable| is_of(&cable.b.node)).cloned().collect());
    plan
}

/// `plan` with the other world as a peer, as both its networks are.
fn naming(plan: &NetworkPlan, other: &NetworkPlan) -> NetworkPlan {
    let mut plan = plan.clone();
    let held: Vec<_> = other.bridges[0].addresses.iter().map(|address| address.net()).collect();
    let via = held.iter().find_map(|net| match net.addr() {
        std::net::IpAddr::V4(v4) => Some(v4),
        std::net::IpAddr::V6(_) => None,
    });
    let networks = bounded(held.iter().map(|net| net.trunc()).collect());
    let peer = PeerPlan { world: other.world, owner: other.owner, via: via.expect("IPv4"), networks };
    plan.peers = bounded(vec![peer]);
    let (bridge, link) = (plan.bridges[0].name.clone(), peer_link(other.world));
    let mut nodes = plan.nodes.clone().into_inner();
    nodes[0].policy.as_mut().expect("a router").forward =
        bounded(vec![ForwardPair { from: bridge.clone(), to: link.clone() }, ForwardPair { from: link, to: bridge }]);
    plan.nodes = bounded(nodes);
    plan
}

struct Worlds {
    client: RootClient,
    host: Host,
}

impl Worlds {
    async fn apply(&self, plan: &NetworkPlan) {
        self.client.apply_network(patient(), key(), plan.clone()).await.expect("answers").expect("applies");
    }

    async fn observe(&self, plan: &NetworkPlan) -> Observed {
        let seen = self.client.observe_network(patient(), plan.world, plan.owner, true).await;
        seen.expect("answers").expect("observes")
    }

    /// Whether the router has its link and all routes to the other world; it never has one without the other, and never
    /// differs from what it should be.
    async fn is_joined(&self, plan: &NetworkPlan, other: &NetworkPlan) -> bool {
        let seen = self.observe(plan).await;
        assert_eq!((&seen.drift[..], &seen.foreign[..]), (&[][..], &[][..]));
        let of_peer = |name: &str| {
            let nets = other.bridges[0].addresses.iter().map(|address| address.net().trunc().to_string());
            name.starts_with(peer_link(other.world).as_str()) || nets.into_iter().any(|net| name.starts_with(&net))
        };
        let found = seen.objects.iter().filter(|object| object.node == "gw" && of_peer(&object.name)).count();
        assert!(matches!(found, 0 | 4), "a link, its address and two routes: {:?}", seen.objects);
        found == 4
    }

    /// Whether a host of one world reaches the other's and is answered, by IPv4 and IPv6.
    fn reaches(&self, from: [&str; 2], to: [&str; 2], seconds: &str) -> [bool; 2] {
        [(from[0], to[0]), (from[1], to[1])].map(|(from, to)| {
            let holder = the(&self.host, "ne-holder").to_string();
            let args = ["-B", &format!("{SCRIPTS}/peer_ping.py"), &holder, from, to, seconds];
            let output = std::process::Command::new("python3").args(args).output().expect("python3 starts");
            match String::from_utf8_lossy(&output.stdout).trim() {
                "reached" => true,
                "silent" => false,
                _ => panic!("{output:?}"),
            }
        })
    }
}

#[test]
fn no_plan_alone_reaches_another_worlds_router() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let host = rootd_only();
        let client = root::client(&host).await;
        let worlds = Worlds { client, host };
        let (alice, bob) = (alone(Uid(ALICE.uid), 0), alone(Uid(BOB.uid), 1));
        let (to_bob, to_alice) = (naming(&alice, &bob), naming(&bob, &alice));
        let neither = async |one: &NetworkPlan, other: &NetworkPlan| {
            !worlds.is_joined(one, other).await && !worlds.is_joined(other, one).await
        };
        let (alices, bobs) = (["10.0.0.10", "fd00::a"], ["10.1.0.10", "fd00:1::a"]);

        // One plan alone, whatever it says; the other never heard of it.
        worlds.apply(&bob).await;
        worlds.apply(&to_bob).await;
        assert!(neither(&alice, &bob).await, "the other does not name it");
        assert_eq!(worlds.reaches(alices, bobs, "0.5"), [false; 2]);
        // Both name each other, and one of them lies: about the owner, about what the other has, about its router.
        let forged = |change: &dyn Fn(&mut PeerPlan)| {
            let mut plan = to_alice.clone();
            let mut peer = plan.peers[0].clone();
            change(&mut peer);
            plan.peers = bounded(vec![peer]);
            plan
        };
        for lie in [
            forged(&|peer| peer.owner = Uid(BOB.uid)),
            forged(&|peer| peer.world = root::world_id()),
            forged(&|peer| peer.networks = bounded(vec!["10.9.0.0/24".parse().expect("a prefix")])),
            forged(&|peer| peer.networks = bounded(vec!["10.0.0.0/25".parse().expect("a prefix")])),
            forged(&|peer| peer.via = "10.0.0.77".parse().expect("an address")),
        ] {
            worlds.apply(&lie).await;
            assert!(neither(&alice, &bob).await, "{:?}", lie.peers);
        }
        // What cannot be true of any world is refused.
        for nonsense in [
            forged(&|peer| peer.world = bob.world),
            forged(&|peer| peer.networks = bounded(vec!["10.1.0.0/25".parse().expect("a prefix")])),
            forged(&|peer| peer.networks = bounded(vec!["0.0.0.0/0".parse().expect("a prefix")])),
            forged(&|peer| peer.networks = Bounded::default()),
        ] {
            let refused = worlds.client.apply_network(patient(), key(), nonsense.clone()).await.expect("answers");
            assert!(matches!(refused, Err(RootError::InvalidPlan(_))), "{:?}: {refused:?}", nonsense.peers);
        }

        // Both say so, and both are true.
        worlds.apply(&to_alice).await;
        assert!(worlds.is_joined(&alice, &bob).await && worlds.is_joined(&bob, &alice).await);
        assert_eq!((worlds.reaches(alices, bobs, "20"), worlds.reaches(bobs, alices, "20")), ([true; 2], [true; 2]));

        // Either takes it back, and it is gone on both sides; and again when it is given again.
        worlds.apply(&bob).await;
        assert!(neither(&alice, &bob).await);
        assert_eq!(worlds.reaches(alices, bobs, "0.5"), [false; 2]);
        worlds.apply(&to_alice).await;
        assert!(worlds.is_joined(&alice, &bob).await && worlds.is_joined(&bob, &alice).await);
        let gone = worlds.client.delete_world(patient(), key(), bob.world, bob.owner).await;
        gone.expect("answers").expect("is removed");
        assert!(!worlds.is_joined(&alice, &bob).await, "the other is gone");
    });
}
