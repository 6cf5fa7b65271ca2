//! Errors of the protocol, as clients see them (RFC 6749, 5.2; OpenID Connect Core, 3.1.2.6; RFC 8628, 3.5).

use std::borrow::Cow;

/// Closed set of error codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// A parameter is missing, repeated or malformed.
    InvalidRequest,
    /// The client did not prove who it is.
    InvalidClient,
    /// The code or refresh token does not hold.
    InvalidGrant,
    /// The client may not do this.
    UnauthorizedClient,
    /// No such grant type here.
    UnsupportedGrantType,
    /// No such response type here.
    UnsupportedResponseType,
    /// A scope is unknown or not the client's.
    InvalidScope,
    /// The user said no.
    AccessDenied,
    /// `prompt=none`, and nobody is logged in.
    LoginRequired,
    /// `prompt=none`, and the user was never asked.
    ConsentRequired,
    /// Request objects are not read.
    RequestNotSupported,
    /// Request objects by reference are not read.
    RequestUriNotSupported,
    /// The user has not answered yet.
    AuthorizationPending,
    /// The device asks too often.
    SlowDown,
    /// The device code has ended.
    ExpiredToken,
    /// The bearer token does not hold (RFC 6750).
    InvalidToken,
    /// The bearer token lacks a scope or role (RFC 6750).
    InsufficientScope,
    /// A redirect address cannot be registered (RFC 7591).
    InvalidRedirectUri,
    /// Other metadata cannot be registered (RFC 7591).
    InvalidClientMetadata,
    /// State cannot be written; nothing was promised.
    ServerError,
}

impl ErrorCode {
    /// The code on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::InvalidScope => "invalid_scope",
            Self::AccessDenied => "access_denied",
            Self::LoginRequired => "login_required",
            Self::ConsentRequired => "consent_required",
            Self::RequestNotSupported => "request_not_supported",
            Self::RequestUriNotSupported => "request_uri_not_supported",
            Self::AuthorizationPending => "authorization_pending",
            Self::SlowDown => "slow_down",
            Self::ExpiredToken => "expired_token",
            Self::InvalidToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
            Self::InvalidRedirectUri => "invalid_redirect_uri",
            Self::InvalidClientMetadata => "invalid_client_metadata",
            Self::ServerError => "server_error",
        }
    }

    /// The HTTP status it comes with.
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidClient | Self::InvalidToken => 401,
            Self::InsufficientScope => 403,
            Self::ServerError => 503,
            _ => 400,
        }
    }
}

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What is wrong, for programs.
    pub code: ErrorCode,
    /// What is wrong, for people. Never repeats what the peer sent.
    pub text: Cow<'static, str>,
}

impl Refusal {
    /// A refusal with a fixed text.
    pub fn new(code: ErrorCode, text: &'static str) -> Self {
        Self { code, text: Cow::Borrowed(text) }
    }
}
