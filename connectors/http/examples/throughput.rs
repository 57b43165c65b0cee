//! Measures requests per second to a local server, with the CPU time of this side and of the server's side together:
//! `cargo run --profile load -p connectors-http --example throughput`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use connectors_http::DEFINITION;
use connectors_testkit::HttpServer;
use connectors_testkit::direct::{add_channel, deliver, delivery, row, start};
use serde_json::json;

#[tokio::main]
async fn main() {
    for lanes in [1, 8, 64] {
        measure(lanes).await;
    }
}

async fn measure(lanes: usize) {
    let server = HttpServer::start().await.expect("a server");
    let config = json!({"url": format!("http://{}/in", server.address()), "pool_size": lanes});
    let connector = start(DEFINITION, &config, std::path::Path::new(".")).await.expect("starts");
    let channel =
        add_channel(DEFINITION, connector.as_ref(), &json!({"path": "/${line}"})).await.expect("a channel");
    let cpu_before = cpu_seconds();
    let started = Instant::now();
    let tasks: Vec<_> = (0..lanes)
        .map(|lane| {
            let channel = Arc::clone(&channel);
            tokio::spawn(async move {
                let batch =
                    [delivery(lane, None, row(&json!({"line": lane, "clientid": "device-17", "t": 21.5})))];
                let mut requests = 0;
                while started.elapsed() < Duration::from_secs(3) {
                    requests += deliver(channel.as_ref(), &batch).await.len();
                }
                requests
            })
        })
        .collect();
    let mut requests = 0;
    for task in tasks {
        requests += task.await.expect("no panic");
    }
    let seconds = started.elapsed().as_secs_f64();
    let cpu = cpu_seconds() - cpu_before;
    let per_second = requests as f64 / seconds;
    let per_core = requests as f64 / cpu;
    println!("lanes={lanes}: {per_second:.0} requests/s, {per_core:.0} per CPU second of both sides");
}

/// CPU time of this process in seconds, where the system tells.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: f64 = [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<f64>().ok()).sum();
    ticks / 100.0
}
