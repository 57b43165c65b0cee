//! Transactions of which nobody knows whether they were committed.
//!
//! `COMMIT` was sent, and then the connection broke or the deadline passed. The rows are due again, but if they are
//! sent as they are, they may be in the table twice. So the transaction's identity is kept, and before any of its
//! rows is sent again, the server is asked for its fate.
//!
//! A number of a transaction alone does not prove much after a crash: when the server lost the tail of its log, it
//! gives the numbers in there to other transactions. Every crash recovery ends with a checkpoint, which says what
//! number comes next: those below it were seen in the log and are safe, the others were lost with it. Hence the
//! checkpoint at the beginning of the transaction is part of its identity.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use connectors_api::{Delivery, Reason};
use engine_event::Text;
use sqlx::Row as _;
use tokio::time::Instant;

use crate::classify::classify;
use crate::pool::{Lease, Pool};
use crate::session::TransactionId;

/// Rows that are remembered at most. Beyond that the oldest transaction is forgotten, and its rows are sent again
/// unasked: late is better than never.
const ROWS_MAX: usize = 200_000;
/// Pause between two questions while the old session still works.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Its rows are there.
    Committed,
    /// None of its rows is there, nor will be.
    Aborted,
}

/// The transactions in doubt of one action, with their rows.
#[derive(Debug, Default)]
pub(crate) struct Doubts(Mutex<State>);

/// The doubts of each action, by connector and action. They outlive channel and connector, which are made anew at every
/// edit: the rows come back to whoever is there then.
static KEPT: LazyLock<Mutex<ByAction>> = LazyLock::new(Mutex::default);

type ByAction = HashMap<(Arc<str>, Arc<str>), Arc<Doubts>>;

/// Actions with doubts that are remembered at most, beside those at work.
const ACTIONS_MAX: usize = 1000;

#[derive(Debug, Default)]
struct State {
    next: u64,
    transactions: BTreeMap<u64, Doubt>,
    rows: HashMap<Text, u64>,
}

#[derive(Debug)]
struct Doubt {
    id: TransactionId,
    fate: Option<Fate>,
    /// Rows that still wait for the fate.
    rows: usize,
}

/// Notes a transaction as doubtful when dropped, unless it was settled: also when the caller is cancelled.
pub(crate) struct Pending<'a> {
    doubts: &'a Doubts,
    id: Option<TransactionId>,
    rows: &'a [&'a Delivery],
}

impl Pending<'_> {
    /// The answer to COMMIT is here.
    pub(crate) fn settled(mut self) {
        self.id = None;
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.doubts.note(id, self.rows);
        }
    }
}

impl Doubts {
    /// The doubts of an action on a connector.
    pub(crate) fn of(connector: &Arc<str>, action: &Arc<str>) -> Arc<Self> {
        let mut kept = KEPT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let many = kept.len() > ACTIONS_MAX;
        kept.retain(|_, doubts| Arc::strong_count(doubts) > 1 || !(many || doubts.state().rows.is_empty()));
        Arc::clone(kept.entry((Arc::clone(connector), Arc::clone(action))).or_default())
    }

    /// COMMIT is about to be sent.
    pub(crate) fn pending<'a>(&'a self, id: Option<TransactionId>, rows: &'a [&'a Delivery]) -> Pending<'a> {
        Pending { doubts: self, id, rows }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn note(&self, id: TransactionId, rows: &[&Delivery]) {
        let mut state = self.state();
        let number = state.next;
        state.next += 1;
        state.rows.extend(rows.iter().map(|delivery| (delivery.delivery_id.clone(), number)));
        state.transactions.insert(number, Doubt { id, fate: None, rows: rows.len() });
        while state.rows.len() > ROWS_MAX {
            let Some((oldest, doubt)) = state.transactions.pop_first() else { break };
            tracing::warn!(rows = doubt.rows, "too many rows in doubt: some may be written twice");
            state.rows.retain(|_, number| *number != oldest);
        }
    }

    /// Tells the fate of the rows of `batch`, after asking the server where it is not known yet. One answer per row:
    /// `Some` for a row that was in doubt.
    ///
    /// Rows to be sent again are off the list then. Those that are there already stay on it, until
    /// [`Doubts::forget`] says that somebody knows: the caller may be cancelled before it can tell.
    ///
    /// # Errors
    /// When the server cannot be asked now: none of the rows may be sent then.
    pub(crate) async fn settle(
        &self,
        pool: &Pool,
        batch: &[Delivery],
        deadline: Instant,
    ) -> Result<Vec<Option<Fate>>, Reason> {
        while let Some((number, id)) = self.first_open(batch) {
            let fate =
                tokio::time::timeout_at(deadline, ask(pool, &id, deadline)).await.unwrap_or_else(|_| {
                    Err(Reason::transport("the fate of an earlier attempt is not known yet"))
                })?;
            tracing::debug!(transaction = %id.number, ?fate, "transaction in doubt settled");
            if let Some(doubt) = self.state().transactions.get_mut(&number) {
                doubt.fate = Some(fate);
            }
        }
        let fate_of = |delivery: &Delivery| match self.fate(&delivery.delivery_id) {
            Some(Fate::Committed) => Some(Fate::Committed),
            _ => self.take(&delivery.delivery_id),
        };
        Ok(batch.iter().map(fate_of).collect())
    }

    /// The caller knows that the row is there.
    pub(crate) fn forget(&self, row: &Text) {
        self.take(row);
    }

    fn fate(&self, row: &Text) -> Option<Fate> {
        let state = self.state();
        let number = state.rows.get(row)?;
        state.transactions.get(number)?.fate
    }

    /// The first transaction without a known fate that has a row in `batch`.
    fn first_open(&self, batch: &[Delivery]) -> Option<(u64, TransactionId)> {
        let state = self.state();
        if state.rows.is_empty() {
            return None;
        }
        batch.iter().find_map(|delivery| {
            let number = state.rows.get(&delivery.delivery_id)?;
            let doubt = state.transactions.get(number)?;
            doubt.fate.is_none().then(|| (*number, doubt.id.clone()))
        })
    }

    /// The fate of a row; the row is forgotten, and its transaction with its last row.
    fn take(&self, row: &Text) -> Option<Fate> {
        let mut state = self.state();
        let number = state.rows.remove(row)?;
        let doubt = state.transactions.get_mut(&number)?;
        let fate = doubt.fate;
        doubt.rows = doubt.rows.saturating_sub(1);
        if doubt.rows == 0 {
            state.transactions.remove(&number);
        }
        fate
    }
}

/// The question: the status, and what must be known to believe it.
const STATUS: &str = "
SELECT txid_status(t.number) AS status, c.checkpoint_lsn::text, s.system_identifier::text,
       t.number >= split_part(c.next_xid, ':', 1)::bigint * 4294967296 + split_part(c.next_xid, ':', 2)::bigint
FROM (SELECT $1::text::bigint AS number) t, pg_control_checkpoint() c, pg_control_system() s";

/// Ends the session of a transaction that is still open; only if it is still in that transaction.
const TERMINATE: &str = "
SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a
WHERE a.pid = $1::text::int AND a.backend_xid::text::bigint = $2::text::bigint % 4294967296";

/// Asks the server for the fate of a transaction until there is an answer.
async fn ask(pool: &Pool, id: &TransactionId, deadline: Instant) -> Result<Fate, Reason> {
    loop {
        let mut lease = pool.lease(deadline).await?;
        match ask_once(&mut lease, id).await {
            Ok(Some(fate)) => {
                lease.give_back();
                return Ok(fate);
            }
            Ok(None) => {
                lease.give_back();
                tokio::time::sleep(ASK_AGAIN_AFTER).await;
            }
            Err(error) if crate::classify::is_broken(&error) && !lease.is_fresh => pool.drop_idle(),
            Err(error) => return Err(classify(&error).1),
        }
    }
}

async fn ask_once(lease: &mut Lease<'_>, id: &TransactionId) -> Result<Option<Fate>, sqlx::Error> {
    let asked = sqlx::query(STATUS).bind(&id.number).persistent(false);
    let row = match asked.fetch_one(lease.session.connection()).await {
        Ok(row) => row,
        // a number that was not given out yet: the server lost the transaction in a crash
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("22023") => {
            return Ok(Some(Fate::Aborted));
        }
        Err(error) => return Err(error),
    };
    let status: Option<String> = row.try_get(0)?;
    let (checkpoint, system): (String, String) = (row.try_get(1)?, row.try_get(2)?);
    let is_after_checkpoint: bool = row.try_get(3)?;
    let fate = judge(status.as_deref(), id, &checkpoint, &system, is_after_checkpoint);
    if fate.is_none() {
        let terminate = sqlx::query(TERMINATE).bind(&id.back_end).bind(&id.number).persistent(false);
        terminate.fetch_all(lease.session.connection()).await?;
    }
    Ok(fate)
}

/// What the server's answer means; `None` when the transaction is still open.
fn judge(
    status: Option<&str>,
    id: &TransactionId,
    checkpoint: &str,
    system: &str,
    is_after_checkpoint: bool,
) -> Option<Fate> {
    let is_same_run = id.checkpoint == checkpoint;
    let has_number = id.system == system && (is_same_run || !is_after_checkpoint);
    match status {
        Some("committed") if has_number => Some(Fate::Committed),
        Some("in progress") if has_number => None,
        // aborted, too old to be known, of another cluster, or a number that was given out again
        _ => Some(Fate::Aborted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> TransactionId {
        TransactionId {
            number: "1000".to_owned(),
            back_end: "7".to_owned(),
            checkpoint: "0/1".to_owned(),
            system: "s".to_owned(),
        }
    }

    fn delivery(id: &str) -> Delivery {
        Delivery {
            row: Default::default(),
            delivery_id: id.into(),
            rule_id: "r".into(),
            key: None,
            attempts: 0,
        }
    }

    #[test]
    fn answers_are_believed_only_when_the_number_is_still_ours() {
        let committed =
            |checkpoint, system, after| judge(Some("committed"), &id(), checkpoint, system, after);
        // same run of the server, whether a checkpoint has seen the number or not
        assert_eq!(committed("0/1", "s", true), Some(Fate::Committed));
        assert_eq!(committed("0/1", "s", false), Some(Fate::Committed));
        // a later checkpoint that knows the number
        assert_eq!(committed("0/2", "s", false), Some(Fate::Committed));
        // recovered without it, and given to someone else
        assert_eq!(committed("0/2", "s", true), Some(Fate::Aborted));
        // another cluster under the same address
        assert_eq!(committed("0/1", "other", false), Some(Fate::Aborted));
        assert_eq!(judge(Some("aborted"), &id(), "0/1", "s", false), Some(Fate::Aborted));
        assert_eq!(judge(Some("in progress"), &id(), "0/1", "s", false), None);
        assert_eq!(judge(None, &id(), "0/1", "s", false), Some(Fate::Aborted));
    }

    #[test]
    fn a_transaction_is_noted_unless_it_was_settled() {
        let doubts = Doubts::default();
        let (one, two) = (delivery("1"), delivery("2"));
        let rows = [&one, &two];
        doubts.pending(Some(id()), &rows).settled();
        drop(doubts.pending(None, &rows));
        assert_eq!(doubts.first_open(&[delivery("1")]), None);
        drop(doubts.pending(Some(id()), &rows));
        let (number, noted) = doubts.first_open(&[delivery("3"), delivery("2")]).expect("in doubt");
        assert_eq!(noted, id());
        doubts.state().transactions.get_mut(&number).expect("noted").fate = Some(Fate::Committed);
        assert_eq!(doubts.first_open(&[delivery("2")]), None);
        assert_eq!(doubts.fate(&"2".into()), Some(Fate::Committed), "asking does not forget");
        doubts.forget(&"2".into());
        assert_eq!(doubts.fate(&"2".into()), None);
        assert_eq!(doubts.take(&"1".into()), Some(Fate::Committed));
        assert!(doubts.state().transactions.is_empty());
    }

    #[test]
    fn doubts_outlive_the_channel_while_there_are_some() {
        let names = |action: &str| (Arc::<str>::from("pgsql:doubtful"), Arc::<str>::from(action));
        let (connector, action) = names("pgsql:a");
        let row = delivery("1");
        drop(Doubts::of(&connector, &action).pending(Some(id()), &[&row]));
        let (other_connector, other) = names("pgsql:b");
        drop(Doubts::of(&other_connector, &other));
        let again = Doubts::of(&connector, &action);
        assert!(again.first_open(&[delivery("1")]).is_some());
        again.forget(&"1".into());
        drop(again);
        assert_eq!(Doubts::of(&connector, &action).first_open(&[delivery("1")]), None);
    }
}
