//! A URL of a session, with a token that nobody may see.

use std::fmt;

use crate::Error;

/// A URL whose query, where the session token is, shows in no log and no error.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Link {
    url: String,
    /// Bytes of scheme, host and port.
    origin: usize,
    /// Bytes before the query.
    path: usize,
}

impl Link {
    /// The URL of a session, as GetHLSStreamingSessionURL gives it.
    ///
    /// Errors: it is not http or https, or has no host.
    pub fn new(url: &str) -> Result<Self, Error> {
        let scheme = ["https://", "http://"].into_iter().find(|scheme| url.starts_with(scheme));
        let host = scheme.ok_or(Error::SessionUrl)?.len();
        let end = |from: usize, stops: &[char]| url[from..].find(stops).map_or(url.len(), |at| from + at);
        let origin = end(host, &['/', '?', '#']);
        if origin == host || url[host..origin].contains('@') || !is_plain(url) {
            return Err(Error::SessionUrl);
        }
        let fragment = url.find('#').unwrap_or(url.len());
        let path = end(origin, &['?', '#']);
        Ok(Self { url: url[..fragment].to_owned(), origin, path })
    }

    /// The whole URL, to be fetched and shown to nobody.
    pub fn secret(&self) -> &str {
        &self.url
    }

    /// Scheme, host and port.
    pub fn origin(&self) -> &str {
        &self.url[..self.origin]
    }

    /// What a query parameter of that name holds, as it stands.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let query = self.url[self.path..].strip_prefix('?')?;
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// The number of the fragment that a media segment is made of: 1 to 128 decimal digits.
    pub fn fragment_number(&self) -> Option<&str> {
        let digits =
            |text: &&str| (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        self.parameter("FragmentNumber").filter(digits)
    }

    /// What a playlist of this URL names.
    ///
    /// Errors: it is on another server, which must not get the token.
    pub fn join(&self, reference: &str) -> Result<Self, Error> {
        let foreign = || Error::ForeignUrl { origin: self.origin().to_owned() };
        let joined = match reference {
            _ if reference.starts_with("//") => return Err(foreign()),
            _ if has_scheme(reference) => reference.to_owned(),
            _ if reference.starts_with('/') => format!("{}{reference}", self.origin()),
            _ if reference.starts_with(['?', '#']) => format!("{}{reference}", &self.url[..self.path]),
            _ => format!("{}{reference}", self.folder()),
        };
        let link = Self::new(&joined).map_err(|_| foreign())?;
        if link.origin() != self.origin() {
            return Err(foreign());
        }
        Ok(link)
    }

    /// What comes before the last part of the path, slash included.
    fn folder(&self) -> String {
        match self.url[self.origin..self.path].rfind('/') {
            Some(slash) => self.url[..=self.origin + slash].to_owned(),
            None => format!("{}/", self.origin()),
        }
    }
}

/// Whether it holds nothing that a request line cannot.
fn is_plain(url: &str) -> bool {
    url.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

/// Whether it begins with a scheme as RFC 3986 (3.1) has it.
fn has_scheme(reference: &str) -> bool {
    let scheme = reference.split_once(':').map(|(scheme, _)| scheme);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    scheme.is_some_and(|scheme| !scheme.is_empty() && scheme.bytes().all(allowed))
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url[..self.path])?;
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
    fn what_a_playlist_names_is_found_on_the_same_server() {
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
    fn nothing_leaves_the_server_of_the_session() {
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
            let refused = session.join(reference);
            assert!(matches!(refused, Err(Error::ForeignUrl { .. })), "{reference}: {refused:?}");
        }
    }

    #[test]
    fn a_session_url_is_an_address_of_the_web() {
        for url in
            ["", "ftp://host/x", "https://", "https:///x", "https://user@host/", "http://h/a b", "host/x"]
        {
            assert_eq!(Link::new(url), Err(Error::SessionUrl), "{url}");
        }
    }

    #[test]
    fn the_token_is_shown_to_nobody() {
        let link = Link::new(SESSION)
            .unwrap()
            .join("getMP4MediaFragment.mp4?FragmentNumber=913&SessionToken=secret");
        let shown = format!("{0} {0:?} {1:?}", link.as_ref().unwrap(), link);
        assert!(!shown.contains("secret"), "{shown}");
        assert!(shown.contains("getMP4MediaFragment.mp4 (fragment 913)"), "{shown}");
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
