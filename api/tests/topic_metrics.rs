//! Counters of single topics.

mod support;

use serde_json::{Value as Json, json};
use support::Fixture;

#[tokio::test]
async fn topics_are_named_counted_reset_and_forgotten() {
    let fixture = Fixture::new();
    let _client = fixture.connect("c", None, &["a/#"]);
    let shown = json!({"topic": "a/b", "create_time": "2026-03-01T09:30:00.125+00:00",
        "metrics": {"messages.in.count": 0, "messages.in.rate": 0.0}});
    let made = fixture.check("POST /api/v5/mqtt/topic_metrics", json!({"topic": "a/b"}), 200, shown).await;
    assert!(made.get("reset_time").is_none(), "{made}");
    assert_eq!(made["metrics"].as_object().map(|metrics| metrics.len()), Some(18), "{made}");
    fixture.check("POST /api/v5/mqtt/topic_metrics", json!({"topic": "a/+"}), 200, json!({})).await;
    for topic in ["a/b", "a/c"] {
        let message = json!({"topic": topic, "payload": "x", "qos": 1});
        fixture.check("POST /api/v5/publish", message, 200, json!({})).await;
    }
    let counted = json!({"metrics": {"messages.in.count": 1, "messages.qos1.in.count": 1}});
    fixture.check("GET /api/v5/mqtt/topic_metrics/a%2Fb", Json::Null, 200, counted).await;
    let all = json!([{"topic": "a/+", "metrics": {"messages.in.count": 2}}, {"topic": "a/b"}]);
    fixture.check("GET /api/v5/mqtt/topic_metrics", Json::Null, 200, all).await;

    let reset = json!({"action": "reset", "topic": "a/b"});
    fixture.check("PUT /api/v5/mqtt/topic_metrics", reset, 204, Json::Null).await;
    let counted =
        json!([{"reset_time": "2026-03-01T09:30:00.125+00:00", "metrics": {"messages.in.count": 0}}]);
    let list = fixture.check("GET /api/v5/mqtt/topic_metrics", Json::Null, 200, json!([{}, {}])).await;
    support::contains(&json!([list[1].clone()]), &counted, "a/b");
    assert_eq!(list[0]["metrics"]["messages.in.count"], 2);
    fixture.check("PUT /api/v5/mqtt/topic_metrics", json!({"action": "reset"}), 204, Json::Null).await;
    let counted = json!({"metrics": {"messages.in.count": 0}});
    fixture.check("GET /api/v5/mqtt/topic_metrics/a%2F+", Json::Null, 200, counted).await;

    assert_eq!(fixture.store.contents().topic_metrics.len(), 2);
    fixture.check("DELETE /api/v5/mqtt/topic_metrics/a%2Fb", Json::Null, 204, Json::Null).await;
    let gone = json!({"code": "TOPIC_NOT_FOUND"});
    fixture.check("DELETE /api/v5/mqtt/topic_metrics/a%2Fb", Json::Null, 404, gone.clone()).await;
    fixture.check("GET /api/v5/mqtt/topic_metrics/a%2Fb", Json::Null, 404, gone.clone()).await;
    let reset = json!({"action": "reset", "topic": "a/b"});
    fixture.check("PUT /api/v5/mqtt/topic_metrics", reset, 404, gone).await;

    let fixture = Fixture::with(fixture.store.contents());
    let kept = json!([{"topic": "a/+", "create_time": "2026-03-01T09:30:00.125+00:00"}]);
    fixture.check("GET /api/v5/mqtt/topic_metrics", Json::Null, 200, kept).await;
}

#[tokio::test]
async fn what_cannot_be_counted_is_refused() {
    let fixture = Fixture::new();
    let add = "POST /api/v5/mqtt/topic_metrics";
    fixture.check(add, json!({"topic": "t"}), 200, json!({})).await;
    fixture.check(add, json!({"topic": "t"}), 409, json!({"code": "ALREADY_EXISTS"})).await;
    for wrong in ["", "a/#/b", "a+"] {
        fixture.check(add, json!({"topic": wrong}), 400, json!({"code": "BAD_TOPIC"})).await;
    }
    fixture.check(add, json!({"topic": 1}), 400, json!({"code": "BAD_REQUEST"})).await;
    let wrong = json!({"action": "remove"});
    fixture.check("PUT /api/v5/mqtt/topic_metrics", wrong, 400, json!({"code": "BAD_REQUEST"})).await;
    for number in 1..512 {
        fixture.check(add, json!({"topic": format!("t/{number}")}), 200, json!({})).await;
    }
    fixture.check(add, json!({"topic": "u"}), 409, json!({"code": "EXCEED_LIMIT"})).await;
    fixture.check("DELETE /api/v5/mqtt/topic_metrics/t", Json::Null, 204, Json::Null).await;
    fixture.store.set_failing(true);
    fixture.check(add, json!({"topic": "u"}), 500, json!({})).await;
    fixture.check("DELETE /api/v5/mqtt/topic_metrics/t%2F1", Json::Null, 500, json!({})).await;
    fixture.store.set_failing(false);
    fixture.check("GET /api/v5/mqtt/topic_metrics/u", Json::Null, 404, json!({})).await;
    fixture.check("GET /api/v5/mqtt/topic_metrics/t%2F1", Json::Null, 200, json!({})).await;
}
