//! Whether a desired state is one that can be served; nothing is touched before this.

use std::sync::Arc;

use netengine_proto::{
    control::{Desired, NtpService},
    limits,
    names::WorldName,
};
use netengine_spec::Spec;

/// A desired state that was understood.
#[derive(Debug)]
pub struct Wanted {
    /// As it came, without the text of its spec.
    pub desired: Desired,
    /// Its spec, read.
    pub spec: Option<Arc<Spec>>,
}

impl Wanted {
    /// Reads a desired state.
    ///
    /// # Errors
    /// What is wrong with it, in words for people.
    pub fn read(mut desired: Desired) -> Result<Self, String> {
        WorldName::parse(&desired.world).map_err(|error| format!("the world's name {error}"))?;
        desired.ntp.as_ref().map_or(Ok(()), ntp)?;
        let spec = desired.spec.take().as_deref().map(spec).transpose()?;
        Ok(Self { desired, spec: spec.map(Arc::new) })
    }
}

fn spec(text: &str) -> Result<Spec, String> {
    if text.len() > limits::SPEC_BYTES {
        return Err(format!("a spec of {} bytes is more than {}", text.len(), limits::SPEC_BYTES));
    }
    // userd has checked it: nobody else is heard here. What is no spec of this release is refused by its types.
    serde_json::from_str(text).map_err(|error| format!("the spec cannot be read: {error}"))
}

fn ntp(ntp: &NtpService) -> Result<(), String> {
    let wrong = match ntp {
        NtpService { port: 0, .. } => "the NTP port is 0".to_owned(),
        NtpService { stratum: 0 | 16.., .. } => format!("NTP stratum {} is not 1 to 15", ntp.stratum),
        NtpService { rate_per_source: 0, .. } => "the NTP rate is 0".to_owned(),
        NtpService { addresses, .. } if addresses.len() > limits::ADDRESSES_PER_LINK => {
            format!("{} NTP addresses are more than {}", addresses.len(), limits::ADDRESSES_PER_LINK)
        }
        NtpService { addresses, .. } => match addresses.iter().find(|ip| ip.is_unspecified() || ip.is_multicast()) {
            Some(ip) => format!("NTP cannot listen on {ip}"),
            None => return Ok(()),
        },
    };
    Err(wrong)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn desired(change: impl FnOnce(&mut NtpService)) -> Desired {
        let mut ntp =
            NtpService { addresses: vec![IpAddr::from([127, 0, 0, 1])], port: 123, stratum: 1, rate_per_source: 8 };
        change(&mut ntp);
        Desired { world: "blue".to_owned(), ntp: Some(ntp), ..Desired::default() }
    }

    fn with_spec(spec: &str) -> Desired {
        Desired { world: "blue".to_owned(), spec: Some(spec.to_owned()), ..Desired::default() }
    }

    #[test]
    fn a_desired_state_that_cannot_be_served_is_refused_before_anything_is_touched() {
        assert!(Wanted::read(desired(|_| {})).is_ok());
        for (what, bad) in [
            ("port", desired(|ntp| ntp.port = 0)),
            ("stratum", desired(|ntp| ntp.stratum = 0)),
            ("stratum", desired(|ntp| ntp.stratum = 16)),
            ("rate", desired(|ntp| ntp.rate_per_source = 0)),
            ("addresses", desired(|ntp| ntp.addresses = vec![IpAddr::from([127, 0, 0, 1]); 5000])),
            ("0.0.0.0", desired(|ntp| ntp.addresses = vec![IpAddr::from([0, 0, 0, 0])])),
            ("ff02::1", desired(|ntp| ntp.addresses = vec!["ff02::1".parse().expect("an address")])),
            ("name", Desired { world: "a\nb".to_owned(), ..Desired::default() }),
            ("cannot be read", with_spec("metadata: {}")),
            ("missing field", with_spec("{}")),
            ("bytes", with_spec(&" ".repeat(limits::SPEC_BYTES + 1))),
        ] {
            let read = Wanted::read(bad);
            assert!(read.as_ref().is_err_and(|why| why.contains(what)), "{what}: {read:?}");
        }
    }
}
