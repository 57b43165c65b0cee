//! The table of events: what rules can select, with their columns and sample values.

use crate::{ColumnDef, ColumnType, EventDef, EventKind};

/// Every event kind, in the order of [`EventKind`].
pub const EVENTS: &[EventDef] = &[
    EventDef {
        kind: EventKind::MessagePublish,
        name: "message.publish",
        topic: "",
        old_topic: "",
        summary: "A message was published.",
        columns: &[
            MESSAGE_ID,
            text("clientid", r#""c_emqx""#, "publisher; the rule id for a republished message"),
            USERNAME,
            PAYLOAD,
            PEER_HOST,
            PEER_NAME,
            TOPIC,
            QOS,
            FLAGS,
            PUB_PROPS,
            RECEIVED_AT,
            CLIENT_ATTRS,
        ],
    },
    EventDef {
        kind: EventKind::ClientConnected,
        name: "client.connected",
        topic: "$events/client/connected",
        old_topic: "$events/client_connected",
        summary: "A client connected.",
        columns: &[
            CLIENT_ID,
            USERNAME,
            text("mountpoint", "", "prefix put before the client's topics"),
            PEER_NAME,
            SOCK_NAME,
            PROTO_NAME,
            PROTO_VER,
            KEEPALIVE,
            CLEAN_START,
            EXPIRY_INTERVAL,
            boolean("is_bridge", "false", "whether the client is a bridge"),
            CONNECTED_AT,
            integer("receive_maximum", "32", "the client's Receive Maximum"),
            CONN_PROPS,
            CLIENT_ATTRS,
            CONN_ID,
        ],
    },
    EventDef {
        kind: EventKind::ClientDisconnected,
        name: "client.disconnected",
        topic: "$events/client/disconnected",
        old_topic: "$events/client_disconnected",
        summary: "A connection of a client ended.",
        columns: &[
            text("reason", r#""normal""#, "why: normal, kicked, keepalive_timeout, takenover, tcp_closed, …"),
            CLIENT_ID,
            USERNAME,
            PEER_NAME,
            SOCK_NAME,
            PROTO_NAME,
            PROTO_VER,
            CONNECTED_AT,
            integer("disconnected_at", "1712000001000", "time of the end, Unix milliseconds"),
            map("disconn_props", r#"{"Reason-String":"bye"}"#, "MQTT 5 properties of DISCONNECT"),
            CLIENT_ATTRS,
            CONN_ID,
        ],
    },
    EventDef {
        kind: EventKind::SessionSubscribed,
        name: "session.subscribed",
        topic: "$events/session/subscribed",
        old_topic: "$events/session_subscribed",
        summary: "A client subscribed to a filter.",
        columns: &[
            CLIENT_ID,
            USERNAME,
            PEER_HOST,
            PEER_NAME,
            text("topic", r#""t/#""#, "topic filter"),
            QOS,
            map("sub_props", "{}", "MQTT 5 properties of SUBSCRIBE"),
            CLIENT_ATTRS,
            CONN_ID,
        ],
    },
    EventDef {
        kind: EventKind::SessionUnsubscribed,
        name: "session.unsubscribed",
        topic: "$events/session/unsubscribed",
        old_topic: "$events/session_unsubscribed",
        summary: "A client gave up a subscription.",
        columns: &[
            CLIENT_ID,
            USERNAME,
            PEER_HOST,
            PEER_NAME,
            text("topic", r#""t/#""#, "topic filter"),
            QOS,
            map("unsub_props", "{}", "MQTT 5 properties of UNSUBSCRIBE"),
            CLIENT_ATTRS,
            CONN_ID,
        ],
    },
    EventDef {
        kind: EventKind::MessageDelivered,
        name: "message.delivered",
        topic: "$events/message/delivered",
        old_topic: "$events/message_delivered",
        summary: "A message was handed to the connection of a subscriber.",
        columns: &[
            FROM_CLIENT_ID,
            FROM_USERNAME,
            CLIENT_ID,
            USERNAME,
            PEER_HOST,
            PEER_NAME,
            MESSAGE_ID,
            PAYLOAD,
            TOPIC,
            QOS,
            FLAGS,
            PUB_PROPS,
            RECEIVED_AT,
        ],
    },
    EventDef {
        kind: EventKind::MessageAcked,
        name: "message.acked",
        topic: "$events/message/acked",
        old_topic: "$events/message_acked",
        summary: "A subscriber acknowledged a message with QoS 1 or 2.",
        columns: &[
            FROM_CLIENT_ID,
            FROM_USERNAME,
            CLIENT_ID,
            USERNAME,
            PEER_HOST,
            PEER_NAME,
            MESSAGE_ID,
            PAYLOAD,
            TOPIC,
            QOS,
            FLAGS,
            PUB_PROPS,
            RECEIVED_AT,
            map("puback_props", r#"{"Reason-String":"OK"}"#, "MQTT 5 properties of PUBACK or PUBREC"),
        ],
    },
    EventDef {
        kind: EventKind::MessageDropped,
        name: "message.dropped",
        topic: "$events/message/dropped",
        old_topic: "$events/message_dropped",
        summary: "A message was dropped before it reached any subscriber.",
        columns: &[
            text(
                "reason",
                r#""no_subscribers""#,
                "why: no_subscribers, not_authorized, quota_exceeded, receive_maximum_exceeded",
            ),
            CLIENT_ID,
            USERNAME,
            PEER_HOST,
            PEER_NAME,
            MESSAGE_ID,
            PAYLOAD,
            TOPIC,
            QOS,
            FLAGS,
            PUB_PROPS,
            RECEIVED_AT,
        ],
    },
    EventDef {
        kind: EventKind::DeliveryDropped,
        name: "delivery.dropped",
        topic: "$events/message/delivery_dropped",
        old_topic: "$events/delivery_dropped",
        summary: "A message was dropped on its way to one subscriber.",
        columns: &[
            text(
                "reason",
                r#""queue_full""#,
                "why: queue_full, no_local, expired, qos0_msg, too_large, session_ended",
            ),
            FROM_CLIENT_ID,
            FROM_USERNAME,
            CLIENT_ID,
            USERNAME,
            PEER_HOST,
            PEER_NAME,
            MESSAGE_ID,
            PAYLOAD,
            TOPIC,
            QOS,
            FLAGS,
            PUB_PROPS,
            RECEIVED_AT,
        ],
    },
    EventDef {
        kind: EventKind::ClientConnack,
        name: "client.connack",
        topic: "$events/client/connack",
        old_topic: "$events/client_connack",
        summary: "The server answered a CONNECT.",
        columns: &[
            text("reason_code", r#""success""#, "reason code of CONNACK in snake case"),
            CLIENT_ID,
            USERNAME,
            PEER_NAME,
            SOCK_NAME,
            PROTO_NAME,
            PROTO_VER,
            KEEPALIVE,
            CLEAN_START,
            EXPIRY_INTERVAL,
            CONNECTED_AT,
            CONN_PROPS,
        ],
    },
    EventDef {
        kind: EventKind::ClientPing,
        name: "client.ping",
        topic: "$events/client/ping",
        old_topic: "",
        summary: "A client sent PINGREQ.",
        columns: &[
            CLIENT_ID,
            USERNAME,
            PEER_NAME,
            SOCK_NAME,
            PROTO_NAME,
            PROTO_VER,
            KEEPALIVE,
            CLEAN_START,
            EXPIRY_INTERVAL,
            CONN_PROPS,
        ],
    },
    EventDef {
        kind: EventKind::ClientCheckAuthnComplete,
        name: "client.check_authn_complete",
        topic: "$events/auth/check_authn_complete",
        old_topic: "$events/client_check_authn_complete",
        summary: "A client was authenticated, or not.",
        columns: &[
            CLIENT_ID,
            USERNAME,
            PEER_NAME,
            text("reason_code", r#""success""#, "outcome in snake case"),
            boolean("is_superuser", "false", "whether the client may do everything"),
            boolean("is_anonymous", "false", "whether nobody asked for credentials"),
            CLIENT_ATTRS,
        ],
    },
    EventDef {
        kind: EventKind::ClientCheckAuthzComplete,
        name: "client.check_authz_complete",
        topic: "$events/auth/check_authz_complete",
        old_topic: "$events/client_check_authz_complete",
        summary: "A publish or subscribe was authorized, or not.",
        columns: &[
            CLIENT_ID,
            USERNAME,
            PEER_HOST,
            PEER_NAME,
            TOPIC,
            text("action", r#""publish""#, "publish or subscribe"),
            text("authz_source", r#""file""#, "who decided: cache, default, file, http, …"),
            text("result", r#""allow""#, "allow or deny"),
            CLIENT_ATTRS,
        ],
    },
    EventDef {
        kind: EventKind::AlarmActivated,
        name: "alarm.activated",
        topic: "$events/sys/alarm_activated",
        old_topic: "",
        summary: "An alarm was raised.",
        columns: &[ALARM_NAME, ALARM_DETAILS, ALARM_MESSAGE, ACTIVATED_AT],
    },
    EventDef {
        kind: EventKind::AlarmDeactivated,
        name: "alarm.deactivated",
        topic: "$events/sys/alarm_deactivated",
        old_topic: "",
        summary: "An alarm ended.",
        columns: &[
            ALARM_NAME,
            ALARM_DETAILS,
            ALARM_MESSAGE,
            ACTIVATED_AT,
            integer("deactivated_at", "1712000001000000", "end of the alarm, Unix microseconds"),
        ],
    },
    EventDef {
        kind: EventKind::SchemaValidationFailed,
        name: "schema.validation_failed",
        topic: "$events/schema_validation/failed",
        old_topic: "$events/schema_validation_failed",
        summary: "A message did not pass a schema validation.",
        columns: &[
            VALIDATION,
            CLIENT_ID,
            USERNAME,
            PEER_HOST,
            PEER_NAME,
            MESSAGE_ID,
            PAYLOAD,
            TOPIC,
            QOS,
            FLAGS,
            PUB_PROPS,
            RECEIVED_AT,
        ],
    },
    EventDef {
        kind: EventKind::MessageTransformationFailed,
        name: "message.transformation_failed",
        topic: "$events/message_transformation/failed",
        old_topic: "$events/message_transformation_failed",
        summary: "A transformation could not be applied to a message.",
        columns: &[
            TRANSFORMATION,
            CLIENT_ID,
            USERNAME,
            PEER_NAME,
            MESSAGE_ID,
            PAYLOAD,
            TOPIC,
            QOS,
            FLAGS,
            PUB_PROPS,
            RECEIVED_AT,
        ],
    },
];

const fn text(name: &'static str, sample: &'static str, summary: &'static str) -> ColumnDef {
    ColumnDef { name, column_type: ColumnType::Text, sample, summary }
}

const fn integer(name: &'static str, sample: &'static str, summary: &'static str) -> ColumnDef {
    ColumnDef { name, column_type: ColumnType::Integer, sample, summary }
}

const fn boolean(name: &'static str, sample: &'static str, summary: &'static str) -> ColumnDef {
    ColumnDef { name, column_type: ColumnType::Boolean, sample, summary }
}

const fn map(name: &'static str, sample: &'static str, summary: &'static str) -> ColumnDef {
    ColumnDef { name, column_type: ColumnType::Map, sample, summary }
}

const CLIENT_ID: ColumnDef = text("clientid", r#""c_emqx""#, "client id");
const USERNAME: ColumnDef = text("username", r#""u_emqx""#, "user name, undefined for an anonymous client");
const PEER_HOST: ColumnDef = text("peerhost", r#""192.168.0.10""#, "IP address of the client");
const PEER_NAME: ColumnDef = text("peername", r#""192.168.0.10:56431""#, "IP address and port of the client");
const SOCK_NAME: ColumnDef =
    text("sockname", r#""0.0.0.0:1883""#, "address and port the client connected to");
const PROTO_NAME: ColumnDef = text("proto_name", r#""MQTT""#, "protocol name of CONNECT");
const PROTO_VER: ColumnDef = integer("proto_ver", "5", "3, 4 or 5");
const CLIENT_ATTRS: ColumnDef = map("client_attrs", "{}", "attributes of the client");
const CONNECTED_AT: ColumnDef =
    integer("connected_at", "1712000000000", "time of CONNECT, Unix milliseconds");
const CONN_ID: ColumnDef =
    integer("conn_id", "1", "number of this connection of the client id; grows with every connect");
const QOS: ColumnDef = integer("qos", "1", "0, 1 or 2");

const FROM_CLIENT_ID: ColumnDef = text("from_clientid", r#""c_sender""#, "publisher");
const FROM_USERNAME: ColumnDef = text("from_username", r#""u_sender""#, "user name of the publisher");
const MESSAGE_ID: ColumnDef =
    text("id", r#""0006200F3A1BF443A1B2000012340001""#, "message id, 32 hexadecimal digits");
const PAYLOAD: ColumnDef = text("payload", r#""{\"msg\": \"hello\"}""#, "payload as it was published");
const TOPIC: ColumnDef = text("topic", r#""t/a""#, "topic name");
const FLAGS: ColumnDef = map("flags", r#"{"retain":false,"dup":false}"#, "MQTT flags");
const PUB_PROPS: ColumnDef = map("pub_props", r#"{"User-Property":{}}"#, "MQTT 5 properties");
const RECEIVED_AT: ColumnDef =
    integer("publish_received_at", "1712000000000", "time of receipt, Unix milliseconds");
const KEEPALIVE: ColumnDef = integer("keepalive", "60", "keep alive in seconds, as in force");
const CLEAN_START: ColumnDef = boolean("clean_start", "true", "whether the client asked for a new session");
const EXPIRY_INTERVAL: ColumnDef = integer("expiry_interval", "3600", "session expiry in seconds");
const CONN_PROPS: ColumnDef =
    map("conn_props", r#"{"Session-Expiry-Interval":3600}"#, "MQTT 5 properties of CONNECT");
const VALIDATION: ColumnDef = text("validation", r#""v_sample""#, "name of the validation that failed");
const TRANSFORMATION: ColumnDef =
    text("transformation", r#""t_sample""#, "name of the transformation that failed");
const ALARM_NAME: ColumnDef = text("name", r#""high_cpu""#, "name of the alarm");
const ALARM_DETAILS: ColumnDef = map("details", r#"{"usage":"91%"}"#, "what the alarm is about");
const ALARM_MESSAGE: ColumnDef = text("message", r#""91% of the CPU is in use""#, "the alarm in words");
const ACTIVATED_AT: ColumnDef =
    integer("activated_at", "1712000000000000", "start of the alarm, Unix microseconds");
