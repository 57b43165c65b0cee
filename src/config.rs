//! The server's configuration file: described once here; validation, JSON Schema and reference come from it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use api::SlowSubsSettings;
use connectors_api::{ByteSize, ConfigProblem, Period, parse_config};
use engine_sql::functions::{JQ_TIME_LIMIT_MS, JQ_TIME_LIMIT_MS_MAX};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::editions::Edition;
use crate::listener_config::Listeners;
use crate::messaging::{self, AutoSubscribe, Delayed, Messaging, Rewrite, SysTopics};
use crate::mqtt_config::Mqtt;
use crate::queue_config::Count;
use crate::toml_file::{Problem, TomlFile};
use crate::watermark::Watermark;
use crate::zones::{self, Zone, Zones};

/// Settings of one server. Every field has a default; an empty file is a valid one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Which connectors may be used. Also `--edition`, `SLUICE_EDITION`.
    pub(crate) edition: Edition,
    /// Name of this node in events, `$SYS` topics and API answers.
    pub(crate) node: String,
    /// Where state is kept; one server process at a time. Also `--data-dir`, `SLUICE_DATA_DIR`.
    pub(crate) data_dir: PathBuf,
    /// Folders or files with connectors, actions and rules (`*.toml`), read again when they change. Also `--rules`.
    pub(crate) rules: Vec<PathBuf>,
    /// Where clients connect.
    pub(crate) listeners: Listeners,
    /// Limits and defaults of the protocol.
    pub(crate) mqtt: Mqtt,
    /// What is different for the clients of listeners that name a zone, by its name.
    pub(crate) zones: BTreeMap<String, Zone>,
    /// What the broker does with messages of single groups.
    pub(crate) broker: Messaging,
    /// What is published under `$SYS`.
    pub(crate) sys_topics: SysTopics,
    /// Messages that are published later.
    pub(crate) delayed: Delayed,
    /// Rules that rename topics; of several whose filters match the last one holds.
    pub(crate) rewrite: Vec<Rewrite>,
    /// Subscriptions that every client gets when it connects.
    pub(crate) auto_subscribe: AutoSubscribe,
    /// What survives the end of the process.
    pub(crate) durable_sessions: DurableSessions,
    /// Who may connect.
    pub(crate) access: Access,
    /// Bans of clients that connect and disconnect over and over.
    pub(crate) flapping_detect: FlappingDetect,
    /// When a subscription counts as slow. What stands here cannot be changed through the API.
    pub(crate) slow_subs: Option<SlowSubsSettings>,
    /// What happens when memory is short.
    pub(crate) overload_protection: OverloadProtection,
    /// The end of connections for which too much is kept.
    pub(crate) force_shutdown: ForceShutdown,
    /// Traces.
    pub(crate) trace: Trace,
    /// The rule engine.
    pub(crate) rule_engine: RuleEngine,
    /// The management API.
    pub(crate) api: Api,
    /// Log lines.
    pub(crate) log: Log,
    /// Longest time that a stop waits for clients and for rows on their way to targets.
    pub(crate) shutdown_timeout: Period,
    /// The zones, in full.
    #[serde(skip)]
    pub(crate) resolved_zones: Zones,
    /// Where `--mqtt` says that `tcp:default` listens.
    #[serde(skip)]
    pub(crate) mqtt_flag: Option<SocketAddr>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            edition: Edition::default(),
            node: "sluice@127.0.0.1".to_owned(),
            data_dir: "data".into(),
            rules: Vec::new(),
            listeners: Listeners::default(),
            mqtt: Mqtt::default(),
            zones: BTreeMap::new(),
            resolved_zones: Zones::new(),
            broker: Messaging::default(),
            sys_topics: SysTopics::default(),
            delayed: Delayed::default(),
            rewrite: Vec::new(),
            auto_subscribe: AutoSubscribe::default(),
            durable_sessions: DurableSessions::default(),
            access: Access::default(),
            flapping_detect: FlappingDetect::default(),
            slow_subs: None,
            overload_protection: OverloadProtection::default(),
            force_shutdown: ForceShutdown::default(),
            trace: Trace::default(),
            rule_engine: RuleEngine::default(),
            api: Api::default(),
            log: Log::default(),
            shutdown_timeout: Period::seconds(30),
            mqtt_flag: None,
        }
    }
}

/// Sessions that outlive their connection, what waits in them, and retained messages: on disk in `sessions` in the data
/// directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DurableSessions {
    /// Whether they are on disk; otherwise they are in memory and end with the process.
    pub(crate) enable: bool,
    /// What an acknowledgement waits for.
    pub(crate) durability: Durability,
    /// Space on disk. From 7/16 of it on nothing new is stored: messages that need it are refused.
    pub(crate) max_bytes: ByteSize,
    /// Longest time to wait for others before a sync; a lone message does not wait.
    pub(crate) commit_window: Period,
}

impl Default for DurableSessions {
    fn default() -> Self {
        Self {
            enable: true,
            durability: Durability::default(),
            max_bytes: ByteSize::mebibytes(4096),
            commit_window: Period::millis(1),
        }
    }
}

/// What an acknowledgement waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Durability {
    /// For nothing: sessions are in memory, as without `enable`.
    None,
    /// For the operating system: what it acknowledges survives the end of the process, not a power cut.
    Os,
    /// For the disk.
    #[default]
    Fsync,
}

/// Who may connect.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Access {
    /// Accept clients without an authenticator from everywhere; otherwise from loopback only.
    pub(crate) allow_anonymous: bool,
}

/// Bans of clients that connect and disconnect over and over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FlappingDetect {
    /// Whether they are looked for.
    pub(crate) enable: bool,
    /// Disconnects are counted within this time.
    pub(crate) window_time: Period,
    /// So many of them lead to a ban.
    pub(crate) max_count: u32,
    /// How long the ban lasts.
    pub(crate) ban_time: Period,
    /// Whose disconnects are counted together, and who is banned.
    pub(crate) key: FlappingKey,
}

impl FlappingDetect {
    /// What the types alone do not rule out; `prefix` is where they stand.
    pub(crate) fn problems(&self, prefix: &str) -> Vec<ConfigProblem> {
        let zero = |period: Period| period.duration().is_zero();
        let wrong = [
            ("max_count", self.max_count == 0, "at least 1", self.max_count.to_string()),
            ("window_time", zero(self.window_time), "more than no time", self.window_time.to_string()),
            ("ban_time", zero(self.ban_time), "more than no time", self.ban_time.to_string()),
        ];
        let wrong = wrong.into_iter().filter(|(_, is_wrong, ..)| *is_wrong);
        wrong
            .map(|(name, _, expected, found)| {
                ConfigProblem::new(format!("{prefix}{name}"), format!("expected {expected}, got `{found}`"))
            })
            .collect()
    }
}

/// Whose disconnects are counted together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FlappingKey {
    /// Those of a client id.
    #[default]
    ClientId,
    /// Those of a user name.
    Username,
    /// Those of an address, and CONNECTs from it that were refused.
    PeerHost,
}

impl Default for FlappingDetect {
    fn default() -> Self {
        Self {
            enable: false,
            window_time: Period::seconds(60),
            max_count: 15,
            ban_time: Period::seconds(300),
            key: FlappingKey::default(),
        }
    }
}

/// What happens when memory is short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct OverloadProtection {
    /// From so much memory in use on, new clients are refused, and clients whose messages have to wait are paused, until
    /// it is a tenth less: a share of the memory that there is, a size, or `infinity`.
    pub(crate) memory_high_watermark: Watermark,
}

impl Default for OverloadProtection {
    fn default() -> Self {
        Self { memory_high_watermark: Watermark::Percent(70) }
    }
}

/// The end of connections for which too much is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ForceShutdown {
    /// Whether they are looked for, about once a second.
    pub(crate) enable: bool,
    /// Messages that may wait for a connected client; `infinity` or 0: no limit.
    pub(crate) max_mailbox_size: Count,
    /// Bytes that may wait for it, be under way to it, or wait at its connection; 0: no limit.
    pub(crate) max_heap_size: ByteSize,
}

impl Default for ForceShutdown {
    fn default() -> Self {
        Self { enable: false, max_mailbox_size: Count(1000), max_heap_size: ByteSize::mebibytes(32) }
    }
}

/// Traces: every step of a client, a topic, an address or a rule, in a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Trace {
    /// Size at which a trace ends; at most 2GB.
    pub(crate) max_file_size: ByteSize,
}

impl Default for Trace {
    fn default() -> Self {
        Self { max_file_size: ByteSize::mebibytes(512) }
    }
}

/// The rule engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RuleEngine {
    /// Whether messages on `$SYS/…` leave rules alone.
    pub(crate) ignore_sys_message: bool,
    /// Memory for the rows of all actions together; `0`: a quarter of the machine's memory.
    pub(crate) queue_memory: ByteSize,
    /// Time of a `jq` call that names none, at most 1 s. Rules run where clients are served: those of one thread wait
    /// while a program runs.
    pub(crate) jq_function_default_timeout: Period,
}

impl Default for RuleEngine {
    fn default() -> Self {
        Self {
            ignore_sys_message: true,
            queue_memory: ByteSize::bytes(0),
            jq_function_default_timeout: Period::millis(JQ_TIME_LIMIT_MS),
        }
    }
}

/// The management API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Api {
    /// Whether it is started.
    pub(crate) enable: bool,
    /// Address and port. Also `--api`.
    pub(crate) bind: SocketAddr,
    /// File with lines `key:secret[:role]`, read at each start. Also `--api-keys`.
    pub(crate) api_keys: Option<PathBuf>,
    /// How long a login lasts without use.
    pub(crate) token_expired_time: Period,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            enable: true,
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 18083)),
            api_keys: None,
            token_expired_time: Period::seconds(3600),
        }
    }
}

/// Log lines, on standard error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or per part: `info,broker_net=debug`. Also `SLUICE_LOG`.
    pub(crate) level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned() }
    }
}

/// Reads and checks a configuration file.
///
/// # Errors
/// Every problem with its place.
pub(crate) fn read(path: &Path) -> Result<Config, Vec<Problem>> {
    check(&TomlFile::read(path).map_err(|problem| vec![problem])?)
}

/// Checks a configuration file that was read.
///
/// # Errors
/// Every problem with its place.
pub(crate) fn check(file: &TomlFile) -> Result<Config, Vec<Problem>> {
    let mut config: Config = parse_config(&file.json).map_err(|error| {
        let problems = problems_one_by_one(file);
        if problems.is_empty() { file.problems("", &error) } else { problems }
    })?;
    config.listeners.complete(file.json.get("listeners").unwrap_or(&Json::Null));
    let problems: Vec<Problem> =
        config.problems().into_iter().map(|problem| file.problem(&problem.path, problem.message)).collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    config.resolved_zones = zones::resolve(&config).unwrap_or_default(); // it is no problem
    Ok(config)
}

/// Reading stops at the first problem; but each setting has a default, so that each can be read alone.
fn problems_one_by_one(file: &TomlFile) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut sound = Json::Object(Map::new());
    let mut settings = Vec::new();
    collect_settings(&file.json, &mut Vec::new(), &mut settings);
    for (path, value) in settings {
        let mut alone = Json::Object(Map::new());
        put(&mut alone, &path, value);
        match parse_config::<Config>(&alone) {
            Ok(_) => put(&mut sound, &path, value),
            Err(error) => problems.extend(file.problems("", &error)),
        }
    }
    if let Ok(config) = parse_config::<Config>(&sound) {
        problems.extend(config.problems().into_iter().map(|found| file.problem(&found.path, found.message)));
    }
    problems.sort_by_key(|problem| (problem.line, problem.column));
    problems.dedup();
    problems
}

/// Lists the values that are not tables, and empty tables, with their paths.
fn collect_settings<'a>(
    value: &'a Json,
    path: &mut Vec<&'a str>,
    settings: &mut Vec<(Vec<&'a str>, &'a Json)>,
) {
    match value {
        Json::Object(table) if !table.is_empty() => {
            for (key, value) in table {
                path.push(key);
                collect_settings(value, path, settings);
                path.pop();
            }
        }
        value => settings.push((path.clone(), value)),
    }
}

fn put(target: &mut Json, path: &[&str], value: &Json) {
    let Some((key, rest)) = path.split_first() else {
        *target = value.clone();
        return;
    };
    if let Json::Object(table) = target {
        put(table.entry(*key).or_insert_with(|| Json::Object(Map::new())), rest, value);
    }
}

impl Config {
    /// What the types alone do not rule out.
    fn problems(&self) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        let mut require = |path: &str, holds: bool, expected: &str, found: &dyn std::fmt::Display| {
            if !holds {
                problems.push(ConfigProblem::new(path, format!("expected {expected}, got `{found}`")));
            }
        };
        let sys = &self.sys_topics;
        for (name, interval) in [("msg", sys.sys_msg_interval), ("heartbeat", sys.sys_heartbeat_interval)] {
            let holds = interval.duration().as_millis() >= 1000;
            require(
                &format!("sys_topics.sys_{name}_interval"),
                holds,
                "1s or more, or `disabled`",
                &interval,
            );
        }
        let trace_size = self.trace.max_file_size;
        require(
            "trace.max_file_size",
            (64 * 1024..=2 << 30).contains(&trace_size.get()),
            "64KB to 2GB",
            &trace_size,
        );
        let jq_time = self.rule_engine.jq_function_default_timeout;
        require(
            "rule_engine.jq_function_default_timeout",
            (1..=u128::from(JQ_TIME_LIMIT_MS_MAX)).contains(&jq_time.duration().as_millis()),
            "1ms to 1s",
            &jq_time,
        );
        require("node", self.node.contains('@'), "a name such as `sluice@10.0.0.1`", &self.node);
        let durable = &self.durable_sessions;
        require(
            "durable_sessions.max_bytes",
            durable.max_bytes.get() >= ByteSize::mebibytes(64).get(),
            "at least 64MB",
            &durable.max_bytes,
        );
        require(
            "durable_sessions.commit_window",
            durable.commit_window.duration().as_millis() <= 1000,
            "0ms to 1s",
            &durable.commit_window,
        );
        let level = tracing_subscriber::EnvFilter::try_new(&self.log.level);
        require(
            "log.level",
            level.is_ok(),
            "a level such as `info`, or `info,broker_net=debug`",
            &self.log.level,
        );
        problems.extend(messaging::problems(self));
        problems.extend(self.mqtt.problems("mqtt."));
        problems.extend(self.flapping_detect.problems("flapping_detect."));
        problems.extend(zones::resolve(self).err().into_iter().flatten());
        for (kind, name, listener) in self.listeners.all() {
            if let Err(message) = zones::check_name(&listener.zone, &self.zones) {
                let path = format!("listeners.{}.{name}.zone", kind.as_str());
                problems.push(ConfigProblem::new(path, message));
            }
        }
        let slow = self.slow_subs.as_ref().and_then(SlowSubsSettings::problem);
        problems
            .extend(slow.map(|(field, message)| ConfigProblem::new(format!("slow_subs.{field}"), message)));
        let below = |problem: ConfigProblem| {
            ConfigProblem::new(format!("listeners.{}", problem.path), problem.message)
        };
        problems.extend(self.listeners.problems().into_iter().map(below));
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn problem(text: &str) -> String {
        let file = TomlFile::parse(Path::new("sluice.toml"), text.to_owned()).expect("TOML");
        let problems = check(&file).expect_err("a problem");
        problems
            .iter()
            .map(|p| format!("{}:{} {}", p.line, p.column, p.message))
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn an_empty_file_is_the_default() {
        let file = TomlFile::parse(Path::new("sluice.toml"), String::new()).unwrap();
        assert_eq!(check(&file).unwrap(), Config::default());
    }

    #[test]
    fn the_listener_default_stays_beside_others() {
        let file = TomlFile::parse(Path::new("sluice.toml"), "[listeners.tcp.x]\nbind = 1884".to_owned());
        let listeners = check(&file.unwrap()).unwrap().listeners;
        assert_eq!(listeners.tcp.keys().collect::<Vec<_>>(), ["default", "x"]);
        assert!(listeners.tcp["default"].enable);
        assert_eq!(listeners.declared.into_iter().collect::<Vec<_>>(), ["tcp:x"]);
    }

    #[test]
    fn problems_name_place_found_and_expected() {
        assert!(problem("edition = 'pro'").starts_with("1:11 edition: unknown variant `pro`"));
        assert_eq!(
            problem("[mqtt]\nmax_inflight = 0\nkeepalive_multiplier = 0.5"),
            "2:16 mqtt.max_inflight: expected 1 to 65535, got `0`\n\
             3:24 mqtt.keepalive_multiplier: expected 1 to 10, got `0.5`"
        );
        assert_eq!(
            problem("node = 'x'\n[mqtt]\nmax_inflight = 70000\n[api]\nbind = 1\n[nonsense]\na = 1\nb = 1")
                .lines()
                .map(|line| line.split(':').next().unwrap().to_owned())
                .collect::<Vec<_>>(),
            ["1", "3", "5", "6"],
            "every one of them"
        );
        assert_eq!(
            problem("[rule_engine]\njq_function_default_timeout = '10s'"),
            "2:31 rule_engine.jq_function_default_timeout: expected 1ms to 1s, got `10s`"
        );
        assert_eq!(
            problem("[sys_topics]\nsys_msg_interval = 'disabled'\nsys_heartbeat_interval = 0"),
            "3:26 sys_topics.sys_heartbeat_interval: expected 1s or more, or `disabled`, got `0ms`"
        );
        assert_eq!(
            problem("[[rewrite]]\naction = 'all'\nsource_topic = 'a/#/b'\nre = '^a'\ndest_topic = 'b'"),
            "3:16 rewrite[0].source_topic: `#` at byte 2 is not the last level of the filter"
        );
        assert_eq!(
            problem(
                "[[auto_subscribe.topics]]\ntopic = 'c/${clientid}'\nqos = 3\n[[auto_subscribe.topics]]\ntopic = ''"
            ),
            "3:7 auto_subscribe.topics[0].qos: expected 0 to 2, got `3`\n\
             5:9 auto_subscribe.topics[1].topic: topic is empty"
        );
        assert!(problem("[mqtt]\nidle_timout = '3s'").contains("did you mean `idle_timeout`?"));
        assert!(
            problem("[mqtt]\nidle_timeout = '3 parsecs'")
                .contains("2:16 mqtt.idle_timeout: expected a duration")
        );
        assert!(
            problem("[listeners.ssl.x]\nbind = 8883\n[listeners.ssl.x.ssl_options]\ncertfile = 'c'")
                .ends_with("listeners.ssl.x.ssl_options: `certfile` and `keyfile` are needed")
        );
        assert!(
            problem("[listeners.tcp.default]\nbind = 'localhost'")
                .starts_with("2:8 listeners.tcp.default.bind:")
        );
    }
}
