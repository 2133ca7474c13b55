//! Helpers that the tests of several crates share, and the invariants that tests and fuzz targets check.
//!
//! It is a dev-dependency only. It does not depend on the package `kvs-infer`: its unit tests could not use types of
//! another build of it, and each change of it would compile this crate as well.

#[cfg(feature = "service")]
pub mod colours;
#[cfg(feature = "service")]
mod event;
#[cfg(feature = "service")]
pub mod fault_proxy;
#[cfg(feature = "service")]
pub mod footage;
#[cfg(feature = "gpu")]
pub mod gpu;
#[cfg(feature = "service")]
pub mod http;
pub mod invariants;
#[cfg(feature = "service")]
pub mod moto;
#[cfg(feature = "h26x")]
pub mod parameter_sets;
#[cfg(feature = "service")]
pub mod polling;
#[cfg(feature = "service")]
pub mod program;
#[cfg(feature = "service")]
pub mod setup;

#[cfg(feature = "service")]
pub use event::sample_event;

/// A command that runs the built `kvs-infer`, for the integration tests of its package; cargo sets the path for no others.
#[macro_export]
macro_rules! kvs_infer_command {
    () => {
        std::process::Command::new(env!("CARGO_BIN_EXE_kvs-infer"))
    };
}
