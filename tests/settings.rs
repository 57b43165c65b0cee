//! Settings of the configuration file reach the parts that they are about, and the API shows them.

mod support;

use serde_json::json;
use support::{Server, sluice};

#[tokio::test]
async fn the_rule_engine_keeps_its_settings() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("sluice.toml");
    let text = "[rule_engine]\nignore_sys_message = false\njq_function_default_timeout = '50ms'\n";
    std::fs::write(&config, text).expect("written");
    let server = Server::start(&["--config", config.to_str().expect("UTF-8")]).await;
    let (status, settings) = server.api("GET", "/rule_engine", None).await;
    assert_eq!(status, 200);
    assert_eq!(settings, json!({"ignore_sys_message": false, "jq_function_default_timeout": "50ms"}));
    let endless = json!({"sql": "SELECT jq('def f: f; f', payload) AS a FROM \"t/#\"",
        "context": {"event_type": "message_publish", "topic": "t/1"}});
    let (status, answer) = server.api("POST", "/rule_test", Some(&endless)).await;
    assert_eq!(status, 400);
    assert!(answer["message"].as_str().is_some_and(|said| said.contains("longer than 50 ms")), "{answer}");
}

#[tokio::test]
async fn a_message_of_qos_0_that_is_too_large_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("sluice.toml");
    std::fs::write(&config, "[mqtt]\nmax_packet_size = '1KB'\n").expect("written");
    let server = Server::start(&["--config", config.to_str().expect("UTF-8")]).await;
    let port = server.mqtt_port().to_string();
    let publish = |message: &str| {
        let arguments = ["pub", "-p", &port, "-q", "0", "-t", "a", "-m", message];
        let output = sluice().args(arguments).output().expect("pub runs");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(publish("small"), (true, String::new()));
    let (success, said) = publish(&"x".repeat(2000));
    assert!(!success, "{said}");
    assert!(said.contains("the server closed the connection: 0x95"), "{said}");
}
