//! Zones and masks as YAML, in one canonical form.

use std::fmt::Write;

use kvs_config::raw::{FilterName, MaskPolygon, MinBox, RoiSection, RoiUnits, ZonePolygon};

use super::{CameraShapes, ShapeDrawing};

/// Plain names that YAML 1.1 or 1.2 reads as another type than text.
const RESERVED: [&str; 14] =
    ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf", "infinity", "none", "nil"];

/// Numbers above this are written with an exponent: the largest would have 309 digits.
const PLAIN_BELOW: f64 = 1e15;

impl ShapeDrawing {
    /// Returns the keys `roi` and `masks`, with `indent` spaces before each; empty without zones and masks.
    pub(super) fn yaml(&self, indent: usize) -> String {
        let mut yaml = YamlWriter { indent, text: String::new() };
        if let Some(roi) = &self.roi {
            yaml.roi(roi);
        }
        if !self.masks.is_empty() {
            yaml.line(0, "masks:");
            self.masks
                .iter()
                .for_each(|MaskPolygon { points }| yaml.line(1, &format!("- {}", points_of(points))));
        }
        yaml.text
    }
}

impl CameraShapes {
    /// Returns the key `pipeline` with nothing but the `min_box` of each entry; empty if no entry has one.
    pub(super) fn min_boxes_yaml(&self, min_boxes: &[Option<MinBox>]) -> String {
        let mut yaml = YamlWriter { indent: self.indent(), text: String::new() };
        for (entry, min_box) in self.entries.iter().zip(min_boxes) {
            let Some(MinBox { width, height }) = min_box else { continue };
            if yaml.text.is_empty() {
                yaml.line(0, "pipeline:");
            }
            let (kind, width, height) = (entry.kind.as_str(), number_of(*width), number_of(*height));
            // The name distinguishes entries of one type.
            yaml.line(1, &format!("- type: {kind}  # {}", entry.name));
            yaml.line(2, &format!("{kind}:"));
            yaml.line(3, &format!("min_box: {{ width: {width}, height: {height} }}"));
        }
        yaml.text
    }
}

struct YamlWriter {
    indent: usize,
    text: String,
}

impl YamlWriter {
    /// Writes a line, `depth` levels below the camera's keys.
    fn line(&mut self, depth: usize, text: &str) {
        let spaces = self.indent + 2 * depth;
        // Writing to a string does not fail.
        let _written = writeln!(self.text, "{:spaces$}{text}", "");
    }

    fn roi(&mut self, roi: &RoiSection) {
        // Destructured without `..`: a new key that is missing here does not compile.
        let RoiSection { enabled, units, polygons, filter, min_overlap } = roi;
        self.line(0, "roi:");
        if !enabled {
            self.line(1, "enabled: false");
        }
        self.line(1, &format!("units: {}", units_name(*units)));
        // Without zones there is only the unit of the masks.
        if polygons.is_empty() {
            return;
        }
        self.line(1, &format!("filter: {}", filter_name(*filter)));
        if let Some(share) = min_overlap {
            self.line(1, &format!("min_overlap: {}", number_of(*share)));
        }
        self.line(1, "polygons:");
        polygons.iter().for_each(|polygon| self.zone(polygon));
    }

    fn zone(&mut self, ZonePolygon { name, points }: &ZonePolygon) {
        match name {
            Some(name) => {
                self.line(2, &format!("- name: {}", text_of(name)));
                self.line(3, &points_of(points));
            }
            None => self.line(2, &format!("- {}", points_of(points))),
        }
    }
}

fn units_name(units: RoiUnits) -> &'static str {
    match units {
        RoiUnits::Pixels => "pixels",
        RoiUnits::Normalized => "normalized",
    }
}

fn filter_name(filter: FilterName) -> &'static str {
    match filter {
        FilterName::Center => "center",
        FilterName::Any => "any",
        FilterName::All => "all",
        FilterName::Overlap => "overlap",
    }
}

fn points_of(points: &[[f64; 2]]) -> String {
    let corner = |&[x, y]: &[f64; 2]| format!("[{}, {}]", number_of(x), number_of(y));
    format!("points: [{}]", points.iter().map(corner).collect::<Vec<_>>().join(", "))
}

fn number_of(number: f64) -> String {
    if number.abs() < PLAIN_BELOW { number.to_string() } else { format!("{number:e}") }
}

/// Returns a text as a YAML scalar that is read as this text: plain where that is certain, else in double quotes.
fn text_of(text: &str) -> String {
    let starts_plain = text.starts_with(|c: char| c.is_ascii_alphabetic());
    let is_plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    if starts_plain && is_plain && !RESERVED.contains(&text.to_ascii_lowercase().as_str()) {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    text.chars().for_each(|c| push_quoted(&mut quoted, c));
    quoted.push('"');
    quoted
}

fn push_quoted(quoted: &mut String, c: char) {
    match c {
        '"' | '\\' => quoted.extend(['\\', c]),
        // A reference to a variable otherwise: `$$` stands for a dollar sign.
        '$' => quoted.push_str("$$"),
        _ if is_readable(c) => quoted.push(c),
        _ => {
            let _written = write!(quoted, "\\U{:08x}", u32::from(c));
        }
    }
}

/// Returns whether a person sees the character, and YAML admits it as it is.
fn is_readable(c: char) -> bool {
    // YAML 1.2.2, 5.1: the last two of the basic plane are not printable. Line breaks and marks of direction are invisible.
    let is_printable = !matches!(c, '\u{fffe}' | '\u{ffff}');
    is_printable && kvs_config::invisible(c.encode_utf8(&mut [0; 4])).is_none()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_plain_only_where_every_reader_takes_them_for_text() {
        let table = [
            ("doorway", "doorway"),
            ("zone-1", "zone-1"),
            ("Zone_B", "Zone_B"),
            ("two words", r#""two words""#),
            ("No", r#""No""#),
            ("true", r#""true""#),
            ("1e3", r#""1e3""#),
            ("", r#""""#),
            ("- a", r#""- a""#),
            ("a: b", r#""a: b""#),
            ("a #b", r#""a #b""#),
            ("${HOME}", r#""$${HOME}""#),
            (r#"say "hi"\"#, r#""say \"hi\"\\""#),
            ("a\nroi: x", r#""a\U0000000aroi: x""#),
            ("Tür 1", r#""Tür 1""#),
            ("a\u{2028}b\u{202e}", r#""a\U00002028b\U0000202e""#),
        ];
        for (name, yaml) in table {
            assert_eq!(text_of(name), yaml);
        }
    }

    #[test]
    fn sections_are_written_in_one_form() {
        let zone = |name: Option<&str>| ZonePolygon {
            name: name.map(str::to_owned),
            points: vec![[0.0, 0.5], [200.0, 0.0], [1e300, 7.25]],
        };
        let roi = RoiSection {
            enabled: false,
            filter: FilterName::Overlap,
            min_overlap: Some(0.5),
            polygons: vec![zone(Some("a b")), zone(None)],
            ..RoiSection::default()
        };
        let masks = vec![MaskPolygon { points: vec![[1.0, 2.0]] }];
        let drawing = ShapeDrawing { roi: Some(roi), masks, min_boxes: Vec::new() };
        let expected = r#"  roi:
    enabled: false
    units: pixels
    filter: overlap
    min_overlap: 0.5
    polygons:
      - name: "a b"
        points: [[0, 0.5], [200, 0], [1e300, 7.25]]
      - points: [[0, 0.5], [200, 0], [1e300, 7.25]]
  masks:
    - points: [[1, 2]]
"#;
        assert_eq!(drawing.yaml(2), expected);
        assert_eq!(ShapeDrawing::default().yaml(2), "");
    }

    proptest! {
        #[test]
        fn a_name_is_read_as_it_was_written(name in any::<String>()) {
            let text = format!("value: {}", text_of(&name));
            let expanded = name.replace('$', "$$");
            let read: std::collections::BTreeMap<String, String> = serde_saphyr::from_str(&text).unwrap();
            prop_assert_eq!(&read["value"], &expanded);
        }
    }
}
