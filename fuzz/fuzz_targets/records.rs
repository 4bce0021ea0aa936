//! A user's own JSON Lines. The first byte says what they should be.
#![no_main]

use feedback::chat::ChatTemplate;
use feedback::comparisons;
use feedback::records::{Limits, PairLabels, Reader, TooLong, read_responses};
use libfuzzer_sys::{fuzz_mutator, fuzz_target};

const TEMPLATE: &str = "{% for message in messages %}{{ message.role }} {{ message.content }} {% endfor %}\
                        {% if add_generation_prompt %}assistant {% endif %}";

fuzz_target!(init: fuzz::quiet_panics(), |bytes: &[u8]| {
    let Some((which, content)) = bytes.split_first() else { return };
    let file = fuzz::folder("").join("records.jsonl");
    fuzz::write(&file, content);
    let model = fuzz::folder("llama");
    let tokenizer = lm::files::load_tokenizer(&model).expect("a tokenizer");
    let ends = ["<s>".to_owned(), "</s>".to_owned()];
    let template = ChatTemplate::new(model, TEMPLATE.to_owned(), ends).expect("a template");
    let reader = Reader::new(tokenizer, Some(template));
    let too_long = [TooLong::Skip, TooLong::Truncate, TooLong::Refuse][*which as usize / 8 % 3];
    let limits = Limits { max_length: 8, max_prompt_length: 4, too_long };
    fuzz::bounded(content, || match which % 8 {
        0 => drop(reader.preferences(&file, &limits, &PairLabels::AsWritten)),
        1 => drop(reader.preferences(&file, &limits, &PairLabels::Scores { scale: 2.0 })),
        2 => drop(reader.prompts(&file, &limits)),
        3 => drop(reader.supervised(&file, &limits)),
        4 => drop(read_responses(&file)),
        _ => drop(comparisons::read(&file)),
    });
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    fuzz::mutate_text(data, size, max_size, seed)
});
