//! The configuration of a rule.

use connectors_api::{ConfigError, ConfigProblem, Period};
use serde::Deserialize;
use serde_json::{Map as JsonMap, Value as Json};

use super::fields::{Fields, as_object, json_type};
use super::republish::RepublishArgs;

/// Fields that answers have and that requests may repeat.
const READ_ONLY: &[&str] =
    &["from", "action_details", "created_at", "last_modified_at", "status", "metrics", "node_metrics"];

/// A rule, checked but for its SQL.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RuleConfig {
    /// None: to be generated.
    pub(crate) id: Option<String>,
    pub(crate) name: String,
    pub(crate) sql: String,
    pub(crate) actions: Vec<OutputConfig>,
    pub(crate) enable: bool,
    pub(crate) description: String,
    pub(crate) metadata: Json,
    pub(crate) ack_mode: AckMode,
    pub(crate) ack_timeout: Period,
    action_json: Json,
}

/// Where the rows of a rule go.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum OutputConfig {
    /// An action, by its id.
    Action(String),
    /// A message.
    Republish(Box<RepublishArgs>),
    /// A line in the log.
    Console,
}

/// When the publisher's acknowledgement may be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AckMode {
    /// The rows were accepted by the lanes.
    #[default]
    Enqueue,
    /// The rows are on disk.
    Durable,
    /// Every action confirmed its rows.
    Sink,
}

impl AckMode {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Enqueue => "enqueue",
            Self::Durable => "durable",
            Self::Sink => "sink",
        }
    }
}

impl RuleConfig {
    /// Reads a whole rule.
    ///
    /// # Errors
    /// Every problem with its path; those of the SQL are the caller's.
    pub(crate) fn read(config: &Json) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let nothing = JsonMap::new();
        let object = as_object(config, "", &mut problems).unwrap_or(&nothing);
        let mut fields = Fields::new(object, "", &mut problems);
        fields.ignore(READ_ONLY);
        let id: Option<String> = fields.take("id");
        if id.as_deref() == Some("") {
            fields.problem("id", "expected a rule id, got an empty text");
        }
        let sql: String = fields.require("sql").unwrap_or_default();
        let name = fields.take("name").unwrap_or_default();
        let enable = fields.take("enable").unwrap_or(true);
        let description = fields.take("description").unwrap_or_default();
        let metadata = fields.raw("metadata").cloned().unwrap_or_else(|| Json::Object(JsonMap::new()));
        if !metadata.is_object() {
            fields.problem("metadata", format!("expected an object, got {}", json_type(&metadata)));
        }
        let ack_mode = fields.take("ack_mode").unwrap_or_default();
        if ack_mode == AckMode::Durable {
            fields.problem(
                "ack_mode",
                "`durable` needs actions with a queue on disk, which this build does not have; expected `enqueue` or `sink`",
            );
        }
        let ack_timeout = fields.take("ack_timeout").unwrap_or(Period::seconds(30));
        let action_json = fields.raw("actions").cloned().unwrap_or_else(|| Json::Array(Vec::new()));
        fields.finish();
        let actions = read_outputs(&action_json, &mut problems);
        ConfigError::unless_empty(problems)?;
        Ok(Self { id, name, sql, actions, enable, description, metadata, ack_mode, ack_timeout, action_json })
    }

    /// The configuration as it was given, with defaults filled in.
    pub(crate) fn to_json(&self, id: &str) -> JsonMap<String, Json> {
        let mut object = JsonMap::new();
        object.insert("id".to_owned(), id.into());
        object.insert("name".to_owned(), self.name.clone().into());
        object.insert("enable".to_owned(), self.enable.into());
        object.insert("description".to_owned(), self.description.clone().into());
        object.insert("sql".to_owned(), self.sql.clone().into());
        object.insert("actions".to_owned(), self.action_json.clone());
        object.insert("metadata".to_owned(), self.metadata.clone());
        if self.ack_mode != AckMode::Enqueue {
            object.insert("ack_mode".to_owned(), self.ack_mode.as_str().into());
            object.insert("ack_timeout".to_owned(), self.ack_timeout.to_string().into());
        }
        object
    }

    /// The ids of the actions, each once.
    pub(crate) fn action_ids(&self) -> impl Iterator<Item = &str> {
        self.actions.iter().filter_map(|output| match output {
            OutputConfig::Action(id) => Some(id.as_str()),
            _ => None,
        })
    }

    /// Takes an action out of the list.
    pub(crate) fn remove_action(&mut self, id: &str) {
        self.actions.retain(|output| !matches!(output, OutputConfig::Action(action) if action == id));
        if let Json::Array(items) = &mut self.action_json {
            items.retain(|item| item.as_str() != Some(id));
        }
    }
}

fn read_outputs(value: &Json, problems: &mut Vec<ConfigProblem>) -> Vec<OutputConfig> {
    let Some(items) = value.as_array() else {
        problems.push(ConfigProblem::new("actions", format!("expected an array, got {}", json_type(value))));
        return Vec::new();
    };
    let mut outputs = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let path = format!("actions.{index}");
        match item {
            Json::String(id) => match id.split_once(':') {
                Some((kind, name)) if !kind.is_empty() && !name.is_empty() => {
                    // named twice, it gets each row once: both would have the same delivery id
                    let output = OutputConfig::Action(id.clone());
                    if !outputs.contains(&output) {
                        outputs.push(output);
                    }
                }
                _ => problems.push(ConfigProblem::new(path, format!("expected `<type>:<name>`, got `{id}`"))),
            },
            Json::Object(object) => outputs.extend(read_builtin(object, &path, problems)),
            other => problems.push(ConfigProblem::new(
                path,
                format!("expected `<type>:<name>` or an object with `function`, got {}", json_type(other)),
            )),
        }
    }
    outputs
}

fn read_builtin(
    object: &JsonMap<String, Json>,
    path: &str,
    problems: &mut Vec<ConfigProblem>,
) -> Option<OutputConfig> {
    let mut fields = Fields::new(object, path, problems);
    let function: Option<String> = fields.require("function");
    let args = fields.raw("args").cloned();
    match function.as_deref()? {
        "console" => {
            fields.finish();
            Some(OutputConfig::Console)
        }
        "republish" => {
            if args.is_none() {
                fields.problem("args", "required, but missing");
            }
            fields.finish();
            RepublishArgs::read(&args?, &format!("{path}.args"), problems)
                .map(|args| OutputConfig::Republish(Box::new(args)))
        }
        other => {
            fields.problem("function", format!("expected `republish` or `console`, got `{other}`"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rule_is_read() {
        let rule = RuleConfig::read(&json!({
            "id": "r", "sql": "SELECT * FROM \"t\"",
            "actions": ["http:a", {"function": "console"}, {"function": "republish", "args": {"topic": "x/${y}"}}],
            "from": ["t"]
        }))
        .unwrap();
        assert_eq!(rule.actions.len(), 3);
        assert_eq!(rule.action_ids().collect::<Vec<_>>(), ["http:a"]);
        assert!(rule.enable);
    }

    #[test]
    fn every_problem_is_named() {
        let ConfigError(problems) = RuleConfig::read(&json!({
            "id": "", "sqll": "x", "actions": ["http", 5, {"function": "mail"},
            {"function": "republish", "args": {"topic": "t", "qos": 3, "retian": true}}], "ack_mode": "durable"
        }))
        .unwrap_err();
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        for part in [
            "id: expected a rule id",
            "sql: required, but missing",
            "sqll: no such field, did you mean `sql`?",
            "actions.0: expected `<type>:<name>`, got `http`",
            "actions.1: expected `<type>:<name>` or an object",
            "actions.2.function: expected `republish` or `console`, got `mail`",
            "actions.3.args.qos: expected 0, 1, 2 or a placeholder, got 3",
            "actions.3.args.retian: no such field, did you mean `retain`?",
            "ack_mode: `durable` needs actions with a queue on disk",
        ] {
            assert!(problems.iter().any(|problem| problem.starts_with(part)), "{part} in {problems:#?}");
        }
    }
}
