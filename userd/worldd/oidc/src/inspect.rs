//! Introspection (RFC 7662), revocation (RFC 7009), user information (OpenID Connect Core, 5.3).

use serde_json::{Map, Value, json};

use crate::{
    client::Client,
    grant::find_refresh,
    realm::Realm,
    refusal::{ErrorCode, Refusal},
    state::{Object, Tx},
    token::{Access, open_access, user_claims},
};

/// What a token is, for a client with a secret. Anything that does not hold is just `active: false`.
pub fn introspect(realm: &Realm, token: &str, now: u64) -> Value {
    if let Some(access) = open_access(realm, token, now) {
        let mut claims = access.claims;
        claims.remove("grant");
        claims.insert("active".into(), json!(true));
        claims.insert("token_type".into(), json!("Bearer"));
        if let Some(name) = claims.get("preferred_username").cloned() {
            claims.insert("username".into(), name);
        }
        return Value::Object(claims);
    }
    match find_refresh(realm, token) {
        Some((grant, true)) if grant.expires_at > now && realm.users.contains_key(&grant.user_id) => json!({
            "active": true,
            "client_id": grant.client_id,
            "sub": grant.user_id,
            "iss": realm.issuer,
            "exp": grant.expires_at,
            "scope": grant.scope.iter().map(String::as_str).collect::<Vec<_>>().join(" "),
            "typ": "Refresh",
        }),
        _ => json!({"active": false}),
    }
}

/// Ends a token of `client`. A refresh token takes its whole grant along; a token of another client, or none at all,
/// is passed over in silence (RFC 7009, 2.2).
pub fn revoke(tx: &mut Tx<'_>, client: &Client, token: &str, now: u64) {
    if let Some(access) = open_access(tx.realm(), token, now) {
        let end = access.claims.get("exp").and_then(Value::as_u64);
        if let (Some(jti), Some(end), Some(owner)) = (access.text("jti"), end, access.text("client_id"))
            && owner == client.client_id
        {
            tx.put(Object::Denied(jti.to_owned(), end));
        }
    } else if let Some((grant, true)) = find_refresh(tx.realm(), token)
        && grant.client_id == client.client_id
    {
        let grant = grant.clone();
        tx.delete(Object::Grant(grant));
    }
}

/// What an access token lets its bearer know about its user.
///
/// # Errors
/// [`ErrorCode::InvalidToken`], [`ErrorCode::InsufficientScope`] without `openid`.
pub fn user_info(realm: &Realm, access: &Access) -> Result<Map<String, Value>, Refusal> {
    let refused = || Refusal::new(ErrorCode::InvalidToken, "the token belongs to no user");
    let user = access.user_id.as_ref().and_then(|id| realm.users.get(id)).ok_or_else(refused)?;
    if !access.scope.contains("openid") {
        return Err(Refusal::new(ErrorCode::InsufficientScope, "the token lacks the scope openid"));
    }
    Ok(user_claims(realm, user, &access.scope))
}
