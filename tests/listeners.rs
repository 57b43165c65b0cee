//! Listeners as operators set them up: in the file, through the API and with `ctl`; met by clients that others wrote.

mod support;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use broker_codec::{Connect, Packet, Properties, Version};
use rcgen::{CertificateParams, DnType, Issuer, KeyPair};
use serde_json::{Value as Json, json};
use support::{Server, repository};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Writes an authority, a certificate of the server and one of a client into a folder.
fn write_certificates(folder: &Path) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "authority");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let authority = params.self_signed(&key).expect("a certificate");
    let issuer = Issuer::new(params, key);
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text).expect("written");
    write("ca.pem", authority.pem());
    for (name, common_name) in [("server", "localhost"), ("client", "pump-17")] {
        let mut params = CertificateParams::new(["localhost".to_owned()]).expect("names");
        params.distinguished_name.push(DnType::CommonName, common_name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &issuer).expect("a certificate");
        write(&format!("{name}.pem"), certificate.pem());
        write(&format!("{name}.key"), key.serialize_pem());
    }
}

async fn start(folder: &Path, config: &str) -> Server {
    let path = folder.join("sluice.toml");
    std::fs::write(&path, config).expect("written");
    Server::start(&["--config", path.to_str().expect("a path")]).await
}

async fn port_of(server: &Server, id: &str) -> u16 {
    let (status, listener) = server.api("GET", &format!("/listeners/{id}"), None).await;
    assert_eq!(status, 200, "{listener}");
    let address = listener["listen_on"].as_str().expect("it runs");
    address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
}

#[tokio::test(flavor = "multi_thread")]
async fn paho_connects_over_every_transport() {
    let Some(python) = tests_services::python() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    write_certificates(folder.path());
    let tls = format!(
        "certfile = '{0}/server.pem'\nkeyfile = '{0}/server.key'\ncacertfile = '{0}/ca.pem'\n\
         verify = 'verify_peer'\n",
        folder.path().display()
    );
    let config = format!(
        "mqtt.peer_cert_as_username = 'cn'\n\
         [listeners.ssl.default]\nbind = '127.0.0.1:0'\n[listeners.ssl.default.ssl_options]\n{tls}\
         fail_if_no_peer_cert = true\n\
         [listeners.ws.default]\nbind = '127.0.0.1:0'\n\
         [listeners.wss.default]\nbind = '127.0.0.1:0'\n[listeners.wss.default.ssl_options]\n{tls}"
    );
    let server = start(folder.path(), &config).await;
    for (id, with_certificate) in [
        ("tcp:default", false),
        ("ssl:default", true),
        ("ws:default", false),
        ("wss:default", false),
        ("wss:default", true),
    ] {
        let port = port_of(&server, id).await;
        let kind = id.split(':').next().expect("a type");
        let mut child = Command::new(&python)
            .arg(repository().join("tests/clients/paho_transport.py"))
            .args([kind, &port.to_string()])
            .arg(folder.path())
            .arg(if with_certificate { "certificate" } else { "none" })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut told = String::new();
        let stdout = child.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut told).expect("text");
        if told != "100\n" {
            let output = child.wait_with_output().expect("it runs");
            panic!("{id}: {told}{}\n{}", String::from_utf8_lossy(&output.stderr), server.log());
        }
        let (_, client) = server.api("GET", &format!("/clients/paho-{kind}"), None).await;
        drop(child.stdin.take()); // it may end now
        assert!(child.wait().expect("it runs").success(), "{id}");
        assert_eq!(client["listener"], id);
        let username = if with_certificate { json!("pump-17") } else { Json::Null };
        assert_eq!(client["username"], username, "{id}");
    }
    // without a certificate where one is needed
    let port = port_of(&server, "ssl:default").await;
    let refused = Command::new(&python)
        .arg(repository().join("tests/clients/paho_transport.py"))
        .args(["ssl", &port.to_string()])
        .arg(folder.path())
        .arg("none")
        .output()
        .expect("it runs");
    assert!(!refused.status.success());
}

/// Connects with some bytes before the CONNECT, and returns what comes.
async fn connect_after(port: u16, before: &[u8], client_id: &str) -> (TcpStream, Vec<u8>) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
    let connect = Packet::Connect(Box::new(Connect {
        version: Version::V4,
        bridge: false,
        clean_start: true,
        keep_alive_s: 0,
        client_id: client_id.to_owned(),
        will: None,
        username: None,
        password: None,
        properties: Properties::default(),
    }));
    let mut bytes = before.to_vec();
    connect.encode(Version::V4, &mut bytes).expect("a packet");
    stream.write_all(&bytes).await.expect("written");
    let mut answer = vec![0; 4];
    let reading = tokio::time::timeout(Duration::from_secs(10), stream.read_exact(&mut answer)).await;
    let answered = reading.expect("an answer or the end").is_ok();
    (stream, if answered { answer } else { Vec::new() })
}

#[tokio::test]
async fn the_api_shows_the_client_behind_a_proxy() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = "access.allow_anonymous = true\n\
                  [listeners.tcp.proxied]\nbind = '127.0.0.1:0'\nproxy_protocol = true\n\
                  proxy_protocol_timeout = '1s'\nmountpoint = 'sites/${clientid}/'\n";
    let server = start(folder.path(), config).await;
    let port = port_of(&server, "tcp:proxied").await;
    let header = b"PROXY TCP4 192.0.2.7 192.0.2.1 51022 1883\r\n";
    let (_stream, answer) = connect_after(port, header, "pump").await;
    assert_eq!(answer, [0x20, 2, 0, 0]);
    let (_, client) = server.api("GET", "/clients/pump", None).await;
    assert_eq!((&client["ip_address"], &client["port"]), (&json!("192.0.2.7"), &json!(51022)), "{client}");
    assert_eq!((&client["listener"], &client["mountpoint"]), (&json!("tcp:proxied"), &json!("sites/pump/")));
    let (_stream, answer) = connect_after(port, b"PROXY nonsense\r\n", "evil").await;
    assert!(answer.is_empty(), "{answer:?}");
    let (_, listener) = server.api("GET", "/listeners/tcp:proxied", None).await;
    assert_eq!(listener["counters"]["failed_handshakes"], 1, "{listener}");
}

#[tokio::test]
async fn listeners_are_changed_through_the_api() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("sluice.toml");
    std::fs::write(&path, "[listeners.tcp.fixed]\nbind = '127.0.0.1:0'\n").expect("written");
    let arguments = ["--config", path.to_str().expect("a path")];
    let mut server = Server::start_in(data.path(), &arguments).await;

    let (_, all) = server.api("GET", "/listeners", None).await;
    let ids: Vec<_> = all.as_array().expect("a list").iter().map(|listener| listener["id"].clone()).collect();
    assert_eq!(ids, ["tcp:default", "tcp:fixed"], "the file names one, and `default` stays");

    let new = json!({"type": "ws", "name": "lab", "bind": "127.0.0.1:0", "max_connections": 5});
    let (status, made) = server.api("POST", "/listeners", Some(&new)).await;
    assert_eq!(status, 200, "{made}");
    assert_eq!((&made["id"], &made["running"]), (&json!("ws:lab"), &json!(true)));
    assert_eq!(made["websocket"]["mqtt_path"], "/mqtt");
    assert_eq!(server.api("POST", "/listeners/ws:lab", Some(&new)).await.0, 400, "it exists");
    assert_eq!(server.api("GET", "/listeners?type=ws", None).await.1.as_array().map(Vec::len), Some(1));
    let (status, why) = server.api("POST", "/listeners/ssl:lab", Some(&json!({"bind": "127.0.0.1:0"}))).await;
    assert_eq!((status, &why["code"]), (400, &json!("BAD_REQUEST")), "{why}");
    assert!(why["message"].as_str().is_some_and(|text| text.contains("certfile")), "{why}");
    let missing =
        json!({"bind": "127.0.0.1:0", "ssl_options": {"certfile": "/none/c.pem", "keyfile": "/none/k"}});
    let (status, why) = server.api("POST", "/listeners/ssl:lab", Some(&missing)).await;
    assert_eq!(status, 400, "{why}");
    assert!(why["message"].as_str().is_some_and(|text| text.contains("/none/c.pem")), "{why}");
    assert_eq!(
        server.api("POST", "/listeners/nonsense", Some(&json!({}))).await.1["code"],
        "BAD_LISTENER_ID"
    );

    // what was shown can be sent back, and a change beside it counts
    let (_, mut shown) = server.api("GET", "/listeners/ws:lab", None).await;
    shown["max_connections"] = json!("infinity");
    let (status, changed) = server.api("PUT", "/listeners/ws:lab", Some(&shown)).await;
    assert_eq!((status, &changed["max_connections"]), (200, &json!("infinity")), "{changed}");
    assert_eq!(changed["listen_on"], shown["listen_on"], "it has not moved");
    let (status, _) = server.api("PUT", "/listeners/ws:lab", Some(&json!({"zone": "other"}))).await;
    assert_eq!(status, 400, "a zone would do nothing");
    let (status, why) = server.api("PUT", "/listeners/tcp:fixed", Some(&json!({"enable": false}))).await;
    assert_eq!((status, &why["code"]), (409, &json!("CONFLICT")), "{why}");
    assert_eq!(server.api("DELETE", "/listeners/tcp:fixed", None).await.0, 409);

    let (_, status) = server.api("GET", "/listeners_status", None).await;
    assert_eq!(
        (&status[0]["type"], &status[0]["ids"]),
        (&json!("tcp"), &json!(["tcp:default", "tcp:fixed"]))
    );
    assert_eq!(status[0]["status"]["running"], true);

    // stop and start, with `ctl` too
    let port = port_of(&server, "tcp:fixed").await;
    let (mut stays, answer) = connect_after(port, b"", "stays").await;
    assert_eq!(answer, [0x20, 2, 0, 0]);
    assert_eq!(server.api("POST", "/listeners/tcp:fixed/stop", None).await.0, 200);
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
    assert_eq!(server.api("GET", "/listeners_status", None).await.1[0]["status"]["running"], "inconsistent");
    stays.write_all(&[0xc0, 0]).await.expect("written");
    let mut pong = [0; 2];
    stays.read_exact(&mut pong).await.expect("its client stays");
    let (status, text) = server.ctl(&["listeners", "start", "tcp:fixed"]);
    assert!(status.success() && text == "Started tcp:fixed listener successfully.\n", "{text}");
    let (_, text) = server.ctl(&["listeners"]);
    assert!(text.starts_with("tcp:default\n  listen_on        : 127.0.0.1:"), "{text}");
    assert!(text.contains("\n  running          : true\n"), "{text}");
    let (status, text) = server.ctl(&["listeners", "stop", "tcp:none"]);
    assert!(!status.success() && text == "Not Found.\n", "{text}");
    let (status, _) = server.ctl(&["listeners", "enable", "ws:lab", "false"]);
    assert!(status.success());
    assert_eq!(server.api("GET", "/listeners/ws:lab", None).await.1["running"], false);

    // kept over a restart
    server.terminate().await;
    let mut server = Server::start_in(data.path(), &arguments).await;
    let (_, kept) = server.api("GET", "/listeners/ws:lab", None).await;
    assert_eq!((&kept["enable"], &kept["max_connections"]), (&json!(false), &json!("infinity")), "{kept}");
    assert_eq!(server.api("DELETE", "/listeners/ws:lab", None).await.0, 204);
    server.terminate().await;
    let server = Server::start_in(data.path(), &arguments).await;
    assert_eq!(server.api("GET", "/listeners/ws:lab", None).await.0, 404);
}

#[tokio::test]
async fn certificates_are_read_again_on_a_signal() {
    let folder = tempfile::tempdir().expect("a folder");
    write_certificates(folder.path());
    let config = format!(
        "[listeners.ssl.default]\nbind = '127.0.0.1:0'\n[listeners.ssl.default.ssl_options]\n\
         certfile = '{0}/server.pem'\nkeyfile = '{0}/server.key'\n",
        folder.path().display()
    );
    let server = start(folder.path(), &config).await;
    std::fs::write(folder.path().join("server.pem"), "broken").expect("written");
    server.signal(libc::SIGHUP);
    let limit = Duration::from_secs(20);
    let said = |text: &'static str| {
        let server = &server;
        async move { server.log().contains(text).then_some(()) }
    };
    server.wait_for("the reason", limit, || said("the new certificates cannot be used")).await;
    write_certificates(folder.path());
    server.wait_for("the change", limit, || said("certificates read again")).await;
}

#[tokio::test]
async fn a_listener_is_switched_off_in_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("sluice.toml");
    let text = "[listeners.tcp.default]\nenable = false\n[listeners.tcp.x]\nbind = '127.0.0.1:0'\n";
    std::fs::write(&path, text).expect("written");
    let output = support::sluice().arg("check").arg(&path).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    // without --mqtt, which would switch it on
    let mut child = support::sluice()
        .args(["start", "--api", "127.0.0.1:0", "--data-dir"])
        .arg(folder.path())
        .arg("--config")
        .arg(&path)
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("it starts");
    let control = loop {
        let text = std::fs::read_to_string(folder.path().join("ctl.json")).unwrap_or_default();
        if let Ok(control) = serde_json::from_str::<Json>(&text) {
            break control;
        }
        assert!(child.try_wait().expect("the child is ours").is_none(), "it ended");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    child.kill().expect("the child is ours");
    child.wait().expect("the child is ours");
    assert_eq!(control["mqtt"].as_array().map(Vec::len), Some(1), "only x: {control}");
}
