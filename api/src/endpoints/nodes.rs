//! The node, and what the machine says of itself.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Value as JsonValue, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::machine::Machine;
use crate::web::{Answer, ApiError, Code, Path, Query};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(list_nodes)).routes(routes!(get_node))
}

/// Checks that a node is this one.
pub(super) fn check_node(api: &Api, node: &str) -> Answer<()> {
    if node == api.settings().node {
        return Ok(());
    }
    Err(ApiError::new(Code::NotFound, format!("node `{node}` not found")))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct NodeQuery {
    /// `bytes` gives sizes of memory as numbers.
    #[param(inline)]
    format: Option<Format>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Format {
    Text,
    Bytes,
}

/// A node of the cluster.
#[derive(Debug, Serialize, ToSchema)]
struct Node {
    node: String,
    node_status: &'static str,
    version: String,
    /// `Opensource` or `Enterprise`.
    edition: String,
    role: &'static str,
    /// Milliseconds since the start.
    uptime: i64,
    /// Sessions, also of clients that are away.
    connections: u64,
    /// Clients that are connected.
    live_connections: u64,
    cluster_sessions: u64,
    /// Memory of the machine.
    memory_total: JsonValue,
    memory_used: JsonValue,
    load1: f64,
    load5: f64,
    load15: f64,
    max_fds: u64,
    /// Files that the process may have open.
    process_available: u64,
    /// Threads of the process.
    process_used: u64,
    otp_release: &'static str,
    sys_path: String,
    log_path: &'static str,
}

fn this_node(api: &Api, format: Option<Format>) -> Node {
    let settings = api.settings();
    let stats = api.broker().stats();
    let machine = Machine::look();
    let memory = |bytes: u64| match format {
        Some(Format::Bytes) => json!(bytes),
        _ => json!(size_text(bytes)),
    };
    Node {
        node: settings.node.clone(),
        node_status: "running",
        version: settings.version.clone(),
        edition: settings.edition.clone(),
        role: "core",
        uptime: api.uptime_ms(),
        connections: stats.get("connections.count").unwrap_or(0),
        live_connections: stats.get("live_connections.count").unwrap_or(0),
        cluster_sessions: stats.get("cluster_sessions.count").unwrap_or(0),
        memory_total: memory(machine.memory_total_bytes),
        memory_used: memory(machine.memory_used_bytes),
        load1: machine.load[0],
        load5: machine.load[1],
        load15: machine.load[2],
        max_fds: machine.open_files_max,
        process_available: machine.open_files_max,
        process_used: machine.threads,
        otp_release: "n/a",
        sys_path: settings.data_dir.clone(),
        log_path: "",
    }
}

/// Three digits and a unit: `31.2G`.
fn size_text(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)];
    match UNITS.into_iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) => format!("{:.2}{unit}", bytes as f64 / size as f64),
        None => bytes.to_string(),
    }
}

/// Lists the nodes of the cluster: this one.
#[utoipa::path(
    get, path = "/nodes", tag = "Nodes", params(NodeQuery),
    responses((status = 200, body = Vec<Node>))
)]
async fn list_nodes(State(api): State<Api>, Query(query): Query<NodeQuery>) -> Json<Vec<Node>> {
    Json(vec![this_node(&api, query.format)])
}

/// Shows a node.
#[utoipa::path(
    get, path = "/nodes/{node}", tag = "Nodes", params(NodeQuery),
    responses((status = 200, body = Node))
)]
async fn get_node(
    State(api): State<Api>,
    Path(node): Path<String>,
    Query(query): Query<NodeQuery>,
) -> Answer<Json<Node>> {
    check_node(&api, &node)?;
    Ok(Json(this_node(&api, query.format)))
}
