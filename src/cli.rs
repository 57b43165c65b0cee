//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::editions::Edition;

/// MQTT server with a SQL rule engine and data integration inside.
#[derive(Debug, Parser)]
#[command(name = "sluice", version)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the server.
    Start(Start),
    /// Check configuration and rule files without starting.
    Check(Check),
    /// Run rule folders: rules on events, compared with the rows that are expected.
    Test(Test),
    /// Evaluate SQL on events, one JSON object a line in, one line out.
    Eval(Eval),
    /// Publish messages to any MQTT server.
    Pub(Publish),
    /// Subscribe at any MQTT server and print what comes.
    Sub(Subscribe),
    /// Ask or steer the server that runs on this machine.
    Ctl(Ctl),
}

/// A flag wins over the environment, which wins over the file.
#[derive(Debug, Default, Args)]
pub(crate) struct Start {
    /// Configuration file (TOML); without one the defaults hold.
    #[arg(long, short, value_name = "FILE", env = "SLUICE_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Where state is kept.
    #[arg(long, value_name = "DIR", env = "SLUICE_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Address and port of the MQTT listener `default`; port 0 takes any free one.
    #[arg(long, value_name = "ADDR:PORT", env = "SLUICE_MQTT", value_parser = socket_address)]
    pub(crate) mqtt: Option<SocketAddr>,
    /// Address and port of the management API; port 0 takes any free one.
    #[arg(long, value_name = "ADDR:PORT", env = "SLUICE_API", value_parser = socket_address)]
    pub(crate) api: Option<SocketAddr>,
    /// `community` or `enterprise`.
    #[arg(long, value_name = "EDITION", env = "SLUICE_EDITION")]
    pub(crate) edition: Option<Edition>,
    /// Folder or file with connectors, actions and rules; may be given several times.
    #[arg(long, value_name = "DIR")]
    pub(crate) rules: Vec<PathBuf>,
    /// File with API keys, a line each: `key:secret[:role]`.
    #[arg(long, value_name = "FILE")]
    pub(crate) api_keys: Option<PathBuf>,
}

fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "expected an IP address and a port, like `127.0.0.1:1883` or `[::1]:1883`".to_owned())
}

/// Files to check.
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Configuration files, rule files, or folders with rule files.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

/// What to test.
#[derive(Debug, Args)]
pub(crate) struct Test {
    /// Folders with rules (`*.toml`), `events.jsonl` and `expected.jsonl`, or folders of such folders.
    #[arg(required = true, value_name = "DIR")]
    pub(crate) folders: Vec<PathBuf>,
    /// Write what the rules give to `expected.jsonl` in place of comparing.
    #[arg(long)]
    pub(crate) accept: bool,
}

/// How to evaluate.
#[derive(Debug, Args)]
pub(crate) struct Eval {
    /// SQL for lines that are plain events; a line with an `sql` of its own uses that.
    #[arg(long, value_name = "SQL")]
    pub(crate) sql: Option<String>,
}

/// Where a client connects, and as whom.
#[derive(Clone, Debug, Args)]
pub(crate) struct ClientOptions {
    /// Host name or address.
    #[arg(long, short = 'H', default_value = "127.0.0.1")]
    pub(crate) host: String,
    /// Port.
    #[arg(long, short = 'p', default_value_t = 1883)]
    pub(crate) port: u16,
    /// Client id; one is made up when it is not given.
    #[arg(long, short = 'i')]
    pub(crate) id: Option<String>,
    /// User name.
    #[arg(long, short = 'u')]
    pub(crate) username: Option<String>,
    /// Password.
    #[arg(long, short = 'P')]
    pub(crate) password: Option<String>,
    /// Keep alive in seconds.
    #[arg(long, short = 'k', default_value_t = 60)]
    pub(crate) keepalive: u16,
    /// 0, 1 or 2.
    #[arg(long, short = 'q', default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    pub(crate) qos: u8,
}

/// What to publish.
#[derive(Clone, Debug, Args)]
pub(crate) struct Publish {
    /// Where to connect.
    #[command(flatten)]
    pub(crate) client: ClientOptions,
    /// Topic; `%i` is replaced by the number of the message, from 1.
    #[arg(long, short = 't')]
    pub(crate) topic: String,
    /// Payload; `%i` is replaced by the number of the message. Without it, each line of standard input is a message.
    #[arg(long, short = 'm')]
    pub(crate) message: Option<String>,
    /// Keep the message for later subscribers.
    #[arg(long, short = 'r')]
    pub(crate) retain: bool,
    /// Send the message this many times.
    #[arg(long, short = 'n', default_value_t = 1)]
    pub(crate) count: u64,
    /// Milliseconds between messages.
    #[arg(long, default_value_t = 0)]
    pub(crate) interval: u64,
}

/// What to subscribe to.
#[derive(Clone, Debug, Args)]
pub(crate) struct Subscribe {
    /// Where to connect.
    #[command(flatten)]
    pub(crate) client: ClientOptions,
    /// Topic filter; may be given several times.
    #[arg(long, short = 't', required = true)]
    pub(crate) topic: Vec<String>,
    /// Print the topic before the payload.
    #[arg(long, short = 'v')]
    pub(crate) verbose: bool,
    /// Stop after this many messages.
    #[arg(long, short = 'C')]
    pub(crate) count: Option<u64>,
}

/// What to ask or steer.
#[derive(Debug, Args)]
pub(crate) struct Ctl {
    /// Data directory of the server.
    #[arg(long, value_name = "DIR", env = "SLUICE_DATA_DIR", default_value = "data")]
    pub(crate) data_dir: PathBuf,
    /// Print JSON as the API gives it.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: CtlCommand,
}

/// What to ask or steer.
#[derive(Debug, Subcommand)]
pub(crate) enum CtlCommand {
    /// Is the server up?
    Status,
    /// The server and its gauges and counters.
    Broker {
        /// What to show; without it version and uptime.
        #[command(subcommand)]
        command: Option<BrokerCommand>,
    },
    /// Topic filters that somebody has subscribed to.
    Topics {
        /// What to do.
        #[command(subcommand)]
        command: TopicsCommand,
    },
    /// Subscriptions.
    Subscriptions {
        /// What to do.
        #[command(subcommand)]
        command: SubscriptionsCommand,
    },
    /// Clients: connected, and sessions of those that are away.
    Clients {
        /// What to do.
        #[command(subcommand)]
        command: ClientsCommand,
    },
    /// The ban list: who may not connect.
    Banned {
        /// What to do.
        #[command(subcommand)]
        command: BannedCommand,
    },
    /// Counters of single topics.
    TopicMetrics {
        /// What to do.
        #[command(subcommand)]
        command: TopicMetricsCommand,
    },
    /// Subscriptions whose messages take long.
    SlowSubs {
        /// What to do.
        #[command(subcommand)]
        command: SlowSubsCommand,
    },
    /// Traces that last until they are stopped, named after whom they follow.
    Trace {
        /// What to do.
        #[command(subcommand)]
        command: TraceCommand,
    },
    /// Traces with a name and an end.
    Traces {
        /// What to do.
        #[command(subcommand)]
        command: TracesCommand,
    },
    /// Rules.
    Rules {
        /// What to do.
        #[command(subcommand)]
        command: RulesCommand,
    },
    /// Connectors.
    Connectors {
        /// What to do.
        #[command(subcommand)]
        command: ObjectsCommand,
    },
    /// Actions.
    Actions {
        /// What to do.
        #[command(subcommand)]
        command: ObjectsCommand,
    },
    /// Listeners; lists them when nothing else is said.
    Listeners {
        /// What to do.
        #[command(subcommand)]
        command: Option<ListenersCommand>,
    },
}

/// What to show of the server.
#[derive(Debug, Subcommand)]
pub(crate) enum BrokerCommand {
    /// Gauges: how many there are, and were at most.
    Stats,
    /// Counters since the start.
    Metrics,
}

/// What to do with topics.
#[derive(Debug, Subcommand)]
pub(crate) enum TopicsCommand {
    /// List them.
    List,
    /// Show one.
    Show {
        /// Topic filter.
        topic: String,
    },
}

/// What to do with subscriptions.
#[derive(Debug, Subcommand)]
pub(crate) enum SubscriptionsCommand {
    /// List them.
    List,
    /// Show those of one client.
    Show {
        /// Client id.
        client_id: String,
    },
}

/// What to do with clients.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientsCommand {
    /// List them.
    List,
    /// Show one.
    Show {
        /// Client id.
        client_id: String,
    },
    /// End a client's connection and its session.
    Kick {
        /// Client id.
        client_id: String,
    },
}

/// What to do with listeners.
#[derive(Debug, Subcommand)]
pub(crate) enum ListenersCommand {
    /// List them.
    List,
    /// Accept connections.
    Start {
        /// `type:name`, such as `tcp:default`.
        id: String,
    },
    /// Accept nothing more; clients stay.
    Stop {
        /// `type:name`.
        id: String,
    },
    /// Open one anew; its clients are dropped.
    Restart {
        /// `type:name`.
        id: String,
    },
    /// Switch one on or off, also after a restart of the server.
    Enable {
        /// `type:name`.
        id: String,
        /// `true` or `false`.
        #[arg(action = clap::ArgAction::Set)]
        enable: bool,
    },
}

/// What to do with the ban list.
#[derive(Debug, Subcommand)]
pub(crate) enum BannedCommand {
    /// List it.
    List,
    /// Ban somebody, and end the connections of those who are connected.
    Add {
        /// What WHO is: clientid, username, peerhost, clientid_re, username_re or peerhost_net.
        #[arg(value_name = "AS")]
        kind: String,
        /// Client id, user name, address, regular expression, or network such as 10.0.0.0/8.
        who: String,
        /// Who makes the ban.
        #[arg(long, default_value = "ctl")]
        by: String,
        /// Why.
        #[arg(long, default_value = "")]
        reason: String,
        /// When it ends: RFC 3339, or infinity.
        #[arg(long, default_value = "infinity")]
        until: String,
        /// How long it lasts, such as 30m or 12h, in place of --until.
        #[arg(long = "for", value_name = "TIME", conflicts_with = "until")]
        lasts: Option<String>,
    },
    /// Take a ban back.
    #[command(alias = "del")]
    Delete {
        /// What WHO is, as it was added.
        #[arg(value_name = "AS")]
        kind: String,
        /// Who was banned.
        who: String,
    },
}

/// What to do with counters of single topics.
#[derive(Debug, Subcommand)]
pub(crate) enum TopicMetricsCommand {
    /// List the topics that are counted.
    List,
    /// Show the counters of one.
    Show {
        /// Topic or filter.
        topic: String,
    },
    /// Count the messages of a topic, or of all topics that a filter matches.
    Add {
        /// Topic or filter.
        topic: String,
    },
    /// Set the counters of a topic, or of all, to zero.
    Reset {
        /// Topic or filter.
        topic: Option<String>,
    },
    /// Count a topic no longer.
    #[command(alias = "del")]
    Delete {
        /// Topic or filter.
        topic: String,
    },
}

/// What to do with slow subscriptions.
#[derive(Debug, Subcommand)]
pub(crate) enum SlowSubsCommand {
    /// List the slowest, the worst first.
    List,
    /// Empty the list.
    Clear,
    /// Take times from now on.
    Enable {
        /// What took less is not listed, such as 500ms; as it was unless given.
        #[arg(long, value_name = "TIME")]
        threshold: Option<String>,
        /// Which time is taken: whole, internal or response; as it was unless given.
        #[arg(long = "type", value_name = "TYPE")]
        stats_type: Option<String>,
    },
    /// Take no times, and empty the list.
    Disable,
}

/// What a trace follows.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum TraceKindName {
    /// A client id.
    #[value(alias = "clientid")]
    Client,
    /// A topic or filter.
    Topic,
    /// An address.
    #[value(name = "ip_address")]
    IpAddress,
    /// A rule id.
    #[value(name = "ruleid")]
    RuleId,
}

/// What to do with traces that last until they are stopped.
#[derive(Debug, Subcommand)]
pub(crate) enum TraceCommand {
    /// List the traces that run.
    List,
    /// Write every step of a client, a topic, an address or a rule into a file.
    Start {
        /// What VALUE is.
        kind: TraceKindName,
        /// Client id, topic filter, address or rule id.
        value: String,
        /// Name of the file in the folder `trace` of the data directory.
        file: String,
        /// Least level of the lines: debug, info, warning or error.
        #[arg(default_value = "debug")]
        level: String,
        /// How lines are written: text or json.
        #[arg(default_value = "text")]
        formatter: String,
    },
    /// Write no more.
    Stop {
        /// What VALUE is.
        kind: TraceKindName,
        /// Client id, topic filter, address or rule id.
        value: String,
    },
}

/// What to do with traces that have a name and an end.
#[derive(Debug, Subcommand)]
pub(crate) enum TracesCommand {
    /// List them.
    List,
    /// Write every step of a client, a topic, an address or a rule for some time.
    Start {
        /// Letters, digits, - and _.
        name: String,
        /// What VALUE is.
        kind: TraceKindName,
        /// Client id, topic filter, address or rule id.
        value: String,
        /// How many seconds it lasts.
        #[arg(default_value_t = 900)]
        seconds: u32,
        /// How lines are written: text or json.
        #[arg(default_value = "text")]
        formatter: String,
    },
    /// Write no more; what was written stays.
    Stop {
        /// Name of the trace.
        name: String,
    },
    /// Write no more, and remove what was written.
    Delete {
        /// Name of the trace.
        name: String,
    },
}

/// What to do with rules.
#[derive(Debug, Subcommand)]
pub(crate) enum RulesCommand {
    /// What every kind of object has.
    #[command(flatten)]
    Object(ObjectsCommand),
    /// Show what a rule makes of the events of the next seconds, with the value of each part.
    Explain {
        /// Rule id.
        id: String,
        /// How long to look.
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=3600))]
        seconds: u32,
    },
}

/// What to do with rules, connectors or actions.
#[derive(Debug, Subcommand)]
pub(crate) enum ObjectsCommand {
    /// List them.
    List,
    /// Show one, with its counters.
    Show {
        /// Rule id, or `type:name`.
        id: String,
    },
    /// Switch one on.
    Enable {
        /// Rule id, or `type:name`.
        id: String,
    },
    /// Switch one off.
    Disable {
        /// Rule id, or `type:name`.
        id: String,
    },
}
