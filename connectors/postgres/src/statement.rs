//! A statement whose values are bound, in its form for one row and in its form for many.

use std::fmt::Write as _;

use connectors_api::names_delivery_id;
use engine_event::Template;

use crate::scan::{Part, scan};

/// A compiled statement.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    parts: Vec<Part>,
    takes_batches: bool,
    needs_delivery_id: bool,
}

impl Statement {
    /// Compiles an SQL template.
    ///
    /// # Errors
    /// What was found where, and what was expected.
    pub(crate) fn compile(sql: &str) -> Result<Self, String> {
        let (mut parts, words) = scan(sql.trim())?;
        if words.first.is_empty() {
            return Err("expected an SQL statement".to_owned());
        }
        trim_end(&mut parts);
        let takes_batches = words.first == "INSERT" && !words.has_query && !words.has_more_tuples;
        Ok(Self::from_parts(parts, takes_batches))
    }

    /// Puts a statement together from its parts. It takes batches when all its values stand in one tuple of VALUES.
    pub(crate) fn from_parts(parts: Vec<Part>, takes_batches: bool) -> Self {
        let takes_batches = takes_batches && values_are_in_the_tuple(&parts);
        let needs_delivery_id = values(&parts).any(names_delivery_id);
        Self { parts, takes_batches, needs_delivery_id }
    }

    /// The values, in the order of their parameters.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Template> {
        values(&self.parts)
    }

    /// Tells whether a value has the placeholder `${delivery_id}`.
    pub(crate) fn needs_delivery_id(&self) -> bool {
        self.needs_delivery_id
    }

    /// The text for one row, with parameters of their natural types: what the server is asked for those types.
    pub(crate) fn untyped(&self) -> String {
        self.write(|number, out| write!(out, "${number}"), "VALUES (", ")")
    }

    /// The text for one row. All parameters are texts, cast to `casts`; `None` stays a text.
    pub(crate) fn for_one_row(&self, casts: &[Option<String>]) -> String {
        self.write(
            |number, out| match casts.get(number - 1) {
                Some(Some(cast)) => write!(out, "(${number}::text::{cast})"),
                _ => write!(out, "(${number}::text)"),
            },
            "VALUES (",
            ")",
        )
    }

    /// The text for any number of rows: each parameter is an array of texts, one for each row. `None` when the
    /// statement does not take batches.
    pub(crate) fn for_many_rows(&self, casts: &[Option<String>]) -> Option<String> {
        if !self.takes_batches {
            return None;
        }
        let numbers = 1..=casts.len();
        let arrays: Vec<String> = numbers.clone().map(|number| format!("${number}::text[]")).collect();
        let columns: Vec<String> = numbers.map(|number| format!("v{number}")).collect();
        let rows = format!(" FROM unnest({}) AS sluice_batch({})", arrays.join(", "), columns.join(", "));
        Some(self.write(
            |number, out| match casts.get(number - 1) {
                Some(Some(cast)) => write!(out, "(sluice_batch.v{number}::{cast})"),
                _ => write!(out, "sluice_batch.v{number}"),
            },
            "SELECT ",
            &rows,
        ))
    }

    fn write(
        &self,
        write_value: impl Fn(usize, &mut String) -> std::fmt::Result,
        tuple_start: &str,
        tuple_end: &str,
    ) -> String {
        let mut out = String::new();
        let mut number = 0;
        for part in &self.parts {
            match part {
                Part::Sql(text) => out.push_str(text),
                Part::Values => out.push_str(tuple_start),
                Part::ValuesEnd => out.push_str(tuple_end),
                Part::Value(_) => {
                    number += 1;
                    write_value(number, &mut out).expect("writing to a string does not fail");
                }
            }
        }
        out
    }
}

fn values(parts: &[Part]) -> impl Iterator<Item = &Template> {
    parts.iter().filter_map(|part| match part {
        Part::Value(template) => Some(template),
        _ => None,
    })
}

/// There is a tuple, it has a value, and no value stands outside.
fn values_are_in_the_tuple(parts: &[Part]) -> bool {
    let start = parts.iter().position(|part| *part == Part::Values);
    let end = parts.iter().position(|part| *part == Part::ValuesEnd);
    let (Some(start), Some(end)) = (start, end) else { return false };
    values(&parts[start..end]).next().is_some()
        && values(&parts[..start]).next().is_none()
        && values(&parts[end..]).next().is_none()
}

fn trim_end(parts: &mut [Part]) {
    if let Some(Part::Sql(text)) = parts.last_mut() {
        text.truncate(text.trim_end().len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn casts() -> Vec<Option<String>> {
        vec![None, Some("integer".to_owned())]
    }

    #[test]
    fn an_insert_has_a_form_for_many_rows() {
        let sql =
            "INSERT INTO t (a, b) VALUES (${a}, ${b} + 1) ON CONFLICT (a) DO UPDATE SET b = excluded.b;";
        let statement = Statement::compile(sql).expect("right");
        assert_eq!(
            statement.untyped(),
            "INSERT INTO t (a, b) VALUES ($1, $2 + 1) ON CONFLICT (a) DO UPDATE SET b = excluded.b"
        );
        assert_eq!(
            statement.for_one_row(&casts()),
            "INSERT INTO t (a, b) VALUES (($1::text), ($2::text::integer) + 1) ON CONFLICT (a) DO UPDATE SET b = excluded.b"
        );
        assert_eq!(
            statement.for_many_rows(&casts()).as_deref(),
            Some(
                "INSERT INTO t (a, b) SELECT sluice_batch.v1, (sluice_batch.v2::integer) + 1 FROM \
                 unnest($1::text[], $2::text[]) AS sluice_batch(v1, v2) ON CONFLICT (a) DO UPDATE SET b = excluded.b"
            )
        );
    }

    #[test]
    fn other_statements_have_none() {
        for sql in [
            "UPDATE t SET a = ${a} WHERE b = ${b}",
            "INSERT INTO t VALUES (${a}), (${b})",
            "INSERT INTO t VALUES (1, 2)",
            "INSERT INTO t SELECT ${a}, ${b}",
            "INSERT INTO t VALUES (${a}) ON CONFLICT (a) DO UPDATE SET b = ${b}",
            "INSERT INTO t VALUES (${a}, ${b}) RETURNING a",
            "WITH x AS (SELECT 1) INSERT INTO t VALUES (${a}, ${b})",
            "SELECT f(${a}, ${b})",
        ] {
            let statement = Statement::compile(sql).expect(sql);
            assert_eq!(statement.for_many_rows(&casts()), None, "{sql}");
        }
    }

    #[test]
    fn nothing_is_no_statement() {
        for sql in ["", "  ", ";", "-- x"] {
            assert!(Statement::compile(sql).is_err(), "{sql}");
        }
    }

    #[test]
    fn the_delivery_id_is_noticed() {
        assert!(
            Statement::compile("insert into t values (${delivery_id})").expect("right").needs_delivery_id()
        );
        assert!(!Statement::compile("insert into t values (${id})").expect("right").needs_delivery_id());
    }
}
