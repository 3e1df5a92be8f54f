//! Fitted models of features and a target behind one face.

use millstream_learn::{
    Algorithm, Arrays, LoadError, PredictError, Table, gradient_boosting, linear_regression, logistic_regression,
    random_forest,
};

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
    pub fn from_arrays(algorithm: Algorithm, arrays: &Arrays) -> Result<Self, LoadError> {
        match algorithm {
            Algorithm::LinearRegression => linear_regression::Model::from_arrays(arrays).map(Self::Linear),
            Algorithm::LogisticRegression => logistic_regression::Model::from_arrays(arrays).map(Self::Logistic),
            Algorithm::GradientBoosting => gradient_boosting::Model::from_arrays(arrays).map(Self::Boosted),
            Algorithm::RandomForest => random_forest::Model::from_arrays(arrays).map(Self::Forest),
            Algorithm::Als | Algorithm::Content | Algorithm::Kmeans | Algorithm::Neighbours | Algorithm::Popularity => {
                let problem = "it is of no features and target".to_owned();
                Err(LoadError::Damaged { name: algorithm.name().to_owned(), problem })
            }
        }
    }

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
