//! `millstream demo`: an example's pipeline file, pointed at generated data in a folder of its own.

use std::io;
use std::path::{Path, PathBuf};

use millstream_base::ConfigFaults;
use millstream_stream::source::demo::{
    write_bitcoin, write_films, write_houses, write_movies, write_products, write_ratings,
};

use super::Example;
use crate::config::{Loaded, Overrides, load_text};

#[derive(Debug, Clone, PartialEq)]
pub struct Demo {
    pub system: DemoSystem,
    pub rows: u64,
    /// Of the generated data.
    pub seed: u64,
    /// Holds the generated rows, the topic, the batches and the models.
    pub data: PathBuf,
    pub exit_when_done: bool,
    pub overrides: Overrides,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum DemoSystem {
    #[default]
    Bitcoin,
    Movielens,
    Products,
    Movies,
    Houses,
}

impl DemoSystem {
    /// As many as the data that it stands for has, or enough to see it work.
    pub fn rows(self) -> u64 {
        match self {
            Self::Bitcoin | Self::Movielens => 300_000,
            Self::Products => 1500,
            Self::Movies => 1000,
            Self::Houses => 30_000,
        }
    }

    fn example(self) -> Example {
        match self {
            Self::Bitcoin => Example::Bitcoin,
            Self::Movielens => Example::Movielens,
            Self::Products => Example::Products,
            Self::Movies => Example::Movies,
            Self::Houses => Example::Houses,
        }
    }
}

impl Demo {
    /// The csv file that the demo generates and replays.
    pub fn csv(&self) -> PathBuf {
        self.data.join("rows.csv")
    }

    /// The csv file of the items, where the system has one.
    fn items(&self) -> Option<PathBuf> {
        match self.system {
            DemoSystem::Bitcoin | DemoSystem::Products | DemoSystem::Movies | DemoSystem::Houses => None,
            DemoSystem::Movielens => Some(self.data.join("movies.csv")),
        }
    }

    /// Writes the data that is not there yet. Under another name first: an interrupted demo leaves no half of a file.
    pub fn generate(&self) -> io::Result<()> {
        let whole = |path: &Path, write: &dyn Fn(&Path, u64, u64) -> io::Result<()>| {
            if path.exists() {
                return Ok(());
            }
            let partial = path.with_extension("partial");
            write(&partial, self.rows, self.seed).and_then(|()| std::fs::rename(&partial, path))
        };
        std::fs::create_dir_all(&self.data)?;
        if let Some(items) = self.items() {
            whole(&items, &write_movies)?;
        }
        match self.system {
            DemoSystem::Bitcoin => whole(&self.csv(), &write_bitcoin),
            DemoSystem::Movielens => whole(&self.csv(), &write_ratings),
            DemoSystem::Products => whole(&self.csv(), &write_products),
            DemoSystem::Movies => whole(&self.csv(), &write_films),
            DemoSystem::Houses => whole(&self.csv(), &write_houses),
        }
    }

    /// Requests that the served demo answers.
    pub fn curl_lines(&self, site: &str) -> String {
        let get = |path: &&str| format!("\n  curl '{site}{path}'");
        let post =
            |path: &str, body: &str| format!("\n  curl -H 'content-type: application/json' -d '{body}' '{site}{path}'");
        let lines = |paths: &[&str]| paths.iter().map(get).collect::<String>();
        match self.system {
            DemoSystem::Bitcoin => lines(&[
                "/predict/high_low?open=20000&volume=25",
                "/predict/trend?open=20000&close=20010&volume=25",
                "/predict/close?timestamp=1500000000",
                "/v1/models",
            ]),
            DemoSystem::Movielens => lines(&[
                "/1/top/ratings/5/0",
                "/1/ratings/50/0",
                "/v1/models/taste/because/1/50",
                "/v1/models/watched/similar/50",
                "/v1/catalogue?q=mill&genre=Drama",
            ]),
            DemoSystem::Products => {
                let product = r#"[{"price":399,"rating":4.2},{"price":77990,"rating":3.9}]"#;
                lines(&[
                    "/api/categories",
                    "/api/products?category=Electronics",
                    "/api/products_by_price?target_price=400",
                    "/v1/catalogue?q=cable",
                    "/v1/models/price_rating/clusters",
                ]) + &post("/api/cluster_products_by_price_rating", product)
            }
            DemoSystem::Movies => lines(&[
                "/films?q=comet",
                "/similar?title=The+Distant+Orbit",
                "/audiences",
                "/recommendations/children",
                "/v1/models/audience",
            ]),
            DemoSystem::Houses => {
                let house = r#""Property Type":"D","Old/New":"N","Duration":"F","Town/City":"WELLOW","District":"WELLOW, BOROUGH OF","County":"WELLOWSHIRE","PPD category":"A","Record status":"A""#;
                let alike = format!(r#"{{"property_features":{{{house}}},"num_recommendations":5}}"#);
                post("/predict-price", &format!("{{{house}}}"))
                    + &post("/clustering", &format!("{{{house}}}"))
                    + &post("/recommend", &alike)
                    + &lines(&["/health"])
            }
        }
    }

    /// The example's pipeline on that file; `MILLSTREAM_SET` and `--set` still win.
    pub fn pipeline(&self) -> Result<Loaded, ConfigFaults> {
        let example = self.system.example();
        let mut overrides = self
            .overrides
            .clone()
            .with_built_in("source.path", self.csv().display().to_string())
            .with_built_in("store.url", format!("file:{}", self.data.join("store").display()));
        if let Some(items) = self.items() {
            overrides = overrides.with_built_in("catalogue.from", items.display().to_string());
        }
        load_text(Path::new(example.file()), example.text(), &overrides)
    }
}
