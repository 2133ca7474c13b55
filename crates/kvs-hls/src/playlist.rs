//! Master and media playlists. Source: RFC 8216.

use m3u8_rs::{KeyMethod, MasterPlaylist};

use crate::limits::check_limit;
use crate::{HlsError, HlsLimits, Link};

/// A media playlist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaPlaylist {
    /// EXT-X-TARGETDURATION: the duration of the longest segment, rounded to seconds.
    pub target_duration_s: u64,
    /// EXT-X-MEDIA-SEQUENCE: the number of the first segment in the session.
    pub media_sequence: u64,
    /// EXT-X-ENDLIST: true if no segment will be added.
    pub ended: bool,
    /// Segments, oldest first.
    pub segments: Vec<PlaylistSegment>,
}

/// A media segment in a playlist, which is one fragment of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaylistSegment {
    /// URL of the media segment.
    pub link: Link,
    /// Number of the fragment, if the URL has one.
    pub fragment_number: Option<String>,
    /// EXT-X-PROGRAM-DATE-TIME: time of the first sample in ms since 1970; only with
    /// DisplayFragmentTimestamp.
    pub program_date_time_ms: Option<i64>,
    /// EXTINF: duration of the segment.
    pub duration_ms: u64,
    /// EXT-X-DISCONTINUITY: true if timeline or encoding do not continue from the segment before.
    pub discontinuity: bool,
    /// EXT-X-MAP: URL of the initialisation segment; `None` in MPEG-TS.
    pub init: Option<Link>,
}

/// Tags whose value is an attribute list (RFC 8216, 4.2).
const ATTRIBUTE_TAGS: [&str; 9] = [
    MAP,
    KEY,
    "#EXT-X-STREAM-INF:",
    "#EXT-X-I-FRAME-STREAM-INF:",
    "#EXT-X-MEDIA:",
    "#EXT-X-SESSION-DATA:",
    "#EXT-X-SESSION-KEY:",
    "#EXT-X-DATERANGE:",
    "#EXT-X-START:",
];
const EXTINF: &str = "#EXTINF:";
const DATE: &str = "#EXT-X-PROGRAM-DATE-TIME:";
const MAP: &str = "#EXT-X-MAP:";
const KEY: &str = "#EXT-X-KEY:";
const MAX_SEGMENT_S: f32 = 86_400.0;
/// Maximum lines per segment of a playlist, on average.
const MAX_LINES_PER_SEGMENT: usize = 16;
/// Maximum lines of a playlist besides those of segments.
const MAX_HEADER_LINES: usize = 64;

/// Reads a master playlist and returns the URL of its first media playlist with video.
///
/// # Errors
///
/// The text is not a master playlist, or its URL is on another server.
pub fn read_master(text: &[u8], link: &Link, limits: &HlsLimits) -> Result<Link, HlsError> {
    let text = prepare(text, limits)?;
    if !m3u8_rs::is_master_playlist(text.as_bytes()) {
        return Err(HlsError::Missing { whole: "master playlist", part: "EXT-X-STREAM-INF" });
    }
    let (rest, master) = m3u8_rs::parse_master_playlist(text.as_bytes()).map_err(|_| no_header())?;
    reject_rest(&text, rest)?;
    link.join(first_uri(&master)?)
}

/// Reads a media playlist, which was fetched from `link`.
///
/// # Errors
///
/// The text is not a media playlist, its segments are encrypted or byte ranges, or a URL is on another
/// server.
pub fn read_media(text: &[u8], link: &Link, limits: &HlsLimits) -> Result<MediaPlaylist, HlsError> {
    let text = prepare(text, limits)?;
    if m3u8_rs::is_master_playlist(text.as_bytes()) {
        return Err(HlsError::Missing { whole: "media playlist", part: "EXT-X-TARGETDURATION" });
    }
    let (rest, media) = m3u8_rs::parse_media_playlist(text.as_bytes()).map_err(|_| no_header())?;
    reject_rest(&text, rest)?;
    // RFC 8216, 4.3.3.1: EXT-X-TARGETDURATION is mandatory. m3u8_rs returns 0 if it is absent.
    if media.target_duration == 0 {
        return Err(HlsError::Missing { whole: "media playlist", part: "EXT-X-TARGETDURATION" });
    }
    reject_unread_tags(&text, &media.segments)?;
    check_limit("a media playlist", "segments", media.segments.len(), limits.segments)?;
    let mut init = None;
    let segments = media.segments.iter().map(|segment| read_segment(segment, link, &mut init));
    // Ignored: EXT-X-VERSION, EXT-X-DISCONTINUITY-SEQUENCE, EXT-X-PLAYLIST-TYPE, EXT-X-INDEPENDENT-SEGMENTS,
    // EXT-X-START, EXT-X-DATERANGE. Fragments are ordered by their numbers, and each begins with a keyframe.
    Ok(MediaPlaylist {
        target_duration_s: media.target_duration,
        media_sequence: media.media_sequence,
        ended: media.end_list,
        segments: segments.collect::<Result<_, _>>()?,
    })
}

fn first_uri(master: &MasterPlaylist) -> Result<&str, HlsError> {
    // EXT-X-I-FRAME-STREAM-INF (4.3.4.3) names a playlist of keyframes alone.
    let variant = master.variants.iter().find(|variant| !variant.is_i_frame && !variant.uri.is_empty());
    let missing = HlsError::Missing { whole: "master playlist", part: "URL" };
    variant.map(|variant| variant.uri.as_str()).ok_or(missing)
}

/// Reads a segment; `init` is the initialisation segment of the segment before, and is updated for the next.
fn read_segment(
    segment: &m3u8_rs::MediaSegment,
    playlist: &Link,
    init: &mut Option<Link>,
) -> Result<PlaylistSegment, HlsError> {
    check_whole_and_clear(segment)?;
    // RFC 8216, 4.3.2.5: an EXT-X-MAP applies to all segments up to the next one.
    if let Some(map) = &segment.map {
        *init = Some(playlist.join(&map.uri)?);
    }
    let duration = segment.duration;
    if !(0.0..=MAX_SEGMENT_S).contains(&duration) {
        return Err(unsupported("longer than a day"));
    }
    let link = playlist.join(&segment.uri)?;
    Ok(PlaylistSegment {
        fragment_number: link.fragment_number().map(str::to_owned),
        link,
        program_date_time_ms: segment.program_date_time.map(|time| time.timestamp_millis()),
        duration_ms: (f64::from(duration) * 1000.0).round() as u64,
        discontinuity: segment.discontinuity,
        init: init.clone(),
    })
}

/// Returns an error if a segment is a byte range or encrypted.
fn check_whole_and_clear(segment: &m3u8_rs::MediaSegment) -> Result<(), HlsError> {
    let has_range =
        segment.byte_range.is_some() || segment.map.as_ref().is_some_and(|map| map.byte_range.is_some());
    if has_range {
        return Err(unsupported("a byte range"));
    }
    if segment.key.as_ref().is_some_and(|key| key.method != KeyMethod::None) {
        return Err(unsupported("encrypted"));
    }
    Ok(())
}

fn unsupported(found: &str) -> HlsError {
    HlsError::Unsupported {
        part: "a media segment",
        found: found.to_owned(),
        known: "whole segments in the clear",
    }
}

/// Returns the text in a form that m3u8_rs parses completely and in linear time: `\n` at the end of each
/// line, and attribute lists that end with their line.
fn prepare(text: &[u8], limits: &HlsLimits) -> Result<String, HlsError> {
    check_limit("a playlist", "bytes", text.len(), limits.playlist_bytes)?;
    // RFC 8216, 4.1: a playlist is UTF-8.
    let text = std::str::from_utf8(text).map_err(|error| HlsError::Playlist {
        line: 1 + text[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count(),
        reason: "it is not UTF-8",
    })?;
    let max_lines = limits.segments.saturating_mul(MAX_LINES_PER_SEGMENT).saturating_add(MAX_HEADER_LINES);
    let mut out = String::with_capacity(text.len() + 1);
    for (index, line) in text.lines().enumerate() {
        check_limit("a playlist", "lines", index + 1, max_lines)?;
        check_line(line).map_err(|reason| HlsError::Playlist { line: index + 1, reason })?;
        out.push_str(line);
        out.push('\n');
    }
    Ok(out)
}

/// Returns the reason for which a line is rejected.
fn check_line(line: &str) -> Result<(), &'static str> {
    if line.contains('\r') {
        return Err("it has a carriage return in its middle");
    }
    // m3u8_rs finds such a tag, but the checks below find tags only at the start of a line.
    if line.rfind("#EXT").is_some_and(|at| at > 0) {
        return Err("a tag begins in the middle of it");
    }
    let attributes = ATTRIBUTE_TAGS.iter().find_map(|tag| line.strip_prefix(tag));
    if attributes.is_some_and(|attributes| !is_attribute_list(attributes)) {
        return Err("its attributes are not a list of names and values");
    }
    match line.strip_prefix(EXTINF).and_then(|value| value.split(',').next()) {
        Some(duration) if duration.parse::<f32>().is_err() => Err("its duration is not a number"),
        _ => Ok(()),
    }
}

/// Returns true for an attribute list that is complete: `NAME=VALUE,NAME="VALUE"` (RFC 8216, 4.2).
fn is_attribute_list(mut rest: &str) -> bool {
    // In an incomplete list m3u8_rs searches the following lines for the missing part, for each line from its
    // start: quadratic time, and attributes from other lines.
    loop {
        let Some((name, value)) = rest.trim_start_matches(' ').split_once('=') else { return false };
        let is_name =
            name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-');
        let end = match value.strip_prefix('"') {
            Some(quoted) => quoted.find('"').map(|at| at + 2),
            None => Some(value.find(',').unwrap_or(value.len())),
        };
        let Some(end) = end.filter(|&end| is_name && end > 0 && !name.is_empty()) else { return false };
        rest = match value[end..].strip_prefix(',') {
            Some(more) => more,
            None => return value.len() == end,
        };
    }
}

/// Returns an error if the parser stopped before the end of the text.
fn reject_rest(text: &str, rest: &[u8]) -> Result<(), HlsError> {
    if rest.is_empty() {
        return Ok(());
    }
    let read = &text.as_bytes()[..text.len() - rest.len()];
    let line = 1 + read.iter().filter(|&&byte| byte == b'\n').count();
    Err(HlsError::Playlist { line, reason: "its form is unknown" })
}

fn no_header() -> HlsError {
    HlsError::Playlist { line: 1, reason: "it is not #EXTM3U" }
}

/// Returns an error unless each tag of a segment led to a parsed value.
fn reject_unread_tags(text: &str, segments: &[m3u8_rs::MediaSegment]) -> Result<(), HlsError> {
    let dated = segments.iter().filter(|segment| segment.program_date_time.is_some()).count();
    let mapped = segments.iter().filter(|segment| segment.map.is_some()).count();
    let keyed = segments.iter().filter(|segment| segment.key.is_some()).count();
    reject_unread(text, EXTINF, segments.len(), "not every segment has exactly one EXTINF")?;
    reject_unread(text, DATE, dated, "not every EXT-X-PROGRAM-DATE-TIME is valid and belongs to a segment")?;
    reject_unread(text, MAP, mapped, "not every EXT-X-MAP is valid and belongs to a segment")?;
    reject_unread(text, KEY, keyed, "not every EXT-X-KEY is valid and belongs to a segment")
}

/// Returns an error unless each line with `tag` led to one of `read_count` parsed values.
fn reject_unread(text: &str, tag: &str, read_count: usize, reason: &'static str) -> Result<(), HlsError> {
    // m3u8_rs ignores a tag whose value it cannot read: a segment would have no time, or the time of another.
    let tagged = || text.lines().enumerate().filter(|(_, line)| line.starts_with(tag));
    if tagged().count() == read_count {
        return Ok(());
    }
    let line = tagged().next().map_or(1, |(index, _)| index + 1);
    Err(HlsError::Playlist { line, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBER: &str = "91343852333181432392682062607743920146159169392";

    fn session() -> Link {
        Link::new("https://b-1.test/hls/v1/getHLSMasterPlaylist.m3u8?SessionToken=secret").unwrap()
    }

    fn media(lines: &[&str]) -> Result<MediaPlaylist, HlsError> {
        let text = format!("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:2\n{}\n", lines.join("\n"));
        read_media(text.as_bytes(), &session(), &HlsLimits::default())
    }

    #[test]
    fn a_master_playlist_leads_to_the_media_playlist() {
        let text = "#EXTM3U\n#EXT-X-VERSION:1\n#EXT-X-STREAM-INF:CODECS=\"avc1.4d401f\",RESOLUTION=640x360,\
                    FRAME-RATE=25,BANDWIDTH=90000\ngetHLSMediaPlaylist.m3u8?SessionToken=other&TrackNumber=1";
        let link = read_master(text.as_bytes(), &session(), &HlsLimits::default()).unwrap();
        assert_eq!(
            link.secret(),
            "https://b-1.test/hls/v1/getHLSMediaPlaylist.m3u8?SessionToken=other&TrackNumber=1"
        );
    }

    #[test]
    fn a_media_playlist_gives_its_segments() {
        let first = format!("getMP4MediaFragment.mp4?FragmentNumber={NUMBER}&SessionToken=t");
        let read = media(&[
            "#EXT-X-MEDIA-SEQUENCE:7",
            "#EXT-X-DISCONTINUITY-SEQUENCE:3",
            "#EXT-X-MAP:URI=\"getMP4InitFragment.mp4?SessionToken=t\"",
            "#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:20.123Z",
            "#EXTINF:1.999,",
            &first,
            "#EXT-X-DISCONTINUITY",
            "#EXTINF:0.04",
            "getMP4MediaFragment.mp4?SessionToken=t",
            "#EXT-X-ENDLIST",
        ])
        .unwrap();
        assert_eq!((read.target_duration_s, read.media_sequence, read.ended), (2, 7, true));
        let [first, second] = &read.segments[..] else { panic!("two segments: {read:?}") };
        assert_eq!(first.fragment_number.as_deref(), Some(NUMBER));
        assert_eq!(first.program_date_time_ms, Some(1_700_000_000_123));
        assert_eq!((first.duration_ms, first.discontinuity), (1999, false));
        assert_eq!(
            first.init.as_ref().map(Link::secret),
            Some("https://b-1.test/hls/v1/getMP4InitFragment.mp4?SessionToken=t")
        );
        assert_eq!((second.duration_ms, second.discontinuity), (40, true));
        assert_eq!((&second.fragment_number, second.program_date_time_ms), (&None, None));
        assert_eq!(second.init, first.init, "an EXT-X-MAP applies until the next");
    }

    #[test]
    fn lines_may_end_with_carriage_returns() {
        let text = b"#EXTM3U\r\n#EXT-X-TARGETDURATION:2\r\n#EXTINF:2,\r\ngetTSFragment.ts?x=y";
        let read = read_media(text, &session(), &HlsLimits::default()).unwrap();
        assert_eq!(read.segments[0].link.secret(), "https://b-1.test/hls/v1/getTSFragment.ts?x=y");
        assert!(!read.ended);
    }

    #[test]
    fn tags_that_the_parser_would_ignore_or_misread_are_rejected() {
        let cases: [(&str, &[&str]); 12] = [
            ("no duration", &["a.ts"]),
            ("an invalid duration", &["#EXTINF:soon,", "a.ts"]),
            ("a duration over a day", &["#EXTINF:90000,", "a.ts"]),
            ("an invalid date", &["#EXT-X-PROGRAM-DATE-TIME:yesterday", "#EXTINF:2,", "a.ts"]),
            (
                "two dates",
                &[
                    "#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:20Z",
                    "#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:21Z",
                    "#EXTINF:2,",
                    "a.ts",
                ],
            ),
            ("encrypted", &["#EXT-X-KEY:METHOD=AES-128,URI=\"k\"", "#EXTINF:2,", "a.ts"]),
            ("a byte range", &["#EXTINF:2,", "#EXT-X-BYTERANGE:75232@0", "a.ts"]),
            ("an invalid map", &["#EXT-X-MAP:a.mp4", "#EXTINF:2,", "a.ts"]),
            ("an open quote", &["#EXT-X-MAP:URI=\"a.mp4", "#EXTINF:2,", "a.ts"]),
            ("a map without quotes", &["#EXT-X-MAP:URI=a.mp4", "#EXTINF:2,", "a.ts"]),
            ("a key without a method", &["#EXT-X-KEY:URI=\"k\"", "#EXTINF:2,", "a.ts"]),
            ("another server", &["#EXTINF:2,", "https://evil.test/a.ts"]),
        ];
        for (name, lines) in cases {
            assert!(media(lines).is_err(), "{name}: {:?}", media(lines));
        }
    }

    #[test]
    fn attribute_lists_end_with_their_line() {
        for list in ["A=b", "A=\"b,=\",C-1=d", "URI=\"\"", "A=b, C=d", "RESOLUTION=1x2,BANDWIDTH=3"] {
            assert!(is_attribute_list(list), "{list}");
        }
        for list in
            ["", "A", "A=", "A=b,", "A=b,c", "=b", "a=b", "A=\"b", "A=\"b\"c", "A=,B=c", "A=b,,C=d", "A B=c"]
        {
            assert!(!is_attribute_list(list), "{list}");
        }
        for line in ["#EXT-X-MAP:URI=\"a\",X", " #EXT-X-START:A=b,c", "#EXT-X-ENDLIST#EXT-X-START:A=b,c"] {
            assert!(media(&[line, "#EXTINF:2,", "a.ts"]).is_err(), "{line}");
        }
    }

    #[test]
    fn master_and_media_playlists_are_not_confused() {
        let master = b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nx.m3u8\n";
        let media = b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nx.ts\n";
        let limits = HlsLimits::default();
        assert!(read_media(master, &session(), &limits).is_err());
        assert!(read_master(media, &session(), &limits).is_err());
        for other in [&b"<html>"[..], b"", b"#EXTM3U\n", b"#EXTM3U\n\xFF\n"] {
            assert!(read_media(other, &session(), &limits).is_err(), "{other:?}");
            assert!(read_master(other, &session(), &limits).is_err(), "{other:?}");
        }
    }

    #[test]
    fn no_error_contains_the_token() {
        let text = b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttps://evil.test/x?SessionToken=secret\n";
        let error = read_media(text, &session(), &HlsLimits::default()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
    }

    #[test]
    fn playlists_are_limited() {
        let limits = HlsLimits { segments: 2, playlist_bytes: 200, ..HlsLimits::default() };
        let text = |segments: usize| {
            format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n{}", "#EXTINF:2,\nx\n".repeat(segments))
        };
        assert!(read_media(text(2).as_bytes(), &session(), &limits).is_ok());
        assert!(matches!(
            read_media(text(3).as_bytes(), &session(), &limits),
            Err(HlsError::TooMuch { count: 3, .. })
        ));
        let long = format!("{}#{}\n", text(1), "x".repeat(200));
        assert!(matches!(read_media(long.as_bytes(), &session(), &limits), Err(HlsError::TooMuch { .. })));
        let comments = format!("{}{}", text(1), "#\n".repeat(100));
        let line_limits = HlsLimits { playlist_bytes: 1000, ..limits };
        let result = read_media(comments.as_bytes(), &session(), &line_limits);
        assert!(matches!(result, Err(HlsError::TooMuch { unit: "lines", .. })), "{result:?}");
    }
}
