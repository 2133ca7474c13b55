//! Checks that hold for any input. Tests run them on seeds and on generated inputs, the fuzz targets on whatever they find.

#[cfg(feature = "h26x")]
pub mod access_unit;
#[cfg(feature = "kvs-config")]
pub mod configuration;
#[cfg(feature = "outbox")]
pub mod damaged_outbox;
#[cfg(feature = "kvs-mkv")]
pub mod matroska;
#[cfg(feature = "kvs-hls")]
pub mod segments;
