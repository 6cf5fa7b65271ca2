//! One sandbox: the connection that rootd's lab role gave to its worker.

use std::{io, path::Path, time::Duration};

use netengine_lab_proto::limits::{CASE_MILLIS, MESSAGE_BYTES};
use netengine_proto::{
    api::{Problem, ProblemKind},
    ids::Uid,
    sandbox::{SandboxAnswer, SandboxRequest},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

use crate::problem::problem;

/// The lab role answers within this; starting a process takes a millisecond.
const START_TIME: Duration = Duration::from_secs(10);
/// The longest case, and loading the largest ruleset.
const CASE_TIME: Duration = Duration::from_millis(CASE_MILLIS as u64 + 90_000);

/// Why a case was not judged.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The lab role cannot be reached.
    #[error("cannot reach the firewall lab: {0}")]
    Away(#[source] io::Error),
    /// It gives no sandbox.
    #[error("cannot have a sandbox: {}", why(*.0))]
    Refused(SandboxAnswer),
    /// The worker ended; a text may have done that.
    #[error("the sandbox ended: {0}")]
    Ended(#[source] io::Error),
    /// It took longer than any case may.
    #[error("the sandbox did not answer in time")]
    Late,
    /// Longer than [`MESSAGE_BYTES`].
    #[error("the case is longer than {MESSAGE_BYTES} bytes")]
    TooLong,
}

fn why(answer: SandboxAnswer) -> &'static str {
    match answer {
        SandboxAnswer::OwnerLimit => "this user has as many as one may have",
        SandboxAnswer::Limit => "there are as many as this host may have",
        SandboxAnswer::Version => "rootd and userd are of different releases",
        SandboxAnswer::Refused => "rootd does not make one for this user",
        SandboxAnswer::Granted | SandboxAnswer::Failed => {
            "rootd could not start it; the log of netengine-lab tells why"
        }
    }
}

impl LabError {
    /// What a caller sees.
    pub fn problem(&self) -> Problem {
        let (kind, help) = match self {
            Self::Away(_) => (ProblemKind::Engine, "see `systemctl status netengine-lab`, or use `--rootless`"),
            Self::Refused(SandboxAnswer::OwnerLimit | SandboxAnswer::Limit) => {
                (ProblemKind::Quota, "wait until other tests are over")
            }
            Self::TooLong => (ProblemKind::Usage, "use a shorter ruleset or fewer packets"),
            Self::Refused(_) | Self::Ended(_) | Self::Late => {
                (ProblemKind::Engine, "see the log of netengine-lab; `--rootless` runs without the daemons")
            }
        };
        problem(kind, "cannot run the case", self.to_string(), help)
    }
}

/// A sandbox. Dropped, it ends, and all in it.
#[derive(Debug)]
pub struct Sandbox {
    stream: UnixStream,
}

impl Sandbox {
    /// Has one started for `owner`.
    ///
    /// # Errors
    /// [`LabError::Away`] or [`LabError::Refused`].
    pub async fn open(socket: &Path, owner: Uid) -> Result<Self, LabError> {
        let opening = async {
            let mut stream = UnixStream::connect(socket).await?;
            stream.write_all(&SandboxRequest { owner }.encode()).await?;
            let answer = stream.read_u8().await?;
            Ok::<_, io::Error>((stream, answer))
        };
        let late = || LabError::Away(io::ErrorKind::TimedOut.into());
        let (stream, answer) = timeout(START_TIME, opening).await.map_err(|_| late())?.map_err(LabError::Away)?;
        match SandboxAnswer::decode(answer) {
            Some(SandboxAnswer::Granted) => Ok(Self { stream }),
            Some(refused) => Err(LabError::Refused(refused)),
            None => Err(LabError::Refused(SandboxAnswer::Version)),
        }
    }

    /// Runs one case: its bytes and those of its result, postcard, as `netengine_lab_proto` has them. After an error, or when the future
    /// is dropped before its end, the sandbox must be dropped.
    ///
    /// # Errors
    /// [`LabError::Ended`], [`LabError::Late`], [`LabError::TooLong`].
    pub async fn run(&mut self, request: &[u8]) -> Result<Vec<u8>, LabError> {
        let length = u32::try_from(request.len()).ok().filter(|_| request.len() <= MESSAGE_BYTES);
        let length = length.ok_or(LabError::TooLong)?;
        let exchange = async {
            self.stream.write_all(&length.to_le_bytes()).await?;
            self.stream.write_all(request).await?;
            let length = self.stream.read_u32_le().await? as usize;
            if length > MESSAGE_BYTES {
                return Err(io::Error::other("its answer is too long"));
            }
            // Memory grows with what arrives, not with what the length claims.
            let mut answer = Vec::new();
            (&mut self.stream).take(length as u64).read_to_end(&mut answer).await?;
            if answer.len() < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(answer) }
        };
        timeout(CASE_TIME, exchange).await.map_err(|_| LabError::Late)?.map_err(LabError::Ended)
    }
}
