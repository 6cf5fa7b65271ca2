//! The domain registry's interface, served at `domainreg.`: top-level domains, pools, leases, domains.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Query, State},
    response::Response,
    routing::{get, put},
};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

use super::{
    MAX_PAGE, Shared,
    body::{Bearer, Part, Read},
    complete,
    registrar::{Shown, show},
    reply,
};
use crate::{
    authenticate::Authenticate,
    decide::{self, Right, shown},
    lease::LeaseError,
    model::{Lease, Pool, Tld},
    problem::{Document, Kind, Problem},
    registry::{LeasingError, Registry},
};

/// All top-level domains.
#[derive(Serialize, ToSchema)]
struct Tlds {
    tlds: Vec<Tld>,
}

/// All pools, in the order of the spec.
#[derive(Serialize, ToSchema)]
struct Pools {
    pools: Vec<Pool>,
}

/// All leases, released ones included: they belong to their ANDs.
#[derive(Serialize, ToSchema)]
struct Leases {
    leases: Vec<Lease>,
}

/// Domains.
#[derive(Serialize, ToSchema)]
struct Domains {
    domains: Vec<Shown>,
    /// What to give as `after` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// What an AND needs a network for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Wish {
    /// The AND's profile: it chooses the pools.
    profile: String,
}

/// Which page.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Page {
    /// Begin behind this name.
    #[serde(default)]
    after: Option<String>,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "NetEngine domain registry",
        description = "Top-level domains, address pools, leases and domains of a \
        world. Reading is open to everybody in the world; writing needs the token of an operator with all rights."
    ),
    paths(tlds, pools, leases, lease, put_lease, delete_lease, domains, domain),
    components(schemas(Document))
)]
struct Api;

/// The domain registry's routes. Reading is open; writing is for operators with all rights.
pub fn domain_registry_router<A: Authenticate>(registry: Arc<Registry>, authenticate: A) -> Router {
    let router = Router::new()
        .route("/v1/tlds", get(tlds::<A>))
        .route("/v1/pools", get(pools::<A>))
        .route("/v1/leases", get(leases::<A>))
        .route("/v1/leases/{and}", put(put_lease::<A>).get(lease::<A>).delete(delete_lease::<A>))
        .route("/v1/domains", get(domains::<A>))
        .route("/v1/domains/{name}", get(domain::<A>));
    complete(router, Arc::new(Shared { registry, authenticate }), Api::openapi())
}

type Held<A> = State<Arc<Shared<A>>>;

fn superadmin(bearer: &Bearer) -> Result<(), Problem> {
    match bearer.right {
        Right::Superadmin => Ok(()),
        _ => Err(Problem::new(Kind::Forbidden, "only an operator with all rights may change this")),
    }
}

#[utoipa::path(get, path = "/v1/tlds", responses((status = 200, body = Tlds)))]
async fn tlds<A: Authenticate>(State(shared): Held<A>) -> Response {
    let tlds = shared.registry.look().tlds().map(|it| (**it).clone()).collect();
    reply::json(200, &Tlds { tlds })
}

#[utoipa::path(get, path = "/v1/pools", responses((status = 200, body = Pools)))]
async fn pools<A: Authenticate>(State(shared): Held<A>) -> Response {
    let pools = shared.registry.look().pools_in_order().into_iter().map(|it| (**it).clone()).collect();
    reply::json(200, &Pools { pools })
}

#[utoipa::path(get, path = "/v1/leases", responses((status = 200, body = Leases)))]
async fn leases<A: Authenticate>(State(shared): Held<A>) -> Response {
    let leases = shared.registry.look().leases().map(|it| (**it).clone()).collect();
    reply::json(200, &Leases { leases })
}

#[utoipa::path(get, path = "/v1/leases/{and}", params(("and" = String, Path)),
    responses((status = 200, body = Lease), (status = 404, body = Document)))]
async fn lease<A: Authenticate>(State(shared): Held<A>, Part(and): Part) -> Result<Response, Problem> {
    let state = shared.registry.state();
    let lease = state.lease(&and);
    lease.map(|it| reply::json(200, &**it)).ok_or_else(|| absent("lease of the AND", &and))
}

fn absent(what: &str, name: &str) -> Problem {
    Problem::new(Kind::NotFound, format!("cannot find the {what} `{}`", shown(name)))
}

#[utoipa::path(put, path = "/v1/leases/{and}", params(("and" = String, Path)), request_body = Wish,
    responses((status = 200, body = Lease), (status = 401, body = Document), (status = 403, body = Document),
        (status = 409, body = Document), (status = 422, body = Document)))]
async fn put_lease<A: Authenticate>(
    State(shared): Held<A>,
    bearer: Bearer,
    Part(and): Part,
    Read(wish): Read<Wish>,
) -> Result<Response, Problem> {
    superadmin(&bearer)?;
    if netengine_spec::text::DnsLabel::parse(&and).is_err() {
        return Err(Problem::new(Kind::InvalidName, format!("`{}` is not the name of an AND", shown(&and))));
    }
    let lease = shared.registry.lease(&and, &wish.profile).await.map_err(refused)?;
    Ok(reply::json(200, &lease))
}

#[utoipa::path(delete, path = "/v1/leases/{and}", params(("and" = String, Path)),
    responses((status = 200, body = Lease), (status = 401, body = Document), (status = 403, body = Document),
        (status = 404, body = Document)))]
async fn delete_lease<A: Authenticate>(
    State(shared): Held<A>,
    bearer: Bearer,
    Part(and): Part,
) -> Result<Response, Problem> {
    superadmin(&bearer)?;
    let lease = shared.registry.release(&and).await.map_err(refused)?;
    Ok(reply::json(200, &lease))
}

fn refused(error: LeasingError) -> Problem {
    match &error {
        LeasingError::Lease(LeaseError::None { and }) => absent("lease of the AND", and),
        LeasingError::Lease(LeaseError::UsedUp { .. }) => Problem::new(Kind::Exhausted, error.to_string()),
        LeasingError::Lease(LeaseError::NoPool { profile, .. }) => {
            Problem::new(Kind::Invalid, format!("no pool serves the profile `{}`", shown(profile))).at("/profile")
        }
        LeasingError::Store(_) | LeasingError::Ending => {
            tracing::error!(service = "registry", "{error}");
            Problem::new(Kind::Unavailable, "cannot keep the change now; try again later")
        }
    }
}

#[utoipa::path(get, path = "/v1/domains", params(Page), responses((status = 200, body = Domains)))]
async fn domains<A: Authenticate>(
    State(shared): Held<A>,
    page: Result<Query<Page>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let Query(page) = page.map_err(|error| Problem::new(Kind::Malformed, error.body_text()))?;
    let after = page.after.unwrap_or_default();
    let state = shared.registry.state();
    let from = state.domains_from(&after).filter(|domain| domain.name != after);
    let mut found: Vec<Shown> = from.take(MAX_PAGE + 1).map(|domain| show(&state, domain, false)).collect();
    let has_more = found.len() > MAX_PAGE;
    found.truncate(MAX_PAGE);
    let next = found.last().filter(|_| has_more).map(|last| last.name.clone());
    Ok(reply::json(200, &Domains { domains: found, next }))
}

#[utoipa::path(get, path = "/v1/domains/{name}", params(("name" = String, Path)),
    responses((status = 200, body = Shown), (status = 404, body = Document)))]
async fn domain<A: Authenticate>(State(shared): Held<A>, Part(name): Part) -> Result<Response, Problem> {
    let state = shared.registry.state();
    let domain = decide::find(&state, &name)?;
    Ok(reply::json(200, &show(&state, domain, false)))
}
