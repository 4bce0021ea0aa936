//! How the files of a source look from outside.

use std::fs::{Metadata, metadata};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use crate::reviews::digest::hexadecimal;
use crate::reviews::fetch::Fetcher;
use crate::reviews::folder::{find_folder, list};
use crate::reviews::source::Source;

/// A file that changed so short a time ago may change once more and keep its time, as coarse as the clocks of
/// file systems are.
const CLOCK: Duration = Duration::from_secs(3);

/// Names, sizes and times of all files that a source would read: equal signatures mean equal reviews, which
/// need not be read again to know that. Different ones say nothing.
///
/// On Unix the number of a file and the time of its last change of any kind count as well. They tell where
/// sizes and times of writing have been kept, as by `mv`, `cp -p` or `touch -d`. The path counts too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    hash: String,
    /// When the last of the files changed.
    changed: SystemTime,
}

impl Signature {
    /// Looks at the files of a source, with `cache` for its downloads; `seed` is that of
    /// [`load`](crate::reviews::load()), and counts. `None` if there are no files, or they cannot be looked
    /// at.
    pub fn of(source: &Source, cache: &Path, seed: u64) -> Option<Self> {
        let places = match source {
            Source::Embedded | Source::Synthetic => Vec::new(),
            Source::Path(path) => vec![path.clone()],
            Source::Imdb | Source::Auto => Fetcher::new(cache).in_cache().collect(),
        };
        let mut files = Vec::new();
        for place in places {
            files.extend(files_of(&place)?);
        }
        files.sort();
        let mut hash = Sha256::new();
        hash.update(format!("{source}\n{seed}\n"));
        let mut changed = None;
        for path in files {
            // Looked at through links, as it is read.
            let (looks, last) = look(&metadata(&path).ok()?)?;
            hash.update(format!("{}\n{looks}\n", path.display()));
            changed = changed.max(Some(last));
        }
        Some(Self { hash: hexadecimal(&hash.finalize()), changed: changed? })
    }

    /// The signature as a hash, for reviews that were read between `begun` and the moment of `after`. `None`
    /// if the files changed meanwhile, or so shortly before that their times may not tell.
    pub fn settled(self, after: Option<&Self>, begun: SystemTime) -> Option<String> {
        let is_old = begun.duration_since(self.changed).is_ok_and(|age| age > CLOCK);
        (is_old && after == Some(&self)).then_some(self.hash)
    }

    /// Whether this is the signature with that hash.
    pub fn is(&self, hash: &str) -> bool {
        self.hash == hash
    }
}

fn files_of(place: &Path) -> Option<Vec<PathBuf>> {
    if !place.is_dir() {
        return Some(vec![place.to_owned()]);
    }
    let (files, _) = list(&find_folder(place)?).ok()?;
    Some(files.into_iter().map(|(_, path)| path).collect())
}

/// What tells a file from another and from itself at another time, and when it last changed.
fn look(about: &Metadata) -> Option<(String, SystemTime)> {
    let modified = about.modified().ok()?;
    let since = modified.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let size = about.len();
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let seconds = about.ctime();
        let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).ok()?);
        let number = (about.dev(), about.ino(), seconds, about.ctime_nsec());
        Some((format!("{size} {since:?} {number:?}"), modified.max(changed)))
    }
    #[cfg(not(unix))]
    {
        Some((format!("{size} {since:?}"), modified))
    }
}
