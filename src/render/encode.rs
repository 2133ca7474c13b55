//! Encodes a picture as a JPEG or PNG file.

use std::borrow::Cow;

use super::Picture;
pub use kvs_config::raw::SnapshotFormat;

/// The file format and quality of an encoded picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotSpec {
    /// JPEG or PNG.
    pub format: SnapshotFormat,
    /// JPEG quality, 1..=100; PNG ignores it.
    pub jpeg_quality: u8,
}

/// A picture could not be encoded.
#[derive(Debug, thiserror::Error)]
pub enum PictureEncodeError {
    /// The frame cannot be copied from its GPU.
    #[error("the frame cannot be copied from the GPU: {0}")]
    Gpu(#[from] gpu::GpuError),
    /// The JPEG encoder failed.
    #[error("cannot encode a picture of {width_px}x{height_px} px as JPEG: {source}")]
    Jpeg {
        /// Width of the picture.
        width_px: u32,
        /// Height of the picture.
        height_px: u32,
        /// Error of the encoder.
        source: turbojpeg::Error,
    },
    /// The PNG encoder failed.
    #[error("cannot encode a picture of {width_px}x{height_px} px as PNG: {source}")]
    Png {
        /// Width of the picture.
        width_px: u32,
        /// Height of the picture.
        height_px: u32,
        /// Error of the encoder.
        source: png::EncodingError,
    },
}

/// Returns the bytes of the file. Takes milliseconds, so it must not run on the async threads.
///
/// # Errors
/// The format does not support the size of the picture.
pub fn encode(picture: &Picture, spec: SnapshotSpec) -> Result<Vec<u8>, PictureEncodeError> {
    let (width_px, height_px) = (picture.width_px(), picture.height_px());
    match spec.format {
        SnapshotFormat::Jpg => jpeg(picture, spec.jpeg_quality).map_err(|source| PictureEncodeError::Jpeg {
            width_px,
            height_px,
            source,
        }),
        SnapshotFormat::Png => {
            png(picture).map_err(|source| PictureEncodeError::Png { width_px, height_px, source })
        }
    }
}

fn jpeg(picture: &Picture, quality: u8) -> Result<Vec<u8>, turbojpeg::Error> {
    let (luma, y_stride) = even_luma(picture);
    let image = turbojpeg::YuvPlanesImage {
        y_plane: &luma[..],
        u_plane: &picture.planes[1][..],
        v_plane: &picture.planes[2][..],
        width: picture.columns(0),
        height: picture.rows(0),
        y_stride,
        u_stride: picture.columns(1),
        v_stride: picture.columns(2),
        subsamp: turbojpeg::Subsamp::Sub2x2,
    };
    let mut compressor = turbojpeg::Compressor::new()?;
    // TurboJPEG rejects a quality outside 1..=100.
    compressor.set_quality(i32::from(quality.clamp(1, 100)))?;
    compressor.compress_yuv_planes_to_vec(&image)
}

/// Returns luma with an even number of columns and rows, which TurboJPEG requires, and its stride.
///
/// The last column and row are repeated.
fn even_luma(picture: &Picture) -> (Cow<'_, [u8]>, usize) {
    let (columns, rows) = (picture.columns(0), picture.rows(0));
    let luma = &picture.planes[0];
    if columns % 2 == 0 && rows % 2 == 0 {
        return (Cow::Borrowed(luma), columns);
    }
    let stride = columns.next_multiple_of(2);
    let mut padded = Vec::with_capacity(stride * (rows + 1));
    for row in 0..rows.next_multiple_of(2) {
        let line = &luma[row.min(rows - 1) * columns..][..columns];
        padded.extend_from_slice(line);
        padded.extend_from_slice(&line[line.len() - columns % 2..]);
    }
    (Cow::Owned(padded), stride)
}

fn png(picture: &Picture) -> Result<Vec<u8>, png::EncodingError> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, picture.width_px(), picture.height_px());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    // Snapshots are encoded before the commit, so speed matters more than size.
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&rgb(picture))?;
    writer.finish()?;
    Ok(file)
}

/// Returns R, G, B row by row.
pub(super) fn rgb(picture: &Picture) -> Vec<u8> {
    let (columns, chroma_columns) = (picture.columns(0), picture.columns(1));
    let mut pixels = Vec::with_capacity(columns * picture.rows(0) * 3);
    for (row, line) in picture.planes[0].chunks_exact(columns).enumerate() {
        for (column, &y) in line.iter().enumerate() {
            let chroma = row / 2 * chroma_columns + column / 2;
            pixels.extend(pixel(y, picture.planes[1][chroma], picture.planes[2][chroma]));
        }
    }
    pixels
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a byte")]
fn pixel(y: u8, u: u8, v: u8) -> [u8; 3] {
    let (y, u, v) = (f32::from(y), f32::from(u) - 128.0, f32::from(v) - 128.0);
    [y + 1.402 * v, y - 0.344_136 * u - 0.714_136 * v, y + 1.772 * u]
        .map(|value| value.round().clamp(0.0, 255.0) as u8)
}
