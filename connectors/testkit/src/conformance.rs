//! The cases that every connector has to pass, through a real engine.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use connectors_api::{ConnectorDef, Secret};
use engine_event::Value;
use serde_json::{Value as Json, json};

use crate::{Harness, SCRIPTED, ScriptedTarget, until};

/// A connector type with a target that a test controls.
#[async_trait]
pub trait Subject: Send + Sync {
    /// The type.
    fn definition(&self) -> ConnectorDef;

    /// The connector's own fields.
    fn connector(&self) -> Json;

    /// `parameters` of an action that writes `${client}`, `${n}` and `${v}`. `v` is `good`, or `bad` for a row that
    /// the target has to refuse.
    fn parameters(&self) -> Json;

    /// Lets the target be there, or away.
    async fn set_up(&self, up: bool);

    /// Client and number of each row that the target has, in the order in which it took them.
    async fn written(&self) -> Vec<(String, i64)>;

    /// The code with which a bad row is refused.
    fn bad_code(&self) -> &'static str;

    /// A secret of the configuration; empty when there is none.
    fn secret(&self) -> Secret;
}

const RULE: &str = "r";
const SQL: &str = "SELECT clientid AS client, payload.n AS n, payload.v AS v FROM \"in/#\"";
const LIMIT: Duration = Duration::from_secs(30);
const CLIENTS: i64 = 4;

/// Runs every case, each with an engine of its own.
///
/// # Panics
/// When a case fails.
pub async fn run(subject: &dyn Subject, data_dir: &Path) {
    let mut case = Case { subject, data_dir, first: 0 };
    case.down_at_creation().await;
    case.outage_under_load().await;
    case.one_bad_row().await;
    case.restart_while_busy().await;
    case.slow_neighbour().await;
    case.shutdown_drains().await;
}

/// A run of cases. Numbers of rows go on from case to case, so the target need not be emptied.
struct Case<'a> {
    subject: &'a dyn Subject,
    data_dir: &'a Path,
    first: i64,
}

impl Case<'_> {
    /// An engine with the connector `c`, its action `a` and a rule.
    async fn harness(&self, more: Json) -> Harness {
        let def = self.subject.definition();
        let harness = Harness::new([def, SCRIPTED], self.data_dir);
        let options = json!({"health_check_interval": "200ms", "start_timeout": "1s"});
        harness.connector(&def, "c", self.subject.connector(), options).await;
        let mut action = more;
        action["parameters"] = self.subject.parameters();
        harness.action(&def, "a", "c", action).await;
        harness.rule(RULE, SQL, json!([self.id()]));
        harness
    }

    fn id(&self) -> String {
        format!("{}:a", self.subject.definition().kind)
    }

    fn connector_id(&self) -> String {
        format!("{}:c", self.subject.definition().kind)
    }

    fn options() -> Json {
        json!({"resource_opts": {
            "worker_pool_size": 4, "request_ttl": "60s", "health_check_interval": "200ms",
            "retry_backoff": {"initial": "20ms", "max": "200ms"}
        }})
    }

    /// Publishes `count` rows, by turns of several clients.
    fn publish(&mut self, harness: &Harness, count: i64) {
        for n in self.first..self.first + count {
            let client = format!("client-{}", n % CLIENTS);
            harness.publish(&client, "in/t", &json!({"n": n, "v": "good"}));
        }
        self.first += count;
    }

    /// Waits until everything is delivered, then checks that rows from `first` on are all there, each client's in
    /// order.
    async fn assert_written(&self, harness: &Harness, first: i64) {
        harness.settled(&self.id(), RULE, LIMIT).await;
        let metrics = harness.metrics(&self.id());
        let count = (self.first - first) as u64;
        assert_eq!(metrics.success, count, "every row is confirmed: {metrics:?}");
        assert_eq!(harness.rule_metrics(RULE).actions_success, count);
        let mut by_client: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for (client, n) in self.subject.written().await {
            // a row whose answer was lost may come again: its first arrival counts
            let numbers = by_client.entry(client).or_default();
            if n >= first && !numbers.contains(&n) {
                numbers.push(n);
            }
        }
        let written: usize = by_client.values().map(Vec::len).sum();
        assert_eq!(written as u64, count, "nothing is lost");
        for (client, numbers) in by_client {
            assert!(numbers.is_sorted(), "the rows of {client} keep their order: {numbers:?}");
        }
    }

    async fn until_connected(&self, harness: &Harness) {
        let id = self.id();
        until("the action is connected", LIMIT, || harness.action_status(&id) == "connected").await;
    }

    /// No view shows the secret, and the engine stops.
    async fn end(&self, harness: Harness) {
        let secret = self.subject.secret().reveal().expect("a secret");
        if !secret.is_empty() {
            for view in harness.engine.connectors() {
                let shown = format!("{view:?} {}", view.to_json());
                assert!(!shown.contains(&secret), "a secret is shown: {shown}");
            }
            for view in harness.engine.actions() {
                let shown = format!("{view:?} {:?}", harness.metrics(&view.id));
                assert!(!shown.contains(&secret), "a secret is shown: {shown}");
            }
        }
        let report = harness.shutdown(LIMIT).await;
        assert!(report.drained, "{report:?}");
    }

    async fn down_at_creation(&mut self) {
        let first = self.first;
        self.subject.set_up(false).await;
        let harness = self.harness(Self::options()).await;
        let view =
            harness.engine.connector(&self.connector_id()).expect("is created although the target is down");
        assert_eq!(view.status.status.as_str(), "disconnected");
        assert_ne!(view.status.reason, "");
        self.publish(&harness, 20);
        let metrics = harness.metrics(&self.id());
        assert_eq!((metrics.queuing, metrics.success), (20, 0), "rows wait: {metrics:?}");
        self.subject.set_up(true).await;
        self.until_connected(&harness).await;
        self.assert_written(&harness, first).await;
        self.end(harness).await;
    }

    async fn outage_under_load(&mut self) {
        let first = self.first;
        let harness = self.harness(Self::options()).await;
        self.until_connected(&harness).await;
        for step in 0..30 {
            match step {
                5 => self.subject.set_up(false).await,
                20 => self.subject.set_up(true).await,
                _ => {}
            }
            self.publish(&harness, 20);
            harness.assert_balanced(&self.id());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.assert_written(&harness, first).await;
        self.end(harness).await;
    }

    async fn one_bad_row(&mut self) {
        let spill = ScriptedTarget::new();
        let mut more = Self::options();
        more["resource_opts"]["batch_size"] = json!(100);
        more["resource_opts"]["batch_time"] = json!("50ms");
        more["fallback_actions"] = json!([{"kind": "reference", "type": "scripted", "name": "spill"}]);
        let harness = self.harness(more).await;
        harness.connector(&SCRIPTED, "spill", spill.connector_fields(), json!({})).await;
        harness.action(&SCRIPTED, "spill", "spill", json!({})).await;
        self.until_connected(&harness).await;
        for n in self.first..self.first + 100 {
            let v = if n == self.first + 50 { "bad" } else { "good" };
            harness.publish("one", "in/t", &json!({"n": n, "v": v}));
        }
        let bad = self.first + 50;
        self.first += 100;
        harness.settled(&self.id(), RULE, LIMIT).await;
        let metrics = harness.metrics(&self.id());
        assert_eq!((metrics.success, metrics.failed), (99, 1), "{metrics:?}");
        assert_eq!(harness.rule_metrics(RULE).actions_failed_unknown, 1);
        until("the bad row is spilt", LIMIT, || spill.accepted().len() == 1).await;
        let row = spill.accepted().remove(0).row;
        let shown = format!("{row:?}");
        assert_eq!(row.get("n"), Some(&Value::Int(bad)), "{shown}");
        let fallback = row.get("fallback").and_then(|fallback| fallback.as_map()).expect("the reason");
        let word = |name: &str| fallback.get(name).and_then(|value| value.as_text()).cloned();
        assert!(word("code").is_some_and(|code| code == self.subject.bad_code()), "{shown}");
        assert!(word("reason").is_some_and(|reason| reason == "rejected"), "{shown}");
        let written = self.subject.written().await;
        assert!(!written.iter().any(|(_, n)| *n == bad), "the bad row is not there");
        self.end(harness).await;
    }

    async fn restart_while_busy(&mut self) {
        let first = self.first;
        let harness = self.harness(Self::options()).await;
        self.until_connected(&harness).await;
        for _ in 0..5 {
            self.publish(&harness, 40);
            let def = self.subject.definition();
            let mut config = self.subject.connector();
            config["type"] = def.kind.into();
            config["name"] = "c".into();
            config["resource_opts"] = json!({"health_check_interval": "200ms"});
            harness.engine.update_connector(&self.connector_id(), config).await.expect("restarts");
            harness.assert_balanced(&self.id());
        }
        self.assert_written(&harness, first).await;
        self.end(harness).await;
    }

    async fn slow_neighbour(&mut self) {
        let first = self.first;
        let slow = ScriptedTarget::new();
        slow.set_pause(Duration::from_secs(3600));
        let harness = self.harness(Self::options()).await;
        harness.connector(&SCRIPTED, "slow", slow.connector_fields(), json!({})).await;
        harness.action(&SCRIPTED, "slow", "slow", json!({})).await;
        harness.rule("slow", SQL, json!(["scripted:slow"]));
        self.until_connected(&harness).await;
        self.publish(&harness, 100);
        self.assert_written(&harness, first).await;
        let metrics = harness.metrics("scripted:slow");
        assert_eq!((metrics.success, metrics.matched), (0, 100), "{metrics:?}");
        assert!(metrics.is_balanced(), "{metrics:?}");
        harness.engine.delete_rule("slow").expect("is deleted");
        harness.engine.delete_action("scripted:slow", false).await.expect("is deleted");
        self.end(harness).await;
    }

    async fn shutdown_drains(&mut self) {
        let first = self.first;
        let harness = self.harness(Self::options()).await;
        self.until_connected(&harness).await;
        self.publish(&harness, 200);
        let report = harness.shutdown(LIMIT).await;
        assert!(report.drained && report.left.is_empty(), "{report:?}");
        self.assert_written(&harness, first).await;
    }
}
