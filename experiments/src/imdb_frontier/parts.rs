//! A study that was computed in parts, here and there: what one part has joins what was published of another.

use std::path::Path;

use anyhow::Result;
use frontier::Run;
use serde_json::Value;

use crate::imdb_frontier::plan::Plan;
use crate::imdb_frontier::results::Study;
use crate::imdb_frontier::samples::{OfRun, kept};
use crate::study::manifest::{Manifest, Provenance, RunRecord, StageRecord, runs_status};

/// A study with the texts that a published copy keeps.
pub struct Part {
    pub study: Study,
    pub texts: Vec<OfRun>,
}

/// A run of a part: what the manifest says of it, and where its numbers are.
type Found<'a> = (RunRecord, Option<&'a Part>);

impl Part {
    pub fn read(dir: &Path) -> Result<Self> {
        let study = Study::read(dir)?;
        let texts = kept(dir, &study.runs)?;
        Ok(Self { study, texts })
    }

    fn record(&self, name: &str) -> Option<&RunRecord> {
        self.study.manifest.runs.iter().find(|run| run.name == name)
    }

    fn run(&self, name: &str) -> Option<&Run> {
        self.study.runs.iter().find(|run| run.name == name)
    }

    fn lowest_seed(&self) -> Option<u64> {
        values(&self.study.manifest.preset, "seeds").filter_map(Value::as_u64).min()
    }
}

/// What is published in `dir` and `newer`, as one: every run of either, the newer one where both have it.
/// `None` if the published study is another, or older than keys are.
pub fn join(dir: &Path, newer: &Part) -> Result<Option<Part>> {
    let same = |older: &Part| is_same(&older.study.manifest, &newer.study.manifest);
    let Some(older) = Part::read(dir).ok().filter(same) else {
        tracing::warn!("{}: what is there is of another study or another format: replaced", dir.display());
        return Ok(None);
    };
    let from = older.study.manifest.provenance(dir);
    let mut manifest = newer.study.manifest.clone();
    let mut names: Vec<String> = manifest.runs.iter().map(|run| run.name.clone()).collect();
    if let Some(preset) = whole_preset(&older.study.manifest.preset, &manifest.preset) {
        names = names_of(&preset)?;
        if preset != manifest.preset {
            let before = &older.study.manifest.overrides;
            manifest.overrides.retain(|entry| before.contains(entry));
            manifest.preset = preset;
        }
    }
    let found: Vec<Found<'_>> = names.iter().filter_map(|name| find(name, (&older, &from), newer)).collect();
    let of_older =
        found.iter().filter(|(_, part)| part.is_some_and(|part| std::ptr::eq(part, &raw const older)));
    tracing::info!("{} of {} runs stay as {} has them", of_older.count(), found.len(), dir.display());
    let with_numbers = || found.iter().filter_map(|(record, part)| Some((record.name.as_str(), (*part)?)));
    let runs = with_numbers().filter_map(|(name, part)| part.run(name).cloned()).collect();
    let texts = with_numbers()
        .flat_map(|(name, part)| part.texts.iter().filter(move |text| text.run == name).cloned())
        .collect();
    // One curve of a reward model is shown, that of the lowest seed.
    let curves = if older.lowest_seed() < newer.lowest_seed() { &older } else { newer };
    let stages = curves.study.stages.clone();
    manifest.runs = found.iter().map(|(record, _)| record.clone()).collect();
    manifest.status = runs_status(&manifest.runs);
    let is_new = |stage: &&StageRecord| newer.study.manifest.stages.iter().all(|of| of.name != stage.name);
    manifest.stages.extend(older.study.manifest.stages.iter().filter(is_new).cloned());
    let flops = older.study.manifest.flops.clone();
    manifest.flops = flops.into_iter().chain(std::mem::take(&mut manifest.flops)).collect();
    let samples = newer.study.samples.clone();
    Ok(Some(Part { study: Study { manifest, runs, samples, stages }, texts }))
}

/// The run of a name: the newer one if it is done, else the older one if it is done and of the same key.
fn find<'a>(name: &str, (older, from): (&'a Part, &Provenance), newer: &'a Part) -> Option<Found<'a>> {
    let (before, now) = (older.record(name), newer.record(name));
    if let Some(now) = now.filter(|now| now.is_done()) {
        return Some((now.clone(), Some(newer)));
    }
    let same_key = |before: &&RunRecord| now.is_none_or(|now| now.key == before.key);
    if let Some(before) = before.filter(|before| before.is_done() && before.key.is_some()).filter(same_key) {
        let taken_over = before.taken_over.clone().or_else(|| Some(from.clone()));
        return Some((RunRecord { taken_over, ..before.clone() }, Some(older)));
    }
    now.or(before).map(|left| (left.clone(), None))
}

/// Whether two studies share what all their runs are compared on, and every stage that both have.
fn is_same(older: &Manifest, newer: &Manifest) -> bool {
    /// It depends on the reviews, the reference, the prompts and the ground truth.
    const SAMPLES: &str = "reference-samples";
    let key = |of: &Manifest, name: &str| of.stages.iter().find(|stage| stage.name == name)?.key.clone();
    let differs = |stage: &StageRecord| {
        older.stages.iter().any(|before| before.name == stage.name && before.key != stage.key)
    };
    key(newer, SAMPLES).is_some_and(|samples| key(older, SAMPLES) == Some(samples))
        && !newer.stages.iter().any(differs)
}

fn values<'a>(of: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    of.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// The preset of which two presets are parts, each with some of its seeds and some values of its sweeps;
/// `None` if they differ in more than that.
fn whole_preset(older: &Value, newer: &Value) -> Option<Value> {
    let mut whole = newer.clone();
    join_lists(whole.get_mut("seeds")?, older.get("seeds")?);
    let before: Vec<&Value> = values(older, "method").collect();
    for (index, method) in whole.get_mut("method")?.as_array_mut()?.iter_mut().enumerate() {
        let sweep = before.get(index)?.get("sweep")?;
        for (key, list) in method.get_mut("sweep")?.as_object_mut()? {
            join_lists(list, sweep.get(key)?);
        }
    }
    let bare = |preset: &Value| {
        let mut preset = preset.clone();
        preset["seeds"].take();
        for method in preset["method"].as_array_mut().into_iter().flatten() {
            method["sweep"].take();
        }
        preset
    };
    (bare(older) == bare(newer)).then_some(whole)
}

/// Adds the values that only the older list has, before the newer ones unless it is part of them.
fn join_lists(newer: &mut Value, older: &Value) {
    let (Value::Array(new), Value::Array(old)) = (&mut *newer, older) else { return };
    let (first, second) = if old.iter().all(|value| new.contains(value)) {
        (new.clone(), Vec::new())
    } else {
        (old.clone(), new.clone())
    };
    let added = second.into_iter().filter(|value| !first.contains(value)).collect::<Vec<_>>();
    *new = first.into_iter().chain(added).collect();
}

/// The names of the runs of a preset, in order.
fn names_of(preset: &Value) -> Result<Vec<String>> {
    Ok(Plan::recorded(preset)?.runs.into_iter().map(|run| run.name).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parts_differ_in_seeds_and_sweeps_alone() {
        let preset = |seeds: &[u64], values: &[f64], steps: u64| json!({ "seeds": seeds, "method": [{ "name": "dpo", "sweep": { "beta": values }, "steps": steps }] });
        let join = |older: &Value, newer: &Value| whole_preset(older, newer);
        let (one, two) = (preset(&[1], &[0.1, 1.0], 4), preset(&[2, 3], &[], 4));
        assert_eq!(join(&one, &two), Some(preset(&[1, 2, 3], &[0.1, 1.0], 4)));
        assert_eq!(join(&one, &one), Some(one.clone()));
        // A longer list keeps its order.
        assert_eq!(join(&preset(&[1], &[1.0], 4), &one), Some(one.clone()));
        assert_eq!(join(&one, &preset(&[1], &[0.1, 1.0], 5)), None);
        assert_eq!(join(&one, &json!({ "seeds": [1], "method": [] })), None);
    }
}
