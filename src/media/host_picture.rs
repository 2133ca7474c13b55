//! A picture in host memory.

use super::ffmpeg_planes::planes_lie_in_buffers;

/// The matrix that converts luma and chroma to RGB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matrix {
    /// ITU-R BT.601
    Bt601,
    /// ITU-R BT.709
    Bt709,
}

/// The colour coding of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Color {
    /// The matrix that the stream signals, else BT.709 from 720 lines and BT.601 below.
    pub matrix: Matrix,
    /// `true` if luma spans 0..=255, `false` if it spans 16..=235.
    pub full_range: bool,
}

/// A planar 8-bit YUV 4:2:0 picture in host memory.
pub struct HostPicture {
    pub(super) width_px: u32,
    pub(super) height_px: u32,
    color: Color,
    planes: Planes,
}

enum Planes {
    // Borrowed from the decoder's pool for as long as the frame lives.
    Ffmpeg(ffmpeg_next::frame::Video),
    Owned { planes: [Vec<u8>; 3], strides: [usize; 3] },
}

/// A borrowed view of a planar 8-bit YUV 4:2:0 picture. Chroma planes are `ceil(width/2) x ceil(height/2)`.
#[derive(Clone, Copy, Debug)]
pub struct Yuv420<'a> {
    /// Width, px.
    pub width_px: u32,
    /// Height, px.
    pub height_px: u32,
    /// Y, U, V.
    pub planes: [&'a [u8]; 3],
    /// Bytes from one row to the next, by plane.
    pub strides: [usize; 3],
    /// The colour coding.
    pub color: Color,
}

impl HostPicture {
    /// Returns the picture in an FFmpeg frame of format YUV420P or YUVJ420P.
    ///
    /// Returns `None` for any other format, and if a plane is not complete and top-down in the frame's own memory.
    #[must_use]
    pub fn from_ffmpeg(frame: ffmpeg_next::frame::Video, color: Color) -> Option<Self> {
        let (width_px, height_px) = (frame.width(), frame.height());
        // The frame is kept, not copied: its buffers are reference-counted.
        Self::takes(&frame).then(|| Self { width_px, height_px, color, planes: Planes::Ffmpeg(frame) })
    }

    /// Returns `true` if [`Self::from_ffmpeg`] accepts the frame.
    pub(crate) fn takes(frame: &ffmpeg_next::frame::Video) -> bool {
        use ffmpeg_next::format::Pixel;
        // FFmpeg rounds the chroma size of an odd frame up.
        let rows = [frame.height(), frame.height().div_ceil(2), frame.height().div_ceil(2)];
        let planar = matches!(frame.format(), Pixel::YUV420P | Pixel::YUVJ420P);
        planar && planes_lie_in_buffers(frame, rows)
    }

    /// Creates a picture that owns its planes. Returns `None` if a plane is shorter than its size and stride require.
    #[must_use]
    pub fn from_planes(
        (width_px, height_px): (u32, u32),
        planes: [Vec<u8>; 3],
        strides: [usize; 3],
        color: Color,
    ) -> Option<Self> {
        let rows = [height_px, height_px.div_ceil(2), height_px.div_ceil(2)];
        let columns = [width_px, width_px.div_ceil(2), width_px.div_ceil(2)];
        // The view slices planes by these numbers, so they must hold for the whole picture.
        let fits = (0..3)
            .all(|i| strides[i] >= columns[i] as usize && planes[i].len() >= strides[i] * rows[i] as usize);
        fits.then_some(Self { width_px, height_px, color, planes: Planes::Owned { planes, strides } })
    }

    /// Returns the planes.
    #[must_use]
    pub fn view(&self) -> Yuv420<'_> {
        let (planes, strides) = match &self.planes {
            Planes::Ffmpeg(frame) => (
                [frame.data(0), frame.data(1), frame.data(2)],
                [frame.stride(0), frame.stride(1), frame.stride(2)],
            ),
            Planes::Owned { planes, strides } => ([&planes[0][..], &planes[1][..], &planes[2][..]], *strides),
        };
        Yuv420 { width_px: self.width_px, height_px: self.height_px, planes, strides, color: self.color }
    }
}

impl HostPicture {
    /// Returns a copy that can be painted on, without padding between its rows.
    pub(crate) fn copy(&self) -> Canvas {
        let view = self.view();
        let (width, height) = (self.width_px as usize, self.height_px as usize);
        let half = (width.div_ceil(2), height.div_ceil(2));
        let sizes = [(width, height), half, half];
        let plane = |i: usize| {
            let (columns, rows) = sizes[i];
            // `max(1)`: `chunks` panics on 0, the stride of an empty picture.
            let lines = view.planes[i].chunks(view.strides[i].max(1)).take(rows);
            lines.fold(Vec::with_capacity(columns * rows), |mut plane, line| {
                plane.extend_from_slice(&line[..columns]);
                plane
            })
        };
        Canvas {
            size_px: (self.width_px, self.height_px),
            color: self.color,
            planes: [plane(0), plane(1), plane(2)],
            strides: sizes.map(|(columns, _)| columns),
        }
    }
}

/// A picture that only its owner refers to, so it can be painted on.
pub(crate) struct Canvas {
    size_px: (u32, u32),
    color: Color,
    planes: [Vec<u8>; 3],
    strides: [usize; 3],
}

impl Canvas {
    /// Returns Y, U and V, each with the bytes from one row to the next.
    pub(crate) fn planes_mut(&mut self) -> [(&mut [u8], usize); 3] {
        let [y, u, v] = &mut self.planes;
        [(y, self.strides[0]), (u, self.strides[1]), (v, self.strides[2])]
    }

    /// Returns the painted picture.
    pub(crate) fn into_picture(self) -> HostPicture {
        let Self { size_px: (width_px, height_px), color, planes, strides } = self;
        HostPicture { width_px, height_px, color, planes: Planes::Owned { planes, strides } }
    }
}

impl std::fmt::Debug for HostPicture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostPicture({}x{}, {:?})", self.width_px, self.height_px, self.color)
    }
}
