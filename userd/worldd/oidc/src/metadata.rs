//! What a realm says about itself (OpenID Connect Discovery, 3; RFC 8414).

use serde_json::{Value, json};

use crate::realm::Realm;

/// The discovery document.
pub fn discovery(realm: &Realm) -> Value {
    let issuer = &realm.issuer;
    let at = |path: &str| format!("{issuer}/protocol/openid-connect/{path}");
    let scopes: Vec<&String> = realm.config.scopes.keys().collect();
    let secrets = ["client_secret_basic", "client_secret_post"];
    json!({
        "issuer": issuer,
        "authorization_endpoint": at("auth"),
        "token_endpoint": at("token"),
        "userinfo_endpoint": at("userinfo"),
        "jwks_uri": at("certs"),
        "end_session_endpoint": at("logout"),
        "revocation_endpoint": at("revoke"),
        "introspection_endpoint": at("token/introspect"),
        "device_authorization_endpoint": at("auth/device"),
        "registration_endpoint": format!("{issuer}/clients-registrations/openid-connect"),
        "scopes_supported": scopes,
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": [
            "authorization_code", "refresh_token", "client_credentials", "urn:ietf:params:oauth:grant-type:device_code",
        ],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "ES256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
        "introspection_endpoint_auth_methods_supported": secrets,
        "revocation_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
        "code_challenge_methods_supported": ["S256"],
        "claims_supported": [
            "sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "sid", "preferred_username", "name", "given_name",
            "family_name", "email", "email_verified", "roles", "realm_access", "organization",
        ],
        "prompt_values_supported": ["none", "login", "consent", "select_account"],
        "claims_parameter_supported": false,
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
        "authorization_response_iss_parameter_supported": true,
        "backchannel_logout_supported": true,
        "backchannel_logout_session_supported": true,
    })
}
