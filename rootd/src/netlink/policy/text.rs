//! Rules as nft(8) would print them, for reports: which rule decided.

use std::fmt::{self, Display, Formatter};

use super::model::{CtState, Expr, Load, Rule, Verdict};

/// A rule in words.
#[derive(Debug, Clone, Copy)]
pub struct RuleText<'a>(pub &'a Rule);

impl Display for RuleText<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (place, expr) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(" ")?;
            }
            write!(f, "{expr}")?;
        }
        Ok(())
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Expr::CtState(CtState::Invalid) => f.write_str("ct state invalid"),
            Expr::CtState(CtState::EstablishedRelated) => f.write_str("ct state established,related"),
            Expr::Is(load, value) => write!(f, "{load} {}", Value(*load, value)),
            Expr::Between(load, first, last) => write!(f, "{load} {}-{}", Value(*load, first), Value(*load, last)),
            Expr::In(key, set) => write!(f, "{} @{set}", Key(key)),
            Expr::NotIn(key, set) => write!(f, "{} != @{set}", Key(key)),
            Expr::Vmap(key, set) => write!(f, "{} vmap @{set}", Key(key)),
            Expr::SourceElsewhere => f.write_str("fib saddr . iif oif missing"),
            Expr::SetMark(mark) => write!(f, "meta mark set {mark:#x}"),
            Expr::FlowsOver(count) => write!(f, "ct count over {count}"),
            Expr::Counter => f.write_str("counter"),
            Expr::Masquerade => f.write_str("masquerade"),
            Expr::DestinationNat(to) => write!(f, "dnat ip to {to}"),
            Expr::Verdict(verdict) => write!(f, "{verdict}"),
        }
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Accept => f.write_str("accept"),
            Verdict::Drop => f.write_str("drop"),
            Verdict::Jump(chain) => write!(f, "jump {chain}"),
        }
    }
}

impl Display for Load {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Load::Iifname => "iifname",
            Load::Oifname => "oifname",
            Load::NfProto => "meta nfproto",
            Load::L4Proto => "meta l4proto",
            Load::EtherSource => "ether saddr",
            Load::EtherType => "ether type",
            Load::IpSource => "ip saddr",
            Load::Ip6Source => "ip6 saddr",
            Load::IpDestination => "ip daddr",
            Load::Ip6Destination => "ip6 daddr",
            Load::ArpTypes => "@nh,0,32",
            Load::ArpLengths => "@nh,32,16",
            Load::ArpOperation => "arp operation",
            Load::ArpSourceMac => "arp saddr ether",
            Load::ArpSourceIp => "arp saddr ip",
            Load::IcmpType => "icmp type",
            Load::Icmp6Type => "icmpv6 type",
            Load::NdTarget => "@th,64,128",
            Load::NdOption => "@th,192,16",
            Load::NdOptionMac => "@th,208,48",
            Load::DhcpClient => "@th,288,48",
            Load::SourcePort => "th sport",
            Load::DestinationPort => "th dport",
        })
    }
}

struct Key<'a>(&'a [Load]);

impl Display for Key<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (place, load) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str(" . ")?;
            }
            write!(f, "{load}")?;
        }
        Ok(())
    }
}

struct Value<'a>(Load, &'a [u8]);

impl Display for Value<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Value(load, bytes) = self;
        let number = || bytes.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        match load {
            Load::Iifname | Load::Oifname => {
                let name: String = bytes.iter().take_while(|byte| **byte != 0).map(|byte| char::from(*byte)).collect();
                write!(f, "\"{name}\"")
            }
            Load::IpSource | Load::IpDestination | Load::ArpSourceIp => match <[u8; 4]>::try_from(*bytes) {
                Ok(octets) => write!(f, "{}", std::net::Ipv4Addr::from(octets)),
                Err(_) => f.write_str("?"),
            },
            Load::Ip6Source | Load::Ip6Destination => match <[u8; 16]>::try_from(*bytes) {
                Ok(octets) => write!(f, "{}", std::net::Ipv6Addr::from(octets)),
                Err(_) => f.write_str("?"),
            },
            Load::EtherType | Load::ArpTypes | Load::ArpLengths | Load::NdOption => write!(f, "{:#x}", number()),
            _ => write!(f, "{}", number()),
        }
    }
}
