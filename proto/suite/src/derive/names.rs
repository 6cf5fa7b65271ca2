//! Names that people write, and nft prints, for numbers.

/// Protocols that suites have by another word or by their number (nft(8), PAYLOAD EXPRESSIONS).
pub fn protocol(word: &str) -> Option<&'static str> {
    Some(match word {
        "tcp" | "6" => "tcp",
        "udp" | "17" => "udp",
        "icmp" | "1" => "icmp",
        "icmpv6" | "ipv6-icmp" | "58" => "icmpv6",
        "igmp" | "2" => "2",
        "gre" | "47" => "47",
        "esp" | "50" => "50",
        "ah" | "51" => "51",
        "ospf" | "89" => "89",
        "vrrp" | "112" => "112",
        "sctp" | "132" => "132",
        "udplite" | "136" => "136",
        _ => return None,
    })
}

/// A port by its number, or by the name that rulesets have most often for it.
pub fn port(word: &str) -> Option<u16> {
    Some(match word {
        "ftp" => 21,
        "ssh" => 22,
        "telnet" => 23,
        "smtp" => 25,
        "domain" => 53,
        "bootps" => 67,
        "bootpc" => 68,
        "tftp" => 69,
        "http" => 80,
        "pop3" => 110,
        "sunrpc" => 111,
        "ntp" => 123,
        "imap" | "imap2" => 143,
        "snmp" => 161,
        "ldap" => 389,
        "https" => 443,
        "microsoft-ds" => 445,
        "submissions" | "ssmtp" => 465,
        "isakmp" => 500,
        "submission" => 587,
        "ldaps" => 636,
        "imaps" => 993,
        "pop3s" => 995,
        "openvpn" => 1194,
        "mysql" => 3306,
        "ms-wbt-server" => 3389,
        "ipsec-nat-t" => 4500,
        "postgresql" => 5432,
        "mdns" => 5353,
        "http-alt" => 8080,
        number => number.parse().ok()?,
    })
}

/// A type of ICMP, or ICMPv6 (nft(8), ICMP TYPE TYPE, ICMPV6 TYPE TYPE).
pub fn icmp(word: &str, is_v6: bool) -> Option<u8> {
    let known: &[(&str, u8)] = if is_v6 {
        &[
            ("destination-unreachable", 1),
            ("packet-too-big", 2),
            ("time-exceeded", 3),
            ("parameter-problem", 4),
            ("echo-request", 128),
            ("echo-reply", 129),
            ("mld-listener-query", 130),
            ("mld-listener-report", 131),
            ("mld-listener-done", 132),
            ("nd-router-solicit", 133),
            ("nd-router-advert", 134),
            ("nd-neighbor-solicit", 135),
            ("nd-neighbor-advert", 136),
            ("nd-redirect", 137),
            ("router-renumbering", 138),
            ("mld2-listener-report", 143),
        ]
    } else {
        &[
            ("echo-reply", 0),
            ("destination-unreachable", 3),
            ("source-quench", 4),
            ("redirect", 5),
            ("echo-request", 8),
            ("router-advertisement", 9),
            ("router-solicitation", 10),
            ("time-exceeded", 11),
            ("parameter-problem", 12),
            ("timestamp-request", 13),
            ("timestamp-reply", 14),
            ("info-request", 15),
            ("info-reply", 16),
            ("address-mask-request", 17),
            ("address-mask-reply", 18),
        ]
    };
    known.iter().find(|(name, _)| *name == word).map(|(_, number)| *number).or_else(|| word.parse().ok())
}
