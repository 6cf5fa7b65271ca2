//! The fake's worldds, routers' services and probers: they serve what they are told, and say so.

use std::sync::{Arc, Mutex};

use futures::{SinkExt, StreamExt};
use netengine_proto::{
    bounded::Bounded,
    control::{
        CONTROL_VERSION, CertificateSummary, ControlReply, ControlRequest, Desired, Health, IssuedCertificate, Probe,
        ProbeResult, ServiceHealth,
    },
    ids::WorldId,
    limits,
    root::ProcessKind,
    trust::{DelegationSigner, Trust},
};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::{
    bytes::Bytes,
    codec::{Framed, LengthDelimitedCodec},
};

use super::FakeRoot;

pub(super) async fn serve(listener: UnixListener, world: WorldId, kind: ProcessKind, fake: FakeRoot) {
    let desired = Arc::new(Mutex::new(Desired::default()));
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve_one(stream, world, kind, desired.clone(), fake.clone()));
    }
}

async fn serve_one(
    stream: UnixStream,
    world: WorldId,
    kind: ProcessKind,
    desired: Arc<Mutex<Desired>>,
    fake: FakeRoot,
) {
    let codec = LengthDelimitedCodec::builder().max_frame_length(limits::CONTROL_BYTES).new_codec();
    let mut frames = Framed::new(stream, codec);
    while let Some(Ok(frame)) = frames.next().await {
        let reply = match serde_json::from_slice(&frame).expect("userd sends what it must") {
            ControlRequest::Hello => {
                ControlReply::Hello { version: CONTROL_VERSION, release: "fake".to_owned(), role: format!("{kind:?}") }
            }
            ControlRequest::Apply(new) => {
                fake.lock().applied.insert((world, kind), (*new).clone());
                *desired.lock().expect("not poisoned") = *new;
                ControlReply::Health(summary_of(health(&desired, kind, &fake)))
            }
            ControlRequest::Summary => ControlReply::Health(summary_of(health(&desired, kind, &fake))),
            ControlRequest::Health => ControlReply::Health(health(&desired, kind, &fake)),
            ControlRequest::Probe(request) => {
                let broken = fake.lock().broken.clone();
                let hindered = fake.lock().hindered;
                let judge = |probe: &Probe| {
                    if hindered && matches!(probe, Probe::Acme { .. }) {
                        return ProbeResult { passed: false, fault: None, detail: "port taken".to_owned(), micros: 42 };
                    }
                    let fault = broken.as_ref().and_then(|broken| broken(probe));
                    ProbeResult { passed: fault.is_none(), fault, detail: "seen".to_owned(), micros: 42 }
                };
                ControlReply::Probed(request.probes.iter().map(|timed| judge(&timed.probe)).collect())
            }
            ControlRequest::Certificates { before: None } => ControlReply::Certificates(vec![summary()]),
            ControlRequest::Certificates { .. } => ControlReply::Certificates(Vec::new()),
            ControlRequest::Certificate(serial) => ControlReply::Certificate((serial == summary().serial).then(|| {
                let chain = "-----BEGIN CERTIFICATE-----\n".to_owned();
                IssuedCertificate { summary: summary(), chain }
            })),
            ControlRequest::Stop => ControlReply::Stopping,
        };
        let bytes = serde_json::to_vec(&reply).expect("encodes");
        if frames.send(Bytes::from(bytes)).await.is_err() {
            return;
        }
    }
}

fn summary() -> CertificateSummary {
    CertificateSummary {
        serial: "0011223344556677".to_owned(),
        names: vec!["ca.platform.internal".to_owned()],
        not_before: 0,
        not_after: 86_400,
        revoked: None,
        account: "world".to_owned(),
    }
}

/// What worlds of the fake trust.
pub fn trust() -> Trust {
    let certificate = Bounded::new(vec![0x30, 0x82]).expect("short");
    let digest = Bounded::new(vec![7; 32]).expect("short");
    let anchor = DelegationSigner { key_tag: 7, algorithm: 13, digest_type: 2, digest };
    Trust {
        certificates: Bounded::new(vec![certificate]).expect("one"),
        dns_root: Bounded::new(vec![anchor]).expect("one"),
    }
}

fn summary_of(mut health: Health) -> Health {
    health.services.retain(|service| !service.serving);
    Health { zones: Vec::new(), issuers: Vec::new(), ..health }
}

fn health(desired: &Mutex<Desired>, kind: ProcessKind, fake: &FakeRoot) -> Health {
    let desired = desired.lock().expect("not poisoned");
    let stopped = fake.lock().stopped.clone();
    let one = |name: &str, phase: u8, address, port| {
        let serving = !stopped.iter().any(|stopped| stopped == name);
        ServiceHealth { name: name.to_owned(), phase, address, port, serving, detail: String::new() }
    };
    let ntp = desired.ntp.iter().flat_map(|ntp| ntp.addresses.iter().map(|address| (*address, ntp.port)));
    let mut services: Vec<_> = ntp.map(|(address, port)| one("ntp", 0, address, port)).collect();
    if desired.spec.is_some() && desired.up_to >= 2 {
        let address = std::net::Ipv4Addr::new(10, 0, 0, 1).into();
        match kind {
            ProcessKind::Gateway => services.extend([53, 853, 443].map(|port| one("resolver", 2, address, port))),
            _ => services.push(one("dns", 1, address, 53)),
        }
    }
    let trust = if kind == ProcessKind::Worldd && desired.spec.is_some() { trust() } else { Trust::default() };
    Health { revision: desired.revision.clone(), services, trust, zones: Vec::new(), issuers: Vec::new() }
}
