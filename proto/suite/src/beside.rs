//! Tables that other software brings to a host, recorded, to be loaded beside the ruleset under test.
//!
//! Each text begins with how it was recorded.

/// The recorded sets by name.
pub const RECORDED: [(&str, &str); 4] = [
    ("docker", include_str!("beside/docker.nft")),
    ("firewalld", include_str!("beside/firewalld.nft")),
    ("ufw", include_str!("beside/ufw.nft")),
    ("wireguard", include_str!("beside/wireguard.nft")),
];

/// The recorded set of that name.
pub fn recorded(name: &str) -> Option<&'static str> {
    RECORDED.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}
