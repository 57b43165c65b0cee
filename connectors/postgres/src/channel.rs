//! An action on a started connector.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use connectors_api::{Batch, Channel, ChannelError, ConfigError, Delivery, Health, Outcome, Reason};
use engine_event::Row;
use serde_json::json;
use sqlx::Executor as _;

use crate::arguments::preview;
use crate::classify::{Blame, classify};
use crate::delivery::{Delivered, Route, deliver};
use crate::doubt::{Doubts, Fate};
use crate::parameters::ActionConfig;
use crate::plan::{Plan, safe};
use crate::pool::{Lease, Pool};

/// The channel of one action.
pub(crate) struct PostgresChannel {
    pool: Arc<Pool>,
    tracked: Arc<AtomicBool>,
    config: ActionConfig,
    /// Made anew when the table has changed.
    plan: Mutex<Arc<Plan>>,
    doubts: Arc<Doubts>,
    /// What the server said of the statement, until a check finds it mended.
    fault: Mutex<Option<Reason>>,
}

impl PostgresChannel {
    /// Creates the table if that is asked for, and prepares the statement.
    ///
    /// # Errors
    /// A statement that the server does not understand, a table that is missing, a server that does not answer.
    pub(crate) async fn add(
        pool: Arc<Pool>,
        tracked: Arc<AtomicBool>,
        doubts: Arc<Doubts>,
        config: ActionConfig,
        deadline: Instant,
    ) -> Result<Self, ChannelError> {
        let mut lease = pool.lease_fresh(deadline.into()).await.map_err(ChannelError::Target)?;
        let plan = prepare(&mut lease, &config).await.map_err(|error| channel_error(&error))?;
        lease.give_back();
        let plan = Mutex::new(Arc::new(plan));
        Ok(Self { pool, tracked, config, plan, doubts, fault: Mutex::new(None) })
    }

    fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.plan.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_fault(&self, fault: Option<Reason>) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    fn fault(&self) -> Option<Reason> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Channel for PostgresChannel {
    async fn check(&self) -> Health {
        if self.fault().is_none() {
            return Health::Connected;
        }
        // connections that are open have the statement prepared for the table as it was
        self.pool.drop_idle();
        let deadline = Instant::now() + crate::connector::CHECK_LIMIT;
        let mut lease = match self.pool.lease_fresh(deadline.into()).await {
            Ok(lease) => lease,
            Err(reason) => return Health::Disconnected(reason.to_string()),
        };
        match Plan::prepare(&mut lease.session, &self.config).await {
            Ok(plan) => {
                lease.give_back();
                *self.plan.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(plan);
                self.set_fault(None);
                Health::Connected
            }
            Err(error) => Health::Disconnected(classify(&error).1.to_string()),
        }
    }

    async fn deliver(&self, batch: Batch<'_>, deadline: Instant) -> Vec<Outcome> {
        let fates = match self.doubts.settle(&self.pool, batch, deadline.into()).await {
            Ok(fates) => fates,
            // nothing is sent: rows behind one that is in doubt must not overtake it
            Err(reason) => return Outcome::for_all(&Outcome::retry(reason), batch.len()),
        };
        let is_there = |fate: &Option<Fate>| *fate == Some(Fate::Committed);
        let due: Vec<&Delivery> = batch
            .iter()
            .zip(&fates)
            .filter(|(_, fate)| !is_there(fate))
            .map(|(delivery, _)| delivery)
            .collect();
        let delivered = match due.is_empty() {
            true => Delivered { outcomes: Vec::new(), statement_fault: None },
            false => {
                let plan = self.plan();
                let route = Route {
                    pool: &self.pool,
                    plan: &plan,
                    doubts: &self.doubts,
                    tracked: &self.tracked,
                    deadline: deadline.into(),
                };
                deliver(&route, &due).await
            }
        };
        if let Some(fault) = delivered.statement_fault {
            self.set_fault(Some(fault));
        }
        // nothing is awaited from here on
        for (delivery, _) in batch.iter().zip(&fates).filter(|(_, fate)| is_there(fate)) {
            self.doubts.forget(&delivery.delivery_id);
        }
        let mut outcomes = delivered.outcomes.into_iter();
        let next = |fate: &Option<Fate>| match is_there(fate) {
            true => Outcome::Ok,
            false => outcomes.next().expect("one outcome for each row that was sent"),
        };
        fates.iter().map(next).collect()
    }

    fn render(&self, row: &Row) -> Result<serde_json::Value, Reason> {
        let plan = self.plan();
        Ok(json!({"sql": plan.for_one_row.as_str(), "parameters": preview(&plan, row)}))
    }
}

async fn prepare(lease: &mut Lease<'_>, config: &ActionConfig) -> Result<Plan, sqlx::Error> {
    if let Some(create_table) = &config.create_table {
        lease.session.connection().execute(safe(create_table.clone())).await?;
    }
    Plan::prepare(&mut lease.session, config).await
}

/// A missing table may come, a right may be granted; a statement that cannot be read will not mend itself.
fn channel_error(error: &sqlx::Error) -> ChannelError {
    let (blame, reason) = classify(error);
    let code = reason.code.as_deref().unwrap_or_default();
    match blame {
        Blame::Statement if matches!(code, "42601" | "42P18" | "42P02") => {
            ChannelError::Config(ConfigError::new("sql", reason.to_string()))
        }
        Blame::Statement | Blame::Row | Blame::Company => ChannelError::Unhealthy(reason),
        Blame::Nobody => ChannelError::Target(reason),
    }
}
