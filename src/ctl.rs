//! `sluice ctl`: asks the server of a data directory over its API, and prints what scripts for EMQX expect to read.

mod diagnosis;
mod traces;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use connectors_api::Period;
use engine_event::Clock as _;
use reqwest::{Method, StatusCode};
use serde_json::Value as Json;

use crate::cli::{
    BannedCommand, BrokerCommand, ClientsCommand, Ctl, CtlCommand, ListenersCommand, ObjectsCommand,
    RulesCommand, SubscriptionsCommand, TopicsCommand,
};
use crate::clock::SystemClock;
use crate::data_dir::Control;
use crate::output::{AlreadySaid, say};

/// Longest wait for an answer of the API.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Entries asked for at a time: as many as the API gives, as it looks at all of them for each page.
const PAGE_LIMIT: u32 = 10_000;

/// Characters of a path part that are percent-encoded.
const PATH_PART: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// Runs one command. The text goes to standard output.
///
/// # Errors
/// When no server runs on the data directory, when what was named is not there, or when the server says no.
pub(crate) async fn run(options: Ctl) -> anyhow::Result<()> {
    let api = Api::open(&options.data_dir)?;
    let json = options.json;
    match options.command {
        CtlCommand::Status => status(&api, json).await,
        CtlCommand::Broker { command: None } => broker(&api, json).await,
        CtlCommand::Broker { command: Some(BrokerCommand::Stats) } => numbers(&api, "/stats", json).await,
        CtlCommand::Broker { command: Some(BrokerCommand::Metrics) } => numbers(&api, "/metrics", json).await,
        CtlCommand::Topics { command } => topics(&api, command, json).await,
        CtlCommand::Subscriptions { command } => subscriptions(&api, command, json).await,
        CtlCommand::Clients { command } => clients(&api, command, json).await,
        CtlCommand::Banned { command } => banned(&api, command, json).await,
        CtlCommand::SlowSubs { command } => diagnosis::slow_subs(&api, command, json).await,
        CtlCommand::Trace { command } => traces::trace(&api, command, json).await,
        CtlCommand::Traces { command } => traces::traces(&api, command, json).await,
        CtlCommand::TopicMetrics { command } => diagnosis::topic_metrics(&api, command, json).await,
        CtlCommand::Rules { command: RulesCommand::Object(command) } => {
            objects(&api, &RULES, command, json).await
        }
        CtlCommand::Rules { command: RulesCommand::Explain { id, seconds } } => {
            explain(&api, &id, seconds, json).await
        }
        CtlCommand::Connectors { command } => objects(&api, &CONNECTORS, command, json).await,
        CtlCommand::Actions { command } => objects(&api, &ACTIONS, command, json).await,
        CtlCommand::Listeners { command } => {
            listeners(&api, command.unwrap_or(ListenersCommand::List), json).await
        }
    }
}

struct Api {
    client: reqwest::Client,
    control: Control,
}

impl Api {
    fn open(data_dir: &Path) -> anyhow::Result<Self> {
        let control = Control::read(data_dir).with_context(|| {
            format!(
                "no server runs on the data directory `{}` (choose another with --data-dir)",
                data_dir.display()
            )
        })?;
        let client = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).no_proxy().build()?;
        Ok(Self { client, control })
    }

    /// Sends a request; `None` when what it names is not there.
    async fn send(&self, method: Method, path: &str, body: Option<&Json>) -> anyhow::Result<Option<Json>> {
        let mut request = self
            .client
            .request(method, format!("{}/api/v5{path}", self.control.api))
            .bearer_auth(&self.control.token);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.with_context(|| format!("no answer from {}", self.control.api))?;
        let status = answer.status();
        let text = answer.text().await?;
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !status.is_success() {
            bail!("{status}: {}", message_of(&text));
        }
        Ok(Some(if text.is_empty() { Json::Null } else { serde_json::from_str(&text)? }))
    }

    async fn get(&self, path: &str) -> anyhow::Result<Option<Json>> {
        self.send(Method::GET, path, None).await
    }

    /// Every entry of a list that is not paged.
    async fn array(&self, path: &str) -> anyhow::Result<Vec<Json>> {
        match self.get(path).await? {
            Some(Json::Array(items)) => Ok(items),
            _ => Ok(Vec::new()),
        }
    }

    /// Every entry of a list, be it paged or a plain array.
    async fn list(&self, path: &str) -> anyhow::Result<Vec<Json>> {
        let mut all = Vec::new();
        for page in 1.. {
            let answer =
                self.get(&format!("{path}?page={page}&limit={PAGE_LIMIT}")).await?.unwrap_or_default();
            match answer {
                Json::Array(items) => return Ok(items),
                Json::Object(mut object) => {
                    let Some(Json::Array(items)) = object.remove("data") else { break };
                    all.extend(items);
                    if object.get("meta").and_then(|meta| meta.get("hasnext")) != Some(&Json::Bool(true)) {
                        break;
                    }
                }
                _ => break,
            }
        }
        Ok(all)
    }
}

fn message_of(body: &str) -> String {
    serde_json::from_str::<Json>(body)
        .ok()
        .and_then(|body| body.get("message")?.as_str().map(str::to_owned))
        .unwrap_or_else(|| body.to_owned())
}

fn part(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, PATH_PART).to_string()
}

fn print_json(value: &Json) -> anyhow::Result<()> {
    say!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

async fn status(api: &Api, json: bool) -> anyhow::Result<()> {
    let nodes = api.get("/nodes").await?.unwrap_or_default();
    if json {
        return print_json(&nodes);
    }
    for node in nodes.as_array().into_iter().flatten() {
        let state = if text(node, "node_status") == "running" { "started" } else { "stopped" };
        say!("Node '{}' {} is {state}", text(node, "node"), text(node, "version"));
    }
    Ok(())
}

async fn broker(api: &Api, json: bool) -> anyhow::Result<()> {
    let nodes = api.get("/nodes").await?.unwrap_or_default();
    let node = nodes.get(0).context("the server sent no node")?;
    if json {
        return print_json(node);
    }
    say!("sysdescr  : Sluice");
    say!("version   : {}", text(node, "version"));
    let now = chrono::DateTime::from_timestamp_millis(SystemClock.now_ms()).unwrap_or_default();
    let now = now.with_timezone(&chrono::Local);
    say!("datetime  : {}", now.format("%Y-%m-%dT%H:%M:%S%.3f%:z"));
    let seconds = node.get("uptime").and_then(Json::as_i64).unwrap_or_default() / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    say!("uptime    : {days} days, {hours} hours, {minutes} minutes, {} seconds", seconds % 60);
    Ok(())
}

/// Prints numbers by their names.
async fn numbers(api: &Api, path: &str, json: bool) -> anyhow::Result<()> {
    let numbers = api.get(&format!("{path}?aggregate=true")).await?.unwrap_or_default();
    if json {
        return print_json(&numbers);
    }
    let mut lines: Vec<_> = numbers.as_object().into_iter().flatten().collect();
    lines.sort_by_key(|(name, _)| name.as_str());
    for (name, value) in lines {
        say!("{name:<32}: {value}");
    }
    Ok(())
}

async fn topics(api: &Api, command: TopicsCommand, json: bool) -> anyhow::Result<()> {
    let topics = match command {
        TopicsCommand::List => api.list("/topics").await?,
        TopicsCommand::Show { topic } => match api.get(&format!("/topics/{}", part(&topic))).await? {
            Some(Json::Array(topics)) => topics,
            Some(topic) => vec![topic],
            None => return not_found(),
        },
    };
    print_lines(topics, json, "No topics.", |topic| {
        format!("{} -> {}", text(topic, "topic"), text(topic, "node"))
    })
}

async fn subscriptions(api: &Api, command: SubscriptionsCommand, json: bool) -> anyhow::Result<()> {
    let subscriptions = match command {
        SubscriptionsCommand::List => api.list("/subscriptions").await?,
        SubscriptionsCommand::Show { client_id } => {
            match api.get(&format!("/clients/{}/subscriptions", part(&client_id))).await? {
                Some(Json::Array(mut subscriptions)) => {
                    for subscription in subscriptions.iter_mut().filter_map(Json::as_object_mut) {
                        subscription.entry("clientid").or_insert_with(|| client_id.clone().into());
                    }
                    subscriptions
                }
                _ => return not_found(),
            }
        }
    };
    print_lines(subscriptions, json, "No subscriptions.", |found| {
        let field = |name| text(found, name);
        format!(
            "{} -> topic:{} qos:{} nl:{} rh:{} rap:{}",
            field("clientid"),
            field("topic"),
            field("qos"),
            field("nl"),
            field("rh"),
            field("rap")
        )
    })
}

/// Prints a list, a line each, or that there is nothing in it.
fn print_lines(
    items: Vec<Json>,
    json: bool,
    none: &str,
    line: impl Fn(&Json) -> String,
) -> anyhow::Result<()> {
    if json {
        return print_json(&Json::Array(items));
    }
    if items.is_empty() {
        say!("{none}");
    }
    for item in &items {
        say!("{}", line(item));
    }
    Ok(())
}

async fn clients(api: &Api, command: ClientsCommand, json: bool) -> anyhow::Result<()> {
    match command {
        ClientsCommand::List => print_lines(api.list("/clients").await?, json, "No clients.", client_line),
        ClientsCommand::Show { client_id } => {
            match api.get(&format!("/clients/{}", part(&client_id))).await? {
                Some(client) if json => print_json(&client),
                Some(client) => {
                    say!("{}", client_line(&client));
                    Ok(())
                }
                None => not_found(),
            }
        }
        ClientsCommand::Kick { client_id } => {
            // the client is gone in either case
            api.send(Method::DELETE, &format!("/clients/{}", part(&client_id)), None).await?;
            say!("ok");
            Ok(())
        }
    }
}

async fn listeners(api: &Api, command: ListenersCommand, json: bool) -> anyhow::Result<()> {
    let (id, verb, done) = match command {
        ListenersCommand::List => {
            let listeners = api.get("/listeners").await?.unwrap_or_default();
            if json {
                return print_json(&listeners);
            }
            for listener in listeners.as_array().into_iter().flatten() {
                show_listener(listener)?;
            }
            return Ok(());
        }
        ListenersCommand::Enable { id, enable } => {
            let body = serde_json::json!({ "enable": enable });
            if api.send(Method::PUT, &format!("/listeners/{}", part(&id)), Some(&body)).await?.is_none() {
                return not_found();
            }
            say!("{} {id} listener successfully.", if enable { "Enabled" } else { "Disabled" });
            return Ok(());
        }
        ListenersCommand::Start { id } => (id, "start", "Started"),
        ListenersCommand::Stop { id } => (id, "stop", "Stopped"),
        ListenersCommand::Restart { id } => (id, "restart", "Restarted"),
    };
    match api.send(Method::POST, &format!("/listeners/{}/{verb}", part(&id)), None).await? {
        Some(_) => say!("{done} {id} listener successfully."),
        None => return not_found(),
    }
    Ok(())
}

/// A block of lines for each listener, as scripts know it.
fn show_listener(listener: &Json) -> anyhow::Result<()> {
    say!("{}", text(listener, "id"));
    let listen_on = match listener.get("listen_on") {
        Some(Json::String(address)) => address.clone(),
        _ => text(listener, "bind"),
    };
    let counter = |name: &str| text(listener.get("counters").unwrap_or(&Json::Null), name);
    for (name, value) in [
        ("listen_on", listen_on),
        ("acceptors", text(listener, "acceptors")),
        ("proxy_protocol", text(listener, "proxy_protocol")),
        ("enable", text(listener, "enable")),
        ("running", text(listener, "running")),
        ("current_conn", text(listener, "current_connections")),
        ("max_conns", text(listener, "max_connections")),
        ("messages_rate", text(listener, "messages_rate")),
        ("bytes_rate", text(listener, "bytes_rate")),
        ("accepted", counter("accepted")),
        ("refused_full", counter("refused_full")),
        ("refused_address", counter("refused_address")),
        ("failed_handshakes", counter("failed_handshakes")),
    ] {
        say!("  {name:<17}: {value}");
    }
    Ok(())
}

async fn banned(api: &Api, command: BannedCommand, json: bool) -> anyhow::Result<()> {
    match command {
        BannedCommand::List => print_lines(api.list("/banned").await?, json, "No bans.", ban_line),
        BannedCommand::Add { kind, who, by, reason, until, lasts } => {
            let until = match lasts {
                Some(lasts) => end_of(&lasts)?,
                None => until,
            };
            let ban = serde_json::json!({"as": kind, "who": who, "by": by, "reason": reason, "until": until});
            let made = api.send(Method::POST, "/banned", Some(&ban)).await?.unwrap_or_default();
            if json {
                return print_json(&made);
            }
            say!("ok");
            Ok(())
        }
        BannedCommand::Delete { kind, who } => {
            let path = format!("/banned/{}/{}", part(&kind), part(&who));
            if api.send(Method::DELETE, &path, None).await?.is_none() {
                return not_found();
            }
            say!("ok");
            Ok(())
        }
    }
}

/// When a time that begins now is over, as RFC 3339.
fn end_of(lasts: &str) -> anyhow::Result<String> {
    let period: Period = lasts.parse().map_err(|error| anyhow::anyhow!("--for: {error}"))?;
    let end_ms = i64::try_from(period.duration().as_millis())
        .ok()
        .and_then(|lasts_ms| SystemClock.now_ms().checked_add(lasts_ms))
        .and_then(chrono::DateTime::from_timestamp_millis);
    Ok(end_ms.context("--for: longer than times go")?.to_rfc3339())
}

fn ban_line(ban: &Json) -> String {
    format!(
        "Banned({}={}, by={}, reason={}, at={}, until={})",
        text(ban, "as"),
        text(ban, "who"),
        text(ban, "by"),
        text(ban, "reason"),
        text(ban, "at"),
        text(ban, "until")
    )
}

/// Says that what was named is not there, where scripts look for it.
fn not_found() -> anyhow::Result<()> {
    say!("Not Found.");
    Err(AlreadySaid.into())
}

/// The line that `ctl clients list` has always printed.
fn client_line(client: &Json) -> String {
    let mut line = format!(
        "Client({}, username={}, peername={}:{}, clean_start={}, keepalive={}, session_expiry_interval={}, \
         subscriptions={}, inflight={}, awaiting_rel={}, delivered_msgs={}, enqueued_msgs={}, dropped_msgs={}, \
         connected={}, created_at={}, connected_at={}",
        text(client, "clientid"),
        text(client, "username"),
        text(client, "ip_address"),
        text(client, "port"),
        text(client, "clean_start"),
        text(client, "keepalive"),
        text(client, "expiry_interval"),
        text(client, "subscriptions_cnt"),
        text(client, "inflight_cnt"),
        text(client, "awaiting_rel_cnt"),
        text(client, "send_msg"),
        text(client, "mqueue_len"),
        text(client, "mqueue_dropped"),
        text(client, "connected"),
        millis(client, "created_at"),
        millis(client, "connected_at"),
    );
    if client.get("connected") == Some(&Json::Bool(false)) {
        line.push_str(&format!(", disconnected_at={}", millis(client, "disconnected_at")));
    }
    line.push(')');
    line
}

/// The text of a field as scripts expect it: `undefined` when it has none.
fn text(object: &Json, key: &str) -> String {
    match object.get(key) {
        None | Some(Json::Null) => "undefined".to_owned(),
        Some(Json::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// A time of the API, which is RFC 3339, as Unix milliseconds.
fn millis(object: &Json, key: &str) -> String {
    match object.get(key) {
        Some(Json::String(time)) => match chrono::DateTime::parse_from_rfc3339(time) {
            Ok(time) => time.timestamp_millis().to_string(),
            Err(_) => time.clone(),
        },
        _ => text(object, key),
    }
}

/// One of the kinds of object that share `list`, `show`, `enable` and `disable`.
struct Kind {
    path: &'static str,
    none: &'static str,
    line: fn(&Json) -> String,
    has_metrics: bool,
}

const RULES: Kind = Kind { path: "/rules", none: "No rules.", line: rule_line, has_metrics: true };
const CONNECTORS: Kind =
    Kind { path: "/connectors", none: "No connectors.", line: connector_line, has_metrics: false };
const ACTIONS: Kind = Kind { path: "/actions", none: "No actions.", line: connector_line, has_metrics: true };

fn rule_line(rule: &Json) -> String {
    format!(
        "Rule{{id={}, name={}, enabled={}, descr={}}}",
        text(rule, "id"),
        text(rule, "name"),
        text(rule, "enable"),
        text(rule, "description")
    )
}

fn connector_line(object: &Json) -> String {
    let mut line = format!(
        "{}:{} enable={} status={}",
        text(object, "type"),
        text(object, "name"),
        text(object, "enable"),
        text(object, "status")
    );
    let reason = text(object, "status_reason");
    if !reason.is_empty() && reason != "undefined" {
        line.push_str(&format!(" reason={reason}"));
    }
    line
}

async fn objects(api: &Api, kind: &Kind, command: ObjectsCommand, json: bool) -> anyhow::Result<()> {
    match command {
        ObjectsCommand::List => print_lines(api.list(kind.path).await?, json, kind.none, kind.line),
        ObjectsCommand::Show { id } => show(api, kind, &id, json).await,
        ObjectsCommand::Enable { id } => switch(api, kind, &id, true).await,
        ObjectsCommand::Disable { id } => switch(api, kind, &id, false).await,
    }
}

async fn show(api: &Api, kind: &Kind, id: &str, json: bool) -> anyhow::Result<()> {
    let path = format!("{}/{}", kind.path, part(id));
    let Some(mut object) = api.get(&path).await? else { return not_found() };
    let metrics = if kind.has_metrics { api.get(&format!("{path}/metrics")).await? } else { None };
    if json {
        if let (Some(fields), Some(metrics)) = (object.as_object_mut(), metrics) {
            fields.insert("metrics".to_owned(), metrics.get("metrics").cloned().unwrap_or_default());
        }
        return print_json(&object);
    }
    say!("{}", (kind.line)(&object));
    for (key, value) in object.as_object().into_iter().flatten() {
        match value {
            Json::String(text) if text.contains('\n') => {
                say!("  {key}:\n    {}", text.trim().replace('\n', "\n    "));
            }
            Json::String(text) => say!("  {key}: {text}"),
            value => say!("  {key}: {value}"),
        }
    }
    let counters = metrics.as_ref().and_then(|metrics| metrics.get("metrics")).and_then(Json::as_object);
    if let Some(counters) = counters {
        say!("  metrics:");
        for (name, value) in counters {
            say!("    {name}: {value}");
        }
    }
    Ok(())
}

/// Looks at a rule for some seconds and prints what came of each event, the latest first.
async fn explain(api: &Api, id: &str, seconds: u32, json: bool) -> anyhow::Result<()> {
    let path = format!("/rules/{}/explain", part(id));
    if api.get(&format!("{path}?seconds={}", seconds.max(1))).await?.is_none() {
        return not_found();
    }
    tokio::time::sleep(Duration::from_secs(seconds.into())).await;
    let explained = api.get(&format!("{path}?seconds=0")).await?.unwrap_or_default();
    if json {
        return print_json(&explained);
    }
    for warning in explained["warnings"].as_array().into_iter().flatten() {
        say!("warning: {}", warning.as_str().unwrap_or_default());
    }
    let mut evaluations: Vec<&Json> = explained["evaluations"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(_, entries)| entries.as_array())
        .flatten()
        .collect();
    evaluations.sort_by_key(|entry| std::cmp::Reverse(entry["at"].as_i64()));
    if evaluations.is_empty() {
        say!("No event of the last {seconds} s came to this rule, or nearly did.");
    }
    for entry in evaluations {
        say!("{} at {}", text(entry, "verdict"), text(entry, "at"));
        for key in ["topic", "reason", "error", "event"] {
            if let Some(value) = entry.get(key) {
                say!("  {key}: {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            }
        }
        for key in ["where", "fields"] {
            for found in entry[key].as_array().into_iter().flatten() {
                let value = found.get("error").map(|error| format!("error: {error}"));
                let value = value.unwrap_or_else(|| found["value"].to_string());
                say!("  {key} {} -> {value}", text(found, "expression"));
            }
        }
        for row in entry["rows"].as_array().into_iter().flatten() {
            say!("  row {row}");
        }
        for output in entry["outputs"].as_array().into_iter().flatten() {
            say!("  -> {}: {}", text(output, "output"), text(output, "outcome"));
        }
    }
    Ok(())
}

async fn switch(api: &Api, kind: &Kind, id: &str, enable: bool) -> anyhow::Result<()> {
    let path = format!("{}/{}", kind.path, part(id));
    let answer = if kind.path == RULES.path {
        let Some(mut rule) = api.get(&path).await? else { return not_found() };
        let fields = rule.as_object_mut().context("the server sent no rule")?;
        fields
            .retain(|key, _| matches!(key.as_str(), "sql" | "name" | "actions" | "description" | "metadata"));
        fields.insert("enable".to_owned(), Json::Bool(enable));
        api.send(Method::PUT, &path, Some(&rule)).await?
    } else {
        api.send(Method::PUT, &format!("{path}/enable/{enable}"), None).await?
    };
    if answer.is_none() {
        return not_found();
    }
    say!("ok");
    Ok(())
}
