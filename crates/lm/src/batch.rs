//! How sequences are laid out for the model: their real tokens one after another, without padding, and the
//! prompt of several responses once.

use std::collections::HashMap;

use burn::tensor::{Device, Int, Tensor};
pub use fused::Packing;

use crate::sequences::{ResponseMask, Sequence, integers};

/// What the model is fed: N tokens, each with its place in its sequence.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// Token ids `[N]`.
    pub(crate) ids: Tensor<1, Int>,
    /// Places `[N]`, counted from 0.
    pub(crate) positions: Tensor<1, Int>,
    /// Which tokens form sequences.
    pub(crate) packing: Packing,
}

impl Tokens {
    /// Tokens in the order of the packing's rows.
    ///
    /// # Panics
    /// If ids and packing differ in their number of rows: a bug of the caller.
    pub fn new(ids: &[u32], packing: Packing, device: &Device) -> Self {
        assert_eq!(ids.len(), packing.rows(), "ids and packing differ in rows");
        Self {
            ids: integers(ids.iter().map(|&id| id as i32), device),
            positions: integers(packing.positions().into_iter().map(|position| position as i32), device),
            packing,
        }
    }

    /// The same for a model without gradients.
    pub(crate) fn without_autodiff(&self) -> Self {
        Self {
            ids: self.ids.clone().without_autodiff(),
            positions: self.positions.clone().without_autodiff(),
            packing: self.packing.clone(),
        }
    }

    /// Tokens fed, N.
    pub fn rows(&self) -> usize {
        self.packing.rows()
    }
}

/// Responses to score token by token: the last token of a sequence predicts nothing and is not fed.
#[derive(Clone, Debug)]
pub struct Batch {
    tokens: Tokens,
    /// For each real response token, row after row: the token whose hidden state predicts it.
    positions: Tensor<1, Int>,
    /// Whether `positions` are all tokens in their order.
    is_everywhere: bool,
    /// The response tokens themselves `[M]`.
    targets: Tensor<1, Int>,
    mask: ResponseMask,
    real: usize,
}

impl Batch {
    /// Lays sequences out on the device.
    ///
    /// # Panics
    /// If a prompt is empty: every prompt begins with the end token.
    pub fn new(sequences: &[&Sequence], device: &Device) -> Self {
        let layout = Layout::new(sequences, |response| response.len().saturating_sub(1));
        let (mut positions, mut targets) = (Vec::new(), Vec::new());
        for (sequence, place) in sequences.iter().zip(&layout.places) {
            // The last prompt token predicts the first of the response, and each of these the next.
            let predictors = std::iter::once(place.prompt_end).chain(place.response..);
            positions.extend(predictors.take(sequence.response.len()));
            targets.extend(sequence.response.iter().map(|&token| token as i32));
        }
        Self {
            is_everywhere: positions.iter().copied().eq(0..layout.ids.len()),
            positions: integers(positions.into_iter().map(|row| row as i32), device),
            targets: integers(targets, device),
            mask: ResponseMask::from_lengths(sequences.iter().map(|s| s.response.len()).collect()),
            real: sequences.iter().map(|sequence| sequence.len()).sum(),
            tokens: Tokens::new(&layout.ids, layout.packing, device),
        }
    }

    /// What the model is fed.
    pub fn fed(&self) -> &Tokens {
        &self.tokens
    }

    /// The response tokens `[M]`, row after row.
    pub(crate) fn targets(&self) -> &Tensor<1, Int> {
        &self.targets
    }

    /// The rows of the model's output that predict the response tokens; none if these are all rows in their
    /// order.
    pub(crate) fn positions(&self) -> Option<&Tensor<1, Int>> {
        (!self.is_everywhere).then_some(&self.positions)
    }

    /// The mask of the responses.
    pub fn mask(&self) -> &ResponseMask {
        &self.mask
    }

    /// Real tokens of the sequences, prompts included, each prompt as often as it has responses.
    pub fn tokens(&self) -> usize {
        self.real
    }
}

/// Sequences to score as a whole, by a scalar head at the last token of each.
#[derive(Clone, Debug)]
pub struct WholeBatch {
    tokens: Tokens,
    /// Each sequence's last token `[B]`.
    last: Tensor<1, Int>,
    real: usize,
}

impl WholeBatch {
    /// Lays sequences out on the device.
    ///
    /// # Panics
    /// If a prompt is empty: every prompt begins with the end token.
    pub fn new(sequences: &[&Sequence], device: &Device) -> Self {
        let layout = Layout::new(sequences, <[u32]>::len);
        let last = |(sequence, place): (&&Sequence, &Place)| match sequence.response.len() {
            0 => place.prompt_end as i32,
            count => (place.response + count - 1) as i32,
        };
        Self {
            last: integers(sequences.iter().zip(&layout.places).map(last), device),
            real: sequences.iter().map(|sequence| sequence.len()).sum(),
            tokens: Tokens::new(&layout.ids, layout.packing, device),
        }
    }

    /// What the model is fed.
    pub fn fed(&self) -> &Tokens {
        &self.tokens
    }

    /// The row of each sequence's last token.
    pub(crate) fn last(&self) -> &Tensor<1, Int> {
        &self.last
    }

    /// Real tokens of the sequences, prompts included, each prompt as often as it has responses.
    pub fn tokens(&self) -> usize {
        self.real
    }
}

/// Where the tokens of a sequence are among those that are fed.
#[derive(Clone, Copy, Default)]
struct Place {
    /// The last token of the prompt.
    prompt_end: usize,
    /// The first token of the response, or what follows where none is fed.
    response: usize,
}

/// The tokens that are fed, and where each sequence is.
struct Layout {
    ids: Vec<u32>,
    packing: Packing,
    places: Vec<Place>,
}

impl Layout {
    /// Each prompt once, and after it the first `fed(response)` tokens of each of its responses.
    fn new(sequences: &[&Sequence], fed: impl Fn(&[u32]) -> usize) -> Self {
        let prompts = by_prompt(sequences);
        let packing = Packing::new(prompts.iter().map(|members| {
            let branches = members.iter().map(|&b| fed(&sequences[b].response));
            (sequences[members[0]].prompt.len(), branches.collect())
        }));
        let mut ids = Vec::with_capacity(packing.rows());
        let mut places = vec![Place::default(); sequences.len()];
        for members in &prompts {
            ids.extend(&sequences[members[0]].prompt);
            let prompt_end = ids.len() - 1;
            for &b in members {
                places[b] = Place { prompt_end, response: ids.len() };
                let response = &sequences[b].response;
                ids.extend(&response[..fed(response)]);
            }
        }
        Self { ids, packing, places }
    }
}

/// Indices of the sequences that share a prompt, prompts in the order of their first appearance.
fn by_prompt(sequences: &[&Sequence]) -> Vec<Vec<usize>> {
    let mut known: HashMap<&[u32], usize> = HashMap::new();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (b, sequence) in sequences.iter().enumerate() {
        assert!(!sequence.prompt.is_empty(), "sequence {b} has no prompt, not even the begin token");
        let group = *known.entry(&sequence.prompt).or_insert(groups.len());
        if group == groups.len() {
            groups.push(Vec::new());
        }
        groups[group].push(b);
    }
    groups
}
