//! A started connector and its channels.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use connectors_api::{
    Batch, Channel, ChannelContext, ChannelError, ConfigError, Connector, Delivery, Health, Outcome, Reason,
    ReasonKind, StartContext, StartError,
};
use engine_event::{Row, Text};
use serde_json::{Value as Json, json};
use sqlx::{Connection as _, Executor as _};
use tokio::time::timeout_at;

use crate::bind::{Binder, Bound};
use crate::classify::{blames_statement, reason};
use crate::config::{Action, ConnectorConfig, read_action};
use crate::database::{Database, checked, compile, look};
use crate::statement::Statement;
use crate::write::write;

/// A started connector.
#[derive(Debug)]
pub(crate) struct SqliteConnector {
    database: Arc<Database>,
}

impl SqliteConnector {
    /// Opens the file, which is made when it is missing.
    pub(crate) async fn start(context: &StartContext, config: &Json) -> Result<Self, StartError> {
        let config = ConnectorConfig::read(config)?;
        let database = Database::new(&config, &context.data_dir);
        let mut lease = database.writer().await.map_err(|error| StartError::Target(reason(&error)))?;
        look(lease.connection()).await.map_err(|error| StartError::Target(reason(&error)))?;
        drop(lease);
        Ok(Self { database: Arc::new(database) })
    }
}

#[async_trait]
impl Connector for SqliteConnector {
    async fn check(&self) -> Health {
        check_with(&self.database, None).await
    }

    async fn add_channel(
        &self,
        _: ChannelContext,
        parameters: &Json,
    ) -> Result<Arc<dyn Channel>, ChannelError> {
        let Action { create_table, statement } = read_action(parameters)?;
        let to_target = |error: sqlx::Error| ChannelError::Target(reason(&error));
        let mut lease = self.database.writer().await.map_err(to_target)?;
        if let Some(text) = create_table {
            lease.connection().execute(checked(text)).await.map_err(|error| {
                if blames_statement(&error) {
                    ConfigError::new("create_table", reason(&error).message).into()
                } else {
                    to_target(error)
                }
            })?;
        }
        drop(lease);
        let mut observer = self.database.observer().await.map_err(to_target)?;
        compile(&mut observer, &statement).await.map_err(|error| {
            let reason = reason(&error);
            match () {
                () if !blames_statement(&error) => ChannelError::Target(reason),
                () if reason.message.contains("syntax error") => {
                    ConfigError::new("sql", reason.message).into()
                }
                // a table or a column that is missing may come
                () => ChannelError::Unhealthy(reason),
            }
        })?;
        let binder = Binder::new(statement.values.clone());
        Ok(Arc::new(SqliteChannel { database: Arc::clone(&self.database), statement, binder }))
    }

    async fn stop(&self) {
        self.database.close().await;
    }
}

/// Looks at the file over a connection of its own, and compiles the statement.
async fn check_with(database: &Database, statement: Option<&Statement>) -> Health {
    let checked = async {
        let mut connection = database.observer().await?;
        look(&mut connection).await?;
        if let Some(statement) = statement {
            compile(&mut connection, statement).await?;
        }
        connection.close().await
    };
    match checked.await {
        Ok(()) => Health::Connected,
        Err(error) => Health::Disconnected(reason(&error).to_string()),
    }
}

/// An action on a started connector.
#[derive(Debug)]
struct SqliteChannel {
    database: Arc<Database>,
    statement: Statement,
    binder: Binder,
}

#[async_trait]
impl Channel for SqliteChannel {
    async fn check(&self) -> Health {
        check_with(&self.database, Some(&self.statement)).await
    }

    async fn deliver(&self, batch: Batch<'_>, deadline: Instant) -> Vec<Outcome> {
        let rows: Vec<Vec<Bound>> = batch.iter().map(|delivery| self.binder.bind(delivery)).collect();
        match timeout_at(deadline.into(), self.write(&rows)).await {
            Ok(outcomes) => outcomes,
            // what was begun is rolled back when its transaction is dropped
            Err(_) => {
                let reason = Reason::transport("the file was not free within the time limit");
                Outcome::for_all(&Outcome::retry(reason), batch.len())
            }
        }
    }

    fn render(&self, row: &Row) -> Result<Json, Reason> {
        let delivery = Delivery {
            row: row.clone(),
            delivery_id: Text::from_static("<delivery id>"),
            rule_id: "".into(),
            key: None,
            attempts: 0,
        };
        let values: Vec<Json> = self.binder.bind(&delivery).into_iter().map(shown).collect();
        Ok(json!({"sql": self.statement.text(1), "values": values}))
    }
}

impl SqliteChannel {
    async fn write(&self, rows: &[Vec<Bound>]) -> Vec<Outcome> {
        let mut lease = match self.database.writer().await {
            Ok(lease) => lease,
            Err(error) => return Outcome::for_all(&Outcome::retry(reason(&error)), rows.len()),
        };
        let outcomes = write(&mut lease, &self.statement, rows).await;
        if outcomes.iter().any(needs_reopening) {
            lease.discard();
        }
        outcomes
    }
}

/// Primary codes after which the file is opened anew: it was not readable, not writable, damaged or taken away.
const REOPEN: [u32; 5] = [8, 10, 11, 14, 26];

fn needs_reopening(outcome: &Outcome) -> bool {
    let Outcome::Retry { reason, .. } = outcome else { return false };
    let code = reason.code.as_deref().and_then(|code| code.parse::<u32>().ok());
    match code {
        Some(code) => REOPEN.contains(&(code & 0xff)),
        None => reason.kind == ReasonKind::Transport,
    }
}

fn shown(value: Bound) -> Json {
    match value {
        Bound::Null => Json::Null,
        Bound::Integer(value) => value.into(),
        Bound::Real(value) => value.into(),
        Bound::Text(value) => value.into(),
        Bound::Blob(value) => format!("<{} bytes>", value.len()).into(),
    }
}
