//! A realm: its settings and everything in it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::{
    client::Client,
    grant::{Code, Device, Grant},
    jose::KeySet,
    registration::InitialAccess,
    session::Session,
    user::User,
};

/// A role that opens the admin interface.
pub const ADMIN_ROLE: &str = "admin";

/// Settings of a realm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RealmConfig {
    /// Its name in the issuer.
    pub name: String,
    /// The organisation whose accounts it holds: the claim `organization`.
    pub organization: Option<String>,
    /// Scopes it grants, each with the audience a token gets by it, if any.
    pub scopes: BTreeMap<String, Option<String>>,
    /// Roles it knows, with a description.
    pub roles: BTreeMap<String, String>,
    /// Lifetime of access and ID tokens, seconds.
    pub access_s: u64,
    /// How long a refresh token may lie unused, seconds.
    pub refresh_s: u64,
    /// Lifetime of a session, seconds.
    pub session_s: u64,
    /// After how many seconds a signing key is replaced; 0: never by itself.
    pub rotate_s: u64,
    /// The accounts that it was given by the spec, by name: one that leaves the spec is disabled, others are not touched.
    #[serde(default)]
    pub declared: BTreeSet<String>,
    /// Whether it left the spec: then it answers like none, and everything in it is kept.
    #[serde(default)]
    pub is_closed: bool,
}

impl RealmConfig {
    /// A realm with the scopes of OpenID Connect and Keycloak's lifetimes.
    pub fn new(name: &str) -> Self {
        let scopes = ["openid", "profile", "email", "roles", "organization", "offline_access"];
        Self {
            name: name.to_owned(),
            organization: None,
            scopes: scopes.into_iter().map(|scope| (scope.to_owned(), None)).collect(),
            roles: BTreeMap::new(),
            access_s: 300,
            refresh_s: 1800,
            session_s: 36_000,
            rotate_s: 90 * 86_400,
            declared: BTreeSet::new(),
            is_closed: false,
        }
    }
}

/// A realm with all its objects.
pub struct Realm {
    /// Its settings.
    pub config: RealmConfig,
    /// `https://NAME/realms/REALM`.
    pub issuer: String,
    /// Signing keys.
    pub keys: KeySet,
    /// Clients by identifier.
    pub clients: BTreeMap<String, Client>,
    /// Accounts by subject.
    pub users: BTreeMap<String, User>,
    /// Subjects by account name.
    pub usernames: HashMap<String, String>,
    /// Sessions by `sid`.
    pub sessions: HashMap<String, Session>,
    /// Grants by identifier.
    pub grants: HashMap<String, Grant>,
    /// Authorization codes by digest.
    pub codes: HashMap<String, Code>,
    /// Device codes by digest.
    pub devices: HashMap<String, Device>,
    /// Scopes a user agreed to, by subject and client.
    pub consents: HashMap<(String, String), BTreeSet<String>>,
    /// Revoked access tokens by `jti`, with the time they would have ended at.
    pub denied: HashMap<String, u64>,
    /// Initial access tokens by digest.
    pub initial: HashMap<String, InitialAccess>,
}

impl Realm {
    /// An empty realm below `base` (`https://NAME`).
    pub fn new(base: &str, config: RealmConfig) -> Self {
        Self {
            issuer: format!("{base}/realms/{}", config.name),
            config,
            keys: KeySet::default(),
            clients: BTreeMap::new(),
            users: BTreeMap::new(),
            usernames: HashMap::new(),
            sessions: HashMap::new(),
            grants: HashMap::new(),
            codes: HashMap::new(),
            devices: HashMap::new(),
            consents: HashMap::new(),
            denied: HashMap::new(),
            initial: HashMap::new(),
        }
    }

    /// The account that logs in as `username`, in any case of letters.
    pub fn user_named(&self, username: &str) -> Option<&User> {
        self.users.get(self.usernames.get(&username.to_lowercase())?)
    }
}
