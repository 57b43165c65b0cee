//! The options of connector and action: as written, and checked.

use connectors_api::{ConfigError, ConfigProblem, Period, parse_config};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map as JsonMap, Value as Json};
use sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};

use crate::sql_text::{Token, tokens};
use crate::statement::Statement;
use crate::table;

/// Options of a connector of type `sqlite`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConnectorFields {
    /// Path of the file, made when it is missing. A relative path is inside the server's data directory.
    path: String,
    /// Longest wait for a lock that another program holds on the file.
    #[serde(default = "busy_timeout_default")]
    busy_timeout: Period,
    /// How changes are journalled.
    #[serde(default)]
    journal_mode: JournalMode,
    /// When a commit counts: `full` survives a power failure; `normal` survives a crash of the server, not of the
    /// machine, and is faster.
    #[serde(default)]
    synchronous: Synchronous,
    /// Accepted for the likeness to other SQL connectors; without effect, because SQLite has one writer.
    #[serde(default)]
    #[allow(dead_code, reason = "accepted and ignored")]
    #[schemars(skip)]
    pool_size: Option<u32>,
}

/// How changes are journalled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum JournalMode {
    /// Write-ahead log: readers and the writer do not wait for each other.
    #[default]
    Wal,
    /// Rollback journal, deleted at each commit.
    Delete,
    /// Rollback journal, cut to nothing at each commit.
    Truncate,
    /// Rollback journal, overwritten.
    Persist,
}

/// When a commit counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Synchronous {
    /// When it is on disk.
    #[default]
    Full,
    /// When the operating system has it.
    Normal,
}

fn busy_timeout_default() -> Period {
    Period::seconds(5)
}

/// Checked options of a connector.
#[derive(Debug)]
pub(crate) struct ConnectorConfig {
    pub(crate) path: String,
    pub(crate) busy_timeout: Period,
    pub(crate) journal_mode: SqliteJournalMode,
    pub(crate) synchronous: SqliteSynchronous,
}

impl ConnectorConfig {
    /// Reads and checks the options; reports every problem.
    pub(crate) fn read(config: &Json) -> Result<Self, ConfigError> {
        let fields: ConnectorFields = parse_config(config)?;
        let mut problems = Vec::new();
        let path = fields.path.trim();
        if path.is_empty() || path == ":memory:" || path.contains("${") || path.contains('\0') {
            problems.push(ConfigProblem::new(
                "path",
                format!("expected the path of a file, got `{}`", path.escape_default()),
            ));
        }
        if fields.busy_timeout.duration().as_secs() > 3600 {
            problems.push(ConfigProblem::new("busy_timeout", "expected a duration of at most `1h`"));
        }
        ConfigError::unless_empty(problems)?;
        Ok(Self {
            path: path.to_owned(),
            busy_timeout: fields.busy_timeout,
            journal_mode: match fields.journal_mode {
                JournalMode::Wal => SqliteJournalMode::Wal,
                JournalMode::Delete => SqliteJournalMode::Delete,
                JournalMode::Truncate => SqliteJournalMode::Truncate,
                JournalMode::Persist => SqliteJournalMode::Persist,
            },
            synchronous: match fields.synchronous {
                Synchronous::Full => SqliteSynchronous::Full,
                Synchronous::Normal => SqliteSynchronous::Normal,
            },
        })
    }
}

/// Options of an action of type `sqlite`: either `sql`, or `table` and `columns`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ActionFields {
    /// An INSERT, REPLACE, UPDATE or DELETE statement. Each `${placeholder}` is bound as a value; the statement's text
    /// never changes: `INSERT INTO t (at, v) VALUES (${timestamp}, ${v})`.
    pub(crate) sql: Option<String>,
    /// Table to insert into, in place of `sql`.
    pub(crate) table: Option<String>,
    /// Column names and templates of their values: `{"at": "${timestamp}", "id": "${delivery_id}"}`.
    #[serde(default)]
    #[schemars(with = "std::collections::BTreeMap<String, String>")]
    pub(crate) columns: JsonMap<String, Json>,
    /// What to do when a row of that key is there.
    #[serde(default)]
    pub(crate) on_conflict: OnConflict,
    /// Columns that make the key of `on_conflict`; they need a unique index or a primary key.
    #[serde(default)]
    pub(crate) keys: Vec<String>,
    /// Makes the table when it is missing.
    #[serde(default)]
    pub(crate) create_table: CreateTable,
}

/// What to do when a row of that key is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnConflict {
    /// Reject the new row.
    #[default]
    Error,
    /// Keep the old row; the new one counts as delivered. On `${delivery_id}` this makes retries idempotent.
    Ignore,
    /// Overwrite the other columns of the old row.
    Update,
}

/// Whether the table is made.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum CreateTable {
    /// `true`: columns without a type, which hold every value as it is.
    Plain(bool),
    /// A whole `CREATE TABLE IF NOT EXISTS …` statement; also goes with `sql`.
    Statement(String),
    /// Type and constraints of columns: `{"at": "INTEGER NOT NULL", "v": "REAL"}`.
    Typed(#[schemars(with = "std::collections::BTreeMap<String, String>")] JsonMap<String, Json>),
}

impl Default for CreateTable {
    fn default() -> Self {
        Self::Plain(false)
    }
}

/// A checked action.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Action {
    /// Makes the table.
    pub(crate) create_table: Option<String>,
    /// Writes rows.
    pub(crate) statement: Statement,
}

/// Reads and checks the options of an action; reports every problem.
pub(crate) fn read_action(parameters: &Json) -> Result<Action, ConfigError> {
    let fields: ActionFields = parse_config(parameters)?;
    match (&fields.sql, &fields.table) {
        (Some(_), Some(_)) => Err(ConfigError::new("table", "`sql` and `table` exclude each other")),
        (None, None) => Err(ConfigError::new("sql", "expected either `sql` or `table`, got neither")),
        (None, Some(name)) => table::read(name, &fields),
        (Some(sql), None) => {
            let mut problems = Vec::new();
            let table_only = [
                ("columns", !fields.columns.is_empty()),
                ("on_conflict", fields.on_conflict != OnConflict::Error),
                ("keys", !fields.keys.is_empty()),
                (
                    "create_table",
                    matches!(fields.create_table, CreateTable::Plain(true) | CreateTable::Typed(_)),
                ),
            ];
            for (name, _) in table_only.into_iter().filter(|(_, given)| *given) {
                problems.push(ConfigProblem::new(name, "goes with `table`, not with `sql`"));
            }
            let statement = Statement::from_sql(sql);
            if let Err(message) = &statement {
                problems.push(ConfigProblem::new("sql", message));
            }
            let create_table = match &fields.create_table {
                CreateTable::Statement(text) => creating_statement(text, &mut problems),
                CreateTable::Plain(_) | CreateTable::Typed(_) => None,
            };
            ConfigError::unless_empty(problems)?;
            let statement = statement.map_err(|message| ConfigError::new("sql", message))?;
            Ok(Action { create_table, statement })
        }
    }
}

/// Checks a statement that makes a table. It runs each time the action is installed, so it must bear a table that is
/// there already.
pub(crate) fn creating_statement(text: &str, problems: &mut Vec<ConfigProblem>) -> Option<String> {
    const BEGINNING: [&str; 5] = ["CREATE", "TABLE", "IF", "NOT", "EXISTS"];
    let mut words = text.split_whitespace();
    let sound =
        BEGINNING.iter().all(|word| words.next().is_some_and(|found| found.eq_ignore_ascii_case(word)));
    if !sound {
        let found: String = text.trim().chars().take(40).collect();
        problems.push(ConfigProblem::new(
            "create_table",
            format!("expected `true`, a table of column types, or a statement `CREATE TABLE IF NOT EXISTS …`, got `{found}`"),
        ));
        return None;
    }
    if let Err(message) = one_statement(text) {
        problems.push(ConfigProblem::new("create_table", message));
        return None;
    }
    Some(text.to_owned())
}

/// SQLite would run whatever follows a semicolon, each time the action is installed.
fn one_statement(text: &str) -> Result<(), String> {
    let mut ended = false;
    for token in tokens(text)? {
        match token {
            Token::Space(_) => {}
            Token::Value(_) => return Err("the statement cannot hold a placeholder".to_owned()),
            Token::Other(sign) if sign == ";" => ended = true,
            _ if ended => return Err("expected one statement, got several".to_owned()),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(result: Result<(), ConfigError>, config: &Json, want: &str) {
        let found = result.err().map_or(String::new(), |error| error.to_string());
        assert!(if want.is_empty() { found.is_empty() } else { found.contains(want) }, "{config}: `{found}`");
    }

    #[test]
    fn a_connector_that_cannot_work_is_refused_with_the_place() {
        for (config, want) in [
            (json!({"path": "t.db"}), ""),
            (
                json!({"path": "/a/t.db", "journal_mode": "delete", "synchronous": "normal", "busy_timeout": "1s", "pool_size": 8}),
                "",
            ),
            (json!({}), "missing field `path`"),
            (json!({"path": ""}), "path: expected the path of a file"),
            (json!({"path": ":memory:"}), "path: expected the path of a file"),
            (json!({"path": "t.db", "journal_mode": "off"}), "journal_mode: unknown variant `off`"),
            (json!({"path": "t.db", "synchronous": "sometimes"}), "synchronous: unknown variant"),
            (json!({"path": "t.db", "busy_timeout": "9 s"}), "busy_timeout: expected a duration"),
            (json!({"path": "t.db", "busy_timeout": "2h"}), "busy_timeout: expected a duration of at most"),
            (json!({"path": "t.db", "file": 1}), "unknown field `file`"),
        ] {
            check(ConnectorConfig::read(&config).map(drop), &config, want);
        }
    }

    #[test]
    fn an_action_that_cannot_work_is_refused_with_the_place() {
        for (config, want) in [
            (json!({"sql": "INSERT INTO t VALUES (${a})"}), ""),
            (json!({"table": "t", "columns": {"a": "${a}"}}), ""),
            (json!({}), "sql: expected either `sql` or `table`, got neither"),
            (json!({"sql": "DELETE FROM t", "table": "t"}), "table: `sql` and `table` exclude each other"),
            (json!({"sql": "SELECT 1"}), "sql: "),
            (
                json!({"sql": "DELETE FROM t", "keys": ["a"], "columns": {"a": ""}}),
                "columns: goes with `table`, not with `sql`; keys: goes with",
            ),
            (json!({"table": "t", "colums": {}}), "unknown field `colums`"),
            (
                json!({"sql": "DELETE FROM t", "create_table": "CREATE TABLE IF NOT EXISTS t (a TEXT DEFAULT 'x;y');"}),
                "",
            ),
            (
                json!({"sql": "DELETE FROM t", "create_table": "CREATE TABLE IF NOT EXISTS t (a); DROP TABLE u"}),
                "create_table: expected one statement",
            ),
            (
                json!({"sql": "DELETE FROM t", "create_table": "CREATE TABLE IF NOT EXISTS t (a DEFAULT ${x})"}),
                "create_table: ",
            ),
        ] {
            check(read_action(&config).map(drop), &config, want);
        }
    }
}
