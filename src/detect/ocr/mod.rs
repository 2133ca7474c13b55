//! Reads the text in boxes with a recognition model: CTC, as PP-OCR exports it.

mod alphabet;
mod ctc;
mod engine;
mod line;
mod text_reader;
mod two_lines;

pub use ctc::{CtcStep, steps};
pub use engine::TextModelInfo;
pub use line::{LineShape, crop};
pub use text_reader::TextReader;
