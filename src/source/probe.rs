//! What the doctor asks of a camera's stream: is it there, and does footage come?

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_sdk_kinesisvideo::types::{ApiName, Status, StreamInfo};
use aws_sdk_kinesisvideoarchivedmedia::primitives::DateTime;
use aws_sdk_kinesisvideoarchivedmedia::types::{FragmentSelector, FragmentSelectorType, TimestampRange};
use tokio::time::timeout;

use super::kvs::{explain, in_time};
use super::{HlsSource, Kvs, Media, SourceError, StartAt};
use crate::aws::FOREIGN_REMEDY;
use crate::base::{Asks, Finding, Probe};
use crate::demux::{Demuxer, Step};
use crate::media::Fragment;

/// How long an open connection may bring nothing: a key frame every 4 s at most is usual.
const FOOTAGE_LIMIT: Duration = Duration::from_secs(5);

/// How far back the last fragment of a silent camera is looked for: an answer holds 1000 fragments, of a second mostly.
const LOOK_BACK: Duration = Duration::from_secs(900);
const MOST_FRAGMENTS: i64 = 1_000;
/// A camera whose last fragment came longer ago is silent, s: no usual one sends less than a fragment in 20 s.
const SILENT_S: i64 = 60;

/// The life of the session that is asked for and not used. Source: API reference, GetHLSStreamingSessionURL, 2026: the shortest.
const SESSION: Duration = Duration::from_secs(300);

impl Kvs {
    /// Is the stream there, and does footage come? The second opens a GetMedia connection, of which a stream has three, and
    /// closes it with the first fragment.
    #[must_use]
    pub fn probes(&self, stream: &str) -> Vec<Probe> {
        let name = format!("stream {stream}");
        vec![
            Probe::new(format!("{name} footage"), Asks::Aws, footage(self.clone(), stream.to_owned())),
            Probe::new(name, Asks::Aws, look(self.clone(), stream.to_owned(), false)),
        ]
    }

    /// The same of a stream that is read by HLS; the second asks for a session.
    #[must_use]
    pub fn hls_probes(&self, stream: &str) -> Vec<Probe> {
        let name = format!("stream {stream}");
        vec![
            Probe::new(format!("{name} HLS"), Asks::Aws, session(self.clone(), stream.to_owned())),
            Probe::new(format!("{name} by HLS"), Asks::Aws, look(self.clone(), stream.to_owned(), true)),
        ]
    }

    pub(super) async fn describe(&self, stream: &str) -> Result<StreamInfo, SourceError> {
        const ACTION: &str = "DescribeStream";
        let request = self.control.describe_stream().stream_name(stream);
        let answer = in_time(stream, ACTION, request.send()).await?;
        let info = answer.map_err(|error| explain(stream, ACTION, &error))?.stream_info;
        // Each stream has a status; an answer without one describes none.
        info.filter(|info| info.status().is_some()).ok_or_else(|| SourceError::Failed {
            stream: stream.to_owned(),
            action: ACTION,
            message: format!("the answer describes nothing; {FOREIGN_REMEDY}"),
        })
    }
}

async fn look(kvs: Kvs, stream: String, by_hls: bool) -> Finding {
    match kvs.describe(&stream).await {
        Ok(info) => standing(&info, by_hls),
        Err(SourceError::NotAuthorized { .. }) => {
            Finding::warn("kinesisvideo:DescribeStream is not allowed; only this check asks for it")
        }
        Err(error) => Finding::fail(error.to_string()),
    }
}

fn standing(info: &StreamInfo, by_hls: bool) -> Finding {
    let hours = info.data_retention_in_hours().unwrap_or(0);
    let status = info.status().map_or("", Status::as_str);
    let text = format!("{status}, keeps footage for {hours} h");
    match info.status() {
        Some(Status::Deleting) => {
            Finding::fail(format!("{text}; create it anew, or correct kvs_stream_name"))
        }
        Some(Status::Creating) => Finding::warn(format!("{text}; wait until it is ACTIVE")),
        _ if hours == 0 && by_hls => Finding::fail(format!(
            "{text}: HLS reads what is kept; raise its data retention, or read it by GETMEDIA"
        )),
        _ if hours == 0 => Finding::warn(format!(
            "{text}: what is not read within minutes is lost; raise its data retention"
        )),
        _ => Finding::ok(text),
    }
}

async fn session(kvs: Kvs, stream: String) -> Finding {
    let opened = match HlsSource::new(&kvs, &stream, SESSION) {
        Ok(source) => source.open(&StartAt::Now).await,
        Err(error) => Err(error),
    };
    match opened {
        Ok(_session) => Finding::ok("a session is granted"),
        Err(error @ SourceError::NoFootage { .. }) => {
            Finding::warn(format!("{error}; {}", last_fragment(&kvs, &stream).await))
        }
        Err(error) => Finding::fail(error.to_string()),
    }
}

async fn footage(kvs: Kvs, stream: String) -> Finding {
    let mut source = kvs.stream(&stream);
    let media = match source.open(&StartAt::Now).await {
        Ok(media) => media,
        Err(error) => return Finding::fail(error.to_string()),
    };
    if let Ok(finding) = timeout(FOOTAGE_LIMIT, first_fragment(media)).await {
        return finding;
    }
    Finding::warn(format!(
        "GetMedia is open, but no footage came within {} s, {}; look at the camera and its producer",
        FOOTAGE_LIMIT.as_secs(),
        last_fragment(&kvs, &stream).await
    ))
}

/// When the stream got its last fragment, in words.
async fn last_fragment(kvs: &Kvs, stream: &str) -> String {
    match newest(kvs, stream).await {
        Ok(Some(at)) => {
            let ago = SystemTime::now().duration_since(at).unwrap_or_default().as_secs();
            format!("the last fragment came {ago} s ago")
        }
        Ok(None) => format!("nor within the last {} minutes", LOOK_BACK.as_secs() / 60),
        Err(SourceError::NotAuthorized { .. }) => {
            "and when the last came is not known (kinesisvideo:ListFragments is not allowed; only this check asks for it)".to_owned()
        }
        Err(error) => format!("and when the last came is not known ({error})"),
    }
}

/// The server's time of the newest fragment that is stored.
async fn newest(kvs: &Kvs, stream: &str) -> Result<Option<SystemTime>, SourceError> {
    const ACTION: &str = "ListFragments";
    let url = kvs.endpoint(stream, ApiName::ListFragments).await?;
    let config = aws_sdk_kinesisvideoarchivedmedia::config::Builder::from(kvs.config()).endpoint_url(url);
    let client = aws_sdk_kinesisvideoarchivedmedia::Client::from_conf(config.build());
    let (now, range) = (SystemTime::now(), TimestampRange::builder());
    let range = range.start_timestamp(DateTime::from(now - LOOK_BACK)).end_timestamp(DateTime::from(now));
    let by_server = FragmentSelector::builder().fragment_selector_type(FragmentSelectorType::ServerTimestamp);
    let failed = |message: String| SourceError::Failed { stream: stream.to_owned(), action: ACTION, message };
    let range = range.build().map_err(|error| failed(error.to_string()))?;
    let selector = by_server.timestamp_range(range).build().map_err(|error| failed(error.to_string()))?;
    let request =
        client.list_fragments().stream_name(stream).max_results(MOST_FRAGMENTS).fragment_selector(selector);
    let answer = in_time(stream, ACTION, request.send()).await?;
    let answer = answer.map_err(|error| explain(stream, ACTION, &error))?;
    let times = answer.fragments().iter().filter_map(|fragment| fragment.server_timestamp);
    Ok(times.max_by(|a, b| a.secs().cmp(&b.secs())).and_then(|time| SystemTime::try_from(time).ok()))
}

/// Reads up to the first fragment.
async fn first_fragment(mut media: Media) -> Finding {
    let mut demuxer = Demuxer::default();
    while let Some(bytes) = media.next().await {
        match bytes {
            Ok(bytes) => demuxer.push(&bytes),
            Err(error @ SourceError::Broken { .. }) => {
                return Finding::fail(format!("{error}; check the network and proxies on the way"));
            }
            Err(error) => return Finding::fail(error.to_string()),
        }
        match demuxer.next(Instant::now()) {
            Ok(None) => {}
            Ok(Some(step)) => return told(step),
            Err(error) => {
                return Finding::fail(format!("{error}; look at the producer with kvs-infer inspect"));
            }
        }
    }
    Finding::warn("GetMedia ended before a fragment came; look at the camera and its producer")
}

/// A service may begin with a fragment that was stored long ago: then the camera is silent.
fn arrived(fragment: &Fragment, now_ms: i64) -> Finding {
    let ago_s = fragment.server_ms.map_or(0, |at| now_ms.saturating_sub(at) / 1_000);
    if ago_s > SILENT_S {
        return Finding::warn(format!(
            "the last fragment came {ago_s} s ago ({}); look at the camera and its producer",
            fragment.number
        ));
    }
    Finding::ok(format!("footage comes: fragment {}", fragment.number))
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

fn told(step: Step) -> Finding {
    match step {
        Step::NoVideo { codecs, .. } => {
            Finding::fail(format!("it has no video that can be decoded ({codecs}); send H.264 or H.265"))
        }
        Step::StreamError(error) => Finding::fail(format!("the service ended the stream: {error:?}")),
        Step::Begin(fragment) | Step::End { fragment, .. } | Step::Incomplete(fragment) => {
            arrived(&fragment, now_ms())
        }
        Step::Packet(_) => Finding::ok("footage comes"),
    }
}
