//! The private data and the picture size of a clip's video track, which ffmpeg-next does not expose.
#![expect(unsafe_code, reason = "ffmpeg-next has no accessor for extradata, width and height of a stream")]

use ffmpeg_next::codec::Parameters;

/// Private data (avcC or hvcC) and picture size of a video track.
pub(crate) struct VideoParameters {
    pub(crate) private: Vec<u8>,
    pub(crate) width_px: u32,
    pub(crate) height_px: u32,
}

pub(crate) fn read(parameters: &Parameters) -> VideoParameters {
    // SAFETY: `as_ptr` points to an AVCodecParameters that lives as long as `parameters` does; it is only read.
    let raw = unsafe { &*parameters.as_ptr() };
    let len = usize::try_from(raw.extradata_size).unwrap_or(0);
    let private = if raw.extradata.is_null() || len == 0 {
        Vec::new()
    } else {
        // SAFETY: libavformat keeps `extradata_size` readable bytes at `extradata`, and does not write them while
        // `parameters` is borrowed.
        unsafe { std::slice::from_raw_parts(raw.extradata, len) }.to_vec()
    };
    let size = |px| u32::try_from(px).unwrap_or(0);
    VideoParameters { private, width_px: size(raw.width), height_px: size(raw.height) }
}
