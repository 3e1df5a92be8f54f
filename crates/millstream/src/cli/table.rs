//! A plain table for people, aligned by columns, and what stands in its cells.

use millstream_stream::record::write_instant;

pub(super) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let header: Vec<String> = header.iter().map(|name| (*name).to_owned()).collect();
    let all = || std::iter::once(&header).chain(rows);
    let width =
        |column: usize| all().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    all().map(line).collect()
}

/// Milliseconds since the epoch.
pub(super) fn instant(at_ms: impl TryInto<i64>) -> String {
    let mut text = Vec::new();
    write_instant(at_ms.try_into().unwrap_or(i64::MAX), &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Whoever can write to the store, or answers at an address, can write anything: nothing of it moves a terminal's cursor, or turns its text
/// around.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|letter| if is_harmful(letter) { ' ' } else { letter }).collect()
}

fn is_harmful(letter: char) -> bool {
    let turns = |letter| matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    letter.is_control() || turns(letter)
}

/// The same JSON, in which such characters are escaped; outside of its texts there are none but line ends.
pub(super) fn plain_json(json: String) -> String {
    if json.chars().all(|letter| letter == '\n' || !is_harmful(letter)) {
        return json;
    }
    let escaped = |letter: char| match letter {
        letter if letter != '\n' && is_harmful(letter) => format!("\\u{:04x}", u32::from(letter)),
        letter => letter.to_string(),
    };
    json.chars().map(escaped).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_stand_under_their_names() {
        let rows = vec![vec!["1".to_owned(), "–".to_owned()], vec!["100".to_owned(), "x".to_owned()]];
        assert_eq!(super::table(&["n", "value"], &rows), "n    value\n1    –\n100  x\n");
    }

    #[test]
    fn nothing_that_others_wrote_moves_the_cursor() {
        assert_eq!(super::plain("a\u{1b}[2J\r\n\u{9b}b\u{202e}ç"), "a [2J   b ç");
    }
}
