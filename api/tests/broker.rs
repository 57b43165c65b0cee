//! Clients, subscriptions, topics, publishing, retained messages, counters: what the broker answers.

mod support;

use broker_codec::QoS;
use serde_json::{Value as Json, json};
use support::{Fixture, NODE};

#[tokio::test]
async fn clients_are_listed_and_shown() {
    let fixture = Fixture::new();
    let _pump = fixture.connect("pump-17", Some("plant"), &["cmd/+", "$share/g/jobs"]);
    let _other = fixture.connect("meter-1", None, &[]);
    let pump = json!({
        "node": NODE, "clientid": "pump-17", "username": "plant", "proto_name": "MQTT", "proto_ver": 5,
        "ip_address": "127.0.0.1", "port": 51022, "listener": "tcp:default", "connected": true,
        "connected_at": "2026-03-01T09:30:00.125+00:00", "created_at": "2026-03-01T09:30:00.125+00:00",
        "clean_start": true, "expiry_interval": 0, "is_bridge": false, "keepalive": 60, "mountpoint": "",
        "subscriptions_cnt": 2, "inflight_cnt": 0, "mqueue_len": 0, "mqueue_dropped": 0, "awaiting_rel_cnt": 0,
        "client_attrs": {},
    });
    let meta = json!({"page": 1, "limit": 100, "count": 2, "hasnext": false});
    fixture
        .check(
            "GET /api/v5/clients",
            Json::Null,
            200,
            json!({"data": [{"clientid": "meter-1", "username": null}, pump.clone()], "meta": meta}),
        )
        .await;
    fixture.check("GET /api/v5/clients/pump-17", Json::Null, 200, pump).await;
    fixture.check("GET /api/v5/clients/nobody", Json::Null, 404, json!({"code": "CLIENTID_NOT_FOUND"})).await;
}

#[tokio::test]
async fn client_filters_are_joined() {
    let fixture = Fixture::new();
    let _clients = [
        fixture.connect("pump-1", Some("plant"), &[]),
        fixture.connect("pump-2", Some("yard"), &[]),
        fixture.connect("meter-1", None, &[]),
    ];
    for (query, expect) in [
        ("clientid=pump-1&clientid=meter-1", &["meter-1", "pump-1"][..]),
        ("username=plant&username=yard", &["pump-1", "pump-2"]),
        ("like_clientid=pump&like_username=yar", &["pump-2"]),
        ("like_clientid=PUMP", &[]),
        ("conn_state=disconnected", &[]),
        ("conn_state=connected&limit=1&page=2", &["pump-1"]),
        ("ip_address=127.0.0.1&proto_ver=5&clean_start=true", &["meter-1", "pump-1", "pump-2"]),
        ("proto_ver=4", &[]),
        ("node=elsewhere", &[]),
        (
            "gte_created_at=2026-03-01T09%3A30%3A00Z&lte_created_at=1772357400125",
            &["meter-1", "pump-1", "pump-2"],
        ),
        ("lte_connected_at=1772357400124", &[]),
    ] {
        let answer = fixture.call(&format!("GET /api/v5/clients?{query}"), Json::Null).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text);
        let page = answer.json();
        let ids: Vec<_> =
            page["data"].as_array().unwrap().iter().map(|c| c["clientid"].as_str().unwrap()).collect();
        assert_eq!(ids, expect, "{query}");
    }
    let answer =
        fixture.call("GET /api/v5/clients?fields=clientid,connected&limit=1", Json::Null).await.json();
    assert_eq!(answer["data"], json!([{"clientid": "meter-1", "connected": true}]));
}

#[tokio::test]
async fn a_cursor_leads_through_all_clients() {
    let fixture = Fixture::new();
    let _clients: Vec<_> = (0..5).map(|n| fixture.connect(&format!("c{n}"), None, &[])).collect();
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let request = format!("GET /api/v5/clients_v2?limit=2&cursor={cursor}");
        let page = fixture.call(&request, Json::Null).await.json();
        assert_eq!(page["meta"]["count"], 5);
        seen.extend(
            page["data"].as_array().unwrap().iter().map(|c| c["clientid"].as_str().unwrap().to_owned()),
        );
        match page["meta"]["cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break assert_eq!(page["meta"]["hasnext"], false),
        }
    }
    assert_eq!(seen, ["c0", "c1", "c2", "c3", "c4"]);
    fixture.check("GET /api/v5/clients_v2?cursor=%3F", Json::Null, 400, json!({})).await;
}

#[tokio::test]
async fn a_client_is_kicked() {
    let fixture = Fixture::new();
    let _clients = [fixture.connect("a", None, &[]), fixture.connect("b", None, &[])];
    fixture.check("DELETE /api/v5/clients/a", Json::Null, 204, Json::Null).await;
    fixture
        .check(
            "DELETE /api/v5/clients/a",
            Json::Null,
            404,
            json!({"code": "CLIENTID_NOT_FOUND", "message": "Client ID not found"}),
        )
        .await;
    fixture.check("POST /api/v5/clients/kickout/bulk", json!(["b", "nobody"]), 204, Json::Null).await;
    fixture.check("GET /api/v5/clients", Json::Null, 200, json!({"data": []})).await;
}

#[tokio::test]
async fn subscriptions_and_topics_are_listed() {
    let fixture = Fixture::new();
    let _pump = fixture.connect("pump-17", None, &["cmd/+", "$share/g/jobs/#"]);
    let _meter = fixture.connect("meter-1", None, &["$SYS/#"]);
    let cmd = json!({"node": NODE, "clientid": "pump-17", "topic": "cmd/+", "qos": 1, "nl": 0, "rap": 0, "rh": 0, "durable": false});
    let shared = json!({"clientid": "pump-17", "topic": "$share/g/jobs/#"});
    fixture.check("GET /api/v5/clients/pump-17/subscriptions", Json::Null, 200, json!([shared, cmd])).await;
    fixture
        .check("GET /api/v5/clients/x/subscriptions", Json::Null, 404, json!({"code": "CLIENTID_NOT_FOUND"}))
        .await;
    let page = json!({"data": [cmd], "meta": {"page": 1, "limit": 2, "hasnext": false}});
    fixture.check("GET /api/v5/subscriptions?match_topic=cmd%2Fpump-17&limit=2", Json::Null, 200, page).await;
    for (query, count) in [
        ("share_group=g", 1),
        ("match_topic=jobs%2F1", 1),
        ("qos=1", 3),
        ("qos=0", 0),
        ("clientid=meter-1", 1),
        ("durable=true", 0),
        ("durable=false", 3),
        ("topic=cmd%2F%2B", 1),
        ("match_topic=%23", 2),
    ] {
        let page = fixture.call(&format!("GET /api/v5/subscriptions?{query}"), Json::Null).await.json();
        assert_eq!(page["data"].as_array().unwrap().len(), count, "{query}");
    }
    fixture
        .check(
            "GET /api/v5/topics?topic=cmd%2F%2B",
            Json::Null,
            200,
            json!({"data": [{"topic": "cmd/+", "node": NODE, "session": null}], "meta": {"count": 1}}),
        )
        .await;
    fixture.check("GET /api/v5/topics/cmd%2F%2B", Json::Null, 200, json!([{"topic": "cmd/+"}])).await;
    fixture.check("GET /api/v5/topics/x", Json::Null, 404, json!({"code": "TOPIC_NOT_FOUND"})).await;
}

#[tokio::test]
async fn messages_are_published() {
    let fixture = Fixture::new();
    let _pump = fixture.connect("pump-17", None, &["a"]);
    let properties = json!({"payload_format_indicator": 1, "message_expiry_interval": 60, "response_topic": "r/1",
        "correlation_data": "abc", "content_type": "text/plain", "user_properties": {"k": "v"}});
    for (message, status, expect) in [
        (json!({"topic": "a", "payload": "1"}), 200, json!({})),
        (
            json!({"topic": "a", "payload": "aGVsbG8=", "payload_encoding": "base64", "qos": 2}),
            200,
            json!({}),
        ),
        (json!({"topic": "a", "payload": "1", "properties": properties}), 200, json!({})),
        (
            json!({"topic": "b", "payload": "1"}),
            202,
            json!({"reason_code": 16, "message": "no_matching_subscribers"}),
        ),
        (json!({"topic": "$SYS/x", "payload": "1"}), 202, json!({})),
        (
            json!({"topic": "a/#", "payload": "1"}),
            400,
            json!({"code": "BAD_REQUEST", "reason_code": 144, "message": "topic_name_invalid"}),
        ),
        (json!({"topic": "", "payload": "1"}), 400, json!({"reason_code": 144})),
        (
            json!({"topic": "a", "payload": "?", "encoding": "base64"}),
            400,
            json!({"message": "payload_format_invalid"}),
        ),
        (json!({"topic": "a", "payload": "1", "qos": 3}), 400, json!({"message": "qos_invalid"})),
        (json!({"topic": "a", "payload": "x".repeat(1 << 20)}), 400, json!({"message": "packet_too_large"})),
        (
            json!({"topic": "a", "payload": "1", "properties": {"payload_format_indicator": 2}}),
            400,
            json!({"message": "property_invalid"}),
        ),
    ] {
        let found = fixture.check("POST /api/v5/publish", message, status, expect).await;
        assert_eq!(found["id"].is_string(), status == 200, "{found}");
    }
    fixture.broker.stop();
    let stopped = json!({"reason_code": 131, "message": "failed_to_dispatch"});
    fixture.check("POST /api/v5/publish", json!({"topic": "a", "payload": "1"}), 503, stopped).await;
}

#[tokio::test]
async fn many_messages_are_published_or_none() {
    let fixture = Fixture::new();
    let _pump = fixture.connect("pump-17", None, &["a"]);
    let (a, b) = (json!({"topic": "a", "payload": "1"}), json!({"topic": "b", "payload": "2"}));
    let bulk = "POST /api/v5/publish/bulk";
    fixture.check(bulk, json!([a]), 200, json!([{}])).await;
    let found = fixture.check(bulk, json!([a, b]), 202, json!([{}, {"reason_code": 16}])).await;
    assert!(found[0]["id"].is_string());
    fixture.check(bulk, json!([]), 200, json!([])).await;
    let before = fixture.check("GET /api/v5/metrics?aggregate=true", Json::Null, 200, json!({})).await;
    let answer = fixture.call(bulk, json!([a, {"topic": "#", "payload": "1"}])).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()[1]["reason_code"], 144);
    let after = fixture.check("GET /api/v5/metrics?aggregate=true", Json::Null, 200, json!({})).await;
    assert_eq!(before["messages.delivered"], after["messages.delivered"], "none was sent");
}

#[tokio::test]
async fn delayed_messages_are_listed_and_forgotten() {
    let fixture = Fixture::new();
    for (topic, payload) in [("$delayed/60/later", "x"), ("$delayed/5/soon", "{\"on\":true}")] {
        let message = json!({"topic": topic, "payload": payload, "qos": 1});
        fixture.check("POST /api/v5/publish", message, 202, json!({})).await;
    }
    let wrong = json!({"topic": "$delayed/x/t", "payload": "x"});
    fixture.check("POST /api/v5/publish", wrong, 400, json!({"reason_code": 144})).await;
    let list = "GET /api/v5/mqtt/delayed/messages";
    fixture.check(list, Json::Null, 200, json!({"data": [
        {"topic": "soon", "qos": 1, "delayed_interval": 5, "delayed_remaining": 5, "payload": "eyJvbiI6dHJ1ZX0=",
         "publish_at": "2026-03-01T09:30:00.125+00:00", "expected_at": "2026-03-01T09:30:05.125+00:00"},
        {"topic": "later"}], "meta": {"count": 2, "hasnext": false}})).await;
    let first_page = "GET /api/v5/mqtt/delayed/messages?limit=1";
    let found = fixture.call(first_page, Json::Null).await.json();
    assert_eq!((found["data"].as_array().map(Vec::len), &found["meta"]["hasnext"]), (Some(1), &json!(true)));
    let (node, msgid) = (&found["data"][0]["node"], &found["data"][0]["msgid"]);
    let one = format!(
        "DELETE /api/v5/mqtt/delayed/messages/{}/{}",
        node.as_str().expect("a node"),
        msgid.as_str().expect("an id")
    );
    fixture.check(&one, Json::Null, 204, Json::Null).await;
    fixture.check(&one, Json::Null, 404, json!({"code": "NOT_FOUND"})).await;
    fixture.check(list, Json::Null, 200, json!({"data": [{"topic": "later"}], "meta": {"count": 1}})).await;
}

#[tokio::test]
async fn retained_messages_are_shown_and_forgotten() {
    let fixture = Fixture::new();
    for (topic, payload) in [("state/pump-17", "{\"on\":true}"), ("state/pump-18", "x"), ("other", "y")] {
        let message = json!({"topic": topic, "payload": payload, "qos": 1, "retain": true});
        fixture.check("POST /api/v5/publish", message, 202, json!({})).await;
    }
    fixture.check("GET /api/v5/mqtt/retainer/message/state%2Fpump-17", Json::Null, 200, json!({
        "topic": "state/pump-17", "qos": 1, "publish_at": "2026-03-01T09:30:00.125+00:00", "payload": "eyJvbiI6dHJ1ZX0="})).await;
    fixture.check("GET /api/v5/mqtt/retainer/messages?topic=state%2F%2B", Json::Null, 200, json!({
        "data": [{"topic": "state/pump-17"}, {"topic": "state/pump-18"}], "meta": {"count": 2, "hasnext": false}})).await;
    fixture
        .check(
            "GET /api/v5/mqtt/retainer/messages?limit=2",
            Json::Null,
            200,
            json!({
        "data": [{"topic": "other"}, {"topic": "state/pump-17"}], "meta": {"hasnext": true}}),
        )
        .await;
    fixture.check("GET /api/v5/mqtt/retainer/messages?topic=a%23", Json::Null, 400, json!({})).await;
    fixture.check("DELETE /api/v5/mqtt/retainer/message/other", Json::Null, 204, Json::Null).await;
    fixture
        .check("DELETE /api/v5/mqtt/retainer/message/other", Json::Null, 404, json!({"code": "NOT_FOUND"}))
        .await;
    fixture.check("DELETE /api/v5/mqtt/retainer/messages", Json::Null, 204, Json::Null).await;
    fixture
        .check(
            "GET /api/v5/mqtt/retainer/messages",
            Json::Null,
            200,
            json!({"data": [], "meta": {"count": 0}}),
        )
        .await;
}

#[tokio::test]
async fn nodes_and_counters_are_true() {
    let fixture = Fixture::new();
    let _pump = fixture.connect("pump-17", None, &["a"]);
    fixture.clock.advance_ms(5000);
    let node = json!({"node": NODE, "node_status": "running", "edition": "Opensource", "role": "core", "uptime": 5000,
        "connections": 1, "live_connections": 1, "cluster_sessions": 1, "otp_release": "n/a"});
    fixture.check("GET /api/v5/nodes", Json::Null, 200, json!([node])).await;
    let shown = fixture.check(&format!("GET /api/v5/nodes/{NODE}?format=bytes"), Json::Null, 200, node).await;
    assert!(shown["memory_total"].is_u64());
    let stats = json!({"node": NODE, "connections.count": 1, "live_connections.count": 1, "subscriptions.count": 1,
        "topics.count": 1, "retained.count": 0, "delayed.count": 0, "durable_subscriptions.count": 0});
    fixture.check("GET /api/v5/stats", Json::Null, 200, json!([stats.clone()])).await;
    fixture.check(&format!("GET /api/v5/nodes/{NODE}/stats"), Json::Null, 200, stats).await;
    let metrics = json!({"client.connected": 1, "rules.matched": 0, "messages.delayed": 0});
    fixture.check("GET /api/v5/metrics?aggregate=true", Json::Null, 200, metrics.clone()).await;
    fixture.check("GET /api/v5/metrics", Json::Null, 200, json!([metrics])).await;
    fixture.check("GET /api/v5/metrics?node=other", Json::Null, 404, json!({})).await;
}

#[tokio::test]
async fn prometheus_reads_the_names_of_the_boards() {
    let fixture = Fixture::new();
    let _pump = fixture.connect("pump-17", None, &["a"]);
    let answer = fixture.call("GET /api/v5/prometheus/stats", Json::Null).await;
    assert_eq!(answer.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    for line in [
        "# TYPE emqx_client_connected counter",
        "emqx_client_connected 1",
        "emqx_live_connections_count 1",
        "emqx_messages_received 0",
        "emqx_cluster_nodes_running 1",
        "emqx_rules_count 0",
    ] {
        assert!(answer.text.lines().any(|found| found == line), "{line} in {}", answer.text);
    }
    let mut names: Vec<_> = answer.text.lines().filter(|line| line.starts_with("# TYPE")).collect();
    let before = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), before, "a family occurs once");
    let labelled = fixture.call("GET /api/v5/prometheus/stats?mode=all_nodes_unaggregated", Json::Null).await;
    assert!(labelled.text.contains("emqx_client_connected{node=\"sluice@127.0.0.1\"} 1"));
    fixture.check("GET /api/v5/prometheus/stats?mode=x", Json::Null, 400, json!({})).await;
}

#[tokio::test]
async fn a_client_has_every_field_that_programs_read() {
    let fixture = Fixture::new();
    let _pump = fixture.connect("pump-17", None, &[]);
    let client = fixture.call("GET /api/v5/clients/pump-17", Json::Null).await.json();
    for field in "node clientid username proto_name proto_ver ip_address port listener connected connected_at created_at \
        clean_start expiry_interval is_expired is_bridge keepalive mountpoint zone enable_authn is_persistent durable \
        subscriptions_cnt subscriptions_max inflight_cnt inflight_max mqueue_len mqueue_max mqueue_dropped \
        awaiting_rel_cnt awaiting_rel_max recv_pkt recv_msg recv_msg.qos0 recv_msg.qos1 recv_msg.qos2 \
        recv_msg.dropped recv_msg.dropped.await_pubrel_timeout recv_oct recv_cnt send_pkt send_msg send_msg.qos0 \
        send_msg.qos1 send_msg.qos2 send_msg.dropped send_msg.dropped.expired send_msg.dropped.queue_full \
        send_msg.dropped.too_large send_oct send_cnt total_payload_bytes heap_size mailbox_len reductions client_attrs"
        .split_whitespace()
    {
        assert!(client.get(field).is_some(), "{field}: {client}");
    }
}

#[tokio::test]
async fn messages_of_a_client_are_counted_by_qos() {
    let fixture = Fixture::new();
    let mut pump = fixture.connect("pump-17", None, &["t/#"]);
    pump.publish("t/0", QoS::AtMostOnce);
    pump.publish("t/1", QoS::AtLeastOnce);
    pump.publish("t/1", QoS::AtLeastOnce);
    pump.flush();
    let counts = json!({
        "recv_msg": 3, "recv_msg.qos0": 1, "recv_msg.qos1": 2, "recv_msg.qos2": 0,
        "send_msg": 3, "send_msg.qos0": 1, "send_msg.qos1": 2, "send_msg.qos2": 0,
    });
    fixture.check("GET /api/v5/clients/pump-17", Json::Null, 200, counts).await;
}

#[tokio::test]
async fn a_bulk_request_with_one_bad_message_sends_none() {
    let fixture = Fixture::new();
    let good = json!({"topic": "a/1", "payload": "1", "retain": true});
    let large = json!({"topic": "a/2", "payload": "x".repeat(2 << 20)});
    let indicator = json!({"topic": "a/2", "payload": "1", "properties": {"payload_format_indicator": 2}});
    for (bad, reason_code, message) in
        [(large, 151, "packet_too_large"), (indicator, 131, "property_invalid")]
    {
        let answer = fixture.call("POST /api/v5/publish/bulk", json!([good, bad])).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
        let reports = answer.json();
        assert_eq!(reports[0]["message"], "not_sent");
        assert_eq!(reports[1]["reason_code"], reason_code);
        assert_eq!(reports[1]["message"], message);
    }
    fixture
        .check("GET /api/v5/mqtt/retainer/message/a%2F1", Json::Null, 404, json!({"code": "NOT_FOUND"}))
        .await;
}
