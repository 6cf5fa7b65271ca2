//! Clients in the admin interface.

use std::collections::BTreeSet;

use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{body, created, not_found, said};
use crate::{
    client::{Client, GrantType, check_uris, is_plain_name},
    jose::Algorithm,
    provider::Provider,
    secret::{Kernel, Secret, digest},
    session::delete_client,
    state::Object,
    web::{
        reply::{Reply, empty, json_reply},
        request::Incoming,
    },
};

/// A client as it is sent: Keycloak's names, as far as they mean something here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    client_id: Option<String>,
    name: Option<String>,
    enabled: Option<bool>,
    public_client: Option<bool>,
    consent_required: Option<bool>,
    redirect_uris: Option<Vec<String>>,
    post_logout_redirect_uris: Option<Vec<String>>,
    backchannel_logout_uri: Option<String>,
    standard_flow_enabled: Option<bool>,
    service_accounts_enabled: Option<bool>,
    device_flow_enabled: Option<bool>,
    id_token_signed_response_alg: Option<Algorithm>,
    scopes: Option<BTreeSet<String>>,
    roles: Option<BTreeSet<String>>,
}

fn shown(client: &Client) -> Value {
    json!({
        "id": client.client_id,
        "clientId": client.client_id,
        "name": client.name,
        "enabled": client.enabled,
        "publicClient": client.is_public(),
        "consentRequired": client.consent_required,
        "redirectUris": client.redirect_uris,
        "postLogoutRedirectUris": client.post_logout_redirect_uris,
        "backchannelLogoutUri": client.backchannel_logout_uri,
        "standardFlowEnabled": client.grant_types.contains(&GrantType::AuthorizationCode),
        "serviceAccountsEnabled": client.grant_types.contains(&GrantType::ClientCredentials),
        "deviceFlowEnabled": client.grant_types.contains(&GrantType::DeviceCode),
        "idTokenSignedResponseAlg": client.id_token_alg,
        "scopes": client.scopes,
        "roles": client.roles,
    })
}

impl Sent {
    /// Puts what was sent into `client`.
    fn put_into(self, client: &mut Client, roles: &BTreeSet<String>) -> Result<(), &'static str> {
        let bad = |_| "an address cannot be registered";
        if let Some(uris) = &self.redirect_uris {
            client.redirect_uris = check_uris(uris).map_err(bad)?;
        }
        if let Some(uris) = &self.post_logout_redirect_uris {
            client.post_logout_redirect_uris = check_uris(uris).map_err(bad)?;
        }
        if let Some(uri) = self.backchannel_logout_uri {
            if !uri.starts_with("https://") {
                return Err("the address for logouts is not https");
            }
            client.backchannel_logout_uri = check_uris(&[uri]).map_err(bad)?.pop_first();
        }
        if let Some(name) = self.name {
            if name.len() > 256 || name.chars().any(char::is_control) {
                return Err("the name is too long or holds control characters");
            }
            client.name = name;
        }
        for (wanted, grants) in [
            (self.standard_flow_enabled, &[GrantType::AuthorizationCode, GrantType::RefreshToken][..]),
            (self.service_accounts_enabled, &[GrantType::ClientCredentials][..]),
            (self.device_flow_enabled, &[GrantType::DeviceCode, GrantType::RefreshToken][..]),
        ] {
            match wanted {
                Some(true) => client.grant_types.extend(grants),
                Some(false) => drop(client.grant_types.remove(&grants[0])),
                None => {}
            }
        }
        if client.is_public() && client.grant_types.contains(&GrantType::ClientCredentials) {
            return Err("a public client has no account of its own");
        }
        if let Some(wanted) = self.roles {
            if !wanted.is_subset(roles) {
                return Err("there is no such role");
            }
            client.roles = wanted;
        }
        client.scopes = self.scopes.unwrap_or_else(|| client.scopes.clone());
        client.enabled = self.enabled.unwrap_or(client.enabled);
        client.consent_required = self.consent_required.unwrap_or(client.consent_required);
        client.id_token_alg = self.id_token_signed_response_alg.unwrap_or(client.id_token_alg);
        Ok(())
    }
}

impl Provider {
    pub(super) async fn admin_clients(&self, realm: &str, rest: &[&str], incoming: &Incoming) -> Reply {
        match (&incoming.method, rest) {
            (&Method::GET, []) => {
                let wanted = incoming.query.get("clientId");
                let fits = |client: &&Client| wanted.is_none_or(|id| client.client_id == id);
                self.shown(realm, |realm| realm.clients.values().filter(fits).map(shown).collect())
            }
            (&Method::POST, []) => self.create_client(realm, incoming).await,
            (&Method::GET, [id]) => {
                let found = self.read(realm, |realm| realm.clients.get(*id).map(shown)).flatten();
                found.map_or_else(not_found, |body| json_reply(StatusCode::OK, &body))
            }
            (&Method::PUT, [id]) => self.update_client(realm, id, incoming).await,
            (&Method::DELETE, [id]) => {
                self.changed(realm, |tx| {
                    if !tx.realm().clients.contains_key(*id) {
                        return not_found();
                    }
                    delete_client(tx, id);
                    empty(StatusCode::NO_CONTENT)
                })
                .await
            }
            (&Method::POST, [id, "client-secret"]) => self.renew_secret(realm, id).await,
            _ => not_found(),
        }
    }

    /// The secret of a confidential client is in the answer, and nowhere else.
    async fn create_client(&self, realm: &str, incoming: &Incoming) -> Reply {
        let sent: Sent = match body(incoming) {
            Ok(sent) => sent,
            Err(reply) => return reply,
        };
        let Some(id) = sent.client_id.clone().filter(|id| is_plain_name(id)) else {
            return said(StatusCode::BAD_REQUEST, "the name is no name of a client");
        };
        let mut client = Client::new(&id, incoming.moment.unix_s);
        client.grant_types = BTreeSet::from([GrantType::AuthorizationCode, GrantType::RefreshToken]);
        let secret = (sent.public_client != Some(true)).then(|| Secret::token(&mut Kernel));
        client.secret_digest = secret.as_ref().map(|secret| digest(secret.expose()));
        self.changed(realm, |tx| {
            if tx.realm().clients.contains_key(&id) {
                return said(StatusCode::CONFLICT, "there is such a client");
            }
            let roles = tx.realm().config.roles.keys().cloned().collect();
            if let Err(text) = sent.put_into(&mut client, &roles) {
                return said(StatusCode::BAD_REQUEST, text);
            }
            let mut all = shown(&client);
            if let Some(secret) = secret {
                all["secret"] = json!(secret.expose());
            }
            tx.put(Object::Client(client));
            let (head, _) = created(&self.base, realm, "clients", &id).into_parts();
            let mut reply = json_reply(StatusCode::CREATED, &all);
            reply.headers_mut().extend(
                head.headers
                    .into_iter()
                    .filter(|(name, _)| name.as_ref().is_some_and(|name| name == hyper::header::LOCATION)),
            );
            reply
        })
        .await
    }

    async fn update_client(&self, realm: &str, id: &str, incoming: &Incoming) -> Reply {
        let sent: Sent = match body(incoming) {
            Ok(sent) => sent,
            Err(reply) => return reply,
        };
        self.changed(realm, |tx| {
            let Some(mut client) = tx.realm().clients.get(id).cloned() else { return not_found() };
            if sent.public_client.is_some_and(|wanted| wanted != client.is_public()) {
                return said(StatusCode::BAD_REQUEST, "a client stays public or confidential");
            }
            let roles = tx.realm().config.roles.keys().cloned().collect();
            if let Err(text) = sent.put_into(&mut client, &roles) {
                return said(StatusCode::BAD_REQUEST, text);
            }
            tx.put(Object::Client(client));
            empty(StatusCode::NO_CONTENT)
        })
        .await
    }

    async fn renew_secret(&self, realm: &str, id: &str) -> Reply {
        self.changed(realm, |tx| {
            let found = tx.realm().clients.get(id).filter(|client| !client.is_public()).cloned();
            let Some(mut client) = found else { return not_found() };
            let secret = Secret::token(&mut Kernel);
            client.secret_digest = Some(digest(secret.expose()));
            tx.put(Object::Client(client));
            json_reply(StatusCode::OK, &json!({"type": "secret", "value": secret.expose()}))
        })
        .await
    }
}
