//! A camera whose frames HLS can play, and a player that fetches playlists and segments over HTTP.

use std::sync::Arc;

use bytes::Bytes;
use kvs_hls::playlist::{MediaPlaylist, read_master, read_media};
use kvs_hls::{AccessUnit, HlsLimits, Link, mp4, ts};
use kvs_mkv::{Block, BlockKind, TrackEntry, writer};
use kvs_sim::{
    Clock, FragmentHead, FragmentNumber, KvsStream, MediaHeader, Sim, SimConfig, StreamSettings,
    append_fragment,
};
use serde_json::{Value, json};

use crate::camera::NOON_MS;
use crate::http::{Connection, begin, json as json_of, post};

/// The avcC of x264 for frames of 320x178.
pub(crate) const AVCC: [u8; 46] = [
    1, 0x64, 0, 0x0C, 0xFF, 0xE1, 0, 27, 0x67, 0x64, 0, 0x0C, 0xAC, 0xD9, 0x41, 0x41, 0x9F, 0x88, 0xC0, 0x44,
    0, 0, 3, 0, 4, 0, 0, 3, 0, 0xC8, 0x3C, 0x50, 0xA6, 0x58, 0x26, 1, 0, 4, 0x68, 0xEF, 0x8F, 0xCB, 0xFD,
    0xF8, 0xF8, 0,
];

pub(crate) fn track(private: &[u8]) -> TrackEntry {
    writer::video_track(1, "V_MPEG4/ISO/AVC", private, 320, 178)
}

pub(crate) fn head(tracks: &[TrackEntry], producer_ms: i64) -> FragmentHead {
    let header = Arc::new(MediaHeader::new(tracks));
    FragmentHead { header, cluster_timestamp: producer_ms.unsigned_abs(), producer_ms }
}

/// Returns a frame of one slice.
pub(crate) fn frame(relative: i16, key: bool, payload: &[u8]) -> Block {
    let mut data = (payload.len() as u32 + 1).to_be_bytes().to_vec();
    data.push(if key { 0x65 } else { 0x41 });
    data.extend_from_slice(payload);
    Block { track: 1, relative, key, flags: 0, kind: BlockKind::Simple, data: data.into() }
}

/// Appends a fragment of 2 s: four frames, of which some are B-frames.
pub(crate) async fn append(
    stream: &Arc<KvsStream>,
    tracks: &[TrackEntry],
    producer_ms: i64,
) -> FragmentNumber {
    let blocks = [
        frame(0, true, b"key"),
        frame(1500, false, b"last"),
        frame(500, false, b"second"),
        frame(1000, false, &[7; 700]),
    ];
    append_fragment(stream, head(tracks, producer_ms), &blocks, Vec::new()).await.expect("the stream exists")
}

/// Starts a local KVS with a standing clock and a stream with a retention of an hour.
pub(crate) fn standing() -> (Sim, Arc<KvsStream>) {
    let config = SimConfig { clock: Clock::standing_at(NOON_MS), ..SimConfig::default() };
    let sim = Sim::start(config).expect("a free port");
    let settings = StreamSettings { retention_hours: 1, ..StreamSettings::default() };
    let stream = sim.store().create("cam", settings).expect("the first of its name");
    (sim, stream)
}

/// Returns the answer to GetHLSStreamingSessionURL.
pub(crate) async fn ask_session(sim: &Sim, options: Value) -> String {
    let mut request = json!({ "StreamName": "cam" });
    for (key, value) in options.as_object().expect("an object") {
        request[key] = value.clone();
    }
    post(sim, "/getHLSStreamingSessionURL", &request.to_string()).await
}

/// The player of a session.
pub(crate) struct Player<'a> {
    sim: &'a Sim,
    pub(crate) url: String,
    session: Link,
}

/// A status and a body.
pub(crate) type Fetched = (u16, Vec<u8>);

impl<'a> Player<'a> {
    pub(crate) async fn open(sim: &'a Sim, options: Value) -> Self {
        let answer = ask_session(sim, options).await;
        let url = json_of(&answer)["HLSStreamingSessionURL"]
            .as_str()
            .unwrap_or_else(|| panic!("{answer}"))
            .to_owned();
        let session = Link::new(&url).expect("a URL");
        Self { sim, url, session }
    }

    pub(crate) async fn fetch(&self, link: &Link) -> Fetched {
        let path = link.secret().strip_prefix(link.origin()).expect("its own origin");
        let connection: Connection = begin(self.sim, "GET", path, "", "Connection: close\r\n").await;
        let answer = connection.read_all().await;
        let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head");
        let status = std::str::from_utf8(&answer[9..12]).ok().and_then(|text| text.parse().ok());
        (status.expect("a status"), answer[head + 4..].to_vec())
    }

    /// Fetches the master playlist.
    pub(crate) async fn master(&self) -> Fetched {
        self.fetch(&self.session).await
    }

    /// Fetches the media playlist.
    pub(crate) async fn media(&self) -> Fetched {
        let media =
            self.session.join(&self.session.secret().replace("Master", "Media")).expect("its own origin");
        self.fetch(&media).await
    }

    /// Fetches the media playlist that the master playlist names.
    pub(crate) async fn playlist(&self) -> MediaPlaylist {
        let (status, master) = self.master().await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&master));
        let media = read_master(&master, &self.session, &HlsLimits::default()).expect("a master playlist");
        let (status, text) = self.fetch(&media).await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&text));
        read_media(&text, &media, &HlsLimits::default()).expect("a media playlist")
    }

    /// Returns the numbers of the fragments in the media playlist.
    pub(crate) async fn numbers(&self) -> Vec<String> {
        let playlist = self.playlist().await;
        playlist.segments.into_iter().map(|segment| segment.fragment_number.expect("a number")).collect()
    }

    /// Fetches the codec private data and the frames of a segment.
    pub(crate) async fn segment(
        &self,
        segment: &kvs_hls::playlist::PlaylistSegment,
    ) -> (Bytes, Vec<AccessUnit>) {
        let (status, media) = self.fetch(&segment.link).await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&media));
        let Some(init) = &segment.init else {
            let read = ts::read(&media, &HlsLimits::default()).expect("MPEG-TS");
            return (read.track.codec_private, read.units);
        };
        let (status, init) = self.fetch(init).await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&init));
        let init = mp4::read_init(&init, &HlsLimits::default()).expect("an initialization segment");
        let units = mp4::read_media(&init, &media.into(), &HlsLimits::default()).expect("a media segment");
        (init.track.codec_private, units)
    }
}
