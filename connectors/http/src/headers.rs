//! Headers of a request: names and values are templates.

use std::collections::BTreeMap;

use connectors_api::{ConfigProblem, Reason, names_delivery_id};
use engine_event::{Missing, Row, Template};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Headers of every request unless connector or action set the same name.
const DEFAULTS: [(&str, &str); 5] = [
    ("accept", "application/json"),
    ("content-type", "application/json"),
    ("cache-control", "no-cache"),
    ("connection", "keep-alive"),
    ("keep-alive", "timeout=5"),
];

/// Headers that follow from the request itself.
const OURS: [HeaderName; 5] =
    [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::TE, header::TRAILER, header::UPGRADE];

/// Name of the header that carries the delivery id.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A header with placeholders.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HeaderPlan {
    name: Template,
    value: Template,
}

impl HeaderPlan {
    fn new(name: &str, value: &str) -> Self {
        Self { name: Template::new(name), value: Template::new(value) }
    }

    /// Tells whether this header has the fixed name `name`.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        self.name.source().eq_ignore_ascii_case(name)
    }

    fn render(&self, row: &Row) -> Result<(HeaderName, HeaderValue), Reason> {
        let name = read_name(&self.name.render(row, Missing::Undefined)).map_err(Reason::render)?;
        let value = HeaderValue::from_bytes(self.value.render(row, Missing::Undefined).trim_ascii())
            .map_err(|_| {
                Reason::render(format!(
                    "header `{name}`: the value holds a line break or another control character"
                ))
            })?;
        Ok((name, value))
    }

    fn is_fixed(&self) -> bool {
        self.name.is_fixed() && self.value.is_fixed()
    }
}

/// Compiles configured headers; notes those that can never be sent.
pub(crate) fn check_headers(
    fields: &BTreeMap<String, String>,
    problems: &mut Vec<ConfigProblem>,
) -> Vec<HeaderPlan> {
    let mut plans = Vec::with_capacity(fields.len());
    for (name, value) in fields {
        let plan = HeaderPlan::new(name, value);
        let empty = Row::new();
        let checked = match (plan.name.is_fixed(), plan.value.is_fixed()) {
            (true, true) => plan.render(&empty).map(drop).map_err(|reason| reason.message),
            (true, false) => read_name(&plan.name.render(&empty, Missing::Undefined)).map(drop),
            (false, _) => Ok(()),
        };
        if let Err(message) = checked {
            problems.push(ConfigProblem::new(format!("headers.{name}"), message));
        }
        plans.push(plan);
    }
    plans
}

fn read_name(name: &[u8]) -> Result<HeaderName, String> {
    let shown = || String::from_utf8_lossy(&name[..name.len().min(64)]).into_owned();
    let parsed = HeaderName::from_bytes(name).map_err(|_| format!("`{}` is not a header name", shown()))?;
    if OURS.contains(&parsed) {
        return Err(format!("`{parsed}` follows from the request and cannot be set"));
    }
    Ok(parsed)
}

/// The headers of an action: fixed ones made once, the others for each row.
#[derive(Clone, Debug)]
pub(crate) struct HeaderSet {
    fixed: HeaderMap,
    rendered: Vec<HeaderPlan>,
    /// Whether a delivery id is added, because no header of that name is configured.
    adds_idempotency_key: bool,
}

impl HeaderSet {
    /// Merges the defaults, the connector's and the action's headers; the later win on the same name.
    ///
    /// A request without a body has no `content-type`.
    pub(crate) fn merge(
        connector: &[HeaderPlan],
        action: &[HeaderPlan],
        has_body: bool,
    ) -> Result<Self, Reason> {
        let defaults = DEFAULTS.map(|(name, value)| HeaderPlan::new(name, value));
        let mut merged: BTreeMap<String, &HeaderPlan> = BTreeMap::new();
        for plan in defaults.iter().chain(connector).chain(action) {
            merged.insert(plan.name.source().to_ascii_lowercase(), plan);
        }
        if !has_body {
            merged.remove("content-type");
        }
        let adds_idempotency_key = !merged.contains_key(IDEMPOTENCY_KEY.as_str());
        let mut set = Self { fixed: HeaderMap::new(), rendered: Vec::new(), adds_idempotency_key };
        for plan in merged.into_values() {
            if plan.is_fixed() {
                let (name, value) = plan.render(&Row::new())?;
                set.fixed.insert(name, value);
            } else {
                set.rendered.push(plan.clone());
            }
        }
        Ok(set)
    }

    /// Sets a header of every request.
    pub(crate) fn insert_fixed(&mut self, name: HeaderName, value: HeaderValue) {
        self.fixed.insert(name, value);
    }

    /// Tells whether the fixed name is among the headers.
    pub(crate) fn has_fixed(&self, name: &HeaderName) -> bool {
        self.fixed.contains_key(name) || self.rendered.iter().any(|plan| plan.is_named(name.as_str()))
    }

    /// Tells whether a template names the delivery id.
    pub(crate) fn names_delivery_id(&self) -> bool {
        self.rendered.iter().any(|plan| names_delivery_id(&plan.name) || names_delivery_id(&plan.value))
    }

    /// Makes the headers of a row.
    pub(crate) fn render(&self, row: &Row, delivery_id: &[u8]) -> Result<HeaderMap, Reason> {
        let mut headers = self.fixed.clone();
        for plan in &self.rendered {
            let (name, value) = plan.render(row)?;
            headers.insert(name, value);
        }
        if self.adds_idempotency_key && !headers.contains_key(IDEMPOTENCY_KEY) {
            // a delivery id is made by us from letters, digits and marks; one that is not is left out
            if let Ok(value) = HeaderValue::from_bytes(delivery_id) {
                headers.insert(IDEMPOTENCY_KEY, value);
            }
        }
        Ok(headers)
    }
}

/// Tells whether a header holds something that must not be shown.
pub(crate) fn is_sensitive(name: &HeaderName) -> bool {
    const WORDS: [&str; 7] = ["auth", "cookie", "token", "secret", "api-key", "apikey", "password"];
    WORDS.iter().any(|word| name.as_str().contains(word))
}

#[cfg(test)]
mod tests {
    use engine_event::{Text, Value};

    use super::*;

    fn plans(headers: &[(&str, &str)]) -> Vec<HeaderPlan> {
        headers.iter().map(|(name, value)| HeaderPlan::new(name, value)).collect()
    }

    #[test]
    fn the_action_wins_over_the_connector_over_the_defaults() {
        let connector = plans(&[("Accept", "text/plain"), ("x-site", "${site}"), ("x-a", "1")]);
        let action = plans(&[("X-A", "2"), ("${k}", "v")]);
        let set = HeaderSet::merge(&connector, &action, true).unwrap();
        let row: Row = [("site", "b1"), ("k", "x-dynamic")].into_iter().collect();
        let headers = set.render(&row, b"id-1").unwrap();
        for (name, want) in [
            ("accept", "text/plain"),
            ("content-type", "application/json"),
            ("cache-control", "no-cache"),
            ("connection", "keep-alive"),
            ("keep-alive", "timeout=5"),
            ("x-site", "b1"),
            ("x-a", "2"),
            ("x-dynamic", "v"),
            ("idempotency-key", "id-1"),
        ] {
            assert_eq!(headers.get(name).map(|value| value.to_str().unwrap()), Some(want), "{name}");
        }
        assert_eq!(headers.len(), 9);
    }

    #[test]
    fn an_own_idempotency_key_is_kept() {
        let set = HeaderSet::merge(&[], &plans(&[("Idempotency-Key", "${n}")]), true).unwrap();
        let row: Row = [("n", 7_i64)].into_iter().collect();
        assert_eq!(set.render(&row, b"id-1").unwrap()["idempotency-key"], "7");
        let set = HeaderSet::merge(&[], &plans(&[("idempotency-${n}", "own")]), true).unwrap();
        let row: Row = [("n", "key")].into_iter().collect();
        assert_eq!(set.render(&row, b"id-1").unwrap()["idempotency-key"], "own");
    }

    #[test]
    fn no_body_no_content_type() {
        let set = HeaderSet::merge(&[], &[], false).unwrap();
        assert!(!set.render(&Row::new(), b"i").unwrap().contains_key("content-type"));
    }

    #[test]
    fn a_value_cannot_add_a_header() {
        let set = HeaderSet::merge(&[], &plans(&[("x-a", "${a}"), ("${b}", "1")]), true).unwrap();
        for (a, b) in
            [("x\r\nevil: 1", "x-b"), ("x", "x: y"), ("x", "content-length"), ("x", ""), ("x\0", "x-b")]
        {
            let row: Row = [("a", a), ("b", b)].into_iter().collect();
            assert!(set.render(&row, b"i").is_err(), "{a:?} {b:?}");
        }
        let row: Row = [("a", Value::Text(Text::copy_from(b"caf\xe9"))), ("b", Value::text("x-b"))]
            .into_iter()
            .collect();
        assert_eq!(set.render(&row, b"i").unwrap()["x-a"].as_bytes(), b"caf\xe9");
    }

    #[test]
    fn what_looks_like_a_secret_is_sensitive() {
        for (name, secret) in [
            ("authorization", true),
            ("cookie", true),
            ("x-api-key", true),
            ("x-auth-token", true),
            ("accept", false),
        ] {
            assert_eq!(is_sensitive(&HeaderName::from_static(name)), secret, "{name}");
        }
    }
}
