//! The HTTP client of the AWS SDK: trusts the additional certificates, sends loopback past proxies, names host and proxy
//! in its errors, and refuses a success that AWS cannot have sent.

use std::fmt;
use std::sync::OnceLock;

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, ConnectorBuilder};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use hyper::Uri;

use super::certificates::{CaBundleError, ExtraCertificates};
use super::foreign::ExpectedAnswer;
use super::proxies::{Proxies, ProxyAddress, ProxyError};

/// The certificates and proxies that the environment names, read once per process.
#[derive(Clone, Debug)]
pub(super) struct HttpSettings {
    pub(super) certificates: ExtraCertificates,
    pub(super) proxies: Proxies,
}

static SETTINGS: OnceLock<HttpSettings> = OnceLock::new();

/// A setting of the environment that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// The file of additional certificates cannot be used.
    #[error(transparent)]
    CaBundle(#[from] CaBundleError),
    /// A variable such as `HTTPS_PROXY` does not contain a proxy.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// A variable such as `AWS_ENDPOINT_URL` does not contain an address.
    #[error("{variable} is not an address; write http://HOST:PORT or https://HOST, or unset it")]
    Endpoint {
        /// The name of the variable. Its value may contain a password.
        variable: String,
    },
}

impl HttpSettings {
    /// Returns the settings of this process.
    ///
    /// If [`validate_environment`] fails, they contain no additional certificate and no proxy.
    pub(super) fn of_this_process() -> &'static Self {
        SETTINGS.get_or_init(|| Self {
            certificates: ExtraCertificates::configured(&variable).unwrap_or_default(),
            proxies: Proxies::configured(&variable).unwrap_or_default(),
        })
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Checks the settings of the environment. Must be called before the first client is created.
///
/// # Errors
/// The file of `AWS_CA_BUNDLE` cannot be used, or a variable such as `HTTPS_PROXY` does not contain a proxy.
pub fn validate_environment() -> Result<(), EnvironmentError> {
    let certificates = ExtraCertificates::configured(&variable)?;
    let proxies = Proxies::configured(&variable)?;
    let utf8 = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    validate_endpoints(std::env::vars_os().filter_map(utf8))?;
    SETTINGS.get_or_init(|| HttpSettings { certificates, proxies });
    Ok(())
}

/// Checks `AWS_ENDPOINT_URL` and its forms per service, which the SDK would quote in errors, with its password.
fn validate_endpoints(variables: impl Iterator<Item = (String, String)>) -> Result<(), EnvironmentError> {
    let is_address = |value: &str| {
        let parsed: Option<Uri> = value.parse().ok();
        parsed.is_some_and(|uri| uri.host().is_some() && matches!(uri.scheme_str(), Some("http" | "https")))
    };
    for (variable, value) in variables {
        if variable.starts_with("AWS_ENDPOINT_URL") && !value.is_empty() && !is_address(&value) {
            return Err(EnvironmentError::Endpoint { variable });
        }
    }
    Ok(())
}

/// Creates a client with its own connections.
#[must_use]
pub fn new_http_client() -> SharedHttpClient {
    SharedHttpClient::new(RoutedClient::new(HttpSettings::of_this_process()))
}

/// Sends each request directly or through the proxy of its host.
#[derive(Debug)]
struct RoutedClient {
    proxies: Proxies,
    direct: SharedHttpClient,
    /// `None` if the environment names no proxy.
    proxied: Option<SharedHttpClient>,
}

#[derive(Debug)]
struct RoutedConnector {
    proxies: Proxies,
    direct: SharedHttpConnector,
    proxied: Option<SharedHttpConnector>,
}

impl RoutedClient {
    fn new(settings: &'static HttpSettings) -> Self {
        let proxied = settings.proxies.are_set().then(|| client(ProxyConfig::from_env(), settings));
        Self { proxies: settings.proxies.clone(), direct: client(ProxyConfig::disabled(), settings), proxied }
    }
}

/// Builds a client as the SDK does by default, with the additional certificates and this proxy.
///
/// Connectors, with their TLS configuration, are built at the first request.
fn client(proxy: ProxyConfig, settings: &'static HttpSettings) -> SharedHttpClient {
    Builder::new().build_with_connector_fn(move |connector, components| {
        let trust = settings.certificates.pem.iter().fold(TrustStore::default(), |trust, certificate| {
            trust.with_pem_certificate(certificate.as_bytes())
        });
        // aws-lc is the provider of the SDK's default client.
        let mut builder = ConnectorBuilder::default().tls_provider(Provider::Rustls(CryptoMode::AwsLc));
        if let Ok(context) = TlsContext::builder().with_trust_store(trust).build() {
            builder.set_tls_context(context);
        }
        builder.set_connector_settings(connector.cloned());
        builder.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        builder.set_proxy_config(Some(proxy.clone()));
        builder.build()
    })
}

impl HttpClient for RoutedClient {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let connector = |client: &SharedHttpClient| client.http_connector(settings, components);
        SharedHttpConnector::new(RoutedConnector {
            proxies: self.proxies.clone(),
            direct: connector(&self.direct),
            proxied: self.proxied.as_ref().map(connector),
        })
    }
}

impl HttpConnector for RoutedConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        // The request is consumed below, and its answer is checked against it.
        let expected = ExpectedAnswer::of(&request);
        let uri: Uri = request.uri().parse().unwrap_or_default();
        let route = HttpRoute {
            host: uri.authority().map_or_else(String::new, |authority| without_login(authority.as_str())),
            proxy: self.proxies.proxy_for(&uri),
        };
        let proxied = self.proxied.as_ref().filter(|_| route.proxy.is_some());
        let connector = proxied.unwrap_or(&self.direct);
        let answer = connector.call(request);
        HttpConnectorFuture::new(async move {
            let mut answer = match answer.await {
                Ok(answer) => expected.checked(answer).await.map_err(|foreign| {
                    ConnectorError::other(RouteError::boxed(route.clone(), foreign.into()), None)
                })?,
                Err(error) => return Err(with_route(error, route)),
            };
            // `AwsFailure` names host and proxy of a failed call from this extension.
            answer.add_extension(route);
            Ok(answer)
        })
    }
}

/// Returns host and port of an authority, which may contain a user and password from AWS_ENDPOINT_URL.
fn without_login(authority: &str) -> String {
    authority.rsplit('@').next().unwrap_or_default().to_owned()
}

/// The host and proxy of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HttpRoute {
    /// Host and port.
    pub(super) host: String,
    /// The proxy, or `None` for a direct connection.
    pub(super) proxy: Option<ProxyAddress>,
}

/// A failed request with its route.
#[derive(Debug)]
pub(super) struct RouteError {
    pub(super) route: HttpRoute,
    source: BoxError,
}

impl RouteError {
    fn boxed(route: HttpRoute, source: BoxError) -> BoxError {
        Box::new(Self { route, source })
    }
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HttpRoute { host, proxy } = &self.route;
        match proxy {
            Some(proxy) => write!(f, "{host} through the proxy {proxy}"),
            None => f.write_str(host),
        }
    }
}

impl std::error::Error for RouteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.source.as_ref())
    }
}

/// Adds the route to an error and keeps its kind, by which the SDK decides about retries.
fn with_route(error: ConnectorError, route: HttpRoute) -> ConnectorError {
    let (timeout, user, io, other) = (error.is_timeout(), error.is_user(), error.is_io(), error.as_other());
    let source = RouteError::boxed(route, error.into_source());
    match (timeout, user, io) {
        // `ConnectorError` has no way to replace its source.
        (true, _, _) => ConnectorError::timeout(source),
        (_, true, _) => ConnectorError::user(source),
        (_, _, true) => ConnectorError::io(source),
        _ => ConnectorError::other(source, other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_that_is_no_address_is_named_without_its_value() {
        let table = [
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:4566", true),
            ("AWS_ENDPOINT_URL_S3", "https://u:HUSH@minio", true),
            ("AWS_ENDPOINT_URL", "", true),
            ("AWS_ENDPOINT_URL", "u:HUSH@127.0.0.1:4566", false),
            ("AWS_ENDPOINT_URL_KINESIS", "http:/u:HUSH@h", false),
            ("AWS_ENDPOINT_URL", "h:4566", false),
            ("AWS_PROFILE", "h:4566", true),
        ];
        for (variable, value, is_valid) in table {
            let checked = validate_endpoints([(variable.to_owned(), value.to_owned())].into_iter());
            assert_eq!(checked.is_ok(), is_valid, "{variable}={value}");
            if let Err(error) = checked {
                let text = error.to_string();
                assert!(text.starts_with(variable) && !text.contains("HUSH"), "{text}");
            }
        }
    }
}
