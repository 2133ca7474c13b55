//! The local KVS from outside: its store, its HTTP, its clips, its folder.

mod camera;
mod clips;
mod control;
mod folder;
mod get_media;
mod http;
mod put_media;
