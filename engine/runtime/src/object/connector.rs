//! The configuration of a connector.

use connectors_api::{ConfigError, ConfigProblem, ConnectorDef};
use serde_json::{Map as JsonMap, Value as Json};

use super::fields::{Fields, as_object};
use super::name::check_name;
use super::resource_opts::{ConnectorOptions, read_connector_options};

/// Fields that answers have and that requests may repeat.
const READ_ONLY: &[&str] = &[
    "created_at",
    "last_modified_at",
    "status",
    "status_reason",
    "node_status",
    "node_metrics",
    "metrics",
    "actions",
    "sources",
    "rules",
];

/// A checked connector.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ConnectorConfig {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) common: CommonFields,
    pub(crate) options: ConnectorOptions,
    pub(crate) resource_opts: Json,
    /// The type's own fields.
    pub(crate) own: Json,
}

/// Fields that connectors and actions share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommonFields {
    pub(crate) enable: bool,
    pub(crate) description: String,
    pub(crate) tags: Vec<String>,
}

/// Names the type and the name of a connector or an action.
///
/// # Errors
/// When one of them is missing or malformed.
pub(crate) fn read_identity(config: &Json) -> Result<(String, String), ConfigError> {
    let mut problems = Vec::new();
    let mut kind = None;
    let mut name = None;
    if let Some(object) = as_object(config, "", &mut problems) {
        let mut fields = Fields::new(object, "", &mut problems);
        kind = fields.require::<String>("type");
        name = fields.require::<String>("name");
    }
    if let Some(name) = &name {
        check_name(name, &mut problems);
    }
    ConfigError::unless_empty(problems)?;
    Ok((kind.unwrap_or_default(), name.unwrap_or_default()))
}

pub(crate) fn read_common(fields: &mut Fields<'_>) -> CommonFields {
    fields.ignore(&["type", "name"]);
    fields.ignore(READ_ONLY);
    CommonFields {
        enable: fields.take("enable").unwrap_or(true),
        description: fields.take("description").unwrap_or_default(),
        tags: fields.take("tags").unwrap_or_default(),
    }
}

impl ConnectorConfig {
    /// Reads and checks a whole connector.
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
        let resource_opts = fields.raw("resource_opts").cloned();
        let own = Json::Object(fields.rest());
        let options = read_connector_options(resource_opts.as_ref(), &mut problems);
        if let Err(ConfigError(found)) = (def.check_connector)(&own) {
            problems.extend(found);
        }
        ConfigError::unless_empty(problems)?;
        Ok(Self {
            kind: kind.to_owned(),
            name: name.to_owned(),
            common,
            options,
            resource_opts: resource_opts.unwrap_or_else(|| Json::Object(JsonMap::new())),
            own,
        })
    }

    /// The configuration as it was given, with the common fields filled in.
    pub(crate) fn to_json(&self) -> Json {
        let mut object = common_json(&self.kind, &self.name, &self.common);
        if let Json::Object(own) = &self.own {
            object.extend(own.clone());
        }
        object.insert("resource_opts".to_owned(), self.resource_opts.clone());
        Json::Object(object)
    }
}

pub(crate) fn common_json(kind: &str, name: &str, common: &CommonFields) -> JsonMap<String, Json> {
    let mut object = JsonMap::new();
    object.insert("type".to_owned(), kind.into());
    object.insert("name".to_owned(), name.into());
    object.insert("enable".to_owned(), common.enable.into());
    object.insert("description".to_owned(), common.description.clone().into());
    object.insert("tags".to_owned(), common.tags.clone().into());
    object
}

/// Looks a connector type up, with the nearest name when there is none.
///
/// # Errors
/// A problem of the field `type`.
pub(crate) fn unknown_type(kind: &str, known: impl Iterator<Item = &'static str>) -> ConfigError {
    let near = known
        .map(|known| (strsim::damerau_levenshtein(known, kind), known))
        .filter(|(distance, known)| *distance <= (known.len() / 3).max(1))
        .min();
    let hint = near.map_or(String::new(), |(_, known)| format!(", did you mean `{known}`?"));
    ConfigError(vec![ConfigProblem::new("type", format!("no connector type `{kind}` in this build{hint}"))])
}
