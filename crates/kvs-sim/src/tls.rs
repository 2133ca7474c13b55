//! `--tls`: a certificate of our own, made anew at each start.

use std::net::IpAddr;

use axum_server::tls_rustls::RustlsConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, version};

use crate::sim_error::SimError;

/// A certificate for this machine's names and the key that goes with it.
pub(crate) struct SelfSigned {
    /// For clients that are to trust it.
    pub(crate) certificate_pem: String,
    pub(crate) config: RustlsConfig,
}

/// Makes a certificate for localhost, the loopback addresses and the address listened on.
pub(crate) fn self_signed(address: IpAddr) -> Result<SelfSigned, SimError> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    names.extend(Some(address.to_string()).filter(|name| !names.contains(name)));
    let failed = |error: &dyn std::fmt::Display| SimError::Certificate(error.to_string());
    let made = rcgen::generate_simple_self_signed(names).map_err(|error| failed(&error))?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = aws_lc_rs::default_provider();
    let config = ServerConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(|error| failed(&error))?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .map_err(|error| failed(&error))?;
    Ok(SelfSigned { certificate_pem: made.cert.pem(), config: RustlsConfig::from_config(config.into()) })
}
