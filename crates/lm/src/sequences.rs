//! Token sequences, and values per response token.
//!
//! What the losses read, one value per response token, is padded to `[B, R]` by [`ResponseMask`] and nowhere
//! else; what is real is known from lengths, never from a pad id.

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::LmError;

/// A prompt and a response as token ids.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Sequence {
    /// What the policy conditions on; begins with the tokenizer's end token, never empty.
    pub prompt: Vec<u32>,
    /// What the policy wrote; holds the end token as its last id if and only if the policy ended.
    pub response: Vec<u32>,
}

impl Sequence {
    /// Number of tokens in all.
    pub fn len(&self) -> usize {
        self.prompt.len() + self.response.len()
    }

    /// Whether there is no token at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Prompt and response in one list.
    pub fn tokens(&self) -> Vec<u32> {
        [self.prompt.as_slice(), self.response.as_slice()].concat()
    }
}

/// Which positions of a `[B, R]` tensor are real response tokens: true = real token.
#[derive(Clone, Debug)]
pub struct ResponseMask {
    lengths: Vec<usize>,
    width: usize,
}

impl ResponseMask {
    /// The mask of `lengths.len()` rows that are as wide as the longest.
    pub fn from_lengths(lengths: Vec<usize>) -> Self {
        let width = lengths.iter().copied().max().unwrap_or(0);
        Self { lengths, width }
    }

    /// Real tokens of each row.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// `[B, R]`.
    pub fn dims(&self) -> [usize; 2] {
        [self.lengths.len(), self.width]
    }

    /// Number of real tokens in all rows.
    pub fn count(&self) -> usize {
        self.lengths.iter().sum()
    }

    /// The mask as a float tensor `[B, R]`: 1 on real tokens, 0 on padding.
    pub fn tensor(&self, device: &Device) -> Tensor<2> {
        let ones: Vec<f32> = self
            .lengths
            .iter()
            .flat_map(|&length| (0..self.width).map(move |t| if t < length { 1.0 } else { 0.0 }))
            .collect();
        Tensor::from_data(TensorData::new(ones, self.dims()), device)
    }

    /// Lays ragged host rows out as `[B, R]`, zero at padding.
    ///
    /// # Panics
    /// If a row's length is not the mask's: a bug of the caller.
    pub fn pad(&self, rows: &[Vec<f32>], device: &Device) -> Tensor<2> {
        assert_eq!(rows.len(), self.lengths.len(), "values and mask differ in rows");
        let mut flat = vec![0.0; self.lengths.len() * self.width];
        for (b, (row, &length)) in rows.iter().zip(&self.lengths).enumerate() {
            assert_eq!(row.len(), length, "row {b} has {} values, its mask {length} tokens", row.len());
            flat[b * self.width..b * self.width + length].copy_from_slice(row);
        }
        Tensor::from_data(TensorData::new(flat, self.dims()), device)
    }

    /// Takes a `[B, R]` tensor apart into ragged host rows without padding.
    ///
    /// # Panics
    /// If values and mask differ in shape: a bug of the caller.
    pub fn rows(&self, values: Tensor<2>) -> Vec<Vec<f32>> {
        assert_eq!(values.dims(), self.dims(), "values and mask differ in shape");
        let flat = to_vec(values);
        self.lengths
            .iter()
            .enumerate()
            .map(|(b, &length)| flat[b * self.width..b * self.width + length].to_vec())
            .collect()
    }

    /// Lays the real tokens' values `[N]`, row after row, out as `[B, R]`, zero at padding; differentiable.
    pub(crate) fn scatter(&self, flat: Tensor<1>) -> Tensor<2> {
        let device = flat.device();
        let [rows, width] = self.dims();
        if self.count() == rows * width {
            return flat.reshape([rows, width]);
        }
        let mut next = 0;
        let mut index = Vec::with_capacity(rows * width);
        for &length in &self.lengths {
            // A padded place reads value 0 and is masked out after it, so its gradient is exactly zero.
            index.extend((0..width).map(|t| if t < length { (next + t) as i32 } else { 0 }));
            next += length;
        }
        // Not `select`, whose gradient is one thread for all values on a GPU.
        flat.gather(0, integers(index, &device)).reshape([rows, width]) * self.tensor(&device)
    }
}

/// Integers `[N]` on the device.
pub(crate) fn integers(values: impl IntoIterator<Item = i32>, device: &Device) -> Tensor<1, Int> {
    let values: Vec<i32> = values.into_iter().collect();
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

/// Splits `0..lengths.len()` into groups of at most `size` of nearly the same length, shortest first: indices
/// are ordered by (length, index), so that little padding is computed and the grouping is reproducible.
pub fn by_length(lengths: &[usize], size: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&i| (lengths[i], i));
    order.chunks(size.max(1)).map(<[usize]>::to_vec).collect()
}

/// Checks that every sequence fits a model: a prompt that begins, ids below `vocabulary`, at most `context`
/// tokens.
///
/// # Errors
/// [`LmError::Sequence`] for the first one that does not fit.
pub fn check(sequences: &[Sequence], vocabulary: usize, context: usize) -> Result<(), LmError> {
    for (index, sequence) in sequences.iter().enumerate() {
        let refuse = |found: String, expected: String| Err(LmError::Sequence { index, found, expected });
        if sequence.prompt.is_empty() {
            return refuse("an empty prompt".to_owned(), "at least the begin token".to_owned());
        }
        if sequence.len() > context {
            return refuse(format!("{} tokens", sequence.len()), format!("at most {context}"));
        }
        let largest = sequence.prompt.iter().chain(&sequence.response).max();
        if let Some(&id) = largest.filter(|&&id| id as usize >= vocabulary) {
            return refuse(format!("token id {id}"), format!("ids below {vocabulary}"));
        }
    }
    Ok(())
}

/// Checks that every prompt fits a model and leaves room for a response of `max_new_tokens`.
///
/// # Errors
/// As [`check`].
pub fn check_prompts(
    prompts: &[Vec<u32>],
    max_new_tokens: usize,
    vocabulary: usize,
    context: usize,
) -> Result<(), LmError> {
    let room = context.saturating_sub(max_new_tokens);
    let prompts: Vec<Sequence> =
        prompts.iter().map(|prompt| Sequence { prompt: prompt.clone(), response: Vec::new() }).collect();
    check(&prompts, vocabulary, room)
}

/// The values of a float tensor on the host, in row-major order.
///
/// # Panics
/// If the device cannot be read.
pub fn to_vec<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    #[expect(clippy::expect_used, reason = "the data was converted to f32 on the line before")]
    tensor.into_data_as::<f32>().try_into_vec().expect("f32 data")
}
