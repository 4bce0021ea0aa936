//! Keys of methods as `--set` and messages spell them: `dpo.steps` is the key `steps` in the algorithm's
//! table of the method that is named dpo, wherever that stands in the list.

use lm::Problem;
use serde_json::Value;

use crate::imdb_frontier::method::{ALGORITHMS, SAMPLERS};
use crate::settings::{self, Step, keys, no_such_key};

/// The list of methods in a preset.
const METHODS: &str = "method";
const SWEEP: &str = "sweep";
const SAMPLING: &str = "sampling";

fn step(key: &str) -> Step {
    Step::Key(key.to_owned())
}

/// The methods, as far as they can be read.
fn methods(root: &Value) -> impl Iterator<Item = &Value> {
    root.get(METHODS).and_then(Value::as_array).into_iter().flatten()
}

fn name(method: &Value) -> Option<&str> {
    method.get("name")?.as_str()
}

/// The places that a key stands for: one in a section, or one in each method of that name that has the key.
pub fn places(root: &Value, key: &str) -> Result<Vec<Vec<Step>>, Problem> {
    let (first, rest) = key.split_once('.').unwrap_or((key, ""));
    let named = methods(root).enumerate().filter(|(_, method)| name(method) == Some(first));
    let found: Vec<Result<Vec<Step>, Problem>> = named
        .map(|(index, method)| {
            let inner = within(method, first, rest)?;
            Ok([vec![step(METHODS), Step::Index(index)], inner].concat())
        })
        .collect();
    if found.is_empty() {
        if first != METHODS && root.get(first).is_some() {
            return Ok(vec![settings::place(root, key, key)?]);
        }
        let sections = keys(root).into_iter().filter(|key| *key != METHODS);
        let known: Vec<&str> = sections.chain(methods(root).filter_map(name)).collect();
        return Err(no_such_key(key, &known, first));
    }
    if let Some(Err(problem)) = found.iter().find(|_| found.iter().all(Result::is_err)) {
        return Err(problem.clone());
    }
    Ok(found.into_iter().flatten().collect())
}

/// The place of a key in the table of a method.
fn within(method: &Value, name: &str, key: &str) -> Result<Vec<Step>, Problem> {
    let shown = format!("{name}.{key}");
    let sweep = method.get(SWEEP).unwrap_or(&Value::Null);
    if let Some(swept) = key.strip_prefix("sweep.") {
        let known: Vec<String> = keys(sweep).iter().map(|key| format!("{SWEEP}.{key}")).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let there = sweep.get(swept).is_some();
        return if there {
            Ok(vec![step(SWEEP), step(swept)])
        } else {
            Err(no_such_key(&shown, &known, key))
        };
    }
    if method.get(key).is_some() {
        return Ok(vec![step(key)]);
    }
    if sweep.get(key).is_some() {
        return Err(Problem::new(shown, "a value", format!("{name}.sweep.{key}=[...], which replaces it")));
    }
    let Some((kind, table)) = ALGORITHMS.iter().find_map(|kind| Some((*kind, method.get(kind)?))) else {
        return Err(no_such_key(&shown, &keys(method), key));
    };
    let word = key.split('.').next().unwrap_or(key);
    if table.get(word).is_none() {
        let known: Vec<&str> = keys(table).into_iter().chain(keys(method)).collect();
        return Err(no_such_key(&shown, &known, word));
    }
    Ok([vec![step(kind)], settings::place(table, key, &shown)?].concat())
}

/// A place as a key: that of a method begins with its name and leaves the algorithm's table out.
pub fn spelled(root: &Value, place: &[Step]) -> String {
    let [Step::Key(list), Step::Index(index), rest @ ..] = place else { return settings::spelled(place) };
    let method = root.get(list).filter(|_| list == METHODS).and_then(|list| list.get(index));
    let Some(first) = method.and_then(name) else { return settings::spelled(place) };
    let rest = match rest {
        [Step::Key(kind), inner @ ..] if ALGORITHMS.contains(&kind.as_str()) && !inner.is_empty() => inner,
        _ => rest,
    };
    settings::spelled(&[&[step(first)], rest].concat())
}

/// Gives every algorithm that draws responses and has no `sampling` of its own the preset's.
pub fn share_sampling(root: &mut Value) {
    let Some(sampling) = root.get(SAMPLING).cloned() else { return };
    let methods = root.get_mut(METHODS).and_then(Value::as_array_mut).into_iter().flatten();
    for method in methods {
        for sampler in SAMPLERS {
            if let Some(table) = method.get_mut(sampler).and_then(Value::as_object_mut) {
                table.entry(SAMPLING).or_insert_with(|| sampling.clone());
            }
        }
    }
}
