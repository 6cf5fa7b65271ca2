//! The live check of a time server.

use std::{net::SocketAddr, time::Duration};

use netengine_proto::control::Fault;

use super::finding::{Finding, Seen};
use crate::ntp::{
    check::Doubt,
    client::{self, AskError},
};

/// Asks the time and tells what was believed.
pub async fn check(server: SocketAddr, within: Duration) -> Seen {
    match client::ask(server, within).await {
        Ok(sample) => {
            let (stratum, offset, delay) = (sample.stratum, sample.offset_us, sample.delay_us);
            Ok(format!("stratum {stratum}, offset {offset} us, delay {delay} us"))
        }
        Err(error) => Err(Finding { fault: fault(&error), detail: super::chain(&error) }),
    }
}

fn fault(error: &AskError) -> Option<Fault> {
    match error {
        AskError::Random(_) => None,
        AskError::Io { source, .. } => Finding::io("ask", source).fault,
        AskError::Silent { strange: false, .. } => Some(Fault::ServiceStopped),
        AskError::Doubt { doubt: Doubt::Kiss(_), .. } => Some(Fault::Refused),
        AskError::Silent { strange: true, .. } | AskError::Doubt { .. } => Some(Fault::WrongAnswer),
    }
}
