//! `resource_opts`: health checks of connectors, the buffer of actions.

use std::time::Duration;

use connectors_api::{ByteSize, Capabilities, ConfigProblem, Period};
use engine_event::Template;
use serde::Deserialize;
use serde_json::Value as Json;

use super::fields::{Fields, as_object};

/// How often health is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HealthOptions {
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    pub(crate) jitter: Duration,
}

/// `resource_opts` of a connector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConnectorOptions {
    pub(crate) health: HealthOptions,
    pub(crate) start_after_created: bool,
    pub(crate) start_timeout: Duration,
}

/// What happens to rows when a queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Overflow {
    /// The oldest waiting rows give way.
    #[default]
    DropOldest,
    /// The new rows are refused.
    DropNewest,
    /// As `DropNewest` for rows of published messages, because the broker never waits for a sink.
    Block,
}

/// One request at a time for each lane, or several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum QueryMode {
    Sync,
    #[default]
    Async,
}

/// How a row finds its lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DispatchStrategy {
    /// By the client, whose rows stay in order.
    #[default]
    PerClientid,
    /// Evenly, without order.
    Random,
}

/// Pause between attempts: doubles from `initial` to `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BackoffOptions {
    pub(crate) initial: Duration,
    pub(crate) max: Duration,
    pub(crate) jitter: Jitter,
}

/// Share of the pause that is drawn by lot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Jitter {
    /// All of it: from zero to the pause.
    #[default]
    Full,
    /// None.
    None,
}

/// `resource_opts` of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ActionOptions {
    pub(crate) health: HealthOptions,
    pub(crate) lanes: u16,
    pub(crate) dispatch: DispatchStrategy,
    pub(crate) query_mode: QueryMode,
    /// None: rows live for ever.
    pub(crate) request_ttl: Option<Duration>,
    pub(crate) inflight_window: usize,
    pub(crate) batch_size: usize,
    pub(crate) batch_time: Duration,
    pub(crate) batch_bytes: usize,
    pub(crate) lane_bytes_limit: u64,
    pub(crate) total_bytes_limit: u64,
    pub(crate) overflow: Overflow,
    pub(crate) backoff: BackoffOptions,
    /// None: until the row's time to live.
    pub(crate) max_retries: Option<u32>,
    /// Key whose rows stay in order; none: the client.
    pub(crate) order_by: Option<Template>,
}

const INTERVAL_MIN: Duration = Duration::from_millis(1);
const INTERVAL_MAX: Duration = Duration::from_secs(3600);
const LANES_MAX: u64 = 1024;
const WINDOW_MAX: u64 = 65_536;

/// Reads `resource_opts` of a connector.
pub(crate) fn read_connector_options(
    value: Option<&Json>,
    problems: &mut Vec<ConfigProblem>,
) -> ConnectorOptions {
    let empty = Json::Object(serde_json::Map::new());
    let value = value.unwrap_or(&empty);
    let nothing = serde_json::Map::new();
    let object = as_object(value, "resource_opts", problems).unwrap_or(&nothing);
    let mut fields = Fields::new(object, "resource_opts", problems);
    let options = ConnectorOptions {
        health: read_health(&mut fields),
        start_after_created: fields.take("start_after_created").unwrap_or(true),
        start_timeout: fields.take("start_timeout").unwrap_or(Period::seconds(5)).duration(),
    };
    fields.finish();
    options
}

/// Reads `resource_opts` of an action, whose defaults depend on the connector type.
pub(crate) fn read_action_options(
    value: Option<&Json>,
    capabilities: Capabilities,
    problems: &mut Vec<ConfigProblem>,
) -> ActionOptions {
    let empty = Json::Object(serde_json::Map::new());
    let value = value.unwrap_or(&empty);
    let nothing = serde_json::Map::new();
    let object = as_object(value, "resource_opts", problems).unwrap_or(&nothing);
    let mut fields = Fields::new(object, "resource_opts", problems);
    let request_ttl = read_ttl(&mut fields);
    let options = ActionOptions {
        health: read_health(&mut fields),
        lanes: fields.take_within("worker_pool_size", 1, LANES_MAX).map_or(16, |lanes| lanes as u16),
        dispatch: fields.take("dispatch_strategy").unwrap_or_default(),
        query_mode: fields.take("query_mode").unwrap_or_default(),
        request_ttl,
        inflight_window: read_window(&mut fields),
        batch_size: read_batch_size(&mut fields, capabilities),
        batch_time: read_batch_time(&mut fields, capabilities, request_ttl),
        batch_bytes: read_bytes(&mut fields, "batch_bytes").map_or(usize::MAX, |bytes| bytes as usize),
        lane_bytes_limit: read_queue_bytes(&mut fields),
        total_bytes_limit: read_bytes(&mut fields, "max_total_buffer_bytes").unwrap_or(256 << 20),
        overflow: read_overflow(&mut fields),
        backoff: read_backoff(&mut fields),
        max_retries: read_max_retries(&mut fields),
        order_by: fields.take::<String>("order_by").map(|template| Template::new(&template)),
    };
    read_buffer_mode(&mut fields);
    let _: Option<Period> = fields.take("resume_interval");
    let _: Option<Period> = fields.take("metrics_flush_interval");
    // of connectors in old versions, or without a meaning today
    fields.ignore(&[
        "start_timeout",
        "start_after_created",
        "enable_batch",
        "enable_queue",
        "auto_restart_interval",
        "buffer_seg_bytes",
    ]);
    fields.finish();
    options
}

fn read_health(fields: &mut Fields<'_>) -> HealthOptions {
    let interval = fields.take("health_check_interval").unwrap_or(Period::seconds(15)).duration();
    if !(INTERVAL_MIN..=INTERVAL_MAX).contains(&interval) {
        fields.problem("health_check_interval", "expected a duration from 1ms to 1h");
    }
    let jitter = fields.take("health_check_interval_jitter").unwrap_or(Period::millis(0)).duration();
    if jitter > INTERVAL_MAX {
        fields.problem("health_check_interval_jitter", "expected a duration of at most 1h");
    }
    HealthOptions {
        interval,
        timeout: fields.take("health_check_timeout").unwrap_or(Period::seconds(60)).duration(),
        jitter: jitter.min(INTERVAL_MAX),
    }
}

fn read_ttl(fields: &mut Fields<'_>) -> Option<Duration> {
    let ttl: Period = fields.take_alias("request_ttl", "request_timeout").unwrap_or(Period::seconds(45));
    if ttl.duration().is_zero() {
        fields.problem("request_ttl", "expected a duration of at least 1ms, or `infinity`");
    }
    (!ttl.is_infinite()).then_some(ttl.duration())
}

fn read_window(fields: &mut Fields<'_>) -> usize {
    let old = fields.take_within("async_inflight_window", 1, WINDOW_MAX);
    let window = fields.take_within("inflight_window", 1, WINDOW_MAX).or(old);
    window.map_or(100, |window| window as usize)
}

fn read_batch_size(fields: &mut Fields<'_>, capabilities: Capabilities) -> usize {
    let most = u64::from(capabilities.batch_size_limit.max(1));
    let default = u64::from(capabilities.batch_size_default).clamp(1, most);
    fields.take_within("batch_size", 1, most).unwrap_or(default) as usize
}

/// A batch never waits for more than half the life of its rows.
fn read_batch_time(fields: &mut Fields<'_>, capabilities: Capabilities, ttl: Option<Duration>) -> Duration {
    let default = Period::millis(capabilities.batch_time_ms_default);
    let wait: Period = fields.take("batch_time").unwrap_or(default);
    if wait.is_infinite() {
        fields.problem("batch_time", "expected a duration such as `100ms`: rows cannot wait for ever");
        return Duration::ZERO;
    }
    ttl.map_or(wait.duration(), |ttl| wait.duration().min(ttl / 2))
}

fn read_bytes(fields: &mut Fields<'_>, name: &'static str) -> Option<u64> {
    let bytes = fields.take::<ByteSize>(name)?.get();
    if bytes == 0 {
        fields.problem(name, "expected a size of at least 1 byte");
    }
    Some(bytes)
}

fn read_queue_bytes(fields: &mut Fields<'_>) -> u64 {
    let old = read_bytes(fields, "max_queue_bytes");
    read_bytes(fields, "max_buffer_bytes").or(old).unwrap_or(256 << 20)
}

fn read_overflow(fields: &mut Fields<'_>) -> Overflow {
    let overflow = fields.take("overflow").unwrap_or_default();
    let _: Option<Period> = fields.take("block_timeout");
    overflow
}

fn read_backoff(fields: &mut Fields<'_>) -> BackoffOptions {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Raw {
        initial: Option<Period>,
        max: Option<Period>,
        #[serde(default)]
        jitter: Jitter,
    }
    let raw: Option<Raw> = fields.take("retry_backoff");
    let raw = raw.unwrap_or(Raw { initial: None, max: None, jitter: Jitter::Full });
    let options = BackoffOptions {
        initial: raw.initial.unwrap_or(Period::millis(200)).duration(),
        max: raw.max.unwrap_or(Period::seconds(30)).duration(),
        jitter: raw.jitter,
    };
    if options.initial.is_zero() || options.max < options.initial || options.initial == Duration::MAX {
        fields.problem("retry_backoff", "expected `initial` of at least 1ms and `max` of at least `initial`");
    }
    options
}

fn read_max_retries(fields: &mut Fields<'_>) -> Option<u32> {
    match fields.raw("max_retries")? {
        Json::String(text) if text == "infinity" => None,
        value => match value.as_u64().and_then(|retries| u32::try_from(retries).ok()) {
            Some(retries) => Some(retries),
            None => {
                fields.problem("max_retries", format!("expected an integer or `infinity`, got {value}"));
                None
            }
        },
    }
}

fn read_buffer_mode(fields: &mut Fields<'_>) {
    match fields.raw("buffer_mode").map(|mode| mode.as_str().unwrap_or("")) {
        None | Some("memory_only" | "memory") => {}
        Some("volatile_offload" | "hybrid" | "disk") => {
            fields.problem("buffer_mode", "expected `memory_only`: queues on disk are not in this build");
        }
        Some(_) => fields.problem("buffer_mode", "expected `memory_only`"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const CAPABILITIES: Capabilities = Capabilities {
        batch_size_default: 100,
        batch_time_ms_default: 100,
        batch_size_limit: 1000,
        keeps_order: false,
    };

    fn read(value: Json) -> Result<ActionOptions, Vec<String>> {
        let mut problems = Vec::new();
        let options = read_action_options(Some(&value), CAPABILITIES, &mut problems);
        if problems.is_empty() {
            Ok(options)
        } else {
            Err(problems.iter().map(ToString::to_string).collect())
        }
    }

    #[test]
    fn defaults_follow_the_reference() {
        let options = read(json!({})).unwrap();
        assert_eq!(options.lanes, 16);
        assert_eq!(options.request_ttl, Some(Duration::from_secs(45)));
        assert_eq!((options.inflight_window, options.batch_size), (100, 100));
        assert_eq!(options.batch_time, Duration::from_millis(100));
        assert_eq!(options.lane_bytes_limit, 256 << 20);
        assert_eq!(options.overflow, Overflow::DropOldest);
        assert_eq!(options.max_retries, None);
    }

    #[test]
    fn aliases_and_old_keys_are_read() {
        let options = read(json!({
            "request_timeout": "infinity", "async_inflight_window": 7, "max_queue_bytes": "1MB",
            "start_timeout": "5s", "enable_batch": true
        }))
        .unwrap();
        assert_eq!(options.request_ttl, None);
        assert_eq!(options.inflight_window, 7);
        assert_eq!(options.lane_bytes_limit, 1 << 20);
    }

    #[test]
    fn a_batch_waits_for_at_most_half_the_life_of_a_row() {
        let options = read(json!({"request_ttl": "1s", "batch_time": "10s"})).unwrap();
        assert_eq!(options.batch_time, Duration::from_millis(500));
    }

    #[test]
    fn what_has_no_end_is_refused_where_it_must_end() {
        let problems = read(json!({
            "request_ttl": "infinity", "batch_time": "infinity", "health_check_interval_jitter": "infinity",
            "retry_backoff": {"initial": "infinity", "max": "infinity", "jitter": "none"}
        }))
        .unwrap_err();
        for part in [
            "resource_opts.batch_time:",
            "resource_opts.retry_backoff:",
            "resource_opts.health_check_interval_jitter:",
        ] {
            assert!(problems.iter().any(|problem| problem.starts_with(part)), "{part} in {problems:#?}");
        }
        assert!(read(json!({"retry_backoff": {"max": "infinity"}, "request_ttl": "infinity"})).is_ok());
    }

    #[test]
    fn every_problem_is_named() {
        let problems = read(json!({
            "worker_pool_size": 0, "batch_siz": 3, "request_ttl": "soon", "overflow": "explode",
            "batch_size": 5000, "buffer_mode": "disk", "max_retries": -1
        }))
        .unwrap_err();
        for part in [
            "resource_opts.worker_pool_size: expected an integer from 1 to 1024, got 0",
            "resource_opts.batch_siz: no such field, did you mean `batch_size`?",
            "resource_opts.request_ttl: expected a duration",
            "resource_opts.overflow: unknown variant `explode`",
            "resource_opts.batch_size: expected an integer from 1 to 1000, got 5000",
            "resource_opts.buffer_mode: expected `memory_only`",
            "resource_opts.max_retries: expected an integer",
        ] {
            assert!(problems.iter().any(|problem| problem.starts_with(part)), "{part} in {problems:#?}");
        }
    }
}
