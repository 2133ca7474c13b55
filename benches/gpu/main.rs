//! The stages that have a GPU, on a GPU: `make gpu-bench`.
//!
//! usage: gpu batches MODEL.onnx DEVICE    a detector by the size of its batches; cuda:0, or cpu to try it
//!        gpu decode CLIP.mp4              frames per second of NVDEC, by the number of streams
//!        gpu reconnects CLIP.mp4          memory over a thousand reconnects of a camera that NVDEC decodes

#![expect(clippy::unwrap_used, reason = "what the benchmark cannot set up, it fails on")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the tables are its output")]

mod batches;
mod clip;
mod decode;
mod host;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Cargo adds --bench.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let measured = match arguments[..] {
        ["batches", model, device] => batches::measure(model.into(), device),
        ["decode", clip] => decode::measure(clip.as_ref()),
        ["reconnects", clip] => decode::reconnect(clip.as_ref()),
        _ => Err("give batches MODEL.onnx DEVICE, decode CLIP.mp4 or reconnects CLIP.mp4".to_owned()),
    };
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("gpu: {}: {reason}", arguments.join(" "));
            ExitCode::FAILURE
        }
    }
}
