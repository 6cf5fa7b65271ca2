//! The table that switches tracing on.

use std::collections::BTreeSet;

use netengine_lab_proto::{Family, Hook};

use crate::text::Listing;

/// Its name in every family.
pub const TRACER: &str = "netengine_trace";

/// Tracing for IPv4 and IPv6: always there, so that each hook a packet reached is known, even where the ruleset has no chain.
pub const INET_TRACER: &str = "table inet netengine_trace {
 chain prerouting { type filter hook prerouting priority -2147483648; meta nftrace set 1; }
 chain input { type filter hook input priority -2147483648; meta nftrace set 1; }
 chain forward { type filter hook forward priority -2147483648; meta nftrace set 1; }
 chain output { type filter hook output priority -2147483648; meta nftrace set 1; }
 chain postrouting { type filter hook postrouting priority -2147483648; meta nftrace set 1; }
}
";

/// Tracing for the other families' hooks, those in use.
pub fn further_tracer(listing: &Listing) -> Option<String> {
    let mut chains: BTreeSet<(Family, &'static str, Option<&str>)> = BTreeSet::new();
    for ((family, ..), base) in &listing.bases {
        let hook = base.hook.as_str();
        match (family, base.hook) {
            (_, Hook::Ingress | Hook::Egress) => {
                chains.extend(base.devices.iter().map(|device| (Family::Netdev, hook, Some(device.as_str()))));
            }
            (Family::Bridge | Family::Arp, _) => {
                chains.insert((*family, hook, None));
            }
            _ => {}
        }
    }
    let mut text = String::new();
    for (number, (family, hook, device)) in chains.iter().enumerate() {
        let family = family.as_str();
        let device = device.map(|name| format!(" device \"{name}\"")).unwrap_or_default();
        text += &format!(
            "table {family} {TRACER} {{\n chain {hook}_{number} {{ type filter hook {hook}{device} priority -2147483648; \
             meta nftrace set 1; }}\n}}\n"
        );
    }
    (!text.is_empty()).then_some(text)
}
