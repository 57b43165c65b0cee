//! The ban list.

mod support;

use serde_json::{Value as Json, json};
use support::{Fixture, START_MS};

#[tokio::test]
async fn bans_are_made_shown_and_taken_back() {
    let fixture = Fixture::new();
    let _client = fixture.connect("dev1", Some("u"), &[]);
    let _other = fixture.connect("dev2", None, &[]);
    let ban = json!({"as": "clientid", "who": "dev1", "by": "ops", "reason": "flood",
        "until": "2026-12-01T00:00:00+00:00"});
    let made = json!({"as": "clientid", "who": "dev1", "by": "ops", "reason": "flood",
        "at": "2026-03-01T09:30:00+00:00", "until": "2026-12-01T00:00:00+00:00"});
    fixture.check("POST /api/v5/banned", ban.clone(), 200, made.clone()).await;
    fixture.check("POST /api/v5/banned", ban, 400, json!({"code": "ALREADY_EXISTS"})).await;
    fixture.check("GET /api/v5/clients/dev1", Json::Null, 404, json!({})).await;
    fixture.check("GET /api/v5/clients/dev2", Json::Null, 200, json!({})).await;
    assert_eq!(fixture.store.contents().bans.len(), 1);

    let net = json!({"as": "peerhost_net", "who": "10.1.2.3/8"});
    let shown = json!({"who": "10.0.0.0/8", "by": "mgmt_api", "reason": "", "until": "infinity"});
    fixture.check("POST /api/v5/banned", net, 200, shown).await;
    let page = fixture.check("GET /api/v5/banned", Json::Null, 200, json!({"meta": {"count": 2}})).await;
    support::contains(&page["data"][0], &made, "data");
    for (query, count) in [
        ("clientid=dev1", 1),
        ("clientid=dev", 0),
        ("like_clientid=dev", 1),
        ("like_username=dev", 0),
        ("like_peerhost_net=10.", 1),
        ("peerhost=10.0.0.0", 0),
    ] {
        let request = format!("GET /api/v5/banned?{query}");
        fixture.check(&request, Json::Null, 200, json!({"meta": {"count": count}})).await;
    }

    fixture.check("DELETE /api/v5/banned/clientid/dev1", Json::Null, 204, json!({})).await;
    fixture.check("DELETE /api/v5/banned/clientid/dev1", Json::Null, 404, json!({"code": "NOT_FOUND"})).await;
    fixture.check("DELETE /api/v5/banned/peerhost_net/10.0.0.0%2F8", Json::Null, 204, json!({})).await;
    assert_eq!(fixture.store.contents().bans.len(), 0);
}

#[tokio::test]
async fn what_names_nobody_is_refused() {
    let fixture = Fixture::new();
    for (ban, said) in [
        (json!({"as": "topic", "who": "x"}), "as: expected one of clientid"),
        (json!({"as": "peerhost", "who": "x"}), "who: expected an address"),
        (json!({"as": "peerhost_net", "who": "10.0.0.0/40"}), "who: expected a network"),
        (json!({"as": "clientid_re", "who": "("}), "who: `(` is not a regular expression"),
        (json!({"as": "clientid", "who": ""}), "who: expected 1 to"),
        (
            json!({"as": "clientid", "who": "c", "until": "2020-01-01T00:00:00Z"}),
            "until: expected a time to come",
        ),
        (json!({"as": "clientid", "who": "c", "until": "soon"}), "until"),
        (json!({"as": "clientid", "who": "c", "reason": "x".repeat(2000)}), "reason: expected at most"),
        (json!({"who": "c"}), "as"),
        (json!({"as": "clientid", "who": "c", "why": "x"}), "why"),
    ] {
        let answer = fixture.call("POST /api/v5/banned", ban.clone()).await;
        assert_eq!(answer.status, 400, "{ban}: {}", answer.text);
        let message = answer.json()["message"].as_str().unwrap_or_default().to_owned();
        assert!(message.contains(said), "{ban}: {message}");
    }
    fixture.check("GET /api/v5/banned", Json::Null, 200, json!({"data": []})).await;
}

#[tokio::test]
async fn a_ban_that_cannot_be_stored_is_not_in_force() {
    let fixture = Fixture::new();
    fixture.store.set_failing(true);
    let ban = json!({"as": "clientid", "who": "c"});
    fixture.check("POST /api/v5/banned", ban.clone(), 500, json!({"code": "INTERNAL_ERROR"})).await;
    fixture.check("GET /api/v5/banned", Json::Null, 200, json!({"data": []})).await;
    fixture.store.set_failing(false);
    fixture.check("POST /api/v5/banned", ban, 200, json!({})).await;
    fixture.store.set_failing(true);
    fixture.check("DELETE /api/v5/banned", Json::Null, 500, json!({})).await;
    fixture.check("GET /api/v5/banned", Json::Null, 200, json!({"meta": {"count": 1}})).await;
    fixture.store.set_failing(false);
    fixture.check("DELETE /api/v5/banned", Json::Null, 204, json!({})).await;
    assert!(fixture.store.contents().bans.is_empty());
}

#[tokio::test]
async fn bans_come_back_and_end() {
    let fixture = Fixture::new();
    for (who, until) in [("a", "2026-03-01T09:31:00Z"), ("b", "infinity")] {
        let ban = json!({"as": "clientid", "who": who, "until": until});
        fixture.check("POST /api/v5/banned", ban, 200, json!({})).await;
    }
    let fixture = Fixture::with(fixture.store.contents());
    fixture.check("GET /api/v5/banned", Json::Null, 200, json!({"meta": {"count": 2}})).await;
    fixture.clock.advance_ms(60_000);
    fixture.check("GET /api/v5/banned", Json::Null, 200, json!({"data": [{"who": "b"}]})).await;
    assert_eq!(fixture.store.contents().bans.len(), 2);
    fixture.api.bans().keep(START_MS + 60_000).await;
    assert_eq!(fixture.store.contents().bans.len(), 1);
    fixture.check("POST /api/v5/banned", json!({"as": "clientid", "who": "a"}), 200, json!({})).await;
}
