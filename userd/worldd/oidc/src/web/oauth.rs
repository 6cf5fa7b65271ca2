//! What clients call themselves: tokens, introspection, revocation, user information, registration.

use hyper::{Method, StatusCode, header};
use serde_json::Value;

use super::{
    failed,
    reply::{Reply, empty, json_reply, refused, set},
    request::Incoming,
};
use crate::{
    client::Client,
    exchange,
    form::Params,
    inspect,
    provider::Provider,
    refusal::{ErrorCode, Refusal},
    registration::{self, Metadata},
    secret::{Kernel, digest, same},
    session,
    token::open_access,
};

/// A result as an answer.
pub(super) fn answer(result: Result<Value, Refusal>) -> Reply {
    match result {
        Ok(body) => json_reply(StatusCode::OK, &body),
        Err(refusal) => refused(&refusal),
    }
}

/// A refused client, with a challenge when it used the header `Authorization` (RFC 6749, 5.2).
pub(super) fn refused_client(incoming: &Incoming, refusal: &Refusal) -> Reply {
    let mut reply = refused(refusal);
    if refusal.code == ErrorCode::InvalidClient && incoming.headers.contains_key(header::AUTHORIZATION) {
        set(&mut reply, header::WWW_AUTHENTICATE, "Basic realm=\"clients\"");
    }
    reply
}

impl Provider {
    /// The client behind a request to an endpoint of clients, and the form it sent.
    pub(super) fn client(&self, realm: &str, incoming: &Incoming) -> Result<(Client, Params), Refusal> {
        let form = incoming.form()?;
        let credentials = exchange::credentials(incoming.header(header::AUTHORIZATION), &form)?;
        let found = self.read(realm, |realm| exchange::authenticate(realm, &credentials).cloned());
        let client = found.unwrap_or_else(|| Err(Refusal::new(ErrorCode::InvalidClient, "there is no such realm")))?;
        Ok((client, form))
    }

    /// `token`.
    pub(super) async fn token(&self, realm: &str, incoming: &Incoming) -> Reply {
        let (client, form) = match self.client(realm, incoming) {
            Ok(found) => found,
            Err(refusal) => return refused_client(incoming, &refusal),
        };
        let now = incoming.moment.unix_s;
        if form.get("grant_type") != Some("client_credentials")
            && let Err(error) = self.prepare(realm, now).await
        {
            return refused(&failed(&error));
        }
        match self.change(realm, |tx| exchange::exchange(tx, &client, &form, now, &mut Kernel)).await {
            Ok(result) => answer(result),
            Err(error) => refused(&failed(&error)),
        }
    }

    /// `token/introspect`: for clients with a secret only.
    pub(super) fn introspect(&self, realm: &str, incoming: &Incoming) -> Reply {
        let (client, form) = match self.client(realm, incoming) {
            Ok(found) => found,
            Err(refusal) => return refused_client(incoming, &refusal),
        };
        if client.is_public() {
            return refused(&Refusal::new(ErrorCode::InvalidClient, "public clients may not ask"));
        }
        let Some(token) = form.get("token") else {
            return refused(&Refusal::new(ErrorCode::InvalidRequest, "token is missing"));
        };
        let body = self.read(realm, |realm| inspect::introspect(realm, token, incoming.moment.unix_s));
        json_reply(StatusCode::OK, &body.unwrap_or_default())
    }

    /// `revoke`.
    pub(super) async fn revoke(&self, realm: &str, incoming: &Incoming) -> Reply {
        let (client, form) = match self.client(realm, incoming) {
            Ok(found) => found,
            Err(refusal) => return refused_client(incoming, &refusal),
        };
        let Some(token) = form.get("token") else {
            return refused(&Refusal::new(ErrorCode::InvalidRequest, "token is missing"));
        };
        match self.change(realm, |tx| inspect::revoke(tx, &client, token, incoming.moment.unix_s)).await {
            Ok(()) => empty(StatusCode::OK),
            Err(error) => refused(&failed(&error)),
        }
    }

    /// `userinfo`.
    pub(super) fn user_info(&self, realm: &str, incoming: &Incoming) -> Reply {
        let form =
            if incoming.method == Method::POST { incoming.form().unwrap_or_default() } else { Params::default() };
        let token = incoming.bearer().or(form.get("access_token"));
        let invalid = || Refusal::new(ErrorCode::InvalidToken, "the token does not hold");
        let found = self.read(realm, |realm| {
            let access = token.and_then(|token| open_access(realm, token, incoming.moment.unix_s));
            inspect::user_info(realm, &access.ok_or_else(invalid)?).map(Value::Object)
        });
        answer(found.unwrap_or_else(|| Err(invalid())))
    }

    /// `clients-registrations/openid-connect`.
    pub(super) async fn register(&self, realm: &str, incoming: &Incoming) -> Reply {
        let Ok(metadata) = serde_json::from_slice::<Metadata>(&incoming.body) else {
            let text = "the body is not client metadata";
            return refused(&Refusal::new(ErrorCode::InvalidClientMetadata, text));
        };
        let now = incoming.moment.unix_s;
        let token = incoming.bearer();
        match self.change(realm, |tx| registration::register(tx, token, &metadata, now, &mut Kernel)).await {
            Ok(Ok(body)) => json_reply(StatusCode::CREATED, &body),
            Ok(Err(refusal)) => refused(&refusal),
            Err(error) => refused(&failed(&error)),
        }
    }

    /// A self-registered client looks at itself, changes itself or goes (RFC 7592).
    pub(super) async fn registered(&self, realm: &str, client_id: &str, incoming: &Incoming) -> Reply {
        let refusal = || Refusal::new(ErrorCode::InvalidToken, "the registration access token does not hold");
        let given = incoming.bearer().map(digest);
        let found = self.read(realm, |realm| {
            let client = realm.clients.get(client_id)?;
            let is_own = client.registration_digest.as_ref().zip(given.as_ref()).is_some_and(|(a, b)| same(a, b));
            is_own.then(|| client.clone())
        });
        let Some(client) = found.flatten() else { return refused(&refusal()) };
        if incoming.method == Method::GET {
            let body = self.read(realm, |realm| registration::response(realm, &client, None, None));
            return json_reply(StatusCode::OK, &body.unwrap_or_default());
        }
        if incoming.method == Method::DELETE {
            return match self.change(realm, |tx| session::delete_client(tx, client_id)).await {
                Ok(()) => empty(StatusCode::NO_CONTENT),
                Err(error) => refused(&failed(&error)),
            };
        }
        let Ok(metadata) = serde_json::from_slice::<Metadata>(&incoming.body) else {
            let text = "the body is not client metadata";
            return refused(&Refusal::new(ErrorCode::InvalidClientMetadata, text));
        };
        match self.change(realm, |tx| registration::update(tx, client, &metadata)).await {
            Ok(result) => answer(result),
            Err(error) => refused(&failed(&error)),
        }
    }
}
