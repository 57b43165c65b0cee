//! Reading a JSON object field by field, reporting every problem with its path.

use connectors_api::ConfigProblem;
use serde::de::DeserializeOwned;
use serde_json::{Map as JsonMap, Value as Json};

/// A JSON object whose fields are taken one by one; what is left over is unknown.
pub(crate) struct Fields<'a> {
    object: &'a JsonMap<String, Json>,
    path: &'a str,
    known: Vec<&'static str>,
    problems: &'a mut Vec<ConfigProblem>,
}

impl<'a> Fields<'a> {
    /// Starts to read `object`, which stands at `path` (empty for the whole).
    pub(crate) fn new(
        object: &'a JsonMap<String, Json>,
        path: &'a str,
        problems: &'a mut Vec<ConfigProblem>,
    ) -> Self {
        Self { object, path, known: Vec::new(), problems }
    }

    /// Takes a field as it is.
    pub(crate) fn raw(&mut self, name: &'static str) -> Option<&'a Json> {
        self.known.push(name);
        self.object.get(name)
    }

    /// Takes a field; none when it is missing or wrong, which is then a problem.
    pub(crate) fn take<T: DeserializeOwned>(&mut self, name: &'static str) -> Option<T> {
        let value = self.raw(name)?;
        match serde_path_to_error::deserialize::<_, T>(value) {
            Ok(value) => Some(value),
            Err(error) => {
                let inner = error.path().to_string();
                let path = if inner == "." { name.to_owned() } else { format!("{name}.{inner}") };
                self.problem(&path, error.into_inner().to_string());
                None
            }
        }
    }

    /// Takes a field that has to be there.
    pub(crate) fn require<T: DeserializeOwned>(&mut self, name: &'static str) -> Option<T> {
        if !self.object.contains_key(name) {
            self.known.push(name);
            self.problem(name, "required, but missing");
            return None;
        }
        self.take(name)
    }

    /// Takes a field under its name or an older one.
    pub(crate) fn take_alias<T: DeserializeOwned>(
        &mut self,
        name: &'static str,
        alias: &'static str,
    ) -> Option<T> {
        let old = self.take(alias);
        self.take(name).or(old)
    }

    /// Takes a field that must lie between two limits.
    pub(crate) fn take_within(&mut self, name: &'static str, least: u64, most: u64) -> Option<u64> {
        let value: u64 = self.take(name)?;
        if !(least..=most).contains(&value) {
            self.problem(name, format!("expected an integer from {least} to {most}, got {value}"));
            return None;
        }
        Some(value)
    }

    /// Accepts fields without reading them.
    pub(crate) fn ignore(&mut self, names: &[&'static str]) {
        self.known.extend_from_slice(names);
    }

    /// Notes a problem of a field.
    pub(crate) fn problem(&mut self, name: &str, message: impl Into<String>) {
        let path = join(self.path, name);
        self.problems.push(ConfigProblem::new(path, message));
    }

    /// Returns the fields that were not taken.
    pub(crate) fn rest(self) -> JsonMap<String, Json> {
        self.object
            .iter()
            .filter(|(name, _)| !self.known.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    /// Reports each field that was not taken.
    pub(crate) fn finish(self) {
        for name in self.object.keys().filter(|name| !self.known.contains(&name.as_str())) {
            let near = self
                .known
                .iter()
                .map(|known| (strsim::damerau_levenshtein(known, name), *known))
                .filter(|(distance, known)| *distance <= (known.len() / 3).max(1))
                .min();
            let hint = near.map_or(String::new(), |(_, known)| format!(", did you mean `{known}`?"));
            self.problems.push(ConfigProblem::new(join(self.path, name), format!("no such field{hint}")));
        }
    }
}

/// Joins a path and a field.
pub(crate) fn join(path: &str, name: &str) -> String {
    match (path, name) {
        ("", name) => name.to_owned(),
        (path, "") => path.to_owned(),
        (path, name) => format!("{path}.{name}"),
    }
}

/// Returns the object, or notes that it is none.
pub(crate) fn as_object<'a>(
    value: &'a Json,
    path: &str,
    problems: &mut Vec<ConfigProblem>,
) -> Option<&'a JsonMap<String, Json>> {
    let object = value.as_object();
    if object.is_none() {
        problems.push(ConfigProblem::new(path, format!("expected an object, got {}", json_type(value))));
    }
    object
}

/// Name of a JSON type, for messages.
pub(crate) fn json_type(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    }
}
