//! Traces: every step of a client, a topic, an address or a rule, in a file.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, Stream};
use http::StatusCode;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Api;
use crate::traces::{
    PayloadEncode, TraceChunk, TraceDefinition, TraceFault, TraceFormatter, TraceKind, TraceStatus,
    TraceVerbosity, TraceView,
};
use crate::web::{Answer, ApiError, Code, JsonBody, NoQuery, Path, Query, Until, rfc3339_s};

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(list_traces, create_trace, clear_traces))
        .routes(routes!(delete_trace))
        .routes(routes!(stop_trace))
        .routes(routes!(download_trace))
        .routes(routes!(read_trace))
        .routes(routes!(stream_trace))
        .routes(routes!(get_trace_files))
}

/// How long a trace lasts unless it is said, in milliseconds.
const LASTS_MS: i64 = 15 * 60 * 1000;

/// Bytes of a payload that are shown unless it is said.
const PAYLOAD_LIMIT: u32 = 1024;

/// Bytes of lines in one answer, unless it is said, and at most.
const READ_BYTES: usize = 1000;
const READ_BYTES_MAX: usize = 1 << 20;

/// How often a stream looks for new lines.
const LOOK_EVERY: Duration = Duration::from_millis(300);

/// Bytes of lines in one event of a stream at most.
const STREAM_BYTES: usize = 64 * 1024;

/// A trace.
#[derive(Debug, Serialize, ToSchema)]
struct Trace {
    name: String,
    /// What it follows.
    r#type: TraceKind,
    /// The field that `type` names.
    #[serde(flatten)]
    subject: BTreeMap<&'static str, String>,
    status: TraceStatus,
    formatter: TraceFormatter,
    payload_encode: PayloadEncode,
    payload_limit: u32,
    level: TraceVerbosity,
    /// RFC 3339.
    start_at: String,
    /// RFC 3339, or `infinity`.
    end_at: String,
    /// Bytes written, by node.
    log_size: BTreeMap<String, u64>,
    /// Where the lines are.
    destination: String,
}

impl Trace {
    fn new(view: TraceView, node: &str) -> Self {
        let TraceView { definition, status, log_size, path, .. } = view;
        Self {
            r#type: definition.kind,
            subject: [(definition.kind.as_str(), definition.value)].into(),
            name: definition.name,
            status,
            formatter: definition.formatter,
            payload_encode: definition.payload_encode,
            payload_limit: definition.payload_limit,
            level: definition.level,
            start_at: rfc3339_s(definition.start_at_ms),
            end_at: definition.end_at_ms.map_or_else(|| "infinity".to_owned(), rfc3339_s),
            log_size: [(node.to_owned(), log_size)].into(),
            destination: path,
        }
    }
}

/// A trace to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewTrace {
    /// Letters, digits, `-` and `_`; begins with a letter or a digit.
    name: String,
    /// What it follows: the field of that name says which.
    r#type: TraceKind,
    #[serde(default)]
    clientid: Option<String>,
    /// A topic, or a filter whose topics are followed together.
    #[serde(default)]
    topic: Option<String>,
    #[serde(default)]
    ip_address: Option<String>,
    #[serde(default)]
    ruleid: Option<String>,
    /// When it begins: RFC 3339 or Unix seconds; now unless given.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    start_at: Option<Until>,
    /// When it ends: RFC 3339, Unix seconds, or `infinity`; 15 minutes after its beginning unless given.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    end_at: Option<Until>,
    /// How payloads and rows are shown.
    #[serde(default)]
    payload_encode: PayloadEncode,
    /// Bytes of a payload or of rows that are shown, 1024 unless given; 0 for all.
    #[serde(default)]
    payload_limit: Option<u32>,
    /// How lines are written.
    #[serde(default)]
    formatter: TraceFormatter,
    /// Which lines are written.
    #[serde(default)]
    level: TraceVerbosity,
    /// Name of the file in the folder `trace` of the data directory; that of the trace with `.log` unless given.
    #[serde(default)]
    file: Option<String>,
}

impl NewTrace {
    fn definition(self, now_ms: i64) -> Answer<TraceDefinition> {
        let invalid = |message: String| ApiError::new(Code::InvalidParams, message);
        let kind = self.r#type;
        let mut value = None;
        let fields = [
            (TraceKind::ClientId, self.clientid),
            (TraceKind::Topic, self.topic),
            (TraceKind::IpAddress, self.ip_address),
            (TraceKind::RuleId, self.ruleid),
        ];
        for (of, given) in fields {
            if of == kind {
                value = given;
            } else if given.is_some() {
                let (found, wanted) = (of.as_str(), kind.as_str());
                return Err(invalid(format!("{found}: a trace of type `{wanted}` has no such field")));
            }
        }
        let name = kind.as_str();
        let value = value.ok_or_else(|| invalid(format!("{name}: a trace of type `{name}` needs it")))?;
        let start_at_ms = match self.start_at {
            None => now_ms,
            Some(Until::Time(at_ms)) => at_ms,
            Some(Until::Infinity) => return Err(invalid("start_at: expected a time".to_owned())),
        };
        let end_at_ms = match self.end_at {
            None => Some(start_at_ms.max(now_ms).saturating_add(LASTS_MS)),
            Some(end) => end.unix_ms(),
        };
        if let Some(end_at_ms) = end_at_ms.filter(|end_at_ms| *end_at_ms <= start_at_ms.max(now_ms)) {
            let (end, start) = (rfc3339_s(end_at_ms), rfc3339_s(start_at_ms.max(now_ms)));
            return Err(invalid(format!("end_at: expected a time after {start}, got `{end}`")));
        }
        Ok(TraceDefinition {
            file: self.file.unwrap_or_else(|| format!("{}.log", self.name)),
            name: self.name,
            kind,
            value,
            start_at_ms,
            end_at_ms,
            payload_encode: self.payload_encode,
            payload_limit: self.payload_limit.unwrap_or(PAYLOAD_LIMIT),
            formatter: self.formatter,
            level: self.level,
        })
    }
}

impl From<TraceFault> for ApiError {
    fn from(fault: TraceFault) -> Self {
        let message = fault.to_string();
        match fault {
            TraceFault::Unknown(_) => Self::new(Code::NotFound, message),
            TraceFault::Exists(_) => {
                Self::new(Code::AlreadyExists, message).with_status(StatusCode::CONFLICT)
            }
            TraceFault::Full(_) => Self::new(Code::ExceedLimit, message).with_status(StatusCode::BAD_REQUEST),
            TraceFault::Invalid { .. } => Self::new(Code::InvalidParams, message),
            TraceFault::Internal(_) => Self::internal(message),
        }
    }
}

/// Lists the traces, the one that begins last first.
#[utoipa::path(get, path = "/trace", tag = "Traces", responses((status = 200, body = Vec<Trace>)))]
async fn list_traces(State(api): State<Api>, _: Query<NoQuery>) -> Json<Vec<Trace>> {
    let node = &api.settings().node;
    Json(api.traces().list().into_iter().map(|view| Trace::new(view, node)).collect())
}

/// Writes every step of a client, a topic, an address or a rule into a file, from now or later on; at most 30.
#[utoipa::path(
    post, path = "/trace", tag = "Traces", request_body = NewTrace, responses((status = 200, body = Trace))
)]
async fn create_trace(
    State(api): State<Api>,
    _: Query<NoQuery>,
    JsonBody(new): JsonBody<NewTrace>,
) -> Answer<Json<Trace>> {
    let made = api.traces().create(new.definition(api.now_ms())?).await?;
    Ok(Json(Trace::new(made, &api.settings().node)))
}

/// Ends all traces and removes what they have written.
#[utoipa::path(delete, path = "/trace", tag = "Traces", responses((status = 204)))]
async fn clear_traces(State(api): State<Api>, _: Query<NoQuery>) -> Answer<StatusCode> {
    for view in api.traces().list() {
        match api.traces().delete(&view.definition.name).await {
            Ok(()) | Err(TraceFault::Unknown(_)) => {}
            Err(fault) => return Err(fault.into()),
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Ends a trace and removes what it has written.
#[utoipa::path(delete, path = "/trace/{name}", tag = "Traces", responses((status = 204)))]
async fn delete_trace(
    State(api): State<Api>,
    Path(name): Path<String>,
    _: Query<NoQuery>,
) -> Answer<StatusCode> {
    api.traces().delete(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends a trace. What it has written stays.
#[utoipa::path(put, path = "/trace/{name}/stop", tag = "Traces", responses((status = 200, body = Trace)))]
async fn stop_trace(
    State(api): State<Api>,
    Path(name): Path<String>,
    _: Query<NoQuery>,
) -> Answer<Json<Trace>> {
    Ok(Json(Trace::new(api.traces().stop(&name).await?, &api.settings().node)))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct NodeQuery {
    /// Only this node: there is one.
    node: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ReadQuery {
    /// Where to begin, in bytes; 0 unless given.
    position: Option<u64>,
    /// How much to read, 1 to 1,048,576 bytes; 1000 unless given.
    bytes: Option<usize>,
    /// Only this node: there is one.
    node: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct StreamQuery {
    /// Where to begin, in bytes; 0 unless given.
    position: Option<u64>,
}

fn check_node(api: &Api, node: Option<&str>) -> Answer<()> {
    super::nodes::check_node(api, node.unwrap_or(&api.settings().node))
}

/// Gives what a trace has written as a ZIP archive.
#[utoipa::path(
    get, path = "/trace/{name}/download", tag = "Traces", params(NodeQuery),
    responses((status = 200, content_type = "application/zip"))
)]
async fn download_trace(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(query): Query<NodeQuery>,
) -> Answer<Response> {
    check_node(&api, query.node.as_deref())?;
    let pieces = api.traces().archive(&name).await?;
    let pieces = stream::unfold(pieces, |mut pieces| async move { Some((pieces.recv().await?, pieces)) });
    // the name of a trace that exists has letters, digits, `-` and `_` only
    let disposition = format!("attachment; filename={name}.zip");
    let headers = [(CONTENT_TYPE, "application/zip".to_owned()), (CONTENT_DISPOSITION, disposition)];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

/// A part of what a trace has written.
#[derive(Debug, Serialize, ToSchema)]
struct TraceLog {
    items: String,
    meta: TraceLogMeta,
}

/// Where a part stands.
#[derive(Debug, Serialize, ToSchema)]
struct TraceLogMeta {
    /// Where the next part begins.
    position: u64,
    /// What was asked for.
    bytes: usize,
    /// `eof` when the trace has ended and there is no more, `retry` when there is no more yet; missing otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'static str>,
}

/// Reads what a trace has written, a part at a time.
#[utoipa::path(
    get, path = "/trace/{name}/log", tag = "Traces", params(ReadQuery),
    responses((status = 200, body = TraceLog))
)]
async fn read_trace(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(query): Query<ReadQuery>,
) -> Answer<Json<TraceLog>> {
    check_node(&api, query.node.as_deref())?;
    let bytes = query.bytes.unwrap_or(READ_BYTES);
    if !(1..=READ_BYTES_MAX).contains(&bytes) {
        let message = format!("query field bytes: expected 1 to {READ_BYTES_MAX}, got `{bytes}`");
        return Err(ApiError::new(Code::InvalidParams, message));
    }
    let chunk = api.traces().read(&name, query.position.unwrap_or(0), bytes).await?;
    let hint = chunk.is_end.then_some(if chunk.status == TraceStatus::Stopped { "eof" } else { "retry" });
    Ok(Json(TraceLog { items: chunk.text, meta: TraceLogMeta { position: chunk.position, bytes, hint } }))
}

/// Streams what a trace has written and writes (server-sent events), until it has ended. The id of an event is the
/// place behind it.
#[utoipa::path(
    get, path = "/trace/{name}/log_stream", tag = "Traces", params(StreamQuery),
    responses((status = 200, content_type = "text/event-stream"))
)]
async fn stream_trace(
    State(api): State<Api>,
    Path(name): Path<String>,
    Query(query): Query<StreamQuery>,
) -> Answer<impl IntoResponse> {
    let position = query.position.unwrap_or(0);
    api.traces().read(&name, position, 1).await?; // one that is not there is said at once
    Ok(Sse::new(lines(api, name, position)).keep_alive(KeepAlive::default()))
}

/// What is left of a stream of lines.
struct Following {
    api: Api,
    name: String,
    position: u64,
    is_over: bool,
}

fn lines(api: Api, name: String, position: u64) -> impl Stream<Item = Result<Event, Infallible>> {
    let following = Following { api, name, position, is_over: false };
    stream::unfold(following, |mut following| async move {
        let event = following.next().await?;
        Some((Ok(event), following))
    })
}

impl Following {
    async fn next(&mut self) -> Option<Event> {
        while !self.is_over {
            let end = |reason: &str| Event::default().event("end").data(reason);
            let chunk = self.api.traces().read(&self.name, self.position, STREAM_BYTES).await;
            let Ok(TraceChunk { text, position, is_end, status }) = chunk else {
                self.is_over = true;
                return Some(end("deleted"));
            };
            // a line that is not whole yet waits for its end, unless it is very long
            let whole = text.rfind('\n').map_or(0, |at| at + 1);
            let shown = if whole == 0 && text.len() > STREAM_BYTES / 2 { text.len() } else { whole };
            if shown > 0 {
                self.position = position - (text.len() - shown) as u64;
                let data = text[..shown].trim_end_matches('\n').replace('\r', " ");
                return Some(Event::default().id(self.position.to_string()).data(data));
            }
            if is_end && status == TraceStatus::Stopped {
                self.is_over = true;
                return Some(end("stopped"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        None
    }
}

/// A file of a trace.
#[derive(Debug, Serialize, ToSchema)]
struct TraceFile {
    node: String,
    /// Bytes.
    size: u64,
    /// When it was last written, Unix seconds.
    mtime: Option<i64>,
}

/// Says where the lines of a trace are and how many bytes they have.
#[utoipa::path(
    get, path = "/trace/{name}/log_detail", tag = "Traces", responses((status = 200, body = Vec<TraceFile>))
)]
async fn get_trace_files(
    State(api): State<Api>,
    Path(name): Path<String>,
    _: Query<NoQuery>,
) -> Answer<Json<Vec<TraceFile>>> {
    let found = api.traces().list().into_iter().find(|view| view.definition.name == name);
    let view = found.ok_or(TraceFault::Unknown(name))?;
    let node = api.settings().node.clone();
    Ok(Json(vec![TraceFile { node, size: view.log_size, mtime: view.modified_at_s }]))
}
