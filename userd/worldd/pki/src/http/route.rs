//! What a path means.

use crate::{
    acme::{ChallengeKind, Command, Id, Urls},
    ca::Serial,
};

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// `GET`.
    Directory,
    /// `HEAD` and `GET`.
    NewNonce,
    /// `GET`.
    RenewalInfo(String),
    /// `POST`.
    Command(Command),
}

/// What is at this path; `None` for nothing.
pub(super) fn route(path: &str, query: Option<&str>) -> Option<Route> {
    let path = path.strip_prefix(Urls::PREFIX)?.strip_prefix('/')?;
    let parts: Vec<&str> = path.splitn(4, '/').collect();
    if let ["account", id, "orders"] = parts[..] {
        let after = match query {
            None => None,
            Some(query) => Some(Id::parse(query.strip_prefix("after=")?)?),
        };
        return Some(Route::Command(Command::Orders(Id::parse(id)?, after)));
    }
    if query.is_some() {
        return None;
    }
    Some(match parts[..] {
        ["directory"] => Route::Directory,
        ["new-nonce"] => Route::NewNonce,
        ["renewal-info", id] => Route::RenewalInfo(id.to_owned()),
        ["new-account"] => Route::Command(Command::NewAccount),
        ["new-order"] => Route::Command(Command::NewOrder),
        ["revoke-cert"] => Route::Command(Command::Revoke),
        ["key-change"] => Route::Command(Command::KeyChange),
        ["account", id] => Route::Command(Command::Account(Id::parse(id)?)),
        ["order", id] => Route::Command(Command::Order(Id::parse(id)?)),
        ["order", id, "finalize"] => Route::Command(Command::Finalize(Id::parse(id)?)),
        ["authz", id] => Route::Command(Command::Authorization(Id::parse(id)?)),
        ["challenge", id, kind] => Route::Command(Command::Challenge(Id::parse(id)?, ChallengeKind::named(kind)?)),
        ["certificate", serial] => Route::Command(Command::Certificate(Serial::from_hex(serial)?)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_mean_one_thing() {
        let id = Id::new([7; 16]);
        let at = |path: &str| route(&format!("/acme/acme/{path}"), None);
        assert_eq!(at("directory"), Some(Route::Directory));
        assert_eq!(at(&format!("order/{id}/finalize")), Some(Route::Command(Command::Finalize(id.clone()))));
        assert_eq!(
            at(&format!("challenge/{id}/tls-alpn-01")),
            Some(Route::Command(Command::Challenge(id.clone(), ChallengeKind::TlsAlpn01)))
        );
        let listed = route(&format!("/acme/acme/account/{id}/orders"), Some(&format!("after={id}")));
        assert_eq!(listed, Some(Route::Command(Command::Orders(id.clone(), Some(id.clone())))));
        for nothing in ["", "order", "order/short", "order/..", "directory/", "new-order/x", "certificate/00"] {
            assert_eq!(at(nothing), None, "{nothing}");
        }
        assert_eq!(at(&format!("order/{id}/finalize/more")), None);
        assert_eq!(route("/acme/acme/new-order", Some("x=1")), None);
        assert_eq!(route("/directory", None), None);
    }
}
