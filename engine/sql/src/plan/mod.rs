//! Rules that were checked and can be run.
//!
//! Names are resolved when a plan is made: a path becomes a payload slot, a column, or the register of a field to its
//! left. Only rules whose rows cannot be foreseen (an alias with an index, or one that writes below a value) keep
//! their row while it grows and look names up in it.

mod checks;
mod compile;
mod context;
mod evaluate;
mod explain;
mod expression;
mod growth;
mod guard;
mod ir;
mod layout;
mod lookup;
mod rows;
mod run;
mod sources;

#[cfg(test)]
mod size_tests;
#[cfg(test)]
mod tests;

use engine_event::{Event, Interest, Text};

use crate::functions::{CompiledCache, FunctionContext};
use crate::projection::{PayloadPath, PlanSlots, Projection};
use crate::syntax::{self, Rule};
use crate::{EvalError, Problem, SqlErrors};

pub use explain::{Explainer, Explanation};
pub(crate) use guard::{Guard, GuardSource, GuardTest};
pub use rows::Rows;
pub use sources::Source;

/// A rule that can be run.
#[derive(Debug)]
pub struct Plan {
    rule: Rule,
    sources: Vec<Source>,
    program: ir::Program,
    guard: Option<Guard>,
    payload_paths: Vec<PayloadPath>,
    projection: Projection,
    warnings: Vec<Problem>,
    compiled: CompiledCache,
}

/// The surroundings of a run.
#[derive(Clone, Copy)]
pub struct Env<'a> {
    /// The rule that runs: column `metadata.rule_id`. None when a text is only tried.
    pub rule_id: Option<&'a Text>,
    /// What functions see of the world. Its columns and compiled texts are not asked for: the event and the plan have
    /// them.
    pub context: &'a dyn FunctionContext,
}

impl Plan {
    /// Checks the text of a rule and makes a plan of it.
    ///
    /// # Errors
    /// All problems of the text with their places, as far as reading comes.
    pub fn compile(sql: &str) -> Result<Self, SqlErrors> {
        let rule = syntax::parse(sql)?;
        let sources = sources::check(sql, &rule)?;
        let mut compiled = compile::compile(sql, &rule);
        compiled.warnings.extend(checks::check(sql, &rule, &sources));
        compiled.warnings.sort_by_key(Problem::position);
        Ok(Self {
            sources,
            projection: Projection::of_plan(&compiled.payload_paths, compiled.program.elements()),
            guard: guard::guard(&compiled.program),
            program: compiled.program,
            payload_paths: compiled.payload_paths,
            warnings: compiled.warnings,
            compiled: CompiledCache::new(),
            rule,
        })
    }

    /// The rule as a tree. Printing it gives the canonical text.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// What the rule selects, each once.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The kinds of event that the rule selects.
    pub fn interest(&self) -> Interest {
        self.sources.iter().fold(Interest::default(), |interest, source| match source {
            Source::Event(kind) => interest.with(*kind),
            Source::Topic(_) => interest.with(engine_event::EventKind::MessagePublish),
            Source::Bridge(_) => interest,
        })
    }

    /// What is allowed but fails (errors), or hardly is what was meant (warnings), in the order of the text.
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// Tells whether FROM selects the event.
    pub fn selects(&self, event: &Event) -> bool {
        sources::select(&self.sources, event)
    }

    /// Runs the rule on an event that it selects.
    ///
    /// # Errors
    /// When an expression fails; then the event gives no row at all.
    pub fn run(&self, event: &Event, env: &Env<'_>) -> Result<Rows, EvalError> {
        let slots = self.projection.run(event);
        self.run_projected(event, PlanSlots::of_one(&slots), env)
    }

    /// As [`Plan::run`], with the payload already read by a [`Projection`] that was made for this plan and others.
    ///
    /// # Errors
    /// As [`Plan::run`].
    pub fn run_projected(
        &self,
        event: &Event,
        slots: PlanSlots<'_>,
        env: &Env<'_>,
    ) -> Result<Rows, EvalError> {
        run::run(&self.program, event, slots, env, &self.compiled)
    }

    /// What must hold for the rule to give rows.
    pub(crate) fn guard(&self) -> Option<&Guard> {
        self.guard.as_ref()
    }

    /// Compiles the parts of the rule, to be looked at one by one.
    pub fn explainer(&self) -> Explainer {
        // places in the text are not asked for
        compile::explainer("", &self.rule)
    }

    /// What each part of the rule gives on an event that it selects.
    pub fn explain(&self, explainer: &Explainer, event: &Event, env: &Env<'_>) -> Explanation {
        explainer.explain(event, env, &self.compiled)
    }

    /// The payload paths that the rule reads, in the order of its slots.
    pub(crate) fn payload_paths(&self) -> &[PayloadPath] {
        &self.payload_paths
    }
}
