//! `millstream new`: a pipeline file to start from, made from an example or for one's own file.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::proposal::quoted;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewFrom {
    Example(Example),
    File { path: PathBuf, kind: Option<NewKind> },
}

/// What is to be made of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum NewKind {
    /// Who likes what: two columns of ids, and maybe a rating
    Recommender,
    /// Items: what is alike, what is best
    Catalogue,
    /// A class from the other columns
    Classification,
    /// A number from the other columns
    Regression,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Example {
    #[default]
    Bitcoin,
    Movielens,
    Products,
    Movies,
    Houses,
}

impl Example {
    /// Where it lies in the repository; for messages.
    pub fn file(self) -> &'static str {
        match self {
            Self::Bitcoin => "examples/bitcoin.toml",
            Self::Movielens => "examples/movielens.toml",
            Self::Products => "examples/products.toml",
            Self::Movies => "examples/movies.toml",
            Self::Houses => "examples/houses.toml",
        }
    }

    pub fn text(self) -> &'static str {
        match self {
            Self::Bitcoin => include_str!("../../../../examples/bitcoin.toml"),
            Self::Movielens => include_str!("../../../../examples/movielens.toml"),
            Self::Products => include_str!("../../../../examples/products.toml"),
            Self::Movies => include_str!("../../../../examples/movies.toml"),
            Self::Houses => include_str!("../../../../examples/houses.toml"),
        }
    }

    /// The example as a pipeline of another name.
    pub fn renamed(self, name: &str) -> String {
        let line = |line: &str| match line.starts_with("name = ") {
            true => format!("name = {}\n", quoted(name)),
            false => format!("{line}\n"),
        };
        // The pipeline's own name is the first; those of its models stay.
        let (mut text, mut renamed) = (String::new(), false);
        for original in self.text().lines() {
            text.push_str(&if renamed { format!("{original}\n") } else { line(original) });
            renamed |= original.starts_with("name = ");
        }
        text
    }
}

#[derive(Debug, thiserror::Error)]
pub enum NewError {
    #[error("{file} exists already: choose another name, or move it away")]
    Exists { file: PathBuf },
    #[error("{file} cannot be written")]
    Io {
        file: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Writes `NAME.toml` in `folder`; never over a file that is there.
pub fn write_new(folder: &Path, name: &str, text: &str) -> Result<PathBuf, NewError> {
    let file = folder.join(format!("{name}.toml"));
    let written = std::fs::File::create_new(&file).and_then(|mut created| created.write_all(text.as_bytes()));
    match written {
        Ok(()) => Ok(file),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(NewError::Exists { file }),
        Err(source) => Err(NewError::Io { file, source }),
    }
}
