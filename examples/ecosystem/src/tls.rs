//! A certificate that nobody has signed but its owner.

use std::sync::Arc;

use rcgen::CertifiedKey;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Two configurations for TLS 1.3: of a server called `localhost`, with a certificate made just
/// now, and of clients that trust this certificate and no other.
///
/// # Panics
/// If the system gives no random numbers.
#[must_use]
pub fn self_made() -> (ServerConfig, ClientConfig) {
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let certificate = cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());

    let mut trusted = RootCertStore::empty();
    trusted.add(certificate.clone()).expect("a certificate as rustls reads it");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = [&rustls::version::TLS13];

    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .expect("ring knows TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key.into())
        .expect("the key belongs to the certificate");
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .expect("ring knows TLS 1.3")
        .with_root_certificates(trusted)
        .with_no_client_auth();
    (server, client)
}
