//! The options of connector and action: as written, and checked.

use std::collections::BTreeMap;

use connectors_api::{ConfigError, ConfigProblem, Period, Secret, parse_config};
use engine_event::Template;
use http::Method;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

use crate::headers::{HeaderPlan, check_headers};
use crate::status_set::StatusSet;
use crate::tls::SslFields;
use crate::url_template::{Base, UrlTemplate};

/// Options of a connector of type `http`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConnectorFields {
    /// Scheme, host, port and an optional path prefix: `https://plant.example:8443/ingest`.
    url: String,
    /// Headers of every request; the values are templates. The action's headers win on the same name.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Longest time to open a connection; also the limit of the health check.
    #[serde(default = "connect_timeout_default")]
    connect_timeout: Period,
    /// Connections at most.
    #[serde(default = "pool_size_default")]
    #[schemars(range(min = 1))]
    pool_size: u32,
    /// `hash` sends all rows of one client over the same connection.
    #[serde(default)]
    pool_type: PoolType,
    /// Requests under way on one connection at most. Counts for HTTP/2; HTTP/1.1 has one at a time.
    #[serde(default = "enable_pipelining_default")]
    #[schemars(range(min = 1))]
    enable_pipelining: u32,
    /// A connection that was idle for longer is renewed before use.
    #[serde(default = "max_inactive_default")]
    max_inactive: Period,
    /// TLS.
    #[serde(default)]
    ssl: SslFields,
    /// Credentials of every request.
    #[serde(default)]
    auth: AuthFields,
    /// Accepted for old configurations; without effect.
    #[serde(default)]
    #[allow(dead_code, reason = "accepted and ignored")]
    #[schemars(skip)]
    retry_interval: Option<Json>,
    /// Accepted for old configurations; without effect.
    #[serde(default)]
    #[allow(dead_code, reason = "accepted and ignored")]
    #[schemars(skip)]
    max_retries: Option<Json>,
    /// Accepted for old configurations; without effect.
    #[serde(default)]
    #[allow(dead_code, reason = "accepted and ignored")]
    #[schemars(skip)]
    request: Option<Json>,
}

/// How a row finds its connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PoolType {
    /// Any that is free.
    #[default]
    Random,
    /// The same for all rows of one client.
    Hash,
}

/// Credentials of every request.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum AuthFields {
    /// None.
    #[default]
    None,
    /// `Authorization: Basic …`.
    Basic {
        /// User name.
        username: String,
        /// Password; may be `file://<path>`.
        password: Secret,
    },
    /// `Authorization: Bearer …`.
    Bearer {
        /// Token; may be `file://<path>`.
        token: Secret,
    },
}

/// Options of an action of type `http`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ActionFields {
    /// Method of the request.
    #[serde(default)]
    method: MethodField,
    /// Template, added to the connector's URL; may hold a query string: `/lines/${line}?unit=${unit}`.
    path: Option<String>,
    /// Headers; names and values are templates.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Template of the body. Without it the body is the whole row as JSON; an empty text sends no body. `get`, `head`
    /// and `delete` have none.
    body: Option<String>,
    /// Attempts at once, one after the other, after a transport error; the buffer's own retries come later.
    #[serde(default = "max_retries_default")]
    max_retries: u32,
    /// Statuses that confirm a row.
    #[serde(default = "StatusSet::success")]
    success_status: StatusSet,
    /// Statuses that ask for another attempt later. Every other status rejects the row.
    #[serde(default = "StatusSet::retry")]
    retry_status: StatusSet,
    /// Wait as long as the answer's `Retry-After` asks for.
    #[serde(default = "yes")]
    respect_retry_after: bool,
    /// A slash in a value of the path is written `%2F`, so that data cannot address another resource. `false` keeps
    /// slashes, for paths such as `/ingest/${topic}`.
    #[serde(default = "yes")]
    encode_slash: bool,
}

/// Methods of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MethodField {
    /// POST.
    #[default]
    Post,
    /// PUT.
    Put,
    /// GET, without a body.
    Get,
    /// DELETE, without a body.
    Delete,
    /// PATCH.
    Patch,
    /// HEAD, without a body.
    Head,
}

fn connect_timeout_default() -> Period {
    Period::seconds(15)
}

fn pool_size_default() -> u32 {
    8
}

fn enable_pipelining_default() -> u32 {
    100
}

fn max_inactive_default() -> Period {
    Period::seconds(10)
}

fn max_retries_default() -> u32 {
    2
}

fn yes() -> bool {
    true
}

/// Most connections of one connector, and most requests on one connection.
const POOL_SIZE_LIMIT: u32 = 10_000;

/// Most attempts at once.
const MAX_RETRIES_LIMIT: u32 = 100;

/// Checked options of a connector.
#[derive(Debug)]
pub(crate) struct ConnectorConfig {
    pub(crate) base: Base,
    pub(crate) headers: Vec<HeaderPlan>,
    pub(crate) connect_timeout: Period,
    pub(crate) pool_size: u32,
    pub(crate) pool_type: PoolType,
    pub(crate) enable_pipelining: u32,
    pub(crate) max_inactive: Period,
    pub(crate) ssl: SslFields,
    pub(crate) auth: AuthFields,
}

impl ConnectorConfig {
    /// Reads and checks the options; reports every problem.
    pub(crate) fn read(config: &Json) -> Result<Self, ConfigError> {
        let fields: ConnectorFields = parse_config(config)?;
        let mut problems = Vec::new();
        for (name, value) in
            [("pool_size", fields.pool_size), ("enable_pipelining", fields.enable_pipelining)]
        {
            if !(1..=POOL_SIZE_LIMIT).contains(&value) {
                problems.push(ConfigProblem::new(
                    name,
                    format!("expected an integer from 1 to {POOL_SIZE_LIMIT}, got {value}"),
                ));
            }
        }
        if fields.connect_timeout.duration().is_zero() {
            problems.push(ConfigProblem::new("connect_timeout", "expected a duration longer than 0ms"));
        }
        let base = match Base::read(&fields.url) {
            Ok(base) => Some(base),
            Err(message) => {
                problems.push(ConfigProblem::new("url", message));
                None
            }
        };
        let https = base.as_ref().is_some_and(|base| base.https);
        fields.ssl.check(https, &mut problems);
        let headers = check_headers(&fields.headers, &mut problems);
        if !matches!(fields.auth, AuthFields::None)
            && headers.iter().any(|header| header.is_named("authorization"))
        {
            problems.push(ConfigProblem::new(
                "headers.authorization",
                "`auth` sets this header; remove one of the two",
            ));
        }
        if let AuthFields::Basic { username, .. } = &fields.auth
            && username.contains(':')
        {
            problems.push(ConfigProblem::new("auth.username", "a user name cannot hold a colon"));
        }
        ConfigError::unless_empty(problems)?;
        Ok(Self {
            base: base.expect("a URL that was not read is a problem"),
            headers,
            connect_timeout: fields.connect_timeout,
            pool_size: fields.pool_size,
            pool_type: fields.pool_type,
            enable_pipelining: fields.enable_pipelining,
            max_inactive: fields.max_inactive,
            ssl: fields.ssl,
            auth: fields.auth,
        })
    }
}

/// What a request carries.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Body {
    /// Nothing.
    None,
    /// The whole row as JSON.
    Row,
    /// A rendered template.
    Template(Template),
}

/// Checked options of an action.
#[derive(Debug)]
pub(crate) struct ActionConfig {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) encode_slash: bool,
    pub(crate) headers: Vec<HeaderPlan>,
    pub(crate) body: Body,
    pub(crate) max_retries: u32,
    pub(crate) success_status: StatusSet,
    pub(crate) retry_status: StatusSet,
    pub(crate) respect_retry_after: bool,
}

impl ActionConfig {
    /// Reads and checks the options; reports every problem.
    pub(crate) fn read(parameters: &Json) -> Result<Self, ConfigError> {
        let fields: ActionFields = parse_config(parameters)?;
        let mut problems = Vec::new();
        let path = fields.path.unwrap_or_default();
        if let Err(message) = UrlTemplate::new(&path, fields.encode_slash) {
            problems.push(ConfigProblem::new("path", message));
        }
        let headers = check_headers(&fields.headers, &mut problems);
        if fields.max_retries > MAX_RETRIES_LIMIT {
            problems.push(ConfigProblem::new(
                "max_retries",
                format!("expected an integer from 0 to {MAX_RETRIES_LIMIT}, got {}", fields.max_retries),
            ));
        }
        if fields.success_status.overlaps(&fields.retry_status) {
            problems.push(ConfigProblem::new(
                "retry_status",
                "a status cannot be in `success_status` and in `retry_status`",
            ));
        }
        ConfigError::unless_empty(problems)?;
        Ok(Self {
            method: fields.method.method(),
            path,
            encode_slash: fields.encode_slash,
            headers,
            body: match fields.body {
                _ if !fields.method.has_body() => Body::None,
                None => Body::Row,
                Some(text) if text.is_empty() => Body::None,
                Some(text) => Body::Template(Template::new(&text)),
            },
            max_retries: fields.max_retries,
            success_status: fields.success_status,
            retry_status: fields.retry_status,
            respect_retry_after: fields.respect_retry_after,
        })
    }
}

impl MethodField {
    fn method(self) -> Method {
        match self {
            Self::Post => Method::POST,
            Self::Put => Method::PUT,
            Self::Get => Method::GET,
            Self::Delete => Method::DELETE,
            Self::Patch => Method::PATCH,
            Self::Head => Method::HEAD,
        }
    }

    fn has_body(self) -> bool {
        matches!(self, Self::Post | Self::Put | Self::Patch)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check_connector(config: Json, want: &str) {
        let found = ConnectorConfig::read(&config).err().map_or(String::new(), |error| error.to_string());
        assert!(if want.is_empty() { found.is_empty() } else { found.contains(want) }, "{config}: `{found}`");
    }

    #[test]
    fn a_connector_that_cannot_work_is_refused_with_the_place() {
        check_connector(json!({"url": "http://a"}), "");
        check_connector(json!({"url": "https://a:8443/x/y", "headers": {"x-a": "${a}"}}), "");
        check_connector(json!({"url": "http://[::1]:80/", "pool_type": "hash", "max_inactive": "1m"}), "");
        check_connector(json!({}), "missing field `url`");
        check_connector(json!({"url": "a.example"}), "url: expected `http://`");
        check_connector(json!({"url": "ftp://a"}), "url: expected `http://`");
        check_connector(
            json!({"url": "http://${host}/x"}),
            "url: scheme, host and port cannot hold a placeholder",
        );
        check_connector(json!({"url": "http://u:p@h/"}), "url: credentials belong into `auth`");
        check_connector(json!({"url": "http://h:99999/"}), "url: ");
        check_connector(json!({"url": "http://h/a#b"}), "url: ");
        check_connector(
            json!({"url": "http://h/?a=b"}),
            "url: a query string belongs into the action's `path`",
        );
        check_connector(json!({"url": "http://h", "pool_size": 0}), "pool_size: expected an integer from 1");
        check_connector(json!({"url": "http://h", "connect_timeout": "0s"}), "connect_timeout: ");
        check_connector(json!({"url": "http://h", "connect_timeout": "soon"}), "connect_timeout: ");
        check_connector(json!({"url": "http://h", "headers": {"a b": "x"}}), "headers.a b: ");
        check_connector(
            json!({"url": "http://h", "headers": {"content-length": "1"}}),
            "headers.content-length: ",
        );
        check_connector(json!({"url": "http://h", "headers": {"x": "a\nb"}}), "headers.x: ");
        check_connector(json!({"url": "http://h", "ssl": {"enable": true}}), "ssl.enable: ");
        check_connector(
            json!({"url": "http://h", "auth": {"type": "bearer", "token": "t"}, "headers": {"Authorization": "x"}}),
            "headers.authorization: `auth` sets this header",
        );
        check_connector(
            json!({"url": "http://h", "auth": {"type": "basic", "username": "a:b", "password": "p"}}),
            "auth.username: ",
        );
        check_connector(
            json!({"url": "http://h", "auth": {"type": "digest"}}),
            "auth.type: unknown variant `digest`",
        );
        check_connector(json!({"url": "http://h", "pool": 1}), "unknown field `pool`");
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let error =
            ConnectorConfig::read(&json!({"url": "x", "pool_size": 0, "headers": {"a b": ""}})).unwrap_err();
        let paths: Vec<&str> = error.0.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, ["pool_size", "url", "headers.a b"]);
    }

    #[track_caller]
    fn check_action(parameters: Json, want: &str) {
        let found = ActionConfig::read(&parameters).err().map_or(String::new(), |error| error.to_string());
        assert!(
            if want.is_empty() { found.is_empty() } else { found.contains(want) },
            "{parameters}: `{found}`"
        );
    }

    #[test]
    fn an_action_that_cannot_work_is_refused_with_the_place() {
        check_action(json!({}), "");
        check_action(
            json!({"method": "put", "path": "/a/${b}?c=${d}", "headers": {"${k}": "${v}"}, "body": ""}),
            "",
        );
        check_action(json!({"success_status": [200, "202-204"], "retry_status": [429]}), "");
        check_action(json!({"method": "connect"}), "method: unknown variant `connect`");
        check_action(json!({"path": "/a/../b"}), "path: ");
        check_action(json!({"path": "/a#b"}), "path: ");
        check_action(json!({"max_retries": 1000}), "max_retries: ");
        check_action(json!({"max_retries": -1}), "max_retries: ");
        check_action(json!({"retry_status": [200]}), "retry_status: ");
        check_action(json!({"retry_status": ["5xx"]}), "retry_status");
        check_action(json!({"headers": {"transfer-encoding": "chunked"}}), "headers.transfer-encoding: ");
        check_action(json!({"bodi": ""}), "unknown field `bodi`");
    }

    #[test]
    fn secrets_are_not_printed() {
        let config =
            json!({"url": "http://h", "auth": {"type": "basic", "username": "u", "password": "hunter2"}});
        assert!(!format!("{:?}", ConnectorConfig::read(&config).unwrap()).contains("hunter2"));
    }
}
