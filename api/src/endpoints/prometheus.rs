//! Counters and gauges for Prometheus, under the names that published boards use.

use std::fmt::Write as _;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use engine_runtime::{ActionMetrics, RuleMetrics, Status};
use http::header::CONTENT_TYPE;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::counters::{counters, gauges};
use crate::machine::Machine;
use crate::web::{Answer, ApiError, Query};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(get_node_samples)).routes(routes!(get_data_integration_samples))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PrometheusQuery {
    /// `node`, `all_nodes_aggregated` or `all_nodes_unaggregated`: there is one node, so they are the same but for the
    /// label `node` of the last.
    mode: Option<String>,
}

impl PrometheusQuery {
    /// The labels that the mode puts on every sample.
    fn labels(&self, node: &str) -> Answer<String> {
        match self.mode.as_deref() {
            None | Some("node" | "all_nodes_aggregated") => Ok(String::new()),
            Some("all_nodes_unaggregated") => Ok(format!("node=\"{}\"", escape(node))),
            Some(other) => Err(ApiError::bad_request(format!(
                "query field mode: expected node, all_nodes_aggregated or all_nodes_unaggregated, got `{other}`"
            ))),
        }
    }
}

/// Samples of the broker in the text format of Prometheus. Needs no credentials.
#[utoipa::path(
    get, path = "/prometheus/stats", tag = "Prometheus", params(PrometheusQuery),
    responses((status = 200, body = String, content_type = "text/plain"))
)]
async fn get_node_samples(State(api): State<Api>, Query(query): Query<PrometheusQuery>) -> Answer<Response> {
    let mut text = Exposition::new(query.labels(&api.settings().node)?);
    for (name, value) in counters(&api) {
        text.family(&prefixed(name), "counter", name);
        text.sample(&prefixed(name), "", value as f64);
    }
    for (name, value) in gauges(&api) {
        text.family(&prefixed(name), "gauge", name);
        text.sample(&prefixed(name), "", value as f64);
    }
    let machine = Machine::look();
    for (name, help, value) in [
        ("emqx_vm_total_memory", "memory of the machine in bytes", machine.memory_total_bytes as f64),
        ("emqx_vm_used_memory", "memory of the machine in use in bytes", machine.memory_used_bytes as f64),
        ("emqx_vm_uptime_ms", "milliseconds since the start", api.uptime_ms() as f64),
        ("emqx_cluster_nodes_running", "nodes that run", 1.0),
        ("emqx_cluster_nodes_stopped", "nodes that do not run", 0.0),
    ] {
        text.family(name, "gauge", help);
        text.sample(name, "", value);
    }
    add_data_integration(&api, &mut text);
    Ok(text.into_response())
}

/// Samples of rules, actions and connectors in the text format of Prometheus. Needs no credentials.
#[utoipa::path(
    get, path = "/prometheus/data_integration", tag = "Prometheus", params(PrometheusQuery),
    responses((status = 200, body = String, content_type = "text/plain"))
)]
async fn get_data_integration_samples(
    State(api): State<Api>,
    Query(query): Query<PrometheusQuery>,
) -> Answer<Response> {
    let mut text = Exposition::new(query.labels(&api.settings().node)?);
    add_data_integration(&api, &mut text);
    Ok(text.into_response())
}

/// A counter or gauge of rules or actions: name, kind, and where to find it.
type Family<T> = (&'static str, &'static str, fn(&T) -> u64);

const RULE_FAMILIES: &[Family<RuleMetrics>] = &[
    ("emqx_rule_matched", "counter", |rule| rule.matched),
    ("emqx_rule_passed", "counter", |rule| rule.passed),
    ("emqx_rule_failed", "counter", RuleMetrics::failed),
    ("emqx_rule_failed_exception", "counter", |rule| rule.failed_exception),
    ("emqx_rule_failed_no_result", "counter", |rule| rule.failed_no_result),
    ("emqx_rule_actions_total", "counter", |rule| rule.actions_total),
    ("emqx_rule_actions_success", "counter", |rule| rule.actions_success),
    ("emqx_rule_actions_failed", "counter", RuleMetrics::actions_failed),
    ("emqx_rule_actions_failed_out_of_service", "counter", |rule| rule.actions_failed_out_of_service),
    ("emqx_rule_actions_failed_unknown", "counter", |rule| rule.actions_failed_unknown),
    ("emqx_rule_actions_discarded", "counter", |rule| rule.actions_discarded),
];

const ACTION_FAMILIES: &[Family<ActionMetrics>] = &[
    ("emqx_action_matched", "counter", |action| action.matched),
    ("emqx_action_success", "counter", |action| action.success),
    ("emqx_action_failed", "counter", |action| action.failed),
    ("emqx_action_dropped", "counter", ActionMetrics::dropped),
    ("emqx_action_dropped_queue_full", "counter", |action| action.dropped_queue_full),
    ("emqx_action_dropped_expired", "counter", |action| action.dropped_expired),
    ("emqx_action_dropped_resource_stopped", "counter", |action| action.dropped_resource_stopped),
    ("emqx_action_dropped_resource_not_found", "counter", |action| action.dropped_resource_not_found),
    ("emqx_action_dropped_other", "counter", |action| action.dropped_other),
    ("emqx_action_late_reply", "counter", |action| action.late_reply),
    ("emqx_action_retried", "counter", |action| action.retried),
    ("emqx_action_retried_success", "counter", |action| action.retried_success),
    ("emqx_action_retried_failed", "counter", |action| action.retried_failed),
    ("emqx_action_queuing", "gauge", |action| action.queuing),
    ("emqx_action_inflight", "gauge", |action| action.inflight),
];

fn add_data_integration(api: &Api, text: &mut Exposition) {
    let engine = api.engine();
    let (connectors, actions, rules) = (engine.connectors(), engine.actions(), engine.rules());
    for (name, help, count) in [
        ("emqx_connectors_count", "connectors", connectors.len()),
        ("emqx_actions_count", "actions", actions.len()),
        ("emqx_rules_count", "rules", rules.len()),
    ] {
        text.family(name, "gauge", help);
        text.sample(name, "", count as f64);
    }

    let is_enabled = |config: Option<&serde_json::Value>| {
        f64::from(u8::from(config.and_then(serde_json::Value::as_bool).unwrap_or(true)))
    };
    let is_connected = |status: Status| f64::from(u8::from(status == Status::Connected));
    let states =
        connectors.iter().map(|c| (&c.id, is_enabled(c.config.get("enable")), is_connected(c.status.status)));
    text.states("emqx_connector", &states.collect::<Vec<_>>());
    let states =
        actions.iter().map(|a| (&a.id, is_enabled(a.config.get("enable")), is_connected(a.status.status)));
    text.states("emqx_action", &states.collect::<Vec<_>>());

    text.family("emqx_rule_enable", "gauge", "whether the rule is on");
    for rule in &rules {
        text.sample("emqx_rule_enable", &id_label(&rule.id), is_enabled(rule.config.get("enable")));
    }
    let metrics = rules.iter().filter_map(|rule| Some((rule.id.as_str(), engine.rule_metrics(&rule.id)?)));
    text.families(RULE_FAMILIES, &metrics.collect::<Vec<_>>());
    let metrics =
        actions.iter().filter_map(|action| Some((action.id.as_str(), engine.action_metrics(&action.id)?)));
    text.families(ACTION_FAMILIES, &metrics.collect::<Vec<_>>());
}

/// `messages.received` as `emqx_messages_received`.
fn prefixed(name: &str) -> String {
    format!("emqx_{}", name.replace('.', "_"))
}

fn id_label(id: &str) -> String {
    format!("id=\"{}\"", escape(id))
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Text in the format of Prometheus.
struct Exposition {
    text: String,
    labels: String,
}

impl Exposition {
    fn new(labels: String) -> Self {
        Self { text: String::with_capacity(16 * 1024), labels }
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &str, value: f64) {
        let parts: Vec<&str> = [labels, &self.labels].into_iter().filter(|part| !part.is_empty()).collect();
        let _ = match parts.is_empty() {
            true => writeln!(self.text, "{name} {value}"),
            false => writeln!(self.text, "{name}{{{}}} {value}", parts.join(",")),
        };
    }

    /// Whether connectors or actions are on, and whether they take work.
    fn states(&mut self, prefix: &str, states: &[(&String, f64, f64)]) {
        let (enable, status) = (format!("{prefix}_enable"), format!("{prefix}_status"));
        self.family(&enable, "gauge", "whether it is on");
        for (id, is_enabled, _) in states {
            self.sample(&enable, &id_label(id), *is_enabled);
        }
        self.family(&status, "gauge", "1 connected, 0 not");
        for (id, _, is_connected) in states {
            self.sample(&status, &id_label(id), *is_connected);
        }
    }

    fn families<T>(&mut self, families: &[Family<T>], metrics: &[(&str, T)]) {
        for (name, kind, value) in families {
            self.family(name, kind, name);
            for (id, metrics) in metrics {
                self.sample(name, &id_label(id), value(metrics) as f64);
            }
        }
    }
}

impl IntoResponse for Exposition {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], self.text).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_joined_and_escaped() {
        let mut text = Exposition::new("node=\"n\"".to_owned());
        text.family("emqx_x", "gauge", "x");
        text.sample("emqx_x", &id_label("a\"b\\c"), 1.5);
        text.labels.clear();
        text.sample("emqx_x", "", 2.0);
        let expect =
            "# HELP emqx_x x\n# TYPE emqx_x gauge\nemqx_x{id=\"a\\\"b\\\\c\",node=\"n\"} 1.5\nemqx_x 2\n";
        assert_eq!(text.text, expect);
    }
}
