"""Connects with Paho over one transport, sends messages to itself, prints how many came, and stays for a line of input.

paho_transport.py tcp|ssl|ws|wss PORT FOLDER certificate|none
"""

import ssl
import sys
import threading

import paho.mqtt.client as mqtt

KIND, PORT, FOLDER, IDENTITY = sys.argv[1:]
COUNT = 100

received = []
done = threading.Event()


def on_connect(client, userdata, flags, reason, properties):
    client.subscribe("paho/#", qos=1)


def on_subscribe(client, userdata, mid, reasons, properties):
    for number in range(COUNT):
        # some of them larger than what is read at once
        client.publish("paho/%d" % number, b"x" * (number * 700), qos=number % 3)


def on_message(client, userdata, message):
    number = int(message.topic.split("/")[1])
    assert len(message.payload) == number * 700, message.topic
    received.append(number)
    if len(received) == COUNT:
        done.set()


client = mqtt.Client(
    mqtt.CallbackAPIVersion.VERSION2,
    client_id="paho-" + KIND,
    protocol=mqtt.MQTTv5,
    transport="websockets" if KIND in ("ws", "wss") else "tcp",
)
client.on_connect = on_connect
client.on_subscribe = on_subscribe
client.on_message = on_message
client.on_disconnect = lambda *args: done.set()
if KIND in ("ssl", "wss"):
    context = ssl.create_default_context(cafile=FOLDER + "/ca.pem")
    # the authority of the test names no key usage, which newer versions insist on
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    if IDENTITY == "certificate":
        context.load_cert_chain(FOLDER + "/client.pem", FOLDER + "/client.key")
    client.tls_set_context(context)
client.connect("localhost", int(PORT), keepalive=30)
client.loop_start()
done.wait(15)
if len(received) < COUNT:
    sys.exit("%d of %d messages" % (len(received), COUNT))

print(len(received), flush=True)
sys.stdin.readline()
client.disconnect()
client.loop_stop()
