//! The words of a version's texts, beside its other arrays.

use millstream_learn::content::Bag;
use millstream_learn::{Arrays, LoadError};

use super::{Encoding, Feature};

pub fn store_bags(bags: &[Option<Bag>], arrays: &mut Arrays) {
    for (index, bag) in bags.iter().enumerate() {
        if let Some(bag) = bag {
            bag.store(&prefix(index), arrays);
        }
    }
}

/// One for each feature that counts by its words.
pub fn load_bags(features: &[Feature], arrays: &Arrays) -> Result<Vec<Option<Bag>>, LoadError> {
    let bag = |(index, feature): (usize, &Feature)| match feature.encoding {
        Encoding::Text { .. } => Bag::load(&prefix(index), arrays).map(Some),
        Encoding::Numeric { .. } | Encoding::Categorical { .. } => Ok(None),
    };
    features.iter().enumerate().map(bag).collect()
}

fn prefix(index: usize) -> String {
    format!("text_{index}")
}
