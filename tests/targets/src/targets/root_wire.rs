//! What userd sends to rootd and rootd to userd: frames are read or refused, memory is bounded by what was sent, and
//! what is read survives being written.
//!
//! Bit 0 of the first byte: a stream of frames with their lengths, else one frame.

use std::{
    io::Cursor,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Instant,
};

use futures::Stream;
use netengine_proto::{
    limits,
    root::{RootRequest, RootResponse},
    wire::{Frame, Wire, server_transport},
};
use tarpc::{ClientMessage, Response};

type Call = ClientMessage<RootRequest>;

/// What was read can be written and is then read as the same.
fn survives<T: Frame>(message: T, show: impl Fn(&T) -> String) {
    let shown = show(&message);
    let written = message.encode().expect("what was read can be written");
    let again = T::decode(&written).expect("what was written can be read");
    assert_eq!(show(&again), shown);
}

/// All of an answer but the kind of tarpc's own errors: several kinds share a number there.
fn response(response: &Response<RootResponse>) -> String {
    let message = response.message.as_ref().map_err(|error| &error.detail);
    format!("{} {message:?}", response.request_id)
}

/// All of a call but its deadline, which is counted from the moment of reading.
fn call(message: &Call) -> String {
    match message {
        ClientMessage::Request(request) => {
            assert!(request.context.deadline <= Instant::now() + limits::ROOT_CALL_TTL, "a deadline past the bound");
            format!("{} {:?}", request.id, request.message)
        }
        other => format!("{other:?}"),
    }
}

/// One input.
pub fn target(input: &[u8]) {
    let Some((&mode, bytes)) = input.split_first() else { return };
    if mode & 1 == 0 {
        if let Ok(message) = Call::decode(bytes) {
            survives(message, call);
        }
        if let Ok(message) = Response::<RootResponse>::decode(bytes) {
            survives(message, response);
        }
        return;
    }
    let mut wire: Wire<_, Call, Response<RootResponse>> = server_transport(Cursor::new(bytes.to_vec()));
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..=bytes.len() {
        match Pin::new(&mut wire).poll_next(&mut context) {
            Poll::Ready(Some(Ok(message))) => survives(message, call),
            Poll::Ready(Some(Err(_)) | None) => return,
            Poll::Pending => panic!("bytes in memory are waited for"),
        }
    }
    panic!("more frames than bytes");
}
