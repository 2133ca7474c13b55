//! The text of playlists. Source: RFC 8216.

use std::fmt::Write;

use chrono::{DateTime, Utc};
use h26x::codec_string;

use crate::hls_list::Entry;
use crate::hls_request::{Container, HlsSettings, PlaybackMode};
use crate::hls_session::Shown;

/// The master playlist of a session, which names its media playlist.
pub(crate) fn master(entry: &Entry, token: &str) -> String {
    let length_ms = usize::try_from(entry.length_ms).unwrap_or(1).max(1);
    let bandwidth = (entry.bytes.saturating_mul(8000) / length_ms).max(1);
    let mut stream = format!("BANDWIDTH={bandwidth}");
    if let Ok(codec) = codec_string(entry.track.codec, &entry.track.codec_private) {
        _ = write!(stream, ",CODECS=\"{codec}\"");
    }
    if entry.track.width_px > 0 && entry.track.height_px > 0 {
        _ = write!(stream, ",RESOLUTION={}x{}", entry.track.width_px, entry.track.height_px);
    }
    format!(
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-STREAM-INF:{stream}\n\
         getHLSMediaPlaylist.m3u8?SessionToken={token}&TrackNumber=1\n"
    )
}

/// The media playlist of a session.
pub(crate) fn media(shown: &Shown, settings: &HlsSettings, token: &str) -> String {
    let mut out = head(shown, settings);
    let mut init = None;
    for entry in &shown.entries {
        if entry.discontinuity {
            out.push_str("#EXT-X-DISCONTINUITY\n");
        }
        if settings.container == Container::FragmentedMp4 && init != Some(entry.init) {
            _ = writeln!(
                out,
                "#EXT-X-MAP:URI=\"getMP4InitFragment.mp4?SessionToken={token}&TrackNumber=1&FragmentNumber={}\"",
                entry.init
            );
            init = Some(entry.init);
        }
        if settings.dated {
            _ = writeln!(out, "#EXT-X-PROGRAM-DATE-TIME:{}", date_time(entry.first_ms));
        }
        _ = writeln!(out, "#EXTINF:{}.{:03},", entry.length_ms / 1000, entry.length_ms % 1000);
        let path = match settings.container {
            Container::FragmentedMp4 => "getMP4MediaFragment.mp4",
            Container::MpegTs => "getTSFragment.ts",
        };
        _ = writeln!(out, "{path}?FragmentNumber={}&SessionToken={token}&TrackNumber=1", entry.number);
    }
    if shown.ended {
        out.push_str("#EXT-X-ENDLIST\n");
    }
    out
}

fn head(shown: &Shown, settings: &HlsSettings) -> String {
    let target_s = (shown.longest_ms + 999).div_euclid(1000).max(1);
    let kind = match settings.mode {
        PlaybackMode::OnDemand { .. } => "#EXT-X-PLAYLIST-TYPE:VOD\n",
        PlaybackMode::Live | PlaybackMode::LiveReplay { .. } => "",
    };
    format!(
        "#EXTM3U\n#EXT-X-VERSION:7\n{kind}#EXT-X-TARGETDURATION:{target_s}\n#EXT-X-MEDIA-SEQUENCE:{}\n\
         #EXT-X-DISCONTINUITY-SEQUENCE:{}\n#EXT-X-INDEPENDENT-SEGMENTS\n",
        shown.media_sequence, shown.discontinuity_sequence
    )
}

/// A time since 1970 by RFC 3339, in UTC and to the ms; one beyond the calendar is its end.
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
