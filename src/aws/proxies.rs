//! The HTTP proxies of the environment, and the hosts that are never reached through one.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use hyper::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;

use super::profiles::EnvironmentLookup;

const VARIABLES: [&str; 3] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
/// Accepted schemes; a request that needs a SOCKS proxy fails with the remedy.
const SCHEMES: [&str; 6] = ["http", "https", "socks4", "socks4a", "socks5", "socks5h"];

/// The proxies of `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, read once.
#[derive(Clone, Debug)]
pub(super) struct Proxies {
    matcher: Arc<Matcher>,
    /// Entries of `NO_PROXY` such as `*` and `10.*`.
    patterns: Arc<[String]>,
    /// The proxy for `http://` and the one for `https://`, with user and password.
    addresses: [Option<String>; 2],
}

/// The address of a proxy, without user and password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProxyAddress {
    pub(super) address: String,
    /// `true` if the environment gives a user.
    pub(super) has_login: bool,
}

impl fmt::Display for ProxyAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

/// A variable does not contain the address of a proxy. The text omits its value, which may be a password.
#[derive(Debug, thiserror::Error)]
#[error(
    "{variable} {why}; write http://HOST:PORT (with a login http://USER:PASSWORD@HOST:PORT), or unset it"
)]
pub struct ProxyError {
    variable: String,
    why: String,
}

impl Proxies {
    /// Reads the variables, first in upper case, as curl and the SDK do.
    ///
    /// # Errors
    /// [`ProxyError`]: one of them does not contain the address of a proxy.
    pub(super) fn configured(environment: EnvironmentLookup<'_>) -> Result<Self, ProxyError> {
        // Under CGI, a web server sets HTTP_PROXY from the request header `Proxy` (CVE-2016-5385). The SDK ignores it there too.
        if environment("REQUEST_METHOD").is_some() {
            return Ok(Self::default());
        }
        let mut values = [None, None, None];
        for (name, value) in VARIABLES.into_iter().zip(&mut values) {
            // An empty variable disables the proxy, so it is not replaced by the other case.
            let Some((variable, found)) = first_set(name, environment) else { continue };
            if let Some(why) = address_fault(&found) {
                return Err(ProxyError { variable, why });
            }
            *value = Some(found);
        }
        let [http, https, all] = values;
        let listed = first_set("NO_PROXY", environment).map_or_else(String::new, |(_, listed)| listed);
        Ok(Self::new([http.or_else(|| all.clone()), https.or(all)], &listed))
    }

    fn new(addresses: [Option<String>; 2], no_proxy: &str) -> Self {
        let entries = no_proxy
            .split([',', ' ', '\t'])
            // The matcher knows `.example.com` but not `*.example.com`.
            .map(|entry| entry.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(entry));
        let (patterns, listed): (Vec<&str>, Vec<&str>) = entries.partition(|entry| entry.contains('*'));
        let [http, https] = addresses.clone().map(Option::unwrap_or_default);
        let matcher = Matcher::builder().http(http).https(https).no(listed.join(",")).build();
        let patterns = patterns.into_iter().map(str::to_ascii_lowercase).collect();
        Self { matcher: Arc::new(matcher), patterns, addresses }
    }

    /// Returns `true` if the environment names a proxy.
    pub(super) fn are_set(&self) -> bool {
        self.addresses.iter().any(Option::is_some)
    }

    /// Returns the proxy for requests to `uri`.
    pub(super) fn proxy_for(&self, uri: &Uri) -> Option<ProxyAddress> {
        let host = uri.host()?;
        if is_never_proxied(host) || self.patterns.iter().any(|pattern| fits(pattern, host)) {
            return None;
        }
        let proxy = self.matcher.intercept(uri)?;
        let has_login = proxy.basic_auth().is_some() || proxy.raw_auth().is_some();
        Some(ProxyAddress { address: proxy.uri().to_string().trim_end_matches('/').to_owned(), has_login })
    }

    /// Returns the proxy for requests to AWS, for an error that does not contain its host.
    pub(super) fn usual(&self) -> Option<ProxyAddress> {
        self.proxy_for(&Uri::from_static("https://amazonaws.com"))
    }

    /// Returns the proxy that the text of an error names.
    pub(super) fn named_in(&self, text: &str) -> Option<ProxyAddress> {
        let (_, rest) = text.split_once("through the proxy ")?;
        let address = rest.split(": client").next().unwrap_or_default().trim_end_matches([':', ';']);
        let known =
            // The text of an error has no login, so the proxy of either scheme is compared.
            ["http://a.test", "https://a.test"].map(|uri| self.matcher.intercept(&Uri::from_static(uri)));
        let known = known.into_iter().flatten();
        let has_login = known.filter(|proxy| proxy.uri().to_string().trim_end_matches('/') == address);
        let has_login = has_login.into_iter().any(|proxy| proxy.basic_auth().is_some());
        Some(ProxyAddress { address: address.to_owned(), has_login })
    }

    /// Returns a proxy for a client of `reqwest`, which by default would also use proxies for loopback.
    pub(super) fn for_web_client(&self) -> reqwest::Proxy {
        let proxies = self.clone();
        reqwest::Proxy::custom(move |url| proxies.url_for(url))
    }

    fn url_for(&self, url: &Url) -> Option<Url> {
        self.proxy_for(&url.as_str().parse().ok()?)?;
        let [http, https] = &self.addresses;
        let address = if url.scheme() == "https" { https } else { http };
        let address = address.as_deref()?;
        // The variables may omit the scheme, which reqwest requires.
        let whole = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
        whole.parse().ok()
    }
}

impl Default for Proxies {
    fn default() -> Self {
        Self::new([None, None], "")
    }
}

/// Returns the reason why a value is not the address of a proxy.
fn address_fault(value: &str) -> Option<String> {
    const NO_ADDRESS: &str = "is not the address of a proxy";
    let Ok(uri) = value.parse::<Uri>() else { return Some(NO_ADDRESS.to_owned()) };
    if let Some(scheme) = uri.scheme_str().filter(|scheme| !SCHEMES.contains(scheme)) {
        return Some(format!("names a proxy of a kind that is not supported ({scheme}://)"));
    }
    let Some(authority) = uri.authority() else { return Some(NO_ADDRESS.to_owned()) };
    if authority.host().is_empty() {
        return Some("contains no host".to_owned());
    }
    // A password may contain a colon, which is not that of the port.
    let after_login = authority.as_str().rsplit('@').next().unwrap_or_default();
    let port = after_login.strip_prefix(authority.host()).and_then(|rest| rest.strip_prefix(':'));
    match port {
        Some(port) if port.parse::<u16>().is_err() => Some("has no valid port after the host".to_owned()),
        _ => None,
    }
}

/// Returns `true` if a host matches a pattern in which `*` stands for any characters.
fn fits(pattern: &str, host: &str) -> bool {
    let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| host.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.is_empty()
}

/// Returns `true` if `host` is this machine, or a metadata service that only this machine can reach.
///
/// A proxy resolves 127.0.0.1 to itself and hands out its own credentials for 169.254.169.254.
pub(super) fn is_never_proxied(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']).trim_end_matches('.');
    // `to_canonical` also recognizes IPv4 addresses in IPv6 form.
    match host.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_link_local() || ip.is_unspecified(),
        // fd00:ec2::/32 holds the metadata services of EC2, ECS and EKS.
        Ok(IpAddr::V6(ip)) => {
            let metadata = ip.segments()[..2] == [0xfd00, 0x0ec2];
            ip.is_loopback() || ip.is_unspecified() || ip.is_unicast_link_local() || metadata
        }
        Err(_) => {
            let name = host.to_ascii_lowercase();
            name == "localhost" || name.ends_with(".localhost")
        }
    }
}

/// Returns the name and value of a variable, in upper case if set, else in lower case, and `None` if it is empty.
fn first_set(name: &str, environment: EnvironmentLookup<'_>) -> Option<(String, String)> {
    let names = [name.to_owned(), name.to_ascii_lowercase()];
    let found = names.into_iter().find_map(|name| environment(&name).map(|value| (name, value)));
    found.filter(|(_, value)| !value.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_and_metadata_services_are_never_proxied() {
        for host in [
            "127.0.0.1",
            "127.1.2.3",
            "0.0.0.0",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "localhost",
            "LOCALHOST.",
            "pictures.localhost",
            "169.254.169.254",
            "169.254.170.2",
            "169.254.170.23",
            "[fd00:ec2::254]",
            "[fe80::1]",
        ] {
            assert!(is_never_proxied(host), "{host}");
        }
        for host in [
            "kinesis.eu-west-1.amazonaws.com",
            "10.0.0.1",
            "128.0.0.1",
            "169.253.0.1",
            "[fd00:ec3::254]",
            "[2001:db8::1]",
            "localhost.example.com",
            "mylocalhost",
        ] {
            assert!(!is_never_proxied(host), "{host}");
        }
    }

    fn with(variables: &[(&str, &str)]) -> Result<Proxies, ProxyError> {
        Proxies::configured(&|name| {
            variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_sdk_and_the_web_client_take_the_same_way() {
        for (no_proxy, host, proxied) in [
            ("", "127.0.0.1", false),
            ("", "127.9.9.9:81", false),
            ("", "[::1]:81", false),
            ("", "localhost", false),
            ("", "pictures.localhost", false),
            ("", "169.254.169.254", false),
            ("", "10.0.0.1", true),
            ("", "models.test", true),
            ("*", "models.test", false),
            ("a.test, *", "10.0.0.1", false),
            ("*.test", "models.test", false),
            ("*.test", "a.models.test:8443", false),
            ("*.models.test", "models.test", false),
            ("*.test", "models.testing", true),
            ("*.test", "atest", true),
            (".test", "models.test", false),
            ("a.test models.test", "models.test", false),
            ("10.*", "10.1.2.3", false),
            ("10.*", "110.1.2.3", true),
            ("10.0.0.0/8", "10.1.2.3", false),
            ("kinesis.*.amazonaws.com", "KINESIS.eu-west-1.amazonaws.com", false),
            ("kinesis.*.amazonaws.com", "kinesis.eu-west-1.amazonaws.com.cn", true),
            ("*models*", "my.models.test", false),
            ("*models*", "pictures.test", true),
        ] {
            let variables = [("ALL_PROXY", "http://user:s%40@proxy.test:3128"), ("no_proxy", no_proxy)];
            let proxies = with(&variables).unwrap();
            for scheme in ["http", "https"] {
                let uri: Uri = format!("{scheme}://{host}/path").parse().unwrap();
                assert_eq!(proxies.proxy_for(&uri).is_some(), proxied, "{no_proxy}: {uri}");
                let url = proxies.url_for(&uri.to_string().parse().unwrap());
                let expected = proxied.then(|| "http://user:s%40@proxy.test:3128/".to_owned());
                assert_eq!(url.map(String::from), expected, "{no_proxy}: {uri}");
            }
        }
    }

    #[test]
    fn each_scheme_has_its_proxy() {
        let variables =
            [("http_proxy", "plain.test:81"), ("HTTPS_PROXY", ""), ("https_proxy", "http://unused.test")];
        let proxies = with(&variables).unwrap();
        let proxy = proxies.proxy_for(&Uri::from_static("http://a.test")).unwrap();
        assert_eq!((proxy.address.as_str(), proxy.has_login), ("http://plain.test:81", false));
        assert_eq!(
            proxies.url_for(&"http://a.test".parse().unwrap()).unwrap().as_str(),
            "http://plain.test:81/"
        );
        assert_eq!(
            proxies.proxy_for(&Uri::from_static("https://a.test")),
            None,
            "the first that is set is empty"
        );
        assert!(!with(&[("REQUEST_METHOD", "GET"), ("HTTP_PROXY", "http://evil.test")]).unwrap().are_set());
    }

    #[test]
    fn values_that_name_no_proxy_by_table() {
        for (value, why) in [
            ("http://proxy.test:3128", None),
            ("proxy.test:3128", None),
            ("proxy.test", None),
            ("https://user:p%40ss@[::1]:3128/", None),
            ("socks5://proxy.test:1080", None),
            (" ", None),
            ("http://", Some("is not the address of a proxy; write http://HOST:PORT")),
            ("http://:3128", Some("contains no host")),
            ("http://user:HUSH@", Some("is not the address of a proxy")),
            ("http://proxy.test:port", Some("has no valid port")),
            ("http://proxy.test:99999", Some("has no valid port")),
            (
                "ftp://user:HUSH@proxy.test",
                Some("of a kind that is not supported (ftp://); write http://HOST:PORT"),
            ),
            ("http://user:HU SH@proxy.test", Some("is not the address")),
            ("/proxy", Some("is not the address")),
        ] {
            for name in ["HTTP_PROXY", "https_proxy", "ALL_PROXY"] {
                let error = with(&[(name, value)]).err().map(|error| error.to_string());
                assert_eq!(error.is_some(), why.is_some(), "{name}={value}: {error:?}");
                let error = error.unwrap_or_default();
                assert!(
                    error.contains(why.unwrap_or_default()) && !error.contains("HU"),
                    "{name}={value}: {error}"
                );
                assert!(error.is_empty() || error.starts_with(name), "{error}");
            }
        }
    }

    #[test]
    fn a_proxy_is_named_without_user_and_password() {
        for (address, has_login) in
            [("http://user:secret@proxy.test:3128", true), ("http://proxy.test:3128", false)]
        {
            let proxies = with(&[("ALL_PROXY", address)]).unwrap();
            let shown = ProxyAddress { address: "http://proxy.test:3128".to_owned(), has_login };
            assert_eq!(proxies.usual(), Some(shown.clone()));
            let text =
                "io error: a.test:443 through the proxy http://proxy.test:3128: client error (Connect): 407";
            assert_eq!(proxies.named_in(text), Some(shown));
            assert_eq!(proxies.named_in("refused"), None);
            assert_eq!(proxies.proxy_for(&Uri::from_static("http://127.0.0.1:4567/")), None);
        }
    }
}
