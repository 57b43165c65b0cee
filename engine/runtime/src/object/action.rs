//! The configuration of an action.

use connectors_api::{ConfigError, ConfigProblem, ConnectorDef};
use serde_json::{Map as JsonMap, Value as Json};

use super::connector::{CommonFields, common_json, read_common};
use super::fields::{Fields, as_object, json_type};
use super::name::object_id;
use super::republish::RepublishArgs;
use super::resource_opts::{ActionOptions, read_action_options};

/// A checked action.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ActionConfig {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) common: CommonFields,
    /// Name of the connector; its type is the action's.
    pub(crate) connector: String,
    pub(crate) parameters: Json,
    pub(crate) options: ActionOptions,
    pub(crate) resource_opts: Json,
    pub(crate) fallbacks: Vec<FallbackConfig>,
    fallback_json: Json,
}

/// Where rows go that an action failed or dropped.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum FallbackConfig {
    /// Another action, by its id.
    Action(String),
    /// A message.
    Republish(Box<RepublishArgs>),
}

impl ActionConfig {
    /// Reads and checks a whole action.
    ///
    /// # Errors
    /// Every problem with its path.
    pub(crate) fn read(
        config: &Json,
        def: &ConnectorDef,
        kind: &str,
        name: &str,
    ) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let nothing = JsonMap::new();
        let object = as_object(config, "", &mut problems).unwrap_or(&nothing);
        let mut fields = Fields::new(object, "", &mut problems);
        let common = read_common(&mut fields);
        let connector = fields.require::<String>("connector").unwrap_or_default();
        let parameters = fields.require::<Json>("parameters");
        let resource_opts = fields.raw("resource_opts").cloned();
        let fallback_json =
            fields.raw("fallback_actions").cloned().unwrap_or_else(|| Json::Array(Vec::new()));
        fields.finish();
        let options = read_action_options(resource_opts.as_ref(), def.capabilities, &mut problems);
        let fallbacks = read_fallbacks(&fallback_json, &object_id(kind, name), &mut problems);
        if let Some(parameters) = &parameters
            && let Err(ConfigError(found)) = (def.check_action)(parameters)
        {
            problems.extend(found.into_iter().map(in_parameters));
        }
        ConfigError::unless_empty(problems)?;
        Ok(Self {
            kind: kind.to_owned(),
            name: name.to_owned(),
            common,
            connector,
            parameters: parameters.unwrap_or_default(),
            options,
            resource_opts: resource_opts.unwrap_or_else(|| Json::Object(JsonMap::new())),
            fallbacks,
            fallback_json,
        })
    }

    /// The id of the connector.
    pub(crate) fn connector_id(&self) -> String {
        object_id(&self.kind, &self.connector)
    }

    /// The configuration as it was given, with the common fields filled in.
    pub(crate) fn to_json(&self) -> Json {
        let mut object = common_json(&self.kind, &self.name, &self.common);
        object.insert("connector".to_owned(), self.connector.clone().into());
        object.insert("parameters".to_owned(), self.parameters.clone());
        object.insert("resource_opts".to_owned(), self.resource_opts.clone());
        object.insert("fallback_actions".to_owned(), self.fallback_json.clone());
        Json::Object(object)
    }
}

/// A connector names its fields from the parameters on; people see them from the action on.
fn in_parameters(problem: ConfigProblem) -> ConfigProblem {
    match problem.path.as_str() {
        "" => ConfigProblem::new("parameters", problem.message),
        path if path == "parameters" || path.starts_with("parameters.") => problem,
        path => ConfigProblem::new(format!("parameters.{path}"), problem.message),
    }
}

fn read_fallbacks(value: &Json, own_id: &str, problems: &mut Vec<ConfigProblem>) -> Vec<FallbackConfig> {
    let Some(items) = value.as_array() else {
        problems.push(ConfigProblem::new(
            "fallback_actions",
            format!("expected an array, got {}", json_type(value)),
        ));
        return Vec::new();
    };
    let mut fallbacks = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let path = format!("fallback_actions.{index}");
        let Some(object) = as_object(item, &path, problems) else { continue };
        let mut fields = Fields::new(object, &path, problems);
        match fields.require::<String>("kind").as_deref() {
            Some("reference") => {
                let kind: Option<String> = fields.require("type");
                let name: Option<String> = fields.require("name");
                fields.finish();
                if let (Some(kind), Some(name)) = (kind, name) {
                    fallbacks.push(FallbackConfig::Action(object_id(&kind, &name)));
                }
            }
            Some("republish") => {
                let args = fields.require::<Json>("args");
                fields.finish();
                let args =
                    args.and_then(|args| RepublishArgs::read(&args, &format!("{path}.args"), problems));
                fallbacks.extend(args.map(|args| FallbackConfig::Republish(Box::new(args))));
            }
            Some(other) => {
                fields.problem("kind", format!("expected `reference` or `republish`, got `{other}`"));
            }
            None => {}
        }
    }
    // an action that names itself is ignored
    fallbacks.retain(|fallback| !matches!(fallback, FallbackConfig::Action(id) if id == own_id));
    fallbacks
}
