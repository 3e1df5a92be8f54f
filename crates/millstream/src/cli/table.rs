//! A plain table for people, aligned by columns.

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

#[cfg(test)]
mod tests {
    #[test]
    fn columns_stand_under_their_names() {
        let rows = vec![vec!["1".to_owned(), "–".to_owned()], vec!["100".to_owned(), "x".to_owned()]];
        assert_eq!(super::table(&["n", "value"], &rows), "n    value\n1    –\n100  x\n");
    }
}
