//! HTTP on a thread and a runtime of its own: health, metrics, the page and what it asks for.
//!
//! It only reads the [`Board`](crate::telemetry::board::Board), so that it answers while the data path is stuck.

mod events;
mod guard;
mod picture;
mod routes;
mod server;

pub use picture::{Encode, EncodeError};
pub use server::{HttpError, HttpServer, HttpSpec};
