//! Settings in TOML: a file with `--set KEY=VALUE` overrides on top, and everything that is wrong named at
//! once.

mod complaint;
mod place;

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;
use lm::{Config, Problem};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::exit::BadInput;
use complaint::{Complaint, Repair};

pub use place::{Step, keys, no_such_key, place, spelled};

/// A type that a file is read into.
pub trait FromFile: DeserializeOwned + Config {
    /// What messages call such a file.
    const KIND: &'static str = "preset";

    /// The places that a key of `--set` stands for, one at least.
    fn places(root: &Value, key: &str) -> Result<Vec<Vec<Step>>, Problem> {
        Ok(vec![place(root, key, key)?])
    }

    /// A place as `--set` and messages spell it.
    fn spelled(_root: &Value, place: &[Step]) -> String {
        spelled(place)
    }

    /// Adds what one part of a file takes over from another.
    fn complete(_root: &mut Value) {}
}

/// Reads a TOML file; see [`read_text`].
pub fn read_file<T: FromFile>(path: &Path, template: &str, overrides: &[String]) -> Result<T> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| BadInput(format!("{} {}: {error}", T::KIND, path.display())))?;
    read_text(&path.display().to_string(), &text, template, overrides)
}

/// Parses TOML text, with overrides on top. Every unknown key, missing key, wrong type and impossible
/// value is reported at once: `template`, a text that is known to be right, stands in for what cannot be
/// read, so that reading can go on.
pub fn read_text<T: FromFile>(name: &str, text: &str, template: &str, overrides: &[String]) -> Result<T> {
    let name = format!("{} {name}", T::KIND);
    let mut root = parse(&name, text)?;
    let template = parse(&name, template)?;
    let mut problems = Vec::new();
    for entry in overrides {
        problems.extend(set::<T>(&mut root, entry).err());
    }
    T::complete(&mut root);
    let (value, unread, unknown) = read::<T>(root, &template);
    problems.extend(unread);
    // What was read beside a value that stands in may be impossible only beside that.
    let judged = |problem: &Problem| !unknown.contains(section(&problem.key));
    let impossible = value.as_ref().map(Config::problems).unwrap_or_default();
    problems.extend(impossible.into_iter().filter(judged));
    match value {
        Some(value) if problems.is_empty() => Ok(value),
        _ => {
            let count =
                if problems.len() == 1 { "1 problem" } else { &format!("{} problems", problems.len()) };
            let lines: Vec<String> = problems.iter().map(|problem| format!("\n  {problem}")).collect();
            Err(BadInput(format!("{name}: {count}:{}", lines.concat())).into())
        }
    }
}

/// TOML as a tree of values. Numbers that are not finite become null, which no number is read from.
fn parse(name: &str, text: &str) -> Result<Value> {
    let table: toml::Table = text.parse().map_err(|error| BadInput(format!("{name}: {error}")))?;
    Ok(serde_json::to_value(table)?)
}

/// The typed value, if there is any, what could not be read, and the sections in which
/// something stands in for that.
fn read<T: FromFile>(mut root: Value, template: &Value) -> (Option<T>, Vec<Problem>, BTreeSet<String>) {
    let mut complaints: Vec<Complaint> = Vec::new();
    let (mut problems, mut sections) = (Vec::new(), BTreeSet::new());
    loop {
        let error = match serde_path_to_error::deserialize::<_, T>(&root) {
            Ok(value) => return (Some(value), problems, sections),
            Err(error) => error,
        };
        let complaint = Complaint::of(&error);
        if complaints.contains(&complaint) {
            return (None, problems, sections);
        }
        let key = T::spelled(&root, &complaint.place);
        let dropped = complaints.iter().any(|earlier| earlier.place == complaint.place);
        if !(dropped && complaint.is_missing()) {
            problems.push(complaint.problem(&root, key.clone()));
        }
        match complaint.repair(&mut root, template) {
            Repair::Impossible => return (None, problems, sections),
            Repair::StandIn => _ = sections.insert(section(&key).to_owned()),
            Repair::Dropped => {}
        }
        complaints.push(complaint);
    }
}

/// The first word of a key.
fn section(key: &str) -> &str {
    key.split(['.', '[']).next().unwrap_or(key)
}

/// Applies one `KEY=VALUE`; the value is TOML, or a bare word.
fn set<T: FromFile>(root: &mut Value, entry: &str) -> Result<(), Problem> {
    let (key, text) = entry
        .split_once('=')
        .map(|(key, text)| (key.trim(), text.trim()))
        .filter(|(key, _)| !key.is_empty())
        .ok_or_else(|| Problem::new("--set", format!("`{entry}`"), "KEY=VALUE"))?;
    let parsed = format!("value = {text}").parse::<toml::Table>().ok();
    let value = parsed.and_then(|mut table| serde_json::to_value(table.remove("value")?).ok());
    let value = value.unwrap_or_else(|| Value::String(text.to_owned()));
    for place in T::places(root, key)? {
        if let Some(there) = place::get_mut(root, &place) {
            there.clone_from(&value);
        }
    }
    Ok(())
}

/// The same configuration with another value at one key, dots between its levels.
pub fn with<C: Serialize + DeserializeOwned>(config: &C, key: &str, value: &Value) -> Result<C, Problem> {
    let unwritten = |error: serde_json::Error| Problem::new(key, error, "a value that can be written down");
    let mut root = serde_json::to_value(config).map_err(unwritten)?;
    let place = place(&root, key, key)?;
    if let Some(there) = place::get_mut(&mut root, &place) {
        there.clone_from(value);
    }
    serde_path_to_error::deserialize(&root).map_err(|error| {
        let complaint = Complaint::of(&error);
        complaint.problem(&root, spelled(&complaint.place))
    })
}
