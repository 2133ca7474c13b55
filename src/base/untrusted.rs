//! Texts from producers, servers, models, and other writers of a data stream, which are not trusted.

use std::borrow::Cow;

/// Maximum length of a name of a codec, a class or a tensor, characters.
pub const MAX_NAME_CHARS: usize = 200;
/// Maximum length of a message, characters; it may quote a few names of AWS.
pub const MAX_MESSAGE_CHARS: usize = 500;

/// Returns an untrusted text as a log line, a label or `/healthz` may contain it: on one line, without control characters, and cut to
/// `max_chars`.
#[must_use]
pub fn clean_text(text: &str, max_chars: usize) -> String {
    // Taken before it is mapped: a text of megabytes is not copied as a whole.
    let mut characters = text.trim().chars();
    let mut clean: String = characters.by_ref().take(max_chars).map(visible).collect();
    if characters.next().is_some() {
        clean.push('…');
    }
    clean
}

/// Returns the text as a terminal may show it: control characters and bidirectional marks as escapes such as `\u{1b}`.
#[must_use]
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.chars().any(controls) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if controls(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

fn visible(character: char) -> char {
    match character {
        '\t' | '\n' | '\r' => ' ',
        other if controls(other) => char::REPLACEMENT_CHARACTER,
        other => other,
    }
}

/// Returns whether a character moves the cursor, ends the line or changes the direction of the text.
fn controls(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
                | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_and_have_no_control_characters() {
        let (long, cut) = ("é".repeat(3_000_000), format!("{}…", "é".repeat(200)));
        for (text, clean) in [
            ("V_VP9", "V_VP9"),
            ("京A 12345", "京A 12345"),
            ("a\nb\tc\0", "a b c\u{fffd}"),
            ("\u{1b}[2Jred\u{202e}", "\u{fffd}[2Jred\u{fffd}"),
            (&"x".repeat(200), &"x".repeat(200)),
            (&long, &cut),
        ] {
            assert_eq!(clean_text(text, 200), clean);
        }
    }

    #[test]
    fn a_terminal_gets_escapes_for_control_characters() {
        for (text, shown) in [
            ("fire truck", "fire truck"),
            ("สุนัข", "สุนัข"),
            ("\u{1b}[2J\u{1b}[31mRED", "\\u{1b}[2J\\u{1b}[31mRED"),
            ("a\nforged\r\u{9b}", "a\\nforged\\r\\u{9b}"),
            ("\u{202e}exe", "\\u{202e}exe"),
        ] {
            assert_eq!(escaped(text), shown);
        }
    }
}
