//! Another key for an account (RFC 8555, section 7.3.5).

use serde::Deserialize;

use super::{
    super::{
        Change, Problem, Signed,
        authenticate::{check_signature, refused},
    },
    Context, Outcome, Reply, account,
};
use crate::jose::{Identity, Jwk, Jws};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeyChange {
    account: String,
    old_key: Jwk,
}

pub(super) fn decide(context: &Context<'_>, signed: &Signed) -> Result<Outcome, Problem> {
    let have = account(context, signed)?;
    let inner = Jws::parse(&signed.payload).map_err(refused)?;
    let Identity::Key(new_key) = &inner.protected.identity else {
        return Err(Problem::malformed("the inner JWS must hold the new key: `jwk`"));
    };
    check_signature(&inner, new_key)?;
    if inner.protected.url != signed.url {
        return Err(Problem::malformed("the URL of the inner JWS is not that of the outer one"));
    }
    let wanted: KeyChange = serde_json::from_slice(&inner.payload)
        .map_err(|error| Problem::malformed(format!("cannot read the inner payload: {error}")))?;
    if wanted.account != context.urls.account(&have.id) {
        return Err(Problem::malformed("the inner JWS is about another account"));
    }
    if wanted.old_key != have.key {
        return Err(Problem::malformed("`oldKey` is not the key of the account"));
    }
    if let Some(other) = context.state.account_of_key(&new_key.thumbprint()) {
        let mut problem = Problem::malformed("an account with the new key exists").with_status(409);
        problem.account = Some(other.id.clone());
        return Err(problem);
    }
    let mut new = have.clone();
    new.key = new_key.clone();
    let reply = Reply::Account { id: new.id.clone(), created: false };
    Ok(Outcome { changes: vec![Change::Account(new)], effects: Vec::new(), reply })
}
