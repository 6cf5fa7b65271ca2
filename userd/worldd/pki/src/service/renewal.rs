//! Certificates of the world's own services, renewed by policy before they expire.

use std::{collections::BTreeSet, time::Duration};

use netengine_spec::model::RotationPolicy;

use super::{OwnCertificate, Service, unix_seconds};
use crate::{ca::Profile, clock::UnixSeconds, http::SwappedCertificate, name::Identifier, store::Store};

/// The pause after a renewal that has failed.
const AGAIN: Duration = Duration::from_secs(60);

/// When a certificate is renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewal {
    /// How often it is looked at.
    pub interval: Duration,
    /// How long before its end it is renewed at the latest, in seconds.
    pub warning_secs: i64,
}

impl Renewal {
    /// As the spec's rotation policy has it for this type of certificate; `None` when nothing is renewed.
    pub fn of(policy: &RotationPolicy, kind: &str) -> Option<Self> {
        let special =
            policy.cert_type_overrides.iter().find(|(key, _)| key.as_str() == kind).map(|(_, special)| special);
        let hours =
            special.and_then(|special| special.rotation_interval_hours).unwrap_or(policy.default_interval_hours);
        let days = special.and_then(|special| special.expiry_warning_days).unwrap_or(policy.default_warning_days);
        policy.enabled.then(|| Self {
            interval: Duration::from_secs(u64::from(hours) * 3600),
            warning_secs: i64::from(days) * 24 * 3600,
        })
    }

    /// Seconds until this certificate is to be renewed; 0 when it is time.
    ///
    /// The last third of its life always counts as late; a warning longer than that would renew a short-lived
    /// certificate each time it is looked at, so it counts for no more than two thirds.
    pub fn due_in(&self, not_before: UnixSeconds, not_after: UnixSeconds, now: UnixSeconds) -> i64 {
        let lifetime = not_after.saturating_sub(not_before).max(0);
        let before = self.warning_secs.clamp(lifetime / 3, (lifetime / 3 * 2).max(lifetime / 3));
        not_after.saturating_sub(before).saturating_sub(now).max(0)
    }
}

/// Renews a service's certificate whenever it is due, until it is dropped. Connections are not touched; when a renewal
/// fails the old certificate is served on, and it is tried again every minute.
pub async fn keep_fresh<S: Store>(
    service: &Service<S>,
    names: BTreeSet<Identifier>,
    profile: Profile,
    renewal: Renewal,
    certificate: &SwappedCertificate,
    mut current: OwnCertificate,
) -> std::convert::Infallible {
    loop {
        // In steps no longer than the interval: a clock on the wall that jumps is noticed at the next look.
        let due = renewal.due_in(current.not_before, current.not_after, unix_seconds());
        if due > 0 {
            tokio::time::sleep(renewal.interval.min(Duration::from_secs(due.unsigned_abs()))).await;
            continue;
        }
        let failure: String = match service.issue_own(names.clone(), &profile).await {
            Ok(next) => match certificate.swap(&next) {
                Ok(()) => {
                    tracing::info!(service = "pki", "renewed {}, now {}", current.serial, next.serial);
                    current = next;
                    continue;
                }
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        tracing::error!(service = "pki", "{failure}; the certificate {} is served on", current.serial);
        tokio::time::sleep(AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    #[test]
    fn certificates_are_renewed_by_the_policy_but_never_too_late_or_all_the_time() {
        let renewal = Renewal::of(&RotationPolicy::default(), "tls").expect("enabled");
        assert_eq!(renewal.interval, Duration::from_secs(DAY as u64));
        // 90 days with a warning of 30: a third.
        assert_eq!(renewal.due_in(0, 90 * DAY, 0), 60 * DAY);
        assert_eq!(renewal.due_in(0, 90 * DAY, 61 * DAY), 0);
        // 6 days: after the first third, for the warning is longer than its life.
        assert_eq!(renewal.due_in(0, 6 * DAY, 0), 2 * DAY);
        // A year: 30 days before would be the last twelfth; the last third is.
        assert_eq!(renewal.due_in(0, 360 * DAY, 0), 240 * DAY);
        assert_eq!(renewal.due_in(0, DAY, 100 * DAY), 0);
    }

    #[test]
    fn a_policy_may_have_other_values_for_a_type_and_may_be_off() {
        let text = r#"{"default_interval_hours": 5, "cert_type_overrides": {"web": {"expiry_warning_days": 2}}}"#;
        let mut policy: RotationPolicy = serde_json::from_str(text).expect("a policy");
        let web = Renewal::of(&policy, "web").expect("enabled");
        assert_eq!((web.interval, web.warning_secs), (Duration::from_secs(5 * 3600), 2 * DAY));
        assert_eq!(Renewal::of(&policy, "mail").expect("enabled").warning_secs, 30 * DAY);
        policy.enabled = false;
        assert_eq!(Renewal::of(&policy, "web"), None);
    }
}
