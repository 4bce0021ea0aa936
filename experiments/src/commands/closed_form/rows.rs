//! The numbers and what to expect of each: as CSV, and as a table that reads well in Markdown and in a
//! terminal.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

/// A number, and the one to expect: an equation's other side, or what samples and training approach.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Which part of the walk.
    pub step: &'static str,
    /// What the number is.
    pub quantity: String,
    /// The number.
    pub value: f64,
    /// The number to expect.
    pub expected: f64,
    /// `value - expected`.
    pub difference: f64,
}

/// A part of the walk: an equation, a line on it, and numbers.
pub struct Section {
    step: &'static str,
    title: &'static str,
    line: String,
    rows: Vec<Row>,
    /// Rows of the table; the others are in the CSV file only.
    shown: Vec<usize>,
}

impl Section {
    /// A part without numbers yet. `step` names it in the CSV file; `line` explains it.
    pub fn new(step: &'static str, title: &'static str, line: impl Into<String>) -> Self {
        Self { step, title, line: line.into(), rows: Vec::new(), shown: Vec::new() }
    }

    /// Adds a number that the table shows.
    pub fn show(&mut self, quantity: impl Into<String>, value: f64, expected: f64) {
        self.shown.push(self.rows.len());
        self.keep(quantity, value, expected);
    }

    /// Adds a number for the CSV file alone.
    pub fn keep(&mut self, quantity: impl Into<String>, value: f64, expected: f64) {
        let difference = value - expected;
        self.rows.push(Row { step: self.step, quantity: quantity.into(), value, expected, difference });
    }

    /// Heading, line and table.
    pub fn text(&self) -> String {
        let header = ["quantity", "value", "expected", "difference"].map(str::to_owned);
        let row = |row: &Row| {
            let [value, expected] = [row.value, row.expected].map(number);
            [row.quantity.clone(), value, expected, difference(row.difference)]
        };
        let shown: Vec<[String; 4]> = self.shown.iter().map(|&index| row(&self.rows[index])).collect();
        let width = |column: usize| {
            let cells = shown.iter().chain([&header]).map(|cells| cells[column].chars().count());
            cells.max().unwrap_or(0)
        };
        let widths: [usize; 4] = std::array::from_fn(width);
        let line = |[a, b, c, d]: &[String; 4]| {
            let [w, x, y, z] = widths;
            format!("| {a:<w$} | {b:>x$} | {c:>y$} | {d:>z$} |\n")
        };
        let rule: String = widths
            .iter()
            .enumerate()
            .map(|(column, width)| {
                let dashes = "-".repeat(width + 1);
                if column == 0 { format!("|{dashes}-") } else { format!("|{dashes}:") }
            })
            .collect();
        let mut text = format!("## {}\n\n{}\n\n{}{rule}|\n", self.title, self.line, line(&header));
        for cells in &shown {
            text += &line(cells);
        }
        text
    }
}

/// Writes the rows of all parts as one tidy CSV file.
pub fn write_csv(path: &Path, sections: &[Section]) -> Result<()> {
    let mut writer = csv::Writer::from_path(path).with_context(|| path.display().to_string())?;
    for row in sections.iter().flat_map(|section| &section.rows) {
        writer.serialize(row).with_context(|| path.display().to_string())?;
    }
    writer.flush().with_context(|| path.display().to_string())
}

/// Six significant digits.
fn number(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        "0".to_owned()
    } else if (1e-4..1e6).contains(&size) {
        let digits = (5.0 - size.log10().floor()).clamp(0.0, 6.0) as usize;
        format!("{value:.digits$}")
    } else {
        format!("{value:.2e}")
    }
}

fn difference(value: f64) -> String {
    if value == 0.0 { "0".to_owned() } else { format!("{value:.1e}") }
}

/// The parts one after another under `head`.
pub fn page(head: &str, sections: &[Section]) -> String {
    let mut text = head.to_owned();
    for section in sections {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n{}", section.text());
    }
    text
}

#[cfg(test)]
mod tests {
    #![expect(clippy::float_cmp, reason = "the difference of halves is exact")]
    use super::*;

    #[test]
    fn numbers_to_six_digits() {
        let found = [0.0, 1.0, -0.123_456_78, 1_234.567_89, 99_999.96, 2.5e-5, -3e7].map(number);
        assert_eq!(found, ["0", "1.00000", "-0.123457", "1234.57", "100000.0", "2.50e-5", "-3.00e7"]);
        assert_eq!([0.0, 1.0 / 3.0, -2e-16].map(difference), ["0", "3.3e-1", "-2.0e-16"]);
    }

    #[test]
    fn a_table_shows_some_rows_and_keeps_all() {
        let mut section = Section::new("sum", "Equation 0", "One and one.");
        section.show("1 + 1", 2.0, 2.0);
        section.keep("1 + 2", 3.0, 2.5);
        let text = "## Equation 0\n\nOne and one.\n\n\
                    | quantity |   value | expected | difference |\n\
                    |----------|--------:|---------:|-----------:|\n\
                    | 1 + 1    | 2.00000 |  2.00000 |          0 |\n";
        assert_eq!(section.text(), text);
        assert_eq!(section.rows.len(), 2);
        assert_eq!(section.rows[1].difference, 0.5);
    }
}
