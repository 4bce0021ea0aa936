//! Coverage of the intervals of win rates: how often do the 95% intervals hold the truth?
//!
//! `cargo run -p frontier --example win_rate_coverage [studies] [folder]` simulates studies with known win
//! rates and a judge that leans to the text it is shown first, and counts. It writes `win_rate_coverage.csv`
//! and `win_rate_coverage.md` into the folder.

#![expect(clippy::print_stdout, reason = "a benchmark says how far it is")]

#[path = "../coverage/count.rs"]
mod count;
mod world;

use std::collections::BTreeMap;
use std::path::PathBuf;

use count::{Counts, csv, tables};
use frontier::win_rate::{JudgedBy, RateDifference, win_rates};
use frontier::{Bootstrap, Estimate};
use world::{METHODS, Seeds, TEMPERATURES, World, generator};

const PROMPTS: usize = 256;
const RESAMPLES: usize = 400;
const DESIGNS: [(&str, usize); 2] = [("3 seeds", 3), ("1 seed", 1)];
const NAMES: [&str; 2] = [DESIGNS[0].0, DESIGNS[1].0];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let studies = arguments.next().map_or(Ok(500), |text| text.parse::<usize>())?;
    let folder = arguments.next().map_or_else(|| PathBuf::from("results"), PathBuf::from);
    let mut counts = Counts::new();
    for (design, (name, seeds)) in DESIGNS.into_iter().enumerate() {
        let over_seeds = truth(|method| World::rates(method, None));
        for number in 0..studies {
            let mut rng = generator(number);
            let seeds = Seeds::draw(seeds, &mut rng);
            // One seed says nothing about others: its truth is its own.
            let own = seeds.0[0].len() == 1;
            let truth = if own {
                truth(|method| World::rates(method, Some(&seeds.0[method][0])))
            } else {
                over_seeds.clone()
            };
            let judgements = World::study(&seeds, PROMPTS, &mut rng);
            let bootstrap = Bootstrap { resamples: RESAMPLES, seed: number as u64 };
            let rates = win_rates(&judgements, bootstrap)?;
            for (name, estimate) in estimates(&rates.judges[0]) {
                counts.entry((design, name.clone())).or_default().add(truth[&name], &estimate);
            }
        }
        println!("{name}: {studies} studies");
    }
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("win_rate_coverage.csv"), csv(&counts, &NAMES))?;
    std::fs::write(folder.join("win_rate_coverage.md"), markdown(&counts, studies))?;
    Ok(())
}

/// Numbers by the name of their statistic.
type Numbers<T> = BTreeMap<String, T>;

/// The true numbers, from the rates of each method's temperatures in both orders.
fn truth(rates: impl Fn(usize) -> [[f64; 2]; 5]) -> Numbers<f64> {
    let rates: Vec<[[f64; 2]; 5]> = (0..METHODS.len()).map(rates).collect();
    let balanced = |method: usize| rates[method].map(|[first, second]| f64::midpoint(first, second));
    let best = |method: usize| balanced(method).into_iter().fold(f64::NEG_INFINITY, f64::max);
    let decline = |method: usize| balanced(method)[0] - balanced(method)[4];
    let mut numbers = Numbers::new();
    let cells = rates.iter().flatten().map(|[first, second]| f64::midpoint(*first, 1.0 - second));
    numbers.insert(
        "first shown wins".to_owned(),
        cells.sum::<f64>() / (METHODS.len() * TEMPERATURES.len()) as f64,
    );
    for (index, method) in METHODS.into_iter().enumerate() {
        let label = method.label();
        for (rate, temperature) in balanced(index).into_iter().zip(TEMPERATURES) {
            numbers.insert(format!("{label} at {temperature}"), rate);
            numbers.insert(format!("{label} at {temperature} balanced"), rate);
            numbers.insert(format!("DPO - {label} at {temperature}"), balanced(0)[place(temperature)] - rate);
        }
        numbers.insert(format!("{label} at its best temperature"), best(index));
        numbers.insert(format!("DPO - {label} at the best of each"), best(0) - best(index));
        numbers.insert(format!("{label} loss from 0 to 1"), decline(index));
        numbers.insert(format!("DPO - {label} loss from 0 to 1"), decline(0) - decline(index));
    }
    numbers
}

fn place(temperature: f64) -> usize {
    TEMPERATURES.iter().position(|other| other.total_cmp(&temperature).is_eq()).unwrap_or_default()
}

/// The estimates of a study by the same names.
fn estimates(by: &JudgedBy) -> Numbers<Estimate> {
    let mut numbers = Numbers::new();
    numbers.extend(by.first_wins.map(|estimate| ("first shown wins".to_owned(), estimate)));
    for one in &by.rates {
        let name = format!("{} at {}", one.method.label(), one.temperature);
        numbers.extend(one.balanced.map(|estimate| (format!("{name} balanced"), estimate)));
        numbers.insert(name, one.rate);
    }
    for one in &by.best {
        numbers.insert(format!("{} at its best temperature", one.method.label()), one.rate);
    }
    for one in &by.declines {
        numbers.insert(format!("{} loss from 0 to 1", one.method.label()), one.loss);
    }
    let named = |differences: &[RateDifference], what: &str| -> Numbers<Estimate> {
        let name = |one: &RateDifference| {
            let temperature =
                one.temperature.map_or_else(String::new, |temperature| format!("at {temperature}"));
            format!("{} - {} {what}{temperature}", one.first.label(), one.second.label())
        };
        differences.iter().map(|one| (name(one), one.difference)).collect()
    };
    numbers.extend(named(&by.differences, ""));
    numbers.extend(named(&by.best_differences, "at the best of each"));
    numbers.extend(named(&by.decline_differences, "loss from 0 to 1"));
    numbers
}

fn markdown(counts: &Counts, studies: usize) -> String {
    let head = format!(
        "# Coverage of the 95% intervals of win rates\n\n\
         {studies} simulated studies with known win rates: 3 methods at 5 temperatures, {PROMPTS} prompts, one response to each, \
         {RESAMPLES} replicates. What a prompt adds is shared by all methods in part, what a seed of training adds by all \
         temperatures in part; the judge leans to the text that is shown first, and the order is drawn for each comparison. \
         The truth at a method's best temperature is its largest true rate. The binomial standard error of a coverage of 95% \
         is {:.1} points. With one seed the truth is that of the seed.\n\n\
         Rebuild with `cargo run -p frontier --example win_rate_coverage`.\n",
        100.0 * (0.95 * 0.05 / studies as f64).sqrt()
    );
    head + &tables(counts, &NAMES)
}
