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

/// Removals go one by one, because what is already gone is as good as removed; all else goes in one batch.
fn run_operations(nodes: &mut HashMap<Slot, Node>, slot: Slot, operations: &[NetOperation]) -> Result<(), Failure> {
    let mut batch = Vec::new();
    let mut places = Vec::new();
    for operation in operations {
        let request = encode(nodes, operation)?;
        let node = nodes.get_mut(&slot).ok_or_else(|| unknown(slot))?;
        if is_removal(operation) {
            match node.route.batch(vec![request]) {
                Err(NetlinkError::Refused(refused)) if is_gone(refused.errno) => {}
                Err(error) => {
                    let (operation, object) = operation.describe();
                    return Err(failure(operation, object, &error));
                }
                Ok(()) => {}
            }
        } else {
            batch.push(request);
            places.push(operation);
        }
    }
    let node = nodes.get_mut(&slot).ok_or_else(|| unknown(slot))?;
    node.route.batch(batch).map_err(|error| {
        let place = if let NetlinkError::Refused(refused) = &error { refused.index } else { 0 };
        let (operation, object) =
            places.get(place).map_or((Operation::Observe, "a node".into()), |operation| operation.describe());
        failure(operation, object, &error)
    })
}

fn is_removal(operation: &NetOperation) -> bool {
    matches!(
        operation,
        NetOperation::DeleteLink { .. }
            | NetOperation::DeleteAddress { .. }
            | NetOperation::DeleteRoute(_)
            | NetOperation::DeleteRule(_)
    )
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
