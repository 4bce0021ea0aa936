//! What shows in a signature, and when it can be relied on.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use imdb::Source;
use imdb::reviews::Signature;
use imdb::reviews::fetch::ARCHIVE_NAME;

fn of(folder: &Path, seed: u64) -> Option<Signature> {
    Signature::of(&Source::Path(folder.to_owned()), Path::new("unused"), seed)
}

/// Two reviews of the same size.
fn two(root: &Path) {
    for label in ["pos", "neg"] {
        let part = root.join("aclImdb/train").join(label);
        fs::create_dir_all(&part).unwrap();
        fs::write(part.join("0_5.txt"), label).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn every_change_of_a_review_shows_whatever_its_size_and_time() {
    let root = tempfile::tempdir().unwrap();
    two(root.path());
    let first = of(root.path(), 1).unwrap();
    assert_eq!(of(root.path(), 1).unwrap(), first);
    assert_ne!(of(root.path(), 2).unwrap(), first, "another seed splits in another way");
    fs::write(root.path().join("aclImdb/README"), "no review").unwrap();
    assert_eq!(of(root.path(), 1).unwrap(), first);

    // Names, sizes and times of writing stay as they were.
    let place = |name: &str| root.path().join("aclImdb/train").join(name);
    for (from, to) in [("pos", "kept"), ("neg", "pos"), ("kept", "neg")] {
        fs::rename(place(from), place(to)).unwrap();
    }
    let swapped = of(root.path(), 1).unwrap();
    assert_ne!(swapped, first);
    let file = place("pos").join("0_5.txt");
    let written = fs::metadata(&file).unwrap().modified().unwrap();
    // Longer than a tick of the clock that stamps files.
    std::thread::sleep(Duration::from_millis(20));
    fs::write(&file, "NEG").unwrap();
    fs::File::options().write(true).open(&file).unwrap().set_modified(written).unwrap();
    assert_ne!(of(root.path(), 1).unwrap(), swapped);
}

#[test]
fn a_signature_settles_when_its_files_have() {
    let root = tempfile::tempdir().unwrap();
    two(root.path());
    let signature = || of(root.path(), 1).unwrap();
    let now = SystemTime::now();
    assert_eq!(signature().settled(Some(&signature()), now), None, "only just written");
    let later = now + Duration::from_mins(1);
    let hash = signature().settled(Some(&signature()), later).unwrap();
    assert!(signature().is(&hash));
    assert_eq!(signature().settled(None, later), None);
    assert_eq!(signature().settled(of(root.path(), 2).as_ref(), later), None, "changed meanwhile");
}

#[test]
fn only_what_has_files_has_a_signature() {
    let cache = tempfile::tempdir().unwrap();
    let of = |source: &Source| Signature::of(source, cache.path(), 1);
    for source in [Source::Embedded, Source::Synthetic, Source::Auto, Source::Imdb] {
        assert_eq!(of(&source), None, "{source}");
    }
    assert_eq!(of(&Source::Path(cache.path().join("nowhere"))), None);
    two(cache.path());
    let folder = of(&Source::Auto).unwrap();
    fs::write(cache.path().join(ARCHIVE_NAME), "an archive").unwrap();
    assert_ne!(of(&Source::Auto).unwrap(), folder);
    fs::remove_dir_all(cache.path().join("aclImdb")).unwrap();
    assert!(of(&Source::Imdb).is_some());
}
