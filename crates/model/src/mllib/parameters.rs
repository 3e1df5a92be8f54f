//! What a saved model was fitted with: in our words where one means the same, and the rest in Spark's.

use millstream_learn::Algorithm;
use serde_json::{Map, Value};

/// Our name and Spark's; docs/spark.md says it to people. The penalties of linear models and what stops k-means are counted otherwise.
fn same(algorithm: Algorithm) -> &'static [(&'static str, &'static str)] {
    match algorithm {
        Algorithm::Als => &[("rank", "rank")],
        Algorithm::Kmeans => &[("k", "k"), ("max_iterations", "maxIter")],
        Algorithm::LogisticRegression => &[("tolerance", "tol"), ("max_iterations", "maxIter")],
        Algorithm::RandomForest => &[
            ("trees", "numTrees"),
            ("max_depth", "maxDepth"),
            ("min_leaf", "minInstancesPerNode"),
            ("max_samples", "subsamplingRate"),
            ("bins", "maxBins"),
        ],
        Algorithm::GradientBoosting => &[
            ("rounds", "maxIter"),
            ("learning_rate", "stepSize"),
            ("max_depth", "maxDepth"),
            ("min_leaf", "minInstancesPerNode"),
            ("max_samples", "subsamplingRate"),
            ("bins", "maxBins"),
        ],
        Algorithm::LinearRegression | Algorithm::Content | Algorithm::Neighbours | Algorithm::Popularity => &[],
    }
}

/// Ours, and the rest.
pub(super) fn parameters(algorithm: Algorithm, saved: &Map<String, Value>) -> (Map<String, Value>, Map<String, Value>) {
    let mut rest = saved.clone();
    let found = same(algorithm).iter().filter_map(|(ours, theirs)| match rest.get(*theirs)?.is_number() {
        true => Some(((*ours).to_owned(), rest.shift_remove(*theirs)?)),
        false => None,
    });
    (found.collect(), rest)
}
