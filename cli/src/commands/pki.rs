//! `netengine pki`: the certificates of a world's authority, and what its clients trust.

use std::time::{SystemTime, UNIX_EPOCH};

use netengine_proto::{
    api::{Certificate, CertificateChain, ProblemKind, WorldTrust},
    names::WorldName,
};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    args::Pki,
    client::Client,
    escape,
    failure::Failure,
    table::{Table, Tint},
    ui::Ui,
};

/// Runs one of the commands.
///
/// # Errors
/// The daemon's problem; class `usage` for a serial number that is none; class `not_found` for trust that the world
/// does not have.
pub async fn run(ui: &Ui, client: &Client, command: Pki) -> Result<u8, Failure> {
    match command {
        Pki::List { world, limit } => {
            let world = client.world(world.as_deref()).await?;
            list(ui, client, &world, limit).await
        }
        Pki::Show { world, serial } => {
            let world = crate::client::parse_world(&world)?;
            show(ui, client, &world, &parse_serial(&serial)?).await
        }
        Pki::Root { world, dns } => {
            let world = client.world(world.as_deref()).await?;
            root(ui, client, &world, dns).await
        }
    }
}

async fn list(ui: &Ui, client: &Client, world: &WorldName, limit: Option<u32>) -> Result<u8, Failure> {
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let certificates = fetch(client, world, limit).await?;
    let now = now();
    if ui.json {
        ui.print_json(&certificates.iter().map(|one| object(one, now)).collect::<Vec<Value>>())?;
    } else if certificates.is_empty() {
        ui.remark("no certificates");
    } else {
        ui.print(&render(&certificates, now, ui.color))?;
    }
    Ok(0)
}

/// The newest certificates, page by page: the daemon bounds each answer.
async fn fetch(client: &Client, world: &WorldName, limit: usize) -> Result<Vec<Certificate>, Failure> {
    let path = format!("/worlds/{world}/certificates");
    let mut found: Vec<Certificate> = Vec::new();
    while found.len() < limit {
        let before = found.last().map(|last| last.serial.clone());
        let query = before.as_deref().map(|serial| ("before", serial));
        let page: Vec<Certificate> = client.get(&path, query.as_slice()).await?;
        // A page that ends where the one before ended would come for ever.
        if page.last().is_none_or(|last| Some(&last.serial) == before.as_ref()) {
            break;
        }
        found.extend(page);
    }
    found.truncate(limit);
    Ok(found)
}

async fn show(ui: &Ui, client: &Client, world: &WorldName, serial: &str) -> Result<u8, Failure> {
    let shown: CertificateChain = client.get(&format!("/worlds/{world}/certificates/{serial}"), &[]).await?;
    let now = now();
    if ui.json {
        let mut document = object(&shown.certificate, now);
        document["chain"] = shown.chain.into();
        ui.print_json(&document)?;
    } else {
        ui.print(&format!("{}\n{}", summary(&shown.certificate, now, ui.color), escape::block(&shown.chain)))?;
    }
    Ok(0)
}

async fn root(ui: &Ui, client: &Client, world: &WorldName, dns: bool) -> Result<u8, Failure> {
    let trust: WorldTrust = client.get(&format!("/worlds/{world}/trust"), &[]).await?;
    let absent = |what: &str, help: &str| {
        let what = format!("cannot show {what} of world \"{world}\"");
        Err(Failure::new(ProblemKind::NotFound, what, "the world does not have it (yet)", help))
    };
    if dns && trust.dns_root.is_empty() {
        return absent("the key of the DNS root", "set `pki.dnssec_enabled: true` in its spec");
    }
    if !dns && trust.certificates.is_empty() {
        return absent("the root certificate", "see phase 3 in `netengine status`");
    }
    match (ui.json, dns) {
        (true, _) => ui.print_json(&trust)?,
        (false, true) => ui.print(&anchors(&trust.dns_root))?,
        (false, false) => ui.print(&escape::block(&trust.certificates))?,
    }
    Ok(0)
}

/// DS records of the root in presentation form (RFC 4034, section 5.3), as delv and drill take them.
fn anchors(keys: &[String]) -> String {
    keys.iter().map(|data| format!(". IN DS {}\n", escape::line(data))).collect()
}

fn render(certificates: &[Certificate], now: i64, color: bool) -> String {
    let mut table = Table::new(&["SERIAL", "STATE", "UNTIL", "ACCOUNT", "NAMES"]);
    for certificate in certificates {
        let (state, tint) = state(certificate, now);
        table.tinted([
            (&certificate.serial, Tint::Plain),
            (state, tint),
            (&rfc3339(certificate.not_after), Tint::Plain),
            (&certificate.account, Tint::Plain),
            (&certificate.names.join(" "), Tint::Plain),
        ]);
    }
    table.render(color)
}

fn summary(certificate: &Certificate, now: i64, color: bool) -> String {
    let (state, tint) = state(certificate, now);
    let mut lines = vec![
        ("serial", escape::line(&certificate.serial).into_owned()),
        ("names", escape::line(&certificate.names.join(" ")).into_owned()),
        ("state", tint.paint(state, color)),
        ("from", rfc3339(certificate.not_before)),
        ("until", rfc3339(certificate.not_after)),
        ("account", escape::line(&certificate.account).into_owned()),
    ];
    lines.extend(certificate.revoked.map(|when| ("revoked", rfc3339(when))));
    lines.iter().map(|(name, value)| format!("{name:<8} {value}\n")).collect()
}

/// The JSON object of a certificate; times as in every other document.
fn object(certificate: &Certificate, now: i64) -> Value {
    json!({
        "serial": certificate.serial,
        "names": certificate.names,
        "state": state(certificate, now).0,
        "account": certificate.account,
        "not_before": rfc3339(certificate.not_before),
        "not_after": rfc3339(certificate.not_after),
        "revoked_at": certificate.revoked.map(rfc3339),
    })
}

/// Revocation outlasts expiry, as in a revocation list's life a client must learn of it first (RFC 5280, section 3.3).
fn state(certificate: &Certificate, now: i64) -> (&'static str, Tint) {
    match certificate.revoked {
        Some(_) => ("revoked", Tint::Bad),
        None if now > certificate.not_after => ("expired", Tint::Dim),
        None if now < certificate.not_before => ("future", Tint::Busy),
        None => ("valid", Tint::Good),
    }
}

/// The serial number as the API writes it: lower case, no colons, as openssl(1) and browsers put between the bytes.
fn parse_serial(text: &str) -> Result<String, Failure> {
    let digits: String = text.chars().filter(|c| *c != ':').collect::<String>().to_ascii_lowercase();
    if !digits.is_empty() && digits.len() <= 40 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(digits);
    }
    let what = format!("cannot use {text:?} as a serial number");
    let cause = "it is not 1 to 40 hexadecimal digits";
    Err(Failure::new(ProblemKind::Usage, what, cause, "`netengine pki list WORLD` shows the serial numbers"))
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|time| i64::try_from(time.as_secs()).ok()).unwrap_or(0)
}

/// Seconds since 1970 as RFC 3339, UTC; as a number what that cannot show (beyond the year 9999).
fn rfc3339(seconds: i64) -> String {
    let shown = OffsetDateTime::from_unix_timestamp(seconds).ok().and_then(|time| time.format(&Rfc3339).ok());
    shown.unwrap_or_else(|| seconds.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(serial: &str, revoked: Option<i64>) -> Certificate {
        Certificate {
            serial: serial.into(),
            names: vec!["ca.platform.internal".into(), "x\u{1b}".into()],
            not_before: 1_700_000_000,
            not_after: 1_700_086_400,
            revoked,
            account: "world".into(),
        }
    }

    #[test]
    fn one_line_per_certificate() {
        let all = [certificate("4a01", None), certificate("4a00", Some(1_700_000_100))];
        assert_eq!(
            render(&all, 1_700_000_200, false),
            "SERIAL  STATE    UNTIL                 ACCOUNT  NAMES\n\
             4a01    valid    2023-11-15T22:13:20Z  world    ca.platform.internal x\\x1b\n\
             4a00    revoked  2023-11-15T22:13:20Z  world    ca.platform.internal x\\x1b\n"
        );
    }

    #[test]
    fn the_state_follows_the_clock_and_revocation_wins() {
        let of = |revoked, now| state(&certificate("4a", revoked), now).0;
        assert_eq!(of(None, 1_700_000_000), "valid");
        assert_eq!(of(None, 1_700_086_401), "expired");
        assert_eq!(of(None, 1_699_999_999), "future");
        assert_eq!(of(Some(1), 1_800_000_000), "revoked");
    }

    #[test]
    fn serial_numbers_are_taken_as_others_print_them() {
        assert_eq!(parse_serial("4A:0f:FF").as_deref(), Ok("4a0fff"));
        for bad in ["", ":", "../x", "4g", "4a?x", &"a".repeat(41)] {
            assert_eq!(parse_serial(bad).map_err(|failure| failure.exit_code()), Err(2), "{bad:?}");
        }
    }

    #[test]
    fn json_has_times_as_text() {
        let document = object(&certificate("4a", Some(1_700_000_100)), 1_700_000_200);
        assert_eq!(document["not_after"], "2023-11-15T22:13:20Z");
        assert_eq!(document["revoked_at"], "2023-11-14T22:15:00Z");
        assert_eq!(rfc3339(i64::MAX), i64::MAX.to_string());
    }

    #[test]
    fn anchors_are_records_of_the_root() {
        assert_eq!(anchors(&["7 13 2 0AFF".into(), "8 13 2 0B".into()]), ". IN DS 7 13 2 0AFF\n. IN DS 8 13 2 0B\n");
    }
}
