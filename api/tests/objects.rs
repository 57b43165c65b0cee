//! Connectors, actions and rules: made, changed, used and deleted, and kept in the store.

mod support;

use engine_runtime::{FileObject, ObjectClass};
use serde_json::{Value as Json, json};
use support::{Fixture, NODE};

fn connector(name: &str) -> Json {
    json!({"type": "fake", "name": name, "target": "up", "password": "s3cret"})
}

fn action(name: &str) -> Json {
    json!({"type": "fake", "name": name, "connector": "plant_api", "parameters": {"path": "/x"}})
}

fn rule(id: &str) -> Json {
    json!({"id": id, "sql": "SELECT payload.t AS t FROM \"lines/#\"", "actions": ["fake:post_reading"]})
}

async fn fixture() -> Fixture {
    let fixture = Fixture::new();
    fixture
        .check("POST /api/v5/connectors", connector("plant_api"), 201, json!({"status": "connected"}))
        .await;
    fixture
        .check("POST /api/v5/actions", action("post_reading"), 201, json!({"connector": "plant_api"}))
        .await;
    fixture.check("POST /api/v5/rules", rule("hot_lines"), 201, json!({"id": "hot_lines"})).await;
    fixture
}

/// `class id` of what is stored.
fn stored(fixture: &Fixture) -> Vec<String> {
    let objects = fixture.store.contents().objects;
    objects.iter().map(|object| format!("{} {}", object.class, object.id)).collect()
}

#[tokio::test]
async fn objects_are_shown_as_they_are() {
    let fixture = fixture().await;
    assert_eq!(stored(&fixture), ["connector fake:plant_api", "action fake:post_reading", "rule hot_lines"]);
    let shown = json!({"type": "fake", "name": "plant_api", "enable": true, "description": "", "tags": [],
        "target": "up", "password": "******", "actions": ["post_reading"], "sources": [],
        "created_at": 1_772_357_400_125_i64, "last_modified_at": 1_772_357_400_125_i64, "status": "connected",
        "status_reason": "", "node_status": [{"node": NODE, "status": "connected", "status_reason": ""}]});
    fixture.check("GET /api/v5/connectors", Json::Null, 200, json!([shown.clone()])).await;
    fixture.check("GET /api/v5/connectors/fake%3Aplant_api", Json::Null, 200, shown.clone()).await;
    fixture.check("GET /api/v5/connectors/fake:plant_api", Json::Null, 200, shown).await;
    let shown = json!({"type": "fake", "name": "post_reading", "connector": "plant_api", "parameters": {"path": "/x"},
        "rules": ["hot_lines"], "created_at": 1_772_357_400_125_i64});
    fixture.check("GET /api/v5/actions/fake:post_reading", Json::Null, 200, shown).await;
    let shown = json!({"id": "hot_lines", "name": "", "enable": true, "description": "",
        "sql": "SELECT payload.t AS t FROM \"lines/#\"", "from": ["lines/#"], "actions": ["fake:post_reading"],
        "action_details": [{"type": "fake", "name": "post_reading"}],
        "created_at": "2026-03-01T09:30:00.125+00:00", "last_modified_at": "2026-03-01T09:30:00.125+00:00"});
    let meta = json!({"page": 1, "limit": 1, "count": 1, "hasnext": false});
    fixture
        .check(
            "GET /api/v5/rules?like_id=hot&limit=1",
            Json::Null,
            200,
            json!({"data": [shown], "meta": meta}),
        )
        .await;
    let summary = fixture
        .check(
            "GET /api/v5/actions_summary",
            Json::Null,
            200,
            json!([{"enable": true,
        "name": "post_reading", "type": "fake", "description": "", "tags": [], "rules": ["hot_lines"]}]),
        )
        .await;
    assert!(summary[0].get("parameters").is_none());
    fixture.check("GET /api/v5/action_types", Json::Null, 200, json!(["fake"])).await;
    fixture.check("GET /api/v5/connector_types", Json::Null, 200, json!(["fake"])).await;
    fixture
        .check(
            "GET /api/v5/schemas/actions",
            Json::Null,
            200,
            json!({"fake": {"edition_required": null},
        "paid": {"edition_required": "enterprise"}}),
        )
        .await;
    for list in ["sources", "sources_summary", "source_types"] {
        fixture.check(&format!("GET /api/v5/{list}"), Json::Null, 200, json!([])).await;
    }
}

#[tokio::test]
async fn what_is_wrong_is_refused() {
    let fixture = fixture().await;
    for (request, body, status, code) in [
        ("POST /api/v5/connectors", connector("plant_api"), 400, "ALREADY_EXISTS"),
        (
            "POST /api/v5/connectors",
            json!({"type": "fake", "name": "a b", "target": "up"}),
            400,
            "BAD_REQUEST",
        ),
        ("POST /api/v5/connectors", json!({"type": "fake", "name": "x"}), 400, "BAD_REQUEST"),
        ("POST /api/v5/connectors", json!({"type": "none", "name": "x"}), 400, "BAD_REQUEST"),
        ("POST /api/v5/connectors", json!([]), 400, "BAD_REQUEST"),
        (
            "POST /api/v5/connectors",
            json!({"type": "paid", "name": "x", "target": "up"}),
            403,
            "EDITION_REQUIRED",
        ),
        ("POST /api/v5/actions", action("post_reading"), 400, "ALREADY_EXISTS"),
        (
            "POST /api/v5/actions",
            json!({"type": "fake", "name": "x", "connector": "none", "parameters": {}}),
            400,
            "BAD_REQUEST",
        ),
        ("POST /api/v5/rules", rule("hot_lines"), 400, "BAD_REQUEST"),
        ("POST /api/v5/rules", json!({"id": "", "sql": "SELECT * FROM \"t\""}), 400, "BAD_REQUEST"),
        ("POST /api/v5/rules", json!({"id": "x", "sql": "SELEC * FROM \"t\""}), 400, "BAD_REQUEST"),
        ("POST /api/v5/rules", json!({"id": "x"}), 400, "BAD_REQUEST"),
        (
            "POST /api/v5/rules",
            json!({"id": "x", "sql": "SELECT * FROM \"t\"", "colour": 1}),
            400,
            "BAD_REQUEST",
        ),
        ("PUT /api/v5/rules/none", json!({"sql": "SELECT * FROM \"t\""}), 404, "NOT_FOUND"),
        ("GET /api/v5/rules/none", Json::Null, 404, "NOT_FOUND"),
        ("DELETE /api/v5/rules/none", Json::Null, 404, "NOT_FOUND"),
        ("GET /api/v5/rules/none/metrics", Json::Null, 404, "NOT_FOUND"),
        ("PUT /api/v5/rules/none/metrics/reset", Json::Null, 404, "NOT_FOUND"),
        ("POST /api/v5/rules/none/test", json!({"context": {}}), 404, "RULE_NOT_FOUND"),
        ("GET /api/v5/connectors/fake:none", Json::Null, 404, "NOT_FOUND"),
        ("PUT /api/v5/actions/fake:none", action("none"), 404, "NOT_FOUND"),
        ("PUT /api/v5/connectors/fake:none/enable/true", Json::Null, 404, "NOT_FOUND"),
        ("POST /api/v5/connectors/fake:none/start", Json::Null, 404, "NOT_FOUND"),
        ("POST /api/v5/nodes/other/connectors/fake:plant_api/start", Json::Null, 404, "NOT_FOUND"),
        (
            "POST /api/v5/connectors_probe",
            json!({"type": "fake", "name": "x", "target": "down"}),
            400,
            "TEST_FAILED",
        ),
        ("POST /api/v5/sources", json!({}), 501, "NOT_IMPLEMENTED"),
    ] {
        fixture.check(request, body, status, json!({"code": code})).await;
    }
    assert_eq!(stored(&fixture).len(), 3, "nothing was added");
}

#[tokio::test]
async fn what_is_used_is_not_deleted() {
    let fixture = fixture().await;
    fixture
        .check(
            "DELETE /api/v5/connectors/fake:plant_api",
            Json::Null,
            400,
            json!({"code": "BAD_REQUEST",
        "message": "Cannot delete connector while there are active channels defined for this connector",
        "actions": ["fake:post_reading"], "sources": []}),
        )
        .await;
    fixture
        .check(
            "DELETE /api/v5/actions/fake:post_reading",
            Json::Null,
            400,
            json!({"code": "BAD_REQUEST",
        "message": "Cannot delete action while active rules are depending on it", "rules": ["hot_lines"]}),
        )
        .await;
    assert_eq!(stored(&fixture).len(), 3);
    let request = "DELETE /api/v5/actions/fake:post_reading?also_delete_dep_actions=true";
    fixture.check(request, Json::Null, 204, Json::Null).await;
    fixture.check("GET /api/v5/rules/hot_lines", Json::Null, 200, json!({"actions": []})).await;
    assert_eq!(stored(&fixture), ["connector fake:plant_api", "rule hot_lines"]);
    assert_eq!(fixture.store.contents().objects[1].config["actions"], json!([]));
    fixture.check("DELETE /api/v5/connectors/fake:plant_api", Json::Null, 204, Json::Null).await;
    fixture.check("DELETE /api/v5/rules/hot_lines", Json::Null, 204, Json::Null).await;
    assert!(stored(&fixture).is_empty());
}

#[tokio::test]
async fn objects_are_changed() {
    let fixture = fixture().await;
    fixture.clock.advance_ms(1000);
    let shown = fixture.call("GET /api/v5/connectors/fake:plant_api", Json::Null).await.json();
    let mut changed = shown.clone();
    changed["description"] = json!("new");
    let expect = json!({"description": "new", "password": "******", "created_at": 1_772_357_400_125_i64,
        "last_modified_at": 1_772_357_401_125_i64});
    fixture.check("PUT /api/v5/connectors/fake:plant_api", changed, 200, expect).await;
    let object = &fixture.store.contents().objects[0];
    assert_eq!(
        (&object.config["description"], &object.config["password"]),
        (&json!("new"), &json!("s3cret"))
    );
    let sql = json!({"sql": "SELECT * FROM \"other\"", "enable": false});
    fixture.check("PUT /api/v5/rules/hot_lines", sql, 200, json!({"from": ["other"], "enable": false})).await;
    fixture.check("GET /api/v5/rules?enable=true", Json::Null, 200, json!({"data": []})).await;
    fixture
        .check("PUT /api/v5/actions/fake:post_reading", action("post_reading"), 200, json!({"enable": true}))
        .await;
}

#[tokio::test]
async fn a_connector_is_disabled_and_started() {
    let fixture = fixture().await;
    let id = "fake:plant_api";
    fixture.check(&format!("PUT /api/v5/connectors/{id}/enable/false"), Json::Null, 204, Json::Null).await;
    assert_eq!(fixture.store.contents().objects[0].config["enable"], false);
    fixture
        .check(
            &format!("GET /api/v5/connectors/{id}"),
            Json::Null,
            200,
            json!({"enable": false, "status": "disconnected"}),
        )
        .await;
    fixture
        .check(
            &format!("POST /api/v5/connectors/{id}/start"),
            Json::Null,
            400,
            json!({"code": "BAD_REQUEST",
        "message": "Forbidden operation, connector not enabled"}),
        )
        .await;
    fixture.check(&format!("PUT /api/v5/connectors/{id}/enable/true"), Json::Null, 204, Json::Null).await;
    for step in ["start", "stop", "restart"] {
        fixture.check(&format!("POST /api/v5/connectors/{id}/{step}"), Json::Null, 204, Json::Null).await;
    }
    fixture
        .check(&format!("POST /api/v5/nodes/{NODE}/connectors/{id}/start"), Json::Null, 204, Json::Null)
        .await;
    fixture.check("POST /api/v5/connectors_probe", connector("x"), 204, Json::Null).await;
}

#[tokio::test]
async fn a_store_that_fails_undoes() {
    let fixture = fixture().await;
    let before = fixture.call("GET /api/v5/connectors/fake:plant_api", Json::Null).await.json();
    fixture.store.set_failing(true);
    let failed = json!({"code": "INTERNAL_ERROR"});
    fixture.check("POST /api/v5/connectors", connector("second"), 500, failed.clone()).await;
    fixture.check("GET /api/v5/connectors/fake:second", Json::Null, 404, json!({})).await;
    let mut changed = connector("plant_api");
    changed["description"] = json!("new");
    fixture.check("PUT /api/v5/connectors/fake:plant_api", changed, 500, failed.clone()).await;
    fixture
        .check("PUT /api/v5/connectors/fake:plant_api/enable/false", Json::Null, 500, failed.clone())
        .await;
    fixture.check("DELETE /api/v5/rules/hot_lines", Json::Null, 500, failed).await;
    fixture.check("GET /api/v5/rules/hot_lines", Json::Null, 200, json!({})).await;
    let after = fixture.call("GET /api/v5/connectors/fake:plant_api", Json::Null).await.json();
    assert_eq!((&before["description"], &before["enable"]), (&after["description"], &after["enable"]));
}

#[tokio::test]
async fn objects_of_files_are_read_only() {
    let fixture = Fixture::new();
    let file = FileObject {
        class: ObjectClass::Connector,
        config: connector("filed"),
        path: "rules.d/a.toml".into(),
    };
    fixture.engine.sync_files(vec![file]).await;
    let conflict = json!({"code": "CONFLICT"});
    fixture.check("PUT /api/v5/connectors/fake:filed", connector("filed"), 409, conflict.clone()).await;
    fixture.check("PUT /api/v5/connectors/fake:filed/enable/false", Json::Null, 409, conflict.clone()).await;
    let answer = fixture.check("DELETE /api/v5/connectors/fake:filed", Json::Null, 409, conflict).await;
    assert!(answer["message"].as_str().unwrap().contains("rules.d/a.toml"), "{answer}");
    assert!(stored(&fixture).is_empty());
}

#[tokio::test]
async fn counters_are_shown_and_reset() {
    let fixture = fixture().await;
    let message = json!({"topic": "lines/1", "payload": "{\"t\":1}"});
    fixture.check("POST /api/v5/publish", message, 202, json!({})).await;
    let rule = json!({"id": "hot_lines", "metrics": {"matched": 1, "passed": 1, "failed": 0, "actions.total": 1},
        "node_metrics": [{"node": NODE, "metrics": {"matched": 1}}]});
    fixture.check("GET /api/v5/rules/hot_lines/metrics", Json::Null, 200, rule).await;
    let action = json!({"metrics": {"matched": 1}, "node_metrics": [{"node": NODE}]});
    fixture.check("GET /api/v5/actions/fake:post_reading/metrics", Json::Null, 200, action).await;
    fixture
        .check(
            "GET /api/v5/metrics?aggregate=true",
            Json::Null,
            200,
            json!({"rules.matched": 1, "actions.executed": 1}),
        )
        .await;
    let text = fixture.call("GET /api/v5/prometheus/data_integration", Json::Null).await.text;
    assert!(text.contains("\nemqx_rule_matched{id=\"hot_lines\"} 1\n"), "{text}");
    fixture.check("PUT /api/v5/rules/hot_lines/metrics/reset", Json::Null, 204, Json::Null).await;
    fixture
        .check("GET /api/v5/rules/hot_lines/metrics", Json::Null, 200, json!({"metrics": {"matched": 0}}))
        .await;
    fixture.check("PUT /api/v5/actions/fake:post_reading/metrics/reset", Json::Null, 204, Json::Null).await;
}

#[tokio::test]
async fn rules_are_tried() {
    let fixture = fixture().await;
    let test = |sql: &str, payload: &str| json!({"sql": sql, "context": {"event_type": "message_publish", "topic": "t/1", "payload": payload}});
    let sql = "SELECT payload.x AS x FROM \"t/#\" WHERE x > 1";
    let request = "POST /api/v5/rule_test";
    fixture.check(request, test(sql, "{\"x\":2}"), 200, json!({"x": 2})).await;
    let no_match = json!({"code": "NOT_MATCH", "message": "SQL Not Match"});
    fixture.check(request, test(sql, "{\"x\":1}"), 412, no_match.clone()).await;
    fixture.check(request, test("SELECT * FROM \"other\"", "{}"), 412, no_match).await;
    fixture
        .check(
            request,
            test("FOREACH payload.a AS e FROM \"t/#\"", "{\"a\":[1,2]}"),
            200,
            json!([{"e": 1}, {"e": 2}]),
        )
        .await;
    fixture.check(request, test("SELEC", "{}"), 400, json!({"code": "BAD_REQUEST"})).await;
    fixture.check(request, json!({"sql": sql, "context": {}}), 400, json!({"code": "BAD_REQUEST"})).await;
    fixture.check(request, json!({"sql": sql}), 400, json!({"code": "BAD_REQUEST"})).await;
    let context =
        json!({"context": {"event_type": "message_publish", "topic": "lines/1", "payload": "{\"t\":7}"}});
    fixture.check("POST /api/v5/rules/hot_lines/test", context, 200, json!({"t": 7})).await;
}

#[tokio::test]
async fn events_are_described() {
    let fixture = Fixture::new();
    let events = fixture.call("GET /api/v5/rule_events", Json::Null).await.json();
    assert_eq!(events[0]["event"], "$events/message_publish");
    let names: Vec<_> =
        events.as_array().unwrap().iter().map(|event| event["event"].as_str().unwrap()).collect();
    for name in ["$events/client_connected", "$events/client/connected", "$events/session_subscribed"] {
        assert!(names.contains(&name), "{name}");
    }
    assert_eq!(events[0]["test_columns"]["qos"][0], 1);
    for event in events.as_array().unwrap() {
        assert!(event["columns"].as_array().unwrap().contains(&json!("timestamp")), "{event}");
        assert!(event["sql_example"].as_str().unwrap().starts_with("SELECT "), "{event}");
    }
    let settings = json!({"ignore_sys_message": true, "jq_function_default_timeout": "100ms"});
    fixture.check("GET /api/v5/rule_engine", Json::Null, 200, settings.clone()).await;
    fixture.check("PUT /api/v5/rule_engine", settings, 200, json!({})).await;
    let other = json!({"ignore_sys_message": false, "jq_function_default_timeout": "100ms"});
    fixture.check("PUT /api/v5/rule_engine", other, 501, json!({"code": "NOT_IMPLEMENTED"})).await;
}

#[tokio::test]
async fn the_only_namespace_may_be_named_everywhere() {
    let fixture = fixture().await;
    for (request, body, status) in [
        ("POST /api/v5/rules?ns=global", rule("second"), 201),
        ("PUT /api/v5/rules/second?only_global=true", json!({"sql": "SELECT 1 AS a FROM t"}), 200),
        ("GET /api/v5/connectors/fake:plant_api?ns=global", Json::Null, 200),
        ("PUT /api/v5/actions/fake:post_reading/enable/false?ns=", Json::Null, 204),
        ("GET /api/v5/rules/second/metrics?ns=elsewhere", Json::Null, 400),
        ("DELETE /api/v5/rules/second?ns=elsewhere", Json::Null, 400),
        ("DELETE /api/v5/rules/second?name=x", Json::Null, 400),
        ("DELETE /api/v5/rules/second?ns=global&only_global=false", Json::Null, 204),
    ] {
        let answer = fixture.call(request, body).await;
        assert_eq!(answer.status, status, "{request}: {}", answer.text);
    }
}
