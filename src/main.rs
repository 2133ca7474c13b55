//! The kvs-infer program.
fn main() {}
