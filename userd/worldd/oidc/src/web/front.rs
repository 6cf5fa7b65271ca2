//! Browsers: session cookies and the tokens that forms carry against forgery.

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hyper::{StatusCode, header};

use super::{
    page::{self, Message},
    reply::{Reply, add_cookie},
    request::Incoming,
};
use crate::{
    form::Params,
    provider::Provider,
    secret::{Kernel, Secret, random_id},
    session::{self, Session},
};

/// Cookie of the session.
const SESSION: &str = "NE_SESSION";
/// Cookie that forms are bound to.
const FORM: &str = "NE_FORM";

/// The token of the forms of one page, and the cookie it is bound to when the browser has none yet.
pub struct FormToken {
    /// What the form carries.
    pub value: String,
    cookie: Option<String>,
}

impl Provider {
    fn cookie(&self, realm: &str, name: &str, value: &str, more: &str) -> String {
        // SameSite=Lax: sent when a client's page links here, not with forms of other sites.
        let secure = if self.is_secure { "; Secure" } else { "" };
        format!("{name}={value}; Path=/realms/{realm}/; HttpOnly; SameSite=Lax{secure}{more}")
    }

    /// Gives the browser its session.
    pub(super) fn set_session(&self, realm: &str, reply: &mut Reply, cookie: &Secret) {
        add_cookie(reply, &self.cookie(realm, SESSION, cookie.expose(), ""));
    }

    /// Takes the session from the browser.
    pub(super) fn clear_session(&self, realm: &str, reply: &mut Reply) {
        add_cookie(reply, &self.cookie(realm, SESSION, "", "; Max-Age=0"));
    }

    /// The live session of the browser.
    pub(super) fn session(&self, realm: &str, incoming: &Incoming) -> Option<Session> {
        let cookie = incoming.cookie(SESSION)?;
        self.read(realm, |realm| session::find(realm, cookie, incoming.moment.unix_s).cloned())?
    }

    /// A token for the forms of the page that answers `incoming`.
    pub(super) fn form_token(&self, realm: &str, incoming: &Incoming) -> FormToken {
        let known = incoming.cookie(FORM).filter(|cookie| cookie.len() == 22);
        let cookie = known.map_or_else(|| random_id(&mut Kernel), str::to_owned);
        let tag = hmac::sign(&self.csrf, format!("{realm}/{cookie}").as_bytes());
        let header = known.is_none().then(|| self.cookie(realm, FORM, &cookie, ""));
        FormToken { value: URL_SAFE_NO_PAD.encode(tag), cookie: header }
    }

    /// Whether a form comes from a page of ours that this very browser was given.
    pub(super) fn is_own_form(&self, realm: &str, incoming: &Incoming, form: &Params) -> bool {
        let is_own_origin = incoming.headers.get(header::ORIGIN).is_none_or(|origin| origin == self.base.as_str());
        let tag = form.get("csrf").and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        is_own_origin
            && incoming.cookie(FORM).zip(tag).is_some_and(|(cookie, tag)| {
                hmac::verify(&self.csrf, format!("{realm}/{cookie}").as_bytes(), &tag).is_ok()
            })
    }
}

impl FormToken {
    /// Adds the cookie to the page.
    pub fn bind(self, mut reply: Reply) -> Reply {
        if let Some(cookie) = self.cookie {
            add_cookie(&mut reply, &cookie);
        }
        reply
    }
}

/// A page that says something.
pub fn message(realm: &str, status: StatusCode, title: &str, text: &str) -> Reply {
    page::show(status, &Message { realm, title, text }, None)
}
