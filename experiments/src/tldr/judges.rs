//! The judges, and what they say of all responses.

use anyhow::Result;
use feedback::contest::{Contest, Ending, Orders, decide};
use feedback::judge::{Judge, ScorerJudge};
use frontier::{Judgement, Outcome};
use lm::Stream;

use crate::imdb_frontier::stages::ground_truth;
use crate::study::folder::Folder;
use crate::tldr::human::Human;
use crate::tldr::policies::Contestant;
use crate::tldr::sweep::Swept;

/// r* and the second opinion of a study.
pub fn of_study(study: &Folder) -> Result<Vec<Box<dyn Judge>>> {
    let (ground_truth, second_opinion) = ground_truth::read(&study.stage("ground-truth"))?;
    Ok(vec![
        Box::new(ScorerJudge::new("r*", ground_truth)),
        Box::new(ScorerJudge::new("the second opinion", second_opinion)),
    ])
}

/// What a judge says of one policy's responses.
pub fn judge(
    judge: &dyn Judge,
    human: &[Human],
    (contestant, swept): (&Contestant, &[Swept]),
    orders: Orders,
) -> Result<Vec<Judgement>> {
    let mut judgements = Vec::new();
    // A seed shows the responses of all policies in the same places.
    let stream = Stream::new(contestant.seed, "win-rate order");
    for (index, at) in swept.iter().enumerate() {
        let contest = |(human, (response, _)): (&Human, &(String, f64))| Contest {
            prompt: human.opening.clone(),
            response: response.clone(),
            other: human.text.clone(),
        };
        let contests: Vec<Contest> = human.iter().zip(&at.responses).map(contest).collect();
        for decided in decide(judge, &contests, orders, stream.child(index as u64))? {
            judgements.push(Judgement {
                judge: judge.name().to_owned(),
                method: contestant.method,
                seed: contestant.seed,
                temperature: at.row.temperature,
                prompt: decided.contest as u64,
                shown_first: decided.shown_first,
                outcome: match decided.ending {
                    Ending::Win => Outcome::Win,
                    Ending::Tie => Outcome::Tie,
                    Ending::Loss => Outcome::Loss,
                    Ending::Unreadable => Outcome::Unreadable,
                },
            });
        }
    }
    Ok(judgements)
}
