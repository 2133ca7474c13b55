//! Invisible characters, and characters that look like a space: two names that differ only by them look equal.

use std::fmt;

/// An invisible character, displayed by its code point: `U+FEFF (byte order mark)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvisibleCharacter(char);

impl InvisibleCharacter {
    /// Returns the common name of the character, if there is one.
    fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            '\0' => "NUL",
            '\t' => "tab",
            '\n' => "line feed",
            '\r' => "carriage return",
            '\u{1b}' => "escape",
            '\u{a0}' => "no-break space",
            '\u{ad}' => "soft hyphen",
            '\u{200c}' => "zero width non-joiner",
            '\u{200d}' => "zero width joiner",
            '\u{202f}' => "narrow no-break space",
            '\u{200b}' => "zero width space",
            '\u{2028}' => "line separator",
            '\u{2060}' => "word joiner",
            '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                "direction mark"
            }
            '\u{feff}' => "byte order mark",
            _ => return None,
        })
    }
}

impl fmt::Display for InvisibleCharacter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "U+{:04X}", u32::from(self.0))?;
        self.name().map_or(Ok(()), |name| write!(f, " ({name})"))
    }
}

/// Returns the first invisible character of `text`: a control, a byte order mark, a direction mark, or a space other than U+0020.
///
/// Allowed are the ideographic space U+3000, and the joiners U+200C and U+200D after a letter outside ASCII, since the scripts of
/// India and Persia need them.
#[must_use]
pub fn invisible(text: &str) -> Option<InvisibleCharacter> {
    let mut before = None;
    for character in text.chars() {
        let joins = matches!(character, '\u{200c}' | '\u{200d}');
        if is_hidden(character) || joins && before.is_none_or(|before: char| before.is_ascii()) {
            return Some(InvisibleCharacter(character));
        }
        before = Some(character);
    }
    None
}

fn is_hidden(character: char) -> bool {
    character.is_control()
        // Spaces other than U+0020 and U+3000, fillers, the soft hyphen, direction marks, annotations, tags.
        || matches!(
            character,
            '\u{a0}'
                | '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'
                | '\u{1160}'
                | '\u{1680}'
                | '\u{180e}'
                | '\u{2000}'..='\u{200b}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202f}'
                | '\u{205f}'..='\u{2064}'
                | '\u{2066}'..='\u{206f}'
                | '\u{2800}'
                | '\u{3164}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::invisible;

    #[test]
    fn invisible_characters_are_named_by_their_code_points() {
        let cases = [
            ("cat", None),
            ("fire truck", None),
            ("สุนัข", None),
            ("می\u{200c}خواهم", None),
            ("京A", None),
            ("\u{3000}", None),
            ("\u{feff}cat", Some("U+FEFF (byte order mark)")),
            ("ca\u{200b}t", Some("U+200B (zero width space)")),
            ("c\0a\0t\0", Some("U+0000 (NUL)")),
            ("cat\r", Some("U+000D (carriage return)")),
            ("\u{202e}tac", Some("U+202E (direction mark)")),
            ("cat\u{85}", Some("U+0085")),
            ("fire\u{a0}truck", Some("U+00A0 (no-break space)")),
            ("fire\u{2009}truck", Some("U+2009")),
            ("ca\u{200d}t", Some("U+200D (zero width joiner)")),
            ("\u{200c}می", Some("U+200C (zero width non-joiner)")),
            ("ന\u{d4d}\u{200d}", None),
        ];
        for (text, want) in cases {
            assert_eq!(invisible(text).map(|c| c.to_string()).as_deref(), want, "{text:?}");
        }
    }
}
