//! Accounts in the admin interface.

use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{body, created, not_found, said};
use crate::{
    client::is_plain_name,
    provider::Provider,
    refusal::{ErrorCode, Refusal},
    secret::{Kernel, Secret, random_uuid},
    session::end_all,
    state::Object,
    user::{MAX_PASSWORD_BYTES, User},
    web::{
        failed,
        reply::{Reply, empty, json_reply, refused},
        request::Incoming,
    },
};

/// Shortest password that a person may choose, in bytes.
const MIN_PASSWORD_BYTES: usize = 8;
/// Most accounts in one answer.
const MAX_LISTED: usize = 1000;

/// An account as it is sent.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    username: Option<String>,
    email: Option<String>,
    first_name: Option<String>,
    last_name: Option<String>,
    enabled: Option<bool>,
    #[serde(default)]
    credentials: Vec<SentPassword>,
}

#[derive(Deserialize)]
struct SentPassword {
    value: String,
}

#[derive(Deserialize)]
struct SentRole {
    name: String,
}

fn shown(user: &User) -> Value {
    json!({
        "id": user.id,
        "username": user.username,
        "email": user.email,
        "firstName": user.given_name,
        "lastName": user.family_name,
        "enabled": user.enabled,
        "createdTimestamp": user.created_at.saturating_mul(1000),
    })
}

impl Sent {
    fn put_into(&self, user: &mut User) -> Result<(), Reply> {
        let texts = [&self.email, &self.first_name, &self.last_name];
        if texts.iter().any(|text| text.as_ref().is_some_and(|t| t.len() > 255 || t.chars().any(char::is_control))) {
            return Err(said(StatusCode::BAD_REQUEST, "a text is too long or holds control characters"));
        }
        for (to, from) in [
            (&mut user.email, &self.email),
            (&mut user.given_name, &self.first_name),
            (&mut user.family_name, &self.last_name),
        ] {
            if from.is_some() {
                to.clone_from(from);
            }
        }
        user.enabled = self.enabled.unwrap_or(user.enabled);
        Ok(())
    }
}

impl Provider {
    pub(super) async fn admin_users(&self, realm: &str, rest: &[&str], incoming: &Incoming) -> Reply {
        match (&incoming.method, rest) {
            (&Method::GET, []) => self.list_users(realm, incoming),
            (&Method::POST, []) => self.create_user(realm, incoming).await,
            (method, [id, rest @ ..]) => {
                let Some(user) = self.read(realm, |realm| realm.users.get(*id).cloned()).flatten() else {
                    return not_found();
                };
                match (method, rest) {
                    (&Method::GET, []) => json_reply(StatusCode::OK, &shown(&user)),
                    (&Method::PUT, []) => self.update_user(realm, id, incoming).await,
                    (&Method::DELETE, []) => self.end_user(realm, id, true, incoming).await,
                    (&Method::POST, ["logout"]) => self.end_user(realm, id, false, incoming).await,
                    (&Method::PUT, ["reset-password"]) => self.reset_password(realm, id, incoming).await,
                    (&Method::GET, ["role-mappings", "realm"]) => {
                        let roles: Value = user.roles.iter().map(|name| json!({"name": name})).collect();
                        json_reply(StatusCode::OK, &roles)
                    }
                    (&Method::POST, ["role-mappings", "realm"]) => self.map_roles(realm, id, true, incoming).await,
                    (&Method::DELETE, ["role-mappings", "realm"]) => self.map_roles(realm, id, false, incoming).await,
                    _ => not_found(),
                }
            }
            _ => not_found(),
        }
    }

    /// `?username=` matches a part, with `exact=true` the whole name; `first` and `max` cut the list.
    fn list_users(&self, realm: &str, incoming: &Incoming) -> Reply {
        let number =
            |name: &str, default: usize| incoming.query.get(name).and_then(|text| text.parse().ok()).unwrap_or(default);
        let wanted = incoming.query.get("username").map(str::to_lowercase);
        let is_exact = incoming.query.get("exact") == Some("true");
        self.shown(realm, |realm| {
            let fits = |user: &&User| {
                wanted.as_ref().is_none_or(|text| {
                    if is_exact { user.username == *text } else { user.username.contains(text.as_str()) }
                })
            };
            let all = realm.users.values().filter(fits);
            all.skip(number("first", 0)).take(number("max", 100).min(MAX_LISTED)).map(shown).collect()
        })
    }

    async fn create_user(&self, realm: &str, incoming: &Incoming) -> Reply {
        let sent: Sent = match body(incoming) {
            Ok(sent) => sent,
            Err(reply) => return reply,
        };
        let Some(username) = sent.username.as_deref().filter(|name| is_plain_name(name)) else {
            return said(StatusCode::BAD_REQUEST, "the name is no name of an account");
        };
        let mut user = User::new(random_uuid(&mut Kernel), username, incoming.moment.unix_s);
        if let Err(reply) = sent.put_into(&mut user) {
            return reply;
        }
        if let Some(password) = sent.credentials.first() {
            user.password = match self.hashed(&password.value).await {
                Ok(hash) => Some(hash),
                Err(reply) => return reply,
            };
        }
        self.changed(realm, |tx| {
            if tx.realm().user_named(&user.username).is_some() {
                return said(StatusCode::CONFLICT, "there is such an account");
            }
            let reply = created(&self.base, realm, "users", &user.id);
            tx.put(Object::User(user));
            reply
        })
        .await
    }

    async fn hashed(&self, password: &str) -> Result<crate::user::PasswordHash, Reply> {
        if !(MIN_PASSWORD_BYTES..=MAX_PASSWORD_BYTES).contains(&password.len()) {
            return Err(said(StatusCode::BAD_REQUEST, "the password must have 8 to 1024 bytes"));
        }
        let busy = || refused(&Refusal::new(ErrorCode::ServerError, "too many passwords wait"));
        self.hash(Secret::new(password.to_owned())).await.ok_or_else(busy)
    }

    async fn update_user(&self, realm: &str, id: &str, incoming: &Incoming) -> Reply {
        let sent: Sent = match body(incoming) {
            Ok(sent) => sent,
            Err(reply) => return reply,
        };
        self.changed(realm, |tx| {
            let Some(mut user) = tx.realm().users.get(id).cloned() else { return not_found() };
            if sent.username.as_ref().is_some_and(|name| name.to_lowercase() != user.username) {
                return said(StatusCode::BAD_REQUEST, "an account keeps its name");
            }
            if let Err(reply) = sent.put_into(&mut user) {
                return reply;
            }
            tx.put(Object::User(user));
            empty(StatusCode::NO_CONTENT)
        })
        .await
    }

    /// Ends the sessions of a user, and the account itself with `is_removal`.
    async fn end_user(&self, realm: &str, id: &str, is_removal: bool, incoming: &Incoming) -> Reply {
        let ended = self
            .change(realm, |tx| {
                let notices = end_all(tx, id);
                if is_removal && let Some(user) = tx.realm().users.get(id).cloned() {
                    tx.delete(Object::User(user));
                }
                notices
            })
            .await;
        match ended {
            Ok(notices) => {
                self.tell(realm, notices, incoming.moment.unix_s);
                empty(StatusCode::NO_CONTENT)
            }
            Err(error) => refused(&failed(&error)),
        }
    }

    /// A new password ends all sessions: whoever knew the old one is out.
    async fn reset_password(&self, realm: &str, id: &str, incoming: &Incoming) -> Reply {
        let sent: SentPassword = match body(incoming) {
            Ok(sent) => sent,
            Err(reply) => return reply,
        };
        let hash = match self.hashed(&sent.value).await {
            Ok(hash) => hash,
            Err(reply) => return reply,
        };
        let stored = self
            .change(realm, |tx| {
                if let Some(user) = tx.realm().users.get(id).cloned() {
                    tx.put(Object::User(User { password: Some(hash), ..user }));
                }
            })
            .await;
        match stored {
            Ok(()) => self.end_user(realm, id, false, incoming).await,
            Err(error) => refused(&failed(&error)),
        }
    }

    async fn map_roles(&self, realm: &str, id: &str, is_given: bool, incoming: &Incoming) -> Reply {
        let sent: Vec<SentRole> = match body(incoming) {
            Ok(sent) => sent,
            Err(reply) => return reply,
        };
        self.changed(realm, |tx| {
            let Some(mut user) = tx.realm().users.get(id).cloned() else { return not_found() };
            for role in &sent {
                if !tx.realm().config.roles.contains_key(&role.name) {
                    return said(StatusCode::NOT_FOUND, "there is no such role");
                }
                if is_given {
                    user.roles.insert(role.name.clone());
                } else {
                    user.roles.remove(&role.name);
                }
            }
            tx.put(Object::User(user));
            empty(StatusCode::NO_CONTENT)
        })
        .await
    }
}
