//! Planted faults are found by name, and looking changes nothing.

use netengine_proto::{
    api::Diagnosis,
    control::{Fault, Probe},
};

use tokio::sync::watch;

use super::*;

async fn diagnose(lab: &Lab) -> Diagnosis {
    let world = lab.world(ALICE, "blue").await.expect("exists");
    let verdict = decide(Principal::user(ALICE), act::Diagnose, world).expect("hers");
    let (progress, seen) = watch::channel(Progress::default());
    let diagnosis = lab.orchestrator.diagnose(verdict, &progress).await.expect("looked");
    let Progress { done, all } = *seen.borrow();
    assert!(done == all && all > 20, "{done} of {all}");
    diagnosis
}

fn faults(diagnosis: &Diagnosis) -> Vec<(u8, &str)> {
    assert_eq!(diagnosis.passed, diagnosis.checks.iter().all(|check| check.passed));
    let failed = diagnosis.checks.iter().filter(|check| !check.passed);
    failed
        .map(|check| {
            assert!(!check.remedy.is_empty() && !check.remedy.contains("WORLD"), "{check:?}");
            (check.phase, check.fault.as_str())
        })
        .collect()
}

#[tokio::test]
async fn a_world_that_is_right_passes_and_nothing_is_changed() {
    let lab = Lab::new().await;
    lab.up(ALICE, spec("blue")).await;
    let (calls, before) = (lab.fake.calls().len(), lab.status(ALICE, "blue").await);
    let diagnosis = diagnose(&lab).await;
    assert!(diagnosis.passed, "{:#?}", diagnosis.checks);
    let phases: std::collections::BTreeSet<_> = diagnosis.checks.iter().map(|check| check.phase).collect();
    assert_eq!(phases.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(lab.fake.calls()[calls..], ["start_program", "stop_process"], "only its own client");
    assert_eq!(lab.status(ALICE, "blue").await, before);
}

#[tokio::test]
async fn each_planted_fault_is_found_by_name() {
    let lab = Lab::new().await;
    lab.up(ALICE, spec("blue")).await;
    let world = lab.world(ALICE, "blue").await.expect("exists").id;
    lab.fake.break_some(|probe| match probe {
        Probe::Dns { name, rtype, .. } if name == "ca.platform.internal" && rtype == "A" => Some(Fault::WrongRecord),
        Probe::Https { name, .. } if name == "registry.platform.internal" => Some(Fault::CertificateExpired),
        Probe::Token { issuer, .. } if issuer.ends_with("/realms/inworld") => Some(Fault::KeyNotServed),
        Probe::Acme { .. } => Some(Fault::DiskFull),
        _ => None,
    });
    let seen = diagnose(&lab).await;
    assert_eq!(
        faults(&seen),
        [(2, "wrong_record"), (3, "disk_full"), (5, "certificate_expired"), (6, "key_not_served")]
    );

    lab.fake.break_probes(false);
    lab.fake.stop_service("dns");
    lab.fake.break_network(world);
    let seen = diagnose(&lab).await;
    assert_eq!(faults(&seen), [(0, "link_removed"), (1, "service_stopped")], "{:#?}", seen.checks);

    lab.fake.kill(world, ProcessKind::Gateway);
    let seen = diagnose(&lab).await;
    assert!(faults(&seen).contains(&(2, "service_stopped")));
}

#[tokio::test]
async fn a_check_that_cannot_be_made_fails_no_operation_and_is_never_told_to_have_passed() {
    let lab = Lab::new().await;
    lab.fake.hinder_orders();
    let (state, events) = lab.up(ALICE, spec("blue")).await;
    assert_eq!(state, OperationState::Done, "{events:#?}");
    let detail = &lab.status(ALICE, "blue").await.phases[3].detail;
    assert_eq!(detail, "1 live check passed; not made: acme: order for core.platform.internal: port taken");
    assert_eq!(faults(&diagnose(&lab).await), [(3, "not_checked")]);
}

#[tokio::test]
async fn the_owner_is_shown_the_secrets() {
    let lab = Lab::new().await;
    lab.up(ALICE, spec("blue")).await;
    let world = lab.world(ALICE, "blue").await.expect("exists");
    let own = decide(Principal::user(ALICE), act::ViewCredentials, world).expect("hers");
    let hers = lab.orchestrator.credentials(own).await.expect("shown");
    assert!(hers.iter().any(|held| held.kind == "tsig" && held.name == "transfer"));
}

#[tokio::test]
async fn a_world_has_one_prober_at_a_time() {
    let lab = Lab::new().await;
    lab.up(ALICE, spec("blue")).await;
    let world = lab.world(ALICE, "blue").await.expect("exists");
    let turn = lab.orchestrator.probing(world.id);
    let held = turn.lock().await;
    let verdict = decide(Principal::user(ALICE), act::Diagnose, world.clone()).expect("hers");
    let refused = lab
        .orchestrator
        .diagnose(verdict, &watch::channel(Progress::default()).0)
        .await
        .expect_err("another is at work");
    assert_eq!(refused.kind, ProblemKind::Conflict);
    drop(held);
    assert!(diagnose(&lab).await.passed);
}
