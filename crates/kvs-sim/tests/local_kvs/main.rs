//! Black-box tests of the local KVS: its store, its HTTP interface, its clips, its data folder.
#![expect(clippy::expect_used, clippy::panic, reason = "a failed expectation ends the test")]

mod archive;
mod camera;
mod clips;
mod control;
mod faults;
mod folder;
mod get_clip;
mod get_images;
mod get_media;
mod hls;
mod hls_media;
mod hls_player;
mod http;
mod protection;
mod put_media;
mod region;
mod retention;
mod tags;
