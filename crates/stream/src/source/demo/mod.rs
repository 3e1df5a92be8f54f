//! Generated data of the shape of known datasets, for `millstream demo` and the benchmarks. The same seed gives the same
//! bytes.

mod bitcoin;
mod houses;
mod movielens;
mod movies;
mod products;
mod words;

pub use bitcoin::write_bitcoin;
pub use houses::write_houses;
pub use movielens::{write_movies, write_ratings};
pub use movies::write_films;
pub use products::write_products;

use std::io;

use rand_distr::{Distribution, Normal, StandardNormal};

fn normal(deviation: f64) -> io::Result<Normal<f64>>
where
    StandardNormal: Distribution<f64>,
{
    Normal::new(0.0, deviation).map_err(io::Error::other)
}
