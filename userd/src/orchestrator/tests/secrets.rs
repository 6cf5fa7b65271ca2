//! Secrets and trust of a world over its life.

use netengine_proto::trust::{Credential, CredentialKind};

use super::*;

fn with_users(users: &[&str]) -> Spec {
    let mut value = spec_json("blue");
    value["world_registry"]["organizations"] = json!([{ "name": "acme" }]);
    let users: Vec<_> = users.iter().map(|user| json!({ "username": user })).collect();
    value["identity_inworld"]["org_users"] = json!([{ "org": "acme", "users": users }]);
    serde_json::from_value(value).expect("a spec")
}

async fn told(lab: &Lab) -> Vec<Credential> {
    let world = lab.world(ALICE, "blue").await.expect("exists");
    lab.fake.applied(world.id, ProcessKind::Worldd).expect("told").credentials
}

#[tokio::test]
async fn secrets_are_made_once_and_a_new_account_changes_no_other() {
    let mut lab = Lab::new().await;
    assert_eq!(lab.up(ALICE, with_users(&["alice"])).await.0, OperationState::Done);
    let first = told(&lab).await;
    assert!(first.iter().any(|held| held.kind == CredentialKind::Password && held.name == "alice"));
    lab.restart_userd().await;
    let calls = lab.fake.calls().len();
    assert_eq!(lab.up(ALICE, with_users(&["alice"])).await.0, OperationState::Done);
    assert_eq!(lab.fake.calls()[calls..], ["start_program", "stop_process"], "the same secrets are the same state");
    assert_eq!(lab.up(ALICE, with_users(&["alice", "bob"])).await.0, OperationState::Done);
    let second = told(&lab).await;
    assert_eq!(second.len(), first.len() + 1);
    assert!(first.iter().all(|held| second.contains(held)), "a secret was made anew");
}

#[tokio::test]
async fn nothing_of_a_secret_reaches_the_database_or_events_and_all_goes_with_the_world() {
    let lab = Lab::new().await;
    let (_, events) = lab.up(ALICE, with_users(&["alice"])).await;
    let world = lab.world(ALICE, "blue").await.expect("exists");
    let sealed = lab.orchestrator.store().sealed(world.id).await.expect("read");
    let told = told(&lab).await;
    assert_eq!(sealed.len(), told.len());
    let database: Vec<u8> = ["state.db", "state.db-wal"]
        .iter()
        .flat_map(|name| std::fs::read(lab.directory.path().join(name)).unwrap_or_default())
        .collect();
    let shown = serde_json::to_string(&events).expect("encodes");
    for held in &told {
        let secret = held.secret.expose();
        assert!(!shown.contains(secret) && !database.windows(secret.len()).any(|at| at == secret.as_bytes()));
    }
    lab.down(ALICE, "blue").await.expect("accepted");
    assert!(lab.orchestrator.store().sealed(world.id).await.expect("read").is_empty());
}

#[tokio::test]
async fn a_world_that_failed_at_first_leaves_no_secret() {
    let lab = Lab::new().await;
    lab.fake.fail_at(1, crate::fake::Fault::Before);
    let (accepted, mut ends) = lab.begin_up(ALICE, with_users(&["alice"])).await.expect("accepted");
    let world = lab.world(ALICE, "blue").await.expect("begun");
    assert_eq!(ends.of(&accepted.operation).await.0, OperationState::Failed);
    assert!(lab.orchestrator.store().sealed(world.id).await.expect("read").is_empty());
}

#[tokio::test]
async fn what_worldd_makes_known_reaches_the_resolver_and_every_command() {
    let lab = Lab::new().await;
    lab.up(ALICE, spec("blue")).await;
    let world = lab.world(ALICE, "blue").await.expect("exists");
    let gateway = lab.fake.applied(world.id, ProcessKind::Gateway).expect("told");
    assert_eq!(gateway.trust, crate::fake::trust());
    assert!(gateway.credentials.is_empty() && gateway.ntp.is_none(), "the router needs no secret");
    let verdict = decide(Principal::user(ALICE), act::Exec, world).expect("hers");
    lab.orchestrator.grant_exec(verdict, None).await.expect("granted");
    assert_eq!(lab.fake.granted(), Some(crate::fake::trust()));
}

#[tokio::test]
async fn up_to_a_phase_starts_what_it_needs_and_no_more() {
    let lab = Lab::new().await;
    for (up_to, processes) in [
        (0, &[ProcessKind::Worldd][..]),
        (9, &[ProcessKind::Worldd, ProcessKind::Gateway]),
        (1, &[ProcessKind::Worldd]),
    ] {
        let mut ends = Ends(lab.orchestrator.bus().subscribe(Filter::default()));
        let slot = WorldSlot { owner: ALICE, name: WorldName::parse("blue").expect("a name") };
        let verdict = decide(Principal::user(ALICE), act::Up, slot).expect("her own");
        let order = UpOrder { spec: spec("blue"), up_to, timeout: None, heal: true };
        let accepted = lab.orchestrator.up(verdict, order).await.expect("accepted");
        let (state, events) = ends.of(&accepted.operation).await;
        assert_eq!(state, OperationState::Done, "{events:#?}");
        assert_eq!(lab.fake.processes(), processes, "up to {up_to}");
        let status = lab.status(ALICE, "blue").await;
        let done = status.phases.iter().filter(|phase| phase.state == PhaseState::Done).count();
        assert_eq!(done, usize::from(up_to.min(6)) + 1);
    }
}

#[tokio::test]
async fn a_failed_live_check_names_itself_its_phase_and_what_to_do() {
    use netengine_proto::control::{Fault, Probe};
    let lab = Lab::new().await;
    lab.fake.break_some(|probe| {
        matches!(probe, Probe::Token { issuer, .. } if issuer.contains("platform")).then_some(Fault::KeyNotServed)
    });
    let (state, events) = lab.up(ALICE, spec("blue")).await;
    assert_eq!(state, OperationState::Failed);
    let failed = events.iter().find(|event| event.kind == "phase.failed").expect("told");
    assert_eq!(failed.phase, Some(4));
    assert!(failed.message.contains("token: https://auth.platform.internal/realms/platform"), "{}", failed.message);
    lab.assert_nothing_left(ALICE).await;

    // A world that was up keeps its phases, and says which is not right.
    lab.fake.break_probes(false);
    lab.up(ALICE, spec("blue")).await;
    lab.fake.break_some(|probe| matches!(probe, Probe::Whois { .. }).then_some(Fault::ServiceStopped));
    assert_eq!(lab.up(ALICE, spec("blue")).await.0, OperationState::Failed);
    let status = lab.status(ALICE, "blue").await;
    assert_eq!(status.state, WorldState::Degraded);
    let degraded: Vec<_> =
        status.phases.iter().filter(|phase| phase.state == PhaseState::Degraded).map(|phase| phase.id).collect();
    assert_eq!(degraded, [5], "{:#?}", status.phases);
}

#[tokio::test]
async fn a_large_world_goes_through_every_bound() {
    let mut value = spec_json("blue");
    let orgs = 0..100;
    value["dns"]["tlds"] = json!([{ "name": "test", "listen_ip": "10.0.0.20" }]);
    value["world_registry"]["organizations"] =
        orgs.clone().map(|org| json!({ "name": format!("org-{org}"), "capabilities": ["register_domains"] })).collect();
    let records = json!([{ "name": "www", "type": "A", "value": "10.0.0.40", "ttl": 300 }]);
    value["domain_registry"]["initial_domains"] = (0..2000)
        .map(|n| json!({ "domain": format!("d{n}.test"), "org": format!("org-{}", n % 100), "records": records }))
        .collect();
    let users = |org| (0..10).map(|user| json!({ "username": format!("user-{org}-{user}") })).collect::<Vec<_>>();
    value["identity_inworld"]["org_users"] =
        orgs.map(|org| json!({ "org": format!("org-{org}"), "users": users(org) })).collect();
    let large: Spec = serde_json::from_value(value).expect("a spec");
    let lab = Lab::new().await;
    let (state, events) = lab.up(ALICE, large.clone()).await;
    assert_eq!(state, OperationState::Done, "{events:#?}");
    let passwords = told(&lab).await.into_iter().filter(|held| held.kind == CredentialKind::Password);
    assert_eq!(passwords.count(), 1001, "each account's, and the platform administrator's");
    let calls = lab.fake.calls().len();
    assert_eq!(lab.up(ALICE, large).await.0, OperationState::Done);
    assert_eq!(lab.fake.calls()[calls..], ["start_program", "stop_process"], "nothing differs");
}
