//! Hostile hosts of a world: what they send crashes nothing and starves nobody, what they may not have is refused, and
//! nothing of the machine below is in their reach.

mod judge;
mod world;

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use judge::{Ran, run};
use netengine_tests::{ALICE, ROOT, SCRATCH, crash::WORLDD};
use nix::unistd::Pid;
use serde_json::{Value, json};
use world::World;

const ATTACKS: &str = include_str!("scripts/world_abuse.py");
const CLIENT: &str = include_str!("scripts/world_durable.py");
const PYTHON: &str = "/usr/bin/python3";
/// What worldd with everything may hold, KiB.
const MEMORY_KIB: u64 = 64 * 1024;

struct Attacked {
    world: World,
    worldd: Vec<Pid>,
}

impl Attacked {
    fn new() -> Self {
        let world = World::up("single-org", &[]);
        world.host.file("abuse.py", ATTACKS);
        world.host.file("durable.py", CLIENT);
        let worldd = services(&world);
        assert_eq!(worldd.len(), 2, "the services and the router's");
        let attacked = Self { world, worldd };
        attacked.is_well("nothing");
        attacked
    }

    /// Runs an attack from a vantage host; it must come to its end, and everything must be as before.
    #[track_caller]
    fn by(&self, attack: &str) {
        self.world.says(&format!("{PYTHON} -B {SCRATCH}/abuse.py {attack}"));
        self.is_well(attack);
    }

    #[track_caller]
    fn is_well(&self, after: &str) {
        self.world.says(&format!("{PYTHON} -B {SCRATCH}/abuse.py alive"));
        assert_eq!(services(&self.world), self.worldd, "a process of the world has ended after {after}");
        println!(
            "after {after}: {:?} KiB resident",
            self.worldd.iter().map(|pid| resident_kib(*pid)).collect::<Vec<_>>()
        );
    }
}

/// The processes of the world's services and of its router's; probers end by themselves.
fn services(world: &World) -> Vec<Pid> {
    let is_service = |pid: &Pid| {
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        arguments.split(|byte| *byte == 0).any(|argument| argument == b"worldd" || argument == b"gateway")
    };
    world.host.named(WORLDD).into_iter().filter(is_service).collect()
}

fn resident_kib(pid: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a figure");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn malformed_input_and_held_connections_end_no_service_and_starve_nobody() {
    let attacked = Attacked::new();
    for attack in ["names", "halves", "lines", "junk", "idle"] {
        attacked.by(attack);
    }
    for pid in &attacked.worldd {
        assert!(resident_kib(*pid) < MEMORY_KIB, "{} KiB", resident_kib(*pid));
    }
}

#[test]
fn what_is_outside_the_world_or_without_a_key_is_refused() {
    let attacked = Attacked::new();
    attacked.by("acme");
    attacked.by("constraints");

    let world = &attacked.world;
    let transfer = |with: &str| world.attempt(&format!("dig {with} +tcp @10.0.0.3 platform.internal AXFR")).out;
    let key = world.tsig("transfer");
    assert!(transfer(&format!("-y {key}")).contains("ca.platform.internal."));
    let guess = "hmac-sha256:transfer:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    for with in [String::new(), format!("-y {guess}"), format!("-y {}", world.tsig("update"))] {
        let said = transfer(&with);
        assert!(said.contains("Transfer failed") && !said.contains("ca.platform.internal."), "{with}: {said}");
    }
    let update = |with: &str, owner: &str| -> Ran {
        let script = format!("server 10.0.0.3\\nupdate add {owner} 60 TXT x\\nsend\\n");
        world.attempt(&format!("printf '{script}' | nsupdate {with}"))
    };
    let key = format!("-y {}", world.tsig("update"));
    assert_eq!(update(&key, "good.platform.internal").code, 0);
    for (with, owner) in [
        ("", "bad.platform.internal"),
        (&format!("-y {guess}"), "bad.platform.internal"),
        (&format!("-y {}", world.tsig("transfer")), "bad.platform.internal"),
        (&key, "bad.example.com"),
        (&key, "bad.corp"),
    ] {
        let ran = update(with, owner);
        assert_ne!(ran.code, 0, "{with} {owner}: {ran:?}");
    }
    let zone = transfer(&format!("-y {}", world.tsig("transfer")));
    assert!(zone.contains("good.platform.internal.") && !zone.contains("bad."), "{zone}");
    attacked.is_well("refusals");
}

/// Listens on every address of the host, and at a name that has no file.
const LISTENER: &str = "import select, socket
them = [socket.create_server(('', 4713)), socket.create_server(('::', 4712), family=socket.AF_INET6)]
them.append(socket.socket(socket.AF_UNIX))
them[2].bind('\\0netengine-abuse'); them[2].listen()
print('listening', flush=True)
while True:
    [one.accept() for one in select.select(them, [], [])[0]]";
/// Sockets of the daemons that are not for users.
const SOCKETS: [&str; 3] = ["/run/netengine/rootd.sock", "/run/netengine/spawn.sock", "/run/netengine/admin.sock"];

#[test]
fn a_node_reaches_neither_the_daemons_nor_the_host() {
    let attacked = Attacked::new();
    let host = &attacked.world.host;
    host.foreign();
    let mut listener = host.command(ROOT, PYTHON);
    listener.args(["-c", LISTENER]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut listener = listener.spawn().expect("python starts");
    let mut line = String::new();
    BufReader::new(listener.stdout.take().expect("piped")).read_line(&mut line).expect("readable");
    assert_eq!(line, "listening\n");

    let told = host.shell(ROOT, "ip -json address");
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let addresses = told.as_array().expect("links").iter().flat_map(|link| {
        let all = link["addr_info"].as_array().into_iter().flatten();
        all.filter(|one| one["scope"] != "link").map(|one| one["local"].as_str().expect("an address").to_owned())
    });
    let places: Vec<_> = addresses.map(|one| json!([one, if one.contains(':') { 4712 } else { 4713 }])).collect();
    assert!(places.len() >= 3, "{places:?}");
    let reach = format!("{PYTHON} -B {SCRATCH}/abuse.py reach '{}' {}", json!(places), SOCKETS.join(" "));
    let reached = |said: &str| serde_json::from_str::<Vec<Value>>(said).expect("JSON");

    // The host itself reaches all of it, so there is something to reach.
    let all = reached(&host.shell(ROOT, &reach));
    assert_eq!(all.len(), places.len() + 1 + SOCKETS.len(), "{all:?}");
    for vantage in ["core", "platform"] {
        assert_eq!(reached(&attacked.world.says_at(vantage, &reach)), Vec::<Value>::new(), "from {vantage}");
    }
    // Nor does whoever has taken a service: from its network, and by its name without a file.
    for pid in &attacked.worldd {
        let script = format!("{PYTHON} -B - reach '{}'", json!(places));
        let mut taken = Command::new("nsenter");
        taken.args(["-t", &pid.to_string(), "-n", "sh", "-c", &script]);
        let file = fs::File::open(host.path(&format!("{SCRATCH}/abuse.py"))).expect("readable");
        let ran = taken.stdin(file).output().expect("nsenter runs");
        assert_eq!(reached(&String::from_utf8_lossy(&ran.stdout)), Vec::<Value>::new(), "{ran:?}");
    }
    let status = run(host, ALICE, &["status", "single-org", "--json"]).ok().json();
    assert_eq!(status["state"], "ready");
    listener.kill().expect("killed");
    listener.wait().expect("ended");
}
