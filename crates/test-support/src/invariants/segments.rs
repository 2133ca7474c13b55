//! Invariants for any bytes, checked by the fuzz targets and by the tests that replay their seeds.

#![expect(clippy::panic, reason = "a broken invariant panics")]

use h26x::{DecoderConfig, codec_string};
use kvs_hls::{AccessUnit, HlsLimits, HlsTrack, Link, mp4, playlist, ts};

/// Returns small limits, so that short inputs reach them.
fn limits() -> HlsLimits {
    HlsLimits { playlist_bytes: 64 << 10, segments: 50, segment_bytes: 1 << 20, units: 200 }
}

/// Reads a playlist as a master and as a media playlist.
pub fn check_playlist(input: &[u8]) {
    let Ok(session) = Link::new("https://kvs.test/hls/v1/list.m3u8?SessionToken=hidden-token") else {
        return;
    };
    let master = playlist::read_master(input, &session, &limits());
    let media = playlist::read_media(input, &session, &limits());
    assert!(master.is_err() || media.is_err(), "a playlist is master or media, not both");
    assert!(!format!("{master:?}{media:?}").contains("hidden-token"), "the result displays the token");
    if let Ok(link) = master {
        assert_eq!(link.origin(), session.origin());
    }
    let Ok(media) = media else { return };
    assert!(media.segments.len() <= limits().segments);
    for segment in &media.segments {
        assert_eq!(segment.link.origin(), session.origin());
        assert!(segment.init.as_ref().is_none_or(|init| init.origin() == session.origin()));
        assert!(segment.duration_ms <= 86_400_000);
    }
}

/// Reads an input as an initialisation segment and as a media segment that belongs to it.
pub fn check_fmp4(input: &[u8]) {
    let Ok(init) = mp4::read_init(input, &limits()) else { return };
    assert_ne!(init.timescale, 0);
    if let Ok(units) = mp4::read_media(&init, &input.to_vec().into(), &limits()) {
        check_units(&units, input.len());
        check_rewritten(&init.track, &units);
    }
    check_track(&init.track);
}

/// Reads an input as a segment of MPEG-TS.
pub fn check_ts(input: &[u8]) {
    let Ok(segment) = ts::read(input, &limits()) else { return };
    let data_bytes: usize = segment.units.iter().map(|unit| unit.data.len()).sum();
    assert!(data_bytes <= input.len() * 2, "a start code of 3 bytes becomes a length of 4");
    check_units(&segment.units, data_bytes);
    check_track(&segment.track);
    let config = DecoderConfig::read(segment.track.codec, &segment.track.codec_private);
    assert!(config.is_ok_and(|config| config.parameter_sets.len() >= 2));
    check_rewritten(&segment.track, &segment.units);
}

fn check_units(units: &[AccessUnit], bytes: usize) {
    assert!(units.len() <= limits().units);
    assert!(units.iter().map(|unit| unit.data.len()).sum::<usize>() <= bytes);
    assert!(units.iter().enumerate().all(|(at, unit)| unit.index as usize == at));
    assert!(units.first().is_none_or(|unit| unit.relative_ms == 0));
}

fn check_track(track: &HlsTrack) {
    _ = DecoderConfig::read(track.codec, &track.codec_private);
    _ = codec_string(track.codec, &track.codec_private);
}

/// Checks that everything that was read can be written, and that MP4 is read back unchanged.
fn check_rewritten(track: &HlsTrack, units: &[AccessUnit]) {
    _ = ts::write(track, 0, units);
    let far = units.iter().any(|unit| unit.relative_ms.unsigned_abs() > 1 << 30);
    let start_ms = 1 << 40;
    let init = mp4::write_init(track);
    let media = mp4::write_media(1, start_ms, units).into();
    let Ok(read) = mp4::read_init(&init, &HlsLimits::default()) else { panic!("a written segment is read") };
    assert_eq!(read.track.codec_private, track.codec_private);
    if !far {
        assert_eq!(mp4::read_media(&read, &media, &HlsLimits::default()).as_deref(), Ok(units));
    }
}
