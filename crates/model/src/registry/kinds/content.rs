//! Loaded items that lists are made of: similar texts, near rows, and what is liked best. Row `i` of a model is the item of the
//! `i`-th id; `serve` makes the lists.

use datafusion::arrow::array::{Array, AsArray, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use millstream_learn::content::{self, Lookup, Titles};
use millstream_learn::neighbours::{self, Neighbour, StoredValue};
use millstream_learn::table::MISSING_CODE;
use millstream_learn::top_n::{Admit, Scored};
use millstream_learn::{Algorithm, Array as Numbers, Arrays, Column, Id, Ids, LoadError, Table, popularity};
use millstream_stream::expression::{Expression, ExpressionError};
use serde_json::{Map, Value};

use super::clusters::category_name;
use crate::model::Missing;
use crate::registry::encoder::{RowEncoder, general_fault};
use crate::registry::input::{Inputs, Row};
use crate::registry::{FeatureSet, InputFault, ModelFile, Task};

const ID: &str = "item";
const GROUP: &str = "group";
const TITLE_BYTES: &str = "title_bytes";
const TITLE_ENDS: &str = "title_ends";

/// The arrays of a model of texts.
#[derive(Debug)]
pub struct ContentParts {
    pub model: content::Model,
    pub ids: Ids,
    /// `None`: no title is configured.
    pub titles: Option<TitleTexts>,
}

/// One text an item, as written; empty where there is none.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TitleTexts {
    bytes: String,
    ends: Vec<usize>,
}

impl TitleTexts {
    pub fn push(&mut self, title: &str) {
        self.bytes.push_str(title);
        self.ends.push(self.bytes.len());
    }

    pub fn get(&self, row: u32) -> Option<&str> {
        let row = row as usize;
        let start = if row == 0 { 0 } else { *self.ends.get(row - 1)? };
        self.bytes.get(start..*self.ends.get(row)?).filter(|title| !title.is_empty())
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn store(&self, arrays: &mut Arrays) {
        arrays.insert(
            TITLE_BYTES.to_owned(),
            Numbers::U8 { shape: vec![self.bytes.len()], data: self.bytes.as_bytes().to_vec() },
        );
        arrays.insert(TITLE_ENDS.to_owned(), Numbers::ends(self.ends.iter().copied()));
    }

    /// `None`: there are none in the arrays.
    fn load(arrays: &Arrays) -> Result<Option<Self>, LoadError> {
        let (Some(Numbers::U8 { data, .. }), Some(Numbers::I64 { data: ends, .. })) =
            (arrays.get(TITLE_BYTES), arrays.get(TITLE_ENDS))
        else {
            return Ok(None);
        };
        let bytes = String::from_utf8(data.clone()).map_err(|error| damaged(TITLE_BYTES, error.to_string()))?;
        let mut found = Vec::with_capacity(ends.len());
        for &end in ends {
            let start = found.last().copied().unwrap_or(0);
            let end = usize::try_from(end).ok().filter(|&end| bytes.get(start..end).is_some());
            found.push(end.ok_or_else(|| damaged(TITLE_ENDS, format!("title {} has no end", found.len())))?);
        }
        if found.last().copied().unwrap_or(0) != bytes.len() {
            return Err(damaged(TITLE_ENDS, "the last is not the end of the bytes".to_owned()));
        }
        Ok(Some(Self { bytes, ends: found }))
    }
}

fn damaged(name: &str, problem: String) -> LoadError {
    LoadError::Damaged { name: name.to_owned(), problem }
}

fn load_ids(name: &str, arrays: &Arrays, n_rows: usize) -> Result<Ids, LoadError> {
    let ids = Ids::load(name, arrays)?;
    match ids.len() {
        n_ids if n_ids == n_rows => Ok(ids),
        n_ids => Err(damaged(&format!("{name}_ids"), format!("it has {n_ids} ids for {n_rows} rows"))),
    }
}

impl ContentParts {
    pub fn from_arrays(arrays: &Arrays) -> Result<Self, LoadError> {
        let model = content::Model::from_arrays(arrays)?;
        let ids = load_ids(ID, arrays, model.n_rows())?;
        let titles = TitleTexts::load(arrays)?;
        if let Some(titles) = titles.as_ref().filter(|titles| titles.len() != ids.len()) {
            return Err(damaged(TITLE_ENDS, format!("there are {} titles for {} items", titles.len(), ids.len())));
        }
        Ok(Self { model, ids, titles })
    }

    pub fn to_arrays(&self) -> Arrays {
        let mut arrays = self.model.to_arrays();
        self.ids.store(ID, &mut arrays);
        self.titles.iter().for_each(|titles| titles.store(&mut arrays));
        arrays
    }
}

/// Items with similar texts, and how they are called.
#[derive(Debug)]
pub struct Content {
    pub model: content::Model,
    pub ids: Ids,
    titles: Option<(TitleTexts, Titles)>,
    inputs: Inputs,
    texts: Vec<Expression>,
}

impl Content {
    pub fn new(file: &ModelFile, parts: ContentParts) -> Result<Self, ExpressionError> {
        let inputs = Inputs::new(&file.inputs, false);
        let expressions: &[_] = match &file.task {
            Task::Similarity(task) => &task.text,
            Task::Regression
            | Task::Classification { .. }
            | Task::Recommendation(_)
            | Task::Clustering(_)
            | Task::Neighbourhood(_)
            | Task::Popularity(_) => &[],
        };
        let texts = expressions.iter().map(|text| Expression::compile(&text.expression, inputs.schema()));
        let texts = texts.collect::<Result<Vec<_>, _>>()?;
        let ContentParts { model, ids, titles } = parts;
        let titles = titles.map(|titles| {
            let found = Titles::new((0..).take(titles.len()).map(|row| titles.get(row).unwrap_or("")));
            (titles, found)
        });
        Ok(Self { model, ids, titles, inputs, texts })
    }

    pub fn has_titles(&self) -> bool {
        self.titles.is_some()
    }

    /// As written; `None` where there is none.
    pub fn title(&self, row: u32) -> Option<&str> {
        self.titles.as_ref()?.0.get(row)
    }

    /// The item that a name stands for, or at most `n` that it may.
    pub fn lookup(&self, name: &str, n: usize, admit: &Admit) -> Lookup {
        self.titles.as_ref().map_or(Lookup::NotFound, |(_, titles)| titles.lookup(name, n, admit))
    }

    /// The titles most like a name that stands for none: for "did you mean".
    pub fn titles_like(&self, name: &str, n: usize, admit: &Admit) -> Vec<content::TitleMatch> {
        self.titles.as_ref().map_or_else(Vec::new, |(_, titles)| titles.nearest(name, n, admit))
    }

    /// What the compared texts of a posted row are, one for each text column; empty where one is null. The row may lack columns.
    pub fn texts_of_row(&self, row: &Row) -> Result<Vec<String>, InputFault> {
        let batch = self.inputs.batch(std::slice::from_ref(row))?;
        let texts = self.texts.iter().map(|text| {
            let fault = |message: String| InputFault {
                row: 0,
                field: text.columns().first().cloned().unwrap_or_default(),
                message,
            };
            let values = text.evaluate(&batch).map_err(|error| fault(error.to_string()))?;
            let values = cast(&values, &DataType::Utf8).map_err(|error| fault(error.to_string()))?;
            let values: &StringArray = values.as_string::<i32>();
            let present = !values.is_empty() && values.is_valid(0);
            Ok(if present { values.value(0).to_owned() } else { String::new() })
        });
        texts.collect()
    }

    /// A free text stands for every text column.
    pub fn texts_of_words(&self, text: &str) -> Vec<String> {
        vec![text.to_owned(); self.model.n_columns()]
    }

    /// `texts`: of `texts_of_row` or `texts_of_words`. Weighed once, for a list and the words that made it.
    pub fn query(&self, texts: &[String]) -> content::Query {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        self.model.query(&texts)
    }

    /// `texts`: of `texts_of_row` or `texts_of_words`.
    pub fn similar_to_texts(&self, texts: &[String], n: usize, admit: &Admit) -> Vec<Scored> {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        self.model.similar_to_text(&texts, n, admit)
    }

    /// The words that make `row` similar to these texts, the weightiest first.
    pub fn terms_shared_with_texts(&self, texts: &[String], row: u32) -> Vec<content::Term<'_>> {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        self.model.terms_shared_with_text(&texts, row)
    }
}

/// The arrays of a model of near rows.
#[derive(Debug)]
pub struct NeighbourParts {
    pub model: neighbours::Model,
    pub ids: Ids,
}

impl NeighbourParts {
    pub fn from_arrays(arrays: &Arrays) -> Result<Self, LoadError> {
        let model = neighbours::Model::from_arrays(arrays)?;
        let ids = load_ids(ID, arrays, model.n_rows())?;
        Ok(Self { model, ids })
    }

    pub fn to_arrays(&self) -> Arrays {
        let mut arrays = self.model.to_arrays();
        self.ids.store(ID, &mut arrays);
        arrays
    }
}

/// Items and their values.
#[derive(Debug)]
pub struct Neighbourhood {
    pub model: neighbours::Model,
    pub ids: Ids,
    encoder: RowEncoder,
}

impl Neighbourhood {
    pub fn new(file: &ModelFile, algorithm: Algorithm, parts: NeighbourParts) -> Result<Self, ExpressionError> {
        let encoder = RowEncoder::new(file, algorithm, Vec::new())?;
        Ok(Self { model: parts.model, ids: parts.ids, encoder })
    }

    pub fn feature_set(&self) -> &FeatureSet {
        self.encoder.feature_set()
    }

    /// What a stored row was compared by: its features, in their order; a missing value is null.
    pub fn row(&self, row: u32) -> Map<String, Value> {
        let features = self.feature_set().features();
        let shown = features.iter().enumerate().map(|(column, feature)| {
            let value = match self.model.value(row, column) {
                Some(StoredValue::Number(number)) => number_json(number),
                Some(StoredValue::Category(code)) => Value::from(category_name(feature, Missing::Skip, code)),
                None => Value::Null,
            };
            (feature.expression.clone(), value)
        });
        shown.collect()
    }

    /// A posted row as the model compares it: a table of that one row. It may lack columns, but not all.
    pub fn posted(&self, row: &Row) -> Result<Table, InputFault> {
        let encoded = self.encoder.encode(std::slice::from_ref(row))?;
        let table = Table::new(encoded.columns).map_err(|error| general_fault(&error))?;
        if table.columns().iter().all(is_first_missing) {
            let names: Vec<&str> =
                self.feature_set().features().iter().map(|feature| feature.expression.as_str()).collect();
            let message = format!("the row has no value to compare by: give at least one of {}", names.join(", "));
            return Err(InputFault { row: 0, field: String::new(), message });
        }
        Ok(table)
    }

    /// The admitted rows nearest to a posted one.
    pub fn nearest_to_posted(&self, row: &Row, n: usize, admit: &Admit) -> Result<Vec<Neighbour>, InputFault> {
        self.nearest_in(&self.posted(row)?, n, admit)
    }

    /// The admitted rows nearest to a row of `posted`.
    pub fn nearest_in(&self, posted: &Table, n: usize, admit: &Admit) -> Result<Vec<Neighbour>, InputFault> {
        self.model.nearest(posted, 0, n, admit).map_err(|error| general_fault(&error))
    }

    /// How many rows `nearest_in` finds when none is too many.
    pub fn n_near(&self, posted: &Table, admit: &Admit) -> Result<usize, InputFault> {
        self.model.n_near(posted, 0, admit).map_err(|error| general_fault(&error))
    }
}

fn is_first_missing(column: &Column) -> bool {
    match column {
        Column::Numeric(values) => values.first().is_none_or(|value| !value.is_finite()),
        Column::Categorical { codes, .. } => codes.first().is_none_or(|code| *code == MISSING_CODE),
        Column::Sparse(words) => words.is_empty() || words.is_zero(0),
    }
}

/// Whole numbers without a fraction.
fn number_json(number: f64) -> Value {
    match millstream_stream::record::exact_integer(number) {
        Some(whole) => Value::from(whole),
        None => Value::from(number),
    }
}

/// What is liked best, of all and of each group.
#[derive(Debug)]
pub struct Popularity {
    pub model: popularity::Model,
    pub items: Ids,
    /// By the group's text.
    pub groups: Ids,
}

impl Popularity {
    pub fn from_arrays(arrays: &Arrays) -> Result<Self, LoadError> {
        let model = popularity::Model::from_arrays(arrays)?;
        let (items, groups) = (Ids::load(ID, arrays)?, Ids::load(GROUP, arrays)?);
        let most = model.top(None, usize::MAX, &Admit::default()).iter().map(|popular| popular.item).max();
        if let Some(item) = most.filter(|item| *item as usize >= items.len()) {
            return Err(damaged("items", format!("item {item} has no id among {}", items.len())));
        }
        if let Some(group) = model.groups().find(|group| *group as usize >= groups.len()) {
            return Err(damaged("groups", format!("group {group} has no name among {}", groups.len())));
        }
        Ok(Self { model, items, groups })
    }

    pub fn to_arrays(&self) -> Arrays {
        let mut arrays = self.model.to_arrays();
        self.items.store(ID, &mut arrays);
        self.groups.store(GROUP, &mut arrays);
        arrays
    }

    /// The code of a group by its text; `None`: no record is in such a group.
    pub fn group(&self, name: &str) -> Option<u32> {
        self.groups.code(Id::Text(name))
    }
}
