//! The self-test of a GPU's kernels, against the CPU pass of this machine.

use gpu::{CudaContext, ExpectedResults, FramePlanes, ProofFault, ProofInput, prove};
use half::f16;

use super::device_tables::{channel_encoding, color_factors, resample_tables};
use super::encoding::InputEncoding;
use super::letterbox::Letterbox;
use super::luma::LumaGrid;
use super::resample::{PictureFault, Resampler, fill_padding_with};
use crate::media::{Color, Matrix, Yuv420};

/// Width and height of the input: the picture has padding above and below, and is reduced.
const SIDE_PX: (u32, u32) = (96, 64);
const COLOR: Color = Color { matrix: Matrix::Bt709, full_range: false };
/// An encoding with every step: scaled, shifted and turned around.
const ENCODING: InputEncoding =
    InputEncoding { white: 255.0, mean: [103.53, 116.28, 123.675], std: [57.375, 57.12, 58.395], bgr: true };

/// A GPU whose kernels cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum KernelProofError {
    /// The GPU failed, or gave another result than the CPU.
    #[error("{0}")]
    Gpu(#[from] ProofFault),
    /// The CPU pass refused the built-in picture.
    #[error("the self-test of the GPU has no picture: {0}")]
    Cpu(#[from] PictureFault),
}

/// Runs the kernels on a built-in picture, and compares their results with the CPU pass, to the bit.
///
/// # Errors
///
/// The GPU failed, or a result differs: pictures must then be prepared on the CPU.
pub(super) fn prove_kernels(context: &CudaContext) -> Result<(), KernelProofError> {
    let input = ProofInput::new();
    Ok(prove(context, &input, &expected(input.planes())?)?)
}

fn expected(FramePlanes { planes, strides }: FramePlanes<'_>) -> Result<ExpectedResults, PictureFault> {
    let (width_px, height_px) = ProofInput::SIZE_PX;
    let picture = Yuv420 { width_px, height_px, planes, strides, color: COLOR };
    let encoding = channel_encoding(&ENCODING);
    let mut resampler = Resampler::new(SIDE_PX).encoded(ENCODING);
    let mut input_f32 = vec![0.0_f32; resampler.elements()];
    let letterbox: Letterbox = resampler.write(&picture, &mut input_f32)?;
    fill_padding_with(encoding.greys, &letterbox, &mut input_f32);
    let mut halves = vec![f16::ZERO; resampler.elements()];
    resampler.write(&picture, &mut halves)?;
    fill_padding_with(encoding.greys, &letterbox, &mut halves);
    Ok(ExpectedResults {
        tables: resample_tables(letterbox),
        color: color_factors(COLOR),
        encoding,
        input_f32,
        input_f16: halves.into_iter().map(f16::to_bits).collect(),
        luma: *LumaGrid::of(&picture).cells(),
    })
}
