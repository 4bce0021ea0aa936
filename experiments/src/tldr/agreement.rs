//! `experiments tldr-agreement`: how often judges say what people say of the same two summaries, and
//! people what other people say.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;
use feedback::contest::{Contest, Ending, Orders, decide};
use feedback::judge::{Judge, Question};
use frontier::win_rate::win_rates;
use frontier::{Bootstrap, Judgement, Method, Outcome as Verdict, agreement_table};
use lm::Stream;

use crate::cli::TldrAgreementOptions;
use crate::exit::{BadInput, Outcome};
use crate::study::folder::{Folder, write_json, write_text};
use crate::tldr::judges;
use crate::tldr::openai::{Comparison, comparisons};

const BOOTSTRAP: Bootstrap = Bootstrap { resamples: 2000, seed: 0 };
/// Who labelled a pair first, and who labelled it next.
const PEOPLE: [&str; 2] = ["people", "other people"];

/// Two summaries of a post, the one that comes first by its letters first, and who preferred it.
struct Pair {
    prompt: String,
    summaries: [String; 2],
    /// Whether each person preferred the first.
    first_preferred: Vec<bool>,
}

/// `experiments tldr-agreement`.
pub fn run(options: &TldrAgreementOptions) -> Result<Outcome> {
    let question = if options.concise { Question::Concise } else { Question::Simple };
    let endpoint = judges::endpoint(&options.judge, question)?;
    let mut read = Vec::new();
    for path in &options.files {
        read.extend(comparisons(path)?);
    }
    let pairs = pairs(read);
    let folder = Folder::new(&options.out);
    let _lock = folder.lock()?;
    let asked = endpoint.map(|config| judges::at_endpoint(config, &options.judge, &folder)).transpose()?;
    let program = judges::program(&options.judge)?;
    let all = program.as_deref().into_iter().chain(asked.as_ref().map(|judge| judge as &dyn Judge));
    let mut judgements = of_people(&pairs);
    for judge in all {
        judgements.extend(of_judge(judge, &pairs)?);
    }
    let agreement = win_rates(&judgements, BOOTSTRAP)?.agreement;
    let Some(table) = agreement_table(&agreement) else {
        let expected = "a judge, or pairs that two people labelled";
        return Err(
            BadInput(format!("tldr-agreement: found nobody to agree with, expected {expected}")).into()
        );
    };
    let text = format!("# Agreement on summaries\n\n{} pairs.\n\n{}", pairs.len(), table.markdown());
    write_json(&folder.file("agreement.json"), &agreement)?;
    write_text(&folder.file("AGREEMENT.md"), &text)?;
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(Outcome::Done)
}

/// The distinct pairs with all their labels.
fn pairs(comparisons: Vec<Comparison>) -> Vec<Pair> {
    let mut found: BTreeMap<(String, [String; 2]), Vec<bool>> = BTreeMap::new();
    for one in comparisons {
        let prompt = one.post.prompt();
        let [mut first, mut second] = one.summaries;
        let mut first_preferred = one.choice == 0;
        if second < first {
            std::mem::swap(&mut first, &mut second);
            first_preferred = !first_preferred;
        }
        found.entry((prompt, [first, second])).or_default().push(first_preferred);
    }
    let pair = |((prompt, summaries), first_preferred)| Pair { prompt, summaries, first_preferred };
    found.into_iter().map(pair).collect()
}

/// A judgement of a pair: its first summary takes the place of a policy's response.
fn judgement(judge: &str, pair: usize, outcome: Verdict) -> Judgement {
    Judgement {
        judge: judge.to_owned(),
        method: Method::REFERENCE,
        seed: 0,
        temperature: 0.0,
        prompt: pair as u64,
        shown_first: true,
        outcome,
    }
}

fn of_people(pairs: &[Pair]) -> Vec<Judgement> {
    let labels = |(index, pair): (usize, &Pair)| -> Vec<Judgement> {
        let of_person = |(person, first): (&&str, &bool)| {
            judgement(person, index, if *first { Verdict::Win } else { Verdict::Loss })
        };
        PEOPLE.iter().zip(&pair.first_preferred).map(of_person).collect()
    };
    pairs.iter().enumerate().flat_map(labels).collect()
}

fn of_judge(judge: &dyn Judge, pairs: &[Pair]) -> Result<Vec<Judgement>> {
    let contest = |pair: &Pair| Contest {
        prompt: pair.prompt.clone(),
        response: pair.summaries[0].clone(),
        other: pair.summaries[1].clone(),
    };
    let contests: Vec<Contest> = pairs.iter().map(contest).collect();
    let decided = decide(judge, &contests, Orders::Random, Stream::new(0, "agreement order"))?;
    let of = |ending| match ending {
        Ending::Win => Verdict::Win,
        Ending::Tie => Verdict::Tie,
        Ending::Loss => Verdict::Loss,
        Ending::Unreadable => Verdict::Unreadable,
    };
    Ok(decided.into_iter().map(|one| judgement(judge.name(), one.contest, of(one.ending))).collect())
}
