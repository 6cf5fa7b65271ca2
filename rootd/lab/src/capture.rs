//! The frames of a case, for those who want to see them.

use std::time::Instant;

use netengine_lab_proto::{
    Bytes, CapturedFrame, FrameRole, InjectedPacket, LinkName, NodeName,
    limits::{FRAMES, FRAMES_BYTES},
};
use netengine_packet::read;

use crate::{
    verdict::{Facts, Window, role},
    watch::Kept,
};

/// What was sent and seen so far.
#[derive(Debug)]
pub struct Capture {
    begun: Instant,
    frames: Vec<CapturedFrame>,
    bytes: usize,
    missed: u64,
}

impl Default for Capture {
    fn default() -> Self {
        Self { begun: Instant::now(), frames: Vec::new(), bytes: 0, missed: 0 }
    }
}

impl Capture {
    /// Adds what is being sent: the frame, or the IP packet that the tested node's own stack is given.
    pub fn sent(&mut self, index: usize, packet: &InjectedPacket, interface: Option<&LinkName>, bytes: &[u8]) {
        self.push(Some(index), FrameRole::Sent, &packet.from, interface, Instant::now(), bytes.to_vec());
    }

    /// Adds what was seen of a window whose first packet has the number `first`.
    pub fn add(&mut self, first: usize, window: &Window, kept: Vec<Kept>, facts: &Facts) {
        for Kept { node, interface, at, bytes } in kept {
            let Some(name) = facts.nodes.get(node).map(|node| &node.name) else { continue };
            let packet = match interface {
                Some(_) => read::frame_packet(&bytes),
                None => read::packet(&bytes),
            };
            let found = packet.and_then(|packet| role(window, node, &packet));
            let (number, what) = found.map_or((None, FrameRole::Other), |(number, what)| (Some(first + number), what));
            self.push(number, what, name, interface.as_ref(), at, bytes);
        }
    }

    fn push(
        &mut self,
        packet: Option<usize>,
        role: FrameRole,
        node: &NodeName,
        interface: Option<&LinkName>,
        at: Instant,
        bytes: Vec<u8>,
    ) {
        let fits = self.frames.len() < FRAMES && self.bytes + bytes.len() <= FRAMES_BYTES;
        let Some(whole) = Bytes::new(bytes).ok().filter(|_| fits) else {
            self.missed += 1;
            return;
        };
        self.bytes += whole.len();
        self.frames.push(CapturedFrame {
            packet: packet.and_then(|number| u32::try_from(number).ok()),
            role,
            node: node.clone(),
            interface: interface.cloned(),
            micros: at.saturating_duration_since(self.begun).as_micros() as u64,
            bytes: whole,
        });
    }

    /// The frames, and how many did not fit the bounds.
    pub fn into_frames(self) -> (Vec<CapturedFrame>, u64) {
        (self.frames, self.missed)
    }
}
