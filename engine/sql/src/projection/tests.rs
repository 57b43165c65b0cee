use engine_event::{Event, Map, Text, Value, decode_json};
use proptest::prelude::*;

use crate::evaluate::{ReadStep, read};
use crate::functions::FixedContext;
use crate::{Env, Plan};

use super::{PayloadPath, PlanSlots, Projection};

fn event(payload: &[u8]) -> Event {
    let columns: Map = [
        ("event", Value::text("message.publish")),
        ("topic", Value::text("t")),
        ("payload", Value::Text(Text::copy_from(payload))),
    ]
    .into_iter()
    .collect();
    Event::from_columns(columns)
}

/// Compares the slots with what decoding and following each path gives.
fn same_as_tree(paths: &[PayloadPath], payload: &[u8]) -> Result<(), TestCaseError> {
    let projection = Projection::of_paths([paths]);
    let slots = projection.run(&event(payload));
    let slots = PlanSlots::of_one(&slots);
    let tree = decode_json(payload);
    for (slot, path) in paths.iter().enumerate() {
        let got = slots.get(u16::try_from(slot).expect("few paths")).map_err(ToString::to_string);
        let want = tree.as_ref().map(|tree| read(tree, path)).map_err(ToString::to_string);
        prop_assert_eq!(got.cloned(), want.map(|value| value.into_owned()), "{:?}", path);
    }
    Ok(())
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![Just("a"), Just("b"), Just("c"), Just(""), Just("é\"")].prop_map(str::to_owned)
}

fn path() -> impl Strategy<Value = PayloadPath> {
    let step = prop_oneof![
        3 => key().prop_map(|key| ReadStep::Key(key.into())),
        1 => (0_u64..4).prop_map(ReadStep::Start),
        1 => (0_u64..4).prop_map(ReadStep::End),
    ];
    prop::collection::vec(step, 0..4)
}

/// JSON texts with repeated keys, long integers, and texts that hold JSON.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        "-?[1-9][0-9]{0,30}",
        any::<f32>().prop_filter_map("finite", |value| value.is_finite().then(|| format!("{value:e}"))),
        Just("-0".to_owned()),
        Just("1e400".to_owned()),
        Just("\"\\ud800\"".to_owned()),
        any::<String>().prop_map(|text| serde_json::to_string(&text).expect("a text")),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(", "))),
            prop::collection::vec((key(), inner.clone()), 0..5).prop_map(|entries| {
                let entries = entries
                    .iter()
                    .map(|(key, value)| format!("{}:{value}", serde_json::to_string(key).expect("a text")));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
            }),
            inner.prop_map(|text| serde_json::to_string(&text).expect("a text")),
        ]
    })
}

proptest! {
    #[test]
    fn slots_hold_what_the_tree_holds(paths in prop::collection::vec(path(), 1..12), payload in json()) {
        let mut paths = paths;
        paths.sort_by_key(|path| format!("{path:?}"));
        paths.dedup();
        same_as_tree(&paths, payload.as_bytes())?;
    }

    #[test]
    fn any_payload_is_read_or_refused(
        paths in prop::collection::vec(path(), 1..3),
        payload in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        same_as_tree(&paths[..1], &payload)?;
    }

    #[test]
    fn damaged_payloads_are_refused_alike(payload in json(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut payload = payload.into_bytes();
        let at = at.index(payload.len());
        payload[at] = byte;
        same_as_tree(&[vec![ReadStep::Key("a".into())], vec![ReadStep::Start(1), ReadStep::Key("b".into())]], &payload)?;
    }

    #[test]
    fn any_rule_runs_on_any_payload(rule in crate::syntax::tests_rule(), payload in json()) {
        let Ok(plan) = Plan::compile(&rule.to_string()) else { return Ok(()) };
        let context = FixedContext::new();
        let env = Env { rule_id: None, context: &context };
        let event = event(payload.as_bytes());
        let alone = plan.run(&event, &env);
        let other = Plan::compile("SELECT payload.a, payload.b[1], payload.c.a FROM t").expect("a rule");
        let projection = Projection::union(&[&other, &plan]);
        let slots = projection.run(&event);
        let together = plan.run_projected(&event, projection.slots_of(1, &slots), &env);
        prop_assert_eq!(alone, together);
    }
}

#[test]
fn nesting_beyond_the_limit_is_refused() {
    let deep = |depth: usize| format!("{{\"x\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
    for depth in [100, 126, 127, 128, 200] {
        same_as_tree(&[vec![ReadStep::Key("a".into())]], deep(depth).as_bytes()).unwrap();
    }
}
