//! The proof that a model gives on a GPU what it gives on the CPU: the outputs for a built-in picture are compared.
//!
//! It finds a GPU, a driver or a library that computes something else, not the last digit: TF32 and float16 are less exact than the CPU.

use std::sync::Arc;
use std::time::Instant;

use super::inference_path::InferencePath;
use super::layout::Layout;
use crate::media::{CameraId, Color, Fragment, Frame, HostPicture, Matrix, MediaMs, Surface};

/// The maximum difference of an output, as a share of its size: both as the root of the mean square.
const MAX_RELATIVE: f64 = 0.05;
/// The difference that is allowed in addition, whatever the size: scores near 0 differ by more than their size.
const MAX_ABSOLUTE: f64 = 0.02;

/// An output of the model for the built-in picture.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ProofOutput {
    pub(super) name: String,
    pub(super) numbers: Vec<f32>,
}

/// Returns true if outputs of this layout can be compared number by number. In the others the model chooses and sorts boxes, which may
/// come in another order for the last digit of a score.
pub(super) fn is_comparable(layout: Layout) -> bool {
    match layout {
        Layout::Yolov8 | Layout::Yolov5 | Layout::Yolonas | Layout::Yolox => true,
        Layout::Nms | Layout::Rtdetr | Layout::Detr | Layout::DetrSoftmax => false,
    }
}

/// Returns the outputs for the built-in picture, by an inference of `batch` slots.
///
/// # Errors
/// The picture cannot be painted, or ONNX Runtime's words or the GPU's.
pub(super) fn proof_outputs(path: &mut InferencePath, batch: usize) -> Result<Vec<ProofOutput>, String> {
    let picture = proof_picture().ok_or("the built-in picture has planes of another size")?;
    path.paint(0, &picture).map_err(|fault| fault.to_string())?;
    let outputs = path.run(batch)?;
    let mut scratch = Vec::new();
    let mut of_first_slot = |(index, name): (usize, String)| {
        let numbers = outputs.floats(index, &mut scratch)?;
        Ok(ProofOutput { name, numbers: numbers[..numbers.len() / batch.max(1)].to_vec() })
    };
    let names = outputs.shapes().into_iter().map(|shape| shape.name);
    names.enumerate().map(&mut of_first_slot).collect()
}

/// Compares the outputs of a GPU with those of the CPU.
///
/// # Errors
/// The output that differs, and by how much.
pub(super) fn compare(gpu: &[ProofOutput], cpu: &[ProofOutput]) -> Result<(), String> {
    let lengths =
        |outputs: &[ProofOutput]| outputs.iter().map(|output| output.numbers.len()).collect::<Vec<_>>();
    if lengths(gpu) != lengths(cpu) {
        return Err(format!("{:?} numbers in place of {:?}", lengths(gpu), lengths(cpu)));
    }
    for (on_gpu, on_cpu) in gpu.iter().zip(cpu) {
        let pairs = on_gpu.numbers.iter().zip(&on_cpu.numbers);
        let difference = root_mean_square(pairs.map(|(a, b)| f64::from(*a) - f64::from(*b)));
        let size = root_mean_square(on_cpu.numbers.iter().map(|number| f64::from(*number)));
        // False also for a difference that is no number.
        let is_within = difference <= MAX_RELATIVE * size + MAX_ABSOLUTE;
        if !is_within {
            let name = &on_cpu.name;
            return Err(format!(
                "{name} differs by {difference:.3} on average, where its numbers have {size:.3}"
            ));
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "an output has far fewer than 2^52 numbers")]
fn root_mean_square(numbers: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = numbers.len().max(1) as f64;
    (numbers.map(|number| number * number).sum::<f64>() / count).sqrt()
}

/// The size of the built-in picture, px: with room above and below, or at the sides, in most inputs.
const SIZE_PX: (u32, u32) = (320, 200);

/// Returns the built-in picture: fields of strong colours, edges and slopes.
fn proof_picture() -> Option<Frame> {
    let plane = |(width, height): (u32, u32), sample: &dyn Fn(u32, u32) -> u32| -> Vec<u8> {
        let all = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        all.map(|(x, y)| sample(x, y).to_le_bytes()[0]).collect()
    };
    let half_px = (SIZE_PX.0 / 2, SIZE_PX.1 / 2);
    // Fields of 40 x 40 px: red, green, blue, grey and others by turns.
    let colors: [(u32, u32); 5] = [(90, 240), (54, 34), (240, 110), (128, 128), (16, 146)];
    let field = |x: u32, y: u32| colors[((x / 20 + 2 * (y / 20)) % 5) as usize];
    let luma = plane(SIZE_PX, &|x, y| 40 + (x / 40 * 37 + y / 40 * 23) % 120 + (x + y) % 40);
    let u = plane(half_px, &|x, y| field(x, y).0);
    let v = plane(half_px, &|x, y| field(x, y).1);
    let (width, half) = (SIZE_PX.0 as usize, half_px.0 as usize);
    let color = Color { matrix: Matrix::Bt709, full_range: false };
    let picture = HostPicture::from_planes(SIZE_PX, [luma, u, v], [width, half, half], color)?;
    Some(Frame {
        camera: CameraId::new("self-test"),
        fragment: Arc::new(Fragment { number: Arc::from("0"), producer_ms: None, server_ms: None }),
        index: 0,
        media: MediaMs(0),
        arrived: Instant::now(),
        surface: Surface::Host(picture),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs(boxes: &[f32], scores: &[f32]) -> Vec<ProofOutput> {
        let output =
            |name: &str, numbers: &[f32]| ProofOutput { name: name.to_owned(), numbers: numbers.to_vec() };
        vec![output("boxes", boxes), output("scores", scores)]
    }

    #[test]
    fn rounding_passes_and_other_numbers_do_not() {
        let cpu = outputs(&[10.0, 300.0, 620.0], &[1e-6, 0.002, 0.9]);
        for (name, gpu, says) in [
            ("the same", cpu.clone(), ""),
            ("float16", outputs(&[10.1, 301.0, 618.0], &[3e-6, 0.004, 0.88]), ""),
            ("other boxes", outputs(&[10.0, 300.0, 420.0], &[1e-6, 0.002, 0.9]), "boxes differs by 115.470"),
            ("other scores", outputs(&[10.0, 300.0, 620.0], &[0.4, 0.5, 0.5]), "scores differs by 0.435"),
            ("all zero", outputs(&[0.0; 3], &[0.0; 3]), "boxes differs"),
            ("no number", outputs(&[10.0, f32::NAN, 620.0], &[1e-6, 0.002, 0.9]), "boxes differs by NaN"),
            ("fewer", outputs(&[10.0, 300.0], &[1e-6, 0.002, 0.9]), "[2, 3] numbers in place of [3, 3]"),
        ] {
            let found = compare(&gpu, &cpu).err().unwrap_or_default();
            assert!(found.starts_with(says) && found.is_empty() == says.is_empty(), "{name}: {found}");
        }
    }

    #[test]
    fn the_picture_has_every_color_and_no_two_rows_of_fields_alike() {
        let frame = proof_picture().unwrap();
        let view = frame.surface.view().unwrap();
        let rows: std::collections::BTreeSet<_> = view.planes[1].chunks(160).collect();
        assert_eq!(rows.len(), 5);
        let range = view.planes[0].iter().max().unwrap() - view.planes[0].iter().min().unwrap();
        assert!(range > 100, "{range}");
    }
}
