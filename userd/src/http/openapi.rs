//! This API as an OpenAPI 3.1 document, made from the handlers and the shared types. Committed as `docs/openapi.json`.

use netengine_proto::api::PREFIX;
use serde_json::{Value, json};
use utoipa::OpenApi;

use super::routes::Document;

/// The document.
pub fn document() -> Value {
    let mut document = serde_json::to_value(Document::openapi()).unwrap_or_default();
    // The document is about the API, not about one build of it.
    document["info"]["version"] = json!("v1");
    document["info"]["license"] = json!({ "name": "MIT", "identifier": "MIT" });
    document["servers"] = json!([{ "url": PREFIX }]);
    document
}
