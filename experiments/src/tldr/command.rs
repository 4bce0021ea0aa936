//! `experiments tldr-winrate`: settings, policies, responses, judgements, report.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use burn::tensor::Device;
use feedback::judge::{EndpointConfig, Judge};
use frontier::{JUDGEMENTS, Judgement, TEMPERATURES, TemperatureRow, write_judgements, write_temperatures};
use serde_json::json;

use crate::cli::WinRateOptions;
use crate::commands::training::start;
use crate::exit::{BadInput, Outcome};
use crate::progress::Progress;
use crate::study::folder::{Folder, hash_files, key, read_json, write_json};
use crate::study::manifest::{DONE, Environment, MANIFEST};
use crate::study::stages::stage;
use crate::study::work::StageWork;
use crate::tldr::ground::{Benchmark, Ground};
use crate::tldr::human::Human;
use crate::tldr::manifest::Manifest;
use crate::tldr::policies::{Contestant, Origin, contestants};
use crate::tldr::posts::PostsBenchmark;
use crate::tldr::samples::{SAMPLES, SHOWN, Sample};
use crate::tldr::settings::{Policies, Settings};
use crate::tldr::study::StudyBenchmark;
use crate::tldr::sweep::{Sampler, Swept};
use crate::tldr::{judges, report, samples, sweep};

/// `experiments tldr-winrate`.
pub fn run(options: &WinRateOptions) -> Result<Outcome> {
    let started = Instant::now();
    let settings = Settings::load(options)?;
    let out = out_of(options);
    let (study, place) = (&options.study, out.as_path());
    let benchmark: Box<dyn Benchmark> = match &settings.policies {
        Policies::Study(one) => Box::new(StudyBenchmark::new(one, settings.prompts, (study, place))?),
        Policies::Posts(one) => Box::new(PostsBenchmark::new(one, settings.prompts, (&study.device, place))?),
    };
    let contestants =
        contestants((benchmark.seeds(), benchmark.trained()), settings.best_of_n, &settings.folders)?;
    let endpoint = judges::endpoint(&options.judge, settings.question)?;
    if options.study.plan {
        plan(&settings, benchmark.as_ref(), &contestants, endpoint.as_ref())?;
        return Ok(Outcome::Done);
    }
    // Before any work, so that a missing device or judge costs nothing.
    let open = options.study.device.open(benchmark.parameters()?)?;
    let named = judges::models(&options.judge, &open.device)?;
    let folder = Folder::new(&out);
    let _lock = folder.lock()?;
    refuse_other_settings(&folder, &settings)?;
    let mut manifest = Manifest {
        status: "running".to_owned(),
        settings: settings.clone(),
        seeds: benchmark.seeds().to_vec(),
        data: benchmark.data(),
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
    let ground = benchmark.prepare(&folder, &open)?;
    let swept = sample_all(&settings, (&folder, &ground), &contestants, &open.device)?;
    let asked = endpoint.map(|config| judges::at_endpoint(config, &options.judge, &folder)).transpose()?;
    let program = judges::program(&options.judge)?;
    let boxed = ground.judges.iter().chain(&named).chain(&program).map(AsRef::as_ref);
    let judges: Vec<&dyn Judge> = boxed.chain(asked.as_ref().map(|judge| judge as &dyn Judge)).collect();
    manifest.judges = judges.iter().map(|judge| judge.name().to_owned()).collect();
    let judgements = judge_all(&judges, &settings, &contestants, (&swept, &ground.texts))?;
    write_results(&folder, &contestants, (&swept, &ground.texts), &judgements)?;
    manifest.spent = asked.map(|judge| judge.spent().into());
    DONE.clone_into(&mut manifest.status);
    manifest.seconds = started.elapsed().as_secs_f64();
    write_json(&folder.file(MANIFEST), &manifest)?;
    report::draw(folder.root())?;
    tracing::info!("{}", folder.file("report.html").display());
    Ok(Outcome::Done)
}

/// The output folder: one of its own for every preset.
fn out_of(options: &WinRateOptions) -> PathBuf {
    let name = Path::new(&options.preset).file_stem().unwrap_or_default();
    options.out.clone().unwrap_or_else(|| Path::new("output").join(name))
}

/// Questions to each judge.
fn questions(settings: &Settings, contestants: &[Contestant]) -> usize {
    contestants.len() * settings.temperatures.len() * settings.prompts * settings.orders.questions()
}

/// Prints what would be done.
fn plan(
    settings: &Settings,
    benchmark: &dyn Benchmark,
    contestants: &[Contestant],
    endpoint: Option<&EndpointConfig>,
) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}\ndata: {}\n", settings.description, benchmark.data())?;
    benchmark.print_plan(&mut out)?;
    writeln!(out, "\nresponses")?;
    for one in contestants {
        let (what, each) = match &one.origin {
            Origin::Reference => ("the reference".to_owned(), 1),
            Origin::BestOf(n) => (format!("the best of {n} of its samples"), *n),
            Origin::Folder { made_by, .. } => (made_by.clone(), 1),
        };
        let responses = each * settings.temperatures.len() * settings.prompts;
        let label = one.method.label();
        writeln!(out, "  {label:<13} seed {:<3} {what:<36} {responses:>7} responses", one.seed)?;
    }
    let questions = questions(settings, contestants);
    writeln!(out, "\n{questions} questions to each judge\n  scorers and programs: no cost")?;
    let (prompt, response) = benchmark.lengths();
    let (tokens, answer) = judges::tokens(prompt + 2 * response);
    let million = |each: u64| (questions as u64 * each) as f64 / 1e6;
    let (asked, told) = (million(tokens), million(answer));
    match endpoint {
        Some(config) => {
            let (model, url) = (&config.model, &config.url);
            let cost = judges::cost(config, questions, prompt + 2 * response);
            let cost = cost
                .map_or_else(|| "no --judge-prices".to_owned(), |cost| format!("at most about {cost:.2}"));
            writeln!(
                out,
                "  {model} at {url}: up to {questions} requests less kept answers and equal questions, {cost}"
            )?;
        }
        None => writeln!(out, "  a language model, if --judge names one: up to {questions} requests")?,
    }
    writeln!(out, "  at most about {asked:.1} million tokens of questions and {told:.1} of answers")?;
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

/// The responses of all policies.
fn sample_all(
    settings: &Settings,
    (folder, ground): (&Folder, &Ground<'_>),
    contestants: &[Contestant],
    device: &Device,
) -> Result<Vec<Vec<Swept>>> {
    let sampler = Sampler { temperatures: &settings.temperatures, ground, device };
    let progress = Progress::new();
    let of = |contestant: &Contestant| {
        let policy = match &contestant.origin {
            Origin::Folder { folder, .. } => hash_files(&start::files(folder)?)?,
            Origin::Reference => String::new(),
            Origin::BestOf(n) => n.to_string(),
        };
        let drawn = (&settings.temperatures, policy, contestant.seed);
        let name = contestant.stage();
        let key = key(&name, &drawn, &[&ground.key])?;
        let work = StageWork::new(&name, key);
        stage(folder, &progress, &work, |dir| {
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
