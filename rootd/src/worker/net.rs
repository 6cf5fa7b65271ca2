//! The net worker: CAP_NET_ADMIN, sockets inside worlds' namespaces, no way to any other.

use std::{
    collections::HashMap,
    os::fd::{AsRawFd, OwnedFd},
    process::ExitCode,
};

use netengine_proto::root::Operation;

use super::{
    channel::Channel,
    message::{Failure, NetOperation, NetReply, NetRequest, RuleName, Slot},
};
use crate::netlink::{
    dump, policy,
    request::{self, End, LinkSettings, Request},
    socket::{Netlink, NetlinkError},
};

struct Node {
    ns: OwnedFd,
    route: Netlink,
    netfilter: Netlink,
    /// What its tables were read to say.
    tables: policy::Held,
}

/// Serves until the broker is gone.
pub fn run(mut channel: Channel) -> ExitCode {
    let mut nodes: HashMap<Slot, Node> = HashMap::new();
    while let Ok(Some((request, fds))) = channel.receive::<NetRequest>() {
        let reply = serve(&mut nodes, request, fds).unwrap_or_else(NetReply::Failed);
        if channel.reply(&reply, &[]).is_err() {
            break;
        }
    }
    ExitCode::SUCCESS
}

fn serve(nodes: &mut HashMap<Slot, Node>, request: NetRequest, fds: Vec<OwnedFd>) -> Result<NetReply, Failure> {
    match request {
        NetRequest::Adopt(slot) => {
            let [ns, route, netfilter] = <[OwnedFd; 3]>::try_from(fds).map_err(|_| unknown(slot))?;
            let (route, netfilter) = (Netlink::new(route), Netlink::new(netfilter));
            nodes.insert(slot, Node { ns, route, netfilter, tables: policy::Held::default() });
            Ok(NetReply::Done)
        }
        NetRequest::Forget(slot) => {
            nodes.remove(&slot);
            Ok(NetReply::Done)
        }
        NetRequest::Observe { slot, world, policy, rules } => {
            let node = nodes.get_mut(&slot).ok_or_else(|| unknown(slot))?;
            let failed = |error: NetlinkError| failure(Operation::Observe, "a node".into(), &error);
            let observed = dump::observe(&mut node.route, rules).map_err(failed)?;
            let table = node.tables.compare(&mut node.netfilter, world, policy.as_ref()).map_err(failed)?;
            Ok(NetReply::Observed(observed, table))
        }
        NetRequest::Policy { slot, world, policy } => {
            let node = nodes.get_mut(&slot).ok_or_else(|| unknown(slot))?;
            let done = match &policy {
                Some(policy) => node.tables.put(&mut node.netfilter, world, policy),
                None => policy::delete(&mut node.netfilter, world),
            };
            done.map_err(|error| failure(Operation::SetPolicy, policy::table_name(world), &error))?;
            Ok(NetReply::Done)
        }
        NetRequest::Trace { slot, world, on } => {
            let node = nodes.get_mut(&slot).ok_or_else(|| unknown(slot))?;
            let done = policy::trace::switch(&mut node.netfilter, world, on);
            done.map_err(|error| failure(Operation::ProveFlows, policy::trace::name(world), &error))?;
            Ok(NetReply::Done)
        }
        NetRequest::Rules { slot, world, policy } => {
            let node = nodes.get_mut(&slot).ok_or_else(|| unknown(slot))?;
            let held = policy::rules(&mut node.netfilter, world, &policy)
                .map_err(|error| failure(Operation::ProveFlows, policy::table_name(world), &error))?;
            Ok(NetReply::Rules(held.into_iter().map(named).collect()))
        }
        NetRequest::Run { slot, operations } => run_operations(nodes, slot, &operations).map(|()| NetReply::Done),
    }
}

fn named(rule: policy::HeldRule) -> RuleName {
    let policy::HeldRule { family, chain, place, handle, text } = rule;
    let text = text.unwrap_or_else(|| format!("rule {} of {chain}, which is not the policy's", place + 1));
    RuleName { bridge: family == policy::model::Family::Bridge, handle, text }
}

fn unknown(slot: Slot) -> Failure {
    Failure { operation: Operation::Observe, object: format!("slot {slot}"), errno: nix::libc::ENOENT }
}

fn failure(operation: Operation, object: String, error: &NetlinkError) -> Failure {
    Failure { operation, object, errno: error.errno() }
}

/// Links that are removed in one request. The kernel waits for all readers once for each request and once more for each bridge
/// (net/bridge/br_multicast.c, `br_multicast_dev_del`), and nobody else changes links meanwhile.
const LEAVING_AT_ONCE: usize = 8;

/// Links go first, then other removals one by one, because what is already gone is as good as removed; all else goes in one batch.
fn run_operations(nodes: &mut HashMap<Slot, Node>, slot: Slot, operations: &[NetOperation]) -> Result<(), Failure> {
    let (mut leaving, mut removals, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for operation in operations {
        match operation {
            NetOperation::DeleteLink { index, .. } => leaving.push((*index, operation)),
            NetOperation::DeleteAddress { .. } | NetOperation::DeleteRoute(_) | NetOperation::DeleteRule(_) => {
                removals.push((encode(nodes, operation)?, operation));
            }
            _ => others.push((encode(nodes, operation)?, operation)),
        }
    }
    let node = nodes.get_mut(&slot).ok_or_else(|| unknown(slot))?;
    for links in leaving.chunks(LEAVING_AT_ONCE) {
        remove_links(&mut node.route, links)?;
    }
    for (request, operation) in removals {
        accept_gone(node.route.batch(vec![request])).map_err(|error| refused(operation, &error))?;
    }
    let (batch, places): (_, Vec<_>) = others.into_iter().unzip();
    node.route.batch(batch).map_err(|error| {
        let place = if let NetlinkError::Refused(refused) = &error { refused.index } else { 0 };
        places.get(place).map_or_else(|| unknown(slot), |operation| refused(operation, &error))
    })
}

/// Removes links of one namespace at once.
fn remove_links(route: &mut Netlink, links: &[(u32, &NetOperation)]) -> Result<(), Failure> {
    let Some((first, operation)) = links.first() else { return Ok(()) };
    let done = if links.len() == 1 {
        accept_gone(route.batch(vec![request::delete_link(*first)]))
    } else {
        let marks = links.iter().map(|(index, _)| request::mark_leaving(*index)).collect();
        accept_gone(route.batch(marks)).and_then(|()| accept_gone(route.batch(vec![request::delete_leaving()])))
    };
    done.map_err(|error| refused(operation, &error))
}

fn accept_gone(done: Result<(), NetlinkError>) -> Result<(), NetlinkError> {
    match done {
        Err(NetlinkError::Refused(refused)) if is_gone(refused.errno) => Ok(()),
        done => done,
    }
}

fn refused(operation: &NetOperation, error: &NetlinkError) -> Failure {
    let (operation, object) = operation.describe();
    failure(operation, object, error)
}

fn is_gone(errno: i32) -> bool {
    matches!(errno, nix::libc::ENODEV | nix::libc::EADDRNOTAVAIL | nix::libc::ESRCH | nix::libc::ENOENT)
}

fn encode(nodes: &HashMap<Slot, Node>, operation: &NetOperation) -> Result<Request, Failure> {
    Ok(match operation {
        NetOperation::LoopbackUp => request::loopback_up(),
        NetOperation::CreateBridge { index, name, mac } => request::create_bridge(*index, name, *mac),
        NetOperation::CreateCable { index, name, mac, peer, peer_index, peer_name, peer_mac } => {
            let peer = nodes.get(peer).ok_or_else(|| unknown(*peer))?;
            let here = End { index: *index, name, mac: *mac };
            let there = End { index: *peer_index, name: peer_name, mac: *peer_mac };
            request::create_cable(here, there, peer.ns.as_raw_fd())
        }
        NetOperation::SetLink { index, alias, master, mac, up, .. } => {
            request::set_link(*index, &LinkSettings { alias: alias.clone(), master: *master, mac: *mac, up: *up })
        }
        NetOperation::DeleteLink { index, .. } => request::delete_link(*index),
        NetOperation::AddAddress { index, address, .. } => request::add_address(*index, *address),
        NetOperation::DeleteAddress { index, address, .. } => request::delete_address(*index, *address),
        NetOperation::AddRoute(route) => request::add_route(route),
        NetOperation::DeleteRoute(route) => request::delete_route(route),
        NetOperation::AddRule(rule) => request::add_rule(rule),
        NetOperation::DeleteRule(rule) => request::delete_rule(rule),
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::sys::netns;

    /// Links that leave, one of them gone already; one left by a process that died between two requests; one that stays.
    #[test]
    fn links_leave_together_and_no_other_goes_with_them() {
        const MAKE: &str = "for n in $(seq 100 139); do
                ip link add b$n index $n type bridge
                ip link add v$n index 1$n master b$n type veth peer name p$n
            done
            ip link add left group 0x4e45ffff type bridge
            ip link add stays group 7 type bridge
            ip link delete v103";
        let inside = || {
            netns::unshare_net().expect("root makes a namespace");
            let made = Command::new("sh").args(["-ec", MAKE]).status().expect("a shell");
            assert!(made.success());
            let mut socket = Netlink::new(netns::netlink(netns::Netlink::Route).expect("a socket"));
            let leaves = |index: u32| NetOperation::DeleteLink { index, name: format!("b{index}") };
            let operations: Vec<_> = (100..140).flat_map(|n| [leaves(n), leaves(1000 + n)]).collect();
            let links: Vec<_> = operations
                .iter()
                .map(|operation| match operation {
                    NetOperation::DeleteLink { index, .. } => (*index, operation),
                    _ => unreachable!("removals alone"),
                })
                .collect();
            for links in links.chunks(LEAVING_AT_ONCE) {
                remove_links(&mut socket, links).expect("they leave");
            }
            remove_links(&mut socket, &links).expect("what is gone is as good as removed");
            let there = Command::new("ip").args(["-br", "link"]).output().expect("ip");
            let there = String::from_utf8(there.stdout).expect("text");
            let names: Vec<_> = there.lines().filter_map(|line| line.split_whitespace().next()).collect();
            assert_eq!(names, ["lo", "stays"]);
        };
        std::thread::scope(|scope| scope.spawn(inside).join().expect("no panic inside"));
    }
}
