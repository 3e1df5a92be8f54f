//! What can be said of models once the columns are known: expressions compile, types fit, nothing leaks.

use std::collections::BTreeSet;

use datafusion::arrow::datatypes::{DataType, Schema};
use millstream_base::Faults;
use millstream_learn::{ParamValue, TargetKind};
use millstream_stream::expression::{Expression, ExpressionError, ValueKind};
use millstream_stream::schema::{Dialect, StreamSchema};

use crate::model::{
    Action, ClusterColumns, Columns, ContentColumns, Missing, Model, NeighbourColumns, PopularityColumns,
    RATING_INPUTS, RatingColumns, Supervised, prediction_schema,
};
use crate::rows::{id_kind, is_time};

/// Checks a model against the columns of the stream; `None`: it has faults of its own, which are told.
pub fn check_columns<'a>(model: &'a Model, schema: &StreamSchema, faults: &mut Faults) -> Option<ModelColumns<'a>> {
    Check { model, schema: &schema.arrow(), dialect: schema.dialect, faults }.model()
}

/// A model as its routes see it.
#[derive(Debug, Clone)]
pub struct ModelColumns<'a> {
    pub name: &'a str,
    /// What a template may name of its answers.
    pub outputs: Vec<&'static str>,
    pub columns: BTreeSet<String>,
}

struct Check<'a, 'f> {
    model: &'a Model,
    schema: &'f Schema,
    dialect: Dialect,
    faults: &'f mut Faults,
}

impl<'a> Check<'a, '_> {
    fn model(mut self) -> Option<ModelColumns<'a>> {
        match &self.model.columns {
            Columns::Supervised(columns) => self.supervised(columns),
            Columns::Ratings(columns) => self.ratings(columns),
            Columns::Clusters(columns) => self.clusters(columns),
            Columns::Content(columns) => self.content(columns),
            Columns::Neighbours(columns) => self.neighbours(columns),
            Columns::Popularity(columns) => self.popularity(columns),
        }
    }

    fn ratings(&mut self, columns: &RatingColumns) -> Option<ModelColumns<'a>> {
        let user = self.id("user", &columns.user);
        let item = self.id("item", &columns.item);
        if let (Some(user), Some(item)) = (&user, &item)
            && user.text() == item.text()
        {
            self.fault("item", item.text(), "is what user is; name the column of what was rated");
        }
        self.number("rating", columns.rating.as_ref());
        if let Some(time) = columns.time.as_ref().and_then(|time| self.compile("time", time))
            && !is_time(time.data_type())
        {
            let message = format!("must be an epoch number, a timestamp or its text, and is {}", a_kind(&time));
            self.fault("time", time.text(), &message);
        }
        if let Some(group) = columns.group.as_ref().and_then(|group| self.compile("group", group)) {
            self.plain("group", &group);
        }
        self.filter();
        let columns = RATING_INPUTS.map(str::to_owned).into();
        user.and(item).map(|_| self.asked_with(columns))
    }

    fn clusters(&mut self, columns: &ClusterColumns) -> Option<ModelColumns<'a>> {
        let features: Vec<Option<Expression>> = columns.features.iter().map(|text| self.feature(text)).collect();
        self.filter();
        let features = features.into_iter().collect::<Option<Vec<_>>>()?;
        if columns.missing == Missing::Category
            && let Some(number) = features
                .iter()
                .find(|feature| feature.kind() != ValueKind::Text && !columns.categorical.contains_key(feature.text()))
        {
            let message = format!(
                "kmeans has no category for a missing number, and `{}` is one; take \"drop\", \"mean\" or \"median\", or make it a \
                 category with categorical",
                number.text()
            );
            self.fault("missing", "category", &message);
            return None;
        }
        Some(self.asked(&features))
    }

    fn content(&mut self, columns: &ContentColumns) -> Option<ModelColumns<'a>> {
        let id = self.id("id", &columns.id);
        if let Some(title) = columns.title.as_ref().and_then(|title| self.compile("title", title)) {
            self.plain("title", &title);
        }
        let texts = columns.text.iter().map(|(text, _)| {
            let text = self.compile("text", text)?;
            self.plain("text", &text).then_some(text)
        });
        let texts: Vec<Option<Expression>> = texts.collect();
        self.filter();
        let texts = texts.into_iter().collect::<Option<Vec<_>>>()?;
        id.map(|_| self.asked(&texts))
    }

    fn neighbours(&mut self, columns: &NeighbourColumns) -> Option<ModelColumns<'a>> {
        let id = self.id("id", &columns.id);
        let features: Vec<Option<Expression>> = columns.features.iter().map(|text| self.feature(text)).collect();
        self.filter();
        let features = features.into_iter().collect::<Option<Vec<_>>>()?;
        if let Some(own) = features.iter().find(|feature| feature.text() == columns.id) {
            self.fault("features", own.text(), "is the id, which no two items share; compare by other columns");
            return None;
        }
        id.map(|_| self.asked(&features))
    }

    fn popularity(&mut self, columns: &PopularityColumns) -> Option<ModelColumns<'a>> {
        let item = self.id("item", &columns.item);
        self.number("score", columns.score.as_ref());
        self.number("votes", columns.votes.as_ref());
        if let Some(group) =
            columns.group.as_ref().and_then(|group| self.compile_by("group", group, Expression::compile_list))
            && !is_list_of_texts(group.data_type())
        {
            self.plain("group", &group);
        }
        self.filter();
        item.map(|_| self.asked(&[]))
    }

    fn asked(&self, read: &[Expression]) -> ModelColumns<'a> {
        let columns = read.iter().flat_map(Expression::columns).cloned().collect();
        self.asked_with(columns)
    }

    fn asked_with(&self, columns: BTreeSet<String>) -> ModelColumns<'a> {
        let outputs = Action::Predict.outputs(Some(self.model.algorithm));
        ModelColumns { name: &self.model.name, outputs, columns }
    }

    fn number(&mut self, key: &str, text: Option<&String>) {
        if let Some(number) = text.and_then(|text| self.compile(key, text))
            && number.kind() != ValueKind::Number
        {
            let message = format!("must be a number, and is {}", a_kind(&number));
            self.fault(key, number.text(), &format!("{message}; cast it, as in cast(… as double)"));
        }
    }

    /// Whether its values are texts, or as good as.
    fn plain(&mut self, key: &str, expression: &Expression) -> bool {
        let plain = is_plain(expression);
        if !plain {
            let message = format!("must be text, a number or true or false, and is {}", a_kind(expression));
            self.fault(key, expression.text(), &format!("{message}; cast it to text"));
        }
        plain
    }

    /// Who or what: a whole number or a text.
    fn id(&mut self, key: &str, text: &str) -> Option<Expression> {
        let id = self.compile(key, text)?;
        match id_kind(id.data_type()) {
            Some(_) if id.data_type().is_floating() => {
                let message = "has numbers with fractions by its type: whole ones up to 2^53 are taken as ids, other rows are \
                               left out; to keep larger ones, make the column int64 in [schema.columns]";
                self.faults.warn(self.key(key), Some(text), message);
            }
            Some(_) => {}
            None => {
                let message = format!("must be a whole number or text, and is {}", a_kind(&id));
                self.fault(key, text, &format!("{message}; cast it, as in cast(… as bigint) or cast(… as text)"));
                return None;
            }
        }
        if id.columns().is_empty() {
            self.fault(key, text, "reads no column: it is the same for every row");
            return None;
        }
        Some(id)
    }

    fn filter(&mut self) {
        let model = self.model;
        if let Some(filter) = model.filter.as_ref().and_then(|filter| self.compile("where", filter))
            && filter.kind() != ValueKind::Boolean
        {
            let message = format!("must be true or false, and is {}", a_kind(&filter));
            self.fault("where", filter.text(), &format!("{message}; compare it with something"));
        }
    }

    fn supervised(&mut self, supervised: &Supervised) -> Option<ModelColumns<'a>> {
        let features: Vec<Option<Expression>> =
            supervised.features.iter().map(|feature| self.feature(feature)).collect();
        self.words(supervised, &features);
        self.words_without_penalty(supervised);
        let target = self.compile("target", &supervised.target).and_then(|target| self.target(target));
        self.filter();
        self.baseline(supervised, target.as_ref());
        self.output(supervised, target.as_ref());
        let features = features.into_iter().collect::<Option<Vec<_>>>()?;
        let columns: BTreeSet<String> = features.iter().flat_map(Expression::columns).cloned().collect();
        let target = target?;
        if !target.columns().is_empty() && target.columns().iter().all(|column| columns.contains(column)) {
            let message = "the target can be computed from the features alone: a leak; the model learns a formula, and \
                           its measures say nothing";
            self.faults.warn(self.key("target"), Some(target.text()), message);
        }
        let mut asked = self.asked_with(columns);
        if !self.predicts_class(&target) {
            asked.outputs.retain(|output| *output != "probability");
        }
        Some(asked)
    }

    fn words(&mut self, supervised: &Supervised, features: &[Option<Expression>]) {
        for feature in features.iter().flatten() {
            if supervised.text.contains_key(feature.text()) && feature.kind() != ValueKind::Text {
                let message = format!("only a text has words, and this is {}; remove it", a_kind(feature));
                self.fault("text", feature.text(), &message);
            }
        }
    }

    /// Words are soon more than rows, and then a fit without a penalty repeats its rows and says nothing of others.
    fn words_without_penalty(&mut self, supervised: &Supervised) {
        let least_squares = self.model.algorithm.traits().least_squares;
        let penalty = match self.model.params.get("l2") {
            Some(ParamValue::Float(l2)) => *l2 != 0.0,
            Some(ParamValue::Integer(l2)) => *l2 != 0,
            Some(ParamValue::Text(_) | ParamValue::Bool(_)) => true,
            None => !least_squares,
        };
        if let Some(feature) = supervised.text.keys().next().filter(|_| !penalty) {
            let message = "has a weight for each word and no penalty, so the model may learn its rows by heart; set l2 above 0, \
                           such as params = { l2 = 1.0 }";
            self.faults.warn(self.key(&format!("text.{feature}")), None, message);
        }
    }

    fn feature(&mut self, text: &str) -> Option<Expression> {
        let feature = self.compile("features", text)?;
        match feature.kind() {
            ValueKind::Number | ValueKind::Text | ValueKind::Boolean => {}
            ValueKind::Other => {
                let message = format!("must be a number, text or true or false, and is {}", a_kind(&feature));
                self.fault("features", text, &format!("{message}; cast it"));
                return None;
            }
        }
        if feature.columns().is_empty() {
            self.faults.warn(self.key("features"), Some(text), "reads no column: it is the same for every row");
        }
        Some(feature)
    }

    fn target(&mut self, target: Expression) -> Option<Expression> {
        let algorithm = self.model.algorithm;
        let message = match (algorithm.traits().target, target.kind()) {
            (_, ValueKind::Other) => Some("a model predicts a number, text or true or false; cast it".to_owned()),
            (Some(TargetKind::Number), ValueKind::Boolean | ValueKind::Text) => Some(format!(
                "{} predicts a number; cast it to double, or use logistic_regression for classes",
                algorithm.name()
            )),
            (Some(_) | None, ValueKind::Number | ValueKind::Boolean | ValueKind::Text) => None,
        };
        if let Some(message) = message {
            let found = a_kind(&target);
            self.fault("target", target.text(), &format!("is {found}: {message}"));
            return None;
        }
        Some(target)
    }

    fn baseline(&mut self, supervised: &Supervised, target: Option<&Expression>) {
        let Some(baseline) = supervised.baseline.as_ref().and_then(|baseline| self.compile("baseline", baseline))
        else {
            return;
        };
        if let Some(target) = target
            && baseline.kind() != target.kind()
        {
            let (found, expected) = (a_kind(&baseline), a_kind(target));
            self.fault("baseline", baseline.text(), &format!("must be what the target is, {expected}, and is {found}"));
        }
    }

    fn output(&mut self, supervised: &Supervised, target: Option<&Expression>) {
        let Some(text) = &supervised.output else { return };
        if target.is_some_and(|target| self.predicts_class(target)) {
            return self.fault("output", text, "is for numbers, and this model predicts a class; remove it");
        }
        match Expression::compile(text, &prediction_schema(), self.dialect) {
            Ok(output) if output.kind() == ValueKind::Number => {}
            Ok(output) => {
                let message = format!("must be a number, and is {}", a_kind(&output));
                self.fault("output", text, &message);
            }
            Err(error) => {
                self.fault("output", text, &format!("{}; it sees one column, `prediction`", error.fault));
            }
        }
    }

    fn predicts_class(&self, target: &Expression) -> bool {
        self.model.algorithm.traits().predicts_classes(target.kind() == ValueKind::Number)
    }

    fn compile(&mut self, key: &str, text: &str) -> Option<Expression> {
        self.compile_by(key, text, Expression::compile)
    }

    fn compile_by(
        &mut self,
        key: &str,
        text: &str,
        compile: fn(&str, &Schema, Dialect) -> Result<Expression, ExpressionError>,
    ) -> Option<Expression> {
        match compile(text, self.schema, self.dialect) {
            Ok(expression) => Some(expression),
            Err(error) => {
                // The first character needs no pointing at.
                let position = error.position.filter(|position| *position > 1);
                let place = position.map_or(String::new(), |position| format!("at character {position}: "));
                self.fault(key, text, &format!("{place}{}", error.fault));
                None
            }
        }
    }

    fn key(&self, key: &str) -> String {
        format!("model.{}.{key}", self.model.name)
    }

    fn fault(&mut self, key: &str, value: &str, message: &str) {
        self.faults.add_text(self.key(key), value, message);
    }
}

fn is_list_of_texts(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(field) | DataType::LargeList(field) => {
            matches!(field.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
        }
        _ => false,
    }
}

/// Whether values go into a URL as they are.
fn is_plain(expression: &Expression) -> bool {
    matches!(expression.kind(), ValueKind::Text | ValueKind::Number | ValueKind::Boolean)
}

fn a_kind(expression: &Expression) -> String {
    match expression.kind() {
        ValueKind::Number => "a number".to_owned(),
        ValueKind::Boolean => "true or false".to_owned(),
        ValueKind::Text => "text".to_owned(),
        ValueKind::Other => format!("of the type {}", expression.data_type()),
    }
}
