//! What a request leads to.

mod account;
mod challenge;
mod key_change;
mod order;
mod revoke;

pub use challenge::{resume, validated};
pub use order::issued;

use std::{collections::BTreeSet, net::IpAddr};

use serde::de::DeserializeOwned;

use super::{Account, ChallengeKind, Change, Id, Limits, Policy, Problem, Signed, Signer, State, Urls};
use crate::{
    ca::{Request, Serial},
    clock::Now,
    name::Identifier,
};

/// What is asked for, as its URL says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// RFC 8555, section 7.3.
    NewAccount,
    /// Section 7.3.2 and 7.3.6: show, change or deactivate.
    Account(Id),
    /// Section 7.1.2.1: the orders of an account, from behind the one named.
    Orders(Id, Option<Id>),
    /// Section 7.3.5.
    KeyChange,
    /// Section 7.4.
    NewOrder,
    /// Section 7.4: show.
    Order(Id),
    /// Section 7.4.
    Finalize(Id),
    /// Sections 7.5 and 7.5.2: show or deactivate.
    Authorization(Id),
    /// Section 7.5.1.
    Challenge(Id, ChallengeKind),
    /// Section 7.4.2.
    Certificate(Serial),
    /// Section 7.6.
    Revoke,
}

/// Where identifiers and tokens come from: the system's randomness, or a test's numbers.
pub trait Entropy {
    /// Fills the buffer.
    fn fill(&mut self, buffer: &mut [u8]);

    /// A name for an object.
    fn id(&mut self) -> Id {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        Id::new(bytes)
    }
}

/// What a decision is based on.
pub struct Context<'a> {
    /// What is known.
    pub state: &'a State,
    /// What the operator chose.
    pub policy: &'a Policy,
    /// How URLs look.
    pub urls: &'a Urls,
    /// What was counted.
    pub limits: &'a mut Limits,
    /// Randomness.
    pub entropy: &'a mut dyn Entropy,
    /// When.
    pub now: Now,
    /// Where the request came from.
    pub source: IpAddr,
}

/// What a request leads to. First the changes are applied and kept, then the effects happen, then the reply is sent.
#[derive(Default)]
pub struct Outcome {
    /// What changes.
    pub changes: Vec<Change>,
    /// What is to be done.
    pub effects: Vec<Effect>,
    /// What to answer.
    pub reply: Reply,
}

/// Something to do.
pub enum Effect {
    /// Look whether a challenge is met; then call [`validated`].
    Validate(Probe),
    /// Sign a certificate; then call [`issued`] and treat its outcome as part of this one.
    Issue {
        /// For which order.
        order: Id,
        /// The request, which names what the order names.
        request: Box<Request>,
    },
}

/// A challenge to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Which authorization.
    pub authorization: Id,
    /// Which challenge of it.
    pub kind: ChallengeKind,
    /// What is to be proven, without `*.`.
    pub identifier: Identifier,
    /// Whether it is for a wildcard: CAA has another word for them.
    pub wildcard: bool,
    /// The token.
    pub token: String,
    /// The token and the account key's thumbprint (RFC 8555, section 8.1).
    pub key_authorization: String,
    /// The account's URL: CAA may name it (RFC 8657).
    pub account_url: String,
}

/// What came of looking.
pub type Verdict = Result<(), Problem>;

/// What to answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Reply {
    /// Nothing but the status.
    #[default]
    Nothing,
    /// An account, new or not.
    Account {
        /// Which.
        id: Id,
        /// Whether this request made it.
        created: bool,
    },
    /// The list of an account's orders.
    Orders(Id, Option<Id>),
    /// An order, new or not.
    Order {
        /// Which.
        id: Id,
        /// Whether this request made it.
        created: bool,
    },
    /// An authorization.
    Authorization(Id),
    /// A challenge.
    Challenge(Id, ChallengeKind),
    /// A certificate with its chain.
    Certificate(Serial),
}

/// What a request leads to.
///
/// # Errors
/// The problem to answer with; nothing changes then but the limits.
pub fn decide(context: &mut Context<'_>, command: &Command, signed: &Signed) -> Result<Outcome, Problem> {
    match command {
        Command::NewAccount => account::new(context, signed),
        Command::Account(id) => account::show_or_change(context, id, signed),
        Command::Orders(id, after) => account::orders(context, id, after.as_ref(), signed),
        Command::KeyChange => key_change::decide(context, signed),
        Command::NewOrder => order::new(context, signed),
        Command::Order(id) => order::show(context, id, signed),
        Command::Finalize(id) => order::finalize(context, id, signed),
        Command::Authorization(id) => challenge::show_or_deactivate(context, id, signed),
        Command::Challenge(id, kind) => challenge::respond(context, id, *kind, signed),
        Command::Certificate(serial) => order::certificate(context, *serial, signed),
        Command::Revoke => revoke::decide(context, signed),
    }
}

impl Outcome {
    fn show(reply: Reply) -> Self {
        Self { reply, ..Self::default() }
    }
}

/// The account that signed.
fn account<'a>(context: &Context<'a>, signed: &Signed) -> Result<&'a Account, Problem> {
    match &signed.signer {
        Signer::Account(id) => context.state.account(id).ok_or_else(|| Problem::absent("account")),
        Signer::Key(_) => Err(Problem::malformed("this must be signed by an account: `kid`, not `jwk`")),
    }
}

/// The payload; unknown members are ignored (RFC 8555, section 7.1).
fn payload<T: DeserializeOwned>(signed: &Signed) -> Result<T, Problem> {
    serde_json::from_slice(&signed.payload)
        .map_err(|error| Problem::malformed(format!("cannot read the payload: {error}")))
}

/// # Errors
/// `malformed` when there is a payload.
fn expect_post_as_get(signed: &Signed) -> Result<(), Problem> {
    match signed.payload.is_empty() {
        true => Ok(()),
        false => Err(Problem::malformed("this is shown only to POST-as-GET, whose payload is empty")),
    }
}

fn list(identifiers: &BTreeSet<Identifier>) -> String {
    identifiers.iter().take(5).map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
