//! Telemetry is a value: one struct a happening, which logs, counts and puts it on the board together.
#![expect(clippy::disallowed_macros, reason = "this folder is where the raw metric macros belong")]

pub mod log;
pub mod metrics;

pub(crate) mod camera;
pub(crate) mod decide;
pub(crate) mod decode;
pub(crate) mod detect;
mod emf;
mod gpu;
mod http;
pub(crate) mod losses;
mod metric;
pub(crate) mod publish;
pub(crate) mod remote;
pub(crate) mod service;
pub(crate) mod source;

pub(crate) use emf::Emf;
pub(crate) use gpu::{GpuFacts, Gpus};
pub(crate) use http::{
    AcceptFailed, AcceptsFailed, ConnectionRefused, ConnectionsRefused, EncodeFailed, Listening, Scrape,
    ShortToken, SignInRefused, SignInsRefused,
};
pub use metric::{Kind, Metric};
pub use metrics::all_metrics;
pub(crate) use service::StoppedAtOnce;
