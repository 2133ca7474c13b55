//! The characters that a recognition model writes, and what of them is a plate's text.

use std::sync::Arc;

use icu_properties::CodePointMapData;
use icu_properties::props::{GeneralCategory, GeneralCategoryGroup};

use super::ctc::CtcStep;
use crate::detect::error::ModelFault;
use crate::media::PlateText;

/// A plate's text for each class of a model; empty for the blank and for what is no part of a plate's text.
pub(super) struct Alphabet {
    texts: Vec<String>,
}

/// The characters of a model without the blank: those of the configuration, else those of its metadata, one per line.
///
/// Errors: there are none.
pub(super) fn characters(
    given: Option<&[String]>,
    metadata: Option<&str>,
) -> Result<Vec<String>, ModelFault> {
    let characters = match given {
        Some(given) => given.to_vec(),
        None => metadata.unwrap_or_default().lines().map(str::to_owned).collect(),
    };
    if characters.is_empty() { Err(ModelFault::NoCharacters) } else { Ok(characters) }
}

impl Alphabet {
    /// For an output of `classes` classes: the blank, the characters, and a space at the end where one class is left, as
    /// PP-OCR has it.
    ///
    /// Errors: the number of characters does not fit.
    pub(super) fn fit(characters: &[String], classes: usize) -> Result<Self, ModelFault> {
        let left_over = classes.checked_sub(characters.len() + 1);
        let (Some(0 | 1), false) = (left_over, classes < 2) else {
            return Err(ModelFault::CharacterCount { classes, characters: characters.len() });
        };
        // Class 0 is the blank.
        let mut texts = vec![String::new()];
        texts.extend(characters.iter().map(|character| plate_text(character)));
        texts.resize(classes, String::new());
        Ok(Self { texts })
    }

    pub(super) fn classes(&self) -> usize {
        self.texts.len()
    }

    /// The plate's text that the steps spell, as sure as the mean of those that are in it; `None` where it is empty.
    #[expect(clippy::cast_precision_loss, reason = "a text is short")]
    pub(super) fn reading(&self, steps: &[CtcStep]) -> Option<PlateText> {
        let text_of = |step: &CtcStep| self.texts.get(step.class).map_or("", String::as_str);
        let kept: Vec<&CtcStep> = steps.iter().filter(|step| !text_of(step).is_empty()).collect();
        let text: String = kept.iter().map(|step| text_of(step)).collect();
        let conf = kept.iter().map(|step| step.conf).sum::<f32>() / kept.len() as f32;
        (!kept.is_empty()).then(|| PlateText { text: Arc::from(text), conf })
    }
}

/// Letters in upper case, digits, and the marks that are set on letters (vowels and tones of Thai), of any script.
/// Spaces, dots and dashes go: plates of one country are printed with and without.
pub(super) fn plate_text(text: &str) -> String {
    text.chars().filter(|c| belongs(*c)).map(upper).collect()
}

fn belongs(character: char) -> bool {
    let category = CodePointMapData::<GeneralCategory>::new().get(character);
    GeneralCategoryGroup::Letter.contains(category)
        || GeneralCategoryGroup::Mark.contains(category)
        || category == GeneralCategory::DecimalNumber
}

/// The upper case where that is one letter too.
fn upper(character: char) -> char {
    let mut letters = character.to_uppercase();
    // `ß` becomes `SS`: the text would have one character more than the plate.
    match (letters.next(), letters.next()) {
        (Some(letter), None) => letter,
        _ => character,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(characters: &[&str]) -> Vec<String> {
        characters.iter().map(|character| (*character).to_owned()).collect()
    }

    #[test]
    fn a_plate_has_letters_digits_and_marks() {
        let cases = [
            ("", ""),
            ("5AU 5341", "5AU5341"),
            ("ab-12.3·x", "AB123X"),
            ("  \u{3000}|/\\()'\"_", ""),
            ("กข 1234", "กข1234"),
            ("ก่ำ้", "ก่ำ้"),
            ("京A·12345", "京A12345"),
            ("ΑΒγ-1", "ΑΒΓ1"),
            ("ß½²Ⅷ", "ß"),
            ("٣د", "٣د"),
        ];
        for (text, wanted) in cases {
            assert_eq!(plate_text(text), wanted, "{text:?}");
        }
    }

    #[test]
    fn characters_come_from_the_configuration_or_the_file() {
        let given = owned(&["x", "y"]);
        assert_eq!(characters(Some(&given), Some("a\nb")).unwrap(), given);
        assert_eq!(characters(None, Some("a\n\u{3000}\n\nb\n")).unwrap(), owned(&["a", "\u{3000}", "", "b"]));
        for (given, metadata) in [(None, None), (None, Some("")), (Some(&[][..]), Some("a"))] {
            assert_eq!(characters(given, metadata), Err(ModelFault::NoCharacters));
        }
    }

    #[test]
    fn the_number_of_characters_must_fit_the_output() {
        for (characters, classes, fits) in
            [(2, 2, false), (2, 3, true), (2, 4, true), (2, 5, false), (0, 1, false), (0, 2, true)]
        {
            let alphabet = Alphabet::fit(&vec!["A".to_owned(); characters], classes);
            let error = ModelFault::CharacterCount { classes, characters };
            match alphabet {
                Ok(alphabet) => assert!(fits && alphabet.classes() == classes, "{characters}, {classes}"),
                Err(fault) => assert!(!fits && fault == error, "{characters}, {classes}: {fault}"),
            }
        }
    }

    #[test]
    fn a_reading_is_as_sure_as_the_mean_of_what_is_in_it() {
        let alphabet = Alphabet::fit(&owned(&["a", "-", "ก", "่"]), 6).unwrap();
        let step = |class, conf| CtcStep { class, conf };
        let cases = [
            ("nothing", vec![], None),
            ("no part of a text", vec![step(2, 0.9), step(5, 0.9), step(9, 0.9)], None),
            ("one", vec![step(1, 0.5)], Some(("A", 0.5))),
            ("a dash does not count", vec![step(1, 0.5), step(2, 0.1), step(3, 1.0)], Some(("Aก", 0.75))),
            ("a tone does", vec![step(3, 0.5), step(4, 1.0)], Some(("ก่", 0.75))),
        ];
        for (name, steps, wanted) in cases {
            let reading = alphabet.reading(&steps);
            assert_eq!(reading.as_ref().map(|reading| (&*reading.text, reading.conf)), wanted, "{name}");
        }
    }
}
