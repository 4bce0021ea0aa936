//! A study's pieces of work as its machinery sees them: by name and key.

/// A stage, which several runs share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageWork {
    pub name: String,
    /// Hash of all that it depends on.
    pub key: String,
    /// The files that it leaves in the output folder itself, beside its own.
    pub results: &'static [&'static str],
    /// Files of its own that others read: an older version of this program may have finished it without them.
    pub files: &'static [&'static str],
}

impl StageWork {
    /// A stage that leaves nothing but its own folder.
    pub fn new(name: &str, key: String) -> Self {
        Self { name: name.to_owned(), key, results: &[], files: &[] }
    }
}

/// A run, a child process of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunWork {
    pub name: String,
    /// Hash of all that it depends on.
    pub key: String,
    /// Steps of training.
    pub steps: usize,
    /// The names of the stages whose files it reads.
    pub needs: Vec<String>,
}
