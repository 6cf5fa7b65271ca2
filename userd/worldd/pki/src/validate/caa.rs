//! CAA records (RFC 8659), with the parameters of RFC 8657.

use domain::{base::Rtype, rdata::caa::Caa};
use netengine_spec::text::DnsName;

use super::{Network, dns};
use crate::acme::{Kind, Probe, Problem, Verdict};

/// One record.
struct Record {
    is_critical: bool,
    tag: String,
    value: String,
}

/// Looks for records at the name and above, and obeys the first set that is found.
pub(super) async fn check(network: &Network, name: &DnsName, probe: &Probe) -> Verdict {
    let mut at = name.as_str();
    loop {
        let answer = dns::ask(network.names.as_ref(), at, Rtype::CAA).await?;
        let records: Vec<_> = dns::records::<Caa<_>>(&answer)
            .into_iter()
            .map(|record| Record {
                is_critical: record.flags().bits() & 0x80 != 0,
                tag: record.tag().to_string().to_ascii_lowercase(),
                value: String::from_utf8_lossy(record.value()).into_owned(),
            })
            .collect();
        if !records.is_empty() {
            return match permits(&records, &network.caa_identity, probe) {
                true => Ok(()),
                false => Err(Problem::new(Kind::Caa, format!("the CAA records at {at} do not permit this authority"))),
            };
        }
        match at.split_once('.') {
            Some((_, above)) => at = above,
            None => return Ok(()),
        }
    }
}

/// RFC 8659, section 4: without a word on this kind of issuance it is permitted, unless a critical tag is unknown.
fn permits(records: &[Record], identity: &str, probe: &Probe) -> bool {
    let known = ["issue", "issuewild", "iodef", "issuemail", "contactemail", "contactphone"];
    if records.iter().any(|record| record.is_critical && !known.contains(&record.tag.as_str())) {
        return false;
    }
    let tagged = |tag: &str| records.iter().filter(|record| record.tag == tag).collect::<Vec<_>>();
    let relevant = match probe.wildcard && !tagged("issuewild").is_empty() {
        true => tagged("issuewild"),
        false => tagged("issue"),
    };
    relevant.is_empty() || relevant.iter().any(|record| names(&record.value, identity, probe))
}

/// Whether one value is for us, for this account and this kind of challenge.
fn names(value: &str, identity: &str, probe: &Probe) -> bool {
    let mut parts = value.split(';').map(str::trim);
    if !parts.next().is_some_and(|issuer| issuer.eq_ignore_ascii_case(identity)) {
        return false;
    }
    parts.filter(|part| !part.is_empty()).all(|part| match part.split_once('=') {
        Some((name, wanted)) => match name.trim().to_ascii_lowercase().as_str() {
            "accounturi" => wanted.trim() == probe.account_url,
            "validationmethods" => wanted.split(',').any(|method| method.trim() == probe.kind.name()),
            _ => true,
        },
        // A value that does not follow the grammar permits nothing.
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        acme::{ChallengeKind, Id},
        name::Identifier,
    };

    fn permitted(records: &[(&str, &str)], wildcard: bool) -> bool {
        let probe = Probe {
            authorization: Id::new([0; 16]),
            kind: ChallengeKind::Dns01,
            identifier: Identifier::dns("acme.test").expect("a name"),
            wildcard,
            token: String::new(),
            key_authorization: String::new(),
            account_url: "https://ca/account/1".to_owned(),
        };
        let records: Vec<_> = records
            .iter()
            .map(|(tag, value)| Record {
                is_critical: tag.starts_with('!'),
                tag: tag.trim_start_matches('!').to_owned(),
                value: (*value).to_owned(),
            })
            .collect();
        permits(&records, "ca.internal", &probe)
    }

    #[test]
    fn records_are_obeyed() {
        for (records, plain, wildcard) in [
            (&[][..], true, true),
            (&[("issue", "ca.internal")], true, true),
            (&[("issue", "CA.internal; accounturi=https://ca/account/1")], true, true),
            (&[("issue", "ca.internal; accounturi=https://ca/account/2")], false, false),
            (&[("issue", "ca.internal;validationmethods=http-01,dns-01")], true, true),
            (&[("issue", "ca.internal;validationmethods=http-01")], false, false),
            (&[("issue", "ca.internal; nonsense")], false, false),
            (&[("issue", ";")], false, false),
            (&[("issue", "other.example")], false, false),
            (&[("issue", "other.example"), ("issue", "ca.internal")], true, true),
            (&[("issuewild", "other.example")], true, false),
            (&[("issue", "ca.internal"), ("issuewild", ";")], true, false),
            (&[("issue", ";"), ("issuewild", "ca.internal")], false, true),
            (&[("iodef", "mailto:a@b")], true, true),
            (&[("!unheard-of", "x"), ("issue", "ca.internal")], false, false),
            (&[("unheard-of", "x"), ("issue", "ca.internal")], true, true),
        ] {
            assert_eq!((permitted(records, false), permitted(records, true)), (plain, wildcard), "{records:?}");
        }
    }
}
