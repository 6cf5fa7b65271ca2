//! From a world's spec to the realms of its two providers. Pure: the caller makes the passwords and secrets, seals them,
//! and gives them here.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use netengine_spec::model::{IdentityInworld, IdentityPlatform, Spec};

use crate::{
    client::{Client, GrantType},
    provider::Settings,
    realm::{ADMIN_ROLE, RealmConfig},
    registration::{OWNERS_TOKEN, keep_owners},
    secret::{Entropy, Secret, digest, random_uuid},
    session::{Notice, end_all},
    state::{Object, Tx},
    user::{GENERATED, PasswordHash, User},
};

/// The client that programs of the platform use.
pub const API_CLIENT: &str = "netengine-api";

/// The scope that opens the registries, and the audience of its tokens.
pub const REGISTRAR: &str = "registrar";

/// What a provider should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Where it lives.
    pub base: String,
    /// The realm whose administrators may change every realm.
    pub admin_realm: String,
    /// Its realms.
    pub realms: Vec<WantedRealm>,
}

/// What a realm should hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedRealm {
    /// Its settings.
    pub config: RealmConfig,
    /// Its accounts.
    pub users: Vec<WantedUser>,
    /// Clients that get tokens for themselves, with their roles.
    pub services: BTreeMap<String, Vec<String>>,
}

/// An account to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedUser {
    /// Its name.
    pub username: String,
    /// Its address.
    pub email: String,
    /// Its roles.
    pub roles: Vec<String>,
}

/// A secret that was made, and whose it is.
pub struct Credential {
    /// The issuer it belongs to.
    pub issuer: String,
    /// What it is.
    pub kind: Kind,
    /// Account name or client identifier.
    pub name: String,
    /// It.
    pub secret: Secret,
}

/// Kinds of secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An account's.
    Password,
    /// A client's.
    ClientSecret,
    /// What clients of the realm may be registered with (RFC 7591, section 3: initial access token).
    RegistrationToken,
}

impl Wanted {
    /// How to open the provider.
    pub fn settings(&self) -> Settings {
        Settings { base: self.base.clone(), admin_realm: Some(self.admin_realm.clone()) }
    }
}

/// The platform's provider: one realm with the administrator, the registry's operators and the API client.
pub fn platform(spec: &Spec) -> Wanted {
    let identity: &IdentityPlatform = &spec.identity_platform;
    let mut config = config(identity.realm_name.as_str(), identity.scopes.iter().map(ToString::to_string));
    config.scopes.insert(spec.operator.auth.required_scope.to_string(), Some(API_CLIENT.to_owned()));
    config.roles.insert("registry-superadmin".into(), "may change the registries".into());
    config.roles.insert("registry-readonly".into(), "may read the registries".into());
    let admin = &identity.admin_user;
    let mut users = vec![WantedUser {
        username: admin.username.to_string(),
        email: admin.email.to_string(),
        roles: vec![ADMIN_ROLE.to_owned()],
    }];
    for operator in &spec.world_registry.operators {
        let role = match operator.role {
            netengine_spec::model::RegistryRole::Superadmin => "registry-superadmin",
            netengine_spec::model::RegistryRole::Readonly => "registry-readonly",
        };
        let name = operator.username.to_string();
        match users.iter_mut().find(|user| user.username == name) {
            Some(user) => user.roles.push(role.to_owned()),
            None => users.push(WantedUser {
                email: format!("{name}@{}", spec.dns.platform_zone.name),
                username: name,
                roles: vec![role.to_owned()],
            }),
        }
    }
    let services = BTreeMap::from([(API_CLIENT.to_owned(), vec![ADMIN_ROLE.to_owned()])]);
    Wanted {
        base: format!("https://{}", identity.canonical_name),
        admin_realm: config.name.clone(),
        realms: vec![WantedRealm { config, users, services }],
    }
}

/// The provider of the organisations: the common realm, and one realm for each organisation.
///
/// An organisation of the registry without accounts has its realm as well: accounts may come later.
pub fn inworld(spec: &Spec) -> Wanted {
    let identity: &IdentityInworld = &spec.identity_inworld;
    let scopes = || identity.scopes.iter().map(ToString::to_string);
    let common = config(identity.realm_name.as_str(), scopes());
    let admin_realm = common.name.clone();
    let services = BTreeMap::from([(API_CLIENT.to_owned(), vec![ADMIN_ROLE.to_owned()])]);
    let mut realms = vec![WantedRealm { config: common, users: Vec::new(), services }];
    for organization in &spec.world_registry.organizations {
        let org = &organization.name;
        let mut config = config(org.as_str(), scopes());
        config.organization = Some(org.to_string());
        let first = spec.domain_registry.initial_domains.iter().find(|domain| domain.org == *org);
        let domain = first.map_or_else(|| format!("{org}.invalid"), |domain| domain.domain.to_string());
        let groups = identity.org_users.iter().filter(|group| group.org == *org);
        let users = groups.flat_map(|group| &group.users).map(|user| WantedUser {
            username: user.username.to_string(),
            email: user.email.as_ref().map_or_else(|| format!("{}@{domain}", user.username), ToString::to_string),
            roles: vec!["user".to_owned()],
        });
        let users = users.collect();
        let services = BTreeMap::from([(API_CLIENT.to_owned(), vec!["user".to_owned()])]);
        realms.push(WantedRealm { config, users, services });
    }
    Wanted { base: format!("https://{}", identity.canonical_name), admin_realm, realms }
}

fn config(name: &str, scopes: impl Iterator<Item = String>) -> RealmConfig {
    let mut config = RealmConfig::new(name);
    for scope in scopes {
        config.scopes.entry(scope).or_insert(None);
    }
    config.scopes.insert(REGISTRAR.into(), Some(REGISTRAR.to_owned()));
    config.roles.insert(ADMIN_ROLE.into(), "may administer realms".into());
    config.roles.insert("user".into(), "has an account".into());
    config
}

impl Wanted {
    /// Makes a secret for every account and client, and a token to register clients with for every realm. The caller seals and keeps them, then calls [`fill`].
    pub fn credentials(&self, entropy: &mut dyn Entropy) -> Vec<Credential> {
        let mut made = Vec::new();
        for realm in &self.realms {
            let issuer = format!("{}/realms/{}", self.base, realm.config.name);
            let mut add = |kind, name: &str, secret| {
                made.push(Credential { issuer: issuer.clone(), kind, name: name.to_owned(), secret });
            };
            for user in &realm.users {
                add(Kind::Password, &user.username, Secret::password(entropy));
            }
            for client_id in realm.services.keys() {
                add(Kind::ClientSecret, client_id, Secret::token(entropy));
            }
            add(Kind::RegistrationToken, OWNERS_TOKEN, Secret::token(entropy));
        }
        made
    }
}

/// What [`fill`] could not do, and what is to be done after it.
#[must_use]
pub struct Filled {
    /// Names that there is no secret for; these were not made.
    pub without: Vec<String>,
    /// Whom to tell that sessions have ended.
    pub(crate) notices: Vec<Notice>,
}

/// Makes what a realm lacks, with the secrets of `credentials`: accounts and clients that are there keep their
/// passwords, secrets and changes, so it may be called again as often as wanted. An account that it was given before and is
/// wanted no more is disabled and its sessions end; it comes back as it was when it is wanted again.
pub fn fill(
    tx: &mut Tx<'_>,
    wanted: &WantedRealm,
    credentials: &[Credential],
    now: u64,
    entropy: &mut dyn Entropy,
) -> Filled {
    let issuer = tx.realm().issuer.clone();
    let own = credentials.iter().filter(|credential| credential.issuer == issuer);
    let secrets: HashMap<(Kind, &str), &Secret> =
        own.map(|credential| ((credential.kind, credential.name.as_str()), &credential.secret)).collect();
    let notices = declare(tx, wanted.users.iter().map(|user| user.username.to_lowercase()).collect());
    if let Some(token) = secrets.get(&(Kind::RegistrationToken, OWNERS_TOKEN)) {
        keep_owners(tx, token);
    }
    let mut without = Vec::new();
    for want in &wanted.users {
        if tx.realm().user_named(&want.username).is_some() {
            continue;
        }
        let Some(secret) = secrets.get(&(Kind::Password, want.username.as_str())) else {
            without.push(want.username.clone());
            continue;
        };
        let mut user = User::new(random_uuid(entropy), &want.username, now);
        user.email = Some(want.email.clone());
        user.roles = want.roles.iter().cloned().collect();
        user.password = Some(PasswordHash::new(secret, GENERATED, entropy));
        tx.put(Object::User(user));
    }
    for (client_id, roles) in &wanted.services {
        if tx.realm().clients.contains_key(client_id) {
            continue;
        }
        let Some(secret) = secrets.get(&(Kind::ClientSecret, client_id.as_str())) else {
            without.push(client_id.clone());
            continue;
        };
        let mut client = Client::new(client_id, now);
        client.secret_digest = Some(digest(secret.expose()));
        client.grant_types.insert(GrantType::ClientCredentials);
        client.roles = roles.iter().cloned().collect();
        tx.put(Object::Client(client));
    }
    Filled { without, notices }
}

/// Disables accounts that have left the spec and enables those that have come back.
fn declare(tx: &mut Tx<'_>, now: BTreeSet<String>) -> Vec<Notice> {
    let config = &tx.realm().config;
    if config.declared == now {
        return Vec::new();
    }
    let named = |name: &String| tx.realm().user_named(name).cloned();
    let gone: Vec<User> = config.declared.difference(&now).filter_map(named).collect();
    let back: Vec<User> = now.difference(&config.declared).filter_map(named).collect();
    let mut config = config.clone();
    config.declared = now;
    tx.put(Object::Realm(config));
    let mut notices = Vec::new();
    for user in gone {
        notices.extend(end_all(tx, &user.id));
        tx.put(Object::User(User { enabled: false, ..user }));
    }
    for user in back {
        tx.put(Object::User(User { enabled: true, ..user }));
    }
    notices
}
