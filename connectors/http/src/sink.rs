//! A started connector, its channels, and the sending of rows.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use connectors_api::{
    Batch, Channel, ChannelContext, ChannelError, ConfigError, Connector, Delivery, Health, Outcome, Reason,
    Secret, StartContext, StartError,
};
use engine_event::{Row, Text};
use futures::future::join_all;
use http::header::{AUTHORIZATION, HOST, HeaderValue};
use http::{HeaderMap, Version};
use parking_lot::RwLock;
use reqwest::Client;
use rustls::pki_types::ServerName;
use tokio::sync::Semaphore;
use tokio::time::{timeout, timeout_at};

use crate::classify::{Answers, classify_error};
use crate::config::{ActionConfig, AuthFields, Body, ConnectorConfig, PoolType};
use crate::dial::{Dial, ResolveTo};
use crate::headers::{HeaderSet, is_sensitive};
use crate::request::{Built, RequestPlan};
use crate::tls::ServerNaming;

/// How much of an answer is read, so that its connection can be used again.
const ANSWER_BYTES_LIMIT: usize = 64 * 1024;

/// How long an answer's body is waited for once its status is known.
const ANSWER_TIME_LIMIT: Duration = Duration::from_secs(5);

/// How much of an answer's text is shown in a reason.
const EXCERPT_CHARS: usize = 200;

/// A started connector.
#[derive(Debug)]
pub(crate) struct HttpConnector {
    config: ConnectorConfig,
    target: Arc<Target>,
}

/// The target as all channels share it.
#[derive(Debug)]
struct Target {
    /// One pipe, or one for each connection.
    pipes: Vec<Pipe>,
    /// Scheme, host and port of every URL.
    origin: String,
    /// `Host` of every request when the URL has another name.
    host: Option<HeaderValue>,
    dial: Dial,
    auth: AuthFields,
    credentials: RwLock<Credentials>,
    hasher: foldhash::fast::FixedState,
}

/// `Authorization` of every request, and the texts that no message may show.
#[derive(Default)]
struct Credentials {
    header: Option<HeaderValue>,
    secrets: Vec<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// A client with a limit on requests under way.
#[derive(Debug)]
struct Pipe {
    client: Client,
    permits: Semaphore,
    /// Permits to be added when the target turns out to speak HTTP/2, where one connection carries many requests.
    permits_for_http2: usize,
    speaks_http2: AtomicBool,
}

impl HttpConnector {
    /// Builds the clients and opens one connection.
    pub(crate) async fn start(
        context: &StartContext,
        config: &serde_json::Value,
    ) -> Result<Self, StartError> {
        let config = ConnectorConfig::read(config)?;
        let tls = config
            .ssl
            .client_config(&context.data_dir)
            .map_err(|error| StartError::Target(Reason::internal(error.to_string())))?;
        let base = &config.base;
        let naming = config.ssl.server_naming();
        // another name in TLS: the URL gets that name, its addresses and the `Host` header stay those of the host
        let (origin, host) = match naming {
            ServerNaming::Named(name) if base.https => {
                (format!("https://{name}:{}", base.port), HeaderValue::from_str(&base.authority).ok())
            }
            _ => (format!("{}://{}", if base.https { "https" } else { "http" }, base.authority), None),
        };
        let server_name = match naming {
            ServerNaming::Named(name) => name.to_owned(),
            _ => base.host.clone(),
        };
        let server_name = ServerName::try_from(server_name)
            .map_err(|_| ConfigError::new("url", "the host cannot be named in TLS"))?;
        let dial = Dial {
            host: base.host.clone(),
            port: base.port,
            tls: base.https.then(|| (Arc::new(tls.clone()), server_name)),
            timeout: config.connect_timeout.duration(),
        };
        let target = Target {
            pipes: make_pipes(&config, &tls, host.is_some())?,
            origin,
            host,
            dial,
            auth: config.auth.clone(),
            credentials: RwLock::default(),
            hasher: foldhash::fast::FixedState::default(),
        };
        target.read_credentials().map_err(StartError::Target)?;
        target.dial.probe().await.map_err(|message| StartError::Target(Reason::transport(message)))?;
        Ok(Self { config, target: Arc::new(target) })
    }
}

fn make_pipes(
    config: &ConnectorConfig,
    tls: &rustls::ClientConfig,
    renamed: bool,
) -> Result<Vec<Pipe>, StartError> {
    let pool_size = config.pool_size as usize;
    let (pipes, connections) = match config.pool_type {
        PoolType::Random => (1, pool_size),
        PoolType::Hash => (pool_size, 1),
    };
    (0..pipes)
        .map(|_| {
            let mut builder = Client::builder()
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .gzip(false)
                .referer(false)
                .tcp_nodelay(true)
                .connect_timeout(config.connect_timeout.duration())
                .pool_idle_timeout(config.max_inactive.duration())
                .pool_max_idle_per_host(connections);
            let mut tls = tls.clone();
            tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            if renamed {
                // HTTP/2 has the name in the URL as its authority, HTTP/1.1 the `Host` header
                tls.alpn_protocols = vec![b"http/1.1".to_vec()];
                builder = builder.http1_only().dns_resolver(ResolveTo(config.base.host.clone()));
            }
            let client = builder
                .tls_backend_preconfigured(tls)
                .build()
                .map_err(|error| StartError::Target(Reason::internal(error.without_url().to_string())))?;
            Ok(Pipe {
                client,
                permits: Semaphore::new(connections),
                permits_for_http2: connections * (config.enable_pipelining as usize - 1),
                speaks_http2: AtomicBool::new(false),
            })
        })
        .collect()
}

#[async_trait]
impl Connector for HttpConnector {
    async fn check(&self) -> Health {
        if let Err(reason) = self.target.read_credentials() {
            return Health::Disconnected(reason.to_string());
        }
        match self.target.dial.probe().await {
            Ok(()) => Health::Connected,
            Err(message) => Health::Disconnected(message),
        }
    }

    async fn add_channel(
        &self,
        _: ChannelContext,
        parameters: &serde_json::Value,
    ) -> Result<Arc<dyn Channel>, ChannelError> {
        let action = ActionConfig::read(parameters)?;
        let has_body = action.body != Body::None;
        let mut headers = HeaderSet::merge(&self.config.headers, &action.headers, has_body)
            .map_err(|reason| ConfigError::new("headers", reason.message))?;
        if !matches!(self.config.auth, AuthFields::None) && headers.has_fixed(&AUTHORIZATION) {
            return Err(ConfigError::new(
                "headers.authorization",
                "the connector's `auth` sets this header; remove one of the two",
            )
            .into());
        }
        if let Some(host) = self.target.host.clone().filter(|_| !headers.has_fixed(&HOST)) {
            headers.insert_fixed(HOST, host);
        }
        let path = self.config.base.join(&action.path);
        let plan = RequestPlan::new(&action, self.target.origin.clone(), &path, headers)
            .map_err(|message| ConfigError::new("path", message))?;
        Ok(Arc::new(HttpChannel {
            target: Arc::clone(&self.target),
            plan,
            attempts_at_once: action.max_retries + 1,
            answers: Answers {
                success: action.success_status,
                retry: action.retry_status,
                respect_retry_after: action.respect_retry_after,
            },
        }))
    }

    async fn stop(&self) {}
}

impl Target {
    /// Reads the secrets again: those in files may have changed.
    fn read_credentials(&self) -> Result<(), Reason> {
        let reveal = |secret: &Secret| {
            secret
                .reveal()
                .map_err(|error| Reason::internal(format!("cannot read the secret of `auth`: {error}")))
        };
        let (text, secrets) = match &self.auth {
            AuthFields::None => return Ok(()),
            AuthFields::Basic { username, password } => {
                let password = reveal(password)?;
                let encoded = BASE64.encode(format!("{username}:{password}"));
                (format!("Basic {encoded}"), vec![encoded, password])
            }
            AuthFields::Bearer { token } => {
                let token = reveal(token)?;
                (format!("Bearer {token}"), vec![token])
            }
        };
        let mut header = HeaderValue::from_str(&text)
            .map_err(|_| Reason::internal("the secret of `auth` holds a control character"))?;
        header.set_sensitive(true);
        *self.credentials.write() = Credentials { header: Some(header), secrets };
        Ok(())
    }

    /// The pipe of a row: its client's own, or the next.
    fn pipe(&self, delivery: &Delivery) -> &Pipe {
        let slot = match (self.pipes.len(), &delivery.key) {
            (1, _) => 0,
            (_, Some(key)) => self.hasher.hash_one(key),
            (_, None) => self.hasher.hash_one(&delivery.delivery_id),
        };
        &self.pipes[(slot % self.pipes.len() as u64) as usize]
    }

    /// The beginning of an answer's text on one line, with every known secret masked.
    fn excerpt(&self, body: &[u8], headers: &HeaderMap) -> String {
        let mut text = String::from_utf8_lossy(body).into_owned();
        let sent = headers.iter().filter(|(name, _)| is_sensitive(name));
        let sent = sent.filter_map(|(_, value)| value.to_str().ok().map(str::to_owned));
        let known = self.credentials.read().secrets.clone();
        let mut secrets: Vec<String> =
            known.into_iter().chain(sent).filter(|secret| !secret.is_empty()).collect();
        // the longest first: a token inside a whole header value must not keep the value from being found
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        for secret in secrets {
            text = text.replace(&secret, "***");
        }
        let printable = |c: char| if c.is_control() { ' ' } else { c };
        text.trim().chars().map(printable).take(EXCERPT_CHARS).collect()
    }
}

/// An action on a started connector.
#[derive(Debug)]
struct HttpChannel {
    target: Arc<Target>,
    plan: RequestPlan,
    attempts_at_once: u32,
    answers: Answers,
}

#[async_trait]
impl Channel for HttpChannel {
    async fn deliver(&self, batch: Batch<'_>, deadline: Instant) -> Vec<Outcome> {
        if let [delivery] = batch {
            return vec![self.send(delivery, deadline).await];
        }
        let groups = by_key(batch);
        let sent = join_all(groups.iter().map(|group| self.send_in_order(batch, group, deadline))).await;
        let mut outcomes = vec![None; batch.len()];
        for (index, outcome) in sent.into_iter().flatten() {
            outcomes[index] = Some(outcome);
        }
        outcomes.into_iter().map(|outcome| outcome.expect("every row is in one group")).collect()
    }

    fn render(&self, row: &Row) -> Result<serde_json::Value, Reason> {
        let delivery = Delivery {
            row: row.clone(),
            delivery_id: Text::from_static("<delivery id>"),
            rule_id: "".into(),
            key: None,
            attempts: 0,
        };
        let mut preview = self.plan.build(&delivery)?.preview();
        if !matches!(self.target.auth, AuthFields::None) {
            preview["headers"]["authorization"] = "******".into();
        }
        Ok(preview)
    }
}

/// Indices of rows that have to stay in order, for each key; a row without a key is alone.
fn by_key(batch: Batch<'_>) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut group_of: HashMap<&Text, usize> = HashMap::new();
    for (index, delivery) in batch.iter().enumerate() {
        let known = delivery.key.as_ref().map(|key| group_of.entry(key).or_insert(groups.len()));
        match known.and_then(|at| groups.get_mut(*at)) {
            Some(group) => group.push(index),
            None => groups.push(vec![index]),
        }
    }
    groups
}

impl HttpChannel {
    /// Sends rows of one key one after the other. What follows a row that is to be sent again waits with it.
    async fn send_in_order(
        &self,
        batch: Batch<'_>,
        group: &[usize],
        deadline: Instant,
    ) -> Vec<(usize, Outcome)> {
        let mut outcomes = Vec::with_capacity(group.len());
        for (sent, index) in group.iter().enumerate() {
            let outcome = self.send(&batch[*index], deadline).await;
            let stop = match &outcome {
                Outcome::Retry { after, .. } => Some(*after),
                Outcome::Ok | Outcome::Reject(_) => None,
            };
            outcomes.push((*index, outcome));
            if let Some(after) = stop {
                let waits = Outcome::not_sent("waits for an earlier row of the same key", after);
                outcomes.extend(group[sent + 1..].iter().map(|index| (*index, waits.clone())));
                break;
            }
        }
        outcomes
    }

    async fn send(&self, delivery: &Delivery, deadline: Instant) -> Outcome {
        let built = match self.plan.build(delivery) {
            Ok(built) => built,
            Err(reason) => return Outcome::Reject(reason),
        };
        let pipe = self.target.pipe(delivery);
        let _permit = match timeout_at(deadline.into(), pipe.permits.acquire()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Outcome::not_sent("the connector is stopping", None),
            Err(_) => return Outcome::not_sent("no connection was free within the time limit", None),
        };
        match timeout_at(deadline.into(), self.attempt(built, pipe)).await {
            Ok(outcome) => outcome,
            Err(_) => Outcome::retry(Reason::transport("no answer within the time limit")),
        }
    }

    /// Tries again at once after a transport error, a few times.
    async fn attempt(&self, mut built: Built, pipe: &Pipe) -> Outcome {
        if let Some(header) = self.target.credentials.read().header.clone() {
            built.headers.insert(AUTHORIZATION, header);
        }
        let mut attempts_left = self.attempts_at_once;
        loop {
            attempts_left -= 1;
            match self.request(&built, pipe).await {
                Ok(outcome) => return outcome,
                Err(error) => match classify_error(&error) {
                    Outcome::Retry { .. } if attempts_left > 0 => {}
                    outcome => return outcome,
                },
            }
        }
    }

    async fn request(&self, built: &Built, pipe: &Pipe) -> Result<Outcome, reqwest::Error> {
        let mut request = reqwest::Request::new(built.method.clone(), built.url.clone());
        *request.headers_mut() = built.headers.clone();
        *request.body_mut() = built.body.clone().map(Into::into);
        let mut response = pipe.client.execute(request).await?;
        if response.version() == Version::HTTP_2 && !pipe.speaks_http2.swap(true, Ordering::Relaxed) {
            pipe.permits.add_permits(pipe.permits_for_http2);
        }
        // the status has the verdict: an answer whose body breaks off or never ends changes nothing
        let body = timeout(ANSWER_TIME_LIMIT, read_body(&mut response)).await.unwrap_or_default();
        let status = response.status();
        let excerpt =
            if status.is_success() { String::new() } else { self.target.excerpt(&body, &built.headers) };
        Ok(self.answers.classify(status.as_u16(), response.headers(), &excerpt))
    }
}

async fn read_body(response: &mut reqwest::Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES_LIMIT {
            break;
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(key: Option<&str>) -> Delivery {
        Delivery {
            row: Row::new(),
            delivery_id: Text::from_static("d"),
            rule_id: "r".into(),
            key: key.map(Text::from),
            attempts: 0,
        }
    }

    #[test]
    fn rows_of_one_key_are_one_group() {
        let batch = [Some("a"), Some("b"), None, Some("a"), None, Some("b")].map(delivery);
        assert_eq!(by_key(&batch), [vec![0, 3], vec![1, 5], vec![2], vec![4]]);
    }
}
