//! Names that were mistyped, and what was meant.

/// The name most like `given`, when one is like it at all.
pub fn nearest<'a>(given: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = given.to_lowercase();
    let distance = |name: &str| strsim::damerau_levenshtein(&folded, &name.to_lowercase());
    let allowed = (given.chars().count() / 3).clamp(1, 4);
    let scored = names.into_iter().map(|name| (distance(name), name));
    scored.filter(|(distance, _)| *distance <= allowed).min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

/// `; did you mean \`format\`?`, or what there is, or nothing.
pub fn did_you_mean<'a>(given: &str, names: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if let Some(name) = nearest(given, names.clone()) {
        return format!("; did you mean `{name}`?");
    }
    match names.into_iter().collect::<Vec<_>>() {
        names if names.is_empty() => String::new(),
        names if names.len() > 30 => format!("; among others there are {}", names[..30].join(", ")),
        names => format!("; there is {}", names.join(", ")),
    }
}
