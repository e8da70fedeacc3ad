//! TLS with libpq's meanings of `sslmode`, `sslrootcert`, `sslcert` and `sslkey`, by rustls.
//!
//! The files are read at each connection, so that renewed certificates are picked up. Two differences
//! from libpq, both stricter: TLS 1.0 and 1.1 don't exist here, and `verify-full` compares the host with
//! the certificate's `subjectAltName` only, never with its common name (RFC 9525).
//! See "SSL Support" in the PostgreSQL documentation of libpq.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How TLS is used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsSettings {
    /// Whether it is used, and what is verified.
    pub mode: SslMode,
    /// The machine's own trusted roots (`sslrootcert=system`).
    pub system_roots: bool,
    /// A file of trusted roots in PEM.
    pub root_cert: Option<PathBuf>,
    /// A file with the client's certificate and those between it and the root, in PEM.
    pub cert: Option<PathBuf>,
    /// A file with the client's private key in PEM, readable by its owner only.
    pub key: Option<PathBuf>,
    /// Begins with TLS instead of asking for it (`sslnegotiation=direct`, PostgreSQL 17 and newer).
    pub direct: bool,
    /// The lowest version of TLS.
    pub min_version: TlsVersion,
}

crate::engine::words! {
    /// libpq's `sslmode`, from weak to strong.
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
    pub enum SslMode {
        /// Never TLS.
        Disable = "disable",
        /// Plain first; TLS where the server refuses that.
        Allow = "allow",
        /// TLS first; plain where that fails.
        Prefer = "prefer",
        /// TLS, unverified unless there is a root certificate, with which it means `verify-ca`.
        Require = "require",
        /// TLS, and the certificate chains to a trusted root.
        VerifyCa = "verify-ca",
        /// As `verify-ca`, and the certificate names the host.
        VerifyFull = "verify-full",
    }

    /// libpq's word for the mode.
    fn name;
}

/// A version of TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TlsVersion {
    /// TLS 1.2, RFC 5246.
    V1_2,
    /// TLS 1.3, RFC 8446.
    V1_3,
}

/// TLS can't be set up from the settings.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read or holds something else.
    #[error("{keyword} {}: {why}", file.display())]
    File {
        /// libpq's keyword.
        keyword: &'static str,
        /// The file.
        file: PathBuf,
        /// What is wrong, and what to do.
        why: String,
    },
    /// A mode that verifies has nothing to verify against.
    #[error(
        "sslmode={0} needs a root certificate: name it in sslrootcert, put it at ~/.postgresql/root.crt, or \
         write sslrootcert=system to trust the machine's own roots"
    )]
    NoRoots(&'static str),
    /// Certificate without key, or key without certificate, or one that doesn't fit the other.
    #[error("the client's certificate can't be used: {0}")]
    ClientCertificate(String),
    /// rustls refuses the combination.
    #[error("TLS can't be set up: {0}")]
    Setup(String),
}

/// What makes TLS connections, and cancel requests, under the settings.
///
/// # Errors
/// When a file can't be read or used.
pub fn connector(settings: &TlsSettings) -> Result<MakeRustlsConnect, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions: &[&rustls::SupportedProtocolVersion] = match settings.min_version {
        TlsVersion::V1_2 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::V1_3 => &[&rustls::version::TLS13],
    };
    let verifier = verifier(settings, &provider)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(|error| TlsError::Setup(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match client_certificate(settings)? {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| TlsError::ClientCertificate(error.to_string()))?,
    };
    if settings.direct {
        config.alpn_protocols = vec![b"postgresql".to_vec()];
    }
    Ok(MakeRustlsConnect::new(config))
}

fn verifier(
    settings: &TlsSettings,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let checks_name = settings.mode == SslMode::VerifyFull;
    let Some(roots) = roots(settings)? else {
        return match settings.mode {
            SslMode::VerifyCa | SslMode::VerifyFull => Err(TlsError::NoRoots(settings.mode.name())),
            SslMode::Disable | SslMode::Allow | SslMode::Prefer | SslMode::Require => {
                Ok(Arc::new(Unverified(provider.signature_verification_algorithms.supported_schemes())))
            }
        };
    };
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(roots.iter().cloned());
    let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone())
        .build()
        .map_err(|error| TlsError::Setup(format!("the trusted roots can't be used: {error}")))?;
    Ok(Arc::new(Verified { chain, roots, checks_name }))
}

fn roots(settings: &TlsSettings) -> Result<Option<Vec<CertificateDer<'static>>>, TlsError> {
    if settings.system_roots {
        let found = rustls_native_certs::load_native_certs();
        return match (found.certs.is_empty(), found.errors.first()) {
            (false, _) => Ok(Some(found.certs)),
            (true, Some(error)) => Err(TlsError::Setup(format!("the machine's trusted roots: {error}"))),
            (true, None) => Err(TlsError::Setup(
                "the machine has no trusted roots: install its package of CA certificates".into(),
            )),
        };
    }
    settings.root_cert.as_deref().map(|file| certificates("sslrootcert", file)).transpose()
}

fn certificates(keyword: &'static str, file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bad = |why: String| TlsError::File { keyword, file: file.to_owned(), why };
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    let found = read.map_err(|error| bad(error.to_string()))?;
    if found.is_empty() {
        return Err(bad("holds no certificate in PEM form".into()));
    }
    Ok(found)
}

type ClientIdentity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn client_certificate(settings: &TlsSettings) -> Result<Option<ClientIdentity>, TlsError> {
    match (&settings.cert, &settings.key) {
        (None, _) => Ok(None),
        (Some(cert), None) => Err(TlsError::ClientCertificate(format!(
            "{} needs its private key: name it in sslkey",
            cert.display()
        ))),
        (Some(cert), Some(key)) => Ok(Some((certificates("sslcert", cert)?, private_key(key)?))),
    }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bad = |why: String| TlsError::File { keyword: "sslkey", file: file.to_owned(), why };
    let metadata = std::fs::metadata(file).map_err(|error| bad(error.to_string()))?;
    if is_open_to_others(&metadata) {
        return Err(
            bad("is readable by others than its owner: chmod 0600, or 0640 when root owns it".into()),
        );
    }
    PrivateKeyDer::from_pem_file(file).map_err(|error| {
        bad(format!("holds no usable private key in PEM form ({error}); keys with a passphrase aren't taken"))
    })
}

/// libpq's rule: no access for others; a group may read what root owns.
#[cfg(unix)]
fn is_open_to_others(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    let open = if metadata.uid() == 0 { 0o037 } else { 0o077 };
    metadata.mode() & open != 0
}

#[cfg(not(unix))]
fn is_open_to_others(_metadata: &std::fs::Metadata) -> bool {
    false
}

/// Takes any certificate: the meaning of `require` and weaker without a root certificate. The handshake's
/// signature is not checked either, since a certificate that anyone may present proves nothing.
#[derive(Debug)]
struct Unverified(Vec<SignatureScheme>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

/// Takes certificates that chain to a trusted root; the name is compared in `verify-full` only.
struct Verified {
    chain: Arc<WebPkiServerVerifier>,
    roots: Vec<CertificateDer<'static>>,
    checks_name: bool,
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified").field("checks_name", &self.checks_name).finish_non_exhaustive()
    }
}

impl Verified {
    fn is_trusted_itself(&self, end_entity: &CertificateDer<'_>) -> bool {
        self.roots.iter().any(|root| root.as_ref() == end_entity.as_ref())
    }
}

impl ServerCertVerifier for Verified {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict =
            self.chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verdict {
            // The chain is checked before the name, so only the name is wrong here.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.checks_name => Ok(ServerCertVerified::assertion()),
            // A self-signed server certificate that is its own root: what `openssl req -x509` makes and
            // OpenSSL takes. Its dates are checked before this error arises.
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(other)))
                if other.to_string().contains("CaUsedAsEndEntity") && self.is_trusted_itself(end_entity) =>
            {
                if self.checks_name {
                    let parsed = ParsedCertificate::try_from(end_entity)?;
                    rustls::client::verify_server_name(&parsed, server_name)?;
                }
                Ok(ServerCertVerified::assertion())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
