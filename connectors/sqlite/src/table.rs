//! Table mode: the statement is made from a table name and a map of columns.

use connectors_api::{ConfigError, ConfigProblem};
use engine_event::Template;
use serde_json::{Map as JsonMap, Value as Json};

use crate::config::{Action, ActionFields, CreateTable, OnConflict, creating_statement};
use crate::sql_text::{Token, tokens};
use crate::statement::Statement;

/// Most columns of a table: SQLite's own limit.
const COLUMNS_LIMIT: usize = 2000;

/// Checks the fields of table mode and makes the statements.
pub(crate) fn read(table: &str, fields: &ActionFields) -> Result<Action, ConfigError> {
    let mut problems = Vec::new();
    check_name("table", table, &mut problems);
    let columns = read_columns(&fields.columns, &mut problems);
    for (index, key) in fields.keys.iter().enumerate() {
        if !columns.iter().any(|(name, _)| name == key) {
            let path = format!("keys.{index}");
            problems.push(ConfigProblem::new(path, format!("`{key}` is not among `columns`")));
        }
    }
    match (fields.on_conflict, fields.keys.is_empty()) {
        (OnConflict::Update, true) => {
            problems.push(ConfigProblem::new("keys", "`on_conflict: update` needs the columns of the key"));
        }
        (OnConflict::Error, false) => {
            problems.push(ConfigProblem::new("keys", "goes with `on_conflict: ignore` or `update`"));
        }
        _ => {}
    }
    let create_table = match &fields.create_table {
        CreateTable::Plain(false) => None,
        CreateTable::Plain(true) => Some(create_table(table, &columns, &JsonMap::new(), &fields.keys)),
        CreateTable::Statement(text) => creating_statement(text, &mut problems),
        CreateTable::Typed(types) => {
            check_types(types, &mut problems);
            Some(create_table(table, &columns, types, &fields.keys))
        }
    };
    ConfigError::unless_empty(problems)?;
    let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
    let head = format!("INSERT INTO {} ({}) VALUES ", quoted(table), quoted_list(&names));
    let tail = conflict_clause(fields.on_conflict, &fields.keys, &names);
    let values = columns.into_iter().map(|(_, value)| value).collect();
    Ok(Action { create_table, statement: Statement::from_parts(head, tail, values) })
}

fn check_name(path: &str, name: &str, problems: &mut Vec<ConfigProblem>) {
    let wrong = match name {
        "" => "expected a name, got nothing",
        name if name.contains("${") => "a name cannot hold a placeholder",
        name if name.contains('\0') => "a name cannot hold the character U+0000",
        name if path == "table" && name.to_ascii_lowercase().starts_with("sqlite_") => {
            "names that begin with `sqlite_` belong to SQLite"
        }
        _ => return,
    };
    problems.push(ConfigProblem::new(path, wrong));
}

fn read_columns(
    columns: &JsonMap<String, Json>,
    problems: &mut Vec<ConfigProblem>,
) -> Vec<(String, Template)> {
    if columns.is_empty() || columns.len() > COLUMNS_LIMIT {
        let message = format!("expected 1 to {COLUMNS_LIMIT} columns, got {}", columns.len());
        problems.push(ConfigProblem::new("columns", message));
    }
    let mut read = Vec::with_capacity(columns.len());
    for (name, value) in columns {
        let path = format!("columns.{name}");
        check_name(&path, name, problems);
        match value.as_str() {
            Some(template) => read.push((name.clone(), Template::new(template))),
            None => {
                problems.push(ConfigProblem::new(
                    path,
                    format!("expected a template such as `${{v}}`, got {value}"),
                ));
            }
        }
    }
    read
}

/// Types and constraints are part of the statement, so they cannot end it or open something that they do not close.
fn check_types(types: &JsonMap<String, Json>, problems: &mut Vec<ConfigProblem>) {
    for (name, definition) in types {
        let path = format!("create_table.{name}");
        check_name(&path, name, problems);
        let Some(text) = definition.as_str() else {
            let message = format!("expected a type such as `INTEGER NOT NULL`, got {definition}");
            problems.push(ConfigProblem::new(path, message));
            continue;
        };
        if let Err(message) = check_type(text) {
            problems.push(ConfigProblem::new(path, message));
        }
    }
}

fn check_type(text: &str) -> Result<(), String> {
    if text.contains("--") || text.contains("/*") {
        return Err("a type cannot hold a comment".to_owned());
    }
    let mut depth = 0_i32;
    for token in tokens(text)? {
        match token {
            Token::Value(_) => return Err("a type cannot hold a placeholder".to_owned()),
            Token::Other(sign) if sign == ";" => return Err("a type cannot hold `;`".to_owned()),
            Token::Other(sign) if sign == "," && depth == 0 => {
                return Err("a type cannot hold `,`".to_owned());
            }
            Token::Other(sign) if sign == "(" => depth += 1,
            Token::Other(sign) if sign == ")" => depth -= 1,
            _ => {}
        }
        if depth < 0 {
            break;
        }
    }
    if depth == 0 { Ok(()) } else { Err("the parentheses of the type do not match".to_owned()) }
}

fn create_table(
    table: &str,
    columns: &[(String, Template)],
    types: &JsonMap<String, Json>,
    keys: &[String],
) -> String {
    let of_columns = columns.iter().map(|(name, _)| name);
    let more = types.keys().filter(|name| !columns.iter().any(|(column, _)| column == *name));
    let mut parts: Vec<String> = of_columns
        .chain(more)
        .map(|name| match types.get(name).and_then(Json::as_str) {
            Some(definition) => format!("{} {definition}", quoted(name)),
            None => quoted(name),
        })
        .collect();
    if !keys.is_empty() {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        parts.push(format!("UNIQUE ({})", quoted_list(&keys)));
    }
    format!("CREATE TABLE IF NOT EXISTS {} ({})", quoted(table), parts.join(", "))
}

fn conflict_clause(on_conflict: OnConflict, keys: &[String], columns: &[&str]) -> String {
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let target = if keys.is_empty() { String::new() } else { format!(" ({})", quoted_list(&keys)) };
    let others: Vec<String> = columns
        .iter()
        .filter(|name| !keys.contains(name))
        .map(|name| format!("{0} = excluded.{0}", quoted(name)))
        .collect();
    match on_conflict {
        OnConflict::Error => String::new(),
        OnConflict::Update if !others.is_empty() => {
            format!(" ON CONFLICT{target} DO UPDATE SET {}", others.join(", "))
        }
        OnConflict::Ignore | OnConflict::Update => format!(" ON CONFLICT{target} DO NOTHING"),
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn quoted_list(names: &[&str]) -> String {
    names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::config::read_action;

    #[track_caller]
    fn check(parameters: Json, create: Option<&str>, insert: &str) {
        let action = read_action(&parameters).expect("parameters");
        assert_eq!(
            (action.create_table.as_deref(), action.statement.text(1).as_str()),
            (create, insert),
            "{parameters}"
        );
    }

    #[test]
    fn statements_are_made_from_names() {
        check(json!({"table": "t", "columns": {"a": "${x}"}}), None, r#"INSERT INTO "t" ("a") VALUES (?)"#);
        check(
            json!({"table": "a\"b; DROP", "columns": {"c d": "${x}", "e": "f"}, "create_table": true}),
            Some(r#"CREATE TABLE IF NOT EXISTS "a""b; DROP" ("c d", "e")"#),
            r#"INSERT INTO "a""b; DROP" ("c d", "e") VALUES (?, ?)"#,
        );
        check(
            json!({"table": "t", "columns": {"id": "${delivery_id}", "v": "${v}"}, "on_conflict": "ignore", "keys": ["id"],
                "create_table": {"id": "TEXT", "v": "REAL CHECK (v IN (1, 2))", "at": "INTEGER DEFAULT (unixepoch())"}}),
            Some(
                r#"CREATE TABLE IF NOT EXISTS "t" ("id" TEXT, "v" REAL CHECK (v IN (1, 2)), "at" INTEGER DEFAULT (unixepoch()), UNIQUE ("id"))"#,
            ),
            r#"INSERT INTO "t" ("id", "v") VALUES (?, ?) ON CONFLICT ("id") DO NOTHING"#,
        );
        check(
            json!({"table": "t", "columns": {"id": "${id}", "v": "${v}"}, "on_conflict": "update", "keys": ["id"]}),
            None,
            r#"INSERT INTO "t" ("id", "v") VALUES (?, ?) ON CONFLICT ("id") DO UPDATE SET "v" = excluded."v""#,
        );
        check(
            json!({"table": "t", "columns": {"id": "${id}"}, "on_conflict": "ignore"}),
            None,
            r#"INSERT INTO "t" ("id") VALUES (?) ON CONFLICT DO NOTHING"#,
        );
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_place() {
        for (parameters, want) in [
            (json!({"table": "", "columns": {"a": ""}}), "table: expected a name"),
            (json!({"table": "t${x}", "columns": {"a": ""}}), "table: a name cannot hold a placeholder"),
            (json!({"table": "SQLITE_x", "columns": {"a": ""}}), "table: names that begin with `sqlite_`"),
            (json!({"table": "t"}), "columns: expected 1 to 2000 columns, got 0"),
            (json!({"table": "t", "columns": {"a": 1}}), "columns.a: expected a template"),
            (
                json!({"table": "t", "columns": {"a": ""}, "keys": ["b"], "on_conflict": "ignore"}),
                "keys.0: `b` is not among",
            ),
            (
                json!({"table": "t", "columns": {"a": ""}, "on_conflict": "update"}),
                "keys: `on_conflict: update` needs",
            ),
            (json!({"table": "t", "columns": {"a": ""}, "keys": ["a"]}), "keys: goes with"),
            (
                json!({"table": "t", "columns": {"a": ""}, "on_conflict": "maybe"}),
                "on_conflict: unknown variant",
            ),
            (
                json!({"table": "t", "columns": {"a": ""}, "create_table": {"a": "TEXT); DROP TABLE t"}}),
                "create_table.a: ",
            ),
            (
                json!({"table": "t", "columns": {"a": ""}, "create_table": {"a": "TEXT, b"}}),
                "create_table.a: a type cannot hold `,`",
            ),
            (
                json!({"table": "t", "columns": {"a": ""}, "create_table": {"a": "TEXT DEFAULT 'x"}}),
                "create_table.a: a text does not end",
            ),
            (
                json!({"table": "t", "columns": {"a": ""}, "create_table": {"a": "CHECK (a"}}),
                "create_table.a: the parentheses",
            ),
            (
                json!({"table": "t", "columns": {"a": ""}, "create_table": {"a": "TEXT --"}}),
                "create_table.a: a type cannot hold a comment",
            ),
            (
                json!({"table": "t", "columns": {"a": ""}, "create_table": {"a": 5}}),
                "create_table.a: expected a type",
            ),
        ] {
            let error = read_action(&parameters).expect_err("refused").to_string();
            assert!(error.contains(want), "{parameters}: {error}");
        }
    }
}
