//! Recipes of models that are lists of items, and batches, into what is fitted of them. They take every record: an item whose
//! record were held out could be found in no list.

use std::collections::BTreeMap;

use millstream_learn::content::{Corpus, TextColumn, Weight};
use millstream_learn::popularity::{self, Sums, VoteRow};
use millstream_learn::{FitError, Id, Ids, Texts};
use millstream_stream::expression::{Expression, ValueKind};
use millstream_stream::schema::StreamSchema;

use super::TrainError;
use super::columns::{GatheredColumn, Interned};
use super::encode::{EncodedTable, encode};
use super::fit::{Trained, TrainingRun, counted, name_feature};
use super::fit_clusters::constant;
use super::items::{As, ItemColumn, ItemReader, Latest, latest};
use super::prepare::{Counts, FeatureColumns, inputs, is_categorical};
use crate::engine::EngineError;
use crate::model::{Categorical, ContentColumns, Missing, NeighbourColumns, PopularityColumns, Unseen};
use crate::ratings::no_ids;
use crate::registry::{
    self, ContentParts, IdColumn, NeighbourParts, NeighbourhoodTask, Popularity, PopularityTask, SimilarityTask, Task,
};
use crate::rows::{RowsError, compile};

const ALL_TAKEN: &str = "every record was taken, none held out: an item that is held out could be found in no list";

/// A code costs the same whatever the number of categories, so that hardly any has to be \"other\".
const CATEGORIES: Categorical = Categorical { max: 1_000_000, unseen: Unseen::Other };

pub(super) fn train_content(run: &TrainingRun, columns: &ContentColumns) -> Result<Trained, TrainError> {
    let texts = columns.text.iter().map(|(text, _)| ("text", text.as_str(), As::Text));
    let title = columns.title.iter().map(|title| ("title", title.as_str(), As::Text));
    let values: Vec<_> = texts.chain(title).collect();
    let reader = ItemReader::new(("id", &columns.id), run.recipe.filter.as_deref(), &values, run.schema)?;
    let read: Vec<Expression> = reader.expressions().take(columns.text.len()).cloned().collect();
    let id_kind = reader.id_kind();
    let latest = latest(run, &reader)?;
    let mut notes = vec![ALL_TAKEN.to_owned()];
    notes.extend(latest.notes());
    let Latest { ids, columns: mut values, counts, replaced } = latest;
    let titles = columns.title.is_some().then(|| title_texts(values.pop()));
    let corpus = corpus(columns, &values)?;
    let model = run.engine.fit_content(&run.job(), &corpus)?;
    drop(corpus);
    let text: Vec<registry::TextColumn> = (0..)
        .zip(&columns.text)
        .map(|(column, (text, weight))| registry::TextColumn {
            expression: text.clone(),
            weight: *weight,
            terms: model.n_terms(column) as u64,
        })
        .collect();
    let unused = text.iter().filter(|text| text.terms == 0);
    notes.extend(unused.map(|text| format!("`{}` has no term that is kept: it adds to no score", text.expression)));
    let without_text = (0..).take(model.n_rows()).filter(|&row| !model.has_terms(row)).count() as u64;
    notes.extend(counted([(without_text, "items have no term that is kept, and are similar to none")]));
    let task = SimilarityTask {
        id: IdColumn { expression: columns.id.clone(), kind: id_kind },
        title: columns.title.clone(),
        text,
        items: ids.len() as u64,
        without_text,
        replaced,
    };
    let (arrays, inputs) = (ContentParts { model, ids, titles }.to_arrays(), inputs(&read, |_| false, run.schema));
    Ok(Trained { inputs, ..Trained::new(arrays, Task::Similarity(task), counts, notes) })
}

fn title_texts(column: Option<ItemColumn>) -> Texts {
    let mut titles = Texts::default();
    if let Some(ItemColumn::Texts(texts)) = column {
        texts.iter().for_each(|title| titles.push(title.as_deref().unwrap_or("")));
    }
    titles
}

fn corpus<'a>(columns: &ContentColumns, values: &'a [ItemColumn]) -> Result<Corpus<'a>, TrainError> {
    let texts = columns.text.iter().zip(values).map(|((text, weight), values)| {
        let weight = Weight::new(*weight)
            .ok_or_else(|| TrainError::Params(format!("text: {weight} is no weight of `{text}`")))?;
        let texts = match values {
            ItemColumn::Texts(texts) => texts.iter().map(|text| text.as_deref().unwrap_or("")).collect(),
            // They were asked for as texts.
            ItemColumn::Numbers(_) | ItemColumn::Lists(_) => Vec::new(),
        };
        Ok(TextColumn { weight, texts })
    });
    let texts = texts.collect::<Result<Vec<_>, TrainError>>()?;
    Corpus::new(texts)
        .map_err(|error| RowsError::Part { place: "the gathered texts".to_owned(), problem: error.to_string() }.into())
}

pub(super) fn train_neighbours(run: &TrainingRun, columns: &NeighbourColumns) -> Result<Trained, TrainError> {
    let stream = run.schema.arrow();
    let values = columns.features.iter().map(|text| {
        let feature = compile("features", text, &stream, run.recipe.dialect)?;
        let as_text = is_categorical(&columns.categorical, &feature)?;
        Ok(("features", text.as_str(), if as_text { As::Text } else { As::Number }))
    });
    let values = values.collect::<Result<Vec<_>, RowsError>>()?;
    let reader = ItemReader::new(("id", &columns.id), run.recipe.filter.as_deref(), &values, run.schema)?;
    let latest = latest(run, &reader)?;
    let mut notes = vec![ALL_TAKEN.to_owned()];
    notes.extend(latest.notes());
    let Latest { ids, columns: values, counts, replaced } = latest;
    let gathered: Result<Vec<GatheredColumn>, TrainError> = values.into_iter().map(gathered).collect();
    let gathered = gathered?;
    // The rule of every feature is written down, so that it is the same when it is repeated.
    let rules: BTreeMap<String, Categorical> = columns
        .features
        .iter()
        .zip(&gathered)
        .filter(|(_, gathered)| matches!(gathered, GatheredColumn::Texts(_)))
        .map(|(text, _)| (text.clone(), columns.categorical.get(text).copied().unwrap_or(CATEGORIES)))
        .collect();
    let wanted = FeatureColumns {
        features: &columns.features,
        categorical: &rules,
        text: None,
        missing: Missing::Skip,
        target: None,
    };
    let EncodedTable { table, features, .. } = encode(wanted, run.recipe.algorithm, gathered)?;
    notes.extend(constant(&columns.features, table.columns()));
    let fitted = run.engine.fit_neighbours(&run.job(), &table);
    let model = fitted.map_err(|error| name_feature(&columns.features, error))?;
    let read: Vec<Expression> = reader.expressions().cloned().collect();
    let task = NeighbourhoodTask {
        id: IdColumn { expression: columns.id.clone(), kind: reader.id_kind() },
        items: ids.len() as u64,
        replaced,
    };
    let is_number = |place: usize| columns.features.get(place).is_some_and(|text| !rules.contains_key(text));
    let (arrays, inputs) = (NeighbourParts { model, ids }.to_arrays(), inputs(&read, is_number, run.schema));
    Ok(Trained { features, inputs, ..Trained::new(arrays, Task::Neighbourhood(task), counts, notes) })
}

fn gathered(column: ItemColumn) -> Result<GatheredColumn, TrainError> {
    Ok(match column {
        ItemColumn::Numbers(values) => GatheredColumn::Numbers(values),
        ItemColumn::Texts(texts) => {
            let mut gathered = Interned::default();
            gathered.append(texts.iter().map(Option::as_deref))?;
            GatheredColumn::Texts(gathered)
        }
        ItemColumn::Lists(_) => return Err(RowsError::Impossible("a feature is a list").into()),
    })
}

pub(super) fn train_popularity(run: &TrainingRun, columns: &PopularityColumns) -> Result<Trained, TrainError> {
    let reader = popularity_reader(columns, run.recipe.filter.as_deref(), run.schema)?;
    let mut gathered = Votes::new(columns, &reader);
    let (counts, replaced, mut notes) = match &columns.votes {
        Some(_) => gathered.add_latest(latest(run, &reader)?),
        None => {
            let counts = gathered.add_all(run, &reader)?;
            (counts, 0, counted([(counts.missing, "records had no item and were left out")]).collect())
        }
    };
    notes.insert(0, ALL_TAKEN.to_owned());
    let faulty =
        "records count for nothing: their score is not between −1e9 and 1e9, or their votes are not from 0 to 1e15";
    notes.extend(counted([(gathered.faulty, faulty)]));
    let Votes { sums, items, groups, .. } = gathered;
    let model = run.engine.fit_popularity(&run.job(), &sums).map_err(|error| match error {
        EngineError::Fit(FitError::NoRows) => {
            TrainError::NoItems { total: counts.total, without_id: counts.missing, filtered: counts.filtered }
        }
        error => error.into(),
    })?;
    let task = PopularityTask {
        item: IdColumn { expression: columns.item.clone(), kind: reader.id_kind() },
        score: columns.score.clone(),
        votes: columns.votes.clone(),
        group: columns.group.clone(),
        items: items.len() as u64,
        groups: groups.len() as u64,
        mean: model.mean(),
        replaced,
    };
    let arrays = Popularity { model, items, groups }.to_arrays();
    Ok(Trained::new(arrays, Task::Popularity(task), counts, notes))
}

/// Values: score, votes and group, those that are configured.
pub(super) fn popularity_reader(
    columns: &PopularityColumns,
    filter: Option<&str>,
    schema: &StreamSchema,
) -> Result<ItemReader, TrainError> {
    let configured = [
        ("score", &columns.score, As::Number),
        ("votes", &columns.votes, As::Number),
        ("group", &columns.group, As::Texts),
    ];
    let values = configured.into_iter().filter_map(|(key, text, kind)| Some((key, text.as_deref()?, kind)));
    let values: Vec<_> = values.collect();
    let reader = ItemReader::new(("item", &columns.item), filter, &values, schema)?;
    for (expression, (key, _, kind)) in reader.expressions().zip(&values) {
        if *kind == As::Number && expression.kind() != ValueKind::Number {
            return Err(RowsError::kind(key, expression, "make it a number, with cast(… as double)").into());
        }
    }
    Ok(reader)
}

struct Votes {
    sums: Sums,
    items: Ids,
    groups: Ids,
    faulty: u64,
    score: Option<usize>,
    votes: Option<usize>,
    group: Option<usize>,
}

impl Votes {
    fn new(columns: &PopularityColumns, reader: &ItemReader) -> Self {
        let mut next = 0..;
        let mut place = |wanted: bool| if wanted { next.next() } else { None };
        let (score, votes, group) =
            (place(columns.score.is_some()), place(columns.votes.is_some()), place(columns.group.is_some()));
        let sums = Sums::new(popularity::Columns { score: score.is_some(), votes: votes.is_some() });
        Self { sums, items: no_ids(reader.id_kind()), groups: Ids::texts(), faulty: 0, score, votes, group }
    }

    fn add(&mut self, item: u32, score: Option<f64>, votes: Option<f64>, groups: &[String]) {
        let groups: Vec<u32> = groups.iter().map(|group| self.groups.intern(Id::Text(group))).collect();
        let number = |value: Option<f64>| value.filter(|value| !value.is_nan());
        let row = VoteRow { item, score: number(score), votes: number(votes), groups: &groups };
        if self.sums.add(&row).is_err() {
            self.faulty += 1;
        }
    }

    /// Each record is a vote.
    fn add_all(&mut self, run: &TrainingRun, reader: &ItemReader) -> Result<Counts, TrainError> {
        let mut counts = Counts::default();
        for batch in run.batches {
            reader.for_each(run.store, batch, |block| {
                counts.total += block.len() as u64;
                for row in 0..block.len() {
                    if !block.passes(row) {
                        counts.filtered += 1;
                        continue;
                    }
                    let Some(id) = block.id(row) else {
                        counts.missing += 1;
                        continue;
                    };
                    let item = self.items.intern(id);
                    let score = self.score.map(|column| block.values[column].number(row));
                    let groups = self.group.map_or_else(Vec::new, |column| block.values[column].texts(row));
                    self.add(item, score, None, &groups);
                    counts.fitted += 1;
                }
                Ok(())
            })?;
        }
        Ok(counts)
    }

    /// The latest record of an item says how many votes it has.
    fn add_latest(&mut self, latest: Latest) -> (Counts, u64, Vec<String>) {
        let notes = latest.notes();
        let Latest { ids, columns, counts, replaced } = latest;
        let number = |column: Option<usize>, item: usize| match columns.get(column?)? {
            ItemColumn::Numbers(values) => values.get(item).copied(),
            ItemColumn::Texts(_) | ItemColumn::Lists(_) => None,
        };
        for (code, item) in (0..).zip(0..ids.len()) {
            let groups = match self.group.and_then(|column| columns.get(column)) {
                Some(ItemColumn::Lists(lists)) => lists[item].as_slice(),
                Some(ItemColumn::Numbers(_) | ItemColumn::Texts(_)) | None => &[],
            };
            self.add(code, number(self.score, item), number(self.votes, item), groups);
        }
        self.items = ids;
        (counts, replaced, notes)
    }
}
