//! An error and its causes in one line.

use std::error::Error;

/// Returns the error and its causes, joined by `: `. A cause whose text the error already contains is left out.
#[must_use]
pub fn causes(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        // Many errors quote their source in their own text.
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        next = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    fn layers(texts: &[&'static str]) -> Layer {
        let source = (texts.len() > 1).then(|| Box::new(layers(&texts[1..])));
        Layer { text: texts[0], source }
    }

    #[test]
    fn each_cause_appears_once() {
        let table: [(&[&str], &str); 4] = [
            (&["cannot listen"], "cannot listen"),
            (&["cannot listen", "port taken"], "cannot listen: port taken"),
            (&["cannot listen: port taken; move it", "port taken"], "cannot listen: port taken; move it"),
            (&["a", "a", "b"], "a: b"),
        ];
        for (texts, line) in table {
            assert_eq!(causes(&layers(texts)), line);
        }
    }
}
