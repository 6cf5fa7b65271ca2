//! The admin interface, with Keycloak's paths below `/admin/realms/REALM`: users, clients, roles.
//!
//! Open to bearers of an access token with the role `admin` of the realm itself or of the provider's admin realm.

mod clients;
mod users;

use hyper::{Method, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    failed,
    reply::{Reply, empty, json_reply, refused, set},
    request::Incoming,
};
use crate::{
    client::is_plain_name,
    provider::{ChangeError, NOTICE_S, Provider},
    realm::{ADMIN_ROLE, RealmConfig},
    refusal::{ErrorCode, Refusal},
    registration::create_initial,
    secret::Kernel,
    state::{Object, Tx},
    token::open_access,
};

/// An answer with `status` and a sentence.
fn said(status: StatusCode, text: &str) -> Reply {
    json_reply(status, &json!({"errorMessage": text}))
}

fn not_found() -> Reply {
    said(StatusCode::NOT_FOUND, "not found")
}

/// The body as `T`.
fn body<T: DeserializeOwned>(incoming: &Incoming) -> Result<T, Reply> {
    serde_json::from_slice(&incoming.body)
        .map_err(|_| said(StatusCode::BAD_REQUEST, "the body is not what is expected"))
}

/// Says where the new object is.
fn created(issuer_base: &str, realm: &str, kind: &str, id: &str) -> Reply {
    let mut reply = empty(StatusCode::CREATED);
    set(&mut reply, header::LOCATION, &format!("{issuer_base}/admin/realms/{realm}/{kind}/{id}"));
    reply
}

impl Provider {
    pub(super) async fn admin(&self, realm: &str, rest: &[&str], incoming: &Incoming) -> Reply {
        let now = incoming.moment.unix_s;
        let role = incoming.bearer().and_then(|token| {
            [Some(realm), self.admin_realm.as_deref()].into_iter().flatten().find_map(|keys_of| {
                self.read(keys_of, |realm| open_access(realm, token, now).map(|access| access.has_role(ADMIN_ROLE)))?
            })
        });
        // Who may not look does not learn which realms there are.
        match role {
            None => return refused(&Refusal::new(ErrorCode::InvalidToken, "an access token is needed")),
            Some(false) => return refused(&Refusal::new(ErrorCode::InsufficientScope, "the role admin is needed")),
            Some(true) => {}
        }
        if self.read(realm, |_| ()).is_none() {
            return not_found();
        }
        match (&incoming.method, rest) {
            (_, ["users", rest @ ..]) => self.admin_users(realm, rest, incoming).await,
            (_, ["clients", rest @ ..]) => self.admin_clients(realm, rest, incoming).await,
            (&Method::GET, ["roles"]) => self.shown(realm, |realm| {
                realm.config.roles.iter().map(|(name, text)| json!({"name": name, "description": text})).collect()
            }),
            (&Method::POST, ["roles"]) => self.create_role(realm, incoming).await,
            (&Method::GET, ["roles", name]) => {
                let found = self.read(realm, |realm| realm.config.roles.get(*name).cloned()).flatten();
                found.map_or_else(not_found, |text| {
                    json_reply(StatusCode::OK, &json!({"name": name, "description": text}))
                })
            }
            (&Method::DELETE, ["roles", name]) => self.delete_role(realm, name).await,
            (&Method::POST, ["clients-initial-access"]) => self.create_initial(realm, incoming).await,
            (&Method::POST, ["keys", "rotate"]) => {
                // `?notice=0` for a key that is known to others.
                let notice_s = incoming.query.get("notice").and_then(|text| text.parse().ok()).unwrap_or(NOTICE_S);
                let done = self.rotate_keys(realm, notice_s.min(86_400), now).await;
                self.done(done)
            }
            _ => not_found(),
        }
    }

    fn shown(&self, realm: &str, look: impl FnOnce(&crate::realm::Realm) -> Value) -> Reply {
        self.read(realm, look).map_or_else(not_found, |body| json_reply(StatusCode::OK, &body))
    }

    fn done(&self, result: Result<(), ChangeError>) -> Reply {
        match result {
            Ok(()) => empty(StatusCode::NO_CONTENT),
            Err(ChangeError::NoRealm) => not_found(),
            Err(error) => refused(&failed(&error)),
        }
    }

    /// Makes a change that answers for itself.
    async fn changed(&self, realm: &str, change: impl FnOnce(&mut Tx<'_>) -> Reply) -> Reply {
        match self.change(realm, change).await {
            Ok(reply) => reply,
            Err(ChangeError::NoRealm) => not_found(),
            Err(error) => refused(&failed(&error)),
        }
    }

    async fn create_role(&self, realm: &str, incoming: &Incoming) -> Reply {
        #[derive(serde::Deserialize)]
        struct Role {
            name: String,
            #[serde(default)]
            description: String,
        }
        let role: Role = match body(incoming) {
            Ok(role) => role,
            Err(reply) => return reply,
        };
        if !is_plain_name(&role.name) || role.description.len() > 1024 {
            return said(StatusCode::BAD_REQUEST, "the name is no name of a role");
        }
        self.changed(realm, |tx| {
            let mut config: RealmConfig = tx.realm().config.clone();
            if config.roles.contains_key(&role.name) {
                return said(StatusCode::CONFLICT, "there is such a role");
            }
            config.roles.insert(role.name.clone(), role.description);
            tx.put(Object::Realm(config));
            created(&self.base, realm, "roles", &role.name)
        })
        .await
    }

    /// Users and clients that have the role lose it.
    async fn delete_role(&self, realm: &str, name: &str) -> Reply {
        if name == ADMIN_ROLE {
            return said(StatusCode::BAD_REQUEST, "this role stays");
        }
        self.changed(realm, |tx| {
            let mut config = tx.realm().config.clone();
            if config.roles.remove(name).is_none() {
                return not_found();
            }
            tx.put(Object::Realm(config));
            let users: Vec<_> = tx.realm().users.values().filter(|user| user.roles.contains(name)).cloned().collect();
            for mut user in users {
                user.roles.remove(name);
                tx.put(Object::User(user));
            }
            let clients: Vec<_> = tx.realm().clients.values().filter(|c| c.roles.contains(name)).cloned().collect();
            for mut client in clients {
                client.roles.remove(name);
                tx.put(Object::Client(client));
            }
            empty(StatusCode::NO_CONTENT)
        })
        .await
    }

    async fn create_initial(&self, realm: &str, incoming: &Incoming) -> Reply {
        #[derive(serde::Deserialize)]
        struct Wanted {
            count: u32,
            expiration: u64,
        }
        let wanted: Wanted = match body(incoming) {
            Ok(wanted) => wanted,
            Err(reply) => return reply,
        };
        self.changed(realm, |tx| {
            let now = incoming.moment.unix_s;
            let token = create_initial(tx, wanted.count, wanted.expiration, now, &mut Kernel);
            let (count, seconds) = (wanted.count, wanted.expiration);
            json_reply(StatusCode::OK, &json!({"token": token.expose(), "count": count, "expiration": seconds}))
        })
        .await
    }
}
