//! HTTP on a thread and a runtime of its own: health, metrics, the page and what it asks for.
//!
//! It only reads the [`StatusBoard`](crate::status::StatusBoard), so that it answers while the data path is stuck.

mod connection;
mod ends;
mod events;
mod guard;
mod health;
mod patience;
mod picture;
mod ration;
mod room;
mod routes;
mod scrape;
mod server;
mod session;
mod token;
mod tries;

pub use picture::{Encode, EncodeError};
pub use server::{HttpError, HttpServer, HttpSpec};
pub use token::{AccessToken, TokenError};
