//! From the syntax tree to a program.

use engine_event::Text;
use indexmap::IndexSet;

use crate::projection::{ElementPaths, PayloadPath, Projection};
use crate::syntax::{self, Body, ExprKind, FieldKind, Index, Rule, Step};
use crate::{Part, Problem};

use super::explain::{self, Explainer};
use super::expression::is_infallible;
use super::growth::Growth;
use super::ir::{
    Candidate, Expr, Field, FieldList, FixedRow, FixedValue, Layout, Lookup, Origin, Program, Steps,
    TargetStep,
};
use super::layout::{Known, Names, fixed, is_known, item_name, target};
use super::lookup::Scope;

/// The outcome of compiling.
pub(super) struct Compiled {
    pub(super) program: Program,
    pub(super) payload_paths: Vec<PayloadPath>,
    pub(super) warnings: Vec<Problem>,
}

/// Compiles a rule. Every rule that can be read can be compiled.
pub(super) fn compile(sql: &str, rule: &Rule) -> Compiled {
    let mut compiler = Compiler::new(sql);
    let program = match &rule.body {
        Body::Select(fields) => compiler.select(fields, rule.condition.as_ref()),
        Body::Foreach { fields, each, incase } => {
            compiler.foreach(fields, each.as_deref(), incase.as_ref(), rule.condition.as_ref())
        }
    };
    compiler.warnings.sort_by_key(Problem::position);
    Compiled {
        program,
        payload_paths: compiler.payload_paths.into_iter().collect(),
        warnings: compiler.warnings,
    }
}

/// What is collected while a rule is compiled.
pub(super) struct Compiler<'a> {
    pub(super) sql: &'a str,
    payload_paths: IndexSet<PayloadPath>,
    /// Paths below the element of FOREACH.
    pub(super) element_paths: IndexSet<PayloadPath>,
    /// An element of FOREACH is read as a whole, or at a place that is looked up.
    pub(super) reads_whole_elements: bool,
    registers: usize,
    growth: Growth,
    pub(super) warnings: Vec<Problem>,
}

/// Compiles the parts of a rule that are shown one by one.
pub(super) fn explainer(sql: &str, rule: &Rule) -> Explainer {
    let mut compiler = Compiler::new(sql);
    let (list, fields) = explain::fields(rule);
    let nothing = Scope { output: None, item: None, merged: None };
    let texts = fields.iter().map(explain::field_text).collect();
    let (mut compiled, names) = compiler.fields(list, fields, nothing);
    if let (Body::Foreach { .. }, Some(last)) = (&rule.body, fields.last()) {
        decode_bare_payload(last, &mut compiled);
    }
    let scope = Scope { merged: Some(&names), ..nothing };
    let mut condition = Vec::new();
    if let Some(expr) = &rule.condition {
        explain::each_part(expr, &mut Vec::new(), &mut |text, expr| {
            condition.push((text, compiler.bounded(expr, scope)));
        });
    }
    let paths: Vec<PayloadPath> = compiler.payload_paths.into_iter().collect();
    Explainer { fields: compiled, texts, condition, projection: Projection::of_plan(&paths, None) }
}

impl<'a> Compiler<'a> {
    fn new(sql: &'a str) -> Self {
        Self {
            sql,
            payload_paths: IndexSet::new(),
            element_paths: IndexSet::new(),
            reads_whole_elements: false,
            registers: 0,
            growth: Growth::default(),
            warnings: Vec::new(),
        }
    }
}

impl Compiler<'_> {
    fn select(&mut self, fields: &[syntax::Field], condition: Option<&syntax::Expr>) -> Program {
        let nothing = Scope { output: None, item: None, merged: None };
        let (fields, names) = self.fields("SELECT", fields, nothing);
        let scope = Scope { merged: Some(&names), ..nothing };
        let condition = condition.map(|condition| self.bounded(condition, scope));
        let early = condition.as_ref().and_then(|condition| early(&fields, condition));
        Program::Select { fields, condition, early }
    }

    fn foreach(
        &mut self,
        fields: &[syntax::Field],
        each: Option<&[syntax::Field]>,
        incase: Option<&syntax::Expr>,
        condition: Option<&syntax::Expr>,
    ) -> Program {
        let nothing = Scope { output: None, item: None, merged: None };
        let last = fields.last().expect("a list has a field");
        let item = item_name(last);
        let (mut fields, names) = self.fields("FOREACH", fields, nothing);
        decode_bare_payload(last, &mut fields);
        let scope = Scope { merged: Some(&names), ..nothing };
        let condition = condition.map(|condition| self.bounded(condition, scope));
        let scope = Scope { item: Some(&item), ..scope };
        let incase = incase.map(|incase| self.bounded(incase, scope));
        let each = each.map(|each| self.fields("DO", each, scope).0);
        let elements = self.elements(&fields, condition.as_ref(), each.as_ref(), incase.as_ref());
        Program::Foreach { fields, item, condition, each, incase, elements: Box::new(elements) }
    }

    /// What is read of the elements. When the array is one of the payload and nothing else reads it, it is never built.
    fn elements(
        &self,
        fields: &FieldList,
        condition: Option<&Expr>,
        each: Option<&FieldList>,
        incase: Option<&Expr>,
    ) -> ElementPaths {
        let slot = self.element_slot(fields, condition, each, incase);
        ElementPaths::new(slot, self.element_paths.iter().cloned().collect())
    }

    fn element_slot(
        &self,
        fields: &FieldList,
        condition: Option<&Expr>,
        each: Option<&FieldList>,
        incase: Option<&Expr>,
    ) -> Option<u16> {
        let each = &each?.fields;
        if self.reads_whole_elements || each.iter().any(|field| field.value.is_none()) {
            return None;
        }
        let (last, before) = fields.fields.split_last().expect("a list has a field");
        let slot = match (&fields.layout, &last.value) {
            (Layout::Fixed(_), Some(Expr::Lookup(lookup))) => lookup.only_slot()?,
            _ => return None,
        };
        let mut read_elsewhere = self.has_slots_below(slot);
        let mut look = |origin: &Origin| read_elsewhere |= origin.reads(slot, last.register);
        let values = before.iter().chain(each).filter_map(|field| field.value.as_ref());
        values.chain(condition).chain(incase).for_each(|expr| expr.each_origin(&mut look));
        (!read_elsewhere).then_some(slot)
    }

    /// Tells whether something below the path of a slot has a slot.
    fn has_slots_below(&self, slot: u16) -> bool {
        let path = &self.payload_paths[usize::from(slot)];
        self.payload_paths.iter().any(|other| other.len() > path.len() && other.starts_with(path))
    }

    /// Compiles a list of fields. `scope` is what lies below the row so far.
    fn fields(
        &mut self,
        list: &'static str,
        fields: &[syntax::Field],
        scope: Scope<'_>,
    ) -> (FieldList, Names) {
        let mut names = if is_known(fields) { Names::Known(Known::default()) } else { Names::Written };
        let mut compiled = Vec::with_capacity(fields.len());
        for (place, field) in fields.iter().enumerate() {
            let scope = Scope { output: Some(&names), ..scope };
            let register = self.registers;
            self.registers += 1;
            let part = Part::Field { list, place: place + 1, position: field.span.start };
            let target = target(field, place);
            let value = match &field.kind {
                FieldKind::All => {
                    self.growth.add_all();
                    None
                }
                FieldKind::Value { value, .. } => {
                    let mut value = self.expression(value, scope);
                    self.growth.add_field(&mut value);
                    Some(value)
                }
            };
            let steps = target.as_ref().map(|path| self.target_steps(path, scope)).unwrap_or_default();
            if let Names::Known(known) = &mut names {
                match &target {
                    Some(path) => {
                        known.put(path, register);
                    }
                    None => known.all = true,
                }
            }
            compiled.push(Field { value, register, target: steps, part });
        }
        let layout = match &names {
            Names::Known(known) => Layout::Fixed(FixedRow { all: known.all, entries: fixed(&known.entries) }),
            Names::Written => Layout::Written,
        };
        let counted = self.growth.is_counted();
        self.growth.end_list();
        (FieldList { fields: compiled, layout, counted }, names)
    }

    /// Compiles a condition, so that what it makes does not become too large.
    fn bounded(&mut self, condition: &syntax::Expr, scope: Scope<'_>) -> Expr {
        let mut condition = self.expression(condition, scope);
        self.growth.bound(&mut condition);
        condition
    }

    fn target_steps(&mut self, path: &syntax::Path, scope: Scope<'_>) -> Vec<TargetStep> {
        let mut steps = vec![TargetStep::Key(path.root.as_str().into())];
        for step in &path.steps {
            steps.push(match step {
                Step::Key(key) => TargetStep::Key(key.as_str().into()),
                Step::Index(Index::Start(place)) => TargetStep::Start(*place),
                Step::Index(Index::End(place)) => TargetStep::End(*place),
                Step::Index(Index::Path(index)) => self.target_index(index, scope),
            });
        }
        steps
    }

    /// The slot of a payload path.
    pub(super) fn payload_slot(&mut self, path: PayloadPath) -> u16 {
        slot_number(self.payload_paths.insert_full(path).0)
    }
}

pub(super) fn slot_number(slot: usize) -> u16 {
    u16::try_from(slot).expect("the text of a rule is too short for that many paths")
}

impl Lookup {
    /// The slot that is the one place where the path may lead.
    pub(super) fn only_slot(&self) -> Option<u16> {
        match self.candidates.as_slice() {
            [Candidate { origin: Origin::Slot(slot), steps: Steps::Known(steps), .. }]
                if steps.is_empty() =>
            {
                Some(*slot)
            }
            _ => None,
        }
    }
}

impl Origin {
    /// Tells whether it reads the slot or the register.
    fn reads(&self, slot: u16, register: usize) -> bool {
        fn holds(entries: &[(Text, FixedValue)], register: usize) -> bool {
            entries.iter().any(|(_, value)| match value {
                FixedValue::Register(at) => *at == register,
                FixedValue::Map(entries) => holds(entries, register),
            })
        }
        match self {
            Self::Slot(at) => *at == slot,
            Self::Register(at) => *at == register,
            Self::Map(entries) => holds(entries, register),
            _ => false,
        }
    }
}

/// The bare payload as the collection of FOREACH is decoded first.
fn decode_bare_payload(last: &syntax::Field, fields: &mut FieldList) {
    let FieldKind::Value { value, .. } = &last.kind else { return };
    let bare =
        matches!(&value.kind, ExprKind::Path(path, None) if path.root == "payload" && path.steps.is_empty());
    if let Some(field) = fields.fields.last_mut()
        && bare
    {
        field.value = match field.value.take() {
            Some(Expr::Lookup(lookup)) => Some(Expr::DecodedPayload(lookup)),
            value => value,
        };
    }
}

/// Tells which fields the condition reads, if evaluating it before the others makes no difference: then no field can
/// fail once the payload is known to be JSON.
fn early(fields: &FieldList, condition: &Expr) -> Option<Vec<usize>> {
    if !matches!(fields.layout, Layout::Fixed(_))
        || fields.counted
        || !fields.fields.iter().all(|field| field.value.as_ref().is_none_or(is_infallible))
    {
        return None;
    }
    let mut needed = vec![false; fields.fields.len()];
    mark(condition, fields, &mut needed);
    // a field only reads fields to its left
    for place in (0..needed.len()).rev() {
        if let (true, Some(value)) = (needed[place], &fields.fields[place].value) {
            mark(value, fields, &mut needed);
        }
    }
    Some((0..needed.len()).filter(|place| needed[*place]).collect())
}

fn mark(expr: &Expr, fields: &FieldList, needed: &mut [bool]) {
    let first = fields.fields.first().map_or(0, |field| field.register);
    expr.each_origin(&mut |origin| match origin {
        Origin::Register(register) => needed[*register - first] = true,
        Origin::Map(entries) => mark_entries(entries, first, needed),
        _ => {}
    });
}

fn mark_entries(entries: &[(Text, FixedValue)], first: usize, needed: &mut [bool]) {
    for (_, value) in entries {
        match value {
            FixedValue::Register(register) => needed[*register - first] = true,
            FixedValue::Map(entries) => mark_entries(entries, first, needed),
        }
    }
}
