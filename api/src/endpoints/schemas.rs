//! JSON Schemas of connectors and actions, for forms.

use axum::Json;
use axum::extract::State;
use engine_runtime::EditionVerdict;
use serde_json::{Map, Value as JsonValue, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::web::{Answer, ApiError, Code, NoQuery, Path, Query};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(get_schemas))
}

/// The types of connectors that this deployment may use, by name.
pub(super) fn usable_types(api: &Api) -> Vec<&'static str> {
    let usable = api.definitions().iter().filter(|(_, verdict)| *verdict == EditionVerdict::Allowed);
    let mut types: Vec<_> = usable.map(|(definition, _)| definition.kind).collect();
    types.sort_unstable();
    types
}

/// Shows the JSON Schema of each type; `name` is `connectors`, `actions` or `sources`.
///
/// For connectors it is that of the type's own fields, for actions that of `parameters`.
#[utoipa::path(get, path = "/schemas/{name}", tag = "Schemas", responses((status = 200, body = JsonValue)))]
async fn get_schemas(
    State(api): State<Api>,
    Path(name): Path<String>,
    _: Query<NoQuery>,
) -> Answer<Json<JsonValue>> {
    if name == "sources" {
        return Ok(Json(json!({})));
    }
    let mut schemas = Map::new();
    for (definition, verdict) in api.definitions() {
        let schema = match name.as_str() {
            "connectors" => (definition.connector_schema)(),
            "actions" => (definition.action_schema)(),
            _ => {
                return Err(ApiError::new(
                    Code::NotFound,
                    format!("there are no schemas `{name}`, only connectors, actions and sources"),
                ));
            }
        };
        let edition = match verdict {
            EditionVerdict::Allowed => JsonValue::Null,
            EditionVerdict::Refused { edition } => json!(edition),
        };
        let entry = json!({
            "title": definition.title,
            "description": definition.summary,
            "secrets": definition.secrets,
            "edition_required": edition,
            "schema": schema,
        });
        schemas.insert(definition.kind.to_owned(), entry);
    }
    Ok(Json(JsonValue::Object(schemas)))
}
