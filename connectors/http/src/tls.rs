//! The `ssl` object, turned into a client configuration of rustls.

use std::path::Path;
use std::sync::Arc;

use connectors_api::{ConfigProblem, Secret};
use rustls::client::Resumption;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value as Json;

/// TLS of a connector.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SslFields {
    /// On. An `https` URL switches TLS on by itself.
    enable: bool,
    /// `verify_peer` checks the target's certificate; without `cacertfile` against the system's roots.
    verify: Verify,
    /// Trusted certificates: PEM text or the path of a PEM file.
    cacertfile: Option<String>,
    /// Our certificate and its chain: PEM text or the path of a PEM file.
    certfile: Option<String>,
    /// The key of `certfile`: PEM text or the path of a PEM file.
    keyfile: Option<String>,
    /// Password of the key. Encrypted keys cannot be read: leave it out.
    #[schemars(skip)]
    password: Option<Secret>,
    /// Name that is sent to the target and looked for in its certificate, in place of the URL's host; `disable` sends
    /// none and does not compare names.
    server_name_indication: Option<String>,
    /// `tlsv1.2`, `tlsv1.3`; both when empty.
    versions: Vec<String>,
    /// Must be empty: the library's own choice is used.
    ciphers: Ciphers,
    /// Must be 10: the library has a fixed limit.
    depth: Option<u32>,
    /// Resume earlier TLS sessions.
    reuse_sessions: Option<bool>,
    /// Accepted and ignored.
    #[schemars(skip)]
    hibernate_after: Option<Json>,
    /// Accepted and ignored.
    #[schemars(skip)]
    secure_renegotiate: Option<Json>,
    /// Accepted and ignored.
    #[schemars(skip)]
    log_level: Option<Json>,
    /// Always on.
    #[schemars(skip)]
    middlebox_comp_mode: Option<bool>,
    /// Accepted and ignored: a certificate of `cacertfile` is trusted whether it signed itself or not.
    #[schemars(skip)]
    partial_chain: Option<Json>,
    /// Accepted and ignored: the extended key usage is always checked.
    #[schemars(skip)]
    verify_peer_ext_key_usage: Option<Json>,
}

/// Whether the target's certificate is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Verify {
    /// Any certificate will do.
    #[default]
    VerifyNone,
    /// The certificate must be trusted and have the right name.
    VerifyPeer,
}

/// Cipher names as an array or as one text.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Ciphers {
    List(Vec<String>),
    Text(String),
}

impl Default for Ciphers {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

/// What the `ssl` object says about the name of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerNaming<'a> {
    /// The URL's host.
    FromUrl,
    /// Another name.
    Named(&'a str),
    /// None is sent, none is compared.
    Off,
}

/// Why the TLS configuration could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("ssl.{field}: cannot read `{path}`: {source}")]
    Read { field: &'static str, path: String, source: std::io::Error },
    #[error("ssl.{field}: not PEM: {message}")]
    Pem { field: &'static str, message: String },
    #[error("ssl.{field}: {message}")]
    Refused { field: &'static str, message: String },
}

impl SslFields {
    /// Notes every option that cannot be honoured.
    pub(crate) fn check(&self, https: bool, problems: &mut Vec<ConfigProblem>) {
        let mut problem = |field: &str, message: &str| {
            problems.push(ConfigProblem::new(format!("ssl.{field}"), message));
        };
        if self.enable && !https {
            problem("enable", "the URL begins with `http://`, which has no TLS; write `https://`");
        }
        if self.certfile.is_some() != self.keyfile.is_some() {
            problem("keyfile", "`certfile` and `keyfile` go together");
        }
        if self.password.as_ref().is_some_and(|password| !password.is_empty()) {
            problem("password", "encrypted keys cannot be read; store the key without a password");
        }
        let has_ciphers = match &self.ciphers {
            Ciphers::List(names) => !names.is_empty(),
            Ciphers::Text(names) => !names.trim().is_empty(),
        };
        if has_ciphers {
            problem("ciphers", "cipher suites cannot be chosen; leave the list empty");
        }
        if self.depth.is_some_and(|depth| depth != 10) {
            problem("depth", "the length of the chain cannot be chosen; leave it at 10");
        }
        if self.middlebox_comp_mode == Some(false) {
            problem("middlebox_comp_mode", "the compatibility mode of TLS 1.3 is always on");
        }
        if let ServerNaming::Named(name) = self.server_naming()
            && !matches!(ServerName::try_from(name), Ok(ServerName::DnsName(_)))
        {
            problem("server_name_indication", "expected a host name or `disable`");
        }
        for version in &self.versions {
            if !["tlsv1.2", "tlsv1.3"].contains(&version.as_str()) {
                problem("versions", &format!("expected `tlsv1.2` or `tlsv1.3`, got `{version}`"));
            }
        }
    }

    /// What the target is called in the handshake.
    pub(crate) fn server_naming(&self) -> ServerNaming<'_> {
        match self.server_name_indication.as_deref() {
            None | Some("" | "undefined" | "auto") => ServerNaming::FromUrl,
            Some("disable") => ServerNaming::Off,
            Some(name) => ServerNaming::Named(name),
        }
    }

    /// Makes the client configuration. Reads files, relative ones inside `data_dir`.
    pub(crate) fn client_config(&self, data_dir: &Path) -> Result<ClientConfig, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions: Vec<_> = [("tlsv1.2", &rustls::version::TLS12), ("tlsv1.3", &rustls::version::TLS13)]
            .into_iter()
            .filter(|(name, _)| {
                self.versions.is_empty() || self.versions.iter().any(|version| version == name)
            })
            .map(|(_, version)| version)
            .collect();
        let refused =
            |field| move |error: rustls::Error| TlsError::Refused { field, message: error.to_string() };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)
            .map_err(refused("versions"))?
            .dangerous()
            .with_custom_certificate_verifier(self.verifier(&provider, data_dir)?);
        let mut config = match (&self.certfile, &self.keyfile) {
            (Some(certificate), Some(key)) => {
                let chain = read_certificates("certfile", certificate, data_dir)?;
                let key = read_key(key, data_dir)?;
                builder.with_client_auth_cert(chain, key).map_err(refused("certfile"))?
            }
            _ => builder.with_no_client_auth(),
        };
        config.enable_sni = self.server_naming() != ServerNaming::Off;
        if self.reuse_sessions == Some(false) {
            config.resumption = Resumption::disabled();
        }
        Ok(config)
    }

    fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
        data_dir: &Path,
    ) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
        if self.verify == Verify::VerifyNone {
            return Ok(Arc::new(TrustAll(Arc::clone(provider))));
        }
        let inner: Arc<dyn ServerCertVerifier> = match &self.cacertfile {
            None => {
                let verifier = rustls_platform_verifier::Verifier::new(Arc::clone(provider));
                Arc::new(verifier.map_err(|error| TlsError::Refused {
                    field: "verify",
                    message: format!("cannot read the system's roots: {error}"),
                })?)
            }
            Some(text) => {
                let mut roots = RootCertStore::empty();
                for certificate in read_certificates("cacertfile", text, data_dir)? {
                    roots.add(certificate).map_err(|error| TlsError::Refused {
                        field: "cacertfile",
                        message: error.to_string(),
                    })?;
                }
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
                    .build()
                    .map_err(|error| TlsError::Refused { field: "cacertfile", message: error.to_string() })?
            }
        };
        match self.server_naming() {
            ServerNaming::Off => Ok(Arc::new(AnyName(inner))),
            _ => Ok(inner),
        }
    }
}

/// Takes PEM text, or reads the file of that name.
fn read_pem(field: &'static str, text: &str, data_dir: &Path) -> Result<Vec<u8>, TlsError> {
    if text.contains("-----BEGIN") {
        return Ok(text.as_bytes().to_vec());
    }
    // joining an absolute path gives that path
    let path = data_dir.join(text);
    std::fs::read(&path).map_err(|source| TlsError::Read { field, path: text.to_owned(), source })
}

fn read_certificates(
    field: &'static str,
    text: &str,
    data_dir: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read_pem(field, text, data_dir)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError::Pem { field, message: error.to_string() })?;
    if certificates.is_empty() {
        return Err(TlsError::Pem { field, message: "no certificate found".to_owned() });
    }
    Ok(certificates)
}

fn read_key(text: &str, data_dir: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = read_pem("keyfile", text, data_dir)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| {
        let encrypted = String::from_utf8_lossy(&pem).contains("ENCRYPTED");
        let message = if encrypted { "encrypted keys cannot be read".to_owned() } else { error.to_string() };
        TlsError::Pem { field: "keyfile", message }
    })
}

/// `verify_none`: any certificate will do, but the target must own its key.
#[derive(Debug)]
struct TrustAll(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// `server_name_indication: disable`: the certificate must be trusted, its name does not matter.
#[derive(Debug)]
struct AnyName(Arc<dyn ServerCertVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.0.verify_server_cert(certificate, chain, name, ocsp, now) {
            // the name is compared last, when all the rest was found good
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(ssl: Json, want: &str) {
        let fields: SslFields = serde_json::from_value(ssl.clone()).unwrap();
        let mut problems = Vec::new();
        fields.check(true, &mut problems);
        let found = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        assert!(if want.is_empty() { found.is_empty() } else { found.contains(want) }, "{ssl}: `{found}`");
    }

    #[test]
    fn what_the_library_cannot_do_is_refused() {
        check(json!({}), "");
        check(
            json!({"enable": true, "verify": "verify_peer", "versions": ["tlsv1.3"], "depth": 10, "ciphers": [],
                "hibernate_after": "5s", "secure_renegotiate": true, "log_level": "notice", "reuse_sessions": true}),
            "",
        );
        check(json!({"certfile": "a.pem"}), "ssl.keyfile: `certfile` and `keyfile` go together");
        check(json!({"password": "x"}), "ssl.password: ");
        check(json!({"ciphers": ["A"]}), "ssl.ciphers: ");
        check(json!({"ciphers": "A"}), "ssl.ciphers: ");
        check(json!({"depth": 2}), "ssl.depth: ");
        check(
            json!({"versions": ["tlsv1.1"]}),
            "ssl.versions: expected `tlsv1.2` or `tlsv1.3`, got `tlsv1.1`",
        );
        check(json!({"server_name_indication": "a b"}), "ssl.server_name_indication: ");
        check(json!({"server_name_indication": "disable"}), "");
        check(json!({"middlebox_comp_mode": false}), "ssl.middlebox_comp_mode: ");
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        for (ssl, want) in [
            (
                json!({"verify": "verify_peer", "cacertfile": "no/such.pem"}),
                "ssl.cacertfile: cannot read `no/such.pem`",
            ),
            (json!({"verify": "verify_peer", "cacertfile": "-----BEGIN X-----"}), "ssl.cacertfile: not PEM"),
            (json!({"certfile": "no/such.pem", "keyfile": "k"}), "ssl.certfile: cannot read"),
        ] {
            let fields: SslFields = serde_json::from_value(ssl.clone()).unwrap();
            let error = fields.client_config(Path::new("/nonexistent")).unwrap_err().to_string();
            assert!(error.starts_with(want), "{ssl}: `{error}`");
        }
    }
}
