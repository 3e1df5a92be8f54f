//! `millstream demo`: an example's pipeline file, pointed at generated data in a folder of its own.

use std::path::{Path, PathBuf};

use super::Example;
use crate::config::{ConfigFaults, Loaded, Overrides, load_text};

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
}

impl Demo {
    /// The csv file that the demo generates and replays.
    pub fn csv(&self) -> PathBuf {
        self.data.join("rows.csv")
    }

    /// The example's pipeline on that file; `MILLSTREAM_SET` and `--set` still win.
    pub fn pipeline(&self) -> Result<Loaded, ConfigFaults> {
        let example = match self.system {
            DemoSystem::Bitcoin => Example::Bitcoin,
        };
        let overrides = self
            .overrides
            .clone()
            .with_built_in("source.path", self.csv().display().to_string())
            .with_built_in("store.url", format!("file:{}", self.data.join("store").display()));
        load_text(Path::new(example.file()), example.text(), &overrides)
    }
}
