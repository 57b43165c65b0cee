//! Running a program on an event.

use engine_event::{Event, Map, Row, Text, Value, decode_json};
use smallvec::SmallVec;

use crate::evaluate::{FREE_ITEMS, Size, UNDEFINED, WriteStep, write};
use crate::functions::{CompiledCache, FunctionContext};
use crate::projection::{ElementPaths, PlanSlots};
use crate::{Env, EvalError, Part};

use super::Rows;
use super::context::RunContext;
use super::evaluate::{Frame, METADATA, first_value, fixed_map, fixed_value, metadata};
use super::ir::{Expr, Field, FieldList, FixedRow, Layout, Program, TargetStep};

/// Values of the fields of a rule.
type Registers = SmallVec<[Value; 8]>;

/// Runs a program.
pub(super) fn run(
    program: &Program,
    event: &Event,
    slots: PlanSlots<'_>,
    env: &Env<'_>,
    compiled: &CompiledCache,
) -> Result<Rows, EvalError> {
    let context = RunContext::new(event, env.context, compiled);
    let base = base_frame(event, slots, env, &context);
    match program {
        Program::Select { fields, condition, early } => {
            select(&base, fields, condition.as_ref(), early.as_deref())
        }
        Program::Foreach { fields, item, condition, each, incase, elements } => {
            let foreach = Foreach { item, each: each.as_ref(), incase: incase.as_ref(), paths: elements };
            foreach.run(&base, fields, condition.as_ref())
        }
    }
}

/// What expressions see before anything was evaluated.
pub(super) fn base_frame<'a>(
    event: &'a Event,
    slots: PlanSlots<'a>,
    env: &Env<'a>,
    context: &'a dyn FunctionContext,
) -> Frame<'a> {
    Frame {
        event,
        rule_id: env.rule_id,
        slots,
        context,
        registers: &[],
        item: &UNDEFINED,
        item_slots: &[],
        output: None,
        merged: None,
    }
}

fn select(
    base: &Frame<'_>,
    fields: &FieldList,
    condition: Option<&Expr>,
    early: Option<&[usize]>,
) -> Result<Rows, EvalError> {
    let mut registers = Registers::new();
    registers.resize_with(fields.fields.len(), Value::default);
    match (&fields.layout, condition) {
        (Layout::Fixed(row), condition) => {
            match (early, condition) {
                (Some(needed), Some(condition)) if base.slots.is_readable() => {
                    eval_fields(base, needed.iter().map(|at| &fields.fields[*at]), &mut registers)?;
                    if !holds(condition, &Frame { registers: &registers, ..*base }, Part::Where)? {
                        return Ok(Rows::filtered());
                    }
                    let rest = fields.fields.iter().enumerate().filter(|(at, _)| !needed.contains(at));
                    eval_fields(base, rest.map(|(_, field)| field), &mut registers)?;
                }
                _ => {
                    eval_fields(base, fields.fields.iter(), &mut registers)?;
                    count_row(fields, &registers)?;
                    if let Some(condition) = condition
                        && !holds(condition, &Frame { registers: &registers, ..*base }, Part::Where)?
                    {
                        return Ok(Rows::filtered());
                    }
                }
            }
            let row = fixed_row(row, || columns(base), &mut |at| std::mem::take(&mut registers[at]));
            Ok(Rows::one(row))
        }
        (Layout::Written, condition) => {
            let row = write_row(base, fields, &mut registers, &|| columns(base))?;
            let frame = Frame { merged: Some(&row), ..*base };
            match condition {
                Some(condition) if !holds(condition, &frame, Part::Where)? => Ok(Rows::filtered()),
                _ => Ok(Rows::one(row)),
            }
        }
    }
}

/// Rows that one event can give: a message of a megabyte may hold half a million elements, and each row all columns.
const ROWS_MAX: usize = 50_000;

/// Rows of FOREACH, as far as they may go.
#[derive(Default)]
struct RowList(SmallVec<[Row; 1]>);

impl RowList {
    fn add(&mut self, row: Option<Row>, context: &dyn FunctionContext) -> Result<(), EvalError> {
        let Some(row) = row else { return Ok(()) };
        if row.len() > FREE_ITEMS {
            context.made(row.len() * 2 * size_of::<Value>())?;
        }
        self.0.push(row);
        if self.0.len() > ROWS_MAX { Err(EvalError::TooManyRows { limit: ROWS_MAX }) } else { Ok(()) }
    }
}

/// The parts of FOREACH that run for each element.
struct Foreach<'a> {
    item: &'a Text,
    each: Option<&'a FieldList>,
    incase: Option<&'a Expr>,
    paths: &'a ElementPaths,
}

impl Foreach<'_> {
    fn run(&self, base: &Frame<'_>, fields: &FieldList, condition: Option<&Expr>) -> Result<Rows, EvalError> {
        let count = fields.fields.len();
        let all = count + self.each.map_or(0, |each| each.fields.len());
        let mut registers = Registers::new();
        registers.resize_with(all, Value::default);
        let streamed = self.paths.slot.is_some() && base.slots.is_alone() && base.slots.is_readable();
        let written = match fields.layout {
            Layout::Fixed(_) => {
                // the array that is not built is the last field
                let evaluated = if streamed { count - 1 } else { count };
                eval_fields(base, fields.fields[..evaluated].iter(), &mut registers)?;
                count_row(fields, &registers)?;
                None
            }
            Layout::Written => Some(write_row(base, fields, &mut registers, &|| columns(base))?),
        };
        let base = Frame { merged: written.as_ref(), ..*base };
        if let Some(condition) = condition
            && !holds(condition, &Frame { registers: &registers, ..base }, Part::Where)?
        {
            return Ok(Rows::filtered());
        }
        let mut rows = RowList::default();
        if streamed {
            let Some((elements, values)) = base.slots.elements() else {
                return Ok(Rows::many(SmallVec::new()));
            };
            let width = self.paths.paths.len();
            for element in 0..elements {
                let item_slots = &values[element * width..(element + 1) * width];
                rows.add(self.element(&Frame { item_slots, ..base }, &mut registers, None)?, base.context)?;
            }
            return Ok(Rows::many(rows.0));
        }
        let Value::Array(elements) = registers[count - 1].clone() else {
            return Ok(Rows::many(SmallVec::new()));
        };
        let below = self.needs_columns().then(|| self.columns(&base, fields, &registers));
        let mut item_slots = Vec::new();
        for item in elements.iter() {
            self.paths.fill(item, &mut item_slots);
            let frame = Frame { item, item_slots: &item_slots, ..base };
            rows.add(self.element(&frame, &mut registers, below.as_ref())?, base.context)?;
        }
        Ok(Rows::many(rows.0))
    }

    fn element(
        &self,
        base: &Frame<'_>,
        registers: &mut [Value],
        below: Option<&Map>,
    ) -> Result<Option<Row>, EvalError> {
        if let Some(incase) = self.incase
            && !holds(incase, &Frame { registers: &*registers, ..*base }, Part::Incase)?
        {
            return Ok(None);
        }
        let all = || {
            let mut all = below.cloned().unwrap_or_default();
            all.insert(self.item.clone(), base.item.clone());
            all
        };
        let Some(each) = self.each else { return Ok(Some(all())) };
        match &each.layout {
            Layout::Fixed(row) => {
                eval_fields(base, each.fields.iter(), registers)?;
                count_row(each, registers)?;
                Ok(Some(fixed_row(row, all, &mut |at| std::mem::take(&mut registers[at]))))
            }
            Layout::Written => write_row(base, each, registers, &all).map(Some),
        }
    }

    /// Tells whether rows hold all columns.
    fn needs_columns(&self) -> bool {
        self.each.is_none_or(|each| each.fields.iter().any(|field| field.value.is_none()))
    }

    /// The columns with the fields of FOREACH.
    fn columns(&self, base: &Frame<'_>, fields: &FieldList, registers: &[Value]) -> Map {
        match (&fields.layout, base.merged) {
            (Layout::Fixed(row), _) => {
                let row = FixedRow { all: true, entries: row.entries.clone() };
                fixed_row(&row, || columns(base), &mut |at| registers[at].clone())
            }
            (Layout::Written, written) => {
                let mut all = columns(base);
                for (key, value) in written.into_iter().flatten() {
                    all.insert(key.clone(), value.clone());
                }
                all
            }
        }
    }
}

/// Every column, with the one that tells which rule runs.
fn columns(base: &Frame<'_>) -> Map {
    let mut columns = base.event.columns();
    if let Some(rule_id) = base.rule_id {
        columns.insert(Text::from_static(METADATA), metadata(rule_id));
    }
    columns
}

fn holds<'a>(condition: &'a Expr, frame: &Frame<'a>, part: Part) -> Result<bool, EvalError> {
    condition.truth(frame).map_err(|error| error.in_part(part))
}

fn eval_fields<'f>(
    base: &Frame<'_>,
    fields: impl Iterator<Item = &'f Field>,
    registers: &mut [Value],
) -> Result<(), EvalError> {
    for field in fields {
        if let Some(value) = &field.value {
            let frame = Frame { registers: &*registers, ..*base };
            if let Some(value) = value.at_hand(&frame) {
                registers[field.register] = value;
                continue;
            }
            let value = value.eval(&frame).map_err(|error| error.in_part(field.part.clone()))?.into_owned();
            registers[field.register] = value;
        }
    }
    Ok(())
}

/// Counts what the fields of a row hold.
fn count_row(list: &FieldList, registers: &[Value]) -> Result<(), EvalError> {
    if !list.counted {
        return Ok(());
    }
    let mut size = Size::default();
    for field in &list.fields {
        size.add("the row", &registers[field.register]).map_err(|error| error.in_part(field.part.clone()))?;
    }
    Ok(())
}

fn fixed_row(row: &FixedRow, all: impl FnOnce() -> Map, register: &mut dyn FnMut(usize) -> Value) -> Row {
    if !row.all {
        return fixed_map(&row.entries, register);
    }
    let mut made = all();
    for (key, value) in &row.entries {
        made.insert(key.clone(), fixed_value(value, register));
    }
    made
}

/// Evaluates the fields and writes each into the row at once (rule language, section 8).
fn write_row(
    base: &Frame<'_>,
    fields: &FieldList,
    registers: &mut [Value],
    all: &dyn Fn() -> Map,
) -> Result<Row, EvalError> {
    let mut row = Value::Map(Map::new());
    let mut size = Size::default();
    for field in &fields.fields {
        let made = row.as_map();
        let frame = Frame { registers: &*registers, output: made, ..*base };
        let Some(expr) = &field.value else {
            let mut merged = made.cloned().unwrap_or_default();
            for (key, value) in &all() {
                // what was named before wins
                if !merged.contains_key(key) {
                    merged.insert(key.clone(), value.clone());
                }
            }
            row = Value::Map(merged);
            continue;
        };
        let in_field = |error: EvalError| error.in_part(field.part.clone());
        let value = expr.eval(&frame).map_err(in_field)?.into_owned();
        if fields.counted {
            size.add("the row", &value).map_err(in_field)?;
        }
        let steps = write_steps(&field.target, &frame).map_err(in_field)?;
        registers[field.register] = value.clone();
        write_field(&mut row, &steps, value).map_err(in_field)?;
    }
    match row {
        Value::Map(row) => Ok(row),
        _ => unreachable!("the first step of a target is a key"),
    }
}

pub(super) fn write_steps<'a>(
    target: &'a [TargetStep],
    frame: &Frame<'a>,
) -> Result<Vec<WriteStep>, EvalError> {
    target
        .iter()
        .map(|step| {
            Ok(match step {
                TargetStep::Key(key) => WriteStep::Key(key.clone()),
                TargetStep::Start(place) => WriteStep::Start(*place),
                TargetStep::End(place) => WriteStep::End(*place),
                TargetStep::Lookup(lookups) => match first_value(lookups, frame)? {
                    Value::Int(number) if number < 0 => WriteStep::End(number.unsigned_abs()),
                    Value::Int(number) => WriteStep::Start(number.unsigned_abs()),
                    _ => WriteStep::Nowhere,
                },
            })
        })
        .collect()
}

/// A payload that is written into is decoded first.
pub(super) fn write_field(row: &mut Value, steps: &[WriteStep], value: Value) -> Result<(), EvalError> {
    const PAYLOAD: &str = "payload";
    if let (Value::Map(map), [WriteStep::Key(root), _, ..]) = (&mut *row, steps)
        && *root == PAYLOAD
        && let Some(payload) = map.get_mut(PAYLOAD)
        && let Value::Text(text) = payload
    {
        let decoded = decode_json(text.as_bytes());
        *payload = decoded.map_err(|error| EvalError::PayloadNotJson { reason: error.to_string() })?;
    }
    write(row, steps, value);
    Ok(())
}
