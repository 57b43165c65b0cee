//! The counters and gauges that dashboards know, by name.

use crate::Api;

/// Counters of things that this server does not have, or not yet: they are zero, and programs look for them.
const ALWAYS_ZERO: &[&str] = &[
    "messages.forward",
    "messages.persisted",
    "messages.dropped.await_pubrel_timeout",
    "messages.validation_succeeded",
    "messages.validation_failed",
    "messages.transformation_succeeded",
    "messages.transformation_failed",
    "packets.publish.dropped",
    "packets.publish.quota_exceeded",
    "packets.puback.inuse",
    "packets.pubrec.inuse",
    "packets.pubcomp.inuse",
    "session.disconnected",
    "authorization.cache_hit",
    "authorization.cache_miss",
    "authorization.superuser",
    "authorization.nomatch",
    "authorization.matched.allow",
    "authorization.matched.deny",
    "overload_protection.delay.ok",
    "overload_protection.delay.timeout",
    "overload_protection.hibernation",
    "overload_protection.gc",
];

/// Gauges of things that this server does not have, or not yet.
const NEVER_ANY: &[&str] = &["durable_subscriptions.count"];

/// A name and its value.
pub(crate) type Sample = (&'static str, u64);

/// Every counter.
pub(crate) fn counters(api: &Api) -> Vec<Sample> {
    let mut all = api.broker().metrics().all();
    all.extend(engine_counters(api));
    add_missing(&mut all, ALWAYS_ZERO);
    all
}

/// Every gauge.
pub(crate) fn gauges(api: &Api) -> Vec<Sample> {
    let mut all = api.broker().stats().0;
    add_missing(&mut all, NEVER_ANY);
    all
}

fn engine_counters(api: &Api) -> [Sample; 3] {
    let engine = api.engine();
    let rules = engine.rules();
    let rules = rules.iter().filter_map(|rule| engine.rule_metrics(&rule.id));
    let (matched, executed) = rules.fold((0, 0), |(matched, executed), metrics| {
        (matched + metrics.matched, executed + metrics.actions_total)
    });
    let actions = engine.actions();
    let rows = actions.iter().filter_map(|action| engine.action_metrics(&action.id));
    let messages = rows.map(|metrics| metrics.matched).sum();
    [("rules.matched", matched), ("actions.executed", executed), ("actions.messages", messages)]
}

fn add_missing(samples: &mut Vec<Sample>, names: &[&'static str]) {
    for &name in names {
        if !samples.iter().any(|(known, _)| *known == name) {
            samples.push((name, 0));
        }
    }
}
