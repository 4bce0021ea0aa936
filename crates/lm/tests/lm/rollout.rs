//! Responses with their scores, and labels of them.

use lm::{Labels, LmError, Policy, Sampling, ScoredResponses, Scorer, Sequence, Stream};

use crate::support::{END, assert_close, prompts, random_policy, shape};

const VOCAB: u32 = 12;

/// How long a response is.
struct Length;

impl Scorer for Length {
    fn score(&self, sequences: &[Sequence]) -> Result<Vec<f32>, LmError> {
        Ok(sequences.iter().map(|sequence| sequence.response.len() as f32).collect())
    }
}

/// Says what it was told to.
struct Told(Vec<f32>);

impl Scorer for Told {
    fn score(&self, _: &[Sequence]) -> Result<Vec<f32>, LmError> {
        Ok(self.0.clone())
    }
}

fn policy() -> Policy {
    random_policy(&shape(VOCAB as usize, 19, 16, 2), 0.5, 3, 1.0)
}

fn draw(scorer: &dyn Scorer, prompts: &[Vec<u32>]) -> Result<ScoredResponses, LmError> {
    let sampling = Sampling { max_new_tokens: 10, batch_size: 8 };
    ScoredResponses::draw(&policy(), prompts, 3, &sampling, scorer, Stream::new(5, "rollouts"))
}

#[test]
fn each_prompt_has_its_responses_in_a_row() {
    let prompts = prompts(7, 2, 9, VOCAB, 1);
    let drawn = draw(&Length, &prompts).unwrap();
    assert_eq!(drawn.len(), 21);
    for (group, prompt) in drawn.sequences.chunks(3).zip(&prompts) {
        assert!(group.iter().all(|sequence| sequence.prompt == *prompt));
    }
    let scored = policy().score(&drawn.sequences).unwrap();
    for (i, sequence) in drawn.sequences.iter().enumerate() {
        assert_eq!(drawn.scores[i], sequence.response.len() as f64);
        assert_eq!(drawn.ended[i], sequence.response.last() == Some(&END));
        assert_close(&drawn.logprobs[i], &scored[i], 1e-4);
    }
    let ended = drawn.ended.iter().filter(|&&ended| ended).count();
    assert!(ended > 0 && ended == drawn.ended_count());
    assert_eq!(drawn.tokens(), drawn.sequences.iter().map(Sequence::len).sum::<usize>());
}

#[test]
fn bad_scores_and_prompts_are_named() {
    let prompts = prompts(1, 2, 9, VOCAB, 1);
    let refuse = |scores: &[f32]| draw(&Told(scores.to_vec()), &prompts).unwrap_err().to_string();
    assert_eq!(refuse(&[0.0]), "scorer: found 1 scores, expected 3, one per sequence");
    assert_eq!(
        refuse(&[0.0, f32::INFINITY, 0.0]),
        "scorer: found inf for sequence 1, expected a finite number"
    );
    let long = draw(&Length, &[vec![0; 10]]).unwrap_err().to_string();
    assert_eq!(long, "sequence 0: found 10 tokens, expected at most 9");
}

fn responses(ids: &[u32]) -> Vec<Sequence> {
    ids.iter().map(|&id| Sequence { prompt: vec![0], response: vec![id] }).collect()
}

#[test]
fn ties_are_left_out_and_move_no_other_label() {
    let labels = Labels::BradleyTerry { scale: 0.5 };
    let compare = |ids: &[u32], scores: &[f32]| {
        let found = labels.compare(&responses(ids), scores, Stream::new(1, "labels"));
        found
            .into_iter()
            .map(|c| (c.chosen.min(c.rejected), c.chosen.max(c.rejected), c.chosen))
            .collect::<Vec<_>>()
    };
    let all = compare(&[1, 2, 3, 4], &[0.0, 1.0, 2.0, 3.0]);
    assert_eq!(all.len(), 6);
    // The first two tie by their score, then by their tokens.
    for tied in [compare(&[1, 2, 3, 4], &[1.0, 1.0, 2.0, 3.0]), compare(&[1, 1, 3, 4], &[0.0, 1.0, 2.0, 3.0])]
    {
        let pairs = |labels: &[(usize, usize, usize)]| labels.iter().map(|l| (l.0, l.1)).collect::<Vec<_>>();
        assert_eq!(pairs(&tied), pairs(&all[1..]));
        // Pairs without response 0 have the scores that they had.
        assert_eq!(tied[2..], all[3..]);
    }
}

#[test]
fn a_soft_label_is_the_mean_of_bradley_terry_draws() {
    let (responses, scores) = (responses(&[1, 2]), [0.3, 1.1]);
    let soft = Labels::Soft { scale: 2.0 }.compare(&responses, &scores, Stream::new(1, "labels"))[0];
    // sigma(2 * 0.8) = 0.8320184
    assert_eq!((soft.chosen, soft.rejected), (1, 0));
    assert!((soft.probability - 0.832_018_4).abs() < 1e-6, "{soft:?}");
    let draws = 20_000;
    let hard = Labels::BradleyTerry { scale: 2.0 };
    let won = (0..draws)
        .filter(|&draw| hard.compare(&responses, &scores, Stream::new(draw, "labels"))[0].chosen == 1)
        .count();
    // Four standard errors.
    assert!((won as f64 / draws as f64 - f64::from(soft.probability)).abs() < 0.0106, "{won} of {draws}");
}
