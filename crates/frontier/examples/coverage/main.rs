//! Coverage of the intervals: how often do the 95% intervals hold the truth?
//!
//! `cargo run -p frontier --example coverage [studies] [folder]` simulates studies of a world whose truth is
//! known by enumeration, and counts. It writes `coverage.csv` and `coverage.md` into the folder.

#![expect(clippy::print_stdout, reason = "a benchmark says how far it is")]

mod count;
mod world;

use std::collections::BTreeMap;
use std::path::PathBuf;

use count::{Counts, csv, tables};
use frontier::intervals::mean;
use frontier::isotonic::Isotonic;
use frontier::{Analysis, Bootstrap, Curves, Estimate, Method, MethodCosts, Summary, summarise};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use world::{Checkpoints, Seed, Study, World};

const METHODS: [Method; 2] = [Method::DPO, Method::PPO];
/// Prompts of a study, samples of the reference for each, replicates.
const PROMPTS: usize = 256;
const SAMPLES: usize = 64;
const RESAMPLES: usize = 400;
/// Effective samples that the optimum's curve asks for.
const EFFECTIVE: f64 = 8.0;
/// Seeds from which the means over all seeds are computed.
const POPULATION: usize = 200;

/// A kind of study.
struct Design {
    name: &'static str,
    seeds: usize,
    prompts_recorded: bool,
}

const DESIGNS: [Design; 3] = [
    Design { name: "3 seeds", seeds: 3, prompts_recorded: true },
    Design { name: "1 seed", seeds: 1, prompts_recorded: true },
    Design { name: "3 seeds, prompts not recorded", seeds: 3, prompts_recorded: false },
];

/// Numbers by the name of their statistic.
type Numbers<T> = BTreeMap<String, T>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let studies = arguments.next().map_or(Ok(500), |text| text.parse::<usize>())?;
    let folder = arguments.next().map_or_else(|| PathBuf::from("results"), PathBuf::from);
    let world = World::new(1);
    let ceilings = true_ceilings(&world);
    let over_seeds = true_over_seeds(&world, &ceilings);
    let mut counts = Counts::new();
    for (index, design) in DESIGNS.iter().enumerate() {
        for number in 0..studies {
            let mut rng = ChaCha8Rng::seed_from_u64(1000 + number as u64);
            let seeds: Vec<(Method, Vec<Seed>)> = METHODS
                .into_iter()
                .map(|method| (method, (0..design.seeds).map(|_| Seed::new(method, &mut rng)).collect()))
                .collect();
            // One seed says nothing about others: its truth is its own.
            let truth = if design.seeds == 1 {
                let own = |(method, seeds): &(Method, Vec<Seed>)| (*method, world.checkpoints(&seeds[0]));
                let own: BTreeMap<Method, Checkpoints> = seeds.iter().map(own).collect();
                of_one_seed(&world, &own, &ceilings)
            } else {
                over_seeds.clone()
            };
            let mut study = world.study(&seeds, PROMPTS, SAMPLES, &mut rng);
            if !design.prompts_recorded {
                study.runs.iter_mut().for_each(|run| run.prompts.clear());
            }
            for (name, estimate) in estimates(&study, number as u64)? {
                let Some(truth) = truth.get(&name).or_else(|| ceilings.get(&name)) else { continue };
                counts.entry((index, name)).or_default().add(*truth, &estimate);
            }
        }
        println!("{}: {studies} studies", design.name);
    }
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("coverage.csv"), csv(&counts, &DESIGNS.map(|design| design.name)))?;
    std::fs::write(folder.join("coverage.md"), markdown(&counts, studies))?;
    Ok(())
}

fn true_ceilings(world: &World) -> Numbers<f64> {
    let optima = [0.25, 0.5, 1.0].map(|kl| (format!("optimum at KL {kl}"), world.optimum(kl)));
    let best = [2, 8, 32].map(|n| (format!("best of {n}"), world.best_of(n)));
    optima.into_iter().chain(best).collect()
}

/// The statistics of methods for given checkpoints of one seed each.
fn of_one_seed(
    world: &World,
    checkpoints: &BTreeMap<Method, Checkpoints>,
    ceilings: &Numbers<f64>,
) -> Numbers<f64> {
    let mut numbers = Numbers::new();
    let start = world.start();
    let envelopes: BTreeMap<Method, _> =
        checkpoints.iter().map(|(method, points)| (*method, world.envelope(points))).collect();
    for (method, envelope) in &envelopes {
        let label = method.label();
        let fit = Isotonic::fit(
            checkpoints[method].iter().map(|(kl, reward)| (*kl, *reward, 1.0)).chain([(0.0, start, 1.0)]),
        );
        for kl in [0.25, 0.5, 1.0, 2.0] {
            numbers.insert(format!("{label} envelope at KL {kl}"), envelope.at(kl));
            numbers.insert(format!("{label} isotonic at KL {kl}"), fit.at(kl).unwrap_or(start));
            if let Some(optimum) = ceilings.get(&format!("optimum at KL {kl}")) {
                let share = (envelope.at(kl) - start) / (optimum - start);
                numbers.insert(format!("{label} share of the gain at KL {kl}"), share);
            }
        }
        for limit in [1.0, 2.0, 5.0] {
            numbers.insert(format!("{label} area to KL {limit}"), envelope.mean_to(limit));
        }
    }
    for kl in [0.25, 0.5, 1.0, 2.0] {
        let difference = envelopes[&METHODS[0]].at(kl) - envelopes[&METHODS[1]].at(kl);
        numbers.insert(format!("DPO - PPO at KL {kl}"), difference);
    }
    numbers
}

fn true_over_seeds(world: &World, ceilings: &Numbers<f64>) -> Numbers<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(99);
    let mut all: Numbers<Vec<f64>> = Numbers::new();
    for _ in 0..POPULATION {
        let draw = |method| (method, world.checkpoints(&Seed::new(method, &mut rng)));
        let checkpoints: BTreeMap<Method, Checkpoints> = METHODS.into_iter().map(draw).collect();
        for (name, number) in of_one_seed(world, &checkpoints, ceilings) {
            all.entry(name).or_default().push(number);
        }
    }
    all.into_iter().map(|(name, numbers)| (name, mean(&numbers))).collect()
}

/// The estimates of a study by the same names.
fn estimates(study: &Study, seed: u64) -> Result<Numbers<Estimate>, frontier::Error> {
    let bootstrap = Bootstrap { resamples: RESAMPLES, seed };
    let analysis = Analysis::new(&study.runs, &study.samples, EFFECTIVE, bootstrap)?;
    Ok(named(&summarise(&analysis, &MethodCosts::new(), &[])))
}

fn named((summary, _): &(Summary, Curves)) -> Numbers<Estimate> {
    let mut numbers = Numbers::new();
    for point in &summary.optimum {
        numbers.insert(format!("optimum at KL {}", point.kl), point.reward);
    }
    for point in &summary.best_of_n {
        let interval = point.interval;
        let estimate = Estimate { value: point.reward, interval, seeds: 1, seed_sd: None };
        numbers.insert(format!("best of {}", point.n), estimate);
    }
    for method in &summary.methods {
        let label = method.method.label();
        for at in &method.rewards {
            numbers.insert(format!("{label} envelope at KL {}", at.kl), at.envelope);
            numbers.insert(format!("{label} isotonic at KL {}", at.kl), at.isotonic);
            if let Some(share) = at.gain_share {
                numbers.insert(format!("{label} share of the gain at KL {}", at.kl), share);
            }
        }
        for area in &method.areas {
            numbers.insert(format!("{label} area to KL {}", area.limit), area.reward);
        }
    }
    for comparison in summary.comparisons.iter().filter(|c| (c.first, c.second) == (METHODS[0], METHODS[1])) {
        numbers.insert(format!("DPO - PPO at KL {}", comparison.kl), comparison.difference);
    }
    numbers
}

fn markdown(counts: &Counts, studies: usize) -> String {
    let head = format!(
        "# Coverage of the 95% intervals\n\n\
         {studies} simulated studies of a world of 400 prompts with 200 responses each, whose truth is known by \
         enumeration: 2 methods, 5 runs of 8 evaluations a seed, {PROMPTS} prompts with one response each, \
         {SAMPLES} reference samples a prompt, {RESAMPLES} replicates. The binomial \
         standard error of a coverage of 95% is {:.1} points. With one seed the truth is that of the seed. \
         Where prompts are not recorded, envelopes are plain, and the noise of evaluation is taken as shared by all seeds of \
         a method and by no two methods: such intervals are too wide on purpose.\n\n\
         Rebuild with `cargo run -p frontier --example coverage`.\n",
        100.0 * (0.95 * 0.05 / studies as f64).sqrt()
    );
    head + &tables(counts, &DESIGNS.map(|design| design.name))
}
