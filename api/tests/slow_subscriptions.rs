//! Slow subscriptions.

mod support;

use serde_json::{Value as Json, json};
use support::Fixture;

const SETTINGS: &str = "/api/v5/slow_subscriptions/settings";

#[tokio::test]
async fn settings_are_shown_changed_and_stored() {
    let fixture = Fixture::new();
    let default = json!({"enable": false, "threshold": "500ms", "expire_interval": "300s", "top_k_num": 10,
        "stats_type": "whole"});
    let get = format!("GET {SETTINGS}");
    assert_eq!(fixture.check(&get, Json::Null, 200, json!({})).await, default);
    let put = format!("PUT {SETTINGS}");
    let changed = json!({"enable": true, "threshold": "1s", "expire_interval": "1h", "top_k_num": 1000,
        "stats_type": "internal"});
    let shown = json!({"enable": true, "threshold": "1s", "expire_interval": "3600s", "top_k_num": 1000,
        "stats_type": "internal"});
    assert_eq!(fixture.check(&put, changed, 200, json!({})).await, shown);
    for (wrong, said) in [
        (json!({"threshold": "99ms"}), "threshold: expected 100ms or more, got `99ms`"),
        (json!({"expire_interval": 10}), "expire_interval: expected 1s or more, got `10ms`"),
        (json!({"top_k_num": 0}), "top_k_num: expected 1 to 1000, got `0`"),
        (json!({"top_k_num": 1001}), "top_k_num: expected 1 to 1000"),
        (json!({"stats_type": "half"}), "stats_type: unknown variant `half`"),
        (json!({"enabled": true}), "unknown field `enabled`"),
    ] {
        let answer = fixture.check(&put, wrong, 400, json!({"code": "BAD_REQUEST"})).await;
        let message = answer["message"].as_str().unwrap_or_default();
        assert!(message.contains(said), "{message}");
    }
    fixture.store.set_failing(true);
    fixture.check(&put, default, 500, json!({})).await;
    fixture.store.set_failing(false);
    assert_eq!(fixture.check(&get, Json::Null, 200, json!({})).await, shown);
    let fixture = Fixture::with(fixture.store.contents());
    assert_eq!(fixture.check(&get, Json::Null, 200, json!({})).await, shown);
}

#[tokio::test]
async fn the_list_is_empty_until_something_is_slow() {
    let fixture = Fixture::new();
    let empty = json!({"data": [], "meta": {"page": 1, "limit": 100, "count": 0, "hasnext": false}});
    fixture.check("GET /api/v5/slow_subscriptions", Json::Null, 200, empty).await;
    fixture.check("DELETE /api/v5/slow_subscriptions", Json::Null, 204, Json::Null).await;
}
