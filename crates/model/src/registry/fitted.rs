//! The one place where a version's algorithm is chosen: fitted models behind one face.

use millstream_learn::{
    Algorithm, Arrays, LoadError, PredictError, Table, gradient_boosting, kmeans, linear_regression,
    logistic_regression, random_forest,
};

use super::{ContentParts, NeighbourParts, Popularity, Recommender};

/// What a version's arrays hold: a new algorithm is a new variant here or of `Fitted`, and every `match` below must then
/// answer for it.
#[derive(Debug)]
pub enum Learned {
    Rows(Fitted),
    Ratings(Box<Recommender>),
    Clusters(Box<kmeans::Model>),
    Content(Box<ContentParts>),
    Neighbours(Box<NeighbourParts>),
    Popularity(Box<Popularity>),
}

impl Learned {
    pub fn from_arrays(algorithm: Algorithm, arrays: &Arrays) -> Result<Self, LoadError> {
        let rows = |fitted: Result<Fitted, LoadError>| fitted.map(Self::Rows);
        match algorithm {
            Algorithm::LinearRegression => rows(linear_regression::Model::from_arrays(arrays).map(Fitted::Linear)),
            Algorithm::LogisticRegression => {
                rows(logistic_regression::Model::from_arrays(arrays).map(Fitted::Logistic))
            }
            Algorithm::GradientBoosting => rows(gradient_boosting::Model::from_arrays(arrays).map(Fitted::Boosted)),
            Algorithm::RandomForest => rows(random_forest::Model::from_arrays(arrays).map(Fitted::Forest)),
            Algorithm::Als => Ok(Self::Ratings(Box::new(Recommender::from_arrays(arrays)?))),
            Algorithm::Kmeans => Ok(Self::Clusters(Box::new(kmeans::Model::from_arrays(arrays)?))),
            Algorithm::Content => Ok(Self::Content(Box::new(ContentParts::from_arrays(arrays)?))),
            Algorithm::Neighbours => Ok(Self::Neighbours(Box::new(NeighbourParts::from_arrays(arrays)?))),
            Algorithm::Popularity => Ok(Self::Popularity(Box::new(Popularity::from_arrays(arrays)?))),
        }
    }

    pub fn to_arrays(&self) -> Arrays {
        match self {
            Self::Rows(fitted) => fitted.to_arrays(),
            Self::Ratings(recommender) => recommender.to_arrays(),
            Self::Clusters(model) => model.to_arrays(),
            Self::Content(parts) => parts.to_arrays(),
            Self::Neighbours(parts) => parts.to_arrays(),
            Self::Popularity(popularity) => popularity.to_arrays(),
        }
    }
}

/// Models of features and a target.
#[derive(Debug, Clone)]
pub enum Fitted {
    Linear(linear_regression::Model),
    Logistic(logistic_regression::Model),
    Forest(random_forest::Model),
    Boosted(gradient_boosting::Model),
}

/// What a model says of each row.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// n_rows.
    Numbers(Vec<f64>),
    /// n_rows × n_classes, row-major.
    Probabilities(Vec<f64>),
}

impl Fitted {
    pub fn to_arrays(&self) -> Arrays {
        match self {
            Self::Linear(model) => model.to_arrays(),
            Self::Logistic(model) => model.to_arrays(),
            Self::Forest(model) => model.to_arrays(),
            Self::Boosted(model) => model.to_arrays(),
        }
    }

    pub fn outcome(&self, table: &Table) -> Result<Outcome, PredictError> {
        match self {
            Self::Linear(model) => model.predict(table).map(Outcome::Numbers),
            Self::Logistic(model) => model.probabilities(table).map(Outcome::Probabilities),
            Self::Forest(model) => match model.task() {
                random_forest::Task::Regression => model.predict(table).map(Outcome::Numbers),
                random_forest::Task::Classification => model.probabilities(table).map(Outcome::Probabilities),
            },
            Self::Boosted(model) => match model.task() {
                gradient_boosting::Task::Regression => model.predict(table).map(Outcome::Numbers),
                gradient_boosting::Task::Classification => model.probabilities(table).map(Outcome::Probabilities),
            },
        }
    }

    /// 0 for a regression.
    pub fn n_classes(&self) -> usize {
        match self {
            Self::Linear(_) => 0,
            Self::Logistic(model) => model.n_classes(),
            Self::Forest(model) => model.n_classes(),
            Self::Boosted(model) => model.n_classes(),
        }
    }

    /// What a reader should know of the fit.
    pub fn notes(&self, n_parameters: usize) -> Vec<String> {
        match self {
            Self::Linear(model) if model.rank() < n_parameters => vec![format!(
                "{} of {n_parameters} parameters are redundant or constant: of all least-squares answers this is the smallest",
                n_parameters - model.rank()
            )],
            Self::Linear(_) | Self::Forest(_) => Vec::new(),
            Self::Boosted(model) => model.note().into_iter().collect(),
            Self::Logistic(model) => model.note().map(str::to_owned).into_iter().collect(),
        }
    }
}
