//! Master and media playlists. Source: RFC 8216.

use m3u8_rs::{KeyMethod, MasterPlaylist};

use crate::limits::check;
use crate::{Error, Limits, Link};

/// A media playlist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaPlaylist {
    /// The longest segment, rounded to seconds.
    pub target_duration_s: u64,
    /// Number of the first segment in the session.
    pub media_sequence: u64,
    /// Whether no segment will be added.
    pub ended: bool,
    /// Oldest first.
    pub segments: Vec<Segment>,
}

/// One media segment, which is one fragment of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Where its media is.
    pub link: Link,
    /// The fragment's number, where the URL names it.
    pub fragment_number: Option<String>,
    /// Time of its first sample, ms since 1970; only with DisplayFragmentTimestamp.
    pub program_date_time_ms: Option<i64>,
    /// How long it lasts, as the playlist says.
    pub duration_ms: u64,
    /// Whether its time line or its coding does not go on from the segment before.
    pub discontinuity: bool,
    /// Where its initialisation segment is; none in MPEG-TS.
    pub init: Option<Link>,
}

/// Tags whose value is a list of attributes.
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
const LONGEST_SEGMENT_S: f32 = 86_400.0;
/// Lines a segment may have in a playlist.
const LINES_PER_SEGMENT: usize = 16;
const LINES_OF_HEAD: usize = 64;

/// Where the media playlist is: of video, the first that a master playlist names.
///
/// Errors: it is no master playlist, or names another server.
pub fn read_master(text: &[u8], link: &Link, limits: &Limits) -> Result<Link, Error> {
    let text = prepared(text, limits)?;
    if !m3u8_rs::is_master_playlist(text.as_bytes()) {
        return Err(Error::Missing { whole: "master playlist", part: "EXT-X-STREAM-INF" });
    }
    let (rest, master) = m3u8_rs::parse_master_playlist(text.as_bytes()).map_err(|_| first_line())?;
    refuse_rest(&text, rest)?;
    link.join(first_uri(&master)?)
}

/// Errors: it is no media playlist, its segments are encrypted or parts of files, or it names another server.
pub fn read_media(text: &[u8], link: &Link, limits: &Limits) -> Result<MediaPlaylist, Error> {
    let text = prepared(text, limits)?;
    if m3u8_rs::is_master_playlist(text.as_bytes()) {
        return Err(Error::Missing { whole: "media playlist", part: "EXT-X-TARGETDURATION" });
    }
    let (rest, media) = m3u8_rs::parse_media_playlist(text.as_bytes()).map_err(|_| first_line())?;
    refuse_rest(&text, rest)?;
    if media.target_duration == 0 {
        return Err(Error::Missing { whole: "media playlist", part: "EXT-X-TARGETDURATION" });
    }
    let dated = media.segments.iter().filter(|segment| segment.program_date_time.is_some()).count();
    refuse_unread(&text, EXTINF, media.segments.len(), "not every segment has one duration")?;
    refuse_unread(&text, DATE, dated, "not every date that is told is a segment's")?;
    let mapped = media.segments.iter().filter(|segment| segment.map.is_some()).count();
    refuse_unread(&text, MAP, mapped, "not every initialisation segment is told of segments")?;
    let keyed = media.segments.iter().filter(|segment| segment.key.is_some()).count();
    refuse_unread(&text, KEY, keyed, "not every key is told of segments")?;
    check("a media playlist", "segments", media.segments.len(), limits.segments)?;
    let mut init = None;
    let segments = media.segments.iter().map(|segment| read_segment(segment, link, &mut init));
    Ok(MediaPlaylist {
        target_duration_s: media.target_duration,
        media_sequence: media.media_sequence,
        ended: media.end_list,
        segments: segments.collect::<Result<_, _>>()?,
    })
}

fn first_uri(master: &MasterPlaylist) -> Result<&str, Error> {
    let named = master.variants.iter().find(|variant| !variant.is_i_frame && !variant.uri.is_empty());
    named.map(|variant| variant.uri.as_str()).ok_or(Error::Missing { whole: "master playlist", part: "URL" })
}

/// `init` goes from one segment to the next: EXT-X-MAP holds until the next.
fn read_segment(
    segment: &m3u8_rs::MediaSegment,
    playlist: &Link,
    init: &mut Option<Link>,
) -> Result<Segment, Error> {
    let parts =
        segment.byte_range.is_some() || segment.map.as_ref().is_some_and(|map| map.byte_range.is_some());
    if parts {
        return Err(unsupported("a byte range"));
    }
    if segment.key.as_ref().is_some_and(|key| key.method != KeyMethod::None) {
        return Err(unsupported("encrypted"));
    }
    if let Some(map) = &segment.map {
        *init = Some(playlist.join(&map.uri)?);
    }
    let duration = segment.duration;
    if !(0.0..=LONGEST_SEGMENT_S).contains(&duration) {
        return Err(unsupported("longer than a day"));
    }
    let link = playlist.join(&segment.uri)?;
    Ok(Segment {
        fragment_number: link.fragment_number().map(str::to_owned),
        link,
        program_date_time_ms: segment.program_date_time.map(|time| time.timestamp_millis()),
        duration_ms: (f64::from(duration) * 1000.0).round() as u64,
        discontinuity: segment.discontinuity,
        init: init.clone(),
    })
}

fn unsupported(found: &str) -> Error {
    Error::Unsupported {
        part: "a media segment",
        found: found.to_owned(),
        known: "whole segments in the clear",
    }
}

/// The text in a form in which the parser behind takes linear time and leaves nothing out: `\n` at the end of every
/// line, attribute lists whole.
fn prepared(text: &[u8], limits: &Limits) -> Result<String, Error> {
    check("a playlist", "bytes", text.len(), limits.playlist_bytes)?;
    let read = std::str::from_utf8(text);
    let text = read.map_err(|error| Error::Playlist {
        line: 1 + text[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count(),
        reason: "it is not UTF-8",
    })?;
    let most = limits.segments.saturating_mul(LINES_PER_SEGMENT).saturating_add(LINES_OF_HEAD);
    let mut out = String::with_capacity(text.len() + 1);
    for (index, line) in text.lines().enumerate() {
        check("a playlist", "lines", index + 1, most)?;
        check_line(line).map_err(|reason| Error::Playlist { line: index + 1, reason })?;
        out.push_str(line);
        out.push('\n');
    }
    Ok(out)
}

fn check_line(line: &str) -> Result<(), &'static str> {
    if line.contains('\r') {
        return Err("it has a carriage return inside");
    }
    if line.rfind("#EXT").is_some_and(|at| at > 0) {
        return Err("a tag does not begin at its beginning");
    }
    let attributes = ATTRIBUTE_TAGS.iter().find_map(|tag| line.strip_prefix(tag));
    if attributes.is_some_and(|attributes| !is_attribute_list(attributes)) {
        return Err("its attributes are not a list of names and values");
    }
    match line.strip_prefix(EXTINF).and_then(|value| value.split(',').next()) {
        Some(duration) if duration.parse::<f32>().is_err() => Err("its duration is no number"),
        _ => Ok(()),
    }
}

/// `NAME=VALUE,NAME="VALUE"`: the parser looks for what is missing in the lines that follow, for each line anew.
fn is_attribute_list(mut rest: &str) -> bool {
    loop {
        let Some((name, value)) = rest.trim_start_matches(' ').split_once('=') else { return false };
        let named =
            name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-');
        let end = match value.strip_prefix('"') {
            Some(quoted) => quoted.find('"').map(|at| at + 2),
            None => Some(value.find(',').unwrap_or(value.len())),
        };
        let Some(end) = end.filter(|&end| named && end > 0 && !name.is_empty()) else { return false };
        rest = match value[end..].strip_prefix(',') {
            Some(more) => more,
            None => return value.len() == end,
        };
    }
}

/// Errors: the parser stopped before the end.
fn refuse_rest(text: &str, rest: &[u8]) -> Result<(), Error> {
    if rest.is_empty() {
        return Ok(());
    }
    let read = &text.as_bytes()[..text.len() - rest.len()];
    let line = 1 + read.iter().filter(|&&byte| byte == b'\n').count();
    Err(Error::Playlist { line, reason: "it is of no known form" })
}

fn first_line() -> Error {
    Error::Playlist { line: 1, reason: "it is not #EXTM3U" }
}

/// The parser passes over a tag whose value it cannot read: a segment would have no time, or the time of another.
///
/// Errors: a line does not count for exactly one segment.
fn refuse_unread(text: &str, tag: &str, read: usize, reason: &'static str) -> Result<(), Error> {
    let told = || text.lines().enumerate().filter(|(_, line)| line.starts_with(tag));
    if told().count() == read {
        return Ok(());
    }
    let line = told().next().map_or(1, |(index, _)| index + 1);
    Err(Error::Playlist { line, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBER: &str = "91343852333181432392682062607743920146159169392";

    fn session() -> Link {
        Link::new("https://b-1.test/hls/v1/getHLSMasterPlaylist.m3u8?SessionToken=secret").unwrap()
    }

    fn media(lines: &[&str]) -> Result<MediaPlaylist, Error> {
        let text = format!("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:2\n{}\n", lines.join("\n"));
        read_media(text.as_bytes(), &session(), &Limits::default())
    }

    #[test]
    fn a_master_playlist_names_the_media_playlist() {
        let text = "#EXTM3U\n#EXT-X-VERSION:1\n#EXT-X-STREAM-INF:CODECS=\"avc1.4d401f\",RESOLUTION=640x360,\
                    FRAME-RATE=25,BANDWIDTH=90000\ngetHLSMediaPlaylist.m3u8?SessionToken=other&TrackNumber=1";
        let link = read_master(text.as_bytes(), &session(), &Limits::default()).unwrap();
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
        assert_eq!(second.init, first.init, "it holds until the next");
    }

    #[test]
    fn lines_that_end_as_on_other_systems_are_read() {
        let text = b"#EXTM3U\r\n#EXT-X-TARGETDURATION:2\r\n#EXTINF:2,\r\ngetTSFragment.ts?x=y";
        let read = read_media(text, &session(), &Limits::default()).unwrap();
        assert_eq!(read.segments[0].link.secret(), "https://b-1.test/hls/v1/getTSFragment.ts?x=y");
        assert!(!read.ended);
    }

    #[test]
    fn what_would_be_left_out_or_misread_is_refused() {
        let cases: [(&str, &[&str]); 12] = [
            ("no duration", &["a.ts"]),
            ("a duration that is none", &["#EXTINF:soon,", "a.ts"]),
            ("a duration beyond a day", &["#EXTINF:90000,", "a.ts"]),
            ("a date that is none", &["#EXT-X-PROGRAM-DATE-TIME:yesterday", "#EXTINF:2,", "a.ts"]),
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
            ("a map that is none", &["#EXT-X-MAP:a.mp4", "#EXTINF:2,", "a.ts"]),
            ("an open quote", &["#EXT-X-MAP:URI=\"a.mp4", "#EXTINF:2,", "a.ts"]),
            ("a map without quotes", &["#EXT-X-MAP:URI=a.mp4", "#EXTINF:2,", "a.ts"]),
            ("a key of no method", &["#EXT-X-KEY:URI=\"k\"", "#EXTINF:2,", "a.ts"]),
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
    fn one_kind_of_playlist_is_not_taken_for_the_other() {
        let master = b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nx.m3u8\n";
        let media = b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nx.ts\n";
        let limits = Limits::default();
        assert!(read_media(master, &session(), &limits).is_err());
        assert!(read_master(media, &session(), &limits).is_err());
        for other in [&b"<html>"[..], b"", b"#EXTM3U\n", b"#EXTM3U\n\xFF\n"] {
            assert!(read_media(other, &session(), &limits).is_err(), "{other:?}");
            assert!(read_master(other, &session(), &limits).is_err(), "{other:?}");
        }
    }

    #[test]
    fn no_error_tells_the_token() {
        let text = b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttps://evil.test/x?SessionToken=secret\n";
        let error = read_media(text, &session(), &Limits::default()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
    }

    #[test]
    fn playlists_have_limits() {
        let limits = Limits { segments: 2, playlist_bytes: 200, ..Limits::default() };
        let text = |segments: usize| {
            format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n{}", "#EXTINF:2,\nx\n".repeat(segments))
        };
        assert!(read_media(text(2).as_bytes(), &session(), &limits).is_ok());
        assert!(matches!(
            read_media(text(3).as_bytes(), &session(), &limits),
            Err(Error::TooMuch { count: 3, .. })
        ));
        let long = format!("{}#{}\n", text(1), "x".repeat(200));
        assert!(matches!(read_media(long.as_bytes(), &session(), &limits), Err(Error::TooMuch { .. })));
        let comments = format!("{}{}", text(1), "#\n".repeat(100));
        let limits_of_lines = Limits { playlist_bytes: 1000, ..limits };
        let refused = read_media(comments.as_bytes(), &session(), &limits_of_lines);
        assert!(matches!(refused, Err(Error::TooMuch { unit: "lines", .. })), "{refused:?}");
    }
}
