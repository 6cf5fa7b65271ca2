//! Random ids from the kernel.

use netengine_proto::ids::{CallKey, FirewallTestId, OperationId, WorldId};

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // getrandom(2) only fails where the kernel lacks it (before 3.17); nothing can be named without it.
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes");
    bytes
}

/// A new world's id.
pub fn world() -> WorldId {
    WorldId::from_bytes(random())
}

/// A new operation's id.
pub fn operation() -> OperationId {
    OperationId::from_bytes(random())
}

/// A new id of a run of firewall suites.
pub fn firewall_test() -> FirewallTestId {
    FirewallTestId::from_bytes(random())
}

/// A new idempotency key.
pub fn call_key() -> CallKey {
    CallKey::from_bytes(random())
}

/// A new event's id: 16 lower-case hexadecimal digits.
pub fn event() -> String {
    OperationId::from_bytes(random()).to_string()
}
