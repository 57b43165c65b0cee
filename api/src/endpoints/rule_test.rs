//! Trying rules, and what rules can select.

use axum::Json;
use axum::extract::State;
use engine_event::{ColumnDef, ColumnType, EVENTS, EventDef, EventKind};
use engine_runtime::{ObjectClass, TestError};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as JsonValue, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::namespace::Namespace;
use super::rules::no_rule;
use crate::Api;
use crate::web::{Answer, ApiError, Code, JsonBody, Path};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(test_sql))
        .routes(routes!(test_rule))
        .routes(routes!(list_events))
        .routes(routes!(get_rule_engine, update_rule_engine))
}

/// SQL and an event to try it on.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SqlTest {
    sql: String,
    /// `event_type` and columns of the event; columns that are missing take sample values.
    #[schema(value_type = Object)]
    context: Map<String, JsonValue>,
}

/// An event to try a rule on.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RuleTest {
    /// `event_type` and columns of the event; columns that are missing take sample values.
    #[schema(value_type = Object)]
    context: Map<String, JsonValue>,
    /// Whether actions stop before they send anything. `false` is not there yet.
    #[serde(default = "yes")]
    stop_action_after_template_rendering: bool,
}

fn yes() -> bool {
    true
}

/// Runs SQL on a made-up event and gives its rows. No action runs.
#[utoipa::path(
    post, path = "/rule_test", tag = "Rules", request_body = SqlTest,
    responses((status = 200, body = JsonValue), (status = 412, body = crate::ErrorBody))
)]
async fn test_sql(
    State(api): State<Api>,
    _: Namespace,
    JsonBody(test): JsonBody<SqlTest>,
) -> Answer<Json<JsonValue>> {
    run(&api, test.sql, test.context).await
}

/// Runs a rule on a made-up event and gives its rows. Its actions send nothing.
#[utoipa::path(
    post, path = "/rules/{id}/test", tag = "Rules", request_body = RuleTest,
    responses((status = 200, body = JsonValue), (status = 412, body = crate::ErrorBody))
)]
async fn test_rule(
    State(api): State<Api>,
    Path(id): Path<String>,
    _: Namespace,
    JsonBody(test): JsonBody<RuleTest>,
) -> Answer<Json<JsonValue>> {
    let stored = api.engine().stored(ObjectClass::Rule, &id);
    let stored = stored.ok_or_else(|| no_rule(&id, Code::RuleNotFound))?;
    if !test.stop_action_after_template_rendering {
        return Err(ApiError::new(
            Code::NotImplemented,
            "stop_action_after_template_rendering: `false` is not there yet in this version",
        ));
    }
    let sql = stored.config.get("sql").and_then(JsonValue::as_str).unwrap_or_default().to_owned();
    run(&api, sql, test.context).await
}

/// Rules are bounded, but a `jq` program may take seconds: that is not for an async thread.
async fn run(api: &Api, sql: String, context: Map<String, JsonValue>) -> Answer<Json<JsonValue>> {
    let api = api.clone();
    let done = tokio::task::spawn_blocking(move || api.engine().test_rule(&sql, &JsonValue::Object(context)));
    match done.await.map_err(|_| ApiError::internal("the test broke off inside the server"))? {
        Ok(rows) => Ok(Json(rows)),
        Err(error @ TestError::NotMatch) => Err(ApiError::new(Code::NotMatch, error.to_string())),
        Err(error) => Err(ApiError::bad_request(error.to_string())),
    }
}

/// An event that rules can select.
#[derive(Serialize, ToSchema)]
struct RuleEvent {
    /// What may stand in FROM.
    event: String,
    title: Translated,
    description: Translated,
    columns: Vec<&'static str>,
    /// For each column a sample value and a hint.
    #[schema(value_type = Object)]
    test_columns: Map<String, JsonValue>,
    sql_example: String,
}

/// A text in the languages that a dashboard may ask for.
#[derive(Clone, Serialize, ToSchema)]
struct Translated {
    en: String,
    zh: String,
}

impl Translated {
    fn english(text: String) -> Self {
        Self { zh: text.clone(), en: text }
    }
}

/// Lists the events that rules can select, plain messages first.
#[utoipa::path(get, path = "/rule_events", tag = "Rules", responses((status = 200, body = Vec<RuleEvent>)))]
async fn list_events(_: Namespace) -> Json<Vec<RuleEvent>> {
    Json(EVENTS.iter().flat_map(rule_events).collect())
}

/// An event has an entry for each of its names.
fn rule_events(def: &EventDef) -> Vec<RuleEvent> {
    if def.kind == EventKind::MessagePublish {
        return vec![rule_event(def, "$events/message_publish", "t/#")];
    }
    let names = [def.old_topic, def.topic];
    names.into_iter().filter(|name| !name.is_empty()).map(|name| rule_event(def, name, name)).collect()
}

fn rule_event(def: &EventDef, event: &str, from: &str) -> RuleEvent {
    let own = def.columns.iter().map(|column| column.name);
    RuleEvent {
        event: event.to_owned(),
        title: Translated::english(def.name.replace(['.', '_'], " ")),
        description: Translated::english(def.summary.to_owned()),
        columns: own.clone().chain(["event", "timestamp", "node"]).collect(),
        test_columns: def
            .columns
            .iter()
            .map(|column| (column.name.to_owned(), test_column(column)))
            .collect(),
        sql_example: format!("SELECT {} FROM \"{from}\"", own.take(3).collect::<Vec<_>>().join(", ")),
    }
}

fn test_column(column: &ColumnDef) -> JsonValue {
    let empty = match column.column_type {
        ColumnType::Text => json!(""),
        ColumnType::Integer => json!(0),
        ColumnType::Boolean => json!(false),
        ColumnType::Map => json!({}),
    };
    json!([serde_json::from_str(column.sample).unwrap_or(empty), column.summary])
}

/// Settings of the rule engine.
#[derive(PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RuleEngineSettings {
    /// Messages on `$SYS/…` run no rules.
    ignore_sys_message: bool,
    /// Time limit of a `jq` call that names none.
    #[schema(value_type = String)]
    jq_function_default_timeout: connectors_api::Period,
}

fn rule_engine_settings(api: &Api) -> RuleEngineSettings {
    let settings = api.settings();
    RuleEngineSettings {
        ignore_sys_message: settings.ignore_sys_message,
        jq_function_default_timeout: connectors_api::Period::millis(settings.jq_time_limit_ms),
    }
}

/// Shows the settings of the rule engine.
#[utoipa::path(get, path = "/rule_engine", tag = "Rules", responses((status = 200, body = RuleEngineSettings)))]
async fn get_rule_engine(State(api): State<Api>, _: Namespace) -> Json<RuleEngineSettings> {
    Json(rule_engine_settings(&api))
}

/// Accepts the settings that are in force; others are set in the configuration file.
#[utoipa::path(
    put, path = "/rule_engine", tag = "Rules", request_body = RuleEngineSettings,
    responses((status = 200, body = RuleEngineSettings))
)]
async fn update_rule_engine(
    State(api): State<Api>,
    _: Namespace,
    JsonBody(wanted): JsonBody<RuleEngineSettings>,
) -> Answer<Json<RuleEngineSettings>> {
    let present = rule_engine_settings(&api);
    if wanted != present {
        return Err(ApiError::new(
            Code::NotImplemented,
            "the settings of the rule engine are those of the configuration file; they cannot be changed here yet",
        ));
    }
    Ok(Json(present))
}
