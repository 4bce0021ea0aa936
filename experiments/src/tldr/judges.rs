//! The judges, and what they say of all responses.

use anyhow::Result;
use feedback::ProgramLimits;
use feedback::contest::{Contest, Ending, Orders, decide};
use feedback::judge::{EndpointConfig, EndpointJudge, Judge, Prices, ProgramJudge, Question, ScorerJudge};
use frontier::{Judgement, Outcome};
use lm::{Config as _, Stream};

use crate::cli::JudgeOptions;
use crate::exit::BadInput;
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

/// Answers of an endpoint, in the output folder's cache.
const ANSWERS: &str = "answers.jsonl";

/// The most tokens of an answer: a sentence and a verdict.
const ANSWER_TOKENS: u32 = 160;

/// How the endpoint that the command line names is asked, if it names one.
pub fn endpoint(options: &JudgeOptions, question: Question) -> Result<Option<EndpointConfig>> {
    let (Some(url), Some(model)) = (&options.url, &options.model) else { return Ok(None) };
    let prices = match options.prices.as_slice() {
        [] => None,
        [prompt, completion] => Some(Prices { prompt: *prompt, completion: *completion }),
        other => {
            let found = format!("{} numbers", other.len());
            return Err(BadInput(format!("--judge-prices: found {found}, expected two, IN,OUT")).into());
        }
    };
    let config = EndpointConfig {
        url: url.clone(),
        model: model.clone(),
        question,
        max_tokens: ANSWER_TOKENS,
        timeout: options.timeout,
        retries: 6,
        backoff: 1.0,
        parallel: options.parallel,
        requests_per_minute: options.rate,
        max_requests: options.requests,
        prices,
        max_cost: options.cost,
    };
    config.check().map_err(|problems| BadInput(format!("--judge: {problems}")))?;
    Ok(Some(config))
}

/// The program that the command line names, if it names one.
pub fn program(options: &JudgeOptions) -> Result<Option<Box<dyn Judge>>> {
    let Some(command) = &options.command else { return Ok(None) };
    let limits = ProgramLimits { timeout: options.timeout, restarts: 3 };
    Ok(Some(Box::new(ProgramJudge::new(command, limits)?)))
}

/// A judge behind that endpoint; its answers are kept in the output folder.
pub fn at_endpoint(config: EndpointConfig, options: &JudgeOptions, folder: &Folder) -> Result<EndpointJudge> {
    let key = std::env::var(&options.key).ok().filter(|key| !key.is_empty());
    Ok(EndpointJudge::new(config, key, &folder.cache().join(ANSWERS))?)
}

/// What so many questions cost at most, roughly: a question has as many tokens as its texts and a hundred more.
pub fn cost(config: &EndpointConfig, questions: usize, tokens_of_texts: usize) -> Option<f64> {
    let each = (tokens_of_texts as u64 + 100, u64::from(config.max_tokens));
    Some(questions as f64 * config.prices?.cost(each))
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
