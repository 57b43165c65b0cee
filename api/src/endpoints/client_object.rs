//! A client as the interface shows it.

use broker_core::ClientInfo;
use engine_event::{JsonOptions, Map, Value, encode_json};
use serde::Serialize;
use serde_json::{Value as Json, json};
use utoipa::ToSchema;

use crate::web::rfc3339_ms;

/// A client: its session, and its present or last connection.
///
/// Fields of EMQX's runtime (`heap_size`, `mailbox_len`, `reductions`) and of things that this broker does not have
/// or does not count (messages by QoS) are zero: programs expect them.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ClientObject {
    node: String,
    clientid: String,
    username: Option<String>,
    proto_name: &'static str,
    proto_ver: u8,
    ip_address: String,
    port: u16,
    listener: String,
    connected: bool,
    connected_at: String,
    created_at: String,
    /// Only of a client that is away.
    #[serde(skip_serializing_if = "Option::is_none")]
    disconnected_at: Option<String>,
    /// Number of the connection; grows with each connection of the client.
    conn_id: u64,
    is_bridge: bool,
    is_superuser: bool,
    /// Seconds, as in force.
    keepalive: u16,
    mountpoint: String,
    zone: String,
    enable_authn: bool,
    client_attrs: Json,
    clean_start: bool,
    /// Seconds.
    expiry_interval: u32,
    is_expired: bool,
    is_persistent: bool,
    durable: bool,
    subscriptions_cnt: usize,
    /// A number, or `infinity`.
    subscriptions_max: Json,
    inflight_cnt: usize,
    inflight_max: usize,
    mqueue_len: usize,
    /// 0 is no limit.
    mqueue_max: usize,
    mqueue_dropped: u64,
    awaiting_rel_cnt: usize,
    awaiting_rel_max: u16,
    recv_oct: u64,
    recv_cnt: u64,
    recv_pkt: u64,
    recv_msg: u64,
    #[serde(rename = "recv_msg.qos0")]
    recv_msg_qos0: u64,
    #[serde(rename = "recv_msg.qos1")]
    recv_msg_qos1: u64,
    #[serde(rename = "recv_msg.qos2")]
    recv_msg_qos2: u64,
    #[serde(rename = "recv_msg.dropped")]
    recv_msg_dropped: u64,
    #[serde(rename = "recv_msg.dropped.await_pubrel_timeout")]
    recv_msg_dropped_await_pubrel_timeout: u64,
    send_oct: u64,
    send_cnt: u64,
    send_pkt: u64,
    send_msg: u64,
    #[serde(rename = "send_msg.qos0")]
    send_msg_qos0: u64,
    #[serde(rename = "send_msg.qos1")]
    send_msg_qos1: u64,
    #[serde(rename = "send_msg.qos2")]
    send_msg_qos2: u64,
    #[serde(rename = "send_msg.dropped")]
    send_msg_dropped: u64,
    #[serde(rename = "send_msg.dropped.expired")]
    send_msg_dropped_expired: u64,
    #[serde(rename = "send_msg.dropped.queue_full")]
    send_msg_dropped_queue_full: u64,
    #[serde(rename = "send_msg.dropped.too_large")]
    send_msg_dropped_too_large: u64,
    total_payload_bytes: u64,
    heap_size: u64,
    mailbox_len: u64,
    reductions: u64,
}

impl ClientObject {
    pub(super) fn new(client: &ClientInfo) -> Self {
        Self {
            node: client.node.to_str_lossy().into_owned(),
            clientid: client.client_id.to_str_lossy().into_owned(),
            username: client.username.as_ref().map(|name| name.to_str_lossy().into_owned()),
            proto_name: client.version.protocol_name(),
            proto_ver: client.version.level(),
            ip_address: client.peer.ip().to_string(),
            port: client.peer.port(),
            listener: client.listener.as_ref().to_owned(),
            connected: client.connected,
            connected_at: rfc3339_ms(client.connected_at_ms),
            created_at: rfc3339_ms(client.created_at_ms),
            disconnected_at: client.disconnected_at_ms.map(rfc3339_ms),
            conn_id: client.conn_id,
            is_bridge: client.is_bridge,
            is_superuser: client.is_superuser,
            keepalive: client.keep_alive_s,
            mountpoint: client.mountpoint.as_ref().map_or_else(String::new, ToString::to_string),
            zone: client.zone.as_ref().to_owned(),
            enable_authn: true,
            client_attrs: map_to_json(&client.attributes),
            clean_start: client.clean_start,
            expiry_interval: client.expiry_interval_s,
            is_expired: false,
            is_persistent: client.expiry_interval_s > 0,
            durable: false,
            subscriptions_cnt: client.subscriptions,
            subscriptions_max: number_or_infinity(client.max_subscriptions),
            inflight_cnt: client.inflight,
            inflight_max: client.inflight_max,
            mqueue_len: client.queue_len,
            mqueue_max: client.max_queue_len,
            mqueue_dropped: client.dropped_queue_full,
            awaiting_rel_cnt: client.awaiting_release,
            awaiting_rel_max: client.receive_maximum,
            recv_oct: client.received_bytes,
            recv_cnt: client.received_packets,
            recv_pkt: client.received_packets,
            recv_msg: client.received_messages.iter().sum(),
            recv_msg_qos0: client.received_messages[0],
            recv_msg_qos1: client.received_messages[1],
            recv_msg_qos2: client.received_messages[2],
            recv_msg_dropped: 0,
            recv_msg_dropped_await_pubrel_timeout: 0,
            send_oct: client.sent_bytes,
            send_cnt: client.sent_packets,
            send_pkt: client.sent_packets,
            send_msg: client.sent_messages.iter().sum(),
            send_msg_qos0: client.sent_messages[0],
            send_msg_qos1: client.sent_messages[1],
            send_msg_qos2: client.sent_messages[2],
            send_msg_dropped: client.dropped,
            send_msg_dropped_expired: client.dropped_expired,
            send_msg_dropped_queue_full: client.dropped_queue_full,
            send_msg_dropped_too_large: client.dropped_too_large,
            total_payload_bytes: 0,
            heap_size: 0,
            mailbox_len: 0,
            reductions: 0,
        }
    }
}

/// In the configuration 0 stands for no limit.
fn number_or_infinity(limit: usize) -> Json {
    if limit == 0 { json!("infinity") } else { json!(limit) }
}

/// A map of the rule language as JSON.
fn map_to_json(map: &Map) -> Json {
    if map.is_empty() {
        return json!({});
    }
    let bytes = encode_json(&Value::Map(map.clone()), JsonOptions::default());
    serde_json::from_slice(&bytes).unwrap_or_default()
}
