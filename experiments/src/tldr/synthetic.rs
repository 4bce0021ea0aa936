//! Posts that a program makes up, in OpenAI's schema: a trouble, what was tried, and a question, among sentences that do not
//! matter; a good summary tells the first and the last.

use lm::Stream;
use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

const WHO: [&str; 6] = ["my neighbour", "my boss", "my sister", "my roommate", "my friend", "my landlord"];
const TROUBLE: [&str; 6] = [
    "plays the drums at night",
    "took my bike without asking",
    "forgot my birthday",
    "never pays back the rent",
    "lost the keys of my car",
    "told everybody about my exam",
];
const TRIED: [&str; 4] =
    ["I wrote a letter.", "I asked for a talk.", "I waited for a week.", "I said that I am angry."];
const ASIDE: [&str; 6] = [
    "It rained all week.",
    "I had soup for lunch.",
    "We met in a small town.",
    "The bus was late again.",
    "I like green tea.",
    "There was a cat on the roof.",
];
const QUESTION: [&str; 4] =
    ["should I move out", "should I say sorry", "should I ask for money", "should I call the police"];
/// How often a person chooses the better summary.
const CARE: f64 = 0.9;
/// People who look at each pair.
const WORKERS: [&str; 2] = ["worker-1", "worker-2"];

/// Lines of both files.
pub struct Made {
    pub posts: Vec<Value>,
    pub comparisons: Vec<Value>,
}

/// Makes up posts, each with a summary, and with a comparison by two people. The last tenth is held out.
pub fn make(count: usize, seed: u64) -> Made {
    let mut made = Made { posts: Vec::new(), comparisons: Vec::new() };
    for index in 0..count {
        let mut rng = Stream::new(seed, "posts").child(index as u64).rng();
        add(&mut made, &mut rng, index, index * 10 < count * 9);
    }
    made
}

fn pick<'a>(words: &[&'a str], rng: &mut ChaCha8Rng) -> &'a str {
    words.choose(rng).copied().unwrap_or_default()
}

fn add(made: &mut Made, rng: &mut ChaCha8Rng, index: usize, is_train: bool) {
    let [who, trouble, tried] = [WHO.as_slice(), &TROUBLE, &TRIED].map(|words| pick(words, rng));
    let [aside, more, question] = [ASIDE.as_slice(), &ASIDE, &QUESTION].map(|words| pick(words, rng));
    let post = format!("{aside} {who} {trouble}. {tried} {more} {question}?");
    let good = format!(" {who} {trouble}, {question}?");
    let poor = format!(" {aside} {tried}");
    let (id, title) = (format!("t3_{index:05}"), format!("{who} {trouble}"));
    let info = json!({ "id": id, "post": post, "title": title, "subreddit": "advice" });
    made.posts
        .push(json!({ "id": id, "subreddit": "advice", "title": title, "post": post, "summary": good }));
    let first_is_good = rng.random::<bool>();
    let texts = if first_is_good { [&good, &poor] } else { [&poor, &good] };
    let summaries = texts.map(|text| json!({ "text": text, "policy": "made", "note": null }));
    for worker in WORKERS {
        let right = usize::from(!first_is_good);
        let choice = if rng.random::<f64>() < CARE { right } else { 1 - right };
        let split = if is_train { "train" } else { "valid1" };
        made.comparisons.push(json!({
            "info": info, "split": split, "summaries": summaries, "choice": choice, "worker": worker,
            "batch": "batch1", "extra": {},
        }));
    }
}
