//! OCSP requests: there is always an answer, it is DER, bounded, and says `good` of nothing that was not issued.

use std::cell::Cell;

use crate::acme::{AUTHORITY, NOW};
use netengine_pki::ca::{der, ocsp};

/// One input.
pub fn target(request: &[u8]) {
    let asked = Cell::new(0);
    let answer = ocsp::answer(
        &AUTHORITY,
        request,
        |_, _| {
            asked.set(asked.get() + 1);
            ocsp::Status::Unknown
        },
        NOW.wall,
    );
    let (_, rest) = der::expect(&answer, der::tag::SEQUENCE).expect("a SEQUENCE");
    assert!(rest.is_empty(), "bytes behind the answer");
    assert!(asked.get() <= 16 && answer.len() <= 1024 + 4 * request.len(), "{} bytes", answer.len());
}
