//! The options of the connector: as written, and checked.

use connectors_api::{ConfigError, ConfigProblem, Period, Secret, parse_config};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;
use sqlx::postgres::PgConnectOptions;

use crate::ssl::SslFields;

/// Port of a server that names none.
const PORT_DEFAULT: u16 = 5432;
/// Statements that a connection keeps prepared; each channel has two.
const STATEMENTS_MAX: usize = 500;

/// Options of a connector of type `pgsql`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConnectorFields {
    /// `host[:port]`; port 5432 unless given, an IPv6 address in brackets.
    server: String,
    /// Database.
    database: String,
    /// User.
    username: String,
    /// Password; may be `file://<path>`.
    #[serde(default)]
    password: Secret,
    /// Connections at most.
    #[serde(default = "pool_size_default")]
    #[schemars(range(min = 1, max = 1000))]
    pool_size: u32,
    /// Longest time to open a connection.
    #[serde(default = "connect_timeout_default")]
    connect_timeout: Period,
    /// Name that the server shows for our connections.
    #[serde(default = "application_name_default")]
    application_name: String,
    /// Parses each statement anew. Needed behind PgBouncer or Supavisor in transaction mode.
    #[serde(default)]
    disable_prepared_statements: bool,
    /// TLS. On means that the server must have it.
    #[serde(default)]
    ssl: SslFields,
    /// Accepted for old configurations: lost connections are always opened again.
    #[serde(default)]
    #[allow(dead_code, reason = "accepted and ignored")]
    #[schemars(skip)]
    auto_reconnect: Option<Json>,
}

fn pool_size_default() -> u32 {
    8
}

fn connect_timeout_default() -> Period {
    Period::seconds(5)
}

fn application_name_default() -> String {
    "sluice".to_owned()
}

/// Options of a connector that can work.
#[derive(Clone, Debug)]
pub(crate) struct ConnectorConfig {
    /// All but the password, which is read at each connect.
    options: PgConnectOptions,
    password: Secret,
    pub(crate) pool_size: u32,
    pub(crate) connect_timeout: std::time::Duration,
    pub(crate) keep_prepared: bool,
}

impl ConnectorConfig {
    /// Reads and checks the connector's own fields.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub(crate) fn read(config: &Json) -> Result<Self, ConfigError> {
        let fields: ConnectorFields = parse_config(config)?;
        let mut problems = Vec::new();
        let (host, port) = read_server(&fields.server).unwrap_or_else(|message| {
            problems.push(ConfigProblem::new("server", message));
            (String::new(), PORT_DEFAULT)
        });
        for (path, text) in [("database", &fields.database), ("username", &fields.username)] {
            if text.is_empty() {
                problems.push(ConfigProblem::new(path, "must not be empty"));
            }
        }
        if !(1..=1000).contains(&fields.pool_size) {
            let message = format!("expected 1 to 1000 connections, got {}", fields.pool_size);
            problems.push(ConfigProblem::new("pool_size", message));
        }
        if fields.connect_timeout.is_infinite() || fields.connect_timeout.duration().is_zero() {
            problems.push(ConfigProblem::new("connect_timeout", "expected a duration such as `5s`"));
        }
        let keep_prepared = !fields.disable_prepared_statements;
        let options = PgConnectOptions::new_without_pgpass()
            .host(&host)
            .port(port)
            .database(&fields.database)
            .username(&fields.username)
            .application_name(&fields.application_name)
            .statement_cache_capacity(if keep_prepared { STATEMENTS_MAX } else { 0 });
        let options = fields.ssl.apply(options, &mut problems);
        ConfigError::unless_empty(problems)?;
        Ok(Self {
            options,
            password: fields.password,
            pool_size: fields.pool_size,
            connect_timeout: fields.connect_timeout.duration(),
            keep_prepared,
        })
    }

    /// What to connect with: the password is read now, so that it may change without an update.
    ///
    /// # Errors
    /// When the password's file cannot be read.
    pub(crate) fn connect_options(&self) -> std::io::Result<PgConnectOptions> {
        // an empty password is a password too: without one, the variable PGPASSWORD would be used
        Ok(self.options.clone().password(&self.password.reveal()?))
    }
}

/// Splits `host[:port]`.
fn read_server(server: &str) -> Result<(String, u16), String> {
    let wrong = || format!("expected `host[:port]`, got `{server}`");
    let (host, port) = match server.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or_else(wrong)?;
            (host, after.strip_prefix(':').or_else(|| after.is_empty().then_some("")).ok_or_else(wrong)?)
        }
        None => server.split_once(':').unwrap_or((server, "")),
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte);
    if host.is_empty() || !host.bytes().all(is_plain) {
        return Err(wrong());
    }
    let port = if port.is_empty() { PORT_DEFAULT } else { port.parse().map_err(|_| wrong())? };
    if port == 0 { Err(wrong()) } else { Ok((host.to_owned(), port)) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn servers_are_split() {
        for (server, host, port) in [
            ("db", "db", 5432),
            ("db.example.com:6000", "db.example.com", 6000),
            ("10.0.0.1:1", "10.0.0.1", 1),
            ("[::1]", "::1", 5432),
            ("[fe80::1%eth0]:99", "fe80::1%eth0", 99),
        ] {
            assert_eq!(read_server(server), Ok((host.to_owned(), port)), "{server}");
        }
        for server in [
            "",
            ":1",
            "db:",
            "db:x",
            "db:70000",
            "db:0",
            "::1",
            "[::1",
            "[::1]x",
            "a b",
            "${host}",
            "postgres://db",
        ] {
            let read = read_server(server);
            // `db:` is a server without a port
            assert!(read.is_err() || server == "db:", "{server}: {read:?}");
        }
    }

    #[test]
    fn all_problems_are_reported_at_once() {
        let config = json!({"server": "", "database": "", "username": "u", "pool_size": 0, "connect_timeout": "infinity"});
        let error = ConnectorConfig::read(&config).expect_err("four problems");
        let paths: Vec<&str> = error.0.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, ["server", "database", "pool_size", "connect_timeout"]);
    }

    #[test]
    fn unknown_and_missing_fields_are_named() {
        let unknown = json!({"server": "db", "database": "d", "username": "u", "pol_size": 1});
        assert!(ConnectorConfig::read(&unknown).expect_err("unknown").to_string().contains("pol_size"));
        assert!(
            ConnectorConfig::read(&json!({"server": "db"}))
                .expect_err("missing")
                .to_string()
                .contains("database")
        );
    }

    #[test]
    fn secrets_are_not_printed() {
        let config = json!({"server": "db", "database": "d", "username": "u", "password": "hunter2"});
        assert!(!format!("{:?}", ConnectorConfig::read(&config).expect("right")).contains("hunter2"));
    }
}
