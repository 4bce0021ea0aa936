//! The unpacked `aclImdb` folder.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::{ImdbError, io};
use crate::reviews::raw::{MAX_ENTRIES, MAX_REVIEW_BYTES, RawReviews, ReviewName};

/// The `aclImdb` folder that `path` is or holds, if any.
pub fn find_folder(path: &Path) -> Option<PathBuf> {
    [path.to_owned(), path.join("aclImdb")].into_iter().find(|folder| folder.join("train").is_dir())
}

/// Reads an unpacked `aclImdb` folder. A link to a file is read as the file; what is no file, a broken link
/// among them, is ignored and counted.
pub fn read_folder(folder: &Path) -> Result<RawReviews, ImdbError> {
    let (files, ignored) = list(folder)?;
    let mut found = RawReviews::default();
    for (name, path) in files {
        let bytes = read_capped(&path, &name)?;
        found.push(folder, name, bytes)?;
    }
    found.ignored = ignored;
    found.sorted(folder)
}

/// The reviews in a folder with their files, in no order, and how many entries are none.
pub(super) fn list(folder: &Path) -> Result<(Vec<(ReviewName, PathBuf)>, usize), ImdbError> {
    let (mut files, mut ignored) = (Vec::new(), 0);
    for split in ["train", "test"] {
        for label in ["pos", "neg", "unsup"] {
            let part = folder.join(split).join(label);
            if !part.is_dir() {
                continue;
            }
            for file in fs::read_dir(&part).map_err(io("list", &part))? {
                let file = file.map_err(io("list", &part))?;
                if files.len() + ignored >= MAX_ENTRIES {
                    return Err(ImdbError::damaged(folder, format!("at most {MAX_ENTRIES} entries"), "more"));
                }
                let name = file
                    .file_name()
                    .to_str()
                    .and_then(|name| ReviewName::parse(&format!("aclImdb/{split}/{label}/{name}")));
                let path = file.path();
                match name {
                    // Looked at through links: folders are shared by linking their files.
                    Some(name) if path.is_file() => files.push((name, path)),
                    Some(_) | None => ignored += 1,
                }
            }
        }
    }
    Ok((files, ignored))
}

fn read_capped(path: &Path, name: &ReviewName) -> Result<Vec<u8>, ImdbError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(io("open", path))?;
    name.check_size(path, file.metadata().map_err(io("read", path))?.len())?;
    file.take(MAX_REVIEW_BYTES + 1).read_to_end(&mut bytes).map_err(io("read", path))?;
    Ok(bytes)
}
