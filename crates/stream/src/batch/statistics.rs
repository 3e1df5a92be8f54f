//! What the columns of some rows are like: how many are missing, how many differ, where the numbers lie, which texts are frequent.
//! Pure: rows come in as blocks, twice, for where the bins of a histogram lie is known once all have been seen.

use std::collections::{HashMap, HashSet};

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type, SchemaRef, TimestampMillisecondType};
use serde::Serialize;
use serde_json::Value;

use crate::record::{float_json, integer_json};

/// Of rows of a batch: enough for what is drawn of them.
pub const STATISTICS_ROWS_MOST: usize = 200_000;
const BINS_MOST: usize = 20;
const TOP_MOST: usize = 10;
/// Different values of a column that are told apart, and how long they may be together.
const DISTINCT_MOST: usize = 10_000;
const DISTINCT_BYTES_MOST: usize = 1 << 20;
/// Up to here whole numbers are apart as f64.
const EXACT_MOST: u64 = 1 << 53;
/// Of a text that is shown.
const SHOWN_CHARS_MOST: usize = 200;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BatchStatistics {
    pub rows_read: usize,
    pub columns: Vec<ColumnStatistics>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ColumnStatistics {
    pub name: String,
    /// `float64 | int64 | utf8 | boolean`, or `timestamp`: milliseconds since the epoch.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// What is no number (NaN, an infinity) among them.
    pub nulls: usize,
    /// `None`: more than were told apart, which were `distinct_counted`.
    pub distinct: Option<usize>,
    pub distinct_counted: usize,
    #[serde(flatten)]
    pub numbers: Option<NumberStatistics>,
    /// Of texts and booleans, the most frequent first. Where `distinct` is none, of those that were told apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top: Option<Vec<TopValue>>,
}

/// All of them null where no row has a number.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NumberStatistics {
    pub min: Value,
    pub max: Value,
    pub mean: Value,
    /// Of all these rows: the root of the mean square.
    pub deviation: Value,
    pub histogram: Histogram,
}

/// Bin i holds what is at least `edges[i]` and below `edges[i + 1]`, the last one its upper edge too.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Histogram {
    pub edges: Vec<f64>,
    pub counts: Vec<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TopValue {
    pub value: Value,
    pub rows: u64,
}

/// Both passes over the rows; `blocks` answers them, in the same order both times, with the columns of `schema`.
pub fn statistics<E, B: Iterator<Item = Result<RecordBatch, E>>>(
    schema: &SchemaRef,
    mut blocks: impl FnMut() -> Result<B, E>,
) -> Result<BatchStatistics, E> {
    let mut columns: Vec<Gathered> =
        schema.fields().iter().map(|field| Gathered::new(field.name(), field.data_type())).collect();
    let mut rows_read = 0;
    for block in blocks()? {
        let block = block?;
        rows_read += block.num_rows();
        columns.iter_mut().zip(block.columns()).for_each(|(column, values)| column.first(values.as_ref()));
    }
    columns.iter_mut().for_each(Gathered::lay_bins);
    for block in blocks()? {
        let block = block?;
        columns.iter_mut().zip(block.columns()).for_each(|(column, values)| column.second(values.as_ref()));
    }
    Ok(BatchStatistics { rows_read, columns: columns.into_iter().map(Gathered::finish).collect() })
}

/// One column, as far as it was seen.
struct Gathered {
    name: String,
    kind: &'static str,
    nulls: usize,
    of_kind: OfKind,
}

enum OfKind {
    Numbers(Numbers),
    /// Whole numbers and times keep every digit of their bounds.
    Integers {
        numbers: Numbers,
        bounds: Option<(i64, i64)>,
    },
    Texts(Texts),
    /// Of false and true.
    Booleans([u64; 2]),
    /// Parts hold no other type: see `StreamSchema::part`.
    Unknown,
}

#[derive(Default)]
struct Numbers {
    count: u64,
    sum: f64,
    bounds: Option<(f64, f64)>,
    distinct: HashSet<u64>,
    is_beyond: bool,
    mean: f64,
    squares: f64,
    histogram: Histogram,
}

#[derive(Default)]
struct Texts {
    rows: HashMap<Box<str>, u64>,
    bytes: usize,
    is_beyond: bool,
}

impl Gathered {
    fn new(name: &str, kind: &DataType) -> Self {
        let (kind, of_kind) = match kind {
            DataType::Float64 => ("float64", OfKind::Numbers(Numbers::default())),
            DataType::Int64 => ("int64", OfKind::Integers { numbers: Numbers::default(), bounds: None }),
            DataType::Timestamp(..) => ("timestamp", OfKind::Integers { numbers: Numbers::default(), bounds: None }),
            DataType::Utf8 => ("utf8", OfKind::Texts(Texts::default())),
            DataType::Boolean => ("boolean", OfKind::Booleans([0; 2])),
            _ => ("unknown", OfKind::Unknown),
        };
        Self { name: name.to_owned(), kind, nulls: 0, of_kind }
    }

    fn first(&mut self, values: &dyn Array) {
        let mut nulls = values.null_count();
        match &mut self.of_kind {
            OfKind::Numbers(numbers) => {
                for value in values.as_primitive::<Float64Type>().iter().flatten() {
                    if value.is_finite() { numbers.first(value, value.to_bits()) } else { nulls += 1 }
                }
            }
            OfKind::Integers { numbers, bounds } => {
                for value in integers(values) {
                    *bounds = Some(bounds.map_or((value, value), |(low, high)| (low.min(value), high.max(value))));
                    numbers.first(value as f64, value.cast_unsigned());
                }
            }
            OfKind::Texts(texts) => values.as_string::<i32>().iter().flatten().for_each(|text| texts.add(text)),
            OfKind::Booleans(rows) => {
                values.as_boolean().iter().flatten().for_each(|value| rows[usize::from(value)] += 1);
            }
            OfKind::Unknown => {}
        }
        self.nulls += nulls;
    }

    fn lay_bins(&mut self) {
        match &mut self.of_kind {
            OfKind::Numbers(numbers) => numbers.lay_bins(numbers.bounds.map(even)),
            OfKind::Integers { numbers, bounds } => numbers.lay_bins(bounds.map(whole)),
            OfKind::Texts(_) | OfKind::Booleans(_) | OfKind::Unknown => {}
        }
    }

    fn second(&mut self, values: &dyn Array) {
        match &mut self.of_kind {
            OfKind::Numbers(numbers) => {
                let values = values.as_primitive::<Float64Type>().iter().flatten();
                values.filter(|value| value.is_finite()).for_each(|value| numbers.second(value));
            }
            OfKind::Integers { numbers, .. } => integers(values).for_each(|value| numbers.second(value as f64)),
            OfKind::Texts(_) | OfKind::Booleans(_) | OfKind::Unknown => {}
        }
    }

    fn finish(self) -> ColumnStatistics {
        let Self { name, kind, nulls, of_kind } = self;
        let (counted, is_beyond, numbers, top) = match of_kind {
            OfKind::Numbers(numbers) => {
                let bounds = numbers.bounds.map(|(low, high)| (float_json(low), float_json(high)));
                (numbers.distinct.len(), numbers.is_beyond, Some(numbers.finish(bounds)), None)
            }
            OfKind::Integers { numbers, bounds } => {
                let bounds = bounds.map(|(low, high)| (integer_json(low), integer_json(high)));
                (numbers.distinct.len(), numbers.is_beyond, Some(numbers.finish(bounds)), None)
            }
            OfKind::Texts(texts) => (texts.rows.len(), texts.is_beyond, None, Some(texts.top())),
            OfKind::Booleans(rows) => {
                let seen = [false, true].into_iter().zip(rows).filter(|(_, rows)| *rows > 0);
                let mut top: Vec<TopValue> = seen.map(|(value, rows)| TopValue { value: value.into(), rows }).collect();
                top.sort_by_key(|value| std::cmp::Reverse(value.rows));
                (top.len(), false, None, Some(top))
            }
            OfKind::Unknown => (0, true, None, None),
        };
        let distinct = (!is_beyond).then_some(counted);
        ColumnStatistics { name, kind, nulls, distinct, distinct_counted: counted, numbers, top }
    }
}

/// Those that are there, of whole numbers or times.
fn integers(values: &dyn Array) -> Box<dyn Iterator<Item = i64> + '_> {
    match values.as_primitive_opt::<Int64Type>() {
        Some(integers) => Box::new(integers.iter().flatten()),
        None => Box::new(values.as_primitive::<TimestampMillisecondType>().iter().flatten()),
    }
}

impl Numbers {
    /// `same`: what values that are the same have in common.
    fn first(&mut self, value: f64, same: u64) {
        self.count += 1;
        self.sum += value;
        self.bounds = Some(self.bounds.map_or((value, value), |(low, high)| (low.min(value), high.max(value))));
        if !self.is_beyond && !self.distinct.contains(&same) {
            self.is_beyond = self.distinct.len() >= DISTINCT_MOST;
            if !self.is_beyond {
                self.distinct.insert(same);
            }
        }
    }

    fn lay_bins(&mut self, edges: Option<Vec<f64>>) {
        self.mean = self.sum / self.count as f64;
        let edges = edges.unwrap_or_default();
        self.histogram = Histogram { counts: vec![0; edges.len().saturating_sub(1)], edges };
    }

    fn second(&mut self, value: f64) {
        let from_mean = value - self.mean;
        self.squares += from_mean * from_mean;
        let Histogram { edges, counts } = &mut self.histogram;
        let above = edges.partition_point(|edge| *edge <= value);
        let last = counts.len().saturating_sub(1);
        if let Some(count) = counts.get_mut(above.saturating_sub(1).min(last)) {
            *count += 1;
        }
    }

    /// What overflows is null.
    fn finish(self, bounds: Option<(Value, Value)>) -> NumberStatistics {
        let (min, max) = bounds.unwrap_or_default();
        let is_any = self.count > 0;
        let number = |number: f64| if is_any { float_json(number) } else { Value::Null };
        let deviation = (self.squares / self.count as f64).sqrt();
        NumberStatistics { min, max, mean: number(self.mean), deviation: number(deviation), histogram: self.histogram }
    }
}

/// The edges of bins of the same width; of a single one where all values are the same.
fn even((low, high): (f64, f64)) -> Vec<f64> {
    let share = |bin: usize| bin as f64 / BINS_MOST as f64;
    // The range itself may be more than a number holds.
    let edge = |bin: usize| (low * (1.0 - share(bin)) + high * share(bin)).clamp(low, high);
    let mut edges: Vec<f64> = [low].into_iter().chain((1..BINS_MOST).map(edge)).chain([high]).collect();
    // Within a few steps of what a number tells apart.
    edges.sort_by(f64::total_cmp);
    edges.dedup();
    if edges.len() == 1 {
        edges.push(high);
    }
    edges
}

/// As `even`; a few whole numbers have a bin each.
fn whole((low, high): (i64, i64)) -> Vec<f64> {
    let is_exact = low.unsigned_abs().max(high.unsigned_abs()) < EXACT_MOST;
    match high.checked_sub(low) {
        Some(range @ 1..20) if is_exact => (0..=range + 1).map(|step| (low + step) as f64).collect(),
        Some(_) | None => even((low as f64, high as f64)),
    }
}

impl Texts {
    fn add(&mut self, text: &str) {
        if let Some(rows) = self.rows.get_mut(text) {
            *rows += 1;
            return;
        }
        let bytes = self.bytes + text.len();
        if self.rows.len() >= DISTINCT_MOST || bytes > DISTINCT_BYTES_MOST {
            self.is_beyond = true;
            return;
        }
        self.bytes = bytes;
        self.rows.insert(text.into(), 1);
    }

    /// Of those that are as frequent the first by the alphabet.
    fn top(self) -> Vec<TopValue> {
        let mut rows: Vec<(Box<str>, u64)> = self.rows.into_iter().collect();
        rows.sort_unstable_by(|(a, rows_a), (b, rows_b)| rows_b.cmp(rows_a).then_with(|| a.cmp(b)));
        let shown = |text: &str| match text.char_indices().nth(SHOWN_CHARS_MOST) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text.to_owned(),
        };
        rows.into_iter().take(TOP_MOST).map(|(text, rows)| TopValue { value: shown(&text).into(), rows }).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;
    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
    use datafusion::arrow::datatypes::{Field, Schema};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// One column, in blocks of three rows.
    fn of(column: ArrayRef) -> ColumnStatistics {
        let schema = Arc::new(Schema::new(vec![Field::new("c", column.data_type().clone(), true)]));
        let blocks = || {
            let blocks = (0..column.len()).step_by(3).map(|from| {
                let rows = column.slice(from, 3.min(column.len() - from));
                Ok::<_, Infallible>(RecordBatch::try_new(schema.clone(), vec![rows]).unwrap())
            });
            Ok(blocks)
        };
        let Ok(mut found) = statistics(&schema, blocks);
        assert_eq!(found.rows_read, column.len());
        // JSON has no NaN: what is told must come through it.
        let text = serde_json::to_string(&found).unwrap();
        assert!(!text.contains("\"edges\":[null"), "{text}");
        found.columns.remove(0)
    }

    fn close(found: &Value, expected: f64) -> bool {
        found.as_f64().is_some_and(|found| (found - expected).abs() <= 1e-9 * (1.0 + expected.abs()))
    }

    /// The bins hold every number, and each where its edges say.
    fn histogram_is_of(histogram: &Histogram, values: &[f64]) {
        let Histogram { edges, counts } = histogram;
        assert!(counts.len() <= BINS_MOST && edges.len() == counts.len() + usize::from(!values.is_empty()));
        let last = counts.len().saturating_sub(1);
        for (bin, count) in counts.iter().enumerate() {
            let (low, high) = (edges[bin], edges[bin + 1]);
            let holds = |value: f64| value >= low && (value < high || (bin == last && value <= high));
            assert_eq!(values.iter().filter(|value| holds(**value)).count() as u64, *count, "{histogram:?}");
        }
        assert_eq!(counts.iter().sum::<u64>(), values.len() as u64);
    }

    proptest! {
        #[test]
        fn numbers_are_those_of_a_plain_computation(
            values in proptest::collection::vec(proptest::option::weighted(0.8, prop_oneof![-1e6..1e6, Just(f64::NAN), Just(f64::INFINITY), Just(3.0)]), 0..60),
        ) {
            let found = of(Arc::new(Float64Array::from(values.clone())));
            let there: Vec<f64> = values.iter().flatten().copied().filter(|value| value.is_finite()).collect();
            prop_assert_eq!(found.nulls, values.len() - there.len());
            let distinct: HashSet<u64> = there.iter().map(|value| value.to_bits()).collect();
            prop_assert_eq!(found.distinct, Some(distinct.len()));
            let numbers = found.numbers.unwrap();
            histogram_is_of(&numbers.histogram, &there);
            if there.is_empty() {
                prop_assert_eq!((numbers.min, numbers.mean), (Value::Null, Value::Null));
                return Ok(());
            }
            let n = there.len() as f64;
            let mean = there.iter().sum::<f64>() / n;
            let deviation = (there.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt();
            prop_assert!(close(&numbers.mean, mean) && close(&numbers.deviation, deviation));
            prop_assert!(close(&numbers.min, there.iter().copied().fold(f64::INFINITY, f64::min)));
            prop_assert!(close(&numbers.max, there.iter().copied().fold(f64::NEG_INFINITY, f64::max)));
        }

        #[test]
        fn any_numbers_make_a_histogram(values in proptest::collection::vec(any::<f64>(), 0..30), whole in proptest::collection::vec(any::<i64>(), 0..30)) {
            let found = of(Arc::new(Float64Array::from(values.clone()))).numbers.unwrap();
            let there: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
            histogram_is_of(&found.histogram, &there);
            let found = of(Arc::new(Int64Array::from(whole.clone()))).numbers.unwrap();
            histogram_is_of(&found.histogram, &whole.iter().map(|value| *value as f64).collect::<Vec<_>>());
            prop_assert_eq!(found.min, whole.iter().min().map_or(Value::Null, |low| integer_json(*low)));
        }

        #[test]
        fn texts_are_counted(texts in proptest::collection::vec(proptest::option::of("[ab]{0,3}"), 0..60)) {
            let found = of(Arc::new(StringArray::from(texts.clone())));
            let mut rows: BTreeMap<&str, u64> = BTreeMap::new();
            texts.iter().flatten().for_each(|text| *rows.entry(text).or_default() += 1);
            prop_assert_eq!((found.nulls, found.distinct), (texts.iter().filter(|text| text.is_none()).count(), Some(rows.len())));
            let mut expected: Vec<(&str, u64)> = rows.into_iter().collect();
            expected.sort_by_key(|(_, rows)| std::cmp::Reverse(*rows));
            expected.truncate(TOP_MOST);
            let top: Vec<TopValue> = expected.into_iter().map(|(text, rows)| TopValue { value: text.into(), rows }).collect();
            prop_assert_eq!(found.top.unwrap(), top);
        }
    }

    #[test]
    fn a_few_whole_numbers_have_a_bin_each() {
        let found = of(Arc::new(Int64Array::from(vec![1, 5, 5, 3, 1]))).numbers.unwrap();
        let expected = Histogram { edges: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], counts: vec![2, 0, 1, 0, 2] };
        assert_eq!(found.histogram, expected);
        let found = of(Arc::new(Int64Array::from(vec![7, 7]))).numbers.unwrap();
        assert_eq!(found.histogram, Histogram { edges: vec![7.0, 7.0], counts: vec![2] });
    }

    #[test]
    fn true_and_false_are_counted() {
        let found = of(Arc::new(BooleanArray::from(vec![Some(true), None, Some(false), Some(true)])));
        let found = json!(found);
        let top = json!([{"value": true, "rows": 2}, {"value": false, "rows": 1}]);
        assert_eq!(
            found,
            json!({"name": "c", "type": "boolean", "nulls": 1, "distinct": 2, "distinct_counted": 2, "top": top})
        );
    }

    #[test]
    fn memory_is_bounded_and_what_was_not_counted_is_said() {
        let n = 3 * DISTINCT_MOST;
        let found = of(Arc::new(StringArray::from_iter_values((0..n).map(|i| format!("{}", i % (n - 1))))));
        assert_eq!((found.distinct, found.distinct_counted), (None, DISTINCT_MOST));
        assert_eq!(found.top.unwrap()[0], TopValue { value: "0".into(), rows: 2 });
        let found = of(Arc::new(StringArray::from_iter_values((0..10).map(|i| format!("{i}{}", "ü".repeat(1 << 17))))));
        assert_eq!((found.distinct, found.distinct_counted), (None, 3));
        assert_eq!(found.top.unwrap()[0].value.as_str().unwrap().chars().count(), SHOWN_CHARS_MOST + 1);
        let found = of(Arc::new(Float64Array::from_iter_values((0..n).map(|i| i as f64))));
        assert_eq!((found.distinct, found.distinct_counted), (None, DISTINCT_MOST));
        let found = of(Arc::new(Float64Array::from(vec![f64::MAX, f64::MAX, -f64::MAX]))).numbers.unwrap();
        assert_eq!((found.mean, found.deviation), (Value::Null, Value::Null), "they overflow");
    }
}
