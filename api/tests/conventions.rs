//! What every endpoint has in common.

mod support;

use serde_json::{Value as Json, json};
use support::{Fixture, LOCAL_TOKEN};

/// Method and path of every operation that the description lists, with `x` in place of each variable part.
async fn operations(fixture: &Fixture) -> Vec<(String, String)> {
    let description = fixture.call("GET /api-docs/swagger.json", Json::Null).await.json();
    let mut operations = Vec::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            operations.push((method.to_uppercase(), path.clone()));
        }
    }
    operations
}

fn filled(path: &str) -> String {
    let parts = path.split('/').map(|part| match part {
        "{enable}" => "true",
        _ if part.starts_with('{') => "x",
        _ => part,
    });
    parts.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn the_description_lists_the_endpoints() {
    let fixture = Fixture::new();
    let operations = operations(&fixture).await;
    for expect in [
        "POST /api/v5/login",
        "GET /api/v5/rules",
        "POST /api/v5/rules/{id}/test",
        "POST /api/v5/rule_test",
        "PUT /api/v5/connectors/{id}/enable/{enable}",
        "GET /api/v5/actions_summary",
        "GET /api/v5/clients",
        "DELETE /api/v5/clients/{clientid}",
        "POST /api/v5/publish/bulk",
        "GET /api/v5/topics/{topic}",
        "GET /api/v5/mqtt/retainer/messages",
        "GET /api/v5/stats",
        "GET /api/v5/nodes/{node}/metrics",
        "GET /api/v5/schemas/{name}",
        "GET /api/v5/prometheus/stats",
        "GET /api/v5/status",
    ] {
        let (method, path) = expect.split_once(' ').unwrap();
        assert!(operations.iter().any(|found| found.0 == method && found.1 == path), "{expect}");
    }
    assert!(operations.len() > 70, "{}", operations.len());
    let description = fixture.call("GET /api-docs/swagger.json", Json::Null).await.json();
    assert!(description["openapi"].as_str().unwrap().starts_with("3."));
    check_references(&description, &description);
}

/// Every `$ref` leads somewhere.
fn check_references(value: &Json, whole: &Json) {
    match value {
        Json::Object(object) => {
            if let Some(reference) = object.get("$ref").and_then(Json::as_str) {
                let pointer = reference.strip_prefix('#').expect("a reference within the document");
                assert!(whole.pointer(pointer).is_some(), "{reference} leads nowhere");
            }
            object.values().for_each(|value| check_references(value, whole));
        }
        Json::Array(items) => items.iter().for_each(|value| check_references(value, whole)),
        _ => {}
    }
}

#[tokio::test]
async fn unknown_query_fields_are_refused_everywhere() {
    let fixture = Fixture::new();
    for (method, path) in operations(&fixture).await {
        let request = format!("{method} {}?no_such_field=1", filled(&path));
        let answer = fixture.call(&request, json!({})).await;
        assert_eq!(answer.status, 400, "{request}: {}", answer.text);
        assert!(answer.text.contains("no_such_field"), "{request}: {}", answer.text);
    }
}

#[tokio::test]
async fn every_operation_wants_credentials_but_the_open_ones() {
    let fixture = Fixture::new();
    for (method, path) in operations(&fixture).await {
        let request = format!("{method} {}", filled(&path));
        let answer = fixture.call_as("", &request, Json::Null).await;
        let open = ["/login", "/status", "/error_codes", "/prometheus/"]
            .iter()
            .any(|open| path.strip_prefix("/api/v5").unwrap().starts_with(open));
        let refused = answer.status == 401 && answer.code() == "AUTHORIZATION_HEADER_ERROR";
        assert_eq!(!refused, open, "{request}: {}", answer.text);
    }
}

#[tokio::test]
async fn errors_have_one_shape() {
    let fixture = Fixture::new();
    for (request, status, code) in [
        ("GET /api/v5/nothing", 404, "NOT_FOUND"),
        ("GET /nothing", 404, "NOT_FOUND"),
        ("GET /api/v5/bridges/http:x", 404, "NOT_FOUND"),
        ("PATCH /api/v5/rules", 405, "METHOD_NOT_ALLOWED"),
        ("GET /api/v5/alarms", 501, "NOT_IMPLEMENTED"),
        ("GET /api/v5/schema_registry/x", 501, "NOT_IMPLEMENTED"),
        ("PUT /api/v5/clients/c/keepalive", 501, "NOT_IMPLEMENTED"),
        ("GET /api/v5/rules?page=0", 400, "INVALID_PARAMETER"),
        ("GET /api/v5/rules?limit=10001", 400, "INVALID_PARAMETER"),
        ("GET /api/v5/clients?page=x", 400, "INVALID_PARAMETER"),
        ("GET /api/v5/clients?conn_state=gone", 400, "BAD_REQUEST"),
        ("GET /api/v5/clients?gte_created_at=yesterday", 400, "BAD_REQUEST"),
        ("GET /api/v5/rules?ns=other", 400, "BAD_REQUEST"),
        ("GET /api/v5/subscriptions?match_topic=%24share%2Fg%2Fa", 400, "INVALID_PARAMETER"),
        ("GET /api/v5/nodes/other", 404, "NOT_FOUND"),
        ("GET /api/v5/error_codes/NONE", 404, "NOT_FOUND"),
        ("GET /api/v5/schemas/none", 404, "NOT_FOUND"),
        ("GET /api/v5/sources/mqtt:x", 404, "NOT_FOUND"),
        ("PUT /api/v5/connectors/a:b/enable/maybe", 400, "BAD_REQUEST"),
        ("GET /api/v5/clients/%ff", 400, "BAD_REQUEST"),
    ] {
        fixture.check(request, Json::Null, status, json!({"code": code})).await;
    }
}

#[tokio::test]
async fn bad_bodies_are_named() {
    let fixture = Fixture::new();
    let token = format!("Bearer {LOCAL_TOKEN}");
    let json_type = ("content-type", "application/json");
    for (headers, body, status, part) in [
        (&[json_type][..], "", 400, "expected a JSON body, got none"),
        (&[json_type], "{", 400, "the body is not JSON: EOF"),
        (&[json_type], r#"{"topic":"t","payload":"x"} x"#, 400, "the body is not JSON: trailing characters"),
        (&[json_type], "[1]", 400, "invalid type"),
        (&[json_type], r#"{"topic":"t","payload":1}"#, 400, "payload: invalid type: integer `1`"),
        (&[json_type], r#"{"topic":"t","payload":"x","color":1}"#, 400, "unknown field `color`"),
        (&[json_type], r#"{"topic":"t"}"#, 400, "missing field `payload`"),
        (
            &[json_type],
            r#"{"topic":"t","payload":"x","properties":{"content_type":1}}"#,
            400,
            "properties.content_type",
        ),
        (&[("content-type", "text/xml")], "<a/>", 415, "expected a body of type application/json"),
        (&[], r#"{"topic":"t","payload":"x"}"#, 202, "no_matching_subscribers"),
        (
            &[("content-type", "application/json; charset=utf-8")],
            r#"{"topic":"t","payload":"x"}"#,
            202,
            "no_matching",
        ),
    ] {
        let answer = fixture.send(&token, "POST /api/v5/publish", headers, body).await;
        assert_eq!(answer.status.as_u16(), status, "{body}: {}", answer.text);
        assert!(answer.text.contains(part), "{body}: {}", answer.text);
    }
    let huge = format!(r#"{{"topic":"t","payload":"{}"}}"#, "x".repeat(9 << 20));
    let answer = fixture.send(&token, "POST /api/v5/publish", &[json_type], huge).await;
    assert_eq!((answer.status.as_u16(), &*answer.code()), (413, "EXCEED_LIMIT"));
}

#[tokio::test]
async fn pages_from_elsewhere_may_ask() {
    let fixture = Fixture::new();
    let origin = ("origin", "http://board.example");
    let preflight = [origin, ("access-control-request-method", "PUT")];
    let answer = fixture.send("", "OPTIONS /api/v5/rules", &preflight, "").await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.headers["access-control-allow-origin"], "*");
    assert_eq!(answer.headers["access-control-allow-methods"], "GET, POST, PUT, DELETE");
    let answer = fixture.send("", "GET /api/v5/status", &[origin], "").await;
    assert_eq!(answer.headers["access-control-allow-origin"], "*");
    assert_eq!(answer.headers["cache-control"], "no-store");
}

#[tokio::test]
async fn the_status_is_for_probes() {
    let fixture = Fixture::new();
    for path in ["/status", "/api/v5/status"] {
        let answer = fixture.send("", &format!("GET {path}"), &[], "").await;
        assert_eq!(answer.text, "Node sluice@127.0.0.1 is started\nemqx is running");
        assert_eq!(answer.headers["retry-after"], "15");
        let answer = fixture.send("", &format!("GET {path}?format=json"), &[], "").await.json();
        assert_eq!(answer["app_status"], "running");
    }
}
