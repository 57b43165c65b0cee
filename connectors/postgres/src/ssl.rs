//! The `ssl` object, applied to the options of a connection.

use connectors_api::{ConfigProblem, Secret};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

/// TLS of a connector.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SslFields {
    /// On: the server must have TLS. Off: plain connections.
    enable: bool,
    /// `verify_peer` checks the server's certificate and its name.
    verify: Verify,
    /// Trusted certificates: PEM text or the path of a PEM file. Without it, the public authorities.
    cacertfile: Option<String>,
    /// Our certificate and its chain: PEM text or the path of a PEM file.
    certfile: Option<String>,
    /// The key of `certfile`: PEM text or the path of a PEM file.
    keyfile: Option<String>,
    /// Password of the key. Encrypted keys cannot be read: leave it out.
    #[schemars(skip)]
    password: Option<Secret>,
    /// `disable` checks the chain of the certificate and not its name.
    server_name_indication: Option<String>,
    /// Accepted and ignored: the library's own choice is used.
    #[schemars(skip)]
    #[allow(dead_code, reason = "accepted and ignored")]
    versions: Option<Json>,
    /// Accepted and ignored.
    #[schemars(skip)]
    #[allow(dead_code, reason = "accepted and ignored")]
    ciphers: Option<Json>,
    /// Accepted and ignored.
    #[schemars(skip)]
    #[allow(dead_code, reason = "accepted and ignored")]
    depth: Option<Json>,
    /// Accepted and ignored.
    #[schemars(skip)]
    #[allow(dead_code, reason = "accepted and ignored")]
    reuse_sessions: Option<Json>,
    /// Accepted and ignored.
    #[schemars(skip)]
    #[allow(dead_code, reason = "accepted and ignored")]
    hibernate_after: Option<Json>,
    /// Accepted and ignored.
    #[schemars(skip)]
    #[allow(dead_code, reason = "accepted and ignored")]
    secure_renegotiate: Option<Json>,
    /// Accepted and ignored.
    #[schemars(skip)]
    #[allow(dead_code, reason = "accepted and ignored")]
    log_level: Option<Json>,
    /// Accepted and ignored.
    #[schemars(skip)]
    #[allow(dead_code, reason = "accepted and ignored")]
    middlebox_comp_mode: Option<Json>,
    /// Accepted and ignored.
    #[schemars(skip)]
    #[allow(dead_code, reason = "accepted and ignored")]
    partial_chain: Option<Json>,
    /// Accepted and ignored.
    #[schemars(skip)]
    #[allow(dead_code, reason = "accepted and ignored")]
    verify_peer_ext_key_usage: Option<Json>,
}

/// Whether the server's certificate is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Verify {
    /// Any certificate will do.
    #[default]
    VerifyNone,
    /// The certificate must be trusted and have the right name.
    VerifyPeer,
}

impl SslFields {
    /// Applies the fields; what cannot be done goes to `problems`.
    pub(crate) fn apply(
        &self,
        options: PgConnectOptions,
        problems: &mut Vec<ConfigProblem>,
    ) -> PgConnectOptions {
        if !self.enable {
            return options.ssl_mode(PgSslMode::Disable);
        }
        if self.password.as_ref().is_some_and(|password| !password.is_empty()) {
            problems.push(ConfigProblem::new(
                "ssl.password",
                "encrypted keys are not supported: give a plain key",
            ));
        }
        if self.certfile.is_some() != self.keyfile.is_some() {
            problems.push(ConfigProblem::new("ssl.certfile", "`certfile` and `keyfile` go together"));
        }
        let checks_name = match self.server_name_indication.as_deref() {
            None | Some("") => true,
            Some("disable") => false,
            Some(name) => {
                let message =
                    format!("expected `disable` or nothing, got `{name}`: the name is that of `server`");
                problems.push(ConfigProblem::new("ssl.server_name_indication", message));
                true
            }
        };
        let mut options = options.ssl_mode(match (self.verify, checks_name) {
            (Verify::VerifyNone, _) => PgSslMode::Require,
            (Verify::VerifyPeer, true) => PgSslMode::VerifyFull,
            (Verify::VerifyPeer, false) => PgSslMode::VerifyCa,
        });
        if let Some(pem) = self.cacertfile.as_deref() {
            options = if is_pem(pem) {
                options.ssl_root_cert_from_pem(pem.into())
            } else {
                options.ssl_root_cert(pem)
            };
        }
        if let Some(pem) = self.certfile.as_deref() {
            options = if is_pem(pem) {
                options.ssl_client_cert_from_pem(pem)
            } else {
                options.ssl_client_cert(pem)
            };
        }
        if let Some(pem) = self.keyfile.as_deref() {
            options =
                if is_pem(pem) { options.ssl_client_key_from_pem(pem) } else { options.ssl_client_key(pem) };
        }
        options
    }
}

/// PEM text, not a path.
fn is_pem(text: &str) -> bool {
    text.contains("-----BEGIN")
}
