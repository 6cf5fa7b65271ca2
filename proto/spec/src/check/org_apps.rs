//! Section `org_apps`.

use std::collections::{HashMap, HashSet};

use super::{CATALOG, Check, DOMAINS, INSTANCES, ORGS, registries::by_name};
use crate::model::{AppScope, Capability, Lifecycle, OrgApps};

pub(super) fn check(check: &mut Check) {
    let spec = check.spec;
    let catalog = &spec.org_apps.catalog;
    check.unique(
        "the application",
        catalog.iter().enumerate().map(|(index, app)| (format!("{CATALOG}[{index}].name"), &app.name)),
    );
    let built_in = OrgApps::BUILT_IN.into_iter().map(|(name, _)| name);
    let apps: HashSet<&str> = catalog.iter().map(|app| app.name.as_str()).chain(built_in).collect();
    let scopes: HashMap<&str, AppScope> = catalog.iter().map(|app| (app.name.as_str(), app.scope)).collect();
    let orgs = check.org_names();
    let owners = by_name(check);
    let with_and: HashSet<&str> = spec.ands.instances.iter().map(|and| and.org.as_str()).collect();
    for (index, deployment) in spec.org_apps.deployments.iter().enumerate() {
        let path = format!("org_apps.deployments[{index}]");
        check.refers(&format!("{path}.org"), deployment.org.as_str(), "organisation", ORGS, &orgs);
        check.refers(&format!("{path}.app"), deployment.app.as_str(), "application", CATALOG, &apps);
        if let Some(scope) = scopes.get(deployment.app.as_str()) {
            in_scope(check, &path, *scope);
        }
        if let Some((at, org)) = owners.get(deployment.org.as_str()) {
            let is_known = check.trusts(&format!("{ORGS}[{at}]"));
            if is_known && !org.capabilities.contains(&Capability::HostServices) {
                let message = format!("the organisation `{}` may not deploy applications", org.name);
                let help = Some("give it the capability `host_services`".to_owned());
                check.error(&format!("{path}.org"), message, help);
            }
            if !with_and.contains(org.name.as_str()) && check.knows(INSTANCES) {
                let message = format!("the organisation `{}` has no AND to deploy on", org.name);
                check.error(&format!("{path}.org"), message, Some(format!("add one to `{INSTANCES}`")));
            }
        }
    }
    addresses(check);
}

fn in_scope(check: &mut Check, path: &str, scope: AppScope) {
    let metadata = &check.spec.metadata;
    let environment = metadata.environment.as_ref().map_or("", |text| text.as_str());
    let refusal = match scope {
        AppScope::DevOnly if !matches!(environment, "dev" | "development") => {
            "is for worlds whose `metadata.environment` is `dev`"
        }
        AppScope::EphemeralOnly if metadata.lifecycle != Lifecycle::Ephemeral => "is for ephemeral worlds",
        _ => return,
    };
    check.error(&format!("{path}.app"), format!("the application {refusal}"), None);
}

/// Each deployment has a domain of its organisation, and an address of its own.
fn addresses(check: &mut Check) {
    let spec = check.spec;
    if !check.knows(DOMAINS) {
        return;
    }
    let holders: HashMap<&str, &str> =
        spec.domain_registry.initial_domains.iter().map(|entry| (entry.domain.as_str(), entry.org.as_str())).collect();
    let mut first: HashMap<&str, &str> = HashMap::new();
    for entry in &spec.domain_registry.initial_domains {
        first.entry(entry.org.as_str()).or_insert(entry.domain.as_str());
    }
    let mut urls = Vec::new();
    for (index, deployment) in spec.org_apps.deployments.iter().enumerate() {
        let path = format!("org_apps.deployments[{index}]");
        if !check.trusts(&path) {
            continue;
        }
        let named = deployment.domain.as_ref().map(|domain| domain.as_str());
        let Some(domain) = named.or_else(|| first.get(deployment.org.as_str()).copied()) else {
            let message = format!("the organisation `{}` has no domain", deployment.org);
            let help = Some(format!("name one in `domain`, or add one to `{DOMAINS}`"));
            check.error(&format!("{path}.org"), message, help);
            continue;
        };
        match holders.get(domain) {
            Some(org) if *org != deployment.org.as_str() => {
                check.error(&format!("{path}.domain"), format!("`{domain}` belongs to the organisation `{org}`"), None);
            }
            Some(_) => {}
            None => {
                let message = format!("`{domain}` is not registered; the deployment waits until it is");
                check.warn(&format!("{path}.domain"), message, Some(format!("add it to `{DOMAINS}`")));
            }
        }
        let name = deployment.subdomain.as_ref().map_or(deployment.app.as_str(), |name| name.as_str());
        let key = if deployment.subdomain.is_some() { "subdomain" } else { "app" };
        urls.push((format!("{path}.{key}"), format!("https://{name}.{domain}")));
    }
    check.unique("the address", urls.into_iter());
}
