//! Parameters of a statement in the protocol's form: texts, and arrays of texts.

use connectors_api::Delivery;
use engine_event::Row;
use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgTypeInfo};
use sqlx::{Arguments as _, Postgres, Type};

use crate::plan::{Parameter, Plan};
use crate::value::write_parameter;

/// Identifier of the type `text`, the same on every server.
const TEXT_OID: u32 = 25;

/// One text, or NULL.
struct TextParameter(Option<Vec<u8>>);

impl Type<Postgres> for TextParameter {
    fn type_info() -> PgTypeInfo {
        <str as Type<Postgres>>::type_info()
    }
}

impl Encode<'_, Postgres> for TextParameter {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let Some(text) = &self.0 else { return Ok(IsNull::Yes) };
        buffer.extend_from_slice(text);
        Ok(IsNull::No)
    }
}

/// An array of texts, one for each row, in its binary form.
struct TextArray(Vec<u8>);

impl TextArray {
    /// An array of `rows` elements that `write` appends; it says `false` for NULL.
    fn build(rows: usize, mut write: impl FnMut(usize, &mut Vec<u8>) -> bool) -> Result<Self, BoxDynError> {
        let mut out = Vec::with_capacity(20 + rows * 16);
        out.extend_from_slice(&1_i32.to_be_bytes()); // dimensions
        out.extend_from_slice(&1_i32.to_be_bytes()); // may hold NULLs
        out.extend_from_slice(&TEXT_OID.to_be_bytes());
        out.extend_from_slice(&i32::try_from(rows)?.to_be_bytes());
        out.extend_from_slice(&1_i32.to_be_bytes()); // index of the first element
        for row in 0..rows {
            let at = out.len();
            out.extend_from_slice(&(-1_i32).to_be_bytes());
            if write(row, &mut out) {
                let length = i32::try_from(out.len() - at - 4)?;
                out[at..at + 4].copy_from_slice(&length.to_be_bytes());
            }
        }
        Ok(Self(out))
    }
}

impl Type<Postgres> for TextArray {
    fn type_info() -> PgTypeInfo {
        <[&str] as Type<Postgres>>::type_info()
    }
}

impl Encode<'_, Postgres> for TextArray {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }
}

/// Parameters of the statement for one row.
pub(crate) fn for_one_row(plan: &Plan, delivery: &Delivery) -> Result<PgArguments, BoxDynError> {
    let row = row_of(plan, delivery);
    let mut arguments = PgArguments::default();
    for parameter in &plan.parameters {
        let mut text = Vec::new();
        let there = write_value(plan, parameter, &row, &mut text);
        arguments.add(TextParameter(there.then_some(text)))?;
    }
    Ok(arguments)
}

/// Parameters of the statement for many rows: an array for each parameter.
pub(crate) fn for_many_rows(plan: &Plan, deliveries: &[&Delivery]) -> Result<PgArguments, BoxDynError> {
    let rows: Vec<Row> = deliveries.iter().map(|delivery| row_of(plan, delivery)).collect();
    let mut arguments = PgArguments::default();
    for parameter in &plan.parameters {
        arguments
            .add(TextArray::build(rows.len(), |row, out| write_value(plan, parameter, &rows[row], out))?)?;
    }
    Ok(arguments)
}

/// The values of a row, as a preview shows them.
pub(crate) fn preview(plan: &Plan, row: &Row) -> Vec<Option<String>> {
    let text_of = |parameter: &Parameter| {
        let mut text = Vec::new();
        write_value(plan, parameter, row, &mut text).then(|| String::from_utf8_lossy(&text).into_owned())
    };
    plan.parameters.iter().map(text_of).collect()
}

fn row_of(plan: &Plan, delivery: &Delivery) -> Row {
    if plan.needs_delivery_id { delivery.row_with_id() } else { delivery.row.clone() }
}

fn write_value(plan: &Plan, parameter: &Parameter, row: &Row, out: &mut Vec<u8>) -> bool {
    write_parameter(&parameter.template.value(row), &parameter.kind, plan.time_from_int, out)
}
