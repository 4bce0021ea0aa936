//! Files of the repository that the program reads: shipped models, the cache of reviews, records of the
//! build.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::exit::BadInput;

/// The shipped models, which no other folder has both of.
const MODELS: [&str; 2] = ["data/reference-lm/config.json", "data/ground-truth/ground_truth.safetensors"];

/// A file or folder of the repository, such as `data/reference-lm`: seen from the repository's root as
/// records show it, or from anywhere else by the path that this program was built at.
pub fn path(name: &str) -> Result<PathBuf> {
    let here = PathBuf::new();
    let built_at = Path::new(env!("CARGO_MANIFEST_DIR"));
    find(name, &[(here, &MODELS), (built_at.join(".."), &["experiments/presets/reference.toml"])])
}

/// A path that a shipped preset may name too: seen from here, or where nothing is there, from the
/// repository's root.
pub fn here_or_there(path: &Path) -> PathBuf {
    if path.is_relative()
        && !path.exists()
        && let Some(there) = path.to_str().and_then(|name| self::path(name).ok())
    {
        return there;
    }
    path.to_owned()
}

/// The first place that has all its marks.
fn find(name: &str, places: &[(PathBuf, &[&str])]) -> Result<PathBuf> {
    let is_repository =
        |(place, marks): &&(PathBuf, &[&str])| marks.iter().all(|mark| place.join(mark).is_file());
    if let Some((place, _)) = places.iter().find(is_repository) {
        return Ok(place.join(name));
    }
    let tried: Vec<String> = places
        .iter()
        .map(|(place, marks)| {
            let place = std::path::absolute(place).unwrap_or_else(|_| place.clone());
            format!("\n  {}: no {}", place.display(), marks.join(" and "))
        })
        .collect();
    let cure = "call this program in the root of a checkout of its repository";
    Err(BadInput(format!(
        "{name}: the repository that has it is in none of these places; {cure}{}",
        tried.concat()
    ))
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_needs_all_its_marks_and_every_place_that_was_tried_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| dir.path().join(name));
        for place in [&one, &two] {
            std::fs::create_dir_all(place.join("data")).unwrap();
            std::fs::write(place.join("data/README.md"), "").unwrap();
        }
        let marks: &[&str] = &["data/README.md", "data/mark"];
        let places = [(one.clone(), marks), (two.clone(), marks)];
        let message = find("data/cache", &places).unwrap_err().to_string();
        for place in [&one, &two] {
            assert!(
                message.contains(&format!("{}: no data/README.md and data/mark", place.display())),
                "{message}"
            );
        }
        std::fs::write(two.join("data/mark"), "").unwrap();
        assert_eq!(find("data/cache", &places).unwrap(), two.join("data/cache"));
    }

    #[test]
    fn the_repository_has_its_marks() {
        for name in MODELS {
            assert!(path(name).unwrap().is_file(), "{name}");
        }
    }
}
