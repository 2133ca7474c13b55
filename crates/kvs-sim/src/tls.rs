//! `--tls`: a self-signed certificate, generated at each start.

use std::net::IpAddr;

use axum_server::tls_rustls::RustlsConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, version};

use crate::sim_error::SimError;

/// A self-signed certificate and the configuration of a server that presents it.
pub(crate) struct SelfSigned {
    /// The certificate, for clients that are to trust it.
    pub(crate) certificate_pem: String,
    pub(crate) config: RustlsConfig,
}

/// Makes a certificate for localhost, the loopback addresses and the address that the server listens on.
pub(crate) fn self_signed(address: IpAddr) -> Result<SelfSigned, SimError> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    names.extend(Some(address.to_string()).filter(|name| !names.contains(name)));
    let failed = |error: &dyn std::fmt::Display| SimError::Certificate(error.to_string());
    let certified = rcgen::generate_simple_self_signed(names).map_err(|error| failed(&error))?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der()));
    // The provider is named, because a program that uses this library need not have installed a process-wide default.
    let provider = aws_lc_rs::default_provider();
    let config = ServerConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(|error| failed(&error))?
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .map_err(|error| failed(&error))?;
    // ALPN stays empty, so that clients speak HTTP/1.1, the only version that the tests cover.
    Ok(SelfSigned { certificate_pem: certified.cert.pem(), config: RustlsConfig::from_config(config.into()) })
}
