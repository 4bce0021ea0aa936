//! `experiments tldr-winrate`: settings, policies, responses, judgements, report.

use std::io::Write;
use std::time::Instant;

use anyhow::{Context as _, Result};
use burn::tensor::Device;
use feedback::PromptSet;
use feedback::judge::{EndpointConfig, Judge, Question};
use frontier::{JUDGEMENTS, Judgement, TEMPERATURES, TemperatureRow, write_judgements, write_temperatures};
use lm::files::load_policy;
use serde_json::json;

use crate::cli::WinRateOptions;
use crate::exit::{BadInput, Outcome};
use crate::imdb_frontier::needs::Needs;
use crate::imdb_frontier::planned::Planned;
use crate::imdb_frontier::preset::Preset;
use crate::imdb_frontier::stages::prompts;
use crate::imdb_frontier::work::Work;
use crate::progress::Progress;
use crate::study::folder::{Folder, key, read_json, write_json};
use crate::study::manifest::{DONE, Environment, MANIFEST};
use crate::study::stages::stage;
use crate::study::work::StageWork;
use crate::tldr::human::{self, HUMAN, Human};
use crate::tldr::manifest::Manifest;
use crate::tldr::policies::{Contestant, Origin, contestants, preset_of, stages, study_folder, train};
use crate::tldr::samples::{SAMPLES, SHOWN, Sample};
use crate::tldr::settings::Settings;
use crate::tldr::sweep::{Sampler, Swept};
use crate::tldr::{judges, report, samples, sweep};

/// What a response wins by, in place of the paper's better summary.
const WINS_BY: &str = "a continuation that is more positive than the review's own";

/// The stage of what people wrote.
const OF_PEOPLE: &str = "human";

/// `experiments tldr-winrate`.
pub fn run(options: &WinRateOptions) -> Result<Outcome> {
    let started = Instant::now();
    let settings = Settings::load(options)?;
    let preset = preset_of(&settings)?;
    let contestants = contestants(&settings, &preset)?;
    refuse_too_many(&settings, &preset)?;
    let endpoint = judges::endpoint(&options.judge, Question::Positive)?;
    if options.study.plan {
        plan(options, (&settings, &preset), &contestants, endpoint.as_ref())?;
        return Ok(Outcome::Done);
    }
    // Before any work, so that a missing device costs nothing.
    let open = options.study.device.open(Needs::of(&preset)?.parameters)?;
    let folder = Folder::new(&options.out);
    let _lock = folder.lock()?;
    refuse_other_settings(&folder, &settings)?;
    let mut manifest = Manifest {
        status: "running".to_owned(),
        wins_by: WINS_BY.to_owned(),
        settings: settings.clone(),
        seeds: preset.seeds.clone(),
        data: options.study.data.to_string(),
        device: open.spec.to_string(),
        precision: open.spec.precision.to_string(),
        environment: Environment::here(),
        judges: Vec::new(),
        endpoint: endpoint.clone(),
        spent: None,
        questions: questions(&settings, &contestants),
        seconds: 0.0,
    };
    write_json(&folder.file(MANIFEST), &manifest)?;
    let (study, planned) = stages(options, &settings)?;
    // Before the policies: without reviews there is nothing to compare them with.
    let texts = people((&study, &planned), &settings, &folder, &open.device)?;
    let work = planned.work()?;
    train(options, (&study, &work), &contestants, &open)?;
    let swept =
        sample_all((&settings, &preset), (&folder, &study, &work), (&contestants, &texts), &open.device)?;
    let asked = endpoint.map(|config| judges::at_endpoint(config, &options.judge, &folder)).transpose()?;
    let mut scorers = judges::of_study(&study)?;
    scorers.extend(judges::program(&options.judge)?);
    let judges: Vec<&dyn Judge> =
        scorers.iter().map(AsRef::as_ref).chain(asked.as_ref().map(|judge| judge as &dyn Judge)).collect();
    manifest.judges = judges.iter().map(|judge| judge.name().to_owned()).collect();
    let judgements = judge_all(&judges, &settings, &contestants, (&swept, &texts))?;
    write_results(&folder, &contestants, (&swept, &texts), &judgements)?;
    manifest.spent = asked.map(|judge| judge.spent().into());
    DONE.clone_into(&mut manifest.status);
    manifest.seconds = started.elapsed().as_secs_f64();
    write_json(&folder.file(MANIFEST), &manifest)?;
    report::draw(folder.root())?;
    tracing::info!("{}", folder.file("report.html").display());
    Ok(Outcome::Done)
}

/// Refuses more prompts than the study evaluates on.
fn refuse_too_many(settings: &Settings, preset: &Preset) -> Result<()> {
    let most = match preset.evaluation.on {
        PromptSet::Evaluate => preset.prompts.evaluate,
        PromptSet::Tune => preset.prompts.tune,
    };
    if settings.prompts <= most {
        return Ok(());
    }
    let expected = format!("at most {most}, as many as {} evaluates on", settings.study);
    Err(BadInput(format!("prompts: found {}, expected {expected}", settings.prompts)).into())
}

/// Questions to each judge.
fn questions(settings: &Settings, contestants: &[Contestant]) -> usize {
    contestants.len() * settings.temperatures.len() * settings.prompts * settings.orders.questions()
}

/// Prints what would be done.
fn plan(
    options: &WinRateOptions,
    (settings, preset): (&Settings, &Preset),
    contestants: &[Contestant],
    endpoint: Option<&EndpointConfig>,
) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let temperatures = settings.temperatures.len();
    let study = study_folder(&options.out);
    writeln!(out, "{}\nstudy {} in {}\n", settings.description, settings.study, study.display())?;
    for one in contestants {
        let (what, each) = match &one.origin {
            Origin::Reference => ("the reference".to_owned(), 1),
            Origin::BestOf(n) => (format!("the best of {n} of its samples"), *n),
            Origin::Run(name) => (format!("run {name}"), 1),
        };
        let responses = each * temperatures * settings.prompts;
        writeln!(
            out,
            "  {:<13} seed {:<3} {what:<36} {responses:>7} responses",
            one.method.label(),
            one.seed
        )?;
    }
    let questions = questions(settings, contestants);
    writeln!(out, "\n{questions} questions to each judge\n  r*, the second opinion: scores, no cost")?;
    if let Some(config) = endpoint {
        let texts = preset.prompts.max_tokens + 2 * preset.sampling.max_new_tokens;
        let cost = judges::cost(config, questions, texts);
        let cost =
            cost.map_or_else(|| "no --judge-prices".to_owned(), |cost| format!("at most about {cost:.2}"));
        let (model, url) = (&config.model, &config.url);
        writeln!(
            out,
            "  {model} at {url}: up to {questions} requests less kept answers and equal questions, {cost}"
        )?;
    }
    Ok(())
}

/// An output folder belongs to one configuration.
fn refuse_other_settings(folder: &Folder, settings: &Settings) -> Result<()> {
    let path = folder.file(MANIFEST);
    if !path.exists() {
        return Ok(());
    }
    let root = folder.root().display();
    let there: Manifest = read_json(&path)
        .map_err(|error| BadInput(format!("{error:#}; give another --out, or remove {root}")))?;
    if there.settings == *settings {
        return Ok(());
    }
    Err(BadInput(format!("{root} holds win rates of other settings; give another --out, or remove it"))
        .into())
}

fn work_of(name: &str, key: String) -> StageWork {
    StageWork { name: name.to_owned(), key, results: &[], files: &[] }
}

/// What people wrote, read from the reviews once.
fn people(
    (study, planned): (&Folder, &Planned),
    settings: &Settings,
    folder: &Folder,
    device: &Device,
) -> Result<Vec<Human>> {
    let key = key(OF_PEOPLE, &(settings.prompts, &planned.preset.sampling), &[&planned.keys.prompts])?;
    stage(folder, &Progress::new(), &work_of(OF_PEOPLE, key), |dir| {
        let (_, tokenizer) = load_policy(&study.stage("reference"), planned.preset.temperature, device)?;
        let prompts = prompts::read(&study.stage("prompts"))?;
        let prompts = prompts.held_out(planned.preset.evaluation.on);
        let source = &planned.reviews.source;
        let texts = human::continuations(planned, source, (prompts, &tokenizer), settings.prompts)?;
        write_json(&dir.join(HUMAN), &texts)?;
        Ok((0, json!({ "texts": texts.len() })))
    })?;
    human::read(&folder.stage(OF_PEOPLE))
}

/// The responses of all policies.
fn sample_all(
    (settings, preset): (&Settings, &Preset),
    (folder, study, work): (&Folder, &Folder, &Work),
    (contestants, human): (&[Contestant], &[Human]),
    device: &Device,
) -> Result<Vec<Vec<Swept>>> {
    let sampler = Sampler { settings, preset, study, human, device };
    let progress = Progress::new();
    let keys =
        |name: &str| work.stages.iter().find(|stage| stage.name == name).map(|stage| stage.key.as_str());
    let upstream =
        [keys("reference-samples"), keys("ground-truth")].into_iter().collect::<Option<Vec<&str>>>();
    let upstream = upstream.context("the keys of the study's stages")?;
    let of = |contestant: &Contestant| {
        let run = match &contestant.origin {
            Origin::Run(name) => work.runs.iter().find(|run| run.name == *name).map(|run| run.key.clone()),
            Origin::Reference => Some(String::new()),
            Origin::BestOf(n) => Some(n.to_string()),
        };
        let drawn = (&settings.temperatures, settings.prompts, &run, contestant.seed);
        let name = contestant.stage();
        stage(folder, &progress, &work_of(&name, key(&name, &drawn, &upstream)?), |dir| {
            let swept = sampler.sweep(contestant)?;
            sweep::write(dir, &swept)?;
            Ok((0, json!({ "temperatures": swept.len() })))
        })?;
        sweep::read(&folder.stage(&name))
    };
    contestants.iter().map(of).collect()
}

fn judge_all(
    judges: &[&dyn Judge],
    settings: &Settings,
    contestants: &[Contestant],
    (swept, human): (&[Vec<Swept>], &[Human]),
) -> Result<Vec<Judgement>> {
    let mut judgements = Vec::new();
    for judge in judges {
        let mut task = Progress::new().task(judge.name(), contestants.len() as u64);
        for (index, (contestant, swept)) in contestants.iter().zip(swept).enumerate() {
            judgements.extend(judges::judge(*judge, human, (contestant, swept), settings.orders)?);
            task.at(index as u64 + 1, contestants.len() as u64, "");
        }
        task.done("");
    }
    Ok(judgements)
}

/// Writes what reports are drawn from. What people wrote is in none of it.
fn write_results(
    folder: &Folder,
    contestants: &[Contestant],
    (swept, human): (&[Vec<Swept>], &[Human]),
    judgements: &[Judgement],
) -> Result<()> {
    write_judgements(folder.file(JUDGEMENTS), judgements)?;
    let rows: Vec<TemperatureRow> = swept.iter().flatten().map(|at| at.row.clone()).collect();
    write_temperatures(folder.file(TEMPERATURES), &rows)?;
    let first_seed = contestants.iter().map(|one| one.seed).min();
    let shown = contestants.iter().zip(swept).filter(|(one, _)| Some(one.seed) == first_seed);
    let of_policy = |(one, swept): (&Contestant, &Vec<Swept>)| -> Vec<Sample> {
        let of_temperature = |at: &Swept| -> Vec<Sample> {
            let responses = human.iter().zip(&at.responses).take(SHOWN);
            let sample = |(human, (response, score)): (&Human, &(String, f64))| Sample {
                method: one.method,
                temperature: at.row.temperature,
                prompt: human.opening.clone(),
                response: response.clone(),
                score: *score,
            };
            responses.map(sample).collect()
        };
        swept.iter().flat_map(of_temperature).collect()
    };
    samples::write(&folder.file(SAMPLES), &shown.flat_map(of_policy).collect::<Vec<_>>())
}
