//! Devices go online and offline, and a webhook hears of each exactly once, in order, with the reason.

mod support;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use broker_codec::{Connect, Disconnect, Packet, Properties, ReasonCode, Version};
use serde_json::{Value as Json, json};
use support::{Server, repository, sqlite_rows};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Records the bodies that are posted to it.
#[derive(Clone, Default)]
struct Hook(Arc<Mutex<Vec<Json>>>);

impl Hook {
    async fn start() -> (Self, SocketAddr) {
        let hook = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let record = hook.clone();
        let router = axum::Router::new().fallback(move |body: String| async move {
            record.0.lock().expect("not poisoned").push(serde_json::from_str(&body).expect("JSON"));
        });
        tokio::spawn(async move { axum::serve(listener, router).await.expect("the hook serves") });
        (hook, address)
    }

    fn bodies(&self) -> Vec<Json> {
        self.0.lock().expect("not poisoned").clone()
    }
}

/// Connects and waits for the CONNACK.
async fn connect(port: u16, client_id: &str, keep_alive_s: u16) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
    send(
        &mut stream,
        &Packet::Connect(Box::new(Connect {
            version: Version::V5,
            bridge: false,
            // with a clean start the old connection would end as `discarded` instead of `takenover`
            clean_start: false,
            keep_alive_s,
            client_id: client_id.to_owned(),
            will: None,
            username: None,
            password: None,
            properties: Properties::default(),
        })),
    )
    .await;
    let mut head = [0; 2];
    stream.read_exact(&mut head).await.expect("a CONNACK");
    let mut body = vec![0; usize::from(head[1])];
    stream.read_exact(&mut body).await.expect("a CONNACK");
    assert_eq!((head[0], body[1]), (0x20, 0), "{client_id}");
    stream
}

async fn send(stream: &mut TcpStream, packet: &Packet) {
    let mut bytes = Vec::new();
    packet.encode(Version::V5, &mut bytes).expect("a packet");
    stream.write_all(&bytes).await.expect("written");
}

async fn disconnect(mut stream: TcpStream) {
    let end = Disconnect { reason: ReasonCode::SUCCESS, properties: Properties::default() };
    send(&mut stream, &Packet::Disconnect(end)).await;
}

/// The ways a connection ends.
const WAYS: [&str; 5] = ["normal", "keepalive_timeout", "kicked", "takenover", "tcp_closed"];

/// Connects one device and ends its connection in one of the ways; returns the reasons that must be reported.
async fn live(server: &Server, client_id: &str, way: &'static str) -> Vec<&'static str> {
    let port = server.mqtt_port();
    match way {
        "normal" => disconnect(connect(port, client_id, 60).await).await,
        "tcp_closed" => drop(connect(port, client_id, 60).await),
        "keepalive_timeout" => {
            let mut silent = connect(port, client_id, 1).await;
            let mut rest = Vec::new();
            let _ = silent.read_to_end(&mut rest).await;
        }
        "kicked" => {
            let _stream = connect(port, client_id, 60).await;
            let (status, _) = server.api("DELETE", &format!("/clients/{client_id}"), None).await;
            assert_eq!(status, 204);
        }
        _ => {
            let old = connect(port, client_id, 60).await;
            disconnect(connect(port, client_id, 60).await).await;
            drop(old);
            return vec!["takenover", "normal"];
        }
    }
    vec![way]
}

#[tokio::test]
async fn each_connect_and_disconnect_is_one_post_in_order_with_its_reason() {
    const CLIENTS: usize = 1000;
    let (hook, address) = Hook::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let example = repository().join("rules-examples/online-offline-webhook/rules.toml");
    let rules = std::fs::read_to_string(example)
        .expect("the example")
        .replace("127.0.0.1:8090", &address.to_string());
    std::fs::write(folder.path().join("rules.toml"), rules).expect("written");
    let server = Arc::new(Server::start(&["--rules", folder.path().to_str().expect("UTF-8")]).await);

    let mut expected: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let mut lives = tokio::task::JoinSet::new();
    for number in 0..CLIENTS {
        let server = Arc::clone(&server);
        lives.spawn(async move {
            let client_id = format!("dev{number}");
            let reasons = live(&server, &client_id, WAYS[number % WAYS.len()]).await;
            (client_id, reasons)
        });
        if lives.len() >= 100 {
            let (client_id, reasons) = lives.join_next().await.expect("a life").expect("no panic");
            expected.insert(client_id, reasons);
        }
    }
    while let Some(life) = lives.join_next().await {
        let (client_id, reasons) = life.expect("no panic");
        expected.insert(client_id, reasons);
    }

    let posts = 2 * expected.values().map(Vec::len).sum::<usize>();
    let all = || async { (hook.bodies().len() >= posts).then_some(()) };
    server.wait_for("every post", Duration::from_secs(60), all).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let bodies = hook.bodies();
    assert_eq!(bodies.len(), posts, "one post for each connect and disconnect, and no more");

    let mut seen: HashMap<&str, Vec<(&Json, &Json)>> = HashMap::new();
    for body in &bodies {
        seen.entry(body["clientid"].as_str().expect("a client id"))
            .or_default()
            .push((&body["state"], &body["reason"]));
    }
    for (client_id, reasons) in &expected {
        let wanted: Vec<(Json, Json)> = reasons
            .iter()
            .flat_map(|reason| [(json!("online"), Json::Null), (json!("offline"), json!(reason))])
            .collect();
        let got: Vec<(Json, Json)> =
            seen[client_id.as_str()].iter().map(|(a, b)| ((*a).clone(), (*b).clone())).collect();
        assert_eq!(got, wanted, "{client_id}");
    }
}

#[tokio::test]
async fn the_online_table_ignores_what_an_old_connection_reports_late() {
    let server = Server::start(&["--rules", "rules-examples/online-table"]).await;
    let port = server.mqtt_port();
    let first = connect(port, "dev1", 60).await;
    let second = connect(port, "dev1", 60).await;
    let file = server.data_dir().join("presence.db");
    let settled = || async {
        let metrics = server.action_metrics("sqlite:upsert_presence").await;
        (metrics["success"] == 3).then_some(())
    };
    server.wait_for("three rows", Duration::from_secs(20), settled).await;
    const STATE: &str = "SELECT clientid, online, reason FROM presence";
    assert_eq!(sqlite_rows(&file, STATE).await, [[json!("dev1"), json!(1), Json::Null]]);
    drop(first);
    disconnect(second).await;
    let offline = || async {
        let rows = sqlite_rows(&file, STATE).await;
        (rows == [[json!("dev1"), json!(0), json!("normal")]]).then_some(())
    };
    server.wait_for("dev1 to be offline", Duration::from_secs(20), offline).await;
}
