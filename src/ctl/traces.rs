//! `sluice ctl trace` and `traces`.

use engine_event::Clock as _;
use reqwest::Method;
use serde_json::{Value as Json, json};

use super::{Api, not_found, part, print_json, print_lines, text};
use crate::cli::{TraceCommand, TraceKindName, TracesCommand};
use crate::clock::SystemClock;
use crate::output::say;

const TRACES: &str = "/trace";

/// What the names of traces begin with that `trace start` makes.
const PREFIX: &str = "CLI-";

impl TraceKindName {
    /// The word of the API.
    const fn word(self) -> &'static str {
        match self {
            Self::Client => "clientid",
            Self::Topic => "topic",
            Self::IpAddress => "ip_address",
            Self::RuleId => "ruleid",
        }
    }
}

/// The name of the trace that follows something until it is stopped.
fn name_of(kind: TraceKindName, value: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_');
    let name: String =
        value.chars().map(|character| if plain(character) { character } else { '_' }).collect();
    match kind {
        TraceKindName::Client => format!("{PREFIX}{name}"),
        kind => format!("{PREFIX}{}-{name}", kind.word()),
    }
}

fn path_of(name: &str) -> String {
    format!("{TRACES}/{}", part(name))
}

pub(super) async fn trace(api: &Api, command: TraceCommand, json: bool) -> anyhow::Result<()> {
    match command {
        TraceCommand::List => {
            let mut running = api.array(TRACES).await?;
            running.retain(|trace| text(trace, "status") == "running");
            print_lines(running, json, "No traces.", |trace| {
                let kind = text(trace, "type");
                let (value, level) = (text(trace, &kind), text(trace, "level"));
                format!(
                    "Trace({kind}={value}, level={level}, destination=\"{}\")",
                    text(trace, "destination")
                )
            })
        }
        TraceCommand::Start { kind, value, file, level, formatter } => {
            let name = name_of(kind, &value);
            // one that has been stopped makes room: its lines have been asked for by name of the file
            if let Some(before) = find(api, &name).await?
                && text(&before, "status") == "stopped"
            {
                api.send(Method::DELETE, &path_of(&name), None).await?;
            }
            let trace = json!({
                "name": name, "type": kind.word(), (kind.word()): value, "end_at": "infinity", "file": file,
                "level": level, "formatter": formatter,
            });
            let made = api.send(Method::POST, TRACES, Some(&trace)).await?.unwrap_or_default();
            if json {
                return print_json(&made);
            }
            say!("trace {value} {name} successfully");
            Ok(())
        }
        TraceCommand::Stop { kind, value } => {
            let path = format!("{}/stop", path_of(&name_of(kind, &value)));
            let Some(stopped) = api.send(Method::PUT, &path, None).await? else { return not_found() };
            if json {
                return print_json(&stopped);
            }
            say!("stop tracing {} {value} successfully", kind.word());
            Ok(())
        }
    }
}

async fn find(api: &Api, name: &str) -> anyhow::Result<Option<Json>> {
    Ok(api.array(TRACES).await?.into_iter().find(|trace| text(trace, "name") == name))
}

pub(super) async fn traces(api: &Api, command: TracesCommand, json: bool) -> anyhow::Result<()> {
    let (answer, said) = match command {
        TracesCommand::List => {
            return print_lines(api.array(TRACES).await?, json, "No traces.", |trace| {
                let kind = text(trace, "type");
                let value = text(trace, &kind);
                let (name, status, size) =
                    (text(trace, "name"), text(trace, "status"), text(trace, "log_size"));
                format!("Trace({name}: {kind}={value}, {status}, LogSize:{size})")
            });
        }
        TracesCommand::Start { name, kind, value, seconds, formatter } => {
            let end_at_s = SystemClock.now_ms() / 1000 + i64::from(seconds.max(1)) + 1;
            let trace = json!({
                "name": name, "type": kind.word(), (kind.word()): value, "end_at": end_at_s, "formatter": formatter,
            });
            let made = api.send(Method::POST, TRACES, Some(&trace)).await?;
            (made, format!("cluster_trace {} {value} {name} successfully", kind.word()))
        }
        TracesCommand::Stop { name } => {
            let stopped = api.send(Method::PUT, &format!("{}/stop", path_of(&name)), None).await?;
            (stopped, format!("Stop cluster_trace {name} successfully"))
        }
        TracesCommand::Delete { name } => {
            let deleted = api.send(Method::DELETE, &path_of(&name), None).await?;
            (deleted, format!("Del cluster_trace {name} successfully"))
        }
    };
    let Some(answer) = answer else { return not_found() };
    if json && !answer.is_null() {
        return print_json(&answer);
    }
    say!("{said}");
    Ok(())
}
