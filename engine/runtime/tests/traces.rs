//! Lines of traces that follow a rule.

mod support;

use std::sync::Arc;

use connectors_testkit::Reply;
use engine_event::{TraceEvent, TraceSet, Tracer, write_text_form};
use parking_lot::Mutex;
use serde_json::json;
use support::bench;

#[derive(Default)]
struct Lines(Mutex<Vec<(u64, TraceEvent)>>);

impl Tracer for Lines {
    fn trace(&self, to: TraceSet, event: TraceEvent) {
        self.0.lock().push((to.bits(), event));
    }
}

impl Lines {
    /// Takes the lines: what happened, and those of the named fields that it has.
    fn take(&self, names: &[&str]) -> Vec<String> {
        let lines = std::mem::take(&mut *self.0.lock());
        let show = |event: &TraceEvent| {
            let mut text = event.what.as_bytes().to_vec();
            for (name, value) in event.fields.iter().filter(|(name, _)| names.contains(name)) {
                text.extend_from_slice(format!(" {name}=").as_bytes());
                write_text_form(value, &mut text);
            }
            String::from_utf8(text).expect("UTF-8")
        };
        lines.iter().map(|(_, event)| show(event)).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn evaluations_and_what_became_of_their_rows_are_written() {
    let bench = bench(json!({"retry_backoff": {"initial": "1ms", "max": "1ms"}, "max_retries": 1})).await;
    let engine = &bench.harness.engine;
    bench.harness.rule("quiet", "SELECT 1 AS one FROM \"in/#\"", json!([{"function": "console"}]));
    let lines = Arc::new(Lines::default());
    engine.set_tracer(Arc::clone(&lines) as _);
    bench.publish("c", 0);
    bench.settled().await;
    assert!(lines.0.lock().is_empty(), "nobody is followed");

    engine.start_trace(3, "r");
    bench.publish("c", 1);
    bench.settled().await;
    {
        let lines = lines.0.lock();
        let first = &lines[0].1;
        assert_eq!(
            (lines[0].0, first.what, first.client_id.clone()),
            (1 << 3, "rule_evaluated", Some("c".into()))
        );
        let output = first.payload.as_ref().map(|(name, text)| (*name, text.to_str_lossy().into_owned()));
        assert_eq!(output, Some(("output", r#"[{"clientid":"c","n":1}]"#.to_owned())));
    }
    let names = ["result", "rows", "action", "attempts", "reason", "error", "ruleid"];
    assert_eq!(
        lines.take(&names),
        [
            "rule_evaluated ruleid=r result=passed rows=1",
            "rows_queued ruleid=r action=scripted:a rows=1",
            "action_success ruleid=r action=scripted:a attempts=1",
        ]
    );

    bench.target.answer_with(|_| Reply::retry());
    bench.publish("c", 2);
    bench.settled().await;
    let names = ["attempts", "reason"];
    let got = lines.take(&names);
    assert_eq!(got[..3], ["rule_evaluated", "rows_queued", "action_retry attempts=1"], "{got:?}");
    assert_eq!(
        got.last().map(String::as_str),
        Some("action_failed attempts=2 reason=max_retries"),
        "{got:?}"
    );

    bench.target.answer_with(|_| Reply::reject("bad"));
    bench.publish("c", 3);
    bench.settled().await;
    let got = lines.take(&["reason", "error"]);
    assert!(got[2].starts_with("action_failed reason=rejected error="), "{got:?}");
    engine.stop_trace(3);
    bench.publish("c", 4);
    bench.settled().await;
    assert!(lines.0.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_gives_no_rows_says_why() {
    let bench = bench(json!({})).await;
    let engine = &bench.harness.engine;
    let lines = Arc::new(Lines::default());
    engine.set_tracer(Arc::clone(&lines) as _);
    engine.start_trace(0, "w");
    let actions = json!([{"function": "console"}, "scripted:missing", {"function": "republish", "args": {"topic": "a/#"}}]);
    bench.harness.rule("w", "SELECT payload.n + 1 AS m FROM \"in/#\" WHERE payload.n <> 1", actions);
    bench.publish("c", 1);
    assert_eq!(lines.take(&["result"]), ["rule_evaluated result=where_false"]);
    bench.harness.publish("c", "in/t", &json!({"n": "x"}));
    assert_eq!(lines.take(&["result"]), ["rule_evaluated result=error"]);
    bench.publish("c", 2);
    let got = lines.take(&["result", "action", "reason", "rows"]);
    assert_eq!(
        got[..3],
        [
            "rule_evaluated result=passed rows=1",
            "rows_discarded action=scripted:missing rows=1 reason=there is no such action",
            "action_success action=console",
        ]
    );
    assert!(got[3].starts_with("action_") && got[3].ends_with("action=republish"), "{got:?}");
}
