//! Writing a batch in one transaction, and finding the rows at fault when it fails.

use std::ops::Range;

use connectors_api::{Outcome, Reason};
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection as _, Executor as _, Sqlite, Transaction};

use crate::bind::{Bound, arguments};
use crate::classify::{Verdict, classify, reason};
use crate::database::{Lease, checked, compile};
use crate::statement::Statement;

/// Rows that one statement inserts at most. Measured: more gain nothing, and preparing takes longer.
const ROWS_PER_STATEMENT: usize = 128;

/// Takes the write lock at once: a transaction that starts by reading could fail later, when another has written.
const BEGIN: &str = "BEGIN IMMEDIATE";

/// Writes rows and tells what became of each. A row is `Ok` only after the commit.
pub(crate) async fn write(lease: &mut Lease<'_>, statement: &Statement, rows: &[Vec<Bound>]) -> Vec<Outcome> {
    let retry = |reason| Outcome::for_all(&Outcome::retry(reason), rows.len());
    let blamed = match write_all(lease, statement, rows).await {
        Ok(()) => return Outcome::for_all(&Outcome::Ok, rows.len()),
        Err(error) => blame(lease.connection(), statement, &error).await,
    };
    match blamed {
        Err(reason) => retry(reason),
        Ok(reason) if rows.len() == 1 => vec![Outcome::Reject(reason)],
        Ok(_) => match isolate(lease.connection(), statement, rows).await {
            Ok(outcomes) => outcomes,
            Err(Halted::Retry(reason)) => retry(reason),
            Err(Halted::TransactionLost) => match lease.leave_transaction().await {
                Ok(()) => write_one_by_one(lease, statement, rows).await,
                Err(error) => retry(reason(&error)),
            },
        },
    }
}

/// The reason when the error blames a row, as an error the reason when it does not.
async fn blame(
    connection: &mut SqliteConnection,
    statement: &Statement,
    error: &sqlx::Error,
) -> Result<Reason, Reason> {
    match classify(error) {
        Verdict::Row(reason) => Ok(reason),
        Verdict::Retry(reason) => Err(reason),
        Verdict::RowIfCompiles(reason) => match compile(connection, statement).await {
            Ok(()) => Ok(reason),
            Err(error) => Err(crate::classify::reason(&error)),
        },
    }
}

async fn write_all(
    lease: &mut Lease<'_>,
    statement: &Statement,
    rows: &[Vec<Bound>],
) -> Result<(), sqlx::Error> {
    let mut transaction = lease.connection().begin_with(BEGIN).await?;
    let error = match insert(&mut transaction, statement, rows).await {
        Ok(()) => match transaction.commit().await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        },
        Err(error) => {
            // ends the transaction now, so that what follows on this connection starts outside of it
            let _ended = transaction.rollback().await;
            error
        }
    };
    lease.leave_transaction().await?;
    Err(error)
}

async fn insert(
    connection: &mut SqliteConnection,
    statement: &Statement,
    rows: &[Vec<Bound>],
) -> Result<(), sqlx::Error> {
    for chunk in rows.chunks(statement.rows_limit().min(ROWS_PER_STATEMENT)) {
        let text = statement.text(chunk.len());
        connection.execute(sqlx::query_with(checked(text), arguments(chunk)?)).await?;
    }
    Ok(())
}

/// Writes the rows that can be written and finds the others by halving.
async fn isolate(
    connection: &mut SqliteConnection,
    statement: &Statement,
    rows: &[Vec<Bound>],
) -> Result<Vec<Outcome>, Halted> {
    match connection.begin_with(BEGIN).await {
        Ok(transaction) => halve(transaction, statement, rows).await,
        Err(error) => Err(Halted::Retry(reason(&error))),
    }
}

/// Why halving did not come to an end.
enum Halted {
    /// The target is at fault.
    Retry(Reason),
    /// A row ended the whole transaction (`ON CONFLICT ROLLBACK`), or its fault shows only at the commit (a deferred
    /// foreign key).
    TransactionLost,
}

async fn halve(
    mut transaction: Transaction<'_, Sqlite>,
    statement: &Statement,
    rows: &[Vec<Bound>],
) -> Result<Vec<Outcome>, Halted> {
    let mut outcomes = Outcome::for_all(&Outcome::Ok, rows.len());
    // the first range on top, so that rows are written in their order
    let mut ranges: Vec<Range<usize>> = Vec::new();
    ranges.push(0..rows.len());
    while let Some(range) = ranges.pop() {
        let mut savepoint = transaction.begin().await.map_err(|_| Halted::TransactionLost)?;
        let Err(error) = insert(&mut savepoint, statement, &rows[range.clone()]).await else {
            savepoint.commit().await.map_err(|error| Halted::Retry(reason(&error)))?;
            continue;
        };
        savepoint.rollback().await.map_err(|_| Halted::TransactionLost)?;
        let reason = blame(&mut transaction, statement, &error).await.map_err(Halted::Retry)?;
        match range.len() {
            1 => outcomes[range.start] = Outcome::Reject(reason),
            length => {
                let middle = range.start + length / 2;
                ranges.push(middle..range.end);
                ranges.push(range.start..middle);
            }
        }
    }
    match transaction.commit().await {
        Ok(()) => Ok(outcomes),
        Err(error) => match classify(&error) {
            Verdict::Retry(reason) => Err(Halted::Retry(reason)),
            Verdict::Row(_) | Verdict::RowIfCompiles(_) => Err(Halted::TransactionLost),
        },
    }
}

/// Each row in a transaction of its own, up to the first that is to be sent again.
async fn write_one_by_one(lease: &mut Lease<'_>, statement: &Statement, rows: &[Vec<Bound>]) -> Vec<Outcome> {
    let mut outcomes = Vec::with_capacity(rows.len());
    for row in rows {
        let outcome = match write_all(lease, statement, std::slice::from_ref(row)).await {
            Ok(()) => Outcome::Ok,
            Err(error) => match blame(lease.connection(), statement, &error).await {
                Ok(reason) => Outcome::Reject(reason),
                Err(reason) => Outcome::retry(reason),
            },
        };
        let stop = matches!(outcome, Outcome::Retry { .. });
        outcomes.push(outcome);
        if stop {
            outcomes.resize(rows.len(), Outcome::not_sent("waits for an earlier row", None));
            break;
        }
    }
    outcomes
}
