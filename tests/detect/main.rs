//! Detect with real models: the tiny ones of scripts/models/tiny.py, and one that knows streets.
//!
//! `scripts/setup test` puts ONNX Runtime, the models and the clip into the cache folder.

#[cfg(test)]
mod models;
#[cfg(test)]
mod street;
#[cfg(test)]
mod support;
#[cfg(test)]
mod table;
