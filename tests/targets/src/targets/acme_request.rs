//! ACME requests of somebody who has an account: nothing of another account is shown or changed, nothing outside the
//! world is certified, and what is answered is JSON.
//!
//! The input is several requests with a byte 0xff (which no JSON has) between them. Of each the first byte is the
//! command, the second chooses the object and who signs, the rest is the payload.

use std::{collections::BTreeSet, sync::LazyLock};

use crate::acme::{NOW, Person, Server, request_for, scope};
use netengine_pki::{
    acme::{ChallengeKind, Command, Id},
    jose::encode,
    name::Identifier,
};

/// Requests of one input that are looked at.
const REQUESTS: usize = 12;

/// A finalization that is signed rightly, for `a.test`: no mutation makes one.
static FINALIZE: LazyLock<Vec<u8>> =
    LazyLock::new(|| format!(r#"{{"csr":"{}"}}"#, encode(request_for(&["a.test"]))).into_bytes());

fn command(server: &Server, kind: u8, which: u8) -> (Command, bool) {
    let mine = &server.mine.1;
    let orders: Vec<Id> = server.state.orders_of(mine).map(|order| order.id.clone()).collect();
    let is_foreign = which & 1 == 1;
    let pick = |all: &[Id], foreign: &Id| match all {
        [] => foreign.clone(),
        all => all[usize::from(which >> 4) % all.len()].clone(),
    };
    let order = if is_foreign { server.foreign_order.clone() } else { pick(&orders, &server.foreign_order) };
    let of_order = server.state.order(&order).map(|order| order.authorizations.clone()).unwrap_or_default();
    let authorization = pick(&of_order, &server.foreign_authorization);
    let account = if is_foreign { server.other.1.clone() } else { mine.clone() };
    let challenge =
        [ChallengeKind::Http01, ChallengeKind::Dns01, ChallengeKind::TlsAlpn01][usize::from(which >> 2) % 3];
    let is_foreign_order = order == server.foreign_order;
    match kind % 12 {
        0 => (Command::NewAccount, false),
        1 => (Command::Account(account), is_foreign),
        2 => (Command::Orders(account, None), is_foreign),
        3 => (Command::KeyChange, false),
        4 => (Command::NewOrder, false),
        5 => (Command::Order(order), is_foreign_order),
        6 => (Command::Finalize(order), is_foreign_order),
        7 => (Command::Authorization(authorization), is_foreign_order),
        8 => (Command::Challenge(authorization, challenge), is_foreign_order),
        9 => match server.state.certificates().next() {
            Some(certificate) => (Command::Certificate(certificate.serial), false),
            None => (Command::NewOrder, false),
        },
        10 => (Command::Revoke, false),
        _ => (Command::Orders(account, Some(order)), is_foreign),
    }
}

/// One input.
pub fn target(input: &[u8]) {
    let mut server = Server::new();
    let other = server.state.account(&server.other.1).cloned();
    let order = server.state.order(&server.foreign_order).cloned();
    let kid = server.urls.account(&server.mine.1);
    for request in input.split(|&byte| byte == 0xff).take(REQUESTS) {
        let Some((&[kind, which], payload)) = request.split_first_chunk() else { continue };
        // As it comes: nobody signed it.
        assert!(server.answer(&Command::NewAccount, payload).is_err(), "an unsigned request was taken");
        let (command, is_foreign) = command(&server, kind, which);
        let payload = if payload == b"$csr" { &FINALIZE[..] } else { payload };
        let by_key = which & 2 == 2;
        let me = Person::new(1);
        let body = server.signed(&me, (!by_key).then_some(kid.as_str()), payload);
        match server.answer(&command, &body) {
            Ok(rendered) => {
                assert!(!is_foreign, "{command:?} of another account was answered");
                assert!((200..300).contains(&rendered.status), "{rendered:?}");
            }
            Err(problem) => {
                assert!((400..500).contains(&problem.http_status()), "{command:?}: {problem:?}");
                let text = problem.to_json().to_string();
                assert!(text.len() < 4096 + 2 * payload.len(), "a problem of {} bytes", text.len());
            }
        }
        // The same body again: its nonce is used up.
        assert!(server.answer(&command, &body).is_err(), "a replay was taken");
    }
    assert_eq!(server.state.account(&server.other.1), other.as_ref(), "another's account was changed");
    assert_eq!(server.state.order(&server.foreign_order), order.as_ref(), "another's order was changed");
    assert!(server.state.account_count() <= 2 + REQUESTS && server.state.order_count() <= 1 + REQUESTS);
    for certificate in server.state.certificates() {
        let names: &BTreeSet<Identifier> = &certificate.identifiers;
        assert!(!names.is_empty() && names.iter().all(|name| scope().check(name).is_ok()), "{names:?} was certified");
        assert!(certificate.not_after > NOW.wall);
    }
}
