//! Rules.

use axum::Json;
use axum::extract::State;
use engine_event::topic;
use engine_runtime::{ObjectClass, RuleView};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value as JsonValue, json};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::namespace::{Namespace, check_namespace};
use crate::Api;
use crate::web::{Answer, ApiError, Code, JsonBody, Page, PageRequest, Path, Query};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_rules, create_rule))
        .routes(routes!(get_rule, update_rule, delete_rule))
        .routes(routes!(get_rule_metrics))
        .routes(routes!(reset_rule_metrics))
        .routes(routes!(explain_rule))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RuleQuery {
    /// Number of the page, from 1.
    page: Option<u32>,
    /// Most elements of a page, 1 to 10,000.
    limit: Option<u32>,
    /// Only rules that are on, or off.
    enable: Option<bool>,
    /// The rule that selects from exactly this.
    from: Option<String>,
    /// Part of the id.
    like_id: Option<String>,
    /// Part of what the rule selects from.
    like_from: Option<String>,
    /// Part of the description.
    like_description: Option<String>,
    /// A topic that the rule sees, or a filter of what it selects from.
    match_from: Option<String>,
    /// `type:name`; several mean any of them.
    #[serde(default)]
    action: Vec<String>,
    /// `type:name`; several mean any of them.
    #[serde(default)]
    source: Vec<String>,
    /// Namespace; there is only the global one.
    ns: Option<String>,
    /// Accepted: there is only the global namespace.
    only_global: Option<bool>,
}

impl RuleQuery {
    fn accepts(&self, rule: &RuleView) -> bool {
        let description = rule.config.get("description").and_then(JsonValue::as_str).unwrap_or_default();
        let contains =
            |part: &Option<String>, text: &str| part.as_ref().is_none_or(|part| text.contains(part));
        let any_from = |test: &dyn Fn(&str) -> bool| rule.from.iter().any(|from| test(from));
        self.enable.is_none_or(|enable| enable == is_enabled(rule))
            && self.from.as_ref().is_none_or(|wanted| any_from(&|from| from == wanted))
            && contains(&self.like_id, &rule.id)
            && self.like_from.as_ref().is_none_or(|part| any_from(&|from| from.contains(part)))
            && contains(&self.like_description, description)
            && self
                .match_from
                .as_ref()
                .is_none_or(|wanted| any_from(&|from| matches_either_way(from, wanted)))
            && (self.action.is_empty() || rule.action_details.iter().any(|(id, _)| self.action.contains(id)))
            && (self.source.is_empty()
                || any_from(&|from| {
                    from.strip_prefix("$bridges/").is_some_and(|id| self.source.iter().any(|s| s == id))
                }))
    }
}

fn is_enabled(rule: &RuleView) -> bool {
    rule.config.get("enable").and_then(JsonValue::as_bool).unwrap_or(true)
}

fn matches_either_way(a: &str, b: &str) -> bool {
    topic::matches(a.as_bytes(), b.as_bytes()) || topic::matches(b.as_bytes(), a.as_bytes())
}

/// Lists rules.
#[utoipa::path(
    get, path = "/rules", tag = "Rules", params(RuleQuery),
    responses((status = 200, body = Page<JsonValue>))
)]
async fn list_rules(State(api): State<Api>, Query(query): Query<RuleQuery>) -> Answer<Json<Page<JsonValue>>> {
    let page = PageRequest::new(query.page, query.limit)?;
    check_namespace(query.ns.as_deref(), query.only_global)?;
    let rules = api.engine().rules().into_iter().filter(|rule| query.accepts(rule)).collect();
    Ok(Json(page.cut(rules).map(|rule: RuleView| rule.to_json())))
}

/// Makes a rule.
///
/// `sql` is required; `id` is made up when it is missing.
#[utoipa::path(
    post, path = "/rules", tag = "Rules", request_body = JsonValue,
    responses((status = 201, body = JsonValue))
)]
async fn create_rule(
    State(api): State<Api>,
    _: Namespace,
    JsonBody(config): JsonBody<JsonValue>,
) -> Answer<(StatusCode, Json<JsonValue>)> {
    Ok((StatusCode::CREATED, Json(api.changes().create(ObjectClass::Rule, config).await?)))
}

/// Shows a rule.
#[utoipa::path(get, path = "/rules/{id}", tag = "Rules", responses((status = 200, body = JsonValue)))]
async fn get_rule(State(api): State<Api>, Path(id): Path<String>, _: Namespace) -> Answer<Json<JsonValue>> {
    let rule = api.engine().rule(&id).ok_or_else(|| no_rule(&id, Code::NotFound))?;
    Ok(Json(rule.to_json()))
}

/// Replaces a rule.
#[utoipa::path(
    put, path = "/rules/{id}", tag = "Rules", request_body = JsonValue,
    responses((status = 200, body = JsonValue))
)]
async fn update_rule(
    State(api): State<Api>,
    Path(id): Path<String>,
    _: Namespace,
    JsonBody(config): JsonBody<JsonValue>,
) -> Answer<Json<JsonValue>> {
    Ok(Json(api.changes().update(ObjectClass::Rule, &id, config).await?))
}

/// Deletes a rule.
#[utoipa::path(delete, path = "/rules/{id}", tag = "Rules", responses((status = 204)))]
async fn delete_rule(State(api): State<Api>, Path(id): Path<String>, _: Namespace) -> Answer<StatusCode> {
    api.changes().delete(ObjectClass::Rule, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Shows the counters of a rule.
#[utoipa::path(get, path = "/rules/{id}/metrics", tag = "Rules", responses((status = 200, body = JsonValue)))]
async fn get_rule_metrics(
    State(api): State<Api>,
    Path(id): Path<String>,
    _: Namespace,
) -> Answer<Json<JsonValue>> {
    let metrics = api.engine().rule_metrics(&id).ok_or_else(|| no_rule(&id, Code::NotFound))?.to_json();
    let node = &api.settings().node;
    Ok(Json(json!({"id": id, "metrics": metrics, "node_metrics": [{"node": node, "metrics": metrics}]})))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ExplainQuery {
    /// How long the next evaluations are recorded, 0 to 3600 seconds; 30 if not given.
    seconds: Option<u32>,
    /// How many of them at most, 0 to 100,000; 1000 if not given.
    evaluations: Option<u32>,
}

/// Shows what a rule made of the last events, and records the next ones.
///
/// Evaluations are recorded from the first request on: ask once, wait for an event, and ask again. The last ten of each
/// verdict are kept, with the value of each field and of each part of WHERE.
#[utoipa::path(
    get, path = "/rules/{id}/explain", tag = "Rules", params(ExplainQuery),
    responses((status = 200, body = JsonValue))
)]
async fn explain_rule(
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(query): Query<ExplainQuery>,
) -> Answer<Json<JsonValue>> {
    let (seconds, evaluations) = (query.seconds.unwrap_or(30), query.evaluations.unwrap_or(1000));
    if seconds > 3600 || evaluations > 100_000 {
        return Err(ApiError::bad_request("expected at most 3600 `seconds` and 100000 `evaluations`"));
    }
    let time = std::time::Duration::from_secs(seconds.into());
    let explained = api.engine().explain_rule(&id, time, evaluations);
    explained.map(Json).ok_or_else(|| no_rule(&id, Code::NotFound))
}

/// Sets the counters of a rule to zero.
#[utoipa::path(put, path = "/rules/{id}/metrics/reset", tag = "Rules", responses((status = 204)))]
async fn reset_rule_metrics(
    State(api): State<Api>,
    Path(id): Path<String>,
    _: Namespace,
) -> Answer<StatusCode> {
    api.engine().reset_rule_metrics(&id)?;
    Ok(StatusCode::NO_CONTENT)
}

/// The answer when there is no such rule.
pub(super) fn no_rule(id: &str, code: Code) -> ApiError {
    ApiError::new(code, format!("rule `{id}` not found"))
}
