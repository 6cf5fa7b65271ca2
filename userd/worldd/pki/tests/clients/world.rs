//! Two namespaces: one with the authority, one with the client, joined by a veth.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    thread::JoinHandle,
};

use netengine_pki::{
    acme::{ExternalKey, Policy},
    ca::{Config, Profiles, Publication},
    http::{Limit, SwappedCertificate, publication_router, router, serve, serve_tls, server_config},
    name::{Identifier, Scope},
    service::Service,
    store::SqliteStore,
    validate::{Network, Ports},
};
use netengine_spec::{model::KeyStorageMode, text::DnsName};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::oneshot};

pub const NAME: &str = "ca.platform.internal";
pub const DIRECTORY: &str = "https://ca.platform.internal/acme/acme/directory";
const CA: [u8; 4] = [10, 0, 0, 6];
const CLIENT: [u8; 4] = [10, 0, 0, 20];

/// How the authority of a test differs from the usual one.
#[derive(Default, Clone)]
pub struct Difference {
    pub intermediate: bool,
    /// The name and the key of the one external account there is.
    pub external: Option<(&'static str, Vec<u8>)>,
}

/// A world with an authority that serves, and a place for clients. Everything ends with it.
pub struct World {
    pub dir: TempDir,
    client: Child,
    stop: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<()>>,
}

impl World {
    /// Starts the authority. Moves this thread into namespaces of its own, so one world for each test.
    pub fn start(difference: Difference) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        for sub in ["txt", "www/.well-known/acme-challenge"] {
            std::fs::create_dir_all(dir.path().join(sub)).expect("a directory");
        }
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("these tests need root");
        run("mount", &["--make-rprivate", "/"]);
        let client = Command::new("unshare")
            .args(["--net", "--mount", "--propagation", "private", "--kill-child", "sh", "-c", "echo; exec sleep 600"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare");
        let mut world = Self { dir, client, stop: None, server: None };
        let mut said = [0];
        std::io::Read::read_exact(world.client.stdout.as_mut().expect("a pipe"), &mut said)
            .expect("the client's place");
        let pid = world.client.id().to_string();
        run("ip", &["link", "add", "ca", "type", "veth", "peer", "name", "client", "netns", &pid]);
        run("ip", &["addr", "add", "10.0.0.6/24", "dev", "ca"]);
        run("ip", &["link", "set", "lo", "up"]);
        run("ip", &["link", "set", "ca", "up"]);
        let hosts = world.path("hosts");
        let names = ["www.acme.test", "mail.acme.test", "acme.test", "shop.acme.test"];
        let mut lines = format!("127.0.0.1 localhost\n10.0.0.6 {NAME}\n");
        names.iter().for_each(|name| lines.push_str(&format!("10.0.0.20 {name}\n")));
        std::fs::write(&hosts, lines).expect("a file");
        world.client("ip link set lo up && ip addr add 10.0.0.20/24 dev client && ip link set client up");
        world.client(&format!("mount --bind {} /etc/hosts", hosts.display()));

        let (ready, is_ready) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let path = world.dir.path().to_owned();
        // A thread begins in the namespaces of the one that starts it.
        let server = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                tokio::select! {
                    () = authority(&path, difference, ready) => {}
                    _ = stopped => {}
                }
            });
        });
        world.stop = Some(stop);
        world.server = Some(server);
        is_ready.recv().expect("the authority is ready");
        let root = world.path("root.pem");
        world.client(&format!("mount --bind {} /etc/ssl/certs/ca-certificates.crt", root.display()));
        world
    }

    /// A path in the world's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn spawnable(&self, script: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args([
                "--net",
                "--mount",
                "--target",
                &self.client.id().to_string(),
                "--",
                "sh",
                "-euc",
                &format!("cd \"$DIR\"; {script}"),
            ])
            .env("DIR", self.dir.path())
            .env("SERVER", DIRECTORY)
            .env("REQUESTS_CA_BUNDLE", self.path("root.pem"))
            .env("LEGO_CA_CERTIFICATES", self.path("root.pem"))
            .env("CERTBOT", std::env::var_os("NETENGINE_CERTBOT").unwrap_or_else(|| "certbot".into()))
            .stdin(Stdio::null());
        command
    }

    /// Runs a shell script where the client is; its output when it succeeds.
    pub fn client(&self, script: &str) -> String {
        let output = self.spawnable(script).output().expect("nsenter");
        assert!(output.status.success(), "{script}\n{}", both(&output));
        both(&output)
    }

    /// As [`World::client`], of a script that must fail.
    pub fn client_fails(&self, script: &str) -> String {
        let output = self.spawnable(script).output().expect("nsenter");
        assert!(!output.status.success(), "{script} succeeded\n{}", both(&output));
        both(&output)
    }

    /// Starts a script where the client is; it is ended with the guard.
    pub fn background(&self, script: &str) -> Ended {
        Ended(self.spawnable(&format!("exec {script}")).spawn().expect("nsenter"))
    }

    /// A web server on port 80 with the directory `www`; it answers when this returns.
    pub fn web_server(&self) -> Ended {
        let server = self.background("python3 -m http.server --directory $DIR/www 80 >$DIR/www.log 2>&1");
        self.client(
            "for n in $(seq 100); do curl -s -o $DIR/null http://10.0.0.20/ && exit 0; sleep 0.1; done; exit 1",
        );
        server
    }

    /// Writes an executable script.
    pub fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("a file");
        run("chmod", &["+x", path.to_str().expect("text")]);
        path
    }

    /// Checks a chain file with openssl against the world's root, for this name.
    pub fn verify(&self, chain: &str, name: &str) -> String {
        self.client(&format!(
            "openssl verify -x509_strict -CAfile root.pem -untrusted '{chain}' -verify_hostname {name} -purpose sslserver '{chain}' \
             && openssl x509 -in '{chain}' -noout -text"
        ))
    }

    /// The serial number in a certificate file.
    pub fn serial(&self, file: &str) -> String {
        self.client(&format!("openssl x509 -in {file} -noout -serial"))
            .trim()
            .to_ascii_lowercase()
            .replace("serial=", "")
    }

    /// Whether the revocation list has the number.
    pub fn is_revoked(&self, serial: &str) -> bool {
        let list = self.client(&format!(
            "curl -sSf http://{NAME}/pki/issuing.crl -o crl.der && curl -sSf http://{NAME}/pki/issuing.der -o issuing.der \
             && openssl x509 -inform der -in issuing.der -out issuing.pem \
             && openssl crl -inform der -in crl.der -CAfile issuing.pem -noout -text"
        ));
        assert!(list.contains("verify OK"), "{list}");
        list.to_ascii_lowercase().contains(serial)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(server) = self.server.take() {
            let ended = server.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the authority has failed");
        }
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

/// A process that is ended when this is dropped.
pub struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn both(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().expect(program);
    assert!(output.status.success(), "{program} {arguments:?}: {}", both(&output));
}

/// The authority, as worldd would run it.
async fn authority(dir: &Path, difference: Difference, ready: mpsc::Sender<()>) {
    let name = |text| DnsName::parse(text).expect("a name");
    let scope = Scope {
        zones: vec![name("platform.internal")],
        tlds: vec![name("internal"), name("test")],
        networks: vec!["10.0.0.0/24".parse().expect("a network")],
    };
    let config = Config {
        common_name: "Test World Root".to_owned(),
        organization: "NetEngine".to_owned(),
        country: "XX".to_owned(),
        root_lifetime_secs: 3650 * 86_400,
        intermediate: difference.intermediate,
        storage: KeyStorageMode::Ephemeral,
        scope: scope.clone(),
        publication: Publication { base: format!("http://{NAME}"), crl: true, ocsp: true },
    };
    let mut policy = Policy::new(scope.clone(), NAME);
    if let Some((name, key)) = difference.external {
        policy.external.required = true;
        policy.external.keys.insert(name.to_owned(), ExternalKey::new(key).expect("long enough"));
    }
    let resolver = SocketAddr::from((CA, 53));
    let network = Network::new(resolver, scope, Ports::default(), NAME).expect("TLS");
    let store = SqliteStore::open(&dir.join("pki.db")).await.expect("a database");
    let (service, background) =
        Service::open(config, policy, &format!("https://{NAME}"), store, network).await.expect("an authority");
    std::fs::write(dir.join("root.pem"), service.authority().root_pem()).expect("a file");
    let serving = async {
        let names = [Identifier::dns(NAME).expect("a name"), Identifier::Ip(IpAddr::from(CA))];
        let profiles = Profiles::default();
        let profile = profiles.get("shortlived").expect("a profile");
        let own = service.issue_own(names.into_iter().collect(), profile).await.expect("a certificate");
        let tls = server_config(SwappedCertificate::new(&own).expect("a key")).expect("TLS");
        let secure = TcpListener::bind((IpAddr::from(CA), 443)).await.expect("port 443");
        let plain = TcpListener::bind((IpAddr::from(CA), 80)).await.expect("port 80");
        let _ = ready.send(());
        let both = tokio::join!(
            serve_tls(secure, tls, router(service.clone()), Limit::default()),
            serve(plain, publication_router(service.clone()), Limit::default()),
        );
        drop(both);
    };
    tokio::join!(background.run(), serving, dns::serve(resolver, "acme.test", CLIENT, dir.join("txt")));
}

use super::dns;
