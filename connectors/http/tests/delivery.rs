//! What `deliver` answers, against a scripted server and through a proxy that fails on request.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use connectors_api::{Channel, ChannelError, Connector, Delivery, Health, Outcome, ReasonKind, StartError};
use connectors_http::DEFINITION;
use connectors_testkit::direct::{add_channel, deliver, deliver_within, delivery, row, start};
use connectors_testkit::{Answer, Fault, FaultProxy, HttpServer};
use serde_json::{Value as Json, json};

struct Fixture {
    server: HttpServer,
    proxy: FaultProxy,
    connector: Arc<dyn Connector>,
}

/// A started connector whose connections go through the proxy.
async fn fixture(more: Json) -> Fixture {
    let server = HttpServer::start().await.expect("a server");
    let proxy = FaultProxy::start(server.address()).await.expect("a proxy");
    let mut config = json!({"url": format!("http://{}/base", proxy.address()), "connect_timeout": "1s"});
    for (name, value) in more.as_object().expect("an object") {
        config[name] = value.clone();
    }
    let connector = start(DEFINITION, &config, Path::new(".")).await.expect("starts");
    Fixture { server, proxy, connector }
}

impl Fixture {
    async fn channel(&self, parameters: Json) -> Arc<dyn Channel> {
        add_channel(DEFINITION, self.connector.as_ref(), &parameters).await.expect("a channel")
    }
}

fn one(value: Json) -> [Delivery; 1] {
    [delivery(1, None, row(&value))]
}

#[track_caller]
fn assert_transport(outcome: &Outcome) {
    let Outcome::Retry { reason, .. } = outcome else { panic!("expected a retry, got {outcome:?}") };
    assert_eq!(reason.kind, ReasonKind::Transport, "{reason}");
    assert!(!reason.message.contains("s3cret"), "{reason}");
}

#[tokio::test]
async fn a_row_becomes_a_request() {
    let fixture = fixture(json!({"headers": {"x-site": "${site}"}, "auth": {"type": "basic", "username": "u", "password": "p"}})).await;
    let channel = fixture
        .channel(json!({"method": "put", "path": "lines/${line}?u=${unit}", "headers": {"x-${k}": "v"}, "body": "${t}|${delivery_id}"}))
        .await;
    let value = json!({"site": "b 1", "line": "7/8", "unit": "°C&x=y", "k": "dyn", "t": 21.5});
    assert_eq!(deliver(channel.as_ref(), &one(value)).await, [Outcome::Ok]);
    let requests = fixture.server.requests();
    let request = &requests[0];
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("PUT", "/base/lines/7%2F8?u=%C2%B0C%26x%3Dy")
    );
    assert_eq!(request.body, b"21.5|delivery-1");
    for (name, want) in [
        ("x-site", "b 1"),
        ("x-dyn", "v"),
        ("content-type", "application/json"),
        ("idempotency-key", "delivery-1"),
        ("authorization", "Basic dTpw"),
        ("host", &fixture.proxy.address().to_string()),
    ] {
        assert_eq!(request.header(name), Some(want), "{name}");
    }
}

#[tokio::test]
async fn get_sends_no_body() {
    let fixture = fixture(json!({})).await;
    let channel = fixture.channel(json!({"method": "get"})).await;
    assert_eq!(deliver(channel.as_ref(), &one(json!({"a": 1}))).await, [Outcome::Ok]);
    let requests = fixture.server.requests();
    assert_eq!(
        (requests[0].method.as_str(), requests[0].path.as_str(), requests[0].body.len()),
        ("GET", "/base", 0)
    );
    assert_eq!(requests[0].header("content-type"), None);
}

#[tokio::test]
async fn answers_have_their_class() {
    let fixture = fixture(json!({})).await;
    let channel = fixture.channel(json!({})).await;
    for (status, class) in [
        (200, "ok"),
        (204, "ok"),
        (301, "reject"),
        (400, "reject"),
        (401, "reject"),
        (404, "reject"),
        (408, "retry"),
        (425, "retry"),
        (429, "retry"),
        (500, "reject"),
        (502, "retry"),
        (503, "retry"),
        (504, "retry"),
    ] {
        fixture.server.answer_with(move |_| {
            Answer::status(status)
                .with_header("retry-after", "3")
                .with_header("location", "http://127.0.0.1:1/")
        });
        let outcomes = deliver(channel.as_ref(), &one(json!({}))).await;
        let found = match &outcomes[0] {
            Outcome::Ok => "ok",
            Outcome::Retry { after, reason } => {
                assert_eq!(*after, Some(Duration::from_secs(3)));
                assert_eq!(reason.code.as_deref(), Some(status.to_string().as_str()));
                "retry"
            }
            Outcome::Reject(reason) => {
                assert_eq!(reason.code.as_deref(), Some(status.to_string().as_str()));
                "reject"
            }
        };
        assert_eq!(found, class, "{status}");
    }
    assert_eq!(fixture.server.connections(), 2, "one for the start, and one that is used again and again");
}

#[tokio::test]
async fn an_answer_is_quoted_without_secrets() {
    let fixture = fixture(json!({"auth": {"type": "bearer", "token": "s3cret"}})).await;
    fixture.server.answer_with(|request| {
        let echo = format!("no:\r\n{} {}", request.header("authorization").unwrap(), "x".repeat(500));
        Answer::status(403).with_body(echo.as_bytes())
    });
    let channel = fixture.channel(json!({})).await;
    let outcomes = deliver(channel.as_ref(), &one(json!({}))).await;
    let Outcome::Reject(reason) = &outcomes[0] else { panic!("{outcomes:?}") };
    assert!(!reason.message.contains("s3cret"), "{reason}");
    assert!(reason.message.starts_with("the target answered `no:  ***"), "{reason}");
    assert!(reason.message.len() < 300, "{reason}");
}

#[tokio::test]
async fn faults_of_transport_are_retried() {
    let fixture = fixture(json!({})).await;
    let channel = fixture.channel(json!({"path": "?token=s3cret"})).await;
    for fault in [Fault::Refuse, Fault::Reset, Fault::BlackHole] {
        fixture.proxy.set(fault);
        let asked = Instant::now();
        let outcomes = deliver_within(channel.as_ref(), &one(json!({})), Duration::from_millis(300)).await;
        assert_transport(&outcomes[0]);
        assert!(asked.elapsed() < Duration::from_secs(1), "{fault:?}: {:?}", asked.elapsed());
        fixture.proxy.set(Fault::Pass);
        assert_eq!(deliver(channel.as_ref(), &one(json!({}))).await, [Outcome::Ok], "{fault:?}");
    }
    fixture.server.answer_with(|_| Answer::cut());
    let before = fixture.server.requests().len();
    assert_transport(&deliver(channel.as_ref(), &one(json!({}))).await[0]);
    let attempts = fixture.server.requests()[before..].to_vec();
    assert_eq!(attempts.len(), 3, "one attempt and `max_retries` more");
    assert!(attempts.iter().all(|request| request.header("idempotency-key") == Some("delivery-1")));
}

#[tokio::test]
async fn rows_of_one_key_stay_in_order() {
    let fixture = fixture(json!({})).await;
    let channel = fixture.channel(json!({"body": "${n}"})).await;
    let batch: Vec<Delivery> =
        (0..40).map(|n| delivery(n, Some(["a", "b", "c", "d"][n % 4]), row(&json!({"n": n})))).collect();
    fixture.server.answer_with(|request| {
        let number: u64 = String::from_utf8_lossy(&request.body).parse().unwrap();
        match number {
            // rejected: the next of its key follows
            9 => Answer::status(400),
            // to be sent again: the next of its key wait
            22 => Answer::status(503),
            _ => Answer::status(200).after(Duration::from_millis(number * 7 % 5)),
        }
    });
    let outcomes = deliver(channel.as_ref(), &batch).await;
    for (number, outcome) in outcomes.iter().enumerate() {
        match number {
            9 => assert!(matches!(outcome, Outcome::Reject(_)), "{number}: {outcome:?}"),
            22 | 26 | 30 | 34 | 38 => {
                assert!(matches!(outcome, Outcome::Retry { .. }), "{number}: {outcome:?}");
            }
            _ => assert_eq!(*outcome, Outcome::Ok, "{number}"),
        }
    }
    let sent: Vec<usize> = fixture
        .server
        .requests()
        .iter()
        .map(|request| String::from_utf8_lossy(&request.body).parse().unwrap())
        .collect();
    for key in 0..4 {
        let of_key: Vec<usize> = sent.iter().copied().filter(|number| number % 4 == key).collect();
        assert!(of_key.is_sorted(), "{of_key:?}");
        assert_eq!(of_key.len(), if key == 2 { 6 } else { 10 });
    }
}

#[tokio::test]
async fn a_hash_pool_keeps_a_client_on_one_connection() {
    let fixture = fixture(json!({"pool_type": "hash", "pool_size": 4})).await;
    let channel = fixture.channel(json!({})).await;
    for _ in 0..20 {
        assert_eq!(
            deliver(channel.as_ref(), &[delivery(1, Some("a"), row(&json!({})))]).await,
            [Outcome::Ok]
        );
    }
    assert_eq!(fixture.server.connections(), 2, "one for the start and one for the client");
}

#[tokio::test]
async fn no_more_requests_at_once_than_connections() {
    let fixture = fixture(json!({"pool_size": 3})).await;
    fixture.server.answer_with(|_| Answer::status(200).after(Duration::from_millis(5)));
    let channel = fixture.channel(json!({})).await;
    let batch: Vec<Delivery> = (0..60).map(|n| delivery(n, None, row(&json!({"n": n})))).collect();
    assert_eq!(deliver(channel.as_ref(), &batch).await, vec![Outcome::Ok; 60]);
    assert!(fixture.server.connections() <= 4, "{}", fixture.server.connections());
}

#[tokio::test]
async fn the_check_opens_a_connection_and_sends_nothing() {
    let fixture = fixture(json!({"connect_timeout": "200ms"})).await;
    assert_eq!(fixture.connector.check().await, Health::Connected);
    assert!(fixture.server.requests().is_empty());
    fixture.proxy.set(Fault::Refuse);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let health = fixture.connector.check().await;
    assert!(
        matches!(&health, Health::Disconnected(reason) if reason.contains("cannot connect to 127.0.0.1")),
        "{health:?}"
    );
    let config = json!({"url": format!("http://{}", fixture.proxy.address())});
    let error = start(DEFINITION, &config, Path::new(".")).await.err();
    assert!(matches!(error, Some(StartError::Target(_))), "{error:?}");
}

#[tokio::test]
async fn a_secret_file_is_read_again_at_each_check() {
    let file = std::env::temp_dir().join(format!("sluice-token-{}", std::process::id()));
    std::fs::write(&file, "first\n").unwrap();
    let token = format!("file://{}", file.display());
    let fixture = fixture(json!({"auth": {"type": "bearer", "token": token}})).await;
    let channel = fixture.channel(json!({})).await;
    deliver(channel.as_ref(), &one(json!({}))).await;
    std::fs::write(&file, "second\n").unwrap();
    assert_eq!(fixture.connector.check().await, Health::Connected);
    deliver(channel.as_ref(), &one(json!({}))).await;
    let sent: Vec<Option<String>> = fixture
        .server
        .requests()
        .iter()
        .map(|request| request.header("authorization").map(str::to_owned))
        .collect();
    assert_eq!(sent, [Some("Bearer first".to_owned()), Some("Bearer second".to_owned())]);
    let _ = std::fs::remove_file(&file);
    let error =
        add_channel(DEFINITION, fixture.connector.as_ref(), &json!({"headers": {"authorization": "x"}}))
            .await
            .err();
    assert!(matches!(error, Some(ChannelError::Config(_))), "{error:?}");
    let health = fixture.connector.check().await;
    assert!(
        matches!(&health, Health::Disconnected(reason) if reason.contains("cannot read the secret")),
        "{health:?}"
    );
}

#[tokio::test]
async fn a_row_that_makes_no_request_is_rejected() {
    let fixture = fixture(json!({})).await;
    let channel = fixture.channel(json!({"path": "${p}", "headers": {"x-a": "${h}"}})).await;
    for value in [json!({"p": "..", "h": "x"}), json!({"p": "x", "h": "a\r\nb: c"})] {
        let outcomes = deliver(channel.as_ref(), &one(value)).await;
        assert!(
            matches!(&outcomes[0], Outcome::Reject(reason) if reason.kind == ReasonKind::Render),
            "{outcomes:?}"
        );
    }
    assert!(fixture.server.requests().is_empty());
}

#[tokio::test]
async fn a_row_that_got_no_connection_was_not_sent() {
    let fixture = fixture(json!({"pool_size": 1})).await;
    fixture.server.answer_with(|_| Answer::status(200).after(Duration::from_secs(1)));
    let channel = fixture.channel(json!({})).await;
    let (first, second) = (one(json!({"a": 1})), one(json!({"a": 2})));
    let (first, second) = tokio::join!(
        deliver(channel.as_ref(), &first),
        deliver_within(channel.as_ref(), &second, Duration::from_millis(200))
    );
    assert_eq!(first, [Outcome::Ok]);
    assert!(second[0].is_not_sent(), "{second:?}");
    assert_eq!(fixture.server.requests().len(), 1);
}
