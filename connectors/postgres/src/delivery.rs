//! One batch on its way: transactions, and the search for the rows that the server refuses.
//!
//! The work list holds runs of rows that belong together. A run is one transaction. When the server blames a row and
//! does not say which, the run is halved; a run of one that is refused is a rejected row. What comes first in the
//! batch is committed first.

use std::sync::atomic::{AtomicBool, Ordering};

use connectors_api::{Delivery, Outcome, Reason, ReasonKind};
use sqlx::Executor as _;
use tokio::time::Instant;

use crate::arguments;
use crate::classify::{Blame, classify, is_broken};
use crate::doubt::Doubts;
use crate::plan::Plan;
use crate::pool::{Lease, Pool};

/// What a batch needs on its way.
pub(crate) struct Route<'a> {
    pub(crate) pool: &'a Pool,
    pub(crate) plan: &'a Plan,
    pub(crate) doubts: &'a Doubts,
    /// The server can tell what became of a transaction.
    pub(crate) tracked: &'a AtomicBool,
    pub(crate) deadline: Instant,
}

/// Outcomes of a batch, and what is wrong with the statement if the server says so.
pub(crate) struct Delivered {
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) statement_fault: Option<Reason>,
}

/// Rows that share a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    start: usize,
    end: usize,
    one_by_one: bool,
}

/// Why a run did not get through.
enum Refusal {
    /// A row of the run, by its place in it if the server told it apart, is at fault.
    Row { at: Option<usize>, reason: Reason },
    /// The rows of the run cannot be in one statement.
    Company { reason: Reason },
    /// Nobody's fault: again, later.
    Later(Reason),
    /// The statement does not work.
    Statement(Reason),
}

/// Sends rows. Every row gets an outcome.
pub(crate) async fn deliver(route: &Route<'_>, rows: &[&Delivery]) -> Delivered {
    let waiting = Outcome::not_sent("not sent: an earlier part of the batch did not get through", None);
    let mut outcomes = Outcome::for_all(&waiting, rows.len());
    let mut statement_fault = None;
    let mut runs = vec![Run { start: 0, end: rows.len(), one_by_one: route.plan.for_many_rows.is_none() }];
    while let Some(run) = runs.pop() {
        let refusal = match send(route, &rows[run.start..run.end], run.one_by_one).await {
            Ok(()) => {
                outcomes[run.start..run.end].fill(Outcome::Ok);
                continue;
            }
            Err(refusal) => refusal,
        };
        match refusal {
            Refusal::Row { at: Some(at), reason } => {
                outcomes[run.start + at] = Outcome::Reject(reason);
                runs.extend(around(run, run.start + at));
            }
            Refusal::Row { at: None, reason } | Refusal::Company { reason } if run.end - run.start == 1 => {
                outcomes[run.start] = Outcome::Reject(reason);
            }
            Refusal::Row { at: None, .. } => runs.extend(halves(run)),
            Refusal::Company { .. } => runs.push(Run { one_by_one: true, ..run }),
            Refusal::Later(reason) => {
                set_waiting(&mut outcomes, run, &runs, &reason);
                break;
            }
            Refusal::Statement(reason) => {
                set_waiting(&mut outcomes, run, &runs, &reason);
                statement_fault = Some(reason);
                break;
            }
        }
    }
    Delivered { outcomes, statement_fault }
}

/// The rows of `run` have to be sent again, and those of `runs` were not sent, for the same reason.
fn set_waiting(outcomes: &mut [Outcome], run: Run, runs: &[Run], reason: &Reason) {
    outcomes[run.start..run.end].fill(Outcome::retry(reason.clone()));
    let not_sent = Outcome::retry(Reason { kind: ReasonKind::NotSent, ..reason.clone() });
    for open in runs {
        outcomes[open.start..open.end].fill(not_sent.clone());
    }
}

/// The second half below the first: the list is worked off from its end.
fn halves(run: Run) -> [Run; 2] {
    let middle = run.start + (run.end - run.start) / 2;
    [Run { start: middle, ..run }, Run { end: middle, ..run }]
}

/// What comes before and after one row.
fn around(run: Run, row: usize) -> impl Iterator<Item = Run> {
    [Run { start: row + 1, ..run }, Run { end: row, ..run }].into_iter().filter(|part| part.start < part.end)
}

/// Sends a run as one transaction. A connection that was idle may have died unnoticed: then once more on a new one.
async fn send(route: &Route<'_>, rows: &[&Delivery], one_by_one: bool) -> Result<(), Refusal> {
    let late = |_| Refusal::Later(Reason::transport("no answer before the deadline"));
    loop {
        let mut lease = route.pool.lease(route.deadline).await.map_err(Refusal::Later)?;
        let was_idle = !lease.is_fresh;
        let tried = Transaction { route, lease: &mut lease, rows, one_by_one }.run();
        // on a timeout the connection is dropped, and with it the transaction; a doubtful commit is noted
        match tokio::time::timeout_at(route.deadline, tried).await.map_err(late)? {
            Ok(()) => {
                lease.give_back();
                return Ok(());
            }
            Err(Failure::BeforeCommit(error)) if was_idle && is_broken(&error) => route.pool.drop_idle(),
            Err(Failure::CannotTrack) => {
                // a server of another make has no such functions, or keeps them from us; not asked again
                if route.tracked.swap(false, Ordering::Relaxed) {
                    tracing::warn!(
                        "the server cannot tell the fate of a transaction: a lost answer may double rows"
                    );
                }
            }
            Err(Failure::Commit(error) | Failure::BeforeCommit(error)) => {
                hand_back(lease, &error, route.deadline).await;
                return Err(refusal(&error, None));
            }
            Err(Failure::Row(at, error)) => {
                hand_back(lease, &error, route.deadline).await;
                return Err(refusal(&error, Some(at)));
            }
        }
    }
}

/// Gives a connection back after an error, with its transaction rolled back; one that is of no use is closed.
async fn hand_back(mut lease: Lease<'_>, error: &sqlx::Error, deadline: Instant) {
    if is_broken(error) {
        return;
    }
    let rolled_back = tokio::time::timeout_at(deadline, lease.session.roll_back()).await;
    if matches!(rolled_back, Ok(Ok(()))) {
        lease.give_back();
    }
}

fn refusal(error: &sqlx::Error, at: Option<usize>) -> Refusal {
    let (blame, reason) = classify(error);
    match blame {
        Blame::Row => Refusal::Row { at, reason },
        Blame::Company => Refusal::Company { reason },
        Blame::Statement => Refusal::Statement(reason),
        Blame::Nobody => Refusal::Later(reason),
    }
}

/// Where a transaction failed.
enum Failure {
    /// Nothing is committed, for certain.
    BeforeCommit(sqlx::Error),
    /// As before, in the statement of one row.
    Row(usize, sqlx::Error),
    /// The answer to COMMIT was an error or did not come.
    Commit(sqlx::Error),
    /// The server has no transaction identity to offer.
    CannotTrack,
}

/// One attempt at a run.
struct Transaction<'a, 'p> {
    route: &'a Route<'a>,
    lease: &'a mut Lease<'p>,
    rows: &'a [&'a Delivery],
    one_by_one: bool,
}

impl Transaction<'_, '_> {
    async fn run(mut self) -> Result<(), Failure> {
        let tracked = self.route.tracked.load(Ordering::Relaxed);
        let limit = self.route.deadline.saturating_duration_since(Instant::now());
        let id = match self.lease.session.begin(limit, tracked).await {
            Err(sqlx::Error::Database(error))
                if tracked
                    && matches!(error.code().as_deref(), Some("42883" | "42501" | "42P01" | "0A000")) =>
            {
                return Err(Failure::CannotTrack);
            }
            id => id.map_err(Failure::BeforeCommit)?,
        };
        match &self.route.plan.for_many_rows {
            Some(sql) if !self.one_by_one => {
                let arguments = arguments::for_many_rows(self.route.plan, self.rows);
                let arguments =
                    arguments.map_err(|error| Failure::BeforeCommit(sqlx::Error::Encode(error)))?;
                self.execute(sql.clone(), arguments).await.map_err(Failure::BeforeCommit)?;
            }
            _ => {
                for (at, row) in self.rows.iter().enumerate() {
                    let arguments = arguments::for_one_row(self.route.plan, row);
                    let arguments =
                        arguments.map_err(|error| Failure::Row(at, sqlx::Error::Encode(error)))?;
                    let sql = self.route.plan.for_one_row.clone();
                    self.execute(sql, arguments).await.map_err(|error| Failure::Row(at, error))?;
                }
            }
        }
        let pending = self.route.doubts.pending(id, self.rows);
        match self.lease.session.commit().await {
            Ok(()) => {
                pending.settled();
                Ok(())
            }
            // a constraint that is checked at the end, a conflict of transactions: an answer, and a clear one
            Err(error @ sqlx::Error::Database(_)) if !is_broken(&error) => {
                pending.settled();
                Err(Failure::Commit(error))
            }
            Err(error) => Err(Failure::Commit(error)),
        }
    }

    async fn execute(
        &mut self,
        sql: sqlx::SqlStr,
        arguments: sqlx::postgres::PgArguments,
    ) -> Result<(), sqlx::Error> {
        let keeps_prepared = self.route.pool.keeps_prepared();
        let query = sqlx::query_with(sql, arguments).persistent(keeps_prepared);
        self.lease.session.connection().execute(query).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: Run = Run { start: 10, end: 15, one_by_one: false };

    #[test]
    fn halves_cover_the_run_and_the_first_comes_first() {
        assert_eq!(halves(RUN).map(|run| (run.start, run.end)), [(12, 15), (10, 12)]);
    }

    #[test]
    fn what_is_around_a_row_leaves_it_out() {
        let parts = |row| around(RUN, row).map(|run| (run.start, run.end)).collect::<Vec<_>>();
        assert_eq!(parts(12), [(13, 15), (10, 12)]);
        assert_eq!(parts(10), [(11, 15)]);
        assert_eq!(parts(14), [(10, 14)]);
    }
}
