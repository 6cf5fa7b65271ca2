//! The registry of a world: what worldd holds.
//!
//! A change goes one way: decided on the snapshot, tried on a draft of the zones, committed to the store, seen by readers,
//! published in DNS, answered. One at a time; a client that goes away does not stop it half-way.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use netengine_spec::Spec;

use crate::{
    decide::{self, Limits, Outcome},
    from_spec::{self, Wanted},
    lease::{self, Held, LeaseError},
    model::{Domain, Lease, Moment},
    names::{Names, NamesError},
    problem::{Kind, Problem},
    state::{Change, Object, State},
    store::{SqliteStore, StoreError},
};

/// Why a lease is not given or taken back.
#[derive(Debug, thiserror::Error)]
pub enum LeasingError {
    /// The pools do not have it.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The task that does it was ended.
    #[error("cannot finish the change: the service ends")]
    Ending,
}

/// A world's registry.
pub struct Registry {
    state: ArcSwap<State>,
    store: SqliteStore,
    names: Arc<dyn Names>,
    limits: Limits,
    writing: tokio::sync::Mutex<()>,
    /// What is committed and not in DNS, with what may be there instead: tried again with every change and tick.
    unpublished: Mutex<BTreeMap<String, Vec<Domain>>>,
}

/// Now, by the clock on the wall.
pub fn now() -> Moment {
    Moment(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
}

impl Registry {
    /// Loads what is kept, fills in the spec, and publishes every domain in DNS. The zones must be those that
    /// `netengine_dns::plan` makes of the same spec.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open(
        store: SqliteStore,
        names: Arc<dyn Names>,
        spec: &Spec,
        limits: Limits,
    ) -> Result<Arc<Self>, StoreError> {
        let state = State::default().after(&store.load().await?);
        let registry = Arc::new(Self {
            state: ArcSwap::from_pointee(state),
            store,
            names,
            limits,
            writing: tokio::sync::Mutex::default(),
            unpublished: Mutex::default(),
        });
        registry.fill(spec).await?;
        Ok(registry)
    }

    /// Makes the registry follow a changed spec and publishes every domain again; to be called after the zones follow the
    /// same spec (`Plan::apply`). Returns how many objects changed.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is changed then.
    pub async fn fill(self: &Arc<Self>, spec: &Spec) -> Result<usize, StoreError> {
        let _turn = self.writing.lock().await;
        self.names.follow(spec);
        let before = self.state.load_full();
        let changes = from_spec::fill(&before, &Wanted::of(spec), now());
        if !changes.is_empty() {
            self.store.commit(&changes).await?;
            self.state.store(Arc::new(before.after(&changes)));
        }
        self.publish_all(&before);
        Ok(changes.len())
    }

    /// Makes the leases those that the ANDs of the world have. Returns how many changed.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is changed then.
    pub async fn hold(self: &Arc<Self>, all: &[Held]) -> Result<usize, StoreError> {
        let _turn = self.writing.lock().await;
        let before = self.state.load_full();
        let changes = lease::hold(&before, all, now());
        if !changes.is_empty() {
            self.store.commit(&changes).await?;
            self.state.store(Arc::new(before.after(&changes)));
        }
        Ok(changes.len())
    }

    /// Publishes everything. What may be in the zones: what the state before said, what the spec before and the spec now
    /// say (that is what their plans put there).
    fn publish_all(&self, before: &State) {
        let after = self.state();
        let mut all: BTreeMap<&str, Vec<Domain>> = BTreeMap::new();
        for domain in before.domains() {
            all.entry(&domain.name).or_default().push(Domain::clone(domain));
        }
        for (name, domain) in before.declared().domains.iter().chain(&after.declared().domains) {
            all.entry(name).or_default().push(from_spec::initial(domain, Moment(0)));
        }
        for domain in after.domains() {
            all.entry(&domain.name).or_default();
        }
        for (name, before) in all {
            self.publish(name, before, after.domain(name).map(Arc::as_ref));
        }
    }

    /// Publishes one domain; what fails is tried again later.
    fn publish(&self, name: &str, before: Vec<Domain>, after: Option<&Domain>) -> bool {
        let borrowed: Vec<&Domain> = before.iter().collect();
        // Serials of zones are 32 bits of this time.
        let result = self.names.publish(&borrowed, after, now().0 as u32);
        let mut unpublished = self.unpublished.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(()) => {
                unpublished.remove(name);
                true
            }
            Err(error) => {
                tracing::error!(
                    service = "registry",
                    domain = name,
                    "{error}: {:?}",
                    std::error::Error::source(&error)
                );
                unpublished.entry(name.to_owned()).or_default().extend(before);
                false
            }
        }
    }

    /// Publishes again what could not be published.
    fn retry(&self) {
        let waiting = {
            let unpublished = self.unpublished.lock().unwrap_or_else(PoisonError::into_inner);
            unpublished.clone()
        };
        let state = self.state();
        for (name, before) in waiting {
            self.publish(&name, before, state.domain(&name).map(Arc::as_ref));
        }
    }

    /// Everything as it is now; it never changes in the reader's hands.
    pub fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    /// Everything as it is now, for a short look.
    pub fn look(&self) -> arc_swap::Guard<Arc<State>> {
        self.state.load()
    }

    /// How much an organisation may hold.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The domains that are committed and could not be published yet; a healthy registry has none.
    pub fn unpublished(&self) -> Vec<String> {
        self.unpublished.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Whether a name could be registered now.
    ///
    /// # Errors
    /// A [`Problem`] that says why not.
    pub fn check(&self, text: &str) -> Result<String, Problem> {
        let name = decide::check(&self.look(), text)?;
        self.names.check(None, &Domain::empty(&name)).map_err(refused)?;
        Ok(name)
    }

    /// Does what `decide` decides. Returns the domain after, when there is one.
    ///
    /// # Errors
    /// The [`Problem`] of the decision, of the zones, or [`Kind::Unavailable`]; nothing is changed then.
    pub async fn change(
        self: &Arc<Self>,
        decide: impl FnOnce(&State, Limits) -> Result<Outcome, Problem> + Send + 'static,
    ) -> Result<Option<Arc<Domain>>, Problem> {
        let registry = self.clone();
        let work = tokio::spawn(async move {
            let _turn = registry.writing.lock().await;
            registry.retry();
            let state = registry.state();
            let outcome = decide(&state, registry.limits)?;
            registry.conclude(&state, outcome).await
        });
        work.await.unwrap_or_else(|_| Err(unavailable()))
    }

    /// Tries, commits, shows, publishes. The caller holds the turn. What the draft took and publication then refuses is
    /// kept, told by [`Registry::unpublished`] and the health path, and tried again.
    async fn conclude(&self, state: &State, outcome: Outcome) -> Result<Option<Arc<Domain>>, Problem> {
        let Outcome { changes, before, after } = outcome;
        if changes.is_empty() {
            return Ok(after);
        }
        if let Some(after) = &after {
            self.names.check(before.as_deref(), after).map_err(refused)?;
        }
        self.store.commit(&changes).await.map_err(|error| {
            tracing::error!(service = "registry", "{error}: {:?}", std::error::Error::source(&error));
            if error.is_full() {
                Problem::new(Kind::Unavailable, "the server's disk is full; nothing was changed")
            } else {
                unavailable()
            }
        })?;
        self.state.store(Arc::new(state.after(&changes)));
        if let Some(name) = after.as_ref().or(before.as_ref()).map(|domain| domain.name.clone()) {
            let before = before.as_deref().cloned().into_iter().collect();
            self.publish(&name, before, after.as_deref());
        }
        Ok(after)
    }

    /// Changes what is not in DNS: organisations.
    ///
    /// # Errors
    /// The [`Problem`] of the decision, or [`Kind::Unavailable`].
    pub async fn change_other<T: Send + 'static>(
        self: &Arc<Self>,
        decide: impl FnOnce(&State) -> Result<(T, Vec<Change>), Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let registry = self.clone();
        let work = tokio::spawn(async move {
            let _turn = registry.writing.lock().await;
            let state = registry.state();
            let (result, changes) = decide(&state)?;
            registry.conclude(&state, Outcome { changes, before: None, after: None }).await?;
            Ok(result)
        });
        work.await.unwrap_or_else(|_| Err(unavailable()))
    }

    /// The network of an AND: the one it ever had, or a new one of the pools of its profile.
    ///
    /// # Errors
    /// [`LeasingError`].
    pub async fn lease(self: &Arc<Self>, and: &str, profile: &str) -> Result<Lease, LeasingError> {
        let (and, profile) = (and.to_owned(), profile.to_owned());
        self.leasing(move |state| lease::choose(state, &and, &profile, now())).await
    }

    /// Takes a network back; it stays the AND's.
    ///
    /// # Errors
    /// [`LeasingError`].
    pub async fn release(self: &Arc<Self>, and: &str) -> Result<Lease, LeasingError> {
        let and = and.to_owned();
        self.leasing(move |state| lease::release(state, &and, now())).await
    }

    async fn leasing(
        self: &Arc<Self>,
        decide: impl FnOnce(&State) -> Result<Lease, LeaseError> + Send + 'static,
    ) -> Result<Lease, LeasingError> {
        let registry = self.clone();
        let work = tokio::spawn(async move {
            let _turn = registry.writing.lock().await;
            let state = registry.state();
            let lease = decide(&state)?;
            if state.lease(&lease.and).map(Arc::as_ref) != Some(&lease) {
                let changes = [Change::Put(Object::Lease(lease.clone()))];
                registry.store.commit(&changes).await?;
                registry.state.store(Arc::new(state.after(&changes)));
            }
            Ok(lease)
        });
        work.await.unwrap_or(Err(LeasingError::Ending))
    }

    /// What time does by itself: expired domains leave DNS and are deleted later; what could not be published is tried
    /// again. To be called about once a minute.
    ///
    /// # Errors
    /// A [`Problem`] when the store fails.
    pub async fn tick(self: &Arc<Self>) -> Result<(), Problem> {
        let registry = self.clone();
        let work = tokio::spawn(async move {
            let _turn = registry.writing.lock().await;
            registry.retry();
            for outcome in decide::sweep(&registry.state(), now()) {
                let state = registry.state();
                registry.conclude(&state, outcome).await?;
            }
            Ok(())
        });
        work.await.unwrap_or_else(|_| Err(unavailable()))
    }
}

fn unavailable() -> Problem {
    Problem::new(Kind::Unavailable, "cannot keep the change now; try again later")
}

fn refused(error: NamesError) -> Problem {
    match error {
        NamesError::Reserved(_) => Problem::new(Kind::Reserved, error.to_string()).at("/name"),
        NamesError::NoZone(_) => Problem::new(Kind::InvalidName, error.to_string()).at("/name"),
        NamesError::Zone { ref source, .. } => Problem::new(Kind::Invalid, format!("{error}: {source}")).at("/records"),
    }
}
