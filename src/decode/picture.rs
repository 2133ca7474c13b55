//! FFmpeg's frame -> a picture in host memory: as it is where it can be, else converted.

use ffmpeg_next::color::{Range, Space};
use ffmpeg_next::format::Pixel;
use ffmpeg_next::frame::Video;
use ffmpeg_next::software::scaling;

use super::mask::{MaskPainter, Masks};
use crate::media::{Color, HostPicture, Matrix};

/// Lines from which a picture that does not say its matrix is taken for BT.709.
const HD_LINES: u32 = 720;

/// Makes pictures, black where the camera's masks are; keeps the converter of the last format and size.
#[derive(Default)]
pub(super) struct PictureMaker {
    converter: Option<Converter>,
    masks: Option<MaskPainter>,
}

struct Converter {
    from: scaling::context::Definition,
    context: scaling::Context,
}

impl PictureMaker {
    /// Blacks out `masks` in what it makes from here on.
    pub(super) fn mask(&mut self, masks: Option<Masks>) {
        self.masks = masks.map(MaskPainter::new);
    }

    /// The picture in `frame`, without a copy where it is 8-bit 4:2:0 and nothing is masked.
    pub(super) fn make(&mut self, frame: Video) -> Result<HostPicture, ffmpeg_next::Error> {
        let picture = self.convert(frame)?;
        Ok(match &mut self.masks {
            Some(masks) => masks.paint(&picture),
            None => picture,
        })
    }

    fn convert(&mut self, frame: Video) -> Result<HostPicture, ffmpeg_next::Error> {
        let color = color_of(&frame);
        if HostPicture::takes(&frame) {
            return HostPicture::from_ffmpeg(frame, color).ok_or(ffmpeg_next::Error::InvalidData);
        }
        let mut planar = Video::empty();
        self.converter_for(&frame)?.run(&frame, &mut planar)?;
        HostPicture::from_ffmpeg(planar, color).ok_or(ffmpeg_next::Error::InvalidData)
    }

    fn converter_for(&mut self, frame: &Video) -> Result<&mut scaling::Context, ffmpeg_next::Error> {
        let (format, width, height) = (frame.format(), frame.width(), frame.height());
        let from = scaling::context::Definition { format, width, height };
        let converter = match self.converter.take().filter(|converter| converter.from == from) {
            Some(converter) => converter,
            None => Converter { from, context: converter(&from)? },
        };
        Ok(&mut self.converter.insert(converter).context)
    }
}

fn converter(from: &scaling::context::Definition) -> Result<scaling::Context, ffmpeg_next::Error> {
    let (width, height) = (from.width, from.height);
    let to = if taken_for_full_range(from.format) { Pixel::YUVJ420P } else { Pixel::YUV420P };
    scaling::Context::get(from.format, width, height, to, width, height, scaling::Flags::BILINEAR)
}

/// Whether swscale takes a format for full range by its name; converted to its like, the values stay as they are.
fn taken_for_full_range(format: Pixel) -> bool {
    matches!(
        format,
        Pixel::YUVJ420P
            | Pixel::YUVJ422P
            | Pixel::YUVJ444P
            | Pixel::YUVJ440P
            | Pixel::GRAY8
            | Pixel::GRAY10LE
            | Pixel::GRAY12LE
    )
}

fn color_of(frame: &Video) -> Color {
    let names_full_range = matches!(frame.format(), Pixel::YUVJ420P | Pixel::YUVJ422P | Pixel::YUVJ444P);
    match frame.color_space() {
        // swscale makes BT.601 in limited range of RGB.
        Space::RGB => Color { matrix: Matrix::Bt601, full_range: false },
        space => Color {
            matrix: matrix_of(space, frame.height()),
            full_range: names_full_range || frame.color_range() == Range::JPEG,
        },
    }
}

fn matrix_of(space: Space, lines: u32) -> Matrix {
    match space {
        Space::BT709 | Space::BT2020NCL | Space::BT2020CL => Matrix::Bt709,
        Space::BT470BG | Space::SMPTE170M | Space::SMPTE240M | Space::FCC => Matrix::Bt601,
        _ if lines >= HD_LINES => Matrix::Bt709,
        _ => Matrix::Bt601,
    }
}
