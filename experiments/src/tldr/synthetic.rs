//! Posts that a program makes up, in OpenAI's schema: a trouble, what was tried, and a question, among
//! sentences that do not matter; a good summary tells the first and the last.

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

/// Lines of all files.
#[derive(Default)]
pub struct Made {
    pub posts: Vec<Value>,
    pub held_out: Vec<Value>,
    pub comparisons: Vec<Value>,
}

/// What a post is for.
#[derive(Clone, Copy)]
enum Use {
    /// Its summary and its comparisons are trained on.
    Train,
    /// Its comparisons are held out.
    Compare,
    /// It is held out.
    HoldOut,
}

/// Makes up posts, each with a summary. Of every ten, eight have comparisons by two people in the split
/// `train`, one has comparisons in another split, and the last is held out.
pub fn make(count: usize, seed: u64) -> Made {
    let mut made = Made::default();
    for index in 0..count {
        let mut rng = Stream::new(seed, "posts").child(index as u64).rng();
        let for_what = match index % 10 {
            8 => Use::Compare,
            9 => Use::HoldOut,
            _ => Use::Train,
        };
        add(&mut made, &mut rng, index, for_what);
    }
    made
}

fn pick<'a>(words: &[&'a str], rng: &mut ChaCha8Rng) -> &'a str {
    words.choose(rng).copied().unwrap_or_default()
}

fn add(made: &mut Made, rng: &mut ChaCha8Rng, index: usize, for_what: Use) {
    let [who, trouble, tried] = [WHO.as_slice(), &TROUBLE, &TRIED].map(|words| pick(words, rng));
    let [aside, more, question] = [ASIDE.as_slice(), &ASIDE, &QUESTION].map(|words| pick(words, rng));
    let post = format!("{aside} {who} {trouble}. {tried} {more} {question}?");
    let good = format!(" {who} {trouble}, {question}?");
    let poor = format!(" {aside} {tried}");
    let (id, title) = (format!("t3_{index:05}"), format!("{who} {trouble}"));
    let info = json!({ "id": id, "post": post, "title": title, "subreddit": "advice" });
    let whole = json!({ "id": id, "subreddit": "advice", "title": title, "post": post, "summary": good });
    let split = match for_what {
        Use::Train => {
            made.posts.push(whole);
            "train"
        }
        Use::Compare => "valid1",
        Use::HoldOut => return made.held_out.push(whole),
    };
    let first_is_good = rng.random::<bool>();
    let texts = if first_is_good { [&good, &poor] } else { [&poor, &good] };
    let summaries = texts.map(|text| json!({ "text": text, "policy": "made", "note": null }));
    for worker in WORKERS {
        let right = usize::from(!first_is_good);
        let choice = if rng.random::<f64>() < CARE { right } else { 1 - right };
        made.comparisons.push(json!({
            "info": info, "split": split, "summaries": summaries, "choice": choice, "worker": worker,
            "batch": "batch1", "extra": {},
        }));
    }
}
