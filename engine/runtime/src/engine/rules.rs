//! Operations on rules.

use std::sync::Arc;
use std::time::Duration;

use engine_event::{Event, JsonOptions, Map, Text, Tracer, UndefinedAs, Value, decode_json, encode_json};
use engine_sql::syntax::Body;
use serde_json::{Value as Json, json};

use super::registry::{About, Registry, RuleEntry};
use super::{Engine, TestError, not_found};
use crate::log_limit::LogLimit;
use crate::metrics::RuleCounters;
use crate::object::rule::{AckMode, OutputConfig, RuleConfig};
use crate::rule::{Output, RulePlan, RuleRuntime};
use crate::{EngineError, ObjectClass, Origin, RuleMetrics, RuleView};

const CLASS: ObjectClass = ObjectClass::Rule;

impl Engine {
    /// Checks a rule without creating it.
    ///
    /// # Errors
    /// Every problem with its path.
    pub fn check_rule(&self, config: &Json) -> Result<(), EngineError> {
        let checked = RuleConfig::read(config)?;
        RulePlan::compile(&checked.sql, checked.id.as_deref().unwrap_or_default())?;
        Ok(())
    }

    /// Outputs of the rule `id` that republish to a topic that the rule itself, or a rule that republishes back, selects:
    /// each with the field that does, and what comes of it. A topic with placeholders counts as any topic of that form.
    ///
    /// `beside` are rules, by their ids, that are not here yet.
    pub fn rule_loops(&self, id: &str, config: &Json, beside: &[(String, &Json)]) -> Vec<(String, String)> {
        let Some(filters) = filters_of(config) else { return Vec::new() };
        let mut others: Vec<Other> = beside
            .iter()
            .filter(|(other, _)| other != id)
            .filter_map(|(other, config)| Some(Other::new(other, filters_of(config)?, config)))
            .collect();
        others.extend(
            self.registry
                .lock()
                .rules
                .iter()
                .filter(|(other, entry)| other.as_str() != id && entry.config.enable)
                .filter(|(other, _)| beside.iter().all(|(known, _)| known != *other))
                .map(|(other, entry)| Other::new(other, entry.filters.clone(), &entry.about.given)),
        );
        let mut loops = Vec::new();
        for (field, topic) in republished_topics(config) {
            let field = format!("{field}.args.topic");
            if let Some(filter) = filters.iter().find(|filter| topics_meet(filter, &topic)) {
                let message = format!(
                    "the rule republishes to `{topic}`, which its own FROM `{filter}` selects: such messages go no further"
                );
                loops.push((field, message));
                continue;
            }
            for other in others.iter().filter(|other| meet(&other.filters, &topic)) {
                let Some(answer) = other.answers.iter().find(|topic| meet(&filters, topic)) else { continue };
                let message = format!(
                    "the rule republishes to `{topic}`, which rule `{}` selects and republishes to `{answer}`: \
                     messages go round until the hop limit",
                    other.id
                );
                loops.push((field.clone(), message));
            }
        }
        loops
    }

    /// Creates a rule; without an `id` one is made up. Its actions need not exist yet.
    ///
    /// # Errors
    /// When the configuration or the SQL is wrong, or the id is taken.
    pub fn create_rule(&self, config: Json, origin: Origin) -> Result<RuleView, EngineError> {
        let id = self.add_rule(About::new(origin, config, self.now_ms()))?;
        self.rule(&id).ok_or_else(|| not_found(CLASS, &id))
    }

    pub(super) fn add_rule(&self, about: About) -> Result<String, EngineError> {
        self.refuse_when_stopping()?;
        let config = RuleConfig::read(&about.given)?;
        let mut registry = self.registry.lock();
        let id = config.id.clone().unwrap_or_else(|| free_id(&registry));
        if registry.rules.contains_key(&id) {
            return Err(EngineError::AlreadyExists { class: CLASS, id });
        }
        let plan = RulePlan::compile(&config.sql, &id)?;
        let entry = RuleEntry {
            about,
            from: plan.from(),
            filters: plan.filters(),
            slot: self.rules.allocate(),
            counters: Arc::default(),
            rate: Arc::default(),
            runtime: None,
            config,
        };
        self.put_rule(&mut registry, &id, entry, plan);
        Ok(id)
    }

    /// Replaces the configuration of rule `id`; its counters go on.
    ///
    /// # Errors
    /// When there is none, it is declared in a file, or the configuration is wrong.
    pub fn update_rule(&self, id: &str, config: Json) -> Result<RuleView, EngineError> {
        self.change_rule(id, config, &Origin::Api)?;
        self.rule(id).ok_or_else(|| not_found(CLASS, id))
    }

    pub(super) fn change_rule(&self, id: &str, config: Json, origin: &Origin) -> Result<(), EngineError> {
        self.refuse_when_stopping()?;
        let mut config = config;
        if let Some(object) = config.as_object_mut() {
            object.insert("id".to_owned(), id.into());
        }
        let checked = RuleConfig::read(&config)?;
        let plan = RulePlan::compile(&checked.sql, id)?;
        let mut registry = self.registry.lock();
        let before = registry.rules.get(id).ok_or_else(|| not_found(CLASS, id))?;
        before.about.require(origin, CLASS, id)?;
        let mut about = before.about.changed(config, self.now_ms());
        if let Origin::File(_) = origin {
            about.origin = origin.clone();
        }
        let entry = RuleEntry {
            about,
            from: plan.from(),
            filters: plan.filters(),
            slot: before.slot,
            counters: Arc::clone(&before.counters),
            rate: Arc::clone(&before.rate),
            runtime: None,
            config: checked,
        };
        self.put_rule(&mut registry, id, entry, plan);
        Ok(())
    }

    /// Sets a rule to work under its slot, in place of the one that was there.
    fn put_rule(&self, registry: &mut Registry, id: &str, mut entry: RuleEntry, plan: RulePlan) {
        if entry.config.enable {
            let outputs = entry.config.actions.iter().map(|output| match output {
                OutputConfig::Action(action) => Output::action(registry.slot(action), id),
                OutputConfig::Republish(args) => Output::Republish(args.clone()),
                OutputConfig::Console => Output::Console,
            });
            entry.runtime = Some(Arc::new(RuleRuntime {
                id: Arc::from(id),
                name: Text::from(id),
                slot: entry.slot,
                plan,
                outputs: outputs.collect(),
                wants_completion: wants_completion(&entry.config),
                counters: Arc::clone(&entry.counters),
                exceptions: LogLimit::default(),
                loops: LogLimit::default(),
            }));
        }
        self.rules.set(entry.slot, entry.runtime.clone());
        self.register_topics(&entry);
        registry.rules.insert(id.to_owned(), entry);
    }

    /// Tells the broker which topics the rule reads.
    pub(super) fn register_topics(&self, entry: &RuleEntry) {
        let topics = self.topics.read();
        let Some(topics) = topics.as_ref() else { return };
        if entry.runtime.is_some() && !entry.filters.is_empty() {
            topics.set_rule(entry.slot, &entry.filters, holds_acks_ms(&entry.config));
        } else {
            topics.remove_rule(entry.slot);
        }
    }

    /// Deletes a rule. Rows on their way are still delivered.
    ///
    /// # Errors
    /// When there is none, or it is declared in a file.
    pub fn delete_rule(&self, id: &str) -> Result<(), EngineError> {
        self.remove_rule(id, &Origin::Api)
    }

    pub(super) fn remove_rule(&self, id: &str, origin: &Origin) -> Result<(), EngineError> {
        let mut registry = self.registry.lock();
        let entry = registry.rules.get(id).ok_or_else(|| not_found(CLASS, id))?;
        entry.about.require(origin, CLASS, id)?;
        if let Some(topics) = self.topics.read().as_ref() {
            topics.remove_rule(entry.slot);
        }
        self.rules.set(entry.slot, None);
        registry.rules.remove(id);
        Ok(())
    }

    /// Takes an action out of a rule's list.
    pub(super) fn take_action_out(&self, rule: &str, action: &str) {
        let mut registry = self.registry.lock();
        let Some(mut entry) = registry.rules.remove(rule) else { return };
        entry.config.remove_action(action);
        entry.about.given = Json::Object(entry.config.to_json(rule));
        match RulePlan::compile(&entry.config.sql, rule) {
            Ok(plan) => self.put_rule(&mut registry, rule, entry, plan),
            Err(error) => {
                // it compiled before; keep the rule as it was rather than lose it
                tracing::error!(rule, %error, "a rule that worked does not compile any more");
                registry.rules.insert(rule.to_owned(), entry);
            }
        }
    }

    /// The rule as people see it.
    pub fn rule(&self, id: &str) -> Option<RuleView> {
        let registry = self.registry.lock();
        registry.rules.get(id).map(|entry| view_rule(id, entry, &registry))
    }

    /// Every rule, by id.
    pub fn rules(&self) -> Vec<RuleView> {
        let registry = self.registry.lock();
        registry.rules.iter().map(|(id, entry)| view_rule(id, entry, &registry)).collect()
    }

    /// What rule `id` made of the last events while somebody looked; records the next `evaluations` within `time`.
    ///
    /// Recording begins with this call. While it goes on, messages of every topic are looked at, so that near misses of
    /// FROM show; nothing is recorded of a rule that nobody asks about.
    pub fn explain_rule(&self, id: &str, time: Duration, evaluations: u32) -> Option<Json> {
        let (slot, runtime, warnings) = {
            let registry = self.registry.lock();
            let entry = registry.rules.get(id)?;
            let config = Json::Object(entry.config.to_json(id));
            (entry.slot, entry.runtime.clone(), config)
        };
        let mut doubts = runtime.as_ref().map(|rule| rule.plan.doubts()).unwrap_or_default();
        doubts.extend(
            self.rule_loops(id, &warnings, &[])
                .into_iter()
                .map(|(field, message)| format!("{field}: {message}")),
        );
        if runtime.is_none() {
            doubts.insert(0, "the rule is off".to_owned());
        }
        let now_ms = self.now_ms();
        let until_ms = now_ms.saturating_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
        if let Some(rule) = runtime.filter(|_| !time.is_zero() && evaluations > 0) {
            self.rules.watches.watch(&rule, until_ms, evaluations);
            self.listen_to_everything(time);
        }
        let counted = self.rule_metrics(id).map(|metrics| metrics.to_json()).unwrap_or_default();
        Some(json!({
            "id": id,
            "recording_until": until_ms,
            "warnings": doubts,
            "metrics": counted,
            "evaluations": self.rules.watches.recorded(slot),
        }))
    }

    /// Has the broker report messages of every topic until nobody looks at a rule any more.
    fn listen_to_everything(&self, time: Duration) {
        let Some(topics) = self.topics.read().clone() else { return };
        let slot = *self.everything.get_or_init(|| self.rules.allocate());
        let changes = Arc::clone(&self.listening);
        {
            let _one_at_a_time = changes.lock();
            topics.set_rule(slot, &["#".to_owned()], None);
        }
        let (rules, services) = (Arc::clone(&self.rules), Arc::clone(&self.services));
        self.services.spawn(async move {
            let wait = tokio::time::sleep(time + Duration::from_millis(10));
            services.cut_off.run_until_cancelled(wait).await;
            let _one_at_a_time = changes.lock();
            if !rules.watches.is_active(services.clock.now_ms()) {
                topics.remove_rule(slot);
            }
        });
    }

    /// Sets where lines of traces go. The first call counts.
    pub fn set_tracer(&self, tracer: Arc<dyn Tracer>) {
        self.services.traces.set_tracer(tracer);
    }

    /// Follows rule `id`, which need not exist yet, from now on, under a number that no other trace has now.
    pub fn start_trace(&self, number: u8, id: &str) {
        self.services.traces.start(number, id);
    }

    /// Follows the rule of that trace no longer.
    pub fn stop_trace(&self, number: u8) {
        self.services.traces.stop(number);
    }

    /// Counters of rule `id`.
    pub fn rule_metrics(&self, id: &str) -> Option<RuleMetrics> {
        let registry = self.registry.lock();
        let entry = registry.rules.get(id)?;
        let rates = entry.rate.rates();
        let counted = RuleMetrics::of(&entry.counters);
        Some(RuleMetrics { rate: rates.current, rate_max: rates.max, rate_last5m: rates.last_5m, ..counted })
    }

    /// Sets counters and rates of rule `id` to zero.
    ///
    /// # Errors
    /// When there is none.
    pub fn reset_rule_metrics(&self, id: &str) -> Result<(), EngineError> {
        let registry = self.registry.lock();
        let entry = registry.rules.get(id).ok_or_else(|| not_found(CLASS, id))?;
        RuleCounters::reset(&entry.counters);
        entry.rate.reset(0);
        Ok(())
    }

    /// Runs `sql` on a made-up event: `context` has `event_type` and columns. No action runs.
    ///
    /// # Errors
    /// When the SQL or the context is wrong, FROM or WHERE does not match, or the run fails.
    pub fn test_rule(&self, sql: &str, context: &Json) -> Result<Json, TestError> {
        let plan = RulePlan::compile(sql, "sql_tester")?;
        let event = test_event(context)?;
        if !plan.selects(&event) {
            return Err(TestError::NotMatch);
        }
        let context = self.rules.environment().context(&event);
        let rows = plan.run(&event, &context).map_err(|error| TestError::Failed(error.to_string()))?;
        let foreach = matches!(plan.body(), Body::Foreach { .. });
        let mut rows = rows.iter().map(row_json).collect::<Vec<_>>();
        match (foreach, rows.len()) {
            (true, _) => Ok(Json::Array(rows)),
            (false, 0) => Err(TestError::NotMatch),
            (false, _) => Ok(rows.swap_remove(0)),
        }
    }
}

fn test_event(context: &Json) -> Result<Event, TestError> {
    let invalid = |message: String| TestError::Invalid(connectors_api::ConfigError::new("context", message));
    match decode_json(context.to_string().as_bytes()) {
        Ok(Value::Map(context)) => {
            engine_sql::context_event(&context, true).map_err(|error| invalid(error.to_string()))
        }
        Ok(other) => Err(invalid(format!("expected an object, got {}", other.type_name()))),
        Err(error) => Err(invalid(error.to_string())),
    }
}

fn row_json(row: &Map) -> Json {
    let text = encode_json(&Value::Map(row.clone()), JsonOptions { undefined: UndefinedAs::Text });
    serde_json::from_slice(&text).unwrap_or_default()
}

/// The outputs of a rule that republish so that rules run again, with their topics; a level with a placeholder is `+`.
fn republished_topics(config: &Json) -> impl Iterator<Item = (String, String)> + '_ {
    let actions = config.get("actions").and_then(Json::as_array).into_iter().flatten().enumerate();
    actions.filter_map(|(index, action)| {
        let args = action.get("args")?;
        let is_republish = action.get("function").and_then(Json::as_str) == Some("republish");
        let direct = args.get("direct_dispatch") == Some(&Json::Bool(true));
        let topic = args.get("topic").and_then(Json::as_str).filter(|_| is_republish && !direct)?;
        let levels = topic.split('/').map(|level| if level.contains("${") { "+" } else { level });
        Some((format!("actions[{index}]"), levels.collect::<Vec<_>>().join("/")))
    })
}

/// A rule that messages may come back from.
struct Other {
    id: String,
    filters: Vec<String>,
    /// The topics that it republishes to.
    answers: Vec<String>,
}

impl Other {
    fn new(id: &str, filters: Vec<String>, config: &Json) -> Self {
        Self {
            id: id.to_owned(),
            filters,
            answers: republished_topics(config).map(|(_, topic)| topic).collect(),
        }
    }
}

/// The filters of an enabled rule that can be read.
fn filters_of(config: &Json) -> Option<Vec<String>> {
    let checked = RuleConfig::read(config).ok().filter(|checked| checked.enable)?;
    let plan = RulePlan::compile(&checked.sql, checked.id.as_deref().unwrap_or_default()).ok()?;
    Some(plan.filters())
}

/// Tells whether some topic matches `topic` and one of `filters`.
fn meet(filters: &[String], topic: &str) -> bool {
    filters.iter().any(|filter| topics_meet(filter, topic))
}

/// Tells whether some topic matches both filters.
fn topics_meet(a: &str, b: &str) -> bool {
    let (mut a, mut b) = (a.split('/'), b.split('/'));
    loop {
        match (a.next(), b.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some(a), Some(b)) if a == b || a == "+" || b == "+" => {}
            _ => return false,
        }
    }
}

fn wants_completion(config: &RuleConfig) -> bool {
    config.ack_mode == AckMode::Sink && !config.actions.is_empty()
}

/// How long the rule may hold acknowledgements, if it holds any.
fn holds_acks_ms(config: &RuleConfig) -> Option<u32> {
    let longest_ms = config.ack_timeout.duration().as_millis();
    wants_completion(config).then(|| u32::try_from(longest_ms).unwrap_or(u32::MAX))
}

fn free_id(registry: &Registry) -> String {
    loop {
        let id = format!("{:08x}", fastrand::u32(..));
        if !registry.rules.contains_key(&id) {
            return id;
        }
    }
}

fn view_rule(id: &str, entry: &RuleEntry, registry: &Registry) -> RuleView {
    let details = entry.config.action_ids().map(|action| {
        let status = registry.actions.get(action).map(|entry| entry.runtime.status().get().status.as_str());
        (action.to_owned(), status.unwrap_or("not_found"))
    });
    RuleView {
        id: id.to_owned(),
        config: entry.config.to_json(id),
        origin: entry.about.origin.clone(),
        from: entry.from.clone(),
        action_details: details.collect(),
        created_at_ms: entry.about.created_at_ms,
        last_modified_at_ms: entry.about.last_modified_at_ms,
    }
}
