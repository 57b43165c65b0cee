//! FROM: what a rule selects (rule language, section 12).

use engine_event::{EVENTS, Event, EventKind, Text, topic};

use crate::syntax::{Rule, SourceName};
use crate::{Problem, SqlErrors};

/// Something that a rule selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Messages whose topic matches the filter.
    Topic(String),
    /// Events of a kind.
    Event(EventKind),
    /// Messages that a source brings in: `$bridges/<type>:<name>`.
    Bridge(String),
}

const EVENTS_PREFIX: &str = "$events/";
const BRIDGES_PREFIX: &str = "$bridges/";
const SOURCES_PREFIX: &str = "$sources/";

/// Checks the names after FROM.
pub(super) fn check(sql: &str, rule: &Rule) -> Result<Vec<Source>, SqlErrors> {
    let mut sources = Vec::new();
    let mut problems = Vec::new();
    for name in &rule.from {
        match read(sql, name) {
            Ok(read) => {
                for source in read {
                    if !sources.contains(&source) {
                        sources.push(source);
                    }
                }
            }
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(sources) } else { Err(problems.into()) }
}

/// Tells whether one of `sources` selects the event.
pub(super) fn select(sources: &[Source], event: &Event) -> bool {
    match event.kind() {
        Some(EventKind::MessagePublish) => {
            let Some(name) = event.topic() else { return false };
            sources.iter().any(|source| match source {
                Source::Topic(filter) => topic::matches(filter.as_bytes(), name.as_bytes()),
                Source::Event(_) | Source::Bridge(_) => false,
            })
        }
        Some(kind) => sources.contains(&Source::Event(kind)),
        None => {
            let name = event.column_named("event");
            let name = name.as_text().and_then(Text::as_str).map(bridge_name);
            sources.iter().any(|source| match source {
                Source::Bridge(bridge) => name.is_some_and(|name| is_bridge(bridge, name)),
                Source::Topic(_) | Source::Event(_) => false,
            })
        }
    }
}

fn read(sql: &str, name: &SourceName) -> Result<Vec<Source>, Problem> {
    let text = name.name.as_str();
    if text.starts_with(EVENTS_PREFIX) {
        return events(sql, name);
    }
    if text.starts_with(BRIDGES_PREFIX) || text.starts_with(SOURCES_PREFIX) {
        let named = bridge_name(text)
            .split_once(':')
            .is_some_and(|(kind, name)| !kind.is_empty() && !name.is_empty());
        if !named {
            let message = format!("`{text}` names no source, expected `{BRIDGES_PREFIX}<type>:<name>`");
            return Err(Problem::new(sql, name.span, message));
        }
        return Ok(vec![Source::Bridge(bridge_name(text).to_owned())]);
    }
    if !topic::is_valid_filter(text) {
        let message = format!("`{text}` is not a topic filter");
        let hint = "`+` stands for a whole level, `#` for all levels at the end";
        return Err(Problem::new(sql, name.span, message).with_hint(hint));
    }
    Ok(vec![Source::Topic(text.to_owned())])
}

fn events(sql: &str, name: &SourceName) -> Result<Vec<Source>, Problem> {
    let text = name.name.as_str();
    if text.contains(['+', '#']) {
        let matching = EVENTS.iter().filter(|event| {
            let matches =
                |topic: &str| !topic.is_empty() && topic::matches(text.as_bytes(), topic.as_bytes());
            topic::is_valid_filter(text) && (matches(event.topic) || matches(event.old_topic))
        });
        let sources: Vec<_> = matching.map(|event| Source::Event(event.kind)).collect();
        if !sources.is_empty() {
            return Ok(sources);
        }
    } else if let Some(kind) = EventKind::by_topic(text) {
        return Ok(vec![Source::Event(kind)]);
    }
    let problem = Problem::new(sql, name.span, format!("no event named `{text}`"));
    Err(problem.did_you_mean(nearest(text)))
}

fn nearest(text: &str) -> Option<&'static str> {
    EVENTS
        .iter()
        .flat_map(|event| [event.topic, event.old_topic])
        .filter(|topic| !topic.is_empty())
        .map(|topic| (strsim::damerau_levenshtein(text, topic), topic))
        .min()
        .filter(|(distance, _)| *distance <= 4)
        .map(|(_, topic)| topic)
}

/// `<type>:<name>` of a source, without its prefix.
fn bridge_name(text: &str) -> &str {
    text.strip_prefix(BRIDGES_PREFIX).or_else(|| text.strip_prefix(SOURCES_PREFIX)).unwrap_or(text)
}

/// Tells whether `name` is the source `bridge`; `mqtt:*` of a rule test is any source of its type.
fn is_bridge(bridge: &str, name: &str) -> bool {
    match name.strip_suffix('*') {
        Some(kind) if kind.ends_with(':') => bridge.starts_with(kind),
        _ => bridge == name,
    }
}
