//! kill -9 at any moment, also between commit and publication: every registration that was acknowledged is still there,
//! and is in DNS, WHOIS and RDAP's source alike.
//!
//! Without a harness: the program starts itself once more as the process that is killed.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use netengine_dns::{
    name::Name,
    plan::Plan,
    zone::{NoJournal, Store},
};
use netengine_registry::{
    decide::{self, Limits, Registration, Right},
    model::Domain,
    names::{DnsNames, Names, NamesError},
    registry::{Registry, now},
    store::SqliteStore,
    whois,
};
use netengine_spec::{Source, Sources, Spec};

const NAME: &str = "acknowledged_registrations_survive_kill_9";
/// How often the process is killed at some moment.
const KILLS: usize = 8;
/// Where the process that is killed finds its directory, and how it is to die.
const DIR: &str = "NETENGINE_REGISTRY_DURABLE";
const DEATH: &str = "NETENGINE_REGISTRY_DEATH";

const SPEC: &str = "
metadata: {name: durable}
substrate: {gateway: {platform_ip: 172.28.0.1, core_ip: 10.0.0.1}}
dns: {tlds: [{name: internal, listen_ip: 10.0.0.4}, {name: corp, listen_ip: 10.0.0.5}]}
pki: {}
identity_platform: {}
world_registry: {organizations: [{name: rival, capabilities: [register_domains]}]}
domain_registry: {tld_delegations: [{tld: corp, governed_by: platform}]}
identity_inworld: {}
ands: {}
world_services: {}
org_apps: {}
gateway_portal: {}
operator: {}
";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(dir) = std::env::var_os(DIR) {
        return register_until_killed(Path::new(&dir), std::env::var_os(DEATH).is_some());
    }
    // What cargo test and nextest ask of a test program.
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if has("--list") {
        if !has("--ignored") {
            println!("{NAME}: test");
        }
        return;
    }
    let filters: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    if !filters.is_empty() && !filters.iter().any(|filter| NAME.contains(filter.as_str())) {
        return;
    }
    acknowledged_registrations_survive_kill_9();
    println!("test {NAME} ... ok");
    println!("1 passed, 0 failed");
}

/// Ends the process, as kill -9 would, when a domain is to be published: it is committed then, and not in DNS.
struct Deadly(DnsNames);

impl Names for Deadly {
    fn follow(&self, spec: &Spec) {
        self.0.follow(spec);
    }

    fn check(&self, before: Option<&Domain>, after: &Domain) -> Result<(), NamesError> {
        self.0.check(before, after)
    }

    fn publish(&self, before: &[&Domain], after: Option<&Domain>, now: u32) -> Result<(), NamesError> {
        if after.is_some_and(|domain| domain.name == "deadly.corp") {
            say("committed deadly.corp");
            std::process::abort();
        }
        self.0.publish(before, after, now)
    }
}

fn spec() -> Spec {
    let base = Source { name: "spec.yaml".to_owned(), text: SPEC.to_owned() };
    let sources = Sources { base, overlay: None, sets: Vec::new() };
    netengine_spec::load(&sources, &|_: &str| None).expect("a spec").spec
}

async fn open(dir: &Path, is_deadly: bool) -> (Arc<Store>, Arc<Registry>) {
    let spec = spec();
    let plan = Plan::of(&spec, &[]);
    let zones = Arc::new(Store::new(plan.catalog(1).expect("zones"), plan.policy(), NoJournal));
    let names = DnsNames::new(zones.clone(), &spec);
    let names: Arc<dyn Names> = if is_deadly { Arc::new(Deadly(names)) } else { Arc::new(names) };
    let store = SqliteStore::open(&dir.join("world.db")).await.expect("a database");
    (zones, Registry::open(store, names, &spec, Limits::default()).await.expect("a registry"))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

async fn register(registry: &Arc<Registry>, name: &str) {
    let wish = format!(r#"{{"name": "{name}", "records": [{{"name": "www", "type": "A", "value": "10.0.0.99"}}]}}"#);
    let wish: Registration = serde_json::from_str(&wish).expect("a wish");
    let right = Right::Organisation("rival".to_owned());
    let decide = move |state: &_, limits| decide::register(state, &right, &wish, limits, "digest".to_owned(), now());
    registry.change(decide).await.expect("registered");
}

/// Registers and deletes, a line for each acknowledgement.
fn register_until_killed(dir: &Path, is_deadly: bool) {
    runtime().block_on(async {
        let (_, registry) = open(dir, is_deadly).await;
        if is_deadly {
            return register(&registry, "deadly.corp").await;
        }
        for n in registry.state().domain_count().. {
            let name = format!("n{n}-{}.corp", std::process::id());
            register(&registry, &name).await;
            say(&format!("registered {name}"));
            if n % 5 == 0 {
                let gone = name.clone();
                let right = Right::Organisation("rival".to_owned());
                say(&format!("deleting {name}"));
                registry.change(move |state, _| decide::delete(state, &right, &gone)).await.expect("deleted");
                say(&format!("deleted {name}"));
            }
        }
    });
}

/// One write for one line: a line that is read was written whole.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush()).expect("the parent reads");
}

/// What must be there, what must not, and what may.
#[derive(Default)]
struct Told {
    held: BTreeSet<String>,
    gone: BTreeSet<String>,
}

impl Told {
    fn hear(&mut self, line: &str) {
        let (word, name) = line.split_once(' ').expect("two words");
        match word {
            "registered" | "committed" => drop(self.held.insert(name.to_owned())),
            // From here on it may be there or not.
            "deleting" => drop(self.held.remove(name)),
            "deleted" => drop(self.gone.insert(name.to_owned())),
            other => panic!("{other}"),
        }
    }

    fn verify(&self, dir: &Path) {
        runtime().block_on(async {
            let (zones, registry) = open(dir, false).await;
            let (catalog, state) = (zones.snapshot(), registry.state());
            let is_served = |name: &str| catalog.zone(&Name::parse(name).expect("a name")).is_some();
            for name in &self.held {
                assert!(state.domain(name).is_some(), "{name} was acknowledged and is lost");
                assert!(is_served(name), "{name} is not in DNS");
                assert!(
                    whois::answer(&state, name.as_bytes(), now()).contains("Registrant Organization: rival"),
                    "{name}"
                );
            }
            for name in &self.gone {
                assert!(state.domain(name).is_none() && !is_served(name), "{name} was deleted and is back");
            }
            let served =
                catalog.zones().filter(|zone| zone.apex().is_under(&Name::parse("corp").expect("a name"))).count();
            assert_eq!(served, state.domain_count() + 1, "the top-level domain, and one zone for each domain");
            assert!(registry.unpublished().is_empty());
        });
    }
}

fn child(dir: &Path) -> Command {
    let mut child = Command::new(std::env::current_exe().expect("this program"));
    child.env(DIR, dir).stdout(Stdio::piped());
    child
}

fn acknowledged_registrations_survive_kill_9() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut told = Told::default();
    for round in 0..KILLS {
        let mut child = child(dir.path()).spawn().expect("this program again");
        let lines = BufReader::new(child.stdout.take().expect("a pipe"));
        // A moment that differs each time and does not depend on where in a commit the child is.
        let after = 1 + round * 37 % 100;
        for (count, line) in lines.lines().enumerate() {
            // What was said before the kill counts, however late it is read.
            told.hear(&line.expect("text"));
            if count == after {
                child.kill().expect("killed");
            }
        }
        assert!(!child.wait().expect("ended").success(), "it was killed");
        told.verify(dir.path());
    }
    assert!(told.held.len() > 50 && told.gone.len() > 10, "{} held, {} gone", told.held.len(), told.gone.len());

    let died = child(dir.path()).env(DEATH, "1").stderr(Stdio::null()).output().expect("this program again");
    assert!(!died.status.success(), "it died");
    let said = String::from_utf8(died.stdout).expect("text");
    assert_eq!(said.trim(), "committed deadly.corp", "it died between commit and publication");
    told.hear(said.trim());
    told.verify(dir.path());
}
