//! An interface on a real broker and a real engine, in memory, without sockets.

#![allow(dead_code, unreachable_pub)] // each test file uses a part

use std::sync::Arc;

use api::{
    Api, ApiParts, ApiSettings, ListenerControl, ListenerFault, ListenerView, MemoryStore, Snapshot,
    TraceChunk, TraceControl, TraceDefinition, TraceFault, TraceView, router,
};
use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use broker_codec::{
    Connect, Packet, Properties, PublishBuilder, QoS, Subscribe, Subscription, SubscriptionOptions, Version,
};
use broker_core::{Broker, BrokerConfig, Connection, ConnectionKey, Context, Endpoints, Outgoing};
use connectors_api::{
    Batch, Capabilities, Channel, ChannelContext, ChannelError, ConfigError, Connector, ConnectorDef, Health,
    Outcome, Reason, StartContext, StartError, StartFuture,
};
use engine_event::{ManualClock, Row};
use engine_runtime::{EditionVerdict, Engine, EngineConfig};
use http::{HeaderMap, Request, StatusCode};
use serde_json::{Value as Json, json};
use tower::ServiceExt as _;

/// Token of the command line in the tests.
pub const LOCAL_TOKEN: &str = "local-token-of-the-tests";

/// Name of the node in the tests.
pub const NODE: &str = "sluice@127.0.0.1";

/// 2026-03-01T09:30:00.125Z
pub const START_MS: i64 = 1_772_357_400_125;

/// The interface with everything behind it.
pub struct Fixture {
    pub api: Api,
    pub broker: Arc<Broker>,
    pub engine: Arc<Engine>,
    pub store: Arc<MemoryStore>,
    pub clock: Arc<ManualClock>,
    router: Router,
}

/// A server without listeners.
struct NoListeners;

#[async_trait]
impl ListenerControl for NoListeners {
    fn list(&self) -> Vec<ListenerView> {
        Vec::new()
    }

    async fn create(&self, _: &str, _: serde_json::Map<String, Json>) -> Result<(), ListenerFault> {
        Err(ListenerFault::Failed("there is no network".to_owned()))
    }

    async fn update(&self, id: &str, _: serde_json::Map<String, Json>) -> Result<(), ListenerFault> {
        Err(ListenerFault::Unknown(id.to_owned()))
    }

    async fn delete(&self, id: &str) -> Result<(), ListenerFault> {
        Err(ListenerFault::Unknown(id.to_owned()))
    }

    async fn start(&self, id: &str) -> Result<(), ListenerFault> {
        Err(ListenerFault::Unknown(id.to_owned()))
    }

    async fn stop(&self, id: &str) -> Result<(), ListenerFault> {
        Err(ListenerFault::Unknown(id.to_owned()))
    }

    async fn restart(&self, id: &str) -> Result<(), ListenerFault> {
        Err(ListenerFault::Unknown(id.to_owned()))
    }
}

/// A server that writes no traces.
struct NoTraces;

#[async_trait]
impl TraceControl for NoTraces {
    fn list(&self) -> Vec<TraceView> {
        Vec::new()
    }

    async fn create(&self, _: TraceDefinition) -> Result<TraceView, TraceFault> {
        Err(TraceFault::Full(0))
    }

    async fn stop(&self, name: &str) -> Result<TraceView, TraceFault> {
        Err(TraceFault::Unknown(name.to_owned()))
    }

    async fn delete(&self, name: &str) -> Result<(), TraceFault> {
        Err(TraceFault::Unknown(name.to_owned()))
    }

    async fn read(&self, name: &str, _: u64, _: usize) -> Result<TraceChunk, TraceFault> {
        Err(TraceFault::Unknown(name.to_owned()))
    }

    async fn archive(
        &self,
        name: &str,
    ) -> Result<tokio::sync::mpsc::Receiver<std::io::Result<Vec<u8>>>, TraceFault> {
        Err(TraceFault::Unknown(name.to_owned()))
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Json {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}

impl Fixture {
    pub fn new() -> Self {
        Self::with(Snapshot::default())
    }

    pub fn with(snapshot: Snapshot) -> Self {
        let clock = Arc::new(ManualClock::at(START_MS));
        let config = BrokerConfig { allow_anonymous: true, ..BrokerConfig::default() };
        let broker = Broker::new(config, clock.clone());
        let mut config = EngineConfig::new(NODE, std::env::temp_dir(), clock.clone());
        config.definitions = definitions();
        let engine = Engine::new(config);
        broker.set_tap(engine.clone());
        engine.attach(broker.clone(), broker.clone());
        let store = Arc::new(MemoryStore::new(snapshot.clone()));
        let parts = ApiParts {
            broker: broker.clone(),
            engine: engine.clone(),
            store: store.clone(),
            clock: clock.clone(),
            definitions: definitions(),
            listeners: Arc::new(NoListeners),
            traces: Arc::new(NoTraces),
            settings: ApiSettings { local_token: Some(LOCAL_TOKEN.to_owned()), ..ApiSettings::default() },
        };
        let api = Api::new(parts, &snapshot);
        Self { router: router(api.clone()), api, broker, engine, store, clock }
    }

    /// Sends `METHOD path` as the command line does, with everything allowed.
    pub async fn call(&self, request: &str, body: Json) -> Answer {
        self.call_as(&format!("Bearer {LOCAL_TOKEN}"), request, body).await
    }

    /// Sends `METHOD path` with this Authorization header; empty for none. A body of `null` is none.
    pub async fn call_as(&self, authorization: &str, request: &str, body: Json) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(authorization, request, &[("content-type", "application/json")], body).await
    }

    /// Sends anything.
    pub async fn send(
        &self,
        authorization: &str,
        request: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let (method, path) = request.split_once(' ').expect("METHOD path");
        let mut builder = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        if !authorization.is_empty() {
            builder = builder.header("authorization", authorization);
        }
        let request = builder.body(body.into()).expect("a request");
        let response = self.router.clone().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.expect("a body in memory");
        let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
        Answer { status: parts.status, headers: parts.headers, text }
    }

    /// Checks status and body of an answer: the body must have at least what is expected.
    pub async fn check(&self, request: &str, body: Json, status: u16, expect: Json) -> Json {
        let answer = self.call(request, body).await;
        assert_eq!(answer.status.as_u16(), status, "{request}: {}", answer.text);
        if status == 204 {
            assert_eq!(answer.text, "", "{request}");
            return Json::Null;
        }
        let found = answer.json();
        if status >= 400 {
            assert!(found["code"].is_string() && found["message"].is_string(), "{request}: {found}");
        }
        contains(&found, &expect, request);
        found
    }

    /// Connects a client, as if over a socket; it stays connected as long as what is returned.
    pub fn connect(&self, client_id: &str, username: Option<&str>, filters: &[&str]) -> Client {
        let key = ConnectionKey { worker: 0, slot: 0, generation: 0 };
        let endpoints = Endpoints::new(
            "127.0.0.1:51022".parse().expect("an address"),
            "127.0.0.1:1883".parse().expect("an address"),
            "tcp:default".into(),
        );
        let mut client = Client {
            connection: Connection::new(self.broker.clone(), key, endpoints),
            context: self.broker.worker_context(),
        };
        client.send(Packet::Connect(Box::new(Connect {
            version: Version::V5,
            bridge: false,
            clean_start: true,
            keep_alive_s: 60,
            client_id: client_id.to_owned(),
            will: None,
            username: username.map(str::to_owned),
            password: None,
            properties: Properties::new(),
        })));
        for filter in filters {
            client.send(Packet::Subscribe(Subscribe {
                packet_id: std::num::NonZeroU16::MIN.into(),
                properties: Properties::new(),
                subscriptions: vec![Subscription {
                    filter: (*filter).into(),
                    options: SubscriptionOptions::with_qos(QoS::AtLeastOnce),
                }],
            }));
        }
        client
    }
}

/// A connected client.
pub struct Client {
    connection: Connection,
    context: Context,
}

impl Client {
    /// Publishes a message.
    pub fn publish(&mut self, topic: &str, qos: QoS) {
        let builder = PublishBuilder {
            topic,
            qos,
            packet_id: (qos != QoS::AtMostOnce).then_some(std::num::NonZeroU16::MIN.into()),
            ..PublishBuilder::default()
        };
        self.send(Packet::Publish(builder.build().expect("valid")));
    }

    /// Sends what waits for the client.
    pub fn flush(&mut self) {
        let mut out = Outgoing::with_buffer(Vec::new());
        self.connection.fill(usize::MAX, &mut self.context, &mut out);
    }

    fn send(&mut self, packet: Packet) {
        let mut out = Outgoing::with_buffer(Vec::new());
        self.connection.handle(packet, &mut self.context, &mut out);
    }
}

/// The Authorization header of an API key.
pub fn basic(key: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{key}:{secret}")))
}

/// Checks that `found` has everything that `expect` has. Arrays have the same length.
pub fn contains(found: &Json, expect: &Json, place: &str) {
    match (found, expect) {
        (Json::Object(found), Json::Object(expect)) => {
            for (name, expect) in expect {
                let found =
                    found.get(name).unwrap_or_else(|| panic!("{place}.{name} is missing in {found:?}"));
                contains(found, expect, &format!("{place}.{name}"));
            }
        }
        (Json::Array(found), Json::Array(expect)) => {
            assert_eq!(found.len(), expect.len(), "{place}: {found:?}");
            for (index, (found, expect)) in found.iter().zip(expect).enumerate() {
                contains(found, expect, &format!("{place}[{index}]"));
            }
        }
        _ => assert_eq!(found, expect, "{place}"),
    }
}

/// Two connector types: `fake` may be used, `paid` belongs to another edition.
fn definitions() -> Vec<(ConnectorDef, EditionVerdict)> {
    let refused = EditionVerdict::Refused { edition: "enterprise".to_owned() };
    vec![(definition("fake"), EditionVerdict::Allowed), (definition("paid"), refused)]
}

fn definition(kind: &'static str) -> ConnectorDef {
    ConnectorDef {
        kind,
        title: "Fake",
        summary: "confirms everything, unless its target is `down`",
        capabilities: Capabilities {
            batch_size_default: 1,
            batch_time_ms_default: 0,
            batch_size_limit: 100,
            keeps_order: true,
        },
        secrets: &["password"],
        connector_schema: || json!({"type": "object"}),
        action_schema: || json!({"type": "object"}),
        check_connector: |config| match config.get("target").and_then(Json::as_str) {
            Some(_) => Ok(()),
            None => Err(ConfigError::new("target", "required, but missing")),
        },
        check_action: |_| Ok(()),
        start,
    }
}

fn start(_: StartContext, config: Json) -> StartFuture {
    Box::pin(async move {
        if config["target"] == "down" {
            return Err(StartError::Target(Reason::transport("Connection refused")));
        }
        Ok(Arc::new(Fake) as Arc<dyn Connector>)
    })
}

struct Fake;

#[async_trait]
impl Connector for Fake {
    async fn check(&self) -> Health {
        Health::Connected
    }

    async fn add_channel(&self, _: ChannelContext, _: &Json) -> Result<Arc<dyn Channel>, ChannelError> {
        Ok(Arc::new(Fake))
    }

    async fn stop(&self) {}
}

#[async_trait]
impl Channel for Fake {
    async fn deliver(&self, batch: Batch<'_>, _: std::time::Instant) -> Vec<Outcome> {
        vec![Outcome::Ok; batch.len()]
    }

    fn render(&self, _: &Row) -> Result<Json, Reason> {
        Ok(json!({}))
    }
}
