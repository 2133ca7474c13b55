//! The whole program as a black box: the built binary against the local KVS and moto, over real HTTP.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what a test cannot set up, it fails on"
)]

mod access;
mod bench;
mod colours;
mod delivery;
mod environment;
mod faults;
mod following;
mod gops;
mod gpu;
mod hls;
mod idle;
mod inspect;
mod live_check;
mod modes;
mod own_models;
mod pixels;
mod program;
mod refusals;
mod reload;
mod secrets;
mod stop;
mod takeover;

#[expect(dead_code, reason = "the live check meets few of the mishaps")]
#[path = "../support/fault_proxy.rs"]
mod fault_proxy;
#[expect(dead_code, reason = "one scene needs its films")]
#[path = "../faults/footage.rs"]
mod footage;
#[path = "../support/http.rs"]
mod http;
#[path = "../support/moto.rs"]
mod moto;
