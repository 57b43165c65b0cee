"""Drives the server with the Eclipse Paho client: one line of JSON a finding, exit status 0 when it ran to its end.

paho_client.py PORT PROTOCOL    PROTOCOL: 3 (MQTT 3.1), 4 (3.1.1) or 5
"""

import json
import queue
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PORT, PROTOCOL = int(sys.argv[1]), int(sys.argv[2])
LIMIT_S = 20


def found(name, value):
    print(json.dumps({"name": name, "value": value}), flush=True)


class Peer:
    """A client that waits for what it asked for."""

    def __init__(self, client_id, will=None, **connect):
        self.inbox = queue.Queue()
        self.answers = queue.Queue()
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=PROTOCOL,
            **({} if PROTOCOL == mqtt.MQTTv5 else {"clean_session": connect.pop("clean", True)}),
        )
        self.client.on_message = lambda _client, _data, message: self.inbox.put(message)
        self.client.on_connect = lambda _client, _data, flags, reason, _properties: self.answers.put(
            (reason.getName() if hasattr(reason, "getName") else str(reason), flags.session_present)
        )
        self.client.on_subscribe = lambda _client, _data, _mid, reasons, _properties: self.answers.put(
            [reason.value for reason in reasons]
        )
        self.client.on_unsubscribe = lambda _client, _data, _mid, _reasons, _properties: self.answers.put("unsubscribed")
        if will:
            self.client.will_set(*will)
        self.client.connect("127.0.0.1", PORT, keepalive=30, **connect)
        self.client.loop_start()
        self.connected = self.answers.get(timeout=LIMIT_S)

    def subscribe(self, topic, qos, **more):
        self.client.subscribe(topic, qos=qos, **more)
        return self.answers.get(timeout=LIMIT_S)

    def unsubscribe(self, topic):
        self.client.unsubscribe(topic)
        return self.answers.get(timeout=LIMIT_S)

    def publish(self, topic, payload, qos, **more):
        self.client.publish(topic, payload, qos=qos, **more).wait_for_publish(LIMIT_S)

    def next(self):
        return self.inbox.get(timeout=LIMIT_S)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()

    def drop(self):
        """Breaks the connection without a DISCONNECT."""
        self.client.loop_stop()
        self.client.socket().close()


def texts(peer, count):
    return [peer.next().payload.decode() for _ in range(count)]


def main():
    receiver = Peer("receiver")
    found("connected", receiver.connected)
    found("granted", [receiver.subscribe(f"qos/{qos}/#", qos) for qos in (0, 1, 2)])

    sender = Peer("sender")
    for qos in (0, 1, 2):
        for number in range(20):
            sender.publish(f"qos/{qos}/a", f"{qos}-{number}", qos)
    got = [receiver.next() for _ in range(60)]
    found("qos", sorted({message.qos for message in got}))
    found("messages", [message.payload.decode() for message in got])

    sender.publish("kept/a", "one", 1, retain=True)
    sender.publish("kept/b", "two", 1, retain=True)
    sender.publish("kept/b", "", 1, retain=True)
    receiver.subscribe("kept/+", 1)
    message = receiver.next()
    found("retained", [message.topic, message.payload.decode(), message.retain])

    found("unsubscribed", receiver.unsubscribe("qos/0/#"))
    sender.publish("qos/0/a", "unheard", 1)
    receiver.subscribe("will/#", 1)
    dying = Peer("dying", will=("will/dying", "gone", 1, False))
    dying.drop()
    found("will", texts(receiver, 1))

    if PROTOCOL == mqtt.MQTTv5:
        version_5(receiver, sender)
    else:
        session(sender)
    receiver.close()
    sender.close()


def session(sender):
    away = Peer("away", clean=False)
    away.subscribe("away/#", 2)
    away.close()
    for number in range(5):
        sender.publish("away/x", str(number), 2)
    back = Peer("away", clean=False)
    found("session", [back.connected[1], texts(back, 5)])
    back.close()


def version_5(receiver, sender):
    lasting = Properties(PacketTypes.CONNECT)
    lasting.SessionExpiryInterval = 300
    away = Peer("away", clean_start=True, properties=lasting)
    away.subscribe("away/#", 2)
    away.close()
    for number in range(5):
        sender.publish("away/x", str(number), 2)
    back = Peer("away", clean_start=False, properties=lasting)
    found("session", [back.connected[1], texts(back, 5)])
    back.close()

    identifier = Properties(PacketTypes.SUBSCRIBE)
    identifier.SubscriptionIdentifier = 7
    receiver.subscribe("v5/#", 1, properties=identifier)
    properties = Properties(PacketTypes.PUBLISH)
    properties.UserProperty = [("site", "berlin"), ("site", "hall 7")]
    properties.ResponseTopic = "answers/here"
    properties.CorrelationData = b"\x00\xff"
    properties.ContentType = "text/plain"
    properties.PayloadFormatIndicator = 1
    properties.MessageExpiryInterval = 60
    properties.TopicAlias = 3
    sender.publish("v5/a", "first", 1, properties=properties)
    alias = Properties(PacketTypes.PUBLISH)
    alias.TopicAlias = 3
    sender.publish("", "second", 1, properties=alias)
    first, second = receiver.next(), receiver.next()
    found(
        "properties",
        [
            first.properties.UserProperty,
            first.properties.ResponseTopic,
            first.properties.CorrelationData.hex(),
            first.properties.ContentType,
            first.properties.PayloadFormatIndicator,
            0 < first.properties.MessageExpiryInterval <= 60,
            first.properties.SubscriptionIdentifier,
        ],
    )
    found("alias", [second.topic, second.payload.decode()])

    members = [Peer(f"member-{number}") for number in range(2)]
    for member in members:
        member.subscribe("$share/group/work/#", 1)
    for number in range(40):
        sender.publish("work/x", str(number), 1)
    done = threading.Event()
    done.wait(1)
    shares = [[message.payload.decode() for message in list(member.inbox.queue)] for member in members]
    found("shared", sorted(int(number) for share in shares for number in share))
    found("both", all(shares))
    for member in members:
        member.close()


main()
