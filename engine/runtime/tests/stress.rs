//! Objects change while rows flow, on real threads: every row is accounted for, and what is left at work works.
#![allow(clippy::disallowed_methods, reason = "the publisher is a thread of its own")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use connectors_testkit::{Harness, Reply, SCRIPTED, ScriptedTarget};
use engine_runtime::Origin;
use serde_json::{Value as Json, json};
use support::SQL;

const LIMIT: Duration = Duration::from_secs(30);

fn connector(target: &ScriptedTarget, name: &str, enable: bool) -> Json {
    let mut config = target.connector_fields();
    config["type"] = "scripted".into();
    config["name"] = name.into();
    config["enable"] = enable.into();
    config["resource_opts"] = json!({"health_check_interval": "10ms", "start_timeout": "10ms"});
    config
}

fn action(connector: &str, lanes: u64, enable: bool) -> Json {
    json!({
        "type": "scripted", "name": "a", "connector": connector, "parameters": {}, "enable": enable,
        "resource_opts": {
            "worker_pool_size": lanes, "health_check_interval": "10ms", "batch_size": lanes,
            "retry_backoff": {"initial": "1ms", "max": "5ms"}
        }
    })
}

/// Makes one change after the other, chosen by lot from `seed`. A change that is refused is none.
async fn change(harness: &Harness, targets: &[ScriptedTarget; 2], seed: u64, steps: usize) {
    let mut dice = fastrand::Rng::with_seed(seed);
    let engine = &harness.engine;
    for _ in 0..steps {
        let which = dice.usize(..2);
        let (name, target) = (["c0", "c1"][which], &targets[which]);
        let id = format!("scripted:{name}");
        match dice.u8(..12) {
            0 => target.set_up(dice.bool()),
            1 => drop(engine.enable_action("scripted:a", dice.bool()).await),
            2 => drop(engine.enable_connector(&id, dice.bool()).await),
            3 => drop(engine.update_connector(&id, connector(target, name, true)).await),
            4 => drop(engine.stop_connector(&id).await),
            5 => drop(engine.start_connector(&id).await),
            6 => drop(engine.delete_connector(&id).await),
            7 => drop(engine.create_connector(connector(target, name, true), Origin::Api).await),
            8 | 9 => drop(engine.update_action("scripted:a", action(name, dice.u64(1..5), true)).await),
            10 => drop(engine.stop_action("scripted:a").await),
            _ => {
                drop(
                    tokio::time::timeout(Duration::from_millis(50), engine.start_action("scripted:a")).await,
                );
            }
        }
        harness.assert_balanced("scripted:a");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_change_under_load() {
    let targets = [ScriptedTarget::new(), ScriptedTarget::new()];
    for target in &targets {
        target.answer_with(|delivery| match support::number(delivery) % 50 {
            0 if delivery.attempts == 0 => Reply::retry(),
            1 => Reply::reject("x"),
            2 if delivery.attempts == 0 => Reply::Panic,
            _ => Reply::ok(),
        });
    }
    let harness = Arc::new(Harness::new([SCRIPTED], std::path::Path::new(".")));
    for (name, target) in ["c0", "c1"].into_iter().zip(&targets) {
        harness
            .engine
            .create_connector(connector(target, name, true), Origin::Api)
            .await
            .expect("a connector");
    }
    harness.engine.create_action(action("c0", 4, true), Origin::Api).await.expect("an action");
    harness.rule("r", SQL, json!(["scripted:a"]));

    let over = Arc::new(AtomicBool::new(false));
    let publisher = std::thread::spawn({
        let (harness, over) = (Arc::clone(&harness), Arc::clone(&over));
        move || {
            let mut n = 0;
            while !over.load(Ordering::Relaxed) {
                for _ in 0..20 {
                    harness.publish(&format!("client-{}", n % 7), "in/t", &json!({"n": n}));
                    n += 1;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            n
        }
    });
    tokio::join!(change(&harness, &targets, 1, 120), change(&harness, &targets, 2, 120));
    over.store(true, Ordering::Relaxed);
    let published = publisher.join().expect("publishes");

    // whatever happened, this is how people bring it back
    for (name, target) in ["c0", "c1"].into_iter().zip(&targets) {
        target.set_up(true);
        let config = connector(target, name, true);
        if harness.engine.update_connector(&format!("scripted:{name}"), config.clone()).await.is_err() {
            harness.engine.create_connector(config, Origin::Api).await.expect("a connector");
        }
    }
    harness.engine.update_action("scripted:a", action("c1", 3, true)).await.expect("an action");
    harness.engine.start_action("scripted:a").await.expect("is healthy");
    harness.publish("last", "in/t", &json!({"n": 49}));
    harness.settled("scripted:a", "r", LIMIT).await;
    let (metrics, rule) = (harness.metrics("scripted:a"), harness.rule_metrics("r"));
    assert_eq!(rule.actions_total, published as u64 + 1);
    assert_eq!(metrics.matched + rule.actions_discarded, rule.actions_total);
    assert_eq!(metrics.success, rule.actions_success);
    assert_eq!(metrics.queuing_bytes, 0);
    let last = targets[1].accepted().pop().expect("a row");
    assert_eq!(last.key.map(|key| key.to_string()).as_deref(), Some("last"));
    let report = harness.shutdown(LIMIT).await;
    assert!(report.drained, "{report:?}");
    for target in &targets {
        assert_eq!(target.starts(), target.stops(), "what was started is stopped");
    }
}
