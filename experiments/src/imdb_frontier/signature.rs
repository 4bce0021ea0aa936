//! How the files of a source look from outside: what changes whenever they do, and is had without reading them.

use std::fs::{Metadata, metadata, read_dir};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use imdb::Source;
use imdb::archive::find_folder;
use imdb::fetch::{ARCHIVE_NAME, WHEEL_NAME};
use sha2::{Digest, Sha256};

use crate::study::folder::hex;

/// A file whose time is so near to the present may change once more and keep its time, as clocks of file systems go.
const CLOCK: Duration = Duration::from_secs(3);

/// Names, sizes and times of all files that a source may read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    hash: String,
    /// When the last of them changed.
    changed: SystemTime,
}

impl Signature {
    /// Of a source with `cache` for its downloads; `None` if it has no files, or they cannot be looked at. The seed
    /// counts: it draws what a source does not have by itself, such as a test split.
    pub fn of(source: &Source, cache: &Path, seed: u64) -> Option<Self> {
        let files = match source {
            Source::Embedded | Source::Synthetic => return None,
            Source::Path(path) => files_at(path)?,
            Source::Imdb | Source::Auto => {
                let archives = [ARCHIVE_NAME, WHEEL_NAME].map(|name| cache.join(name));
                let archives = archives.into_iter().filter(|path| path.is_file());
                archives
                    .chain(find_folder(cache).map_or(Some(Vec::new()), |folder| files_in(&folder))?)
                    .collect()
            }
        };
        let mut hash = Sha256::new();
        hash.update(format!("{source}\n{seed}\n"));
        let mut changed = None;
        for path in files {
            // Looked at through links, as they are read.
            match metadata(&path) {
                Ok(about) => {
                    let (looks, last) = look(&about)?;
                    hash.update(format!("{}\n{looks}\n", path.display()));
                    changed = changed.max(Some(last));
                }
                Err(_) => hash.update(format!("{}\nbroken\n", path.display())),
            }
        }
        Some(Self { hash: hex(&hash.finalize()), changed: changed? })
    }

    /// The hash, if it still holds `after` the reading that began at `begun`. What changed meanwhile, or so soon before
    /// that its time may not tell, is to be read again the next time.
    pub fn settled(self, after: Option<&Self>, begun: SystemTime) -> Option<String> {
        let is_old = begun.duration_since(self.changed).is_ok_and(|age| age > CLOCK);
        (is_old && after == Some(&self)).then_some(self.hash)
    }

    /// Whether files look as they did.
    pub fn is(&self, hash: &str) -> bool {
        self.hash == hash
    }
}

fn files_at(path: &Path) -> Option<Vec<PathBuf>> {
    if path.is_dir() { files_in(&find_folder(path)?) } else { Some(vec![path.to_owned()]) }
}

/// The files of an `aclImdb` folder, in order.
fn files_in(folder: &Path) -> Option<Vec<PathBuf>> {
    let mut files = Vec::new();
    for split in ["train", "test"] {
        for label in ["pos", "neg", "unsup"] {
            let part = folder.join(split).join(label);
            if part.is_dir() {
                for entry in read_dir(part).ok()? {
                    files.push(entry.ok()?.path());
                }
            }
        }
    }
    files.sort();
    Some(files)
}

/// What tells a file from another or from itself at another time, and when it last changed. The time of change and the
/// number of the file, which Unix has, also tell where times and sizes have been kept: `touch -d`, `mv`, `cp -p`.
fn look(about: &Metadata) -> Option<(String, SystemTime)> {
    let modified = about.modified().ok()?;
    let since = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).ok();
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let (seconds, nanoseconds) = (about.ctime(), about.ctime_nsec());
        let number = (about.dev(), about.ino(), seconds, nanoseconds);
        let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).ok()?);
        Some((format!("{} {:?} {number:?}", about.len(), since(modified)?), modified.max(changed)))
    }
    #[cfg(not(unix))]
    {
        Some((format!("{} {:?}", about.len(), since(modified)?), modified))
    }
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may panic")]
    use super::*;

    #[test]
    fn every_change_of_a_file_shows_and_a_touched_folder_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("aclImdb");
        let [pos, neg] = ["pos", "neg"].map(|label| root.join("train").join(label));
        for part in [&pos, &neg] {
            std::fs::create_dir_all(part).unwrap();
            std::fs::write(part.join("0_1.txt"), part.file_name().unwrap().as_encoded_bytes()).unwrap();
        }
        let source = Source::Path(dir.path().to_owned());
        let now = || Signature::of(&source, Path::new("unused"), 1).unwrap();
        let first = now();
        assert_eq!(first, now());
        std::fs::write(root.join("README"), "not a review").unwrap();
        assert_eq!(first, now());
        assert_ne!(first, Signature::of(&source, Path::new("unused"), 2).unwrap());

        // Names, sizes and times stay as they were.
        let swap = root.join("train/swap");
        for (from, to) in [(&pos, &swap), (&neg, &pos), (&swap, &neg)] {
            std::fs::rename(from, to).unwrap();
        }
        let swapped = now();
        assert_ne!(first, swapped);
        let file = pos.join("0_1.txt");
        let modified = metadata(&file).unwrap().modified().unwrap();
        // Beyond a tick of the clock that stamps files.
        std::thread::sleep(Duration::from_millis(20));
        std::fs::write(&file, "NEG").unwrap();
        std::fs::File::options().write(true).open(&file).unwrap().set_modified(modified).unwrap();
        assert_ne!(swapped, now());
    }

    #[test]
    fn what_is_young_or_changes_meanwhile_is_not_believed() {
        let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let signature = Signature { hash: "a".to_owned(), changed };
        let settled = |age: u64, after: &Signature| {
            signature.clone().settled(Some(after), changed + Duration::from_secs(age)).is_some()
        };
        assert!(settled(10, &signature));
        assert!(!settled(1, &signature));
        assert!(!settled(10, &Signature { hash: "b".to_owned(), ..signature.clone() }));
        assert_eq!(signature.clone().settled(None, changed + Duration::from_secs(10)), None);
    }
}
