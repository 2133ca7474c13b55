//! Streams of Matroska: real captures, properties, damage, unusual encodings, and the seeds of the fuzz target.

mod captures;
mod corpus;
mod damage;
mod fragments;
mod properties;
mod traps;
mod twin;
mod wire;
