//! Turning a row into a request.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use connectors_api::{Delivery, Reason, names_delivery_id};
use engine_event::{JsonOptions, Map, Missing, Row, Template, Value, encode_json};
use http::{HeaderMap, Method};
use serde_json::{Value as Json, json};
use url::Url;

use crate::config::{ActionConfig, Body};
use crate::headers::{HeaderSet, is_sensitive};
use crate::url_template::UrlTemplate;

/// How an action makes a request of a row.
#[derive(Debug)]
pub(crate) struct RequestPlan {
    method: Method,
    /// Scheme, host and port.
    origin: String,
    path: UrlTemplate,
    /// The URL when it has no placeholder.
    fixed_url: Option<Url>,
    headers: HeaderSet,
    body: Body,
    names_delivery_id: bool,
}

/// A request, ready to be sent.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Bytes>,
}

impl RequestPlan {
    /// Compiles the templates of an action for a target at `origin`; `path` is the action's behind the URL's prefix.
    pub(crate) fn new(
        config: &ActionConfig,
        origin: String,
        path: &str,
        headers: HeaderSet,
    ) -> Result<Self, String> {
        let names_delivery_id = names_delivery_id(&Template::new(path))
            || headers.names_delivery_id()
            || matches!(&config.body, Body::Template(body) if names_delivery_id(body));
        let path = UrlTemplate::new(path, config.encode_slash)?;
        let mut plan = Self {
            method: config.method.clone(),
            origin,
            fixed_url: None,
            headers,
            body: config.body.clone(),
            names_delivery_id,
            path,
        };
        if plan.path.is_fixed() {
            plan.fixed_url = Some(plan.render_url(&Row::new()).map_err(|reason| reason.message)?);
        }
        Ok(plan)
    }

    /// Builds the request of a row.
    pub(crate) fn build(&self, delivery: &Delivery) -> Result<Built, Reason> {
        if self.names_delivery_id {
            self.render(&delivery.row_with_id(), delivery)
        } else {
            self.render(&delivery.row, delivery)
        }
    }

    fn render(&self, row: &Row, delivery: &Delivery) -> Result<Built, Reason> {
        let url = match &self.fixed_url {
            Some(url) => url.clone(),
            None => self.render_url(row)?,
        };
        Ok(Built {
            method: self.method.clone(),
            url,
            headers: self.headers.render(row, delivery.delivery_id.as_bytes())?,
            body: match &self.body {
                Body::None => None,
                Body::Row => Some(row_as_json(&delivery.row).into()),
                Body::Template(template) => Some(template.render(row, Missing::Undefined).into()),
            },
        })
    }

    fn render_url(&self, row: &Row) -> Result<Url, Reason> {
        let text = format!("{}{}", self.origin, self.path.render(row)?);
        Url::parse(&text).map_err(|error| Reason::render(format!("the request has no valid URL: {error}")))
    }
}

impl Built {
    /// Shows the request, with headers that may hold secrets masked.
    pub(crate) fn preview(&self) -> Json {
        let headers: serde_json::Map<String, Json> = self
            .headers
            .iter()
            .map(|(name, value)| {
                let shown = if is_sensitive(name) {
                    "******".into()
                } else {
                    String::from_utf8_lossy(value.as_bytes()).into_owned()
                };
                (name.to_string(), Json::String(shown))
            })
            .collect();
        let body = self.body.as_ref().map(|body| String::from_utf8_lossy(body).into_owned());
        json!({"method": self.method.as_str(), "url": self.url.as_str(), "headers": headers, "body": body})
    }
}

/// The whole row as JSON. Columns that are bytes and no text become base64, and the map `body_encoding` names them.
fn row_as_json(row: &Row) -> Vec<u8> {
    let is_bytes = |value: &Value| value.as_text().is_some_and(|text| text.as_str().is_none());
    if !row.values().any(is_bytes) {
        return encode_json(&Value::Map(row.clone()), JsonOptions::default());
    }
    let mut out = row.clone();
    let mut encodings = Map::new();
    for (name, value) in row {
        if let Some(text) = value.as_text().filter(|_| is_bytes(value)) {
            out.insert(name.clone(), BASE64.encode(text.as_bytes()));
            encodings.insert(name.clone(), "base64");
        }
    }
    out.insert("body_encoding", encodings);
    encode_json(&Value::Map(out), JsonOptions::default())
}

#[cfg(test)]
mod tests {
    use engine_event::{Text, decode_json};

    use super::*;

    fn plan(parameters: Json) -> RequestPlan {
        let config = ActionConfig::read(&parameters).unwrap();
        let headers = HeaderSet::merge(&[], &config.headers, config.body != Body::None).unwrap();
        let path = config.path.clone();
        RequestPlan::new(&config, "http://h:1".to_owned(), &path, headers).unwrap()
    }

    fn delivery(row: Row) -> Delivery {
        Delivery { row, delivery_id: Text::from_static("d-1"), rule_id: "r".into(), key: None, attempts: 0 }
    }

    fn row(json: &str) -> Row {
        let Ok(Value::Map(row)) = decode_json(json.as_bytes()) else { panic!("{json}") };
        row
    }

    #[track_caller]
    fn check_body(parameters: Json, row: Row, want: Option<&[u8]>) {
        let built = plan(parameters.clone()).build(&delivery(row)).unwrap();
        assert_eq!(built.body.as_deref(), want, "{parameters}");
    }

    #[test]
    fn bodies_follow_the_template() {
        let one = || row(r#"{"a":1,"b":{"c":[1.5,null]},"t":"x\"y"}"#);
        check_body(json!({}), one(), Some(br#"{"a":1,"b":{"c":[1.5,null]},"t":"x\"y"}"#));
        check_body(json!({"body": "${.}"}), one(), Some(br#"{"a":1,"b":{"c":[1.5,null]},"t":"x\"y"}"#));
        check_body(json!({"body": ""}), one(), None);
        check_body(
            json!({"body": "${a}|${b.c}|${no}|${b.c[1]}|${$}{a}"}),
            one(),
            Some(b"1|[1.5,null]|undefined|${b.c[1]}|${a}"),
        );
        check_body(json!({"body": "id=${delivery_id}"}), one(), Some(b"id=d-1"));
        check_body(json!({"method": "get", "body": "x"}), one(), None);
        check_body(json!({"method": "delete"}), one(), None);
        let injection = row(r#"{"a":"\",\"admin\":true,\"x\":\""}"#);
        check_body(json!({}), injection, Some(br#"{"a":"\",\"admin\":true,\"x\":\""}"#));
    }

    #[test]
    fn bytes_arrive() {
        let bytes: Row =
            [("p", Value::Text(Text::copy_from(b"\xff\x00"))), ("n", Value::Int(1))].into_iter().collect();
        check_body(json!({"body": "${p}"}), bytes.clone(), Some(b"\xff\x00"));
        check_body(json!({}), bytes, Some(br#"{"p":"/wA=","n":1,"body_encoding":{"p":"base64"}}"#));
        let large = "x".repeat(1 << 20);
        let row: Row = [("p", large.as_str())].into_iter().collect();
        check_body(json!({"body": "${p}"}), row, Some(large.as_bytes()));
    }

    #[test]
    fn a_preview_shows_no_secret() {
        let plan =
            plan(json!({"path": "/x/${a}", "headers": {"authorization": "Bearer s3cret", "x-a": "${a}"}}));
        let preview = plan.build(&delivery(row(r#"{"a":1}"#))).unwrap().preview();
        assert!(!preview.to_string().contains("s3cret"));
        assert_eq!(preview["url"], "http://h:1/x/1");
        assert_eq!(preview["headers"]["x-a"], "1");
        assert_eq!(preview["headers"]["idempotency-key"], "d-1");
        assert_eq!(preview["body"], r#"{"a":1}"#);
    }
}
