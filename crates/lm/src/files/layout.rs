//! The names of a folder's files, and of a tensor that all families have.

pub(super) const CONFIG_FILE: &str = "config.json";
pub(super) const TOKENIZER_FILE: &str = "tokenizer.json";
pub(super) const TOKENIZER_CONFIG_FILE: &str = "tokenizer_config.json";
pub(super) const GENERATION_FILE: &str = "generation_config.json";

/// The weights of a scalar head, in every family.
pub(super) const SCORE: &str = "score.weight";
