//! The one place where a version's algorithm is chosen: fitted models behind one face.

use millstream_learn::{
    Algorithm, Arrays, LoadError, PredictError, Table, linear_regression, logistic_regression, random_forest,
};

/// A new algorithm is a new variant; every `match` below must then answer for it.
#[derive(Debug, Clone)]
pub enum Fitted {
    Linear(linear_regression::Model),
    Logistic(logistic_regression::Model),
    Forest(random_forest::Model),
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
    pub fn from_arrays(algorithm: Algorithm, arrays: &Arrays) -> Result<Self, LoadError> {
        match algorithm {
            Algorithm::LinearRegression => linear_regression::Model::from_arrays(arrays).map(Self::Linear),
            Algorithm::LogisticRegression => logistic_regression::Model::from_arrays(arrays).map(Self::Logistic),
            Algorithm::RandomForest => random_forest::Model::from_arrays(arrays).map(Self::Forest),
        }
    }

    pub fn to_arrays(&self) -> Arrays {
        match self {
            Self::Linear(model) => model.to_arrays(),
            Self::Logistic(model) => model.to_arrays(),
            Self::Forest(model) => model.to_arrays(),
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
        }
    }

    /// 0 for a regression.
    pub fn n_classes(&self) -> usize {
        match self {
            Self::Linear(_) => 0,
            Self::Logistic(model) => model.n_classes(),
            Self::Forest(model) => model.n_classes(),
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
            Self::Logistic(model) => model.note().map(str::to_owned).into_iter().collect(),
        }
    }
}

/// Whether the algorithm finds a way for a row with a missing number; the others refuse one.
pub fn takes_missing_numbers(algorithm: Algorithm) -> bool {
    match algorithm {
        Algorithm::LinearRegression | Algorithm::LogisticRegression => false,
        Algorithm::RandomForest => true,
    }
}
