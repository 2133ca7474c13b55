//! Detect with real models: the tiny ones of scripts/models/tiny.py and tiny_text.py, and those that know streets and plates.
//!
//! `scripts/setup test` puts ONNX Runtime, the models and the clip into the cache folder.

#[cfg(test)]
mod engines;
#[cfg(test)]
mod graph;
#[cfg(test)]
mod half;
#[cfg(test)]
mod layouts;
#[cfg(test)]
mod models;
#[cfg(test)]
mod plate;
#[cfg(test)]
mod quantize;
#[cfg(test)]
mod reading;
#[cfg(test)]
mod street;
#[cfg(test)]
mod support;
#[cfg(test)]
mod table;
#[cfg(test)]
mod yard;
