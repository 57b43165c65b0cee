//! Listeners over real sockets: TLS, WebSocket, the PROXY protocol, limits, and changes at run time.

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use broker_codec::{QoS, ReasonCode};
use broker_core::{BrokerConfig, CertificateField};
use broker_net::{ClientCertificates, ListenerConfig, TlsConfig, TlsVersions, WebSocketConfig};
use rustls::pki_types::ServerName;
use support::{Authority, Certified, Client, LONG, Network, connect_tcp, until};
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::protocol::frame::{Frame, FrameHeader};
use tungstenite::{Bytes, Message};

fn loopback() -> ListenerConfig {
    ListenerConfig { bind: ([127, 0, 0, 1], 0).into(), ..ListenerConfig::default() }
}

fn secured(tls: TlsConfig) -> ListenerConfig {
    ListenerConfig { tls: Some(tls), ..loopback() }
}

fn with_client_certificates(folder: &Certified, certificates: ClientCertificates) -> TlsConfig {
    TlsConfig {
        client_roots: Some(folder.ca_file()),
        client_certificates: certificates,
        ..TlsConfig::new(folder.certificate_file(), folder.key_file())
    }
}

#[test]
fn messages_go_through_tls() {
    let authority = Authority::new("roots");
    let files = authority.server_files();
    let network = Network::start(vec![secured(TlsConfig::new(files.certificate_file(), files.key_file()))]);
    for versions in [&[&rustls::version::TLS12][..], &[&rustls::version::TLS13]] {
        let mut client = Client::connect(authority.tls(versions, None, network.address()), "a");
        client.subscribe("t/#");
        for (at, size) in [10, 70_000, 900_000].into_iter().enumerate() {
            let payload = vec![b'a' + at as u8; size];
            client.publish("t/1", &payload, QoS::AtLeastOnce);
            assert_eq!(client.message().payload_slice(), payload);
        }
        let many = 2000;
        for _ in 0..many {
            client.publish_unread("t/2", &[b'x'; 1000]);
        }
        for _ in 0..many {
            assert_eq!(client.message().topic(), "t/2");
        }
    }
}

#[test]
fn a_version_that_is_off_is_refused() {
    let authority = Authority::new("roots");
    let files = authority.server_files();
    let tls = TlsConfig {
        versions: TlsVersions::Tls13,
        ..TlsConfig::new(files.certificate_file(), files.key_file())
    };
    let network = Network::start(vec![secured(tls)]);
    assert!(authority.try_tls(&[&rustls::version::TLS12], None, network.address()).is_err());
    Client::connect(authority.tls(&[&rustls::version::TLS13], None, network.address()), "a");
    until("the failed handshake is counted", || network.status("ssl:default").failed_handshakes == 1);
}

#[test]
fn clients_show_certificates() {
    let authority = Authority::new("roots");
    let files = authority.server_files();
    let tls = with_client_certificates(&files, ClientCertificates::Required);
    let config = BrokerConfig {
        peer_cert_as_username: Some(CertificateField::CommonName),
        peer_cert_as_client_id: Some(CertificateField::SanDns),
        ..BrokerConfig::default()
    };
    let network = Network::with(config, vec![secured(tls)]);
    let own = authority.client("pump-17");
    let versions = rustls::ALL_VERSIONS;
    let client = Client::connect(authority.tls(versions, Some(&own), network.address()), "another name");
    assert_eq!(client.assigned_client_id.as_deref(), Some("pump-17.example"));
    let info = network.broker.client("pump-17.example").expect("named by its certificate");
    assert_eq!(info.username.map(|name| name.to_string()).as_deref(), Some("pump-17"));
    assert_eq!(info.listener.as_ref(), "ssl:default");

    let stranger = Authority::new("others").client("pump-17");
    assert!(authority.try_tls(versions, Some(&stranger), network.address()).is_err(), "of another authority");
    assert!(authority.try_tls(versions, None, network.address()).is_err(), "without a certificate");
}

#[test]
fn a_certificate_may_be_left_out_where_none_is_needed() {
    let authority = Authority::new("roots");
    let files = authority.server_files();
    let tls = with_client_certificates(&files, ClientCertificates::Optional);
    let network = Network::start(vec![secured(tls)]);
    let versions = rustls::ALL_VERSIONS;
    Client::connect(authority.tls(versions, None, network.address()), "a");
    let own = authority.client("b");
    Client::connect(authority.tls(versions, Some(&own), network.address()), "b");
    let stranger = Authority::new("others").client("pump-17");
    assert!(authority.try_tls(versions, Some(&stranger), network.address()).is_err(), "of another authority");
}

#[test]
fn certificates_are_renewed_under_running_connections() {
    let old = Authority::new("old");
    let files = old.server_files();
    let network = Network::start(vec![secured(TlsConfig::new(files.certificate_file(), files.key_file()))]);
    let versions = rustls::ALL_VERSIONS;
    let mut running = Client::connect(old.tls(versions, None, network.address()), "running");
    running.subscribe("t");

    files.write("certificate.pem", "no certificate");
    network.server.listeners().reload_certificates(false);
    Client::connect(old.tls(versions, None, network.address()), "after a bad change");

    let new = Authority::new("new");
    files.renew(&new);
    // nobody asks: the files are watched
    until("the new certificate is used", || new.try_tls(versions, None, network.address()).is_ok());
    assert!(old.try_tls(versions, None, network.address()).is_err(), "the old one is gone");
    running.publish("t", b"still there", QoS::AtLeastOnce);
    assert_eq!(running.message().payload_slice(), b"still there");
}

#[test]
fn revoked_certificates_are_refused() {
    let authority = Authority::new("roots");
    let files = authority.server_files();
    let (good, bad) = (authority.client("good"), authority.client("bad"));
    files.write("revoked.pem", &authority.revocation_list(&[]));
    let tls = TlsConfig {
        revoked: Some(files.path("revoked.pem")),
        ..with_client_certificates(&files, ClientCertificates::Required)
    };
    let network = Network::start(vec![secured(tls)]);
    let versions = rustls::ALL_VERSIONS;
    let mut running = Client::connect(authority.tls(versions, Some(&bad), network.address()), "bad");
    files.write("revoked.pem", &authority.revocation_list(&[&bad]));
    network.server.listeners().reload_certificates(false);
    assert!(authority.try_tls(versions, Some(&bad), network.address()).is_err(), "revoked");
    Client::connect(authority.tls(versions, Some(&good), network.address()), "good");
    running.subscribe("t"); // it was good when it came
}

#[test]
fn unusable_tls_says_what_is_wrong() {
    let authority = Authority::new("roots");
    let files = authority.server_files();
    let other = Authority::new("other").server_files();
    let error = |tls: TlsConfig| {
        let Err(error) = Network::try_start(vec![secured(tls)]) else { panic!("it starts") };
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    };
    let mismatch = error(TlsConfig::new(files.certificate_file(), other.key_file()));
    assert!(mismatch.contains("does not belong to the certificate"), "{mismatch}");
    let missing = error(TlsConfig::new(files.path("none.pem"), files.key_file()));
    assert!(missing.contains("listener `ssl:default` has no usable TLS: cannot read `"), "{missing}");
    let swapped = error(TlsConfig::new(files.key_file(), files.certificate_file()));
    assert!(swapped.contains("holds no certificate in PEM"), "{swapped}");
    let no_roots = error(TlsConfig {
        client_certificates: ClientCertificates::Required,
        ..TlsConfig::new(files.certificate_file(), files.key_file())
    });
    assert!(no_roots.contains("cacertfile"), "{no_roots}");
}

#[test]
fn a_silent_handshake_is_closed() {
    let authority = Authority::new("roots");
    let files = authority.server_files();
    let tls = TlsConfig {
        handshake_timeout: Duration::from_millis(200),
        ..TlsConfig::new(files.certificate_file(), files.key_file())
    };
    let network = Network::start(vec![secured(tls)]);
    let mut silent = connect_tcp(network.address());
    silent.write_all(&[0x16, 3, 1]).expect("written");
    assert_eq!(support::read_to_end(&mut silent), b"");
    until("counted", || network.status("ssl:default").failed_handshakes == 1);
}

fn websocket() -> ListenerConfig {
    ListenerConfig { websocket: Some(WebSocketConfig::default()), ..loopback() }
}

#[test]
fn messages_go_through_websocket() {
    let network = Network::start(vec![websocket()]);
    let mut client =
        Client::connect(support::websocket(connect_tcp(network.address()), "/mqtt", "mqtt"), "a");
    assert_eq!(network.broker.client("a").expect("connected").listener.as_ref(), "ws:default");
    client.subscribe("t/#");
    for size in [10, 70_000, 900_000] {
        let payload = vec![b'x'; size];
        client.publish("t/1", &payload, QoS::ExactlyOnce);
        assert_eq!(client.message().payload_slice(), payload);
    }
    for _ in 0..2000 {
        client.publish_unread("t/2", &[b'x'; 1000]);
    }
    for _ in 0..2000 {
        assert_eq!(client.message().topic(), "t/2");
    }
}

#[test]
fn websocket_goes_through_tls() {
    let authority = Authority::new("roots");
    let files = authority.server_files();
    let tls = TlsConfig::new(files.certificate_file(), files.key_file());
    let network = Network::start(vec![ListenerConfig { tls: Some(tls), ..websocket() }]);
    let stream = authority.tls(rustls::ALL_VERSIONS, None, network.address());
    let mut client = Client::connect(support::websocket(stream, "/mqtt", "mqtt"), "a");
    assert_eq!(network.broker.client("a").expect("connected").listener.as_ref(), "wss:default");
    client.subscribe("t/#");
    client.publish("t/1", &[b'x'; 300_000], QoS::AtLeastOnce);
    assert_eq!(client.message().payload_slice().len(), 300_000);
}

#[test]
fn packets_may_span_and_share_frames() {
    let network = Network::start(vec![websocket()]);
    let mut socket = support::websocket(connect_tcp(network.address()), "/mqtt", "mqttv3.1").socket;
    let mut bytes = support::connect_bytes("a");
    bytes.extend([0x82, 6, 0, 1, 0, 1, b't', 0]); // SUBSCRIBE t
    bytes.extend([0x30, 5, 0, 1, b't', b'h', b'i']); // PUBLISH hi
    // one byte a frame, and a ping and an empty message between
    for (at, byte) in bytes.iter().enumerate() {
        socket.write(Message::Binary(vec![*byte].into())).expect("written");
        if at == 3 {
            socket.write(Message::Ping(Bytes::from_static(b"?"))).expect("written");
            socket.write(Message::Binary(Bytes::new())).expect("written");
        }
    }
    socket.flush().expect("written");
    // one message in several frames
    let fragment = |bytes: &'static [u8], code, is_final| {
        let header = FrameHeader { is_final, opcode: OpCode::Data(code), ..FrameHeader::default() };
        Message::Frame(Frame::from_payload(header, Bytes::from_static(bytes)))
    };
    socket.write(fragment(&[0x30, 5, 0], Data::Binary, false)).expect("written");
    socket.write(fragment(&[1, b't'], Data::Continue, false)).expect("written");
    socket.send(fragment(b"ho", Data::Continue, true)).expect("written");

    let (mut answer, mut pong) = (Vec::new(), false);
    while answer.len() < 4 + 5 + 7 + 7 {
        match socket.read().expect("an answer") {
            Message::Binary(bytes) => answer.extend_from_slice(&bytes),
            Message::Pong(bytes) => pong = bytes.as_ref() == b"?",
            other => panic!("{other}"),
        }
    }
    assert!(pong);
    assert_eq!(&answer[..9], [0x20, 2, 0, 0, 0x90, 3, 0, 1, 0]);
    assert_eq!(&answer[9..], [0x30, 5, 0, 1, b't', b'h', b'i', 0x30, 5, 0, 1, b't', b'h', b'o']);

    socket.close(None).expect("closing");
    while let Ok(message) = socket.read() {
        assert!(message.is_close(), "{message}");
    }
    until("the client is gone", || network.status("ws:default").current_connections == 0);
}

#[test]
fn what_is_no_mqtt_over_websocket_is_refused() {
    let mut config = websocket();
    config.websocket = Some(WebSocketConfig { max_frame_size: Some(1000), ..WebSocketConfig::default() });
    let network = Network::start(vec![config]);
    for (path, subprotocol) in [("/mqtt", "stomp"), ("/mqtt", ""), ("/other", "mqtt")] {
        let stream = connect_tcp(network.address());
        assert!(support::try_websocket(stream, path, subprotocol).is_err(), "{path} {subprotocol}");
    }
    let mut plain = connect_tcp(network.address());
    plain.write_all(&support::connect_bytes("a")).expect("written");
    let answer = String::from_utf8(support::read_to_end(&mut plain)).expect("text");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");

    let refused = |message: Message| {
        let stream = connect_tcp(network.address());
        let mut socket = support::websocket(stream, "/mqtt", "mqtt").socket;
        socket.send(Message::Binary(support::connect_bytes("a").into())).expect("written");
        assert!(socket.read().expect("CONNACK").is_binary());
        socket.send(message).expect("written");
        loop {
            match socket.read().expect("a frame that closes") {
                Message::Close(frame) => return frame.expect("a code").code,
                message => assert!(message.is_binary(), "{message}"),
            }
        }
    };
    assert_eq!(refused(Message::Text("hello".into())), CloseCode::Unsupported);
    assert_eq!(refused(Message::Binary(vec![0; 1001].into())), CloseCode::Size);
    // PUBLISH of QoS 3: MQTT's business, and no fault of the frame
    assert_eq!(refused(Message::Binary(Bytes::from_static(&[0x36, 2, 0, 0]))), CloseCode::Normal);
}

fn behind_proxy() -> ListenerConfig {
    ListenerConfig { proxy_protocol: true, proxy_protocol_timeout: Duration::from_millis(300), ..loopback() }
}

#[test]
fn a_proxy_tells_who_connects() {
    let config = BrokerConfig {
        allow_anonymous: true,
        peer_cert_as_username: Some(CertificateField::CommonName),
        ..BrokerConfig::default()
    };
    let network = Network::with(config, vec![behind_proxy()]);
    let peer = |header: &[u8], client_id: &str| {
        let mut stream = connect_tcp(network.address());
        stream.write_all(header).expect("written");
        let client = Client::connect(stream, client_id);
        let info = network.broker.client(client_id).expect("connected");
        drop(client);
        (info.peer.to_string(), info.local.to_string(), info.username.map(|name| name.to_string()))
    };
    let (remote, local, _) = peer(b"PROXY TCP4 192.0.2.7 192.0.2.1 51022 1883\r\n", "v1");
    assert_eq!((remote.as_str(), local.as_str()), ("192.0.2.7:51022", "192.0.2.1:1883"));
    let (remote, ..) = peer(b"PROXY UNKNOWN\r\n", "v1 unknown");
    assert!(remote.starts_with("127.0.0.1:"), "{remote}");
    let signature = b"\r\n\r\n\0\r\nQUIT\n";
    let v2 = [&signature[..], &[0x21, 0x11, 0, 12 + 15, 192, 0, 2, 8, 192, 0, 2, 1, 1, 0, 7, 91]].concat();
    let tls = [0x20, 0, 12, 7, 0, 0, 0, 0, 0x22, 0, 4, b'p', b'u', b'm', b'p'];
    let (remote, _, username) = peer(&[&v2[..], &tls].concat(), "v2");
    assert_eq!((remote.as_str(), username.as_deref()), ("192.0.2.8:256", Some("pump")));
    let (remote, ..) = peer(&[&signature[..], &[0x20, 0, 0, 0]].concat(), "v2 local");
    assert!(remote.starts_with("127.0.0.1:"), "{remote}");
}

#[test]
fn without_a_valid_header_of_the_proxy_nothing_is_answered() {
    let network = Network::start(vec![behind_proxy()]);
    for bytes in [
        support::connect_bytes("a"),
        b"PROXY TCP4 192.0.2.7 192.0.2.1 51022 nonsense\r\n".to_vec(),
        [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat(),
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02".to_vec(), // and then silence
        b"PROXY TCP4 192.0.2.7".to_vec(),                         // and then silence
    ] {
        let mut stream = connect_tcp(network.address());
        stream.write_all(&bytes).expect("written");
        assert_eq!(support::read_to_end(&mut stream), b"", "{bytes:?}");
    }
    until("counted", || network.status("tcp:default").failed_handshakes == 5);
}

#[test]
fn rules_decide_who_connects() {
    let rules = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a rule")).collect();
    let refusing = ListenerConfig { access_rules: rules(&["deny 127.0.0.0/8", "allow all"]), ..loopback() };
    let network = Network::start(vec![refusing]);
    assert_eq!(support::read_to_end(&mut connect_tcp(network.address())), b"");
    assert_eq!(network.status("tcp:default").refused_address, 1);

    let config = BrokerConfig { allow_anonymous: true, ..BrokerConfig::default() };
    let behind = ListenerConfig { access_rules: rules(&["allow 192.0.2.0/24"]), ..behind_proxy() };
    let network = Network::with(config, vec![behind]);
    let mut stream = connect_tcp(network.address());
    stream.write_all(b"PROXY TCP4 192.0.2.7 192.0.2.1 51022 1883\r\n").expect("written");
    Client::connect(stream, "a");
    let mut stream = connect_tcp(network.address());
    stream.write_all(b"PROXY TCP4 198.51.100.7 192.0.2.1 51022 1883\r\n").expect("written");
    assert_eq!(support::read_to_end(&mut stream), b"");
}

#[test]
fn connections_are_limited() {
    let network = Network::start(vec![ListenerConfig { max_connections: 2, ..loopback() }]);
    let first = Client::connect(connect_tcp(network.address()), "a");
    let _second = Client::connect(connect_tcp(network.address()), "b");
    assert_eq!(support::read_to_end(&mut connect_tcp(network.address())), b"");
    assert_eq!(network.status("tcp:default").refused_full, 1);
    drop(first);
    until("there is room again", || network.status("tcp:default").current_connections == 1);
    Client::connect(connect_tcp(network.address()), "c");
}

#[test]
fn the_rate_of_connections_is_limited() {
    let rate = Some("5/s".parse().expect("a rate"));
    let network = Network::start(vec![ListenerConfig { max_conn_rate: rate, ..loopback() }]);
    let start = std::time::Instant::now();
    for at in 0..8 {
        Client::connect(connect_tcp(network.address()), &at.to_string());
    }
    assert!(start.elapsed() >= Duration::from_millis(400), "{:?}", start.elapsed());
    assert!(network.status("tcp:default").pauses >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_stop_and_start() {
    let network = Network::start(vec![loopback()]);
    let listeners = network.server.listeners();
    let address = network.address();
    // the port of now, so that it is the same afterwards
    let config = ListenerConfig { bind: address, ..loopback() };
    listeners.update(config.clone()).await.expect("changed");
    let mut client = Client::connect(connect_tcp(address), "a");
    listeners.stop("tcp:default").await.expect("stopped");
    assert!(TcpStream::connect(address).is_err());
    assert!(!network.status("tcp:default").running);
    client.subscribe("t"); // it stays
    listeners.start("tcp:default").await.expect("started");
    listeners.start("tcp:default").await.expect("running is fine");
    Client::connect(connect_tcp(address), "b");
    listeners.restart("tcp:default").await.expect("restarted");
    assert_eq!(client.ended(), Some(ReasonCode::SERVER_SHUTTING_DOWN), "a restart drops clients");
    let mut client = Client::connect(connect_tcp(address), "c");
    assert!(listeners.start("tcp:none").await.is_err());

    // another address: the client stays
    let second = ListenerConfig { bind: ([127, 0, 0, 1], 0).into(), ..config.clone() };
    listeners.update(second).await.expect("moved");
    assert!(TcpStream::connect(address).is_err());
    client.subscribe("t");
    let moved = network.status("tcp:default").address.expect("running");
    Client::connect(connect_tcp(moved), "d");
    // an address that is taken: nothing changes
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let third = ListenerConfig { bind: taken.local_addr().expect("bound"), ..config.clone() };
    assert!(listeners.update(third).await.is_err());
    Client::connect(connect_tcp(moved), "e");
    client.subscribe("t");
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_come_and_go() {
    let network = Network::start(vec![loopback()]);
    let listeners = network.server.listeners();
    let extra = ListenerConfig { name: "extra".to_owned(), ..websocket() };
    listeners.add(extra.clone()).await.expect("added");
    assert!(listeners.add(extra.clone()).await.is_err(), "twice");
    let status = network.status("ws:extra");
    assert!(status.running);
    let address = status.address.expect("running");
    let connect = || support::websocket(connect_tcp(address), "/mqtt", "mqtt");
    let client = Client::connect(connect(), "a");
    assert_eq!(network.status("ws:extra").current_connections, 1);
    listeners.remove("ws:extra").await.expect("removed");
    assert_eq!(client.into_ended(), Some(ReasonCode::SERVER_SHUTTING_DOWN));
    assert!(TcpStream::connect(address).is_err());
    assert!(listeners.get("ws:extra").is_none());
    let off = ListenerConfig { enable: false, name: "off".to_owned(), ..loopback() };
    listeners.add(off).await.expect("added");
    assert!(!network.status("tcp:off").running);
    let ids: Vec<String> = listeners.list().into_iter().map(|status| status.id).collect();
    assert_eq!(ids, ["tcp:default", "tcp:off"]);
}

#[test]
fn a_mountpoint_is_a_part_of_the_tree() {
    let mounted =
        ListenerConfig { mountpoint: "plants/${username}/".to_owned(), name: "m".to_owned(), ..loopback() };
    let network = Network::start(vec![loopback(), mounted]);
    let inside = network.status("tcp:m").address.expect("running");
    let mut outside = Client::connect(connect_tcp(network.address()), "outside");
    outside.subscribe("plants/#");
    let mut north = Client::connect_as(connect_tcp(inside), "n", Some("north"), Some(("w/n", b"gone")));
    let mut south = Client::connect_as(connect_tcp(inside), "s", Some("south"), None);
    for client in [&mut north, &mut south] {
        client.subscribe("#");
        client.subscribe("$share/g/x");
    }
    north.publish("a", b"1", QoS::AtLeastOnce);
    assert_eq!(outside.message().topic(), "plants/north/a");
    assert_eq!(north.message().topic(), "a");
    outside.publish("plants/south/b", b"2", QoS::AtLeastOnce);
    assert_eq!(outside.message().topic(), "plants/south/b");
    assert_eq!(south.message().topic(), "b");
    south.publish("x", b"3", QoS::ExactlyOnce);
    assert_eq!(south.message().topic(), "x");
    assert_eq!(outside.message().topic(), "plants/south/x");
    let filters = network.broker.subscriptions_of("s").expect("connected");
    let filters: Vec<_> = filters.iter().map(|subscription| &*subscription.filter).collect();
    assert_eq!(filters, ["$share/g/plants/south/x", "plants/south/#"]);
    south.unsubscribe("#");
    drop(north);
    assert_eq!(outside.message().topic(), "plants/north/w/n");
    let evil = Client::try_connect(connect_tcp(inside), "e", Some("+"), None);
    assert_eq!(evil.err(), Some(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID));
}

#[test]
fn the_name_of_the_server_is_not_needed() {
    // clients in plants connect to addresses: no server name comes with them
    let authority = Authority::new("roots");
    let files = authority.server_files();
    let network = Network::start(vec![secured(TlsConfig::new(files.certificate_file(), files.key_file()))]);
    let name = ServerName::try_from("127.0.0.1").expect("an address");
    Client::connect(authority.tls_named(rustls::ALL_VERSIONS, None, network.address(), name), "a");
    assert!(LONG > Duration::ZERO);
}
