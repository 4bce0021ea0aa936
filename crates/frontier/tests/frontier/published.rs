//! A published copy tells what the study's own folder does.
use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use bzip2::Compression;
use bzip2::write::BzEncoder;
use frontier::published::{KEPT_METRICS, METRICS, PROMPTS, SCORES, is_published, write};
use frontier::{
    FRONTIER, Metrics, PromptSamples, PromptScore, PromptWriter, Run, read_judgements, read_runs,
    read_samples, write_frontier,
};
use tempfile::tempdir;

use crate::synthetic;

/// Four runs with prompts; one has metrics of a method on pairs, one of PPO, one none, one a
/// column that is not kept.
fn study(dir: &Path) {
    let rows: Vec<_> = synthetic::sweep(2, 2).into_iter().take(12).collect();
    write_frontier(dir.join(FRONTIER), &rows).unwrap();
    let metrics = [
        "step,seconds,rewards/margins,num_tokens\n1,0.354563847,0.000000011920929132713809,1352\n2,0.7,NaN,2778\n",
        "step,seconds,val/ratio\n1,1e-7,-inf\n",
        "step,seconds,loss\n1,0.5,0.25\n",
    ];
    for (index, run) in Run::of_rows(rows).iter().enumerate() {
        let folder = dir.join("runs").join(&run.name);
        fs::create_dir_all(&folder).unwrap();
        let mut prompts = PromptWriter::create(folder.join("prompts.csv")).unwrap();
        for eval in &run.evals {
            let prompt = |score| PromptScore { score, sequence_kl: eval.sequence_kl };
            prompts.write(eval.step, [0.1, eval.score, 1.0].map(prompt)).unwrap();
        }
        if let Some(metrics) = metrics.get(index) {
            fs::write(folder.join("metrics.csv"), metrics).unwrap();
        }
    }
    fs::write(
        dir.join("reference_scores.csv"),
        "prompt,sample,score\n0,0,0.9276581\n0,1,1e-9\n1,0,0.5\n1,1,1\n",
    )
    .unwrap();
}

fn publish(from: &Path, to: &Path) {
    let runs = read_runs(from).unwrap();
    write_frontier(to.join(FRONTIER), &Run::rows(&runs)).unwrap();
    write(to, &runs, &read_samples(from).unwrap()).unwrap();
}

#[test]
fn a_published_copy_has_the_same_numbers_and_is_its_own_copy() {
    let [own, copy, again] = [tempdir().unwrap(), tempdir().unwrap(), tempdir().unwrap()];
    let [own, copy, again] = [own.path(), copy.path(), again.path()];
    study(own);
    publish(own, copy);
    assert!(!is_published(own) && is_published(copy));
    assert_eq!(read_samples(copy).unwrap(), read_samples(own).unwrap());
    let (published, original) = (read_runs(copy).unwrap(), read_runs(own).unwrap());
    assert_eq!(published.len(), 4);
    for (published, original) in published.iter().zip(&original) {
        assert_eq!((&published.name, &published.prompts), (&original.name, &original.prompts));
        for column in KEPT_METRICS {
            let bits =
                |metrics: &Metrics| metrics.column(column).map(|c| c.map(f64::to_bits).collect::<Vec<_>>());
            assert_eq!(bits(&published.metrics), bits(&original.metrics), "{column}");
        }
        assert!(published.metrics.columns.iter().all(|column| KEPT_METRICS.contains(&column.as_str())));
    }
    assert_eq!(published[2].metrics.columns, ["step", "seconds"]);
    assert_eq!(published[3].metrics, Metrics::default());
    publish(copy, again);
    assert_eq!(fs::read(copy.join(FRONTIER)).unwrap(), fs::read(own.join(FRONTIER)).unwrap());
    for name in [PROMPTS, METRICS, SCORES] {
        assert_eq!(fs::read(again.join(name)).unwrap(), fs::read(copy.join(name)).unwrap(), "{name}");
    }
}

#[test]
fn damage_is_named() {
    let [own, copy] = [tempdir().unwrap(), tempdir().unwrap()];
    let [own, copy] = [own.path(), copy.path()];
    study(own);
    publish(own, copy);
    let bytes = fs::read(copy.join(PROMPTS)).unwrap();
    fs::write(copy.join(PROMPTS), &bytes[..bytes.len() / 2]).unwrap();
    let message = read_runs(copy).unwrap_err().to_string();
    assert!(message.contains(PROMPTS), "{message}");
    fs::write(copy.join(PROMPTS), &bytes).unwrap();
    let with_metrics = |text: &str| {
        let mut compressed = BzEncoder::new(Vec::new(), Compression::fast());
        compressed.write_all(text.as_bytes()).unwrap();
        fs::write(copy.join(METRICS), compressed.finish().unwrap()).unwrap();
        read_runs(copy).unwrap_err().to_string()
    };
    let message = with_metrics("run,column,values\na,step,1 2 three\n");
    assert!(message.contains("line 2, column `values`: found `three`"), "{message}");
    let message = with_metrics("run,column,values\na,step,1 2\na,seconds,1\n");
    assert!(message.contains("line 3: 1 values, but the run's first column has 2"), "{message}");
    let message = with_metrics("run,values\na,1\n");
    assert!(message.contains("no column `column`"), "{message}");
    fs::write(copy.join(PROMPTS), "no bzip2").unwrap();
    let message = read_runs(copy).unwrap_err().to_string();
    assert!(message.contains(PROMPTS), "{message}");
}

#[test]
fn runs_with_other_numbers_of_prompts_make_no_table() {
    let folder = tempdir().unwrap();
    let mut runs = Run::of_rows(synthetic::sweep(1, 1));
    let prompt = PromptScore { score: 0.5, sequence_kl: 1.0 };
    runs[0].prompts.insert(50, vec![prompt; 2]);
    runs[1].prompts.insert(50, vec![prompt; 3]);
    let samples = PromptSamples::new(vec![vec![0.0, 1.0]; 2]).unwrap();
    let message = write(folder.path(), &runs, &samples).unwrap_err().to_string();
    assert!(message.contains(PROMPTS), "{message}");
}

#[test]
fn a_table_that_unpacks_to_no_end_is_refused() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("judgements.csv.bz2");
    let mut packed = BzEncoder::new(fs::File::create(&path).unwrap(), Compression::best());
    packed.write_all(b"judge,method,seed,temperature,prompt,shown,outcome").unwrap();
    std::io::copy(&mut std::io::repeat(b'\n').take(257 << 20), &mut packed).unwrap();
    packed.finish().unwrap();
    let size = fs::metadata(&path).unwrap().len();
    assert!(size < 1000, "{size} bytes");
    let message = read_judgements(&path).unwrap_err().to_string();
    assert!(message.contains("judgements.csv.bz2"), "{message}");
    assert!(message.contains("more than 268435456 bytes"), "{message}");
}
