//! The life of connectors, actions and rules.

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use connectors_api::Health;
use connectors_testkit::{Harness, Reply, SCRIPTED, ScriptedTarget, until};
use engine_event::{Event, EventKind, EventTap as _};
use engine_runtime::{EditionVerdict, EngineError, FileObject, ObjectClass, Origin};
use serde_json::{Value as Json, json};
use support::{LIMIT, SQL, bench};

fn connector(target: &ScriptedTarget, name: &str) -> Json {
    let mut config = target.connector_fields();
    config["type"] = "scripted".into();
    config["name"] = name.into();
    config
}

fn action(name: &str, connector: &str) -> Json {
    json!({"type": "scripted", "name": name, "connector": connector, "parameters": {}})
}

#[tokio::test(start_paused = true)]
async fn a_type_of_another_edition_is_refused_but_kept_when_a_file_names_it() {
    let refuse = |config: &mut engine_runtime::EngineConfig| {
        config.definitions = vec![(SCRIPTED, EditionVerdict::Refused { edition: "enterprise".to_owned() })];
    };
    let harness = Harness::with(refuse, Path::new("."));
    let target = ScriptedTarget::new();
    let refused =
        EngineError::EditionRequired { kind: "scripted".to_owned(), edition: "enterprise".to_owned() };
    let engine = &harness.engine;
    assert_eq!(engine.create_connector(connector(&target, "c"), Origin::Api).await.unwrap_err(), refused);
    assert_eq!(engine.probe_connector(connector(&target, "c")).await.unwrap_err(), refused);

    let file = |class, config| FileObject { class, config, path: PathBuf::from("a.yaml") };
    let objects = vec![
        file(ObjectClass::Connector, connector(&target, "c")),
        file(ObjectClass::Action, action("a", "c")),
    ];
    let report = engine.sync_files(objects).await;
    assert_eq!(report.problems, []);
    harness.rule("r", SQL, json!(["scripted:a"]));
    let view = engine.connector("scripted:c").expect("is kept");
    assert_eq!(view.status.status.as_str(), "disconnected");
    assert!(view.status.reason.contains("enterprise"), "{view:?}");
    harness.publish("a", "in/t", &json!({"n": 1}));
    assert_eq!(harness.metrics("scripted:a").dropped_resource_stopped, 1);
    harness.settled("scripted:a", "r", LIMIT).await;
}

#[tokio::test(start_paused = true)]
async fn a_disabled_action_discards_and_comes_back() {
    let bench = bench(json!({})).await;
    bench.target.set_up(false);
    bench.publish("a", 1);
    let engine = &bench.harness.engine;
    engine.enable_action("scripted:a", false).await.expect("is disabled");
    bench.settled().await;
    assert_eq!(bench.harness.metrics("scripted:a").dropped_resource_stopped, 1, "what was queued");
    bench.publish("a", 2);
    assert_eq!(bench.harness.rule_metrics("r").actions_discarded, 1);
    assert_eq!(
        engine.action("scripted:a").expect("is there").status.reason,
        "resource is stopped or disabled"
    );

    bench.target.set_up(true);
    engine.enable_action("scripted:a", true).await.expect("is enabled");
    bench.publish("a", 3);
    bench.settled().await;
    assert_eq!(bench.accepted(), [3]);
    assert_eq!(bench.harness.action_status("scripted:a"), "connected");
}

#[tokio::test(start_paused = true)]
async fn a_disabled_connector_refuses_rows_and_an_enabled_one_keeps_them() {
    let bench = bench(json!({})).await;
    let engine = &bench.harness.engine;
    engine.enable_connector("scripted:c", false).await.expect("is disabled");
    bench.publish("a", 1);
    assert_eq!(bench.harness.metrics("scripted:a").dropped_resource_stopped, 1);
    until("it is stopped", LIMIT, || bench.target.stops() == 1).await;

    bench.target.set_start_pause(Duration::from_secs(3));
    engine.enable_connector("scripted:c", true).await.expect("is enabled");
    bench.publish("a", 2);
    bench.settled().await;
    assert_eq!(bench.accepted(), [2], "a row that comes while it starts waits");
}

#[tokio::test(start_paused = true)]
async fn an_update_while_busy_keeps_what_is_queued() {
    let bench = bench(json!({"worker_pool_size": 2})).await;
    bench.target.set_pause(Duration::from_millis(20));
    let engine = &bench.harness.engine;
    let mut n = 0;
    for lanes in [3, 1, 8, 8, 2] {
        for client in ["a", "b", "c"] {
            for _ in 0..20 {
                bench.publish(client, n);
                n += 1;
            }
        }
        let mut config = action("a", "c");
        config["resource_opts"] = json!({"worker_pool_size": lanes});
        engine.update_action("scripted:a", config).await.expect("is updated");
        bench.harness.assert_balanced("scripted:a");
        engine.update_connector("scripted:c", connector(&bench.target, "c")).await.expect("is updated");
        bench.harness.assert_balanced("scripted:a");
    }
    bench.settled().await;
    assert_eq!(bench.harness.metrics("scripted:a").success, 300);
    for client in ["a", "b", "c"] {
        let accepted = bench.target.accepted();
        let of: Vec<_> = accepted
            .iter()
            .filter(|delivery| delivery.key.as_ref().is_some_and(|key| *key == client))
            .map(support::number)
            .collect();
        assert!(of.len() == 100 && of.is_sorted(), "{client}: {of:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_does_not_wait_for_a_start_that_hangs() {
    let slow = ScriptedTarget::new();
    slow.set_start_pause(Duration::from_secs(50));
    let harness = Harness::new([SCRIPTED], Path::new("."));
    harness.connector(&SCRIPTED, "c", slow.connector_fields(), json!({})).await;
    let good = ScriptedTarget::new();
    let view =
        harness.engine.update_connector("scripted:c", connector(&good, "c")).await.expect("is updated");
    assert!(view.status.is_connected(), "{view:?}");
    assert_eq!((slow.starts(), good.starts()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn what_was_started_is_stopped_when_it_is_deleted() {
    let target = ScriptedTarget::new();
    let harness = Harness::new([SCRIPTED], Path::new("."));
    harness.connector(&SCRIPTED, "c", target.connector_fields(), json!({})).await;
    harness.engine.delete_connector("scripted:c").await.expect("is deleted");
    until("it is stopped", LIMIT, || target.stops() == target.starts()).await;

    target.set_panics_in_check(true);
    harness.connector(&SCRIPTED, "c", target.connector_fields(), json!({})).await;
    assert!(
        harness.engine.connector("scripted:c").is_some_and(|view| view.status.reason.contains("panicked"))
    );
    target.set_panics_in_check(false);
    harness.engine.start_connector("scripted:c").await.expect("its task goes on");
    harness.shutdown(LIMIT).await;
    assert_eq!((target.starts(), target.stops()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn an_unhealthy_action_refuses_rows_until_it_is_healthy() {
    let bench = bench(json!({})).await;
    bench.target.set_channel_health(Health::Disconnected("no such table".to_owned()));
    let engine = &bench.harness.engine;
    let found = engine.start_action("scripted:a").await.unwrap_err();
    assert_eq!(found, EngineError::Unhealthy { reason: "no such table".to_owned() });
    bench.publish("a", 1);
    assert_eq!(bench.harness.metrics("scripted:a").dropped_resource_stopped, 1);
    bench.target.set_channel_health(Health::Connected);
    engine.start_action("scripted:a").await.expect("is healthy");
    bench.publish("a", 2);
    bench.settled().await;
    assert_eq!(bench.accepted(), [2]);
}

#[tokio::test(start_paused = true)]
async fn an_action_may_move_while_it_is_being_installed() {
    let (old, new) = (ScriptedTarget::new(), ScriptedTarget::new());
    let harness = Harness::new([SCRIPTED], Path::new("."));
    harness.connector(&SCRIPTED, "old", old.connector_fields(), json!({})).await;
    harness.connector(&SCRIPTED, "new", new.connector_fields(), json!({})).await;
    harness.rule("r", SQL, json!(["scripted:a"]));
    old.set_channel_pause(Duration::from_secs(20));
    harness.action(&SCRIPTED, "a", "old", json!({})).await;
    harness.publish("a", "in/t", &json!({"n": 1}));
    harness.engine.update_action("scripted:a", action("a", "new")).await.expect("moves");
    tokio::time::sleep(Duration::from_secs(60)).await;
    harness.publish("a", "in/t", &json!({"n": 2}));
    harness.settled("scripted:a", "r", LIMIT).await;
    assert_eq!((old.accepted().len(), new.accepted().len()), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn files_change_only_what_differs() {
    let (first, second) = (ScriptedTarget::new(), ScriptedTarget::new());
    let harness = Harness::new([SCRIPTED], Path::new("."));
    let engine = &harness.engine;
    let file = |class, config| FileObject { class, config, path: PathBuf::from("a.yaml") };
    let rule = json!({"id": "r", "sql": SQL, "actions": ["scripted:a"]});
    let objects = |connectors: &[(&ScriptedTarget, &str)], of_action: &str| {
        let mut objects: Vec<_> = connectors
            .iter()
            .map(|(target, name)| file(ObjectClass::Connector, connector(target, name)))
            .collect();
        objects.push(file(ObjectClass::Rule, rule.clone()));
        objects.push(file(ObjectClass::Action, action("a", of_action)));
        objects
    };
    let report = engine.sync_files(objects(&[(&first, "c1")], "c1")).await;
    assert_eq!(report.created, ["connector scripted:c1", "action scripted:a", "rule r"]);
    let report = engine.sync_files(objects(&[(&first, "c1")], "c1")).await;
    assert_eq!((report.unchanged, report.created.len(), report.updated.len()), (3, 0, 0), "{report:?}");
    until("it has started once", LIMIT, || first.starts() == 1).await;

    // the action moves to a new connector and the old one goes, in one step
    let report = engine.sync_files(objects(&[(&second, "c2")], "c2")).await;
    assert_eq!(report.problems, []);
    assert_eq!(report.created, ["connector scripted:c2"]);
    assert_eq!(report.updated, ["action scripted:a"]);
    assert_eq!(report.deleted, ["connector scripted:c1"]);
    harness.publish("a", "in/t", &json!({"n": 1}));
    harness.settled("scripted:a", "r", LIMIT).await;
    assert_eq!(second.accepted().len(), 1);

    // what is wrong leaves what was there
    let mut wrong = objects(&[(&second, "c2")], "c2");
    wrong[2].config["parameters"] = json!({"wrong": 1});
    let mut twice = objects(&[(&second, "c2")], "c2");
    twice.push(twice[0].clone());
    for objects in [wrong, twice] {
        let report = engine.sync_files(objects).await;
        assert_eq!((report.problems.len(), report.deleted.len()), (1, 0), "{report:?}");
    }
    let read_only = engine.delete_action("scripted:a", true).await.unwrap_err();
    assert!(matches!(read_only, EngineError::ReadOnly { .. }), "{read_only}");

    let report = engine.sync_files(Vec::new()).await;
    assert_eq!(report.deleted, ["rule r", "action scripted:a", "connector scripted:c2"]);
    assert!(engine.connectors().is_empty() && engine.actions().is_empty() && engine.rules().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_in_use_is_not_deleted() {
    let bench = bench(json!({})).await;
    let engine = &bench.harness.engine;
    let by = |error: EngineError| match error {
        EngineError::InUse { by, .. } => by,
        other => panic!("{other}"),
    };
    assert_eq!(by(engine.delete_connector("scripted:c").await.unwrap_err()), ["scripted:a"]);
    assert_eq!(by(engine.delete_action("scripted:a", false).await.unwrap_err()), ["r"]);
    engine.delete_action("scripted:a", true).await.expect("is deleted");
    assert_eq!(engine.rule("r").expect("stays").config["actions"], json!([]));
    engine.delete_connector("scripted:c").await.expect("is deleted");
}

#[tokio::test(start_paused = true)]
async fn rows_of_a_deleted_action_are_accounted_for() {
    let bench = bench(json!({})).await;
    bench.target.set_pause(Duration::from_secs(1));
    bench.target.answer_with(|_| Reply::retry());
    for n in 0..10 {
        bench.publish("a", n);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    bench
        .harness
        .engine
        .update_rule("r", json!({"sql": SQL, "actions": ["scripted:a", "scripted:b"]}))
        .expect("a rule");
    bench.harness.engine.delete_action("scripted:a", true).await.expect("is deleted");
    until("the rule is settled", LIMIT, || bench.harness.rule_metrics("r").is_settled()).await;
    assert_eq!(bench.harness.rule_metrics("r").actions_failed_out_of_service, 10);
}

#[tokio::test(start_paused = true)]
async fn a_reset_keeps_the_gauges() {
    let bench = bench(json!({})).await;
    bench.publish("a", 1);
    bench.settled().await;
    bench.target.set_up(false);
    bench.publish("a", 2);
    let engine = &bench.harness.engine;
    engine.reset_action_metrics("scripted:a").expect("is reset");
    engine.reset_rule_metrics("r").expect("is reset");
    let metrics = bench.harness.metrics("scripted:a");
    assert_eq!((metrics.success, metrics.queuing + metrics.inflight), (0, 1), "{metrics:?}");
    bench.harness.assert_balanced("scripted:a");
    assert_eq!(bench.harness.rule_metrics("r").matched, 0);
}

#[tokio::test(start_paused = true)]
async fn republishing_does_not_go_round_in_a_circle() {
    let configure = |config: &mut engine_runtime::EngineConfig| config.republish_hops_limit = 3;
    let harness = Harness::with(configure, Path::new("."));
    let republish = |topic: &str| json!([{"function": "republish", "args": {"topic": topic}}]);
    harness.rule("self", "SELECT * FROM \"loop\"", republish("loop"));
    harness.publish("a", "loop", &json!({}));
    assert_eq!(harness.published().len(), 1, "a rule does not answer itself");
    let metrics = harness.rule_metrics("self");
    assert_eq!((metrics.matched, metrics.actions_success, metrics.actions_failed_unknown), (2, 1, 1));

    harness.rule("ping", "SELECT * FROM \"ping\"", republish("pong"));
    harness.rule("pong", "SELECT * FROM \"pong\"", republish("ping"));
    harness.publish("a", "ping", &json!({}));
    assert_eq!(harness.published().len(), 1 + 3, "two rules answer each other up to the limit");
    assert!(harness.rule_metrics("ping").is_settled() && harness.rule_metrics("pong").is_settled());
}

#[tokio::test(start_paused = true)]
async fn rules_select_events_and_say_which() {
    let bench = bench(json!({})).await;
    let engine = &bench.harness.engine;
    let wanted = |kind| engine.interest().contains(kind);
    assert!(!wanted(EventKind::ClientConnected));
    let sql = "SELECT clientid, 5 AS n FROM \"$events/client/connected\", \"$events/client_connected\"";
    bench.harness.rule("e", sql, json!(["scripted:a"]));
    assert!(wanted(EventKind::ClientConnected) && !wanted(EventKind::ClientDisconnected));
    engine.happened(EventKind::ClientConnected, Event::sample(EventKind::ClientConnected));
    engine.happened(EventKind::ClientDisconnected, Event::sample(EventKind::ClientDisconnected));
    bench.harness.settled("scripted:a", "e", LIMIT).await;
    assert_eq!(bench.accepted(), [5]);
    assert_eq!(bench.harness.rule_metrics("e").matched, 1);
    engine.delete_rule("e").expect("is deleted");
    assert!(!wanted(EventKind::ClientConnected));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_drains_and_then_stops() {
    let bench = bench(json!({"batch_size": 50, "batch_time": "10s"})).await;
    bench.target.set_pause(Duration::from_millis(500));
    for n in 0..120 {
        bench.publish("a", n);
    }
    let report = bench.harness.shutdown(Duration::from_secs(60)).await;
    assert!(report.drained, "{report:?}");
    assert_eq!((bench.accepted().len(), bench.target.stops()), (120, 1));
    bench.publish("a", 999);
    assert_eq!(bench.harness.rule_metrics("r").matched, 120, "nothing is taken any more");
    let refused = bench.harness.engine.create_connector(connector(&bench.target, "x"), Origin::Api).await;
    assert_eq!(refused.unwrap_err(), EngineError::Stopping);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_says_what_is_left() {
    let bench = bench(json!({})).await;
    bench.target.set_up(false);
    bench.publish("a", 1);
    let report = bench.harness.shutdown(Duration::from_secs(1)).await;
    assert!(!report.drained);
    assert_eq!(report.left, [("scripted:a".to_owned(), 1)]);
    assert_eq!(bench.target.stops(), bench.target.starts());
}
