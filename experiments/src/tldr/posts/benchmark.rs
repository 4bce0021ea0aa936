//! The trainings on posts, and what comes of them to be compared.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use burn::tensor::Device;
use feedback::judge::{Judge, ScorerJudge};
use feedback::records::{Limits, Reader, TooLong};
use lm::files::load_tokenizer;
use lm::{Footprint, LoraConfig, OpenDevice, Sampling, Scorer, Tokenizer};
use serde_json::json;

use crate::cli::DeviceOptions;
use crate::commands::training::memory::{self, Load};
use crate::commands::training::sections::Outline;
use crate::commands::training::source::{ModelReader, of_tokens, reward_model};
use crate::commands::training::start;
use crate::exit::BadInput;
use crate::needs::{Needs, gib};
use crate::progress::Progress;
use crate::study::folder::{Folder, hash_files, key};
use crate::study::stages::stage;
use crate::study::work::StageWork;
use crate::tldr::data::{self, HELD_OUT, SFT};
use crate::tldr::ground::{Benchmark, Ground, Scorers};
use crate::tldr::human::Human;
use crate::tldr::policies::{Contestant, Origin};
use crate::tldr::posts::model::Base;
use crate::tldr::posts::steps::{self, Places, REFERENCE, SECOND_OPINION, Step, reward_model_of};
use crate::tldr::posts::{PostData, Posts};

/// The trainings' folders in the output folder.
const MODELS: &str = "models";
/// Their data, a stage.
const DATA: &str = "data";
/// The model that is fine-tuned, if it is made here: another.
const BASE: &str = "base";

/// Trainings on posts with all that is needed to do them.
pub struct PostsBenchmark<'a> {
    posts: &'a Posts,
    device: &'a DeviceOptions,
    /// The output folder.
    out: &'a Path,
    /// Held-out posts that are sampled.
    prompts: usize,
    trained: Vec<Contestant>,
}

impl<'a> PostsBenchmark<'a> {
    /// Checks every training's configuration.
    pub fn new(
        posts: &'a Posts,
        prompts: usize,
        (device, out): (&'a DeviceOptions, &'a Path),
    ) -> Result<Self> {
        let policies = steps::policies(posts, &out.join(MODELS));
        let contestant = |(method, seed, made_by, folder)| Contestant {
            method,
            seed,
            origin: Origin::Folder { made_by, folder },
        };
        let trained = policies.into_iter().map(contestant).collect();
        let benchmark = Self { posts, device, out, prompts, trained };
        for step in benchmark.planned() {
            step.outline().with_context(|| format!("policies.posts: {}", step.name))?;
        }
        let context = posts.model.config()?.shape().context;
        let length = posts.max_prompt_length + posts.max_new_tokens;
        if length > context {
            let expected = format!("at most {context} tokens, the model's context");
            let found = format!("max_prompt_length + max_new_tokens = {length}");
            return Err(BadInput(format!("policies.posts: found {found}, expected {expected}")).into());
        }
        Ok(benchmark)
    }

    /// The trainings on data and from a model that are in these folders.
    fn steps(&self, data: &Path, base: &Path) -> Vec<Step> {
        let models = self.out.join(MODELS);
        let device = [self.device.device.to_string(), self.device.precision.to_string()];
        steps::steps(self.posts, &Places { data, models: &models, base, device })
    }

    /// The same before anything is there.
    fn planned(&self) -> Vec<Step> {
        let folder = Folder::new(self.out);
        self.steps(&folder.stage(DATA), &folder.stage(BASE))
    }

    /// The files of the trainings.
    fn written(&self, folder: &Folder) -> Result<PathBuf> {
        let read = self.posts.data.files();
        let hash = hash_files(&read.iter().flat_map(data::Files::all).cloned().collect::<Vec<_>>())?;
        let work = StageWork::new(DATA, key(DATA, &self.posts.data, &[&hash])?);
        stage(folder, &Progress::new(), &work, |dir| {
            let files = match &self.posts.data {
                PostData::Synthetic { posts, seed } => data::make(dir, *posts, *seed)?,
                PostData::Files { .. } => read.clone().unwrap_or_default(),
            };
            Ok((0, json!({ "written": data::write(dir, &files)? })))
        })?;
        Ok(folder.stage(DATA))
    }

    /// The folder of the model that is fine-tuned, which is made first where that is what is asked for.
    fn base(&self, folder: &Folder, data: &Path, device: &Device) -> Result<PathBuf> {
        let Base::New { config, seed } = &self.posts.model else { return self.posts.model.folder() };
        let texts = data.join(SFT);
        let work =
            StageWork::new(BASE, key(BASE, &(config, seed), &[&hash_files(std::slice::from_ref(&texts))?])?);
        stage(folder, &Progress::new(), &work, |dir| {
            let joined = data::texts(&texts)?.into_iter().map(|(prompt, summary)| prompt + &summary);
            self.posts.model.make(dir, &joined.collect::<Vec<String>>(), device)?;
            Ok((0, json!({})))
        })?;
        Ok(folder.stage(BASE))
    }

    /// Held-out posts that are short enough, with what their authors wrote.
    fn people(&self, data: &Path, tokenizer: &Tokenizer) -> Result<Vec<Human>> {
        let path = data.join(HELD_OUT);
        let (length, most) = (self.posts.max_prompt_length, self.prompts);
        let limits = Limits {
            max_length: length + self.posts.max_new_tokens,
            max_prompt_length: length,
            too_long: TooLong::Skip,
        };
        let fitting = Reader::new(tokenizer.clone(), None).prompts(&path, &limits)?.examples;
        if fitting.len() < most {
            let found = format!("{} posts of at most {length} tokens", fitting.len());
            let expected = format!("at least {most}, as prompts says");
            return Err(BadInput(format!("{}: found {found}, expected {expected}", path.display())).into());
        }
        let texts = data::texts(&path)?;
        let human = |prompt: feedback::records::PromptExample| {
            let (opening, text) = texts.get(prompt.line - 1).cloned().context("the line of a prompt")?;
            Ok(Human { prompt: prompt.ids, opening, text })
        };
        fitting.into_iter().take(most).map(human).collect()
    }

    /// What a training takes of memory.
    fn needs(&self, outline: &Outline, open: &OpenDevice) -> Result<Needs> {
        let config = self.posts.model.config()?;
        let (prompt, response) = (self.posts.max_prompt_length, self.posts.max_new_tokens);
        let trained = if outline.lora.rank == 0 {
            config.parameters()
        } else {
            let targets = config.lora_targets(&outline.lora.targets);
            config.adapter_parameters(&LoraConfig { targets, ..outline.lora.clone() })?
        };
        let model = Footprint::from(&config);
        let mut memory = memory::started(model, open, prompt + response, Some(self.posts.batch_size));
        if outline.scored {
            memory = memory.frozen(model);
        }
        let load = Load::of_responses(outline.sequences, prompt, response);
        memory = memory.with_activations(outline.activations);
        for optimizer in &outline.optimizers {
            memory = memory::learning(memory, (model, trained as u64), optimizer, load);
        }
        Ok(Needs::new(config.parameters(), memory))
    }

    /// Refuses trainings that do not fit, before the first of them.
    fn refuse_too_large(&self, open: &OpenDevice) -> Result<()> {
        let cure = "smaller batches with `gradient_accumulation_steps`, `gradient_checkpointing` or adapters \
                    (`lora.rank`) take less";
        self.planned()
            .iter()
            .try_for_each(|step| self.needs(&step.outline()?, open)?.check(&step.name, &open.facts, cure))
    }

    /// The folder of a training.
    fn model(&self, name: &str) -> PathBuf {
        self.out.join(MODELS).join(name)
    }

    /// The reward model of the first seed and the second opinion, as judges.
    fn judges(&self, open: &OpenDevice) -> Result<Vec<Box<dyn Judge>>> {
        let first = self.posts.seeds.first().copied().unwrap_or_default();
        let named =
            [("the reward model", reward_model_of(first)), ("the second opinion", SECOND_OPINION.to_owned())];
        let judge = |(name, folder): (&str, String)| -> Result<Box<dyn Judge>> {
            let reader = ModelReader::load(&self.model(&folder), &open.device)?;
            Ok(Box::new(ScorerJudge::new(name, reader)))
        };
        named.into_iter().map(judge).collect()
    }
}

impl Benchmark for PostsBenchmark<'_> {
    fn seeds(&self) -> &[u64] {
        &self.posts.seeds
    }

    fn trained(&self) -> &[Contestant] {
        &self.trained
    }

    fn data(&self) -> String {
        self.posts.data.about()
    }

    fn parameters(&self) -> Result<usize> {
        Ok(self.posts.model.config()?.parameters())
    }

    fn print_plan(&self, out: &mut dyn Write) -> Result<()> {
        let parameters = self.parameters()? as f64 / 1e6;
        let folder = self.out.display();
        writeln!(out, "trainings in {folder}/{MODELS}, of a model of {parameters:.1} million parameters")?;
        let open = self.device.open(self.parameters()?)?;
        for step in self.planned() {
            let outline = step.outline()?;
            let (steps, each) = (outline.steps_on(step.lines), outline.per_step);
            let command = step.arguments.first().map_or("", String::as_str);
            let memory = gib(self.needs(&outline, &open)?.bytes);
            writeln!(
                out,
                "  {:<20} {command:<13} {steps:>7} steps of {each:<4} up to {memory:>9} of memory",
                step.name
            )?;
        }
        let there = open.facts.memory.map_or_else(|| "an unknown amount".to_owned(), gib);
        writeln!(out, "  one after the other on {}, which has {there}", open.facts.name)?;
        Ok(())
    }

    fn lengths(&self) -> (usize, usize) {
        (self.posts.max_prompt_length, self.posts.max_new_tokens)
    }

    fn prepare(&self, folder: &Folder, open: &OpenDevice) -> Result<Ground<'_>> {
        // A model that is not there is said before the data are read.
        let there = match &self.posts.model {
            Base::Folder { .. } => Some(self.posts.model.folder()?),
            Base::New { .. } => None,
        };
        self.refuse_too_large(open)?;
        let data = self.written(folder)?;
        let base = there.map_or_else(|| self.base(folder, &data, &open.device), Ok)?;
        // Before the trainings: without posts there is nothing to compare them on.
        let texts = self.people(&data, &load_tokenizer(&base)?)?;
        for step in self.steps(&data, &base) {
            step.run()?;
        }
        let reference = self.model(REFERENCE);
        let scored_by = self.posts.seeds.iter().map(|&seed| self.model(&reward_model_of(seed)));
        let built_on = scored_by.chain([reference.clone(), self.model(SECOND_OPINION)]);
        let hashes = built_on.map(|dir| hash_files(&start::files(&dir)?)).collect::<Result<Vec<String>>>()?;
        let drawn = (self.posts.max_new_tokens, texts.iter().map(|human| &human.prompt).collect::<Vec<_>>());
        let device = open.device.clone();
        Ok(Ground {
            reference,
            temperature: 1.0,
            sampling: Sampling {
                max_new_tokens: self.posts.max_new_tokens,
                batch_size: self.posts.batch_size,
            },
            key: key("ground", &drawn, &hashes.iter().map(String::as_str).collect::<Vec<_>>())?,
            scorers: Box::new(move |seed, tokenizer| {
                let scorer = |name: &str| -> Result<Box<dyn Scorer>> {
                    let model = reward_model(&self.model(name), &device)?;
                    Ok(Box::new(of_tokens(model, tokenizer)))
                };
                Ok(Scorers {
                    reward: scorer(&reward_model_of(seed))?,
                    second_opinion: scorer(SECOND_OPINION)?,
                })
            }),
            judges: self.judges(open)?,
            texts,
        })
    }
}
