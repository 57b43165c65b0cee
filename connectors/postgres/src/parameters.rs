//! The parameters of an action: as written, and checked.

use connectors_api::{ConfigError, ConfigProblem, parse_config};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::statement::Statement;
use crate::table::Table;
use crate::value::TimeFromInt;

/// Parameters of an action of type `pgsql`: either `sql`, or `table` and `columns`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ActionFields {
    /// A statement with placeholders: `INSERT INTO readings (sensor, value) VALUES (${sensor}, ${value})`. Each
    /// placeholder becomes a bound parameter, a missing value NULL. `${delivery_id}` is the idempotence key of the row.
    pub(crate) sql: Option<String>,
    /// Table to insert into, `readings` or `plant.readings`.
    pub(crate) table: Option<String>,
    /// Columns and where their values come from: `{"sensor": "${sensor}"}`.
    #[serde(default)]
    #[schemars(with = "std::collections::BTreeMap<String, ColumnField>")]
    pub(crate) columns: IndexMap<String, ColumnField>,
    /// What to do with a row that is there already. `ignore` and `update` make a repeated row harmless.
    #[serde(default)]
    pub(crate) on_conflict: OnConflict,
    /// Columns that tell whether a row is there already; the key of a table that is created.
    #[serde(default)]
    pub(crate) key: Vec<String>,
    /// A column with a unique constraint that gets the idempotence key of the row: a row that is delivered again, even
    /// after a restart of this server, is not written twice.
    pub(crate) delivery_id_column: Option<String>,
    /// With `table`: `if_missing` or `true` creates the table. With `sql`: a `CREATE TABLE IF NOT EXISTS` statement that
    /// is run when the action starts.
    #[serde(default)]
    pub(crate) create_table: CreateTable,
    /// What a whole number means where the column holds a time.
    #[serde(default)]
    pub(crate) time_from_int: TimeFromInt,
    /// Accepted for compatibility: a missing value is always NULL.
    #[serde(default)]
    #[allow(dead_code, reason = "accepted and ignored")]
    #[schemars(skip)]
    undefined_vars_as_null: Option<bool>,
}

/// Where the value of a column comes from.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum ColumnField {
    /// A template: `${value}` keeps the type of the value, `room-${room}` is a text.
    Template(String),
    /// A template and the type of the column in a table that is created.
    Typed {
        /// The template.
        value: String,
        /// The type, `double precision`; `text` unless given.
        #[serde(rename = "type")]
        column_type: String,
    },
}

/// What to do with a row that is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnConflict {
    /// The row fails.
    #[default]
    Reject,
    /// The row counts as written; the table keeps what it has.
    Ignore,
    /// The columns of the row that is there are set anew. Needs `key`.
    Update,
}

/// Whether and how to create the table.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum CreateTable {
    /// `true`: create the table from `columns` if it is missing.
    Switch(bool),
    /// `if_missing`, or a statement.
    Text(String),
}

impl Default for CreateTable {
    fn default() -> Self {
        Self::Switch(false)
    }
}

/// Parameters that can work.
#[derive(Clone, Debug)]
pub(crate) struct ActionConfig {
    pub(crate) statement: Statement,
    /// Run once, when the channel is added.
    pub(crate) create_table: Option<String>,
    pub(crate) time_from_int: TimeFromInt,
}

impl ActionConfig {
    /// Reads and checks the parameters of an action.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub(crate) fn read(parameters: &Json) -> Result<Self, ConfigError> {
        let fields: ActionFields = parse_config(parameters)?;
        match (&fields.sql, &fields.table) {
            (Some(sql), None) => Self::of_statement(sql, &fields),
            (None, Some(table)) => Self::of_table(table, &fields),
            (Some(_), Some(_)) => Err(ConfigError::new("table", "either `sql` or `table`, not both")),
            (None, None) => Err(ConfigError::new("", "expected `sql`, or `table` with `columns`")),
        }
    }

    fn of_statement(sql: &str, fields: &ActionFields) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let of_table = [
            ("columns", !fields.columns.is_empty()),
            ("on_conflict", fields.on_conflict != OnConflict::Reject),
            ("key", !fields.key.is_empty()),
            ("delivery_id_column", fields.delivery_id_column.is_some()),
        ];
        for (path, _) in of_table.into_iter().filter(|(_, is_set)| *is_set) {
            problems
                .push(ConfigProblem::new(path, "goes with `table`; with `sql` write it in the statement"));
        }
        let statement =
            Statement::compile(sql).map_err(|message| problems.push(ConfigProblem::new("sql", message)));
        let create_table = match &fields.create_table {
            CreateTable::Switch(false) => None,
            CreateTable::Text(text) if is_create_table(text) => Some(text.trim().to_owned()),
            _ => {
                let message = "with `sql`, expected a statement `CREATE TABLE IF NOT EXISTS …`";
                problems.push(ConfigProblem::new("create_table", message));
                None
            }
        };
        match statement {
            Ok(statement) if problems.is_empty() => {
                Ok(Self { statement, create_table, time_from_int: fields.time_from_int })
            }
            _ => Err(ConfigError(problems)),
        }
    }

    fn of_table(name: &str, fields: &ActionFields) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let table = Table::read(name, fields, &mut problems);
        let create_table = match &fields.create_table {
            CreateTable::Switch(false) => None,
            CreateTable::Switch(true) => Some(table.create_statement()),
            CreateTable::Text(text) if text == "if_missing" => Some(table.create_statement()),
            CreateTable::Text(text) if is_create_table(text) => Some(text.trim().to_owned()),
            CreateTable::Text(text) => {
                let message = format!("expected `if_missing`, true or false, got `{text}`");
                problems.push(ConfigProblem::new("create_table", message));
                None
            }
        };
        ConfigError::unless_empty(problems)?;
        Ok(Self { statement: table.insert_statement(), create_table, time_from_int: fields.time_from_int })
    }
}

/// One statement that creates a table if it is missing.
fn is_create_table(text: &str) -> bool {
    let words: Vec<String> = text.split_whitespace().take(5).map(str::to_ascii_uppercase).collect();
    words == ["CREATE", "TABLE", "IF", "NOT", "EXISTS"]
        && Statement::compile(text).is_ok_and(|statement| statement.values().next().is_none())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(parameters: Json, want: &str) {
        match ActionConfig::read(&parameters) {
            Ok(config) => assert_eq!(config.statement.untyped(), want, "{parameters}"),
            Err(error) => panic!("{parameters}: {error}"),
        }
    }

    #[track_caller]
    fn refused(parameters: Json, want: &str) {
        let error = ActionConfig::read(&parameters).expect_err("must be refused").to_string();
        assert!(error.contains(want), "{parameters}: {error}");
    }

    #[test]
    fn a_table_becomes_an_insert() {
        let columns = json!({"id": "${id}", "where is \"it\"": "room-${room}"});
        check(
            json!({"table": "plant.readings", "columns": columns}),
            "INSERT INTO \"plant\".\"readings\" (\"id\", \"where is \"\"it\"\"\") VALUES ($1, $2)",
        );
        check(
            json!({"table": "t", "columns": {"id": "${id}"}, "on_conflict": "ignore"}),
            "INSERT INTO \"t\" (\"id\") VALUES ($1) ON CONFLICT DO NOTHING",
        );
        check(
            json!({"table": "t", "columns": {"id": "${id}", "v": "${v}"}, "on_conflict": "update", "key": ["id"]}),
            "INSERT INTO \"t\" (\"id\", \"v\") VALUES ($1, $2) ON CONFLICT (\"id\") DO UPDATE SET \"v\" = EXCLUDED.\"v\"",
        );
        check(
            json!({"table": "t", "columns": {"id": "${id}"}, "delivery_id_column": "d"}),
            "INSERT INTO \"t\" (\"id\", \"d\") VALUES ($1, $2) ON CONFLICT (\"d\") DO NOTHING",
        );
    }

    #[test]
    fn a_table_can_be_created() {
        let parameters = json!({
            "table": "t", "create_table": "if_missing", "key": ["id"], "on_conflict": "ignore", "delivery_id_column": "d",
            "columns": {"id": {"value": "${id}", "type": "bigint"}, "v": "${v}"},
        });
        assert_eq!(
            ActionConfig::read(&parameters).expect("right").create_table.as_deref(),
            Some(
                "CREATE TABLE IF NOT EXISTS \"t\" (\"id\" bigint, \"v\" text, \"d\" text UNIQUE, PRIMARY KEY (\"id\"))"
            )
        );
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_place() {
        refused(json!({}), "expected `sql`");
        refused(json!({"sql": "select 1", "table": "t"}), "table: either");
        refused(json!({"sql": "select ${a b}"}), "sql: line 1, column 8");
        refused(json!({"sql": "select 1", "key": ["a"]}), "key: goes with `table`");
        refused(json!({"sql": "select 1", "create_table": true}), "create_table: ");
        refused(json!({"sql": "select 1", "create_table": "drop table t"}), "create_table: ");
        refused(
            json!({"sql": "select 1", "create_table": "create table if not exists t (a int); drop table u"}),
            "create_table: ",
        );
        refused(json!({"table": "t"}), "columns: expected at least one");
        refused(json!({"table": "", "columns": {"a": "${a}"}}), "table: ");
        refused(json!({"table": "t_${x}", "columns": {"a": "${a}"}}), "table: ");
        refused(json!({"table": "a.b.c", "columns": {"a": "${a}"}}), "table: ");
        refused(json!({"table": "t", "columns": {"a": "${a}"}, "on_conflict": "update"}), "key: expected");
        refused(
            json!({"table": "t", "columns": {"a": "${a}"}, "key": ["b"]}),
            "key: `b` is not one of `columns`",
        );
        refused(
            json!({"table": "t", "columns": {"a": "${a}"}, "delivery_id_column": "a"}),
            "delivery_id_column: ",
        );
        refused(
            json!({"table": "t", "columns": {"a": {"value": "${a}", "type": "int; drop table t"}}}),
            "columns.a.type: ",
        );
        refused(json!({"sql": "select 1", "sqll": "x"}), "sqll");
        refused(json!({"table": "t", "columns": {"a": "${a}"}, "create_table": "always"}), "create_table: ");
    }
}
