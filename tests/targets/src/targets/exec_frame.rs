//! The frames of `exec.sock`, in both directions: within their bounds, and what is read survives being written.

use std::fmt::Debug;

use netengine_proto::{
    exec::{ExecReply, ExecRequest, ExecSignal},
    limits,
};
use serde::{Serialize, de::DeserializeOwned};

fn survives<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let value: T = postcard::from_bytes(bytes).ok()?;
    let written = postcard::to_stdvec(&value).expect("what was read can be written");
    let again: T = postcard::from_bytes(&written).expect("what was written can be read");
    assert_eq!(again, value);
    Some(value)
}

/// One input.
pub fn target(bytes: &[u8]) {
    survives::<ExecSignal>(bytes);
    survives::<ExecReply>(bytes);
    let Some(request) = survives::<ExecRequest>(bytes) else { return };
    assert!(request.arguments.len() <= limits::EXEC_STRINGS && request.environment.len() <= limits::EXEC_STRINGS);
    assert!(request.arguments.iter().all(|text| text.len() <= limits::EXEC_STRING_BYTES));
}
