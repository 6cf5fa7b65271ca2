//! The ten phases: their names, and why most have nothing to do yet.

use netengine_proto::api::PhaseState;
use netengine_spec::Spec;

/// Names of the phases, by number.
pub const NAMES: [&str; 10] = [
    "substrate",
    "dns root",
    "dns tlds",
    "pki",
    "platform identity",
    "registries",
    "in-world identity",
    "ands",
    "world services",
    "org apps",
];

/// The last phase.
pub const LAST: u8 = 9;

/// Phases that this release brings up: those below.
const EFFECTIVE: u8 = 8;

/// The phase from which a world has name servers for its root.
pub const ROOT: u8 = 1;
/// The phase from which a world's networks have a resolver: its hosts look names up.
pub const NAMES_RESOLVE: u8 = 2;
/// The phase of the ACME server.
pub const PKI: u8 = 3;
/// The phase of the platform's OpenID provider.
pub const PLATFORM_IDENTITY: u8 = 4;
/// The phase of the registries.
pub const REGISTRIES: u8 = 5;
/// The phase of the organisations' OpenID provider.
pub const INWORLD_IDENTITY: u8 = 6;
/// The phase of the Administrative Network Domains.
pub const ANDS: u8 = 7;

/// How a phase stands before anything was done.
///
/// A phase without effect is never `done`: it is `skipped`, and the reason says whether the spec asks for nothing, the
/// caller did not ask for it, or this release cannot do it.
pub fn initial(spec: &Spec, phase: u8, up_to: u8) -> (PhaseState, String) {
    if phase > up_to {
        return (PhaseState::Skipped, format!("not asked for (--up-to {up_to})"));
    }
    match idle(spec, phase) {
        Some(reason) => (PhaseState::Skipped, format!("nothing to do: {reason}")),
        None if phase < EFFECTIVE => (PhaseState::Pending, String::new()),
        None => (PhaseState::Skipped, "not in this release".to_owned()),
    }
}

/// The phases that this `up` brings up.
pub fn effective(spec: &Spec, up_to: u8) -> impl Iterator<Item = u8> + '_ {
    (0..=LAST).filter(move |phase| initial(spec, *phase, up_to).0 == PhaseState::Pending)
}

/// What the routers' own resolver is for: hosts that look names up.
pub fn names_resolve(up_to: u8) -> bool {
    up_to >= NAMES_RESOLVE
}

/// Why the spec asks nothing of a phase.
fn idle(spec: &Spec, phase: u8) -> Option<&'static str> {
    let reason = |idle: bool, why| idle.then_some(why);
    match phase {
        1 => reason(!spec.dns.root.enabled, "dns.root is disabled in the spec"),
        3 => reason(!spec.pki.acme.enabled, "pki.acme is disabled in the spec"),
        5 => reason(
            !spec.world_registry.enabled && !spec.domain_registry.enabled,
            "world_registry and domain_registry are disabled in the spec",
        ),
        7 => reason(spec.ands.instances.is_empty(), "ands.instances is empty in the spec"),
        8 => {
            let services = &spec.world_services;
            reason(!services.mail.enabled && !services.storage.enabled, "mail and storage are disabled in the spec")
        }
        9 => {
            let apps = &spec.org_apps;
            let none = "org_apps.deployments is empty in the spec";
            if apps.enabled {
                reason(apps.deployments.is_empty(), none)
            } else {
                Some("org_apps is disabled in the spec")
            }
        }
        _ => None,
    }
}
