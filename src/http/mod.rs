//! The HTTP server, on a thread and a runtime of its own: health, metrics, the page and its API.
//!
//! It only reads the [`StatusBoard`](crate::status::StatusBoard), so that it answers while the data path is stuck.

mod connection;
mod endpoints;
mod events;
mod guard;
mod health;
mod picture;
mod reply;
mod routes;
mod scrape;
mod scrape_cache;
mod server;
mod session;
mod sign_in;
mod site;
mod slots;
mod token;
mod warning_limit;
mod write_timeout;
mod wrong_tokens;

pub use picture::{Encode, EncodeError};
pub use server::{HttpError, HttpServer, HttpSpec};
pub use token::{AccessToken, TokenError};
