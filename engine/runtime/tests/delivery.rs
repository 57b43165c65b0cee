//! What becomes of rows: retries, order, expiry, overflow, fallback, faults of a connector.

mod support;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use connectors_testkit::{Reply, SCRIPTED, ScriptedTarget, until};
use engine_event::{Completion, Settled, Value};
use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use support::{LIMIT, bench, bench_with, int, number, text};

#[tokio::test(start_paused = true)]
async fn a_retry_waits_longer_each_time_and_rows_of_its_client_wait_behind_it() {
    let bench = bench(json!({"worker_pool_size": 1, "retry_backoff": {"initial": "100ms", "max": "400ms", "jitter": "none"}})).await;
    bench.target.answer_with(|delivery| {
        if number(delivery) == 0 && delivery.attempts < 4 { Reply::retry() } else { Reply::ok() }
    });
    for n in 0..6 {
        bench.publish(if n % 2 == 0 { "a" } else { "b" }, n);
    }
    bench.settled().await;
    let accepted = bench.accepted();
    let of = |client: i64| accepted.iter().copied().filter(|n| n % 2 == client).collect::<Vec<_>>();
    assert_eq!((of(0), of(1)), (vec![0, 2, 4], vec![1, 3, 5]), "{accepted:?}");
    assert_eq!(accepted[..3], [1, 3, 5], "another client is not held up");

    let attempts: Vec<_> = bench
        .target
        .requests()
        .into_iter()
        .filter(|(_, rows)| number(&rows[0]) == 0)
        .map(|(at, _)| at)
        .collect();
    let pauses: Vec<_> = attempts.windows(2).map(|pair| (pair[1] - pair[0]).as_millis() / 100).collect();
    assert_eq!(pauses, [1, 2, 4, 4]);
    let metrics = bench.harness.metrics("scripted:a");
    assert_eq!((metrics.retried, metrics.retried_success, metrics.success), (1, 1, 6));
}

#[tokio::test(start_paused = true)]
async fn the_target_may_ask_for_a_pause() {
    let bench = bench(json!({})).await;
    bench.target.answer_with(|delivery| match delivery.attempts {
        0 => Reply::retry_after(Duration::from_secs(7)),
        _ => Reply::ok(),
    });
    bench.publish("a", 1);
    bench.settled().await;
    let times: Vec<_> = bench.target.requests().iter().map(|(at, _)| *at).collect();
    assert!(times[1] - times[0] >= Duration::from_secs(7), "{times:?}");
}

#[tokio::test(start_paused = true)]
async fn every_attempt_has_the_delivery_id_of_its_row() {
    let bench = bench(json!({"retry_backoff": {"initial": "1ms", "max": "1ms"}})).await;
    bench.target.answer_with(|delivery| if delivery.attempts == 0 { Reply::retry() } else { Reply::ok() });
    for n in 0..10 {
        bench.publish("a", n);
    }
    bench.settled().await;
    let ids: HashSet<_> = bench
        .target
        .requests()
        .iter()
        .flat_map(|(_, rows)| {
            rows.iter().map(|row| (number(row), row.delivery_id.clone())).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(ids.len(), 10);
    assert_eq!(ids.iter().map(|(_, id)| id).collect::<HashSet<_>>().len(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_row_is_given_up_after_so_many_retries() {
    let bench = bench(json!({"max_retries": 2, "retry_backoff": {"initial": "1ms", "max": "1ms"}})).await;
    bench.target.answer_with(|_| Reply::retry());
    bench.publish("a", 1);
    bench.settled().await;
    assert_eq!(bench.target.requests().len(), 3);
    let metrics = bench.harness.metrics("scripted:a");
    assert_eq!((metrics.failed, metrics.retried_failed), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn rows_expire_while_the_target_is_away() {
    let bench = bench(json!({"request_ttl": "2s"})).await;
    bench.target.set_up(false);
    for n in 0..50 {
        bench.publish(&format!("client-{n}"), n);
    }
    bench.settled().await;
    let metrics = bench.harness.metrics("scripted:a");
    assert_eq!((metrics.dropped_expired + metrics.late_reply, metrics.success), (50, 0), "{metrics:?}");
    assert!(metrics.dropped_expired >= 34, "few were under way: {metrics:?}");
    assert_eq!(bench.harness.rule_metrics("r").actions_failed_out_of_service, 50);
    assert_eq!(metrics.queuing_bytes, 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_after_the_time_to_live_is_late() {
    let bench = bench(json!({"request_ttl": "2s"})).await;
    bench.target.set_pause(Duration::from_millis(2500));
    bench.publish("a", 1);
    bench.settled().await;
    let metrics = bench.harness.metrics("scripted:a");
    assert_eq!((metrics.late_reply, metrics.success, metrics.dropped()), (1, 0, 0), "{metrics:?}");

    bench.target.answer_with(|_| Reply::Hang);
    bench.publish("a", 2);
    bench.settled().await;
    assert_eq!(bench.harness.metrics("scripted:a").late_reply, 2, "silence ends with the time to live");
}

async fn check_overflow(policy: &str, oldest_stays: bool) {
    let options = json!({"worker_pool_size": 1, "max_buffer_bytes": "20KB", "overflow": policy, "inflight_window": 1, "request_ttl": "10m"});
    let bench = bench(options).await;
    bench.target.answer_with(|_| Reply::Hang);
    bench.publish("a", -1);
    until("the first row is under way", LIMIT, || bench.target.requests().len() == 1).await;
    for n in 0..500 {
        bench.publish("a", n);
        bench.harness.assert_balanced("scripted:a");
    }
    let metrics = bench.harness.metrics("scripted:a");
    assert!(metrics.dropped_queue_full > 300 && metrics.queuing > 10, "{policy}: {metrics:?}");
    assert!(metrics.queuing_bytes <= 20 << 10, "{policy}: {metrics:?}");
    bench.target.answer_with(|_| Reply::ok());
    bench.settled().await;
    let accepted = bench.accepted();
    let kept = metrics.queuing as i64;
    let first = if oldest_stays { 0 } else { 500 - kept };
    let kept: Vec<_> = (first..first + kept).collect();
    assert!(accepted.ends_with(&kept), "{policy}: {accepted:?}");
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_drops_the_oldest_or_the_newest() {
    check_overflow("drop_oldest", false).await;
    check_overflow("drop_newest", true).await;
    check_overflow("block", true).await;
}

#[tokio::test(start_paused = true)]
async fn the_action_has_a_limit_over_all_its_lanes() {
    let bench = bench(json!({"max_total_buffer_bytes": "50KB", "request_ttl": "infinity"})).await;
    bench.target.set_up(false);
    for n in 0..2000 {
        bench.publish(&format!("client-{n}"), n);
    }
    let metrics = bench.harness.metrics("scripted:a");
    assert!(metrics.queuing_bytes <= 50 << 10 && metrics.dropped_queue_full > 1000, "{metrics:?}");
    assert!(metrics.is_balanced(), "{metrics:?}");
}

/// Fails one row of an action whose fallbacks are another action and a message, and returns the row of the fallback.
async fn check_fallback(action: Json, arrange: impl Fn(&ScriptedTarget), reason: &str) -> engine_event::Map {
    let mut action = action;
    action["fallback_actions"] = json!([
        {"kind": "reference", "type": "scripted", "name": "spill"},
        {"kind": "reference", "type": "scripted", "name": "missing"},
        {"kind": "reference", "type": "scripted", "name": "a"},
        {"kind": "republish", "args": {"topic": "dlq/${n}", "payload": "${fallback.reason}"}},
    ]);
    let bench = bench_with(action).await;
    let spill = ScriptedTarget::new();
    bench.harness.connector(&SCRIPTED, "spill", spill.connector_fields(), json!({})).await;
    // its own fallback must not run
    let own = json!([{"kind": "republish", "args": {"topic": "twice"}}]);
    bench.harness.action(&SCRIPTED, "spill", "spill", json!({"fallback_actions": own})).await;
    arrange(&bench.target);
    bench.publish("a", 7);
    bench.settled().await;
    until(reason, LIMIT, || spill.accepted().len() == 1).await;
    until("spill is idle", LIMIT, || bench.harness.metrics("scripted:spill").is_idle()).await;
    bench.harness.assert_balanced("scripted:spill");
    let published: Vec<_> =
        bench.harness.published().iter().map(|m| (m.topic.to_string(), m.payload.to_string())).collect();
    assert_eq!(published, [("dlq/7".to_owned(), reason.to_owned())]);
    let rule = bench.harness.rule_metrics("r");
    assert_eq!((rule.actions_total, rule.actions_failed(), rule.actions_success), (1, 1, 0), "{rule:?}");
    let row = spill.accepted().remove(0).row;
    let fallback = row.get("fallback").and_then(Value::as_map).expect("the reason").clone();
    assert_eq!(
        (int(&row, "n"), text(&fallback, "reason"), text(&fallback, "action")),
        (7, reason.to_owned(), "scripted:a".to_owned())
    );
    let age = 1_790_000_000_000 - int(&fallback, "first_seen");
    assert!((0..10_000).contains(&age), "the time at which the row came, {age} ms ago");
    fallback
}

#[tokio::test(start_paused = true)]
async fn a_fallback_gets_the_row_and_the_reason() {
    let fallback =
        check_fallback(json!({}), |target| target.answer_with(|_| Reply::reject("E42")), "rejected").await;
    assert_eq!(
        (text(&fallback, "code"), text(&fallback, "error")),
        ("E42".to_owned(), "the row is at fault".to_owned())
    );
    assert_eq!((int(&fallback, "attempts"), int(&fallback, "batch_index")), (1, 0));

    let options = json!({"resource_opts": {"max_retries": 1}});
    let fallback =
        check_fallback(options, |target| target.answer_with(|_| Reply::retry()), "max_retries").await;
    assert_eq!((text(&fallback, "code"), int(&fallback, "attempts")), ("503".to_owned(), 2));

    let options = json!({"resource_opts": {"request_ttl": "1s"}});
    let late = |target: &ScriptedTarget| target.set_pause(Duration::from_secs(2));
    let fallback = check_fallback(options.clone(), late, "late_reply").await;
    assert_eq!(fallback.get("error"), Some(&Value::Null));

    let retry = |target: &ScriptedTarget| target.answer_with(|_| Reply::retry_after(Duration::from_secs(5)));
    let fallback = check_fallback(options, retry, "expired").await;
    assert_eq!((text(&fallback, "error"), int(&fallback, "attempts")), ("slower".to_owned(), 1));

    let options = json!({"resource_opts": {"max_buffer_bytes": 1, "overflow": "drop_newest"}});
    let fallback = check_fallback(options, |_| {}, "queue_full").await;
    assert_eq!(int(&fallback, "attempts"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_the_connector_is_a_retry() {
    for fault in [Reply::Panic, Reply::TooFew] {
        let bench = bench(json!({"batch_size": 10, "batch_time": "10ms", "worker_pool_size": 1})).await;
        let shown = format!("{fault:?}");
        bench.target.answer_with(move |delivery| match (delivery.attempts, number(delivery)) {
            (0..3, 5) => fault.clone(),
            _ => Reply::ok(),
        });
        for n in 0..10 {
            bench.publish("a", n);
        }
        bench.settled().await;
        let accepted: Vec<_> = bench.accepted();
        assert_eq!(accepted, (0..10).collect::<Vec<_>>(), "{shown}");
        assert!(
            bench.target.requests()[1..].iter().all(|(_, rows)| rows.len() == 1),
            "{shown}: rows go alone"
        );
    }
}

/// Publishes a message to the rule `r` in `ack_mode` sink, and returns how it was settled.
async fn check_completion(actions: Json, arrange: impl Fn(&ScriptedTarget)) -> Settled {
    let bench = bench(json!({"max_retries": 0})).await;
    arrange(&bench.target);
    let rule = json!({"id": "r", "sql": support::SQL, "actions": actions, "ack_mode": "sink"});
    bench.harness.engine.update_rule("r", rule).expect("a rule");
    let settled = Arc::new(Mutex::new(Vec::new()));
    let completion = Completion::new({
        let settled = Arc::clone(&settled);
        move |how| settled.lock().push(how)
    });
    bench.harness.publish_with("a", "in/t", &json!({"n": 1}), Some(completion));
    until("the message is settled", LIMIT, || settled.lock().len() == 1).await;
    bench.settled().await;
    let settled = settled.lock();
    settled[0]
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_waits_for_every_action() {
    let up = |_: &ScriptedTarget| {};
    let slow = |target: &ScriptedTarget| target.set_pause(Duration::from_secs(3));
    let refuses = |target: &ScriptedTarget| target.answer_with(|_| Reply::reject("x"));
    let away = |target: &ScriptedTarget| target.set_up(false);
    let action = json!(["scripted:a"]);
    assert_eq!(check_completion(action.clone(), up).await, Settled::Ok);
    assert_eq!(check_completion(action.clone(), slow).await, Settled::Ok);
    assert_eq!(check_completion(action.clone(), refuses).await, Settled::Failed);
    assert_eq!(check_completion(action, away).await, Settled::Failed);
    assert_eq!(
        check_completion(json!(["scripted:a", "scripted:none"]), up).await,
        Settled::Failed,
        "discarded"
    );
    let republish = |topic: &str| json!(["scripted:a", {"function": "republish", "args": {"topic": topic}}]);
    assert_eq!(check_completion(republish("out"), up).await, Settled::Ok);
}
