//! Suggestions for misspelt names.

/// Returns the name most similar to `given`, if one is similar enough to suggest.
#[must_use]
pub fn closest<'n>(given: &str, names: &[&'n str]) -> Option<&'n str> {
    // A part of a name of at least four letters counts as similar too: `weights` for `yolo_weights`.
    let similarity = |name: &str| {
        let (given, name) = (given.to_lowercase(), name.to_lowercase());
        let part = given.len() > 3 && name.contains(&given) || name.len() > 3 && given.contains(&name);
        strsim::normalized_damerau_levenshtein(&given, &name).max(if part { 0.7 } else { 0.0 })
    };
    let best = names.iter().max_by(|a, b| similarity(a).total_cmp(&similarity(b)))?;
    // 0.6: at most two edits per five letters.
    (similarity(best) >= 0.6).then_some(*best)
}
