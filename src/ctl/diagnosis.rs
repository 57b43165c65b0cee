//! `sluice ctl topic-metrics` and `slow-subs`.

use anyhow::Context as _;
use reqwest::Method;
use serde_json::{Value as Json, json};

use super::{Api, not_found, part, print_json, print_lines, text};
use crate::cli::{SlowSubsCommand, TopicMetricsCommand};
use crate::output::say;

const TOPIC_METRICS: &str = "/mqtt/topic_metrics";

pub(super) async fn topic_metrics(api: &Api, command: TopicMetricsCommand, json: bool) -> anyhow::Result<()> {
    let path_of = |topic: &str| format!("{TOPIC_METRICS}/{}", part(topic));
    let done = match command {
        TopicMetricsCommand::List => {
            return print_lines(api.array(TOPIC_METRICS).await?, json, "No topics are counted.", topic_line);
        }
        TopicMetricsCommand::Show { topic } => {
            let Some(counted) = api.get(&path_of(&topic)).await? else { return not_found() };
            return if json { print_json(&counted) } else { show_topic(&counted) };
        }
        TopicMetricsCommand::Add { topic } => {
            api.send(Method::POST, TOPIC_METRICS, Some(&json!({ "topic": topic }))).await?
        }
        TopicMetricsCommand::Reset { topic } => {
            let mut reset = json!({ "action": "reset" });
            if let Some(topic) = topic {
                reset["topic"] = topic.into();
            }
            api.send(Method::PUT, TOPIC_METRICS, Some(&reset)).await?
        }
        TopicMetricsCommand::Delete { topic } => api.send(Method::DELETE, &path_of(&topic), None).await?,
    };
    if done.is_none() {
        return not_found();
    }
    say!("ok");
    Ok(())
}

fn topic_line(counted: &Json) -> String {
    let count = |name: &str| text(&counted["metrics"], &format!("messages.{name}.count"));
    format!(
        "{} -> in:{} out:{} dropped:{}",
        text(counted, "topic"),
        count("in"),
        count("out"),
        count("dropped")
    )
}

/// The counters by name, and the rates of those that have one.
fn show_topic(counted: &Json) -> anyhow::Result<()> {
    say!("{}", text(counted, "topic"));
    for key in ["create_time", "reset_time"] {
        say!("  {key:<24}: {}", text(counted, key));
    }
    for (name, value) in counted["metrics"].as_object().into_iter().flatten() {
        say!("  {name:<24}: {value}");
    }
    Ok(())
}

const SLOW: &str = "/slow_subscriptions";

pub(super) async fn slow_subs(api: &Api, command: SlowSubsCommand, json: bool) -> anyhow::Result<()> {
    let (enable, threshold, stats_type) = match command {
        SlowSubsCommand::List => {
            return print_lines(api.list(SLOW).await?, json, "No slow subscriptions.", slow_line);
        }
        SlowSubsCommand::Clear => {
            api.send(Method::DELETE, SLOW, None).await?;
            say!("ok");
            return Ok(());
        }
        SlowSubsCommand::Enable { threshold, stats_type } => (true, threshold, stats_type),
        SlowSubsCommand::Disable => (false, None, None),
    };
    let path = format!("{SLOW}/settings");
    let mut settings = api.get(&path).await?.context("the server sent no settings")?;
    settings["enable"] = enable.into();
    for (key, value) in [("threshold", threshold), ("stats_type", stats_type)] {
        if let Some(value) = value {
            settings[key] = value.into();
        }
    }
    let settings = api.send(Method::PUT, &path, Some(&settings)).await?.unwrap_or_default();
    if json {
        return print_json(&settings);
    }
    say!("ok");
    Ok(())
}

fn slow_line(slow: &Json) -> String {
    format!(
        "{} -> topic:{} timespan:{} last_update_time:{}",
        text(slow, "clientid"),
        text(slow, "topic"),
        text(slow, "timespan"),
        text(slow, "last_update_time")
    )
}
