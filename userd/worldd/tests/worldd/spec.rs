//! A world of a spec: its addresses in the namespace, its gateway as a second process, credentials as userd makes them.

use std::{
    fs::File,
    io::Write,
    net::IpAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use netengine_oidc::{from_spec, secret::Kernel};
use netengine_proto::{
    control::{ControlReply, ControlRequest, Desired, Health},
    trust::{Credential, CredentialKind, Secret, Trust},
};
use netengine_spec::{Source, Sources, Spec};

use crate::harness::{BINARY, Control, WORLD, World, connect};

/// The user that everything runs as.
const USER: [&str; 7] =
    ["--reuid", "61234", "--regid", "61234", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"];

/// An example that is shipped, with values of its own.
pub fn example(name: &str, sets: &[&str]) -> Spec {
    example_with(name, sets, |text| text)
}

/// An example that is shipped, changed.
pub fn example_with(name: &str, sets: &[&str], change: impl FnOnce(String) -> String) -> Spec {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(format!("{name}.yaml"));
    let base = Source { name: name.to_owned(), text: change(std::fs::read_to_string(file).expect("an example")) };
    let sets = sets.iter().map(|set| (*set).to_owned()).collect();
    netengine_spec::load(&Sources { base, overlay: None, sets }, &|_: &str| None).expect("a good spec").spec
}

/// What userd would ask for, with new credentials.
pub fn desired(spec: &Spec) -> Desired {
    let key = |name: &str| Credential {
        kind: CredentialKind::Tsig,
        issuer: String::new(),
        name: name.to_owned(),
        secret: Secret::new(STANDARD.encode([7; 32])),
    };
    let wanted = [from_spec::platform(spec), from_spec::inworld(spec)];
    let made = wanted.iter().flat_map(|wanted| wanted.credentials(&mut Kernel));
    let of_identity = made.map(|made| Credential {
        kind: match made.kind {
            from_spec::Kind::Password => CredentialKind::Password,
            from_spec::Kind::ClientSecret => CredentialKind::ClientSecret,
            from_spec::Kind::RegistrationToken => CredentialKind::RegistrationToken,
        },
        issuer: made.issuer,
        name: made.name,
        secret: Secret::new(made.secret.expose().to_owned()),
    });
    Desired {
        revision: "1".to_owned(),
        world: spec.name().to_string(),
        spec: Some(serde_json::to_string(spec).expect("JSON")),
        up_to: 9,
        credentials: [key("transfer"), key("update")].into_iter().chain(of_identity).collect(),
        ..Desired::default()
    }
}

/// The secret of an account or client.
pub fn secret(desired: &Desired, issuer: &str, name: &str) -> String {
    let found = desired.credentials.iter().find(|one| one.issuer == issuer && one.name == name);
    found.expect("a credential").secret.expose().to_owned()
}

impl Control {
    /// Asks for this state and gives what came of it.
    pub fn desire(&mut self, desired: &Desired) -> Health {
        let reply = self.ask(&ControlRequest::Apply(Box::new(desired.clone())));
        assert!(matches!(reply, ControlReply::Health(_)), "{reply:?}");
        match self.ask(&ControlRequest::Health) {
            ControlReply::Health(health) => health,
            other => panic!("{other:?}"),
        }
    }
}

impl World {
    /// Gives the namespace every address that the spec names, the router's included.
    pub fn give_addresses(&self, spec: &Spec) {
        let listen = spec.listen_addresses();
        let mut all: Vec<IpAddr> =
            listen.iter().flat_map(|one| [Some(one.v4.into()), one.v6.map(IpAddr::V6)]).flatten().collect();
        all.extend(
            spec.networks().iter().flat_map(|one| [Some(one.gateway.into()), one.gateway6.map(IpAddr::V6)]).flatten(),
        );
        let lines: String = all.iter().map(|address| format!("addr replace {address} dev lo\n")).collect();
        let mut ip = Command::new("nsenter")
            .args(["-t", &self.pid().to_string(), "-n", "ip", "-batch", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("nsenter runs");
        ip.stdin.take().expect("a pipe").write_all(lines.as_bytes()).expect("writes");
        assert!(ip.wait().expect("ends").success());
    }

    /// Kills worldd without warning and starts it again, in the same namespace and directory.
    pub fn kill_and_restart(&mut self) {
        let namespace = File::open(format!("/proc/{}/ns/net", self.pid())).expect("the namespace");
        self.child.kill().expect("lives");
        self.child.wait().expect("ends");
        let dir = self.dir.path().to_str().expect("text").to_owned();
        self.child = Command::new("nsenter")
            // The namespace comes as standard input, and goes before worldd starts.
            .args(["--net=/proc/self/fd/0", "sh", "-c", "exec \"$0\" \"$@\" </dev/null", "setpriv"])
            .args(USER)
            .args([BINARY, "--role", "worldd", "--world", WORLD, "--dir", &dir, "--peer-uid", "0"])
            .stdin(Stdio::from(namespace))
            .spawn()
            .expect("starts");
    }

    /// The services of the router, in the same namespace and directory.
    pub fn gateway(&self) -> Gateway {
        let (pid, dir) = (self.pid().to_string(), self.dir.path().to_str().expect("text").to_owned());
        let child = Command::new("nsenter")
            .args(["-t", &pid, "-n", "setpriv"])
            .args(USER)
            .args([BINARY, "--role", "gateway", "--world", WORLD, "--dir", &dir, "--peer-uid", "0"])
            .stdin(Stdio::null())
            .spawn()
            .expect("starts");
        Gateway { child, socket: self.dir.path().join("gateway.sock") }
    }
}

pub struct Gateway {
    child: Child,
    socket: std::path::PathBuf,
}

impl Gateway {
    pub fn control(&mut self) -> Control {
        Control(connect(&self.socket, &mut self.child))
    }

    /// Asks for the resolver of this world.
    pub fn desire(&mut self, desired: &Desired, trust: &Trust) -> Health {
        let desired = Desired { ntp: None, credentials: Vec::new(), trust: trust.clone(), ..desired.clone() };
        self.control().desire(&desired)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every service serves.
pub fn assert_serving(health: &Health) {
    let bad: Vec<_> = health.services.iter().filter(|one| !one.serving).collect();
    assert!(bad.is_empty() && !health.services.is_empty(), "{bad:#?}");
}
