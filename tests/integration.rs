//! The integration tests, one binary: each further one is linked for itself.
//!
//! `faults` and `kills` are binaries of their own, because `make faults` and `make kills` run them by themselves, at length.

mod clips;
mod config;
mod decode;
mod detect;
mod docs;
mod gpu;
mod publish;
mod real_gpu;
mod replay;
mod service;
mod sharing;
mod sim_clients;
mod truth;
mod web;
