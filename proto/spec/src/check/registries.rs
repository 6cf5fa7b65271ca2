//! Sections `world_registry` and `domain_registry`, and the top-level domains of `dns`.

use std::collections::{HashMap, HashSet};

use super::{Check, DOMAINS, ORGS, PROFILES, TLDS};
use crate::model::{AndProfile, Capability, DomainRegistry, Organization};

pub(super) fn check(check: &mut Check) {
    let spec = check.spec;
    let registry = &spec.world_registry;
    let orgs = registry.organizations.iter().enumerate();
    check.unique("the organisation", orgs.map(|(index, org)| (format!("{ORGS}[{index}].name"), &org.name)));
    let operators = registry.operators.iter().enumerate();
    check.unique(
        "the operator",
        operators.map(|(index, user)| (format!("world_registry.operators[{index}].username"), &user.username)),
    );
    let profiles: HashSet<&str> = profile_names(check);
    for (index, org) in registry.organizations.iter().enumerate() {
        let path = format!("{ORGS}[{index}].and_profile");
        check.refers(&path, org.and_profile.as_str(), "profile", PROFILES, &profiles);
    }
    let tlds = spec.dns.tlds.iter().enumerate();
    check.unique("the top-level domain", tlds.map(|(index, tld)| (format!("{TLDS}[{index}].name"), &tld.name)));
    domains(check, &spec.domain_registry);
}

/// Built-in and declared profiles.
pub(super) fn profile_names<'a>(check: &Check<'a>) -> HashSet<&'a str> {
    let spec: &'a crate::Spec = check.spec;
    let declared = spec.ands.profiles.keys().map(|name| name.as_str());
    declared.chain(AndProfile::BUILT_IN).collect()
}

/// The organisations by name, each with its index.
pub(super) fn by_name<'a>(check: &Check<'a>) -> HashMap<&'a str, (usize, &'a Organization)> {
    let spec: &'a crate::Spec = check.spec;
    let orgs = spec.world_registry.organizations.iter().enumerate();
    orgs.map(|(index, org)| (org.name.as_str(), (index, org))).collect()
}

fn domains(check: &mut Check, registry: &DomainRegistry) {
    let spec = check.spec;
    let tlds: HashSet<&str> = spec.dns.tlds.iter().map(|tld| tld.name.as_str()).collect();
    let orgs = check.org_names();
    let delegations = registry.tld_delegations.iter().enumerate();
    check.unique(
        "the delegation of",
        delegations.map(|(index, entry)| (format!("domain_registry.tld_delegations[{index}].tld"), &entry.tld)),
    );
    for (index, delegation) in registry.tld_delegations.iter().enumerate() {
        let path = format!("domain_registry.tld_delegations[{index}]");
        check.refers(&format!("{path}.tld"), delegation.tld.as_str(), "top-level domain", TLDS, &tlds);
        let governor = delegation.governed_by.as_str();
        let is_platform = matches!(governor, "platform" | "registry" | "registrar" | "domain_registry");
        if !is_platform && !orgs.contains(governor) && check.knows(ORGS) {
            let message = format!("`{governor}` is neither an organisation nor `platform`");
            check.warn(&format!("{path}.governed_by"), message, None);
        }
    }
    let initial = registry.initial_domains.iter().enumerate();
    check.unique("the domain", initial.map(|(index, entry)| (format!("{DOMAINS}[{index}].domain"), &entry.domain)));
    let holders: HashMap<&str, (usize, &Organization)> = by_name(check);
    for (index, entry) in registry.initial_domains.iter().enumerate() {
        let path = format!("{DOMAINS}[{index}]");
        let name = entry.domain.as_str();
        match name.rsplit_once('.') {
            Some((_, tld)) => {
                check.refers(&format!("{path}.domain"), tld, "top-level domain", TLDS, &tlds);
            }
            None => {
                let message = format!("`{name}` has no top-level domain");
                check.error(&format!("{path}.domain"), message, Some(format!("write `{name}.TLD`")));
            }
        }
        check.refers(&format!("{path}.org"), entry.org.as_str(), "organisation", ORGS, &orgs);
        let holder = holders.get(entry.org.as_str());
        if let Some((at, org)) = holder.filter(|(_, org)| !org.capabilities.contains(&Capability::RegisterDomains))
            && check.trusts(&format!("{ORGS}[{at}]"))
        {
            let message = format!("the organisation `{}` holds a domain but may not register any", org.name);
            let help = Some("give it the capability `register_domains`, or leave it at this domain".to_owned());
            check.warn(&format!("{path}.org"), message, help);
        }
    }
}
