//! Which name somebody meant.

/// The one of `names` that a person who wrote `given` may have meant.
#[must_use]
pub fn closest<'n>(given: &str, names: &[&'n str]) -> Option<&'n str> {
    let likeness = |name: &str| {
        let (given, name) = (given.to_lowercase(), name.to_lowercase());
        let part = given.len() > 3 && name.contains(&given) || name.len() > 3 && given.contains(&name);
        strsim::normalized_damerau_levenshtein(&given, &name).max(if part { 0.7 } else { 0.0 })
    };
    let best = names.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) >= 0.6).then_some(*best)
}
