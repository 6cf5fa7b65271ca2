//! Logout that a client asks for (OpenID Connect RP-Initiated Logout).

use hyper::{Method, StatusCode};
use serde_json::Value;

use super::{
    failed,
    front::message,
    page,
    reply::{Reply, redirect, refused},
    request::Incoming,
};
use crate::{
    form::{Params, with_query},
    provider::Provider,
    token::open_hint,
};

/// What a logout request means.
struct Meant {
    /// The session of the hint.
    sid: Option<String>,
    /// Where the browser goes afterwards: registered by the client of the hint or the one named.
    to: Option<String>,
}

impl Provider {
    /// `logout`.
    pub(super) async fn logout(&self, realm: &str, incoming: &Incoming) -> Reply {
        let params = if incoming.method == Method::POST { incoming.form() } else { Ok(incoming.query.clone()) };
        let params = match params {
            Ok(params) => params,
            Err(refusal) => return message(realm, StatusCode::BAD_REQUEST, "Bad request", &refusal.text),
        };
        let meant = match self.meant(realm, &params) {
            Ok(meant) => meant,
            Err(text) => return message(realm, StatusCode::BAD_REQUEST, "Cannot log out", text),
        };
        let own = self.session(realm, incoming).map(|session| session.id);
        match (&meant.sid, &own) {
            // Without a hint of this very session anybody's link could log people out: ask.
            (None, Some(_)) => self.ask_logout(realm, incoming, &params),
            (Some(sid), Some(own)) if sid != own => self.ask_logout(realm, incoming, &params),
            (Some(sid), _) => self.finish(realm, incoming, Some(sid), meant.to.as_deref()).await,
            (None, None) => self.finish(realm, incoming, None, meant.to.as_deref()).await,
        }
    }

    /// The user said yes.
    pub(super) async fn confirm_logout(&self, realm: &str, incoming: &Incoming) -> Reply {
        let form = incoming.form().unwrap_or_default();
        if !self.is_own_form(realm, incoming, &form) {
            return message(realm, StatusCode::FORBIDDEN, "Please try again", "This page was open too long.");
        }
        let to = match self.meant(realm, &incoming.query) {
            Ok(meant) => meant.to,
            Err(text) => return message(realm, StatusCode::BAD_REQUEST, "Cannot log out", text),
        };
        let own = self.session(realm, incoming).map(|session| session.id);
        self.finish(realm, incoming, own.as_deref(), to.as_deref()).await
    }

    /// Reads a logout request. An address counts only when the client that is named, or that the hint was made for,
    /// has registered it.
    fn meant(&self, realm: &str, params: &Params) -> Result<Meant, &'static str> {
        let found = self.read(realm, |realm| {
            let hint = match params.get("id_token_hint") {
                Some(token) => Some(open_hint(realm, token).ok_or("The request carries a token that is not ours.")?),
                None => None,
            };
            let claim = |name: &str| hint.as_ref().and_then(|claims| claims.get(name)).and_then(Value::as_str);
            let client_id = match (claim("aud"), params.get("client_id")) {
                (Some(a), Some(b)) if a != b => return Err("The request names two applications."),
                (a, b) => a.or(b),
            };
            let to = match params.get("post_logout_redirect_uri") {
                None => None,
                Some(uri) => {
                    let client = client_id.and_then(|id| realm.clients.get(id));
                    if !client.is_some_and(|client| client.post_logout_redirect_uris.contains(uri)) {
                        return Err("The application gave an address that is not its own.");
                    }
                    let state: Vec<(&str, &str)> =
                        params.get("state").map(|state| ("state", state)).into_iter().collect();
                    Some(if state.is_empty() { uri.to_owned() } else { with_query(uri, &state) })
                }
            };
            Ok(Meant { sid: claim("sid").map(str::to_owned), to })
        });
        found.unwrap_or(Err("There is no such realm."))
    }

    fn ask_logout(&self, realm: &str, incoming: &Incoming, params: &Params) -> Reply {
        let token = self.form_token(realm, incoming);
        let action = format!("/realms/{realm}/login-actions/logout?{}", params.to_query());
        let page = page::Logout { realm, action: &action, csrf: &token.value };
        let reply = page::show(StatusCode::OK, &page, params.get("post_logout_redirect_uri"));
        token.bind(reply)
    }

    async fn finish(&self, realm: &str, incoming: &Incoming, sid: Option<&str>, to: Option<&str>) -> Reply {
        if let Some(sid) = sid
            && let Err(error) = self.end_session(realm, sid, incoming.moment.unix_s).await
        {
            return refused(&failed(&error));
        }
        let mut reply = match to {
            Some(to) => redirect(to),
            None => message(realm, StatusCode::OK, "Logged out", "You are logged out."),
        };
        self.clear_session(realm, &mut reply);
        reply
    }
}
