//! A request as the provider reads it.

use std::net::IpAddr;

use hyper::{
    HeaderMap, Method, Request,
    body::Bytes,
    header::{self, HeaderName},
};

use crate::{
    form::Params,
    refusal::{ErrorCode, Refusal},
};

/// The time of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Unix time, seconds: what tokens say.
    pub unix_s: u64,
    /// A clock that only goes forward, milliseconds: what limits are counted by.
    pub monotonic_ms: u64,
}

/// A request with its whole body.
pub struct Incoming {
    /// Its method.
    pub method: Method,
    /// The parts of its path, still escaped: no name of ours needs escapes, so an escaped one is no name.
    pub path: Vec<String>,
    /// Its query.
    pub query: Params,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Who sent it.
    pub source: IpAddr,
    /// When it came.
    pub moment: Moment,
}

impl Incoming {
    /// Reads the parts of `request`.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidRequest`] for a query that cannot be read.
    pub fn read(source: IpAddr, moment: Moment, request: Request<Bytes>) -> Result<Self, Refusal> {
        let (head, body) = request.into_parts();
        let path = head.uri.path().trim_start_matches('/').split('/').map(str::to_owned).collect();
        let query = Params::parse(head.uri.query().unwrap_or("").as_bytes()).map_err(malformed)?;
        Ok(Self { method: head.method, path, query, headers: head.headers, body, source, moment })
    }

    /// A header that is text and stands once.
    pub fn header(&self, name: HeaderName) -> Option<&str> {
        let mut all = self.headers.get_all(name).iter();
        let first = all.next()?.to_str().ok()?;
        all.next().is_none().then_some(first)
    }

    /// The body as a form.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidRequest`] when it is none.
    pub fn form(&self) -> Result<Params, Refusal> {
        let kind = self.header(header::CONTENT_TYPE).and_then(|kind| kind.split(';').next()).map(str::trim);
        if !kind.is_some_and(|kind| kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")) {
            return Err(Refusal::new(ErrorCode::InvalidRequest, "the body is not a form"));
        }
        Params::parse(&self.body).map_err(malformed)
    }

    /// The bearer token of the header `Authorization`.
    pub fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.header(header::AUTHORIZATION)?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    }

    /// A cookie; the first of its name.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let all = self.headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        all.flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find_map(|(known, value)| (known == name).then_some(value))
    }
}

fn malformed(error: crate::form::FormError) -> Refusal {
    Refusal { code: ErrorCode::InvalidRequest, text: error.to_string().into() }
}
