//! `cameras.yaml` as it is written: the whole key tree, its rules, and every mistake with its place and remedy.
//!
//! The way of a file: YAML into a tree that knows its places (`tree`), `${NAME}` expanded (`expand`), held
//! against the schema that is made from the types (`shape`), and read into those types ([`written`]). Each step
//! reports every mistake that it finds; a later step runs only where it can make sense of what the earlier left.
//!
//! What a configuration comes to mean, and the rules that need more than one key, are not here: who lowers a
//! [`Document`] adds its own mistakes to [`Problems`], at the places that the document knows. Nothing here reads a
//! file, the environment or a clock, and no text can make it panic, loop or grow beyond what the text itself says.

mod address_secrets;
mod class_names;
mod closest;
mod document;
mod expand;
mod invisible;
mod place;
mod problem;
mod report;
mod schema;
mod shape;
mod tree;
pub mod written;

pub use address_secrets::without_address_secrets;
pub use class_names::{ClassFileFault, ClassName, ClassNameFault, class_name_faults, class_names};
pub use closest::closest;
pub use document::{Document, read, read_as};
pub use expand::Environment;
pub use invisible::{InvisibleCharacter, invisible};
pub use place::{KeyPath, Place};
pub use problem::{Problem, Problems};
pub use report::Report;
pub use schema::config_schema;
