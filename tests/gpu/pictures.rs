//! The place of NVDEC's pictures: on the GPU, complete and masked, or in host memory.

use std::sync::Arc;

use kvs_infer::decode::{MaskPainter, Masks};
use kvs_infer::detect::{MotionRules, MotionState, SceneView};
use kvs_infer::media::{Color, Frame, HostPicture, Matrix, MediaMs, Surface};

use super::{assert_pictures, decoder_on, driver_in_child, gpu, gpu_with, numbers_of, picture_of};
use crate::decode::clip::{Clip, planes};
use crate::decode::decode;

const SIZE_PX: (u32, u32) = (322, 242);
const COLOR: Color = Color { matrix: Matrix::Bt601, full_range: false };

fn clip() -> Clip {
    Clip::h264("size=322x242:rate=10:duration=1", "-bf 2")
}

/// Returns the driver's picture with this number in host memory.
fn twin(number: u32) -> HostPicture {
    let bytes = picture_of(number, SIZE_PX, (0, 0));
    let (luma, chroma) = bytes.split_at(322 * 242);
    let (u, v) = chroma.split_at(chroma.len() / 2);
    HostPicture::from_planes(SIZE_PX, [luma.to_vec(), u.to_vec(), v.to_vec()], [322, 161, 161], COLOR)
        .unwrap()
}

/// Asserts that the frames are on the GPU if `on_gpu`, else in host memory.
fn assert_place(frames: &[Arc<Frame>], on_gpu: bool) {
    for frame in frames {
        assert_eq!(matches!(frame.surface, Surface::Cuda(_)), on_gpu, "{:?}", frame.surface);
    }
}

#[test]
fn masks_are_black_before_a_picture_leaves_the_decoder() {
    let test = "gpu::pictures::masks_are_black_before_a_picture_leaves_the_decoder";
    let Some(_driver) = driver_in_child(test, "") else { return };
    let polygon = vec![(0.1, 0.1), (0.8, 0.3), (0.4, 0.95)];
    let masks = Masks { polygons: vec![polygon], normalized: true };
    let clip = clip();
    let (frames, errors) =
        decode(&mut decoder_on(&gpu().0).0.with_masks(Some(masks.clone())), clip.packets.clone());
    assert!(errors.is_empty() && frames.len() == 10, "{errors:?}");
    assert_place(&frames, true);
    let numbers = numbers_of(&clip.packets);
    let mut painter = MaskPainter::new(masks);
    for frame in frames {
        let at = clip.packets.iter().position(|packet| packet.media == frame.media).unwrap();
        let masked = planes(&Surface::Host(painter.paint(&twin(numbers[at]))));
        assert!(planes(&frame.surface) == masked, "{:?}", frame.media);
        assert!(masked != picture_of(numbers[at], SIZE_PX, (0, 0)), "something is black");
    }
}

#[test]
fn the_motion_gate_sees_the_same_of_a_picture_on_the_gpu() {
    let test = "gpu::pictures::the_motion_gate_sees_the_same_of_a_picture_on_the_gpu";
    let Some(_driver) = driver_in_child(test, "") else { return };
    let clip = clip();
    let (frames, _) = decode(&mut decoder_on(&gpu().0).0, clip.packets.clone());
    assert_place(&frames, true);
    let rules = MotionRules { sensitivity: 0.5, max_idle_ms: 5_000, calm_ms: 500 };
    let seen = |surface: &Surface| {
        let mut state = MotionState::default();
        state.needs_inference(rules, SceneView::of(surface), MediaMs(0));
        serde_json::to_string(&state).unwrap()
    };
    let mut different = Vec::new();
    for frame in &frames {
        let at = clip.packets.iter().position(|packet| packet.media == frame.media).unwrap();
        let by_gpu = seen(&frame.surface);
        assert_eq!(by_gpu, seen(&Surface::Host(twin(numbers_of(&clip.packets)[at]))));
        different.push(by_gpu);
    }
    different.sort();
    different.dedup();
    assert_eq!(different.len(), frames.len(), "each picture has another grid");
}

#[test]
fn without_kernels_pictures_are_copied_to_host_memory() {
    let test = "gpu::pictures::without_kernels_pictures_are_copied_to_host_memory";
    let Some(_driver) = driver_in_child(test, "") else { return };
    let (gpu, _) = gpu_with(|_| Err("the self-test failed".to_owned()));
    let (mut decoder, camera) = decoder_on(&gpu);
    let clip = clip();
    let (frames, errors) = decode(&mut decoder, clip.packets.clone());
    assert!(errors.is_empty() && frames.len() == 10, "{errors:?}");
    assert_place(&frames, false);
    for frame in frames {
        let at = clip.packets.iter().position(|packet| packet.media == frame.media).unwrap();
        assert!(planes(&frame.surface) == picture_of(numbers_of(&clip.packets)[at], SIZE_PX, (0, 0)));
    }
    assert_eq!(camera.row().decoder, Some("nvdec"));
}

#[test]
fn a_picture_for_which_the_gpu_has_no_room_is_copied_to_host_memory() {
    let test = "gpu::pictures::a_picture_for_which_the_gpu_has_no_room_is_copied_to_host_memory";
    let Some(driver) = driver_in_child(test, "") else { return };
    let (gpu, losses) = gpu();
    let (mut decoder, camera) = decoder_on(&gpu);
    let clip = Clip::h264("size=322x242:rate=25:duration=1.2", "-bf 0");
    let fragments = clip.fragments();
    let (first, _) = decode(&mut decoder, fragments[0].clone());
    assert_place(&first, true);
    // The first ones are kept, so each new picture needs memory.
    driver.set_faults("memory 1");
    let (full, errors) = decode(&mut decoder, fragments[1].clone());
    assert!(errors.is_empty() && full.len() == 10, "{errors:?}");
    assert_place(&full, false);
    driver.set_faults("");
    let (later, _) = decode(&mut decoder, fragments[2].clone());
    assert_pictures("later", &later, &fragments[2]);
    assert_pictures("first", &first, &fragments[0]);
    assert_eq!((camera.row().decoder, losses.load(std::sync::atomic::Ordering::SeqCst)), (Some("nvdec"), 0));
}
