//! The sentiment classifiers that ship with the repository, and others of their form. What is read scores.
#![no_main]

use imdb::sentiment::{FeatureKind, SentimentClassifier};
use libfuzzer_sys::{fuzz_mutator, fuzz_target};

fuzz_target!(init: fuzz::quiet_panics(), |bytes: &[u8]| {
    let file = fuzz::folder("").join("classifier.safetensors");
    fuzz::write(&file, bytes);
    fuzz::bounded(bytes, || {
        for kind in [FeatureKind::WordBigrams, FeatureKind::CharacterNgrams] {
            if let Ok(classifier) = SentimentClassifier::load(&file, kind) {
                for text in ["not a good film", "", "!"] {
                    std::hint::black_box(classifier.logit(text));
                }
            }
        }
    });
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    fuzz::mutate_headed(data, size, max_size, seed)
});
