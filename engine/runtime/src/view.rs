//! Objects as people see them: configuration without secrets, status, and who uses them.

use serde_json::{Map as JsonMap, Value as Json, json};

use crate::{ObjectClass, Origin, StatusReport};

/// A connector as people see it.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnectorView {
    /// `type:name`.
    pub id: String,
    /// Configuration with secrets as `******`.
    pub config: Json,
    /// Where it was declared.
    pub origin: Origin,
    /// Status on this node.
    pub status: StatusReport,
    /// Name of the node.
    pub node: String,
    /// Names of the actions that use it.
    pub actions: Vec<String>,
    /// Unix milliseconds.
    pub created_at_ms: i64,
    /// Unix milliseconds.
    pub last_modified_at_ms: i64,
}

/// An action as people see it.
#[derive(Clone, Debug, PartialEq)]
pub struct ActionView {
    /// `type:name`.
    pub id: String,
    /// Configuration with secrets as `******`.
    pub config: Json,
    /// Where it was declared.
    pub origin: Origin,
    /// Status on this node.
    pub status: StatusReport,
    /// Name of the node.
    pub node: String,
    /// Ids of the rules that use it.
    pub rules: Vec<String>,
    /// Ids of the actions that name it as a fallback.
    pub fallback_of: Vec<String>,
    /// Unix milliseconds.
    pub created_at_ms: i64,
    /// Unix milliseconds.
    pub last_modified_at_ms: i64,
}

/// A rule as people see it.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleView {
    /// Id.
    pub id: String,
    /// Configuration.
    pub config: JsonMap<String, Json>,
    /// Where it was declared.
    pub origin: Origin,
    /// Topic filters and event topics of its FROM.
    pub from: Vec<String>,
    /// Id and status of each of its actions; `not_found` for one that does not exist.
    pub action_details: Vec<(String, &'static str)>,
    /// Unix milliseconds.
    pub created_at_ms: i64,
    /// Unix milliseconds.
    pub last_modified_at_ms: i64,
}

/// An object with its secrets, as the server's store keeps it: they are not printed.
#[derive(Clone, PartialEq)]
pub struct StoredObject {
    /// What it is.
    pub class: ObjectClass,
    /// Its id.
    pub id: String,
    /// The whole configuration.
    pub config: Json,
    /// Unix milliseconds.
    pub created_at_ms: i64,
    /// Unix milliseconds.
    pub last_modified_at_ms: i64,
}

impl std::fmt::Debug for StoredObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredObject")
            .field("class", &self.class)
            .field("id", &self.id)
            .field("created_at_ms", &self.created_at_ms)
            .field("last_modified_at_ms", &self.last_modified_at_ms)
            .finish_non_exhaustive()
    }
}

impl ConnectorView {
    /// The object as the interface answers it.
    pub fn to_json(&self) -> Json {
        let mut object = self.config.as_object().cloned().unwrap_or_default();
        object.insert("actions".to_owned(), self.actions.clone().into());
        object.insert("sources".to_owned(), Json::Array(Vec::new()));
        insert_status(&mut object, &self.status, &self.node);
        insert_times(&mut object, self.created_at_ms, self.last_modified_at_ms);
        Json::Object(object)
    }
}

impl ActionView {
    /// The object as the interface answers it.
    pub fn to_json(&self) -> Json {
        let mut object = self.config.as_object().cloned().unwrap_or_default();
        object.insert("rules".to_owned(), self.rules.clone().into());
        insert_status(&mut object, &self.status, &self.node);
        insert_times(&mut object, self.created_at_ms, self.last_modified_at_ms);
        Json::Object(object)
    }
}

impl RuleView {
    /// The object as the interface answers it.
    pub fn to_json(&self) -> Json {
        let mut object = self.config.clone();
        object.insert("from".to_owned(), self.from.clone().into());
        let details = self.action_details.iter().map(|(id, status)| {
            let (kind, name) = id.split_once(':').unwrap_or((id, ""));
            json!({"type": kind, "name": name, "status": status})
        });
        object.insert("action_details".to_owned(), details.collect());
        object.insert("created_at".to_owned(), rfc3339(self.created_at_ms).into());
        object.insert("last_modified_at".to_owned(), rfc3339(self.last_modified_at_ms).into());
        Json::Object(object)
    }
}

fn insert_status(object: &mut JsonMap<String, Json>, status: &StatusReport, node: &str) {
    object.insert("status".to_owned(), status.status.as_str().into());
    object.insert("status_reason".to_owned(), status.reason.clone().into());
    object.insert(
        "node_status".to_owned(),
        json!([{"node": node, "status": status.status.as_str(), "status_reason": status.reason}]),
    );
}

fn insert_times(object: &mut JsonMap<String, Json>, created_at_ms: i64, last_modified_at_ms: i64) {
    object.insert("created_at".to_owned(), created_at_ms.into());
    object.insert("last_modified_at".to_owned(), last_modified_at_ms.into());
}

/// A time as RFC 3339 text in UTC, with milliseconds.
fn rfc3339(unix_ms: i64) -> String {
    let seconds = unix_ms.div_euclid(1000);
    let millis = unix_ms.rem_euclid(1000);
    let days = seconds.div_euclid(86_400);
    let of_day = seconds.rem_euclid(86_400);
    // days since 0000-03-01 in cycles of 400 years, so that the leap day is the last of its year
    let shifted = days + 719_468;
    let cycle = shifted.div_euclid(146_097);
    let of_cycle = shifted.rem_euclid(146_097);
    let year_of_cycle = (of_cycle - of_cycle / 1460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
    let of_year = of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_cycle + cycle * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}+00:00")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_print_as_rfc_3339() {
        for (unix_ms, want) in [
            (0, "1970-01-01T00:00:00.000+00:00"),
            (1_772_357_400_125, "2026-03-01T09:30:00.125+00:00"),
            (951_782_400_000, "2000-02-29T00:00:00.000+00:00"),
            (-1, "1969-12-31T23:59:59.999+00:00"),
            (4_102_444_799_999, "2099-12-31T23:59:59.999+00:00"),
        ] {
            assert_eq!(rfc3339(unix_ms), want);
        }
    }
}
