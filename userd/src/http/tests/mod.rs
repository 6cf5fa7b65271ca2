//! The API as a peer sees it.

mod connections;
mod follow;
mod matrix;

use axum::{Extension, body::Body, http::Request};
use http_body_util::BodyExt;
use netengine_proto::api::PREFIX;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{App, ROUTES, openapi, router};
use crate::{decide::Principal, orchestrator::tests::Lab};

fn app(lab: &Lab) -> App {
    app_with(lab, "/nonexistent/lab.sock".into())
}

/// With a lab role that listens there.
fn app_with(lab: &Lab, lab_role: std::path::PathBuf) -> App {
    App::new(lab.orchestrator.clone(), crate::lab::Lab::new(lab_role), Vec::new())
}

/// Status and body of one request.
async fn ask(app: &App, principal: Principal, method: &str, path: &str, body: String) -> (u16, String) {
    let service = router(app.clone(), CancellationToken::new()).layer(Extension(principal));
    let request =
        Request::builder().method(method.to_uppercase().as_str()).uri(format!("{PREFIX}{path}")).body(Body::from(body));
    let response = service.oneshot(request.expect("a request")).await.expect("infallible");
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    (status, String::from_utf8(body.to_vec()).expect("text"))
}

/// Method and path of every operation of the document.
fn documented() -> Vec<(String, String)> {
    let document = openapi::document();
    let paths = document["paths"].as_object().expect("paths");
    let mut found = Vec::new();
    for (path, item) in paths {
        let methods = item.as_object().expect("an item").keys();
        let methods =
            methods.filter(|key| matches!(key.as_str(), "get" | "post" | "put" | "delete" | "patch" | "head"));
        found.extend(methods.map(|method| (method.clone(), path.clone())));
    }
    found.sort();
    found
}

#[test]
fn documented_routes_are_the_authorization_table() {
    let mut table: Vec<_> = ROUTES.iter().map(|route| (route.method.to_owned(), route.path.to_owned())).collect();
    table.sort();
    assert_eq!(documented(), table);
}

/// `NETENGINE_UPDATE=1 cargo test -p netengine-userd openapi` writes the file anew.
#[test]
fn committed_openapi_document_is_current() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    let mut now = serde_json::to_string_pretty(&openapi::document()).expect("encodes");
    now.push('\n');
    if std::env::var_os("NETENGINE_UPDATE").is_some() {
        std::fs::write(file, &now).expect("written");
    }
    let committed = std::fs::read_to_string(file).expect("docs/openapi.json is committed");
    assert!(committed == now, "docs/openapi.json is old; write it anew with NETENGINE_UPDATE=1");
}

#[test]
fn every_reference_of_the_document_leads_somewhere() {
    let document = openapi::document();
    let schemas = document["components"]["schemas"].as_object().expect("schemas");
    let text = document.to_string();
    let mut references = 0;
    for part in text.split("#/components/schemas/").skip(1) {
        let name = part.split('"').next().expect("a name");
        assert!(schemas.contains_key(name), "{name} is referenced and not defined");
        references += 1;
    }
    assert!(references > 20);
}
