//! Certificates and keys of listeners: read, checked, and read again when the files change.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use sha2::{Digest, Sha256};

use crate::config::{ClientCertificates, TlsConfig, TlsVersions};

/// Why TLS of a listener cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read `{}`, the {what}", path.display())]
    Read {
        /// What it is.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("`{}` holds no {what} in PEM: {reason}", path.display())]
    Content {
        /// What it should hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The key does not belong to the certificate.
    #[error("the private key `{}` does not belong to the certificate `{}`", key.display(), certificate.display())]
    Mismatch {
        /// File of the key.
        key: PathBuf,
        /// File of the certificate.
        certificate: PathBuf,
    },
    /// Certificates of clients are to be checked, but nothing says against what.
    #[error("checking certificates of clients needs the roots that they must lead to (`cacertfile`)")]
    NoRoots,
    /// The parts do not work together.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
    /// The revocation lists or roots do not work.
    #[error("certificates of clients cannot be checked: {0}")]
    Verifier(String),
}

/// TLS of one listener as it is now.
pub(crate) struct Tls {
    config: TlsConfig,
    current: ArcSwap<ServerConfig>,
    /// Hash of the files when they were last looked at, good or bad.
    seen: Mutex<[u8; 32]>,
}

/// What came of looking at the files again.
#[derive(Debug)]
pub(crate) enum Reloaded {
    Unchanged,
    Changed,
    /// They cannot be used; what was there before goes on.
    Kept(TlsError),
}

impl Tls {
    /// Reads the files.
    pub(crate) fn load(config: TlsConfig) -> Result<Self, TlsError> {
        let files = Files::read(&config)?;
        let current = ArcSwap::from_pointee(files.build(&config)?);
        Ok(Self { seen: Mutex::new(files.hash()), config, current })
    }

    pub(crate) fn config(&self) -> &TlsConfig {
        &self.config
    }

    /// Returns what a new connection uses.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Reads the files again if they have changed. One and the same bad state is reported once, unless `again`.
    pub(crate) fn reload(&self, again: bool) -> Reloaded {
        let mut seen = self.seen.lock();
        let read = Files::read(&self.config);
        let hash = match &read {
            Ok(files) => files.hash(),
            Err(error) => Sha256::digest(error.to_string()).into(),
        };
        if hash == *seen && !again {
            return Reloaded::Unchanged;
        }
        let was_seen = std::mem::replace(&mut *seen, hash) == hash;
        match read.and_then(|files| files.build(&self.config)) {
            // tickets of clients stay good
            Ok(_) if was_seen => Reloaded::Unchanged,
            Ok(config) => {
                self.current.store(Arc::new(config));
                Reloaded::Changed
            }
            Err(error) => Reloaded::Kept(error),
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tls").field("config", &self.config).finish_non_exhaustive()
    }
}

/// The contents of the files. Not `Debug`: one is a private key.
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_roots: Option<Vec<u8>>,
    revoked: Option<Vec<u8>>,
}

impl Files {
    fn read(config: &TlsConfig) -> Result<Self, TlsError> {
        let read = |what, path: &Path| {
            std::fs::read(path).map_err(|source| TlsError::Read { what, path: path.to_owned(), source })
        };
        let roots = config.client_roots.as_deref();
        let revoked = config.revoked.as_deref();
        Ok(Self {
            certificate: read("certificate", &config.certificate)?,
            key: read("private key", &config.key)?,
            client_roots: roots.map(|path| read("roots of client certificates", path)).transpose()?,
            revoked: revoked.map(|path| read("revocation lists", path)).transpose()?,
        })
    }

    fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let files =
            [Some(&self.certificate), Some(&self.key), self.client_roots.as_ref(), self.revoked.as_ref()];
        for file in files {
            let bytes = file.map_or(&[][..], Vec::as_slice);
            hash.update(bytes.len().to_be_bytes());
            hash.update(bytes);
        }
        hash.finalize().into()
    }

    fn build(&self, config: &TlsConfig) -> Result<ServerConfig, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions(config.versions))
            .map_err(TlsError::Setup)?;
        let builder = match config.client_certificates {
            ClientCertificates::Ignored => builder.with_no_client_auth(),
            ClientCertificates::Optional | ClientCertificates::Required => {
                builder.with_client_cert_verifier(self.verifier(config, &provider)?)
            }
        };
        let certified = self.certified(config, &provider)?;
        let resolver = rustls::sign::SingleCertAndKey::from(certified);
        let mut server = builder.with_cert_resolver(Arc::new(resolver));
        // a client that comes back needs no full handshake, and we remember nothing for it
        server.ticketer = ring::Ticketer::new().map_err(TlsError::Setup)?;
        Ok(server)
    }

    fn certified(&self, config: &TlsConfig, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
        let chain = certificates(&self.certificate, "certificate", &config.certificate)?;
        let content =
            |reason: String| TlsError::Content { what: "private key", path: config.key.clone(), reason };
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| {
            let text = String::from_utf8_lossy(&self.key);
            content(if text.contains("ENCRYPTED") {
                "it is encrypted: decrypt it, and protect the file".to_owned()
            } else {
                error.to_string()
            })
        })?;
        match CertifiedKey::from_der(chain, key, provider) {
            Ok(certified) => Ok(certified),
            Err(rustls::Error::InconsistentKeys(_)) => {
                Err(TlsError::Mismatch { key: config.key.clone(), certificate: config.certificate.clone() })
            }
            Err(error) => Err(TlsError::Setup(error)),
        }
    }

    fn verifier(
        &self,
        config: &TlsConfig,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let (Some(roots), Some(path)) = (&self.client_roots, &config.client_roots) else {
            return Err(TlsError::NoRoots);
        };
        let mut store = RootCertStore::empty();
        for root in certificates(roots, "certificate", path)? {
            store.add(root).map_err(|error| TlsError::Content {
                what: "usable root certificate",
                path: path.clone(),
                reason: error.to_string(),
            })?;
        }
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider));
        if let (Some(bytes), Some(path)) = (&self.revoked, &config.revoked) {
            // who issues certificates of clients lists those revoked; roots rarely do that for who issues
            builder = builder.with_crls(lists(bytes, path)?).only_check_end_entity_revocation();
        }
        if config.client_certificates == ClientCertificates::Optional {
            builder = builder.allow_unauthenticated();
        }
        builder.build().map_err(|error| TlsError::Verifier(error.to_string()))
    }
}

fn versions(versions: TlsVersions) -> &'static [&'static SupportedProtocolVersion] {
    static NEWEST_FIRST: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
    match versions {
        TlsVersions::Tls13 => &NEWEST_FIRST[..1],
        TlsVersions::Tls12 => &NEWEST_FIRST[1..],
        TlsVersions::Both => &NEWEST_FIRST,
    }
}

fn certificates(
    bytes: &[u8],
    what: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let content = |reason: String| TlsError::Content { what, path: path.to_owned(), reason };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let found = found.map_err(|error| content(error.to_string()))?;
    if found.is_empty() {
        Err(content("nothing there begins with BEGIN CERTIFICATE".to_owned()))
    } else {
        Ok(found)
    }
}

fn lists(bytes: &[u8], path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let content =
        |reason: String| TlsError::Content { what: "revocation list", path: path.to_owned(), reason };
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(bytes).collect();
    let found = found.map_err(|error| content(error.to_string()))?;
    if found.is_empty() {
        Err(content("nothing there begins with BEGIN X509 CRL".to_owned()))
    } else {
        Ok(found)
    }
}
