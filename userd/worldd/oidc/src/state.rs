//! Objects of a realm as they are changed in memory and written to the store.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    client::Client,
    grant::{Code, Device, Grant},
    jose::{Key, KeyError, StoredKey},
    realm::{Realm, RealmConfig},
    registration::InitialAccess,
    session::Session,
    user::User,
};

/// Anything that is stored. The tag names the kind on disk.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "kind", content = "body", rename_all = "snake_case")]
pub enum Object {
    /// Settings of the realm itself.
    Realm(RealmConfig),
    /// A signing key, with its `kid`.
    Key(String, StoredKey),
    /// A client.
    Client(Client),
    /// An account.
    User(User),
    /// A session.
    Session(Session),
    /// A grant.
    Grant(Grant),
    /// An authorization code.
    Code(Code),
    /// A device code.
    Device(Device),
    /// The scopes a user (first) gave a client (second).
    Consent(String, String, BTreeSet<String>),
    /// A revoked access token and its end.
    Denied(String, u64),
    /// An initial access token.
    Initial(InitialAccess),
}

impl Object {
    /// Its kind and its name within the realm: together its place on disk.
    pub fn place(&self) -> (&'static str, String) {
        match self {
            Self::Realm(_) => ("realm", String::new()),
            Self::Key(kid, _) => ("key", kid.clone()),
            Self::Client(client) => ("client", client.client_id.clone()),
            Self::User(user) => ("user", user.id.clone()),
            Self::Session(session) => ("session", session.id.clone()),
            Self::Grant(grant) => ("grant", grant.id.clone()),
            Self::Code(code) => ("code", code.digest.clone()),
            Self::Device(device) => ("device", device.digest.clone()),
            Self::Consent(user, client, _) => ("consent", format!("{user}/{client}")),
            Self::Denied(jti, _) => ("denied", jti.clone()),
            Self::Initial(initial) => ("initial", initial.digest.clone()),
        }
    }
}

/// One change of the store.
#[derive(Clone)]
pub struct Write {
    /// Name of the realm.
    pub realm: String,
    /// The object; for a removal only its place counts.
    pub object: Object,
    /// Whether it goes.
    pub is_removal: bool,
}

/// Changes to one realm: made in memory at once, kept in a list for the store.
///
/// An answer is sent only after the list is on disk.
pub struct Tx<'a> {
    realm: &'a mut Realm,
    writes: Vec<Write>,
}

impl<'a> Tx<'a> {
    /// Begins changes to `realm`.
    pub fn new(realm: &'a mut Realm) -> Self {
        Self { realm, writes: Vec::new() }
    }

    /// The realm with all changes so far.
    pub fn realm(&self) -> &Realm {
        self.realm
    }

    /// Adds or replaces an object.
    pub fn put(&mut self, object: Object) {
        self.write(object, false);
    }

    /// Removes an object.
    pub fn delete(&mut self, object: Object) {
        self.write(object, true);
    }

    fn write(&mut self, object: Object, is_removal: bool) {
        let write = Write { realm: self.realm.config.name.clone(), object, is_removal };
        // Only a key can fail to be read, and a key is put here only after it was made or read.
        if apply(self.realm, write.clone()).is_ok() {
            self.writes.push(write);
        }
    }

    /// The changes, for the store.
    #[must_use]
    pub fn finish(self) -> Vec<Write> {
        self.writes
    }
}

/// Applies one change in memory: a new one, or one read back from the store.
///
/// # Errors
/// [`KeyError`] when a stored key is damaged.
pub fn apply(realm: &mut Realm, write: Write) -> Result<(), KeyError> {
    let (_, name) = write.object.place();
    match (write.object, write.is_removal) {
        (Object::Realm(config), _) => realm.config = config,
        (Object::Key(kid, stored), false) => {
            let key = Key::from_stored(stored)?;
            realm.keys.0.retain(|known| known.kid != kid);
            realm.keys.0.push(key);
            realm.keys.0.sort_by_key(|key| key.stored.created_at);
        }
        (Object::Key(kid, _), true) => realm.keys.0.retain(|known| known.kid != kid),
        (Object::Client(client), false) => drop(realm.clients.insert(name, client)),
        (Object::Client(_), true) => drop(realm.clients.remove(&name)),
        (Object::User(user), false) => {
            if let Some(old) = realm.users.get(&name) {
                realm.usernames.remove(&old.username);
            }
            realm.usernames.insert(user.username.clone(), name.clone());
            realm.users.insert(name, user);
        }
        (Object::User(_), true) => {
            if let Some(old) = realm.users.remove(&name) {
                realm.usernames.remove(&old.username);
            }
        }
        (Object::Session(session), false) => drop(realm.sessions.insert(name, session)),
        (Object::Session(_), true) => drop(realm.sessions.remove(&name)),
        (Object::Grant(grant), false) => drop(realm.grants.insert(name, grant)),
        (Object::Grant(_), true) => drop(realm.grants.remove(&name)),
        (Object::Code(code), false) => drop(realm.codes.insert(name, code)),
        (Object::Code(_), true) => drop(realm.codes.remove(&name)),
        (Object::Device(device), false) => drop(realm.devices.insert(name, device)),
        (Object::Device(_), true) => drop(realm.devices.remove(&name)),
        (Object::Consent(user, client, scopes), false) => drop(realm.consents.insert((user, client), scopes)),
        (Object::Consent(user, client, _), true) => drop(realm.consents.remove(&(user, client))),
        (Object::Denied(jti, end), false) => drop(realm.denied.insert(jti, end)),
        (Object::Denied(jti, _), true) => drop(realm.denied.remove(&jti)),
        (Object::Initial(initial), false) => drop(realm.initial.insert(name, initial)),
        (Object::Initial(_), true) => drop(realm.initial.remove(&name)),
    }
    Ok(())
}

/// Removes what has ended by `now`: codes, devices, sessions, grants, revoked tokens, initial tokens, retired keys.
pub fn sweep(tx: &mut Tx<'_>, now: u64) {
    let realm = tx.realm();
    let mut gone: Vec<Object> = Vec::new();
    gone.extend(realm.codes.values().filter(|x| x.keep_until <= now).cloned().map(Object::Code));
    gone.extend(realm.devices.values().filter(|x| x.expires_at <= now).cloned().map(Object::Device));
    gone.extend(realm.sessions.values().filter(|x| x.expires_at <= now).cloned().map(Object::Session));
    gone.extend(realm.grants.values().filter(|x| x.expires_at <= now).cloned().map(Object::Grant));
    gone.extend(realm.denied.iter().filter(|x| *x.1 <= now).map(|(jti, end)| Object::Denied(jti.clone(), *end)));
    gone.extend(realm.initial.values().filter(|x| x.expires_at <= now).cloned().map(Object::Initial));
    let life = realm.config.access_s;
    let is_over = |key: &&Key| key.stored.retired_at.is_some_and(|at| at + life <= now);
    gone.extend(realm.keys.0.iter().filter(is_over).map(|key| Object::Key(key.kid.clone(), key.stored.clone())));
    for object in gone {
        tx.delete(object);
    }
}
