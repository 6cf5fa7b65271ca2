//! The authorization endpoint and its pages: login and consent.

use hyper::{Method, StatusCode};

use super::{
    failed,
    front::message,
    page::{self, scope_in_words},
    reply::{Reply, redirect},
    request::Incoming,
};
use crate::{
    authorize::{self, Next, Rejected, Request, Stage},
    form::Params,
    grant::create_code,
    provider::{Login, Provider},
    refusal::{ErrorCode, Refusal},
    secret::{Kernel, Secret},
    session::Session,
    state::Object,
};

/// The one text for every name and password that do not fit.
const WRONG: &str = "User name and password do not match.";
/// The text for too many attempts, the same for accounts that exist and those that do not.
const TOO_OFTEN: &str = "Too many attempts. Wait a minute, then try again.";
const EXPIRED: &str = "This page was open too long. Please try again.";
const BUSY: &str = "The server is busy. Please try again.";

/// What a failed login shows.
pub(super) fn login_text(login: &Login) -> (StatusCode, &'static str) {
    match login {
        Login::In(..) | Login::Wrong => (StatusCode::OK, WRONG),
        Login::TooOften => (StatusCode::TOO_MANY_REQUESTS, TOO_OFTEN),
        Login::Busy => (StatusCode::SERVICE_UNAVAILABLE, BUSY),
    }
}

impl Provider {
    /// `auth`: a client sends a browser here.
    pub(super) async fn authorize(&self, realm: &str, incoming: &Incoming) -> Reply {
        let params = if incoming.method == Method::POST { incoming.form() } else { Ok(incoming.query.clone()) };
        let params = match params {
            Ok(params) => params,
            Err(refusal) => return message(realm, StatusCode::BAD_REQUEST, "Bad request", &refusal.text),
        };
        let session = self.session(realm, incoming);
        self.proceed(realm, incoming, &params, session, Stage::Arrived).await
    }

    fn check(&self, realm: &str, params: &Params) -> Result<Request, Reply> {
        let checked = self.read(realm, |realm| {
            authorize::check(realm, params).map_err(|rejected| match rejected {
                Rejected::Page(text) => message(&realm.config.name, StatusCode::BAD_REQUEST, "Cannot log in", text),
                Rejected::Return(to, refusal) => redirect(&to.refused(&realm.issuer, &refusal)),
            })
        });
        checked.unwrap_or_else(|| Err(message(realm, StatusCode::NOT_FOUND, "Not found", "There is no such realm.")))
    }

    /// Brings a request one step further: a page, or the answer to the client.
    async fn proceed(
        &self,
        realm: &str,
        incoming: &Incoming,
        params: &Params,
        session: Option<Session>,
        stage: Stage,
    ) -> Reply {
        let request = match self.check(realm, params) {
            Ok(request) => request,
            Err(reply) => return reply,
        };
        let now = incoming.moment.unix_s;
        let next = self.read(realm, |realm| authorize::next(realm, &request, session.as_ref(), stage, now));
        match (next, session) {
            (Some(Next::Code), Some(session)) => self.send_code(realm, &request, &session, now).await,
            (Some(Next::Consent), Some(session)) => self.consent_page(realm, incoming, params, &request, &session),
            (Some(Next::Refuse(refusal)), _) => self.send_refusal(realm, &request, &refusal),
            _ => self.login_page(realm, incoming, params, &request, StatusCode::OK, None, None),
        }
    }

    fn send_refusal(&self, realm: &str, request: &Request, refusal: &Refusal) -> Reply {
        let issuer = self.read(realm, |realm| realm.issuer.clone()).unwrap_or_default();
        redirect(&request.return_to().refused(&issuer, refusal))
    }

    async fn send_code(&self, realm: &str, request: &Request, session: &Session, now: u64) -> Reply {
        if let Err(error) = self.prepare(realm, now).await {
            return self.send_refusal(realm, request, &failed(&error));
        }
        let made = self
            .change(realm, |tx| {
                let code = create_code(tx, request, session, now, &mut Kernel)?;
                let pairs = [("code", code.expose()), ("session_state", session.id.as_str())];
                Ok(request.return_to().with(&tx.realm().issuer, &pairs))
            })
            .await;
        match made {
            Ok(Ok(to)) => redirect(&to),
            Ok(Err(refusal)) => self.send_refusal(realm, request, &refusal),
            Err(error) => self.send_refusal(realm, request, &failed(&error)),
        }
    }

    #[allow(clippy::too_many_arguments, reason = "one call per way the page is shown")]
    fn login_page(
        &self,
        realm: &str,
        incoming: &Incoming,
        params: &Params,
        request: &Request,
        status: StatusCode,
        message: Option<&str>,
        username: Option<&str>,
    ) -> Reply {
        let token = self.form_token(realm, incoming);
        let page = page::Login {
            realm,
            message,
            action: &format!("/realms/{realm}/login-actions/authenticate?{}", params.to_query()),
            csrf: &token.value,
            user_code: None,
            username: username.or(request.login_hint.as_deref()).unwrap_or(""),
        };
        let reply = page::show(status, &page, Some(&request.redirect_uri));
        token.bind(reply)
    }

    fn consent_page(
        &self,
        realm: &str,
        incoming: &Incoming,
        params: &Params,
        request: &Request,
        session: &Session,
    ) -> Reply {
        let names = self.read(realm, |realm| {
            let client = realm.clients.get(&request.client_id).map(|client| client.name.clone());
            (client, realm.users.get(&session.user_id).map(|user| user.display_name()))
        });
        let Some((Some(client), Some(username))) = names else {
            return message(realm, StatusCode::BAD_REQUEST, "Cannot log in", "The account is not there any more.");
        };
        let token = self.form_token(realm, incoming);
        let page = page::Consent {
            realm,
            client: &client,
            username: &username,
            scopes: request.scope.iter().map(|scope| scope_in_words(scope)).collect(),
            action: &format!("/realms/{realm}/login-actions/consent?{}", params.to_query()),
            csrf: &token.value,
            user_code: None,
        };
        let reply = page::show(StatusCode::OK, &page, Some(&request.redirect_uri));
        token.bind(reply)
    }

    /// The login form comes back; the request itself is in its query and is checked anew.
    pub(super) async fn authenticate(&self, realm: &str, incoming: &Incoming) -> Reply {
        let params = &incoming.query;
        let request = match self.check(realm, params) {
            Ok(request) => request,
            Err(reply) => return reply,
        };
        let form = incoming.form().unwrap_or_default();
        let username = form.get("username").unwrap_or("");
        if !self.is_own_form(realm, incoming, &form) {
            return self.login_page(realm, incoming, params, &request, StatusCode::FORBIDDEN, Some(EXPIRED), None);
        }
        let password = Secret::new(form.get("password").unwrap_or("").to_owned());
        let login = match self.log_in(realm, username, password, incoming.source, incoming.moment).await {
            Ok(login) => login,
            Err(error) => return self.send_refusal(realm, &request, &failed(&error)),
        };
        if let Login::In(session, cookie) = login {
            let mut reply = self.proceed(realm, incoming, params, Some(session), Stage::LoggedIn).await;
            self.set_session(realm, &mut reply, &cookie);
            return reply;
        }
        let (status, text) = login_text(&login);
        self.login_page(realm, incoming, params, &request, status, Some(text), Some(username))
    }

    /// The consent form comes back.
    pub(super) async fn consent(&self, realm: &str, incoming: &Incoming) -> Reply {
        let params = &incoming.query;
        let request = match self.check(realm, params) {
            Ok(request) => request,
            Err(reply) => return reply,
        };
        let form = incoming.form().unwrap_or_default();
        let session = self.session(realm, incoming);
        if !self.is_own_form(realm, incoming, &form) {
            return message(realm, StatusCode::FORBIDDEN, "Please try again", EXPIRED);
        }
        let Some(session) = session else {
            return self.proceed(realm, incoming, params, None, Stage::Arrived).await;
        };
        if form.get("answer") != Some("allow") {
            let refusal = Refusal::new(ErrorCode::AccessDenied, "the user said no");
            return self.send_refusal(realm, &request, &refusal);
        }
        let stored = self
            .change(realm, |tx| {
                let place = (session.user_id.clone(), request.client_id.clone());
                let mut scope = tx.realm().consents.get(&place).cloned().unwrap_or_default();
                scope.extend(request.scope.iter().cloned());
                tx.put(Object::Consent(place.0, place.1, scope));
            })
            .await;
        if let Err(error) = stored {
            return self.send_refusal(realm, &request, &failed(&error));
        }
        self.proceed(realm, incoming, params, Some(session), Stage::Agreed).await
    }
}
