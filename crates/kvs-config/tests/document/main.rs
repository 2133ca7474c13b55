//! Any text as a configuration: read, or told well and in bounds.
#![expect(clippy::expect_used, clippy::panic, reason = "a test stops where something is wrong")]

mod limits;
