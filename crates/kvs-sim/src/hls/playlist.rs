//! The text of playlists (RFC 8216).

use std::fmt::Write;

use chrono::{DateTime, Utc};
use h26x::codec_string;

use crate::hls::session::PlaylistSnapshot;
use crate::hls::settings::{Container, HlsPlaybackMode, HlsSettings};
use crate::hls::window::ListedSegment;

/// Writes the master playlist of a session, which names its media playlist.
pub(crate) fn write_master(segment: &ListedSegment, token: &str) -> String {
    let length_ms = usize::try_from(segment.length_ms).unwrap_or(1).max(1);
    // BANDWIDTH is the only mandatory attribute (RFC 8216, 4.3.4.2), in bits per second.
    let bandwidth = (segment.bytes.saturating_mul(8000) / length_ms).max(1);
    let mut attributes = format!("BANDWIDTH={bandwidth}");
    if let Ok(codec) = codec_string(segment.track.codec, &segment.track.codec_private) {
        _ = write!(attributes, ",CODECS=\"{codec}\"");
    }
    if segment.track.width_px > 0 && segment.track.height_px > 0 {
        _ = write!(attributes, ",RESOLUTION={}x{}", segment.track.width_px, segment.track.height_px);
    }
    format!(
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-STREAM-INF:{attributes}\n\
         getHLSMediaPlaylist.m3u8?SessionToken={token}&TrackNumber=1\n"
    )
}

/// Writes the media playlist of a session.
pub(crate) fn write_media(snapshot: &PlaylistSnapshot, settings: &HlsSettings, token: &str) -> String {
    let mut out = media_head(snapshot, settings);
    let mut init = None;
    for segment in &snapshot.segments {
        if segment.discontinuity {
            out.push_str("#EXT-X-DISCONTINUITY\n");
        }
        // An EXT-X-MAP holds for all segments up to the next one (RFC 8216, 4.3.2.5). MPEG-TS carries its own.
        if settings.container == Container::FragmentedMp4 && init != Some(segment.init) {
            _ = writeln!(
                out,
                "#EXT-X-MAP:URI=\"getMP4InitFragment.mp4?SessionToken={token}&TrackNumber=1&FragmentNumber={}\"",
                segment.init
            );
            init = Some(segment.init);
        }
        write_segment(&mut out, segment, settings, token);
    }
    if snapshot.ended {
        out.push_str("#EXT-X-ENDLIST\n");
    }
    out
}

/// Writes the date, the duration and the URL of a segment.
fn write_segment(out: &mut String, segment: &ListedSegment, settings: &HlsSettings, token: &str) {
    if settings.dated {
        _ = writeln!(out, "#EXT-X-PROGRAM-DATE-TIME:{}", date_time(segment.first_ms));
    }
    // Decimal durations (RFC 8216, 4.3.2.1); rounded ones would add up to a drift.
    _ = writeln!(out, "#EXTINF:{}.{:03},", segment.length_ms / 1000, segment.length_ms % 1000);
    let path = match settings.container {
        Container::FragmentedMp4 => "getMP4MediaFragment.mp4",
        Container::MpegTs => "getTSFragment.ts",
    };
    // Relative to the playlist, so that the URLs work through any address of the server.
    _ = writeln!(out, "{path}?FragmentNumber={}&SessionToken={token}&TrackNumber=1", segment.number);
}

fn media_head(snapshot: &PlaylistSnapshot, settings: &HlsSettings) -> String {
    // RFC 8216, 4.3.3.1: no rounded EXTINF exceeds the target duration, which must not change.
    // Taken over all segments ever listed it never shrinks.
    let target_s = (snapshot.longest_ms + 999).div_euclid(1000).max(1);
    let playlist_type = match settings.mode {
        HlsPlaybackMode::OnDemand { .. } => "#EXT-X-PLAYLIST-TYPE:VOD\n",
        HlsPlaybackMode::Live | HlsPlaybackMode::LiveReplay { .. } => "",
    };
    // RFC 8216, 7: EXT-X-MAP in a playlist without EXT-X-I-FRAMES-ONLY needs version 6 at least.
    format!(
        "#EXTM3U\n#EXT-X-VERSION:7\n{playlist_type}#EXT-X-TARGETDURATION:{target_s}\n#EXT-X-MEDIA-SEQUENCE:{}\n\
         #EXT-X-DISCONTINUITY-SEQUENCE:{}\n#EXT-X-INDEPENDENT-SEGMENTS\n",
        snapshot.media_sequence, snapshot.discontinuity_sequence
    )
}

/// Formats a time since 1970 by RFC 3339, in UTC and to the ms. A time beyond the calendar is shown as its last moment.
fn date_time(ms: i64) -> String {
    let time = DateTime::from_timestamp_millis(ms).unwrap_or(DateTime::<Utc>::MAX_UTC);
    time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc_to_the_ms() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(date_time(ms), text);
        }
    }
}
