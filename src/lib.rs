//! kvs-infer
