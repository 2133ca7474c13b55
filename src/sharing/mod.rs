//! Sharing of cameras by many workers: the I/O around the crate `sharing`, which decides.
//!
//! [`PoolTable`] makes the crate's calls on two DynamoDB tables. Everything else about members, lead, plans and hand-over is in the
//! crate, without I/O. [`PoolView`] shows people which worker has which camera.

mod pool_table;
mod pool_view;
mod probe;

pub use pool_table::PoolTable;
pub use pool_view::{
    PoolCameraCost, PoolCameraState, PoolCameraView, PoolView, PoolViewError, PoolViewReader,
    PoolWorkerState, PoolWorkerView,
};
pub(crate) use probe::{ProbedPool, probes};
