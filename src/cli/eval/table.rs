//! The figures of an evaluation as a table.

use std::fmt;

use crate::eval::{EvalRules, Evaluation, MixedIncident, VisitFigures};

/// A row per visit, the mistakes, and the totals. Times are seconds from the footage's start.
pub(super) struct FiguresTable<'a> {
    pub(super) evaluation: &'a Evaluation,
    pub(super) rules: &'a EvalRules,
}

impl fmt::Display for FiguresTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visits(f)?;
        self.false_starts(f)?;
        self.mixed(f)?;
        self.totals(f)
    }
}

impl FiguresTable<'_> {
    fn visits(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let visits = &self.evaluation.visits;
        // Widths count characters, not bytes: ids may have any letters.
        let width = |name: &str, of: &dyn Fn(&VisitFigures) -> usize| {
            visits.iter().map(of).max().unwrap_or_default().max(name.len())
        };
        let id_width = width("VISIT", &|visit| visit.id.chars().count());
        let person_width = width("PERSON", &|visit| visit.person.chars().count());
        writeln!(
            f,
            "{:id_width$}  {:person_width$}  {:>7}  {:>7}  {:>6}  {:>6}  TRACKS",
            "VISIT", "PERSON", "FROM", "TO", "STARTS", "DELAY"
        )?;
        visits.iter().try_for_each(|visit| write_visit(f, visit, (id_width, person_width)))
    }

    fn false_starts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.evaluation.false_starts.is_empty() {
            return Ok(());
        }
        writeln!(f, "\nfalse starts:")?;
        for start in &self.evaluation.false_starts {
            let [x1, y1, x2, y2] = start.bbox;
            let at = seconds(start.at_ms);
            writeln!(f, "  #{} at {at} s, box [{x1:.0}, {y1:.0}, {x2:.0}, {y2:.0}]", start.track_id)?;
        }
        Ok(())
    }

    fn mixed(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.evaluation.mixed.is_empty() {
            return Ok(());
        }
        writeln!(f, "\nincidents of more than one person:")?;
        self.evaluation.mixed.iter().try_for_each(|incident| writeln!(f, "  #{}", IncidentPeople(incident)))
    }

    fn totals(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Evaluation { visits, people, starts, missed, late, repeated, .. } = self.evaluation;
        let limit = seconds(self.rules.late_ms);
        writeln!(f)?;
        writeln!(f, "visits              {} of {people} people", visits.len())?;
        writeln!(
            f,
            "starts              {starts}: {} per visit, {} per person",
            figure(self.evaluation.starts_per_visit, 2),
            figure(self.evaluation.starts_per_person, 2)
        )?;
        writeln!(f, "missed              {}", named(missed))?;
        writeln!(f, "late (over {limit} s)   {}", named(late))?;
        writeln!(f, "more than one start {}", named(repeated))?;
        writeln!(f, "false starts        {}", self.evaluation.false_starts.len())?;
        self.shares(f)
    }

    fn shares(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let identity = &self.evaluation.identity;
        writeln!(
            f,
            "purity              {} of {} matched records, {} unmatched",
            figure(self.evaluation.purity, 3),
            self.evaluation.records - self.evaluation.unmatched,
            self.evaluation.unmatched
        )?;
        writeln!(
            f,
            "IDF1                {} (precision {}, recall {}, steps of {} s)",
            figure(self.evaluation.idf1, 3),
            figure(identity.idp(), 3),
            figure(identity.idr(), 3),
            seconds(self.rules.step_ms)
        )
    }
}

/// Writes the row of a visit; the widths are those of the columns of the id and the person.
fn write_visit(
    f: &mut fmt::Formatter<'_>,
    visit: &VisitFigures,
    (id_width, person_width): (usize, usize),
) -> fmt::Result {
    let tracks: Vec<String> = visit.starts.iter().map(|start| format!("#{}", start.track_id)).collect();
    let (from, to) = (seconds(visit.from_ms), seconds(visit.to_ms));
    let delay = visit.delay_ms().map_or_else(|| "-".to_owned(), seconds);
    writeln!(
        f,
        "{:id_width$}  {:person_width$}  {from:>7}  {to:>7}  {:>6}  {delay:>6}  {}",
        visit.id,
        visit.person,
        visit.starts.len(),
        if tracks.is_empty() { "missed".to_owned() } else { tracks.join(", ") }
    )
}

/// The people of an incident, such as `7: bald man 12 (3.9-15.8 s), red jacket 4 (16.8-37.5 s)`.
struct IncidentPeople<'a>(&'a MixedIncident);

impl fmt::Display for IncidentPeople<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.0.track_id)?;
        for (i, share) in self.0.people.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            let (from, to) = (seconds(share.from_ms), seconds(share.to_ms));
            write!(f, "{comma} {} {} ({from}-{to} s)", share.person, share.records)?;
        }
        Ok(())
    }
}

/// Formats the number of ids and the ids.
fn named(ids: &[String]) -> String {
    if ids.is_empty() { "0".to_owned() } else { format!("{} ({})", ids.len(), ids.join(", ")) }
}

fn seconds(ms: i64) -> String {
    format!("{:.1}", ms as f64 / 1000.0)
}

fn figure(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}
