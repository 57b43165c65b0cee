//! The server's own store: a SQLite file in the data directory, with `migrations/`.

use std::path::Path;

use api::{ApiKeyRecord, Change, Role, Snapshot, Store, StoreError, TopicMetricsRecord, UserRecord};
use async_trait::async_trait;
use broker_core::{Ban, BanSubject};
use engine_runtime::{ObjectClass, StoredObject};
use serde_json::Value as Json;
use sqlx::migrate::MigrateError;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{Row as _, Sqlite, Transaction};

/// Name of the file in the data directory.
const FILE_NAME: &str = "sluice.db";

/// Keeps users, API keys and objects in SQLite. A change is on disk when it is answered.
#[derive(Debug, Clone)]
pub(crate) struct SqliteStore {
    pool: SqlitePool,
}

impl SqliteStore {
    /// Opens the store of a data directory, made or brought up to date if need be.
    ///
    /// # Errors
    /// When the file cannot be opened, or was written by a later version.
    pub(crate) async fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let path = data_dir.join(FILE_NAME);
        make_private(&path)
            .map_err(|error| StoreError::new(format!("cannot open `{FILE_NAME}`: {error}")))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        // one writer: SQLite has no more, and reads are for the start only
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options)
            .await
            .map_err(|error| StoreError::new(format!("cannot open `{FILE_NAME}`: {error}")))?;
        sqlx::migrate!("./migrations").run(&pool).await.map_err(not_migrated)?;
        Ok(Self { pool })
    }

    /// Closes the file; what was answered is on disk already.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    /// Reads the listeners that were made or changed through the API: ids and configurations.
    pub(crate) async fn listeners(&self) -> Result<Vec<(String, Json)>, StoreError> {
        self.rows("SELECT * FROM listeners ORDER BY id", |row| {
            let (id, config): (String, String) = (column(row, "id")?, column(row, "config")?);
            let config = serde_json::from_str(&config).map_err(|error| {
                StoreError::new(format!("listener `{id}` in `{FILE_NAME}` is not JSON: {error}"))
            })?;
            Ok((id, config))
        })
        .await
    }

    /// Keeps a listener.
    pub(crate) async fn put_listener(&self, id: &str, config: &Json) -> Result<(), StoreError> {
        let query = sqlx::query("INSERT OR REPLACE INTO listeners VALUES (?, ?)");
        query.bind(id).bind(config.to_string()).execute(&self.pool).await.map_err(StoreError::new)?;
        Ok(())
    }

    /// Forgets a listener.
    pub(crate) async fn delete_listener(&self, id: &str) -> Result<(), StoreError> {
        let query = sqlx::query("DELETE FROM listeners WHERE id = ?");
        query.bind(id).execute(&self.pool).await.map_err(StoreError::new)?;
        Ok(())
    }

    /// Reads the traces: name, definition, and whether it has ended.
    pub(crate) async fn traces(&self) -> Result<Vec<(String, Json, bool)>, StoreError> {
        self.rows("SELECT * FROM traces ORDER BY name", |row| {
            let (name, definition): (String, String) = (column(row, "name")?, column(row, "definition")?);
            let definition = serde_json::from_str(&definition).map_err(|error| {
                StoreError::new(format!("trace `{name}` in `{FILE_NAME}` is not JSON: {error}"))
            })?;
            Ok((name, definition, column(row, "stopped")?))
        })
        .await
    }

    /// Keeps a trace.
    pub(crate) async fn put_trace(
        &self,
        name: &str,
        definition: &Json,
        has_ended: bool,
    ) -> Result<(), StoreError> {
        let query = sqlx::query("INSERT OR REPLACE INTO traces (name, definition, stopped) VALUES (?, ?, ?)");
        let query = query.bind(name).bind(definition.to_string()).bind(has_ended);
        query.execute(&self.pool).await.map_err(StoreError::new)?;
        Ok(())
    }

    /// Forgets a trace.
    pub(crate) async fn delete_trace(&self, name: &str) -> Result<(), StoreError> {
        let query = sqlx::query("DELETE FROM traces WHERE name = ?");
        query.bind(name).execute(&self.pool).await.map_err(StoreError::new)?;
        Ok(())
    }

    async fn rows<T>(
        &self,
        query: &'static str,
        read: fn(&SqliteRow) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let rows = sqlx::query(query).fetch_all(&self.pool).await.map_err(StoreError::new)?;
        rows.iter().map(read).collect()
    }
}

/// Makes the file if there is none and keeps others from reading it: it holds the secrets of connectors. The files that
/// SQLite puts beside it get the same mode.
fn make_private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).truncate(false).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    #[cfg(unix)]
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(())
}

fn not_migrated(error: MigrateError) -> StoreError {
    StoreError::new(match error {
        MigrateError::VersionMissing(version) => format!(
            "`{FILE_NAME}` was written by a later version of this server (it has migration {version}): start that \
             version, or choose another data directory with --data-dir"
        ),
        MigrateError::VersionMismatch(version) => {
            format!("migration {version} of `{FILE_NAME}` is not the one of this version of the server")
        }
        error => format!("cannot bring `{FILE_NAME}` up to date: {error}"),
    })
}

#[async_trait]
impl Store for SqliteStore {
    async fn load(&self) -> Result<Snapshot, StoreError> {
        Ok(Snapshot {
            users: self.rows("SELECT * FROM users ORDER BY username", read_user).await?,
            api_keys: self.rows("SELECT * FROM api_keys ORDER BY name", read_api_key).await?,
            objects: self.rows("SELECT * FROM objects ORDER BY created_at_ms, id", read_object).await?,
            bans: self.rows("SELECT * FROM bans ORDER BY kind, who", read_ban).await?,
            settings: self.rows("SELECT * FROM settings ORDER BY name", read_setting).await?,
            topic_metrics: self
                .rows("SELECT * FROM topic_metrics ORDER BY filter", read_topic_metrics)
                .await?,
        })
    }

    async fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        let mut transaction = self.pool.begin().await.map_err(StoreError::new)?;
        for change in changes {
            apply_one(&mut transaction, change).await.map_err(StoreError::new)?;
        }
        transaction.commit().await.map_err(StoreError::new)
    }
}

async fn apply_one(transaction: &mut Transaction<'_, Sqlite>, change: &Change) -> Result<(), sqlx::Error> {
    let query = match change {
        Change::PutUser(user) => sqlx::query("INSERT OR REPLACE INTO users VALUES (?, ?, ?, ?, ?)")
            .bind(&user.username)
            .bind(&user.password_hash)
            .bind(&user.description)
            .bind(user.role.as_str())
            .bind(user.created_at_ms),
        Change::DeleteUser { username } => sqlx::query("DELETE FROM users WHERE username = ?").bind(username),
        Change::PutApiKey(key) => {
            sqlx::query("INSERT OR REPLACE INTO api_keys VALUES (?, ?, ?, ?, ?, ?, ?, ?)")
                .bind(&key.name)
                .bind(&key.api_key)
                .bind(&key.secret_hash)
                .bind(&key.description)
                .bind(key.role.as_str())
                .bind(key.enable)
                .bind(key.expires_at_ms)
                .bind(key.created_at_ms)
        }
        Change::DeleteApiKey { name } => sqlx::query("DELETE FROM api_keys WHERE name = ?").bind(name),
        Change::PutObject(object) => sqlx::query("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?)")
            .bind(object.class.to_string())
            .bind(&object.id)
            .bind(object.config.to_string())
            .bind(object.created_at_ms)
            .bind(object.last_modified_at_ms),
        Change::DeleteObject { class, id } => {
            sqlx::query("DELETE FROM objects WHERE class = ? AND id = ?").bind(class.to_string()).bind(id)
        }
        Change::PutBan(ban) => sqlx::query("INSERT OR REPLACE INTO bans VALUES (?, ?, ?, ?, ?, ?)")
            .bind(ban.subject.kind())
            .bind(ban.subject.who())
            .bind(&ban.by)
            .bind(&ban.reason)
            .bind(ban.at_ms)
            .bind(ban.until_ms),
        Change::DeleteBan(subject) => sqlx::query("DELETE FROM bans WHERE kind = ? AND who = ?")
            .bind(subject.kind())
            .bind(subject.who()),
        Change::PutTopicMetrics(record) => {
            sqlx::query("INSERT OR REPLACE INTO topic_metrics (filter, created_at_ms) VALUES (?, ?)")
                .bind(&record.filter)
                .bind(record.created_at_ms)
        }
        Change::DeleteTopicMetrics { filter } => {
            sqlx::query("DELETE FROM topic_metrics WHERE filter = ?").bind(filter)
        }
        Change::PutSetting { name, value } => {
            sqlx::query("INSERT OR REPLACE INTO settings (name, value) VALUES (?, ?)")
                .bind(name)
                .bind(value.to_string())
        }
    };
    query.execute(&mut **transaction).await?;
    Ok(())
}

fn column<'r, T>(row: &'r SqliteRow, name: &str) -> Result<T, StoreError>
where
    T: sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite>,
{
    row.try_get(name).map_err(StoreError::new)
}

fn role(row: &SqliteRow) -> Result<Role, StoreError> {
    let name: String = column(row, "role")?;
    Role::by_name(&name).ok_or_else(|| StoreError::new(format!("unknown role `{name}`")))
}

fn class_by_name(name: &str) -> Result<ObjectClass, StoreError> {
    [ObjectClass::Connector, ObjectClass::Action, ObjectClass::Rule]
        .into_iter()
        .find(|class| class.to_string() == name)
        .ok_or_else(|| StoreError::new(format!("unknown class `{name}`")))
}

fn read_user(row: &SqliteRow) -> Result<UserRecord, StoreError> {
    Ok(UserRecord {
        username: column(row, "username")?,
        password_hash: column(row, "password_hash")?,
        description: column(row, "description")?,
        role: role(row)?,
        created_at_ms: column(row, "created_at_ms")?,
    })
}

fn read_api_key(row: &SqliteRow) -> Result<ApiKeyRecord, StoreError> {
    Ok(ApiKeyRecord {
        name: column(row, "name")?,
        api_key: column(row, "api_key")?,
        secret_hash: column(row, "secret_hash")?,
        description: column(row, "description")?,
        role: role(row)?,
        enable: column(row, "enable")?,
        expires_at_ms: column(row, "expires_at_ms")?,
        created_at_ms: column(row, "created_at_ms")?,
    })
}

fn read_object(row: &SqliteRow) -> Result<StoredObject, StoreError> {
    let class: String = column(row, "class")?;
    let config: String = column(row, "config")?;
    Ok(StoredObject {
        class: class_by_name(&class)?,
        id: column(row, "id")?,
        config: serde_json::from_str(&config).map_err(|error| {
            let id: String = row.try_get("id").unwrap_or_default();
            StoreError::new(format!(
                "the configuration of {class} `{id}` in `{FILE_NAME}` is not JSON: {error}"
            ))
        })?,
        created_at_ms: column(row, "created_at_ms")?,
        last_modified_at_ms: column(row, "last_modified_at_ms")?,
    })
}

fn read_ban(row: &SqliteRow) -> Result<Ban, StoreError> {
    let (kind, who): (String, String) = (column(row, "kind")?, column(row, "who")?);
    Ok(Ban {
        subject: BanSubject::parse(&kind, &who)
            .map_err(|error| StoreError::new(format!("the ban of {kind} `{who}` cannot be read: {error}")))?,
        by: column(row, "made_by")?,
        reason: column(row, "reason")?,
        at_ms: column(row, "at_ms")?,
        until_ms: column(row, "until_ms")?,
    })
}

fn read_setting(row: &SqliteRow) -> Result<(String, Json), StoreError> {
    let (name, value): (String, String) = (column(row, "name")?, column(row, "value")?);
    let value = serde_json::from_str(&value).map_err(|error| {
        StoreError::new(format!("the settings `{name}` in `{FILE_NAME}` are not JSON: {error}"))
    })?;
    Ok((name, value))
}

fn read_topic_metrics(row: &SqliteRow) -> Result<TopicMetricsRecord, StoreError> {
    Ok(TopicMetricsRecord { filter: column(row, "filter")?, created_at_ms: column(row, "created_at_ms")? })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[cfg(unix)]
    #[tokio::test]
    async fn only_the_owner_reads_the_secrets_of_connectors() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE_NAME), "").unwrap();
        let store = SqliteStore::open(folder.path()).await.unwrap();
        store.apply(&[Change::DeleteUser { username: "x".into() }]).await.unwrap();
        for entry in std::fs::read_dir(folder.path()).unwrap().map(Result::unwrap) {
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{:?}", entry.path());
        }
    }

    #[tokio::test]
    async fn a_store_of_a_later_version_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path()).await.unwrap();
        sqlx::query("INSERT INTO _sqlx_migrations VALUES (99, 'later', CURRENT_TIMESTAMP, 1, x'00', 1)")
            .execute(&store.pool)
            .await
            .unwrap();
        store.close().await;
        let error = SqliteStore::open(folder.path()).await.expect_err("refused").to_string();
        assert!(error.contains("later version") && error.contains("99"), "{error}");
    }

    #[tokio::test]
    async fn an_object_that_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path()).await.unwrap();
        sqlx::query("INSERT INTO objects VALUES ('rule', 'bad', '{', 1, 1)")
            .execute(&store.pool)
            .await
            .unwrap();
        let error = store.load().await.expect_err("refused").to_string();
        assert!(error.contains("rule `bad`"), "{error}");
    }

    #[tokio::test]
    async fn what_is_stored_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path()).await.unwrap();
        let user = UserRecord {
            username: "admin".into(),
            password_hash: "h".into(),
            description: String::new(),
            role: Role::Administrator,
            created_at_ms: 1,
        };
        let object = StoredObject {
            class: ObjectClass::Rule,
            id: "r".into(),
            config: json!({"sql": "SELECT 1"}),
            created_at_ms: 2,
            last_modified_at_ms: 3,
        };
        let ban = Ban {
            subject: BanSubject::parse("peerhost_net", "10.0.0.0/8").unwrap(),
            by: "ops".into(),
            reason: "flood".into(),
            at_ms: 4,
            until_ms: Some(5),
        };
        let changes = [
            Change::PutUser(user.clone()),
            Change::PutObject(object.clone()),
            Change::PutBan(ban.clone()),
            Change::PutBan(Ban { until_ms: None, ..ban.clone() }),
        ];
        store.apply(&changes).await.unwrap();
        store.close().await;

        let store = SqliteStore::open(folder.path()).await.unwrap();
        let snapshot = store.load().await.unwrap();
        assert_eq!((snapshot.users, snapshot.objects), (vec![user], vec![object]));
        assert_eq!(snapshot.bans, [Ban { until_ms: None, ..ban.clone() }]);
        let changes = [
            Change::DeleteObject { class: ObjectClass::Rule, id: "r".into() },
            Change::DeleteBan(ban.subject),
        ];
        store.apply(&changes).await.unwrap();
        let snapshot = store.load().await.unwrap();
        assert!(snapshot.objects.is_empty() && snapshot.bans.is_empty());
    }
}
