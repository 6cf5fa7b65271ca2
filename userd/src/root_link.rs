//! Calls to rootd: one connection, made again when it breaks, with a deadline on every call.
//!
//! A call that meets a broken connection or a restarting rootd is made again with the same idempotency key until rootd
//! has been away for [`AWAY_TIME`]. Worlds keep running meanwhile; rootd adopts them when it is back.

use std::{
    future::Future,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use netengine_proto::{
    api::{Problem, ProblemKind},
    bounded::Bounded,
    ids::{CallKey, ProcessId, Ticket, Uid, WorldId},
    limits,
    names::HostName,
    plan::NetworkPlan,
    root::{
        Applied, Deleted, Feature, FlowProbe, FlowSeen, HeldProcess, HeldWorld, Hello, Observed, Program, ROOT_VERSION,
        RootClient, RootError, RootEvents, UplinkOffer,
    },
    trust::Trust,
    wire,
};
use tarpc::{client::RpcError, context::Context};
use tokio::{net::UnixStream, sync::Mutex, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::problem::problem;

/// How long a call waits for a rootd that is away.
pub const AWAY_TIME: Duration = Duration::from_secs(5);
/// A call that changes the kernel: a thousand namespaces take seconds on a busy host.
const LONG: Duration = Duration::from_secs(55);
/// A call that reads.
const SHORT: Duration = Duration::from_secs(10);
/// First and longest wait between two tries.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(320));

/// Why rootd did not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootLinkError {
    /// It cannot be reached, or restarts for too long.
    #[error("rootd does not answer")]
    Away,
    /// It took the call and did not answer in time.
    #[error("rootd did not finish in time")]
    Late,
    /// It answered that it will not or cannot.
    #[error("rootd: {0}")]
    Root(#[from] RootError),
}

impl RootLinkError {
    /// The problem a caller sees; `what` is the first line.
    pub fn problem(&self, what: impl Into<String>) -> Problem {
        let (kind, help) = match self {
            RootLinkError::Away | RootLinkError::Late => {
                (ProblemKind::Engine, "see `systemctl status netengine-rootd` and `netengine doctor`")
            }
            RootLinkError::Root(error) => match error {
                RootError::Version { .. } => (ProblemKind::Engine, "upgrade the older one and restart both services"),
                RootError::Busy | RootError::Restarting => (ProblemKind::Engine, "try again"),
                RootError::Refused => (ProblemKind::Refused, "run it as an ordinary user"),
                RootError::Limit(_) => (ProblemKind::Quota, "remove a world with `netengine down NAME`"),
                RootError::Journal(_) => (ProblemKind::Failed, "free space in /run, then try again"),
                RootError::NotFound | RootError::InvalidPlan(_) | RootError::Kernel { .. } => {
                    (ProblemKind::Failed, "run `netengine doctor`; the log of netengine-rootd has the details")
                }
            },
        };
        problem(kind, what, self.to_string(), help)
    }
}

struct Connected {
    client: RootClient,
    hello: Hello,
    generation: u64,
    // Ends the task that drives the connection.
    _dispatch: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct State {
    connected: Option<Arc<Connected>>,
    generation: u64,
}

/// The connection to rootd.
#[derive(Clone)]
pub struct RootLink {
    path: Arc<PathBuf>,
    // Held while connecting, so that many callers make one connection.
    state: Arc<Mutex<State>>,
}

type Called<T> = Result<Result<T, RootError>, RpcError>;

impl RootLink {
    /// A link to the rootd that listens at `path`. Connects with the first call.
    pub fn new(path: PathBuf) -> Self {
        Self { path: Arc::new(path), state: Arc::default() }
    }

    async fn connected(&self) -> Result<Arc<Connected>, RootLinkError> {
        let mut state = self.state.lock().await;
        if let Some(connected) = &state.connected {
            return Ok(connected.clone());
        }
        let connecting = async {
            let stream = UnixStream::connect(self.path.as_path()).await.map_err(|_| RootLinkError::Away)?;
            let new = RootClient::new(tarpc::client::Config::default(), wire::client_transport(stream));
            let dispatch = tokio::spawn(async move {
                if let Err(error) = new.dispatch.await {
                    tracing::debug!(%error, "connection to rootd ended");
                }
            });
            let dispatch = AbortOnDropHandle::new(dispatch);
            let hello = new.client.hello(context(SHORT), ROOT_VERSION).await.map_err(|_| RootLinkError::Away)??;
            Ok::<_, RootLinkError>((new.client, hello, dispatch))
        };
        let (client, hello, dispatch) = timeout(AWAY_TIME, connecting).await.map_err(|_| RootLinkError::Away)??;
        state.generation += 1;
        let generation = state.generation;
        let connected = Arc::new(Connected { client, hello, generation, _dispatch: dispatch });
        state.connected = Some(connected.clone());
        Ok(connected)
    }

    async fn forget(&self, generation: u64) {
        let mut state = self.state.lock().await;
        if state.connected.as_ref().is_some_and(|connected| connected.generation == generation) {
            state.connected = None;
        }
    }

    async fn call<T, F>(&self, time: Duration, make: impl Fn(RootClient, Context) -> F) -> Result<T, RootLinkError>
    where
        F: Future<Output = Called<T>>,
    {
        let (mut away_since, mut pause) = (None, BACKOFF.0);
        loop {
            let error = match self.connected().await {
                Ok(connected) => match make(connected.client.clone(), context(time)).await {
                    Ok(Ok(answer)) => return Ok(answer),
                    Ok(Err(error @ (RootError::Restarting | RootError::Busy))) => error.into(),
                    Ok(Err(error)) => return Err(error.into()),
                    Err(RpcError::DeadlineExceeded) => return Err(RootLinkError::Late),
                    Err(error) => {
                        tracing::debug!(%error, "rootd went away");
                        self.forget(connected.generation).await;
                        RootLinkError::Away
                    }
                },
                Err(error @ RootLinkError::Root(RootError::Version { .. })) => return Err(error),
                Err(error) => error,
            };
            if away_since.get_or_insert_with(Instant::now).elapsed() >= AWAY_TIME {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
    }

    /// rootd's greeting, and the number of the connection: another number means that rootd may have been restarted.
    ///
    /// # Errors
    /// [`RootLinkError`] when it does not answer.
    pub async fn hello(&self) -> Result<(Hello, u64), RootLinkError> {
        let connected = self.connected().await?;
        Ok((connected.hello.clone(), connected.generation))
    }

    /// See [`netengine_proto::root::Root::apply_network`].
    ///
    /// # Errors
    /// [`RootLinkError`]; as for all calls.
    pub async fn apply_network(&self, key: CallKey, plan: &NetworkPlan) -> Result<Applied, RootLinkError> {
        self.call(LONG, |root, context| {
            let plan = plan.clone();
            async move { root.apply_network(context, key, plan).await }
        })
        .await
    }

    /// See [`netengine_proto::root::Root::delete_world`].
    ///
    /// # Errors
    /// [`RootLinkError`]
    pub async fn delete_world(&self, key: CallKey, world: WorldId, owner: Uid) -> Result<Deleted, RootLinkError> {
        self.call(LONG, |root, context| async move { root.delete_world(context, key, world, owner).await }).await
    }

    /// What rootd sees of a world; `None` when it holds no such world of this owner.
    ///
    /// # Errors
    /// [`RootLinkError`]
    pub async fn observe_network(
        &self,
        world: WorldId,
        owner: Uid,
        lists: bool,
    ) -> Result<Option<Observed>, RootLinkError> {
        let call = |root: RootClient, context| async move { root.observe_network(context, world, owner, lists).await };
        match self.call(SHORT, call).await {
            Err(RootLinkError::Root(RootError::NotFound)) => Ok(None),
            other => other.map(Some),
        }
    }

    /// See [`netengine_proto::root::Root::list_worlds`].
    ///
    /// # Errors
    /// [`RootLinkError`]
    pub async fn list_worlds(&self) -> Result<Vec<HeldWorld>, RootLinkError> {
        self.call(SHORT, |root, context| async move { root.list_worlds(context).await }).await
    }

    /// See [`netengine_proto::root::Root::start_program`].
    ///
    /// # Errors
    /// [`RootLinkError`]
    pub async fn start_program(
        &self,
        key: CallKey,
        world: WorldId,
        owner: Uid,
        program: &Program,
    ) -> Result<ProcessId, RootLinkError> {
        self.call(SHORT, |root, context| {
            let program = program.clone();
            async move { root.start_program(context, key, world, owner, program).await }
        })
        .await
    }

    /// See [`netengine_proto::root::Root::stop_process`].
    ///
    /// # Errors
    /// [`RootLinkError`]
    pub async fn stop_process(&self, world: WorldId, owner: Uid, process: ProcessId) -> Result<(), RootLinkError> {
        self.call(SHORT, |root, context| async move { root.stop_process(context, world, owner, process).await }).await
    }

    /// The processes of a world; none when rootd holds no such world.
    ///
    /// # Errors
    /// [`RootLinkError`]
    pub async fn list_processes(&self, world: WorldId, owner: Uid) -> Result<Vec<HeldProcess>, RootLinkError> {
        let call = |root: RootClient, context| async move { root.list_processes(context, world, owner).await };
        match self.call(SHORT, call).await {
            Err(RootLinkError::Root(RootError::NotFound)) => Ok(Vec::new()),
            other => other,
        }
    }

    /// See [`netengine_proto::root::Root::grant_exec`].
    ///
    /// # Errors
    /// [`RootLinkError`]
    pub async fn grant_exec(
        &self,
        world: WorldId,
        owner: Uid,
        host: &HostName,
        user: Uid,
        trust: &Trust,
    ) -> Result<Ticket, RootLinkError> {
        self.call(SHORT, |root, context| {
            let (host, trust) = (host.clone(), trust.clone());
            async move { root.grant_exec(context, world, owner, host, user, trust).await }
        })
        .await
    }

    /// Waits for events. Does not retry: the caller must learn that rootd was away.
    ///
    /// # Errors
    /// [`RootLinkError`]
    pub async fn next_events(&self, cursor: u64, wait: Duration) -> Result<RootEvents, RootLinkError> {
        let connected = self.connected().await?;
        let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        match connected.client.next_events(context(wait + SHORT), cursor, wait_ms).await {
            Ok(answer) => Ok(answer?),
            Err(_) => {
                self.forget(connected.generation).await;
                Err(RootLinkError::Away)
            }
        }
    }

    /// See [`netengine_proto::root::Root::uplink_offer`].
    ///
    /// # Errors
    /// [`RootLinkError`]
    pub async fn uplink_offer(&self, owner: Uid) -> Result<UplinkOffer, RootLinkError> {
        self.call(SHORT, |root, context| async move { root.uplink_offer(context, owner).await }).await
    }

    /// See [`netengine_proto::root::Root::prove_flows`].
    ///
    /// # Errors
    /// [`RootLinkError`]
    pub async fn prove_flows(
        &self,
        world: WorldId,
        owner: Uid,
        flows: &Bounded<FlowProbe, { limits::FLOW_PROBES }>,
    ) -> Result<Vec<FlowSeen>, RootLinkError> {
        self.call(SHORT, |root, context| {
            let flows = flows.clone();
            async move { root.prove_flows(context, world, owner, flows).await }
        })
        .await
    }

    /// See [`netengine_proto::root::Root::features`].
    ///
    /// # Errors
    /// [`RootLinkError`]
    pub async fn features(&self) -> Result<Vec<Feature>, RootLinkError> {
        self.call(SHORT, |root, context| async move { root.features(context).await }).await
    }
}

fn context(time: Duration) -> Context {
    let mut context = tarpc::context::current();
    context.deadline = Instant::now() + time;
    context
}
