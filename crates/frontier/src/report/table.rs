//! A table, as pages show it.

use serde::{Deserialize, Serialize};

/// A table with its title.
///
/// Every row is as long as the header, and has something to tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// What it shows.
    pub title: String,
    /// How to read it; may be empty.
    pub note: String,
    /// The names of the columns.
    pub header: Vec<String>,
    /// The cells.
    pub rows: Vec<Vec<String>>,
    /// The columns, from the left, that hold words; the others hold numbers.
    pub words: usize,
    /// Whether a page shows the title alone until it is opened.
    pub folded: bool,
}

impl Table {
    /// An open table whose first column holds words. Rows of nothing but [dashes](super::numbers::dash) after
    /// that column are left out; `None` if no row is left.
    pub(crate) fn new(
        title: &str,
        note: &str,
        header: impl IntoIterator<Item = String>,
        rows: Vec<Vec<String>>,
    ) -> Option<Self> {
        let tells = |row: &Vec<String>| row.len() < 2 || row[1..].iter().any(|cell| cell != "-");
        let rows: Vec<Vec<String>> = rows.into_iter().filter(tells).collect();
        let (title, note, header) = (title.to_owned(), note.to_owned(), header.into_iter().collect());
        (!rows.is_empty()).then_some(Self { title, note, header, rows, words: 1, folded: false })
    }

    /// The same table, folded.
    pub(crate) fn folded(self) -> Self {
        Self { folded: true, ..self }
    }

    /// The same table with words in the first columns.
    pub(crate) fn worded(self, words: usize) -> Self {
        Self { words, ..self }
    }

    /// The table as Markdown: its title as a heading of the third level or, if it is folded, as a line to
    /// click on.
    pub fn markdown(&self) -> String {
        let note = if self.note.is_empty() { String::new() } else { format!("{}\n\n", self.note) };
        let cells = self.cells();
        if self.folded {
            format!("<details>\n<summary>{}</summary>\n\n{note}{cells}\n</details>\n", self.title)
        } else {
            format!("### {}\n\n{note}{cells}", self.title)
        }
    }

    /// Header and rows as Markdown.
    pub fn cells(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let rule: String =
            (0..self.header.len()).map(|i| if i < self.words { "-|" } else { "-:|" }).collect();
        let body: String = self.rows.iter().map(|row| line(row)).collect();
        format!("{}|{rule}\n{body}", line(&self.header))
    }
}
