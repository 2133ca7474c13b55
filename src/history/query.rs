//! A question for incidents: filters, the size of a page, and the place where it begins.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::IncidentSummary;

/// Maximum length of an id, bytes. The program's own have 32 characters.
pub(super) const MAX_ID_BYTES: usize = 128;

/// The properties of the wanted incidents. Each that is set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IncidentFilter {
    /// One of these cameras; empty: any.
    pub cameras: Vec<String>,
    /// This label.
    pub label: Option<String>,
    /// This detector type.
    pub kind: Option<String>,
    /// Entered this zone.
    pub zone: Option<String>,
    /// Part of the text, as [`comparable_text`] returns it.
    pub text: Option<String>,
    /// Has its last record at this time or later, ms since the epoch.
    pub from_ms: Option<i64>,
    /// Has begun at this time or earlier, ms since the epoch.
    pub to_ms: Option<i64>,
}

/// A question for incidents, newest first.
#[derive(Clone, Debug)]
pub struct IncidentQuery {
    /// The wanted incidents.
    pub filter: IncidentFilter,
    /// Maximum number of incidents.
    pub limit: usize,
    /// The place after which the page begins; `None`: at the newest.
    pub cursor: Option<IncidentCursor>,
}

/// A place in the list of incidents, which is sorted by start and id, newest first.
///
/// It stays valid while incidents arrive: they begin before it in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncidentCursor {
    /// Start of the last incident before the place, ms since the epoch.
    pub start_ms: i64,
    /// Its id; `None`: no incident with this start is before the place.
    pub incident_id: Option<String>,
}

/// A page of incidents, newest first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IncidentPage {
    /// The store that the incidents come from: `local_dir` or `ddb_table`.
    pub source: &'static str,
    /// The incidents. A page of a table may have fewer than were asked for, also none, and yet have a next one.
    pub incidents: Vec<IncidentSummary>,
    /// The cursor of the next page; `None`: there is none.
    pub next: Option<String>,
}

/// A text that is no cursor of this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not the value of `next` of an earlier answer")]
pub struct CursorError;

/// The fields of an incident that a filter reads.
pub(super) struct FilterFields<'a, Z> {
    pub(super) camera: &'a str,
    pub(super) label: &'a str,
    pub(super) kind: &'a str,
    /// As [`comparable_text`] returns it.
    pub(super) text: &'a str,
    pub(super) zones: Z,
    pub(super) start_ms: i64,
    pub(super) last_ms: i64,
}

impl IncidentFilter {
    /// Returns whether an incident is wanted.
    pub(super) fn matches<'a>(&self, fields: FilterFields<'a, impl IntoIterator<Item = &'a str>>) -> bool {
        let is =
            |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        // The cheap tests first: a rare filter reads every incident.
        self.from_ms.is_none_or(|from| fields.last_ms >= from)
            && self.to_ms.is_none_or(|to| fields.start_ms <= to)
            && is(&self.label, fields.label)
            && is(&self.kind, fields.kind)
            && (self.cameras.is_empty() || self.cameras.iter().any(|camera| camera == fields.camera))
            && self.text.as_deref().is_none_or(|part| fields.text.contains(part))
            && self.zone.as_deref().is_none_or(|zone| fields.zones.into_iter().any(|found| found == zone))
    }

    /// Returns whether a summarized incident is wanted.
    pub(super) fn matches_summary(&self, incident: &IncidentSummary) -> bool {
        let text = incident.text.as_deref().map(comparable_text).unwrap_or_default();
        self.matches(FilterFields {
            camera: &incident.camera_id,
            label: &incident.label,
            kind: &incident.kind,
            text: &text,
            zones: incident.zones.iter().map(String::as_str),
            start_ms: incident.start_ms,
            last_ms: incident.last_ms,
        })
    }
}

impl IncidentQuery {
    /// Returns whether an incident is behind the cursor.
    pub(super) fn is_after_cursor(&self, start_ms: i64, incident_id: &str) -> bool {
        let Some(cursor) = &self.cursor else { return true };
        match &cursor.incident_id {
            Some(id) => (start_ms, incident_id) < (cursor.start_ms, id),
            None => start_ms <= cursor.start_ms,
        }
    }
}

impl IncidentCursor {
    /// Returns the place behind an incident.
    pub(super) fn after(incident: &IncidentSummary) -> Self {
        Self { start_ms: incident.start_ms, incident_id: Some(incident.incident_id.clone()) }
    }
}

impl fmt::Display for IncidentCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.incident_id {
            Some(id) => write!(f, "{}.{id}", self.start_ms),
            None => write!(f, "{}", self.start_ms),
        }
    }
}

impl FromStr for IncidentCursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let (start, id) = match text.split_once('.') {
            Some((start, id)) => (start, Some(id)),
            None => (text, None),
        };
        if id.is_some_and(|id| !is_plain_id(id)) {
            return Err(CursorError);
        }
        let start_ms = start.parse().map_err(|_| CursorError)?;
        Ok(Self { start_ms, incident_id: id.map(str::to_owned) })
    }
}

/// Returns whether a text can be the id of a record: printable ASCII without blanks, and not too long for the index.
pub(super) fn is_plain_id(id: &str) -> bool {
    (1..=MAX_ID_BYTES).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Returns the text in lower case without hyphens and blanks: people write plates in many ways.
#[must_use]
pub fn comparable_text(text: &str) -> String {
    let kept = text.chars().filter(|character| !character.is_whitespace() && *character != '-');
    kept.flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_compared_without_case_hyphens_and_blanks() {
        for (text, comparable) in [("B-AB 123", "bab123"), ("กข 1234", "กข1234"), ("ÄÖ-7", "äö7"), ("- ", "")]
        {
            assert_eq!(comparable_text(text), comparable);
        }
    }

    #[test]
    fn cursors_are_read_back_and_others_are_refused() {
        for text in ["1700000000123.a33694248aaa7ccc", "-5.x", "1700000000123"] {
            assert_eq!(text.parse::<IncidentCursor>().unwrap().to_string(), text);
        }
        let long = format!("1.{}", "x".repeat(MAX_ID_BYTES + 1));
        for text in ["", "x", "1.", "1.a b", "1.\n", "9999999999999999999.a", "1.é", &long, ".a"] {
            assert_eq!(text.parse::<IncidentCursor>(), Err(CursorError), "{text:?}");
        }
    }

    #[test]
    fn each_property_of_a_filter_must_hold() {
        let wanted = |change: &dyn Fn(&mut IncidentFilter)| {
            let mut filter = IncidentFilter::default();
            change(&mut filter);
            filter.matches(FilterFields {
                camera: "gate",
                label: "car",
                kind: "alpr",
                text: "bab123",
                zones: ["yard", "door"],
                start_ms: 100,
                last_ms: 200,
            })
        };
        let text = |text: &str| Some(text.to_owned());
        type Change = Box<dyn Fn(&mut IncidentFilter)>;
        let cases: [(&str, Change, bool); 13] = [
            ("nothing", Box::new(|_| ()), true),
            ("camera", Box::new(|f| f.cameras = vec!["yard".into(), "gate".into()]), true),
            ("other camera", Box::new(|f| f.cameras = vec!["gat".into()]), false),
            ("label", Box::new(move |f| f.label = text("car")), true),
            ("other label", Box::new(move |f| f.label = text("Car")), false),
            ("other type", Box::new(move |f| f.kind = text("objects")), false),
            ("zone", Box::new(move |f| f.zone = text("door")), true),
            ("other zone", Box::new(move |f| f.zone = text("doo")), false),
            ("text", Box::new(move |f| f.text = text("ab12")), true),
            ("other text", Box::new(move |f| f.text = text("xyz")), false),
            ("from its end", Box::new(|f| f.from_ms = Some(200)), true),
            ("from after its end", Box::new(|f| f.from_ms = Some(201)), false),
            ("to before its start", Box::new(|f| f.to_ms = Some(99)), false),
        ];
        for (name, change, expected) in cases {
            assert_eq!(wanted(&*change), expected, "{name}");
        }
    }
}
