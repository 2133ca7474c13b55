//! The whole program as a black box: the built binary against the local KVS and moto, over real HTTP.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what a test cannot set up, it fails on"
)]

mod access;
mod bench;
mod cluster;
pub(crate) mod cuda;
mod delivery;
mod environment;
mod faults;
mod following;
mod gops;
mod gpu;
pub(crate) mod gpu_path;
mod hls;
mod idle;
mod inspect;
mod live_check;
mod modes;
mod own_models;
mod page;
mod pixels;
mod refusals;
mod reload;
mod secrets;
mod several_gpus;
pub(crate) mod stop;
mod takeover;
