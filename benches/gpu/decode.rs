//! NVDEC: frames per second by the number of streams, and memory over reconnects.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use kvs_infer::config::DecodeDevice;
use kvs_infer::decode::{Decoder, GpuDecoders, NvdecGpu, Sampler};
use kvs_infer::detect::proved_context;
use kvs_infer::media::{CameraId, SamplerState};
use kvs_infer::status::CameraStatus;

use super::clip::Clip;
use super::host::{Gpus, cpu_s, or_dash, resident_mb};

const STREAMS: [usize; 4] = [1, 4, 16, 64];
/// The time for which a number of streams is decoded, after its decoders have been opened.
const LENGTH: Duration = Duration::from_secs(10);
const WARM_UP: Duration = Duration::from_secs(2);
/// The driver measures the utilisation of its decoders over about this time.
const SAMPLE: Duration = Duration::from_millis(200);
/// Frames per second that leave the decoder, as those of a camera with `fps_target: 5`.
const PICKED_FPS: f64 = 5.0;
const RECONNECTS: usize = 1_000;
/// The reconnects after which the memory is shown.
const SHOWN: [usize; 5] = [1, 10, 100, 500, RECONNECTS];

/// Returns the first GPU.
fn nvdec() -> Result<Arc<NvdecGpu>, String> {
    let gpus = GpuDecoders::new(DecodeDevice::Cuda, proved_context, |reason| eprintln!("gpu: {reason}"));
    gpus.open(None)?;
    gpus.of_camera(None).ok_or_else(|| "no GPU decodes".to_owned())
}

/// A decoder on the GPU, and the status of its camera.
fn decoder_on(gpu: &Arc<NvdecGpu>, number: usize) -> (Decoder, CameraStatus) {
    let camera = CameraStatus::alone(&CameraId::new(&format!("camera-{number}")));
    let sampler = Sampler::new(Some(PICKED_FPS), SamplerState::default());
    (Decoder::new(camera.clone(), sampler).with_gpu(Some(Arc::clone(gpu))), camera)
}

/// The state that the streams share.
#[derive(Default)]
struct Progress {
    frames: AtomicU64,
    /// Streams that are not on NVDEC, which end at once.
    left_out: AtomicU64,
    is_over: AtomicBool,
}

/// Prints the frames per second that NVDEC decodes.
///
/// # Errors
/// The clip cannot be read, or no GPU decodes.
pub(crate) fn measure(path: &Path) -> Result<(), String> {
    let (clip, gpu, gpus) = (Clip::read(path)?, nvdec()?, Gpus::open());
    println!("{}: {:.0} frames per second, on {gpu} by NVDEC", path.display(), clip.fps());
    println!("streams   on NVDEC   frames/s   of real time   decoder %   CPU cores   GPU MB");
    let mut reasons = Vec::new();
    for streams in STREAMS {
        let progress = Progress::default();
        scope(|threads| {
            let running: Vec<_> = (0..streams)
                .map(|number| {
                    threads.spawn({
                        let (clip, gpu, progress) = (&clip, &gpu, &progress);
                        move || stream(clip, gpu, number, progress)
                    })
                })
                .collect();
            row(streams, &clip, &progress, &gpus);
            progress.is_over.store(true, Ordering::Relaxed);
            reasons.extend(running.into_iter().filter_map(|thread| thread.join().unwrap()));
        });
    }
    reasons.sort();
    reasons.dedup();
    reasons.iter().for_each(|reason| println!("not on NVDEC: {reason}"));
    Ok(())
}

/// Decodes one stream until the end; returns the reason if NVDEC does not decode it.
fn stream(clip: &Clip, gpu: &Arc<NvdecGpu>, number: usize, progress: &Progress) -> Option<String> {
    let (mut decoder, camera) = decoder_on(gpu, number);
    let mut decoded = Vec::new();
    for (packets, end) in clip.played().take_while(|_| !progress.is_over.load(Ordering::Relaxed)) {
        let frames = packets.len() as u64;
        let pushed = packets.into_iter().try_for_each(|packet| decoder.push(packet, &mut decoded));
        let failed = pushed.and_then(|()| decoder.end_fragment(end, &mut decoded)).err();
        decoded.clear();
        let row = camera.row();
        if failed.is_some() || row.decoder != Some("nvdec") {
            progress.left_out.fetch_add(1, Ordering::Relaxed);
            return failed.map(|error| error.to_string()).or(row.decoder_note);
        }
        progress.frames.fetch_add(frames, Ordering::Relaxed);
    }
    None
}

/// Prints the row of a number of streams, which are being decoded.
fn row(streams: usize, clip: &Clip, progress: &Progress, gpus: &Gpus) {
    sleep(WARM_UP);
    let (began, frames, cpu) = (Instant::now(), progress.frames.load(Ordering::Relaxed), cpu_s());
    let mut percents = Vec::new();
    while began.elapsed() < LENGTH {
        sleep(SAMPLE);
        percents.extend(gpus.decoder_percent());
    }
    let seconds = began.elapsed().as_secs_f64();
    let per_s = (progress.frames.load(Ordering::Relaxed) - frames) as f64 / seconds;
    let on_nvdec = streams as u64 - progress.left_out.load(Ordering::Relaxed);
    let mean =
        (!percents.is_empty()).then(|| f64::from(percents.iter().sum::<u32>()) / percents.len() as f64);
    println!(
        "{streams:7} {on_nvdec:10} {per_s:10.0} {:14.1} {:>11} {:11.2} {:>8}",
        per_s / clip.fps(),
        or_dash(mean, 0),
        (cpu_s() - cpu) / seconds,
        or_dash(gpus.memory_mb(), 0),
    );
}

/// Prints the memory over reconnects: each has a decoder of its own, for one fragment.
///
/// # Errors
/// The clip cannot be read, no GPU decodes, or it fails.
pub(crate) fn reconnect(path: &Path) -> Result<(), String> {
    let (clip, gpu, gpus) = (Clip::read(path)?, nvdec()?, Gpus::open());
    println!("{}: a decoder for each fragment, on {gpu}", path.display());
    println!("reconnects   resident MB   GPU MB");
    let mut decoded = Vec::new();
    for (number, (packets, end)) in (1..=RECONNECTS).zip(clip.played()) {
        let (mut decoder, camera) = decoder_on(&gpu, 0);
        for packet in packets {
            decoder.push(packet, &mut decoded).map_err(|error| error.to_string())?;
        }
        decoder.end_fragment(end, &mut decoded).map_err(|error| error.to_string())?;
        decoded.clear();
        let row = camera.row();
        if row.decoder != Some("nvdec") {
            return Err(format!(
                "reconnect {number} is not on NVDEC: {}",
                row.decoder_note.unwrap_or_default()
            ));
        }
        drop(decoder);
        if SHOWN.contains(&number) {
            println!("{number:10} {:13.1} {:>8}", resident_mb(), or_dash(gpus.memory_mb(), 1));
        }
    }
    Ok(())
}
