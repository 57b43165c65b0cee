//! The answer to COMMIT is lost: the rows are neither lost nor written twice.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use serde_json::{Value as Json, json};
use support::{add, assert_all_ok, assert_all_retry, batch, config, soon, start};
use tests_services::Database;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What the proxy does with the next COMMIT.
const PASS: u8 = 0;
/// The server gets it, the client does not get the answer.
const LOSE_ANSWER: u8 = 1;
/// The server does not get it.
const LOSE_QUESTION: u8 = 2;

/// A proxy in front of the server that cuts the connection at one COMMIT.
async fn proxy(server: String, mode: Arc<AtomicU8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (server, mode) = (server.clone(), Arc::clone(&mode));
            tokio::spawn(async move {
                if let Ok(server) = TcpStream::connect(server).await {
                    forward(client, server, &mode).await;
                }
            });
        }
    });
    address
}

/// Forwards both ways until one side ends or the COMMIT to be lost has come.
async fn forward(mut client: TcpStream, mut server: TcpStream, mode: &AtomicU8) {
    let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(length @ 1..) = read else { return };
                let is_commit = up[..length].windows(6).any(|window| window == b"COMMIT");
                let now = if is_commit { mode.swap(PASS, Ordering::SeqCst) } else { PASS };
                if now == LOSE_QUESTION || server.write_all(&up[..length]).await.is_err() {
                    return;
                }
                if now == LOSE_ANSWER {
                    let _ = server.read(&mut down).await;
                    return;
                }
            }
            read = server.read(&mut down) => {
                let Ok(length @ 1..) = read else { return };
                if client.write_all(&down[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// What happens between the lost answer and the next attempt.
#[derive(Clone, Copy, Debug)]
enum Meanwhile {
    Nothing,
    /// The action is edited: its channel is made anew.
    Edited,
    /// The connector is edited: it is stopped and started anew.
    Restarted,
}

async fn check(database: &Database, parameters: Json, mode: u8, meanwhile: Meanwhile) {
    database.sql("drop table if exists t; create table t (v int)");
    let next = Arc::new(AtomicU8::new(PASS));
    let mut config = config(database.url());
    let server = config["server"].as_str().expect("a server").to_owned();
    config["server"] = json!(proxy(server, Arc::clone(&next)).await);
    let mut connector = start(config.clone()).await;
    let mut channel = add(&connector, parameters.clone()).await;

    let rows = batch(&[r#"{"v":1}"#, r#"{"v":2}"#, r#"{"v":3}"#]);
    next.store(mode, Ordering::SeqCst);
    assert_all_retry(&channel.deliver(&rows, soon()).await);
    if let Meanwhile::Restarted = meanwhile {
        drop(channel);
        connector.stop().await;
        connector = start(config).await;
        channel = add(&connector, parameters.clone()).await;
    } else if let Meanwhile::Edited = meanwhile {
        channel = add(&connector, parameters.clone()).await;
    }
    // the rows come back in other company
    let mut again = rows[1..].to_vec();
    again.push(support::delivery("new", r#"{"v":4}"#));
    assert_all_ok(&channel.deliver(&again, soon()).await);
    assert_all_ok(&channel.deliver(&rows[..1], soon()).await);
    let shown = format!("{parameters}, mode {mode}, {meanwhile:?}");
    assert_eq!(database.sql("select v from t order by v"), "1\n2\n3\n4", "{shown}");
}

#[tokio::test]
async fn a_lost_answer_to_commit_doubles_nothing_and_loses_nothing() {
    let Some(database) = tests_services::postgres() else { return };
    for mode in [LOSE_ANSWER, LOSE_QUESTION] {
        let table = json!({"table": "t", "columns": {"v": "${v}"}});
        check(&database, table.clone(), mode, Meanwhile::Nothing).await;
        check(&database, table.clone(), mode, Meanwhile::Edited).await;
        check(&database, table, mode, Meanwhile::Restarted).await;
        check(&database, json!({"sql": "INSERT INTO t VALUES (${v})"}), mode, Meanwhile::Nothing).await;
        check(&database, json!({"sql": "INSERT INTO t SELECT ${v}::int"}), mode, Meanwhile::Nothing).await;
    }
}
