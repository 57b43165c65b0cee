//! Banned clients, and those that flap.

use broker_codec::{ConnAck, Connect, ConnectReturnCode, Packet, QoS, ReasonCode, Version};
use broker_core::{Ban, BanSubject, BrokerConfig, CloseReason, FlappingConfig, FlappingKey};

use crate::support::{Bench, connect, resume, will, with_expiry};

fn ban(bench: &Bench, kind: &str, who: &str, until_ms: Option<i64>) -> BanSubject {
    let subject = BanSubject::parse(kind, who).expect("valid");
    let ban = Ban { subject, by: "test".into(), reason: String::new(), at_ms: 0, until_ms };
    bench.broker.bans().put(ban.clone()).expect("room");
    ban.subject
}

fn named(client_id: &str, username: &str) -> Connect {
    Connect { username: Some(username.to_owned()), ..connect(client_id) }
}

#[track_caller]
fn code(bench: &mut Bench, connect: Connect) -> ReasonCode {
    bench.connect(connect).1.reason
}

#[test]
fn who_is_banned_cannot_connect() {
    for (kind, who) in [
        ("clientid", "c"),
        ("username", "u"),
        ("peerhost", "127.0.0.1"),
        ("clientid_re", "^c$"),
        ("username_re", "^u$"),
        ("peerhost_net", "127.0.0.0/8"),
    ] {
        let mut bench = Bench::new();
        let subject = ban(&bench, kind, who, None);
        assert_eq!(code(&mut bench, named("c", "u")), ReasonCode::BANNED, "{kind}");
        let version_4 = Connect { version: Version::V4, ..named("c", "u") };
        let ConnAck { reason, .. } = bench.connect(version_4).1;
        assert_eq!(reason.connect_return_code(), Some(ConnectReturnCode::NotAuthorized), "{kind}");
        assert!(bench.broker.bans().remove(&subject));
        assert_eq!(code(&mut bench, named("c", "u")), ReasonCode::SUCCESS, "{kind}");
    }
}

#[test]
fn a_ban_ends_by_itself() {
    let mut bench = Bench::new();
    let until_ms = bench.broker.now_ms() + 1000;
    ban(&bench, "clientid", "c", Some(until_ms));
    bench.advance_ms(999);
    assert_eq!(code(&mut bench, connect("c")), ReasonCode::BANNED);
    bench.advance_ms(1);
    assert_eq!(code(&mut bench, connect("c")), ReasonCode::SUCCESS);
}

#[test]
fn a_ban_ends_connections_and_wills_go_unheard() {
    for (kind, who) in
        [("clientid", "c"), ("username", "u"), ("clientid_re", "^c$"), ("peerhost_net", "127.0.0.0/8")]
    {
        let mut bench = Bench::new();
        let mut watcher = bench.client("watcher");
        watcher.subscribe(&mut bench, "w", QoS::AtMostOnce);
        let with_will = Connect { will: will("w", 0), username: Some("u".into()), ..with_expiry("c", 60) };
        let (mut client, _) = bench.connect(with_will);
        let subject = ban(&bench, kind, who, None);
        assert!(bench.broker.expel(&subject) > 0, "{kind}");
        bench.deliver_mail(&mut client);
        match client.read_one(&mut bench) {
            Packet::Disconnect(disconnect) => {
                assert_eq!(disconnect.reason, ReasonCode::ADMINISTRATIVE_ACTION, "{kind}");
            }
            other => panic!("{other:?}"),
        }
        assert!(watcher.read(&mut bench).is_empty(), "{kind}");
        assert!(bench.broker.client("c").is_none(), "{kind}");
        assert_eq!(bench.broker.client("watcher").is_some(), kind != "peerhost_net");
    }
}

#[test]
fn the_delayed_will_of_a_banned_client_goes_unheard() {
    let mut bench = Bench::new();
    let mut watcher = bench.client("watcher");
    watcher.subscribe(&mut bench, "w", QoS::AtMostOnce);
    let (client, _) = bench.connect(Connect { will: will("w", 5), ..with_expiry("c", 60) });
    client.vanish(&mut bench);
    ban(&bench, "clientid", "c", None);
    bench.advance_ms(5000);
    assert!(watcher.read(&mut bench).is_empty());
}

#[test]
fn a_session_that_is_away_outlives_the_ban_of_its_address() {
    let mut bench = Bench::new();
    let (client, _) = bench.connect(with_expiry("c", 60));
    client.vanish(&mut bench);
    let subject = ban(&bench, "peerhost", "127.0.0.1", None);
    assert_eq!(bench.broker.expel(&subject), 0);
    bench.broker.bans().remove(&subject);
    assert!(bench.connect(resume("c")).1.session_present);
}

fn flapping(key: FlappingKey) -> Bench {
    let config = FlappingConfig { window_ms: 10_000, max_count: 3, ban_ms: 5000, key };
    Bench::with(BrokerConfig { flapping: Some(config), allow_anonymous: true, ..BrokerConfig::default() })
}

#[test]
fn who_disconnects_too_often_is_banned_for_a_while() {
    for key in [FlappingKey::ClientId, FlappingKey::Username, FlappingKey::PeerHost] {
        let mut bench = flapping(key);
        for _ in 0..3 {
            let (client, connack) = bench.connect(named("c", "u"));
            assert_eq!(connack.reason, ReasonCode::SUCCESS, "{key:?}");
            client.vanish(&mut bench);
        }
        assert_eq!(code(&mut bench, named("c", "u")), ReasonCode::BANNED, "{key:?}");
        let other = code(&mut bench, named("d", "v"));
        assert_eq!(other == ReasonCode::BANNED, key == FlappingKey::PeerHost, "{key:?}");
        let bans = bench.broker.bans().take_unstored();
        assert_eq!(bans.len(), 1);
        assert_eq!(
            (bans[0].by.as_str(), bans[0].reason.as_str()),
            ("flapping detector", "3 disconnects in 10 s")
        );
        bench.advance_ms(5000);
        assert_eq!(code(&mut bench, named("c", "u")), ReasonCode::SUCCESS, "{key:?}");
    }
}

#[test]
fn two_clients_that_fight_for_a_client_id_flap() {
    let mut bench = flapping(FlappingKey::ClientId);
    for _ in 0..4 {
        assert_eq!(code(&mut bench, connect("c")), ReasonCode::SUCCESS);
    }
    assert_eq!(code(&mut bench, connect("c")), ReasonCode::BANNED);
}

#[test]
fn a_stop_and_operators_do_not_make_clients_flap() {
    let mut bench = flapping(FlappingKey::ClientId);
    for _ in 0..4 {
        let (mut client, _) = bench.connect(connect("c"));
        client.close(&mut bench, CloseReason::ServerShutdown);
        let _ = bench.connect(connect("c"));
        bench.broker.kick("c");
    }
    assert_eq!(code(&mut bench, connect("c")), ReasonCode::SUCCESS);
}
