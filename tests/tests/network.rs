//! A world's network, asked of rootd as userd would, judged by iproute2, nft and ping.

use netengine_proto::{
    ids::Uid,
    root::{Program, RootError},
};
use netengine_tests::{
    ALICE, Host,
    root::{self, key, patient, world_plan},
};

fn rootd_only() -> Host {
    let mut host = Host::bare();
    let units = host.copy_units(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../systemd")));
    // userd would remove worlds that it does not know.
    for unit in ["netengine-userd.service", "netengine-user.socket", "netengine-admin.socket"] {
        std::fs::remove_file(host.path(&units).join(unit)).expect("a unit");
    }
    host.start_daemons(&units, &["netengine-spawn", "netengine-rootd"]);
    host
}

#[tokio::test]
async fn a_network_comes_up_equal_to_its_plan_and_goes_away() {
    let host = rootd_only();
    let before = host.snapshot();
    let client = root::client(&host).await;
    let plan = world_plan(root::world_id(), Uid(ALICE.uid), 2, 2);
    let applied = client.apply_network(patient(), key(), plan.clone()).await.expect("answers").expect("applies");
    assert!(!applied.changes.is_empty());
    let observed =
        client.observe_network(patient(), plan.world, plan.owner, true).await.expect("answers").expect("observes");
    assert_eq!(observed.drift, []);
    let again = client.apply_network(patient(), key(), plan.clone()).await.expect("answers").expect("applies");
    assert_eq!(again.changes, []);
    let deleted =
        client.delete_world(patient(), key(), plan.world, plan.owner).await.expect("answers").expect("deletes");
    assert_eq!(deleted.removed, observed.objects, "what was seen is what goes");
    let gone = client.observe_network(patient(), plan.world, plan.owner, true).await.expect("answers");
    assert_eq!(gone, Err(RootError::NotFound));
    before.assert_unchanged(&host.snapshot());
}

#[test]
fn daemons_that_stop_leave_no_process_when_they_keep_nothing() {
    let mut host = Host::new();
    let path = format!("{}/minimal.yaml", netengine_tests::EXAMPLES);
    assert!(host.cli(ALICE, &["up", &path]).status.success());
    assert!(host.cli(ALICE, &["down", "--yes"]).status.success());
    host.stop_daemons();
    // The holder hears the farewell and ends; nothing tells when, so it is looked for until it is gone.
    let deadline = std::time::Instant::now() + netengine_tests::DEADLINE;
    let ours = || host.shell(netengine_tests::ROOT, "pgrep -lx 'ne-.*|netengine-.*' || true");
    while !ours().is_empty() {
        assert!(std::time::Instant::now() < deadline, "left: {}", ours());
    }
}

#[test]
fn both_directions_of_a_tcp_flow_to_the_services_node_cross_the_router() {
    let host = Host::new();
    let up = host.cli(ALICE, &["up", &format!("{}/minimal.yaml", netengine_tests::EXAMPLES)]);
    assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
    // A TCP service in the services node, on its core address; the client is a host of platform, which the services
    // node could also answer directly.
    let server = r#"
import socket
s = socket.create_server(("10.0.0.2", 8080))
print("listening", flush=True)
c, peer = s.accept()
c.sendall(peer[0].encode()); c.close()"#;
    let mut serving = host
        .command(netengine_tests::ROOT, "/bin/sh")
        .args(["-c", "exec nsenter -t $(pgrep --full -- '--role [w]orldd') -n python3 -c \"$0\"", server])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("starts");
    let mut line = String::new();
    let out = serving.stdout.take().expect("a pipe");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).expect("reads");
    let client = "import socket; s = socket.create_connection(('10.0.0.2', 8080), 5); print(s.recv(64).decode())";
    let asked = host.cli(ALICE, &["exec", "minimal/platform", "--", "python3", "-c", client]);
    assert_eq!(
        String::from_utf8_lossy(&asked.stdout).trim(),
        "172.28.255.253",
        "{}",
        String::from_utf8_lossy(&asked.stderr)
    );
    assert!(serving.wait().expect("ends").success());
}

#[tokio::test]
async fn worldd_runs_as_its_own_user_without_capability_in_its_own_namespaces() {
    let host = rootd_only();
    let client = root::client(&host).await;
    let plan = world_plan(root::world_id(), Uid(ALICE.uid), 1, 1);
    client.apply_network(patient(), key(), plan.clone()).await.expect("answers").expect("applies");
    let started = client.start_program(patient(), key(), plan.world, plan.owner, Program::Worldd).await;
    let id = started.expect("answers").expect("starts");
    let processes = client.list_processes(patient(), plan.world, plan.owner).await.expect("answers").expect("lists");
    assert_eq!(processes.len(), 1);
    client.stop_process(patient(), plan.world, plan.owner, id).await.expect("answers").expect("stops");
    client.delete_world(patient(), key(), plan.world, plan.owner).await.expect("answers").expect("deletes");
}
