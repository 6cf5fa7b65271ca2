//! Listen addresses: each in a network, a host address, used once; canonical names likewise.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::Ipv4Addr,
};

use super::{Check, networks::special};

pub(super) fn check(check: &mut Check) {
    let mut used: HashMap<Ipv4Addr, String> = HashMap::new();
    for view in check.spec.networks() {
        let path = match view.name.as_str() {
            "platform" => "substrate.gateway.platform_ip".to_owned(),
            "core" => "substrate.gateway.core_ip".to_owned(),
            name => format!("substrate.networks.{name}"),
        };
        once(check, &mut used, path, view.gateway);
    }
    let networks_are_known = check.knows_networks();
    let listening = check.spec.listen_addresses();
    for listen in &listening {
        let label = label(check, &listen.path, listen.v4);
        match check.spec.network_of(listen.v4) {
            Some((name, network)) => {
                if let Some(what) = special(listen.v4, network.subnet) {
                    let message = format!("{label} is the {what} address of the network `{name}` ({})", network.subnet);
                    check.error(&listen.path, message, None);
                }
            }
            None if networks_are_known => {
                let networks = check.spec.substrate.networks.iter();
                let list: Vec<String> = networks.map(|(name, net)| format!("{name} {}", net.subnet)).collect();
                let help = Some(format!("the networks are {}", list.join(", ")));
                check.error(&listen.path, format!("{label} lies in no network of the world"), help);
            }
            None => {}
        }
        once(check, &mut used, listen.path.clone(), listen.v4);
    }
    // Name servers are named after their zones; everything else has a name of its own.
    let named = listening.iter().filter(|listen| !listen.path.starts_with("dns."));
    let names: Vec<(String, &str)> =
        named.map(|listen| (listen.path.replace("listen_ip", "canonical_name"), listen.name.as_str())).collect();
    check.unique("the service name", names.into_iter());
}

/// Notes an address that something else has.
fn once(check: &mut Check, used: &mut HashMap<Ipv4Addr, String>, path: String, address: Ipv4Addr) {
    if !check.trusts(&path) {
        return;
    }
    let other = match used.entry(address) {
        Entry::Vacant(vacant) => {
            vacant.insert(path);
            return;
        }
        Entry::Occupied(occupied) => occupied.get().clone(),
    };
    // The finding belongs where the user wrote the address, not at the section whose default it meets.
    let (path, other) =
        if check.is_declared(&path) || !check.is_declared(&other) { (path, other) } else { (other, path) };
    let of_default = if check.is_declared(&other) { "" } else { " (its default)" };
    let label = label(check, &path, address);
    check.error(&path, format!("{label} is used twice; `{other}` has it too{of_default}"), None);
}

fn label(check: &Check, path: &str, address: Ipv4Addr) -> String {
    if check.is_declared(path) { address.to_string() } else { format!("{address}, the default of `{path}`,") }
}
