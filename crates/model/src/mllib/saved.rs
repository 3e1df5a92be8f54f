//! What a folder says, checked: the transformers and models of Spark's ML in their own terms.

use std::collections::BTreeMap;

use datafusion::arrow::array::{AsArray, RecordBatch};
use serde_json::{Map, Value};

use super::SavedError;
use super::columns::{Matrix, column, doubles, equal_lists, flags, integers, lists, matrix, texts, vector};
use super::folder::{Folder, Metadata, number};
use super::trees::{TreeModel, read_trees};

/// Of a pipeline, and of pipelines within pipelines.
const STAGES_MOST: usize = 1000;
const NESTING_MOST: usize = 8;
const RANK_MOST: usize = 1024;
/// Of all columns of an encoder.
const CATEGORIES_MOST: usize = 1 << 20;
/// Centres, labels of a column, ...
const ROWS_MOST: u64 = 1 << 20;

/// A saved model or transformer.
#[derive(Debug, Clone, PartialEq)]
pub struct Saved {
    /// The last part of the class: `ALSModel`.
    pub class: String,
    pub spark: String,
    pub uid: String,
    pub saved_at_ms: u64,
    /// All that it was fitted with and that its metadata has, by Spark's names.
    pub parameters: Map<String, Value>,
    pub stage: SavedStage,
}

#[derive(Debug, Clone, PartialEq)]
pub enum SavedStage {
    Als(AlsModel),
    Kmeans(KmeansModel),
    Linear(LinearModel),
    Logistic(LogisticModel),
    Trees(TreeModel),
    Pipeline(Vec<Saved>),
    StringIndexer(StringIndexer),
    OneHot(OneHot),
    Imputer(Imputer),
    Assembler(Assembler),
    /// `StandardScalerModel` and `MinMaxScalerModel`.
    Scaler(Scaler),
    Bucketizer(Vec<Bucketizer>),
    IndexToString(IndexToString),
}

#[derive(Debug, Clone, PartialEq)]
pub struct AlsModel {
    pub user_column: String,
    pub item_column: String,
    pub rank: usize,
    pub users: SavedFactors,
    pub items: SavedFactors,
}

/// Ascending by id.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SavedFactors {
    pub ids: Vec<i32>,
    /// n_ids × rank, row-major.
    pub values: Vec<f32>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct KmeansModel {
    pub features_column: String,
    /// k × n_slots, row-major.
    pub centers: Vec<f64>,
    pub k: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub struct LinearModel {
    pub features_column: String,
    pub label_column: String,
    pub coefficients: Vec<f64>,
    pub intercept: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct LogisticModel {
    pub columns: ClassColumns,
    pub n_classes: usize,
    /// 1 × n_slots of two classes (the score of class 1), or a row for each class.
    pub coefficients: Matrix,
    pub intercepts: Vec<f64>,
}

/// Of a classifier.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassColumns {
    pub features: String,
    pub label: String,
    pub prediction: String,
}

/// One for each column.
#[derive(Debug, Clone, PartialEq)]
pub struct StringIndexer {
    pub columns: Vec<(String, String)>,
    /// By column.
    pub labels: Vec<Vec<String>>,
    pub invalid: Invalid,
}

#[derive(Debug, Clone, PartialEq)]
pub struct OneHot {
    pub columns: Vec<(String, String)>,
    pub sizes: Vec<usize>,
    pub drop_last: bool,
    pub invalid: Invalid,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Imputer {
    pub columns: Vec<(String, String)>,
    /// By column.
    pub surrogates: Vec<f64>,
    /// What counts as missing besides nulls; NaN where nothing else does.
    pub missing: f64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Assembler {
    pub inputs: Vec<String>,
    pub output: String,
    pub invalid: Invalid,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Scaler {
    pub input: String,
    pub output: String,
    pub slots: Vec<Affine>,
}

/// (x − center) · factor + shift, in this order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Affine {
    pub center: f64,
    pub factor: f64,
    pub shift: f64,
}

impl Affine {
    pub const NONE: Self = Self { center: 0.0, factor: 1.0, shift: 0.0 };
}

#[derive(Debug, Clone, PartialEq)]
pub struct Bucketizer {
    pub input: String,
    pub output: String,
    /// Ascending; the first and the last may be infinite.
    pub splits: Vec<f64>,
    pub invalid: Invalid,
}

#[derive(Debug, Clone, PartialEq)]
pub struct IndexToString {
    pub input: String,
    pub labels: Vec<String>,
}

/// What becomes of a value that the fit did not know, or of a missing one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invalid {
    Error,
    /// The row is left out.
    Skip,
    Keep,
}

/// What is imported by itself or in a pipeline.
const UNDERSTOOD: &str = "ALSModel, KMeansModel, LinearRegressionModel, LogisticRegressionModel, DecisionTree…, RandomForest… and \
    GBT…Model, and PipelineModel with StringIndexer, OneHotEncoder, Imputer, VectorAssembler, StandardScaler, MinMaxScaler, \
    Bucketizer and IndexToString";

impl Saved {
    pub fn read(folder: &Folder) -> Result<Self, SavedError> {
        Self::read_within(folder, 0)
    }

    fn read_within(folder: &Folder, depth: usize) -> Result<Self, SavedError> {
        let metadata = folder.metadata()?;
        let stage = stage(folder, &metadata, depth)?;
        let class = metadata.class.rsplit('.').next().unwrap_or_default().to_owned();
        let (spark, uid) = (metadata.spark.clone(), metadata.uid.clone());
        Ok(Self { class, spark, uid, saved_at_ms: metadata.saved_at_ms, parameters: metadata.known(), stage })
    }
}

fn stage(folder: &Folder, metadata: &Metadata, depth: usize) -> Result<SavedStage, SavedError> {
    let Some(class) = metadata.class.strip_prefix("org.apache.spark.ml.") else {
        return Err(folder.unsupported(unknown(&metadata.class)));
    };
    Ok(match class {
        "PipelineModel" => SavedStage::Pipeline(pipeline(folder, metadata, depth)?),
        "recommendation.ALSModel" => SavedStage::Als(als(folder, metadata)?),
        "clustering.KMeansModel" => SavedStage::Kmeans(kmeans(folder, metadata)?),
        "regression.LinearRegressionModel" => SavedStage::Linear(linear(folder, metadata)?),
        "classification.LogisticRegressionModel" => SavedStage::Logistic(logistic(folder, metadata)?),
        "regression.DecisionTreeRegressionModel"
        | "regression.RandomForestRegressionModel"
        | "regression.GBTRegressionModel"
        | "classification.DecisionTreeClassificationModel"
        | "classification.RandomForestClassificationModel"
        | "classification.GBTClassificationModel" => SavedStage::Trees(read_trees(folder, metadata)?),
        "feature.StringIndexerModel" => SavedStage::StringIndexer(string_indexer(folder, metadata)?),
        "feature.OneHotEncoderModel" => SavedStage::OneHot(one_hot(folder, metadata)?),
        "feature.ImputerModel" => SavedStage::Imputer(imputer(folder, metadata)?),
        "feature.VectorAssembler" => SavedStage::Assembler(Assembler {
            inputs: metadata.texts("inputCols")?,
            output: metadata.text("outputCol")?,
            invalid: invalid(metadata)?,
        }),
        "feature.StandardScalerModel" => SavedStage::Scaler(standard_scaler(folder, metadata)?),
        "feature.MinMaxScalerModel" => SavedStage::Scaler(min_max_scaler(folder, metadata)?),
        "feature.Bucketizer" => SavedStage::Bucketizer(bucketizer(metadata)?),
        "feature.IndexToString" => SavedStage::IndexToString(IndexToString {
            input: metadata.text("inputCol")?,
            labels: metadata.texts("labels")?,
        }),
        _ => return Err(folder.unsupported(unknown(&metadata.class))),
    })
}

fn unknown(class: &str) -> String {
    let class: String = class.chars().take(200).collect();
    format!("{class} is not understood here; these are: {UNDERSTOOD}")
}

fn pipeline(folder: &Folder, metadata: &Metadata, depth: usize) -> Result<Vec<Saved>, SavedError> {
    let uids = metadata.texts("stageUids")?;
    if uids.len() > STAGES_MOST || depth == NESTING_MOST {
        let problem = format!("a pipeline of {} stages, {depth} pipelines deep, is too large", uids.len());
        return Err(folder.unsupported(problem));
    }
    let stages = folder.within("stages");
    let width = uids.len().to_string().len();
    let stage = |(index, uid): (usize, &String)| {
        let name = format!("{index:0width$}_{uid}");
        Saved::read_within(&stages.within(&name), depth + 1)
    };
    uids.iter().enumerate().map(stage).collect()
}

/// The first row, and that there is no other.
fn one_row<T>(folder: &Folder, mut read: impl FnMut(&RecordBatch) -> Result<T, String>) -> Result<T, SavedError> {
    const NAME: &str = "data";
    let mut found = None;
    folder.rows(NAME, ROWS_MOST, |batch| match (batch.num_rows(), &found) {
        (0, _) => Ok(()),
        (1, None) => {
            found = Some(read(batch)?);
            Ok(())
        }
        _ => Err("it has more than one row".to_owned()),
    })?;
    found.ok_or_else(|| folder.damaged(NAME, "it has no row: save the model again"))
}

fn check_finite(values: &[f64], what: &str) -> Result<(), String> {
    match values.iter().find(|value| !value.is_finite()) {
        None => Ok(()),
        Some(value) => Err(format!("`{what}` has {value}")),
    }
}

fn finite(values: Vec<f64>, what: &str) -> Result<Vec<f64>, String> {
    check_finite(&values, what).map(|()| values)
}

fn als(folder: &Folder, metadata: &Metadata) -> Result<AlsModel, SavedError> {
    let rank = metadata.count("rank")?;
    if !(1..=RANK_MOST).contains(&rank) {
        return Err(folder.unsupported(format!("its rank is {rank}: 1 to {RANK_MOST}")));
    }
    Ok(AlsModel {
        user_column: metadata.text("userCol")?,
        item_column: metadata.text("itemCol")?,
        rank,
        users: factors(folder, "userFactors", rank)?,
        items: factors(folder, "itemFactors", rank)?,
    })
}

fn factors(folder: &Folder, name: &str, rank: usize) -> Result<SavedFactors, SavedError> {
    let mut found = SavedFactors::default();
    folder.rows(name, (folder.limits.factors / rank) as u64, |batch| {
        for id in integers(column(batch, &["id"])?, "id")? {
            found.ids.push(i32::try_from(id).map_err(|_| format!("the id {id} is no 32-bit integer"))?);
        }
        let (width, values) = equal_lists(column(batch, &["features"])?, "features")?;
        if width != rank && batch.num_rows() > 0 {
            return Err(format!("its vectors have {width} values, the metadata says {rank}"));
        }
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return Err(format!("a vector has {value}"));
        }
        found.values.extend(values);
        Ok(())
    })?;
    if found.ids.is_empty() {
        return Err(folder.damaged(name, "it has no vector: save the model again"));
    }
    let mut order: Vec<usize> = (0..found.ids.len()).collect();
    order.sort_unstable_by_key(|&at| found.ids[at]);
    let ids: Vec<i32> = order.iter().map(|&at| found.ids[at]).collect();
    if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(folder.damaged(name, format!("the id {} is there twice: save the model again", twice[0])));
    }
    let values = order.iter().flat_map(|&at| &found.values[at * rank..(at + 1) * rank]).copied().collect();
    Ok(SavedFactors { ids, values })
}

fn kmeans(folder: &Folder, metadata: &Metadata) -> Result<KmeansModel, SavedError> {
    let measure = metadata.text("distanceMeasure")?;
    if measure != "euclidean" {
        let problem = format!("its distanceMeasure is {measure}: only euclidean distances are understood here");
        return Err(folder.unsupported(problem));
    }
    let mut centers: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
    folder.rows("data", ROWS_MOST, |batch| {
        let vectors = column(batch, &["clusterCenter"])?;
        for (row, index) in integers(column(batch, &["clusterIdx"])?, "clusterIdx")?.into_iter().enumerate() {
            let center = finite(vector(vectors, row)?, "clusterCenter")?;
            folder.charge(size_of_val(&*center))?;
            if centers.insert(index, center).is_some() {
                return Err(format!("the cluster {index} is there twice"));
            }
        }
        Ok(())
    })?;
    let k = centers.len();
    let width = centers.values().next().map_or(0, Vec::len);
    let is_whole =
        centers.keys().copied().eq((0_i64..).take(k)) && centers.values().all(|center| center.len() == width);
    if !is_whole || width == 0 {
        let problem =
            format!("its {k} clusters are not numbered from 0 with equally long centres: save the model again");
        return Err(folder.damaged("data", problem));
    }
    let centers = centers.into_values().flatten().collect();
    Ok(KmeansModel { features_column: metadata.text("featuresCol")?, centers, k })
}

fn linear(folder: &Folder, metadata: &Metadata) -> Result<LinearModel, SavedError> {
    let (coefficients, intercept) = one_row(folder, |batch| {
        let coefficients = finite(vector(column(batch, &["coefficients"])?, 0)?, "coefficients")?;
        Ok((coefficients, finite(doubles(column(batch, &["intercept"])?, "intercept")?, "intercept")?[0]))
    })?;
    Ok(LinearModel {
        features_column: metadata.text("featuresCol")?,
        label_column: metadata.text("labelCol")?,
        coefficients,
        intercept,
    })
}

pub(super) fn class_columns(folder: &Folder, metadata: &Metadata) -> Result<ClassColumns, SavedError> {
    let is_default = match (metadata.has("thresholds"), metadata.has("threshold")) {
        // Of binary logistic regression alone, where both say the same.
        (false, true) => (metadata.number("threshold")? - 0.5).abs() < 1e-12,
        (true, _) => metadata.numbers("thresholds")?.windows(2).all(|pair| pair[0].total_cmp(&pair[1]).is_eq()),
        (false, false) => true,
    };
    if !is_default {
        let problem = "it has thresholds of its own: the class is the most probable one here; save it with \
            `model.setThreshold(0.5)` or `model.clear(model.thresholds)`, and compare `probability` with them where it is used";
        return Err(folder.unsupported(problem));
    }
    Ok(ClassColumns {
        features: metadata.text("featuresCol")?,
        label: metadata.text("labelCol")?,
        prediction: metadata.text("predictionCol")?,
    })
}

fn logistic(folder: &Folder, metadata: &Metadata) -> Result<LogisticModel, SavedError> {
    let columns = class_columns(folder, metadata)?;
    let (n_classes, intercepts, coefficients) = one_row(folder, |batch| {
        let count = |name: &str| Ok::<_, String>(integers(column(batch, &[name])?, name)?[0]);
        let (n_classes, n_features) = (count("numClasses")?, count("numFeatures")?);
        let intercepts = finite(vector(column(batch, &["interceptVector"])?, 0)?, "interceptVector")?;
        let coefficients = matrix(column(batch, &["coefficientMatrix"])?, 0)?;
        check_finite(&coefficients.values, "coefficientMatrix")?;
        let is_multinomial = flags(column(batch, &["isMultinomial"])?, "isMultinomial")?[0];
        let n_classes = usize::try_from(n_classes).map_err(|error| error.to_string())?;
        let n_outputs = if is_multinomial { n_classes } else { 1 };
        let fits = coefficients.n_rows == n_outputs && intercepts.len() == n_outputs;
        if !fits || i64::try_from(coefficients.n_columns) != Ok(n_features) || !is_multinomial && n_classes != 2 {
            let Matrix { n_rows, n_columns, .. } = coefficients;
            let found = format!("{n_rows} × {n_columns} coefficients and {} intercepts", intercepts.len());
            return Err(format!("{found} of {n_classes} classes and {n_features} features"));
        }
        Ok((n_classes, intercepts, coefficients))
    })?;
    Ok(LogisticModel { columns, n_classes, coefficients, intercepts })
}

fn invalid(metadata: &Metadata) -> Result<Invalid, SavedError> {
    match metadata.text("handleInvalid")?.as_str() {
        "error" => Ok(Invalid::Error),
        "skip" => Ok(Invalid::Skip),
        "keep" => Ok(Invalid::Keep),
        _ => Err(metadata.fault("handleInvalid", "error, skip or keep")),
    }
}

/// A transformer of one column, or of several.
fn columns_of(metadata: &Metadata) -> Result<Vec<(String, String)>, SavedError> {
    if metadata.has("inputCol") {
        return Ok(vec![(metadata.text("inputCol")?, metadata.text("outputCol")?)]);
    }
    let (inputs, outputs) = (metadata.texts("inputCols")?, metadata.texts("outputCols")?);
    if inputs.len() != outputs.len() {
        return Err(metadata.fault("outputCols", "as long as `inputCols`"));
    }
    Ok(inputs.into_iter().zip(outputs).collect())
}

fn as_many<T>(folder: &Folder, columns: &[(String, String)], found: Vec<T>, what: &str) -> Result<Vec<T>, SavedError> {
    if found.len() == columns.len() {
        return Ok(found);
    }
    let problem =
        format!("it has {what} of {} columns, and {} columns: save the model again", found.len(), columns.len());
    Err(folder.damaged("data", problem))
}

fn string_indexer(folder: &Folder, metadata: &Metadata) -> Result<StringIndexer, SavedError> {
    let columns = columns_of(metadata)?;
    let labels = one_row(folder, |batch| {
        // Of one column alone before Spark 3.0.
        if let Ok(one) = column(batch, &["labels"]) {
            return lists(one, "labels")?.iter().map(|of| texts(of.as_ref().ok_or("no labels")?, "labels")).collect();
        }
        let of_columns = lists(column(batch, &["labelsArray"])?, "labelsArray")?.into_iter().flatten();
        let of_columns =
            of_columns.map(|of_columns| lists(&of_columns, "labelsArray")).collect::<Result<Vec<_>, _>>()?;
        let labels = of_columns.iter().flatten();
        labels.map(|labels| texts(labels.as_ref().ok_or("a column has no labels")?, "labelsArray")).collect()
    })?;
    let labels = as_many(folder, &columns, labels, "labels")?;
    for labels in &labels {
        let mut sorted: Vec<&String> = labels.iter().collect();
        sorted.sort_unstable();
        if let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(
                folder.damaged("data", format!("the label {:?} is there twice: save the model again", twice[0]))
            );
        }
    }
    Ok(StringIndexer { columns, labels, invalid: invalid(metadata)? })
}

fn one_hot(folder: &Folder, metadata: &Metadata) -> Result<OneHot, SavedError> {
    let columns = columns_of(metadata)?;
    let sizes = one_row(folder, |batch| {
        let sizes = lists(column(batch, &["categorySizes"])?, "categorySizes")?;
        let sizes = integers(sizes.first().and_then(Option::as_ref).ok_or("no categorySizes")?, "categorySizes")?;
        let mut left = CATEGORIES_MOST;
        let mut size = |size: i64| {
            let size = usize::try_from(size).ok()?;
            left = left.checked_sub(size)?;
            Some(size)
        };
        let most = || format!("more than {CATEGORIES_MOST} categories in all");
        sizes.into_iter().map(|of| size(of).ok_or_else(most)).collect()
    })?;
    let sizes = as_many(folder, &columns, sizes, "sizes")?;
    Ok(OneHot { columns, sizes, drop_last: metadata.flag("dropLast")?, invalid: invalid(metadata)? })
}

fn imputer(folder: &Folder, metadata: &Metadata) -> Result<Imputer, SavedError> {
    let columns = columns_of(metadata)?;
    // A column for each input, called as it is.
    let surrogates = one_row(folder, |batch| {
        let value = |(input, _): &(String, String)| {
            let found = doubles(column(batch, &[input])?, input)?;
            Ok::<_, String>(finite(found, input)?[0])
        };
        columns.iter().map(value).collect()
    })?;
    Ok(Imputer { columns, surrogates, missing: metadata.number("missingValue")? })
}

fn standard_scaler(folder: &Folder, metadata: &Metadata) -> Result<Scaler, SavedError> {
    let (centered, scaled) = (metadata.flag("withMean")?, metadata.flag("withStd")?);
    let slots = one_row(folder, |batch| {
        let deviations = finite(vector(column(batch, &["std"])?, 0)?, "std")?;
        let means = finite(vector(column(batch, &["mean"])?, 0)?, "mean")?;
        if means.len() != deviations.len() {
            return Err(format!("{} means and {} deviations", means.len(), deviations.len()));
        }
        let slot = |(mean, deviation): (f64, f64)| Affine {
            center: if centered { mean } else { 0.0 },
            factor: match (scaled, deviation > 0.0) {
                (false, _) => 1.0,
                (true, true) => 1.0 / deviation,
                (true, false) => 0.0,
            },
            shift: 0.0,
        };
        Ok(means.into_iter().zip(deviations).map(slot).collect())
    })?;
    Ok(Scaler { input: metadata.text("inputCol")?, output: metadata.text("outputCol")?, slots })
}

fn min_max_scaler(folder: &Folder, metadata: &Metadata) -> Result<Scaler, SavedError> {
    let (low, high) = (metadata.number("min")?, metadata.number("max")?);
    let slots = one_row(folder, |batch| {
        let least = finite(vector(column(batch, &["originalMin"])?, 0)?, "originalMin")?;
        let most = finite(vector(column(batch, &["originalMax"])?, 0)?, "originalMax")?;
        if least.len() != most.len() {
            return Err(format!("{} minima and {} maxima", least.len(), most.len()));
        }
        let slot = |(least, most): (f64, f64)| {
            let range = most - least;
            // Of a constant column the middle.
            let factor = if range > 0.0 { (high - low) / range } else { 0.0 };
            let shift = if range > 0.0 { low } else { 0.5 * (high - low) + low };
            Affine { center: least, factor, shift }
        };
        Ok(least.into_iter().zip(most).map(slot).collect())
    })?;
    Ok(Scaler { input: metadata.text("inputCol")?, output: metadata.text("outputCol")?, slots })
}

fn bucketizer(metadata: &Metadata) -> Result<Vec<Bucketizer>, SavedError> {
    const SPLITS: &str = "numbers that ascend";
    let columns = columns_of(metadata)?;
    let splits = match metadata.has("splitsArray") {
        true => metadata.list("splitsArray", "a list of lists of numbers", |list: &Value| {
            list.as_array()?.iter().map(number).collect::<Option<Vec<f64>>>()
        })?,
        false => vec![metadata.numbers("splits")?],
    };
    let ascend = |splits: &Vec<f64>| splits.len() >= 3 && splits.is_sorted_by(|a, b| a < b);
    if splits.len() != columns.len() || !splits.iter().all(ascend) {
        return Err(metadata.fault("splits", SPLITS));
    }
    let invalid = invalid(metadata)?;
    let columns = columns.into_iter().zip(splits);
    Ok(columns.map(|((input, output), splits)| Bucketizer { input, output, splits, invalid }).collect())
}

/// Whether a nested column is there at all.
pub(super) fn has_column(batch: &RecordBatch, name: &str) -> bool {
    batch.column_by_name(name).is_some_and(|column| column.as_struct_opt().is_some())
}
