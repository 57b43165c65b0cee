//! The plan of a rule: what the rule language makes of its SQL.

use connectors_api::{ConfigError, ConfigProblem};
use engine_event::{Event, EventKind, Text};
use engine_sql::syntax::Body;
use engine_sql::{Env, EvalError, Explainer, Explanation, Plan, PlanSlots, Rows, Source};

use super::environment::RunContext;

/// A compiled rule.
#[derive(Debug)]
pub(crate) struct RulePlan {
    plan: Plan,
    rule_id: Text,
}

impl RulePlan {
    /// Compiles the SQL of a rule.
    ///
    /// # Errors
    /// Each problem of the text, with its place, as a problem of the field `sql`.
    pub(crate) fn compile(sql: &str, rule_id: &str) -> Result<Self, ConfigError> {
        match Plan::compile(sql) {
            Ok(plan) => Ok(Self { plan, rule_id: Text::from(rule_id) }),
            Err(errors) => Err(ConfigError(
                errors
                    .problems()
                    .iter()
                    .map(|problem| ConfigProblem::new("sql", problem.to_string()))
                    .collect(),
            )),
        }
    }

    /// The names after FROM, as they are shown.
    pub(crate) fn from(&self) -> Vec<String> {
        self.plan.rule().from.iter().map(|source| source.name.clone()).collect()
    }

    /// The topic filters.
    pub(crate) fn filters(&self) -> Vec<String> {
        self.plan
            .sources()
            .iter()
            .filter_map(|source| match source {
                Source::Topic(filter) => Some(filter.clone()),
                Source::Event(_) | Source::Bridge(_) => None,
            })
            .collect()
    }

    /// The kinds of event beside messages.
    pub(crate) fn kinds(&self) -> Vec<EventKind> {
        self.plan
            .sources()
            .iter()
            .filter_map(|source| match source {
                Source::Event(kind) => Some(*kind),
                Source::Topic(_) | Source::Bridge(_) => None,
            })
            .collect()
    }

    /// Tells whether FROM selects the event.
    pub(crate) fn selects(&self, event: &Event) -> bool {
        self.plan.selects(event)
    }

    /// What the rule makes of an event.
    pub(crate) fn body(&self) -> &Body {
        &self.plan.rule().body
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What each part of the rule gives on an event.
    pub(super) fn explain(
        &self,
        explainer: &Explainer,
        event: &Event,
        context: &RunContext<'_>,
    ) -> Explanation {
        self.plan.explain(explainer, event, &Env { rule_id: Some(&self.rule_id), context })
    }

    /// What is doubtful about the rule, with places.
    pub(crate) fn doubts(&self) -> Vec<String> {
        self.plan.warnings().iter().map(ToString::to_string).collect()
    }

    /// Runs the rule on an event.
    pub(crate) fn run(&self, event: &Event, context: &RunContext<'_>) -> Result<Rows, EvalError> {
        self.plan.run(event, &Env { rule_id: Some(&self.rule_id), context })
    }

    /// Runs the rule on an event whose payload was read before.
    pub(super) fn run_projected(
        &self,
        event: &Event,
        slots: PlanSlots<'_>,
        context: &RunContext<'_>,
    ) -> Result<Rows, EvalError> {
        self.plan.run_projected(event, slots, &Env { rule_id: Some(&self.rule_id), context })
    }
}
