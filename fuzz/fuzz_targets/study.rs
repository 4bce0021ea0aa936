//! The tables of a study, in its own folder or as `publish` writes them, which reports are made from. The
//! first byte says which one is read. A study that is read can be analysed.
#![no_main]

use std::io::Write;

use bzip2::Compression;
use bzip2::write::BzEncoder;
use frontier::{
    Analysis, Bootstrap, Metrics, MethodCosts, PromptSamples, ablation, published, read_evals, read_judgements,
    read_prompts, read_reference_scores, read_responses, read_runs, read_samples, read_temperatures, summarise,
};
use libfuzzer_sys::{fuzz_mutator, fuzz_target};

/// The published tables beside one that is mutated.
const TABLES: [(&str, &str); 4] = [
    ("frontier.csv", include_str!("../seeds/study/runs")),
    (published::PROMPTS, include_str!("../seeds/study/prompts")),
    (published::METRICS, include_str!("../seeds/study/metrics")),
    (published::SCORES, include_str!("../seeds/study/scores")),
];

/// Without the byte before it.
fn table(seed: &str) -> &[u8] {
    &seed.as_bytes()[1..]
}

fn compressed(content: &[u8]) -> Vec<u8> {
    let mut packed = BzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(content).and_then(|()| packed.finish()).expect("memory")
}

/// What a report does with a study's runs.
fn analyse(folder: &std::path::Path) {
    let (Ok(runs), Ok(samples)) = (read_runs(folder), read_samples(folder)) else { return };
    let bootstrap = Bootstrap { resamples: 2, seed: 1 };
    if let Ok(analysis) = Analysis::new(&runs, &samples, 1.0, bootstrap) {
        let (summary, _curves) = summarise(&analysis, &MethodCosts::default(), &[]);
        drop((frontier::answer(&summary), frontier::tables(&summary)));
    }
}

fuzz_target!(init: fuzz::quiet_panics(), |bytes: &[u8]| {
    let Some((which, content)) = bytes.split_first() else { return };
    let folder = fuzz::folder("");
    let file = folder.join("table.csv");
    fuzz::write(&file, content);
    let which = *which as usize % 12;
    if which < TABLES.len() {
        for (index, (name, seed)) in TABLES.into_iter().enumerate() {
            let content = if index == which { content } else { table(seed) };
            let packed = name.ends_with(".bz2").then(|| compressed(content));
            fuzz::write(&folder.join(name), packed.as_deref().unwrap_or(content));
        }
    }
    fuzz::bounded(content, || match which {
        0..4 => analyse(&folder),
        4 => drop(read_evals(&file)),
        5 => drop(read_prompts(&file)),
        6 => drop(read_reference_scores(&file).map(|samples: PromptSamples| samples.samples_per_prompt())),
        7 => drop(Metrics::read(&file).map(|metrics| metrics.at(3, "seconds"))),
        8 => drop(read_judgements(&file)),
        9 => drop(read_temperatures(&file)),
        10 => drop(ablation::read_ablations(&file)),
        _ => {
            fuzz::write(&folder.join(frontier::RESPONSES), content);
            drop(read_responses(&folder));
        }
    });
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    fuzz::mutate_text(data, size, max_size, seed)
});
