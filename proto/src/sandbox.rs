//! The first bytes on `lab.sock`, where userd asks rootd's lab role for one sandbox of the firewall lab.
//!
//! userd sends [`SandboxRequest`], six bytes; the answer is one byte, [`SandboxAnswer`]. From then on the connection is the sandbox
//! worker's own: cases one way, results the other (`netengine_lab::wire`). When either side closes it the sandbox ends, and all in it.

use crate::ids::Uid;

/// Raised when the bytes change.
pub const SANDBOX_VERSION: u16 = 1;

/// Asks for a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SandboxRequest {
    /// For whom: a sandbox is never shared, and each user has a bound.
    pub owner: Uid,
}

impl SandboxRequest {
    /// Bytes of a request.
    pub const BYTES: usize = 6;

    /// Its form on the wire: version and uid, little endian.
    pub fn encode(self) -> [u8; Self::BYTES] {
        let ([a, b], [c, d, e, f]) = (SANDBOX_VERSION.to_le_bytes(), self.owner.0.to_le_bytes());
        [a, b, c, d, e, f]
    }

    /// Reads a request.
    ///
    /// # Errors
    /// [`SandboxAnswer::Version`] for another version, [`SandboxAnswer::Refused`] for a user that is none: root and the overflow uid.
    pub fn decode([a, b, c, d, e, f]: [u8; Self::BYTES]) -> Result<Self, SandboxAnswer> {
        if u16::from_le_bytes([a, b]) != SANDBOX_VERSION {
            return Err(SandboxAnswer::Version);
        }
        let owner = Uid(u32::from_le_bytes([c, d, e, f]));
        if owner == Uid::OVERFLOW { Err(SandboxAnswer::Refused) } else { Ok(Self { owner }) }
    }
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum SandboxAnswer {
    /// The connection is the sandbox's now.
    Granted = 0,
    /// The owner has [`crate::limits::SANDBOXES_PER_OWNER`].
    OwnerLimit = 1,
    /// There are [`crate::limits::SANDBOXES`].
    Limit = 2,
    /// Client and daemon are of different releases.
    Version = 3,
    /// Not for this user, or the request made no sense.
    Refused = 4,
    /// The kernel refused a process.
    Failed = 5,
}

impl SandboxAnswer {
    /// Reads an answer; `None` for a byte that is none.
    pub fn decode(byte: u8) -> Option<Self> {
        use SandboxAnswer::{Failed, Granted, Limit, OwnerLimit, Refused, Version};
        [Granted, OwnerLimit, Limit, Version, Refused, Failed].into_iter().find(|answer| *answer as u8 == byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_answers_come_back_as_they_were() {
        let request = SandboxRequest { owner: Uid(0x0102_0304) };
        assert_eq!(SandboxRequest::decode(request.encode()), Ok(request));
        assert_eq!(SandboxRequest::decode([2, 0, 1, 0, 0, 0]), Err(SandboxAnswer::Version));
        assert_eq!(
            SandboxRequest::decode(SandboxRequest { owner: Uid::OVERFLOW }.encode()),
            Err(SandboxAnswer::Refused)
        );
        for byte in 0..=255 {
            assert_eq!(SandboxAnswer::decode(byte).map(|answer| answer as u8), (byte < 6).then_some(byte));
        }
    }
}
