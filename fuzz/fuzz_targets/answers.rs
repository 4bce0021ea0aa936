//! What comes back from outside: a line of a program that scores or judges, a reply of an endpoint as curl
//! prints it, and the file in which a judge keeps the answers that it paid for. The first byte says which.
#![no_main]

use feedback::judge::{EndpointConfig, EndpointJudge, Judge, Pair, Prices, Question};
use libfuzzer_sys::{fuzz_mutator, fuzz_target};

fn config() -> EndpointConfig {
    EndpointConfig {
        url: "http://127.0.0.1:1/v1".to_owned(),
        model: "m".to_owned(),
        question: Question::Simple,
        max_tokens: 8,
        timeout: 1.0,
        retries: 0,
        backoff: 1.0,
        parallel: 1,
        requests_per_minute: None,
        max_requests: None,
        prices: Some(Prices { prompt: 1.0, completion: 2.0 }),
        max_cost: Some(1.0),
    }
}

fuzz_target!(init: fuzz::quiet_panics(), |bytes: &[u8]| {
    let Some((which, content)) = bytes.split_first() else { return };
    let file = fuzz::folder("").join("answers.jsonl");
    fuzz::write(&file, content);
    fuzz::bounded(content, || match which % 4 {
        0 => feedback::program::read_score(content),
        1 => feedback::judge::read_preference(content),
        2 => feedback::judge::read_reply(content),
        _ => {
            if let Ok(judge) = EndpointJudge::new(config(), None, &file) {
                let pairs = [Pair { prompt: "p".into(), first: "a".into(), second: "b".into() }];
                assert!(judge.spent().cost.is_some());
                // The question of the seed: nothing goes out.
                if judge.unanswered(&pairs) == 0 {
                    assert_eq!(judge.compare(&pairs).expect("an answer that is kept").len(), 1);
                }
            }
        }
    });
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    fuzz::mutate_text(data, size, max_size, seed)
});
