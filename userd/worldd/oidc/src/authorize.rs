//! The authorization request (RFC 6749, 4.1.1; OpenID Connect Core, 3.1.2; RFC 7636; RFC 9207).

use std::collections::BTreeSet;

use crate::{
    client::{Client, GrantType},
    form::{Params, with_query},
    grant::is_challenge,
    realm::Realm,
    refusal::{ErrorCode, Refusal},
    session::Session,
};

/// Longest `state` and `nonce`, in bytes.
const MAX_OPAQUE_BYTES: usize = 4096;

/// An authorization request that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The client.
    pub client_id: String,
    /// Where the answer goes: one of the client's registered addresses, byte by byte.
    pub redirect_uri: String,
    /// What is asked for.
    pub scope: BTreeSet<String>,
    /// To be returned as it is.
    pub state: Option<String>,
    /// To be repeated in the ID token.
    pub nonce: Option<String>,
    /// PKCE challenge, method S256.
    pub challenge: Option<String>,
    /// How the user is to be asked.
    pub prompt: Prompt,
    /// Oldest password that will do, seconds.
    pub max_age_s: Option<u64>,
    /// What the login form is filled with.
    pub login_hint: Option<String>,
}

/// The parameter `prompt`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Prompt {
    /// No page may be shown.
    pub none: bool,
    /// The password must be given anew.
    pub login: bool,
    /// The user must agree anew.
    pub consent: bool,
}

/// Where the answer to a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReturnTo {
    /// A registered address.
    pub redirect_uri: String,
    /// The request's `state`.
    pub state: Option<String>,
}

impl ReturnTo {
    /// The address with the answer in its query, always with `iss` (RFC 9207).
    pub fn with(&self, issuer: &str, pairs: &[(&str, &str)]) -> String {
        let mut all = pairs.to_vec();
        if let Some(state) = &self.state {
            all.push(("state", state));
        }
        all.push(("iss", issuer));
        with_query(&self.redirect_uri, &all)
    }

    /// The address with an error in its query.
    pub fn refused(&self, issuer: &str, refusal: &Refusal) -> String {
        self.with(issuer, &[("error", refusal.code.as_str()), ("error_description", &refusal.text)])
    }
}

impl Request {
    /// Where its answer goes.
    pub fn return_to(&self) -> ReturnTo {
        ReturnTo { redirect_uri: self.redirect_uri.clone(), state: self.state.clone() }
    }
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejected {
    /// Client or address are not known: the user is told and sent nowhere.
    Page(&'static str),
    /// The client is told.
    Return(ReturnTo, Refusal),
}

/// Checks an authorization request.
///
/// # Errors
/// [`Rejected::Page`] until client and address are known to belong together, then [`Rejected::Return`].
pub fn check(realm: &Realm, params: &Params) -> Result<Request, Rejected> {
    let client = params.get("client_id").and_then(|id| realm.clients.get(id)).filter(|client| client.enabled);
    let client = client.ok_or(Rejected::Page("The application that sent you here is not known."))?;
    let redirect_uri = params.get("redirect_uri").filter(|uri| client.redirect_uris.contains(*uri));
    let redirect_uri = redirect_uri.ok_or(Rejected::Page("The application gave an address that is not its own."))?;
    let state = params.get("state").map(str::to_owned);
    if state.as_ref().is_some_and(|state| state.len() > MAX_OPAQUE_BYTES) {
        return Err(Rejected::Page("The application sent a request that is too long."));
    }
    let return_to = ReturnTo { redirect_uri: redirect_uri.to_owned(), state };
    check_rest(realm, client, params, &return_to).map_err(|refusal| Rejected::Return(return_to, refusal))
}

fn check_rest(realm: &Realm, client: &Client, params: &Params, return_to: &ReturnTo) -> Result<Request, Refusal> {
    let invalid = |text| Refusal::new(ErrorCode::InvalidRequest, text);
    if params.get("request").is_some() {
        return Err(Refusal::new(ErrorCode::RequestNotSupported, "request objects are not supported"));
    }
    if params.get("request_uri").is_some() {
        return Err(Refusal::new(ErrorCode::RequestUriNotSupported, "request objects are not supported"));
    }
    match params.get("response_type") {
        Some("code") => {}
        Some(_) => return Err(Refusal::new(ErrorCode::UnsupportedResponseType, "only the response type code")),
        None => return Err(invalid("response_type is missing")),
    }
    if params.get("response_mode").is_some_and(|mode| mode != "query") {
        return Err(invalid("only the response mode query"));
    }
    if !client.may(GrantType::AuthorizationCode) {
        return Err(Refusal::new(ErrorCode::UnauthorizedClient, "the client may not use this flow"));
    }
    let challenge = match (params.get("code_challenge"), params.get("code_challenge_method")) {
        (Some(challenge), Some("S256")) if is_challenge(challenge) => Some(challenge.to_owned()),
        (Some(_), Some("S256")) => return Err(invalid("code_challenge is malformed")),
        (Some(_), _) => return Err(invalid("code_challenge_method must be S256")),
        (None, Some(_)) => return Err(invalid("code_challenge is missing")),
        (None, None) if client.is_public() => return Err(invalid("public clients must use PKCE")),
        (None, None) => None,
    };
    let nonce = params.get("nonce").map(str::to_owned);
    if nonce.as_ref().is_some_and(|nonce| nonce.len() > MAX_OPAQUE_BYTES) {
        return Err(invalid("nonce is too long"));
    }
    let max_age_s = match params.get("max_age") {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| invalid("max_age is not a number"))?),
    };
    Ok(Request {
        client_id: client.client_id.clone(),
        redirect_uri: return_to.redirect_uri.clone(),
        scope: check_scope(realm, client, params.get("scope").unwrap_or("openid"))?,
        state: return_to.state.clone(),
        nonce,
        challenge,
        prompt: check_prompt(params.get("prompt").unwrap_or(""))?,
        max_age_s,
        login_hint: params.get("login_hint").filter(|hint| hint.len() <= 256).map(str::to_owned),
    })
}

fn check_prompt(text: &str) -> Result<Prompt, Refusal> {
    let mut prompt = Prompt::default();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        match word {
            "none" => prompt.none = true,
            // There is one account per session, so choosing one is logging in.
            "login" | "select_account" => prompt.login = true,
            "consent" => prompt.consent = true,
            _ => return Err(Refusal::new(ErrorCode::InvalidRequest, "prompt has an unknown value")),
        }
    }
    if prompt.none && (prompt.login || prompt.consent) {
        return Err(Refusal::new(ErrorCode::InvalidRequest, "prompt=none stands alone"));
    }
    Ok(prompt)
}

/// The scopes of a request, each one known to the realm and allowed to the client.
///
/// # Errors
/// [`ErrorCode::InvalidScope`].
pub fn check_scope(realm: &Realm, client: &Client, text: &str) -> Result<BTreeSet<String>, Refusal> {
    let mut scope = BTreeSet::new();
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let is_allowed = client.scopes.is_empty() || client.scopes.contains(word);
        if !is_allowed || !realm.config.scopes.contains_key(word) {
            return Err(Refusal::new(ErrorCode::InvalidScope, "a scope is unknown or not allowed to this client"));
        }
        scope.insert(word.to_owned());
    }
    Ok(scope)
}

/// What a checked request needs next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The login page.
    Login,
    /// The consent page.
    Consent,
    /// A code.
    Code,
    /// The client is told that it cannot be done without a page.
    Refuse(Refusal),
}

/// How far a request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It has just arrived.
    Arrived,
    /// The password was given for it.
    LoggedIn,
    /// The user agreed to it.
    Agreed,
}

/// Longest time between password and consent when the client wants the password anew, seconds.
const FRESH_S: u64 = 300;

/// Decides what a request needs, given the session of its browser.
pub fn next(realm: &Realm, request: &Request, session: Option<&Session>, stage: Stage, now: u64) -> Next {
    let age = session.map(|session| now.saturating_sub(session.auth_time));
    let is_fresh = age.is_some_and(|age| match stage {
        Stage::Arrived => !request.prompt.login && request.max_age_s.is_none_or(|max| age <= max),
        Stage::LoggedIn => true,
        Stage::Agreed => {
            (!request.prompt.login || age <= FRESH_S) && request.max_age_s.is_none_or(|max| age <= max.max(FRESH_S))
        }
    });
    let Some(session) = session.filter(|_| is_fresh) else {
        return if request.prompt.none {
            Next::Refuse(Refusal::new(ErrorCode::LoginRequired, "nobody is logged in"))
        } else {
            Next::Login
        };
    };
    if stage == Stage::Agreed {
        return Next::Code;
    }
    let is_asked = realm.clients.get(&request.client_id).is_none_or(|client| client.consent_required);
    let given = realm.consents.get(&(session.user_id.clone(), request.client_id.clone()));
    let is_given = given.is_some_and(|given| request.scope.is_subset(given));
    if !request.prompt.consent && (!is_asked || is_given) {
        Next::Code
    } else if request.prompt.none {
        Next::Refuse(Refusal::new(ErrorCode::ConsentRequired, "the user was not asked yet"))
    } else {
        Next::Consent
    }
}
