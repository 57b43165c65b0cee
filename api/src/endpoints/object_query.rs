//! The filters of the lists of connectors and actions.

use serde::Deserialize;
use serde_json::Value as Json;
use utoipa::IntoParams;

use super::namespace::check_namespace;
use crate::web::{Answer, PageRequest};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ObjectQuery {
    /// Number of the page, from 1; without it and `limit` the list is whole.
    page: Option<u32>,
    /// Most elements of a page, 1 to 10,000.
    limit: Option<u32>,
    /// Only of this type.
    r#type: Option<String>,
    /// Only with this label.
    tag: Option<String>,
    /// Only in this status.
    status: Option<String>,
    /// Part of the name.
    like_name: Option<String>,
    /// Namespace; there is only the global one.
    ns: Option<String>,
    /// Accepted: there is only the global namespace.
    only_global: Option<bool>,
}

impl ObjectQuery {
    /// Picks from objects in the form in which they are answered.
    pub(super) fn pick(&self, objects: impl Iterator<Item = Json>) -> Answer<Vec<Json>> {
        check_namespace(self.ns.as_deref(), self.only_global)?;
        let picked = objects.filter(|object| self.accepts(object));
        if self.page.is_none() && self.limit.is_none() {
            return Ok(picked.collect());
        }
        let page = PageRequest::new(self.page, self.limit)?;
        Ok(picked.skip(page.skip()).take(page.limit()).collect())
    }

    fn accepts(&self, object: &Json) -> bool {
        let is = |field: &str, wanted: &Option<String>| {
            wanted.as_ref().is_none_or(|wanted| object.get(field).and_then(Json::as_str) == Some(wanted))
        };
        let tags = object.get("tags").and_then(Json::as_array);
        let name = object.get("name").and_then(Json::as_str).unwrap_or_default();
        is("type", &self.r#type)
            && is("status", &self.status)
            && self.like_name.as_ref().is_none_or(|part| name.contains(part))
            && self.tag.as_ref().is_none_or(|wanted| {
                tags.is_some_and(|tags| tags.iter().any(|tag| tag.as_str() == Some(wanted)))
            })
    }
}

/// The fields of an object that a table shows.
pub(super) fn summary(object: &Json) -> Json {
    const FIELDS: [&str; 11] = [
        "enable",
        "name",
        "type",
        "description",
        "tags",
        "created_at",
        "last_modified_at",
        "rules",
        "status",
        "status_reason",
        "node_status",
    ];
    let fields = FIELDS.into_iter().filter_map(|name| Some((name.to_owned(), object.get(name)?.clone())));
    Json::Object(fields.collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn filters_are_joined() {
        let objects = [
            json!({"type": "http", "name": "alpha", "tags": ["x"], "status": "connected"}),
            json!({"type": "http", "name": "beta", "tags": ["x", "y"], "status": "disconnected"}),
            json!({"type": "sqlite", "name": "alpine", "tags": [], "status": "connected"}),
        ];
        let check = |query: Json, expect: &[&str]| {
            let query: ObjectQuery = serde_json::from_value(query).unwrap();
            let picked = query.pick(objects.iter().cloned()).unwrap();
            let names: Vec<_> = picked.iter().map(|object| object["name"].as_str().unwrap()).collect();
            assert_eq!(names, expect);
        };
        check(json!({}), &["alpha", "beta", "alpine"]);
        check(json!({"type": "http", "tag": "x"}), &["alpha", "beta"]);
        check(json!({"tag": "y"}), &["beta"]);
        check(json!({"status": "connected", "like_name": "alp"}), &["alpha", "alpine"]);
        check(json!({"page": 2, "limit": 2}), &["alpine"]);
        check(json!({"type": "kafka"}), &[]);
    }
}
