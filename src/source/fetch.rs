//! Playlists and segments over HTTP.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kvs_hls::Link;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Response, StatusCode, redirect};

use crate::aws::{
    FOREIGN_REMEDY, describe_foreign, explain_web_error, foreign_page, new_web_client, text_for_footage,
};

/// How long a playlist or a segment may take.
const LIMIT: Duration = Duration::from_secs(20);
const CONNECT_LIMIT: Duration = Duration::from_secs(4);
const REMEDY: &str = "check the network; it is tried again";
/// Source: Kinesis Video Streams API reference, common response headers, 2026.
const REQUEST_ID: &str = "x-amzn-requestid";
/// The first bytes of each playlist. Source: RFC 8216, 4.3.1.1.
const PLAYLIST: &[u8] = b"#EXTM3U";
/// Source: Kinesis Video Streams quotas, 2026 (a fragment has 50 MB at most).
const MOST_BYTES: usize = 64 << 20;

/// Fetches what sessions list.
#[derive(Clone, Debug)]
pub(super) struct Fetcher {
    client: Client,
}

/// Why something was not fetched. No text holds a session's token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unfetched {
    /// 401 or 403.
    Expired,
    /// 404.
    Gone,
    /// Another answer, or none.
    Failed(String),
}

impl Fetcher {
    /// Errors: TLS cannot be set up.
    pub(super) fn new() -> Result<Self, String> {
        // KVS does not redirect. Elsewhere nothing is footage of this stream, whatever it holds.
        let builder = Client::builder()
            .timeout(LIMIT)
            .connect_timeout(CONNECT_LIMIT)
            .redirect(redirect::Policy::none());
        new_web_client(builder).map(|client| Self { client })
    }

    /// The whole body.
    pub(super) async fn get(&self, link: &Link) -> Result<Bytes, Unfetched> {
        let failed =
            |error: reqwest::Error| Unfetched::Failed(explain_web_error(error, link.secret(), Some(REMEDY)));
        let mut answer = self.client.get(link.secret()).send().await.map_err(failed)?;
        if answer.status() != StatusCode::OK {
            return Err(refused(answer).await);
        }
        let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).map(str::to_owned);
        let mut body = BytesMut::new();
        while let Some(part) = answer.chunk().await.map_err(failed)? {
            if body.len() + part.len() > MOST_BYTES {
                return Err(Unfetched::Failed(format!("an answer of more than {MOST_BYTES} bytes")));
            }
            body.extend_from_slice(&part);
        }
        let text = text_for_footage(200, &body).filter(|_| !body.starts_with(PLAYLIST));
        match foreign_page(200, kind.as_deref(), &body).or(text) {
            Some(other) => Err(Unfetched::Failed(format!("{other}; {FOREIGN_REMEDY}"))),
            None => Ok(body.freeze()),
        }
    }
}

/// Explains an answer with another status than 200. KVS answers in JSON, or with no text.
async fn refused(mut answer: Response) -> Unfetched {
    let status = answer.status();
    if status.is_redirection() {
        let text = describe_foreign(status.as_u16(), "a redirect, which is not followed");
        return Unfetched::Failed(format!("{text}; {FOREIGN_REMEDY}"));
    }
    let is_numbered = answer.headers().contains_key(REQUEST_ID);
    let first = answer.chunk().await.ok().flatten().unwrap_or_default();
    let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let text = text_for_footage(status.as_u16(), &first);
    let text = text.filter(|_| !is_numbered && !first.trim_ascii_start().starts_with(b"{"));
    if let Some(other) = foreign_page(status.as_u16(), kind, &first).or(text) {
        return Unfetched::Failed(format!("{other}; {FOREIGN_REMEDY}"));
    }
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Unfetched::Expired,
        StatusCode::NOT_FOUND => Unfetched::Gone,
        other if is_numbered => Unfetched::Failed(format!("HTTP {other}; it is tried again")),
        other => {
            let text = describe_foreign(other.as_u16(), "");
            Unfetched::Failed(format!("{text}; {FOREIGN_REMEDY}; it is tried again"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// The link to a server that answers once, and the server's thread.
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
            let got = Fetcher::new().unwrap().get(&link).await;
            thread.join().unwrap();
            match (words, got) {
                (None, got) => assert_eq!(got.unwrap(), "#EXTM3U", "{name}"),
                (Some(words), Err(Unfetched::Failed(text))) => {
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
            ("401 Unauthorized", Unfetched::Expired),
            ("403 Forbidden", Unfetched::Expired),
            ("404 Not Found", Unfetched::Gone),
        ] {
            for body in [json, ""] {
                let (link, thread) = server(&answer(status, "application/json", body));
                let got = Fetcher::new().unwrap().get(&link).await;
                thread.join().unwrap();
                assert_eq!(got, Err(wanted.clone()), "{status} {body}");
            }
        }
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed_and_learns_nothing() {
        let (elsewhere, other) = server(&answer("200 OK", "application/vnd.apple.mpegurl", "#EXTM3U"));
        let redirect = format!(
            "HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            elsewhere.secret()
        );
        let (link, thread) = server(&redirect);
        let got = Fetcher::new().unwrap().get(&link).await;
        thread.join().unwrap();
        let Err(Unfetched::Failed(text)) = got else { panic!("{got:?}") };
        assert!(text.contains("HTTP 302: a redirect, which is not followed"), "{text}");
        assert!(!other.is_finished(), "the other server was asked");
    }

    #[tokio::test]
    async fn a_server_out_of_reach_is_named_without_the_token() {
        let link = Link::new("http://127.0.0.1:1/playlist.m3u8?SessionToken=HUSH").unwrap();
        let Err(Unfetched::Failed(text)) = Fetcher::new().unwrap().get(&link).await else {
            panic!("it answered")
        };
        assert!(
            text.starts_with("127.0.0.1:1: ") && text.ends_with(REMEDY) && !text.contains("HUSH"),
            "{text}"
        );
    }
}
