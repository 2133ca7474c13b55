//! Reads `cameras.yaml` into raw sections, and reports every mistake with its position and remedy.
//!
//! A file passes four steps: YAML is parsed into a tree with positions (`tree`), `${NAME}` is expanded (`expand`), the tree is
//! checked against the schema that is generated from the types (`schema_check`), and deserialized into those types ([`raw`]).
//! Each step reports every mistake that it finds. Deserializing runs only on a file without mistakes.
//!
//! Defaults that depend on other keys, and rules over more than one key, are not here: the caller that resolves a
//! [`TypedDocument`] adds its own mistakes to [`Problems`], at the positions that the document knows. The crate reads no file,
//! environment or clock. No text makes it panic, loop, or exceed the limits on the tree (`tree::parse`).

mod address_secrets;
mod class_names;
mod closest;
mod document;
mod expand;
mod invisible;
mod pattern;
mod position;
mod problem;
pub mod raw;
mod report;
mod schema;
mod schema_check;
mod tree;

pub use address_secrets::without_address_secrets;
pub use class_names::{ClassFileFault, ClassName, ClassNameFault, class_name_faults, class_names};
pub use closest::closest;
pub use document::{TypedDocument, read, read_as};
pub use expand::EnvLookup;
pub use invisible::{InvisibleCharacter, invisible};
pub use position::{KeyPath, TextSpan};
pub use problem::{Problem, Problems};
pub use report::ProblemReport;
pub use schema::config_schema;
