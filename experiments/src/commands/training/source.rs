//! Where scores come from: a reward model's folder, a classifier's, or a program.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use burn::tensor::Device;
use feedback::scorer::texts;
use feedback::{ClassifierScorer, DecodingScorer, FeedbackError, ProgramScorer, TextScorer};
use lm::files::{ModelFolder, load_classifier, load_tokenizer};
use lm::{LmError, Normalization, Policy, Sampling, Scorer, Sequence, Standardized, Stream, Tokenizer};

use super::sections::{ClassifierSettings, ScorerSettings};
use super::start::context;

/// The file that says the unit of a reward model's scores; those of others are taken as they are.
pub const NORMALIZATION: &str = "normalization.json";

/// The scorer of sequences that `tokenizer` made; `None` if the settings name none.
pub fn scorer(
    settings: &ScorerSettings,
    tokenizer: &Tokenizer,
    device: &Device,
) -> Result<Option<Arc<dyn Scorer>>> {
    if !settings.command.is_empty() {
        let program = ProgramScorer::new(settings.command.clone(), settings.program)?;
        return Ok(Some(Arc::new(DecodingScorer::new(program, tokenizer.clone()))));
    }
    if !settings.classifier.folder.is_empty() {
        let classifier = classifier(&settings.classifier, device)?;
        return Ok(Some(Arc::new(DecodingScorer::new(classifier, tokenizer.clone()))));
    }
    if settings.reward_model.is_empty() {
        return Ok(None);
    }
    Ok(Some(of_tokens(reward_model(Path::new(&settings.reward_model), device)?, tokenizer)))
}

/// A reward model as a scorer of sequences that `tokenizer` made.
pub fn of_tokens((model, own): (Arc<dyn Scorer>, Tokenizer), tokenizer: &Tokenizer) -> Arc<dyn Scorer> {
    if own.is_same(tokenizer) {
        return model;
    }
    Arc::new(Retokenized { model, from: tokenizer.clone(), to: own })
}

/// A reward model as a scorer of text. What is longer than its context loses the beginning of its prompt, and
/// what is longer without any prompt the end of its response.
pub struct ModelReader {
    model: Arc<dyn Scorer>,
    tokenizer: Tokenizer,
    context: usize,
}

impl ModelReader {
    /// Of a reward model's folder.
    pub fn load(dir: &Path, device: &Device) -> Result<Self> {
        let (model, tokenizer) = reward_model(dir, device)?;
        Ok(Self { model, tokenizer, context: context(dir)? })
    }

    fn sequence(&self, (prompt, response): &(String, String)) -> Result<Sequence, LmError> {
        let Sequence { mut prompt, mut response } = sequence_of(&self.tokenizer, prompt, response, true)?;
        response.truncate(self.context - 1);
        let over = (prompt.len() + response.len()).saturating_sub(self.context);
        // The begin token stays.
        prompt.drain(1..=over);
        Ok(Sequence { prompt, response })
    }
}

impl TextScorer for ModelReader {
    fn score(&self, texts: &[(String, String)]) -> Result<Vec<f32>, FeedbackError> {
        let sequences = texts.iter().map(|text| self.sequence(text)).collect::<Result<Vec<_>, _>>()?;
        Ok(self.model.score(&sequences)?)
    }
}

/// A classifier as a scorer of text.
pub fn classifier(settings: &ClassifierSettings, device: &Device) -> Result<ClassifierScorer> {
    let classifier = load_classifier(Path::new(&settings.folder), device)?;
    Ok(ClassifierScorer::new(classifier, &settings.label, settings.unit)?)
}

/// A reward model and its tokenizer.
pub fn reward_model(dir: &Path, device: &Device) -> Result<(Arc<dyn Scorer>, Tokenizer)> {
    reward_model_of(dir, &ModelFolder::open(dir, None)?, device)
}

/// The same of a folder that is found already.
pub fn reward_model_of(
    dir: &Path,
    folder: &ModelFolder,
    device: &Device,
) -> Result<(Arc<dyn Scorer>, Tokenizer)> {
    let (model, unit) = (folder.scalar_model(device)?, dir.join(NORMALIZATION));
    let model: Arc<dyn Scorer> = if unit.is_file() {
        Arc::new(Standardized::new(model, Normalization::read(&unit)?))
    } else {
        Arc::new(model)
    };
    Ok((model, load_tokenizer(folder.tokenizer_dir())?))
}

/// The files that scores depend on.
pub fn files(settings: &ScorerSettings) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for dir in [&settings.reward_model, &settings.classifier.folder].into_iter().filter(|dir| !dir.is_empty())
    {
        files.extend(lm::files::files_of(Path::new(dir))?);
        files.extend(Some(Path::new(dir).join(NORMALIZATION)).filter(|path| path.is_file()));
    }
    Ok(files)
}

/// A scorer that reads the ids of another tokenizer than the policy's: by way of the text.
struct Retokenized {
    model: Arc<dyn Scorer>,
    from: Tokenizer,
    to: Tokenizer,
}

impl Scorer for Retokenized {
    fn score(&self, sequences: &[Sequence]) -> Result<Vec<f32>, LmError> {
        let texts = texts(&self.from, sequences)?;
        let read = |(sequence, (prompt, response)): (&Sequence, (String, String))| {
            let ended = sequence.response.last() == Some(&self.from.end());
            sequence_of(&self.to, &prompt, &response, ended)
        };
        self.model.score(&sequences.iter().zip(texts).map(read).collect::<Result<Vec<_>, _>>()?)
    }
}

/// A prompt and a response as a model reads them.
pub fn sequence_of(
    tokenizer: &Tokenizer,
    prompt: &str,
    response: &str,
    ended: bool,
) -> Result<Sequence, LmError> {
    let end = ended.then_some(tokenizer.end());
    Ok(Sequence {
        prompt: [vec![tokenizer.begin()], tokenizer.encode(prompt)?].concat(),
        response: tokenizer.encode(response)?.into_iter().chain(end).collect(),
    })
}

/// A scorer in standard deviations of its scores on `responses` responses of the reference, so that a KL
/// coefficient means the same for every scorer; 0 leaves its own unit. The unit is kept in a file: a
/// training that goes on keeps it.
pub fn standardized(
    scorer: Arc<dyn Scorer>,
    responses: usize,
    (policy, prompts, sampling): (&Policy, &[Vec<u32>], &Sampling),
    stream: Stream,
    file: &Path,
) -> Result<Arc<dyn Scorer>> {
    if responses == 0 {
        return Ok(scorer);
    }
    let unit = if file.is_file() {
        Normalization::read(file)?
    } else {
        let some: Vec<Vec<u32>> = prompts.iter().cycle().take(responses).cloned().collect();
        let drawn = policy.generate(&some, sampling, stream)?;
        let sequences = some.into_iter().zip(drawn);
        let sequences: Vec<Sequence> =
            sequences.map(|(prompt, drawn)| Sequence { prompt, response: drawn.response }).collect();
        let unit = Normalization::measure(scorer.as_ref(), &sequences)?;
        unit.write(file)?;
        unit
    };
    tracing::info!("score of the reference: mean {:.3}, standard deviation {:.3}", unit.mean(), unit.sd());
    Ok(Arc::new(Standardized::new(scorer, unit)))
}
