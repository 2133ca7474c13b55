//! The HTTP client for web servers: playlists and segments of HLS, models and configurations by `https://`.

use kvs_config::without_address_secrets;
use reqwest::{Certificate, ClientBuilder};

use super::foreign::{describe_foreign, first_words, is_page};
use super::http_client::HttpSettings;
use super::remedy::transport_remedy;
use crate::base::causes;

/// Creates a client that trusts the additional certificates and uses the proxies of the environment, except for loopback.
///
/// # Errors
/// TLS cannot be set up.
pub fn new_web_client(builder: ClientBuilder) -> Result<reqwest::Client, String> {
    let settings = HttpSettings::of_this_process();
    // An address may be a secret (HLS, presigned), and the next server must not receive it in a Referer header.
    let mut builder = builder.referer(false).no_proxy();
    for certificate in &settings.certificates.pem {
        let parsed = Certificate::from_pem(certificate.as_bytes()).map_err(|error| causes(&error))?;
        builder = builder.tls_certs_merge([parsed]);
    }
    let builder = builder.proxy(settings.proxies.for_web_client());
    builder.build().map_err(|error| causes(&error.without_url()))
}

/// Returns the reason why a request to `address` failed, with the known remedy or else `otherwise`.
///
/// The text contains neither path nor query, which may be secrets.
#[must_use]
pub fn explain_web_error(error: reqwest::Error, address: &str, otherwise: Option<&str>) -> String {
    let uri: hyper::Uri = address.parse().unwrap_or_default();
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let host = host.rsplit('@').next().unwrap_or_default();
    let proxy = HttpSettings::of_this_process().proxies.proxy_for(&uri);
    let through = proxy.as_ref().map_or_else(String::new, |proxy| format!(" through the proxy {proxy}"));
    let text = format!("{host}{through}: {}", causes(&error.without_url()));
    let text = without_address_secrets(&text).into_owned();
    let known = transport_remedy(&text, proxy.as_ref());
    match known.or_else(|| otherwise.map(str::to_owned)) {
        Some(remedy) => format!("{text}; {remedy}"),
        None => text,
    }
}

/// Returns the sentence for a page that was sent instead of a file, and `None` for any other content.
#[must_use]
pub fn foreign_page(status: u16, content_type: Option<&str>, start: &[u8]) -> Option<String> {
    let html = content_type.is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/html"));
    (html || is_page(start)).then(|| describe_foreign(status, &first_words(start)))
}
