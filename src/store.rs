//! The server's own store: a SQLite file in the data directory, with `migrations/`.

use std::path::Path;

use api::{ApiKeyRecord, Change, Role, Snapshot, Store, StoreError, UserRecord};
use async_trait::async_trait;
use engine_runtime::{ObjectClass, StoredObject};
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
        let options = SqliteConnectOptions::new()
            .filename(data_dir.join(FILE_NAME))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        // one writer: SQLite has no more, and reads are for the start only
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options)
            .await
            .map_err(|error| StoreError::new(format!("cannot open `{FILE_NAME}`: {error}")))?;
        sqlx::migrate!("./migrations").run(&pool).await.map_err(StoreError::new)?;
        Ok(Self { pool })
    }

    /// Closes the file; what was answered is on disk already.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
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

#[async_trait]
impl Store for SqliteStore {
    async fn load(&self) -> Result<Snapshot, StoreError> {
        Ok(Snapshot {
            users: self.rows("SELECT * FROM users ORDER BY username", read_user).await?,
            api_keys: self.rows("SELECT * FROM api_keys ORDER BY name", read_api_key).await?,
            objects: self.rows("SELECT * FROM objects ORDER BY created_at_ms, id", read_object).await?,
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
        config: serde_json::from_str(&config).map_err(StoreError::new)?,
        created_at_ms: column(row, "created_at_ms")?,
        last_modified_at_ms: column(row, "last_modified_at_ms")?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
        let changes = [Change::PutUser(user.clone()), Change::PutObject(object.clone())];
        store.apply(&changes).await.unwrap();
        store.close().await;

        let store = SqliteStore::open(folder.path()).await.unwrap();
        let snapshot = store.load().await.unwrap();
        assert_eq!((snapshot.users, snapshot.objects), (vec![user], vec![object]));
        store.apply(&[Change::DeleteObject { class: ObjectClass::Rule, id: "r".into() }]).await.unwrap();
        assert!(store.load().await.unwrap().objects.is_empty());
    }
}
