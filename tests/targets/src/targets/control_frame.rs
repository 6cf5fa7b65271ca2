//! The frames between userd and worldd, in both directions, with their lengths.

use std::fmt::Debug;

use crate::oidc::block_on;
use netengine_proto::control::{ControlReply, ControlRequest};
use netengine_worldd::control::frame;
use serde::{Serialize, de::DeserializeOwned};

fn survives<T: Serialize + DeserializeOwned + PartialEq + Debug>(mut bytes: &[u8]) {
    block_on(async {
        let before = bytes.len();
        for _ in 0..=before {
            let Ok(value) = frame::read::<T>(&mut bytes).await else { return };
            let written = serde_json::to_vec(&value).expect("JSON");
            assert_eq!(serde_json::from_slice::<T>(&written).expect("what was written can be read"), value);
        }
        panic!("more frames than bytes");
    });
}

/// One input.
pub fn target(bytes: &[u8]) {
    survives::<ControlRequest>(bytes);
    survives::<ControlReply>(bytes);
}
