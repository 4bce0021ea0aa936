//! What the runs of a study earned of the responses that they saw: rows of `responses.csv`.

use anyhow::Result;
use frontier::law::{LawPoint, law};
use frontier::{Analysis, ResponsesRow};

use crate::imdb_frontier::method::Algorithm;
use crate::imdb_frontier::plan::Plan;
use crate::imdb_frontier::results::Study;

/// The last checkpoint of every run of `study` that has a share and learned from whole responses of its own
/// count: those of DPO and its kin from the pairs, those of the others from their rollouts.
pub fn rows(study: &Study, analysis: &Analysis<'_>) -> Result<Vec<ResponsesRow>> {
    let plan = Plan::recorded(&study.manifest.preset)?;
    let row = |end: LawPoint| {
        let (responses, passes) = seen(&plan, &plan.run(&end.run)?.algorithm)?;
        Some(ResponsesRow {
            method: end.method,
            responses,
            passes,
            seed: end.seed,
            share: end.measured,
            share_se: end.measured_se,
            kl: end.sequence_kl,
            pair_accuracy: end.pair_accuracy,
        })
    };
    Ok(law(analysis).into_iter().filter_map(row).collect())
}

/// Distinct responses that a run sees, and how often it sees each; `None` for one that sees the chosen
/// responses alone.
fn seen(Plan { preset, .. }: &Plan, algorithm: &Algorithm) -> Option<(f64, f64)> {
    match algorithm {
        Algorithm::Dpo(config) => {
            let there = (preset.prompts.train - preset.preferences.held_out(preset.prompts.train)) as f64;
            let drawn = (config.steps * config.batch_prompts) as f64;
            let responses = drawn.min(there) * preset.preferences.responses_per_prompt as f64;
            // A part of a pass sees each of its responses once; steps are whole, so passes are nearly so.
            Some((responses, (drawn / there).max(1.0).round()))
        }
        Algorithm::Ppo { config, .. } => Some((algorithm.rollouts() as f64, config.ppo_epochs as f64)),
        Algorithm::OnlineDpo { .. } | Algorithm::Rloo { .. } => Some((algorithm.rollouts() as f64, 1.0)),
        Algorithm::Sft(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imdb_frontier::preset::load;

    #[test]
    fn responses_of_quick_by_hand() {
        let of = |run: &str, overrides: &[String]| {
            let plan = Plan::new(load("why", overrides).unwrap(), &imdb::Source::Synthetic).unwrap();
            seen(&plan, &plan.run(run).unwrap().algorithm)
        };
        // 200 batches of 8 of the 1728 - 121 prompts, four responses each.
        assert_eq!(of("dpo-beta1.9-s1", &[]), Some((6400.0, 1.0)));
        assert_eq!(of("dpo-beta1.9-s1", &["dpo.steps=600".to_owned()]), Some((4.0 * 1607.0, 3.0)));
        assert_eq!(of("ppo-target-kl0.9-s1", &[]), Some((26.0 * 128.0, 1.0)));
        assert_eq!(of("rloo-target-kl0.9-s1", &[]), Some((26.0 * 128.0, 1.0)));
        assert_eq!(of("online-dpo-beta0.68-s1", &[]), Some((26.0 * 128.0, 1.0)));
        assert_eq!(of("preferred-ft-learning-rate0.0001-s1", &[]), None);
    }
}
