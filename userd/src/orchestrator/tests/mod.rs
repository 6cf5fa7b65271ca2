//! The orchestrator against the in-process rootd.

use std::sync::Arc;

use netengine_proto::api::{Event, OperationState, PhaseState, WorldState};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::mpsc;

use netengine_proto::{ids::Uid, names::WorldName, root::ProcessKind};

use super::*;
use crate::{
    decide::{AllOf, Principal, decide},
    events::Filter,
    fake::FakeRoot,
};

mod crash;
mod diagnose;
mod ends;
mod faults;
mod random;
mod secrets;
mod turn;

const ALICE: Uid = Uid(1000);
const BOB: Uid = Uid(1001);

/// The JSON of a small world.
pub fn spec_json(name: &str) -> serde_json::Value {
    let mut spec = json!({
        "metadata": { "name": name },
        "substrate": { "gateway": { "platform_ip": "172.28.0.1", "core_ip": "10.0.0.1" } },
    });
    for section in [
        "dns",
        "pki",
        "identity_platform",
        "world_registry",
        "domain_registry",
        "identity_inworld",
        "ands",
        "world_services",
        "org_apps",
        "gateway_portal",
        "operator",
    ] {
        spec[section] = json!({});
    }
    spec
}

/// A small world.
pub fn spec(name: &str) -> Spec {
    serde_json::from_value(spec_json(name)).expect("a spec")
}

/// The same world with another vantage host on core.
fn wider(name: &str) -> Spec {
    let mut value = serde_json::to_value(spec(name)).expect("a value");
    value["substrate"]["networks"]["core"]["vantage_hosts"] = json!(2);
    serde_json::from_value(value).expect("a spec")
}

/// A database, a rootd and an orchestrator in a directory of their own.
pub struct Lab {
    pub directory: TempDir,
    pub fake: FakeRoot,
    pub orchestrator: Orchestrator,
    pub quotas: Quotas,
}

impl Lab {
    pub async fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(directory.path().join("w")).expect("made");
        let fake = FakeRoot::start(&directory.path().join("rootd.sock"), &directory.path().join("w"));
        let quotas = Quotas::default();
        let orchestrator = orchestrator(&directory, quotas).await;
        Self { directory, fake, orchestrator, quotas }
    }

    /// userd ends wherever it is, and starts again over the same database.
    async fn restart_userd(&mut self) {
        self.orchestrator.close().await;
        self.orchestrator = orchestrator(&self.directory, self.quotas).await;
    }

    pub async fn begin_up(&self, owner: Uid, spec: Spec) -> Result<(Accepted, Ends), Problem> {
        let ends = Ends(self.orchestrator.bus().subscribe(Filter::default()));
        let slot = WorldSlot { owner, name: spec.name().clone() };
        let verdict = decide(Principal::user(owner), act::Up, slot).expect("her own");
        let order = UpOrder { spec, up_to: 9, timeout: None, heal: true };
        Ok((self.orchestrator.up(verdict, order).await?, ends))
    }

    pub async fn up(&self, owner: Uid, spec: Spec) -> (OperationState, Vec<Event>) {
        let (accepted, mut ends) = self.begin_up(owner, spec).await.expect("accepted");
        ends.of(&accepted.operation).await
    }

    pub async fn world(&self, owner: Uid, name: &str) -> Option<WorldRef> {
        let slot = WorldSlot { owner, name: WorldName::parse(name).expect("a name") };
        self.orchestrator.store().find(&slot).await.expect("answers")
    }

    async fn down(&self, owner: Uid, name: &str) -> Result<(OperationState, Vec<Event>), Problem> {
        let mut ends = Ends(self.orchestrator.bus().subscribe(Filter::default()));
        let world = self.world(owner, name).await.expect("exists");
        let verdict = decide(Principal::user(owner), act::Down, world).expect("her own");
        let accepted = self.orchestrator.down(verdict, None).await?;
        Ok(ends.of(&accepted.operation).await)
    }

    async fn status(&self, owner: Uid, name: &str) -> netengine_proto::api::WorldStatus {
        let world = self.world(owner, name).await.expect("exists");
        let verdict = decide(Principal::user(owner), act::ViewWorld, world).expect("her own");
        self.orchestrator.status(verdict).await.expect("shown")
    }

    /// Nothing is left: no world in rootd or the database, no process, nothing counted against the owner.
    async fn assert_nothing_left(&self, owner: Uid) {
        assert_eq!(self.fake.worlds(), Vec::new());
        assert_eq!(self.fake.processes(), Vec::new());
        let verdict = decide(Principal::admin(owner), act::ListWorlds, AllOf(None)).expect("an admin");
        assert!(self.orchestrator.store().worlds(&verdict).await.expect("listed").is_empty());
        assert_eq!(self.orchestrator.store().held(owner).await.expect("counted"), Size::default());
        assert!(self.orchestrator.store().interrupted().await.expect("read").is_empty());
    }
}

async fn orchestrator(directory: &TempDir, quotas: Quotas) -> Orchestrator {
    let path = |name: &str| directory.path().join(name);
    let config = Config {
        state_dir: directory.path().to_owned(),
        rootd_socket: path("rootd.sock"),
        lab_socket: path("lab.sock"),
        worlds_dir: path("w"),
        worlds_state_dir: directory.path().to_owned(),
        database: format!("sqlite://{}", path("state.db").display()),
        quotas,
        log: String::new(),
        threads: 1,
    };
    let bus = Arc::new(Bus::default());
    let store = Store::open(&config.database, bus.clone()).await.expect("opened");
    Orchestrator::new(store, RootLink::new(config.rootd_socket.clone()), bus, &config)
}

/// Events from the time of its making, to wait for ends of operations.
pub struct Ends(mpsc::Receiver<Event>);

impl Ends {
    /// How an operation ended, and its events.
    pub async fn of(&mut self, operation: &str) -> (OperationState, Vec<Event>) {
        let mut seen = Vec::new();
        loop {
            let event = self.next().await;
            if event.operation.as_deref() != Some(operation) {
                continue;
            }
            let state = match event.kind.as_str() {
                "operation.done" => Some(OperationState::Done),
                "operation.failed" => Some(OperationState::Failed),
                "operation.cancelled" => Some(OperationState::Cancelled),
                _ => None,
            };
            seen.push(event);
            if let Some(state) = state {
                return (state, seen);
            }
        }
    }

    /// The next event of this kind.
    async fn kind(&mut self, kind: &str) -> Event {
        loop {
            let event = self.next().await;
            if event.kind == kind {
                return event;
            }
        }
    }

    async fn next(&mut self) -> Event {
        let next = tokio::time::timeout(Duration::from_secs(30), self.0.recv()).await;
        next.expect("an event in time").expect("not lagged")
    }
}

#[tokio::test]
async fn up_makes_a_world_that_was_seen_to_serve_and_a_second_up_changes_nothing() {
    let lab = Lab::new().await;
    let (state, events) = lab.up(ALICE, spec("blue")).await;
    assert_eq!(state, OperationState::Done, "{events:#?}");
    let kinds: Vec<_> = events.iter().map(|event| event.kind.as_str()).collect();
    let phases = |kind: &'static str| std::iter::repeat_n(kind, 7);
    let steps = std::iter::repeat_n("step.done", 5);
    let expected: Vec<_> = std::iter::once("operation.running")
        .chain(phases("phase.running"))
        .chain(["operation.planned"])
        .chain(steps)
        .chain(phases("phase.done"))
        .chain(["operation.done"])
        .collect();
    assert_eq!(kinds, expected);
    assert!(events.windows(2).all(|pair| pair[0].seq < pair[1].seq));

    let status = lab.status(ALICE, "blue").await;
    assert_eq!(status.state, WorldState::Ready);
    assert_eq!(status.phases.len(), 10);
    assert!(status.phases[..7].iter().all(|phase| phase.state == PhaseState::Done), "{:#?}", status.phases);
    assert!(status.phases[7..].iter().all(|phase| phase.state == PhaseState::Skipped && !phase.detail.is_empty()));
    let ports: Vec<_> = status.services.iter().filter(|service| service.name == "resolver").map(|s| s.port).collect();
    assert_eq!(ports, [53, 443, 853]);
    assert!(status.services.iter().any(|service| service.name == "ntp" && service.address == "10.0.0.254"));
    assert_eq!(lab.fake.processes(), [ProcessKind::Worldd, ProcessKind::Gateway], "a prober was left");

    let calls = lab.fake.calls().len();
    let (state, _) = lab.up(ALICE, spec("blue")).await;
    assert_eq!(state, OperationState::Done);
    assert_eq!(lab.fake.calls()[calls..], ["start_program", "stop_process"], "only the live check may act");

    assert_eq!(lab.down(ALICE, "blue").await.expect("accepted").0, OperationState::Done);
    lab.assert_nothing_left(ALICE).await;
}
