//! The provider's HTTP interface, with Keycloak's paths.
#![allow(clippy::result_large_err, reason = "the error is the answer itself, moved once")]

mod admin;
mod device;
mod front;
mod login;
mod logout;
mod oauth;
pub mod page;
pub mod reply;
pub mod request;

use std::net::IpAddr;

use hyper::{Method, Request, StatusCode, body::Bytes, header, http::uri::Authority};

use self::{
    reply::{Reply, empty, json_reply, open_to_scripts, refused, set, style, text},
    request::{Incoming, Moment},
};
use crate::{
    metadata,
    provider::{ChangeError, Provider},
    refusal::{ErrorCode, Refusal},
};

/// A store that fails, as clients see it.
fn failed(error: &ChangeError) -> Refusal {
    tracing::error!(error = %error, source = ?std::error::Error::source(error), "a change is not stored");
    Refusal::new(ErrorCode::ServerError, "cannot store the change")
}

impl Provider {
    /// Answers one request. `source` is the peer's address; the body is whole and bounded by the caller.
    pub async fn handle(&self, source: IpAddr, moment: Moment, request: Request<Bytes>) -> Reply {
        if !self.is_own_host(&request) {
            return text(StatusCode::MISDIRECTED_REQUEST, "there is no such host here\n");
        }
        match Incoming::read(source, moment, request) {
            Ok(incoming) => self.route(&incoming).await,
            Err(refusal) => refused(&refusal),
        }
    }

    /// Whether the request is for the issuer's own name: nothing is ever made from what a peer says our name is, and
    /// nothing is served under another.
    fn is_own_host(&self, request: &Request<Bytes>) -> bool {
        let mut hosts = request.headers().get_all(header::HOST).iter();
        let host = hosts.next().and_then(|value| value.to_str().ok());
        if hosts.next().is_some() {
            return false;
        }
        let named = request.uri().authority().map(Authority::as_str);
        let is_own = |name: &str| {
            let name = name.to_ascii_lowercase();
            let default_port = if self.is_secure { ":443" } else { ":80" };
            name == self.authority || name.strip_suffix(default_port) == Some(&self.authority)
        };
        host.is_some_and(is_own) && named.is_none_or(is_own)
    }

    async fn route(&self, incoming: &Incoming) -> Reply {
        let path: Vec<&str> = incoming.path.iter().map(String::as_str).collect();
        let (get, post) = (&[Method::GET, Method::HEAD][..], &[Method::POST][..]);
        let both = &[Method::GET, Method::HEAD, Method::POST][..];
        if let ["admin", "realms", realm, rest @ ..] = &path[..] {
            return self.admin(realm, rest, incoming).await;
        }
        let ["realms", realm, rest @ ..] = &path[..] else {
            return text(StatusCode::NOT_FOUND, "not found\n");
        };
        if self.read(realm, |_| ()).is_none() {
            return text(StatusCode::NOT_FOUND, "not found\n");
        }
        let (allowed, is_for_scripts) = match rest {
            [".well-known", "openid-configuration"] | ["protocol", "openid-connect", "certs"] => (get, true),
            ["protocol", "openid-connect", "token" | "revoke"] => (post, true),
            ["protocol", "openid-connect", "userinfo"] => (both, true),
            ["protocol", "openid-connect", "auth" | "logout"] | ["device"] => (both, false),
            ["protocol", "openid-connect", "auth", "device"]
            | ["protocol", "openid-connect", "token", "introspect"] => (post, false),
            ["login-actions", "authenticate" | "consent" | "logout"] => (post, false),
            ["clients-registrations", "openid-connect"] => (post, false),
            ["clients-registrations", "openid-connect", _] => (&[Method::GET, Method::PUT, Method::DELETE][..], false),
            ["style.css"] => (get, false),
            _ => return text(StatusCode::NOT_FOUND, "not found\n"),
        };
        if is_for_scripts && incoming.method == Method::OPTIONS {
            let mut reply = open_to_scripts(empty(StatusCode::NO_CONTENT));
            set(&mut reply, header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type");
            set(&mut reply, header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST");
            return reply;
        }
        if !allowed.contains(&incoming.method) {
            let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
            let list: Vec<&str> = allowed.iter().map(Method::as_str).collect();
            set(&mut reply, header::ALLOW, &list.join(", "));
            return reply;
        }
        let reply = match rest {
            [".well-known", _] => self.cacheable(realm, metadata::discovery),
            ["protocol", _, "certs"] => match self.prepare(realm, incoming.moment.unix_s).await {
                Ok(()) => self.cacheable(realm, |realm| realm.keys.jwks()),
                Err(error) => refused(&failed(&error)),
            },
            ["protocol", _, "auth"] => self.authorize(realm, incoming).await,
            ["protocol", _, "token"] => self.token(realm, incoming).await,
            ["protocol", _, "userinfo"] => self.user_info(realm, incoming),
            ["protocol", _, "logout"] => self.logout(realm, incoming).await,
            ["protocol", _, "revoke"] => self.revoke(realm, incoming).await,
            ["protocol", _, "auth", "device"] => self.device_code(realm, incoming).await,
            ["protocol", _, "token", "introspect"] => self.introspect(realm, incoming),
            ["device"] => self.device_page(realm, incoming).await,
            ["login-actions", "authenticate"] => self.authenticate(realm, incoming).await,
            ["login-actions", "consent"] => self.consent(realm, incoming).await,
            ["login-actions", _] => self.confirm_logout(realm, incoming).await,
            ["clients-registrations", _] => self.register(realm, incoming).await,
            ["clients-registrations", _, client] => self.registered(realm, client, incoming).await,
            _ => style(page::STYLE),
        };
        if is_for_scripts { open_to_scripts(reply) } else { reply }
    }

    /// A document that clients may keep a little while: shorter than a retired key is served.
    fn cacheable(&self, realm: &str, document: impl FnOnce(&crate::realm::Realm) -> serde_json::Value) -> Reply {
        let Some(body) = self.read(realm, document) else { return text(StatusCode::NOT_FOUND, "not found\n") };
        let mut reply = json_reply(StatusCode::OK, &body);
        reply.headers_mut().remove(header::PRAGMA);
        set(&mut reply, header::CACHE_CONTROL, "public, max-age=60");
        reply
    }
}
