//! The world registry's interface, served at `registry.`: organisations, their capabilities, operators.

use std::sync::Arc;

use axum::{Router, extract::State, response::Response, routing::get};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

use super::{
    Shared,
    body::{Bearer, Part, Read},
    complete, reply,
};
use crate::{
    authenticate::Authenticate,
    decide::{self, PatchOrganisation, shown},
    model::{Operator, Organisation},
    problem::{Document, Kind, Problem},
    registry::{Registry, now},
};

/// All organisations.
#[derive(Serialize, ToSchema)]
struct Organisations {
    organisations: Vec<Organisation>,
}

/// All operators.
#[derive(Serialize, ToSchema)]
struct Operators {
    operators: Vec<Operator>,
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "NetEngine world registry",
        description = "Organisations of a world and what they may do. Reading \
        organisations is open to everybody in the world; operators are shown to operators; writing needs the token of an \
        operator with all rights."
    ),
    paths(organisations, organisation, patch, operators),
    components(schemas(Document))
)]
struct Api;

/// The world registry's routes.
pub fn world_registry_router<A: Authenticate>(registry: Arc<Registry>, authenticate: A) -> Router {
    let router = Router::new()
        .route("/v1/organisations", get(organisations::<A>))
        .route("/v1/organisations/{name}", get(organisation::<A>).patch(patch::<A>))
        .route("/v1/operators", get(operators::<A>));
    complete(router, Arc::new(Shared { registry, authenticate }), Api::openapi())
}

type Held<A> = State<Arc<Shared<A>>>;

#[utoipa::path(get, path = "/v1/organisations", responses((status = 200, body = Organisations)))]
async fn organisations<A: Authenticate>(State(shared): Held<A>) -> Response {
    let organisations = shared.registry.look().organisations().map(|it| (**it).clone()).collect();
    reply::json(200, &Organisations { organisations })
}

#[utoipa::path(get, path = "/v1/organisations/{name}", params(("name" = String, Path)),
    responses((status = 200, body = Organisation), (status = 404, body = Document)))]
async fn organisation<A: Authenticate>(State(shared): Held<A>, Part(name): Part) -> Result<Response, Problem> {
    let state = shared.registry.state();
    let absent = || Problem::new(Kind::NotFound, format!("cannot find the organisation `{}`", shown(&name)));
    Ok(reply::json(200, &**state.organisation(&name).ok_or_else(absent)?))
}

#[utoipa::path(patch, path = "/v1/organisations/{name}", params(("name" = String, Path)), request_body = PatchOrganisation,
    responses((status = 200, body = Organisation), (status = 401, body = Document), (status = 403, body = Document),
        (status = 404, body = Document), (status = 422, body = Document)))]
async fn patch<A: Authenticate>(
    State(shared): Held<A>,
    bearer: Bearer,
    Part(name): Part,
    Read(wish): Read<PatchOrganisation>,
) -> Result<Response, Problem> {
    let decide = move |state: &_| decide::patch_organisation(state, &bearer.right, &name, &wish, now());
    Ok(reply::json(200, &shared.registry.change_other(decide).await?))
}

#[utoipa::path(get, path = "/v1/operators",
    responses((status = 200, body = Operators), (status = 401, body = Document), (status = 403, body = Document)))]
async fn operators<A: Authenticate>(State(shared): Held<A>, bearer: Bearer) -> Result<Response, Problem> {
    if !bearer.right.sees_all() {
        return Err(Problem::new(Kind::Forbidden, "only operators see operators"));
    }
    let operators = shared.registry.look().operators().map(|it| (**it).clone()).collect();
    Ok(reply::json(200, &Operators { operators }))
}
