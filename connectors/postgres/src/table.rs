//! Table mode: columns and templates instead of a statement.

use connectors_api::{ConfigProblem, DELIVERY_ID};
use engine_event::Template;

use crate::parameters::{ActionFields, ColumnField, OnConflict};
use crate::scan::Part;
use crate::statement::Statement;

/// PostgreSQL cuts longer names.
const NAME_BYTES_MAX: usize = 63;

/// A table and how rows go into it. Names are quoted already.
pub(crate) struct Table {
    name: String,
    columns: Vec<Column>,
    key: Vec<String>,
    on_conflict: OnConflict,
    delivery_id_column: Option<String>,
}

struct Column {
    name: String,
    value: Template,
    column_type: String,
}

impl Table {
    /// Reads table mode's fields; what is wrong goes to `problems`.
    pub(crate) fn read(name: &str, fields: &ActionFields, problems: &mut Vec<ConfigProblem>) -> Self {
        let mut report = |path: &str, message: String| problems.push(ConfigProblem::new(path, message));
        let quoted_name: Vec<String> = name.split('.').filter_map(|part| quote_name(part).ok()).collect();
        if quoted_name.len() != name.split('.').count() || quoted_name.len() > 2 {
            report("table", format!("expected `table` or `schema.table`, got `{name}`"));
        }
        if fields.columns.is_empty() {
            report("columns", "expected at least one column, such as {\"value\": \"${value}\"}".to_owned());
        }
        let mut columns = Vec::new();
        for (column, field) in &fields.columns {
            let (value, column_type) = match field {
                ColumnField::Template(value) => (value, "text"),
                ColumnField::Typed { value, column_type } => (value, column_type.as_str()),
            };
            if !is_type(column_type) {
                report(
                    &format!("columns.{column}.type"),
                    format!("expected a type such as `double precision`, got `{column_type}`"),
                );
            }
            match quote_name(column) {
                Ok(name) => columns.push(Column {
                    name,
                    value: Template::new(value),
                    column_type: column_type.to_owned(),
                }),
                Err(message) => report(&format!("columns.{column}"), message),
            }
        }
        for column in fields.key.iter().filter(|column| !fields.columns.contains_key(*column)) {
            report("key", format!("`{column}` is not one of `columns`"));
        }
        if fields.on_conflict == OnConflict::Update && fields.key.is_empty() {
            report(
                "key",
                "expected the columns that tell rows apart: `on_conflict = \"update\"` needs them".to_owned(),
            );
        }
        if let Some(column) = &fields.delivery_id_column {
            if fields.on_conflict == OnConflict::Update {
                let message =
                    "not with `on_conflict = \"update\"`, which makes a repeated row harmless by itself";
                report("delivery_id_column", message.to_owned());
            }
            if fields.columns.contains_key(column) {
                report("delivery_id_column", format!("`{column}` is one of `columns` already"));
            }
        }
        let quote = |name: &String| quote_name(name).unwrap_or_default();
        Self {
            name: quoted_name.join("."),
            columns,
            key: fields.key.iter().map(quote).collect(),
            on_conflict: fields.on_conflict,
            delivery_id_column: fields.delivery_id_column.as_ref().map(quote),
        }
    }

    /// `INSERT INTO … (…) VALUES (…) …`.
    pub(crate) fn insert_statement(&self) -> Statement {
        let mut names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        let mut values: Vec<Template> = self.columns.iter().map(|column| column.value.clone()).collect();
        if let Some(column) = &self.delivery_id_column {
            names.push(column);
            values.push(Template::new(&["${", DELIVERY_ID, "}"].concat()));
        }
        let mut parts = vec![
            Part::Sql(["INSERT INTO ", &self.name, " (", &names.join(", "), ") "].concat()),
            Part::Values,
        ];
        for (index, value) in values.into_iter().enumerate() {
            if index > 0 {
                parts.push(Part::Sql(", ".to_owned()));
            }
            parts.push(Part::Value(value));
        }
        parts.push(Part::ValuesEnd);
        parts.extend(self.conflict_clause().map(Part::Sql));
        Statement::from_parts(parts, true)
    }

    fn conflict_clause(&self) -> Option<String> {
        let key = self.key.join(", ");
        match (self.on_conflict, &self.delivery_id_column) {
            (OnConflict::Reject, None) => None,
            (OnConflict::Reject, Some(column)) => Some([" ON CONFLICT (", column, ") DO NOTHING"].concat()),
            // without a target it also covers the column of the delivery id
            (OnConflict::Ignore, Some(_)) => Some(" ON CONFLICT DO NOTHING".to_owned()),
            (OnConflict::Ignore, None) if self.key.is_empty() => Some(" ON CONFLICT DO NOTHING".to_owned()),
            (OnConflict::Ignore, None) => Some([" ON CONFLICT (", &key, ") DO NOTHING"].concat()),
            (OnConflict::Update, _) => {
                let set: Vec<String> = self
                    .columns
                    .iter()
                    .filter(|column| !self.key.contains(&column.name))
                    .map(|column| [&column.name, " = EXCLUDED.", &column.name].concat())
                    .collect();
                Some(match set.is_empty() {
                    true => [" ON CONFLICT (", &key, ") DO NOTHING"].concat(),
                    false => [" ON CONFLICT (", &key, ") DO UPDATE SET ", &set.join(", ")].concat(),
                })
            }
        }
    }

    /// `CREATE TABLE IF NOT EXISTS …`.
    pub(crate) fn create_statement(&self) -> String {
        let mut items: Vec<String> = self
            .columns
            .iter()
            .map(|column| [&column.name, " ", column.column_type.as_str()].concat())
            .collect();
        if let Some(column) = &self.delivery_id_column {
            items.push([column, " text UNIQUE"].concat());
        }
        if !self.key.is_empty() {
            items.push(["PRIMARY KEY (", &self.key.join(", "), ")"].concat());
        }
        ["CREATE TABLE IF NOT EXISTS ", &self.name, " (", &items.join(", "), ")"].concat()
    }
}

/// A name in double quotes.
fn quote_name(name: &str) -> Result<String, String> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains('\0') || name.contains("${") {
        return Err(format!(
            "expected a name of 1 to {NAME_BYTES_MAX} bytes without placeholders, got `{name}`"
        ));
    }
    Ok(["\"", &name.replace('"', "\"\""), "\""].concat())
}

/// Letters, digits, `( ) , [ ] _ .` and blanks: no more is needed to name a type, its default or its constraints.
fn is_type(text: &str) -> bool {
    !text.trim().is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" _(),[].".contains(&byte))
        && text.matches('(').count() == text.matches(')').count()
}
