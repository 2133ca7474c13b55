//! Fetches playlists and segments over HTTP.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kvs_hls::Link;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Response, StatusCode, redirect};

use crate::aws::{
    FOREIGN_REMEDY, describe_foreign, explain_web_error, foreign_page, new_web_client, text_for_footage,
};

/// Timeout of a playlist or a segment, from the request to the last byte.
const FETCH_TIMEOUT: Duration = Duration::from_secs(20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
const REMEDY: &str = "check the network; it is tried again";
/// The header in which KVS numbers its answers.
/// Source: Kinesis Video Streams API reference, common response headers, 2026.
const REQUEST_ID: &str = "x-amzn-requestid";
/// The first bytes of each playlist. Source: RFC 8216, 4.3.1.1.
const PLAYLIST_TAG: &[u8] = b"#EXTM3U";
/// The maximum size of an answer. Source: Kinesis Video Streams quotas, 2026 (a fragment has 50 MB at most).
const MAX_BODY_BYTES: usize = 64 << 20;

/// An HTTP client for the links of HLS sessions.
#[derive(Clone, Debug)]
pub(super) struct HlsFetcher {
    client: Client,
}

/// A failed fetch. No text contains the session token of the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HlsFetchError {
    /// KVS answered 401 or 403: the session has expired.
    Expired,
    /// KVS answered 404: the segment is not stored any more.
    Gone,
    /// Any other answer, or none.
    Failed(String),
}

impl HlsFetcher {
    /// Creates the client.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub(super) fn new() -> Result<Self, String> {
        // KVS does not redirect, and content from another place is not footage of this stream.
        let builder = Client::builder()
            .timeout(FETCH_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(redirect::Policy::none());
        new_web_client(builder).map(|client| Self { client })
    }

    /// Returns the whole body behind `link`.
    pub(super) async fn get(&self, link: &Link) -> Result<Bytes, HlsFetchError> {
        let answer = self.client.get(link.secret()).send().await;
        let mut answer = answer.map_err(|error| failed(error, link))?;
        if answer.status() != StatusCode::OK {
            return Err(explain_status(answer).await);
        }
        let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).map(str::to_owned);
        let body = read_body(&mut answer, link).await?;
        // A captive portal answers 200 with its login page: neither a playlist nor a segment is other text.
        let text = text_for_footage(200, &body).filter(|_| !body.starts_with(PLAYLIST_TAG));
        match foreign_page(200, kind.as_deref(), &body).or(text) {
            Some(page) => Err(HlsFetchError::Failed(format!("{page}; {FOREIGN_REMEDY}"))),
            None => Ok(body.freeze()),
        }
    }
}

/// Returns the whole body of the answer for `link`.
async fn read_body(answer: &mut Response, link: &Link) -> Result<BytesMut, HlsFetchError> {
    let mut body = BytesMut::new();
    // Read in parts rather than by Content-Length, which another server may omit or understate.
    while let Some(part) = answer.chunk().await.map_err(|error| failed(error, link))? {
        if body.len() + part.len() > MAX_BODY_BYTES {
            return Err(HlsFetchError::Failed(format!("an answer of more than {MAX_BODY_BYTES} bytes")));
        }
        body.extend_from_slice(&part);
    }
    Ok(body)
}

fn failed(error: reqwest::Error, link: &Link) -> HlsFetchError {
    HlsFetchError::Failed(explain_web_error(error, link.secret(), Some(REMEDY)))
}

/// Returns the error for an answer whose status is not 200.
async fn explain_status(mut answer: Response) -> HlsFetchError {
    let status = answer.status();
    if status.is_redirection() {
        let text = describe_foreign(status.as_u16(), "a redirect, which is not followed");
        return HlsFetchError::Failed(format!("{text}; {FOREIGN_REMEDY}"));
    }
    let is_numbered = answer.headers().contains_key(REQUEST_ID);
    let first = answer.chunk().await.ok().flatten().unwrap_or_default();
    let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    // KVS numbers its answers and writes JSON or no text. Any other text is a proxy's, so its 403 or 404 says
    // nothing about the session.
    let text = text_for_footage(status.as_u16(), &first);
    let text = text.filter(|_| !is_numbered && !first.trim_ascii_start().starts_with(b"{"));
    if let Some(page) = foreign_page(status.as_u16(), kind, &first).or(text) {
        return HlsFetchError::Failed(format!("{page}; {FOREIGN_REMEDY}"));
    }
    status_error(status, is_numbered)
}

/// Returns the error for a status; `is_numbered`: the answer has a request id, as those of KVS have.
fn status_error(status: StatusCode, is_numbered: bool) -> HlsFetchError {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => HlsFetchError::Expired,
        StatusCode::NOT_FOUND => HlsFetchError::Gone,
        other if is_numbered => HlsFetchError::Failed(format!("HTTP {other}; it is tried again")),
        other => {
            let text = describe_foreign(other.as_u16(), "");
            HlsFetchError::Failed(format!("{text}; {FOREIGN_REMEDY}; it is tried again"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// Returns a link to a server that answers once, and the server's thread.
    fn server(answer: &str) -> (Link, std::thread::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/playlist.m3u8?SessionToken=HUSH", listener.local_addr().unwrap());
        let answer = answer.to_owned();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let read = stream.read(&mut [0; 4096]).unwrap();
            assert!(read > 0);
            stream.write_all(answer.as_bytes()).unwrap();
        });
        (Link::new(&url).unwrap(), thread)
    }

    fn answer(status: &str, kind: &str, body: &str) -> String {
        let length = body.len();
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
    }

    #[tokio::test]
    async fn a_page_is_neither_a_playlist_nor_a_segment() {
        let hls = "application/vnd.apple.mpegurl";
        for (name, answer, words) in [
            ("by its type", answer("200 OK", "text/html", "log in"), Some("not from AWS: HTTP 200: log in")),
            ("by its beginning", answer("200 OK", hls, "<html>log in</html>"), Some("HTTP 200: log in")),
            ("of a proxy", answer("502 Bad Gateway", "text/html", "<h1>Down</h1>"), Some("HTTP 502: Down")),
            ("JSON", answer("200 OK", "application/json", "[]"), Some("not from AWS: HTTP 200: []")),
            ("text under a wrong type", answer("200 OK", hls, "log in"), Some("HTTP 200: log in")),
            ("a teapot", answer("418 I'm a teapot", "text/plain", "tea"), Some("HTTP 418: tea")),
            (
                "a teapot without words",
                answer("418 I'm a teapot", "text/plain", ""),
                Some("HTTP 418: no text"),
            ),
            ("403 of a proxy", answer("403 Forbidden", "text/plain", "Denied"), Some("HTTP 403: Denied")),
            (
                "404 of a server",
                answer("404 Not Found", "text/plain", "nothing here"),
                Some("HTTP 404: nothing"),
            ),
            ("a playlist", answer("200 OK", hls, "#EXTM3U"), None),
        ] {
            let (link, thread) = server(&answer);
            let got = HlsFetcher::new().unwrap().get(&link).await;
            thread.join().unwrap();
            match (words, got) {
                (None, got) => assert_eq!(got.unwrap(), "#EXTM3U", "{name}"),
                (Some(words), Err(HlsFetchError::Failed(text))) => {
                    assert!(text.contains(words) && text.contains("captive portal"), "{name}: {text}");
                }
                (Some(_), got) => panic!("{name}: {got:?}"),
            }
        }
    }

    #[tokio::test]
    async fn answers_of_kvs_are_an_expired_session_or_a_lost_segment() {
        let json = r#"{"Message":"no"}"#;
        for (status, wanted) in [
            ("401 Unauthorized", HlsFetchError::Expired),
            ("403 Forbidden", HlsFetchError::Expired),
            ("404 Not Found", HlsFetchError::Gone),
        ] {
            for body in [json, ""] {
                let (link, thread) = server(&answer(status, "application/json", body));
                let got = HlsFetcher::new().unwrap().get(&link).await;
                thread.join().unwrap();
                assert_eq!(got, Err(wanted.clone()), "{status} {body}");
            }
        }
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let (elsewhere, other) = server(&answer("200 OK", "application/vnd.apple.mpegurl", "#EXTM3U"));
        let redirect = format!(
            "HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            elsewhere.secret()
        );
        let (link, thread) = server(&redirect);
        let got = HlsFetcher::new().unwrap().get(&link).await;
        thread.join().unwrap();
        let Err(HlsFetchError::Failed(text)) = got else { panic!("{got:?}") };
        assert!(text.contains("HTTP 302: a redirect, which is not followed"), "{text}");
        assert!(!other.is_finished(), "the other server was asked");
    }

    #[tokio::test]
    async fn an_unreachable_server_is_named_without_the_token() {
        let link = Link::new("http://127.0.0.1:1/playlist.m3u8?SessionToken=HUSH").unwrap();
        let Err(HlsFetchError::Failed(text)) = HlsFetcher::new().unwrap().get(&link).await else {
            panic!("it answered")
        };
        assert!(
            text.starts_with("127.0.0.1:1: ") && text.ends_with(REMEDY) && !text.contains("HUSH"),
            "{text}"
        );
    }
}
