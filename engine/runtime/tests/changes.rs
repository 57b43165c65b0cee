//! Objects that change while rows flow, callers that go away, objects that are missing.

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use connectors_testkit::{Harness, Reply, SCRIPTED, ScriptedTarget, until};
use engine_runtime::{EditionVerdict, EngineError, FileObject, ObjectClass, Origin, StoredObject};
use serde_json::{Value as Json, json};
use support::{LIMIT, SQL, bench, bench_with};
use tokio::time::{Instant, timeout};

fn connector(target: &ScriptedTarget, name: &str) -> Json {
    let mut config = target.connector_fields();
    config["type"] = "scripted".into();
    config["name"] = name.into();
    config
}

fn action(name: &str, connector: &str, resource_opts: Json) -> Json {
    json!({
        "type": "scripted", "name": name, "connector": connector, "parameters": {}, "resource_opts": resource_opts
    })
}

fn stored(class: ObjectClass, id: &str, config: Json) -> StoredObject {
    StoredObject { class, id: id.to_owned(), config, created_at_ms: 1, last_modified_at_ms: 2 }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_leaves_no_lane_halted() {
    let bench = bench(json!({"worker_pool_size": 4})).await;
    bench.target.set_pause(Duration::from_secs(5));
    for n in 0..20 {
        bench.publish(&format!("client-{n}"), n);
    }
    until("requests are under way", LIMIT, || bench.harness.metrics("scripted:a").inflight > 0).await;
    let engine = &bench.harness.engine;
    let update = engine.update_action("scripted:a", action("a", "c", json!({"worker_pool_size": 2})));
    assert!(timeout(Duration::from_millis(100), update).await.is_err() || bench.target.accepted().is_empty());
    for n in 20..40 {
        bench.publish(&format!("client-{n}"), n);
    }
    bench.settled().await;
    assert_eq!(bench.accepted().len(), 40);
    assert_eq!(bench.harness.action_status("scripted:a"), "connected");
}

#[tokio::test(start_paused = true)]
async fn an_edit_of_an_action_whose_target_hangs_holds_up_nobody() {
    let bench = bench(json!({"worker_pool_size": 4, "request_ttl": "infinity"})).await;
    bench.target.answer_with(|_| Reply::Hang);
    for n in 0..40 {
        bench.publish(&format!("client-{n}"), n);
    }
    until("requests are under way", LIMIT, || bench.harness.metrics("scripted:a").inflight > 0).await;
    let engine = &bench.harness.engine;
    let other = ScriptedTarget::new();
    let start = Instant::now();
    let edit = engine.update_action("scripted:a", action("a", "c", json!({"worker_pool_size": 2})));
    let create = engine.create_connector(connector(&other, "other"), Origin::Api);
    let (edited, created) = tokio::join!(edit, create);
    edited.expect("is edited");
    created.expect("is created");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    bench.harness.assert_balanced("scripted:a");

    let start = Instant::now();
    let report = bench.harness.shutdown(Duration::from_secs(1)).await;
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    assert_eq!(report.left, [("scripted:a".to_owned(), 40)]);
}

#[tokio::test(start_paused = true)]
async fn one_edit_after_the_other_counts_no_row_twice() {
    let bench = bench(json!({"worker_pool_size": 3})).await;
    bench.target.set_pause(Duration::from_millis(700));
    let engine = &bench.harness.engine;
    for n in 0..30 {
        bench.publish(&format!("client-{}", n % 5), n);
    }
    until("requests are under way", LIMIT, || bench.harness.metrics("scripted:a").inflight > 0).await;
    // none of them waits for the one before
    for lanes in [5, 1, 4, 2] {
        let edit = engine.update_action("scripted:a", action("a", "c", json!({"worker_pool_size": lanes})));
        let _ = timeout(Duration::from_millis(10), edit).await;
        bench.harness.assert_balanced("scripted:a");
    }
    engine.enable_action("scripted:a", false).await.expect("is disabled");
    engine.enable_action("scripted:a", true).await.expect("is enabled");
    bench.publish("client-1", 100);
    bench.settled().await;
    let metrics = bench.harness.metrics("scripted:a");
    assert_eq!(metrics.matched, 31, "{metrics:?}");
    assert!(bench.accepted().contains(&100), "takes rows again");
}

#[tokio::test(start_paused = true)]
async fn a_smaller_limit_drops_the_oldest_at_once() {
    for limit in ["max_buffer_bytes", "max_total_buffer_bytes"] {
        let bench = bench(json!({"worker_pool_size": 1, "request_ttl": "infinity"})).await;
        bench.target.set_up(false);
        bench.harness.engine.start_connector("scripted:c").await.expect_err("is away");
        for n in 0..200 {
            bench.publish("a", n);
        }
        let before = bench.harness.metrics("scripted:a");
        let bytes = before.queuing_bytes / 4;
        let options = json!({"worker_pool_size": 1, "request_ttl": "infinity", limit: bytes});
        bench.harness.engine.update_action("scripted:a", action("a", "c", options)).await.expect("is edited");
        let after = bench.harness.metrics("scripted:a");
        assert!(after.queuing_bytes <= bytes && after.dropped_queue_full > 100, "{limit}: {after:?}");
        bench.harness.assert_balanced("scripted:a");
        bench.target.set_up(true);
        bench.settled().await;
        let accepted = bench.accepted();
        assert!(accepted.len() > 20 && accepted.ends_with(&[197, 198, 199]), "{limit}: {accepted:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn rows_in_flight_have_an_age() {
    let bench = bench(json!({"request_ttl": "10m"})).await;
    bench.target.set_pause(Duration::from_secs(20));
    bench.publish("a", 1);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let metrics = bench.harness.metrics("scripted:a");
    assert_eq!((metrics.queuing, metrics.inflight), (0, 1));
    assert!(metrics.oldest_row_age_ms.is_some_and(|age| age >= 9_000), "{metrics:?}");
    bench.settled().await;
    assert_eq!(bench.harness.metrics("scripted:a").oldest_row_age_ms, None);
}

#[tokio::test(start_paused = true)]
async fn a_reset_is_no_burst() {
    let bench = bench(json!({"request_ttl": "10m"})).await;
    bench.target.set_up(false);
    for n in 0..1000 {
        bench.publish("a", n);
    }
    tokio::time::sleep(Duration::from_secs(6)).await;
    bench.harness.engine.reset_action_metrics("scripted:a").expect("is reset");
    tokio::time::sleep(Duration::from_secs(6)).await;
    let metrics = bench.harness.metrics("scripted:a");
    assert_eq!((metrics.rate, metrics.rate_max, metrics.rate_last5m), (0.0, 0.0, 0.0), "{metrics:?}");
    bench.harness.assert_balanced("scripted:a");
}

#[tokio::test(start_paused = true)]
async fn rows_of_two_failing_actions_differ_for_their_fallback() {
    let spill = ScriptedTarget::new();
    let fallback = json!([{"kind": "reference", "type": "scripted", "name": "spill"}]);
    let bench = bench_with(json!({"fallback_actions": fallback.clone()})).await;
    bench.target.answer_with(|_| Reply::reject("x"));
    let harness = &bench.harness;
    harness.action(&SCRIPTED, "b", "c", json!({"fallback_actions": fallback})).await;
    harness.connector(&SCRIPTED, "spill", spill.connector_fields(), json!({})).await;
    harness.action(&SCRIPTED, "spill", "spill", json!({})).await;
    let rule = json!({"sql": SQL, "actions": ["scripted:a", "scripted:b", "scripted:spill"]});
    harness.engine.update_rule("r", rule).expect("a rule");
    bench.publish("a", 1);
    until("all rows are there", LIMIT, || spill.accepted().len() == 3).await;
    let mut ids: Vec<_> = spill.accepted().iter().map(|row| row.delivery_id.to_string()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 3, "an idempotent target would keep one of them: {ids:?}");
}

#[tokio::test(start_paused = true)]
async fn fallbacks_are_one_level_and_do_not_go_round() {
    let (a, b, c) = (ScriptedTarget::new(), ScriptedTarget::new(), ScriptedTarget::new());
    let harness = Harness::new([SCRIPTED], Path::new("."));
    for (name, target, fallback) in [("a", &a, "b"), ("b", &b, "c"), ("c", &c, "a")] {
        target.answer_with(|_| Reply::reject("x"));
        harness.connector(&SCRIPTED, name, target.connector_fields(), json!({})).await;
        let fallback = json!([{"kind": "reference", "type": "scripted", "name": fallback}]);
        harness.action(&SCRIPTED, name, name, json!({"fallback_actions": fallback})).await;
    }
    harness.rule("r", SQL, json!(["scripted:a"]));
    for n in 0..5 {
        harness.publish("a", "in/t", &json!({"n": n}));
    }
    harness.settled("scripted:a", "r", LIMIT).await;
    until("the fallback is done", LIMIT, || harness.metrics("scripted:b").failed == 5).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let matched = ["a", "b", "c"].map(|name| harness.metrics(&format!("scripted:{name}")).matched);
    assert_eq!(matched, [5, 5, 0]);
    assert_eq!(harness.rule_metrics("r").actions_total, 5, "fallbacks are not the rule's");
}

#[tokio::test(start_paused = true)]
async fn a_fallback_that_feeds_its_own_rule_ends() {
    let fallback = json!([{"kind": "republish", "args": {"topic": "in/again", "payload": "${.}"}}]);
    let bench = bench_with(json!({"fallback_actions": fallback})).await;
    bench.target.answer_with(|_| Reply::reject("x"));
    bench.publish("a", 1);
    until("it ends", LIMIT, || bench.harness.metrics("scripted:a").failed == 9).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let metrics = bench.harness.metrics("scripted:a");
    assert_eq!((metrics.matched, metrics.failed), (9, 9), "the message and eight hops");
    assert_eq!(bench.harness.published().len(), 8);
}

#[tokio::test(start_paused = true)]
async fn an_action_named_twice_gets_each_row_once() {
    let bench = bench(json!({})).await;
    let rule = json!({"sql": SQL, "actions": ["scripted:a", {"function": "console"}, "scripted:a"]});
    bench.harness.engine.update_rule("r", rule.clone()).expect("a rule");
    bench.publish("a", 1);
    bench.settled().await;
    assert_eq!(bench.accepted(), [1], "both would have the same delivery id");
    assert_eq!(bench.harness.rule_metrics("r").actions_total, 2);
    assert_eq!(bench.harness.engine.rule("r").expect("a rule").config["actions"], rule["actions"]);
}

#[tokio::test(start_paused = true)]
async fn an_action_without_its_connector_works_once_it_is_there() {
    let harness = Harness::new([SCRIPTED], Path::new("."));
    let target = ScriptedTarget::new();
    let engine = &harness.engine;
    let mut disabled = action("off", "c", json!({}));
    disabled["enable"] = false.into();
    let problems = engine
        .load(vec![
            stored(ObjectClass::Rule, "r", json!({"id": "r", "sql": SQL, "actions": ["scripted:a"]})),
            stored(ObjectClass::Action, "scripted:a", action("a", "c", json!({}))),
            stored(ObjectClass::Action, "scripted:off", disabled),
        ])
        .await;
    assert_eq!(problems, []);
    harness.publish("a", "in/t", &json!({"n": 1}));
    let metrics = harness.metrics("scripted:a");
    assert_eq!((metrics.dropped_resource_not_found, metrics.matched), (1, 1));
    let reason = |id: &str| engine.action(id).expect("is there").status.reason;
    assert!(reason("scripted:a").contains("`scripted:c` not found"), "{}", reason("scripted:a"));
    assert_eq!(reason("scripted:off"), "resource is stopped or disabled");
    // creating one through the API needs its connector
    let refused = engine.create_action(action("b", "c", json!({})), Origin::Api).await.unwrap_err();
    assert!(refused.to_string().contains("connector_not_found_or_wrong_type"), "{refused}");

    engine.create_connector(connector(&target, "c"), Origin::Api).await.expect("a connector");
    harness.publish("a", "in/t", &json!({"n": 2}));
    harness.settled("scripted:a", "r", LIMIT).await;
    assert_eq!(target.accepted().len(), 1);
    assert_eq!(reason("scripted:off"), "resource is stopped or disabled");
    assert_eq!(engine.connector("scripted:c").expect("is there").actions, ["a", "off"]);
}

#[tokio::test(start_paused = true)]
async fn a_stored_type_of_another_edition_is_kept_and_can_be_deleted() {
    let refuse = |config: &mut engine_runtime::EngineConfig| {
        config.definitions = vec![(SCRIPTED, EditionVerdict::Refused { edition: "enterprise".to_owned() })];
    };
    let harness = Harness::with(refuse, Path::new("."));
    let engine = &harness.engine;
    let target = ScriptedTarget::new();
    let problems = engine
        .load(vec![
            stored(ObjectClass::Connector, "scripted:c", connector(&target, "c")),
            stored(ObjectClass::Action, "scripted:a", action("a", "c", json!({}))),
            stored(ObjectClass::Rule, "r", json!({"id": "r", "sql": SQL, "actions": ["scripted:a"]})),
        ])
        .await;
    assert_eq!(problems, []);
    harness.publish("a", "in/t", &json!({"n": 1}));
    assert_eq!(harness.metrics("scripted:a").dropped_resource_stopped, 1);
    for id in ["scripted:c", "scripted:a"] {
        let reason = match id {
            "scripted:c" => engine.connector(id).expect("is kept").status.reason,
            _ => engine.action(id).expect("is kept").status.reason,
        };
        assert!(reason.contains("enterprise"), "{id}: {reason}");
    }
    let started = engine.start_connector("scripted:c").await.unwrap_err();
    assert!(started.to_string().contains("enterprise"), "{started}");
    let refused = engine.create_action(action("b", "c", json!({})), Origin::Api).await.unwrap_err();
    assert!(matches!(refused, EngineError::EditionRequired { .. }), "{refused}");
    assert_eq!(target.starts(), 0);
    // disabling and enabling keep the configuration, secrets included
    engine.enable_connector("scripted:c", false).await.expect("is disabled");
    engine.enable_connector("scripted:c", true).await.expect("is enabled");
    let kept = engine.stored(ObjectClass::Connector, "scripted:c").expect("is kept");
    assert_eq!(kept.config["password"], "s3cret");
    engine.delete_action("scripted:a", true).await.expect("is deleted");
    engine.delete_connector("scripted:c").await.expect("is deleted");
}

#[tokio::test(start_paused = true)]
async fn names_are_taken_once() {
    let bench = bench(json!({})).await;
    let engine = &bench.harness.engine;
    let other = ScriptedTarget::new();
    let taken = |error: EngineError| matches!(error, EngineError::AlreadyExists { .. });
    let again = engine.create_connector(connector(&other, "c"), Origin::Api).await.unwrap_err();
    assert!(taken(again));
    assert!(taken(engine.create_action(action("a", "c", json!({})), Origin::Api).await.unwrap_err()));
    let rule = json!({"id": "r", "sql": SQL, "actions": []});
    assert!(taken(engine.create_rule(rule.clone(), Origin::Api).unwrap_err()));
    // a file does not take over what the API made, nor the other way round
    let file = |class, config| FileObject { class, config, path: PathBuf::from("a.toml") };
    let report = engine
        .sync_files(vec![
            file(ObjectClass::Connector, connector(&other, "c")),
            file(ObjectClass::Action, action("a", "c", json!({}))),
            file(ObjectClass::Rule, rule),
            file(ObjectClass::Rule, json!({"id": "f", "sql": SQL, "actions": ["scripted:a"]})),
        ])
        .await;
    assert_eq!((report.problems.len(), report.created.len()), (3, 1), "{report:?}");
    assert!(report.problems.iter().all(|problem| taken(problem.error.clone())), "{report:?}");
    assert!(taken(engine.create_rule(json!({"id": "f", "sql": SQL}), Origin::Api).unwrap_err()));
    assert!(matches!(engine.delete_rule("f").unwrap_err(), EngineError::ReadOnly { .. }));
    assert!(matches!(
        engine.update_rule("f", json!({"sql": SQL})).unwrap_err(),
        EngineError::ReadOnly { .. }
    ));
    assert_eq!(other.starts(), 0);
    bench.publish("a", 1);
    bench.settled().await;
    assert_eq!(bench.accepted(), [1, 1], "both rules work with the action that was there first");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_or_not_enabled_is_said() {
    let bench = bench(json!({})).await;
    let engine = &bench.harness.engine;
    let gone = |error: EngineError| assert!(matches!(error, EngineError::NotFound { .. }), "{error}");
    gone(engine.update_connector("scripted:x", connector(&bench.target, "x")).await.unwrap_err());
    gone(engine.update_action("scripted:x", action("x", "c", json!({}))).await.unwrap_err());
    gone(engine.update_rule("x", json!({"sql": SQL})).unwrap_err());
    gone(engine.enable_connector("scripted:x", true).await.unwrap_err());
    gone(engine.enable_action("scripted:x", true).await.unwrap_err());
    gone(engine.delete_connector("scripted:x").await.unwrap_err());
    gone(engine.delete_action("scripted:x", true).await.unwrap_err());
    gone(engine.delete_rule("x").unwrap_err());
    gone(engine.reset_action_metrics("scripted:x").unwrap_err());
    engine.enable_action("scripted:a", false).await.expect("is disabled");
    assert!(matches!(engine.start_action("scripted:a").await.unwrap_err(), EngineError::NotEnabled { .. }));
    assert!(matches!(engine.stop_action("scripted:a").await.unwrap_err(), EngineError::NotEnabled { .. }));
    engine.enable_connector("scripted:c", false).await.expect("is disabled");
    assert!(matches!(
        engine.start_connector("scripted:c").await.unwrap_err(),
        EngineError::NotEnabled { .. }
    ));
    // an edit that is refused changes nothing
    let mut wrong = action("a", "c", json!({"worker_pool_size": 3}));
    wrong["parameters"] = json!({"wrong": 1});
    engine.update_action("scripted:a", wrong).await.unwrap_err();
    assert_eq!(engine.action("scripted:a").expect("is there").config["enable"], false);
    let elsewhere = action("a", "nowhere", json!({}));
    engine.update_action("scripted:a", elsewhere).await.unwrap_err();
    assert_eq!(engine.action("scripted:a").expect("is there").config["connector"], "c");
}

#[tokio::test(start_paused = true)]
async fn the_server_has_one_limit_over_all_actions() {
    const LIMIT_BYTES: u64 = 100 << 10;
    let configure = |config: &mut engine_runtime::EngineConfig| {
        config.definitions = vec![(SCRIPTED, EditionVerdict::Allowed)];
        config.queue_bytes_limit = LIMIT_BYTES;
    };
    let harness = Harness::with(configure, Path::new("."));
    let target = ScriptedTarget::new();
    harness.connector(&SCRIPTED, "c", target.connector_fields(), json!({})).await;
    let spill = json!([{"kind": "reference", "type": "scripted", "name": "spill"}]);
    let options = json!({"request_ttl": "infinity", "worker_pool_size": 2});
    let primary = json!({"resource_opts": options, "fallback_actions": spill});
    harness.action(&SCRIPTED, "old", "c", primary.clone()).await;
    harness.action(&SCRIPTED, "new", "c", primary).await;
    harness.action(&SCRIPTED, "spill", "c", json!({"resource_opts": options})).await;
    harness.rule("old", "SELECT clientid, payload.n AS n FROM \"old\"", json!(["scripted:old"]));
    harness.rule("new", "SELECT clientid, payload.n AS n FROM \"new\"", json!(["scripted:new"]));
    target.set_up(false);
    harness.engine.start_connector("scripted:c").await.expect_err("is away");
    for topic in ["old", "new"] {
        for n in 0..500 {
            harness.publish(&format!("client-{}", n % 9), topic, &json!({"n": n}));
            tokio::time::advance(Duration::from_millis(1)).await;
        }
    }
    let all = ["old", "new", "spill"].map(|name| harness.metrics(&format!("scripted:{name}")));
    let bytes: u64 = all.iter().map(|metrics| metrics.queuing_bytes).sum();
    assert!(bytes <= LIMIT_BYTES && bytes > LIMIT_BYTES / 2, "{bytes}");
    let [old, new, spilt] = all;
    assert_eq!(old.queuing, 0, "the oldest give way first");
    assert!(new.queuing > 50, "{new:?}");
    assert_eq!(spilt.matched, old.dropped_queue_full + new.dropped_queue_full);
    for name in ["old", "new", "spill"] {
        harness.assert_balanced(&format!("scripted:{name}"));
    }
    target.set_up(true);
    for name in ["old", "new"] {
        harness.settled(&format!("scripted:{name}"), name, LIMIT).await;
    }
}

#[tokio::test(start_paused = true)]
async fn enabling_and_disabling_while_rows_flow_keeps_the_books() {
    let bench = bench(json!({"worker_pool_size": 3})).await;
    bench.target.set_pause(Duration::from_millis(30));
    let engine = &bench.harness.engine;
    let mut n = 0;
    for round in 0..20 {
        for _ in 0..20 {
            bench.publish(&format!("client-{}", n % 7), n);
            n += 1;
        }
        match round % 4 {
            0 => engine.enable_action("scripted:a", false).await.expect("is disabled"),
            1 => engine.enable_action("scripted:a", true).await.expect("is enabled"),
            2 => engine.enable_connector("scripted:c", false).await.expect("is disabled"),
            _ => engine.enable_connector("scripted:c", true).await.expect("is enabled"),
        }
        bench.harness.assert_balanced("scripted:a");
        tokio::time::sleep(Duration::from_millis(45)).await;
    }
    bench.settled().await;
    let (metrics, rule) = (bench.harness.metrics("scripted:a"), bench.harness.rule_metrics("r"));
    assert_eq!(rule.actions_total, 400);
    assert_eq!(metrics.matched + rule.actions_discarded, 400);
    assert_eq!(metrics.success, bench.accepted().len() as u64);
    assert!(metrics.success > 0 && metrics.dropped_resource_stopped > 0 && rule.actions_discarded > 0);
    assert_eq!((rule.actions_success, rule.actions_failed()), (metrics.success, metrics.dropped()));
}

#[tokio::test(start_paused = true)]
async fn deleting_while_rows_flow_keeps_the_books() {
    let bench = bench(json!({})).await;
    bench.target.set_pause(Duration::from_millis(300));
    let engine = &bench.harness.engine;
    for n in 0..30 {
        bench.publish(&format!("client-{n}"), n);
    }
    until("requests are under way", LIMIT, || bench.harness.metrics("scripted:a").inflight > 0).await;
    engine.delete_action("scripted:a", true).await.expect("is deleted");
    let rule = json!({"sql": SQL, "actions": ["scripted:a"]});
    engine.update_rule("r", rule).expect("names an action that is not there");
    assert_eq!(engine.rule("r").expect("a rule").action_details, [("scripted:a".to_owned(), "not_found")]);
    for n in 30..40 {
        bench.publish("a", n);
    }
    assert_eq!(bench.harness.rule_metrics("r").actions_discarded, 10);
    bench.harness.action(&SCRIPTED, "a", "c", json!({})).await;
    for n in 40..50 {
        bench.publish("a", n);
    }
    until("the rule is settled", LIMIT, || bench.harness.rule_metrics("r").is_settled()).await;
    let metrics = bench.harness.metrics("scripted:a");
    assert_eq!((metrics.matched, metrics.success), (10, 10), "the new action begins anew");
    let rule = bench.harness.rule_metrics("r");
    assert_eq!(rule.actions_success, bench.accepted().len() as u64);
    engine.delete_rule("r").expect("is deleted");
    engine.delete_action("scripted:a", false).await.expect("is deleted");
    engine.delete_connector("scripted:c").await.expect("is deleted");
}

#[tokio::test(start_paused = true)]
async fn a_probe_leaves_nothing_behind() {
    let harness = Harness::new([SCRIPTED], Path::new("."));
    let engine = &harness.engine;
    let target = ScriptedTarget::new();
    engine.probe_connector(connector(&target, "p")).await.expect("is healthy");
    target.set_panics_in_check(true);
    let panicked = engine.probe_connector(connector(&target, "p")).await.unwrap_err();
    assert!(matches!(panicked, EngineError::Unhealthy { .. }), "{panicked}");
    target.set_panics_in_check(false);
    engine.create_connector(connector(&target, "c"), Origin::Api).await.expect("a connector");
    target.set_channel_pause(Duration::from_secs(30));
    let cancelled = engine.probe_action(action("a", "c", json!({})));
    assert!(timeout(Duration::from_secs(1), cancelled).await.is_err());
    target.set_channel_pause(Duration::ZERO);
    engine.probe_action(action("a", "c", json!({}))).await.expect("is healthy");
    until("all are stopped but the one that works", LIMIT, || target.starts() == target.stops() + 1).await;
    assert_eq!(engine.connectors().len(), 1);
    target.set_up(false);
    let away = engine.probe_connector(connector(&target, "p")).await.unwrap_err();
    assert_eq!(away.to_string(), "connection refused");
}

#[tokio::test(start_paused = true)]
async fn headers_with_secrets_are_not_shown() {
    let harness = Harness::new([SCRIPTED], Path::new("."));
    let target = ScriptedTarget::new();
    let engine = &harness.engine;
    let headers =
        json!({"X-API-Key": "s3cret-1", "AUTHORIZATION": "Bearer s3cret-2", "accept": "text/plain"});
    let mut config = connector(&target, "c");
    config["headers"] = headers.clone();
    let view = engine.create_connector(config, Origin::Api).await.expect("a connector");
    let mut config = action("a", "c", json!({}));
    config["parameters"] = json!({"headers": headers, "path": "/x"});
    let action_view = engine.create_action(config, Origin::Api).await.expect("an action");
    let shown = format!("{view:?} {} {action_view:?} {}", view.to_json(), action_view.to_json());
    assert!(!shown.contains("s3cret"), "{shown}");
    assert!(shown.contains("text/plain"), "{shown}");

    // what is sent back keeps what is stored
    let mut sent = action_view.config.clone();
    sent["parameters"]["path"] = "/y".into();
    engine.update_action("scripted:a", sent).await.expect("is edited");
    engine.update_connector("scripted:c", view.config.clone()).await.expect("is edited");
    let kept = engine.stored(ObjectClass::Action, "scripted:a").expect("is stored").config;
    assert_eq!((&kept["parameters"]["headers"], &kept["parameters"]["path"]), (&headers, &json!("/y")));
    let kept = engine.stored(ObjectClass::Connector, "scripted:c").expect("is stored").config;
    assert_eq!(kept["headers"], headers);
    engine.probe_action(action_view.config.clone()).await.expect("takes the stored secret");

    let mut new = action("b", "c", json!({}));
    new["parameters"] = json!({"headers": {"authorization": "******"}});
    let refused = engine.create_action(new, Origin::Api).await.unwrap_err();
    assert!(refused.to_string().contains("there is none"), "{refused}");
    let stored = engine.stored(ObjectClass::Action, "scripted:a").expect("is stored");
    assert!(!format!("{stored:?}").contains("s3cret"), "{stored:?}");
}

#[tokio::test(start_paused = true)]
async fn starting_a_connector_looks_at_its_target() {
    let bench = bench(json!({})).await;
    let engine = &bench.harness.engine;
    engine.start_connector("scripted:c").await.expect("is healthy");
    bench.target.set_up(false);
    let away = engine.start_connector("scripted:c").await.unwrap_err();
    assert_eq!(away.to_string(), "connection refused", "nobody had noticed before");
    bench.target.set_up(true);
    engine.start_connector("scripted:c").await.expect("is back");
    assert_eq!(bench.target.starts(), 1, "a check is enough");
}
