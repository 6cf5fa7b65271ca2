//! The registrar's interface, served at `registrar.`: check, register, renew, transfer, update, delete.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Query, State},
    response::Response,
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

use super::{
    MAX_PAGE, Shared,
    body::{Bearer, Part, Read},
    complete, reply,
};
use crate::{
    authenticate::Authenticate,
    decide::{self, Availability, PatchDomain, Registration, Right},
    model::{Contact, Domain, DomainRecord, Moment, NameServer},
    problem::{Document, Kind, Problem},
    registry::{Registry, now},
    secret::TransferSecret,
    state,
};

/// Most names that one request checks.
const MAX_CHECKED: usize = 100;

/// A domain as it is shown.
#[derive(Debug, Serialize, ToSchema)]
pub struct Shown {
    /// Its name.
    pub name: String,
    /// As people read it, where that differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unicode_name: Option<String>,
    /// The organisation that holds it.
    pub organisation: String,
    /// Words of EPP; `ok` when there is nothing to say.
    pub status: Vec<&'static str>,
    /// The servers that answer for it.
    pub nameservers: Vec<NameServer>,
    /// True when the top-level domain's server hosts it.
    pub hosted: bool,
    /// Its records; only its holder and operators see them here.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<serde_json::Value>>)]
    pub records: Option<Vec<DomainRecord>>,
    /// Whom to ask.
    pub contacts: Vec<Contact>,
    /// When it was registered.
    #[schema(value_type = String, format = DateTime)]
    pub created: Moment,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated: Moment,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    pub expires: Moment,
    /// The secret with which another organisation can take it: shown once, when it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer_secret: Option<String>,
}

/// A domain as its holder or an operator sees it, or anybody else.
pub(super) fn show(state: &state::State, domain: &Domain, is_whole: bool) -> Shown {
    let own = domain.name_servers();
    let hosted =
        own.is_empty() || state.tld_of(&domain.name).is_some_and(|tld| own.iter().all(|it| it.name == tld.server));
    let servers = state.servers_of(domain).into_iter().map(|name| NameServer { name, addresses: Vec::new() });
    Shown {
        unicode_name: crate::name::unicode(&domain.name),
        name: domain.name.clone(),
        organisation: domain.organisation.clone(),
        status: domain.status_words(),
        nameservers: if own.is_empty() { servers.collect() } else { own },
        hosted,
        records: is_whole.then(|| domain.records.clone()),
        contacts: domain.contacts.clone(),
        created: domain.created,
        updated: domain.updated,
        expires: domain.expires,
        transfer_secret: None,
    }
}

fn shown(registry: &Registry, domain: &Domain, secret: Option<&TransferSecret>) -> Shown {
    let shown = show(&registry.look(), domain, true);
    Shown { transfer_secret: secret.map(|secret| secret.expose().to_owned()), ..shown }
}

/// Names to check.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// At most a hundred.
    pub names: Vec<String>,
}

/// What came of a check.
#[derive(Debug, Serialize, ToSchema)]
pub struct Checked {
    /// One for each name, in the same order.
    pub results: Vec<Availability>,
}

/// For how long.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Renewal {
    /// Years beyond the end it has.
    #[schema(minimum = 1, maximum = 10)]
    pub years: u32,
}

/// A wish to take a domain.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// The secret that its holder gave out; operators need none.
    #[serde(default)]
    pub secret: Option<String>,
    /// Who is to hold it; the bearer's organisation when absent.
    #[serde(default)]
    pub organisation: Option<String>,
}

/// Which page of a list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// Only those held by this organisation; for operators.
    #[serde(default)]
    pub organisation: Option<String>,
    /// Begin behind this name.
    #[serde(default)]
    pub after: Option<String>,
    /// How many at most, 1 to 1000.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// A page of domains.
#[derive(Debug, Serialize, ToSchema)]
pub struct Domains {
    /// In the order of their names.
    pub domains: Vec<Shown>,
    /// What to give as `after` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "NetEngine registrar",
        description = "Registers domains of a world. Bearer: an access token of the \
        organisation's realm, or of an operator, with the audience `registrar`."
    ),
    paths(check, list, register, get_one, update, delete, renew, transfer, replace_secret),
    components(schemas(Document))
)]
struct Api;

/// The registrar's routes. Bearers are organisations and operators.
pub fn registrar_router<A: Authenticate>(registry: Arc<Registry>, authenticate: A) -> Router {
    let router = Router::new()
        .route("/v1/domains/check", post(check::<A>))
        .route("/v1/domains", get(list::<A>).post(register::<A>))
        .route("/v1/domains/{name}", get(get_one::<A>).patch(update::<A>).delete(delete::<A>))
        .route("/v1/domains/{name}/renew", post(renew::<A>))
        .route("/v1/domains/{name}/transfer", post(transfer::<A>))
        .route("/v1/domains/{name}/secret", post(replace_secret::<A>));
    complete(router, Arc::new(Shared { registry, authenticate }), Api::openapi())
}

type Held<A> = State<Arc<Shared<A>>>;

fn secret() -> Result<TransferSecret, Problem> {
    TransferSecret::generate().map_err(|error| Problem::new(Kind::Unavailable, error.to_string()))
}

#[utoipa::path(post, path = "/v1/domains/check", request_body = Check,
    responses((status = 200, body = Checked), (status = 401, body = Document), (status = 422, body = Document)))]
async fn check<A: Authenticate>(
    State(shared): Held<A>,
    _: Bearer,
    Read(wish): Read<Check>,
) -> Result<Response, Problem> {
    if wish.names.len() > MAX_CHECKED {
        return Err(Problem::new(Kind::Invalid, format!("at most {MAX_CHECKED} names")).at("/names"));
    }
    let results = wish.names.into_iter().map(|name| {
        let reason = shared.registry.check(&name).err().map(|problem| problem.detail);
        Availability { available: reason.is_none(), reason, name }
    });
    Ok(reply::json(200, &Checked { results: results.collect() }))
}

#[utoipa::path(get, path = "/v1/domains", params(Page),
    responses((status = 200, body = Domains), (status = 401, body = Document), (status = 403, body = Document)))]
async fn list<A: Authenticate>(
    State(shared): Held<A>,
    bearer: Bearer,
    page: Result<Query<Page>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let Query(page) = page.map_err(|error| Problem::new(Kind::Malformed, error.body_text()))?;
    let limit = page.limit.unwrap_or(100);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(Problem::new(Kind::Malformed, format!("`limit` is from 1 to {MAX_PAGE}")));
    }
    let only = match (&bearer.right, page.organisation) {
        (Right::Organisation(own), None) => Some(own.clone()),
        (Right::Organisation(own), Some(asked)) if *own == asked => Some(asked),
        (right, asked) if right.sees_all() => asked,
        _ => return Err(Problem::new(Kind::Forbidden, "cannot list another organisation's domains")),
    };
    let after = page.after.unwrap_or_default();
    let state = shared.registry.state();
    let mut found: Vec<Shown> = state
        .domains_from(&after)
        .filter(|domain| domain.name != after && only.as_ref().is_none_or(|only| domain.organisation == *only))
        .take(limit + 1)
        .map(|domain| show(&state, domain, true))
        .collect();
    let has_more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| has_more).map(|last| last.name.clone());
    Ok(reply::json(200, &Domains { domains: found, next }))
}

#[utoipa::path(post, path = "/v1/domains", request_body = Registration,
    responses((status = 201, body = Shown), (status = 401, body = Document), (status = 403, body = Document),
        (status = 409, body = Document), (status = 422, body = Document), (status = 503, body = Document)))]
async fn register<A: Authenticate>(
    State(shared): Held<A>,
    bearer: Bearer,
    Read(wish): Read<Registration>,
) -> Result<Response, Problem> {
    let secret = secret()?;
    let digest = secret.digest();
    let decide = move |state: &_, limits| decide::register(state, &bearer.right, &wish, limits, digest, now());
    let domain = registered(shared.registry.change(decide).await?)?;
    let mut response = reply::json(201, &shown(&shared.registry, &domain, Some(&secret)));
    if let Ok(location) = axum::http::HeaderValue::from_str(&format!("/v1/domains/{}", domain.name)) {
        response.headers_mut().insert(axum::http::header::LOCATION, location);
    }
    Ok(response)
}

/// The domain that a change leaves.
fn registered(after: Option<Arc<Domain>>) -> Result<Arc<Domain>, Problem> {
    after.ok_or_else(|| Problem::new(Kind::NotFound, "the domain is gone"))
}

#[utoipa::path(get, path = "/v1/domains/{name}", params(("name" = String, Path)),
    responses((status = 200, body = Shown), (status = 401, body = Document), (status = 404, body = Document)))]
async fn get_one<A: Authenticate>(
    State(shared): Held<A>,
    bearer: Bearer,
    Part(name): Part,
) -> Result<Response, Problem> {
    let state = shared.registry.state();
    let domain = decide::find(&state, &name)?;
    let is_whole = bearer.right.sees_all() || bearer.right == Right::Organisation(domain.organisation.clone());
    Ok(reply::json(200, &show(&state, domain, is_whole)))
}

#[utoipa::path(patch, path = "/v1/domains/{name}", params(("name" = String, Path)), request_body = PatchDomain,
    responses((status = 200, body = Shown), (status = 401, body = Document), (status = 403, body = Document),
        (status = 404, body = Document), (status = 409, body = Document), (status = 422, body = Document)))]
async fn update<A: Authenticate>(
    State(shared): Held<A>,
    bearer: Bearer,
    Part(name): Part,
    Read(patch): Read<PatchDomain>,
) -> Result<Response, Problem> {
    let decide = move |state: &_, _| decide::update(state, &bearer.right, &name, &patch, now());
    let domain = registered(shared.registry.change(decide).await?)?;
    Ok(reply::json(200, &shown(&shared.registry, &domain, None)))
}

#[utoipa::path(delete, path = "/v1/domains/{name}", params(("name" = String, Path)),
    responses((status = 204), (status = 401, body = Document), (status = 403, body = Document),
        (status = 404, body = Document), (status = 409, body = Document)))]
async fn delete<A: Authenticate>(
    State(shared): Held<A>,
    bearer: Bearer,
    Part(name): Part,
) -> Result<Response, Problem> {
    shared.registry.change(move |state, _| decide::delete(state, &bearer.right, &name)).await?;
    Ok(reply::empty())
}

#[utoipa::path(post, path = "/v1/domains/{name}/renew", params(("name" = String, Path)), request_body = Renewal,
    responses((status = 200, body = Shown), (status = 401, body = Document), (status = 403, body = Document),
        (status = 404, body = Document), (status = 409, body = Document), (status = 422, body = Document)))]
async fn renew<A: Authenticate>(
    State(shared): Held<A>,
    bearer: Bearer,
    Part(name): Part,
    Read(wish): Read<Renewal>,
) -> Result<Response, Problem> {
    let decide = move |state: &_, _| decide::renew(state, &bearer.right, &name, wish.years, now());
    let domain = registered(shared.registry.change(decide).await?)?;
    Ok(reply::json(200, &shown(&shared.registry, &domain, None)))
}

#[utoipa::path(post, path = "/v1/domains/{name}/transfer", params(("name" = String, Path)), request_body = Transfer,
    responses((status = 200, body = Shown), (status = 401, body = Document), (status = 403, body = Document),
        (status = 404, body = Document), (status = 409, body = Document), (status = 422, body = Document)))]
async fn transfer<A: Authenticate>(
    State(shared): Held<A>,
    bearer: Bearer,
    Part(name): Part,
    Read(wish): Read<Transfer>,
) -> Result<Response, Problem> {
    let secret = secret()?;
    let digest = secret.digest();
    let decide = move |state: &_, limits| {
        let (given, to) = (wish.secret.as_deref(), wish.organisation.as_deref());
        decide::transfer(state, &bearer.right, &name, given, to, limits, digest, now())
    };
    let domain = registered(shared.registry.change(decide).await?)?;
    Ok(reply::json(200, &shown(&shared.registry, &domain, Some(&secret))))
}

#[utoipa::path(post, path = "/v1/domains/{name}/secret", params(("name" = String, Path)),
    responses((status = 200, body = Shown), (status = 401, body = Document), (status = 403, body = Document),
        (status = 404, body = Document)))]
async fn replace_secret<A: Authenticate>(
    State(shared): Held<A>,
    bearer: Bearer,
    Part(name): Part,
) -> Result<Response, Problem> {
    let secret = secret()?;
    let digest = secret.digest();
    let decide = move |state: &_, _| decide::replace_secret(state, &bearer.right, &name, digest, now());
    let domain = registered(shared.registry.change(decide).await?)?;
    Ok(reply::json(200, &shown(&shared.registry, &domain, Some(&secret))))
}
