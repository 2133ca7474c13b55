//! The HTTP server, on a thread and a runtime of its own: health, metrics, the page and its API.
//!
//! It only reads the [`StatusBoard`](crate::status::StatusBoard), so that it answers while the data path is stuck. `/api/cluster` and
//! `/api/incidents` are the exceptions: tasks and threads of their own read the pool and the [history](crate::history) for them.
//! For `/api/check` the service runs its probes.

mod assets;
mod byte_range;
mod check;
mod clip;
mod clip_file;
mod cluster;
mod connection;
mod endpoints;
mod events;
mod guard;
mod health;
mod incidents;
mod picture;
mod pool_reads;
mod probe_runs;
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
mod views;
mod warning_limit;
mod write_timeout;
mod wrong_tokens;
mod zones;

pub use picture::{Encode, EncodeError};
pub use pool_reads::ReadPool;
pub use probe_runs::RunProbes;
pub use server::{HttpError, HttpServer, HttpSpec};
pub use site::ClipSources;
pub use token::{AccessToken, TokenError};
