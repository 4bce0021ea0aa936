//! The files that finished work left, with their sizes: what shows that a crash of the machine, a full disk
//! or a hand has damaged them since.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Bytes of every file, by its path below the output folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes(BTreeMap<String, u64>);

impl Sizes {
    /// Measures all files at `places`, each a file or a folder below `root`, and has the disk keep them: a
    /// marker that is written afterwards never outlives what it stands for.
    pub fn of(root: &Path, places: &[PathBuf]) -> Result<Self> {
        let mut sizes = BTreeMap::new();
        for place in places {
            visit(root, place, &mut sizes).with_context(|| place.display().to_string())?;
        }
        Ok(Self(sizes))
    }

    /// The first file that is not what it was, and how.
    pub fn damage(&self, root: &Path) -> Option<String> {
        self.0.iter().find_map(|(name, expected)| {
            let found = match std::fs::metadata(root.join(name)) {
                Ok(about) if about.len() == *expected => return None,
                Ok(about) => format!("{} bytes", about.len()),
                Err(_) => "no file".to_owned(),
            };
            Some(format!("{name}: found {found}, expected {expected} bytes"))
        })
    }
}

fn visit(root: &Path, place: &Path, sizes: &mut BTreeMap<String, u64>) -> std::io::Result<()> {
    if place.is_dir() {
        for entry in std::fs::read_dir(place)? {
            visit(root, &entry?.path(), sizes)?;
        }
        return sync_folder(place);
    }
    let file = File::open(place)?;
    file.sync_all()?;
    let name = place.strip_prefix(root).unwrap_or(place);
    let words: Vec<String> = name.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    sizes.insert(words.join("/"), file.metadata()?.len());
    Ok(())
}

/// Has the disk keep the names in a folder. Only Unix opens folders.
fn sync_folder(dir: &Path) -> std::io::Result<()> {
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_counts_and_the_first_that_differs_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::create_dir_all(root.join("stage/inner")).unwrap();
        for name in ["stage/a", "stage/inner/b", "beside", "not measured"] {
            std::fs::write(root.join(name), name).unwrap();
        }
        let sizes = Sizes::of(root, &[root.join("stage"), root.join("beside")]).unwrap();
        assert_eq!(sizes.damage(root), None);
        std::fs::write(root.join("not measured"), "").unwrap();
        assert_eq!(sizes.damage(root), None);
        std::fs::write(root.join("stage/inner/b"), "").unwrap();
        let expected = "stage/inner/b: found 0 bytes, expected 13 bytes";
        assert_eq!(sizes.damage(root).as_deref(), Some(expected));
        std::fs::remove_file(root.join("beside")).unwrap();
        assert_eq!(sizes.damage(root).as_deref(), Some("beside: found no file, expected 6 bytes"));
        assert!(Sizes::of(root, &[root.join("nowhere")]).is_err());
    }
}
