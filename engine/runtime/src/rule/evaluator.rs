//! Evaluating rules without an engine.

use std::sync::Arc;

use connectors_api::ConfigError;
use engine_event::{Clock, Event, Map};
use engine_sql::{EvalError, Rows};

use super::RulePlan;
use super::environment::Environment;

/// Evaluates one line as [`engine_sql::eval_line`] describes, with the functions that rules of a server have.
///
/// Every line is a world of its own: what its functions store is gone after it.
pub fn eval_line(line: &str, default_sql: Option<&str>, clock: &Arc<dyn Clock>) -> String {
    let environment = Environment::new(Arc::clone(clock), JQ_TIME_LIMIT_MS);
    let nothing = Event::from_columns(Map::new());
    engine_sql::eval_line(line, default_sql, &environment.context(&nothing))
}

/// Time limit of a `jq` call that names none: not that of a server, so that slow machines give the same rows.
const JQ_TIME_LIMIT_MS: u64 = 10_000;

/// Rules that run on events as in a server, without their actions. What their functions store is one world.
#[derive(Debug)]
pub struct Evaluator {
    environment: Environment,
}

/// A rule that an [`Evaluator`] runs.
#[derive(Debug)]
pub struct EvaluatedRule {
    plan: RulePlan,
}

impl Evaluator {
    /// Makes an empty world.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { environment: Environment::new(clock, JQ_TIME_LIMIT_MS) }
    }

    /// Runs a rule on an event; none when its FROM does not select the event.
    ///
    /// # Errors
    /// When an expression fails.
    pub fn run(&self, rule: &EvaluatedRule, event: &Event) -> Result<Option<Rows>, EvalError> {
        if !rule.plan.selects(event) {
            return Ok(None);
        }
        rule.plan.run(event, &self.environment.context(event)).map(Some)
    }
}

impl EvaluatedRule {
    /// Compiles the SQL of a rule.
    ///
    /// # Errors
    /// Each problem of the text, with its place.
    pub fn compile(id: &str, sql: &str) -> Result<Self, ConfigError> {
        Ok(Self { plan: RulePlan::compile(sql, id)? })
    }
}
