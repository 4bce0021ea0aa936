//! The judges, and what they say of all responses.

use anyhow::Result;
use burn::tensor::Device;
use feedback::ProgramLimits;
use feedback::contest::{Contest, Ending, Orders, decide};
use feedback::judge::{EndpointConfig, EndpointJudge, Judge, Prices, ProgramJudge, Question, ScorerJudge};
use frontier::{Judgement, Outcome};
use lm::{Config as _, ScoreUnit, Stream};

use crate::cli::JudgeOptions;
use crate::commands::training::sections::ClassifierSettings;
use crate::commands::training::source::{ModelReader, classifier};
use crate::commands::training::start::require_model;
use crate::exit::BadInput;
use crate::study::folder::Folder;
use crate::tldr::human::Human;
use crate::tldr::policies::Contestant;
use crate::tldr::sweep::Swept;

/// Answers of an endpoint, in the output folder's cache.
const ANSWERS: &str = "answers.jsonl";

/// The most tokens of an answer: a sentence and a verdict.
const ANSWER_TOKENS: u32 = 160;

/// Tokens of a question beside the texts.
const QUESTION_TOKENS: u64 = 100;

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

/// The models in folders that the command line names.
pub fn models(options: &JudgeOptions, device: &Device) -> Result<Vec<Box<dyn Judge>>> {
    let mut judges: Vec<Box<dyn Judge>> = Vec::new();
    if let Some(dir) = &options.reward_model {
        require_model("--judge-reward-model", dir)?;
        let name = format!("reward model {}", dir.display());
        judges.push(Box::new(ScorerJudge::new(name, ModelReader::load(dir, device)?)));
    }
    if let Some(dir) = &options.classifier {
        require_model("--judge-classifier", dir)?;
        let folder = dir.to_string_lossy().into_owned();
        let settings = ClassifierSettings { folder, label: options.label.clone(), unit: ScoreUnit::LogOdds };
        let name = format!("classifier {}", dir.display());
        judges.push(Box::new(ScorerJudge::new(name, classifier(&settings, device)?)));
    }
    Ok(judges)
}

/// A judge behind that endpoint; its answers are kept in the output folder.
pub fn at_endpoint(config: EndpointConfig, options: &JudgeOptions, folder: &Folder) -> Result<EndpointJudge> {
    let key = std::env::var(&options.key).ok().filter(|key| !key.is_empty());
    Ok(EndpointJudge::new(config, key, &folder.cache().join(ANSWERS))?)
}

/// The tokens of a question about texts of so many, and of its answer, roughly and at most.
pub fn tokens(of_texts: usize) -> (u64, u64) {
    (of_texts as u64 + QUESTION_TOKENS, u64::from(ANSWER_TOKENS))
}

/// What so many questions cost at most, roughly.
pub fn cost(config: &EndpointConfig, questions: usize, tokens_of_texts: usize) -> Option<f64> {
    Some(questions as f64 * config.prices?.cost(tokens(tokens_of_texts)))
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
