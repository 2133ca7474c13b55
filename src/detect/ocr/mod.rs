//! boxes -> texts: a recognition model (CTC, as PP-OCR exports it) reads what lies in boxes.

mod alphabet;
mod ctc;
mod engine;
mod line;
mod reader;
mod two_lines;

pub use ctc::{Step, steps};
pub use engine::ReaderInfo;
pub use line::{LineShape, crop};
pub use reader::Reader;
