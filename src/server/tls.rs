//! Our own TLS: TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1, certificates read anew when their files change.

use std::path::PathBuf;
use std::sync::{Arc, RwLock};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::config::TlsSettings;
use crate::secret;

/// Why certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("TLS file {path}: cannot be read")]
    Read {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        #[source]
        cause: std::io::Error,
    },
    /// A file holds no PEM of what it should.
    #[error("TLS file {path}: holds no {wanted} in PEM")]
    Pem {
        /// Which one.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
    },
    /// Certificate and key do not fit.
    #[error("TLS files: certificate and key do not fit together")]
    Pair(#[source] rustls::Error),
}

/// The current certificate and where it comes from.
#[derive(Debug)]
pub(super) struct Tls {
    settings: TlsSettings,
    current: RwLock<Loaded>,
}

#[derive(Clone, Debug)]
struct Loaded {
    /// A hash of the files, to see whether they have changed.
    hash: [u8; 32],
    config: Arc<ServerConfig>,
}

impl Tls {
    pub(super) async fn load(settings: &TlsSettings) -> Result<Self, TlsError> {
        let (certificate, key) = read(settings).await?;
        let current = RwLock::new(parse(settings, &certificate, &key)?);
        Ok(Self { settings: settings.clone(), current })
    }

    /// What shakes hands with the next connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.current.read().expect("no panic while held").config.clone().into()
    }

    /// Takes files that have changed since. Ones that cannot be used are said in the log; the old ones go on.
    pub(super) async fn look_again(&self) {
        let loaded = match read(&self.settings).await {
            Ok((certificate, key)) => {
                if hash(&certificate, &key) == self.current.read().expect("no panic while held").hash {
                    return;
                }
                parse(&self.settings, &certificate, &key)
            }
            Err(error) => Err(error),
        };
        match loaded {
            Ok(loaded) => {
                *self.current.write().expect("no panic while held") = loaded;
                tracing::info!("the TLS certificate was read anew");
            }
            Err(error) => tracing::error!(%error, "the TLS files have changed and cannot be used; the old ones go on"),
        }
    }
}

async fn read(settings: &TlsSettings) -> Result<(Vec<u8>, Vec<u8>), TlsError> {
    let file =
        |path: PathBuf| async move { tokio::fs::read(&path).await.map_err(|cause| TlsError::Read { path, cause }) };
    Ok((file(settings.certificate_file.clone()).await?, file(settings.key_file.clone()).await?))
}

fn hash(certificate: &[u8], key: &[u8]) -> [u8; 32] {
    secret::sha256(&[secret::sha256(certificate), secret::sha256(key)].concat())
}

fn parse(settings: &TlsSettings, certificate: &[u8], key: &[u8]) -> Result<Loaded, TlsError> {
    let no = |path: &PathBuf, wanted| TlsError::Pem { path: path.clone(), wanted };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<_, _>>()
        .map_err(|_| no(&settings.certificate_file, "certificate"))?;
    if chain.is_empty() {
        return Err(no(&settings.certificate_file, "certificate"));
    }
    let private = PrivateKeyDer::from_pem_slice(key).map_err(|_| no(&settings.key_file, "private key"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
        .map_err(TlsError::Pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Loaded { hash: hash(certificate, key), config: Arc::new(config) })
}
