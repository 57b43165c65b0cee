//! What the server says of a statement: the types of its parameters, and whether both its forms work.

use engine_event::Template;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Either, Executor as _, Row as _, SqlSafeStr as _, SqlStr, Statement as _};

use crate::parameters::ActionConfig;
use crate::session::Session;
use crate::statement::Statement;
use crate::value::{Kind, TimeFromInt};

/// A parameter of a statement: where its value comes from and what form it takes.
#[derive(Clone, Debug)]
pub(crate) struct Parameter {
    pub(crate) template: Template,
    pub(crate) kind: Kind,
}

/// A statement that the server has seen.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) for_one_row: SqlStr,
    /// `None` when the statement runs once for each row.
    pub(crate) for_many_rows: Option<SqlStr>,
    pub(crate) needs_delivery_id: bool,
    pub(crate) time_from_int: TimeFromInt,
}

/// Types of parameters: domains are followed to the type below them. `format_type` gets -1, since with NULL it says
/// `character` for `bpchar`, and a cast to that keeps one character.
const TYPES: &str = "
WITH RECURSIVE type_of AS (
    SELECT t.oid AS asked, t.oid, t.typname, t.typtype, t.typbasetype, t.typcategory, t.typelem
    FROM pg_catalog.pg_type t WHERE t.oid = ANY ($1::text[]::oid[])
  UNION ALL
    SELECT d.asked, t.oid, t.typname, t.typtype, t.typbasetype, t.typcategory, t.typelem
    FROM type_of d JOIN pg_catalog.pg_type t ON t.oid = d.typbasetype WHERE d.typtype = 'd'
)
SELECT d.asked::text, pg_catalog.format_type(d.asked, -1), d.typname::text, e.typname::text
FROM type_of d LEFT JOIN pg_catalog.pg_type e ON d.typcategory = 'A' AND e.oid = d.typelem
WHERE d.typtype <> 'd'";

/// A type of a parameter, as the server describes it.
#[derive(Clone)]
struct ServerType {
    asked: String,
    cast: String,
    name: String,
    element: Option<String>,
}

impl Plan {
    /// Prepares the statement: asks for the types of its parameters, then tries both forms.
    ///
    /// # Errors
    /// What the server says.
    pub(crate) async fn prepare(session: &mut Session, config: &ActionConfig) -> Result<Self, sqlx::Error> {
        let statement = &config.statement;
        let types = parameter_types(session, statement).await?;
        let casts: Vec<Option<String>> = types.iter().map(cast_of).collect();
        let for_one_row = safe(statement.for_one_row(&casts));
        session.connection().prepare(for_one_row.clone()).await?;
        let for_many_rows = match statement.for_many_rows(&casts).map(safe) {
            // a form that the server does not take, say for DEFAULT among the values: one by one then
            Some(sql) => match session.connection().prepare(sql.clone()).await {
                Ok(_) => Some(sql),
                Err(sqlx::Error::Database(error)) => {
                    tracing::debug!(%error, "the statement takes no batches");
                    None
                }
                Err(error) => return Err(error),
            },
            None => None,
        };
        let parameters = statement.values().zip(types).map(|(template, of)| Parameter {
            template: template.clone(),
            kind: of.map_or(Kind::Text, |of| Kind::of(&of.name, of.element.as_deref())),
        });
        Ok(Self {
            parameters: parameters.collect(),
            for_one_row,
            for_many_rows,
            needs_delivery_id: statement.needs_delivery_id(),
            time_from_int: config.time_from_int,
        })
    }
}

/// The types of the parameters in their order; `None` for one that the server does not describe.
async fn parameter_types(
    session: &mut Session,
    statement: &Statement,
) -> Result<Vec<Option<ServerType>>, sqlx::Error> {
    let prepared = session.connection().prepare(safe(statement.untyped())).await?;
    let Some(Either::Left(parameters)) = prepared.parameters() else { return Ok(Vec::new()) };
    let asked: Vec<String> = parameters
        .iter()
        .map(|parameter| parameter.oid().map_or_else(String::new, |oid| oid.0.to_string()))
        .collect();
    let mut known: Vec<String> = asked.iter().filter(|oid| !oid.is_empty()).cloned().collect();
    known.sort_unstable();
    known.dedup();
    let rows = sqlx::query(TYPES).bind(known).persistent(false).fetch_all(session.connection()).await?;
    let types: Vec<ServerType> = rows.iter().map(read_type).collect::<Result<_, _>>()?;
    Ok(asked.iter().map(|oid| types.iter().find(|of| of.asked == *oid).cloned()).collect())
}

fn read_type(row: &PgRow) -> Result<ServerType, sqlx::Error> {
    Ok(ServerType {
        asked: row.try_get(0)?,
        cast: row.try_get(1)?,
        name: row.try_get(2)?,
        element: row.try_get(3)?,
    })
}

/// The type to cast a text to. The types of texts need none: a column's own length is checked on assignment.
fn cast_of(of: &Option<ServerType>) -> Option<String> {
    let of = of.as_ref()?;
    let is_text = of.element.is_none()
        && matches!(of.name.as_str(), "text" | "varchar" | "bpchar" | "name" | "unknown");
    (!is_text).then(|| of.cast.clone())
}

/// Marks a compiled statement as safe: its values are parameters, its names were checked, its text is the user's own.
#[allow(clippy::disallowed_methods, reason = "the one place where compiled statements become SQL")]
pub(crate) fn safe(sql: String) -> SqlStr {
    AssertSqlSafe(sql).into_sql_str()
}
