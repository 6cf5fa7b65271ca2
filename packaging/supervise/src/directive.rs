//! Which directives of unit files are known, and how their values are read.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use caps::Capability;
use nix::sys::resource::Resource;

use crate::unit::{Entry, Unit};

/// What becomes of a directive here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// This supervisor does it.
    Applied,
    /// It means nothing without systemd (ordering, installation, texts).
    Idle,
    /// It would fence the service in and is not done here; listed in the log.
    NotApplied,
}

use Effect::{Applied, Idle, NotApplied};

const KNOWN: &[(&str, &str, Effect)] = &[
    ("Unit", "Description Documentation PartOf Requires Wants After Before StartLimitIntervalSec", Idle),
    ("Install", "WantedBy Also", Idle),
    ("Socket", "ListenStream FileDescriptorName Service SocketUser SocketGroup SocketMode RemoveOnStop", Applied),
    ("Socket", "DirectoryMode", Applied),
    ("Service", "Type ExecStart Sockets User Group SupplementaryGroups UMask Environment EnvironmentFile", Applied),
    ("Service", "AmbientCapabilities CapabilityBoundingSet NoNewPrivileges LimitNOFILE LimitCORE LimitNPROC", Applied),
    ("Service", "RuntimeDirectory RuntimeDirectoryMode RuntimeDirectoryPreserve", Applied),
    ("Service", "StateDirectory StateDirectoryMode", Applied),
    ("Service", "Restart RestartSec TimeoutStartSec TimeoutStopSec KillMode", Applied),
    ("Service", "NotifyAccess", Idle),
    ("Service", "ProtectSystem ReadWritePaths ProtectHome PrivateTmp PrivateMounts PrivateDevices", NotApplied),
    ("Service", "PrivateNetwork ProtectProc ProcSubset ProtectKernelTunables ProtectKernelModules", NotApplied),
    ("Service", "ProtectKernelLogs ProtectControlGroups ProtectClock ProtectHostname KeyringMode", NotApplied),
    ("Service", "RemoveIPC RestrictRealtime RestrictSUIDSGID RestrictNamespaces LockPersonality", NotApplied),
    ("Service", "MemoryDenyWriteExecute RestrictAddressFamilies IPAddressDeny IPAddressAllow", NotApplied),
    ("Service", "SystemCallFilter SystemCallArchitectures SystemCallErrorNumber DevicePolicy DeviceAllow", NotApplied),
    ("Service", "TasksMax MemoryMax OOMScoreAdjust OOMPolicy", NotApplied),
];

/// What becomes of a directive; `None` when it is unknown.
pub fn effect(section: &str, key: &str) -> Option<Effect> {
    let of_section = KNOWN.iter().filter(|(known, ..)| *known == section);
    of_section.into_iter().find(|(_, keys, _)| keys.split(' ').any(|known| known == key)).map(|(.., effect)| *effect)
}

/// Refuses unknown directives and names those that are known and not applied.
///
/// # Errors
/// The first unknown directive, with its place.
pub fn check(unit: &Unit) -> Result<Vec<String>> {
    let mut not_applied: Vec<String> = Vec::new();
    for Entry { section, key, place, .. } in unit.entries() {
        match effect(section, key) {
            None => bail!("{place}: unknown directive {key}= in section [{section}]"),
            Some(NotApplied) if !not_applied.contains(key) => not_applied.push(key.clone()),
            Some(_) => {}
        }
    }
    Ok(not_applied)
}

/// `yes`, `true`, `on`, `1` and their opposites.
pub fn boolean(entry: &Entry) -> Result<bool> {
    match entry.value.as_str() {
        "yes" | "true" | "on" | "1" => Ok(true),
        "no" | "false" | "off" | "0" => Ok(false),
        other => bail!("{}: {other:?} is neither yes nor no", entry.place),
    }
}

/// An octal mode of at most `7777`.
pub fn mode(entry: &Entry) -> Result<u32> {
    octal(&entry.value).with_context(|| entry.place.clone())
}

/// Text of an octal mode of at most `7777`.
pub fn octal(text: &str) -> Result<u32> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o7777 => Ok(mode),
        _ => bail!("{text:?} is not an octal mode"),
    }
}

/// A time span: a number of seconds, or with unit `ms`, `s` or `min` (systemd.time(7)).
pub fn duration(entry: &Entry) -> Result<Duration> {
    let text = entry.value.as_str();
    let (number, millis) = [("ms", 1), ("min", 60_000), ("s", 1000)]
        .into_iter()
        .find_map(|(unit, millis)| Some((text.strip_suffix(unit)?, millis)))
        .unwrap_or((text, 1000));
    let count: u64 = number.trim().parse().with_context(|| format!("{}: {text:?} is not a time span", entry.place))?;
    Ok(Duration::from_millis(count.saturating_mul(millis)))
}

/// Capabilities by name.
pub fn capabilities(unit: &Unit, key: &str) -> Result<Vec<Capability>> {
    let parse = |name: &String| {
        name.parse().map_err(|_| anyhow::anyhow!("{}: {key}= names unknown capability {name:?}", unit.name))
    };
    unit.words("Service", key).iter().map(parse).collect()
}

/// The `Limit*=` directives: resource and value, the largest number for `infinity`.
pub fn limits(unit: &Unit) -> Result<Vec<(Resource, u64)>> {
    let mut limits = Vec::new();
    for (key, resource) in [
        ("LimitNOFILE", Resource::RLIMIT_NOFILE),
        ("LimitCORE", Resource::RLIMIT_CORE),
        ("LimitNPROC", Resource::RLIMIT_NPROC),
    ] {
        let Some(entry) = unit.last("Service", key) else { continue };
        let value = match entry.value.as_str() {
            "infinity" => u64::MAX,
            number => number.parse().with_context(|| format!("{}: {number:?} is not a limit", entry.place))?,
        };
        limits.push((resource, value));
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(value: &str) -> Entry {
        Entry { section: "Service".into(), key: "K".into(), value: value.into(), place: "f:1".into() }
    }

    #[test]
    fn values_are_read_as_systemd_reads_them() {
        assert_eq!(duration(&entry("100ms")).expect("span"), Duration::from_millis(100));
        assert_eq!(duration(&entry("10s")).expect("span"), Duration::from_secs(10));
        assert_eq!(duration(&entry("2min")).expect("span"), Duration::from_secs(120));
        assert_eq!(duration(&entry("7")).expect("span"), Duration::from_secs(7));
        assert_eq!(mode(&entry("2750")).expect("mode"), 0o2750);
        assert!(boolean(&entry("yes")).expect("boolean"));
    }

    #[test]
    fn values_that_mean_nothing_are_refused() {
        assert!(duration(&entry("soon")).is_err() && duration(&entry("-1s")).is_err());
        assert!(mode(&entry("0888")).is_err() && mode(&entry("17777")).is_err());
        assert!(boolean(&entry("maybe")).is_err());
    }

    #[test]
    fn a_typing_mistake_is_unknown_not_ignored() {
        assert_eq!(effect("Service", "ProtectHome"), Some(NotApplied));
        assert_eq!(effect("Service", "ProtectHme"), None);
        assert_eq!(effect("Unit", "ProtectHome"), None);
    }
}
