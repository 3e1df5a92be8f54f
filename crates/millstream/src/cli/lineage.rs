//! `models lineage`: where a version came from, from its configuration to the offsets of its records.

use millstream_model::registry::{Lineage, Naming, TracedBatch};

use super::table::{instant, plain, table};

pub(super) fn listed(lineage: &Lineage) -> String {
    let Lineage { model, version, algorithm, rows, batches, total, .. } = lineage;
    let title = match lineage.imported {
        Some(_) => format!("{model} version {version}, {algorithm}, imported"),
        None => format!("{model} version {version}, {algorithm}, {rows} rows of {total} batches"),
    };
    let facts: String =
        facts(lineage).into_iter().map(|(name, value)| format!("{name:<14} {}\n", plain(&value))).collect();
    let mut text = format!("{}\n{facts}", plain(&title));
    if batches.is_empty() {
        return text;
    }
    let shown: Vec<Vec<String>> = batches.iter().flat_map(rows_of).collect();
    let names = ["batch", "rows", "rejects", "times", "partition", "offsets", "file", "state", "digest"];
    text.push_str(&format!("\n{}", table(&names, &shown)));
    if batches.len() < *total {
        text.push_str(&format!("{} of {total} batches; others with --offset and --limit\n", batches.len()));
    }
    let sql = batches.last().map_or("", |batch| &batch.sql);
    text.push_str(&format!("rows of a batch: millstream query FILE '{sql}'\n"));
    text
}

fn facts(lineage: &Lineage) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("configuration", lineage.configuration_digest.clone()),
        ("identity", lineage.identity.clone()),
        ("file", format!("{}, digest {}", lineage.file, lineage.file_digest)),
        ("made", instant(lineage.trained_at_ms)),
    ];
    if let Some(filter) = &lineage.filter {
        facts.push(("where", filter.clone()));
    }
    if lineage.imported.is_none() {
        facts.push(("held out", format!("{} of the records, seed {}", lineage.holdout.share, lineage.holdout.seed)));
    }
    if let Some(parent) = &lineage.parent {
        facts.push((
            "begun from",
            format!("version {}, whose file has the digest {}", parent.version, parent.file_digest),
        ));
    }
    if let Some(imported) = &lineage.imported {
        let at = instant(imported.imported_at_ms);
        let from =
            format!("{}, {} {}, digest {}, at {at}", imported.from, imported.class, imported.uid, imported.digest);
        facts.push(("imported from", from));
    }
    if let Some(removed) = &lineage.removed {
        facts.push(("removed", format!("{} ({})", instant(removed.at_ms), removed.reason)));
    }
    if let Some(stream) = &lineage.stream {
        let id = stream.topic_id.as_ref().map_or(String::new(), |id| format!(" ({id})"));
        facts.push(("topic", format!("{}{id} of the cluster {}", stream.topic, stream.cluster)));
    }
    facts.extend(lineage.aliases.iter().map(|naming| ("named", said_of(naming))));
    if lineage.aliases_cut {
        facts.push(("named", "older records of its aliases were not looked at: see `models aliases`".to_owned()));
    }
    facts
}

fn said_of(naming: &Naming) -> String {
    let mut said = naming.alias.clone();
    if let Some(from) = naming.from_ms {
        said.push_str(&format!(" from {}", instant(from)));
    }
    match (naming.in_force, naming.until_ms) {
        (true, _) => said.push_str(" until now"),
        (false, Some(until)) => said.push_str(&format!(" until {}", instant(until))),
        (false, None) => {}
    }
    if let Some(by) = &naming.by {
        said.push_str(&format!(", by {by}"));
    }
    if let Some(reason) = &naming.reason {
        said.push_str(&format!(": {reason}"));
    }
    said
}

/// A line for each part; what is of the batch stands in the first one.
fn rows_of(batch: &TracedBatch) -> Vec<Vec<String>> {
    let number = |number: Option<u64>| number.map_or("–".to_owned(), |number| number.to_string());
    let time = |at: Option<i64>| at.map_or("–".to_owned(), instant);
    let times = match (batch.min_time, batch.max_time) {
        (None, None) => "–".to_owned(),
        (from, to) => format!("{} to {}", time(from), time(to)),
    };
    let state = match &batch.problem {
        None => batch.state.name().to_owned(),
        Some(problem) => format!("{}: {problem}", batch.state.name()),
    };
    let first = [batch.batch.to_string(), number(batch.rows), number(batch.rejects), times];
    let line = |first: [String; 4], part: [String; 3], state: String, digest: String| -> Vec<String> {
        let cells = first.into_iter().chain(part).chain([state, digest]);
        cells.map(|cell| plain(&cell)).collect()
    };
    let mut parts = batch.parts.iter().map(|part| {
        let offsets = format!("{}..{}", part.first_offset, part.end_offset);
        [part.partition.to_string(), offsets, part.file.clone().unwrap_or("–".to_owned())]
    });
    let own = parts.next().unwrap_or_else(|| ["–"; 3].map(str::to_owned));
    let mut lines = vec![line(first, own, state, batch.digest.clone())];
    lines.extend(parts.map(|part| line(Default::default(), part, String::new(), String::new())));
    lines
}
