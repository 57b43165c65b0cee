//! A server as users start it: the binary, in a process of its own, on free ports and a fresh data directory.

#![allow(dead_code, unreachable_pub)] // each test file is a crate of its own and uses a part

pub mod mqtt;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

/// Longest wait for a server to start or to stop.
const LIFE_TIMEOUT: Duration = Duration::from_secs(40);

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    data_dir: PathBuf,
    control: Json,
    client: reqwest::Client,
    /// Removed with the server unless it was given.
    _folder: Option<tempfile::TempDir>,
}

/// The binary under test.
pub fn sluice() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluice"));
    command.env_remove("SLUICE_DATA_DIR").env_remove("SLUICE_EDITION").env_remove("SLUICE_CONFIG");
    command
}

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

impl Server {
    /// Starts a server with a fresh data directory.
    pub async fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut server = Self::start_in(folder.path(), arguments).await;
        server._folder = Some(folder);
        server
    }

    /// Starts a server on a data directory that may have been used before.
    pub async fn start_in(data_dir: &Path, arguments: &[&str]) -> Self {
        // the first test of a process installs it for all
        let _ = rustls::crypto::ring::default_provider().install_default();
        let log = std::fs::File::create(data_dir.join("log")).expect("a log file");
        let child = sluice()
            .args(["start", "--mqtt", "127.0.0.1:0", "--api", "127.0.0.1:0", "--data-dir"])
            .arg(data_dir)
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the server starts");
        let mut server = Self {
            child,
            data_dir: data_dir.to_owned(),
            control: Json::Null,
            client: reqwest::Client::builder().no_proxy().build().expect("a client"),
            _folder: None,
        };
        server.wait_for_control().await;
        server
    }

    async fn wait_for_control(&mut self) {
        let until = Instant::now() + LIFE_TIMEOUT;
        let pid = u64::from(self.child.id());
        loop {
            let text = std::fs::read_to_string(self.data_dir.join("ctl.json")).unwrap_or_default();
            match serde_json::from_str::<Json>(&text) {
                Ok(control) if control["pid"] == pid => return self.control = control,
                _ => {}
            }
            let ended = self.child.try_wait().expect("the child is ours");
            assert!(ended.is_none(), "the server ended: {ended:?}\n{}", self.log());
            assert!(Instant::now() < until, "the server did not start\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The server's data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Port of the MQTT listener.
    pub fn mqtt_port(&self) -> u16 {
        let address = self.control["mqtt"][0].as_str().expect("an MQTT listener");
        address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.data_dir.join("log")).unwrap_or_default()
    }

    /// Calls the management API with all rights: status and body.
    pub async fn api(&self, method: &str, path: &str, body: Option<&Json>) -> (u16, Json) {
        let base = self.control["api"].as_str().expect("an API");
        let token = self.control["token"].as_str().expect("a token");
        let mut request = self
            .client
            .request(method.parse().expect("a method"), format!("{base}/api/v5{path}"))
            .bearer_auth(token);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a body");
        let body = if text.is_empty() {
            Json::Null
        } else {
            serde_json::from_str(&text).unwrap_or(Json::String(text))
        };
        (status, body)
    }

    /// Begins to read an answer that comes in pieces, with all rights.
    pub async fn open_stream(&self, path: &str) -> reqwest::Response {
        let base = self.control["api"].as_str().expect("an API");
        let token = self.control["token"].as_str().expect("a token");
        let request = self.client.get(format!("{base}/api/v5{path}")).bearer_auth(token);
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 200, "{path}");
        answer
    }

    /// The counters of an action.
    pub async fn action_metrics(&self, id: &str) -> Json {
        self.api("GET", &format!("/actions/{id}/metrics"), None).await.1["metrics"].clone()
    }

    /// Waits until `probe` gives something, or fails with what `what` says and the server's log.
    pub async fn wait_for<T, F: Future<Output = Option<T>>>(
        &self,
        what: &str,
        limit: Duration,
        mut probe: impl FnMut() -> F,
    ) -> T {
        let until = Instant::now() + limit;
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            assert!(Instant::now() < until, "waited {limit:?} for {what}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Runs `sluice ctl …` against this server: exit status and output.
    pub fn ctl(&self, arguments: &[&str]) -> (ExitStatus, String) {
        let output = sluice()
            .arg("ctl")
            .arg("--data-dir")
            .arg(&self.data_dir)
            .args(arguments)
            .output()
            .expect("ctl runs");
        (output.status, String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs `sluice pub …` against this server and expects success.
    pub fn publish(&self, arguments: &[&str]) {
        let port = self.mqtt_port().to_string();
        let output = sluice().args(["pub", "-p", &port]).args(arguments).output().expect("pub runs");
        assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stderr), self.log());
    }

    /// Sends a signal to the server.
    #[allow(unsafe_code)]
    pub fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        // SAFETY: `kill` takes plain numbers; the process is our child and was not waited for, so the id is its own.
        let result = unsafe { libc::kill(pid, signal) };
        assert_eq!(result, 0, "signal {signal}");
    }

    /// Asks the server to stop and waits until it has.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal(libc::SIGTERM);
        self.wait_for_exit().await
    }

    /// Kills the server without a warning.
    pub async fn kill(&mut self) {
        self.child.kill().expect("the child is ours");
        self.wait_for_exit().await;
    }

    async fn wait_for_exit(&mut self) -> ExitStatus {
        let until = Instant::now() + LIFE_TIMEOUT;
        loop {
            if let Some(status) = self.child.try_wait().expect("the child is ours") {
                return status;
            }
            assert!(Instant::now() < until, "the server did not stop\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Rows of a query on a SQLite file, each column as JSON.
pub async fn sqlite_rows(file: &Path, query: &'static str) -> Vec<Vec<Json>> {
    use sqlx::{Column as _, Connection as _, Row as _, TypeInfo as _, ValueRef as _};
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file).read_only(true);
    let Ok(mut connection) = sqlx::SqliteConnection::connect_with(&options).await else { return Vec::new() };
    let Ok(rows) = sqlx::query(query).fetch_all(&mut connection).await else { return Vec::new() };
    let cell = |row: &sqlx::sqlite::SqliteRow, at: usize| {
        let value = row.try_get_raw(at).expect("a column");
        match value.type_info().name() {
            _ if value.is_null() => Json::Null,
            "INTEGER" | "BOOLEAN" => row.get::<i64, _>(at).into(),
            "REAL" => row.get::<f64, _>(at).into(),
            _ => row.get::<String, _>(row.column(at).ordinal()).into(),
        }
    };
    rows.iter().map(|row| (0..row.len()).map(|at| cell(row, at)).collect()).collect()
}
