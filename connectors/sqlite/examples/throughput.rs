//! Measures rows per second into a file: `cargo run --profile load -p connectors-sqlite --example throughput`.

use std::time::Instant;

use connectors_sqlite::DEFINITION;
use connectors_testkit::direct::{add_channel, deliver, delivery, row, start};
use serde_json::json;

#[tokio::main]
async fn main() {
    for synchronous in ["normal", "full"] {
        for batch_size in [1, 100, 1000] {
            for (mode, parameters) in [
                (
                    "table",
                    json!({"table": "t", "columns": {"at": "${at}", "client": "${client}", "v": "${v}"},
                        "create_table": {"at": "INTEGER", "client": "TEXT", "v": "REAL"}}),
                ),
                ("update", json!({"sql": "UPDATE t SET v = ${v} WHERE rowid = ${at}"})),
            ] {
                measure(synchronous, batch_size, mode, &parameters).await;
            }
        }
    }
}

async fn measure(synchronous: &str, batch_size: usize, mode: &str, parameters: &serde_json::Value) {
    let dir = tempfile::tempdir().expect("a directory");
    let config = json!({"path": "t.db", "synchronous": synchronous});
    let connector = start(DEFINITION, &config, dir.path()).await.expect("starts");
    let table =
        json!({"table": "t", "columns": {"v": "${v}"}, "create_table": {"at": "INTEGER", "client": "TEXT"}});
    if mode == "update" {
        add_channel(DEFINITION, connector.as_ref(), &table).await.expect("the table");
    }
    let channel = add_channel(DEFINITION, connector.as_ref(), parameters).await.expect("a channel");
    let batch: Vec<_> = (0..batch_size)
        .map(|n| {
            delivery(
                n,
                None,
                row(&json!({"at": 1_712_000_000_000_u64 + n as u64, "client": "device-17", "v": 21.5})),
            )
        })
        .collect();
    let started = Instant::now();
    let mut rows = 0;
    while started.elapsed().as_millis() < 1500 {
        rows += deliver(channel.as_ref(), &batch).await.len();
    }
    let per_second = rows as f64 / started.elapsed().as_secs_f64();
    println!("synchronous={synchronous} batch={batch_size} {mode}: {per_second:.0} rows/s");
}
