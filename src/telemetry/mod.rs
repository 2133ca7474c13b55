//! Telemetry: one struct per event, whose `emit` logs it, counts it and records it in the status board.
//!
//! The module lies below the stages: events take plain values, `&dyn Error` or `&dyn Display`, and never a stage's types.
//! Each log event starts with the field `stage`, and each metric is in the table `METRICS` of its file.
#![expect(clippy::disallowed_macros, reason = "this folder is where the raw metric macros belong")]

pub mod log;
pub mod metrics;

pub(crate) mod camera;
pub(crate) mod clips;
pub(crate) mod decide;
pub(crate) mod decode;
pub(crate) mod detect;
mod emf;
mod gpu;
mod gpu_faults;
mod http;
pub(crate) mod losses;
mod metric;
pub(crate) mod publish;
pub(crate) mod remote;
pub(crate) mod service;
pub(crate) mod sharing;
pub(crate) mod source;

pub(crate) use emf::Emf;
pub(crate) use gpu::{GpuDriver, Gpus};
pub(crate) use gpu_faults::GpuFaultWatch;
pub(crate) use http::{
    AcceptFailed, AcceptsFailed, ConnectionRefused, ConnectionsRefused, EncodeFailed, HistoryIndexRebuilt,
    Listening, Scrape, ShortToken, SignInRefused, SignInsRefused,
};
pub use metric::{Metric, MetricKind};
pub use metrics::all_metrics;
pub(crate) use service::StopForced;
