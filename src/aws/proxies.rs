//! The HTTP proxies that the environment names, and the hosts that are never reached through one.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::Uri;
use hyper_util::client::proxy::matcher::Matcher;

/// Hosts that [`is_never_proxied`] names, in the notation of `NO_PROXY`.
const NEVER_PROXIED: &str = "localhost,127.0.0.0/8,0.0.0.0,::,::1,169.254.0.0/16,fe80::/10,fd00:ec2::/32";

const VARIABLES: [&str; 3] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];

/// The proxies of `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, read once.
#[derive(Clone, Debug)]
pub(super) struct Proxies {
    matcher: Arc<Matcher>,
    are_set: bool,
}

impl Proxies {
    /// Reads the environment, in upper case first.
    pub(super) fn from_environment() -> Self {
        let are_set =
            VARIABLES.into_iter().any(|name| variable(name).is_some_and(|value| !value.trim().is_empty()));
        Self { matcher: Arc::new(Matcher::from_env()), are_set }
    }

    /// Returns whether the environment names a proxy at all.
    pub(super) fn are_set(&self) -> bool {
        self.are_set
    }

    /// Returns the address of the proxy for requests to `uri`, without user and password.
    pub(super) fn address_for(&self, uri: &Uri) -> Option<String> {
        let host = uri.host()?;
        if is_never_proxied(host) {
            return None;
        }
        let proxy = self.matcher.intercept(uri)?;
        Some(proxy.uri().to_string().trim_end_matches('/').to_owned())
    }

    /// Returns the proxy that requests to AWS go through, for an error that does not know its host.
    pub(super) fn usual_address(&self) -> Option<String> {
        self.address_for(&Uri::from_static("https://amazonaws.com"))
    }
}

/// Returns whether `host` is this machine, or a metadata service that only this machine can reach.
///
/// A proxy resolves 127.0.0.1 to itself and hands out its own credentials for 169.254.169.254.
pub(super) fn is_never_proxied(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']).trim_end_matches('.');
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

/// Returns the proxies of the environment for a client of `reqwest`, which would send loopback through them.
///
/// # Errors
/// A variable holds no address of a proxy.
pub(super) fn web_proxies() -> Result<Vec<reqwest::Proxy>, reqwest::Error> {
    let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    let listed = variable("NO_PROXY").unwrap_or_default();
    let direct = || reqwest::NoProxy::from_string(&format!("{listed},{NEVER_PROXIED}"));
    let kinds: [fn(String) -> Result<reqwest::Proxy, reqwest::Error>; 3] =
        [reqwest::Proxy::http, reqwest::Proxy::https, reqwest::Proxy::all];
    let mut proxies = Vec::new();
    for (name, proxy) in VARIABLES.into_iter().zip(kinds) {
        if let Some(address) = set(name) {
            proxies.push(proxy(address)?.no_proxy(direct()));
        }
    }
    Ok(proxies)
}

/// Returns a variable by its name in upper case, else in lower case, as curl and the SDK do.
fn variable(name: &str) -> Option<String> {
    [name.to_owned(), name.to_ascii_lowercase()].iter().find_map(|name| std::env::var(name).ok())
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

    #[test]
    fn the_hosts_that_reqwest_connects_to_directly_are_the_same() {
        let direct = reqwest::NoProxy::from_string(NEVER_PROXIED).unwrap();
        let matcher = Matcher::builder().all("http://proxy.test:3128").no(NEVER_PROXIED).build();
        assert!(!format!("{direct:?}").is_empty());
        for (host, proxied) in [
            ("127.0.0.1", false),
            ("127.9.9.9:81", false),
            ("[::1]:81", false),
            ("localhost", false),
            ("pictures.localhost", false),
            ("169.254.169.254", false),
            ("10.0.0.1", true),
            ("models.test", true),
        ] {
            let uri: Uri = format!("http://{host}/").parse().unwrap();
            assert_eq!(matcher.intercept(&uri).is_some(), proxied, "{host}");
            assert_eq!(is_never_proxied(uri.host().unwrap()), !proxied, "{host}");
        }
    }

    #[test]
    fn a_proxy_is_named_without_user_and_password() {
        let matcher = Matcher::builder().all("http://user:secret@proxy.test:3128").no("").build();
        let proxies = Proxies { matcher: Arc::new(matcher), are_set: true };
        assert_eq!(proxies.usual_address().unwrap(), "http://proxy.test:3128");
        assert_eq!(proxies.address_for(&Uri::from_static("http://127.0.0.1:4567/")), None);
    }
}
