//! The parameters of alternating least squares.

use std::collections::BTreeMap;

use crate::params::{ParamDefault, ParamFault, ParamReader, ParamSpec, ParamValue};

pub const SPECS: &[ParamSpec] = &[
    ParamSpec {
        name: "rank",
        default: ParamDefault::Integer(10),
        range: "1 to 1024",
        meaning: "the length of the vectors of users and items",
    },
    ParamSpec {
        name: "iterations",
        default: ParamDefault::Integer(10),
        range: "1 to 1000",
        meaning: "how often items are computed from users and users from items, at most",
    },
    ParamSpec {
        name: "lambda",
        default: ParamDefault::Float(0.1),
        range: "1e-9 to 1e6",
        meaning: "penalty of the squared length of a vector (regParam in Spark, regularization in implicit)",
    },
    ParamSpec {
        name: "lambda_scale",
        default: ParamDefault::Text("auto"),
        range: "\"auto\", \"ratings\", \"none\"",
        meaning: "ratings: lambda times the number of ratings of the user or item (implicit feedback: of those above 0), \
                  as Spark does; none: lambda as it is; auto: ratings for explicit, none for implicit feedback",
    },
    ParamSpec {
        name: "feedback",
        default: ParamDefault::Text("explicit"),
        range: "\"explicit\", \"implicit\"",
        meaning: "explicit: predict the ratings; implicit: ratings are counts, and a pair without one means a little less \
                  than a pair with one",
    },
    ParamSpec {
        name: "alpha",
        default: ParamDefault::Float(1.0),
        range: "0 to 1e6",
        meaning: "implicit feedback: the confidence in a pair is 1 + alpha·|rating|; a rating of 0 or less is a confident no",
    },
    ParamSpec {
        name: "nonnegative",
        default: ParamDefault::Bool(false),
        range: "true, false",
        meaning: "no component of a vector is below 0",
    },
    ParamSpec {
        name: "early_stop",
        default: ParamDefault::Integer(2),
        range: "0 to 1000",
        meaning: "where ratings are kept apart to validate: stops after so many iterations without a better RMSE \
                  (explicit) or NDCG@10 (implicit) on them, and keeps the best; 0 never stops early",
    },
    ParamSpec {
        name: "biases",
        default: ParamDefault::Omitted(&ParamDefault::Bool(false)),
        range: "true, false",
        meaning: "explicit feedback: the mean of all ratings and what a user and an item lie above it are fitted first, and the \
                  vectors to what they leave over; not with nonnegative",
    },
    ParamSpec {
        name: "ranking",
        default: ParamDefault::Omitted(&ParamDefault::Text("auto")),
        range: "\"auto\", \"prediction\", \"support\"",
        meaning: "explicit feedback: what lists are ordered by. prediction: the predicted rating; support: the predicted rating + \
                  0.7 standard deviations of the ratings × ln(1 + ratings of the item); auto: support with biases, else prediction",
    },
];

/// What lists of recommendations are ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListRule {
    /// The score of an item.
    Prediction,
    /// The score, and a share of the logarithm of how many ratings speak for it.
    Support,
}

/// What the ratings are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feedback {
    /// Opinions on a scale, to be predicted.
    Explicit,
    /// Counts of something done; a pair without one is a weak no.
    Implicit,
}

/// What lambda is multiplied by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LambdaScale {
    /// The number of ratings of the row; with implicit feedback of those above 0.
    Ratings,
    None,
}

/// Checked parameters; the ranges are those of [`SPECS`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Params {
    pub(crate) rank: u32,
    pub(crate) iterations: u32,
    pub(crate) lambda: f64,
    /// `None` is "auto".
    pub(crate) lambda_scale: Option<LambdaScale>,
    pub(crate) feedback: Feedback,
    pub(crate) alpha: f64,
    pub(crate) nonnegative: bool,
    pub(crate) early_stop: u32,
    pub(crate) biases: bool,
    /// `None` is "auto".
    pub(crate) ranking: Option<ListRule>,
    /// The lowest and the highest rating there can be: predictions are clamped to it. `None` takes those of the ratings
    /// fitted on. Explicit feedback only. It is no parameter a person writes among the others, so the caller sets it.
    pub scale: Option<(f32, f32)>,
}

impl Default for Params {
    fn default() -> Params {
        Params {
            rank: 10,
            iterations: 10,
            lambda: 0.1,
            lambda_scale: None,
            feedback: Feedback::Explicit,
            alpha: 1.0,
            nonnegative: false,
            early_stop: 2,
            biases: false,
            ranking: None,
            scale: None,
        }
    }
}

impl Params {
    /// Every fault at once; what is absent has its default.
    pub fn from_values(values: &BTreeMap<String, ParamValue>) -> Result<Params, Vec<ParamFault>> {
        let mut reader = ParamReader::new(values, SPECS);
        let mut params = Params::default();
        if let Some(rank) = reader.integer("rank", "must be a whole number from 1 to 1024", 1..=1024) {
            params.rank = rank;
        }
        if let Some(iterations) = reader.integer("iterations", "must be a whole number from 1 to 1000", 1..=1000) {
            params.iterations = iterations;
        }
        let rule = "must be from 1e-9 to 1e6: without a penalty a user of few ratings has no single answer";
        if let Some(lambda) = reader.float("lambda", rule, |lambda| (1e-9..=1e6).contains(&lambda)) {
            params.lambda = lambda;
        }
        let scales = [("auto", None), ("ratings", Some(LambdaScale::Ratings)), ("none", Some(LambdaScale::None))];
        if let Some(scale) = choice(&mut reader, "lambda_scale", &scales) {
            params.lambda_scale = scale;
        }
        let kinds = [("explicit", Feedback::Explicit), ("implicit", Feedback::Implicit)];
        if let Some(feedback) = choice(&mut reader, "feedback", &kinds) {
            params.feedback = feedback;
        }
        if let Some(alpha) = reader.float("alpha", "must be from 0 to 1e6", |alpha| (0.0..=1e6).contains(&alpha)) {
            params.alpha = alpha;
        }
        if let Some(nonnegative) = reader.bool("nonnegative") {
            params.nonnegative = nonnegative;
        }
        let rule = "must be a whole number from 0 to 1000; 0 never stops early";
        if let Some(early_stop) = reader.integer("early_stop", rule, 0..=1000) {
            params.early_stop = early_stop;
        }
        if let Some(biases) = reader.bool("biases") {
            params.biases = biases;
        }
        let rules = [("auto", None), ("prediction", Some(ListRule::Prediction)), ("support", Some(ListRule::Support))];
        if let Some(rule) = choice(&mut reader, "ranking", &rules) {
            params.ranking = rule;
        }
        let is_implicit = params.feedback == Feedback::Implicit;
        if params.biases && is_implicit {
            reader.fault("biases", "are for explicit feedback; remove them");
        }
        if params.biases && params.nonnegative {
            reader.fault("biases", "leave over what is below 0 as often as above; remove them or nonnegative");
        }
        if is_implicit && params.ranking == Some(ListRule::Support) {
            reader.fault("ranking", "support is for explicit feedback, implicit has it in its vectors; remove it");
        }
        reader.finish(params)
    }

    pub fn rank(&self) -> u32 {
        self.rank
    }

    pub fn iterations(&self) -> u32 {
        self.iterations
    }

    pub fn lambda(&self) -> f64 {
        self.lambda
    }

    /// What "auto" comes to included.
    pub fn lambda_scale(&self) -> LambdaScale {
        self.lambda_scale.unwrap_or(match self.feedback {
            Feedback::Explicit => LambdaScale::Ratings,
            Feedback::Implicit => LambdaScale::None,
        })
    }

    pub fn feedback(&self) -> Feedback {
        self.feedback
    }

    pub fn alpha(&self) -> f64 {
        self.alpha
    }

    pub fn nonnegative(&self) -> bool {
        self.nonnegative
    }

    pub fn early_stop(&self) -> u32 {
        self.early_stop
    }

    pub fn biases(&self) -> bool {
        self.biases
    }

    /// What "auto" comes to included.
    pub fn ranking(&self) -> ListRule {
        self.ranking.unwrap_or(if self.biases { ListRule::Support } else { ListRule::Prediction })
    }
}

/// One of a few words; a fault lists them.
fn choice<T: Copy>(reader: &mut ParamReader, name: &str, choices: &[(&str, T)]) -> Option<T> {
    let found = match reader.get(name)? {
        ParamValue::Text(text) => choices.iter().find(|(word, _)| word == text).map(|(_, choice)| *choice),
        ParamValue::Float(_) | ParamValue::Integer(_) | ParamValue::Bool(_) => None,
    };
    if found.is_none() {
        let words: Vec<String> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        reader.fault(name, format!("must be one of {}", words.join(", ")));
    }
    found
}
