//! One PostgreSQL instance with a cluster of its own.

use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::binaries::Binaries;
use crate::ServiceError;
use crate::account::Account;
use crate::process::{command_as, is_alive, run, signal};

/// How long a start, a stop, or a crash recovery may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The superuser of our instances.
const USER: &str = "sluice";

/// One PostgreSQL instance: a folder with its cluster, its port and its password.
///
/// It outlives this value, and the program; see [`PrivatePostgres`](crate::PrivatePostgres) for one that does not.
#[derive(Clone, Debug)]
pub struct PostgresServer {
    folder: PathBuf,
    account: Account,
    binaries: Binaries,
}

impl PostgresServer {
    /// Installs PostgreSQL from the system's packages unless it is there; needs root and apt.
    ///
    /// # Errors
    /// When it cannot be installed.
    pub fn ensure_installed() -> Result<(), ServiceError> {
        Binaries::ensure()
    }

    /// The instance that tests share.
    ///
    /// # Errors
    /// When PostgreSQL is not on this machine.
    pub fn shared() -> Result<Self, ServiceError> {
        Self::named("postgres")
    }

    /// The instance in the folder `name` of the services' data.
    pub(super) fn named(name: &str) -> Result<Self, ServiceError> {
        let account = Account::choose()?;
        let folder = account.data_folder()?.join(name);
        Ok(Self { folder, account, binaries: Binaries::find()? })
    }

    /// Starts the instance unless it runs; its cluster is made at the first start. Recovers after [`Self::kill`].
    ///
    /// # Errors
    /// When it does not take connections within a minute.
    pub fn start(&self) -> Result<(), ServiceError> {
        if self.is_running() {
            return Ok(());
        }
        if !self.data().join("PG_VERSION").exists() {
            self.make_cluster()?;
        }
        let port = self.choose_port()?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.start_once(port) {
                // after a crash the old back ends may still be on their way out
                Err(_) if Instant::now() < deadline => pause(),
                result => return result,
            }
        }
    }

    /// Stops the instance, ending its sessions.
    ///
    /// # Errors
    /// When it does not stop within a minute.
    pub fn stop(&self) -> Result<(), ServiceError> {
        if !self.is_running() {
            return Ok(());
        }
        let mut command = self.command("pg_ctl");
        run(command.args(["stop", "-w", "-t", "60", "-m", "fast", "-D"]).arg(self.data())).map(drop)
    }

    /// Kills the instance with signal 9: no goodbye to its clients, no checkpoint.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&self) {
        let pid = self.pid().expect("a running instance");
        assert!(signal(pid, "KILL"), "process {pid} could not be killed");
        let deadline = Instant::now() + PATIENCE;
        while is_alive(pid) && Instant::now() < deadline {
            pause();
        }
    }

    /// Tells whether the instance runs.
    pub fn is_running(&self) -> bool {
        self.pid().is_some()
    }

    /// URL of the database `postgres` of the instance.
    ///
    /// # Errors
    /// When the instance was never started.
    pub fn url(&self) -> Result<String, ServiceError> {
        let read = |name: &str| {
            let path = self.folder.join(name);
            fs::read_to_string(&path).map_err(ServiceError::file("read", &path))
        };
        Ok(format!(
            "postgres://{USER}:{}@127.0.0.1:{}/postgres",
            read("password")?.trim(),
            read("port")?.trim()
        ))
    }

    /// Removes the folder of a stopped instance.
    pub(super) fn remove(&self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("cannot remove `{}`: {error}", self.folder.display());
        }
    }

    /// Where `psql` is.
    pub(super) fn psql() -> Result<PathBuf, ServiceError> {
        Ok(Binaries::find()?.program("psql"))
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn command(&self, program: &str) -> std::process::Command {
        command_as(&self.account, &self.folder, &self.binaries.program(program))
    }

    /// The postmaster's process, if it is alive.
    fn pid(&self) -> Option<u32> {
        let text = fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        let pid = text.lines().next()?.trim().parse().ok()?;
        is_alive(pid).then_some(pid)
    }

    fn make_cluster(&self) -> Result<(), ServiceError> {
        self.account.make_folder(&self.folder)?;
        let password = self.folder.join("password");
        fs::write(&password, random_hex()?).map_err(ServiceError::file("write", &password))?;
        self.account.own(&password)?;
        let mut command = self.command("initdb");
        command.args(["--username", USER, "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C"]);
        run(command.arg("--no-sync").arg("--pwfile").arg(&password).arg("--pgdata").arg(self.data()))
            .map(drop)
    }

    /// The port of the last start if it is free, else a spare one.
    fn choose_port(&self) -> Result<u16, ServiceError> {
        let path = self.folder.join("port");
        let last = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse::<u16>().ok());
        // after a crash, connections of the old instance may still hold the port: it is ours all the same
        if let Some(port) = last.filter(|port| std::net::TcpStream::connect(("127.0.0.1", *port)).is_err()) {
            return Ok(port);
        }
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .map_err(ServiceError::file("find a spare port for", &self.folder))?
            .port();
        fs::write(&path, port.to_string()).map_err(ServiceError::file("write", &path))?;
        Ok(port)
    }

    fn start_once(&self, port: u16) -> Result<(), ServiceError> {
        let log = self.folder.join("log");
        let options = format!(
            "-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=200"
        );
        let mut command = self.command("pg_ctl");
        command.args(["start", "-w", "-t", "60", "-o", &options, "-D"]).arg(self.data()).arg("-l").arg(&log);
        run(&mut command).map(drop).map_err(|error| with_log(error, &log))
    }
}

fn pause() {
    #[allow(clippy::disallowed_methods, reason = "waits for another process, which has no event to offer")]
    std::thread::sleep(Duration::from_millis(50));
}

/// Adds the last line of the server's log to an error.
fn with_log(error: ServiceError, log: &Path) -> ServiceError {
    match (error, fs::read_to_string(log)) {
        (ServiceError::Failed { program, output }, Ok(text)) => {
            let last = text.lines().last().unwrap_or_default();
            ServiceError::Failed { program, output: format!("{output} | {last}") }
        }
        (error, _) => error,
    }
}

fn random_hex() -> Result<String, ServiceError> {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(ServiceError::file("read", "/dev/urandom"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
