//! `millstream demo`: an example's pipeline file, pointed at generated data in a folder of its own.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::Example;
use crate::config::{ConfigFaults, Loaded, Overrides, load_text};
use crate::source::demo::{write_bitcoin, write_movies, write_ratings};

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
}

impl Demo {
    /// The csv file that the demo generates and replays.
    pub fn csv(&self) -> PathBuf {
        self.data.join("rows.csv")
    }

    /// The csv file of the items, where the system has one.
    fn items(&self) -> Option<PathBuf> {
        match self.system {
            DemoSystem::Bitcoin => None,
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
        }
    }

    /// Requests that the served demo answers.
    pub fn curl_lines(&self, address: SocketAddr) -> String {
        let paths: &[&str] = match self.system {
            DemoSystem::Bitcoin => &[
                "/predict/high_low?open=20000&volume=25",
                "/predict/trend?open=20000&close=20010&volume=25",
                "/predict/close?timestamp=1500000000",
                "/v1/models",
            ],
            DemoSystem::Movielens => &[
                "/1/top/ratings/5/0",
                "/1/ratings/50/0",
                "/v1/models/taste/because/1/50",
                "/v1/models/watched/similar/50",
                "/v1/catalogue?q=mill&genre=Drama",
            ],
        };
        paths.iter().map(|path| format!("\n  curl 'http://{address}{path}'")).collect()
    }

    /// The example's pipeline on that file; `MILLSTREAM_SET` and `--set` still win.
    pub fn pipeline(&self) -> Result<Loaded, ConfigFaults> {
        let example = match self.system {
            DemoSystem::Bitcoin => Example::Bitcoin,
            DemoSystem::Movielens => Example::Movielens,
        };
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
