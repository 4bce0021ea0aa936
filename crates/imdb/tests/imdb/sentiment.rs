//! The two classifiers against the synthetic grammar, whose sentiment is known, and their files.

use std::fs;
use std::sync::LazyLock;

use feedback::TextScorer;
use imdb::reviews::grammar::exact_sentiment;
use imdb::reviews::synthetic::synthetic;
use imdb::sentiment::calibration::Agreement;
use imdb::{
    FeatureKind, GroundTruth, GroundTruthConfig, ImdbError, Review, Reviews, SentimentClassifier,
    SentimentConfig, train_ground_truth,
};
use lm::Config;

fn config() -> GroundTruthConfig {
    let sentiment = SentimentConfig {
        window_words: (8, 30),
        windows_per_review: 4,
        features: 5000,
        epochs: 8,
        batch_size: 256,
        learning_rate: 0.2,
        l2: 3e-6,
        calibration_share: 0.1,
        seed: 0,
    };
    let second_opinion = SentimentConfig { windows_per_review: 2, learning_rate: 0.5, ..sentiment.clone() };
    GroundTruthConfig { sentiment, second_opinion, second_opinion_share: 0.5, seed: 0 }
}

static REVIEWS: LazyLock<Reviews> = LazyLock::new(|| synthetic(7, 6000));
static TRAINED: LazyLock<GroundTruth> = LazyLock::new(|| train_ground_truth(&REVIEWS, &config()).unwrap());

#[test]
fn both_learn_the_grammar() {
    let report = &TRAINED.report;
    assert!(report.sentiment.full.accuracy > 0.95, "{}", report.sentiment.full.accuracy);
    assert!(report.second_opinion.full.accuracy > 0.95, "{}", report.second_opinion.full.accuracy);
    assert_eq!(
        (report.sentiment.n, report.sentiment_reviews, report.second_opinion_reviews),
        (1500, 3000, 3000)
    );
    let texts: Vec<&str> = REVIEWS.unsup.iter().map(|review| review.text.as_str()).collect();
    let exact = texts.iter().map(|text| exact_sentiment(text));
    let against_exact =
        Agreement::new(&TRAINED.sentiment.probabilities(&texts).into_iter().zip(exact).collect::<Vec<_>>());
    assert!(against_exact.correlation > 0.9, "{against_exact:?}");
    assert!(TRAINED.sentiment.probability("what a superb cast !") > 0.5);
    assert!(TRAINED.sentiment.probability("what a worthless cast !") < 0.5);
}

#[test]
fn training_twice_gives_the_same_bits_and_another_seed_does_not() {
    let again = train_ground_truth(&REVIEWS, &config()).unwrap();
    assert_eq!(again, *TRAINED);
    let other = train_ground_truth(&REVIEWS, &GroundTruthConfig { seed: 1, ..config() }).unwrap();
    assert_ne!(other.sentiment, TRAINED.sentiment);
    let texts: Vec<&str> = REVIEWS.test.iter().map(|review| review.text.as_str()).collect();
    let agreement = TRAINED.sentiment.agreement(&other.sentiment, &texts);
    assert!(agreement.correlation > 0.95 && agreement.same_side > 0.95, "{agreement:?}");
    let itself = TRAINED.sentiment.agreement(&TRAINED.sentiment, &texts);
    assert!((itself.correlation - 1.0).abs() < 1e-12 && itself.mean_difference.abs() < 1e-15, "{itself:?}");
}

/// Reads a classifier of words.
fn load_words(path: &std::path::Path) -> Result<SentimentClassifier, ImdbError> {
    SentimentClassifier::load(path, FeatureKind::WordBigrams)
}

#[test]
fn as_a_text_scorer_it_reads_prompt_and_response_together() {
    let texts = [("not".to_owned(), " superb".to_owned()), (String::new(), "a worthless cast".to_owned())];
    let expected = ["not superb", "a worthless cast"].map(|text| TRAINED.sentiment.probability(text) as f32);
    assert_eq!(TRAINED.sentiment.score(&texts).unwrap(), expected);
}

#[test]
fn a_file_holds_the_classifier_to_the_last_bit_in_six_bytes_a_feature() {
    let folder = tempfile::tempdir().unwrap();
    let (path, again) = (folder.path().join("new/ground_truth.safetensors"), folder.path().join("again"));
    TRAINED.sentiment.save(&path).unwrap();
    let loaded = load_words(&path).unwrap();
    assert_eq!(loaded, TRAINED.sentiment);
    let text = &REVIEWS.test[0].text;
    assert_eq!(loaded.logit(text).to_bits(), TRAINED.sentiment.logit(text).to_bits());
    loaded.save(&again).unwrap();
    assert_eq!(fs::read(&path).unwrap(), fs::read(&again).unwrap());
    let size = fs::metadata(&path).unwrap().len() as usize;
    let payload = 6 * loaded.features();
    assert!((payload..payload + 1024).contains(&size), "{size} bytes for {} features", loaded.features());

    TRAINED.second_opinion.save(&path).unwrap();
    let second = SentimentClassifier::load(&path, FeatureKind::CharacterNgrams).unwrap();
    assert_eq!(second, TRAINED.second_opinion);
    assert_eq!(second.kind(), FeatureKind::CharacterNgrams);
    let message = load_words(&path).unwrap_err().to_string();
    assert!(message.contains("word_bigrams") && message.contains("character_ngrams"), "{message}");
}

#[test]
fn damaged_files_are_refused_with_what_was_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ground_truth.safetensors");
    let missing = load_words(&path).unwrap_err().to_string();
    assert!(
        missing.contains("not found; expected a file of the format \"imdb sentiment classifier 1"),
        "{missing}"
    );
    TRAINED.sentiment.save(&path).unwrap();
    let whole = fs::read(&path).unwrap();
    let load = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        load_words(&path).unwrap_err().to_string()
    };
    assert!(load(&whole[..whole.len() / 2]).contains("expected a file of"));
    assert!(load(b"{}").contains("expected a file of"));
    let place = |needle: &[u8]| whole.windows(needle.len()).position(|window| window == needle).unwrap();
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = whole.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        changed
    };
    let renamed = load(&with(place(b"\"weights\"") + 1, b"Weights"));
    assert!(renamed.contains("tensor weights F16") && renamed.contains("not found"), "{renamed}");
    let wrong_type = load(&with(place(b"\"F16\"") + 1, b"I16"));
    assert!(wrong_type.contains("tensor weights F16") && wrong_type.contains("found I16"), "{wrong_type}");
    // The weights are the only 16-bit tensor, so they come last.
    let infinite = load(&with(whole.len() - 2, &[0x00, 0x7c]));
    assert!(
        infinite.contains("found inf at") && infinite.contains("expected finite numbers in weights"),
        "{infinite}"
    );
}

#[test]
fn impossible_settings_are_named_all_at_once_as_presets_spell_them() {
    assert_eq!(config().problems(), []);
    let mut changed = config();
    changed.sentiment.window_words = (9, 8);
    changed.sentiment.learning_rate = f64::NAN;
    changed.second_opinion.calibration_share = 0.0;
    changed.second_opinion.epochs = 0;
    changed.second_opinion_share = 0.99;
    let expected = [
        "sentiment.window_words: found [9, 8], expected [shortest, longest] with 1 <= shortest <= longest",
        "sentiment.learning_rate: found NaN, expected a positive number",
        "judge.epochs: found 0, expected at least 1",
        "judge.calibration_share: found 0, expected 0.01 to 0.5",
        "judge_share: found 0.99, expected 0.05 to 0.95",
    ];
    let refused = train_ground_truth(&REVIEWS, &changed).unwrap_err();
    assert_eq!(refused.to_string(), expected.join("\n"));
    let all: Vec<&Review> = REVIEWS.train.iter().collect();
    let refused = SentimentClassifier::train(FeatureKind::WordBigrams, &all, &changed.sentiment).unwrap_err();
    assert!(refused.to_string().starts_with("window_words: found [9, 8]"), "{refused}");

    let toml_like = serde_json::json!({ "epochs": 1 });
    assert!(serde_json::from_value::<SentimentConfig>(toml_like).is_err(), "no setting has a hidden default");
    let json = serde_json::to_value(config()).unwrap();
    assert!(json["judge"]["epochs"] == 8 && json["judge_share"] == 0.5, "{json}");
}

#[test]
fn too_few_reviews_are_refused() {
    let few: Vec<&Review> = REVIEWS.train.iter().take(30).collect();
    let result = SentimentClassifier::train(FeatureKind::WordBigrams, &few, &config().sentiment);
    assert!(matches!(result, Err(ImdbError::TooFew { expected: 20, .. })), "{result:?}");
    assert!(train_ground_truth(&Reviews::embedded(), &config()).is_err());
}
