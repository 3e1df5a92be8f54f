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

/// A name that a client sent is shown up to here, and compared with known ones only below.
pub const NAME_BYTES: usize = 256;

/// `; did you mean X?`, when one of `known` is near, else the list of them: as `did_you_mean`, of a name that a client sent. A name too long to be a slip of typing gets neither.
pub fn hint<'a>(wanted: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    if wanted.len() > NAME_BYTES {
        return String::new();
    }
    let wanted = wanted.to_lowercase();
    let length = wanted.chars().count();
    let near = known.clone().take(NAMES_COMPARED).filter_map(|name| {
        let most = (name.chars().count() / 3).max(1);
        // The distance is at least the difference of the lengths: most names need no comparing.
        if name.chars().count().abs_diff(length) > most {
            return None;
        }
        let distance = strsim::damerau_levenshtein(&wanted, &name.to_lowercase());
        (distance <= most).then_some((distance, name))
    });
    if let Some((_, name)) = near.min() {
        return format!("; did you mean {name}?");
    }
    let names: Vec<&str> = known.take(NAMES_LISTED).collect();
    if names.is_empty() { String::new() } else { format!("; known: {}", names.join(", ")) }
}

/// A message stays readable with so many names.
const NAMES_LISTED: usize = 60;
/// To compare so many takes a few milliseconds.
const NAMES_COMPARED: usize = 1000;

/// A client's word in a message as it is, short enough to read.
pub fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

const SHOWN: usize = 80;

/// A client's text in a message, short enough to read.
pub fn quote(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_hinted_at_and_else_all_are_listed() {
        let check = |wanted, expected| assert_eq!(hint(wanted, ["count", "town", "x"].into_iter()), expected);
        check("cuont", "; did you mean count?");
        check("TOWNS", "; did you mean town?");
        check("y", "; did you mean x?");
        check("something", "; known: count, town, x");
    }
}
