//! The state of one provider and the way changes reach the store.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aws_lc_rs::hmac;
use tokio::sync::{Semaphore, mpsc};

use crate::{
    client::{Client, GrantType},
    from_spec::{self, Credential, WantedRealm},
    jose::{Algorithm, Key, KeyError},
    realm::{Realm, RealmConfig},
    secret::{Entropy, Kernel, Secret, digest},
    session::{self, Notice, Session},
    state::{Object, Tx, Write, apply, sweep},
    store::{Store, StoreError},
    throttle::{Rate, Throttle},
    token,
    user::{CHOSEN, Checked, MAX_PASSWORD_BYTES, PasswordHash, check_password},
    web::request::Moment,
};

/// Attempts to log in to one account: ten, then one every 30 s.
const ACCOUNT_RATE: Rate = Rate { burst: 10, refill_ms: 30_000 };
/// Attempts to log in, or to guess device codes, of one source address: 60, then one every 2 s.
const SOURCE_RATE: Rate = Rate { burst: 60, refill_ms: 2_000 };
/// Keys each throttle remembers.
const THROTTLE_KEYS: usize = 20_000;
/// Passwords that may wait for their turn to be hashed; more are told to come again.
const MAX_WAITING: usize = 64;
/// Changes that may wait for a store that fails; beyond it nothing is changed any more.
const MAX_PENDING: usize = 10_000;

/// How long a new key is served before it signs, seconds: longer than documents are kept and clients wait between looks.
pub const NOTICE_S: u64 = 600;

/// Where a provider lives.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `https://NAME`, without a slash at the end; issuers are `BASE/realms/REALM`.
    pub base: String,
    /// The realm whose accounts with the role `admin` may administer every realm.
    pub admin_realm: Option<String>,
}

/// A token that tells a client of a logout, to be posted as `logout_token=...` (Back-Channel Logout, 2.5).
pub struct Delivery {
    /// Where to.
    pub uri: String,
    /// The token.
    pub logout_token: String,
}

/// Why a provider cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The base is not `http://NAME` or `https://NAME`.
    #[error("cannot use {0:?} as the base of issuers")]
    Base(String),
    /// The store cannot be read.
    #[error("cannot load the OpenID provider")]
    Store(#[from] StoreError),
    /// A stored key is damaged.
    #[error("cannot load the OpenID provider's keys")]
    Key(#[from] KeyError),
}

/// Why a change is not made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// There is no such realm.
    #[error("cannot find the realm")]
    NoRealm,
    /// The store fails; the change may or may not be there after a restart.
    #[error("cannot store a change of the OpenID provider")]
    Store(#[from] StoreError),
    /// Too many changes wait for a failing store.
    #[error("cannot take more changes before the store works again")]
    Full,
    /// A key cannot be made.
    #[error("cannot change the keys of a realm")]
    Key(#[from] KeyError),
}

struct Inner {
    realms: BTreeMap<String, Realm>,
    /// Changes not yet in the store, in order; `flushed + pending.len()` is the number of all changes.
    pending: Vec<Write>,
    flushed: u64,
    accounts: Throttle<String>,
    sources: Throttle<IpAddr>,
}

/// An OpenID provider: some realms under one name.
pub struct Provider {
    pub(crate) base: String,
    /// What the header `Host` must say.
    pub(crate) authority: String,
    pub(crate) is_secure: bool,
    pub(crate) admin_realm: Option<String>,
    pub(crate) csrf: hmac::Key,
    inner: Mutex<Inner>,
    store: Arc<dyn Store>,
    flushing: tokio::sync::Mutex<()>,
    waiting: Semaphore,
    hashing: Semaphore,
    outbox: mpsc::Sender<Delivery>,
}

/// How a login ends.
pub(crate) enum Login {
    In(Session, Secret),
    Wrong,
    TooOften,
    Busy,
}

impl Provider {
    /// Loads a provider. Logout notices go to `outbox`; when it is full they are dropped, with a warning.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(
        settings: Settings,
        store: Arc<dyn Store>,
        outbox: mpsc::Sender<Delivery>,
    ) -> Result<Arc<Self>, OpenError> {
        let bad = || OpenError::Base(settings.base.clone());
        let (scheme, authority) = settings.base.split_once("://").ok_or_else(bad)?;
        if !matches!(scheme, "http" | "https") || authority.is_empty() || authority.contains(['/', '?', '#', '@']) {
            return Err(bad());
        }
        let mut realms: BTreeMap<String, Realm> = BTreeMap::new();
        for write in store.load().await? {
            match &write.object {
                Object::Realm(config) => {
                    realms.insert(config.name.clone(), Realm::new(&settings.base, config.clone()));
                }
                _ => {
                    let realm = realms.get_mut(&write.realm).ok_or(StoreError::Damaged)?;
                    apply(realm, write)?;
                }
            }
        }
        let mut secret = [0; 32];
        Kernel.fill(&mut secret);
        Ok(Arc::new(Self {
            authority: authority.to_ascii_lowercase(),
            is_secure: scheme == "https",
            base: settings.base,
            admin_realm: settings.admin_realm,
            csrf: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            inner: Mutex::new(Inner {
                realms,
                pending: Vec::new(),
                flushed: 0,
                accounts: Throttle::new(ACCOUNT_RATE, THROTTLE_KEYS),
                sources: Throttle::new(SOURCE_RATE, THROTTLE_KEYS),
            }),
            store,
            flushing: tokio::sync::Mutex::new(()),
            waiting: Semaphore::new(MAX_WAITING),
            hashing: Semaphore::new(1),
            outbox,
        }))
    }

    /// Never held over an await.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at a realm; one that is closed is none.
    pub fn read<T>(&self, realm: &str, look: impl FnOnce(&Realm) -> T) -> Option<T> {
        self.lock().realms.get(realm).filter(|realm| !realm.config.is_closed).map(look)
    }

    /// The names of all realms but the closed ones.
    pub fn realm_names(&self) -> Vec<String> {
        let inner = self.lock();
        let open = inner.realms.iter().filter(|(_, realm)| !realm.config.is_closed);
        open.map(|(name, _)| name.clone()).collect()
    }

    /// Makes a realm and what it lacks (see [`from_spec::fill`]); it is open then. Returns the names it has no secret for.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn fill(
        &self,
        wanted: &WantedRealm,
        credentials: &[Credential],
        now: u64,
    ) -> Result<Vec<String>, ChangeError> {
        let name = &wanted.config.name;
        self.create_realm(wanted.config.clone(), now).await?;
        let filled = self.change(name, |tx| from_spec::fill(tx, wanted, credentials, now, &mut Kernel)).await?;
        self.tell(name, filled.notices, now);
        Ok(filled.without)
    }

    /// Closes every other realm: its sessions and tokens end, and it answers like none until it is made again.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn close_others(&self, wanted: &BTreeSet<&str>, now: u64) -> Result<(), ChangeError> {
        for name in self.realm_names().iter().filter(|name| !wanted.contains(name.as_str())) {
            let end_everything = |tx: &mut Tx<'_>| {
                let users: Vec<String> = tx.realm().users.keys().cloned().collect();
                users.iter().flat_map(|user| session::end_all(tx, user)).collect()
            };
            let notices = self.change(name, end_everything).await?;
            // Signed while the realm still has keys for others.
            self.tell(name, notices, now);
            self.change(name, |tx| {
                let config = RealmConfig { is_closed: true, ..tx.realm().config.clone() };
                tx.put(Object::Realm(config));
            })
            .await?;
        }
        Ok(())
    }

    /// Changes a realm that is open; returns when the change is in the store.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn change<T>(&self, realm: &str, change: impl FnOnce(&mut Tx<'_>) -> T) -> Result<T, ChangeError> {
        match self.read(realm, |_| ()) {
            Some(()) => self.change_any(realm, change).await,
            None => Err(ChangeError::NoRealm),
        }
    }

    /// As [`Provider::change`], closed realms as well.
    async fn change_any<T>(&self, realm: &str, change: impl FnOnce(&mut Tx<'_>) -> T) -> Result<T, ChangeError> {
        if self.lock().pending.len() >= MAX_PENDING {
            self.settle().await?;
        }
        let (result, upto) = {
            let mut inner = self.lock();
            let inner = &mut *inner;
            let realm = inner.realms.get_mut(realm).ok_or(ChangeError::NoRealm)?;
            if inner.pending.len() >= MAX_PENDING {
                return Err(ChangeError::Full);
            }
            let mut tx = Tx::new(realm);
            let result = change(&mut tx);
            let writes = tx.finish();
            if writes.is_empty() {
                return Ok(result);
            }
            inner.pending.extend(writes);
            (result, inner.flushed + inner.pending.len() as u64)
        };
        self.flush(upto).await?;
        Ok(result)
    }

    /// Stores what a store that failed has left waiting.
    async fn settle(&self) -> Result<(), StoreError> {
        let upto = {
            let inner = self.lock();
            inner.flushed + inner.pending.len() as u64
        };
        self.flush(upto).await
    }

    /// Writes what waits, in one transaction; requests that wait for the same flush share it. May be dropped at any
    /// point: changes leave the queue only once they are stored, and storing them twice does no harm.
    async fn flush(&self, upto: u64) -> Result<(), StoreError> {
        let _turn = self.flushing.lock().await;
        let batch = {
            let inner = self.lock();
            if inner.flushed >= upto {
                return Ok(());
            }
            inner.pending.clone()
        };
        self.store.commit(&batch).await?;
        let mut inner = self.lock();
        inner.pending.drain(..batch.len());
        inner.flushed += batch.len() as u64;
        Ok(())
    }

    /// Makes a realm with a signing key, or gives an existing one these settings; writes nothing when it has them.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn create_realm(&self, config: RealmConfig, now: u64) -> Result<(), ChangeError> {
        let name = config.name.clone();
        let is_new = {
            let mut inner = self.lock();
            let is_new = !inner.realms.contains_key(&name);
            inner.realms.entry(name.clone()).or_insert_with(|| Realm::new(&self.base, config.clone()));
            is_new
        };
        let key = Key::generate(Algorithm::Es256, now)?;
        self.change_any(&name, |tx| {
            let mut config = config;
            config.declared.clone_from(&tx.realm().config.declared);
            // Roles that an administrator made stay.
            for (role, text) in &tx.realm().config.roles {
                config.roles.entry(role.clone()).or_insert_with(|| text.clone());
            }
            if is_new || config != tx.realm().config {
                tx.put(Object::Realm(config));
            }
            if tx.realm().keys.signer(Algorithm::Es256, now).is_none() {
                tx.put(Object::Key(key.kid.clone(), key.stored.clone()));
            }
        })
        .await
    }

    /// Replaces the signing keys of a realm. The new ones are served at once and sign after `notice_s` seconds: clients
    /// that were just here do not look again at once. The old ones are served until their last token has ended.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn rotate_keys(&self, realm: &str, notice_s: u64, now: u64) -> Result<(), ChangeError> {
        let old: Vec<_> = self
            .read(realm, |realm| {
                let live = realm.keys.0.iter().filter(|key| key.stored.retired_at.is_none());
                live.map(|key| (key.kid.clone(), key.stored.clone())).collect()
            })
            .ok_or(ChangeError::NoRealm)?;
        let mut fresh = Vec::new();
        for (_, stored) in &old {
            let mut key = generate(stored.algorithm, now).await?;
            key.stored.signs_from = now + notice_s;
            fresh.push(key);
        }
        self.change(realm, |tx| {
            for (kid, mut stored) in old {
                stored.retired_at = Some(now + notice_s);
                tx.put(Object::Key(kid, stored));
            }
            for key in fresh {
                tx.put(Object::Key(key.kid.clone(), key.stored.clone()));
            }
        })
        .await
    }

    /// What time does by itself: stores what waits since the store failed, ends what has ended and replaces keys that are due.
    /// To be called about once a minute.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn tick(&self, now: u64) -> Result<(), ChangeError> {
        self.settle().await?;
        for name in self.realm_names() {
            let is_due = self.read(&name, |realm| {
                let age_s = realm.config.rotate_s;
                let signing = realm.keys.0.iter().filter(|key| key.stored.retired_at.is_none());
                age_s > 0 && signing.map(|key| key.stored.created_at).any(|at| at.saturating_add(age_s) <= now)
            });
            if is_due == Some(true) {
                self.rotate_keys(&name, NOTICE_S, now).await?;
            }
            self.change(&name, |tx| sweep(tx, now)).await?;
        }
        Ok(())
    }

    /// Makes the RSA key of a realm when a client there needs it and the key set or a token is asked for first: it takes
    /// some 100 ms, and a world of a hundred realms has no time for that at its start.
    pub(crate) async fn prepare(&self, realm: &str, now: u64) -> Result<(), ChangeError> {
        let needs = |client: &Client| {
            client.id_token_alg == Algorithm::Rs256
                && (client.may(GrantType::AuthorizationCode) || client.may(GrantType::DeviceCode))
        };
        let lacks =
            |realm: &Realm| realm.keys.signer(Algorithm::Rs256, now).is_none() && realm.clients.values().any(needs);
        if self.read(realm, lacks) != Some(true) {
            return Ok(());
        }
        let key = generate(Algorithm::Rs256, now).await?;
        self.change(realm, |tx| {
            if tx.realm().keys.signer(Algorithm::Rs256, now).is_none() {
                tx.put(Object::Key(key.kid.clone(), key.stored.clone()));
            }
        })
        .await
    }

    /// Takes one attempt of `source`; false: too many.
    pub(crate) fn may_try(&self, source: IpAddr, moment: Moment) -> bool {
        self.lock().sources.take(&source, moment.monotonic_ms).is_ok()
    }

    /// Checks a password and begins a session.
    pub(crate) async fn log_in(
        &self,
        realm: &str,
        username: &str,
        password: Secret,
        source: IpAddr,
        moment: Moment,
    ) -> Result<Login, ChangeError> {
        let account = digest(&format!("{realm}\0{}", username.to_lowercase()));
        {
            let mut inner = self.lock();
            let is_allowed = inner.sources.take(&source, moment.monotonic_ms).is_ok()
                && inner.accounts.take(&account, moment.monotonic_ms).is_ok();
            if !is_allowed {
                return Ok(Login::TooOften);
            }
        }
        if password.expose().len() > MAX_PASSWORD_BYTES {
            return Ok(Login::Wrong);
        }
        let Ok(_place) = self.waiting.try_acquire() else { return Ok(Login::Busy) };
        // One at a time: each takes 12 MiB and a core.
        let Ok(_turn) = self.hashing.acquire().await else { return Ok(Login::Busy) };
        // Looked up in turn: the login before this one may have replaced the hash of the same account by a dearer one.
        let (user_id, stored) = {
            let inner = self.lock();
            let realm = inner.realms.get(realm).ok_or(ChangeError::NoRealm)?;
            let user = realm.user_named(username).filter(|user| user.enabled);
            (user.map(|user| user.id.clone()), user.and_then(|user| user.password.clone()))
        };
        let check = tokio::task::spawn_blocking(move || {
            let checked = check_password(stored.as_ref(), &password, &mut Kernel);
            (checked, stored)
        });
        let Ok((checked, judged)) = check.await else { return Ok(Login::Busy) };
        let (Some(user_id), Checked::Right | Checked::Upgrade(_)) = (user_id, &checked) else {
            return Ok(Login::Wrong);
        };
        let begun = self
            .change(realm, |tx| {
                // The account may have changed while the password was hashed.
                let user = tx.realm().users.get(&user_id).filter(|user| user.enabled).cloned()?;
                if user.password != judged {
                    return None;
                }
                if let Checked::Upgrade(hash) = checked {
                    tx.put(Object::User(crate::user::User { password: Some(hash), ..user }));
                }
                Some(session::create(tx, &user_id, moment.unix_s, &mut Kernel))
            })
            .await?;
        let mut inner = self.lock();
        inner.sources.give_back(&source);
        inner.accounts.give_back(&account);
        Ok(begun.map_or(Login::Wrong, |(session, cookie)| Login::In(session, cookie)))
    }

    /// Hashes a password that a person chose; absent: too many wait for theirs.
    pub(crate) async fn hash(&self, password: Secret) -> Option<PasswordHash> {
        let _place = self.waiting.try_acquire().ok()?;
        let _turn = self.hashing.acquire().await.ok()?;
        tokio::task::spawn_blocking(move || PasswordHash::new(&password, CHOSEN, &mut Kernel)).await.ok()
    }

    /// Ends a session and tells the clients that want to know.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub async fn end_session(&self, realm: &str, sid: &str, now: u64) -> Result<(), ChangeError> {
        let notices = self.change(realm, |tx| session::end(tx, sid)).await?;
        self.tell(realm, notices, now);
        Ok(())
    }

    /// Queues logout notices.
    pub(crate) fn tell(&self, realm: &str, notices: Vec<Notice>, now: u64) {
        for notice in notices {
            let minted = self.read(realm, |realm| {
                let client = realm.clients.get(&notice.client_id)?;
                token::mint_logout(realm, client, &notice, now, &mut Kernel).ok()
            });
            let Some(logout_token) = minted.flatten() else { continue };
            if self.outbox.try_send(Delivery { uri: notice.uri, logout_token }).is_err() {
                tracing::warn!(client = %notice.client_id, "a logout notice is dropped: too many wait");
            }
        }
    }
}

async fn generate(algorithm: Algorithm, now: u64) -> Result<Key, KeyError> {
    tokio::task::spawn_blocking(move || Key::generate(algorithm, now)).await.map_err(|_| KeyError)?
}
