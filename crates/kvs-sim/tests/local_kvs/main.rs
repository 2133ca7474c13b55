//! The local KVS from outside: its store, its HTTP, its clips, its folder.
#![expect(clippy::expect_used, clippy::panic, reason = "a test stops where something is wrong")]

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
mod put_media;
mod region;
mod retention;
mod tags;
