//! What the tests of this folder share.
#![allow(dead_code, reason = "each test file uses its part")]

use std::path::Path;
use std::time::Duration;

use connectors_api::Delivery;
use connectors_testkit::{Harness, SCRIPTED, ScriptedTarget};
use engine_event::{Map, Value};
use serde_json::{Value as Json, json};

pub(crate) const LIMIT: Duration = Duration::from_secs(600);
pub(crate) const SQL: &str = "SELECT clientid, payload.n AS n FROM \"in/#\"";

/// An engine with one connector, one action and one rule.
pub(crate) struct Bench {
    pub(crate) target: ScriptedTarget,
    pub(crate) harness: Harness,
}

/// Makes an engine with the connector `scripted:c`, its action `scripted:a` with `resource_opts`, and the rule `r`.
pub(crate) async fn bench(resource_opts: Json) -> Bench {
    bench_with(json!({"resource_opts": resource_opts})).await
}

/// As [`bench`], with other fields of the action.
pub(crate) async fn bench_with(action: Json) -> Bench {
    let target = ScriptedTarget::new();
    let harness = Harness::new([SCRIPTED], Path::new("."));
    harness.connector(&SCRIPTED, "c", target.connector_fields(), json!({})).await;
    harness.action(&SCRIPTED, "a", "c", action).await;
    harness.rule("r", SQL, json!(["scripted:a"]));
    Bench { target, harness }
}

impl Bench {
    pub(crate) fn publish(&self, client: &str, n: i64) {
        self.harness.publish(client, "in/t", &json!({"n": n}));
    }

    pub(crate) async fn settled(&self) {
        self.harness.settled("scripted:a", "r", LIMIT).await;
    }

    /// The numbers that the target took.
    pub(crate) fn accepted(&self) -> Vec<i64> {
        self.target.accepted().iter().map(number).collect()
    }
}

pub(crate) fn number(delivery: &Delivery) -> i64 {
    int(&delivery.row, "n")
}

pub(crate) fn int(row: &Map, name: &str) -> i64 {
    match row.get(name) {
        Some(Value::Int(number)) => *number,
        other => panic!("{name}: expected a number, got {other:?}"),
    }
}

pub(crate) fn text(row: &Map, name: &str) -> String {
    match row.get(name) {
        Some(Value::Text(text)) => text.to_string(),
        other => panic!("{name}: expected a text, got {other:?}"),
    }
}
