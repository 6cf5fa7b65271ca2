//! Devices without a browser (RFC 8628): their codes, and the page where a user types one.

use hyper::{Method, StatusCode};
use serde_json::json;

use super::{
    failed,
    front::message,
    login::login_text,
    oauth::{answer, refused_client},
    page::{self, scope_in_words},
    reply::{Reply, refused},
    request::Incoming,
};
use crate::{
    authorize::check_scope,
    client::GrantType,
    grant::{Answer, DEVICE_S, POLL_S, create_device, find_device},
    provider::{Login, Provider},
    refusal::{ErrorCode, Refusal},
    secret::{Kernel, Secret},
    session::Session,
    state::Object,
};

/// The one text for codes that never were, have ended or were answered.
const NO_CODE: &str = "This code is not valid.";

impl Provider {
    /// `auth/device`: a device asks for a code.
    pub(super) async fn device_code(&self, realm: &str, incoming: &Incoming) -> Reply {
        let (client, form) = match self.client(realm, incoming) {
            Ok(found) => found,
            Err(refusal) => return refused_client(incoming, &refusal),
        };
        if !client.may(GrantType::DeviceCode) {
            return refused(&Refusal::new(ErrorCode::UnauthorizedClient, "the client may not use this flow"));
        }
        let now = incoming.moment.unix_s;
        let made = self
            .change(realm, |tx| {
                let scope = check_scope(tx.realm(), &client, form.get("scope").unwrap_or("openid"))?;
                let (code, user_code) = create_device(tx, &client, scope, now, &mut Kernel)?;
                let page = format!("{}/device", tx.realm().issuer);
                Ok(json!({
                    "device_code": code.expose(),
                    "user_code": user_code,
                    "verification_uri": page,
                    "verification_uri_complete": format!("{page}?user_code={user_code}"),
                    "expires_in": DEVICE_S,
                    "interval": POLL_S,
                }))
            })
            .await;
        made.map_or_else(|error| refused(&failed(&error)), answer)
    }

    /// `device`: the page for users.
    pub(super) async fn device_page(&self, realm: &str, incoming: &Incoming) -> Reply {
        if incoming.method != Method::POST {
            let typed = incoming.query.get("user_code").unwrap_or("");
            return self.ask_code(realm, incoming, StatusCode::OK, None, typed);
        }
        let form = incoming.form().unwrap_or_default();
        let typed = form.get("user_code").unwrap_or("");
        if !self.is_own_form(realm, incoming, &form) {
            let text = "This page was open too long. Please try again.";
            return self.ask_code(realm, incoming, StatusCode::FORBIDDEN, Some(text), typed);
        }
        // A user code is short enough to be guessed: each look at one is an attempt.
        if !self.may_try(incoming.source, incoming.moment) {
            let text = "Too many attempts. Wait a minute, then try again.";
            return self.ask_code(realm, incoming, StatusCode::TOO_MANY_REQUESTS, Some(text), "");
        }
        let now = incoming.moment.unix_s;
        if self.read(realm, |realm| find_device(realm, typed, now).is_some()) != Some(true) {
            return self.ask_code(realm, incoming, StatusCode::OK, Some(NO_CODE), "");
        }
        if let (Some(username), Some(password)) = (form.get("username"), form.get("password")) {
            let password = Secret::new(password.to_owned());
            return match self.log_in(realm, username, password, incoming.source, incoming.moment).await {
                Ok(Login::In(session, cookie)) => {
                    let mut reply = self.ask_consent(realm, incoming, &session, typed);
                    self.set_session(realm, &mut reply, &cookie);
                    reply
                }
                Ok(login) => {
                    let (status, text) = login_text(&login);
                    self.ask_login(realm, incoming, status, Some(text), typed, username)
                }
                Err(error) => refused(&failed(&error)),
            };
        }
        match (self.session(realm, incoming), form.get("answer")) {
            (None, _) => self.ask_login(realm, incoming, StatusCode::OK, None, typed, ""),
            (Some(session), None) => self.ask_consent(realm, incoming, &session, typed),
            (Some(session), Some(word)) => self.decide_device(realm, incoming, &session, typed, word == "allow").await,
        }
    }

    async fn decide_device(
        &self,
        realm: &str,
        incoming: &Incoming,
        session: &Session,
        typed: &str,
        is_allowed: bool,
    ) -> Reply {
        let done = self
            .change(realm, |tx| {
                let Some(mut device) = find_device(tx.realm(), typed, incoming.moment.unix_s).cloned() else {
                    return false;
                };
                device.answer = if is_allowed {
                    let (user_id, sid) = (session.user_id.clone(), session.id.clone());
                    Answer::Allowed { user_id, sid, auth_time: session.auth_time }
                } else {
                    Answer::Denied
                };
                tx.put(Object::Device(device));
                true
            })
            .await;
        match done {
            Ok(true) if is_allowed => {
                message(realm, StatusCode::OK, "Device connected", "You can close this page and go on at the device.")
            }
            Ok(true) => message(realm, StatusCode::OK, "Device refused", "The device gets no access."),
            Ok(false) => self.ask_code(realm, incoming, StatusCode::OK, Some(NO_CODE), ""),
            Err(error) => refused(&failed(&error)),
        }
    }

    fn ask_code(
        &self,
        realm: &str,
        incoming: &Incoming,
        status: StatusCode,
        message: Option<&str>,
        user_code: &str,
    ) -> Reply {
        let token = self.form_token(realm, incoming);
        let page = page::Device { realm, message, csrf: &token.value, user_code };
        let reply = page::show(status, &page, None);
        token.bind(reply)
    }

    fn ask_login(
        &self,
        realm: &str,
        incoming: &Incoming,
        status: StatusCode,
        message: Option<&str>,
        typed: &str,
        username: &str,
    ) -> Reply {
        let token = self.form_token(realm, incoming);
        let action = format!("/realms/{realm}/device");
        let page =
            page::Login { realm, message, action: &action, csrf: &token.value, user_code: Some(typed), username };
        let reply = page::show(status, &page, None);
        token.bind(reply)
    }

    fn ask_consent(&self, realm: &str, incoming: &Incoming, session: &Session, typed: &str) -> Reply {
        let asked = self.read(realm, |realm| {
            let device = find_device(realm, typed, incoming.moment.unix_s)?;
            let client = realm.clients.get(&device.client_id)?.name.clone();
            let username = realm.users.get(&session.user_id)?.display_name();
            let scopes: Vec<String> = device.scope.iter().map(|scope| scope_in_words(scope)).collect();
            Some((client, username, scopes, format!("{}-{}", &device.user_code[..4], &device.user_code[4..])))
        });
        let Some((client, username, scopes, shown)) = asked.flatten() else {
            return self.ask_code(realm, incoming, StatusCode::OK, Some(NO_CODE), "");
        };
        let token = self.form_token(realm, incoming);
        let action = format!("/realms/{realm}/device");
        let page = page::Consent {
            realm,
            client: &client,
            username: &username,
            scopes,
            action: &action,
            csrf: &token.value,
            user_code: Some(&shown),
        };
        let reply = page::show(StatusCode::OK, &page, None);
        token.bind(reply)
    }
}
