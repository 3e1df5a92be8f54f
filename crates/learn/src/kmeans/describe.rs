//! What sets a cluster apart, in numbers and in words.

use super::model::Model;

/// The most columns of a label, unless more are needed to tell two clusters apart.
const LABEL_COLUMNS: usize = 3;

/// Where the middle row of a cluster stands among all rows, by fifths of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    VeryLow,
    Low,
    Middling,
    High,
    VeryHigh,
}

impl Level {
    /// `rank`: the share of rows below.
    fn of(rank: f64) -> Level {
        match rank {
            rank if rank < 0.2 => Level::VeryLow,
            rank if rank < 0.4 => Level::Low,
            rank if rank <= 0.6 => Level::Middling,
            rank if rank <= 0.8 => Level::High,
            _ => Level::VeryHigh,
        }
    }

    pub fn words(self) -> &'static str {
        match self {
            Level::VeryLow => "very low",
            Level::Low => "low",
            Level::Middling => "middling",
            Level::High => "high",
            Level::VeryHigh => "very high",
        }
    }
}

/// One cluster, and its columns from the one that sets it apart most.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    pub cluster: u32,
    /// Rows of the fit.
    pub size: u32,
    /// Of all rows of the fit.
    pub share: f64,
    pub traits: Vec<Trait>,
}

/// A column as it is in one cluster.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trait {
    pub column: usize,
    /// How far the cluster's centre is from the mean of all rows, in standard deviations of all rows: signed for a number,
    /// at least 0 for a category. 0 for a constant column.
    pub shift: f64,
    pub value: ColumnValue,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ColumnValue {
    /// In the column's own unit.
    Number {
        center: f64,
        median: f64,
        /// The standard deviation within the cluster.
        spread: f64,
        /// The mean of all rows.
        overall: f64,
        level: Level,
    },
    /// The category whose share is farthest above its share of all rows.
    Category { category: u32, share: f64, overall: f64 },
}

impl Trait {
    /// Whether it is worth a word: a number that is not middling, or a category that most of the cluster's rows are of, more
    /// than of all rows.
    fn notable(&self) -> bool {
        match self.value {
            ColumnValue::Number { level, .. } => level != Level::Middling,
            ColumnValue::Category { share, overall, .. } => share > 0.5 && share > overall,
        }
    }
}

impl Model {
    /// Every cluster, from cluster 0.
    pub fn describe(&self) -> Vec<Description> {
        let total: f64 = self.sizes.iter().map(|&size| f64::from(size)).sum();
        (0..)
            .zip(&self.sizes)
            .map(|(cluster, &size)| {
                let mut traits: Vec<Trait> =
                    (0..self.n_columns()).map(|column| self.trait_of(cluster as usize, column)).collect();
                traits.sort_by(|a, b| b.shift.abs().total_cmp(&a.shift.abs()));
                Description { cluster, size, share: f64::from(size) / total.max(1.0), traits }
            })
            .collect()
    }

    fn trait_of(&self, cluster: usize, column: usize) -> Trait {
        let (space, n_parameters) = (&self.space, self.space.layout.n_parameters());
        let parameters = space.layout.parameters(column);
        let center = &self.centers[cluster * n_parameters..(cluster + 1) * n_parameters][parameters.clone()];
        let means = &space.means[parameters.clone()];
        let inverse = if space.deviations[column] > 0.0 { 1.0 / space.deviations[column] } else { 0.0 };
        if space.layout.n_categories(column) == 0 {
            let at = cluster * self.n_columns() + column;
            let value = ColumnValue::Number {
                center: center[0],
                median: self.medians[at],
                spread: self.spreads[cluster * n_parameters + parameters.start],
                overall: means[0],
                level: Level::of(self.ranks[at]),
            };
            return Trait { column, shift: (center[0] - means[0]) * inverse, value };
        }
        let differences = || (0..).zip(center.iter().zip(means).map(|(share, mean)| share - mean));
        let farthest = differences().max_by(|a: &(u32, f64), b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
        let category = farthest.map_or(0, |(category, _)| category);
        let squares: f64 = differences().map(|(_, difference)| difference * difference).sum();
        let (share, overall) = (center[category as usize], means[category as usize]);
        let value = ColumnValue::Category { category, share, overall };
        Trait { column, shift: squares.sqrt() * inverse, value }
    }

    /// A few words for each cluster, such as "high price, low rating": its notable columns, from the one that sets it apart
    /// most, and more columns where two clusters would be called the same; those that no words tell apart are numbered.
    /// `column_name` and `category_name` (of a column and a category) are the caller's.
    pub fn labels(
        &self,
        column_name: impl Fn(usize) -> String,
        category_name: impl Fn(usize, u32) -> String,
    ) -> Vec<String> {
        let words = |item: &Trait| match item.value {
            ColumnValue::Number { level, .. } => format!("{} {}", level.words(), column_name(item.column)),
            ColumnValue::Category { category, share, .. } => {
                let mostly = if share > 0.5 { "mostly" } else { "often" };
                format!("{} {mostly} {}", column_name(item.column), category_name(item.column, category))
            }
        };
        let descriptions = self.describe();
        // The words of each cluster, the notable ones first, and how many of them are its label.
        let mut labels: Vec<(Vec<String>, usize)> = descriptions
            .iter()
            .map(|description| {
                let (notable, rest): (Vec<&Trait>, Vec<&Trait>) =
                    description.traits.iter().partition(|item| item.notable());
                let count = notable.len().min(LABEL_COLUMNS);
                (notable.into_iter().chain(rest).map(words).collect(), count)
            })
            .collect();
        for _ in 0..self.n_columns() {
            let texts: Vec<String> = labels.iter().map(text).collect();
            for (cluster, (words, count)) in labels.iter_mut().enumerate() {
                let shared = texts.iter().filter(|text| **text == texts[cluster]).count() > 1;
                if shared && *count < words.len() {
                    *count += 1;
                }
            }
        }
        numbered(labels.iter().map(text).collect())
    }
}

/// The second of equal texts gets a 2, and so on.
fn numbered(texts: Vec<String>) -> Vec<String> {
    let number = |at: usize| 1 + texts[..at].iter().filter(|text| **text == texts[at]).count();
    let numbered = (0..texts.len()).map(|at| match number(at) {
        1 => texts[at].clone(),
        number => format!("{} ({number})", texts[at]),
    });
    numbered.collect()
}

fn text((words, count): &(Vec<String>, usize)) -> String {
    if *count == 0 { "typical".to_owned() } else { words[..*count].join(", ") }
}
