//! Certificates, trust and secrets of a world, shown to whom they belong.

use base64::{Engine, engine::general_purpose::STANDARD};
use netengine_proto::{
    api::{Certificate, CertificateChain, Problem, ProblemKind, WorldCredential, WorldTrust},
    control::CertificateSummary,
    trust::Trust,
};

use super::Orchestrator;
use crate::{
    control::{self, Control, ControlError},
    decide::{Verdict, WorldRef, act},
    plan::secrets::kind_word,
    problem::{about, problem},
};

/// Digits of a serial number at most (RFC 5280, section 4.1.2.2: 20 octets).
const SERIAL_DIGITS: usize = 40;

impl Orchestrator {
    /// The certificates that were issued in a world, newest first; `before` a serial number.
    ///
    /// # Errors
    /// A [`Problem`]
    pub async fn certificates(
        &self,
        verdict: Verdict<act::ViewCertificates, WorldRef>,
        before: Option<&str>,
    ) -> Result<Vec<Certificate>, Problem> {
        let world = verdict.object();
        let what = format!("cannot list the certificates of world \"{}\"", world.name);
        let before = before.map(|text| {
            let wrong = || {
                problem(ProblemKind::Usage, what.as_str(), "`before` is not a serial number", "take one of the list")
            };
            serial(text).ok_or_else(wrong)
        });
        let before = before.transpose()?;
        let asking = async { self.worldd(world).await?.certificates(before).await };
        let listed = asking.await.map_err(|error| not_answered(&what, &error))?;
        Ok(listed.into_iter().map(certificate).collect())
    }

    /// One certificate with its chain.
    ///
    /// # Errors
    /// A [`Problem`]
    pub async fn certificate(
        &self,
        verdict: Verdict<act::ViewCertificates, WorldRef>,
        text: &str,
    ) -> Result<CertificateChain, Problem> {
        let world = verdict.object();
        let what = format!("cannot show a certificate of world \"{}\"", world.name);
        let absent = || {
            let help = format!("`netengine pki list {}` shows those it has", world.name);
            problem(ProblemKind::NotFound, what.as_str(), "no certificate of that serial number", help)
        };
        let serial = serial(text).ok_or_else(absent)?;
        let asking = async { self.worldd(world).await?.certificate(serial).await };
        let found = asking.await.map_err(|error| not_answered(&what, &error))?.ok_or_else(absent)?;
        Ok(CertificateChain { certificate: certificate(found.summary), chain: found.chain })
    }

    /// What the clients of a world trust.
    ///
    /// # Errors
    /// A [`Problem`]
    pub async fn world_trust(&self, verdict: Verdict<act::ViewTrust, WorldRef>) -> Result<WorldTrust, Problem> {
        let world = verdict.object();
        let trust = self.store().trust(world.id).await;
        let trust =
            trust.map_err(|error| error.problem(format!("cannot show what world \"{}\" trusts", world.name)))?;
        Ok(shown(&trust))
    }

    /// The secrets of a world.
    ///
    /// # Errors
    /// A [`Problem`]
    pub async fn credentials(
        &self,
        verdict: Verdict<act::ViewCredentials, WorldRef>,
    ) -> Result<Vec<WorldCredential>, Problem> {
        let world = verdict.object();
        let what = format!("cannot show the secrets of world \"{}\"", world.name);
        let held = self.held_secrets(world).await.map_err(|inner| about(inner, &what))?;
        tracing::info!(world = %world.id, uid = %verdict.principal().uid(), "secrets are shown");
        let shown = held.into_iter().map(|held| WorldCredential {
            kind: kind_word(held.kind).to_owned(),
            secret: held.secret.expose().to_owned(),
            issuer: held.issuer,
            name: held.name,
        });
        Ok(shown.collect())
    }

    async fn worldd(&self, world: &WorldRef) -> Result<Control, ControlError> {
        Control::connect(&control::worldd_socket(self.worlds_dir(), world.id)).await
    }
}

fn not_answered(what: &str, error: &ControlError) -> Problem {
    let help = "bring the world up again with `netengine up`; see `netengine logs WORLD`";
    problem(ProblemKind::Failed, what, format!("worldd: {error}"), help)
}

/// A serial number as worldd writes it: hexadecimal, lower case.
fn serial(text: &str) -> Option<String> {
    let is_serial = (1..=SERIAL_DIGITS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_serial.then(|| text.to_ascii_lowercase())
}

fn certificate(summary: CertificateSummary) -> Certificate {
    let CertificateSummary { serial, names, not_before, not_after, revoked, account } = summary;
    Certificate { serial, names, not_before, not_after, revoked, account }
}

fn shown(trust: &Trust) -> WorldTrust {
    WorldTrust {
        certificates: trust.certificates.iter().map(|der| pem(der)).collect(),
        dns_root: trust.dns_root.iter().map(ToString::to_string).collect(),
    }
}

/// Textual encoding of a certificate (RFC 7468, section 5): lines of 64 letters.
fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem + "-----END CERTIFICATE-----\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_written_as_rfc_7468_has_it() {
        let pem = pem(&[0; 50]);
        let lines: Vec<_> = pem.lines().collect();
        assert_eq!((lines.len(), lines[1].len(), lines[2].len()), (4, 64, 4));
        assert!(pem.starts_with("-----BEGIN CERTIFICATE-----\n") && pem.ends_with("-----END CERTIFICATE-----\n"));
    }

    #[test]
    fn a_serial_number_is_hexadecimal_and_bounded() {
        assert_eq!(serial("0AbC").as_deref(), Some("0abc"));
        for bad in ["", "0x1", "-1", "g", &"a".repeat(41)] {
            assert_eq!(serial(bad), None, "{bad}");
        }
    }
}
