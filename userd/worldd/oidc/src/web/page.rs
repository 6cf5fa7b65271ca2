//! Pages: plain forms that need no script. Every value is escaped by the template engine.

use askama::Template;
use hyper::{StatusCode, header};

use super::reply::{Reply, html};

/// The style sheet of all pages.
pub const STYLE: &str = include_str!("../../templates/style.css");

/// Asks for name and password.
#[derive(Template)]
#[template(path = "login.html")]
pub struct Login<'a> {
    /// The realm.
    pub realm: &'a str,
    /// Why it is shown again.
    pub message: Option<&'a str>,
    /// Where the form goes.
    pub action: &'a str,
    /// Token against forged forms.
    pub csrf: &'a str,
    /// The device code the login is for.
    pub user_code: Option<&'a str>,
    /// What the field is filled with.
    pub username: &'a str,
}

/// Asks whether a client may learn of the user.
#[derive(Template)]
#[template(path = "consent.html")]
pub struct Consent<'a> {
    /// The realm.
    pub realm: &'a str,
    /// What the client calls itself.
    pub client: &'a str,
    /// Who is asked.
    pub username: &'a str,
    /// What is asked for, in words.
    pub scopes: Vec<String>,
    /// Where the form goes.
    pub action: &'a str,
    /// Token against forged forms.
    pub csrf: &'a str,
    /// The code of the device, when it is one.
    pub user_code: Option<&'a str>,
}

/// Asks for the code that a device shows.
#[derive(Template)]
#[template(path = "device.html")]
pub struct Device<'a> {
    /// The realm.
    pub realm: &'a str,
    /// Why it is shown again.
    pub message: Option<&'a str>,
    /// Token against forged forms.
    pub csrf: &'a str,
    /// What the field is filled with.
    pub user_code: &'a str,
}

/// Asks whether to log out.
#[derive(Template)]
#[template(path = "logout.html")]
pub struct Logout<'a> {
    /// The realm.
    pub realm: &'a str,
    /// Where the form goes.
    pub action: &'a str,
    /// Token against forged forms.
    pub csrf: &'a str,
}

/// Says something.
#[derive(Template)]
#[template(path = "message.html")]
pub struct Message<'a> {
    /// The realm.
    pub realm: &'a str,
    /// The heading.
    pub title: &'a str,
    /// The sentence below it.
    pub text: &'a str,
}

/// A page with its headers.
///
/// `form_target` is the address a form's answer is redirected to: browsers apply `form-action` to redirects as well.
pub fn show(status: StatusCode, page: &impl Template, form_target: Option<&str>) -> Reply {
    let Ok(text) = page.render() else {
        return html(StatusCode::INTERNAL_SERVER_ERROR, "cannot show the page".to_owned());
    };
    let target = form_target.and_then(form_source).map(|source| format!(" {source}")).unwrap_or_default();
    let policy = format!(
        "default-src 'none'; style-src 'self'; form-action 'self'{target}; base-uri 'none'; frame-ancestors 'none'"
    );
    let mut reply = html(status, text);
    if let Ok(value) = policy.parse() {
        reply.headers_mut().insert(header::CONTENT_SECURITY_POLICY, value);
    }
    reply
}

/// The source expression of an address: its origin, or its scheme when it has none.
fn form_source(address: &str) -> Option<String> {
    let url = url::Url::parse(address).ok()?;
    match url.origin() {
        origin @ url::Origin::Tuple(..) => Some(origin.ascii_serialization()),
        url::Origin::Opaque(_) => Some(format!("{}:", url.scheme())),
    }
}

/// What a scope means to a person.
pub fn scope_in_words(scope: &str) -> String {
    match scope {
        "openid" => "knowing that it is you".to_owned(),
        "profile" => "your name".to_owned(),
        "email" => "your mail address".to_owned(),
        "offline_access" => "access while you are away".to_owned(),
        "roles" => "your roles".to_owned(),
        "organization" => "your organisation".to_owned(),
        other => other.to_owned(),
    }
}
