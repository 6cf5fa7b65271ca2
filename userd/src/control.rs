//! Calls to a worldd or prober over its control socket. What comes back is bounded and has a deadline; the peer is a
//! process of another user that faces a world.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use futures::{SinkExt, StreamExt};
use netengine_proto::{
    control::{
        CONTROL_VERSION, CertificateSummary, ControlReply, ControlRequest, Desired, Health, IssuedCertificate,
        ProbeRequest, ProbeResult,
    },
    ids::WorldId,
    limits,
    names::HostName,
};
use tokio::{
    net::UnixStream,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::{
    bytes::Bytes,
    codec::{Framed, LengthDelimitedCodec},
};

/// A worldd or prober that was just started is at its socket within this.
pub const START_TIME: Duration = Duration::from_secs(5);
/// One request and its reply.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// A whole world told at once: a thousand accounts are as many password hashes.
const APPLY_TIME: Duration = Duration::from_secs(60);

/// Why a worldd or prober did not answer as it must.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens at the socket.
    #[error("it is not at its control socket")]
    Connect(#[source] io::Error),
    /// The connection broke, or a frame passed its bound.
    #[error("its control connection broke")]
    Broken(#[source] io::Error),
    /// No answer in time.
    #[error("it does not answer")]
    Late,
    /// It answered something else.
    #[error("it answered out of turn")]
    Unexpected,
    /// It speaks another version.
    #[error("it speaks version {0} of the control interface")]
    Version(u16),
    /// It says no.
    #[error("it refused: {0}")]
    Refused(String),
}

/// Where a world's worldd listens.
pub fn worldd_socket(worlds: &Path, world: WorldId) -> PathBuf {
    worlds.join(world.to_string()).join("control.sock")
}

/// Where the services of a world's router listen.
pub fn gateway_socket(worlds: &Path, world: WorldId) -> PathBuf {
    worlds.join(world.to_string()).join("gateway.sock")
}

/// Where a world's prober listens.
pub fn prober_socket(worlds: &Path, world: WorldId, host: &HostName) -> PathBuf {
    worlds.join(world.to_string()).join(format!("prober-{host}.sock"))
}

/// One control connection.
pub struct Control(Framed<UnixStream, LengthDelimitedCodec>);

impl Control {
    /// Connects to a peer that is there.
    ///
    /// # Errors
    /// [`ControlError`]
    pub async fn connect(path: &Path) -> Result<Self, ControlError> {
        let stream = timeout(REQUEST_TIME, UnixStream::connect(path)).await;
        let stream = stream.map_err(|_| ControlError::Late)?.map_err(ControlError::Connect)?;
        let codec = LengthDelimitedCodec::builder().max_frame_length(limits::CONTROL_BYTES).new_codec();
        let mut control = Self(Framed::new(stream, codec));
        match control.request(&ControlRequest::Hello, REQUEST_TIME).await? {
            ControlReply::Hello { version: CONTROL_VERSION, .. } => Ok(control),
            ControlReply::Hello { version, .. } => Err(ControlError::Version(version)),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// Connects to a peer that was just started and may not listen yet.
    ///
    /// # Errors
    /// [`ControlError`] of the last try after [`START_TIME`].
    pub async fn connect_started(path: &Path) -> Result<Self, ControlError> {
        let until = Instant::now() + START_TIME;
        let mut pause = Duration::from_millis(1);
        loop {
            match Self::connect(path).await {
                Err(ControlError::Connect(_) | ControlError::Broken(_)) if Instant::now() + pause < until => {}
                other => return other,
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(16));
        }
    }

    async fn request(&mut self, request: &ControlRequest, time: Duration) -> Result<ControlReply, ControlError> {
        let until = Instant::now() + time;
        let invalid = |error| ControlError::Broken(io::Error::new(io::ErrorKind::InvalidData, error));
        let frame = serde_json::to_vec(request).map_err(invalid)?;
        let sent = timeout_at(until, self.0.send(Bytes::from(frame))).await.map_err(|_| ControlError::Late)?;
        sent.map_err(ControlError::Broken)?;
        let received = timeout_at(until, self.0.next()).await.map_err(|_| ControlError::Late)?;
        let ended = || ControlError::Broken(io::ErrorKind::UnexpectedEof.into());
        let frame = received.ok_or_else(ended)?.map_err(ControlError::Broken)?;
        match serde_json::from_slice(&frame).map_err(invalid)? {
            ControlReply::Refused(why) => Err(ControlError::Refused(plain(&why))),
            reply => Ok(reply),
        }
    }

    /// Has worldd serve this, and only this; answered as [`Self::summary`] is.
    ///
    /// # Errors
    /// [`ControlError`]
    pub async fn apply(&mut self, desired: &Desired) -> Result<Health, ControlError> {
        self.health_of(&ControlRequest::Apply(Box::new(desired.clone())), APPLY_TIME).await
    }

    /// How each service is.
    ///
    /// # Errors
    /// [`ControlError`]
    pub async fn health(&mut self) -> Result<Health, ControlError> {
        self.health_of(&ControlRequest::Health, REQUEST_TIME).await
    }

    /// Which services do not serve: these alone are told, and nothing that is for other worlds.
    ///
    /// # Errors
    /// [`ControlError`]
    pub async fn summary(&mut self) -> Result<Health, ControlError> {
        self.health_of(&ControlRequest::Summary, REQUEST_TIME).await
    }

    async fn health_of(&mut self, request: &ControlRequest, time: Duration) -> Result<Health, ControlError> {
        match self.request(request, time).await? {
            ControlReply::Health(mut health) => {
                for service in &mut health.services {
                    (service.name, service.detail) = (plain(&service.name), plain(&service.detail));
                }
                Ok(health)
            }
            _ => Err(ControlError::Unexpected),
        }
    }

    /// Runs live checks where the prober is; one result per probe.
    ///
    /// # Errors
    /// [`ControlError`]
    pub async fn probe(&mut self, request: ProbeRequest, time: Duration) -> Result<Vec<ProbeResult>, ControlError> {
        let count = request.probes.len();
        match self.request(&ControlRequest::Probe(request), time + REQUEST_TIME).await? {
            ControlReply::Probed(mut results) if results.len() == count => {
                results.iter_mut().for_each(|result| result.detail = plain(&result.detail));
                Ok(results)
            }
            _ => Err(ControlError::Unexpected),
        }
    }

    /// The certificates that were issued, newest first; only those before the one with serial number `before`.
    ///
    /// # Errors
    /// [`ControlError`]
    pub async fn certificates(&mut self, before: Option<String>) -> Result<Vec<CertificateSummary>, ControlError> {
        match self.request(&ControlRequest::Certificates { before }, REQUEST_TIME).await? {
            ControlReply::Certificates(listed) if listed.len() <= limits::CERTIFICATES_LISTED => {
                Ok(listed.into_iter().map(plain_summary).collect())
            }
            _ => Err(ControlError::Unexpected),
        }
    }

    /// One certificate by its serial number, hexadecimal.
    ///
    /// # Errors
    /// [`ControlError`]
    pub async fn certificate(&mut self, serial: String) -> Result<Option<IssuedCertificate>, ControlError> {
        match self.request(&ControlRequest::Certificate(serial), REQUEST_TIME).await? {
            ControlReply::Certificate(found) => Ok(found.map(|found| IssuedCertificate {
                summary: plain_summary(found.summary),
                chain: found.chain.chars().filter(|c| *c == '\n' || (c.is_ascii() && !c.is_control())).collect(),
            })),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// Asks the peer to end. Its end is awaited by rootd.
    pub async fn stop(&mut self) {
        let _ = self.request(&ControlRequest::Stop, REQUEST_TIME).await;
    }
}

fn plain_summary(mut summary: CertificateSummary) -> CertificateSummary {
    (summary.serial, summary.account) = (plain(&summary.serial), plain(&summary.account));
    summary.names.iter_mut().for_each(|name| *name = plain_long(name));
    summary
}

/// As [`plain`], as long as a name may be (RFC 1035, section 2.3.4).
fn plain_long(text: &str) -> String {
    let shown = text.chars().map(|c| if c.is_control() || !c.is_ascii() { '?' } else { c });
    shown.take(255).collect()
}

/// A text from a peer that faces a world: at most 200 characters, none that a terminal would interpret.
fn plain(text: &str) -> String {
    let shown = text.chars().map(|c| if c.is_control() || !c.is_ascii() { '?' } else { c });
    shown.take(200).collect()
}
