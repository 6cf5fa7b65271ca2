//! Sections `identity_platform`, `identity_inworld` and `operator.auth`.

use super::{Check, ORGS};
use crate::model::PeerMode;

pub(super) fn check(check: &mut Check) {
    let spec = check.spec;
    let orgs = check.org_names();
    let groups = &spec.identity_inworld.org_users;
    check.unique(
        "the list of users of",
        groups
            .iter()
            .enumerate()
            .map(|(index, group)| (format!("identity_inworld.org_users[{index}].org"), &group.org)),
    );
    for (index, group) in groups.iter().enumerate() {
        let path = format!("identity_inworld.org_users[{index}]");
        check.refers(&format!("{path}.org"), group.org.as_str(), "organisation", ORGS, &orgs);
        let users = group.users.iter().enumerate();
        check
            .unique("the user", users.map(|(index, user)| (format!("{path}.users[{index}].username"), &user.username)));
    }
    let realm = spec.identity_inworld.realm_name.as_str();
    if orgs.contains(realm) && check.knows(ORGS) {
        let message = format!("the realm `{realm}` is also the realm of the organisation of that name");
        check.error("identity_inworld.realm_name", message, None);
    }
    let platform = &spec.identity_platform;
    let issuer = format!("https://{}/realms/{}", platform.canonical_name, platform.realm_name);
    let is_other =
        spec.operator.auth.issuer.as_ref().is_some_and(|given| given.as_str().trim_end_matches('/') != issuer);
    // A federated world may have it.
    let is_federated = spec.gateway_portal.cross_world.joins().any(|(_, mode)| mode == PeerMode::Federated);
    if is_other && !is_federated && check.trusts("identity_platform") {
        let message = "tokens of this issuer are not the platform realm's; nobody in the world can get one".to_owned();
        check.warn("operator.auth.issuer", message, Some(format!("the platform's issuer is {issuer}")));
    }
}
