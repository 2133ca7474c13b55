//! The bounds of an FFmpeg frame's planes, read past the safe wrapper.
#![expect(unsafe_code, reason = "the wrapper does not show a frame's buffers")]

use ffmpeg_next::frame;

/// Returns whether the first three planes of `frame` lie top-down in its buffers, `stride x rows` bytes each.
///
/// Only then is [`frame::Video::data`] sound: it builds its slice from the pointer and the stride alone.
pub(super) fn planes_lie_in_buffers(frame: &frame::Video, rows: [u32; 3]) -> bool {
    (0..3).all(|plane| plane_lies_in_a_buffer(frame, plane, rows[plane] as usize))
}

fn plane_lies_in_a_buffer(frame: &frame::Video, plane: usize, rows: usize) -> bool {
    // SAFETY: the frame is alive and borrowed; only its fields and those of the buffers that it holds are read.
    let (start, stride, buffers) = unsafe {
        let raw = &*frame.as_ptr();
        let buffers = raw.buf.map(|buffer| buffer.as_ref().map(|buffer| (buffer.data as usize, buffer.size)));
        (raw.data[plane] as usize, raw.linesize[plane], buffers)
    };
    // A negative stride is a bottom-up picture, which starts at its last row.
    let Some(stride) = usize::try_from(stride).ok().filter(|stride| *stride > 0 && start > 0) else {
        return false;
    };
    let holds = |&(data, size): &(usize, usize)| data <= start && start + stride * rows <= data + size;
    buffers.iter().flatten().any(holds)
}
