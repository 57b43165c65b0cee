//! The brokers that are compared: each a fresh process on a free port of the loopback, ended by its id.
//!
//! All with the same limits where they have the setting: anonymous access, nothing kept on disk, 1000 messages in
//! flight and a long queue for a client. TCP_NODELAY is left as each one ships it.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tests_services::{install_packages, target_folder};

/// A broker that can be measured.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// Finds the program, and installs it when that is possible.
    find: fn() -> anyhow::Result<PathBuf>,
    /// The command that serves MQTT on a port with a folder of its own.
    command: fn(program: &Path, port: u16, folder: &Path, setup: Setup) -> anyhow::Result<Command>,
    /// It can keep what it has acknowledged over a crash.
    is_durable: bool,
    has_rules: bool,
}

/// How a broker is set up.
#[derive(Clone, Copy)]
pub(crate) enum Setup {
    /// Nothing is kept on disk, where that can be chosen; no client asks for it.
    Plain,
    /// What the sessions of clients need is kept, and written at every change.
    Durable,
    /// With rules: the text of a rule file. Ours only.
    Rules(fn() -> String),
}

/// Those that are known; the first one is ours.
pub(crate) const PEERS: &[Peer] = &[
    Peer { name: "sluice", find: find_sluice, command: sluice, is_durable: true, has_rules: true },
    Peer { name: "mosquitto", find: find_mosquitto, command: mosquitto, is_durable: true, has_rules: false },
    Peer { name: "rumqttd", find: find_rumqttd, command: rumqttd, is_durable: false, has_rules: false },
];

/// A running broker; killed when dropped.
pub(crate) struct Running {
    child: Child,
    pub(crate) port: u16,
}

impl Peer {
    /// Says whether the broker can be set up like that.
    pub(crate) fn can(&self, setup: Setup) -> bool {
        match setup {
            Setup::Plain => true,
            Setup::Durable => self.is_durable,
            Setup::Rules(_) => self.has_rules,
        }
    }

    /// The path of the program.
    pub(crate) fn program(&self) -> anyhow::Result<PathBuf> {
        (self.find)().with_context(|| format!("`{}` cannot be had", self.name))
    }

    /// Starts the broker and waits until it takes connections.
    pub(crate) fn start(&self, program: &Path, setup: Setup) -> anyhow::Result<Running> {
        const LIMIT: Duration = Duration::from_secs(20);
        let port = free_port()?;
        let folder = target_folder().join("bench").join(self.name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
        let log = fs::File::create(folder.join("log")).context("cannot make a log file")?;
        let child = (self.command)(program, port, &folder, setup)?
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("cannot share the log file")?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start `{}`", program.display()))?;
        let mut running = Running { child, port };
        let until = Instant::now() + LIMIT;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let ended = running.child.try_wait().context("cannot ask for the state of a child")?;
            if ended.is_some() || Instant::now() > until {
                let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
                bail!("`{}` does not start: {log}", self.name);
            }
            pause(Duration::from_millis(20));
        }
        Ok(running)
    }
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits while other processes work.
#[allow(clippy::disallowed_methods, reason = "a program of one thread that has nothing else to wait on")]
pub(crate) fn pause(length: Duration) {
    std::thread::sleep(length);
}

fn free_port() -> anyhow::Result<u16> {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
    Ok(socket.local_addr().context("no address")?.port())
}

fn find_sluice() -> anyhow::Result<PathBuf> {
    super::cargo(&["build", "--release", "--quiet", "-p", "sluice"])?;
    Ok(target_folder().join("release").join("sluice"))
}

// a session is kept when its client asks for it: nothing to be set for that
fn sluice(program: &Path, port: u16, folder: &Path, setup: Setup) -> anyhow::Result<Command> {
    let config = folder.join("sluice.toml");
    let text = "[mqtt]\nmax_inflight = 1000\nreceive_maximum = 1000\nmax_mqueue_len = 100000\n";
    fs::write(&config, text).context("cannot write the configuration")?;
    let mut command = Command::new(program);
    command.arg("start").arg("--config").arg(config).arg("--data-dir").arg(folder.join("data"));
    command.args(["--mqtt", &format!("127.0.0.1:{port}"), "--api", "127.0.0.1:0"]);
    if let Setup::Rules(text) = setup {
        let rules = folder.join("rules");
        fs::create_dir_all(&rules).context("cannot make the folder of rules")?;
        fs::write(rules.join("rules.toml"), text()).context("cannot write the rules")?;
        command.arg("--rules").arg(rules);
    }
    Ok(command)
}

fn find_mosquitto() -> anyhow::Result<PathBuf> {
    let find = || {
        in_path("mosquitto").or_else(|| Some(PathBuf::from("/usr/sbin/mosquitto")).filter(|p| p.is_file()))
    };
    if find().is_none() {
        install_packages(&["mosquitto"]);
    }
    find().context("install the package `mosquitto`")
}

fn mosquitto(program: &Path, port: u16, folder: &Path, setup: Setup) -> anyhow::Result<Command> {
    let persistence = match setup {
        Setup::Plain | Setup::Rules(_) => "persistence false".to_owned(),
        Setup::Durable => format!(
            "persistence true\npersistence_location {}/\nautosave_on_changes true\nautosave_interval 1",
            folder.display()
        ),
    };
    // with a finite `max_queued_messages` 2.0.11 loses count and drops messages; as root it would change its user
    let text = format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\n{persistence}\nmax_connections -1\nuser root\n\
         max_inflight_messages 1000\nmax_queued_messages 0\nlog_type error\n"
    );
    let config = folder.join("mosquitto.conf");
    fs::write(&config, text).context("cannot write the configuration")?;
    let mut command = Command::new(program);
    command.arg("-c").arg(config);
    Ok(command)
}

fn find_rumqttd() -> anyhow::Result<PathBuf> {
    let root = target_folder().join("peers");
    let program = root.join("bin").join("rumqttd");
    if let Some(found) = in_path("rumqttd").or_else(|| Some(program.clone()).filter(|path| path.is_file())) {
        return Ok(found);
    }
    let root = root.to_str().context("the target folder's name is not UTF-8")?;
    super::cargo(&["install", "--quiet", "rumqttd", "--version", "0.20.0", "--root", root])?;
    Ok(program)
}

fn rumqttd(program: &Path, port: u16, folder: &Path, _: Setup) -> anyhow::Result<Command> {
    let text = format!(
        "id = 0\n[router]\nid = 0\nmax_connections = 100010\nmax_outgoing_packet_count = 1000\n\
         max_segment_size = 104857600\nmax_segment_count = 10\n\
         [v4.1]\nname = \"v4-1\"\nlisten = \"127.0.0.1:{port}\"\nnext_connection_delay_ms = 0\n\
         [v4.1.connections]\nconnection_timeout_ms = 60000\nmax_payload_size = 1048576\n\
         max_inflight_count = 1000\ndynamic_filters = true\n"
    );
    let config = folder.join("rumqttd.toml");
    fs::write(&config, text).context("cannot write the configuration")?;
    let mut command = Command::new(program);
    command.arg("-c").arg(config).arg("-q");
    Ok(command)
}

fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file())
}
