//! `sluice ctl` prints what scripts read, and its exit status says whether it worked.

mod support;

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value as Json;
use support::{Server, sluice};

#[tokio::test]
async fn status_objects_and_clients() {
    let server = Server::start(&["--rules", "rules-examples/alarm-threshold"]).await;
    let (status, text) = server.ctl(&["status"]);
    assert!(status.success());
    assert_eq!(text, format!("Node 'sluice@127.0.0.1' {} is started\n", env!("CARGO_PKG_VERSION")));
    let (_, text) = server.ctl(&["rules", "list"]);
    assert!(text.starts_with("Rule{id=temperature_alarm, name=, enabled=true, descr=Classify"), "{text}");
    let (_, text) = server.ctl(&["--json", "rules", "show", "temperature_alarm"]);
    let rule: Json = serde_json::from_str(&text).expect("JSON");
    assert_eq!(rule["metrics"]["matched"], 0);
    assert_eq!(server.ctl(&["connectors", "list"]).1, "No connectors.\n");
    assert_eq!(server.ctl(&["actions", "list"]).1, "No actions.\n");
    assert_eq!(server.ctl(&["clients", "list"]).1, "No clients.\n");
}

#[tokio::test]
async fn a_kicked_client_is_gone() {
    let server = Server::start(&[]).await;
    let port = server.mqtt_port().to_string();
    let mut client = sluice()
        .args(["sub", "-p", &port, "-i", "dev1", "-t", "t/#"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("sub starts");
    let connected = || async { server.ctl(&["clients", "show", "dev1"]).0.success().then_some(()) };
    server.wait_for("dev1", Duration::from_secs(10), connected).await;
    let (_, line) = server.ctl(&["clients", "list"]);
    assert!(line.starts_with("Client(dev1, username=undefined, peername=127.0.0.1:"), "{line}");

    let subscription = "dev1 -> topic:t/# qos:0 nl:0 rh:0 rap:0\n";
    assert_eq!(server.ctl(&["subscriptions", "list"]).1, subscription);
    assert_eq!(server.ctl(&["subscriptions", "show", "dev1"]).1, subscription);
    assert_eq!(server.ctl(&["subscriptions", "show", "dev2"]).1, "Not Found.\n");
    assert_eq!(server.ctl(&["topics", "list"]).1, "t/# -> sluice@127.0.0.1\n");
    assert_eq!(server.ctl(&["topics", "show", "t/#"]).1, "t/# -> sluice@127.0.0.1\n");
    assert_eq!(server.ctl(&["topics", "show", "u"]).0.code(), Some(1));
    let (_, text) = server.ctl(&["broker"]);
    let words: Vec<_> = text.lines().filter_map(|line| line.split(':').next()).collect();
    assert_eq!(words, ["sysdescr  ", "version   ", "datetime  ", "uptime    "], "{text}");
    let (_, text) = server.ctl(&["broker", "stats"]);
    assert!(text.contains("\nconnections.count               : 1\n"), "{text}");
    assert!(server.ctl(&["broker", "metrics"]).1.contains("packets.connect.received        : 1\n"));

    let (status, text) = server.ctl(&["clients", "kick", "dev1"]);
    assert_eq!((status.success(), text.as_str()), (true, "ok\n"));
    assert_eq!(server.ctl(&["topics", "list"]).1, "No topics.\n");
    assert!(!client.wait().expect("sub ends").success(), "the client was told");
    let (status, text) = server.ctl(&["clients", "kick", "dev1"]);
    assert_eq!((status.code(), text.as_str()), (Some(0), "ok\n"), "it is gone, as was asked");
    let (status, text) = server.ctl(&["clients", "show", "dev1"]);
    assert_eq!((status.code(), text.as_str()), (Some(1), "Not Found.\n"));
    let (status, text) = server.ctl(&["rules", "enable", "nope"]);
    assert_eq!((status.code(), text.as_str()), (Some(1), "Not Found.\n"));
}

/// Runs a command whose output nobody reads, and returns what it says on standard error.
fn into_a_closed_pipe(mut command: std::process::Command) -> (Option<i32>, String) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn a_reader_that_has_gone_is_no_error() {
    let server = Server::start(&["--rules", "rules-examples/alarm-threshold"]).await;
    for arguments in
        [&["rules", "list"][..], &["--json", "rules", "list"], &["rules", "show", "temperature_alarm"]]
    {
        let mut command = sluice();
        command.arg("ctl").arg("--data-dir").arg(server.data_dir()).args(arguments);
        assert_eq!(into_a_closed_pipe(command), (Some(0), String::new()), "{arguments:?}");
    }
}

#[test]
fn without_a_server_it_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let output =
        sluice().args(["ctl", "--data-dir"]).arg(folder.path()).arg("status").output().expect("ctl runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no server runs on the data directory"));
}
