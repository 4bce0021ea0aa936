//! The two classifiers against the synthetic grammar, whose sentiment is known, and their files.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

use std::fs;
use std::sync::LazyLock;

use imdb::calibration::Agreement;
use imdb::sentiment::{GroundTruth, GroundTruthConfig, SentimentConfig};
use imdb::synthetic::{exact_sentiment, synthetic};
use imdb::{ImdbError, Judge, Review, Reviews, SentimentClassifier, train_ground_truth};

fn config() -> GroundTruthConfig {
    let sentiment =
        SentimentConfig { window_words: (8, 30), features: 5000, epochs: 8, ..SentimentConfig::default() };
    let judge =
        SentimentConfig { window_words: (8, 30), features: 5000, epochs: 8, ..Judge::default_config() };
    GroundTruthConfig { sentiment, judge, ..GroundTruthConfig::default() }
}

static REVIEWS: LazyLock<Reviews> = LazyLock::new(|| synthetic(7, 6000));
static TRAINED: LazyLock<GroundTruth> = LazyLock::new(|| train_ground_truth(&REVIEWS, &config()).unwrap());

#[test]
fn both_learn_the_grammar() {
    let report = &TRAINED.report;
    assert!(report.sentiment.full.accuracy > 0.95, "{}", report.sentiment.full.accuracy);
    assert!(report.judge.full.accuracy > 0.95, "{}", report.judge.full.accuracy);
    assert_eq!((report.sentiment.n, report.sentiment_reviews, report.judge_reviews), (1500, 3000, 3000));
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

#[test]
fn a_file_holds_the_classifier_to_the_last_bit_in_six_bytes_a_feature() {
    let folder = tempfile::tempdir().unwrap();
    let (path, again) = (folder.path().join("new/ground_truth.safetensors"), folder.path().join("again"));
    TRAINED.sentiment.save(&path).unwrap();
    let loaded = SentimentClassifier::load(&path).unwrap();
    assert_eq!(loaded, TRAINED.sentiment);
    let text = &REVIEWS.test[0].text;
    assert_eq!(loaded.logit(text).to_bits(), TRAINED.sentiment.logit(text).to_bits());
    loaded.save(&again).unwrap();
    assert_eq!(fs::read(&path).unwrap(), fs::read(&again).unwrap());
    let size = fs::metadata(&path).unwrap().len() as usize;
    let payload = 6 * loaded.features();
    assert!((payload..payload + 1024).contains(&size), "{size} bytes for {} features", loaded.features());

    TRAINED.judge.save(&path).unwrap();
    assert_eq!(Judge::load(&path).unwrap(), TRAINED.judge);
    let message = SentimentClassifier::load(&path).unwrap_err().to_string();
    assert!(message.contains("word_bigrams") && message.contains("character_ngrams"), "{message}");
}

#[test]
fn damaged_files_are_refused_with_what_was_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ground_truth.safetensors");
    let missing = SentimentClassifier::load(&path).unwrap_err().to_string();
    assert!(missing.contains("not found; expected a file of \"imdb sentiment classifier 1"), "{missing}");
    TRAINED.sentiment.save(&path).unwrap();
    let whole = fs::read(&path).unwrap();
    let load = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        SentimentClassifier::load(&path).unwrap_err().to_string()
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
    assert!(infinite.contains("finite numbers in weights, found inf at"), "{infinite}");
}

#[test]
fn impossible_settings_and_too_few_reviews_are_refused() {
    let all: Vec<&Review> = REVIEWS.train.iter().collect();
    let refuse = |change: &dyn Fn(&mut SentimentConfig)| {
        let mut changed = config().sentiment;
        change(&mut changed);
        SentimentClassifier::train(&all, &changed).unwrap_err().to_string()
    };
    assert!(refuse(&|config| config.window_words = (9, 8)).starts_with("window_words = [9, 8]"));
    assert!(refuse(&|config| config.learning_rate = f64::NAN).starts_with("learning_rate = NaN"));
    assert!(refuse(&|config| config.calibration_share = 0.0).starts_with("calibration_share = 0"));
    let result = SentimentClassifier::train(&all[..30], &config().sentiment);
    assert!(matches!(result, Err(ImdbError::TooFew { expected: 20, .. })), "{result:?}");
    assert!(train_ground_truth(&Reviews::embedded(), &config()).is_err());
    let toml_like = serde_json::json!({ "epochs": 1 });
    assert!(serde_json::from_value::<SentimentConfig>(toml_like).is_err(), "no setting has a hidden default");
}
