//! Probes of a camera's stream for `check --live`: the stream exists and is readable, footage arrives, and stored footage can be read.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_sdk_kinesisvideo::types::{ApiName, Status, StreamInfo};
use aws_sdk_kinesisvideoarchivedmedia::primitives::DateTime;
use aws_sdk_kinesisvideoarchivedmedia::types::{
    Fragment as StoredFragment, FragmentSelector, FragmentSelectorType, TimestampRange,
};
use tokio::time::timeout;

use super::kvs::{explain_error, with_timeout};
use super::{GetMediaConnection, HlsSource, Kvs, SourceError, StartAt};
use crate::aws::{FOREIGN_REMEDY, text_for_footage};
use crate::base::{Asks, Finding, Probe};
use crate::demux::{DemuxEvent, Demuxer};
use crate::media::Fragment;

/// The maximum wait for footage on an open connection: a keyframe interval of at most 4 s is usual.
const FOOTAGE_TIMEOUT: Duration = Duration::from_secs(5);

/// The age of the oldest fragment that is searched for when a camera is silent.
///
/// An answer holds 1000 fragments, which mostly last a second.
const SEARCH_WINDOW: Duration = Duration::from_secs(900);
const MAX_LISTED_FRAGMENTS: i64 = 1_000;
/// The age of the last fragment from which a camera counts as silent, s: usual producers send one at least every 20 s.
const SILENT_S: i64 = 60;

/// The life of the session that is requested and not used: the shortest.
/// Source: API reference, GetHLSStreamingSessionURL, Expires, 2026.
const SESSION_LIFE: Duration = Duration::from_secs(300);

/// The features that read stored footage.
const ARCHIVE_FEATURES: &str = "the video of incidents, clips and replay";

impl Kvs {
    /// Returns the probe that reads a stream by GetMedia.
    ///
    /// It opens a GetMedia connection, of which a stream allows three, and closes it at the first fragment.
    #[must_use]
    pub fn footage_probe(&self, stream: &str) -> Probe {
        let footage = probe_footage(self.clone(), stream.to_owned());
        Probe::new(format!("stream {stream} footage"), Asks::Aws, footage)
    }

    /// Returns the probe that requests an HLS session of a stream.
    #[must_use]
    pub fn session_probe(&self, stream: &str) -> Probe {
        let session = probe_session(self.clone(), stream.to_owned());
        Probe::new(format!("stream {stream} HLS"), Asks::Aws, session)
    }

    /// Returns the probes of a stream's settings and of its stored footage, which open no connection that the service itself needs.
    #[must_use]
    pub fn stored_probes(&self, stream: &str, by_hls: bool) -> [Probe; 2] {
        let name = format!("stream {stream}{}", if by_hls { " by HLS" } else { "" });
        let description = probe_description(self.clone(), stream.to_owned(), by_hls);
        let archive = probe_archive(self.clone(), stream.to_owned());
        [
            Probe::new(name, Asks::Aws, description),
            Probe::new(format!("stream {stream} archive"), Asks::Aws, archive).only_for(ARCHIVE_FEATURES),
        ]
    }

    /// Requests the description of `stream`.
    pub(super) async fn describe(&self, stream: &str) -> Result<StreamInfo, SourceError> {
        const ACTION: &str = "DescribeStream";
        let request = self.control.describe_stream().stream_name(stream);
        let answer = with_timeout(stream, ACTION, request.send()).await?;
        let info = answer.map_err(|error| explain_error(stream, ACTION, &error))?.stream_info;
        // Each stream has a status. An answer without one is another server's JSON, which the SDK parses as empty.
        info.filter(|info| info.status().is_some()).ok_or_else(|| SourceError::Failed {
            stream: stream.to_owned(),
            action: ACTION,
            message: format!("the answer describes nothing; {FOREIGN_REMEDY}"),
        })
    }
}

async fn probe_description(kvs: Kvs, stream: String, by_hls: bool) -> Finding {
    match kvs.describe(&stream).await {
        Ok(info) => assess_stream(&info, by_hls),
        // The service itself calls DescribeStream only for HLS from EARLIEST, so a role without it may be complete.
        Err(SourceError::NotAuthorized { .. }) => {
            Finding::warn("kinesisvideo:DescribeStream is not allowed; only this check asks for it")
        }
        Err(error) => Finding::fail(error.to_string()),
    }
}

/// Returns the finding about a stream's status and data retention.
fn assess_stream(info: &StreamInfo, by_hls: bool) -> Finding {
    let hours = info.data_retention_in_hours().unwrap_or(0);
    let status = info.status().map_or("", Status::as_str);
    let text = format!("{status}, keeps footage for {hours} h");
    match info.status() {
        Some(Status::Deleting) => {
            Finding::fail(format!("{text}; create it again, or correct kvs_stream_name"))
        }
        Some(Status::Creating) => Finding::warn(format!("{text}; wait until it is ACTIVE")),
        _ if hours == 0 && by_hls => Finding::fail(format!(
            "{text}: HLS reads stored footage only; raise its data retention, or read it by GETMEDIA"
        )),
        _ if hours == 0 => Finding::warn(format!(
            "{text}: footage that is not read within minutes is lost; raise its data retention"
        )),
        _ => Finding::ok(text),
    }
}

async fn probe_session(kvs: Kvs, stream: String) -> Finding {
    let opened = match HlsSource::new(&kvs, &stream, SESSION_LIFE) {
        Ok(source) => source.open(&StartAt::Now).await,
        Err(error) => Err(error),
    };
    match opened {
        Ok(_session) => Finding::ok("a session is granted"),
        Err(error @ SourceError::NoFootage { .. }) => {
            Finding::warn(format!("{error}; {}", describe_last_fragment(&kvs, &stream).await))
        }
        Err(error) => Finding::fail(error.to_string()),
    }
}

async fn probe_footage(kvs: Kvs, stream: String) -> Finding {
    let mut source = kvs.stream(&stream);
    let connection = match source.open(&StartAt::Now).await {
        Ok(connection) => connection,
        Err(error) => return Finding::fail(error.to_string()),
    };
    if let Ok(finding) = timeout(FOOTAGE_TIMEOUT, assess_first_fragment(connection)).await {
        return finding;
    }
    Finding::warn(format!(
        "GetMedia is open, but no footage came within {} s, {}; check the camera and its producer",
        FOOTAGE_TIMEOUT.as_secs(),
        describe_last_fragment(&kvs, &stream).await
    ))
}

/// Returns the age of the stream's last fragment as part of a sentence.
async fn describe_last_fragment(kvs: &Kvs, stream: &str) -> String {
    match find_newest_fragment(kvs, stream).await.map(|newest| newest.and_then(|newest| stored_at(&newest))) {
        Ok(Some(at)) => {
            let ago = SystemTime::now().duration_since(at).unwrap_or_default().as_secs();
            format!("the last fragment came {ago} s ago")
        }
        Ok(None) => format!("nor within the last {} minutes", SEARCH_WINDOW.as_secs() / 60),
        Err(SourceError::NotAuthorized { .. }) => {
            "and the time of the last fragment is unknown (kinesisvideo:ListFragments is not allowed)"
                .to_owned()
        }
        Err(error) => format!("and the time of the last fragment is unknown ({error})"),
    }
}

/// Reads the beginning of the newest stored fragment.
async fn probe_archive(kvs: Kvs, stream: String) -> Finding {
    match kvs.retention_hours(&stream).await {
        Ok(0) => {
            return Finding::warn(format!("no footage is stored, so it has none for {ARCHIVE_FEATURES}"))
                .with_remedy("raise its data retention");
        }
        // The other probe reports a missing permission. Reading stored footage does not need it.
        Ok(_) | Err(SourceError::NotAuthorized { .. }) => {}
        Err(error) => return Finding::fail(error.to_string()),
    }
    let newest = match find_newest_fragment(&kvs, &stream).await {
        Ok(newest) => newest.and_then(|newest| newest.fragment_number),
        Err(error) => return Finding::fail(error.to_string()),
    };
    let Some(number) = newest else {
        return Finding::ok(format!(
            "ListFragments is allowed; nothing was stored within the last {} minutes, so GetMediaForFragmentList is not tried",
            SEARCH_WINDOW.as_secs() / 60
        ));
    };
    match read_stored(&kvs, &stream, &number).await {
        Ok(()) => Finding::ok(format!("stored footage can be read: fragment {number}")),
        Err(error) => Finding::fail(error.to_string()),
    }
}

/// Returns a client of the archive for the operation `api` of a stream.
async fn archive_client(
    kvs: &Kvs,
    stream: &str,
    api: ApiName,
) -> Result<aws_sdk_kinesisvideoarchivedmedia::Client, SourceError> {
    let url = kvs.request_endpoint(stream, api).await?;
    let config = aws_sdk_kinesisvideoarchivedmedia::config::Builder::from(kvs.config()).endpoint_url(url);
    Ok(aws_sdk_kinesisvideoarchivedmedia::Client::from_conf(config.build()))
}

/// Opens the media of a stored fragment, and closes it after the first bytes. It is tried once, because a probe has no time for another
/// attempt.
async fn read_stored(kvs: &Kvs, stream: &str, number: &str) -> Result<(), SourceError> {
    const ACTION: &str = "GetMediaForFragmentList";
    let client = archive_client(kvs, stream, ApiName::GetMediaForFragmentList).await?;
    let request = client.get_media_for_fragment_list().stream_name(stream).fragments(number);
    let answer = with_timeout(stream, ACTION, request.send()).await?;
    let mut media = answer.map_err(|error| explain_error(stream, ACTION, &error))?.payload;
    let failed = |message: String| SourceError::Failed { stream: stream.to_owned(), action: ACTION, message };
    match with_timeout(stream, ACTION, media.next()).await? {
        Some(Ok(bytes)) => text_for_footage(200, &bytes)
            .map_or(Ok(()), |text| Err(failed(format!("{text}; {FOREIGN_REMEDY}")))),
        Some(Err(error)) => Err(failed(format!("{error}; check the network and proxies on the way"))),
        None => Err(failed("the answer is empty; check again".to_owned())),
    }
}

/// Returns the server's time of a stored fragment.
fn stored_at(fragment: &StoredFragment) -> Option<SystemTime> {
    fragment.server_timestamp.and_then(|time| SystemTime::try_from(time).ok())
}

/// Requests the newest stored fragment.
async fn find_newest_fragment(kvs: &Kvs, stream: &str) -> Result<Option<StoredFragment>, SourceError> {
    const ACTION: &str = "ListFragments";
    let client = archive_client(kvs, stream, ApiName::ListFragments).await?;
    let (now, range) = (SystemTime::now(), TimestampRange::builder());
    let range = range.start_timestamp(DateTime::from(now - SEARCH_WINDOW)).end_timestamp(DateTime::from(now));
    let by_server = FragmentSelector::builder().fragment_selector_type(FragmentSelectorType::ServerTimestamp);
    let failed = |message: String| SourceError::Failed { stream: stream.to_owned(), action: ACTION, message };
    let range = range.build().map_err(|error| failed(error.to_string()))?;
    let selector = by_server.timestamp_range(range).build().map_err(|error| failed(error.to_string()))?;
    let request = client
        .list_fragments()
        .stream_name(stream)
        .max_results(MAX_LISTED_FRAGMENTS)
        .fragment_selector(selector);
    let answer = with_timeout(stream, ACTION, request.send()).await?;
    let answer = answer.map_err(|error| explain_error(stream, ACTION, &error))?;
    let time_of = |fragment: &StoredFragment| fragment.server_timestamp.map(|time| time.secs());
    Ok(answer.fragments.unwrap_or_default().into_iter().max_by_key(time_of))
}

/// Reads up to the first fragment and returns the finding about it.
async fn assess_first_fragment(mut connection: GetMediaConnection) -> Finding {
    let mut demuxer = Demuxer::default();
    while let Some(bytes) = connection.next().await {
        match bytes {
            Ok(bytes) => demuxer.push(&bytes),
            Err(error @ SourceError::Broken { .. }) => {
                return Finding::fail(format!("{error}; check the network and proxies on the way"));
            }
            Err(error) => return Finding::fail(error.to_string()),
        }
        match demuxer.next(Instant::now()) {
            Ok(None) => {}
            Ok(Some(event)) => return assess_event(event),
            Err(error) => {
                return Finding::fail(format!("{error}; check the producer with kvs-infer inspect"));
            }
        }
    }
    Finding::warn("GetMedia ended before a fragment came; check the camera and its producer")
}

/// Returns the finding about the first event of a connection.
fn assess_event(event: DemuxEvent) -> Finding {
    match event {
        DemuxEvent::NoVideo { codecs, .. } => {
            Finding::fail(format!("it has no video that can be decoded ({codecs}); send H.264 or H.265"))
        }
        DemuxEvent::StreamError(error) => Finding::fail(format!("the service ended the stream: {error:?}")),
        DemuxEvent::Begin(fragment) | DemuxEvent::End { fragment, .. } | DemuxEvent::Incomplete(fragment) => {
            assess_age(&fragment, now_ms())
        }
        DemuxEvent::Packet(_) => Finding::ok("footage comes"),
    }
}

/// Returns the finding about the age of the first fragment.
fn assess_age(fragment: &Fragment, now_ms: i64) -> Finding {
    let ago_s = fragment.server_ms.map_or(0, |at| now_ms.saturating_sub(at) / 1_000);
    // From NOW the service may begin with a fragment that was stored long ago: then the camera is silent.
    if ago_s > SILENT_S {
        return Finding::warn(format!(
            "the last fragment came {ago_s} s ago ({}); check the camera and its producer",
            fragment.number
        ));
    }
    Finding::ok(format!("footage comes: fragment {}", fragment.number))
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
