//! Sessions of a browser with a realm.

use serde::{Deserialize, Serialize};

use crate::{
    realm::Realm,
    secret::{Entropy, Secret, digest, random_id, same},
    state::{Object, Tx},
};

/// A login that other clients of the realm share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The `sid` of its tokens.
    pub id: String,
    /// Whose it is.
    pub user_id: String,
    /// Digest of the cookie's secret half.
    pub cookie_digest: String,
    /// Unix time of the password, seconds.
    pub auth_time: u64,
    /// Unix time of its end, seconds.
    pub expires_at: u64,
}

/// Begins a session; the second value is for the cookie.
///
/// Always a new one: an identifier that a browser brought along is never kept over a login (session fixation).
pub fn create(tx: &mut Tx<'_>, user_id: &str, now: u64, entropy: &mut dyn Entropy) -> (Session, Secret) {
    let id = random_id(entropy);
    let secret = Secret::token(entropy);
    let session = Session {
        id: id.clone(),
        user_id: user_id.to_owned(),
        cookie_digest: digest(secret.expose()),
        auth_time: now,
        expires_at: now + tx.realm().config.session_s,
    };
    tx.put(Object::Session(session.clone()));
    (session, Secret::new(format!("{id}.{}", secret.expose())))
}

/// The live session that a cookie belongs to.
pub fn find<'a>(realm: &'a Realm, cookie: &str, now: u64) -> Option<&'a Session> {
    let (id, secret) = cookie.split_once('.')?;
    let session = realm.sessions.get(id)?;
    let is_live = session.expires_at > now && realm.users.get(&session.user_id).is_some_and(|user| user.enabled);
    (is_live && same(&digest(secret), &session.cookie_digest)).then_some(session)
}

/// A client to be told that a session has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The client.
    pub client_id: String,
    /// Where it listens.
    pub uri: String,
    /// The session.
    pub sid: String,
    /// The account.
    pub user_id: String,
}

/// Ends a session with the tokens that came of it, except those for offline access. Returns who must be told.
pub fn end(tx: &mut Tx<'_>, sid: &str) -> Vec<Notice> {
    let grants: Vec<_> =
        tx.realm().grants.values().filter(|grant| grant.sid.as_deref() == Some(sid)).cloned().collect();
    let mut notices: Vec<Notice> = Vec::new();
    for grant in grants {
        let uri = tx.realm().clients.get(&grant.client_id).and_then(|client| client.backchannel_logout_uri.clone());
        if let Some(uri) = uri
            && !notices.iter().any(|notice| notice.client_id == grant.client_id)
        {
            let (client_id, user_id) = (grant.client_id.clone(), grant.user_id.clone());
            notices.push(Notice { client_id, uri, sid: sid.to_owned(), user_id });
        }
        if !grant.is_offline() {
            tx.delete(Object::Grant(grant));
        }
    }
    if let Some(session) = tx.realm().sessions.get(sid).cloned() {
        tx.delete(Object::Session(session));
    }
    notices
}

/// Ends all sessions of a user, and all tokens, those for offline access as well. Returns who must be told.
pub fn end_all(tx: &mut Tx<'_>, user_id: &str) -> Vec<Notice> {
    let sessions = tx.realm().sessions.values();
    let sids: Vec<String> =
        sessions.filter(|session| session.user_id == user_id).map(|session| session.id.clone()).collect();
    let notices = sids.iter().flat_map(|sid| end(tx, sid)).collect();
    let rest: Vec<_> = tx.realm().grants.values().filter(|grant| grant.user_id == user_id).cloned().collect();
    for grant in rest {
        tx.delete(Object::Grant(grant));
    }
    notices
}

/// Removes a client with its tokens and consents.
pub fn delete_client(tx: &mut Tx<'_>, client_id: &str) {
    let realm = tx.realm();
    let mut gone: Vec<Object> = Vec::new();
    gone.extend(realm.grants.values().filter(|grant| grant.client_id == client_id).cloned().map(Object::Grant));
    let consents = realm.consents.iter().filter(|((_, client), _)| client == client_id);
    gone.extend(consents.map(|((user, client), scope)| Object::Consent(user.clone(), client.clone(), scope.clone())));
    gone.extend(realm.clients.get(client_id).cloned().map(Object::Client));
    for object in gone {
        tx.delete(object);
    }
}
