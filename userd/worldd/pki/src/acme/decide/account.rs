//! Accounts (RFC 8555, section 7.3).

use serde::Deserialize;
use serde_json::Value;

use super::{
    super::{Account, AccountStatus, Change, Id, Kind, OrderStatus, Problem, Signed, Signer, authenticate::refused},
    Context, Outcome, Reply, account, expect_post_as_get, payload,
};
use crate::jose::{Identity, Jwk, Jws, verify_mac};

/// The most contacts of an account, and the longest, in bytes.
const CONTACTS: usize = 10;
const CONTACT_LEN: usize = 320;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewAccount {
    #[serde(default)]
    contact: Vec<String>,
    #[serde(default)]
    only_return_existing: bool,
    #[serde(default)]
    external_account_binding: Option<Value>,
}

pub(super) fn new(context: &mut Context<'_>, signed: &Signed) -> Result<Outcome, Problem> {
    let Signer::Key(key) = &signed.signer else {
        return Err(Problem::malformed("a new account must be signed with its key: `jwk`, not `kid`"));
    };
    let wanted: NewAccount = payload(signed)?;
    if let Some(have) = context.state.account_of_key(&key.thumbprint()) {
        return match have.status {
            AccountStatus::Valid => Ok(Outcome::show(Reply::Account { id: have.id.clone(), created: false })),
            _ => Err(Problem::unauthorized("the account with this key is deactivated")),
        };
    }
    if wanted.only_return_existing {
        return Err(Problem::new(Kind::AccountDoesNotExist, "there is no account with this key"));
    }
    check_contacts(&wanted.contact)?;
    let external = bind(context, key, wanted.external_account_binding, &signed.url)?;
    if context.state.account_count() >= context.policy.accounts {
        return Err(Problem::new(Kind::RateLimited, "there are as many accounts as this server may have"));
    }
    context.limits.count(
        "new accounts from this address",
        &context.source.to_string(),
        context.policy.accounts_per_hour,
        context.now,
    )?;
    let new = Account {
        id: context.entropy.id(),
        key: key.clone(),
        status: AccountStatus::Valid,
        contact: wanted.contact,
        external,
        created: context.now.wall,
    };
    let reply = Reply::Account { id: new.id.clone(), created: true };
    Ok(Outcome { changes: vec![Change::Account(new)], effects: Vec::new(), reply })
}

/// RFC 8555, section 7.3: only `mailto` with one address and nothing else in it.
fn check_contacts(contacts: &[String]) -> Result<(), Problem> {
    if contacts.len() > CONTACTS {
        return Err(Problem::new(Kind::InvalidContact, format!("more than {CONTACTS} contacts")));
    }
    for contact in contacts {
        let Some(address) = contact.strip_prefix("mailto:") else {
            return Err(Problem::new(Kind::UnsupportedContact, "only mailto contacts are supported"));
        };
        let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | ',' | '%' | '<' | '>' | '"');
        let is_address = address.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty() && domain.contains(|c: char| c.is_ascii_alphanumeric()) && !domain.contains('@')
        });
        if !is_address || contact.len() > CONTACT_LEN || !address.chars().all(plain) {
            return Err(Problem::new(Kind::InvalidContact, "a contact is not one plain mail address"));
        }
    }
    Ok(())
}

/// External account binding (RFC 8555, section 7.3.4): the name of the key that the account is bound with.
fn bind(context: &Context<'_>, key: &Jwk, binding: Option<Value>, url: &str) -> Result<Option<String>, Problem> {
    let external = &context.policy.external;
    let Some(binding) = binding else {
        return match external.required {
            true => Err(Problem::new(Kind::ExternalAccountRequired, "an external account binding is required")),
            false => Ok(None),
        };
    };
    let jws = Jws::from_value(binding).map_err(refused)?;
    let Identity::Known(name) = &jws.protected.identity else {
        return Err(Problem::malformed("the external account binding must name its key: `kid`"));
    };
    if jws.protected.algorithm != "HS256" {
        return Err(Problem::new(Kind::BadSignatureAlgorithm, "an external account binding is made with HS256"));
    }
    if jws.protected.nonce.is_some() || jws.protected.url != url {
        return Err(Problem::malformed("an external account binding has the URL of the request and no nonce"));
    }
    // An unknown name and a wrong MAC answer alike.
    let is_good = external.keys.get(name).is_some_and(|mac| verify_mac(&jws, mac.expose()));
    if !is_good || (!external.is_reusable && context.state.is_external_used(name)) {
        return Err(Problem::unauthorized(
            "the external account binding is not valid, or was used for another account",
        ));
    }
    match serde_json::from_slice::<Jwk>(&jws.payload) {
        Ok(bound) if bound == *key => Ok(Some(name.clone())),
        _ => Err(Problem::malformed("the external account binding is not for the key of the account")),
    }
}

#[derive(Deserialize)]
struct Update {
    #[serde(default)]
    contact: Option<Vec<String>>,
    #[serde(default)]
    status: Option<String>,
}

pub(super) fn show_or_change(context: &mut Context<'_>, id: &Id, signed: &Signed) -> Result<Outcome, Problem> {
    let have = own(context, id, signed)?;
    let reply = Reply::Account { id: id.clone(), created: false };
    if signed.payload.is_empty() {
        return Ok(Outcome::show(reply));
    }
    let wanted: Update = payload(signed)?;
    let mut new = have.clone();
    let mut changes = Vec::new();
    match wanted.status.as_deref() {
        None | Some("valid") => {}
        Some("deactivated") => {
            new.status = AccountStatus::Deactivated;
            for order in context.state.orders_of(id) {
                if matches!(order.status, OrderStatus::Pending | OrderStatus::Ready) {
                    let mut order = order.clone();
                    order.status = OrderStatus::Invalid;
                    order.error = Some(Problem::unauthorized("the account was deactivated"));
                    changes.push(Change::Order(order));
                }
            }
        }
        Some(_) => return Err(Problem::malformed("an account can only become `deactivated`")),
    }
    if let Some(contact) = wanted.contact {
        check_contacts(&contact)?;
        new.contact = contact;
    }
    if new != *have {
        changes.push(Change::Account(new));
    }
    Ok(Outcome { changes, effects: Vec::new(), reply })
}

pub(super) fn orders(context: &Context<'_>, id: &Id, after: Option<&Id>, signed: &Signed) -> Result<Outcome, Problem> {
    own(context, id, signed)?;
    expect_post_as_get(signed)?;
    Ok(Outcome::show(Reply::Orders(id.clone(), after.cloned())))
}

/// The account, when it is the one that signed.
fn own<'a>(context: &Context<'a>, id: &Id, signed: &Signed) -> Result<&'a Account, Problem> {
    let signer = account(context, signed)?;
    match signer.id == *id {
        true => Ok(signer),
        false => Err(Problem::unauthorized("this is not the account that signed")),
    }
}
