//! Names that were parsed, and byte strings that are bounded.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::limits::{LINK_NAME_BYTES, NODE_NAME_BYTES};

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not the name of a node.
    #[error("is not 1 to 32 of a-z, A-Z, 0-9, '-' and '_'")]
    Node,
    /// Not the name of a link.
    #[error("is not 1 to 15 of a-z, A-Z, 0-9, '-', '_' and '.', or is \"lo\", \"all\", \"default\", \".\" or \"..\"")]
    Link,
    /// Not a setting that a sandbox may have.
    #[error("is not a setting that a sandbox allows")]
    Setting,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
            }
        }
    };
}

name! {
    /// The name of a node, unique in its topology: 1 to 32 of `[A-Za-z0-9_-]`.
    NodeName
}

impl NodeName {
    /// Parses a node's name.
    ///
    /// # Errors
    /// [`NameError::Node`] when the text is outside the grammar.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let fits = !text.is_empty() && text.len() <= NODE_NAME_BYTES;
        let clean = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if fits && clean { Ok(Self(text.to_owned())) } else { Err(NameError::Node) }
    }
}

name! {
    /// The name of a link inside a node: 1 to 15 of `[A-Za-z0-9._-]`.
    ///
    /// Never `lo`, which every node has, never `all` or `default`, which stand for settings, and never `%`, which the kernel takes for a
    /// template (net/core/dev.c, `dev_alloc_name`).
    LinkName
}

impl LinkName {
    /// Parses a link's name.
    ///
    /// # Errors
    /// [`NameError::Link`] when the text is outside the grammar.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let fits = !text.is_empty() && text.len() <= LINK_NAME_BYTES;
        let clean = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        let taken = matches!(text, "lo" | "all" | "default" | "." | "..");
        if fits && clean && !taken { Ok(Self(text.to_owned())) } else { Err(NameError::Link) }
    }
}

name! {
    /// The name of a setting (sysctl) that a node may have, for example `net.ipv4.conf.eth0.rp_filter`.
    ///
    /// A closed list: each entry is per network namespace and cannot load code or name files.
    SettingName
}

/// Settings without a link in their name.
const PLAIN: &[&str] = &[
    "net.ipv4.ip_forward",
    "net.ipv4.ip_default_ttl",
    "net.ipv4.ip_nonlocal_bind",
    "net.ipv4.icmp_echo_ignore_all",
    "net.ipv4.icmp_echo_ignore_broadcasts",
    "net.ipv4.icmp_ratelimit",
    "net.ipv4.icmp_ratemask",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_timestamps",
    "net.ipv4.tcp_ecn",
    "net.ipv4.ipfrag_time",
    "net.ipv4.fwmark_reflect",
    "net.ipv6.icmp.ratelimit",
    "net.ipv6.icmp.echo_ignore_all",
    "net.ipv6.ip_nonlocal_bind",
    "net.ipv6.fwmark_reflect",
    "net.netfilter.nf_conntrack_acct",
    "net.netfilter.nf_conntrack_checksum",
    "net.netfilter.nf_conntrack_helper",
    "net.netfilter.nf_conntrack_tcp_be_liberal",
    "net.netfilter.nf_conntrack_tcp_loose",
    "net.netfilter.nf_conntrack_udp_timeout",
    "net.netfilter.nf_conntrack_udp_timeout_stream",
    "net.netfilter.nf_conntrack_tcp_timeout_established",
    "net.netfilter.nf_conntrack_icmp_timeout",
    "net.bridge.bridge-nf-call-iptables",
    "net.bridge.bridge-nf-call-ip6tables",
    "net.bridge.bridge-nf-call-arptables",
];

/// Settings of one link, of `all` or of `default`, under `net.ipv4.conf` and `net.ipv6.conf`.
const PER_LINK: [(&str, &[&str]); 2] = [
    (
        "net.ipv4.conf.",
        &[
            "rp_filter",
            "forwarding",
            "accept_local",
            "accept_redirects",
            "send_redirects",
            "accept_source_route",
            "arp_ignore",
            "arp_announce",
            "log_martians",
            "proxy_arp",
            "route_localnet",
            "src_valid_mark",
        ],
    ),
    (
        "net.ipv6.conf.",
        &[
            "forwarding",
            "accept_ra",
            "accept_redirects",
            "accept_source_route",
            "disable_ipv6",
            "proxy_ndp",
            "hop_limit",
        ],
    ),
];

impl SettingName {
    /// Parses the name of a setting.
    ///
    /// # Errors
    /// [`NameError::Setting`] when it is not on the list.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let per_link = || {
            PER_LINK.iter().any(|(prefix, leaves)| {
                // A link's name may hold dots itself, so the leaf is what follows the last one.
                text.strip_prefix(prefix).and_then(|rest| rest.rsplit_once('.')).is_some_and(|(link, leaf)| {
                    (matches!(link, "all" | "default" | "lo") || LinkName::parse(link).is_ok())
                        && leaves.contains(&leaf)
                })
            })
        };
        if PLAIN.contains(&text) || per_link() { Ok(Self(text.to_owned())) } else { Err(NameError::Setting) }
    }

    /// The file below `/proc/sys/net` that holds it, for example `ipv4/conf/eth0/rp_filter`.
    pub fn file(&self) -> String {
        let rest = self.0.strip_prefix("net.").unwrap_or(&self.0);
        for (prefix, _) in PER_LINK {
            let family = prefix.trim_start_matches("net.").trim_end_matches(".conf.");
            if let Some((link, leaf)) = self.0.strip_prefix(prefix).and_then(|rest| rest.rsplit_once('.')) {
                return format!("{family}/conf/{link}/{leaf}");
            }
        }
        rest.replace('.', "/")
    }
}

/// A text or a byte string was longer than its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("holds more than {0} bytes")]
pub struct TooLong(pub usize);

/// At most `MAX` bytes. The bound is checked while decoding.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Bytes<const MAX: usize>(Vec<u8>);

impl<const MAX: usize> Bytes<MAX> {
    /// Takes at most `MAX` bytes.
    ///
    /// # Errors
    /// [`TooLong`] when there are more.
    pub fn new(bytes: Vec<u8>) -> Result<Self, TooLong> {
        if bytes.len() > MAX { Err(TooLong(MAX)) } else { Ok(Self(bytes)) }
    }
}

impl<const MAX: usize> std::ops::Deref for Bytes<MAX> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl<const MAX: usize> fmt::Debug for Bytes<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in &self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl<const MAX: usize> Serialize for Bytes<MAX> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Bytes<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<const MAX: usize>;
        impl<'de, const MAX: usize> de::Visitor<'de> for Visitor<MAX> {
            type Value = Bytes<MAX>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {MAX} bytes")
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                if bytes.len() > MAX { Err(E::custom(TooLong(MAX))) } else { Ok(Bytes(bytes.to_vec())) }
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = seq.next_element()? {
                    if bytes.len() == MAX {
                        return Err(de::Error::custom(TooLong(MAX)));
                    }
                    bytes.push(byte);
                }
                Ok(Bytes(bytes))
            }
        }
        deserializer.deserialize_bytes(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_outside_the_list_are_refused() {
        for good in ["net.ipv4.conf.eth0.rp_filter", "net.ipv6.conf.a.b.forwarding", "net.ipv4.tcp_syncookies"] {
            assert!(SettingName::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "kernel.core_pattern",
            "net.ipv4.conf./../x.rp_filter",
            "net.ipv4.conf...rp_filter",
            "net.ipv4.conf.rp_filter",
            "net.core.rmem_max",
            "",
        ] {
            assert_eq!(SettingName::parse(bad), Err(NameError::Setting), "{bad}");
        }
        let file = |name: &str| SettingName::parse(name).expect("listed").file();
        assert_eq!(file("net.ipv6.conf.a.b.forwarding"), "ipv6/conf/a.b/forwarding");
        assert_eq!(file("net.bridge.bridge-nf-call-iptables"), "bridge/bridge-nf-call-iptables");
    }

    #[test]
    fn names_cannot_leave_their_grammar() {
        assert!(LinkName::parse("eth0.5").is_ok());
        for bad in ["", "lo", "a/b", "x%d", "all", "..", "sixteen-letters-", "a b"] {
            assert!(LinkName::parse(bad).is_err(), "{bad}");
        }
        assert!(NodeName::parse("fw").is_ok() && NodeName::parse("a.b").is_err() && NodeName::parse("").is_err());
    }

    #[test]
    fn bytes_past_their_bound_are_refused_while_decoding() {
        let wire = postcard::to_stdvec(&Bytes::<4>::new(vec![1, 2, 3]).expect("fits")).expect("encodes");
        assert_eq!(&*postcard::from_bytes::<Bytes<3>>(&wire).expect("fits"), [1, 2, 3]);
        assert!(postcard::from_bytes::<Bytes<2>>(&wire).is_err());
        assert!(serde_json::from_str::<Bytes<2>>("[1,2,3]").is_err());
    }
}
