//! Whatever clients do, in whatever order: nothing panics, what the standard says of every packet holds, and in the
//! end nothing is left behind.

use std::collections::HashMap;

use broker_codec::{
    Ack, Connect, Disconnect, Packet, PacketId, Properties, Property, QoS, ReasonCode, RetainHandling,
    Subscribe, Subscription, SubscriptionOptions, Unsubscribe, Version,
};
use broker_core::BrokerConfig;
use proptest::prelude::*;

use crate::support::{Bench, Client, connect, id, message, will};

/// Client ids, and the connections that each may have open at a time.
const CLIENTS: usize = 3;
const FILTERS: [&str; 7] = ["a", "a/#", "+", "#", "$share/g/a", "$share/g/#", "$queue/a"];
const TOPICS: [&str; 3] = ["a", "a/b", "$x"];

#[derive(Debug, Clone)]
enum Step {
    Connect {
        client: usize,
        version: Version,
        clean: bool,
        expiry_s: u32,
        delay_s: Option<u32>,
        maximum: u16,
    },
    Publish {
        client: usize,
        topic: usize,
        qos: QoS,
        number: u16,
        retain: bool,
        empty: bool,
    },
    Acknowledge {
        client: usize,
        kind: u8,
        number: u16,
        refuse: bool,
    },
    Subscribe {
        client: usize,
        filter: usize,
        qos: QoS,
        handling: u8,
    },
    Unsubscribe {
        client: usize,
        filter: usize,
    },
    Read {
        client: usize,
        answer: bool,
    },
    Disconnect {
        client: usize,
        reason: bool,
    },
    Break {
        client: usize,
    },
    Kick {
        client: usize,
    },
    Wait {
        ms: i64,
    },
}

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)]
}

fn step() -> impl Strategy<Value = Step> {
    let client = || 0..CLIENTS;
    let version = prop_oneof![1 => Just(Version::V3), 1 => Just(Version::V4), 4 => Just(Version::V5)];
    prop_oneof![
        4 => (client(), version, any::<bool>(), 0..3_u32, proptest::option::of(0..3_u32), 1..4_u16).prop_map(
            |(client, version, clean, expiry_s, delay_s, maximum)| {
                Step::Connect { client, version, clean, expiry_s, delay_s, maximum }
            }
        ),
        8 => (client(), 0..TOPICS.len(), qos(), 1..5_u16, any::<bool>(), any::<bool>()).prop_map(
            |(client, topic, qos, number, retain, empty)| {
                Step::Publish { client, topic, qos, number, retain, empty }
            }
        ),
        4 => (client(), 0..4_u8, 1..5_u16, any::<bool>())
            .prop_map(|(client, kind, number, refuse)| Step::Acknowledge { client, kind, number, refuse }),
        5 => (client(), 0..FILTERS.len(), qos(), 0..3_u8)
            .prop_map(|(client, filter, qos, handling)| Step::Subscribe { client, filter, qos, handling }),
        2 => (client(), 0..FILTERS.len()).prop_map(|(client, filter)| Step::Unsubscribe { client, filter }),
        6 => (client(), any::<bool>()).prop_map(|(client, answer)| Step::Read { client, answer }),
        1 => (client(), any::<bool>()).prop_map(|(client, reason)| Step::Disconnect { client, reason }),
        2 => client().prop_map(|client| Step::Break { client }),
        1 => client().prop_map(|client| Step::Kick { client }),
        2 => (1..2_000_i64).prop_map(|ms| Step::Wait { ms }),
    ]
}

/// A connection as its client remembers it.
struct Remembered {
    client: Client,
    version: Version,
    maximum: u16,
    /// Messages that were not acknowledged: whether PUBREC was sent.
    open: HashMap<PacketId, bool>,
}

struct World {
    bench: Bench,
    connections: Vec<Option<Remembered>>,
    /// Those that others have taken the session from.
    old: Vec<Client>,
}

impl World {
    fn act(&mut self, step: &Step) {
        let bench = &mut self.bench;
        match *step {
            Step::Connect { client, version, clean, expiry_s, delay_s, maximum } => {
                let properties = match version {
                    Version::V5 => Properties::from_list(&[
                        Property::SessionExpiryInterval(expiry_s),
                        Property::ReceiveMaximum(maximum),
                        Property::TopicAliasMaximum(maximum - 1),
                    ]),
                    _ => Ok(Properties::new()),
                };
                let wish = Connect {
                    version,
                    clean_start: clean,
                    will: delay_s
                        .and_then(|delay_s| will("a", if version == Version::V5 { delay_s } else { 0 })),
                    properties: properties.expect("valid"),
                    ..connect(&format!("c{client}"))
                };
                let (connected, connack) = bench.connect(wish);
                assert!(!(clean && connack.session_present)); // [MQTT-3.2.2-2]
                let maximum = if version == Version::V5 { maximum } else { u16::MAX };
                let now = Remembered { client: connected, version, maximum, open: HashMap::new() };
                self.old.extend(self.connections[client].replace(now).map(|before| before.client));
            }
            Step::Publish { client, topic, qos, number, retain, empty } => {
                let Some(from) = &mut self.connections[client] else { return };
                let payload = if empty { "" } else { "x" };
                from.client.send(bench, &message(TOPICS[topic], payload, qos, number, retain));
            }
            Step::Acknowledge { client, kind, number, refuse } => {
                let Some(from) = &mut self.connections[client] else { return };
                let refuses = refuse && kind < 2 && from.version == Version::V5;
                let reason = if refuses { ReasonCode::UNSPECIFIED_ERROR } else { ReasonCode::SUCCESS };
                let ack = Ack::new(id(number), reason);
                // right or wrong: of what may be open at most this is known to have ended
                from.open.remove(&id(number));
                let packet = match kind {
                    0 => Packet::PubAck(ack),
                    1 => Packet::PubRec(ack),
                    2 => Packet::PubRel(ack),
                    _ => Packet::PubComp(ack),
                };
                from.client.send(bench, &packet);
            }
            Step::Subscribe { client, filter, qos, handling } => {
                let Some(from) = &mut self.connections[client] else { return };
                let mut options = SubscriptionOptions::with_qos(qos);
                if from.version == Version::V5 {
                    options.retain_as_published = handling == 1;
                    options.retain_handling =
                        [RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend]
                            [usize::from(handling)];
                }
                let subscriptions = vec![Subscription { filter: FILTERS[filter].to_owned(), options }];
                let properties = Properties::new();
                from.client.send(
                    bench,
                    &Packet::Subscribe(Subscribe { packet_id: id(9), properties, subscriptions }),
                );
            }
            Step::Unsubscribe { client, filter } => {
                let Some(from) = &mut self.connections[client] else { return };
                let filters = vec![FILTERS[filter].to_owned()];
                let properties = Properties::new();
                from.client
                    .send(bench, &Packet::Unsubscribe(Unsubscribe { packet_id: id(9), properties, filters }));
            }
            Step::Read { client, answer } => self.read(client, answer),
            Step::Disconnect { client, reason } => {
                let Some(from) = &mut self.connections[client] else { return };
                let with_will = reason && from.version == Version::V5;
                let reason = if with_will {
                    ReasonCode::DISCONNECT_WITH_WILL
                } else {
                    ReasonCode::NORMAL_DISCONNECTION
                };
                from.client.send(bench, &Packet::Disconnect(Disconnect::new(reason)));
                assert!(from.client.closed);
            }
            Step::Break { client } => {
                if let Some(from) = self.connections[client].take() {
                    from.client.vanish(bench);
                }
            }
            Step::Kick { client } => {
                bench.broker.kick(&format!("c{client}"));
            }
            Step::Wait { ms } => bench.advance_ms(ms),
        }
    }

    /// Reads what comes and checks it against what the client remembers.
    fn read(&mut self, client: usize, answer: bool) {
        let Some(to) = &mut self.connections[client] else { return };
        for packet in to.client.read(&mut self.bench) {
            let reply = match packet {
                Packet::Publish(publish) => {
                    let Some(packet_id) = publish.packet_id() else {
                        assert!(!publish.dup()); // [MQTT-3.3.1-2]
                        continue;
                    };
                    let before = to.open.insert(packet_id, false);
                    assert_eq!(before, None, "{packet_id} was in flight"); // [MQTT-2.2.1-4]
                    assert!(to.open.len() <= usize::from(to.maximum)); // [MQTT-3.3.4-9]
                    if publish.qos() == QoS::ExactlyOnce {
                        Packet::PubRec(Ack::new(packet_id, ReasonCode::SUCCESS))
                    } else {
                        Packet::PubAck(Ack::new(packet_id, ReasonCode::SUCCESS))
                    }
                }
                Packet::PubRel(release) => Packet::PubComp(Ack::new(release.packet_id, ReasonCode::SUCCESS)),
                _ => continue,
            };
            if answer && !to.client.closed {
                match &reply {
                    Packet::PubAck(ack) | Packet::PubComp(ack) => {
                        to.open.remove(&ack.packet_id);
                    }
                    _ => {}
                }
                to.client.send(&mut self.bench, &reply);
            }
        }
    }

    /// Ends everything, and looks what is left.
    fn end(mut self) {
        let bench = &mut self.bench;
        for connection in self.connections.into_iter().flatten() {
            connection.client.vanish(bench);
        }
        for client in self.old {
            client.vanish(bench);
        }
        bench.advance_ms(10_000);
        bench.advance_ms(1);
        assert_eq!(bench.broker.clients(), []);
        bench.check_drops();
        assert!(bench.broker.topics().is_empty());
        let stats = bench.broker.stats();
        for name in [
            "connections.count",
            "live_connections.count",
            "subscriptions.count",
            "subscriptions.shared.count",
        ] {
            assert_eq!(stats.get(name), Some(0), "{name}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn the_rules_hold(steps in proptest::collection::vec(step(), 1..150), max_inflight in 1..4_u16) {
        let config = BrokerConfig {
            max_inflight,
            max_queue_len: 8,
            session_expiry_interval_s: 2,
            receive_maximum: 100,
            ..BrokerConfig::default()
        };
        let connections = (0..CLIENTS).map(|_| None).collect();
        let mut world = World { bench: Bench::with(config), connections, old: Vec::new() };
        for step in &steps {
            world.act(step);
        }
        world.end();
    }
}
