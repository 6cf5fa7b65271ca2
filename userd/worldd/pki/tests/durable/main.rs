//! kill -9 at any moment: every certificate and every revocation that was acknowledged is still there.
//!
//! Without a harness: the program starts itself once more as the process that is killed.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use netengine_pki::{
    acme::{Policy, Probe, Verdict},
    ca::{Config, Profiles, Publication, Reason, Serial},
    name::{Identifier, Scope},
    service::{Background, Service},
    store::SqliteStore,
    validate::Connect,
};
use netengine_spec::{model::KeyStorageMode, text::DnsName};

const NAME: &str = "acknowledged_certificates_and_revocations_survive_kill_9";

/// How often the process is killed, and after how many acknowledgements at most.
const KILLS: usize = 12;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(dir) = std::env::var_os("NETENGINE_PKI_DURABLE") {
        return issue_until_killed(Path::new(&dir));
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
    acknowledged_certificates_and_revocations_survive_kill_9();
    println!("test {NAME} ... ok");
}

struct Never;

impl Connect for Never {
    async fn check(&self, _: &Probe) -> Verdict {
        unreachable!("no challenge is begun")
    }
}

type Opened = (Arc<Service<SqliteStore>>, Background<SqliteStore, Never>);

async fn open(dir: &Path) -> Opened {
    let scope = Scope { tlds: vec![DnsName::parse("test").expect("a name")], ..Scope::default() };
    let config = Config {
        common_name: "Root".to_owned(),
        organization: String::new(),
        country: "XX".to_owned(),
        root_lifetime_secs: 86_400 * 365,
        intermediate: true,
        storage: KeyStorageMode::Ephemeral,
        scope: scope.clone(),
        publication: Publication { base: "http://ca.test".to_owned(), crl: true, ocsp: true },
    };
    let store = SqliteStore::open(&dir.join("pki.db")).await.expect("a database");
    Service::open(config, Policy::new(scope, "ca.test"), "https://ca.test", store, Never).await.expect("an authority")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Four tasks that issue, and revoke every second one; a line for each acknowledgement.
fn issue_until_killed(dir: &Path) {
    runtime().block_on(async {
        let (service, background) = open(dir).await;
        let tasks = (0..4).map(|task| {
            let service = service.clone();
            async move {
                let profiles = Profiles::default();
                let profile = profiles.get("classic").expect("a profile");
                for n in 0u32.. {
                    let name = Identifier::dns(&format!("n{n}.t{task}.test")).expect("a name");
                    let own = service.issue_own([name].into(), profile).await.expect("issued");
                    say(&format!("issued {}", own.serial));
                    if n % 2 == 0 {
                        service.revoke(own.serial, Reason::Superseded).await.expect("revoked");
                        say(&format!("revoked {}", own.serial));
                    }
                }
            }
        });
        let mut all: Vec<_> = tasks.map(Box::pin).collect();
        let (a, rest) = all.split_at_mut(2);
        let ([a, b], [c, d]) = (a, rest) else { unreachable!("four tasks") };
        tokio::join!(background.run(), a, b, c, d);
    });
}

/// One write for one line: a line that is read was written whole.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush()).expect("the parent reads");
}

fn acknowledged_certificates_and_revocations_survive_kill_9() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut issued = BTreeSet::new();
    let mut revoked = BTreeSet::new();
    let mut root = None;
    for round in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .env("NETENGINE_PKI_DURABLE", dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program again");
        let lines = BufReader::new(child.stdout.take().expect("a pipe"));
        // A moment that differs each time and does not depend on where in a commit the child is.
        let after = 1 + round * 37 % 100;
        for (count, line) in lines.lines().enumerate() {
            // What was said before the kill counts, however late it is read.
            let line = line.expect("text");
            let (word, serial) = line.split_once(' ').expect("two words");
            let serial = Serial::from_hex(serial).expect("a serial number");
            match word {
                "issued" => issued.insert(serial),
                _ => revoked.insert(serial),
            };
            if count == after {
                child.kill().expect("killed");
            }
        }
        assert!(!child.wait().expect("ended").success(), "it was killed");

        runtime().block_on(async {
            let (service, background) = open(dir.path()).await;
            let known: BTreeMap<_, _> = service
                .list(None, usize::MAX)
                .into_iter()
                .map(|listed| (listed.certificate.serial, listed.certificate.revoked))
                .collect();
            for serial in &issued {
                assert!(known.contains_key(serial), "{serial} was acknowledged and is lost");
                let (_, der) = service.show(*serial).await.expect("read").expect("the certificate itself");
                assert!(!der.is_empty());
            }
            for serial in &revoked {
                assert!(known.get(serial).is_some_and(Option::is_some), "the revocation of {serial} is lost");
            }
            let root = root.get_or_insert_with(|| service.authority().root_pem());
            assert_eq!(*root, service.authority().root_pem(), "the root is the same");
            // It goes on where it ended.
            let _ = tokio::time::timeout(Duration::from_millis(1), background.run()).await;
        });
    }
    assert!(issued.len() > 300 && revoked.len() > 100, "{} issued, {} revoked", issued.len(), revoked.len());
}
