//! The stages of a pipeline as features and encodings of ours: which columns a request brings, and how they fill the vector that the
//! model takes. The stages are followed column by column, as Spark would compute them.

use std::collections::{BTreeMap, HashMap};

use millstream_untrusted::model::ColumnType;

use super::convert::{Holds, VectorColumn, VectorSlot};
use super::saved::{Affine, Assembler, Bucketizer, Imputer, Invalid, OneHot, SavedStage, Scaler, StringIndexer};
use crate::model::{Categorical, Missing, Unseen};
use crate::registry::{Encoding, Feature, Input};

/// Of a vector: what `model.json` may have of features.
const SLOTS_MOST: usize = 1 << 20;
/// Of all vectors that stages make.
const ALL_SLOTS_MOST: usize = 4 << 20;
/// Of what is computed of columns: a record of a version holds it.
const SQL_BYTES_MOST: usize = 16 << 20;

/// What the model does with numbers decides how they come to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// A weight for each: scales and codes go into the weights.
    Weights,
    /// Distances: scales go into the centres; every category is a number.
    Distances,
    /// Thresholds: scaled numbers are compared as they are, and what is missing goes right.
    Thresholds,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Mapped {
    pub inputs: Vec<Input>,
    pub features: Vec<Feature>,
    pub columns: Vec<VectorColumn>,
    pub missing: Missing,
}

/// A feature in the making.
#[derive(Debug, Clone, PartialEq)]
struct Origin {
    expression: String,
    reads: (String, ColumnType),
    kind: OriginKind,
}

#[derive(Debug, Clone, PartialEq)]
enum OriginKind {
    /// What a missing value becomes.
    Number(Option<f64>),
    /// By their codes. With `other` one code more: of what is none of them, and of what is missing.
    Labels { labels: Vec<String>, other: bool },
}

/// What a column holds after the stages so far.
#[derive(Debug, Clone)]
enum Held {
    /// SQL of one column, null where it is missing; `fill`: what the plain column's missing values become.
    Number {
        column: String,
        sql: String,
        fill: Option<f64>,
    },
    Labels {
        column: String,
        labels: Vec<String>,
        other: bool,
    },
    /// SQL for the texts of the numbers below `n`, null outside.
    Bucket {
        column: String,
        sql: String,
        n: usize,
    },
    Vector(Vec<Part>),
}

/// A number of a vector.
#[derive(Debug, Clone)]
struct Part {
    origin: usize,
    holds: Holds,
    steps: Vec<Affine>,
}

pub struct Pipeline {
    takes: Takes,
    held: HashMap<String, Held>,
    origins: Vec<Origin>,
    by_expression: HashMap<String, usize>,
    /// How many numbers of vectors may still be held, of all stages.
    slots_left: usize,
    /// How long the SQL may still become.
    sql_left: usize,
}

impl Pipeline {
    pub fn new(takes: Takes) -> Self {
        let (slots_left, sql_left) = (ALL_SLOTS_MOST, SQL_BYTES_MOST);
        Self { takes, held: HashMap::new(), origins: Vec::new(), by_expression: HashMap::new(), slots_left, sql_left }
    }

    fn hold_vector(&mut self, name: &str, parts: Vec<Part>) -> Result<(), String> {
        let left = self.slots_left.checked_sub(parts.len());
        self.slots_left =
            left.ok_or_else(|| format!("the vectors of its stages have more than {ALL_SLOTS_MOST} numbers"))?;
        self.held.insert(name.to_owned(), Held::Vector(parts));
        Ok(())
    }

    fn count_sql(&mut self, sql: &str) -> Result<(), String> {
        let left = self.sql_left.checked_sub(sql.len());
        self.sql_left = left.ok_or_else(|| {
            format!(
                "its categories and buckets become more than {} MiB of SQL: merge those that are rare",
                SQL_BYTES_MOST >> 20
            )
        })?;
        Ok(())
    }

    /// Follows a transformer; a model is none.
    pub fn follow(&mut self, stage: &SavedStage) -> Result<(), String> {
        match stage {
            SavedStage::StringIndexer(indexer) => self.index(indexer),
            SavedStage::OneHot(encoder) => self.encode(encoder),
            SavedStage::Imputer(imputer) => self.impute(imputer),
            SavedStage::Assembler(assembler) => self.assemble(assembler),
            SavedStage::Scaler(scaler) => self.scale(scaler),
            SavedStage::Bucketizer(bucketizers) => bucketizers.iter().try_for_each(|one| self.bucket(one)),
            SavedStage::IndexToString(_)
            | SavedStage::Als(_)
            | SavedStage::Kmeans(_)
            | SavedStage::Linear(_)
            | SavedStage::Logistic(_)
            | SavedStage::Trees(_)
            | SavedStage::Pipeline(_) => Ok(()),
        }
    }

    fn number(&self, name: &str) -> Result<(String, String, Option<f64>), String> {
        match self.held.get(name) {
            None => Ok((name.to_owned(), quoted(name), None)),
            Some(Held::Number { column, sql, fill }) => Ok((column.clone(), sql.clone(), *fill)),
            Some(Held::Labels { .. } | Held::Bucket { .. } | Held::Vector(_)) => {
                Err(format!("`{name}` is computed and no plain number, which is not taken over here"))
            }
        }
    }

    fn index(&mut self, indexer: &StringIndexer) -> Result<(), String> {
        for ((input, output), labels) in indexer.columns.iter().zip(&indexer.labels) {
            if self.held.contains_key(input) {
                return Err(format!("a StringIndexer of `{input}`, which is computed, is not taken over here"));
            }
            let (column, labels, other) = (input.clone(), labels.clone(), indexer.invalid == Invalid::Keep);
            self.held.insert(output.clone(), Held::Labels { column, labels, other });
        }
        Ok(())
    }

    fn impute(&mut self, imputer: &Imputer) -> Result<(), String> {
        for ((input, output), &surrogate) in imputer.columns.iter().zip(&imputer.surrogates) {
            let (column, sql, fill) = self.number(input)?;
            let held = match imputer.missing.is_nan() && sql == quoted(&column) && fill.is_none() {
                true => Held::Number { column, sql, fill: Some(surrogate) },
                false => {
                    let sql = complete(&sql, fill);
                    let sql = if imputer.missing.is_nan() {
                        sql
                    } else {
                        format!("nullif({sql}, {})", float(imputer.missing))
                    };
                    Held::Number { column, sql: complete(&sql, Some(surrogate)), fill: None }
                }
            };
            self.held.insert(output.clone(), held);
        }
        Ok(())
    }

    fn bucket(&mut self, bucketizer: &Bucketizer) -> Result<(), String> {
        let (column, sql, fill) = self.number(&bucketizer.input)?;
        let (sql, splits) = (complete(&sql, fill), &bucketizer.splits);
        let n = splits.len() - 1;
        let mut cases = String::new();
        for (bucket, ends) in splits.windows(2).enumerate() {
            let is_last = bucket + 1 == n;
            if bucket == 0 && ends[0].is_finite() {
                cases += &format!(" when {sql} < {} then null", float(ends[0]));
            }
            cases += &match (is_last, ends[1].is_finite()) {
                (false, _) => format!(" when {sql} < {} then '{bucket}'", float(ends[1])),
                (true, true) => format!(" when {sql} <= {} then '{bucket}'", float(ends[1])),
                (true, false) => format!(" when {sql} >= {} then '{bucket}'", float(ends[0])),
            };
            if cases.len() > self.sql_left {
                break;
            }
        }
        self.count_sql(&cases)?;
        self.held.insert(bucketizer.output.clone(), Held::Bucket { column, sql: format!("case{cases} end"), n });
        Ok(())
    }

    fn encode(&mut self, encoder: &OneHot) -> Result<(), String> {
        for ((input, output), &size) in encoder.columns.iter().zip(&encoder.sizes) {
            let keeps = encoder.invalid == Invalid::Keep;
            let (origin, n_codes) = match self.held.get(input) {
                // A column of codes.
                None => (self.codes(input, size, keeps), size + usize::from(keeps)),
                Some(_) => self.coded(input, false)?,
            };
            if n_codes > size + usize::from(keeps) {
                return Err(format!("the OneHotEncoder of `{input}` knows {size} categories, and there are {n_codes}"));
            }
            let n_slots = match (encoder.drop_last, keeps) {
                (true, false) => size.saturating_sub(1),
                (false, true) => size + 1,
                (true, true) | (false, false) => size,
            };
            let mut parts = Vec::with_capacity(n_slots.min(SLOTS_MOST));
            for category in 0..n_slots.min(SLOTS_MOST) {
                let category = u32::try_from(category).map_err(|error| error.to_string())?;
                parts.push(Part { origin, holds: Holds::Is(category), steps: Vec::new() });
            }
            self.hold_vector(output, parts)?;
        }
        Ok(())
    }

    /// Labels or buckets as a feature, and how many codes there are. `or_unknown`: a bucket of nothing has a code too.
    fn coded(&mut self, name: &str, or_unknown: bool) -> Result<(usize, usize), String> {
        let (column, expression, labels, other) = match self.held.get(name) {
            Some(Held::Labels { column, labels, other: false }) => (column, column.clone(), labels.clone(), false),
            Some(Held::Labels { column, labels, other: true }) => {
                (column, or_none_of(&quoted(column), labels), labels.clone(), true)
            }
            Some(Held::Bucket { column, sql, n }) => {
                let labels: Vec<String> = (0..*n).map(|bucket| bucket.to_string()).collect();
                let expression = if or_unknown { or_none_of(sql, &labels) } else { sql.clone() };
                (column, expression, labels, or_unknown)
            }
            Some(Held::Number { .. } | Held::Vector(_)) | None => {
                return Err(format!("`{name}` has no categories, and a OneHotEncoder needs some"));
            }
        };
        let kind = match self.held.get(name) {
            Some(Held::Bucket { .. }) => ColumnType::Float64,
            _ => ColumnType::Utf8,
        };
        let n_codes = labels.len() + usize::from(other);
        let reads = (column.clone(), kind);
        Ok((self.origin(Origin { expression, reads, kind: OriginKind::Labels { labels, other } }), n_codes))
    }

    /// A column that holds the numbers below `n`, each of which is a category.
    fn codes(&mut self, column: &str, n: usize, other: bool) -> usize {
        let labels: Vec<String> = (0..n.min(SLOTS_MOST)).map(|code| code.to_string()).collect();
        let expression = if other {
            or_none_of(&format!("cast({} as varchar)", quoted(column)), &labels)
        } else {
            column.to_owned()
        };
        let kind = OriginKind::Labels { labels, other };
        self.origin(Origin { expression, reads: (column.to_owned(), ColumnType::Int64), kind })
    }

    fn origin(&mut self, origin: Origin) -> usize {
        let key = format!("{}\n{:?}", origin.expression, origin.reads.1);
        let key = if let OriginKind::Number(fill) = &origin.kind { format!("{key}\n{fill:?}") } else { key };
        *self.by_expression.entry(key).or_insert_with(|| {
            self.origins.push(origin);
            self.origins.len() - 1
        })
    }

    fn plain(&mut self, column: &str, expression: String, fill: Option<f64>) -> Part {
        let (reads, kind) = ((column.to_owned(), ColumnType::Float64), OriginKind::Number(fill));
        let origin = self.origin(Origin { expression, reads, kind });
        Part { origin, holds: Holds::Number, steps: Vec::new() }
    }

    fn assemble(&mut self, assembler: &Assembler) -> Result<(), String> {
        // To trees a missing number is larger than every other.
        let keeps = assembler.invalid == Invalid::Keep && self.takes == Takes::Thresholds;
        let largest = keeps.then_some(f64::MAX);
        let mut parts = Vec::new();
        for input in &assembler.inputs {
            match self.held.get(input).cloned() {
                None => parts.push(self.plain(input, input.clone(), largest)),
                Some(Held::Number { column, sql, fill }) => {
                    let expression = if sql == quoted(&column) { column.clone() } else { sql };
                    parts.push(self.plain(&column, expression, fill.or(largest)));
                }
                Some(held @ (Held::Labels { .. } | Held::Bucket { .. })) => {
                    let (origin, n_codes) = self.coded(input, keeps)?;
                    let unknown = u32::try_from(n_codes - 1).ok();
                    let unknown = unknown.filter(|_| keeps && matches!(held, Held::Bucket { .. }));
                    parts.push(Part { origin, holds: Holds::Code { unknown }, steps: Vec::new() });
                }
                Some(Held::Vector(more)) => parts.extend(more),
            }
            if parts.len() > SLOTS_MOST {
                return Err(format!("`{}` has more than {SLOTS_MOST} numbers", assembler.output));
            }
        }
        self.hold_vector(&assembler.output, parts)
    }

    fn scale(&mut self, scaler: &Scaler) -> Result<(), String> {
        let parts = self.vector(&scaler.input, scaler.slots.len(), None)?;
        if parts.len() != scaler.slots.len() {
            let (found, expected) = (parts.len(), scaler.slots.len());
            return Err(format!("`{}` has {found} numbers, and its scaler takes {expected}", scaler.input));
        }
        let scaled = parts.into_iter().zip(&scaler.slots).map(|(mut part, step)| {
            part.steps.push(*step);
            part
        });
        let scaled = scaled.collect();
        self.hold_vector(&scaler.output, scaled)
    }

    /// A column that no stage makes is a vector whose numbers are columns of ours.
    fn vector(&mut self, name: &str, n: usize, names: Option<&[String]>) -> Result<Vec<Part>, String> {
        match (self.held.get(name), names) {
            (Some(Held::Vector(parts)), None) => Ok(parts.clone()),
            (Some(Held::Vector(_)), Some(_)) => {
                Err("the pipeline says what its columns are called: leave --features out".to_owned())
            }
            (Some(_), _) => Err(format!("`{name}` is no vector")),
            (None, Some(names)) if names.len() != n => {
                Err(format!("--features has {} names, and the model takes {n} numbers", names.len()))
            }
            (None, names) if n <= SLOTS_MOST => {
                let own = |place: usize| format!("{name}_{place}");
                let names = (0..n).map(|place| names.map_or_else(|| own(place), |names| names[place].clone()));
                let names: Vec<String> = names.collect();
                Ok(names.into_iter().map(|name| self.plain(&name, name.clone(), None)).collect())
            }
            (None, _) => Err(format!("`{name}` has more than {SLOTS_MOST} numbers")),
        }
    }

    /// How the columns of a request fill the vector `name` of `n` numbers. `nominal`: the categories of numbers which the model takes for
    /// such. `names`: of a vector that no stage makes.
    pub fn finish(
        mut self,
        name: &str,
        n: usize,
        nominal: &BTreeMap<usize, u32>,
        names: Option<&[String]>,
    ) -> Result<Mapped, String> {
        let parts = self.vector(name, n, names)?;
        let mut columns: Vec<(usize, VectorColumn)> = Vec::new();
        let mut of_origin: HashMap<usize, usize> = HashMap::new();
        for (place, part) in parts.into_iter().enumerate() {
            let Part { origin, holds, steps } = self.as_taken(part, nominal.get(&place).copied())?;
            let n_categories = match &self.origins[origin].kind {
                OriginKind::Number(_) => None,
                OriginKind::Labels { labels, other } => {
                    Some(u32::try_from(labels.len() + usize::from(*other)).map_err(|error| error.to_string())?.max(1))
                }
            };
            let slot = VectorSlot { place, holds, steps };
            match of_origin.get(&origin).filter(|_| n_categories.is_some()) {
                Some(&column) => columns[column].1.slots.push(slot),
                None => {
                    of_origin.insert(origin, columns.len());
                    columns.push((origin, VectorColumn { n_categories, slots: vec![slot] }));
                }
            }
        }
        let features = columns.iter().map(|(origin, _)| self.feature(*origin)).collect();
        let takes_missing = columns.iter().any(|(origin, _)| match &self.origins[*origin].kind {
            OriginKind::Number(fill) => fill.is_some(),
            OriginKind::Labels { other, .. } => *other,
        });
        let inputs = self.inputs(columns.iter().map(|(origin, _)| *origin));
        let missing = if takes_missing { Missing::Mean } else { Missing::Drop };
        Ok(Mapped { inputs, features, columns: columns.into_iter().map(|(_, column)| column).collect(), missing })
    }

    /// A number of the vector as the model needs it.
    fn as_taken(&mut self, part: Part, nominal: Option<u32>) -> Result<Part, String> {
        let origin = &self.origins[part.origin];
        // There may be as many parts as there are labels, which are copied for none of them.
        if let (Takes::Distances, OriginKind::Labels { labels, other }) = (self.takes, &origin.kind) {
            let sql = as_number(&origin.expression, &origin.reads, labels, *other, part.holds);
            let (column, kind) = origin.reads.clone();
            self.count_sql(&sql)?;
            let mut taken = self.plain(&column, sql, None);
            self.origins[taken.origin].reads.1 = kind;
            taken.steps = part.steps;
            return Ok(taken);
        }
        let OriginKind::Number(fill) = origin.kind else { return Ok(part) };
        let (expression, reads) = (origin.expression.clone(), origin.reads.clone());
        match (self.takes, fill, nominal) {
            (Takes::Thresholds, None, Some(n)) if part.steps.is_empty() && expression == reads.0 => {
                let origin = self.codes(&reads.0, n as usize, true);
                Ok(Part { origin, holds: Holds::Code { unknown: None }, steps: Vec::new() })
            }
            (Takes::Thresholds, _, Some(_)) => {
                Err(format!("`{expression}` is a category to the model and computed, which is not taken over here"))
            }
            (Takes::Thresholds, fill, None) if !part.steps.is_empty() => {
                let plain = if expression == reads.0 { quoted(&expression) } else { expression };
                // The largest stays what it is where a number is missing.
                let (inside, outside) = if fill == Some(f64::MAX) { (None, fill) } else { (fill, None) };
                let scaled = part.steps.iter().fold(complete(&plain, inside), |sql, step| scaled(&sql, step));
                Ok(self.plain(&reads.0, scaled, outside))
            }
            (Takes::Weights | Takes::Thresholds | Takes::Distances, _, _) => Ok(part),
        }
    }

    fn feature(&self, origin: usize) -> Feature {
        let Origin { expression, kind, .. } = &self.origins[origin];
        let encoding = match kind {
            OriginKind::Number(fill) => Encoding::Numeric { min: None, max: None, fill: *fill },
            OriginKind::Labels { labels, other } => {
                let unseen = if *other { Unseen::Other } else { Unseen::Error };
                let max = u32::try_from(labels.len()).unwrap_or(u32::MAX);
                Encoding::Categorical { categories: labels.clone(), rule: Categorical { max, unseen } }
            }
        };
        Feature { expression: expression.clone(), encoding }
    }

    /// What is read as a text and as a number is one: a number has a text too.
    fn inputs(&self, origins: impl Iterator<Item = usize>) -> Vec<Input> {
        let mut inputs: Vec<Input> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        for origin in origins {
            let (name, kind) = &self.origins[origin].reads;
            match places.get(name.as_str()) {
                Some(&place) if inputs[place].kind == ColumnType::Utf8 => inputs[place].kind = *kind,
                Some(_) => {}
                None => {
                    places.insert(name, inputs.len());
                    inputs.push(Input { name: name.clone(), kind: *kind });
                }
            }
        }
        inputs
    }
}

fn scaled(sql: &str, step: &Affine) -> String {
    let centered = if step.center == 0.0 { sql.to_owned() } else { format!("({sql} - {})", float(step.center)) };
    let scaled = if step.factor == 1.0 { centered } else { format!("({centered} * {})", float(step.factor)) };
    if step.shift == 0.0 { scaled } else { format!("({scaled} + {})", float(step.shift)) }
}

fn complete(sql: &str, fill: Option<f64>) -> String {
    fill.map_or_else(|| sql.to_owned(), |fill| format!("coalesce({sql}, {})", float(fill)))
}

/// What is missing as a text that is none of the labels.
fn or_none_of(sql: &str, labels: &[String]) -> String {
    let mut none = String::new();
    while labels.contains(&none) {
        none.push('?');
    }
    format!("coalesce({sql}, {})", text(&none))
}

/// A slot of a category as a number: null where the fit did not know it.
fn as_number(expression: &str, reads: &(String, ColumnType), labels: &[String], other: bool, holds: Holds) -> String {
    let value = |code: usize| match holds {
        Holds::Is(this) => f64::from(u8::from(this as usize == code)),
        Holds::Code { .. } | Holds::Number => code as f64,
    };
    let sql = if expression == reads.0 { quoted(expression) } else { expression.to_owned() };
    let else_value = value(labels.len());
    let mut cases = String::new();
    let mut alike: Vec<String> = Vec::new();
    for (code, label) in labels.iter().enumerate() {
        match value(code) {
            0.0 if other && else_value == 0.0 => {}
            0.0 => alike.push(text(label)),
            value => cases += &format!(" when {sql} = {} then {}", text(label), float(value)),
        }
    }
    if !alike.is_empty() {
        cases += &format!(" when {sql} in ({}) then 0.0", alike.join(", "));
    }
    match (other, cases.is_empty()) {
        (true, true) => float(else_value),
        (true, false) => format!("case{cases} else {} end", float(else_value)),
        (false, _) => format!("case{cases} end"),
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// As SQL has it, bit by bit.
fn float(value: f64) -> String {
    if value < 0.0 { format!("({value:?})") } else { format!("{value:?}") }
}
