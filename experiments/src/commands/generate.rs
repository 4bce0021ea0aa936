//! `experiments generate`: responses to a user's prompts.

use std::path::Path;

use anyhow::Result;
use feedback::records::{Limits, PromptExample, TooLong};
use feedback::scorer::texts;
use lm::files::ModelFolder;
use lm::{Config, Decoding, Problem, Sampling, Sequence, Stream};
use serde::Serialize;

use super::training::start::{Start, refuse};
use crate::cli::own_data::{GenerateOptions, SamplingOptions};
use crate::exit::Outcome;
use crate::jsonl::Output;

/// A line of the output.
#[derive(Serialize)]
struct Generated {
    /// The prompt's line in its file.
    line: usize,
    prompt: String,
    response: String,
    /// Whether the model ended the response itself.
    ended: bool,
    /// Tokens of the response, the end token included.
    tokens: usize,
    /// Log-probability of the response under the model at its temperature, without filters, in nats.
    logprob: f64,
}

/// `experiments generate`.
pub fn run(options: &GenerateOptions) -> Result<Outcome> {
    let decoding = decoding(options)?;
    // The most probable tokens are the same at every temperature.
    let temperature = if decoding == Decoding::Greedy { 1.0 } else { options.temperature };
    let counted = Problem::unless_counted("--num-return-sequences", options.num_return_sequences);
    counted.map_or(Ok(()), |problem| Err(refuse(&problem)))?;
    let folder = ModelFolder::open(&options.model, options.base_model.as_deref())?;
    let out = Output::open(&options.out)?;
    let (limits, sampling) = room(&options.sampling, &folder)?;
    let start = Start::of(&folder, temperature, &options.device)?;
    let prompts = prompts(&start, &options.prompts, &limits)?;
    let n = options.num_return_sequences;
    let repeated: Vec<&PromptExample> =
        prompts.iter().flat_map(|prompt| std::iter::repeat_n(prompt, n)).collect();
    let ids: Vec<Vec<u32>> = repeated.iter().map(|prompt| prompt.ids.clone()).collect();
    let stream = Stream::new(options.sampling.seed, "generate");
    let drawn = start.policy.generate_by(decoding, &ids, &sampling, stream)?;
    let sequences: Vec<Sequence> = ids
        .into_iter()
        .zip(&drawn)
        .map(|(prompt, drawn)| Sequence { prompt, response: drawn.response.clone() })
        .collect();
    let texts = texts(start.reader.tokenizer(), &sequences)?;
    let lines =
        repeated.iter().zip(texts).zip(&drawn).map(|((example, (prompt, response)), drawn)| Generated {
            line: example.line,
            prompt,
            response,
            ended: drawn.ended,
            tokens: drawn.response.len(),
            logprob: drawn.logprobs.iter().map(|&logprob| f64::from(logprob)).sum(),
        });
    out.write(lines)?;
    Ok(Outcome::Done)
}

fn decoding(options: &GenerateOptions) -> Result<Decoding> {
    let (top_k, top_p) = (options.top_k, options.top_p);
    let greedy = options.temperature == 0.0;
    let decoding = match (greedy, top_k.is_some() || top_p.is_some()) {
        (true, false) => Decoding::Greedy,
        (true, true) => {
            let found = "0 beside --top-k or --top-p";
            return Err(refuse(&Problem::new("--temperature", found, "one of them")));
        }
        (false, false) => Decoding::Sample,
        (false, true) => Decoding::Filtered { top_k, top_p },
    };
    let mut problems = decoding.problems();
    problems.extend(Problem::unless_positive("temperature", if greedy { 1.0 } else { options.temperature }));
    match problems.into_iter().next() {
        Some(problem) => {
            Err(refuse(&Problem { key: format!("--{}", problem.key.replace('_', "-")), ..problem }))
        }
        None => Ok(decoding),
    }
}

/// How long prompts and responses may be for a model.
pub fn room(options: &SamplingOptions, model: &ModelFolder) -> Result<(Limits, Sampling)> {
    let context = model.config()?.shape().context;
    let longest = options.max_new_tokens;
    let sampling = Sampling { max_new_tokens: longest, batch_size: options.batch_size };
    let flag = |problem: Problem| {
        refuse(&Problem { key: format!("--{}", problem.key.replace('_', "-")), ..problem })
    };
    if let Some(problem) = sampling.problems().into_iter().next() {
        return Err(flag(problem));
    }
    let expected = format!("below the model's context of {context} tokens");
    Problem::unless(longest < context, "max_new_tokens", longest, expected)
        .map_or(Ok(()), |problem| Err(flag(problem)))?;
    let max_prompt_length = options.max_prompt_length.unwrap_or(context - longest);
    let expected = format!("1 to {}, which the response leaves of the model's context", context - longest);
    let fits = (1..=context - longest).contains(&max_prompt_length);
    Problem::unless(fits, "max_prompt_length", max_prompt_length, expected)
        .map_or(Ok(()), |problem| Err(flag(problem)))?;
    let too_long: TooLong = serde_json::from_value(options.too_long.as_str().into())
        .map_err(|_| flag(Problem::new("too_long", &options.too_long, "skip, truncate or refuse")))?;
    Ok((Limits { max_length: context, max_prompt_length, too_long }, sampling))
}

/// The prompts of a file; a warning counts those that are not as they were written.
pub fn prompts(start: &Start, path: &Path, limits: &Limits) -> Result<Vec<PromptExample>> {
    let read = start.reader.prompts(path, limits)?;
    if read.skipped + read.truncated > 0 {
        let (skipped, truncated, most) = (read.skipped, read.truncated, limits.max_prompt_length);
        tracing::warn!(
            "{}: of more than {most} tokens, {skipped} prompts are left out and {truncated} are cut",
            path.display()
        );
    }
    Ok(read.examples)
}
