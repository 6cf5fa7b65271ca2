//! The authority and its ACME server as worldd holds them: the pure parts joined with clock, store and network.

mod background;
mod inventory;
mod publish;
mod renewal;

pub use background::Background;
pub use inventory::{Listed, OwnCertificate, OwnError};
pub use publish::Published;
pub use renewal::{Renewal, keep_fresh};

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Instant, SystemTime},
};

use tokio::sync::mpsc;

use crate::{
    acme::{
        self, Change, Command, Context, Effect, Entropy, Id, Limits, Nonces, Policy, Probe, Problem, Rendered, Reply,
        State, Urls,
    },
    ca::{Authority, CaError, Level},
    clock::Now,
    store::{Halted, Journal, Store, StoreError},
    validate::Connect,
};

/// How many challenges may wait to be looked at.
const PROBES: usize = 4096;

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store cannot be read or written.
    #[error("cannot open the authority")]
    Store(#[from] StoreError),
    /// The authority cannot be made from what is kept.
    #[error("cannot open the authority")]
    Authority(#[from] CaError),
    /// No randomness.
    #[error("cannot open the authority: there is no randomness")]
    Random,
}

/// What is known and counted, behind one lock that is never held across an await.
struct Machine {
    state: State,
    nonces: Nonces,
    limits: Limits,
    /// What memory knows is not what the store knows; nothing is decided until it is read anew.
    halted: Option<Halted>,
}

/// The authority with its ACME server.
pub struct Service<S> {
    machine: Mutex<Machine>,
    authority: Authority,
    policy: Policy,
    urls: Urls,
    journal: Journal,
    store: Arc<S>,
    probes: mpsc::Sender<Probe>,
    started: Instant,
    published: publish::Cache,
}

/// What an ACME request is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Status, headers and body, or the problem.
    pub result: Result<Body, Problem>,
    /// The next nonce.
    pub nonce: String,
}

/// A successful answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// An object.
    Object(Rendered),
    /// A certificate with its chain, PEM.
    Chain(String),
}

/// The system's randomness.
struct System;

impl Entropy for System {
    fn fill(&mut self, buffer: &mut [u8]) {
        // It fails only where the library could not be set up, and then no key could have been made before.
        aws_lc_rs::rand::fill(buffer).expect("the library gives random bytes once it has given some");
    }
}

impl<S: Store> Service<S> {
    /// Opens the authority that the store keeps, or makes one; reads everything that was issued.
    ///
    /// `origin` is where ACME is served, `https://NAME`. The second value must be run for as long as the service is
    /// used: it writes to the store and looks at challenges.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open<C: Connect>(
        config: crate::ca::Config,
        policy: Policy,
        origin: &str,
        store: S,
        connect: C,
    ) -> Result<(Arc<Self>, Background<S, C>), OpenError> {
        let kept = store.material().await?;
        let (authority, material) = Authority::open(config, kept.clone(), unix_seconds())?;
        if kept.as_ref() != Some(&material) {
            store.keep_material(&material).await?;
        }
        let mut state = State::from_changes(store.load().await?);
        state.forget_expired(unix_seconds());
        let urls = Urls::new(origin, authority.signer(Level::Issuing).key_identifier());
        let unfinished = acme::resume(&state, &urls);
        let nonces = Nonces::new().map_err(|_| OpenError::Random)?;
        let machine = Machine { state, nonces, limits: Limits::default(), halted: None };
        let store = Arc::new(store);
        let (journal, writer) = Journal::new(store.clone());
        let (probes, queue) = mpsc::channel(PROBES);
        let service = Arc::new(Self {
            machine: Mutex::new(machine),
            authority,
            policy,
            urls,
            journal,
            store,
            probes,
            started: Instant::now(),
            published: publish::Cache::default(),
        });
        let background = Background::new(service.clone(), writer, queue, unfinished, connect);
        Ok((service, background))
    }

    /// The authority.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The store.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// Where things are.
    pub fn urls(&self) -> &Urls {
        &self.urls
    }

    /// What the operator chose.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        // A panic while deciding has applied nothing or everything of a decision: `apply` comes last.
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Now {
        Now { wall: unix_seconds(), monotonic_ms: self.started.elapsed().as_millis() as u64 }
    }

    /// A fresh nonce.
    pub fn nonce(&self) -> String {
        self.machine().nonces.issue()
    }

    /// Answers an ACME request that was sent to `url` from `source`.
    pub async fn answer(&self, command: &Command, url: &str, body: &[u8], source: IpAddr) -> Answer {
        let result = self.result(command, url, body, source).await;
        Answer { result, nonce: self.nonce() }
    }

    async fn result(&self, command: &Command, url: &str, body: &[u8], source: IpAddr) -> Result<Body, Problem> {
        let place = self.journal.place().await.map_err(halted)?;
        let (rendered, certificate, kept, probes) = {
            let mut machine = self.machine();
            if let Some(why) = machine.halted {
                return Err(halted(why));
            }
            let now = self.now();
            let Machine { state, nonces, limits, .. } = &mut *machine;
            if state.certificate_count() >= self.policy.certificates {
                state.forget_expired(now.wall);
            }
            let signed = acme::authenticate(state, nonces, &self.urls, url, body)?;
            let mut context =
                Context { state, policy: &self.policy, urls: &self.urls, limits, entropy: &mut System, now, source };
            let mut outcome = acme::decide(&mut context, command, &signed)?;
            let mut probes = Vec::new();
            for effect in outcome.effects {
                match effect {
                    Effect::Validate(probe) => probes.push(probe),
                    Effect::Issue { order, request } => {
                        outcome.changes.extend(self.issue(state, &order, &request, now)?);
                    }
                }
            }
            outcome.changes.iter().for_each(|change| state.apply(change));
            let rendered = acme::render(state, &self.urls, &outcome.reply, now.wall);
            let certificate = match outcome.reply {
                Reply::Certificate(serial) => Some(serial),
                _ => None,
            };
            self.published.note(&outcome.changes);
            (rendered, certificate, place.hand_over(outcome.changes), probes)
        };
        kept.wait().await.map_err(halted)?;
        for probe in probes {
            self.look(probe).await;
        }
        match certificate {
            None => Ok(Body::Object(rendered)),
            Some(serial) => match self.store.certificate(serial).await {
                Ok(Some(der)) => Ok(Body::Chain(self.authority.chain_pem(&der))),
                Ok(None) => Err(Problem::absent("certificate")),
                Err(error) => {
                    tracing::error!(service = "pki", "{error}");
                    Err(Problem::internal())
                }
            },
        }
    }

    /// Signs what an order asks for.
    fn issue(&self, state: &State, order: &Id, request: &crate::ca::Request, now: Now) -> Result<Vec<Change>, Problem> {
        let profile = state.order(order).and_then(|order| self.policy.profiles.get(&order.profile));
        let profile = profile.ok_or_else(|| Problem::absent("profile"))?;
        let leaf = self.authority.issue(&request.identifiers, &request.key, profile, now.wall).map_err(|error| {
            tracing::error!(service = "pki", "{error}");
            Problem::internal()
        })?;
        acme::issued(state, order, &leaf, &request.key)
    }

    /// Queues a challenge; when the queue is full the challenge has failed and the client may order again.
    async fn look(&self, probe: Probe) {
        if let Err(mpsc::error::TrySendError::Full(probe)) = self.probes.try_send(probe) {
            let mut busy = Problem::new(acme::Kind::RateLimited, "too many challenges wait to be looked at");
            busy.retry_after_secs = Some(60);
            self.conclude(&probe, Err(busy)).await;
        }
    }

    /// Applies what came of a challenge.
    async fn conclude(&self, probe: &Probe, verdict: acme::Verdict) {
        let Ok(place) = self.journal.place().await else { return };
        let kept = {
            let mut machine = self.machine();
            if machine.halted.is_some() {
                return;
            }
            let now = self.now();
            let Machine { state, limits, .. } = &mut *machine;
            let mut context = Context {
                state,
                policy: &self.policy,
                urls: &self.urls,
                limits,
                entropy: &mut System,
                now,
                source: IpAddr::from([0; 4]),
            };
            let changes = acme::validated(&mut context, probe, verdict);
            changes.iter().for_each(|change| state.apply(change));
            place.hand_over(changes)
        };
        // A verdict that was not kept is looked for again when the state is read anew.
        let _ = kept.wait().await;
    }

    /// When to renew a certificate (RFC 9773, section 4.2).
    ///
    /// # Errors
    /// `malformed` with the status 404 for a certificate that is not known.
    pub fn renewal_info(&self, id: &str) -> Result<Rendered, Problem> {
        let serial = self.urls.renewal_serial(id).ok_or_else(|| Problem::absent("certificate"))?;
        let now = unix_seconds();
        let machine = self.machine();
        let certificate = machine.state.certificate(serial).ok_or_else(|| Problem::absent("certificate"))?;
        Ok(acme::renewal_info(certificate, now))
    }
}

fn halted(why: Halted) -> Problem {
    let mut problem = match why {
        // RFC 4918, section 11.5. Its detail is what live checks know a full disk by.
        Halted::Full => Problem::new(acme::Kind::ServerInternal, "the server's disk is full; nothing was changed"),
        Halted::Refused => Problem::internal(),
    }
    .with_status(if why == Halted::Full { 507 } else { 503 });
    problem.retry_after_secs = Some(5);
    problem
}

/// The clock on the wall.
pub(crate) fn unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
