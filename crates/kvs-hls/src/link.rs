//! URLs of a session, which contain a secret token.

use std::fmt;

use crate::HlsError;

/// Maximum digits of a fragment number. Source: API reference, GetMediaForFragmentList, `Fragments`.
const MAX_FRAGMENT_NUMBER_LEN: usize = 128;

/// A URL that is displayed without its query, because the query contains the session token.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Link {
    url: String,
    /// Length of scheme, host and port.
    origin_len: usize,
    /// Length of everything before the query.
    path_end: usize,
}

impl Link {
    /// Parses the URL of a session, as GetHLSStreamingSessionURL returns it.
    ///
    /// # Errors
    ///
    /// The URL is not http or https, has no host, or contains user information or unescaped characters.
    pub fn new(url: &str) -> Result<Self, HlsError> {
        let scheme = ["https://", "http://"].into_iter().find(|scheme| url.starts_with(scheme));
        let host = scheme.ok_or(HlsError::SessionUrl)?.len();
        let end = |from: usize, stops: &[char]| url[from..].find(stops).map_or(url.len(), |at| from + at);
        let origin_len = end(host, &['/', '?', '#']);
        // User information (`https://b-1.test@evil.test/`) would let another host pass for the session's.
        if origin_len == host || url[host..origin_len].contains('@') || !is_plain(url) {
            return Err(HlsError::SessionUrl);
        }
        // A fragment (`#part`) is never sent to the server.
        let fragment = url.find('#').unwrap_or(url.len());
        let path_end = end(origin_len, &['?', '#']);
        Ok(Self { url: url[..fragment].to_owned(), origin_len, path_end })
    }

    /// Returns the complete URL with the session token, to be fetched and never displayed.
    pub fn secret(&self) -> &str {
        &self.url
    }

    /// Returns scheme, host and port.
    pub fn origin(&self) -> &str {
        &self.url[..self.origin_len]
    }

    /// Returns the raw value of a query parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let query = self.url[self.path_end..].strip_prefix('?')?;
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// Returns the number of the fragment that a media segment contains: 1 to 128 decimal digits.
    pub fn fragment_number(&self) -> Option<&str> {
        let is_number = |text: &&str| {
            (1..=MAX_FRAGMENT_NUMBER_LEN).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
        };
        self.parameter("FragmentNumber").filter(is_number)
    }

    /// Resolves a URI of a playlist that was fetched from this URL (RFC 3986, 5.2).
    ///
    /// # Errors
    ///
    /// The URI is on another server, to which the token must not be sent.
    pub fn join(&self, reference: &str) -> Result<Self, HlsError> {
        let foreign = || HlsError::ForeignUrl { origin: self.origin().to_owned() };
        // `.` and `..` in the path are not resolved: KVS sends none, and the server resolves them itself.
        let joined = match reference {
            _ if reference.starts_with("//") => return Err(foreign()),
            _ if has_scheme(reference) => reference.to_owned(),
            _ if reference.starts_with('/') => format!("{}{reference}", self.origin()),
            _ if reference.starts_with(['?', '#']) => format!("{}{reference}", &self.url[..self.path_end]),
            _ => format!("{}{reference}", self.folder()),
        };
        let link = Self::new(&joined).map_err(|_| foreign())?;
        if link.origin() != self.origin() {
            return Err(foreign());
        }
        Ok(link)
    }

    /// Returns everything up to the last slash of the path, slash included.
    fn folder(&self) -> String {
        match self.url[self.origin_len..self.path_end].rfind('/') {
            Some(slash) => self.url[..=self.origin_len + slash].to_owned(),
            None => format!("{}/", self.origin()),
        }
    }
}

/// Returns true if an HTTP request line can contain the URL.
fn is_plain(url: &str) -> bool {
    // Some URL parsers read a backslash as a slash, and would find another host than this one.
    url.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

/// Returns true if the reference begins with a scheme (RFC 3986, 3.1).
fn has_scheme(reference: &str) -> bool {
    let scheme = reference.split_once(':').map(|(scheme, _)| scheme);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    scheme.is_some_and(|scheme| !scheme.is_empty() && scheme.bytes().all(allowed))
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url[..self.path_end])?;
        match self.fragment_number() {
            Some(number) => write!(f, " (fragment {number})"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: &str = "https://b-1.test:8443/hls/v1/getHLSMasterPlaylist.m3u8?SessionToken=secret";

    #[test]
    fn references_are_resolved_on_the_same_server() {
        let session = Link::new(SESSION).unwrap();
        let cases = [
            ("getTSFragment.ts?a=b", "https://b-1.test:8443/hls/v1/getTSFragment.ts?a=b"),
            ("/other/x.mp4", "https://b-1.test:8443/other/x.mp4"),
            ("?SessionToken=2", "https://b-1.test:8443/hls/v1/getHLSMasterPlaylist.m3u8?SessionToken=2"),
            ("https://b-1.test:8443/x", "https://b-1.test:8443/x"),
            ("a?t=x:y#part", "https://b-1.test:8443/hls/v1/a?t=x:y"),
        ];
        for (reference, url) in cases {
            assert_eq!(session.join(reference).unwrap().secret(), url, "{reference}");
        }
        let root = Link::new("http://host?x").unwrap();
        assert_eq!(root.join("a").unwrap().secret(), "http://host/a");
    }

    #[test]
    fn references_to_other_servers_are_rejected() {
        let session = Link::new(SESSION).unwrap();
        for reference in [
            "https://evil.test/x",
            "//evil.test/x",
            "http://b-1.test:8443/x",
            "https://b-1.test/x",
            "https://b-1.test:8443@evil.test/x",
            "file:///etc/passwd",
            "a b",
            "a\r\nHost: x",
            "\\\\evil.test\\x",
        ] {
            let result = session.join(reference);
            assert!(matches!(result, Err(HlsError::ForeignUrl { .. })), "{reference}: {result:?}");
        }
    }

    #[test]
    fn a_session_url_has_a_web_scheme_and_a_host() {
        for url in
            ["", "ftp://host/x", "https://", "https:///x", "https://user@host/", "http://h/a b", "host/x"]
        {
            assert_eq!(Link::new(url), Err(HlsError::SessionUrl), "{url}");
        }
    }

    #[test]
    fn the_token_is_never_displayed() {
        let link = Link::new(SESSION)
            .unwrap()
            .join("getMP4MediaFragment.mp4?FragmentNumber=913&SessionToken=secret");
        let text = format!("{0} {0:?} {1:?}", link.as_ref().unwrap(), link);
        assert!(!text.contains("secret"), "{text}");
        assert!(text.contains("getMP4MediaFragment.mp4 (fragment 913)"), "{text}");
    }

    #[test]
    fn a_fragment_number_is_decimal_digits() {
        let of = |query: &str| {
            let link = Link::new(&format!("https://h/x?{query}")).unwrap();
            link.fragment_number().map(str::to_owned)
        };
        assert_eq!(of("SessionToken=t&FragmentNumber=0913"), Some("0913".to_owned()));
        for query in ["", "FragmentNumber=", "FragmentNumber=9x", "XFragmentNumber=9", "FragmentNumber"] {
            assert_eq!(of(query), None, "{query}");
        }
        assert_eq!(of(&format!("FragmentNumber={}", "1".repeat(129))), None);
    }
}
