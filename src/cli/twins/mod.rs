//! The commands that make twins of a detector: `models quantize` and `models half`.

mod clip_frames;
mod half;
mod half_report;
mod model_args;
mod part_file;
mod progress;
mod quantize;
mod quantize_report;
mod report_lines;

pub(super) use half::HalfArgs;
pub(super) use quantize::QuantizeArgs;
