//! Playlists and segments over HTTP.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kvs_hls::Link;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Response, StatusCode};

use crate::aws::{FOREIGN_REMEDY, explain_web_error, foreign_page, new_web_client};

/// How long a playlist or a segment may take.
const LIMIT: Duration = Duration::from_secs(20);
const CONNECT_LIMIT: Duration = Duration::from_secs(4);
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
        let builder = Client::builder().timeout(LIMIT).connect_timeout(CONNECT_LIMIT);
        new_web_client(builder).map(|client| Self { client })
    }

    /// The whole body.
    pub(super) async fn get(&self, link: &Link) -> Result<Bytes, Unfetched> {
        let failed = |error: reqwest::Error| Unfetched::Failed(explain_web_error(error, link.secret()));
        let mut answer = self.client.get(link.secret()).send().await.map_err(failed)?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(Unfetched::Expired),
            StatusCode::NOT_FOUND => return Err(Unfetched::Gone),
            other => return Err(Unfetched::Failed(refused(other, answer).await)),
        }
        let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).map(str::to_owned);
        let mut body = BytesMut::new();
        while let Some(part) = answer.chunk().await.map_err(failed)? {
            if body.len() + part.len() > MOST_BYTES {
                return Err(Unfetched::Failed(format!("an answer of more than {MOST_BYTES} bytes")));
            }
            body.extend_from_slice(&part);
        }
        match foreign_page(200, kind.as_deref(), &body) {
            Some(page) => Err(Unfetched::Failed(format!("{page}; {FOREIGN_REMEDY}"))),
            None => Ok(body.freeze()),
        }
    }
}

/// An answer that is none of KVS's, in words; what waits of its text is quoted.
async fn refused(status: StatusCode, mut answer: Response) -> String {
    let first = answer.chunk().await.ok().flatten().unwrap_or_default();
    let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    match foreign_page(status.as_u16(), kind, &first) {
        Some(page) => format!("{page}; {FOREIGN_REMEDY}"),
        None => status.to_string(),
    }
}
