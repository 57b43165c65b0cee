//! Traces, through the whole server.

mod support;

use std::time::Duration;

use broker_codec::{Ack, Connect, Packet, QoS, ReasonCode, Version};
use serde_json::{Value as Json, json};
use support::Server;
use support::mqtt::{Client, connect};

const LIMIT: Duration = Duration::from_secs(20);

/// Everything that a trace has written.
async fn log(server: &Server, name: &str) -> String {
    let (status, chunk) = server.api("GET", &format!("/trace/{name}/log?bytes=1000000"), None).await;
    assert_eq!(status, 200, "{chunk}");
    chunk["items"].as_str().expect("a text").to_owned()
}

/// Waits until a trace has written that, and returns all of it.
async fn wait_for_line(server: &Server, name: &str, text: &str) -> String {
    let probe = || async {
        let log = log(server, name).await;
        log.contains(text).then_some(log)
    };
    server.wait_for(text, LIMIT, probe).await
}

async fn create(server: &Server, trace: Json) -> Json {
    let (status, made) = server.api("POST", "/trace", Some(&trace)).await;
    assert_eq!(status, 200, "{made}");
    made
}

#[tokio::test]
async fn every_step_of_a_client_is_written_without_its_password() {
    let server = Server::start(&[]).await;
    let made =
        create(&server, json!({"name": "t1", "type": "clientid", "clientid": "pump-17", "payload_limit": 4}))
            .await;
    assert_eq!((&made["status"], &made["clientid"]), (&json!("running"), &json!("pump-17")), "{made}");
    assert_eq!(made["log_size"], json!({"sluice@127.0.0.1": 0}), "{made}");
    let login = Connect {
        username: Some("plant".into()),
        password: Some(b"s3cret".to_vec().into()),
        ..connect(Version::V5, "pump-17")
    };
    let mut followed = Client::connect_with(server.mqtt_port(), login).await;
    let mut other = Client::connect(server.mqtt_port(), "hmi").await;
    followed.subscribe("cmd/#", QoS::AtLeastOnce).await;
    other.publish("cmd/1", b"start now", QoS::AtLeastOnce, 1).await;
    other.next().await;
    followed.message().await;
    followed.publish("state", b"on", QoS::AtLeastOnce, 2).await;
    followed.next().await;
    drop(followed);
    let log = wait_for_line(&server, "t1", "msg: connection_closed").await;
    assert!(!log.contains("s3cret") && !log.contains("hmi@"), "{log}");
    let mut at = 0;
    for step in [
        "[MQTT] pump-17@127.0.0.1:",
        "msg: connect_received, username: plant, listener: tcp:default, proto_ver: 5",
        "password: ******",
        "msg: authentication, username: plant, result: success",
        "msg: session_created",
        "msg: connack_sent, username: plant, reason_code: 0x00",
        "msg: subscribe_received, username: plant, packet_id: 9, filters: [\"cmd/# qos=1 nl=0 rap=0\"]",
        "msg: authorization",
        "msg: suback_sent, username: plant, packet_id: 9, reason_codes: [\"0x01",
        "msg: message_delivered, username: plant, topic: cmd/1, qos: 1, retain: false, from_clientid: hmi",
        "payload: star...(5 bytes more)",
        "msg: puback_received",
        "msg: message_acked",
        "msg: publish_received, username: plant, topic: state, qos: 1",
        "msg: publish_routed",
        "msg: message_dropped, username: plant, reason: no_subscribers",
        "msg: puback_sent, username: plant, packet_id: 2, reason_code: 0x10",
        "msg: connection_closed, username: plant, reason: tcp_closed",
    ] {
        let found = log[at..].find(step).unwrap_or_else(|| panic!("no `{step}` behind byte {at} of\n{log}"));
        at += found + step.len();
    }
    assert_eq!(server.api("PUT", "/trace/t1/stop", None).await.1["status"], "stopped");
    let (_, end) = server.api("GET", &format!("/trace/t1/log?position={}", log.len() + 100_000), None).await;
    assert_eq!(end["meta"]["hint"], "eof", "{end}");
}

#[tokio::test]
async fn a_trace_is_read_in_parts_streamed_downloaded_and_removed() {
    let server = Server::start(&[]).await;
    create(
        &server,
        json!({"name": "j", "type": "topic", "topic": "t/+", "formatter": "json", "payload_encode": "hex"}),
    )
    .await;
    let mut publisher = Client::connect(server.mqtt_port(), "p").await;
    publisher.publish("t/ü", b"\x00\xffx", QoS::AtLeastOnce, 1).await;
    publisher.next().await;
    publisher.publish("u", b"unseen", QoS::AtLeastOnce, 2).await;
    publisher.next().await;
    let log = wait_for_line(&server, "j", "message_dropped").await;
    let lines: Vec<Json> =
        log.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect();
    let received = &lines[0];
    assert_eq!((&received["msg"], &received["topic"]), (&json!("publish_received"), &json!("t/ü")), "{log}");
    assert_eq!(
        (&received["payload"], &received["meta"]["clientid"]),
        (&json!("00FF78"), &json!("p")),
        "{log}"
    );
    assert!(!log.contains("\"u\""), "{log}");

    // part by part, whole characters each
    let mut position = 0;
    let mut read = String::new();
    loop {
        let (_, part) = server.api("GET", &format!("/trace/j/log?position={position}&bytes=7"), None).await;
        read.push_str(part["items"].as_str().expect("a text"));
        position = part["meta"]["position"].as_u64().expect("a number");
        if part["meta"]["hint"] == "retry" {
            break;
        }
        assert!(part["meta"].get("hint").is_none(), "{part}");
    }
    assert_eq!(read, log);

    // a stream goes on with what is written while it is read
    let mut stream = server.open_stream("/trace/j/log_stream").await;
    let mut streamed = String::new();
    let mut asked = false;
    while !streamed.contains("event: end") {
        let piece = tokio::time::timeout(LIMIT, stream.chunk()).await.expect("in time").expect("a piece");
        streamed.push_str(std::str::from_utf8(&piece.expect("not the end")).expect("UTF-8"));
        if !asked && streamed.contains("publish_received") {
            asked = true;
            publisher.publish("t/2", b"y", QoS::AtLeastOnce, 3).await;
            publisher.next().await;
        }
        if streamed.contains("\"t/2\"") {
            let _ = server.api("PUT", "/trace/j/stop", None).await;
        }
    }
    assert!(streamed.contains("data: stopped") && streamed.contains("id: "), "{streamed}");

    let mut download = server.open_stream("/trace/j/download?node=sluice@127.0.0.1").await;
    let disposition = download.headers()["content-disposition"].to_str().expect("ASCII").to_owned();
    assert_eq!(disposition, "attachment; filename=j.zip");
    let mut archive = Vec::new();
    while let Some(piece) = download.chunk().await.expect("a piece") {
        archive.extend_from_slice(&piece);
    }
    assert_eq!((&archive[..4], archive.len() > 200), (&b"PK\x03\x04"[..], true));
    let (_, files) = server.api("GET", "/trace/j/log_detail", None).await;
    assert_eq!(files[0]["node"], "sluice@127.0.0.1");
    assert!(files[0]["size"].as_u64() > Some(100) && files[0]["mtime"].is_i64(), "{files}");

    let file = server.data_dir().join("trace/j.log");
    assert!(file.exists());
    assert_eq!(server.api("DELETE", "/trace/j", None).await.0, 204);
    assert!(!file.exists());
    for (method, path) in [
        ("DELETE", "/trace/j"),
        ("PUT", "/trace/j/stop"),
        ("GET", "/trace/j/log"),
        ("GET", "/trace/j/log_stream"),
        ("GET", "/trace/j/log_detail"),
        ("GET", "/trace/j/download"),
    ] {
        let (status, answer) = server.api(method, path, None).await;
        assert_eq!((status, &answer["code"]), (404, &json!("NOT_FOUND")), "{method} {path}: {answer}");
    }
}

#[tokio::test]
async fn a_rule_is_followed_with_its_actions() {
    let server = Server::start(&[]).await;
    let rule = json!({"id": "hot", "sql": "SELECT payload.t AS t FROM \"lines/#\" WHERE payload.t > 80",
        "actions": [{"function": "republish", "args": {"topic": "out", "payload": "${t}"}}]});
    assert_eq!(server.api("POST", "/rules", Some(&rule)).await.0, 201);
    create(&server, json!({"name": "r", "type": "ruleid", "ruleid": "hot", "payload_encode": "hidden"}))
        .await;
    let mut publisher = Client::connect(server.mqtt_port(), "p").await;
    for (number, t) in [(1, 20), (2, 90)] {
        publisher.publish("lines/1", format!("{{\"t\":{t}}}").as_bytes(), QoS::AtLeastOnce, number).await;
        publisher.next().await;
    }
    let log = wait_for_line(&server, "r", "msg: action_success").await;
    let shown: Vec<&str> = log.lines().filter_map(|line| line.split("msg: ").nth(1)).collect();
    assert!(shown[0].starts_with("rule_evaluated") && shown[0].contains("result: where_false"), "{log}");
    assert!(shown[1].contains("result: passed, rows: 1, output: ******"), "{log}");
    assert_eq!(shown[2], "action_success, ruleid: hot, action: republish, row: ******", "{log}");
}

#[tokio::test]
async fn traces_go_on_after_a_restart_and_end_at_their_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = Server::start_in(folder.path(), &[]).await;
    let (status, text) = server.ctl(&["trace", "start", "client", "c1", "trace.log"]);
    assert!(status.success() && text == "trace c1 CLI-c1 successfully\n", "{text}");
    let (_, text) = server.ctl(&["trace", "list"]);
    assert!(
        text.starts_with("Trace(clientid=c1, level=debug, destination=\"")
            && text.ends_with("trace/trace.log\")\n"),
        "{text}"
    );
    let (_, text) = server.ctl(&["traces", "start", "short", "topic", "a/#", "1", "json"]);
    assert_eq!(text, "cluster_trace topic a/# short successfully\n");
    let later = json!({"name": "later", "type": "ip_address", "ip_address": "127.0.0.1", "start_at": "2099-01-01T00:00:00Z"});
    let made = create(&server, later).await;
    assert_eq!(
        (&made["status"], &made["end_at"]),
        (&json!("waiting"), &json!("2099-01-01T00:15:00+00:00")),
        "{made}"
    );
    let (_, early) = server.api("GET", "/trace/later/log", None).await;
    assert_eq!((&early["items"], &early["meta"]["hint"]), (&json!(""), &json!("retry")), "{early}");
    let _client = Client::connect(server.mqtt_port(), "c1").await;
    wait_for_line(&server, "CLI-c1", "connack_sent").await;

    server.kill().await;
    let server = Server::start_in(folder.path(), &[]).await;
    let _client = Client::connect(server.mqtt_port(), "c1").await;
    let again =
        || async { (log(&server, "CLI-c1").await.matches("msg: connack_sent").count() == 2).then_some(()) };
    server.wait_for("the second CONNACK", LIMIT, again).await;
    let ended = || async {
        let (_, list) = server.api("GET", "/trace", None).await;
        let statuses: Vec<_> =
            list.as_array()?.iter().map(|trace| format!("{} {}", trace["name"], trace["status"])).collect();
        statuses.contains(&"\"short\" \"stopped\"".to_owned()).then_some(statuses)
    };
    let statuses = server.wait_for("the end of the short one", LIMIT, ended).await;
    assert!(statuses.contains(&"\"CLI-c1\" \"running\"".to_owned()), "{statuses:?}");
    assert_eq!(statuses[0], "\"later\" \"waiting\"", "the one that begins last first");

    assert_eq!(server.ctl(&["trace", "stop", "client", "c1"]).1, "stop tracing clientid c1 successfully\n");
    assert_eq!(server.ctl(&["trace", "list"]).1, "No traces.\n");
    assert_eq!(server.ctl(&["trace", "stop", "client", "c2"]).1, "Not Found.\n");
    let (_, text) = server.ctl(&["trace", "start", "client", "c1", "trace.log", "warning", "json"]);
    assert_eq!(text, "trace c1 CLI-c1 successfully\n", "it begins anew");
    assert_eq!(log(&server, "CLI-c1").await, "");
    let (_, text) = server.ctl(&["traces", "list"]);
    assert!(text.contains("Trace(short: topic=a/#, stopped, LogSize:{\"sluice@127.0.0.1\":"), "{text}");
    assert_eq!(server.ctl(&["traces", "delete", "short"]).1, "Del cluster_trace short successfully\n");
    assert_eq!(server.ctl(&["traces", "delete", "short"]).1, "Not Found.\n");
    assert_eq!(server.api("DELETE", "/trace", None).await.0, 204);
    assert_eq!(server.api("GET", "/trace", None).await, (200, json!([])));
}

#[tokio::test]
async fn what_cannot_be_followed_is_refused() {
    let server = Server::start(&[]).await;
    let follow = |more: Json| {
        let mut trace = json!({"name": "t", "type": "clientid", "clientid": "c"});
        for (key, value) in more.as_object().expect("fields") {
            trace[key] = value.clone();
        }
        trace
    };
    for (trace, code, said) in [
        (follow(json!({"name": "../t"})), "INVALID_PARAMS", "name: expected 1 to 128 letters"),
        (follow(json!({"name": ""})), "INVALID_PARAMS", "name"),
        (follow(json!({"file": "../../etc/passwd"})), "INVALID_PARAMS", "file: expected"),
        (follow(json!({"clientid": ""})), "INVALID_PARAMS", "clientid: expected a value"),
        (
            follow(json!({"topic": "x"})),
            "INVALID_PARAMS",
            "topic: a trace of type `clientid` has no such field",
        ),
        (follow(json!({"type": "topic"})), "INVALID_PARAMS", "clientid: a trace of type `topic`"),
        (json!({"name": "t", "type": "topic"}), "INVALID_PARAMS", "topic: a trace of type `topic` needs it"),
        (json!({"name": "t", "type": "topic", "topic": "a/#/b"}), "INVALID_PARAMS", "topic: `a/#/b`"),
        (
            json!({"name": "t", "type": "ip_address", "ip_address": "here"}),
            "INVALID_PARAMS",
            "expected an address",
        ),
        (
            follow(json!({"end_at": "2020-01-01T00:00:00Z"})),
            "INVALID_PARAMS",
            "end_at: expected a time after",
        ),
        (follow(json!({"type": "nobody"})), "BAD_REQUEST", "type"),
        (follow(json!({"payload_encode": "base64"})), "BAD_REQUEST", "payload_encode"),
        (follow(json!({"nonsense": 1})), "BAD_REQUEST", "nonsense"),
    ] {
        let (status, answer) = server.api("POST", "/trace", Some(&trace)).await;
        assert_eq!((status, &answer["code"]), (400, &json!(code)), "{trace}: {answer}");
        assert!(answer["message"].as_str().expect("a message").contains(said), "{trace}: {answer}");
    }
    for number in 0..30 {
        create(&server, follow(json!({"name": format!("t{number}")}))).await;
    }
    let (status, answer) = server.api("POST", "/trace", Some(&follow(json!({"name": "t0"})))).await;
    assert_eq!((status, &answer["code"]), (409, &json!("ALREADY_EXISTS")), "{answer}");
    let (status, answer) = server.api("POST", "/trace", Some(&follow(json!({"name": "t30"})))).await;
    assert_eq!((status, &answer["code"]), (400, &json!("EXCEED_LIMIT")), "{answer}");
    // all thirty follow the same client
    let mut client = Client::connect(server.mqtt_port(), "c").await;
    client.send(&Packet::PubRel(Ack::new(support::mqtt::id(9), ReasonCode::SUCCESS))).await;
    for number in [0, 29] {
        wait_for_line(&server, &format!("t{number}"), "pubrel_received").await;
    }
}

#[tokio::test]
async fn what_comes_before_mqtt_is_written_for_an_address() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("sluice.toml");
    std::fs::write(&config, "[listeners.ws.default]\nbind = '127.0.0.1:0'\n").expect("written");
    let server = Server::start(&["--config", config.to_str().expect("UTF-8")]).await;
    create(&server, json!({"name": "a", "type": "ip_address", "ip_address": "127.0.0.1"})).await;
    let (_, listener) = server.api("GET", "/listeners/ws:default", None).await;
    let address = listener["listen_on"].as_str().expect("an address").to_owned();
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET /nowhere HTTP/1.1\r\n\r\n")
        .await
        .expect("written");
    let log = wait_for_line(&server, "a", "msg: handshake_failed").await;
    assert!(log.contains("[SOCKET] 127.0.0.1:") && log.contains("listener: ws:default, error: "), "{log}");
}
