//! The scripted target passes what every connector has to pass.

use async_trait::async_trait;
use connectors_api::{ConnectorDef, Secret};
use connectors_testkit::conformance::{self, Subject};
use connectors_testkit::{Reply, SCRIPTED, ScriptedTarget};
use engine_event::Value;
use serde_json::{Value as Json, json};

struct Scripted(ScriptedTarget);

#[async_trait]
impl Subject for Scripted {
    fn definition(&self) -> ConnectorDef {
        ConnectorDef { kind: "subject", ..SCRIPTED }
    }

    fn connector(&self) -> Json {
        self.0.connector_fields()
    }

    fn parameters(&self) -> Json {
        json!({})
    }

    async fn set_up(&self, up: bool) {
        self.0.set_up(up);
    }

    async fn written(&self) -> Vec<(String, i64)> {
        let accepted = self.0.accepted();
        let written = accepted.iter().map(|delivery| {
            let client = delivery.row.get("client").and_then(|client| client.as_text()).expect("a client");
            let Some(Value::Int(number)) = delivery.row.get("n") else { panic!("a number: {delivery:?}") };
            (client.to_string(), *number)
        });
        written.collect()
    }

    fn bad_code(&self) -> &'static str {
        "E42"
    }

    fn secret(&self) -> Secret {
        Secret::new("s3cret")
    }
}

#[tokio::test(start_paused = true)]
async fn the_scripted_target_passes() {
    let target = ScriptedTarget::new();
    target.answer_with(|delivery| {
        let v = delivery.row.get("v").and_then(|v| v.as_text());
        if v.is_some_and(|v| *v == "bad") { Reply::reject("E42") } else { Reply::ok() }
    });
    conformance::run(&Scripted(target), std::path::Path::new(".")).await;
}
