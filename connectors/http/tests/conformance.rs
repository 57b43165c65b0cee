//! What every connector has to pass, against a scripted server behind a proxy.

use async_trait::async_trait;
use connectors_api::{ConnectorDef, Secret};
use connectors_http::DEFINITION;
use connectors_testkit::conformance::{self, Subject};
use connectors_testkit::{Answer, Fault, FaultProxy, HttpServer};
use serde_json::{Value as Json, json};

struct Http {
    server: HttpServer,
    proxy: FaultProxy,
    /// What the proxy does while the target is away.
    away: Fault,
}

#[async_trait]
impl Subject for Http {
    fn definition(&self) -> ConnectorDef {
        DEFINITION
    }

    fn connector(&self) -> Json {
        json!({
            "url": format!("http://{}", self.proxy.address()), "connect_timeout": "500ms",
            "auth": {"type": "basic", "username": "u", "password": "s3cret"}
        })
    }

    fn parameters(&self) -> Json {
        json!({"method": "post", "path": "/rows/${v}", "body": "${client} ${n}"})
    }

    async fn set_up(&self, up: bool) {
        self.proxy.set(if up { Fault::Pass } else { self.away });
    }

    async fn written(&self) -> Vec<(String, i64)> {
        let bodies = self.server.accepted().into_iter().map(|request| {
            let body = String::from_utf8(request.body).expect("a text");
            let (client, number) = body.split_once(' ').expect("two words");
            (client.to_owned(), number.parse().expect("a number"))
        });
        bodies.collect()
    }

    fn bad_code(&self) -> &'static str {
        "422"
    }

    fn secret(&self) -> Secret {
        Secret::new("s3cret")
    }
}

async fn check(away: Fault) {
    let server = HttpServer::start().await.expect("a server");
    server.answer_with(|request| Answer::status(if request.path == "/rows/bad" { 422 } else { 200 }));
    let proxy = FaultProxy::start(server.address()).await.expect("a proxy");
    conformance::run(&Http { server, proxy, away }, &std::env::temp_dir()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_refuses_connections() {
    check(Fault::Refuse).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_resets_connections() {
    check(Fault::Reset).await;
}
