//! Opens FFmpeg decoders with the settings that the safe wrapper does not offer.
#![expect(unsafe_code, reason = "the wrapper cannot set extradata and limits")]

use std::sync::OnceLock;

use ffmpeg_next::codec::{self, Context};
use ffmpeg_next::{decoder, ffi};

use super::hw_device::HardwareDevice;
use crate::media::{Codec, VideoTrack};

/// The largest picture of level 6.2 of H.264 and H.265, px: the limit on the memory that a hostile header can request.
pub(super) const MAX_PICTURE_PX: u32 = 8192 * 4352;

/// Opens a decoder for `track` that refuses coded pictures of more than `max_pixels`, on `device` where that can decode it.
pub(super) fn open(
    track: &VideoTrack,
    max_pixels: u32,
    device: Option<&HardwareDevice>,
) -> Result<decoder::Video, ffmpeg_next::Error> {
    init_ffmpeg()?;
    let id = match track.codec {
        Codec::H264 => codec::Id::H264,
        Codec::H265 => codec::Id::HEVC,
    };
    let codec = decoder::find(id).ok_or(ffmpeg_next::Error::DecoderNotFound)?;
    let mut context = Context::new_with_codec(codec);
    set_extradata(&mut context, &track.codec_private, max_pixels)?;
    // One thread: FFmpeg's frame threads would delay each frame, and the cameras fill the cores anyway.
    context.set_threading(codec::threading::Config::count(1));
    // No frame is held back for a reordering that the stream does not show. Pictures are cropped exactly, also where that leaves rows
    // that are not aligned: NVDEC's are.
    context.set_flags(codec::Flags::LOW_DELAY | codec::Flags::UNALIGNED);
    if let Some(device) = device {
        device.attach(&mut context);
    }
    let mut decoder = context.decoder();
    // The H.265 decoder reports a broken slice only with AV_EF_EXPLODE. The H.264 decoder flags the frame, and with
    // this flag would refuse streams with small faults in their reference marking.
    if track.codec == Codec::H265 {
        decoder.check(decoder::Check::EXPLODE);
    }
    decoder.open_as(codec)?.video()
}

/// Opens the decoder again, without the picture buffers that it keeps.
pub(super) fn reopen(
    before: decoder::Video,
    track: &VideoTrack,
    max_pixels: u32,
    device: Option<&HardwareDevice>,
) -> Result<decoder::Video, ffmpeg_next::Error> {
    // SAFETY: the context is open and ours, and only a number is read.
    let reorder_depth = unsafe { (*before.as_ptr()).has_b_frames };
    // Closed first: a camera never has two decoders, whose picture buffers would add up.
    drop(before);
    let mut opened = open(track, max_pixels, device)?;
    // SAFETY: as above, and only a number is written. FFmpeg allows to set it from outside: demuxers do.
    unsafe {
        let raw = opened.as_mut_ptr();
        // A stream whose parameter sets do not state it (bitstream_restriction, E.2.1) would have to show it again, and frames
        // would come in another order until then.
        (*raw).has_b_frames = reorder_depth.max((*raw).has_b_frames);
    }
    Ok(opened)
}

/// Initializes FFmpeg once: loads its error texts and silences its log, since errors are returned.
fn init_ffmpeg() -> Result<(), ffmpeg_next::Error> {
    static DONE: OnceLock<Result<(), ffmpeg_next::Error>> = OnceLock::new();
    // Once per process: the error texts are written to global memory without a lock.
    *DONE.get_or_init(|| {
        ffmpeg_next::log::set_level(ffmpeg_next::log::Level::Fatal);
        ffmpeg_next::init()
    })
}

/// Sets the codec private data (avcC or hvcC) and the limit of a context that is not yet open.
fn set_extradata(context: &mut Context, extradata: &[u8], max_pixels: u32) -> Result<(), ffmpeg_next::Error> {
    let no_memory = ffmpeg_next::Error::Other { errno: ffmpeg_next::error::ENOMEM };
    let size = i32::try_from(extradata.len()).map_err(|_| no_memory)?;
    // FFmpeg's bit readers read whole words beyond the end, so the buffer needs zeroed padding.
    let padded = extradata.len() + ffi::AV_INPUT_BUFFER_PADDING_SIZE as usize;
    // SAFETY: `padded` zeroed bytes, of which the first `extradata.len()` are written; the context is ours, not yet open,
    // has no extradata, and frees them (av_free) with itself.
    unsafe {
        let raw = context.as_mut_ptr();
        let bytes = ffi::av_mallocz(padded).cast::<u8>();
        if raw.is_null() || bytes.is_null() {
            ffi::av_free(bytes.cast());
            return Err(no_memory);
        }
        std::ptr::copy_nonoverlapping(extradata.as_ptr(), bytes, extradata.len());
        (*raw).extradata = bytes;
        (*raw).extradata_size = size;
        (*raw).max_pixels = max_pixels.into();
    }
    Ok(())
}
