//! A world's OpenID provider: realms, clients, tokens, login pages.
//!
//! `provider` holds the state and answers HTTP requests; everything that decides (`authorize`, `grant`, `exchange`,
//! `token`, `session`, `registration`, `throttle`) is pure: time and randomness are arguments, changes are a list.
//!
//! What is spoken: authorization code with PKCE (S256 only, demanded of public clients), refresh with rotation, client
//! credentials, device codes (RFC 8628); discovery, JWKS, userinfo, introspection (RFC 7662), revocation (RFC 7009),
//! RP-initiated and back-channel logout, registration (RFC 7591, 7592) with an initial token, `iss` in answers (RFC 9207).
//! What is not: implicit and hybrid flows, the password grant, response modes but `query`, request objects,
//! `private_key_jwt`, pairwise subjects, front-channel logout, encrypted tokens. ID tokens are RS256 or ES256 as the client
//! wants, access tokens always ES256 (RFC 9068).
#![forbid(unsafe_code)]

pub mod authorize;
pub mod client;
pub mod exchange;
pub mod foreign;
pub mod form;
pub mod from_spec;
pub mod grant;
pub mod inspect;
pub mod jose;
pub mod metadata;
pub mod provider;
pub mod realm;
pub mod refusal;
pub mod registration;
pub mod secret;
pub mod serve;
pub mod session;
pub mod state;
pub mod store;
pub mod throttle;
pub mod token;
pub mod user;
pub mod web;
