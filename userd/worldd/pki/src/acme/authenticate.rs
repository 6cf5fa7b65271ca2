//! Who sent a request (RFC 8555, section 6.2).

use super::{AccountStatus, Id, Kind, Nonces, Problem, State, Urls};
use crate::jose::{Algorithm, Identity, Jwk, Jws, JwsError};

/// Who signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signer {
    /// The holder of this key, with or without an account.
    Key(Jwk),
    /// This account, which is valid.
    Account(Id),
}

/// A request whose signature, URL and nonce are right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// By whom.
    pub signer: Signer,
    /// What for; empty for POST-as-GET.
    pub payload: Vec<u8>,
    /// The URL it was sent to.
    pub url: String,
}

/// Takes a body apart and checks signature, URL and nonce, in this order: a request that is not the client's own
/// uses up no nonce.
///
/// # Errors
/// The problem to answer with.
pub fn authenticate(
    state: &State,
    nonces: &mut Nonces,
    urls: &Urls,
    url: &str,
    body: &[u8],
) -> Result<Signed, Problem> {
    let jws = Jws::parse(body).map_err(refused)?;
    if Algorithm::named(&jws.protected.algorithm).is_none() {
        return Err(Problem::new(Kind::BadSignatureAlgorithm, "this algorithm is not supported"));
    }
    if jws.protected.url != url {
        return Err(Problem::unauthorized("the URL in the protected header is not the one that was asked for"));
    }
    let signer = match &jws.protected.identity {
        Identity::Key(key) => {
            check_signature(&jws, key)?;
            Signer::Key(key.clone())
        }
        Identity::Known(kid) => {
            let unknown = || Problem::new(Kind::AccountDoesNotExist, "there is no account at the URL in `kid`");
            let account = urls.account_id(kid).and_then(|id| state.account(&id)).ok_or_else(unknown)?;
            check_signature(&jws, &account.key)?;
            if account.status != AccountStatus::Valid {
                return Err(Problem::unauthorized("the account is deactivated"));
            }
            Signer::Account(account.id.clone())
        }
    };
    match &jws.protected.nonce {
        Some(nonce) if nonces.consume(nonce) => Ok(Signed { signer, payload: jws.payload, url: url.to_owned() }),
        Some(_) => Err(Problem::new(Kind::BadNonce, "the nonce is unknown, too old or was used before")),
        None => Err(Problem::new(Kind::BadNonce, "the protected header has no nonce")),
    }
}

/// The problem for a body that is no acceptable JWS.
pub(super) fn refused(error: JwsError) -> Problem {
    match error {
        JwsError::Key(why) => Problem::new(Kind::BadPublicKey, why),
        other => Problem::malformed(other.to_string()),
    }
}

/// # Errors
/// `badSignatureAlgorithm` when the key does not sign that way, else `malformed`.
pub(super) fn check_signature(jws: &Jws, key: &Jwk) -> Result<(), Problem> {
    if Algorithm::named(&jws.protected.algorithm) != Some(key.algorithm()) {
        return Err(Problem::new(Kind::BadSignatureAlgorithm, "this algorithm does not go with this key"));
    }
    match jws.is_signed_by(key) {
        true => Ok(()),
        false => Err(Problem::malformed("the signature does not verify with the key")),
    }
}
