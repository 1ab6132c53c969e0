//! Our own TLS: certificate and key from files, read anew when they change.

use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;
use std::{fmt, io};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;
use x509_cert::der::Decode as _;
use zeroize::Zeroizing;

use crate::clock::Timestamp;
use crate::config::TlsSettings;
use crate::metrics::Metrics;

/// How often the files are looked at. The contents are compared: times of files tell nothing where a volume is
/// replaced by a symbolic link, as Kubernetes does.
const LOOK_EVERY: Duration = Duration::from_secs(3);

/// Why a certificate and its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file holds no PEM of the kind it should.
    #[error("{} holds no {wanted} in PEM", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
        /// Where reading it failed.
        source: pem::Error,
    },
    /// Certificate and key do not go together, or the key is of a kind we do not know.
    #[error("the key in {} cannot be used with the certificate in {}", key.display(), certificate.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What the TLS library says.
        source: rustls::Error,
    },
}

/// Checks that certificate and key can be used, and says until when.
///
/// # Errors
/// Says which file cannot, and why.
pub async fn check_pair(files: &TlsSettings) -> Result<Option<Timestamp>, TlsError> {
    let pair = Contents::read(files).await?.pair(files)?;
    Ok(pair.cert.first().and_then(|certificate| certificate_end(certificate)))
}

/// The end of a certificate's validity; none if it is no certificate in DER.
pub fn certificate_end(certificate: &[u8]) -> Option<Timestamp> {
    let certificate = x509_cert::Certificate::from_der(certificate).ok()?;
    let end = certificate.tbs_certificate().validity().not_after.to_unix_duration();
    Some(Timestamp(end.as_secs().try_into().ok()?))
}

/// The pair in use, and the files it came from.
pub(super) struct Certificates {
    files: TlsSettings,
    name: &'static str,
    served: Arc<Served>,
    acceptor: TlsAcceptor,
    hasher: RandomState,
    loaded: u64,
    pub(super) look_every: Duration,
}

/// What handshakes use.
#[derive(Debug)]
struct Served(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().expect("no panic while held")))
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Certificates {
    /// Reads the files and makes ready to shake hands: TLS 1.2 and 1.3, HTTP/2 before HTTP/1.1.
    pub(super) async fn load(files: &TlsSettings, name: &'static str) -> Result<Self, TlsError> {
        let hasher = RandomState::new();
        let contents = Contents::read(files).await?;
        let served = Arc::new(Served(RwLock::new(Arc::new(contents.pair(files)?))));
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider has suites for TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&served) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            files: files.clone(),
            name,
            served,
            acceptor: TlsAcceptor::from(Arc::new(config)),
            loaded: contents.fingerprint(&hasher),
            hasher,
            look_every: LOOK_EVERY,
        })
    }

    /// What shakes hands, always with the pair of the moment.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }

    /// Looks at the files for ever. New contents are taken once two looks in a row saw the same, so that a pair that
    /// is being written is left alone; a pair that cannot be used is logged once and the old one stays.
    pub(super) async fn keep_fresh(mut self, metrics: Arc<Metrics>) {
        self.tell_expiry(&metrics);
        let mut seen = self.loaded;
        loop {
            tokio::time::sleep(self.look_every).await;
            let contents = match Contents::read(&self.files).await {
                Ok(contents) => contents,
                Err(error) => {
                    // Changes the fingerprint, so that it is logged once.
                    if std::mem::replace(&mut seen, 0) != 0 {
                        self.complain(&error);
                    }
                    continue;
                }
            };
            let fingerprint = contents.fingerprint(&self.hasher);
            let settled = std::mem::replace(&mut seen, fingerprint) == fingerprint;
            if !settled || fingerprint == self.loaded {
                continue;
            }
            self.loaded = fingerprint;
            match contents.pair(&self.files) {
                Ok(pair) => {
                    *self.served.0.write().expect("no panic while held") = Arc::new(pair);
                    self.tell_expiry(&metrics);
                    tracing::info!(listener = self.name, "certificate replaced");
                }
                Err(error) => self.complain(&error),
            }
        }
    }

    fn complain(&self, error: &TlsError) {
        let cause = std::error::Error::source(error);
        tracing::error!(listener = self.name, %error, cause, "certificate not replaced, the old one stays");
    }

    fn tell_expiry(&self, metrics: &Metrics) {
        let pair = Arc::clone(&self.served.0.read().expect("no panic while held"));
        if let Some(end) = pair.cert.first().and_then(|certificate| certificate_end(certificate)) {
            metrics.tls_certificate_expiry_timestamp_seconds.with_label_values(&[self.name]).set(end.0 as f64);
        }
    }
}

/// What the files hold.
struct Contents {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

impl Contents {
    async fn read(files: &TlsSettings) -> Result<Self, TlsError> {
        let certificate = read(&files.certificate_file).await?;
        let key = Zeroizing::new(read(&files.key_file).await?);
        Ok(Self { certificate, key })
    }

    fn fingerprint(&self, hasher: &RandomState) -> u64 {
        hasher.hash_one((&self.certificate, self.key.as_slice())).max(1)
    }

    fn pair(&self, files: &TlsSettings) -> Result<CertifiedKey, TlsError> {
        let no_certificate =
            |source| TlsError::Pem { path: files.certificate_file.clone(), wanted: "certificate", source };
        let chain =
            CertificateDer::pem_slice_iter(&self.certificate).collect::<Result<Vec<_>, _>>().map_err(no_certificate)?;
        if chain.is_empty() {
            return Err(no_certificate(pem::Error::NoItemsFound));
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|source| TlsError::Pem {
            path: files.key_file.clone(),
            wanted: "private key",
            source,
        })?;
        CertifiedKey::from_der(chain, key, &provider()).map_err(|source| TlsError::Pair {
            certificate: files.certificate_file.clone(),
            key: files.key_file.clone(),
            source,
        })
    }
}

fn provider() -> CryptoProvider {
    rustls::crypto::aws_lc_rs::default_provider()
}

async fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    tokio::fs::read(path).await.map_err(|source| TlsError::Read { path: path.to_owned(), source })
}
