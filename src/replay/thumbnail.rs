//! Small copies of snapshots for the report.

use turbojpeg::{Compressor, Decompressor, Image, PixelFormat, ScalingFactor, Subsamp};

/// The width that a thumbnail has at most, px, unless JPEG's scaling cannot go down to it.
const MAX_WIDTH_PX: usize = 480;
/// Maximum size of a snapshot, px: the pictures of an earlier run come from elsewhere.
const MAX_PIXELS: usize = 64 << 20;
/// JPEG quality of a thumbnail.
const QUALITY: i32 = 72;
/// The first bytes of a PNG file. Source: PNG specification, 5.2.
const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Pixels as R, G, B.
struct RgbPixels {
    pixels: Vec<u8>,
    width_px: usize,
    height_px: usize,
}

/// Returns a small JPEG of a JPEG or PNG file; `None` if the file is neither, damaged or too large.
///
/// The same file gives the same bytes.
pub(super) fn thumbnail(file: &[u8]) -> Option<Vec<u8>> {
    let picture = if file.starts_with(PNG_SIGNATURE) { read_png(file)? } else { read_jpeg(file)? };
    let RgbPixels { pixels, width_px, height_px } = shrunk(picture);
    let image = Image {
        pixels: &pixels[..],
        width: width_px,
        pitch: width_px * 3,
        height: height_px,
        format: PixelFormat::RGB,
    };
    let mut compressor = Compressor::new().ok()?;
    compressor.set_quality(QUALITY).ok()?;
    compressor.set_subsamp(Subsamp::Sub2x2).ok()?;
    compressor.compress_to_vec(image).ok()
}

/// Decodes a JPEG at the largest of its scales that is small enough.
fn read_jpeg(file: &[u8]) -> Option<RgbPixels> {
    let mut decompressor = Decompressor::new().ok()?;
    let header = decompressor.read_header(file).ok()?;
    if header.width.checked_mul(header.height)? > MAX_PIXELS {
        return None;
    }
    let scale = scale_for(header.width);
    decompressor.set_scaling_factor(scale).ok()?;
    let (width_px, height_px) = (scale.scale(header.width), scale.scale(header.height));
    let mut pixels = vec![0; width_px.checked_mul(height_px)?.checked_mul(3)?];
    let image = Image {
        pixels: &mut pixels[..],
        width: width_px,
        pitch: width_px * 3,
        height: height_px,
        format: PixelFormat::RGB,
    };
    decompressor.decompress(file, image).ok()?;
    Some(RgbPixels { pixels, width_px, height_px })
}

fn scale_for(width_px: usize) -> ScalingFactor {
    // Eighths: every JPEG decoder has these scales.
    let eighths = (1..=8).rev().map(|eighths| ScalingFactor::new(eighths, 8));
    let mut fitting = eighths.filter(|scale| scale.scale(width_px) <= MAX_WIDTH_PX);
    fitting.next().unwrap_or_else(|| ScalingFactor::new(1, 8))
}

fn read_png(file: &[u8]) -> Option<RgbPixels> {
    let mut decoder = png::Decoder::new(std::io::Cursor::new(file));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().ok()?;
    let (width_px, height_px) = (reader.info().width as usize, reader.info().height as usize);
    if width_px.checked_mul(height_px)? > MAX_PIXELS {
        return None;
    }
    let mut pixels = vec![0; reader.output_buffer_size()?];
    let frame = reader.next_frame(&mut pixels).ok()?;
    pixels.truncate(frame.buffer_size());
    let pixels = match frame.color_type {
        png::ColorType::Rgb => pixels,
        png::ColorType::Grayscale => pixels.into_iter().flat_map(|grey| [grey; 3]).collect(),
        // Snapshots of this program have no other form.
        _ => return None,
    };
    Some(RgbPixels { pixels, width_px, height_px })
}

/// Returns the picture with every n-th pixel of every n-th row, so that it is small enough.
fn shrunk(picture: RgbPixels) -> RgbPixels {
    let step = picture.width_px.div_ceil(MAX_WIDTH_PX * 2).max(1);
    if step == 1 {
        return picture;
    }
    let RgbPixels { pixels, width_px, height_px } = picture;
    let rows = pixels.chunks_exact(width_px * 3).step_by(step);
    let small: Vec<u8> = rows.flat_map(|row| row.chunks_exact(3).step_by(step).flatten().copied()).collect();
    RgbPixels { pixels: small, width_px: width_px.div_ceil(step), height_px: height_px.div_ceil(step) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Color, HostPicture, Matrix, Surface};
    use crate::render::{self, SnapshotFormat, SnapshotSpec};

    fn snapshot(width_px: u32, height_px: u32, format: SnapshotFormat) -> Vec<u8> {
        let color = Color { matrix: Matrix::Bt601, full_range: true };
        let (luma, chroma) = ((width_px * height_px) as usize, (width_px * height_px / 4) as usize);
        let planes = [vec![76; luma], vec![84; chroma], vec![255; chroma]];
        let strides = [width_px, width_px / 2, width_px / 2].map(|stride| stride as usize);
        let picture = HostPicture::from_planes((width_px, height_px), planes, strides, color).unwrap();
        let drawn = render::resized(&Surface::Host(picture), None).unwrap();
        render::encode(&drawn, SnapshotSpec { format, jpeg_quality: 90 }).unwrap()
    }

    fn size_px(file: &[u8]) -> (usize, usize) {
        let header = turbojpeg::read_header(file).unwrap();
        (header.width, header.height)
    }

    #[test]
    fn pictures_become_small_and_keep_their_colour() {
        for (width_px, height_px, format, expected) in [
            (320, 180, SnapshotFormat::Jpg, (320, 180)),
            (640, 360, SnapshotFormat::Jpg, (480, 270)),
            (1920, 1080, SnapshotFormat::Jpg, (480, 270)),
            (640, 360, SnapshotFormat::Png, (640, 360)),
            (1920, 1080, SnapshotFormat::Png, (960, 540)),
        ] {
            let small = thumbnail(&snapshot(width_px, height_px, format)).unwrap();
            assert_eq!(size_px(&small), expected, "{width_px}x{height_px} {format:?}");
            let pixels = turbojpeg::decompress(&small, PixelFormat::RGB).unwrap().pixels;
            assert!(pixels[0] > 230 && pixels[1] < 25 && pixels[2] < 25, "red stays red: {:?}", &pixels[..3]);
        }
    }

    #[test]
    fn the_same_file_gives_the_same_bytes() {
        let file = snapshot(640, 360, SnapshotFormat::Jpg);
        assert_eq!(thumbnail(&file), thumbnail(&file));
    }

    #[test]
    fn other_files_give_none() {
        let jpeg = snapshot(64, 64, SnapshotFormat::Jpg);
        let png = snapshot(64, 64, SnapshotFormat::Png);
        for file in [&b""[..], b"GIF89a", &jpeg[..20], &png[..40]] {
            assert!(thumbnail(file).is_none(), "{} bytes", file.len());
        }
    }
}
