//! Section `ands`.

use std::collections::HashMap;

use super::{
    Check, INSTANCES, ORGS, POOLS, PROFILES,
    registries::{by_name, profile_names},
};

pub(super) fn check(check: &mut Check) {
    let spec = check.spec;
    let instances = &spec.ands.instances;
    let path = |index: usize, key: &str| format!("{INSTANCES}[{index}].{key}");
    check.unique("the AND", instances.iter().enumerate().map(|(index, and)| (path(index, "name"), &and.name)));
    let suffixes = instances.iter().enumerate();
    check.unique(
        "the zone",
        suffixes.filter_map(|(index, and)| and.dns_suffix.as_ref().map(|suffix| (path(index, "dns_suffix"), suffix))),
    );
    let (orgs, profiles) = (check.org_names(), profile_names(check));
    let owners = by_name(check);
    for (index, and) in instances.iter().enumerate() {
        if spec.substrate.networks.keys().any(|network| network.as_str() == and.name.as_str()) {
            let message =
                format!("`{}` is already the name of a network; WORLD/{} would mean both", and.name, and.name);
            check.error(&path(index, "name"), message, None);
        }
        check.refers(&path(index, "org"), and.org.as_str(), "organisation", ORGS, &orgs);
        check.refers(&path(index, "profile"), and.profile.as_str(), "profile", PROFILES, &profiles);
        if let Some((at, org)) = owners.get(and.org.as_str()).filter(|(_, org)| org.and_profile != and.profile)
            && check.trusts(&format!("{ORGS}[{at}].and_profile"))
            && profiles.contains(and.profile.as_str())
        {
            let message = format!("the profile `{}` differs from that of its organisation `{}`", and.profile, and.org);
            let help = Some(format!("the organisation's `and_profile` is `{}`", org.and_profile));
            check.warn(&path(index, "profile"), message, help);
        }
    }
    leases(check);
}

/// Each AND needs a /24 (or a whole smaller pool) of a pool that serves its profile.
fn leases(check: &mut Check) {
    let spec = check.spec;
    if !check.knows(POOLS) {
        return;
    }
    let profiles = profile_names(check);
    let mut left: HashMap<&str, u64> = HashMap::new();
    for pool in &spec.domain_registry.address_space {
        for profile in pool.profiles() {
            *left.entry(profile).or_default() += 1 << 24u8.saturating_sub(pool.cidr.prefix_len());
        }
    }
    for (index, and) in spec.ands.instances.iter().enumerate() {
        let profile = and.profile.as_str();
        let path = format!("{INSTANCES}[{index}].profile");
        if !profiles.contains(profile) || !check.trusts(&path) {
            continue;
        }
        let leases = left.entry(profile).or_default();
        match leases.checked_sub(1) {
            Some(rest) => *leases = rest,
            None => {
                let message = format!("no network is left for this AND in the pools of the profile `{profile}`");
                let help = Some(format!("append a pool with `label: {profile}-pool` to `{POOLS}`"));
                check.error(&path, message, help);
            }
        }
    }
}
